"""The pictures of an evaluation and of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.files import replacing


def draw_confusion(report: dict[str, Any], path: Path) -> None:
    """Draw one confusion matrix a split: shares of the true class, counts in small print."""
    from matplotlib.figure import Figure

    splits = report["splits"]
    names = report["class_names"]
    figure = Figure(figsize=(6.2 * len(splits), 5.8), layout="constrained")
    for axes, (split_name, scores) in zip(
        figure.subplots(1, len(splits), squeeze=False)[0], splits.items(), strict=True
    ):
        counts = np.array(scores["confusion_matrix"])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                axes.text(
                    column,
                    row,
                    f"{shares[row, column]:.0%}\n{counts[row, column]}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if shares[row, column] > 0.5 else "black",
                )
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(
            f"{split_name}: accuracy {scores['accuracy']:.4f}, n = {scores['n']}", fontsize=11
        )
    figure.suptitle(
        f"{report['model']} on {report['dataset_name']}, {report['label_rule']}", fontsize=12
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
