"""A page in the browser: pictures in, expressions and their reasons out."""
