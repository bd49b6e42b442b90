"""Measure what logit adjustment does for rare classes, on the validation rows of trained runs.

    python benchmarks/rare_classes.py checkpoints/dlib_resnet checkpoints/dlib_resnet_seed1 …

The table has the mean over the runs, such as the seeds of one recipe; --json keeps each run. The
probabilities in each run's predictions.csv are divided by the training frequencies of the classes
to the power tau (Menon et al., ICLR 2021, arXiv 2007.07314). `crossfit` takes for each fifth of the
rows the tau that gives the best macro F1 on the other four fifths, so that no row chooses its own.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, recall_score

from ferplus_keras import load_split
from ferplus_keras.run import PREDICTIONS

TAUS = np.arange(0, 1.01, 0.05)
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
FOLDS = 5


def adjusted(probabilities: np.ndarray, prior: np.ndarray, tau: float) -> np.ndarray:
    """Return the answers (n,) int of probabilities (n, C) divided by prior ** tau."""
    return np.argmax(probabilities / prior**tau, axis=1)


def crossfit(probabilities: np.ndarray, prior: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the answers (n,) int, each fifth of the rows with the tau that the others choose."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    answers = np.empty(len(labels), int)
    for each in range(FOLDS):
        rest = fold != each
        macro = [
            f1_score(labels[rest], adjusted(probabilities[rest], prior, tau), average="macro")
            for tau in TAUS
        ]
        answers[~rest] = adjusted(probabilities[~rest], prior, TAUS[np.argmax(macro)])
    return answers


def measure(run: Path, prior: np.ndarray, names: tuple[str, ...]) -> list[dict]:
    """Return one row per tau, and the cross-fitted one."""
    table = pd.read_csv(run / PREDICTIONS).query("split == 'validation'")
    labels = np.array([names.index(label) for label in table["label"]])
    probabilities = table[list(names)].to_numpy()
    answers = {f"{tau:g}": adjusted(probabilities, prior, tau) for tau in SHOWN}
    answers["crossfit"] = crossfit(probabilities, prior, labels)
    return [
        {
            "run": run.name,
            "tau": tau,
            "accuracy": float(np.mean(labels == found)),
            "macro_f1": float(f1_score(labels, found, average="macro")),
            "recall": dict(
                zip(names, recall_score(labels, found, average=None).tolist(), strict=True)
            ),
        }
        for tau, found in answers.items()
    ]


def main() -> int:
    """Print the table and write JSON; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders with predictions.csv")
    parser.add_argument("--data_dir", help="as for train.py")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    split = load_split(arguments.data_dir, "train", label_rule="majority")
    prior, names = split.targets.mean(axis=0), tuple(split.class_names)
    rare = [names[index] for index in np.argsort(prior)[:3]]
    rows = [row for run in arguments.runs for row in measure(run, prior, names)]
    table = pd.json_normalize(rows).drop(columns="run")
    shown = ["accuracy", "macro_f1", *(f"recall.{name}" for name in rare)]
    mean = 100 * table.groupby("tau", sort=False)[shown].mean()
    print(f"validation, mean over {len(arguments.runs)} runs, percentages\n{mean.round(1)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
