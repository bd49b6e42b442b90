"""HTML and SVG elements as text, escaped, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

VOID = ("img", "meta")
"""Elements without an end."""

NOT_DEFINED = "not defined"

PERCENT = "\N{NO-BREAK SPACE}%"


class Markup(str):
    """Text that is HTML already; any other text is escaped where it is put into an element."""

    __slots__ = ()


def tag(name: str, /, *children: str | Iterable[str], **attributes: object) -> Markup:
    """Return one element.

    Args:
        name: of the element.
        *children: texts, elements or lists of them.
        **attributes: `class_` is class, `aria_label` is aria-label; None leaves one out.

    Example:
        >>> tag("p", "1 < 2 ", tag("b", "yes"), class_="big")
        '<p class="big">1 &lt; 2 <b>yes</b></p>'
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Iterable[str | Iterable[str]]) -> Markup:
    """Return texts and elements one after the other as HTML."""
    return Markup(
        "".join(
            child
            if isinstance(child, Markup)
            else escape(child)
            if isinstance(child, str)
            else join(child)
            for child in children
        )
    )


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], class_: str = ""
) -> Markup:
    """Return a table that scrolls inside itself; the first cell of a row is its head.

    Args:
        caption: what it shows.
        heads: a text a column.
        rows: a list of cells each; a cell that is a `td` already stays as it is.
        class_: CSS classes.
    """
    lines = [
        tag("tr", tag("th", row[0], scope="row"), [_cell(cell) for cell in row[1:]]) for row in rows
    ]
    body = tag(
        "table",
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", lines),
        class_=class_ or None,
        aria_label=caption,
    )
    scroll = tag("div", body, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return join([tag("p", caption, class_="caption"), scroll])  # outside, so as not to scroll away


def _cell(cell: str) -> Markup:
    return cell if isinstance(cell, Markup) and cell.startswith("<td") else tag("td", cell)


def bar_cell(text: str, share: float) -> Markup:
    """Return a cell of a table with a bar, 0 to 1 of its width, behind the text."""
    return tag("td", text, class_="bar", style=f"--v:{share:.3f}")


def facts(pairs: Iterable[tuple[str, str | None]], class_: str = "facts") -> Markup:
    """Return names with their values as a list; a value of None is left out."""
    shown = [tag("dt", name) + tag("dd", value) for name, value in pairs if value is not None]
    return tag("dl", Markup("".join(shown)), class_=class_)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage."""
    return NOT_DEFINED if value is None else f"{100 * value:.{digits}f}{PERCENT}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Return a number with so many decimals."""
    return NOT_DEFINED if value is None else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None, shown=percent) -> str:
    """Return a 95 % interval in brackets; nothing where there is none."""
    if bounds is None:
        return ""
    low, high = (shown(bound).removesuffix(PERCENT) for bound in bounds)
    return f"{low} to {high}" + (PERCENT if shown is percent else "")
