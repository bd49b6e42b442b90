"""The picture of a run: loss, accuracy and learning rate by epoch."""

from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.files import replacing

TRAIN_COLOUR, VALIDATION_COLOUR = "#0072b2", "#d55e00"


def draw_curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draw curves.png.

    Args:
        rows: one dictionary an epoch, as training.csv has them.
        path: PNG file, replaced whole.
    """
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 5), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
    panels = (("accuracy", max, "best"), ("loss", min, "lowest"))
    for column, (name, best_of, word) in enumerate(panels):
        axes = figure.add_subplot(grid[0, column])
        validation = [row[f"val_{name}"] for row in rows]
        marker = "." if len(rows) < 40 else None
        axes.plot(
            epochs, [r[name] for r in rows], color=TRAIN_COLOUR, marker=marker, label="training"
        )
        axes.plot(epochs, validation, color=VALIDATION_COLOUR, marker=marker, label="validation")
        best = best_of(validation)
        epoch = epochs[validation.index(best)]
        axes.plot(epoch, best, "o", color=VALIDATION_COLOUR, markerfacecolor="none", markersize=10)
        axes.set_title(f"{name}: {word} {best:.4f} in epoch {epoch:.0f}", fontsize=10)
        axes.set_yscale("log" if name == "loss" else "linear")  # early losses dwarf the rest
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    axes = figure.add_subplot(grid[1, :])
    axes.step(epochs, [row["learning_rate"] for row in rows], where="mid", color="#555555")
    axes.set_yscale("log")
    axes.set_ylabel("learning rate")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
