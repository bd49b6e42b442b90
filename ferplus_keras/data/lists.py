"""Faces that a list, annotations or file names label: labels.csv, and data sets as published.

The published ones were compared with public code that reads them.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from ferplus_keras.data.layouts import AFFECTNET, LAYOUTS, RAF_DB, FaceFile, Tree, split_of
from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.emotions import FER2013_CLASSES, SPLITS, VOTE_COLUMNS
from ferplus_keras.errors import InputError, one_line
from ferplus_keras.inputs import plain

LABELS_FILE = "labels.csv"
JAFFE = dict(zip(["AN", "DI", "FE", "HA", "SA", "SU", "NE"], FER2013_CLASSES, strict=True))
MICROSOFT = "FERPlus as Microsoft's script writes it"
EXPW = dict(zip("0123456", FER2013_CLASSES, strict=True))


@LAYOUTS.register("JAFFE")
def _jaffe(tree: Tree) -> list[FaceFile] | None:
    """Read the names PERSON.CLASS.NUMBER.tiff, such as KA.AN1.39.tiff."""
    name = re.compile(rf"(?:.*/)?[A-Z]{{2}}\.({'|'.join(JAFFE)})\d\.\d+\.\w+")
    found = [name.fullmatch(path) for path in tree.pictures]
    return [FaceFile(m[0], JAFFE[m[1]], None) for m in found] if found and all(found) else None


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
        try:
            code = np.load(plain(tree.folder / source), allow_pickle=False).item()
        except (OSError, ValueError, EOFError, AttributeError, MemoryError) as error:
            raise InputError(f"cannot read {tree.folder / source}: {one_line(error)}") from None
        files.append(FaceFile(path, _label(AFFECTNET, str(code), source), split_of(*place.parts)))
    return files or None


@LAYOUTS.register("ExpW")
def _expw(tree: Tree) -> list[FaceFile] | None:
    """Read label.lst: picture, face, top, left, right, bottom, confidence, class."""
    files = {}
    pictures = _by_name(tree)
    for where, (name, face, *numbers, _, code) in _lines(tree, 8, "label.lst"):
        if not all(map(str.isdecimal, numbers)):
            raise InputError(f"{where}: expected the box of a face, found {' '.join(numbers)}")
        top, left, right, bottom = map(int, numbers)
        path = f"{pictures.get(name) or _below(tree.folder, name, where)}#{face}"
        label = _label(EXPW, code, where)
        files[path] = FaceFile(path, label, None, (left, top, right, bottom))
    return list(files.values()) or None


@LAYOUTS.register("RAF-DB")
def _raf_db(tree: Tree) -> list[FaceFile] | None:
    """Read list_patition_label.txt (its spelling): picture, class. Aligned pictures are taken."""
    files = {}
    pictures = _by_name(tree)
    for where, (name, code) in _lines(tree, 2, "list_patition_label.txt"):
        aligned = f"{PurePosixPath(name).stem}_aligned.jpg"
        path = pictures.get(aligned) or pictures.get(name, aligned)
        files[path] = FaceFile(path, _label(RAF_DB, code, where), split_of(name))
    return list(files.values()) or None


def _lines(tree: Tree, columns: int, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each line of the list of this name: what messages call it, and its columns."""
    lists = tree.named(name)
    if len(lists) > 1:
        raise InputError(f"{tree.folder}: expected one {name}, found {' and '.join(lists)}")
    for path in lists:
        for number, line in enumerate(_text(tree.folder / path), start=1):
            where, fields = f"{tree.folder / path}: line {number}", line.rsplit(None, columns - 1)
            if fields and len(fields) != columns:
                raise InputError(f"{where}: expected {columns} columns, found {len(fields)}")
            if fields:
                yield where, fields


def _text(path: Path) -> list[str]:
    """Return the lines of a list."""
    try:
        return path.read_text("utf-8-sig", "surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _below(folder: Path, path: str, where: str) -> str:
    """Return a path that a list names, with / between names; refuse one that leaves its folder."""
    if "\\" in path and not (folder / path).exists():  # written on Windows
        path = path.replace("\\", "/")
    if PureWindowsPath(path).anchor or ".." in Path(path).parts or "\0" in path:
        raise InputError(f"{where}: expected a path below {folder}, found {path!r}")
    return Path(path).as_posix()


def _by_name(tree: Tree) -> dict[str, str]:
    """Return the paths of the pictures by their names, without RAF-DB's uncropped ones."""
    paths = (path for path in tree.pictures if "original" not in path.split("/"))
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
        for number, row in enumerate(csv.reader(_text(source)), start=1):
            split, votes = split_of(source.parent.name), row[-len(VOTE_COLUMNS) :]
            if not split or len(row) <= len(votes) or not all(map(str.isdecimal, votes)):
                raise InputError(
                    f"{source}: line {number}: expected a picture and {len(VOTE_COLUMNS)} votes in "
                    "FER2013Train, FER2013Valid or FER2013Test"
                )
            path = _below(source.parent, row[0], f"{source}: line {number}")
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
        if path in files:
            raise InputError(f"{where}: {path} is listed twice")
        files[path] = FaceFile(path, label, split and split_of(split), fields=row)
    return list(files.values())
