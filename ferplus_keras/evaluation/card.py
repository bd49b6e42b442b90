"""The command `card`: a run's model card, and the run on the Hugging Face Hub."""

import argparse
import shlex
from pathlib import Path

from ferplus_keras import hub
from ferplus_keras.arguments import as_words, to_plain
from ferplus_keras.config import TrainConfig
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.errors import InputError, UsageError, as_input_error
from ferplus_keras.evaluation.metrics import wilson
from ferplus_keras.files import replacing, sha256
from ferplus_keras.formats import open_network
from ferplus_keras.lazy import jinja2
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.run import CARD, CONFIG, LIGHT, MAX_ACCURACY, PLACES, RECORD, REPORT, Run
from ferplus_keras.templates import render

DESCRIPTION = """\
Write a model card of an evaluated run: data, protocol, scores, hashes and how to load it.

  python -m ferplus_keras card checkpoints/experiment_1 --license apache-2.0
  python -m ferplus_keras card checkpoints/experiment_1 --license apache-2.0 --push user/name

writes model_card.md into the run; --push uploads it as README.md, with model_max_acc.keras and,
where it was exported, model_max_acc.onnx (docs/share.md)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `card`."""
    add = parser.add_argument
    add("run", type=Path, help="folder of a run that test.py has evaluated")
    add("--license", default="other", help="the Hub's identifier of the weights' licence [other]")
    add("--output", type=Path, help="file to write [model_card.md in the run]")
    add("--push", metavar="USER/NAME", help="upload card and model to the Hub")


def card(arguments: argparse.Namespace) -> None:
    """Write the card and, with --push, upload it with the model.

    Raises:
        UsageError: --push names no user/name, or --output no Markdown file.
        InputError: the run is not trained or evaluated, its report is of others, the Hub refuses.
    """
    run, address = Run(arguments.run), arguments.push
    if arguments.output and arguments.output.suffix != ".md":
        raise UsageError(f"--output: expected a file ending in .md, got {arguments.output}")
    if address is not None and [*map(bool, address.split("/"))] != [True, True]:
        raise UsageError(f"--push: expected USER/NAME, got '{address}'")
    output, light = arguments.output or run / CARD, run / LIGHT
    kinds = (jinja2.TemplateError, LookupError, TypeError, ValueError, AttributeError)
    with as_input_error(f"{REPORT}, {RECORD} or {CONFIG} in {run.folder} is damaged", *kinds):
        text = make_card(run, arguments.license, address)
    if address and light.is_file() and open_network(light).info != read_info(run / MAX_ACCURACY):
        raise InputError(f"{light} is not of the checkpoint {MAX_ACCURACY}: export it again")
    with replacing(output) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    print(output)
    if address:
        files = {"README.md": output, **{name: run / name for name in (MAX_ACCURACY, LIGHT)}}
        files = {name: path for name, path in files.items() if path.is_file()}
        where = hub.push(address, files, f"{run.folder.resolve().name}, by ferplus_keras")
        print(f"{', '.join(files)}: {where}")


def make_card(run: Run, licence: str = "other", address: str | None = None) -> str:
    """Return the card of a run as Markdown with the Hub's metadata block; errors as `card`."""
    report, record = run.report(), run.record()
    model = run / MAX_ACCURACY
    if report is None:
        raise InputError(f"no {REPORT} in {run.folder}: evaluate it by test.py first")
    if "members" in report or report["checkpoint_sha256"] != sha256(model):
        raise InputError(f"{run / REPORT} is not of {model} alone: evaluate it by test.py again")
    if "best" not in record:
        raise InputError(f"{run.folder} is not trained to its end: continue it by --resume")
    own, hashes = record["label_counts"].get("dataset_name"), record["data"].values()
    if own != report["dataset_name"] or not {*report["data"].values()} <= {*hashes}:
        raise InputError(f"{run / REPORT} is not of the {own} data on which the run was trained")
    settings, usual = run.settings(), to_plain(TrainConfig())
    changed = {k: v for k, v in settings.items() if k not in PLACES and v != usual.get(k)}
    if DATASETS[report["dataset_name"]].own_pictures:  # wherever they are
        changed["data_dir"] = "PICTURES"
    recalls = {
        split: {
            name: wilson(of["recall"], of["support"]) for name, of in found["per_class"].items()
        }
        for split, found in report["splits"].items()
    }
    place = f"hf://{address}" if address else str(model)
    start = ["python", "train.py", "--model_name", report["model"], "--weights", place]
    return render(
        "card.md",
        name=address.split("/")[1] if address else run.folder.resolve().name,
        licence=licence,
        address=place,
        start=shlex.join(start),
        report=report,
        record=record,
        data=DATASETS[report["dataset_name"]],
        command=shlex.join(["python", "train.py", *as_words(changed)]),
        recalls=recalls,
    )
