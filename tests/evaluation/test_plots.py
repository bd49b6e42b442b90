"""What the drawings of an evaluation show."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from ferplus_keras.evaluation.plots import (
    draw_comparison,
    draw_confusion,
    plot_history,
    plot_reliability,
    plot_roc,
)


@pytest.fixture
def figures(monkeypatch):
    """Return the list of figures that are saved, the newest last."""
    save, drawn = Figure.savefig, []

    def kept(figure, *places, **settings):
        drawn.append(figure)
        save(figure, *places, **settings)

    monkeypatch.setattr(Figure, "savefig", kept)
    return drawn


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_a_confusion_matrix_has_shares_of_the_true_class(figures, tmp_path):
    scores = {"confusion_matrix": [[3, 1], [0, 16]], "accuracy": 0.95, "n": 20}
    report = {"splits": {"test": scores}, "class_names": ["calm", "$glad$"]}
    report |= {"model": "Tiny", "dataset_name": "Folder", "label_rule": "own labels"}
    draw_confusion(report | {"evaluation_id": "ab"}, tmp_path / "matrix.png")
    (axes,) = figures[-1].axes
    assert [text.get_text() for text in axes.texts] == ["75%\n3", "25%\n1", "", "100%\n16"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert labels(axes.xaxis) == labels(axes.yaxis) == ["calm", "$glad$"]
    assert axes.get_title() == "test: accuracy 0.9500, n = 20"


@pytest.fixture
def found():
    """What `compare_reports` returns, as far as it is drawn."""
    runs = [
        {"name": name, "accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1]}
        | {"per_class_f1": {"sad": f1, "calm": 0.25}}
        for name, accuracy, f1 in (("$a$", 0.5, 0.5), ("b", 0.6, None), ("c", 0.4, 0.75))
    ]
    pairs = [
        {"second": "b", "p_holm": 0.04, "difference": 0.1, "difference_interval": [0.05, 0.15]},
        {"second": "c", "p_holm": 0.5, "difference": -0.1, "difference_interval": [-0.3, 0.1]},
    ]
    return {"split": "test", "class_names": ["calm", "sad"], "runs": runs, "pairs": pairs}


def test_a_comparison_has_each_run_in_one_colour_and_order(figures, found, tmp_path):
    draw_comparison(found | {"protocol_differences": {}}, tmp_path / "compare.png")
    accuracy, difference, f1 = figures[-1].axes
    assert labels(accuracy.yaxis) == ["$a$", "b", "c"]
    assert not accuracy.get_yticklabels()[0].get_parse_math()  # a folder's name is no formula
    assert accuracy.yaxis_inverted()  # the first on top
    assert difference.yaxis_inverted()
    assert labels(difference.yaxis) == ["b\np = 0.04", "c\np = 0.5"]
    lines, (_, *against) = accuracy.lines, difference.lines
    assert [list(line.get_xdata()) for line in against] == [
        [0.05, 0.15],
        [0.1],
        [-0.3, 0.1],
        [-0.1],
    ]
    assert [line.get_color() for line in lines[2:]] == [line.get_color() for line in against]
    assert labels(f1.xaxis) == ["calm", "sad"]
    heights = [[bar.get_height() for bar in bars] for bars in f1.containers]
    assert heights == [[0.25, 0.5], [0.25, 0], [0.25, 0.75]]
    colours = [bars[0].get_facecolor()[:3] for bars in f1.containers]
    assert colours == [line.get_color()[:3] for line in lines[::2]]
    (text,) = f1.texts
    assert text.get_text() == "not defined"
    assert 1 < text.get_position()[0] + 0.5 < 2
    assert figures[-1].get_suptitle() == "test"
    draw_comparison(found | {"protocol_differences": {"rows": [1, 2, 3]}}, tmp_path / "compare.png")
    assert figures[-1].get_suptitle() == "test; protocols differ"


def test_a_training_curve_leaves_out_what_is_no_number_and_marks_the_epoch(figures):
    name = '"<loss>'  # as a column of an edited file
    values = [(3.0, 2.0), (2.0, math.nan), (1.0, 1.5)]
    rows = [
        {"epoch": epoch, name: loss, f"val_{name}": validation, "learning_rate": 0.1}
        for epoch, (loss, validation) in enumerate(values, 1)
    ]
    ((title, svg),) = plot_history(rows, 2)
    assert title == name
    said = "Training curve: &#34;&lt;loss&gt;; last epoch 1.000, validation 1.500"
    assert f'aria-label="{said}"' in svg
    mark, training, validation = figures[-1].axes[0].lines
    assert list(mark.get_xdata()) == [2, 2]
    assert training.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
    assert validation.get_xydata().tolist() == [[1, 2], [3, 1.5]]
    assert plot_history(rows, 2) == [(title, svg)]  # the same bytes again


def test_roc_curves_keep_the_colours_of_classes_without_rows(figures):
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.8, 0.2, 0], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1]])
    plot_roc(truth, scores, "curves")
    _, first, second, third = figures[-1].axes[0].lines
    assert first.get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert len(second.get_xydata()) > 2
    assert len(third.get_xydata()) == 0
    plot_roc(np.zeros(4, int), scores, "curves")
    assert [len(line.get_xydata()) for line in figures[-1].axes[0].lines] == [2, 0, 0, 0]


def test_a_reliability_diagram_leaves_out_bins_without_rows(figures):
    def bins(**filled):
        empty = {"rows": [0] * 15, "confidence": [None] * 15, "accuracy": [None] * 15}
        for key, (low, high) in filled.items():
            empty[key][9], empty[key][14] = low, high
        return empty

    found = bins(rows=(10, 40), confidence=(0.65, 0.98), accuracy=(0.5, 0.9))
    scaled = bins(rows=(20, 30), confidence=(0.62, 0.95), accuracy=(0.6, 0.93))
    plot_reliability(found, scaled, "diagram")
    (axes,) = figures[-1].axes
    diagonal, as_it_is, at_temperature = axes.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert as_it_is.get_xydata().tolist() == [[0.65, 0.5], [0.98, 0.9]]
    assert at_temperature.get_xydata().tolist() == [[0.62, 0.6], [0.95, 0.93]]
    drawn = {bar.get_x(): bar.get_height() for bar in axes.patches if bar.get_height()}
    assert drawn == pytest.approx({9 / 15: 0.0625, 14 / 15: 0.25})
