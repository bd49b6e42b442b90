"""What a start from FER+ weights gives to few pictures with own classes.

    python benchmarks/own_classes.py --data_dir D

Writes 300 faces of fer2013.csv's validation rows as pictures in folders of three own classes
(pleasant: happiness; unpleasant: anger, sadness, fear, disgust; other: surprise, neutral), and as
many of the test rows to evaluate on. No training row of FER+ is among them. Trains each network
from each of its starting weights on them and prints one table; --json FILE keeps it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

from ferplus_keras.config import EvaluateConfig, TrainConfig
from ferplus_keras.data.dataset import load_split
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.run import MAX_ACCURACY
from ferplus_keras.training.train import train

CLASSES = {
    "pleasant": ("happiness",),
    "unpleasant": ("anger", "sadness", "fear", "disgust"),
    "other": ("surprise", "neutral"),
}
STARTS = {
    "FastFER": ("ferplus", "none"),
    "CompactFER": ("ferplus", "none"),
    "DlibResNet": ("ferplus", "dlib", "none"),
}
SETTINGS = {
    "dataset_name": "Folder",
    "augmentation": "strong",
    "optimizer": "AdamW",
    "init_lr": 0.001,
    "lr_policy": "cosine",
    "warmup_epochs": 1,
    "ema": 0.9,
    "early_stopping": 0,
    "batch_size": 32,
    "loggers": (),
}


def write_pictures(data_dir: str, folder: Path, rows: int) -> None:
    """Write `rows` faces each of validation (as train, a fifth as validation) and test."""
    rng = np.random.default_rng(0)
    for split in ("validation", "test"):
        faces = load_split(data_dir, split, dataset_name="FER")
        labels = faces.targets.argmax(axis=1)
        for name, members in CLASSES.items():
            numbers = [faces.class_names.index(member) for member in members]
            chosen = rng.permutation(np.flatnonzero(np.isin(labels, numbers)))[: rows // 3]
            for place, row in enumerate(chosen):
                part = "test" if split == "test" else ("validation" if place % 5 == 0 else "train")
                path = folder / part / name / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), faces.images[row])


def measure(folder: Path, epochs: int, seeds: int) -> list[dict]:
    """Return one row per network and start: its accuracy on the test pictures, by seed."""
    rows = []
    for network, starts in STARTS.items():
        for weights in starts:
            accuracies = []
            for seed in range(seeds):
                run = train(
                    TrainConfig(
                        data_dir=str(folder / "pictures"),
                        checkpoints_dir=str(folder / "runs"),
                        name=f"{network}_{weights}_{seed}",
                        model_name=network,
                        weights=weights,
                        image_size=112 if network == "DlibResNet" else None,
                        trunk_lr=1.0 if weights == "none" else 0.3333,
                        nepochs=epochs,
                        seed=seed,
                        **SETTINGS,
                    )
                )
                config = EvaluateConfig(
                    checkpoint_path=(str(run / MAX_ACCURACY),), splits=("test",)
                )
                accuracies.append(evaluate(config)["splits"]["test"]["accuracy"])
            rows.append({"network": network, "weights": weights, "accuracies": accuracies})
    return rows


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--pictures", type=int, default=300, help="to train on [300]")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(arguments.data_dir, folder / "pictures", arguments.pictures)
        rows = measure(folder, arguments.epochs, arguments.seeds)
    print(f"\n{'network':<12}{'starts from':<14}{'test accuracy':>14}{'spread':>8}")
    for row in rows:
        mean, spread = np.mean(row["accuracies"]), np.std(row["accuracies"])
        print(f"{row['network']:<12}{row['weights']:<14}{mean:>14.1%}{spread:>8.1%}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
