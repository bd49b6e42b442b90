"""Own pictures of faces: read as a layout finds them, kept in the cache, divided into splits."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferplus_keras.data import cache, parquet  # noqa: F401 (parquet and lists enter layouts)
from ferplus_keras.data.decoding import SIZES, check_pictures, choose_shape, read_pictures
from ferplus_keras.data.layouts import FaceFile, find_faces
from ferplus_keras.data.lists import LABELS_FILE
from ferplus_keras.data.pictures import SUFFIXES
from ferplus_keras.data.registry import FileRows, data_set, only_rule
from ferplus_keras.data.splitting import divide, find_groups, warn_of_people
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError


@data_set(
    "Folder",
    "your own pictures in --data_dir (docs/own_data.md)",
    rules=only_rule("own labels", "the label of the picture's folder or list"),
    own_pictures=True,
)
def read_folder(
    data_dir: str | Path,
    cache_dir: str | Path | None = None,
    *,
    group: str | None = None,
    skip_unreadable: bool = False,
    face_size: int | None = None,
    colour: bool | None = None,
    largest: int = SIZES[-1],
) -> FileRows:
    """Return the faces of a folder of pictures, sorted by path; docs/own_data.md shows layouts.

    Pictures are decoded once for each size and colour, as `pictures.as_face` does, and kept in the
    cache folder until a file is added, removed or changed. The classes are in FER+'s order where
    all are FER+'s, else sorted. The hash is of all paths, labels, splits and decoded pixels.

    Args:
        data_dir, cache_dir: as for `open_source`.
        group: what keeps pictures in one split, as `splitting.find_groups` takes it.
        skip_unreadable: leave out the pictures that cannot be read, and list them.
        face_size: side of the faces, in pixels; None is chosen from the pictures.
        colour: whether they are RGB instead of grey; None likewise.
        largest: face size that is chosen at most.

    Raises:
        InputError: no pictures are there, some cannot be read (they are named), the layout has a
            fault, or there are training pictures, but of one class or not of every one.
    """
    folder = Path(os.path.realpath(data_dir))
    if not folder.is_dir():
        raise InputError(
            f"expected a folder of pictures at {data_dir}, but there is none: give --data_dir"
        )
    layout, files = find_faces(folder)
    if not files:
        raise InputError(
            f"no pictures in {data_dir} that have a label: expected CLASS/*.png or "
            f"train/CLASS/*.png and so on ({', '.join(SUFFIXES)}), or a {LABELS_FILE} "
            "with the columns path, label"
        )
    print(f"{folder.name}: {len(files):,} pictures, read as {layout}", file=sys.stderr)
    groups = find_groups(files, group) if group else None
    shape = choose_shape(folder, files, face_size, colour, largest)
    kept = cache.cache_folder(cache_dir)
    pictures, faults = read_pictures(folder, files, shape, kept, skip_unreadable)
    keep = [index for index, file in enumerate(files) if file.path not in faults]
    files = [files[index] for index in keep]
    groups = groups and [groups[index] for index in keep]
    check_pictures(folder, files, pictures)
    splits = divide(files, pictures.digests, groups)
    if not groups:
        warn_of_people(files, splits)
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
    return FileRows(
        opinions=np.eye(len(class_names), dtype=np.float32)[labels],
        splits=splits,
        images=pictures.faces,
        class_names=class_names,
        hashes=hash_faces(files, pictures.contents, splits),
        paths=np.array([file.path for file in files]),
        skipped=faults,
        digests=pictures.digests,
    )


def hash_faces(
    files: Sequence[FaceFile], contents: Sequence[str], splits: Sequence[str]
) -> dict[str, str]:
    """Return {"pictures": SHA-256 of everything that is read}, whatever the folder is called."""
    sha256 = hashlib.sha256()
    for file, pixels, split in zip(files, contents, splits, strict=True):
        line = f"{file.path}\0{file.label}\0{split}\0{pixels}\n"
        sha256.update(line.encode("utf-8", "surrogateescape"))  # a name may be no UTF-8
    return {"pictures": sha256.hexdigest()}
