"""The picture of a run: loss, accuracy and learning rate by epoch."""

from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.files import replacing

TRAIN_COLOUR, VALIDATION_COLOUR = "#0072b2", "#d55e00"


def draw_curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draw curves.png.

    Args:
        rows: one dictionary per epoch, as training.csv has them.
        path: PNG file, replaced whole.
    """
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 5), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
    for column, (name, best_of) in enumerate((("accuracy", max), ("loss", min))):
        axes = figure.add_subplot(grid[0, column])
        marker = "." if len(rows) < 40 else None
        for label, key, colour in (
            ("training", name, TRAIN_COLOUR),
            ("validation", f"val_{name}", VALIDATION_COLOUR),
        ):
            values = [row[key] for row in rows]
            axes.plot(epochs, values, color=colour, marker=marker, label=label)
        best = best_of(values)
        epoch = epochs[values.index(best)]
        axes.plot(epoch, best, "o", color=VALIDATION_COLOUR, markerfacecolor="none", markersize=10)
        axes.set_title(f"{name}: {best_of.__name__}. {best:.4f} in epoch {epoch:.0f}", fontsize=10)
        axes.set_yscale("log" if name == "loss" else "linear")  # early losses dwarf the rest
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
    axes = figure.add_subplot(grid[1, :])
    axes.step(epochs, [row["learning_rate"] for row in rows], where="mid", color="#555555")
    axes.set(yscale="log", ylabel="learning rate")
    for axes in figure.axes:
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
