"""Own pictures at any size and in colour; what would be lost without a word."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ferplus_keras.data import cache
from ferplus_keras.data.dataset import load_dataset, load_split, open_source
from ferplus_keras.data.pictures import as_face, read_picture
from ferplus_keras.errors import InputError, UsageError


def write(folder, counts, side=100, colour=True, seed=0):
    """Write so many smooth random pictures for each folder below `folder`."""
    rng = np.random.default_rng(seed)
    for below, count in counts.items():
        (folder / below).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            coarse = rng.integers(0, 256, (8, 8, 3 if colour else 1), np.uint8)
            picture = cv2.resize(coarse, (side, side + 10))
            cv2.imwrite(str(folder / below / f"{number}.png"), picture)
    return folder


@pytest.mark.parametrize(
    ("side", "colour", "options", "shape", "said"),
    [
        (100, True, {}, (96, 96, 3), "96x96 colour"),
        (70, False, {}, (64, 64), "64x64 grey"),
        (400, True, {}, (224, 224, 3), "224x224 colour"),
        (400, True, {"largest": 112, "colour": False}, (112, 112), "112x112 grey"),
        (20, False, {}, (48, 48), "48x48 grey"),
        (100, False, {"face_size": 30, "colour": True}, (30, 30, 3), None),
    ],
)
def test_size_and_colour_are_the_pictures_or_those_asked_for(
    tmp_path, capsys, side, colour, options, shape, said
):
    write(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2}, side, colour)
    split = load_split(tmp_path, "test", "Folder", **options)
    for path, face in zip(split.paths, split.images, strict=True):
        np.testing.assert_array_equal(face, as_face(read_picture(tmp_path / path), shape))
    assert split.images.shape == (4, *shape)
    assert split.images.dtype == np.uint8
    errors = capsys.readouterr().err
    assert (f"faces of {said}, chosen" in errors) if said else "chosen" not in errors


def test_most_pictures_decide_on_size_and_colour(tmp_path):
    write(tmp_path, {"train/a": 7, "test/a": 2}, side=100, colour=False)
    write(tmp_path, {"train/b": 5, "test/b": 2}, side=400)
    assert load_split(tmp_path, "test", "Folder").images.shape == (4, 96, 96)


def test_rgb_stays_rgb(tmp_path):
    write(tmp_path, {"b": 60})
    (tmp_path / "a").mkdir()
    for number in range(60):
        red = Image.new("RGB", (64, 64), (200, number, 30))
        red.paste((20, 100, 40), (0, 0, 20, 20))
        red.save(tmp_path / f"a/{number}.png")
    source = open_source(tmp_path, "Folder", face_size=64, colour=True)
    row = source.rows.paths.tolist().index("a/7.png")
    assert source.rows.images[row, 60, 60].tolist() == [200, 7, 30]


def test_splits_leaks_and_hash_do_not_depend_on_the_shape(tmp_path):
    write(tmp_path / "d", {"a": 60, "b": 60})
    (tmp_path / "d/a/copy.png").write_bytes((tmp_path / "d/a/3.png").read_bytes())
    shapes = [(48, False), (48, True), (100, True), (24, False)]
    sources = [open_source(tmp_path / "d", "Folder", face_size=s, colour=c) for s, c in shapes]
    first = sources[0]
    assert len({source.rows.images.shape for source in sources}) == 4
    assert len(set(first.rows.splits)) == 3
    for source in sources:
        assert source.rows.splits.tolist() == first.rows.splits.tolist()
        assert source.rows.hashes == first.rows.hashes
        assert (source.groups != np.arange(121)).sum() == 1
    again = open_source(tmp_path / "d", "Folder", face_size=100, colour=True).rows.images
    assert isinstance(again, np.memmap)  # one shape does not push the other out of the cache
    np.testing.assert_array_equal(again, sources[2].rows.images)
    picture = np.array(Image.open(tmp_path / "d/a/5.png"))[..., ::-1]  # other colours
    Image.fromarray(picture).save(tmp_path / "d/a/5.png")
    assert open_source(tmp_path / "d", "Folder").rows.hashes != first.rows.hashes


def test_faces_of_ferplus_stay_as_they_are(sample_data):
    for options in ({"face_size": 112}, {"colour": True}):
        with pytest.raises(UsageError, match=r"faces of FERPlus are 48x48 grey; only your own"):
            load_split(sample_data, "test", **options)
    assert load_split(sample_data, "test", face_size=48, colour=False).images.ndim == 3


@pytest.mark.parametrize("unix", [True, False])
def test_many_faces_stay_on_disk(tmp_path, monkeypatch, unix):
    if not unix:
        monkeypatch.delattr(cache.os, "pread")
        monkeypatch.delattr(cache.os, "posix_fallocate")
        monkeypatch.delattr(cache.mmap, "MADV_DONTNEED")
    write(tmp_path, {"a": 60, "b": 60}, side=48)
    expected = load_dataset(tmp_path, "Folder").splits
    monkeypatch.setattr(cache, "_IN_MEMORY", 0)
    for name, split in load_dataset(tmp_path, "Folder").splits.items():
        images, rows = split.images, np.array([3, 0, 4])
        assert isinstance(images, cache.FacesOnDisk)
        assert (images.shape, images.ndim, len(images)) == (
            expected[name].images.shape,
            4,
            len(split.targets),
        )
        np.testing.assert_array_equal(images, expected[name].images)
        np.testing.assert_array_equal(images[1:3], expected[name].images[1:3])
        np.testing.assert_array_equal(images[1], expected[name].images[1])
        taken = split.take(rows)
        assert isinstance(taken.images, cache.FacesOnDisk)
        np.testing.assert_array_equal(taken.images, expected[name].images[rows])
        np.testing.assert_array_equal(taken.digests, expected[name].digests[rows])


def test_many_faces_need_room_in_the_cache_folder(tmp_path, monkeypatch, capsys):
    write(tmp_path / "d", {"a": 40, "b": 40})
    (tmp_path / "file").write_text("where the folder should be")
    found = load_split(tmp_path / "d", "train", "Folder", cache_dir=tmp_path / "file")
    assert "warning: cannot keep the pixels" in capsys.readouterr().err
    usual = load_split(tmp_path / "d", "train", "Folder")
    np.testing.assert_array_equal(found.images, usual.images)
    monkeypatch.setattr(cache, "_IN_MEMORY", 0)
    with pytest.raises(InputError, match=r"0\.0 GB of faces .*choose another --cache_dir"):
        load_split(tmp_path / "d", "train", "Folder", cache_dir=tmp_path / "file")
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "posix_fallocate", full)
        with pytest.raises(InputError, match="No space left"):
            load_split(tmp_path / "d", "train", "Folder", cache_dir=tmp_path / "full")
    assert list((tmp_path / "full").iterdir()) == []


def full(*_):
    raise OSError(28, "No space left on device")


def test_16_bits_that_hold_8_are_refused(tmp_path):
    write(tmp_path, {"a": 3, "b": 3}, colour=False)
    dim = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) % 201
    Image.fromarray(dim).save(tmp_path / "a/dim.png")
    with pytest.raises(InputError, match=r"1 of 7 .*\n  a/dim\.png: its 16 bits hold no .* 200"):
        load_dataset(tmp_path, "Folder")
    for picture in (dim, tmp_path / "a/dim.png"):
        with pytest.raises(InputError, match="save it with 8 bits"):
            read_picture(picture)
    assert read_picture(np.zeros((4, 4), np.uint16)).max() == 0
    assert read_picture(dim * 257).max() == 200


@pytest.mark.parametrize("top", [0, 16])
def test_a_folder_that_shows_nothing_is_refused(tmp_path, top):
    write(tmp_path, {"train/a": 9, "train/b": 9, "test/b": 9}, colour=False)
    (tmp_path / "test/a").mkdir()
    for number in range(4):
        dark = np.linspace(0, top, 48 * 48).reshape(48, 48).astype(np.uint8)
        Image.fromarray(dark).save(tmp_path / f"test/a/{number}.png")
    with pytest.raises(InputError, match=r"all 4 pictures of 'a' in .*test/a show nothing"):
        load_dataset(tmp_path, "Folder")


def test_what_is_lost_is_said(tmp_path, capsys):
    write(tmp_path, {"a": 40, "b": 40})
    load_dataset(tmp_path, "Folder")
    assert "warning" not in capsys.readouterr().err
    Image.new("L", (60, 60), 9).save(tmp_path / "a/dark.png")
    (tmp_path / "b/torn.png").write_bytes((tmp_path / "a/3.png").read_bytes())
    for number in range(12):
        wide = cv2.resize(cv2.imread(str(tmp_path / f"a/{number}.png")), (150, 80))
        cv2.imwrite(str(tmp_path / f"b/wide{number}.png"), wide)
    load_dataset(tmp_path, "Folder")
    warnings = [w for w in capsys.readouterr().err.splitlines() if w.startswith("warning")]
    assert [line.partition(f" of 94 pictures in {tmp_path} ")[::2] for line in warnings] == [
        ("warning: 1", "show nothing: they are black or of one shade, such as a/dark.png"),
        ("warning: 2", "are there under two labels or more, such as a/3.png"),
        (
            "warning: 12",
            "are far from square and are squeezed: crop the faces, such as b/wide0.png",
        ),
    ]
