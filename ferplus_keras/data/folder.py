"""Own pictures of faces: a folder for every class, or a list of files with their labels."""

import csv
import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data import pixel_cache
from ferplus_keras.data.fer_rows import FaceRows
from ferplus_keras.data.pictures import SUFFIXES, read_face
from ferplus_keras.emotions import FACE_SIZE, FERPLUS_CLASSES, SPLITS
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.progress import progress_bar

LABELS_FILE = "labels.csv"
TENTHS = {"validation": 0, "test": 1}
"""Split that no file was given for -> tenth of the training files that becomes it."""

_SALT = b"ferplus_keras split"
_NAMED_IN_ERROR = 5


class FaceFile(NamedTuple):
    """One picture: its path below the data folder, its class, its split (None: not given)."""

    path: str
    label: str
    split: str | None


class FaceFolder(NamedTuple):
    """All pictures of a folder, in the order of their paths.

    Attributes:
        images: (n, 48, 48) uint8 grey levels, as `pictures.read_face` makes them.
        labels: (n,) int64, position in `class_names`.
        splits: (n,) str: train, validation or test.
        class_names: the classes: in FER+'s order where all are FER+'s, else sorted.
        paths: (n,) str, below the folder.
        source: the folder.
        sha256: hash of all paths, labels, splits and grey levels.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    class_names: tuple[str, ...]
    paths: np.ndarray
    source: Path
    sha256: str


def read_folder(data_dir: str | Path, cache_dir: str | Path | None = None) -> FaceFolder:
    """Return the faces of a folder of pictures; docs/own_data.md shows how it may look.

    Pictures are decoded once and kept in the cache folder like the pixels of fer2013.csv, until
    a file is added, removed or changed.

    Args:
        data_dir: the folder, with labels.csv, or train/CLASS/ and so on, or CLASS/ in it.
        cache_dir: cache folder; None for the usual place.

    Raises:
        InputError: no pictures are there, some cannot be read (they are named), labels.csv is not
            as it should be, or there are pictures to train on, but of one class only or not of
            every class.
    """
    folder = Path(data_dir).resolve()
    if not folder.is_dir():
        raise InputError(f"expected a folder of pictures at {data_dir}, but there is none")
    files = _listed(folder) if (folder / LABELS_FILE).is_file() else _found(folder)
    files.sort(key=lambda file: file.path)
    if not files:
        raise InputError(
            f"no pictures in {data_dir}: expected CLASS/*.png or train/CLASS/*.png and so on "
            f"({', '.join(SUFFIXES)}), or a {LABELS_FILE} with the columns path, label"
        )
    images = _read_images(folder, files, pixel_cache.cache_folder(cache_dir))
    splits = _splits(files, images)
    class_names = _order({file.label for file in files})
    labels = np.array([class_names.index(file.label) for file in files])
    _check_trained(folder, labels, splits, class_names)
    sha256 = hashlib.sha256(images)
    for file, split in zip(files, splits, strict=True):
        sha256.update(f"{file.path}\0{file.label}\0{split}\n".encode())
    paths = np.array([file.path for file in files])
    return FaceFolder(images, labels, splits, class_names, paths, folder, sha256.hexdigest())


def _order(labels: set[str]) -> tuple[str, ...]:
    if labels <= set(FERPLUS_CLASSES):
        return tuple(name for name in FERPLUS_CLASSES if name in labels)
    return tuple(sorted(labels))


def _check_trained(
    folder: Path, labels: np.ndarray, splits: np.ndarray, class_names: Sequence[str]
) -> None:
    """Refuse a class to judge that is not trained, unless nothing is: the folder only judges."""
    trained = set(labels[splits == "train"].tolist())
    if trained and len(class_names) < 2:
        raise InputError(
            f"{folder}: expected pictures of two classes or more, found only '{class_names[0]}'; "
            "docs/own_data.md shows how the folder may look"
        )
    for index, name in enumerate(class_names):
        if trained and index not in trained:
            file_number = np.count_nonzero(labels == index)
            raise InputError(
                f"{folder}: the class '{name}' has {file_number} pictures, none of them for "
                "training; add some, or correct its name where it is another spelling"
            )


def _found(folder: Path) -> list[FaceFile]:
    """List CLASS/* or SPLIT/CLASS/*."""
    names = [path.name for path in _subfolders(folder)]
    given = [name for name in names if name in SPLITS]
    if not given:
        return _of_classes(folder, folder, None)
    for name in names:
        if name not in SPLITS:
            raise unknown(f"split folder in {folder}", name, SPLITS)
    return [file for split in given for file in _of_classes(folder, folder / split, split)]


def _of_classes(folder: Path, parent: Path, split: str | None) -> list[FaceFile]:
    """List CLASS/* in `parent`."""
    files, passed_over = [], []
    for class_folder in _subfolders(parent):
        inner = _subfolders(class_folder)
        if inner:
            raise InputError(
                f"expected pictures in the class folder {class_folder}, found the folder "
                f"{inner[0].name} in it; folders of splits are called {', '.join(SPLITS)}"
            )
        for path in class_folder.iterdir():
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                relative = path.relative_to(folder).as_posix()
                files.append(FaceFile(relative, class_folder.name, split))
            elif not path.name.startswith("."):
                passed_over.append(path)
    if passed_over:
        print(
            f"warning: passed over {len(passed_over)} files in {parent} that are not "
            f"{', '.join(SUFFIXES)}, such as {min(passed_over).relative_to(parent)}",
            file=sys.stderr,
        )
    return files


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden and macOS ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def _listed(folder: Path) -> list[FaceFile]:
    """Read labels.csv: path,label and, if need be, split."""
    source = folder / LABELS_FILE
    try:
        with source.open(encoding="utf-8-sig", newline="") as text:
            lines = list(csv.reader(text, strict=True))
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} is not CSV text ({error})") from None
    header = [name.strip() for name in lines[0]] if lines else []
    if not {"path", "label"} <= set(header):
        raise InputError(
            f"{source}: expected the columns path, label and, if need be, split in line 1, found "
            f"{', '.join(header) or 'nothing'}"
        )
    files: dict[str, FaceFile] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        where = f"{source}: line {number}"
        if len(line) != len(header):
            raise InputError(f"{where}: expected {len(header)} columns, found {len(line)}")
        row = dict(zip(header, map(str.strip, line), strict=True))
        split = row.get("split")
        if not row["path"] or not row["label"]:
            raise InputError(f"{where}: expected a path and a label, found {','.join(line)!r}")
        if split is not None and split not in SPLITS:
            raise InputError(f"{where}: expected a split of {', '.join(SPLITS)}, found '{split}'")
        if row["path"] in files:
            raise InputError(f"{where}: {row['path']} is listed twice")
        files[row["path"]] = FaceFile(row["path"], row["label"], split)
    return list(files.values())


def _splits(files: Sequence[FaceFile], images: np.ndarray) -> np.ndarray:
    """Return the split of every file; splits that none was given for come out of training.

    Each takes a tenth, told by a hash of the pixels: equal pictures stay together, every class
    keeps its share on average, and files that are added later move none of the others.
    """
    given = {file.split for file in files}
    wanted = {tenth: name for name, tenth in TENTHS.items() if name not in given}
    splits = [file.split or "train" for file in files]
    for index, image in enumerate(images):
        if wanted and splits[index] == "train":
            digest = hashlib.blake2b(image.tobytes(), digest_size=8, key=_SALT).digest()
            splits[index] = wanted.get(int.from_bytes(digest, "big") % 10, "train")
    return np.array(splits)


def _read_images(folder: Path, files: Sequence[FaceFile], cache: Path) -> np.ndarray:
    """Return all faces, from the cache where names, sizes and times of the files are the same."""
    state = hashlib.sha256()
    for file in files:
        try:
            stamp = tuple(pixel_cache.stamp(folder / file.path))
        except OSError:
            stamp = ()  # missing: told with the other faults
        state.update(f"{file.path}\0{stamp}\n".encode())
    cached = pixel_cache.load(cache, folder)
    if cached and cached.sha256 == state.hexdigest():
        return cached.rows.images
    images = _decode(folder, files)
    # Labels and splits are read from the names at every start: the entry holds pixels only.
    rows = FaceRows(images, np.zeros(len(files), np.int8), np.zeros(len(files), np.uint8))
    entry = pixel_cache.Entry(rows, pixel_cache.stamp(folder), state.hexdigest())
    try:
        pixel_cache.store(cache, folder, entry)
    except OSError as error:
        print(
            f"warning: cannot keep the pixels in the cache folder '{cache}' "
            f"({error.strerror or error}): the pictures are read anew at every start",
            file=sys.stderr,
        )
    return images


def _decode(folder: Path, files: Sequence[FaceFile]) -> np.ndarray:
    """Read every picture, (n, 48, 48) uint8; raises InputError that names the broken ones."""
    images = np.empty((len(files), FACE_SIZE, FACE_SIZE), np.uint8)

    def read(index: int) -> str | None:
        try:
            images[index] = read_face(folder / files[index].path)
        except InputError as error:
            return f"{files[index].path}: {error}"
        return None

    with (
        ThreadPoolExecutor() as pool,
        progress_bar(total=len(files), desc=f"reading {folder.name}", unit=" pictures") as bar,
    ):
        faults = []
        for fault in pool.map(read, range(len(files))):
            bar.update()
            if fault:
                faults.append(fault)
    if faults:
        more = len(faults) - _NAMED_IN_ERROR
        shown = faults[:_NAMED_IN_ERROR] + ([f"and {more} more"] if more > 0 else [])
        raise InputError(
            f"cannot read {len(faults)} of {len(files)} pictures in {folder}; mend or remove them:"
            + "".join(f"\n  {line}" for line in shown)
        )
    images.flags.writeable = False
    return images
