"""Pages that need nothing but a browser: markup, style, bars and curves."""
