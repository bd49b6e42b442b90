import os
import shutil
from unicodedata import normalize

import cv2
import numpy as np
import pytest
from PIL import Image

from ferplus_keras.data.counts import label_counts
from ferplus_keras.data.dataset import load_dataset, load_split
from ferplus_keras.data.folder import read_folder
from ferplus_keras.data.layouts import LAYOUTS, FaceFile
from ferplus_keras.data.pictures import as_face, read_face
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.run import CONFUSION, CURVES


def write_faces(folder, counts, seed=0, shape=(48, 48)):
    """Write so many random grey faces for each folder below `folder`; returns path -> pixels."""
    rng = np.random.default_rng(seed)
    written = {}
    for below, count in counts.items():
        (folder / below).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            path = f"{below}/{rng.integers(10**9):09}.png"
            written[path] = rng.integers(0, 256, shape, np.uint8)
            cv2.imwrite(str(folder / path), written[path])
    return written


def splits_of(folder):
    found = read_folder(folder)
    return dict(zip(found.paths.tolist(), found.splits.tolist(), strict=True))


GIVEN = {f"{s}/{c}": 3 for s in ("train", "validation", "test") for c in ("anger", "happiness")}


def test_folders_of_splits_and_classes(tmp_path):
    written = write_faces(tmp_path, GIVEN)
    dataset = load_dataset(tmp_path, "Folder")
    assert dataset.source.class_names == ("happiness", "anger")  # FER+'s order
    assert dataset.rule.name == dataset.evaluation_rule.name == "own labels"
    listed = sorted(written)
    for name, split in dataset.splits.items():
        assert split.paths.tolist() == [path for path in listed if path.startswith(name)]
        assert [listed[row] for row in split.row_ids] == split.paths.tolist()
        np.testing.assert_array_equal(split.images, [written[path] for path in split.paths])
        of_class = [["happiness", "anger"].index(path.split("/")[1]) for path in split.paths]
        np.testing.assert_array_equal(split.targets, np.eye(2)[of_class])
    assert label_counts(tmp_path, "Folder") == dataset.counts
    merged = load_split(tmp_path, "test", "Folder", class_map=["a=anger", "b=happiness"])
    assert merged.class_names == ("a", "b")


def test_without_split_folders_a_fifth_is_set_aside_for_good(tmp_path):
    """Duplicates stay together whatever they are called, and more files move none of the others."""
    written = write_faces(tmp_path, {"sad": 200, "glad": 100})
    for path, image in list(written.items())[:40]:
        cv2.imwrite(str(tmp_path / path.replace("sad/", "sad/copy")), image)
    before = splits_of(tmp_path)
    shares = [list(before.values()).count(name) / 340 for name in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.06)
    copies = [path for path in before if "copy" in path]
    assert len(copies) == 40
    assert all(before[path] == before[path.replace("copy", "")] for path in copies)
    assert not any(s.leaked.any() for s in load_dataset(tmp_path, "Folder").splits.values())
    write_faces(tmp_path, {"glad": 50}, seed=1)
    after = splits_of(tmp_path)
    assert len(after) == 390
    assert before.items() <= after.items()


def test_only_a_split_that_is_missing_is_taken_out_of_training(tmp_path):
    write_faces(tmp_path, {"train/a": 60, "train/b": 60, "test/a": 3, "test/b": 3})
    found = splits_of(tmp_path)
    assert [path for path in found if found[path] == "test"] == [p for p in found if "test" in p]
    assert 3 <= list(found.values()).count("validation") <= 30


def test_a_list_of_labels(tmp_path, capsys):
    written = write_faces(tmp_path, {"pictures": 6})
    lines = [
        f"{path},{'ab'[i % 2]},{s}"
        for i, (path, s) in enumerate(
            zip(written, ["train"] * 2 + ["validation"] * 2 + ["test"] * 2, strict=True)
        )
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    write_faces(tmp_path, {"unlisted": 1})
    dataset = load_dataset(tmp_path, "Folder")
    said = f"skipped 1 file in {tmp_path} that labels.csv does not list, such as unlisted/"
    assert said in capsys.readouterr().err
    assert dataset.source.class_names == ("a", "b")
    for index, (path, image) in enumerate(written.items()):
        split = dataset.splits[("train", "validation", "test")[index // 2]]
        row = split.paths.tolist().index(path)
        np.testing.assert_array_equal(split.images[row], image)
        assert split.targets[row].tolist() == [1 - index % 2, index % 2]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("file,label\n", "expected the columns path, label .* missing path; found file, label"),
        ("path,label,split\na.png,x,trial\n", "line 2 .*: expected a split of train, validation"),
        ("path,label\na.png,\n", "line 2 .*: expected a path and a label"),
        ("path,label\na.png,x\na.png,y\n", r"line 3 .*: a\.png is listed twice"),
        ("path,label\na.png,x,train\n", "line 2 .*: expected 2 columns, found 3"),
        ("path,label\ngone.png,x\n", r"1 of 1 pictures in .*\n  gone\.png: No such file"),
        ("path,label\n", "no pictures in"),
        (b"path,label\na.png,B\xf6se\n", r"line 2 .*: 'B\\udcf6se' is not UTF-8: save the list"),
        (b"path,label\nb\xf6se/a.png,x\n", r"line 2 .*: 'b\\udcf6se/a\.png' is not UTF-8"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, content, expected):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=expected):
        load_dataset(tmp_path, "Folder")


def test_two_spellings_of_a_class_are_refused_unless_they_are_merged(tmp_path):
    write_faces(tmp_path, {"Happy": 20, "happiness": 20, "sad": 20})
    with pytest.raises(InputError, match="'Happy' and 'happiness' are spellings of one class"):
        load_dataset(tmp_path, "Folder")
    assert load_split(tmp_path, "test", "Folder", class_names=("Happy", "happiness", "sad"))
    composed, decomposed = (normalize(form, "fröhlich") for form in ("NFC", "NFD"))
    write_faces(tmp_path / "umlauts", {composed: 20, decomposed: 20, "sad": 20})
    with pytest.raises(InputError, match="are spellings of one class"):
        load_dataset(tmp_path / "umlauts", "Folder")
    merged = ("good=Happy+happiness", "bad=sad")
    assert load_dataset(tmp_path, "Folder", class_map=merged).source.class_names == ("good", "bad")


def test_broken_pictures_are_named_and_counted(tmp_path):
    written = write_faces(tmp_path, {"a": 4, "b": 5})
    for number, path in enumerate(sorted(written)[:7]):
        data = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(data[: len(data) // 2] if number else b"not a picture")
    with pytest.raises(InputError) as caught:
        read_folder(tmp_path)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith(f"cannot read 7 of 9 pictures in {tmp_path}")
    assert lines[1] == f"  {sorted(written)[0]}: no picture, or damaged"
    assert [line.split(":")[0].strip() for line in lines[2:6]] == sorted(written)[1:5]
    assert lines[6:] == ["  and 2 more"]


@pytest.mark.parametrize(
    ("counts", "kind", "expected"),
    [
        ({"train/a": 1, "tset/a": 1}, UsageError, "split folder .*'tset'; did you mean 'test'"),
        ({"a": 3}, InputError, "two classes or more, found only 'a'"),
        ({"train/a": 9, "train/b": 9, "test/A": 2}, InputError, "'A' has 2 pictures, none of them"),
        ({}, InputError, "no pictures in"),
    ],
)
def test_folders_that_cannot_be_meant_are_refused(tmp_path, counts, kind, expected):
    write_faces(tmp_path, counts)
    with pytest.raises(kind, match=expected):
        load_dataset(tmp_path, "Folder")
    with pytest.raises(InputError, match="there is none"):
        load_dataset(tmp_path / "nowhere", "Folder")


def test_a_folder_for_testing_goes_by_a_checkpoints_classes(tmp_path, capsys):
    written = write_faces(tmp_path, {"test/fear": 2, "test/anger": 1})
    (tmp_path / "test/fear/notes.txt").write_text("who is who")
    (tmp_path / "test/fear/.hidden.png").touch()
    split = load_split(tmp_path, "test", "Folder", class_names=["surprise", "fear", "anger"])
    assert split.targets.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert split.paths.tolist() == sorted(written)
    assert "skipped 1 file" in capsys.readouterr().err
    with pytest.raises(InputError, match="the validation split of Folder, but of its 0 rows"):
        load_split(tmp_path, "validation", "Folder")


def test_pictures_are_decoded_once_until_one_changes(tmp_path, monkeypatch):
    written = write_faces(tmp_path / "data", {"a": 30, "b": 30})
    first = read_folder(tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr("ferplus_keras.data.folder._decode", None)
        again = read_folder(tmp_path / "data")
    assert isinstance(again.images, np.memmap)
    np.testing.assert_array_equal(again.images, first.images)
    assert again.hashes == first.hashes
    path = sorted(written)[5]
    cv2.imwrite(str(tmp_path / "data" / path), 255 - written[path])
    changed = read_folder(tmp_path / "data")
    np.testing.assert_array_equal(changed.images[5], 255 - written[path])
    assert changed.hashes != first.hashes


def test_the_hash_is_of_the_contents_not_of_place_and_time(tmp_path):
    for name in ("one", "two"):
        for path in write_faces(tmp_path / name, {"a": 20, "b": 20}):
            os.utime(tmp_path / name / path, (len(name), len(name)))
    one, two = (read_folder(tmp_path / name) for name in ("one", "two"))
    assert one.hashes == two.hashes
    os.rename(tmp_path / "two/a" / os.path.basename(two.paths[0]), tmp_path / "two/b/moved.png")
    assert read_folder(tmp_path / "two").hashes != one.hashes


def test_the_hash_is_of_labels_and_splits_too(tmp_path):
    paths = list(write_faces(tmp_path, {"pictures": 6}))

    def hashed(labels, splits):
        rows = zip(paths, labels, splits.split(), strict=True)
        (tmp_path / "labels.csv").write_text(
            "\n".join(["path,label,split", *(",".join(row) for row in rows)])
        )
        return read_folder(tmp_path).hashes["pictures"]

    one, other = "val val train train test test", "test test train train val val"
    assert len({hashed("ababab", one), hashed("bababa", one), hashed("ababab", other)}) == 3


GREY = np.add.outer(np.arange(96) * 2, np.arange(96) // 2).astype(np.uint8)
SMALL = cv2.resize(GREY, (48, 48), interpolation=cv2.INTER_AREA)


def saved(tmp_path, picture, name="face.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return as_face(read_face(path)).astype(int)


def test_pictures_of_every_kind_become_the_same_face(tmp_path):
    grey = Image.fromarray(GREY)
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    for picture in (grey, grey.convert("RGB"), deep, grey.convert("RGBA"), grey.convert("LA")):
        np.testing.assert_array_equal(saved(tmp_path, picture), SMALL)
    for name, off in (("f.jpg", 4), ("f.bmp", 0), ("f.tif", 0), ("f.pgm", 0), ("f.webp", 12)):
        assert np.abs(saved(tmp_path, grey, name) - SMALL).max() <= off


def test_a_picture_is_turned_upright_as_its_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: to be turned a quarter clockwise
    lying = Image.fromarray(np.rot90(GREY).copy())
    assert np.abs(saved(tmp_path, lying, "f.jpg", exif=exif, quality=95) - SMALL).max() <= 4
    assert np.abs(saved(tmp_path, lying, "g.jpg", quality=95) - SMALL).max() > 50


def test_transparent_parts_are_white_and_colours_have_their_weights(tmp_path):
    picture = np.zeros((48, 48, 4), np.uint8)
    picture[:24] = (200, 100, 50, 255)
    face = saved(tmp_path, Image.fromarray(picture))
    assert set(face[24:].ravel()) == {255}
    assert set(face[:24].ravel()) == {round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)}


def test_small_and_oblong_pictures_are_stretched(tmp_path):
    face = saved(tmp_path, Image.fromarray(np.repeat([[0], [240]], 10, axis=1).astype(np.uint8)))
    assert face.shape == (48, 48)
    assert (face[0, 0], face[-1, -1]) == (0, 240)
    assert np.all(np.diff(face, axis=0) >= 0)
    with pytest.raises(InputError, match="floating point"):
        saved(tmp_path, Image.fromarray(np.zeros((48, 48), np.float32)), "f.tif")


def test_renaming_the_folder_changes_no_hash(tmp_path):
    write_faces(tmp_path / "my_faces", {"a": 20, "b": 20})
    before = load_dataset(tmp_path / "my_faces", "Folder").hashes
    os.rename(tmp_path / "my_faces", tmp_path / "faces")
    assert load_dataset(tmp_path / "faces", "Folder").hashes == before
    assert list(before) == ["pictures"]


def test_file_names_that_are_not_utf_8_are_read(tmp_path):
    written = write_faces(tmp_path, {"a": 20, "b": 20})
    first = sorted(written)[0]
    try:
        os.rename(os.fsencode(tmp_path / first), os.fsencode(tmp_path) + b"/a/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    found = read_folder(tmp_path)
    assert "a/caf\udce9.png" in found.paths.tolist()
    assert read_folder(tmp_path).hashes == found.hashes
    label_counts(tmp_path, "Folder", output=tmp_path / "rows.csv")
    assert b",a/caf\xe9.png,a,1,0\n" in (tmp_path / "rows.csv").read_bytes()


def test_names_that_a_spreadsheet_would_run_are_written_as_the_same_paths(tmp_path):
    """So docs/files.md promises."""
    written = write_faces(tmp_path, {"a": 20, "b": 20})
    os.rename(tmp_path / written.popitem()[0], tmp_path / "=1+1.png")
    lines = ["path,label", "=1+1.png,b", *(f"{path},{path[0]}" for path in written)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    label_counts(tmp_path, "Folder", output=tmp_path / "rows.csv")
    assert ",./=1+1.png,b,0,1\n" in (tmp_path / "rows.csv").read_text()


@pytest.mark.parametrize(
    "path", ["../face.png", "/etc/face.png", "a/../../face.png", "D/../face.png"]
)
def test_a_list_stays_below_its_folder(tmp_path, path):
    write_faces(tmp_path, {"a": 1})
    (tmp_path / "data").mkdir()
    path = path.replace("D", str(tmp_path / "data"))
    (tmp_path / "data" / "labels.csv").write_text(f"path,label\n{path},a\n")
    with pytest.raises(InputError, match="expected a path below"):
        read_folder(tmp_path / "data")


def test_a_list_may_name_whole_paths(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    written = write_faces(real, {"a": 20, "b": 20})
    link.symlink_to(real)
    for folder in (real, link):
        lines = ["path,label", *(f"{folder / path},{path[0]}" for path in written)]
        (real / "labels.csv").write_text("\n".join(lines))
        assert read_folder(link).paths.tolist() == sorted(written)


def test_what_the_commands_draw_is_no_class(tmp_path):
    """Training from inside the folder of pictures puts checkpoints/ and its curves there."""
    (written,) = write_faces(tmp_path, {"checkpoints/run": 1})
    write_faces(tmp_path, {"a": 20, "b": 20})
    assert read_folder(tmp_path).class_names == ("a", "b", "checkpoints")
    (tmp_path / written).rename(tmp_path / "checkpoints/run" / CURVES)
    others = ("lr_finder.png", "compare.png", "sweep.png", "class_means.png", "explanations_2.png")
    for name in (CONFUSION, *others):
        shutil.copy(tmp_path / "checkpoints/run" / CURVES, tmp_path / "checkpoints" / name)
    assert read_folder(tmp_path).class_names == ("a", "b")


def test_a_second_name_of_a_folder_is_skipped_with_a_warning(tmp_path, capsys):
    write_faces(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    (tmp_path / "test").symlink_to("val")
    assert "val/a" not in "".join(read_folder(tmp_path).paths)
    warned = f"warning: skipped {tmp_path}/val, the same folder as {tmp_path}/test"
    assert warned in capsys.readouterr().err


def test_a_list_of_excluded_rows_is_refused_once_its_rows_are_other_pictures(tmp_path):
    write_faces(tmp_path / "own", {"a": 20, "b": 20})
    first, second = read_folder(tmp_path / "own").paths[:2]
    (tmp_path / "list.csv").write_text(f"row,path\n0,{first}\n1,{second}\n")
    options = {"dataset_name": "Folder", "exclude": tmp_path / "list.csv"}
    load_dataset(tmp_path / "own", **options)
    os.rename(tmp_path / "own" / second, tmp_path / "own" / "a" / "+new.png")
    with pytest.raises(InputError, match=rf"line 2 .*: row 0 is a/\+new\.png now, not {first};"):
        load_dataset(tmp_path / "own", **options)


def test_a_missing_split_of_few_pictures_says_what_to_do(tmp_path):
    write_faces(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 1}, seed=1)
    with pytest.raises(InputError, match=r"validation split .* add pictures, or give the splits"):
        load_dataset(tmp_path, "Folder")


@pytest.mark.parametrize("name", ["=1+1", "@sum", "a\tb", os.fsdecode(b"caf\xe9")])
def test_classes_that_cannot_stand_in_a_table_are_refused(tmp_path, name):
    write_faces(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a").rename(tmp_path / name)
    with pytest.raises(InputError, match="class name"):
        load_dataset(tmp_path, "Folder")


def test_pipes_among_the_pictures_are_named(tmp_path):
    write_faces(tmp_path, {"a": 2, "b": 2})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png is a pipe or a device"):
        read_folder(tmp_path)


def test_a_list_written_on_windows(tmp_path):
    written = write_faces(tmp_path, {"pictures": 40})
    lines = [f"{path.replace('/', chr(92))};{'ab'[i % 2]}" for i, path in enumerate(written)]
    text = "\r\n".join(['"path";"label"', *lines])
    (tmp_path / "labels.csv").write_bytes(text.encode("utf-16"))
    assert read_folder(tmp_path).paths.tolist() == sorted(written)


def test_pictures_of_a_phone_are_read_or_named(tmp_path):
    write_faces(tmp_path, {"a": 20, "b": 20})
    Image.fromarray(GREY).save(tmp_path / "a/anim.gif")
    Image.fromarray(GREY).save(tmp_path / "b/c.jfif", "jpeg")
    assert len(read_folder(tmp_path).images) == 42
    (tmp_path / "a/IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    with pytest.raises(InputError, match=r"1 of 43 .*\n  a/IMG_1.HEIC: a HEIC .* pillow-heif"):
        read_folder(tmp_path)


def test_another_layout_is_one_decorated_function(tmp_path):
    """Here the class is the first letter of a file's name; its own split comes by the pixels."""
    written = write_faces(tmp_path, {"pictures": 30})
    for number, path in enumerate(written):
        os.rename(tmp_path / path, tmp_path / f"{'ab'[number % 2]}{number}.png")
    (tmp_path / "pictures").rmdir()

    @LAYOUTS.register("first letter")
    def first_letter(tree):
        return [FaceFile(path, path[0], None) for path in tree.pictures] or None

    try:
        found = read_folder(tmp_path)
    finally:
        del LAYOUTS["first letter"]
    assert found.class_names == ("a", "b")
    assert len(found.images) == 30
    assert [path[0] for path in found.paths] == ["ab"[row.argmax()] for row in found.opinions]


def test_labels_csv_names_files_that_are_not_utf8(tmp_path):
    lines = [
        "path,label",
        *(f"{path},{path[0]}" for path in write_faces(tmp_path, {"a": 8, "b": 8})),
    ]
    first = lines[1].split(",")[0]
    (tmp_path / first).rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    text = "\n".join(lines).encode().replace(first.encode(), b"caf\xe9.png")
    (tmp_path / "labels.csv").write_bytes(text)
    assert os.fsdecode(b"caf\xe9.png") in read_folder(tmp_path).paths


def test_the_class_map_of_a_checkpoint_may_name_classes_that_the_pictures_lack(tmp_path):
    write_faces(tmp_path, {"test/glad": 2, "test/sad": 1})
    names, class_map = ("good", "bad"), ["good=glad", "bad=sad+angry"]
    options = {"class_map": class_map, "class_names": names}
    split = load_split(tmp_path, "test", "Folder", **options)
    assert split.class_names == names
    assert split.targets.sum(axis=0).tolist() == [2, 1]
    for wrong in (["good=glad", "bad=sat+angry"], ["good=glad", "bad=angry"]):
        with pytest.raises(UsageError, match="unknown class in --class_map"):
            load_split(tmp_path, "test", "Folder", class_names=names, class_map=wrong)
    with pytest.raises(UsageError, match="unknown class in --class_map 'angry'"):
        load_split(tmp_path, "test", "Folder", class_map=class_map)
    for old, new in (("glad", "good"), ("sad", "bad")):
        (tmp_path / "test" / old).rename(tmp_path / "test" / new)
    split = load_split(tmp_path, "test", "Folder", **options)
    assert (split.class_names, split.targets.sum(axis=0).tolist()) == (names, [2, 1])
