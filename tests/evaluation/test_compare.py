import csv
import json
import math
import random

import numpy as np
import pytest

from ferplus_keras.cli import main
from ferplus_keras.compare.significance import difference_interval, holm, mcnemar
from ferplus_keras.config import EvaluateConfig
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.evaluation.metrics import score
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.registry import build_model

NAMES = ("calm", "glad", "sad")


def write_run(folder, rows, labels, seed, names=NAMES, **report):
    """Write what test.py would of a network that is right about half of the time."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(len(names)), len(rows))
    probabilities[np.arange(len(rows)), labels] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    folder.mkdir()
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "row", "label", "predicted"])
        for row, label, answer in zip(rows, labels, predicted, strict=True):
            writer.writerow(["test", row, names[label], names[answer]])
    content = {
        "splits": {"test": score(np.array(labels), probabilities, names)},
        "model": "Tiny",
        "class_names": list(names),
        "dataset_name": "FERPlus",
        "label_rule": "majority",
        "class_map": None,
        "tta": "none",
    }
    (folder / "report.json").write_text(json.dumps(content | report))
    return dict(zip(rows, predicted, strict=True))


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 3, 60)


def compare(capsys, *words):
    code = main(["compare", *map(str, words)])
    return code, capsys.readouterr()


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (3, 9), (12, 12), (40, 21)])
def test_mcnemar_equals_the_sum_over_coin_tosses(b, c):
    tosses = b + c
    at_most = sum(math.comb(tosses, k) for k in range(min(b, c) + 1)) / 2**tosses
    assert mcnemar(b, c) == pytest.approx(min(1.0, 2 * at_most))


def test_interval_equals_a_bootstrap_by_plain_loops():
    differences = [-1] * 9 + [1] * 24 + [0] * 67
    draw = random.Random(0)
    means = sorted(sum(draw.choice(differences) for _ in range(100)) / 100 for _ in range(2000))
    low, high = difference_interval(9, 24, 100)
    assert low == pytest.approx(means[49], abs=0.021)  # two faces of a hundred
    assert high == pytest.approx(means[1949], abs=0.021)
    assert low < 0.15 < high


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]


def test_pairs_count_the_common_rows_with_the_same_label(tmp_path, labels, capsys):
    first = write_run(tmp_path / "one", range(60), labels, seed=1)
    changed = labels.copy()
    changed[20:23] = (labels[20:23] + 1) % 3
    second = write_run(tmp_path / "two", range(10, 60), changed[10:], seed=2, label_rule="other")
    write_run(tmp_path / "three", range(60), labels, seed=3)
    out = tmp_path / "out"
    runs = [tmp_path / "one", tmp_path / "two" / "report.json", tmp_path / "three"]
    code, said = compare(capsys, *runs, "--output_dir", out)
    assert code == 0
    found = json.loads((out / "compare.json").read_text())
    assert (out / "compare.png").stat().st_size > 0

    only_first = only_second = n = 0
    for row in range(10, 60):
        if changed[row] == labels[row]:
            n += 1
            rights = first[row] == labels[row], second[row] == labels[row]
            only_first += rights == (True, False)
            only_second += rights == (False, True)
    pair, other = found["pairs"]
    assert (pair["n"], pair["relabelled"], pair["rows_of_first_alone"]) == (n, 3, 10) == (47, 3, 10)
    assert (pair["only_first_right"], pair["only_second_right"]) == (only_first, only_second)
    assert pair["difference"] == pytest.approx((only_second - only_first) / n)
    assert pair["difference"] == pytest.approx(pair["second_accuracy"] - pair["first_accuracy"])
    assert [pair["p_holm"], other["p_holm"]] == pytest.approx(holm([pair["p"], other["p"]]))
    assert found["protocol_differences"] == {
        "rows": [60, 50, 60],
        "label rule": ["majority", "other", "majority"],
    }
    for words in ("label rule: majority, other, majority", "3 with another label", "after Holm"):
        assert words in said.out


def test_two_evaluations_of_drawn_data(tiny_network, sample_data, tmp_path, capsys):
    reports = []
    for name in ("one", "two"):
        path = tmp_path / name / "model_max_acc.keras"
        path.parent.mkdir()
        model = build_model(tiny_network, 8, weights="none", image_size=48)
        info = CheckpointInfo(tiny_network, 48, FERPLUS_CLASSES, "FERPlus", "majority", "majority")
        save_checkpoint(model, path, info)
        settings = {"data_dir": str(sample_data), "splits": ("test",)}
        reports.append(evaluate(EvaluateConfig(checkpoint_path=(str(path),), **settings)))
    out = tmp_path / "out"
    code, _ = compare(capsys, tmp_path / "one", tmp_path / "two", "--output_dir", out)
    assert code == 0
    (pair,) = json.loads((out / "compare.json").read_text())["pairs"]
    first, second = (report["splits"]["test"]["accuracy"] for report in reports)
    assert pair["n"] == reports[0]["splits"]["test"]["n"]
    assert pair["difference"] == pytest.approx(second - first)


def test_what_cannot_be_compared_is_one_clear_line(tmp_path, labels, capsys):
    write_run(tmp_path / "one", range(60), labels, seed=1)
    write_run(tmp_path / "elsewhere", range(100, 160), labels, seed=1)
    write_run(tmp_path / "classes", range(60), labels, seed=1, names=("calm", "glad", "angry"))
    write_run(tmp_path / "mixed", range(60), labels, seed=1)
    write_run(tmp_path / "old", range(50), labels[:50], seed=1)
    (tmp_path / "mixed" / "report.json").write_bytes(
        (tmp_path / "old" / "report.json").read_bytes()
    )
    write_run(tmp_path / "cut", range(60), labels, seed=1)
    (tmp_path / "cut" / "report.json").write_text('{"splits": {')
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "report.json").write_text("{}")
    one = tmp_path / "one"
    for words, expected, message in (
        ([one], 2, "two or more runs"),
        ([one, one / "report.json"], 2, "twice"),
        ([one, tmp_path / "none"], 1, "written by test.py"),
        ([one, tmp_path / "half"], 1, "no predictions.csv"),
        ([one, tmp_path / "cut"], 1, "no evaluation that can be read"),
        ([one, tmp_path / "mixed"], 1, "run test.py again"),
        ([one, tmp_path / "classes"], 1, "the same classes"),
        ([one, tmp_path / "elsewhere"], 1, "no rows in common"),
        ([one, tmp_path / "old", "--split", "train"], 1, "no train split"),
    ):
        code, said = compare(capsys, *words, "--output_dir", tmp_path / "out")
        assert code == expected, message
        assert message in said.err
        assert said.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
