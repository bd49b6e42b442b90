"""The splits of own pictures: people and sequences stay together, and files that cannot be read."""

import cv2
import pytest

from ferplus_keras.data.counts import label_counts
from ferplus_keras.data.dataset import load_dataset, open_source
from ferplus_keras.data.folder import read_folder
from ferplus_keras.data.splitting import digest
from ferplus_keras.errors import InputError, UsageError
from tests.data.test_folder import write_faces


@pytest.fixture
def drawn(tmp_path):
    """Return a function that writes one face per path, whatever the folders."""
    seeds = iter(range(10**6))

    def write(*paths):
        for path in paths:
            pixels = next(iter(write_faces(tmp_path / ".scratch", {"x": 1}, next(seeds)).values()))
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / path), pixels)
        return tmp_path

    return write


def people(name, count=12, pictures=4):
    return [
        f"{label}/{name.format(person=person, number=number)}.png"
        for label in ("calm", "tense")
        for person in range(count)
        for number in range(pictures)
    ]


def splits_by(found, key):
    together = {}
    for path, split in zip(found.paths, found.splits, strict=True):
        together.setdefault(key(path.rpartition("/")[2]), set()).add(split)
    return together


@pytest.mark.parametrize("group", [r"^S\d+", r"^(S\d+)_", "S[0-9]+", r"/(S\d+)_"])
@pytest.mark.parametrize("count", [3, 4, 12])
def test_a_pattern_keeps_people_in_one_split_and_fills_every_split(drawn, count, group):
    folder = drawn(*people("S{person}_{number:03}", count))
    together = splits_by(read_folder(folder, group=group), lambda name: name.partition("_")[0])
    assert len(together) == count
    assert all(len(splits) == 1 for splits in together.values())
    assert set.union(*together.values()) == {"train", "validation", "test"}


def test_another_version_moves_nobody():
    """The hash that decides on splits is blake2b, keyed with `ferplus_keras split`."""
    names = [f"S{number:03}".encode() for number in range(5)]
    assert [digest(name) % 10 for name in names] == [1, 5, 2, 6, 0]


def test_more_people_move_nobody(drawn):
    folder = drawn(*people("S{person}_{number:03}", 30))
    before = splits_by(read_folder(folder, group=r"S\d+"), lambda name: name.partition("_")[0])
    drawn(*people("T{person}_{number:03}", 10))
    after = splits_by(read_folder(folder, group=r"[ST]\d+"), lambda name: name.partition("_")[0])
    assert len(after) == 40
    assert before.items() <= after.items()


def test_a_column_of_the_list_keeps_people_in_one_split(drawn):
    paths = [f"pictures/{number}.png" for number in range(60)]
    folder = drawn(*paths)
    rows = [f"{path},{'ab'[n % 2]},person {n % 7}" for n, path in enumerate(paths)]
    (folder / "labels.csv").write_text("\n".join(["path,label,who", *rows]))
    found = read_folder(folder, group="who")
    together = splits_by(found, lambda name: int(name.removesuffix(".png")) % 7)
    assert len(together) == 7
    assert all(len(splits) == 1 for splits in together.values())


def test_groups_that_given_splits_divide_are_refused(drawn):
    folder = drawn("train/a/S1_1.png", "train/b/S2_1.png", "test/a/S1_2.png", "val/b/S3_1.png")
    with pytest.raises(InputError, match="'S1' has pictures in test and train"):
        read_folder(folder, group=r"S\d+")
    assert len(read_folder(folder, group=r"S\d_\d").images) == 4


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (
            "who",
            "expected a column of path, label, or a pattern that is found in every name; a.png",
        ),
        ("(", "expected a column or a pattern"),
        (r"^[a-y](?=\.)", r"found in every name; z\.png has none \(--group '' divides"),
    ],
)
def test_a_group_that_is_neither_column_nor_pattern_is_refused(drawn, group, expected):
    folder = drawn("a.png", "b.png", "z.png")
    (folder / "labels.csv").write_text("path,label\na.png,x\nb.png,y\nz.png,y\n")
    with pytest.raises(UsageError, match=expected):
        open_source(folder, "Folder", group=group)


@pytest.mark.parametrize("reading", [{"group": "x"}, {"skip_unreadable": True}])
def test_how_pictures_are_read_is_not_asked_of_other_data(reading):
    with pytest.raises(UsageError, match="is for your own pictures"):
        load_dataset("nowhere", "FER", **reading)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("S{person:03}_{number:03}_00000017", r"^S\d{{3}}(?=_\d{{3}}_\d)"),
        ("{person:.0f}", None),
        ("{number:03}{person:03}", None),
        ("image_{person:03}{number:03}", None),
        ("subject{person}_{number}", "(?i)^(?:subject|subj|"),
        ("Ann{person}_Lee_{number:04}", "^.+(?="),
        ("clip{person}_frame{number}", "^.+(?="),
        ("person {person}/{number}", "(?<=/)"),
    ],
)
def test_names_that_look_like_people_are_said(drawn, capsys, name, hint):
    folder = drawn(*people(name))
    read_folder(folder)
    said = capsys.readouterr().err
    if hint is None:
        assert "warning" not in said
        return
    assert "people or sequences have pictures in several splits" in said
    suggested = said.partition("--group '")[2].partition("'")[0]
    assert suggested.startswith(hint.format())
    read_folder(folder, group=suggested)
    assert "warning" not in capsys.readouterr().err


def test_splits_below_their_classes_are_no_people(drawn, capsys):
    labels = ("calm", "tense", "sad")
    names = [f"{label}/{split}/{i}.png" for label in labels for split in ("train", "test")
             for i in range(9)]  # fmt: skip
    read_folder(drawn(*names))
    assert "warning" not in capsys.readouterr().err


def test_people_in_one_split_each_are_not_warned_of(drawn, capsys):
    drawn(*(f"train/{path}" for path in people("S{person:03}_001_{number:08}")))
    folder = drawn(*(f"test/{path}" for path in people("S9{person:02}_001_{number:08}")))
    drawn(*(f"val/{path}" for path in people("S8{person:02}_001_{number:08}")))
    read_folder(folder)
    assert "warning" not in capsys.readouterr().err


def test_people_in_several_given_splits_are_for_the_user_to_move(drawn, capsys):
    drawn(*(f"train/{path}" for path in people("S{person:03}_001_{number:08}")))
    folder = drawn(*(f"test/{path}" for path in people("S{person:03}_002_{number:08}")))
    read_folder(folder)
    said = capsys.readouterr().err
    assert "12 people or sequences have pictures in several splits" in said
    assert "move each into one of them" in said
    assert "--group" not in said


def test_unreadable_pictures_are_skipped_only_if_asked_and_all_are_listed(
    drawn, capsys, monkeypatch
):
    good = people("{person}-{number}")
    folder = drawn(*good)
    broken = [f"calm/x{number}.png" for number in range(7)]
    for path in broken:
        (folder / path).write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"cannot read 7 of 103 .* --skip_unreadable"):
        read_folder(folder)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("ferplus_keras.data.folder._decode", None)  # the cache has them
        found = read_folder(folder, skip_unreadable=True)
        assert found.paths.tolist() == sorted(good)
        said = capsys.readouterr().err
        assert "skipped 7 of 103 pictures" in said
        assert all(f"  {path}: no picture, or damaged\n" in said for path in broken)
        with pytest.raises(InputError, match="cannot read 7 of 103"):
            read_folder(folder)
        counts = label_counts(folder, "Folder", skip_unreadable=True)
    assert counts["skipped"] == dict.fromkeys(broken, "no picture, or damaged")
    assert counts["total"]["rows"] == 96
    pixels = write_faces(folder, {"calm": 1}, seed=5)
    (folder / next(iter(pixels))).replace(folder / broken[0])
    again = read_folder(folder, skip_unreadable=True)
    row = again.paths.tolist().index(broken[0])
    assert (again.images[row] == next(iter(pixels.values()))).all()


def test_a_folder_of_nothing_but_broken_pictures_is_refused_all_the_same(drawn):
    folder = drawn("a/1.png", "b/1.png")
    for path in ("a/1.png", "b/1.png"):
        (folder / path).write_bytes(b"no")
    with pytest.raises(InputError, match="cannot read 2 of 2"):
        read_folder(folder, skip_unreadable=True)
