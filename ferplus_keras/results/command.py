"""The command `results`: its arguments, and the work behind them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing

DESCRIPTION = """\
Keep what runs reached, and make tables of it.

  python -m ferplus_keras results add checkpoints/compact_fer
  python -m ferplus_keras results tables RESULTS.md
  python -m ferplus_keras results curves results/curves.png

The first reads report.json, which test.py wrote there, and the files of the run, and writes
results/compact_fer.json. The second makes every marked table of a page anew (docs/results.md), the
third draws validation accuracy by epoch."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `results`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(required=True, metavar="add|tables|curves")

    add = actions.add_parser("add", help="keep evaluations as JSON")
    add.add_argument(
        "evaluations", nargs="+", type=Path, metavar="EVALUATION", help="folder of report.json"
    )
    add.add_argument("--name", help="of the result; default: the run's")
    add.add_argument("--recipe", type=Path, help="default: recipes/NAME.yaml by the run's name")
    add.set_defaults(job=_add)

    tables = actions.add_parser("tables", help="make the tables of a page anew")
    tables.add_argument("page", type=Path, help="Markdown file")
    tables.add_argument("--recipes_dir", type=Path, default=Path("recipes"))
    tables.add_argument("--published", type=Path, default=Path("docs/recipes.md"))
    tables.set_defaults(job=_tables)

    curves = actions.add_parser("curves", help="draw validation accuracy by epoch")
    curves.add_argument("picture", type=Path, help="PNG file")
    curves.set_defaults(job=_curves)

    for action in (add, tables, curves):
        action.add_argument("--results_dir", type=Path, default=Path("results"))


def _add(arguments: argparse.Namespace) -> None:
    from ferplus_keras.results.record import write_result

    for evaluation in arguments.evaluations:
        print(write_result(evaluation, arguments.results_dir, arguments.name, arguments.recipe))


def _tables(arguments: argparse.Namespace) -> None:
    from ferplus_keras.results.tables import Sources, fill

    try:
        text = arguments.page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {arguments.page}: {error.strerror}") from None
    sources = Sources(arguments.results_dir, arguments.recipes_dir, arguments.published)
    with replacing(arguments.page) as temporary:
        temporary.write_text(fill(text, sources), encoding="utf-8")
    print(f"tables of {arguments.page} from {arguments.results_dir}")


def _curves(arguments: argparse.Namespace) -> None:
    from ferplus_keras.results.picture import draw_histories
    from ferplus_keras.results.tables import read_results

    draw_histories(read_results(arguments.results_dir), arguments.picture)
    print(arguments.picture)
