"""Predictions of any model, in every shape in which people have them."""

import csv
import itertools
import json
import os

import numpy as np
import pandas
import pytest

from ferplus_keras.cli import main
from ferplus_keras.data.counts import label_counts
from ferplus_keras.data.dataset import load_split, open_source
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.data.sample_faces import write_sample_data
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.evaluation.report import write_predictions
from ferplus_keras.evaluation.scores import Evaluation
from tests.data.test_folder import write_faces

FER2013_NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture(scope="module")
def table(sample_data):
    """Return random probabilities of every test row: row, image and eight classes."""
    votes = pandas.read_csv(sample_data / "fer2013new.csv")
    rows = np.flatnonzero(votes["Usage"] == "PrivateTest")
    values = np.random.default_rng(0).dirichlet(np.ones(8), len(rows)).astype(np.float32)
    found = pandas.DataFrame(values, columns=FERPLUS_CLASSES)
    found.insert(0, "row", rows)
    return found.assign(image=votes["Image name"][rows].to_numpy())


def seven(table):
    """Return the same as seven classes under FER2013's names, in its order."""
    values = table[list(FER2013_CLASSES)]
    values = values.div(values.sum(axis=1), axis=0)
    return values.set_axis(FER2013_NAMES, axis="columns")


def scored(path, sample_data, *words):
    """Return the report of the test split after `evaluate`, and what it cannot know."""
    assert main(["evaluate", str(path), "--data_dir", str(sample_data), *words]) == 0
    report = json.loads((path.parent / f"{path.stem}_report" / "report.json").read_text())
    return report["splits"]["test"], "\n".join(report["not_known"])


def refused(path, sample_data, capsys, *words):
    """Return what the refusal of a file says."""
    assert main(["evaluate", str(path), "--data_dir", str(sample_data), *words]) in (1, 2)
    assert not (path.parent / f"{path.stem}_report").exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_full_report_is_that_of_the_rows(table, sample_data, tmp_path, capsys):
    table.to_csv(tmp_path / "mine.csv", index=False)
    found, not_known = scored(tmp_path / "mine.csv", sample_data)
    split = load_split(sample_data, "test")
    by_row = {row["row"]: row for row in table.to_dict("records")}
    answers = [max(FERPLUS_CLASSES, key=by_row[row].get) for row in split.row_ids]
    truth = [split.class_names[label] for label in split.labels()]
    assert found["n"] == len(truth)
    assert found["accuracy"] == np.mean([a == b for a, b in zip(answers, truth, strict=True)])
    assert set(found["label_rules"]) == set(LABEL_RULES) - {"majority"}
    assert found["annotators"]["n"] == found["n"] >= found["leak_free"]["n"] > 0
    assert "selected on the test split" in not_known
    assert "selected on the test split" in capsys.readouterr().out
    page = (tmp_path / "mine_report" / "report.html").read_text()
    assert "selected on the test split" in page
    again, _ = scored(tmp_path / "mine_report" / "predictions.csv", sample_data)
    for name in ("n", "accuracy", "loss", "macro_f1", "confusion_matrix", "leak_free"):
        assert again[name] == found[name]


def test_other_shapes_of_the_same_answers_score_the_same(table, sample_data, tmp_path):
    pytest.importorskip("pyarrow")
    kept = load_split(sample_data, "test").row_ids
    table.to_csv(tmp_path / "by_row.csv", index=False)
    shuffled = table.drop(columns="row").sample(frac=1, random_state=0)
    shuffled["image"] = "FER2013Test/" + shuffled["image"]
    shuffled = shuffled.rename(columns={"image": "Image name"})  # as in fer2013new.csv
    shuffled[["Image name", *sorted(FERPLUS_CLASSES)]].to_csv(tmp_path / "by_image.csv", sep=";")
    numbered = table.drop(columns="image").astype({"row": float})  # as beside a missing number
    numbered.to_parquet(tmp_path / "by_row.parquet")
    table[list(FERPLUS_CLASSES)].to_csv(tmp_path / "index.csv")
    table[list(FERPLUS_CLASSES)].set_axis(map(str, range(8)), axis=1).to_parquet(
        tmp_path / "index.parquet"
    )
    np.save(tmp_path / "every.npy", table[list(FERPLUS_CLASSES)].to_numpy())
    in_order = table[table["row"].isin(kept)]
    np.save(tmp_path / "kept.npy", in_order[list(FERPLUS_CLASSES)].to_numpy())
    expected, _ = scored(tmp_path / "by_row.csv", sample_data)
    in_order = ("index.csv", "index.parquet", "every.npy", "kept.npy")
    for name in ("by_image.csv", "by_row.parquet", *in_order):
        words = ("--splits", "test") if name in in_order else ()
        found, _ = scored(tmp_path / name, sample_data, *words)
        for score in ("n", "accuracy", "confusion_matrix", "leak_free"):
            assert found[score] == expected[score], name
        assert found["loss"] == pytest.approx(expected["loss"])
        if name == "kept.npy":
            del expected["label_rules"]["plurality"]  # it keeps further rows
        assert found["label_rules"] == expected["label_rules"]


def test_lines_without_names_are_in_the_order_of_the_splits(sample_data, tmp_path):
    splits = ("test", "validation")
    right = [np.eye(8)[load_split(sample_data, name).labels()] for name in splits]
    np.save(tmp_path / "mine.npy", np.concatenate(right))
    found, not_known = scored(tmp_path / "mine.npy", sample_data, "--splits", *splits)
    assert found["accuracy"] == 1
    assert "are in this order: neutral, happiness, " in not_known
    assert "lines are in the order of the rows" in not_known
    for contempt in (True, False):  # as PyTorch's ImageFolder has them
        names = sorted(name for name in FERPLUS_CLASSES if contempt or name != "contempt")
        split = load_split(sample_data, "test", "FERPlus" if contempt else "FERPlus7")
        order = [split.class_names.index(name) for name in names]
        np.save(tmp_path / "sorted.npy", split.targets[:, order])
        words = ("--splits", "test", "--classes", "alphabetical")
        assert scored(tmp_path / "sorted.npy", sample_data, *words)[0]["accuracy"] == 1


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_index_of_batches_that_were_put_together_says_nothing(sample_data, tmp_path, ending):
    split = load_split(sample_data, "test")
    right = pandas.DataFrame(split.targets, columns=FERPLUS_CLASSES)
    table, path = pandas.concat([right[:9], right[9:].reset_index(drop=True)]), tmp_path / "mine"
    path = path.with_suffix(f".{ending}")
    table.to_csv(path) if ending == "csv" else table.to_parquet(path)
    assert scored(path, sample_data, "--splits", "test")[0]["accuracy"] == 1
    table = right.assign(row=split.row_ids, file="fold1.h5").rename_axis(["fold"])
    table.set_index("row", append=True).to_parquet(tmp_path / "named.parquet")
    assert scored(tmp_path / "named.parquet", sample_data)[0]["accuracy"] == 1


def test_training_rows_are_scored_where_there_are_no_others(sample_data, tmp_path):
    path, parts = tmp_path / "mine.csv", []
    for name in ("train", "test"):
        split = load_split(sample_data, name)
        parts.append(pandas.DataFrame(split.targets, split.row_ids, FERPLUS_CLASSES))
        pandas.concat(parts).to_csv(path, index_label="row")
        assert main(["evaluate", str(path), "--data_dir", str(sample_data)]) == 0
        report = json.loads((tmp_path / "mine_report" / "report.json").read_text())
        assert list(report["splits"]) == [name]


def test_rules_that_need_further_rows_are_not_scored_but_named(table, tmp_path):
    write_sample_data(tmp_path / "data", rows=400, seed=2)
    kept = load_split(tmp_path / "data", "test", label_rule="ms_majority").row_ids
    others = load_split(tmp_path / "data", "test").row_ids
    lacking = len(np.setdiff1d(others, kept))
    assert lacking
    few = table[table["row"].isin(kept)].drop(columns="image")
    few.to_csv(tmp_path / "few.csv", index=False)
    found, not_known = scored(
        tmp_path / "few.csv", tmp_path / "data", "--label_rule", "ms_majority"
    )
    assert f"majority {lacking} of {len(others)}" in not_known
    assert "majority" not in found["label_rules"]


def test_seven_classes_leave_contempt_out_or_miss_it(table, sample_data, tmp_path):
    answers = seven(table)
    pandas.concat([table["row"], answers], axis=1).to_csv(tmp_path / "seven.csv", index=False)
    found, not_known = scored(tmp_path / "seven.csv", sample_data)
    assert "contempt" not in found["per_class"]
    assert "contempt: its faces are left" in not_known
    assert "adds up" not in not_known
    split = load_split(sample_data, "test", "FERPlus7")
    places = np.searchsorted(table["row"], split.row_ids)
    names = [FER2013_CLASSES[best] for best in answers.to_numpy()[places].argmax(axis=1)]
    truth = [split.class_names[label] for label in split.labels()]
    assert found["accuracy"] == np.mean([a == b for a, b in zip(names, truth, strict=True)])
    np.save(tmp_path / "array.npy", answers.to_numpy())
    same, _ = scored(
        tmp_path / "array.npy", sample_data, "--splits", "test", "--classes", "fer2013"
    )
    assert same["confusion_matrix"] == found["confusion_matrix"]
    table.to_csv(tmp_path / "eight.csv", index=False)
    same, not_known = scored(tmp_path / "eight.csv", sample_data, "--dataset_name", "FERPlus7")
    assert "contempt: left out of the model's answers" in not_known
    assert same["confusion_matrix"] == found["confusion_matrix"]
    sure = table.assign(**dict.fromkeys(FERPLUS_CLASSES, 0.0) | {"contempt": 1.0})
    ten = pandas.concat([sure[:1], table[1:]]).assign(unknown=0.1, NF=0.1)
    ten[list(FERPLUS_CLASSES)] *= 0.8  # a network of ten classes
    ten.to_csv(tmp_path / "sure.csv", index=False)
    same, _ = scored(tmp_path / "sure.csv", sample_data, "--dataset_name", "FERPlus7")
    assert same["n"] == found["n"]
    six, _ = scored(tmp_path / "seven.csv", sample_data, "--dataset_name", "FER6")
    split = load_split(sample_data, "test", "FER6")
    places = np.searchsorted(table["row"], split.row_ids)
    best = answers.drop(columns="disgust").to_numpy()[places].argmax(axis=1)
    assert six["accuracy"] == np.mean(best == split.labels())
    missed, not_known = scored(tmp_path / "seven.csv", sample_data, "--dataset_name", "FERPlus")
    assert missed["n"] == len(load_split(sample_data, "test").images)
    assert missed["per_class"]["contempt"]["recall"] in (0, None)
    assert "contempt: the model has no such class" in not_known


def test_an_image_name_that_two_rows_share_is_about_both(table, sample_data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "fer2013.csv").symlink_to(sample_data / "fer2013.csv")
    votes = pandas.read_csv(sample_data / "fer2013new.csv")
    first, second = load_split(sample_data, "test").row_ids[:2]
    votes.loc[second, "Image name"] = votes.loc[first, "Image name"]
    votes.to_csv(folder / "fer2013new.csv", index=False)
    named = table.assign(image=votes["Image name"][table["row"]].to_numpy())
    for lines in (named, named[named["row"] != second]):
        lines.drop(columns="row").to_csv(tmp_path / "images.csv", index=False)
        scored(tmp_path / "images.csv", folder)
        with (tmp_path / "images_report" / "predictions.csv").open() as file:
            found = {int(line["row"]): line for line in csv.DictReader(file)}
        assert found[first]["anger"] == found[second]["anger"]


def test_what_cannot_be_used_is_named(table, sample_data, tmp_path, capsys):
    kept = load_split(sample_data, "test").row_ids
    classes, path = list(FERPLUS_CLASSES), tmp_path / "mine.csv"

    def said(changed, *words):
        changed.to_csv(path, index=False)
        return refused(path, sample_data, capsys, *words)

    line = said(table[~table["row"].isin(kept[:7])])
    assert f"lacks rows that majority keeps of test: {kept[0]}, " in line
    assert "and 2 more" in line
    assert f"repeats {kept[3]}" in said(pandas.concat([table, table[table["row"] == kept[3]]]))
    assert "`labels --output` does not: 99999" in said(table.replace({"row": {kept[0]: 99999}}))
    assert "sum 1" in said(table.assign(**{name: table[name] * 100 for name in classes}))
    assert "sum 1" in said(table.assign(anger=table["anger"] - 2, fear=table["fear"] + 2))
    text = table.astype({"fear": object})
    text.loc[4, "fear"] = "much"
    assert "'much'" in said(text)
    table.to_csv(path, index=False, header=False)
    assert "expected a header that names" in refused(path, sample_data, capsys)
    twice = pandas.concat([table, table[classes]], axis=1)
    assert "each column once in line 1, found neutral again" in said(twice)
    assert "found neutral and Neutral" in said(table.assign(Neutral=1.0))
    assert "expected a header that names each of neutral" in said(table[["row", "anger"]])
    assert "one line per face, found none" in said(table[:0])
    assert "column image, found none" in said(table.drop(columns="row").assign(image=""))
    ten = table.assign(**{name: table[name] * 10 for name in classes})
    assert "sum 1" in said(ten, "--dataset_name", "FERPlus7")
    assert "give --splits" in said(table[classes])
    table[classes].sample(frac=1, random_state=0).to_csv(path)
    assert "nameless column" in refused(path, sample_data, capsys, "--splits", "test")
    line = said(table[["image", *classes]], "--dataset_name", "FER", "--splits", "test")
    assert "FER does not know pictures by the names in column image" in line
    assert "expected" in said(table[classes].iloc[:9], "--splits", "test")
    seven(table).T.reset_index(drop=True).T.to_csv(path, index=False)
    assert "--classes ferplus or fer2013 or alphabetical" in refused(path, sample_data, capsys)
    assert "test.py evaluates models" in refused(tmp_path / "a.keras", sample_data, capsys)
    assert "No such file" in refused(tmp_path / "a.csv", sample_data, capsys)


def test_what_lies_beside_predictions_is_not_their_models(table, sample_data, tmp_path):
    table.to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "training.csv").write_text("path\na.png\n")
    (tmp_path / "config.yaml").write_text("limit_train: 100\n")
    scored(tmp_path / "mine.csv", sample_data)
    assert "trial" not in json.loads((tmp_path / "mine_report" / "report.json").read_text())
    assert "training.csv" not in (tmp_path / "mine_report" / "report.html").read_text()


def test_own_predictions_are_not_replaced(table, sample_data, tmp_path, capsys):
    path = tmp_path / "predictions.csv"
    table.to_csv(path, index=False)
    before = path.read_bytes()
    line = refused(path, sample_data, capsys, "--output_dir", str(tmp_path))
    assert "would be replaced" in line
    assert path.read_bytes() == before


@pytest.mark.parametrize("rule", ["majority", "ms_crossentropy", "ms_multi_target"])
def test_labels_writes_the_rows_of_the_protocol(rule, sample_data, tmp_path):
    path = tmp_path / "rows.csv"
    words = ["--data_dir", str(sample_data), "--label_rule", rule, "--output", str(path)]
    assert main(["labels", *words]) == 0
    found = pandas.read_csv(path)
    images = pandas.read_csv(sample_data / "fer2013new.csv")["Image name"]
    assert set(found["split"]) == {"train", "validation", "test"}
    for name, lines in found.groupby("split"):
        split = load_split(sample_data, name, label_rule=rule)
        np.testing.assert_array_equal(lines["row"], split.row_ids)
        np.testing.assert_array_equal(lines["image"], images[split.row_ids])
        np.testing.assert_array_equal(
            lines[list(FERPLUS_CLASSES)].to_numpy(np.float32), split.targets
        )
        best = [split.class_names.index(name) for name in lines["label"]]
        np.testing.assert_array_equal(split.targets[range(len(best)), best], split.targets.max(1))


def test_labels_replaces_only_what_it_wrote(sample_data, tmp_path, capsys):
    path = tmp_path / "labels.csv"
    for _ in range(2):
        assert main(["labels", "--data_dir", str(sample_data), "--output", str(path)]) == 0
    path.write_text("path,label\na.png,glad\n")
    assert main(["labels", "--data_dir", str(sample_data), "--output", str(path)]) == 1
    assert "labels.csv would be replaced: choose another --output" in capsys.readouterr().err
    assert path.read_text() == "path,label\na.png,glad\n"


def test_evaluate_takes_probabilities_and_a_split(table, sample_data):
    split = load_split(sample_data, "test")
    values = table[table["row"].isin(split.row_ids)][list(FERPLUS_CLASSES)].to_numpy()
    found = evaluate(values, split)
    assert found["n"] == len(values)
    assert found["accuracy"] == np.mean(values.argmax(axis=1) == split.labels())
    spread = 0.8 * values + 0.2 / 8  # so that no probability is rounded to 0
    rounded, exact = evaluate(np.round(spread, 2), split), evaluate(spread, split)
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.1)
    sorted_columns = pandas.DataFrame(values, columns=FERPLUS_CLASSES)[sorted(FERPLUS_CLASSES)]
    assert evaluate(sorted_columns, split) == found
    assert evaluate(sorted_columns.rename(columns={"happiness": "Happy"}), split) == found
    assert evaluate(pandas.DataFrame(values), split) == found
    numbered = sorted_columns.assign(row=split.row_ids)
    assert evaluate(numbered, split) == found
    for lines, words in (
        (numbered[::-1], "by its row"),
        (sorted_columns[::-1], "by its index"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate(lines, split)
    batches = sorted_columns.set_axis(np.arange(len(values)) % 16)
    assert evaluate(batches, split) == found
    with pytest.raises(InputError, match="one column happiness, found happiness and Happy"):
        evaluate(sorted_columns.assign(Happy=0.0), split)
    without = load_split(sample_data, "test", "FERPlus7")
    kept = sorted_columns[np.isin(split.row_ids, without.row_ids)]
    shares = kept[list(without.class_names)]
    shares = shares.div(shares.sum(axis=1), axis=0)
    assert evaluate(kept, without)["loss"] == pytest.approx(evaluate(shares, without)["loss"])
    with pytest.raises(InputError, match="expected a column fear, found anger, contempt"):
        evaluate(sorted_columns.rename(columns={"fear": "dread"}), split)
    with pytest.raises(InputError, match="of shape"):
        evaluate(values[1:], split)
    with pytest.raises(InputError, match="softmax"):
        evaluate(np.log(values), split)
    with pytest.raises(InputError, match="sum 1"):
        evaluate(np.full_like(values, np.nan), split)
    for other in (None, "test", (split.images, split.targets)):
        with pytest.raises(UsageError, match="load_split"):
            evaluate(values, other)


def test_own_pictures_go_by_the_names_that_labels_writes(tmp_path):
    """Also those that a spreadsheet would run, which it writes with ./ before them.

    A picture that cannot be read is skipped if asked.
    """
    data = tmp_path / "data"
    written = write_faces(data, {"a": 20, "b": 20})
    (data / written.popitem()[0]).rename(data / "=1+1.png")
    labels = {path: path[0] for path in written} | {"=1+1.png": "b"}
    splits = itertools.cycle(["train", "test"])
    lines = [f"{path},{label},{next(splits)}" for path, label in labels.items()]
    (data / "labels.csv").write_text("\n".join(["path,label,split", *lines]))
    (data / "a" / "broken.png").write_bytes(b"no picture")
    with (data / "labels.csv").open("a") as file:
        file.write("\na/broken.png,a,test")
    label_counts(data, "Folder", output=tmp_path / "rows.csv", skip_unreadable=True)
    rows = pandas.read_csv(tmp_path / "rows.csv")
    assert "./=1+1.png" in rows["image"][rows["split"] == "test"].tolist()
    # By their names, whatever their rows were when the list was written.
    rows[rows["split"] == "test"].assign(row=7).to_csv(tmp_path / "mine.csv", index=False)
    words = ("--dataset_name", "Folder", "--skip_unreadable")
    found, _ = scored(tmp_path / "mine.csv", data, *words)
    assert (found["n"], found["accuracy"]) == (20, 1)
    whole = [str(data / name) for name in rows["image"]]  # as PyTorch's ImageFolder has them
    rows.assign(image=whole)[rows["split"] == "test"].to_csv(tmp_path / "whole.csv", index=False)
    found, _ = scored(tmp_path / "whole.csv", data, *words)
    assert (found["n"], found["accuracy"]) == (20, 1)


def test_names_of_pictures_need_not_be_utf8(tmp_path, capsys):
    data, name = tmp_path / "data", os.fsdecode(b"test/a/caf\xe9.png")
    written = write_faces(data, {"train/a": 20, "train/b": 20, "test/a": 3, "test/b": 3})
    (data / max(path for path in written if path.startswith("test/a"))).rename(data / name)
    label_counts(data, "Folder", output=tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_bytes().splitlines(keepends=True)
    header = lines[0].replace(b"row,", b"").replace(b"label", b"other")
    of_test = [b",".join(line.split(b",")[:1] + line.split(b",")[2:]) for line in lines[1:]]
    of_test = [line for line in of_test if line.startswith(b"test,")]
    (tmp_path / "mine.csv").write_bytes(b"".join([header, *of_test]))
    found, _ = scored(tmp_path / "mine.csv", data, "--dataset_name", "Folder")
    assert (found["n"], found["accuracy"]) == (6, 1)
    report = tmp_path / "mine_report"
    assert b"caf\xe9.png" in (report / "predictions.csv").read_bytes()
    scored(report / "predictions.csv", data, "--dataset_name", "Folder")
    both = [str(report), str(report / "predictions_report")]
    assert main(["compare", *both, "--output_dir", str(tmp_path)]) == 0
    assert "on 6 rows in common:" in capsys.readouterr().out


@pytest.mark.parametrize("names", [("anger", "happiness"), ("Angry", "Happiness")])
def test_own_pictures_may_lack_classes_that_the_predictions_have(tmp_path, names):
    data = tmp_path / "data"
    write_faces(data, {f"test/{name}": 3 for name in names})
    source = open_source(data, "Folder", class_names=FERPLUS_CLASSES)
    split = source.split("test", "own labels")
    values = np.random.default_rng(0).dirichlet(np.ones(8), 6).astype(np.float32)
    found = Evaluation(split, values)
    write_predictions({"test": found}, tmp_path / "predictions.csv")
    again, _ = scored(tmp_path / "predictions.csv", data, "--dataset_name", "Folder")
    for name in ("n", "accuracy", "loss", "macro_f1", "confusion_matrix"):
        assert again[name] == found.scores()[name]
    pandas.read_csv(tmp_path / "predictions.csv").assign(note="").to_csv(tmp_path / "index.csv")
    assert scored(tmp_path / "index.csv", data, "--dataset_name", "Folder")[0] == again


@pytest.mark.parametrize("own", [("anger", "happiness"), ("angry", "happy"), ("Anger", "HAPPY")])
def test_own_pictures_take_the_models_spelling_of_classes(tmp_path, own, capsys):
    write_faces(tmp_path, {f"test/{name}": 3 for name in ("anger", "happiness")})
    source = open_source(tmp_path, "Folder", class_names=own)
    assert source.split("test", "own labels").class_names == own
    said = "the model's names of classes are used" in capsys.readouterr().err
    assert said == (own != ("anger", "happiness"))
    with pytest.raises(InputError, match="the data has the class 'anger'"):
        open_source(tmp_path, "Folder", class_names=("Angry", "angry", "happy"))


def test_merged_classes_are_scored_by_their_map(table, sample_data, tmp_path):
    names = {"good": ["happiness", "surprise"], "bad": ["anger", "sadness", "fear"]}
    class_map = [f"{name}={'+'.join(parts)}" for name, parts in names.items()]
    split = load_split(sample_data, "test", class_map=class_map)
    values = pandas.DataFrame({name: table[parts].sum(axis=1) for name, parts in names.items()})
    values = values.div(values.sum(axis=1), axis=0).assign(row=table["row"])
    values.to_csv(tmp_path / "mine.csv", index=False)
    found, _ = scored(tmp_path / "mine.csv", sample_data, "--class_map", *class_map)
    kept = values.set_index("row").loc[split.row_ids, list(names)].to_numpy()
    assert found["n"] == len(split.images) < len(table)
    assert found["accuracy"] == np.mean(kept.argmax(axis=1) == split.labels())


def test_a_table_of_own_pictures_goes_by_its_paths(tmp_path):
    write_faces(tmp_path, {f"train/{name}": 4 for name in ("glad", "grim")})
    split = load_split(tmp_path, "train", "Folder")
    values = np.random.default_rng(0).dirichlet(np.ones(len(split.class_names)), len(split.images))
    own = pandas.DataFrame(values, columns=split.class_names).assign(path=split.paths)
    assert evaluate(own, split) == evaluate(values, split)
    assert evaluate(own.assign(path="/d/" + own["path"]), split) == evaluate(values, split)
    with pytest.raises(InputError, match="order of the split, by its path"):
        evaluate(own[::-1], split)
