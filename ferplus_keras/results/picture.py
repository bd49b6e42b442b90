"""The picture of the kept results: validation accuracy by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ferplus_keras.files import replacing


def draw_histories(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw every training's validation accuracy by epoch, one panel a data set.

    Args:
        results: as `read_results` returns them.
        path: PNG file, replaced whole.
    """
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[float]]] = {}
    for result in results.values():
        panel = panels.setdefault(result["evaluation"]["dataset_name"], {})
        for network in result["networks"]:
            panel[network["name"]] = network["history"]["val_accuracy"]
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    for axes, (dataset, histories) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], sorted(panels.items()), strict=True
    ):
        for name, history in sorted(histories.items(), key=lambda pair: -max(pair[1])):
            epochs = range(1, len(history) + 1)
            axes.plot(
                epochs, [100 * value for value in history], label=f"{name}: {max(history):.1%}"
            )
        axes.set_title(dataset)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
