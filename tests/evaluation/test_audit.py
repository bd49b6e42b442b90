import csv
import json
import os
import re
from itertools import combinations, pairwise

import cv2
import numpy as np
import pandas
import pytest

from ferplus_keras.cli import main
from ferplus_keras.data.counts import label_counts
from ferplus_keras.data.dataset import (
    DATASETS,
    Source,
    duplicate_groups,
    open_source,
    read_excluded,
)
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.data.registry import FileRows
from ferplus_keras.data.targets import find_class_map
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.evaluation.audit import examine, find, pair_agreement

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def small():
    """Forty rows; 1, 21 and 31 have the pixels of 0, and 5 and 25 are of one grey level."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 48, 48), dtype=np.uint8)
    images[[1, 21, 31]] = images[0]
    images[[5, 25]] = 7
    splits = np.repeat(SPLITS, (20, 10, 10))
    fer = rng.choice(FERPLUS_CLASSES[:7], 40)
    votes = rng.multinomial(10, [0.4, 0.3, 0.05, 0.05, 0.05, 0.02, 0.05, 0.02, 0.05, 0.01], 40)
    votes[[1, 21]] = votes[0]
    votes[31] = [0, 0, 0, 10, 0, 0, 0, 0, 0, 0]
    labels = LABEL_RULES["majority"].apply(votes)
    rows = FileRows(votes, splits, images, FERPLUS_CLASSES, {})
    source = Source(DATASETS["FERPlus"], rows, find_class_map(None, FERPLUS_CLASSES))
    table = examine(source, LABEL_RULES["majority"], fer)
    return images, votes, labels, source, table


def test_groups_are_named_by_their_first_row(small):
    groups = duplicate_groups(small[0])
    expected = np.arange(40)
    expected[[1, 21, 31]] = 0
    expected[25] = 5
    np.testing.assert_array_equal(groups, expected)


def test_numbers_equal_plain_loops(small):
    _, votes, labels, source, rows = small
    found = find(rows, source, "majority")
    assert found["distinct_images"] == 36
    assert found["constant_images"] == 2
    assert found["duplicates"]["groups"] == 1  # blank images are no duplicates
    assert found["duplicates"]["rows"] == 4
    assert found["duplicates"]["same_votes"] == 0
    assert [found["splits"][name]["leaked"] for name in found["splits"]] == [3, 2, 1]

    assert found["constant_rows"] == [5, 25]
    assert found["duplicates"]["largest"] == [{"row": 0, "rows": 4}]
    assert found["duplicates"]["votes_differ"] == [[0, 1, 21, 31]]

    differ = 0
    for row in range(40):
        if labels.keep[row]:
            label = FERPLUS_CLASSES[labels.targets[row].argmax()]
            assert rows["label"][row] == label
            differ += rows["fer2013_label"][row] != label
        shares = votes[row, :8] / max(votes[row, :8].sum(), 1)
        entropy = -sum(share * np.log2(share) for share in shares if share)
        assert rows.entropy[row] == pytest.approx(entropy)
        assert rows.agreement[row] == pytest.approx(max(votes[row]) / 10)
    assert found["disagreement"]["rows"] == differ
    assert sum(found["entropy"]["rows"]) == 40
    edges = found["entropy"]["edges"]
    for (low, high), count in zip(pairwise(edges), found["entropy"]["rows"], strict=True):
        assert count == sum(low <= min(bits, 2.999) < high for bits in rows.entropy)
    spread = [rows.entropy[ambiguous["row"]] for ambiguous in found["ambiguous"]]
    np.testing.assert_array_equal(spread, sorted(rows.entropy, reverse=True)[: len(spread)])
    for ambiguous in found["ambiguous"]:
        assert ambiguous["votes"] == votes[ambiguous["row"]].tolist()


def test_images_shared_by_splits_equal_plain_loops(small):
    images, _, _, source, rows = small
    shared = find(rows, source, "majority")["shared"]
    pictures = {name: [] for name in SPLITS}
    for image, split in zip(images, rows["split"], strict=True):
        pictures[split].append(image.tobytes())
    assert len(shared) == 3
    for (a, b), pair in zip(combinations(pictures, 2), shared, strict=True):
        assert pair == {
            "splits": (a, b),
            "images": len(set(pictures[a]) & set(pictures[b])),
            "rows": (
                sum(picture in pictures[b] for picture in pictures[a]),
                sum(picture in pictures[a] for picture in pictures[b]),
            ),
        }
    assert [pair["images"] for pair in shared] == [2, 1, 1]


def test_pair_agreement_equals_a_plain_loop(small):
    votes = small[1]
    chances = []
    for row in votes:
        annotators = [k for k in range(10) for _ in range(row[k])]
        pairs = [(a, b) for i, a in enumerate(annotators) for b in annotators[i + 1 :]]
        chances.append(sum(a == b for a, b in pairs) / len(pairs))
    assert pair_agreement(votes) == pytest.approx(np.mean(chances))
    assert pair_agreement(np.zeros((2, 10), int)) is None


@pytest.fixture(scope="module")
def audited(sample_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    line = ["audit", "--data_dir", str(sample_data), "--output_dir", str(folder)]
    assert main(line) == 0
    return folder


def test_page_is_complete_and_needs_nothing_else(audited):
    page = (audited / "audit.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) > 8
    assert all(re.search(r'alt="[^"]+"', picture) for picture in pictures)
    for heading in ("Summary", "Votes", "Duplicates and leaks", "Ambiguous faces"):
        assert f"<h2>{heading}</h2>" in page


def test_lists_agree_with_the_numbers_and_can_be_excluded(audited, sample_data):
    numbers = json.loads((audited / "audit.json").read_text())
    with (audited / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == numbers["rows"]
    assert all(0 <= float(row["entropy"]) <= 3 and row["entropy"][0] != "-" for row in rows)
    assert sum(row["label"] != "" for row in rows) == numbers["kept"]
    for name, split in numbers["splits"].items():
        of_split = [row for row in rows if row["split"] == name]
        assert len(of_split) == split["rows"]
        assert sum(row["leaked"] == "1" for row in of_split) == split["leaked"]
    excluded, _ = read_excluded(audited / "disagreements.csv", open_source(sample_data).rows)
    expected = [
        row["split"] == "train" and row["label"] not in ("", "contempt", row["fer2013_label"])
        for row in rows  # FER2013 has no contempt
    ]
    np.testing.assert_array_equal(excluded, expected)


def test_data_without_votes(sample_data, tmp_path):
    words = ["--data_dir", str(sample_data), "--dataset_name", "FER", "--output_dir", str(tmp_path)]
    assert main(["audit", *words]) == 0
    numbers = json.loads((tmp_path / "audit.json").read_text())
    assert numbers["rows"] == numbers["kept"] == 400
    assert sum(numbers["splits"]["test"]["classes"].values()) == 40
    assert "disagreement" not in numbers
    assert not (tmp_path / "disagreements.csv").exists()
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<h2>Faces of each class</h2>" in page
    assert "<h2>Votes</h2>" not in page


def test_names_of_pictures_need_not_be_utf8(tmp_path):
    for name in (b"a/1.png", b"b/caf\xe9.png", b"b/22.png"):
        path = tmp_path / "own" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        face = np.random.default_rng(len(name)).integers(0, 256, (48, 48), np.uint8)
        path.write_bytes(cv2.imencode(".png", face)[1].tobytes())
    words = ["--dataset_name", "Folder", "--data_dir", str(tmp_path / "own")]
    assert main(["audit", *words, "--output_dir", str(tmp_path)]) == 0
    assert b",b/caf\xe9.png\n" in (tmp_path / "rows.csv").read_bytes()


def test_a_picture_of_one_colour_is_blank(tmp_path):
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (64, 64, 3), np.uint8)
    for place in ("train/a", "train/b", "validation/a", "validation/b"):
        (tmp_path / "own" / place).mkdir(parents=True)
        for name, picture in (("red", np.full_like(face, (30, 30, 200))), ("face", face)):
            cv2.imwrite(str(tmp_path / "own" / place / f"{name}.png"), picture)
    words = ["--dataset_name", "Folder", "--data_dir", str(tmp_path / "own")]
    assert main(["audit", *words, "--output_dir", str(tmp_path)]) == 0
    blank = (tmp_path / "constant.csv").read_text()
    assert blank.count("red") == 4
    assert "face" not in blank


def test_pictures_of_microsofts_script_have_votes_but_no_label_of_fer2013(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("Train", "Valid", "Test"):
        folder = tmp_path / "data" / f"FER2013{part}"
        folder.mkdir(parents=True)
        lines = []
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (48, 48), np.uint8))
            lines.append(f"{number}.png,1,{9 - number},0,0,0,0,0,0,{number},0\n")
        (folder / "label.csv").write_text("".join(lines))
    words = ["--data_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "audit")]
    assert main(["audit", *words]) == 0
    numbers = json.loads((tmp_path / "audit/audit.json").read_text())
    assert numbers["splits"]["test"]["mean_votes"]["happiness"] == 7.5
    assert numbers["splits"]["test"]["classes"]["happiness"] == 4
    assert not {"disagreement", "fer2013_classes"} & {*numbers, *numbers["splits"]["test"]}
    page = (tmp_path / "audit/audit.html").read_text(encoding="utf-8")
    assert "<h2>Ambiguous faces</h2>" in page
    assert "FER2013 against FER+" not in page
    assert re.search(r"FER2013(Train|Valid|Test)/\d.png, (train|validation|test): label", page)
    with (tmp_path / "audit/rows.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert all((tmp_path / "data" / path).is_file() for path in paths)


def test_golden_numbers(real_data, tmp_path):
    assert main(["audit", "--data_dir", str(real_data), "--output_dir", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "audit.json").read_text())
    assert (numbers["rows"], numbers["kept"]) == (35_887, 32_733)
    assert numbers["distinct_images"] == 34_032
    assert numbers["splits"]["test"]["leaked"] == 288
    assert numbers["splits"]["validation"]["leaked"] == 279
    assert (numbers["duplicates"]["groups"], numbers["duplicates"]["same_votes"]) == (1_517, 1_516)
    assert numbers["duplicates"]["votes_differ"] == [[33_200, 34_334]]
    assert numbers["constant_images"] == 12
    assert max(numbers["constant_rows"]) < 28_709  # all in training
    assert numbers["disagreement"]["rows"] == 11_208
    assert numbers["splits"]["train"]["leaked"] == 692
    assert "Same pixels, different votes" in (tmp_path / "audit.html").read_text(encoding="utf-8")
    to_validation, to_test, evaluated = numbers["shared"]
    assert evaluated["images"] == 43
    assert (to_validation["rows"][1], to_test["rows"][1]) == (279, 288)


def test_of_several_right_classes_the_label_is_the_likeliest(sample_data, tmp_path):
    """FER2013's own if it is right, so that nothing else is a disagreement; else the most voted."""
    rule = LABEL_RULES["ms_multi_target"]
    source = open_source(sample_data, "FERPlus")
    labels, votes = source.label(rule), source.votes()
    fer = np.array(FER2013_CLASSES)[open_source(sample_data, "FER").rows.opinions.argmax(axis=1)]
    table = examine(source, rule, fer)
    several = 0
    for row in np.flatnonzero(labels.keep):
        right = [i for i, target in enumerate(labels.targets[row]) if target]
        several += len(right) > 1
        most = FERPLUS_CLASSES[max(right, key=lambda i: votes[row, i])]
        own = fer[row] in [FERPLUS_CLASSES[i] for i in right]
        assert table["label"][row] == (fer[row] if own else most)
    assert several > 10
    label_counts(sample_data, label_rule=rule.name, output=tmp_path / "rows.csv")
    written = pandas.read_csv(tmp_path / "rows.csv").set_index("row")
    for row, name in written["label"].items():
        assert votes[row, FERPLUS_CLASSES.index(name)] == max(votes[row][labels.targets[row] > 0])
