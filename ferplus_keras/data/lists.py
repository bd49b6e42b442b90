"""Faces that a list, annotations or file names label: labels.csv, and data sets as published.

The published ones were compared with public code that reads them.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from ferplus_keras.data.layouts import AFFECTNET, LAYOUTS, RAF_DB, FaceFile, Tree, split_of
from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.emotions import FER2013_CLASSES, SPLITS, VOTE_COLUMNS
from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.inputs import DAMAGED_ARRAY, plain

LABELS_FILE = "labels.csv"
JAFFE = dict(zip(["AN", "DI", "FE", "HA", "SA", "SU", "NE"], FER2013_CLASSES, strict=True))
MICROSOFT = "FERPlus as Microsoft's script writes it"
EXPW = dict(zip("0123456", FER2013_CLASSES, strict=True))

_VOTE = re.compile("[0-9]|10")


@LAYOUTS.register("JAFFE")
def _jaffe(tree: Tree) -> list[FaceFile] | None:
    """Read the names PERSON.CLASS.NUMBER.tiff, such as KA.AN1.39.tiff."""
    name = re.compile(rf"(?:.*/)?[A-Z]{{2}}\.({'|'.join(JAFFE)})\d\.\d+\.\w+")
    found = [name.fullmatch(path) for path in tree.pictures]
    if not found or not all(found):
        return None
    return [FaceFile(m[0], JAFFE[m[1]], split_of(*m[0].split("/")[:-1])) for m in found]


@LAYOUTS.register("AffectNet")
def _affectnet(tree: Tree) -> list[FaceFile] | None:
    """Read SPLIT/images/NAME.jpg with its class in SPLIT/annotations/NAME_exp.npy."""
    annotations = {path for path in tree.others if path.endswith("_exp.npy")}
    files = []
    for path in tree.pictures if annotations else ():
        place = PurePosixPath(path)
        source = str(PurePosixPath(*place.parts[:-2], "annotations", f"{place.stem}_exp.npy"))
        if source not in annotations:
            raise InputError(
                f"{tree.folder}: expected SPLIT/annotations/NAME_exp.npy for each "
                f"SPLIT/images/NAME.jpg of AffectNet; {path} has no {source}"
            )
        with as_input_error(f"cannot read {tree.folder / source}", *DAMAGED_ARRAY):
            code = np.load(plain(tree.folder / source), allow_pickle=False).item()
        files.append(FaceFile(path, _label(AFFECTNET, str(code), source), split_of(*place.parts)))
    return files or None


@LAYOUTS.register("ExpW")
def _expw(tree: Tree) -> list[FaceFile] | None:
    """Read label.lst: picture, face, top, left, right, bottom, confidence, class."""
    files = {}
    pictures = _by_name(tree.pictures)
    for where, (name, face, *numbers, _, code) in _lines(tree, 8, "label.lst"):
        top, left, right, bottom = _box(numbers, where)
        path = f"{pictures.get(name) or _below(tree.folder, name, where)}#{face}"
        label, split = _label(EXPW, code, where), split_of(*path.split("/")[:-1])
        files[path] = FaceFile(path, label, split, (left, top, right, bottom))
    return list(files.values()) or None


@LAYOUTS.register("RAF-DB")
def _raf_db(tree: Tree) -> list[FaceFile] | None:
    """Read list_patition_label.txt (its spelling): picture, class.

    Aligned pictures are taken, else the originals, cropped at boundingbox/NAME_boundingbox.txt.
    """
    files = {}
    originals, boxes = _by_name(tree.pictures), _by_name(tree.others)
    pictures = _by_name(path for path in tree.pictures if "original" not in path.split("/"))
    for where, (name, code) in _lines(tree, 2, "list_patition_label.txt"):
        stem, box = PurePosixPath(name).stem, None
        aligned, source = f"{stem}_aligned.jpg", f"{stem}_boundingbox.txt"
        path = pictures.get(aligned) or pictures.get(name)
        if not path and name in originals:
            path = originals[name]
            if source not in boxes:
                raise InputError(
                    f"{tree.folder}: expected RAF-DB's folder aligned, or boundingbox beside "
                    f"original; found {path} without {aligned} or boundingbox/{source}"
                )
            box = _box(" ".join(_text(tree.folder / boxes[source])).split(), boxes[source])
        path = path or aligned
        files[path] = FaceFile(path, _label(RAF_DB, code, where), split_of(name), box)
    return list(files.values()) or None


@LAYOUTS.register("AffectNet's lists")
def _affectnet_lists(tree: Tree) -> list[FaceFile] | None:
    """Read training.csv and validation.csv: picture, box, class; faces are cropped at their boxes.

    Rows of another class (8 to 10) or without a box are left out.
    """
    files, rows = {}, 0
    pictures = {"/".join(path.split("/")[-2:]): path for path in tree.pictures}
    lists = tree.named("training.csv", "validation.csv")
    for source in lists or tree.named("automatically_annotated.csv"):
        split = split_of(PurePosixPath(source).name)
        for where, (name, *numbers, code) in _affectnet_rows(tree.folder / source):
            rows += 1
            if code in ("8", "9", "10") or "NULL" in numbers or "-" in numbers[2] + numbers[3]:
                continue
            left, top, width, height = _box(numbers, where)
            path = pictures.get(name) or _below(tree.folder, name, where)
            box = (left, top, left + width, top + height)
            files[path] = FaceFile(path, _label(AFFECTNET, code, where), split, box)
    if not rows and any("ally_Annotated_Images/" in path for path in tree.pictures):
        raise InputError(
            f"{tree.folder}: expected AffectNet's training.csv, validation.csv or both"
        )
    if rows > len(files):
        found = f"{rows - len(files):,} of {rows:,} rows of AffectNet's lists"
        print(f"left out {found}: no class (8 to 10), no box or listed before", file=sys.stderr)
    return list(files.values()) if rows else None


def _affectnet_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each row of a list: what messages call it, and picture, box and class.

    validation.csv was published without a header. Nothing is yielded for another kind of list.
    """
    box = ["face_x", "face_y", "face_width", "face_height"]
    columns = ["subDirectory_filePath", *box, "expression"]
    header = [*columns[:-1], "facial_landmarks", "expression", "valence", "arousal"]
    for index, (where, fields) in enumerate(_csv_rows(path)):
        if index == 0 and {*fields} >= {*columns}:
            header = fields
        elif len(fields) == len(header):
            row = dict(zip(header, fields, strict=True))
            yield where, [row[name] for name in columns]
        elif index == 0:
            return
        elif fields:
            raise InputError(f"{where}: expected {len(header)} columns, found {len(fields)}")


def _csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each line of a CSV file, however long: what messages call it, and its fields."""
    how = {"encoding": "utf-8-sig", "newline": "", "errors": "surrogateescape"}
    with as_input_error(f"cannot read {path}", OSError, csv.Error), plain(path).open(**how) as file:
        for number, fields in enumerate(csv.reader(file), start=1):
            yield f"{path}: line {number}", fields


def _box(numbers: Sequence[str], where: str) -> tuple[int, ...]:
    """Return the four numbers of a box in whole pixels."""
    try:
        left, top, right, bottom = (round(float(number)) for number in numbers)
    except (ValueError, OverflowError):
        found = " ".join(numbers)[:80]
        raise InputError(f"{where}: expected the box of a face, found {found}") from None
    return left, top, right, bottom


def _lines(tree: Tree, columns: int, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each line of the list of this name: what messages call it, and its columns."""
    lists = tree.named(name)
    if len(lists) > 1:
        raise InputError(f"{tree.folder}: expected one {name}, found {' and '.join(lists)}")
    for path in lists:
        for number, line in enumerate(_text(tree.folder / path), start=1):
            where, fields = f"{tree.folder / path}: line {number}", line.rsplit(None, columns - 1)
            if not fields:
                continue
            if len(fields) != columns:
                raise InputError(f"{where}: expected {columns} columns, found {len(fields)}")
            yield where, fields


def _text(path: Path) -> list[str]:
    """Return the lines of a list."""
    with as_input_error(f"cannot read {path}", OSError):
        return plain(path).read_text("utf-8-sig", "surrogateescape").splitlines()


def _below(folder: Path, path: str, where: str) -> str:
    """Return a path that a list names, with / between names; refuse one that leaves its folder."""
    if "\\" in path and not (folder / path).exists():  # written on Windows
        path = path.replace("\\", "/")
    if (whole := Path(path)).is_absolute() and whole.parent.resolve().is_relative_to(folder):
        path = str(whole.parent.resolve().relative_to(folder) / whole.name)
    if PureWindowsPath(path).anchor or ".." in Path(path).parts or "\0" in path:
        raise InputError(f"{where}: expected a path below {folder}, found {path!r}")
    return Path(path).as_posix()


def _by_name(paths: Iterable[str]) -> dict[str, str]:
    """Return paths by the names of their files."""
    return {path.rpartition("/")[2]: path for path in paths}


def _label(classes: Mapping[str, str], code: str, where: str) -> str:
    if code not in classes:
        raise InputError(f"{where}: expected a class of {', '.join(classes)}, found {code}")
    return classes[code]


def written_by_microsoft(folder: Path) -> list[FaceFile]:
    """Return what FERPlus's generate_training_data.py writes; nothing for other folders.

    FER2013Train, FER2013Valid and FER2013Test each have label.csv without a header: picture, its
    box in some versions, and ten votes, which are the label here, with blanks between them.
    """
    files = []
    for source in sorted({*folder.glob("*/label.csv"), *folder.glob("*/*/label.csv")}):
        split = split_of(source.parent.name)
        for where, row in _csv_rows(source):
            votes = row[-len(VOTE_COLUMNS) :]
            if not split or len(row) <= len(votes) or not all(map(_VOTE.fullmatch, votes)):
                raise InputError(
                    f"{where}: expected a picture and {len(VOTE_COLUMNS)} votes from 0 to 10 in "
                    "FER2013Train, FER2013Valid or FER2013Test"
                )
            path = _below(source.parent, row[0], where)
            path = (source.parent / path).relative_to(folder).as_posix()
            files.append(FaceFile(path, " ".join(votes), split))
    return files


@LAYOUTS.register(MICROSOFT)
def _microsoft(tree: Tree) -> None:
    if any(split_of(*path.split("/")[:-1]) for path in tree.named("label.csv")):
        raise InputError(
            f"{tree.folder} holds {MICROSOFT}: expected --dataset_name FERPlus or FERPlus7, which "
            "read its votes"
        )


@LAYOUTS.register(LABELS_FILE)
def _listed(tree: Tree) -> list[FaceFile] | None:
    """Read labels.csv: path,label and, if need be, split; paths are below its folder."""
    if LABELS_FILE not in tree.others:
        return None
    source = tree.folder / LABELS_FILE
    files: dict[str, FaceFile] = {}
    for line, row in read_table(source, ("path", "label"))[0]:
        where = at_line(str(source), line)
        path, label, split = row["path"], row["label"], row.get("split")
        if not path or not label:
            raise InputError(f"{where}: expected a path and a label, found {path!r}, {label!r}")
        path = _below(tree.folder, path, where)
        if split is not None and not split_of(split):
            raise InputError(f"{where}: expected a split of {', '.join(SPLITS)}, found '{split}'")
        for text in (label, path):
            if re.search("[\udc80-\udcff]", text) and not (tree.folder / text).exists():
                raise InputError(f"{where}: {text!r} is not UTF-8: save the list as 'CSV UTF-8'")
        if path in files:
            raise InputError(f"{where}: {path} is listed twice")
        files[path] = FaceFile(path, label, split and split_of(split), fields=row)
    unlisted = [path for path in tree.pictures if path not in files]
    tree.skip(unlisted, f"that {LABELS_FILE} does not list")
    return list(files.values())
