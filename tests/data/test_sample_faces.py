import cv2
import numpy as np
import pytest

from ferplus_keras.data.dataset import load_dataset
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.data.sample_faces import (
    EXPRESSIONS,
    MINIMUM_ROWS,
    blend,
    draw_face,
    draw_person,
    draw_rows,
    write_sample_data,
)
from ferplus_keras.emotions import FERPLUS_CLASSES, SPLITS
from ferplus_keras.errors import InputError, UsageError

ROWS, SEED = 1000, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sample_data(tmp_path_factory.mktemp("drawn"), rows=ROWS, seed=SEED)


@pytest.fixture(scope="module")
def drawn():
    return draw_rows(ROWS, SEED)


@pytest.mark.parametrize("rule", LABEL_RULES)
def test_every_label_rule_reads_it_and_finds_every_class_in_every_split(folder, rule):
    splits = load_dataset(folder, "FERPlus", rule).splits
    for split in splits.values():
        assert np.all(split.targets.sum(axis=0) >= 3)


def test_it_serves_as_fer2013_too(folder):
    splits = load_dataset(folder, "FER").splits
    assert [len(splits[name].images) for name in ("train", "validation", "test")] == [800, 100, 100]
    assert np.all(splits["test"].targets.sum(axis=0) >= 3)


def test_the_files_hold_what_was_drawn_in_the_real_order(folder, drawn):
    lines = (folder / "fer2013.csv").read_text().splitlines()
    assert lines[0] == "emotion,pixels,Usage"
    assert len(lines) == len(drawn) + 1
    for line, drawing in zip(lines[1:], drawn, strict=True):
        emotion, pixels, written_usage = line.split(",")
        assert (int(emotion), written_usage) == (drawing.emotion, drawing.usage)
        np.testing.assert_array_equal(np.array(pixels.split(), int).reshape(48, 48), drawing.pixels)
    votes = ferplus_votes(folder)
    np.testing.assert_array_equal(votes.opinions, [drawing.votes for drawing in drawn])
    usages = [drawing.usage for drawing in drawn]
    assert [SPLITS[name] for name in votes.splits] == usages
    assert usages == ["Training"] * 800 + ["PublicTest"] * 100 + ["PrivateTest"] * 100


def test_annotators_doubt_as_many_rows_as_in_a_plausible_data_set(folder):
    votes = ferplus_votes(folder)
    assert np.all(votes.opinions.sum(axis=1) == 10)
    lines = (folder / "fer2013new.csv").read_text().splitlines()
    names = [line.split(",")[1] for line in lines[1:]]
    faceless = votes.opinions[:, 9] == 10
    np.testing.assert_array_equal(faceless, np.array(names) == "")
    assert 0.01 < faceless.mean() < 0.03
    dropped = 1 - LABEL_RULES["majority"].apply(votes.opinions).keep.mean()
    assert 0.03 < dropped < 0.06
    assert 0.02 < np.mean(votes.opinions.max(axis=1) <= 6) < 0.2


def test_same_seed_same_bytes_and_other_seed_other_faces(folder, tmp_path):
    again = write_sample_data(tmp_path / "again", rows=ROWS, seed=SEED)
    for name in ("fer2013.csv", "fer2013new.csv", "faces.png"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    other = write_sample_data(tmp_path / "other", rows=ROWS, seed=SEED + 1)
    assert (other / "fer2013.csv").read_bytes() != (folder / "fer2013.csv").read_bytes()


def test_other_data_is_not_overwritten_unasked(tmp_path):
    theirs = tmp_path / "fer2013new.csv"
    theirs.write_text("mine")
    with pytest.raises(InputError, match=r"fer2013new\.csv.*something else"):
        write_sample_data(tmp_path, rows=MINIMUM_ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["fer2013new.csv"]
    assert theirs.read_text() == "mine"
    write_sample_data(tmp_path, rows=MINIMUM_ROWS, overwrite=True)
    assert theirs.read_text() != "mine"
    write_sample_data(tmp_path, rows=MINIMUM_ROWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "faces.png",
        "fer2013.csv",
        "fer2013new.csv",
    ]


def test_refuses_too_few_rows(tmp_path):
    with pytest.raises(UsageError, match=f"at least {MINIMUM_ROWS} rows.*got 100"):
        write_sample_data(tmp_path / "out", rows=100)
    assert not (tmp_path / "out").exists()


def test_refuses_a_negative_seed(tmp_path):
    with pytest.raises(UsageError, match="seed of at least 0; got -1"):
        write_sample_data(tmp_path, seed=-1)


def test_any_number_of_rows_is_kept_exactly():
    for rows in (401, 404, 405, 409):
        assert len(draw_rows(rows, 0)) == rows


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_data_set_keeps_every_class_in_every_split(seed):
    drawings = draw_rows(MINIMUM_ROWS, seed)
    usages = np.array([drawing.usage for drawing in drawings])
    votes = np.array([drawing.votes for drawing in drawings])
    targets = LABEL_RULES["majority"].apply(votes).targets
    for usage in set(usages):
        assert np.all(targets[usages == usage].sum(axis=0) >= 1)


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_sample_data(tmp_path / "file" / "out", rows=MINIMUM_ROWS)


def test_the_sheet_shows_eight_columns_and_fits_a_readme(folder):
    content = (folder / "faces.png").read_bytes()
    sheet = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (24 + 3 * 96, len(FERPLUS_CLASSES) * 96)
    assert len(content) < 200_000


def test_every_expression_looks_different_on_one_person():
    def portrait(expression):
        rng = np.random.default_rng(0)
        return draw_face(expression, draw_person(rng), rng).astype(int)

    assert tuple(EXPRESSIONS) == FERPLUS_CLASSES
    faces = {name: portrait(expression) for name, expression in EXPRESSIONS.items()}
    for name, face in faces.items():
        for other, other_face in faces.items():
            assert name == other or np.abs(face - other_face).mean() > 1, (name, other)
    half = blend(EXPRESSIONS["neutral"], EXPRESSIONS["anger"], 0.5)
    assert half.brow_slant == EXPRESSIONS["anger"].brow_slant / 2
