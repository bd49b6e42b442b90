"""Own pictures of faces: a folder for every class, or a list of files with their labels."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data import cache
from ferplus_keras.data.pictures import SUFFIXES, read_face
from ferplus_keras.data.registry import FileRows, data_set, only_rule
from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.emotions import FACE_SIZE, FERPLUS_CLASSES, SPLITS
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.progress import progress_bar
from ferplus_keras.registry import Registry

LABELS_FILE = "labels.csv"
_SALT = b"ferplus_keras split"
_NAMED_IN_ERROR = 5


class FaceFile(NamedTuple):
    """One picture: its path below the data folder, and its split where that is given."""

    path: str
    label: str
    split: str | None


LAYOUTS: Registry[Callable[[Path], list[FaceFile] | None]] = Registry("folder layout")
"""Name -> function from a data folder to its pictures, None where it is laid out otherwise. The
last one entered that knows the folder is taken."""


@LAYOUTS.register("folders of classes")
def _of_classes(folder: Path, split: str | None = None) -> list[FaceFile]:
    """List CLASS/*, below the folder of a split where one is given."""
    parent = folder / (split or "")
    files, skipped = [], []
    for class_folder in _subfolders(parent):
        inner = _subfolders(class_folder)
        if inner:
            raise InputError(
                f"expected pictures in the class folder {class_folder}, found the folder "
                f"{inner[0].name} in it; folders of splits are called {', '.join(SPLITS)}"
            )
        visible = [path for path in class_folder.iterdir() if not path.name.startswith(".")]
        pictures = [path for path in visible if path.suffix.lower() in SUFFIXES]
        skipped += set(visible).difference(pictures)
        paths = (path.relative_to(folder).as_posix() for path in pictures)
        files += [FaceFile(path, class_folder.name, split) for path in paths]
    if skipped:
        known, example = ", ".join(SUFFIXES), min(skipped).relative_to(parent)
        found = f"skipped {len(skipped)} files in {parent} that are not {known}"
        print(f"warning: {found}, such as {example}", file=sys.stderr)
    return files


@LAYOUTS.register("folders of splits")
def _of_splits(folder: Path) -> list[FaceFile] | None:
    """List SPLIT/CLASS/*."""
    names = [path.name for path in _subfolders(folder)]
    given = [name for name in names if name in SPLITS]
    if not given:
        return None
    for name in names:
        if name not in SPLITS:
            raise unknown(f"split folder in {folder}", name, SPLITS)
    return [file for split in given for file in _of_classes(folder, split)]


@LAYOUTS.register("list")
def _listed(folder: Path) -> list[FaceFile] | None:
    """Read labels.csv: path,label and, if need be, split."""
    source = folder / LABELS_FILE
    if not source.is_file():
        return None
    files: dict[str, FaceFile] = {}
    for line, row in read_table(source, ("path", "label"))[0]:
        where = at_line(str(source), line)
        path, label, split = row["path"], row["label"], row.get("split")
        if "\\" in path and not (folder / path).exists():  # written on Windows
            path = path.replace("\\", "/")
        if not path or not label:
            raise InputError(f"{where}: expected a path and a label, found {path!r}, {label!r}")
        if split is not None and split not in SPLITS:
            raise InputError(f"{where}: expected a split of {', '.join(SPLITS)}, found '{split}'")
        if path in files:
            raise InputError(f"{where}: {path} is listed twice")
        files[path] = FaceFile(path, label, split)
    return list(files.values())


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden and macOS ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


@data_set(
    "Folder",
    "your own pictures in --data_dir (docs/own_data.md)",
    rules=only_rule("own labels", "the label of the picture's folder or list"),
)
def read_folder(data_dir: str | Path, cache_dir: str | Path | None = None) -> FileRows:
    """Return the faces of a folder of pictures, sorted by path; docs/own_data.md shows layouts.

    Pictures are decoded once, as `pictures.read_face` does, and kept in the cache folder until a
    file is added, removed or changed. The classes are in FER+'s order where all are FER+'s, else
    sorted. The hash is of all paths, labels, splits and grey levels.

    Raises:
        InputError: no pictures are there, some cannot be read (they are named), labels.csv is not
            as it should be, or there are training pictures, but of one class or not of every one.
    """
    folder = Path(data_dir).resolve()
    if not folder.is_dir():
        raise InputError(f"expected a folder of pictures at {data_dir}, but there is none")
    listings = (layout(folder) for layout in reversed(LAYOUTS.values()))
    files = sorted(next(files for files in listings if files is not None))
    if not files:
        raise InputError(
            f"no pictures in {data_dir}: expected CLASS/*.png or train/CLASS/*.png and so on "
            f"({', '.join(SUFFIXES)}), or a {LABELS_FILE} with the columns path, label"
        )
    images = _read_images(folder, files, cache.cache_folder(cache_dir))
    splits = _splits(files, images)
    found = {file.label for file in files}
    order = FERPLUS_CLASSES if found <= set(FERPLUS_CLASSES) else sorted(found)
    class_names = tuple(name for name in order if name in found)
    labels = np.array([class_names.index(file.label) for file in files])
    trained = labels[splits == "train"]
    if trained.size and len(class_names) < 2:
        raise InputError(
            f"{folder}: expected pictures of two classes or more, found only '{class_names[0]}'; "
            "docs/own_data.md shows how the folder may look"
        )
    untrained = np.setdiff1d(labels, trained)
    if trained.size and untrained.size:  # without training pictures it is for testing only
        raise InputError(
            f"{folder}: the class '{class_names[untrained[0]]}' has "
            f"{np.count_nonzero(labels == untrained[0])} pictures, none of them for training; add "
            "some, or correct its name where it is another spelling"
        )
    sha256 = hashlib.sha256(images)
    for file, split in zip(files, splits, strict=True):
        sha256.update(_line(file.path, file.label, split))
    return FileRows(
        opinions=np.eye(len(class_names), dtype=np.float32)[labels],
        splits=splits,
        images=images,
        class_names=class_names,
        hashes={"pictures": sha256.hexdigest()},  # whatever the folder is called
        paths=np.array([file.path for file in files]),
    )


def _line(*fields: object) -> bytes:
    """Return fields as bytes to hash; a file's name may be no UTF-8."""
    return ("\0".join(map(str, fields)) + "\n").encode("utf-8", "surrogateescape")


def _splits(files: Sequence[FaceFile], images: np.ndarray) -> np.ndarray:
    """Return the split of every file; splits that have none take a tenth of training each.

    The tenth is chosen by a hash of the pixels: equal pictures stay together, every class keeps
    its share on average, and files that are added later move none of the others.
    """
    given = {file.split for file in files}
    wanted = {i: name for i, name in enumerate(("validation", "test")) if name not in given}
    splits = [file.split or "train" for file in files]
    for index, image in enumerate(images):
        if wanted and splits[index] == "train":
            digest = hashlib.blake2b(image.tobytes(), digest_size=8, key=_SALT).digest()
            splits[index] = wanted.get(int.from_bytes(digest, "big") % 10, "train")
    return np.array(splits)


def _read_images(folder: Path, files: Sequence[FaceFile], cache_folder: Path) -> np.ndarray:
    """Return all faces, (n, 48, 48) uint8, decoded unless the cache has them as they are now."""
    state = hashlib.sha256()  # of names, sizes and times
    for file in files:
        state.update(_line(file.path))
        with suppress(OSError):  # a missing file is named with the other faults
            state.update(_line(cache.stamp(folder / file.path)))
    cached = cache.load(cache_folder, folder)
    if cached and cached.sha256 == state.hexdigest():
        return cached.faces

    images = np.empty((len(files), FACE_SIZE, FACE_SIZE), np.uint8)
    faults = []

    def read(index: int) -> None:
        try:
            images[index] = read_face(folder / files[index].path)
        except InputError as error:
            faults.append(f"{files[index].path}: {error}")

    bar = progress_bar(total=len(files), desc=f"reading {folder.name}", unit=" pictures")
    with bar, ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(files))):
            bar.update()
    if faults:
        shown = sorted(faults)[:_NAMED_IN_ERROR]
        if len(faults) > len(shown):
            shown.append(f"and {len(faults) - len(shown)} more")
        lines = "".join(f"\n  {line}" for line in shown)
        counts = f"{len(faults)} of {len(files)} pictures"
        raise InputError(f"cannot read {counts} in {folder}; repair or remove them:{lines}")
    entry = cache.Entry(images, {}, cache.stamp(folder), state.hexdigest())
    return cache.store(cache_folder, folder, entry).faces
