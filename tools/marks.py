"""Text between marks of a Markdown page: `<!-- WORD: KIND [NAME] -->` … `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable

from ferplus_keras.errors import InputError


def pattern(word: str) -> re.Pattern[str]:
    """Return what matches a marked part: opening mark, kind, name, old content, closing mark."""
    begin = f"<!-- {word}:"
    return re.compile(
        rf"({begin} (\w+) ?(\S*) -->\n)((?:(?!<!-- \w+:).)*?)(<!-- end -->)", re.DOTALL
    )


def fill(text: str, word: str, make: Callable[[str, str], str]) -> str:
    """Return a page whose marked parts are replaced; everything else stays as it is.

    Args:
        text: the page.
        word: first word of the marks.
        make: from a mark's kind and name to the new content.

    Raises:
        InputError: a mark has no end.
    """
    mark = pattern(word)
    for begin in re.finditer(f"<!-- {word}:", text):
        if not mark.match(text, begin.start()):
            line = text[begin.start() :].splitlines()[0]
            raise InputError(f"no <!-- end --> after the mark {line}: add it below the table")
    return mark.sub(lambda found: f"{found[1]}{make(found[2], found[3])}\n{found[5]}", text)


def table(heads: str, rows: list[list[str]]) -> str:
    """Return a Markdown table; `heads` are separated by `|`."""
    columns = heads.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
