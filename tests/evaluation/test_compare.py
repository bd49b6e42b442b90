import csv
import hashlib
import json
import math
import random
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ferplus_keras.cli import main
from ferplus_keras.config import EvaluateConfig
from ferplus_keras.data.dataset import Split
from ferplus_keras.data.targets import RIGHT_SET
from ferplus_keras.evaluation.compare import (
    compare_reports,
    difference_interval,
    format_comparison,
    holm,
    mcnemar,
    read_reports,
)
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.evaluation.metrics import score
from ferplus_keras.evaluation.report import write_predictions
from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from ferplus_keras.models.registry import build_model
from tests import tiny

NAMES = ("calm", "glad", "sad")
OTHER_PROTOCOL = {"label_rule": "other", "class_map": ["calm=neutral", "glad=happiness"]}


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
    assert low == pytest.approx(means[49], abs=0.011)  # one face of a hundred
    assert high == pytest.approx(means[1949], abs=0.011)
    assert difference_interval(9, 24, 100) == [low, high]
    assert low < 0.15 < high


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]


def test_pairs_count_the_common_rows_with_the_same_label(tmp_path, labels, capsys):
    first = write_run(tmp_path / "one", range(60), labels, seed=1)
    changed = labels.copy()
    changed[20:23] = (labels[20:23] + 1) % 3
    second = write_run(tmp_path / "two", range(10, 60), changed[10:], seed=2, **OTHER_PROTOCOL)
    write_run(tmp_path / "three", range(60), labels, seed=3)
    out = tmp_path / "out"
    runs = [tmp_path / "one", tmp_path / "two" / "report.json", tmp_path / "three"]
    code, said = compare(capsys, *runs, "--output_dir", out)
    assert code == 0
    found = json.loads((out / "compare.json").read_text())
    assert (out / "compare.png").stat().st_size > 0

    only_first = only_second = of_first = n = 0
    for row in range(10, 60):
        if changed[row] == labels[row]:
            n += 1
            rights = first[row] == labels[row], second[row] == labels[row]
            of_first += rights[0]
            only_first += rights == (True, False)
            only_second += rights == (False, True)
    kept = json.loads((tmp_path / "one" / "report.json").read_text())["splits"]["test"]["per_class"]
    assert found["runs"][0]["per_class_f1"] == {name: kept[name]["f1"] for name in NAMES}
    folders = [str(tmp_path / name) for name in ("one", "two", "three")]
    assert [run["folder"] for run in found["runs"]] == folders
    pair, other = found["pairs"]
    assert (pair["n"], pair["relabelled"], pair["rows_of_first_alone"]) == (n, 3, 10) == (47, 3, 10)
    assert (pair["only_first_right"], pair["only_second_right"]) == (only_first, only_second)
    assert pair["first_accuracy"] == pytest.approx(of_first / n)
    assert pair["difference"] == pytest.approx((only_second - only_first) / n)
    assert pair["difference"] == pytest.approx(pair["second_accuracy"] - pair["first_accuracy"])
    assert [pair["p_holm"], other["p_holm"]] == pytest.approx(holm([pair["p"], other["p"]]))
    assert found["protocol_differences"] == {
        "rows": [60, 50, 60],
        "label rule": ["majority", "other", "majority"],
        "class map": [None, OTHER_PROTOCOL["class_map"], None],
    }
    accuracies = f"{pair['second_accuracy']:.4f} against {pair['first_accuracy']:.4f}"
    for words in (
        "\n  label rule: majority, other, majority\n",
        "\n  class map: none, calm=neutral glad=happiness, none\n",
        f"\n  accuracy {accuracies}, difference {pair['difference']:+.4f} (",
        f"\n  right alone: {only_second} against {only_first}; ",
        "two against one, on 47 rows in common; left out: 3 with another label, 10 of one alone:\n",
        " after Holm: ",
    ):
        assert words in said.out


def test_the_better_run_is_named_where_the_corrected_p_is_small(tmp_path, labels):
    for seed, name in enumerate(("one", "two")):
        write_run(tmp_path / name, range(60), labels, seed=seed)
    found = compare_reports(read_reports([tmp_path / "one", tmp_path / "two"], "test"), "test")
    found["runs"][1]["per_class_f1"]["sad"] = None
    for difference, p_holm, verdict in (
        (0.1, 0.04, "two is better"),
        (-0.1, 0.04, "one is better"),
        (0.1, 0.06, "may be chance"),
    ):
        changed = {"difference": difference, "p": 0.03, "p_holm": p_holm}
        changed |= {"only_first_right": 1, "only_second_right": 1}
        text = format_comparison(found | {"pairs": [found["pairs"][0] | changed]})
        assert f"p = 0.03: {verdict}\n" in text
    assert re.search(r"\nsad +0\.\d{4} +not defined$", text)


def test_runs_of_one_name_that_order_classes_otherwise_are_compared(tmp_path, labels, capsys):
    runs = [tmp_path / name / "run" for name in ("a", "b")]
    for run in runs:
        run.parent.mkdir()
    write_run(runs[0], range(60), labels, seed=1)
    write_run(runs[1], range(60), 2 - labels, seed=2, names=NAMES[::-1])
    code, said = compare(capsys, *runs, "--output_dir", tmp_path / "out")
    assert code == 0
    assert "\nb/run against a/run, on 60 rows in common:" in said.out


def test_two_evaluations_of_drawn_data(tiny_network, sample_data, tmp_path, capsys):
    reports = []
    for name in ("one", "two"):
        path = tmp_path / name / "model_max_acc.keras"
        path.parent.mkdir()
        tiny.save(path)
        settings = {"data_dir": str(sample_data), "splits": ("test",)}
        reports.append(evaluate(EvaluateConfig(checkpoint_path=(str(path),), **settings)))
    out = tmp_path / "out"
    code, _ = compare(capsys, tmp_path / "one", tmp_path / "two", "--output_dir", out)
    assert code == 0
    (pair,) = json.loads((out / "compare.json").read_text())["pairs"]
    for name in ("one", "two"):  # on seven classes
        words = [str(tmp_path / name / "predictions.csv"), "--dataset_name", "FERPlus7"]
        words += ["--data_dir", str(sample_data), "--output_dir", str(tmp_path / f"{name}_7")]
        assert main(["evaluate", *words]) == 0
    assert read_reports([tmp_path / "one_7", tmp_path / "two_7"], "test")
    first, second = (report["splits"]["test"]["accuracy"] for report in reports)
    assert pair["n"] == reports[0]["splits"]["test"]["n"]
    assert pair["difference"] == pytest.approx(second - first)
    model, info = load_checkpoint(path)
    save_checkpoint(model, path, replace(info, epoch=9))  # as training that goes on
    code, said = compare(capsys, tmp_path / "one", tmp_path / "two", "--output_dir", out)
    assert code == 1
    assert "two is of another model_max_acc.keras; run test.py again" in said.err


def test_what_cannot_be_compared_is_one_clear_line(tmp_path, labels, capsys):
    write_run(tmp_path / "one", range(60), labels, seed=1)
    write_run(tmp_path / "elsewhere", range(100, 160), labels, seed=1)
    write_run(tmp_path / "classes", range(60), labels, seed=1, names=("calm", "glad", "angry"))
    write_run(tmp_path / "mixed", range(60), labels, seed=1)
    write_run(tmp_path / "old", range(50), labels[:50], seed=1)
    (tmp_path / "mixed" / "report.json").write_bytes(
        (tmp_path / "old" / "report.json").read_bytes()
    )
    write_run(tmp_path / "more", range(60), labels, seed=1, names=(*NAMES, "shy"))
    write_run(tmp_path / "longer", range(60), labels, seed=1)
    with (tmp_path / "longer" / "predictions.csv").open("a") as file:
        file.write("test,60,calm,glad\n")  # as many are right as the report says
    write_run(tmp_path / "cut", range(60), labels, seed=1)
    (tmp_path / "cut" / "report.json").write_text('{"splits": {')
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "report.json").write_text("{}")
    one = tmp_path / "one"
    for words, expected, message in (
        ([one], 2, "two or more runs"),
        ([one, one / "report.json"], 2, "twice"),
        ([one, tmp_path / "old", one], 2, "twice"),
        ([one, one / ".." / "one"], 2, "twice"),
        ([one, tmp_path / "none"], 1, "written by test.py"),
        ([one, tmp_path / "half"], 1, "no predictions.csv"),
        ([one, tmp_path / "cut"], 1, "no evaluation that can be read"),
        ([one, tmp_path / "mixed"], 1, "run test.py again"),
        ([one, tmp_path / "longer"], 1, "run test.py again"),
        ([one, tmp_path / "classes"], 1, "the same classes"),
        ([one, tmp_path / "more"], 1, "the same classes"),
        ([one, tmp_path / "elsewhere"], 1, "no rows in common"),
        ([one, tmp_path / "old", "--split", "train"], 1, "no train split"),
    ):
        code, said = compare(capsys, *words, "--output_dir", tmp_path / "out")
        assert code == expected, message
        assert message in said.err
        assert said.err.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.fixture
def checkpoints(tiny_network, tmp_path):
    """Two networks for two classes of own pictures."""
    paths = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.keras"
        model = build_model(tiny_network, 2, weights="none", image_size=48)
        model.get_layer("dense").set_weights([np.random.normal(size=(16, 2)), np.zeros(2)])
        own = ("cat", "dog"), "Folder", "own labels", "own labels"
        save_checkpoint(model, path, CheckpointInfo(tiny_network, 48, *own))
        paths.append(str(path))
    return paths


def write_pictures(folder, seed):
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(8):
                picture = rng.integers(0, 256, (48, 48), dtype=np.uint8)
                cv2.imwrite(str(folder / split / name / f"{number}.png"), picture)


def evaluate_own(checkpoint, data_dir, output_dir):
    settings = {"data_dir": str(data_dir), "output_dir": str(output_dir), "splits": ("test",)}
    return evaluate(EvaluateConfig(checkpoint_path=checkpoint, **settings))


def test_own_pictures_are_joined_by_path_and_pixels(checkpoints, tmp_path, capsys):
    data = tmp_path / "data"
    write_pictures(data, seed=0)
    evaluate_own(checkpoints[0], data, tmp_path / "before")
    added = np.random.default_rng(9).integers(0, 256, (48, 48), dtype=np.uint8)
    cv2.imwrite(str(data / "test" / "cat" / "00_first.png"), added)
    evaluate_own(checkpoints[0], data, tmp_path / "after")
    out = tmp_path / "out"
    code, said = compare(capsys, tmp_path / "before", tmp_path / "after", "--output_dir", out)
    assert code == 0
    (pair,) = json.loads((out / "compare.json").read_text())["pairs"]
    assert (pair["n"], pair["rows_of_second_alone"]) == (16, 1)
    assert (pair["only_first_right"], pair["only_second_right"]) == (0, 0)
    assert "no difference" in said.out

    write_pictures(tmp_path / "others", seed=1)  # the same names, other faces
    evaluate_own(checkpoints[1], tmp_path / "others", tmp_path / "elsewhere")
    code, said = compare(capsys, tmp_path / "before", tmp_path / "elsewhere")
    assert code == 1
    assert "no rows in common" in said.err


def test_other_data_and_mixed_files_are_refused(tmp_path, labels, capsys):
    for name, value in (("one", "aa"), ("same", "aa"), ("other", "bb")):
        write_run(tmp_path / name, range(60), labels, seed=1, data={"fer2013.csv": value})
    code, said = compare(capsys, tmp_path / "one", tmp_path / "other")
    assert code == 1
    assert "different data (fer2013.csv)" in said.err
    write_run(tmp_path / "unlike", range(60), labels, seed=1, data={"other.csv": "aa"})
    code, said = compare(capsys, tmp_path / "one", tmp_path / "unlike")
    assert code == 1
    assert "different data (fer2013.csv, other.csv)" in said.err
    out = ("--output_dir", tmp_path / "out")
    assert compare(capsys, tmp_path / "one", tmp_path / "same", *out)[0] == 0
    report = json.loads((tmp_path / "same" / "report.json").read_text())
    predictions = (tmp_path / "same" / "predictions.csv").read_bytes()
    for changed, expected in ((predictions, 0), (predictions + b"\n", 1)):
        report["evaluation_id"] = hashlib.sha256(changed).hexdigest()
        (tmp_path / "same" / "report.json").write_text(json.dumps(report))
        code, said = compare(capsys, tmp_path / "one", tmp_path / "same", *out)
        assert code == expected
    assert "another evaluation" in said.err
    report["splits"]["test"]["accuracy"] += 1 / 60  # one face more, in a file without an id
    del report["evaluation_id"]
    (tmp_path / "same" / "report.json").write_text(json.dumps(report))
    code, said = compare(capsys, tmp_path / "one", tmp_path / "same", *out)
    assert code == 1
    assert "another evaluation" in said.err


PLACES = (
    *(("splits",), ("splits", "test"), ("class_names",), ("model",), ("data",)),
    *(("splits", "test", key) for key in ("n", "accuracy", "accuracy_interval", "loss")),
    *(("splits", "test", "per_class"), ("splits", "test", "per_class", "calm")),
)


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_an_edited_report_is_one_clear_line(tmp_path, labels, capsys, place):
    write_run(tmp_path / "one", range(60), labels, seed=1)
    write_run(tmp_path / "two", range(60), labels, seed=2, data={"fer2013.csv": "aa"})
    path = tmp_path / "two" / "report.json"
    whole = path.read_text()
    for junk in (None, 5, "text", [], {}, [None], {"n": []}, 1e400):
        report = json.loads(whole)
        *above, last = place
        inner = report
        for key in above:
            inner = inner[key]
        inner[last] = junk
        path.write_text(json.dumps(report))
        for runs in (("one", "two"), ("two", "one")):
            folders = [tmp_path / run for run in runs]
            code, said = compare(capsys, *folders, "--output_dir", tmp_path / "out")
            assert code in (0, 1)  # a model's name may be any text, a loss any number
            assert said.err.count("\n") == code
            assert code or (junk is None or isinstance(junk, str | int | float | dict))


@pytest.mark.parametrize("row", ["1x", "", "1e400", "1.5e3x"])
def test_a_damaged_number_in_the_predictions_is_one_clear_line(tmp_path, labels, capsys, row):
    write_run(tmp_path / "one", range(60), labels, seed=1)
    write_run(tmp_path / "two", range(60), labels, seed=2)
    path = tmp_path / "two" / "predictions.csv"
    path.write_text(path.read_text().replace("test,7,", f"test,{row},"))
    code, said = compare(capsys, tmp_path / "one", tmp_path / "two")
    assert code == 1
    assert "no evaluation that can be read" in said.err
    assert said.err.count("\n") == 1


def test_each_of_several_right_classes_is_right(tmp_path, capsys):
    names = np.array(NAMES)
    sets = np.eye(3, dtype=np.float32)[[0, 1, 2] * 10]
    sets[:12, 0] = 1
    faces, leaked = np.zeros((30, 48, 48), np.uint8), np.zeros(30, bool)
    right = []
    for seed, name in enumerate(("one", "two")):
        probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), 30).astype(np.float32)
        order = [[0, 1, 2], [2, 0, 1]][seed]  # as a class map may name them
        split = Split(faces, sets[:, order], np.arange(30), [NAMES[i] for i in order], leaked)
        found = Evaluation(split._replace(kind=RIGHT_SET), probabilities[:, order])
        (tmp_path / name).mkdir()
        write_predictions({"test": found}, tmp_path / name / "predictions.csv")
        content = {"splits": {"test": found.scores()}, "model": "Tiny", "class_names": list(names)}
        (tmp_path / name / "report.json").write_text(json.dumps(content))
        right.append([sets[row, answer.argmax()] == 1 for row, answer in enumerate(probabilities)])
    out = tmp_path / "out"
    assert compare(capsys, tmp_path / "one", tmp_path / "two", "--output_dir", out)[0] == 0
    (pair,) = json.loads((out / "compare.json").read_text())["pairs"]
    assert (pair["n"], pair["relabelled"]) == (30, 0)
    assert pair["only_first_right"] == sum(a and not b for a, b in zip(*right, strict=True))
    assert pair["only_second_right"] == sum(b and not a for a, b in zip(*right, strict=True))


def test_a_split_whose_rows_have_one_right_class_each_is_compared_by_it(tmp_path, labels, capsys):
    """Beside a split in which some have several, and with a file that has no such column."""
    changed = labels.copy()
    changed[:5] = (labels[:5] + 1) % 3
    for name, those in (("one", labels), ("two", labels), ("other", changed)):
        write_run(tmp_path / name, range(60), those, seed=1)
    for name in ("two", "other"):
        path = tmp_path / name / "predictions.csv"
        head, *lines = path.read_text().splitlines()
        lines = [f"{head},right_classes", *(f"{line}," for line in lines)]
        path.write_text("\n".join([*lines, "validation,70,calm,calm,calm|glad"]))
    out = tmp_path / "out"
    assert (
        compare(capsys, *(tmp_path / n for n in ("one", "two", "other")), "--output_dir", out)[0]
        == 0
    )
    pairs = json.loads((out / "compare.json").read_text())["pairs"]
    assert [(pair["n"], pair["relabelled"]) for pair in pairs] == [(60, 0), (55, 5)]
    assert compare(capsys, tmp_path / "two", tmp_path / "other", "--output_dir", out)[0] == 0
    (pair,) = json.loads((out / "compare.json").read_text())["pairs"]
    assert (pair["n"], pair["relabelled"]) == (55, 5)
