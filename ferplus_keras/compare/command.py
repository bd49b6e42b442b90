"""The command `compare`: its arguments, and the work behind them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ferplus_keras.emotions import SPLITS
from ferplus_keras.files import replacing, require_writable

DESCRIPTION = """\
Set evaluations side by side and say whether their difference could be chance.

  python -m ferplus_keras compare checkpoints/experiment_1 checkpoints/senet50

reads report.json and predictions.csv, which test.py wrote there, compares every run with the first
on the rows that both have, prints tables and writes compare.json and compare.png."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `compare`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder with report.json, two or more"
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="split to compare [test]")
    parser.add_argument(
        "--output_dir", type=Path, default=Path("comparison"), help="where files go [comparison]"
    )


def compare(arguments: argparse.Namespace) -> None:
    """Run `compare` and print its tables.

    Args:
        arguments: as `add_arguments` describes them.

    Raises:
        UsageError: fewer than two runs, or one is named twice.
        InputError: a run cannot be read, or runs cannot be compared with each other.
    """
    from ferplus_keras.compare.comparison import compare_runs
    from ferplus_keras.compare.picture import draw_comparison
    from ferplus_keras.compare.runs import read_runs
    from ferplus_keras.compare.table import format_comparison

    found = compare_runs(read_runs(arguments.runs, arguments.split), arguments.split)
    folder = arguments.output_dir
    require_writable(folder, "--output_dir")
    draw_comparison(found, folder / "compare.png")
    with replacing(folder / "compare.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(format_comparison(found))
    print(f"\ncompare.json and compare.png are in {folder}")
