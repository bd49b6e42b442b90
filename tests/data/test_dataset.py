import json

import numpy as np
import pytest

from ferplus_keras.data import fer2013, ferplus
from ferplus_keras.data.counts import format_label_counts, label_counts
from ferplus_keras.data.dataset import (
    DATASETS,
    Split,
    limit_split,
    load_dataset,
    load_split,
    open_source,
)
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES, SPLITS
from ferplus_keras.errors import InputError, UsageError
from tests.data.csv_files import fer2013_lines, random_rows, text, votes_lines, write_both

NOT_A_FACE = [0] * 9 + [10]


def rows_with_dropped(rows=30):
    """Random rows; of each split the second is no face. Rows 0, 20 and 25 begin the splits."""
    found = random_rows(rows)
    found.votes[[1, 21, 26]] = NOT_A_FACE
    return found


ROWS = rows_with_dropped()


@pytest.fixture
def folder(tmp_path):
    return write_both(tmp_path / "data", ROWS)


def test_splits_hold_the_kept_rows_in_file_order(folder):
    dataset = load_dataset(folder)
    expected = {"train": [0, *range(2, 20)], "validation": [20, 22, 23, 24]}
    expected["test"] = [25, 27, 28, 29]
    assert list(dataset.splits) == list(SPLITS)
    for name, split in dataset.splits.items():
        assert split.row_ids.tolist() == expected[name]
        np.testing.assert_array_equal(split.images, ROWS.images[split.row_ids])
        assert split.images.dtype == np.uint8
        np.testing.assert_array_equal(split.targets, ROWS.votes[split.row_ids, :8] / 10)
        assert split.targets.dtype == np.float32
        assert split.class_names == dataset.source.class_names == FERPLUS_CLASSES
    assert sorted(dataset.hashes) == ["fer2013.csv", "fer2013new.csv"]


def test_validation_and_test_go_by_the_evaluation_rule(tmp_path):
    rows = random_rows()
    rows.votes[:, :8] = 0
    rows.votes[:, 2:4] = 5  # an even choice: ms_majority drops it
    rows.votes[[20, 25]] = [0, 0, 10, 0, 0, 0, 0, 0, 0, 0]
    folder = write_both(tmp_path / "data", rows)
    dataset = load_dataset(folder, label_rule="ms_probability")
    assert dataset.rule.draw
    assert (dataset.rule.name, dataset.evaluation_rule.name) == ("ms_probability", "ms_majority")
    assert [len(split.images) for split in dataset.splits.values()] == [20, 1, 1]
    assert np.all(dataset.splits["train"].targets[:, 2:4] == 0.5)
    counted = {name: counts["kept"] for name, counts in dataset.counts["splits"].items()}
    assert counted == {"train": 20, "validation": 1, "test": 1}
    exact = load_split(folder, "validation", label_rule="ms_probability")
    assert len(exact.images) == 5


def test_fer_keeps_every_row_under_its_own_label(folder):
    (folder / "fer2013new.csv").unlink()
    dataset = load_dataset(folder, "FER", "majority")
    assert dataset.source.class_names == FER2013_CLASSES
    assert dataset.rule.name == dataset.evaluation_rule.name == "emotion column"
    assert not dataset.rule.draw
    assert list(dataset.hashes) == ["fer2013.csv"]
    columns = list(zip(*dataset.splits.values(), strict=True))[:3]
    together = [np.concatenate(parts) for parts in columns]
    np.testing.assert_array_equal(together[0], ROWS.images)
    np.testing.assert_array_equal(together[1], np.eye(7)[ROWS.emotions])
    np.testing.assert_array_equal(together[2], np.arange(30))
    assert all(isinstance(split.images, np.memmap) for split in dataset.splits.values())
    again = load_split(folder, "test", "FER", dataset.evaluation_rule.name)
    np.testing.assert_array_equal(again.targets, dataset.splits["test"].targets)


def test_the_csv_file_itself_will_do_as_data_dir(folder):
    found = load_split(folder / "fer2013.csv", "test")
    np.testing.assert_array_equal(found.row_ids, load_split(folder, "test").row_ids)


def test_files_in_another_order_are_refused_by_the_first_differing_row(folder):
    lines = votes_lines(ROWS)
    lines[3], lines[25] = lines[25], lines[3]
    (folder / "fer2013new.csv").write_bytes(text(lines))
    for job in (load_dataset, label_counts):
        with pytest.raises(InputError, match=r"row 3 .*Usage Training in one, PublicTest in the"):
            job(folder)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013new.csv"])
def test_files_of_different_length_are_refused(folder, name):
    lines = {"fer2013.csv": fer2013_lines, "fer2013new.csv": votes_lines}[name](ROWS)
    (folder / name).write_bytes(text(lines[:-2]))
    with pytest.raises(InputError, match=r"have (28 and 30|30 and 28) rows: row 29 is in only one"):
        load_dataset(folder)


def test_a_split_without_rows_is_refused(tmp_path):
    rows = random_rows()
    rows.votes[rows.usage == "PublicTest"] = NOT_A_FACE
    folder = write_both(tmp_path / "data", rows)
    message = "rows for the validation split of FERPlus, but of its 5 rows none is kept"
    with pytest.raises(InputError, match=message):
        load_dataset(folder)
    with pytest.raises(InputError, match=message):
        load_split(folder, "validation")
    assert len(load_split(folder, "test").images) == 5
    assert label_counts(folder)["splits"]["validation"]["kept"] == 0


def test_wrong_names_are_refused_before_any_file_is_read():
    with pytest.raises(UsageError, match="unknown data set 'FERplus'; did you mean 'FERPlus'"):
        load_dataset("nowhere", "FERplus")
    with pytest.raises(UsageError, match="unknown label rule 'majorty'; did you mean 'majority'"):
        load_dataset("nowhere", label_rule="majorty")
    with pytest.raises(UsageError, match="unknown split 'Train'; did you mean 'train'"):
        load_split("nowhere", "Train")
    for value, data_set in (("majority", "FERPlus"), (None, "FERPlus"), (None, "Folder")):
        with pytest.raises(UsageError, match="argument 'lable_rule'; did you mean 'label_rule'"):
            load_split("nowhere", "train", dataset_name=data_set, lable_rule=value)
    with pytest.raises(InputError, match="nowhere"):
        load_split("nowhere", "train")


def test_missing_votes_are_reported_before_the_pixels_are_parsed(folder, monkeypatch):
    (folder / "fer2013new.csv").unlink()
    monkeypatch.setattr("ferplus_keras.data.ferplus.read_fer2013", None)
    with pytest.raises(InputError, match=r"no fer2013new\.csv"):
        load_dataset(folder)


@pytest.mark.parametrize("rule", LABEL_RULES)
def test_counts_add_up(folder, rule):
    counts = json.loads(json.dumps(label_counts(folder, label_rule=rule)))
    assert (counts["dataset_name"], counts["label_rule"]) == ("FERPlus", rule)
    assert counts["classes"] == list(FERPLUS_CLASSES)
    assert [split["rows"] for split in counts["splits"].values()] == [20, 5, 5]
    assert [split["kept"] for split in counts["splits"].values()] == [19, 4, 4]
    for part in (*counts["splits"].values(), counts["total"]):
        assert part["kept"] + part["dropped"] == part["rows"]
        assert sum(part["reasons"].values()) == part["dropped"]
        assert sum(part["per_class"].values()) == part["kept"]
    for key in ("rows", "kept", "dropped"):
        assert counts["total"][key] == sum(split[key] for split in counts["splits"].values())


def test_counts_of_the_votes_need_no_pixels(folder):
    with_pixels = label_counts(folder)
    (folder / "fer2013.csv").unlink()
    assert label_counts(folder) == with_pixels
    with pytest.raises(InputError, match=r"no fer2013\.csv"):
        label_counts(folder, "FER")


def test_soft_targets_are_counted_by_their_sums(tmp_path):
    rows = random_rows()
    rows.votes[:] = [0, 6, 0, 4, 0, 0, 0, 0, 0, 0]
    counts = label_counts(write_both(tmp_path / "data", rows), label_rule="ms_crossentropy")
    assert counts["splits"]["validation"]["per_class"]["sadness"] == 2
    assert counts["splits"]["train"]["per_class"]["happiness"] == 12
    rows.votes[0] = [0, 7, 0, 3, 0, 0, 0, 0, 0, 0]
    counts = label_counts(write_both(tmp_path / "data", rows), label_rule="ms_crossentropy")
    assert counts["splits"]["train"]["per_class"]["happiness"] == 12.1
    assert "12.1" in format_label_counts(counts)


def test_listed_targets_are_the_numbers_that_train(tmp_path):
    rows = random_rows()
    rows.votes[:] = [4, 2, 0, 1, 0, 0, 0, 0, 3, 0]
    folder = write_both(tmp_path / "data", rows)
    label_counts(folder, label_rule="distribution", output=tmp_path / "rows.csv")
    table = np.loadtxt(tmp_path / "rows.csv", str, delimiter=",", skiprows=1)
    splits = load_dataset(folder, label_rule="distribution", evaluation_rule="distribution").splits
    targets = np.concatenate([split.targets for split in splits.values()])
    np.testing.assert_array_equal(table[:, 4:].astype(np.float32), targets)
    rows = np.concatenate([split.row_ids for split in splits.values()])
    np.testing.assert_array_equal(table[:, 1].astype(int), rows)


def test_the_table_of_counts(folder):
    lines = format_label_counts(load_dataset(folder, label_rule="ms_multi_target").counts).split(
        "\n"
    )
    assert lines[0] == ("FERPlus, labelled by ms_multi_target (validation and test by ms_majority)")
    assert lines[1].split() == ["train", "validation", "test", "total"]
    assert lines[2].split() == ["rows", "20", "5", "5", "30"]
    assert lines[3].split() == ["kept", "19", "4", "4", "27"]
    assert lines[5].split()[-4:] == ["1", "1", "1", "3"]
    assert lines[5].startswith("  unknown or not a face has the most votes")
    assert [line.split()[0] for line in lines[6:]] == list(FERPLUS_CLASSES)
    assert len({len(line) for line in lines[1:]}) == 1
    assert "(" not in format_label_counts(label_counts(folder)).split("\n")[0]


def split_of(counts):
    """A split with so many rows of each class, in random order."""
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.repeat(np.arange(len(classes), dtype=np.uint8), 48 * 48).reshape(-1, 48, 48)
    targets = np.eye(len(counts), dtype=np.float32)[classes]
    rows = np.arange(len(classes))
    return Split(images, targets, rows * 3, tuple("abcdefgh"[: len(counts)]), leaked=rows % 2 == 0)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [1, 0, 0, 0, 0]),  # of 0.6, 0.25 …
        (2, [1, 1, 0, 0, 0]),  # of 1.2, 0.5 …
        (7, [4, 2, 1, 0, 0]),  # of 4.2, 1.75, 0.7, 0.28, 0.07
        (50, [30, 13, 5, 2, 0]),  # of 30, 12.5, 5, 2, 0.5
        (99, [59, 25, 10, 4, 1]),  # of 59.4, 24.75, 9.9, 3.96, 0.99
    ],
)
def test_a_limited_split_keeps_the_shares_of_its_classes(limit, expected):
    """By the largest remainders."""
    split = split_of([60, 25, 10, 4, 1])
    limited = limit_split(split, limit, seed=3)
    assert len(limited.images) == len(limited.targets) == len(limited.row_ids) == limit
    assert limited.targets.sum(axis=0).tolist() == expected
    assert np.all(np.diff(limited.row_ids) > 0)
    at = limited.row_ids // 3
    np.testing.assert_array_equal(limited.images, split.images[at])
    np.testing.assert_array_equal(limited.targets, split.targets[at])
    np.testing.assert_array_equal(limited.leaked, split.leaked[at])
    assert limited.paths is None


def test_the_draw_of_a_limited_split_follows_the_seed():
    split = split_of([60, 40])
    first, same, other = (limit_split(split, 30, seed).row_ids.tolist() for seed in (1, 1, 2))
    assert first == same != other
    assert limit_split(split, 100, 1) is split
    assert limit_split(split, 1000, 1) is split
    for limit in (0, -5):
        with pytest.raises(UsageError, match=f"1 row or more, not {limit}"):
            limit_split(split, limit, 1)


def test_the_real_splits(real_data):
    dataset = load_dataset(real_data)
    assert [len(split.images) for split in dataset.splits.values()] == [26_153, 3_305, 3_275]
    assert dataset.counts == label_counts(real_data)
    assert dataset.counts["total"]["kept"] == 32_733
    assert dataset.counts["total"]["dropped"] == 3_154
    for name, split in load_dataset(real_data, "FER").splits.items():
        assert len(split.images) == {"train": 28_709}.get(name, 3_589)
    assert set(DATASETS) == {"FERPlus", "FERPlus7", "FER", "FER6", "Folder"}


@pytest.mark.parametrize(
    ("name", "left_out", "kept"),
    [
        ("FERPlus7", "contempt", (26_038, 3_291, 3_262)),
        ("FER6", "disgust", (28_273, 3_533, 3_534)),
    ],
)
def test_a_data_set_without_one_class_is_the_other_one_without_its_rows(
    real_data, name, left_out, kept
):
    """26,153 / 3,305 / 3,275 less 115 / 14 / 13; 28,709 / 3,589 / 3,589 less 436 / 56 / 55."""
    dataset, whole = load_dataset(real_data, name), load_dataset(real_data, name[:-1])
    assert tuple(len(split.images) for split in dataset.splits.values()) == kept
    column = whole.source.class_names.index(left_out)
    assert dataset.source.class_names == tuple(c for c in whole.source.class_names if c != left_out)
    for split, of_whole in zip(dataset.splits.values(), whole.splits.values(), strict=True):
        others = of_whole.targets[:, column] == 0
        np.testing.assert_array_equal(split.row_ids, of_whole.row_ids[others])
        expected = np.delete(of_whole.targets[others], column, axis=1)
        np.testing.assert_array_equal(split.targets, expected)
    assert (
        dataset.counts["total"]["reasons"]["the class is left out"]
        == {
            "FERPlus7": 142,
            "FER6": 547,
        }[name]
    )


def test_the_real_leaks(real_data):
    """279 of 3,589 validation rows and 288 of 3,589 test rows have the pixels of a training row."""
    splits = load_dataset(real_data, "FER").splits
    assert {name: np.count_nonzero(split.leaked) for name, split in splits.items()} == {
        "train": 692,
        "validation": 279,
        "test": 288,
    }
    pixels = {n: {image.tobytes() for image in split.images} for n, split in splits.items()}
    for name, split in splits.items():
        others = pixels["train"] if name != "train" else pixels["validation"] | pixels["test"]
        assert split.leaked.tolist() == [image.tobytes() in others for image in split.images]
    dataset = load_dataset(real_data, drop_leaks=True)
    assert [len(split.images) for split in dataset.splits.values()] == [25_535, 3_305, 3_275]
    assert not dataset.splits["train"].leaked.any()
    assert not load_split(real_data, "test", "FERPlus7").leaked.all()


def test_a_class_map_goes_through_to_targets_counts_and_splits(folder):
    entries = ["good=happiness+surprise+neutral", "bad=sadness + anger"]
    dataset = load_dataset(folder, class_map=entries)
    train = dataset.splits["train"]
    assert dataset.source.class_names == train.class_names == ("good", "bad")
    votes = ROWS.votes[:20]
    np.testing.assert_array_equal(train.row_ids, np.flatnonzero(votes[:, :5].any(axis=1)))
    good = votes[train.row_ids, :3].any(axis=1)
    np.testing.assert_array_equal(train.targets, np.stack([good, ~good], axis=1))
    assert dataset.counts == label_counts(folder, class_map=entries)
    (folder / "fer2013.csv").unlink()
    assert dataset.counts == label_counts(folder, class_map=entries)


def test_a_wrong_class_is_refused_before_any_file_is_read():
    with pytest.raises(UsageError, match="unknown class in --class_map 'sadnes'; did you mean"):
        load_dataset("nowhere", class_map=["a=sadnes", "b=anger"])
    with pytest.raises(UsageError, match="Known: neutral, happiness, surprise, sadness, anger,"):
        load_split("nowhere", "test", "FERPlus7", class_map=["a=contempt", "b=anger"])


def test_excluded_rows_and_duplicates_leave_training_only(tmp_path):
    rows = random_rows()
    rows.images[7] = rows.images[22]
    rows.images[9] = rows.images[8]
    folder = write_both(tmp_path / "data", rows)
    (tmp_path / "bad.csv").write_text("why,row\nblurred,3\nasleep, 21\n")
    plain = load_dataset(folder)
    assert np.flatnonzero(plain.splits["train"].leaked).tolist() == [7]
    assert plain.splits["validation"].leaked.tolist() == [False, False, True, False, False]
    dataset = load_dataset(folder, drop_leaks=True, exclude=tmp_path / "bad.csv")
    assert [len(split.images) for split in dataset.splits.values()] == [18, 5, 5]
    assert not {3, 7} & set(dataset.splits["train"].row_ids.tolist())
    assert dataset.counts["total"]["reasons"] == {
        "listed in --exclude": 1,
        "same pixels as a validation or test row": 1,
    }
    assert set(dataset.hashes) - set(plain.hashes) == {"bad.csv"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("row_id\n3\n", "expected the columns row in line 1; missing row; found row_id"),
        ("", "found nothing"),
        ("row\n3\n4.5\n", "line 3 .*: expected a row from 0 to 29, found '4.5'"),
        ("row\n-1\n", "line 2 .*: expected a row from 0 to 29, found '-1'"),
        ("row\n30\n", "line 2 .*: expected a row from 0 to 29, found '30'"),
        (f"row\n{'9' * 5000}\n", "line 2 .*: expected a row from 0 to 29, found '9{20}'"),
        ("a,row\n1\n", "line 2 .*: expected 2 columns, found 1"),
        ("row\n29\n", "expected rows of train, found only validation and test rows"),
    ],
)
def test_a_wrong_list_of_excluded_rows_is_refused(folder, tmp_path, content, expected):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(InputError, match=expected):
        load_dataset(folder, exclude=tmp_path / "bad.csv")
    with pytest.raises(InputError, match=r"cannot read --exclude .*gone\.csv: No such file"):
        load_dataset(folder, exclude=tmp_path / "gone.csv")


def test_an_open_source_reads_each_file_once_for_all_rules_and_splits(folder, monkeypatch):
    read = []

    def counted(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, **more: read.append(name) or function(*given, **more)
        )

    counted(ferplus, "read_table")
    counted(fer2013, "_parse")
    counted(fer2013, "sha256")
    counted(ferplus, "read_fer2013")
    source = open_source(folder)
    for rule in LABEL_RULES:
        for name in SPLITS:
            split = source.split(name, rule)
            assert source.votes(split.row_ids).shape == (len(split.images), 8)
    assert sorted(read) == ["_parse", "read_fer2013", "read_table", "sha256"]
