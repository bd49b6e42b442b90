"""Keep what runs reached, and make tables of it.

    python tools/results.py add checkpoints/compact_fer
    python tools/results.py tables RESULTS.md
    python tools/results.py curves results/curves.png

The first reads report.json, which test.py wrote there, and the files of the run, and writes
results/compact_fer.json. The second regenerates every marked table of a page (docs/results.md), the
third draws validation accuracy by epoch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferplus_keras import cli
from ferplus_keras.arguments import LineParser
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from tools.record import edits_refused, write_result
from tools.tables import Sources, fill, read_results


@cli.exit_code
def main(argv: Sequence[str]) -> None:
    """Do what the command line asks for and return the exit code."""
    parser = LineParser(description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="add|tables|curves")
    add = actions.add_parser("add", help="keep evaluations as JSON")
    add.add_argument("evaluations", nargs="+", type=Path, help="folder of report.json")
    add.add_argument("--name", help="of the result; default: the run's")
    add.add_argument("--recipe", type=Path, help="default: recipes/NAME.yaml by the run's name")
    add.set_defaults(action=_add)
    tables = actions.add_parser("tables", help="regenerate the tables of a page")
    tables.add_argument("page", type=Path, help="Markdown file")
    tables.add_argument("--recipes_dir", type=Path, default=Path("recipes"))
    tables.add_argument("--published", type=Path, default=Path("docs/recipes.md"))
    tables.set_defaults(action=_tables)
    curves = actions.add_parser("curves", help="draw validation accuracy by epoch")
    curves.add_argument("picture", type=Path, help="PNG file")
    curves.set_defaults(action=_curves)
    for action in (add, tables, curves):
        action.add_argument("--results_dir", type=Path, default=Path("results"))
    arguments = parser.parse_args(argv)
    with edits_refused(f"a result in {arguments.results_dir}"):
        arguments.action(arguments)


def _add(arguments: argparse.Namespace) -> None:
    for evaluation in arguments.evaluations:
        print(write_result(evaluation, arguments.results_dir, arguments.name, arguments.recipe))


def _tables(arguments: argparse.Namespace) -> None:
    try:
        text = arguments.page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {arguments.page}: {error.strerror}") from None
    sources = Sources(arguments.results_dir, arguments.recipes_dir, arguments.published)
    with replacing(arguments.page) as temporary:
        temporary.write_text(fill(text, sources), encoding="utf-8")
    print(f"tables of {arguments.page} from {arguments.results_dir}")


def _curves(arguments: argparse.Namespace) -> None:
    draw_histories(read_results(arguments.results_dir), arguments.picture)
    print(arguments.picture)


def draw_histories(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw every training's validation accuracy by epoch, one panel per data set.

    Args:
        results: as `read_results` returns them.
        path: PNG file, replaced whole.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[float]]] = {}
    for result in results.values():
        panel = panels.setdefault(result["evaluation"]["dataset_name"], {})
        for network in result["networks"]:
            panel[network["name"]] = network["history"]["val_accuracy"]
    figure = Figure(figsize=(10, 3 * len(panels)), layout="constrained")
    heights = [6 + len(panels[dataset]) for dataset in sorted(panels)]
    column = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (dataset, histories) in zip(column, sorted(panels.items()), strict=True):
        axes.set_prop_cycle(color=colormaps["tab20"].colors)
        for name, history in sorted(histories.items(), key=lambda pair: -max(pair[1])):
            percent = [100 * accuracy for accuracy in history]
            axes.plot(range(1, len(history) + 1), percent, label=f"{name}: {max(percent):.1f}%")
        axes.set_title(dataset)
        best = [100 * max(history) for history in histories.values()]
        axes.set_ylim(min(best) - 12, max(best) + 1)  # the first epochs lie far below
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
