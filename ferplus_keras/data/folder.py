"""Own pictures of faces: read as a layout finds them, kept in the cache, divided into splits."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from ferplus_keras.data import cache, parquet  # parquet and lists enter layouts
from ferplus_keras.data.layouts import FaceFile, find_faces
from ferplus_keras.data.lists import LABELS_FILE
from ferplus_keras.data.pictures import SUFFIXES, read_face
from ferplus_keras.data.registry import FileRows, data_set, only_rule
from ferplus_keras.data.splitting import divide, find_groups, warn_of_people
from ferplus_keras.emotions import FACE_SIZE, FERPLUS_CLASSES
from ferplus_keras.errors import InputError
from ferplus_keras.progress import progress_bar

_NAMED_IN_ERROR = 5


@data_set(
    "Folder",
    "your own pictures in --data_dir (docs/own_data.md)",
    rules=only_rule("own labels", "the label of the picture's folder or list"),
)
def read_folder(
    data_dir: str | Path,
    cache_dir: str | Path | None = None,
    *,
    group: str | None = None,
    skip_unreadable: bool = False,
) -> FileRows:
    """Return the faces of a folder of pictures, sorted by path; docs/own_data.md shows layouts.

    Pictures are decoded once, as `pictures.read_face` does, and kept in the cache folder until a
    file is added, removed or changed. The classes are in FER+'s order where all are FER+'s, else
    sorted. The hash is of all paths, labels, splits and grey levels.

    Args:
        data_dir, cache_dir: as for `open_source`.
        group: what keeps pictures in one split, as `splitting.find_groups` takes it.
        skip_unreadable: leave out the pictures that cannot be read, and list them.

    Raises:
        InputError: no pictures are there, some cannot be read (they are named), the layout has a
            fault, or there are training pictures, but of one class or not of every one.
    """
    folder = Path(data_dir).resolve()
    if not folder.is_dir():
        raise InputError(f"expected a folder of pictures at {data_dir}, but there is none")
    layout, files = find_faces(folder)
    if not files:
        raise InputError(
            f"no pictures in {data_dir} that have a label: expected CLASS/*.png or "
            f"train/CLASS/*.png and so on ({', '.join(SUFFIXES)}), or a {LABELS_FILE} "
            "with the columns path, label"
        )
    print(f"{folder.name}: {len(files):,} pictures, read as {layout}", file=sys.stderr)
    groups = find_groups(files, group) if group else None
    images, faults = read_images(folder, files, cache.cache_folder(cache_dir), skip_unreadable)
    keep = [index for index, file in enumerate(files) if file.path not in faults]
    files = [files[index] for index in keep]
    groups = groups and [groups[index] for index in keep]
    splits = divide(files, images, groups)
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
        images=images,
        class_names=class_names,
        hashes=hash_faces(files, images, splits),
        paths=np.array([file.path for file in files]),
        skipped=faults,
    )


def hash_faces(
    files: Sequence[FaceFile], images: np.ndarray, splits: Sequence[str]
) -> dict[str, str]:
    """Return {"pictures": SHA-256 of everything that is read}, whatever the folder is called."""
    sha256 = hashlib.sha256(images)
    for file, split in zip(files, splits, strict=True):
        sha256.update(_line(file.path, file.label, split))
    return {"pictures": sha256.hexdigest()}


def _line(*fields: object) -> bytes:
    """Return fields as bytes to hash; a file's name may be no UTF-8."""
    return ("\0".join(map(str, fields)) + "\n").encode("utf-8", "surrogateescape")


def read_images(
    folder: Path, files: Sequence[FaceFile], cache_folder: Path, skip_unreadable: bool = False
) -> tuple[np.ndarray, dict[str, str]]:
    """Return the faces that can be read, (n, 48, 48) uint8, and path -> fault of the others.

    They are decoded unless the cache has them as they are now. What cannot be read is listed.

    Raises:
        InputError: some cannot be read and they are not to be skipped, or none can be.
    """
    state = hashlib.sha256()  # of names, sizes and times
    for file in files:
        state.update(_line(file.path, file.box))
        with suppress(OSError):  # a missing file is named with the other faults
            state.update(_line(cache.stamp(folder / file.file)))
    cached = cache.load(cache_folder, folder)
    if cached and cached.sha256 == state.hexdigest():
        before = cached.extra.get("unreadable", ())
        images, faults = cached.faces, _decode(folder, [f for f in files if f.path in before])[1]
        if len(faults) == len(before):
            _report(folder, faults, len(files), skip_unreadable)
            return images, faults
    images, faults = _decode(folder, files)
    _report(folder, faults, len(files), skip_unreadable)
    if faults:
        images = images[[file.path not in faults for file in files]]
    extra = {"unreadable": sorted(faults)}
    entry = cache.Entry(images, extra, cache.stamp(folder), state.hexdigest())
    return cache.store(cache_folder, folder, entry).faces, faults


def _decode(folder: Path, files: Sequence[FaceFile]) -> tuple[np.ndarray, dict[str, str]]:
    """Return the faces, (n, 48, 48) uint8, and path -> fault of those that cannot be read."""
    images = np.empty((len(files), FACE_SIZE, FACE_SIZE), np.uint8)
    faults: dict[str, str] = {}

    def read(index: int) -> None:
        file = files[index]
        try:
            picture = parquet.read_row(folder / file.file, file.row) if file.row else None
            images[index] = read_face(picture or folder / file.file, file.box)
        except InputError as error:
            faults[file.path] = str(error)

    bar = progress_bar(total=len(files), desc=f"reading {folder.name}", unit=" pictures")
    with bar, ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(files))):
            bar.update()
    return images, faults


def _report(folder: Path, faults: Mapping[str, str], pictures: int, skip: bool) -> None:
    """Name the pictures that cannot be read, all of them where they may be skipped."""
    if not faults:
        return
    lines = [f"\n  {path}: {fault}" for path, fault in sorted(faults.items())]
    counts = f"{len(faults)} of {pictures} pictures"
    if skip and len(faults) < pictures:
        print(f"warning: skipped {counts} in {folder}:{''.join(lines)}", file=sys.stderr)
        return
    if len(lines) > _NAMED_IN_ERROR:
        lines[_NAMED_IN_ERROR:] = [f"\n  and {len(lines) - _NAMED_IN_ERROR} more"]
    raise InputError(
        f"cannot read {counts} in {folder}; repair or remove them, or leave them out by "
        f"--skip_unreadable:{''.join(lines)}"
    )
