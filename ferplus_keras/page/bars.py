"""Small horizontal bars beside each other, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from ferplus_keras.page.markup import Markup, tag

LINE, NAMES, BAR, NUMBER, HEAD = 15, 70, 46, 34, 20
"""Units of the drawing: height of a line; width of names, bars and numbers; height of the head."""


def bars(
    names: Sequence[str],
    columns: Sequence[tuple[str, Sequence[float], Sequence[str]]],
    description: str,
) -> Markup:
    """Return bars, a line a name and a column a kind.

    Args:
        names: of the lines.
        columns: head, shares (0 to 1) and the texts behind them.
        description: read aloud in place of the drawing.
    """
    middles = [HEAD + LINE * row + 4 for row in range(len(names))]
    parts = [
        tag("text", _shortened(name), x=NAMES - 5, y=y + 4, text_anchor="end")
        for name, y in zip(names, middles, strict=True)
    ]
    for column, (head, shares, texts) in enumerate(columns):
        x = NAMES + column * (BAR + NUMBER)
        ink = f"var(--c{column})"
        parts.append(tag("text", head, x=x, y=10, class_="minor"))
        for share, text, y in zip(shares, texts, middles, strict=True):
            width = BAR * min(max(float(share), 0.0), 1.0)
            place = {"x": x, "y": y - 5, "width": f"{width:.1f}", "height": 10}
            parts.append(tag("rect", **place, rx=1.5, fill=ink))
            if text:
                parts.append(tag("text", text, x=f"{x + width + 3:.1f}", y=y + 4, class_="minor"))
    box = f"0 0 {NAMES + len(columns) * (BAR + NUMBER)} {HEAD + len(names) * LINE}"
    return tag("svg", parts, viewBox=box, role="img", aria_label=description)


def _shortened(name: str, length: int = 11) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
