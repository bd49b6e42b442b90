"""The command lines: arguments to one function to an exit code.

0 done, 1 refused or failed with one clear line, 2 wrong arguments, 130 interrupted.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ferplus_keras.arguments import LineParser, read_config
from ferplus_keras.audit import command as audit_command
from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.compare import command as compare_command
from ferplus_keras.config import EvaluateConfig, TrainConfig, default_data_dir
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.votes import LABEL_RULES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.explain import command as explain_command
from ferplus_keras.export import command as export_command
from ferplus_keras.extras import STACK, not_installed, require
from ferplus_keras.inference.app import command as app_command
from ferplus_keras.models.registry import list_models
from ferplus_keras.sweep import command as sweep_room

TRAIN_DESCRIPTION = """\
Fine-tune a face-recognition network to facial expressions.

  python train.py --model_name ResNet50 --freeze_before -51

reads data/fer2013.csv and data/fer2013new.csv, trains the layers from activation_36 on, and
leaves checkpoints, training.csv and curves.png in checkpoints/experiment_1/. Settings may also
come from a YAML file (--config recipe.yaml); flags win over it. Ctrl-C is safe: --resume goes
on."""

TEST_DESCRIPTION = """\
Evaluate a checkpoint on the validation and test splits, every row once.

  python test.py --checkpoint_path checkpoints/experiment_1/model_max_acc.keras

prints the scores and writes report.json, predictions.csv and confusion_matrix.png beside the
checkpoint. The checkpoint knows its network, classes and label rule."""

FIND_LR = """\
Raise the learning rate step by step on real training batches until the loss blows up.

  python -m ferplus_keras find-lr --model_name CompactFER --optimizer SGD --name trial

takes train.py's settings, prints the rate that they suggest and leaves lr_finder.csv and
lr_finder.png in checkpoints/trial/."""

PRETRAIN = """\
Train a network's backbone on all training faces without their labels (SimCLR).

  python -m ferplus_keras pretrain --model_name CompactFER --name pretrained

takes train.py's settings, but --augmentation strong unless it is given, and leaves
checkpoints/pretrained/final_model.keras, from which train.py --weights goes on. What concerns
targets, head and loss has no meaning here (docs/training.md)."""

PRETRAIN_DEFAULTS = ("--augmentation", "strong")
"""Two views must differ more than train.py's crops do."""


def train_command(argv: Sequence[str] | None = None) -> int:
    """Run `train.py` and return its exit code."""

    def job(argv: Sequence[str]) -> None:
        config = _training_settings(argv, "train.py", TRAIN_DESCRIPTION)
        from ferplus_keras.training.train import train

        train(config)

    return run(job, argv)


def pretrain_command(argv: Sequence[str] | None = None) -> int:
    """Run `python -m ferplus_keras pretrain` and return its exit code."""

    def job(argv: Sequence[str]) -> None:
        prog = "python -m ferplus_keras pretrain"
        config = _training_settings(argv, prog, PRETRAIN, PRETRAIN_DEFAULTS)
        load_keras()
        from ferplus_keras.training.contrastive import pretrain

        pretrain(config)

    return run(job, argv)


def find_lr_command(argv: Sequence[str] | None = None) -> int:
    """Run `python -m ferplus_keras find-lr` and return its exit code."""

    def job(argv: Sequence[str]) -> None:
        config = _training_settings(argv, "python -m ferplus_keras find-lr", FIND_LR)
        load_keras()
        from ferplus_keras.training.lr_finder import find_learning_rate

        find_learning_rate(config)

    return run(job, argv)


def evaluate_command(argv: Sequence[str] | None = None) -> int:
    """Run `test.py` and return its exit code."""

    def job(argv: Sequence[str]) -> None:
        config = read_config(EvaluateConfig, argv, "test.py", TEST_DESCRIPTION)
        choose_backend(config.num_gpus)
        require(STACK, "evaluation")
        from ferplus_keras.evaluation.evaluate import evaluate

        evaluate(config)

    return run(job, argv)


def predict_command(argv: Sequence[str] | None = None) -> int:
    """Run `predict.py` and return its exit code."""

    def job(argv: Sequence[str]) -> None:
        from ferplus_keras.inference.command import predict

        predict(argv)

    return run(job, argv)


def sweep_command(argv: Sequence[str] | None = None) -> int:
    """Run `python -m ferplus_keras sweep` and return its exit code."""

    def job(argv: Sequence[str]) -> None:
        parser = LineParser(allow_abbrev=False)
        sweep_room.add_arguments(parser)
        sweep_room.run_command(*parser.parse_known_args(argv))

    return run(job, argv)


SCRIPTS = {
    "train": train_command,
    "test": evaluate_command,
    "predict": predict_command,
    "sweep": sweep_command,
    "pretrain": pretrain_command,
    "find-lr": find_lr_command,
}
"""Commands with a parser of their own: those of train.py, test.py, predict.py, and the sweep's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m ferplus_keras` and return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in SCRIPTS:
        return SCRIPTS[argv[0]](argv[1:])

    def job(argv: Sequence[str]) -> None:
        arguments = _main_parser().parse_args(argv)
        arguments.job(arguments)

    return run(job, argv)


def run(job: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> int:
    """Run `job` on the arguments and return the exit code; a user's mistake is one line."""
    argv = sys.argv[1:] if argv is None else argv
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _interrupt)  # a cluster's "time is up" is a Ctrl-C
    try:
        job(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        missing = not_installed(error)
        if missing is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None:  # not the operating system's word: a defect, show where
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror}{where}", file=sys.stderr)
        return 1
    return 0


def _training_settings(
    argv: Sequence[str], prog: str, description: str, defaults: Sequence[str] = ()
) -> TrainConfig:
    """Return a training's settings, with its backend chosen and what it needs found installed."""
    config = read_config(TrainConfig, argv, prog, description, defaults)
    choose_backend(config.num_gpus)
    require(STACK, "training")
    return config


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def _main_parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="python -m ferplus_keras",
        description="Tools around train.py and test.py.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name in ("train", "test", "predict"):
        commands.add_parser(name, help=f"the same as {name}.py")
    commands.add_parser("sweep", help="search over settings of train.py")
    commands.add_parser("pretrain", help="train a backbone on faces without labels")
    commands.add_parser("find-lr", help="find a learning rate for train.py's settings")

    labels = commands.add_parser("labels", help="count the rows that a label rule keeps")
    labels.add_argument("--data_dir", default=default_data_dir())
    labels.add_argument("--dataset_name", choices=list(DATASETS), default="FERPlus")
    labels.add_argument("--label_rule", choices=list(LABEL_RULES), default="majority")
    labels.add_argument("--class_map", nargs="+", metavar="NEW=OLD+OLD", help="as for train.py")
    labels.add_argument("--cache_dir", help="where parsed pixels are kept")
    labels.add_argument("--json", action="store_true", help="print JSON instead of a table")
    labels.set_defaults(job=_labels)

    layers = commands.add_parser("layers", help="list a network's layers and their positions")
    layers.add_argument("--model_name", choices=list_models(), required=True)
    layers.add_argument("--freeze_before", default=0, help="as for train.py")
    layers.add_argument("--image_size", type=int, help="default: the network's own")
    layers.add_argument("--num_classes", type=int, default=8)
    layers.add_argument("--json", action="store_true", help="print JSON instead of a table")
    layers.set_defaults(job=_layers)

    lists = commands.add_parser("layer-lists", help="write layer_lists/*.txt")
    lists.add_argument("out_dir", type=Path, nargs="?", default=Path("layer_lists"))
    lists.set_defaults(job=_layer_lists)

    sample = commands.add_parser("sample-data", help="write a drawn data set in the real formats")
    sample.add_argument("out_dir", type=Path)
    sample.add_argument("--rows", type=int, help="rows of each CSV file")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--overwrite", action="store_true", help="replace files that are there")
    sample.set_defaults(job=_sample_data)

    explain = commands.add_parser("explain", help="show which pixels made a network decide so")
    explain_command.add_arguments(explain)
    explain.set_defaults(job=explain_command.explain)

    export = commands.add_parser("export", help="write a checkpoint for another runtime")
    export_command.add_arguments(export)
    export.set_defaults(job=export_command.export)

    app = commands.add_parser("app", help="serve a page: pictures in, expressions out")
    app_command.add_arguments(app)
    app.set_defaults(job=app_command.app)

    audit = commands.add_parser("audit", help="look at labels, votes, twins and leaks")
    audit_command.add_arguments(audit)
    audit.set_defaults(job=audit_command.audit)

    compare = commands.add_parser("compare", help="set evaluations side by side")
    compare_command.add_arguments(compare)
    compare.set_defaults(job=compare_command.compare)
    return parser


def _labels(arguments: argparse.Namespace) -> None:
    from ferplus_keras.data.dataset import format_label_counts, label_counts

    counts = label_counts(
        arguments.data_dir,
        arguments.dataset_name,
        arguments.label_rule,
        arguments.cache_dir,
        arguments.class_map,
    )
    print(json.dumps(counts, indent=2) if arguments.json else format_label_counts(counts))


def _layers(arguments: argparse.Namespace) -> None:
    choose_backend(num_gpus=0)
    from ferplus_keras.models.freeze import describe_layers, format_layers, freeze_before
    from ferplus_keras.models.registry import build_model

    model = build_model(
        arguments.model_name,
        arguments.num_classes,
        weights="none",
        image_size=arguments.image_size,
    )
    boundary = freeze_before(model, arguments.freeze_before)
    rows = describe_layers(model)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print(format_layers(rows))
        print(boundary.describe())


def _layer_lists(arguments: argparse.Namespace) -> None:
    choose_backend(num_gpus=0)
    from ferplus_keras.models.layer_lists import write_layer_lists

    for path in write_layer_lists(arguments.out_dir):
        print(path)


def _sample_data(arguments: argparse.Namespace) -> None:
    from ferplus_keras.data.sample_faces import write_sample_data

    rows = {} if arguments.rows is None else {"rows": arguments.rows}
    folder = write_sample_data(
        arguments.out_dir, seed=arguments.seed, overwrite=arguments.overwrite, **rows
    )
    print(f"fer2013.csv, fer2013new.csv and faces.png are in {folder}")
