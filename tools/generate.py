"""Write what repeats something: layer lists, marked tables of the documentation, and a served page.

    python tools/generate.py             # builds every network for its layer list
    python tools/generate.py --tables    # all but the layer lists

A page holds a generated table between `<!-- table: KIND -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferplus_keras import cli
from ferplus_keras.arguments import LineParser
from ferplus_keras.backend import load_keras
from ferplus_keras.data.augment import PRESETS, VIEWS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.files import replacing
from ferplus_keras.formats import FORMATS
from ferplus_keras.inference.detectors import DETECTORS
from ferplus_keras.models.registry import MODELS, ModelSpec, build_model
from ferplus_keras.registry import Registry
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.optimizers import OPTIMIZERS
from ferplus_keras.training.schedules import POLICIES, waiting
from tools.marks import fill, table

if TYPE_CHECKING:
    import keras

REPOSITORY = Path(__file__).resolve().parent.parent

LAYER_COLUMNS = ("position", "name", "original_name", "type", "shape", "parameters")

PAGES = ("README.md", "docs/*.md")
"""Pages that may hold generated tables."""

TABLES: Registry[Callable[[], str]] = Registry("table")
"""Every generated table by the kind that its mark names."""


def fill_tables(text: str) -> str:
    """Return a page with its tables as the code has them.

    Raises:
        UsageError: a mark names an unknown table.
        InputError: a mark has no end.
    """
    return fill(text, "table", lambda kind, _: TABLES[kind]())


@TABLES.register("commands")
def _commands() -> str:
    return table("command|what it does", [[f"`{k}`", v.help] for k, v in cli.COMMANDS.items()])


@TABLES.register("label_rules")
def _label_rules() -> str:
    rows = [
        [f"`{rule.name}`", rule.description, rule.kind.name, f"`{rule.evaluate_with}`"]
        for rule in LABEL_RULES.values()
    ]
    return table("`--label_rule`|label|target|validation and test are labelled by", rows)


@TABLES.register("data_sets")
def _data_sets() -> str:
    rows = [
        [f"`{label_set.name}`", label_set.description, ", ".join(label_set.class_names) or "yours"]
        for label_set in DATASETS.values()
    ]
    return table("`--dataset_name`|labels|classes", rows)


@TABLES.register("networks")
def _networks() -> str:
    rows = [
        [
            f"`{spec.name}`",
            f"{spec.image_size}, {_colour(spec)}" + ", centre" * (spec.crop < FACE_SIZE),
            _grey_levels(spec),
            f"{spec.dropout_rate}",
            f"{_parameters(spec.name):,}",
            f"`{spec.default_weights}`",
        ]
        for spec in MODELS.values()
    ]
    return table("network|image|grey levels become|dropout|parameters|starts from", rows)


def _colour(spec: ModelSpec) -> str:
    return {"grey": "grey", "rgb": "RGB", "bgr": "BGR"}[spec.channel_order]


def _grey_levels(spec: ModelSpec) -> str:
    """Return what preprocessing does to grey levels, to one decimal."""
    if spec.equalize:
        return "normalised lighting"
    parts = []
    for word, levels in (("minus", spec.mean), ("divided by", spec.std)):
        if any(levels):
            same = levels[:1] if len(set(levels)) == 1 else levels
            parts.append(f"{word} {' / '.join(f'{round(level, 1):g}' for level in same)}")
    return ", ".join(parts)


def _parameters(name: str) -> int:
    """Return a network's parameters for 8 classes, added up from its layer list."""
    text = (REPOSITORY / "layer_lists" / f"{name}.txt").read_text(encoding="utf-8")
    return sum(int(line.split()[-1].replace(",", "")) for line in text.splitlines()[1:])


@TABLES.register("policies")
def _policies() -> str:
    rows = [[f"`{name}`", _first(share or waiting)] for name, share in POLICIES.items()]
    return table("`--lr_policy`|what it does", rows)


@TABLES.register("presets")
def _presets() -> str:
    rows = [[f"`{name}`", _first(preset)] for name, preset in PRESETS.items()]
    return table("`--augmentation`|what it does", rows)


@TABLES.register("views")
def _views() -> str:
    return table("`--tta`|averages over", [[f"`{name}`", _first(v)] for name, v in VIEWS.items()])


@TABLES.register("loggers")
def _loggers() -> str:
    rows = [[f"`{name}`", _first(logger)] for name, logger in LOGGERS.items()]
    return table("`--loggers`|what it does", rows)


@TABLES.register("optimizers")
def _optimizers() -> str:
    return ", ".join(f"`{name}`" for name in OPTIMIZERS)


@TABLES.register("detectors")
def _detectors() -> str:
    rows = [[f"`{name}`", _first(detector)] for name, detector in DETECTORS.items()]
    return table("`--faces`|how faces are found", rows)


@TABLES.register("exports")
def _exports() -> str:
    rows = [
        [
            f"`{name}`",
            " and ".join(f"`{s}`" if s else "a folder" for s in (form.suffixes[0], *form.beside)),
            ", ".join(form.precisions),
            form.runs_in,
        ]
        for name, form in FORMATS.items()
        if form.precisions
    ]
    return table("`--format`|files|precisions|runs in", rows)


@TABLES.register("methods")
def _methods() -> str:
    rows = [
        [
            f"`{method.name}`",
            _first(method.function),
            method.source,
            "scores" if method.scores_suffice else "gradients",
        ]
        for method in METHODS.values()
    ]
    return table("`--method`|a pixel's value|published by|needs", rows)


def _first(function: Any) -> str:
    """Return the first paragraph of a docstring as a table's cell."""
    text = " ".join(function.__doc__.split("\n\n")[0].split())
    text = text.removeprefix("Return ").removesuffix(".")
    return text[0].upper() + text[1:]


def served_page(text: str) -> str:
    """Return a page of the documentation as the server shows it; links to other pages become text.

    `text` is Markdown, whose first line is the title.
    """
    import markdown_it

    title = text.splitlines()[0].removeprefix("# ")
    body = markdown_it.MarkdownIt().enable("table").render(text)
    body = re.sub(r'<a href="(?!https:)[^"]*">(.*?)</a>', r"\1", body)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="style.css">
<main class="prose">
{body}<p><a href="./">Back to the pictures</a></p>
</main>
</html>
"""


def layer_list(model: keras.Model) -> str:
    """Return the text of a network's file: its layers, for 8 classes and its own image size."""
    from ferplus_keras.models.freeze import describe_layers, format_layers

    return format_layers(describe_layers(model), LAYER_COLUMNS) + "\n"


def proper_use() -> tuple[Path, str]:
    """Return the path of the served page on proper use, and what it must be."""
    text = (REPOSITORY / "docs" / "proper_use.md").read_text(encoding="utf-8")
    return REPOSITORY / "ferplus_keras/serve/page/proper-use.html", served_page(text)


def _write(path: Path, text: str) -> None:
    """Write a file and say so, if it is not as it should be."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(path.relative_to(REPOSITORY))


@cli.exit_code
def main(argv: Sequence[str]) -> None:
    """Rewrite layer lists and pages, print those that changed, and return the exit code."""
    parser = LineParser(description=__doc__)
    parser.add_argument("--tables", action="store_true", help="leave layer_lists/ as they are")
    arguments = parser.parse_args(argv)
    if not arguments.tables:
        load_keras(num_gpus=0)
        for name in MODELS:
            text = layer_list(build_model(name, 8, weights="none"))
            with replacing(REPOSITORY / "layer_lists" / f"{name}.txt") as temporary:
                temporary.write_text(text, encoding="utf-8")
    for path in sorted(path for pattern in PAGES for path in REPOSITORY.glob(pattern)):
        old = path.read_text(encoding="utf-8")
        _write(path, fill_tables(old))
    _write(*proper_use())


if __name__ == "__main__":
    sys.exit(main())
