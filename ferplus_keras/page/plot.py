"""A plot as inline SVG: axes with lines in them, drawn in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ferplus_keras.page.markup import PERCENT, Markup, tag
from ferplus_keras.page.style import COLOURS, DASHES

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 400, 62, 24, 12, 42
"""Units of the drawing: about pixels on a telephone."""


class Plot:
    """Axes with something in them.

    Args:
        x: (from, to) of the horizontal axis.
        y: (from, to) of the vertical one.
        labels: what the axes show, horizontal first.
        height: of the drawing, which is `WIDTH` wide.
        ticks: texts by value for each axis; None chooses round numbers.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        height: int = 330,
        ticks: tuple[dict[float, str] | None, dict[float, str] | None] = (None, None),
    ):
        self.x, self.y, self.height = x, y, height
        self.parts: list[Markup] = []
        x_ticks, y_ticks = (
            {value: f"{value:g}" for value in round_numbers(*span)} if given is None else given
            for given, span in zip(ticks, (x, y), strict=True)
        )
        bottom, right = height - BOTTOM, WIDTH - RIGHT
        for value, text in x_ticks.items():
            at = self.across(value)
            self._line((at, TOP), (at, bottom), "grid")
            self.text(at, bottom + 17, text, anchor="middle")
        for value, text in y_ticks.items():
            at = self.up(value)
            self._line((LEFT, at), (right, at), "grid")
            self.text(LEFT - 7, at + 4, text, anchor="end")
        middle = (TOP + bottom) / 2
        self.text((LEFT + right) / 2, height - 6, labels[0], anchor="middle")
        turn = f"rotate(-90 13 {middle:.0f})"
        self.text(13, middle, labels[1], anchor="middle", transform=turn)
        self._line((LEFT, bottom), (right, bottom), "frame")

    def across(self, value: float) -> float:
        """Return where a value of the horizontal axis lies."""
        low, high = self.x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(self, value: float) -> float:
        """Return where a value of the vertical axis lies."""
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def text(self, x: float, y: float, text: str, anchor: str, **more: object) -> None:
        """Write at a place of the drawing."""
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text_anchor": anchor, "class_": "minor"}
        self.parts.append(tag("text", text, **place, **more))

    def curve(
        self, xs: Sequence[float], ys: Sequence[float], colour: int, title: str = "", dot: float = 0
    ) -> None:
        """Draw a line through points, and the points with a radius of `dot`."""
        places = [(self.across(x), self.up(y)) for x, y in zip(xs, ys, strict=True)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        name = [tag("title", title)] if title else []
        ink = f"var(--c{colour % COLOURS})"
        dash = DASHES[colour % len(DASHES)]
        line = {"class_": "curve", "stroke": ink, "stroke_dasharray": dash}
        self.parts.append(tag("polyline", name, points=points, **line))
        if dot:
            self.parts += [
                tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=dot, fill=ink) for x, y in places
            ]

    def bar(self, x: tuple[float, float], y: tuple[float, float], title: str, ink: str) -> None:
        """Draw a bar between two values of each axis; `title` shows when it is pointed at."""
        left, right = map(self.across, x)
        low, high = map(self.up, y)
        size = {"width": f"{max(right - left - 1, 0.5):.1f}", "height": f"{low - high:.1f}"}
        place = {"x": f"{left + 0.5:.1f}", "y": f"{high:.1f}"}
        self.parts.append(tag("rect", tag("title", title), **place, **size, fill=ink))

    def guide(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a thin dashed line between two points."""
        ends = [(self.across(x), self.up(y)) for x, y in (start, end)]
        self._line(*ends, "frame", stroke_dasharray="4 4")

    def _line(
        self, start: tuple[float, float], end: tuple[float, float], class_: str, **more: object
    ) -> None:
        numbers = (f"{number:.1f}" for number in (*start, *end))
        places = dict(zip(("x1", "y1", "x2", "y2"), numbers, strict=True))
        self.parts.append(tag("line", **places, class_=class_, **more))

    def svg(self, description: str) -> Markup:
        """Return the drawing; `description` is read aloud in its place."""
        box = f"0 0 {WIDTH} {self.height}"
        return tag("svg", self.parts, viewBox=box, role="img", aria_label=description)


def key(names: Sequence[str], colours: Sequence[int]) -> Markup:
    """Return the key of lines: their names beside short pieces of them."""
    return tag(
        "ul",
        [tag("li", line_sample(colour), name) for name, colour in zip(names, colours, strict=True)],
        class_="key",
    )


def line_sample(colour: int) -> Markup:
    """Return a short piece of a line of this colour."""
    style = f"border-color: var(--c{colour % COLOURS})"
    return tag("i", class_=f"dash{colour % len(DASHES)}", style=style)


def round_numbers(low: float, high: float, about: int = 5) -> list[float]:
    """Return about so many round numbers from `low` to `high`."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.99)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def percent_ticks(low: float = 0.0, high: float = 1.0) -> dict[float, str]:
    """Return round percentages by fraction."""
    return {value: f"{100 * value:.3g}{PERCENT}" for value in round_numbers(low, high)}
