"""Folders as data sets are published: drawn examples of each, and what cannot be meant."""

import json
import os

import cv2
import numpy as np
import pytest

from ferplus_keras.data.dataset import load_split
from ferplus_keras.data.folder import read_folder
from ferplus_keras.data.layouts import LAYOUTS, split_of
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from tests.data.test_folder import write_faces

RAF_DB = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
AFFECTNET = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
EXPW = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
CK = ["anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"]
KAGGLE = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
PEOPLE = ("KA", "KL", "YM")
SPLITS = ("train", "validation", "test")


class Drawn:
    """A folder to be filled, and what it should be read as: path -> (label, split or None)."""

    def __init__(self, folder):
        self.folder = folder
        self.expected = {}
        self.rng = np.random.default_rng(0)

    def picture(self, path, label=None, split=None, size=48):
        """Write a face; `label` None for one that is not to be read."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = self.rng.integers(0, 256, (size, size), np.uint8)
        assert cv2.imwrite(str(place), pixels)
        if label:
            self.expected[path] = (label, split)
        return pixels

    def text(self, path, lines):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text("\n".join(lines) + "\n")


def raf_db_list(drawn):
    lines = []
    for split in ("train", "test"):
        for number, label in enumerate(RAF_DB * 6):
            lines.append(f"{split}_{number:05}.jpg {1 + number % 7}")
            drawn.picture(f"Image/aligned/{split}_{number:05}_aligned.jpg", label, split)
            drawn.picture(f"Image/original/{split}_{number:05}.jpg")
    drawn.text("EmoLabel/list_patition_label.txt", lines)


def raf_db_originals(drawn):
    lines = []
    for split in ("train", "test"):
        for number, label in enumerate(RAF_DB * 6):
            lines.append(f"{split}_{number:05}.jpg {1 + number % 7}")
            drawn.picture(f"Image/original/{split}_{number:05}.jpg", label, split, size=100)
            box = [f"{20.4 + number:.6f}", "9.6", f"{70 + number}", "60.000000"]
            drawn.text(
                f"Annotation/boundingbox/{split}_{number:05}_boundingbox.txt", [" ".join(box)]
            )
    drawn.text("EmoLabel/list_patition_label.txt", lines)


def raf_db_folders(drawn):
    drawn.text("train_labels.csv", ["image,label"])
    for split in ("train", "test"):
        for number, label in enumerate(RAF_DB * 6):
            path = f"DATASET/{split}/{1 + number % 7}/{split}_{number:05}_aligned.jpg"
            drawn.picture(path, label, split)


def affectnet_npy(drawn, write=str):
    for folder, split in (("train_set", "train"), ("val_set", "validation")):
        (drawn.folder / folder / "annotations").mkdir(parents=True)
        for code, label in enumerate(AFFECTNET):
            drawn.picture(f"{folder}/images/{code}.jpg", label, split)
            for kind, value in (("exp", write(code)), ("val", 0.5), ("lnd", [1.0, 2.0])):
                np.save(drawn.folder / f"{folder}/annotations/{code}_{kind}.npy", value)


def affectnet_npy_of_numbers(drawn):
    affectnet_npy(drawn, int)


AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)


def affectnet_lists(drawn):
    """Of each of the eleven classes two pictures, then rows without a box or a second time."""
    for name, split in (("training", "train"), ("validation", "validation")):
        lines = [AFFECTNET_HEADER] if split == "train" else []  # as they were published
        for number in range(22):
            label = (AFFECTNET + 3 * [None])[number % 11]
            path = f"{number}/{split[0]}{number:040x}.JPG"
            drawn.picture(f"Manually_Annotated_Images/{path}", label, split, size=90)
            lines.append(f"{path},{number - 5},9,60,60,1.5;2.5;3,{number % 11},-0.25,0.5")
        none = f"9/{split[0]}.jpg"
        drawn.picture(f"Manually_Annotated_Images/{none}")
        lines += [
            f"{none},NULL,NULL,NULL,NULL,NULL,0,-2,-2",
            f"{none},3,3,-7,-7,1;2,1,0,0",
            lines[1],
        ]
        drawn.text(f"Manually_Annotated_file_lists/{name}.csv", lines)


def affectnet_automatic(drawn):
    lines = [AFFECTNET_HEADER.replace("facial_landmarks,", "")]
    for number, label in enumerate(AFFECTNET * 3):
        drawn.picture(f"Automatically_Annotated_Images/1/{number}.png", label)
        lines.append(f"1/{number}.png,0,0,48,48,{number % 8},0,0")
    drawn.text("automatically_annotated.csv", lines)


def affectnet_folders(drawn):
    for folder, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        for code, label in enumerate(AFFECTNET):
            drawn.picture(f"{folder}/{code}/image{code:07}.jpg", label, split)


def ck48(drawn):
    for person in (5, 10, 11):
        for number, label in enumerate(CK):
            for frame in (15, 16, 17):
                name = f"S{person:03}_{number:03}_{frame:08}.png"
                drawn.picture(f"CK+48/{label}/{name}", label)


def jaffe(drawn):
    codes = ["AN", "DI", "FE", "HA", "SA", "SU", "NE"]
    for number, person in enumerate(PEOPLE * 3):
        for code, label in zip(codes, EXPW, strict=True):
            drawn.picture(f"jaffe/{person}.{code}{number}.{number}.tiff", label)
    drawn.text("jaffe/README", ["who is who"])


def jaffe_in_splits(drawn):
    for number, (person, split) in enumerate(zip(PEOPLE, SPLITS, strict=True)):
        for code, label in (("AN", "anger"), ("HA", "happiness")):
            drawn.picture(f"{split}/{person}/{person}.{code}1.{number}.tiff", label, split)


def expw_in_splits(drawn):
    for number, split in enumerate(SPLITS * 3):
        drawn.picture(f"image/{split}/{number}.png", size=64)
        drawn.expected[f"image/{split}/{number}.png#0"] = (EXPW[number // 3], split)
    lines = [f"{number}.png 0 0 0 60 60 99 {number // 3}" for number in range(9)]
    drawn.text("label.lst", lines)


def expw(drawn):
    lines = []
    for number in range(4):
        path = f"data/image/origin/happy_woman_{number}.jpg"
        drawn.picture(path, size=200)
        for code, label in enumerate(EXPW):
            drawn.expected[f"{path}#{code}"] = (label, None)
            box = f"{10 * code} {20 + code} {80 + code} {60 + 10 * code}"  # top left right bottom
            lines.append(f"happy_woman_{number}.jpg {code} {box} 98.1234 {code}")
    drawn.text("data/label/label.lst", [*lines, lines[0]])  # it repeats some lines


def sfew(drawn):
    for folder, split in (("Train", "train"), ("Val", "validation")):
        for label in ("Angry", "Happy", "Sad"):
            for film, second in (("Airheads", 519240), ("Bridesmaids", 1234)):
                name = f"{film}_{second:09}_{7:08}.png"
                path = f"{folder}/{folder}_Aligned_Faces/{label}/{split[0]}{name}"
                drawn.picture(path, label, split)
    drawn.picture("Test/Test_Aligned_Faces/Airheads_000000001_00000001.png")  # has no labels


def fer2013_of_kaggle(drawn):
    for split, usage in (("train", "Training"), ("test", "PrivateTest")):
        for label in KAGGLE:
            for number in range(6):
                drawn.picture(f"{split}/{label}/{usage}_{number}{label[:2]}.jpg", label, split)


def usages(drawn):
    for folder, split in zip(("Training", "PublicTest", "PrivateTest"), SPLITS, strict=True):
        for label in KAGGLE:
            drawn.picture(f"archive/images/{folder}/{label}/1.png", label, split)


def nested_classes(drawn):
    for label in ("happy", "sad"):
        for person in ("ann", "bob", "cy"):
            for part in ("a", "b/c"):
                drawn.picture(f"{label}/{person}/{part}/{person}.png", label)


def splits_below_classes(drawn):
    for label in ("calm", "tense"):
        for folder, split in zip(("Train", "valid", "TEST"), SPLITS, strict=True):
            drawn.picture(f"{label}/{folder}/1.png", label, split)


def list_with_back_slashes(drawn):
    lines = ["path,label,split"]
    for number, (given, split) in enumerate(zip(("Training", "val", "TEST"), SPLITS, strict=True)):
        for label in ("yes", "no"):
            drawn.picture(f"faces/{label}/{number}.png", label, split)
            lines.append(rf"faces\{label}\{number}.png,{label},{given}")
    drawn.text("labels.csv", lines)


def parquet(drawn, names=("glad", "grim"), column="label"):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    (drawn.folder / "data").mkdir()
    for split in SPLITS:
        rows = []
        for number in range(5):
            picture = cv2.imencode(".png", drawn.rng.integers(0, 256, (48, 48), np.uint8))[1]
            image = {"bytes": picture.tobytes(), "path": f"{number}.png"}
            rows.append({"image": image, column: number % 2, "person": f"p{number}"})
            path = f"data/{split}-00000-of-00001.parquet#{number:07}"
            drawn.expected[path] = (str((names or "01")[number % 2]), split)
        table = pyarrow.Table.from_pylist(rows)
        if names:
            label = {"names": list(names), "_type": "ClassLabel"}
            features = {"image": {"_type": "Image"}, column: label}
            about = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": about})
        path = drawn.folder / f"data/{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(table, path, row_group_size=2)


def parquet_without_names(drawn):
    parquet(drawn, None, "emotion")


def parquet_with_names_that_are_numbers(drawn):
    parquet(drawn, (3, 5))


EXAMPLES = (
    *((raf_db_list, "RAF-DB"), (raf_db_originals, "RAF-DB")),
    *((raf_db_folders, "folders of classes"), (affectnet_lists, "AffectNet's lists")),
    (affectnet_automatic, "AffectNet's lists"),
    *((affectnet_npy, "AffectNet"), (affectnet_npy_of_numbers, "AffectNet")),
    *((affectnet_folders, "folders of classes"), (ck48, "folders of classes")),
    *((jaffe, "JAFFE"), (expw, "ExpW"), (sfew, "folders of classes")),
    *((jaffe_in_splits, "JAFFE"), (expw_in_splits, "ExpW")),
    *((fer2013_of_kaggle, "folders of classes"), (usages, "folders of classes")),
    *((nested_classes, "folders of classes"), (splits_below_classes, "folders of classes")),
    *((list_with_back_slashes, "labels.csv"), (parquet, "Parquet")),
    *((parquet_without_names, "Parquet"), (parquet_with_names_that_are_numbers, "Parquet")),
)


def test_every_layout_has_an_example():
    assert len(EXAMPLES) == 22
    refused = {"FERPlus as Microsoft's script writes it"}
    assert {name for _, name in EXAMPLES} == set(LAYOUTS) - refused


@pytest.mark.parametrize(("write", "name"), EXAMPLES, ids=[each.__name__ for each, _ in EXAMPLES])
def test_a_published_layout_is_read_as_it_is(tmp_path, capsys, write, name):
    drawn = Drawn(tmp_path)
    write(drawn)
    found = read_folder(tmp_path)
    paths = found.paths.tolist()
    assert paths == sorted(drawn.expected)
    given = [split for _, split in drawn.expected.values()]
    for path, row, split in zip(paths, found.opinions, found.splits, strict=True):
        label, wanted = drawn.expected[path]
        assert found.class_names[row.argmax()] == label
        assert wanted in (split, None) or (wanted == "train" and split not in given)
    said = f"{tmp_path.name}: {len(paths)} pictures, read as {name}\n"
    assert said in capsys.readouterr().err


def test_the_faces_of_expw_are_its_boxes(tmp_path):
    drawn = Drawn(tmp_path)
    faces, listed = [], []
    for number in range(9):
        pixels = drawn.picture(f"origin/{number}.png", size=200)
        faces += [pixels[20:68, 100:148], pixels[100:148, :48]]
        listed.append(f"{number}.png 0 20 100 148 68 99.5 3")  # top, left, right, bottom
        listed.append(f"{number}.png 1 100 0 48 148 99.5 6")
    drawn.text("label.lst", listed)
    found = read_folder(tmp_path)
    np.testing.assert_array_equal(found.images, faces)
    assert found.paths[:3].tolist() == ["origin/0.png#0", "origin/0.png#1", "origin/1.png#0"]
    assert found.class_names == ("neutral", "happiness")
    assert found.opinions.argmax(axis=1).tolist() == [1, 0] * 9
    drawn.text("label.lst", [line.replace(" 20 100 148 68 ", " 21 100 148 69 ") for line in listed])
    moved = cv2.imread(str(tmp_path / "origin/0.png"), cv2.IMREAD_GRAYSCALE)[21:69, 100:148]
    np.testing.assert_array_equal(read_folder(tmp_path).images[0], moved)


def test_the_faces_of_raf_dbs_originals_and_of_affectnets_lists_are_their_boxes(tmp_path, capsys):
    drawn = Drawn(tmp_path)
    faces = []
    for number in range(9):
        pixels = drawn.picture(f"Image/original/train_{number}.png", size=100)
        faces.append(pixels[12:60, 30:78])
        box = tmp_path / f"Annotation/boundingbox/train_{number}_boundingbox.txt"
        drawn.text(box, ["29.6 12.4 78.49 60.0"])
    listed = [f"train_{number}.png {1 + number % 2}" for number in range(9)]
    drawn.text("EmoLabel/list_patition_label.txt", listed)
    found = read_folder(tmp_path)
    np.testing.assert_array_equal(found.images, faces)
    assert found.class_names == ("surprise", "fear")

    folder = tmp_path / "affectnet"
    drawn = Drawn(folder)
    affectnet_lists(drawn)
    found = read_folder(folder, face_size=60, colour=False)
    place = found.paths.tolist().index(f"Manually_Annotated_Images/11/v{11:040x}.JPG")
    pixels = cv2.imread(str(folder / found.paths[place]), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(found.images[place], pixels[9:69, 6:66])
    place = found.paths.tolist().index(f"Manually_Annotated_Images/2/v{2:040x}.JPG")
    pixels = cv2.imread(str(folder / found.paths[place]), cv2.IMREAD_GRAYSCALE)
    part = cv2.resize(pixels[9:69, :57], (60, 60))  # it reaches over the picture's left edge
    np.testing.assert_array_equal(found.images[place], part)
    assert "left out 18 of 50 rows of AffectNet's lists" in capsys.readouterr().err


def test_the_pictures_of_parquet_files_are_those_of_their_rows(tmp_path):
    parquet(Drawn(tmp_path))
    import pyarrow.parquet

    path = tmp_path / "data/test-00000-of-00001.parquet"
    rows = pyarrow.parquet.read_table(path).to_pylist()
    pixels = [
        cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_GRAYSCALE)
        for row in rows
    ]
    np.testing.assert_array_equal(load_split(tmp_path, "test", "Folder").images, pixels)


def test_rows_of_parquet_files_without_a_label_are_left_out(tmp_path, capsys):
    parquet(Drawn(tmp_path))
    import pyarrow
    import pyarrow.parquet

    first = load_split(tmp_path, "validation", "Folder").images
    path = tmp_path / "data/validation-00000-of-00001.parquet"
    table = pyarrow.parquet.read_table(path).take([4, 3, 2, 1, 0])
    labels = pyarrow.array([0, None, 1, -1, 0])
    place = table.schema.get_field_index("label")
    pyarrow.parquet.write_table(table.set_column(place, "label", labels), path)
    found = load_split(tmp_path, "validation", "Folder")
    np.testing.assert_array_equal(found.images, first[[4, 2, 0]])
    assert found.targets.argmax(axis=1).tolist() == [0, 1, 0]
    assert "skipped 2 files" in capsys.readouterr().err


def test_a_column_of_a_parquet_file_may_give_the_split(tmp_path):
    parquet(Drawn(tmp_path))
    import pyarrow.parquet

    shards = sorted((tmp_path / "data").iterdir())
    table = pyarrow.concat_tables(map(pyarrow.parquet.read_table, shards))
    given = ["train"] * 4 + ["val"] * 4 + ["test"] * 7
    pyarrow.parquet.write_table(table.append_column("split", [given]), tmp_path / "all.parquet")
    for shard in shards:
        shard.unlink()
    splits = read_folder(tmp_path).splits.tolist()
    assert splits == ["train"] * 4 + ["validation"] * 4 + ["test"] * 7


def test_rows_of_parquet_files_without_a_person_are_no_group(tmp_path):
    parquet(Drawn(tmp_path))
    import pyarrow.parquet

    for path in (tmp_path / "data").iterdir():
        table = pyarrow.parquet.read_table(path)
        people = [None, *(f"{path.name} {row % 2}" for row in range(1, len(table)))]
        pyarrow.parquet.write_table(table.append_column("who", [people]), path)
    with pytest.raises(UsageError, match=r"--group who: expected a column .* has none"):
        read_folder(tmp_path, group="who")


@pytest.mark.parametrize("box", [[], ['"(0, 0, 48, 48)"']], ids=["no box", "box"])
def test_what_microsofts_script_writes_is_read_with_its_votes(tmp_path, box):
    drawn = Drawn(tmp_path)
    votes = {"Train": "5,1,0,4,0,0,0,0,0,0", "Valid": "0,9,1,0,0,0,0,0,0,0"}
    votes["Test"] = "0,0,0,0,0,0,8,0,1,1"
    pixels = {}
    for number, (part, counts) in enumerate(votes.items()):
        name = f"fer{number:07}.png"
        pixels[part] = drawn.picture(f"data/FER2013{part}/{name}")
        drawn.text(f"data/FER2013{part}/label.csv", [",".join([name, *box, counts])])
    for part, split in zip(votes, SPLITS, strict=True):
        found = load_split(tmp_path, split)
        np.testing.assert_array_equal(found.images, [pixels[part]])
    assert found.class_names == FERPLUS_CLASSES
    assert found.targets.argmax() == FERPLUS_CLASSES.index("fear")
    assert load_split(tmp_path, "train", label_rule="distribution").targets[0, 0] == 0.5
    with pytest.raises(InputError, match="expected --dataset_name FERPlus"):
        read_folder(tmp_path)
    (tmp_path / "data" / "FER2013Test" / "fer0000002.png").unlink()
    with pytest.raises(InputError, match=r"cannot read 1 of 3 .*, or leave own pictures out by"):
        load_split(tmp_path, "test")
    for name in ("../fer.png", "/fer.png"):
        drawn.text("data/FER2013Test/label.csv", [f"{name},{votes['Test']}"])
        with pytest.raises(InputError, match=f"line 1: expected a path below .*{name}"):
            load_split(tmp_path, "test")
    for count in ("11", "9" * 30, "-1", "x"):
        drawn.text("data/FER2013Test/label.csv", [f"fer.png,{count},0,0,0,0,0,0,0,0,0"])
        with pytest.raises(InputError, match="line 1: expected a picture and 10 votes from 0 to"):
            load_split(tmp_path, "test")
    drawn.text("data/FER2013Test/label.csv", ["x" * 200_000])
    with pytest.raises(InputError, match=r"cannot read .*label\.csv: field larger than"):
        load_split(tmp_path, "test")


def lines(path, *rows):
    return lambda folder: Drawn(folder).text(path, rows)


def faces(**counts):
    return lambda folder: write_faces(folder, counts.get("of", counts))


def annotated(folder, code):
    Drawn(folder).picture("train/images/1.png")
    (folder / "train/annotations").mkdir()
    np.save(folder / "train/annotations/1_exp.npy", code)


def original_alone(folder):
    Drawn(folder).picture("original/train_1.jpg")
    Drawn(folder).text("list_patition_label.txt", ["train_1.jpg 1"])


def original_with(box):
    def write(folder):
        original_alone(folder)
        Drawn(folder).text("boundingbox/train_1_boundingbox.txt", [box])

    return write


def pickled(folder):
    annotated(folder, np.array([None]))


def unannotated(folder):
    annotated(folder, 3)
    Drawn(folder).picture("train/images/2.png")


def pipe(folder):
    os.mkfifo(folder / "label.lst")


def unlabelled_columns(folder):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"image": [b"x"], "title": ["y"]})
    pyarrow.parquet.write_table(table, folder / "a.parquet")


REFUSED = (
    (lines("label.lst", "a.jpg 0 1 2 3 4 99"), "label.lst: line 1: expected 8 columns, found 7"),
    (lines("label.lst", "a.jpg 0 x 2 3 4 99 0"), "line 1: expected the box of a face, found x 2"),
    (lines("label.lst", "a.jpg 0 1 2 3 4 99 7"), "expected a class of 0, 1, .*, 6, found 7"),
    (lines("list_patition_label.txt", "train_1.jpg 8"), "expected a class of 1, .*, 7, found 8"),
    (lines("list_patition_label.txt", "train_1.jpg 1"), "Image|train_1_aligned.jpg: No such file"),
    (
        lines("labels.csv", "path,label", "../a.png,x"),
        r"expected a path below .*found '\.\./a.png'",
    ),
    (lines("labels.csv", "path,label", r"..\a.png,x"), r"expected a path below .*\.\./a.png"),
    (lines("labels.csv", "path,label", "/etc/a.png,x"), "expected a path below .*/etc/a.png"),
    (lines("labels.csv", "path,label", r"C:\a.png,x"), "expected a path below .*C:/a.png"),
    (lines("FER2013Train/label.csv", "fer1.png,1"), "expected --dataset_name FERPlus"),
    (lines("label.lst", "../a.jpg 0 1 2 3 4 99 0"), r"line 1: expected a path below .*\.\./a.jpg"),
    (lines("a/b.parquet", "not Parquet"), "cannot read .*b.parquet"),
    (
        lines("training.csv", AFFECTNET_HEADER, "1/a.jpg,0,0,9,9,1;2,12,0,0"),
        "line 2: expected a class of 0, .*, 7, found 12",
    ),
    (lines("training.csv", AFFECTNET_HEADER, "1/a.jpg,0,x,9,9,1;2,1,0,0"), "of a face, found 0 x"),
    (lines("training.csv", AFFECTNET_HEADER, "1/a.jpg,0"), "line 2: expected 9 columns, found 2"),
    (lines("validation.csv", "../a.jpg,0,0,9,9,1;2,1,0,0"), "line 1: expected a path below"),
    (
        faces(of={"Manually_Annotated_Images/1": 1, "Manually_Annotated_Images/2": 1}),
        "expected AffectNet's training.csv, validation.csv or both",
    ),
    (original_alone, "boundingbox beside original; found original/train_1.jpg without"),
    (original_with("1 2 3"), "train_1_boundingbox.txt: expected the box .*, found 1 2 3"),
    (original_with("1 2 3 inf"), "train_1_boundingbox.txt: expected the box .*, found 1 2 3 inf"),
    (pickled, "cannot read .*1_exp.npy: .*allow_pickle"),
    (unannotated, "train/images/2.png has no train/annotations/2_exp.npy"),
    (pipe, "label.lst is a pipe or a device; expected a file"),
    (unlabelled_columns, "cannot read .*a.parquet: expected a column of picture bytes and one of"),
    (
        faces(of={"train/a": 1, "Training/b": 1}),
        "one folder for each split, found Training and train",
    ),
    (faces(of={"a/x/b": 1, "train/a": 1, "c/train": 1}), "split folder"),
    (faces(of={"i/train/a": 1, "i/j/train/a": 1}), "one folder for each split, found .* and"),
    (faces(of={"train_and_val/a": 1, "b": 1}), "the folder of one split, found train or valid"),
    (faces(of={"train1/happy": 1, "train2/sad": 1}), "one folder for each split, found train1 and"),
    (faces(of={"S1/happy": 1, "S2/sad": 1}), "the classes as outer folders, found S1/happy"),
    (
        faces(of={"FERG/aia/aia_anger": 1, "FERG/aia/aia_joy": 1, "FERG/ray/ray_sadness": 1}),
        "found aia/aia_anger; move the pictures, or list them in a labels.csv",
    ),
    (faces(of={"Strong/P001/Anger": 1, "Strong/P002/Happiness": 1}), "found P001/Anger"),
    (faces(of={"001/anger/a": 1, "002/happiness/b": 1}), "outer folders, found 001/anger/a; move"),
    (faces(of={"KDEF/AF01": 1, "KDEF/BM35": 1}), "classes as outer folders, found AF01; move"),
    (faces(of={"images/S005/001": 1, "images/S010/001": 1}), "outer folders, found S005/001; move"),
    (faces(of={"train/images": 3}), "two classes or more, found only 'images'"),
    (faces(of={"train": 3}), "no pictures in .* that have a label"),
)


@pytest.mark.parametrize("number", range(37))
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, number):
    assert len(REFUSED) == 37
    write, expected = REFUSED[number]
    write(tmp_path)
    with pytest.raises(InputError, match=expected) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value).partition(":\n")[0]


def test_words_that_hold_an_emotion_are_no_emotions(tmp_path):
    write_faces(tmp_path, {"smile/stranger": 9, "frown/danger": 9, "frown/unhappy": 9})
    assert read_folder(tmp_path).class_names == ("frown", "smile")


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train training TRAIN_SET trainset FER2013Train Train_Aligned_Faces"),
        ("validation", "val Val valid validation val_set dev PublicTest public_test FER2013Valid"),
        ("test", "test Test testing test_set PrivateTest privatetest Test-Images FER2013Test"),
        (None, "happy contest protest latest trainer value 1 train_test S005 attestation"),
    ],
)
def test_splits_under_their_usual_names(split, names):
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"split": "holdout"}, "expected a split of train, validation, test, found 'holdout'"),
        ({"label": [1]}, "expected a column of picture bytes and one of label"),
    ],
)
def test_a_parquet_table_that_says_something_else_is_refused(tmp_path, change, expected):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    picture = cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()
    table = pyarrow.Table.from_pylist([{"image": picture, "label": "glad"} | change])
    files.write_table(table, tmp_path / "faces.parquet")
    with pytest.raises(InputError, match=expected):
        read_folder(tmp_path, None)
