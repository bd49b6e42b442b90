"""What is printed: progress bars and notes on standard error, and tables."""

import sys
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from ferplus_keras.lazy import tqdm


def progress_bar(**options: Any):
    """Return a tqdm bar, with tqdm's options, that vanishes when done and floods no log file."""
    terminal = sys.stderr.isatty()
    return tqdm.tqdm(
        leave=False,
        mininterval=0.2 if terminal else 30,
        maxinterval=10 if terminal else 60,
        **options,
    )


@cache
def say_once(text: str) -> None:
    """Print a line on standard error, once per process, above the bars."""
    tqdm.tqdm.write(text, file=sys.stderr)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows of cells as lines, each column as wide as its widest cell.

    Cells are flush left, those of the columns `right`, from 0, flush right.
    """
    columns = []
    for place, column in enumerate(zip(*rows, strict=True)):
        width = f"{'>' if place in right else '<'}{max(map(len, column))}"
        columns.append([f"{cell:{width}}" for cell in column])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
