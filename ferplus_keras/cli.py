"""The command line: from a command's name and arguments to one function and an exit code.

0 done, 1 refused or failed with one clear line, 2 wrong arguments, 130 interrupted, 143 terminated.
"""

import argparse
import codecs
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ferplus_keras import __version__
from ferplus_keras.arguments import LineParser, add_settings
from ferplus_keras.cluster import leave, lost_process, process_count
from ferplus_keras.errors import (
    InputError,
    Terminated,
    UsageError,
    handling,
    is_out_of_memory,
    one_line,
    unknown,
)
from ferplus_keras.extras import EVALUATION, STACK, not_installed, require

PROG = "python -m ferplus_keras"

TRAIN = """\
Fine-tune a face-recognition network to facial expressions.

  python train.py --model_name ResNet50 --freeze_before -51

reads data/fer2013.csv and data/fer2013new.csv, trains the layers from activation_36 on, and
leaves checkpoints, training.csv and curves.png in checkpoints/experiment_1/. Settings may also
come from a YAML file (--config recipe.yaml); flags win over it. Ctrl-C is safe: --resume
continues."""

TEST = """\
Evaluate trained models on the validation and test splits, every row once.

  python test.py --checkpoint_path checkpoints/experiment_1/model_max_acc.keras

prints the scores and writes report.json, report.html, predictions.csv and confusion_matrix.png
beside the model. The file knows its network, classes and label rule."""

FIND_LR = """\
Raise the learning rate step by step on real training batches until the loss diverges.

  python -m ferplus_keras find-lr --model_name CompactFER --optimizer SGD --name trial

takes train.py's settings, prints the rate that they suggest and leaves lr_finder.csv and
lr_finder.png in checkpoints/trial/."""

PRETRAIN = """\
Train a network's backbone on all training faces without their labels (SimCLR).

  python -m ferplus_keras pretrain --model_name CompactFER --weights none --name pretrained

takes train.py's settings, but --augmentation strong unless it is given, and leaves
checkpoints/pretrained/final_model.keras, from which train.py --weights starts. Settings of
targets, head and loss have no meaning here (docs/training.md)."""

Parsed = tuple[Callable[[Any], Any], Any]
"""A verb and the arguments it is to be called with."""

Parse = Callable[[str, Sequence[str]], Parsed]
"""From a program's name for `--help` and the words of a command line."""


class Command(NamedTuple):
    """One command: a line for the list of commands, what reads its arguments, and its script."""

    help: str
    parse: Parse
    script: str | None = None


def _settings(
    config: str, verb: str, description: str, defaults: Sequence[str] = (), with_keras: bool = False
) -> Parse:
    """Return a parser of the settings of a class in config.py, run by a "module:function"."""

    def parse(prog: str, argv: Sequence[str]) -> Parsed:
        from ferplus_keras import config as settings
        from ferplus_keras.backend import choose_backend, load_keras

        found = settings.read_config(getattr(settings, config), argv, prog, description, defaults)
        if config == "TrainConfig":
            choose_backend(found.num_gpus)
            require(STACK, "training")
        else:  # what runs the model depends on its file
            from ferplus_keras.formats import FORMATS

            kinds = [form for form in FORMATS.values() if form.precisions]
            exports = {end for form in kinds for end in form.suffixes if end}
            light = any(Path(file).suffix in exports for file in found.checkpoint_path or ())
            require(EVALUATION, "evaluation", "evaluation" if light else "tensorflow")
        if with_keras:
            load_keras()
        return _function(verb), found

    return parse


def _arguments(add_arguments: Callable[[LineParser], Callable[[Any], Any]]) -> Parse:
    """Return what parses the arguments that a function adds before it returns the verb."""

    def parse(prog: str, argv: Sequence[str]) -> Parsed:
        parser = LineParser(prog=prog)
        verb = add_arguments(parser)
        return verb, parser.parse_args(argv)

    return parse


def _module(verb: str) -> Parse:
    """Return a parser of a command whose module has `add_arguments(parser)` and `DESCRIPTION`."""

    def add_arguments(parser: LineParser) -> Callable[[Any], Any]:
        function = _function(verb)
        module = import_module(function.__module__)
        parser.description = module.DESCRIPTION
        module.add_arguments(parser)
        return function

    return _arguments(add_arguments)


def _function(verb: str) -> Callable[[Any], Any]:
    module, _, name = verb.partition(":")
    return getattr(import_module(f"ferplus_keras.{module}"), name)


def _labels(parser: LineParser) -> Callable[[Any], Any]:
    from ferplus_keras.config import DATA, TrainConfig
    from ferplus_keras.data.counts import format_label_counts, label_counts

    parser.description = "Count the rows of each split and class that a label rule keeps."
    add_settings(parser, TrainConfig, (*DATA, "class_map"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--output", type=Path, help="CSV file to write with the rows that are kept")

    def labels(arguments: argparse.Namespace) -> None:
        options = vars(arguments)
        as_json = options.pop("json")
        counts = label_counts(**options)
        print(json.dumps(counts, indent=2) if as_json else format_label_counts(counts))

    return labels


def _fetch(parser: LineParser) -> Callable[[Any], Any]:
    parser.description = (
        "Fetch what predicting needs beside the package: YuNet's file, once, checked.\n"
        "Afterwards everything works offline."
    )
    return lambda _: print(_function("inference.detectors:find_yunet")())


def _layers(parser: LineParser) -> Callable[[Any], Any]:
    from ferplus_keras.models.registry import MODELS, build_model

    parser.description = "List the layers of a network by their positions for --freeze_before."
    parser.add_argument("--model_name", choices=list(MODELS), required=True)
    parser.add_argument("--freeze_before", default=0, help="as for train.py")
    parser.add_argument("--image_size", type=int, help="default: the network's own")
    parser.add_argument("--num_classes", type=int, default=8, help="[8]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def layers(arguments: argparse.Namespace) -> None:
        from ferplus_keras.backend import load_keras

        load_keras(num_gpus=0)
        from ferplus_keras.models.freeze import describe_layers, format_layers, freeze_before

        shape = {"num_classes": arguments.num_classes, "image_size": arguments.image_size}
        model = build_model(arguments.model_name, weights="none", **shape)
        boundary = freeze_before(model, arguments.freeze_before)
        rows = describe_layers(model)
        if arguments.json:
            print(json.dumps(rows, indent=2))
        else:
            print(f"{format_layers(rows)}\n{boundary.describe()}")

    return layers


def _sample_data(parser: LineParser) -> Callable[[Any], Any]:
    parser.description = "Write fer2013.csv and fer2013new.csv with drawn faces, to try things out."
    parser.add_argument("out_dir", type=Path, help="folder to write, such as demo/data")
    parser.add_argument("--rows", type=int, default=2400, help="of each file, 400 or more [2400]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")

    def sample_data(arguments: argparse.Namespace) -> None:
        folder = _function("data.sample_faces:write_sample_data")(**vars(arguments))
        print(f"fer2013.csv, fer2013new.csv and faces.png are in {folder}")

    return sample_data


def _sweep(prog: str, argv: Sequence[str]) -> Parsed:
    from ferplus_keras.sweep import DESCRIPTION, add_arguments, run_command

    parser = LineParser(prog=prog, description=DESCRIPTION)
    add_arguments(parser)
    arguments, train_flags = parser.parse_known_args(argv)
    return partial(run_command, arguments), train_flags


COMMANDS = {
    "train": Command(
        "fine-tune a network; the same as train.py",
        _settings("TrainConfig", "training.train:train", TRAIN),
        "train.py",
    ),
    "test": Command(
        "evaluate trained models; the same as test.py",
        _settings("EvaluateConfig", "evaluation.evaluate:evaluate", TEST),
        "test.py",
    ),
    "predict": Command(
        "classify the faces in photos and video; the same as predict.py",
        _module("inference.command:predict"),
        "predict.py",
    ),
    "fetch": Command("download YuNet's file for predict and serve", _arguments(_fetch)),
    "serve": Command("serve a page and a REST interface", _module("serve.command:serve")),
    "app": Command("the same as serve", _module("serve.command:serve")),
    "explain": Command("show which pixels decided", _module("explain.command:explain")),
    "export": Command("write a model for another runtime", _module("export:run_command")),
    "evaluate": Command(
        "score the predictions of any model", _module("evaluation.predictions:evaluate_predictions")
    ),
    "card": Command("write a model card, and share the run", _module("evaluation.card:card")),
    "compare": Command("compare evaluations", _module("evaluation.compare:compare")),
    "audit": Command(
        "inspect labels, votes, duplicates and leaks", _module("evaluation.audit:audit")
    ),
    "labels": Command("count the rows that a label rule keeps", _arguments(_labels)),
    "layers": Command("list a network's layers and their positions", _arguments(_layers)),
    "sample-data": Command("write a drawn data set in the real formats", _arguments(_sample_data)),
    "sweep": Command("search over settings of train.py", _sweep),
    "pretrain": Command(
        "train a backbone on faces without labels",
        _settings(
            "TrainConfig",
            "training.pretrain:pretrain",
            PRETRAIN,
            defaults=("--augmentation", "strong"),  # two views must differ more than crops do
            with_keras=True,
        ),
    ),
    "find-lr": Command(
        "find a learning rate for train.py's settings",
        _settings("TrainConfig", "training.lr_finder:find_learning_rate", FIND_LR, with_keras=True),
    ),
}
"""Every command by name."""


def exit_code(
    read: Callable[[Sequence[str]], Parsed | None],
) -> Callable[[Sequence[str] | None], int]:
    """Make a program of a function of its arguments: what a user can put right is one line.

    The program takes its arguments, by default those of the process, calls the verb that the
    function returns, if any, and returns its exit code.
    """

    @wraps(read)
    def main(argv: Sequence[str] | None = None) -> int:
        escape_output()
        warnings.filterwarnings("ignore", "Glyph")  # that Matplotlib's font lacks, of a name
        warnings.filterwarnings("ignore", module="PIL")  # of damaged pictures, which are named
        code = 0
        with handling(_terminate, "SIGTERM", "SIGHUP"):  # a cluster's "time is up" is a Ctrl-C
            try:
                if parsed := read(sys.argv[1:] if argv is None else argv):
                    verb, arguments = parsed
                    verb(arguments)
                sys.stdout.flush()
            except KeyboardInterrupt as stop:
                code = 128 + getattr(stop, "signal", signal.SIGINT)
                print("\ninterrupted" if code == 130 else "\nterminated", file=sys.stderr)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                code = 1
            except Exception as error:
                message = _message(error)
                if message is not None:
                    print(f"error: {message}", file=sys.stderr)
                elif process_count() == 1:
                    raise
                else:
                    traceback.print_exc()
                code = 2 if isinstance(error, UsageError) else 1
        if code:
            leave(code)
        return code

    return main


def escape_output() -> None:
    """Let standard output and error take every character, whatever their encoding.

    What it cannot express is escaped by a back slash; names that are not UTF-8 keep their bytes.
    """

    def escape(error: UnicodeError) -> tuple:
        try:
            return codecs.lookup_error("surrogateescape")(error)
        except UnicodeError:
            return codecs.lookup_error("backslashreplace")(error)

    codecs.register_error("bytes-or-backslash", escape)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by >&-
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="bytes-or-backslash")


def _terminate(number: int, frame: Any) -> None:
    raise Terminated(number)


def _message(error: Exception) -> str | None:
    """Return what a user reads of an error; None for a defect, whose traceback is wanted."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return not_installed(error)
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    if is_out_of_memory(error):
        said = f" ({one_line(error, 120)})" if str(error) else ""
        return f"not enough memory: lower --batch_size or --image_size, or shrink pictures{said}"
    return lost_process(error)


@exit_code
def main(argv: Sequence[str]) -> Parsed | None:
    """Run `python -m ferplus_keras COMMAND …` and return its exit code."""
    if not argv:
        raise UsageError(f"expected a command: {', '.join(COMMANDS)}")
    name, *words = argv
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(f"usage: {PROG} COMMAND [--help] …\n       {PROG} --version\n")
        for each, command in COMMANDS.items():
            print(f"  {each:<{width}}  {command.help}")
        return None
    if name == "--version":
        print(f"ferplus_keras {__version__}")
        return None
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    return COMMANDS[name].parse(COMMANDS[name].script or f"{PROG} {name}", words)
