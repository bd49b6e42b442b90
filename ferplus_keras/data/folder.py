"""Own pictures: read as a layout finds them, decoded once, checked, and divided into splits."""

import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ferplus_keras.data import cache, parquet  # parquet and lists enter layouts
from ferplus_keras.data.layouts import FaceFile, find_faces
from ferplus_keras.data.lists import LABELS_FILE
from ferplus_keras.data.pictures import SUFFIXES, as_face, read_face
from ferplus_keras.data.registry import FileRows, data_set, only_rule
from ferplus_keras.data.splitting import digest, divide, find_groups, found_in, warn_of_people
from ferplus_keras.emotions import FACE_SIZE, FERPLUS_CLASSES
from ferplus_keras.errors import InputError
from ferplus_keras.progress import progress_bar

SIZES = (FACE_SIZE, 64, 96, 112, 128, 160, 192, 224)
"""Face sizes to choose from: the largest that half of the pictures reach."""

_SAMPLED = 24  # pictures by which size and colour are chosen
_TINTED = 16  # grey levels between the channels of a pixel that has a colour
_TOGETHER = 64  # pictures that a thread decodes in one go
_NAMED_IN_ERROR = 5

BLANK = 16
"""Grey levels between darkest and brightest of a picture that shows nothing."""

OBLONG = 1.5  # longer side / shorter side, from which on squeezing distorts a face
_MANY = 0.1  # share of oblong pictures from which on they are no accident
_FOLDER = 3  # blank pictures that make a blank folder


class Pictures(NamedTuple):
    """The n pictures that can be read."""

    files: list[FaceFile]
    faces: np.ndarray | cache.FacesOnDisk  # (n, s, s) or (n, s, s, 3) uint8
    digests: np.ndarray  # (n,) uint64 of each as 48x48 grey levels, whatever the shape of the faces
    sides: np.ndarray  # (n, 2) int64, height and width of each picture
    contrast: np.ndarray  # (n,) int64, brightest minus darkest of the 48x48 grey levels
    contents: tuple[str, ...]  # hash of the pixels of each as they were decoded
    faults: dict[str, str]  # path -> why, of those that cannot be read

    def rows(
        self, opinions: np.ndarray, splits: np.ndarray, class_names: tuple[str, ...]
    ) -> FileRows:
        """Return them as rows of a data set; the hash is of all that was read and of the splits."""
        sha256 = hashlib.sha256()
        for file, pixels, split in zip(self.files, self.contents, splits, strict=True):
            line = f"{file.path}\0{file.label}\0{split}\0{pixels}\n"
            sha256.update(line.encode("utf-8", "surrogateescape"))  # a name may be no UTF-8
        return FileRows(
            opinions,
            splits,
            self.faces,
            class_names,
            hashes={"pictures": sha256.hexdigest()},  # whatever the folder is called
            paths=np.array([file.path for file in self.files]),
            skipped=self.faults,
            digests=self.digests,
        )


def read_pictures(
    folder: Path,
    files: Sequence[FaceFile],
    shape: tuple[int, ...],
    cache_folder: Path,
    skip_unreadable: bool = False,
) -> Pictures:
    """Return the pictures that can be read; the others are listed.

    They are decoded into faces of that shape, (s, s) or (s, s, 3), unless the cache has them as
    they are now.

    Raises:
        InputError: some cannot be read and are not to be skipped, none can be, or the disk is full.
    """
    entry_of = folder / "x".join(map(str, shape))  # each shape has its own entry
    state = hashlib.sha256(b"2")  # of names, sizes and times
    for file in files:
        state.update(f"{file.path} {file.box}\n".encode("utf-8", "surrogateescape"))
        with suppress(OSError):  # a missing file is named with the other faults
            state.update(f"{cache.stamp(folder / file.file)}\n".encode())
    entry = cache.load(cache_folder, entry_of)
    found = entry.extra["pictures"] if entry and entry.sha256 == state.hexdigest() else None
    # A package that reads further kinds of files may have been installed since.
    if found is None or any(
        isinstance(each, str) and not isinstance(_read(folder, file), str)
        for file, each in zip(files, found, strict=True)
    ):
        with cache.building(cache_folder, (len(files), *shape)) as faces:
            found = _decode(folder, files, faces)
            extra = {"pictures": found}
            entry = cache.Entry(faces, extra, cache.stamp(folder), state.hexdigest())
            entry = cache.store(cache_folder, entry_of, entry)
    of_file = zip(files, found, strict=True)
    faults = {file.path: fault for file, fault in of_file if isinstance(fault, str)}
    keep = [index for index, file in enumerate(files) if file.path not in faults]
    _report(folder, faults, len(files), skip_unreadable)
    digests, sides, contrast, contents = zip(*(found[index] for index in keep), strict=True)
    return Pictures(
        files=[files[index] for index in keep],
        faces=cache.take(entry.faces, np.array(keep)) if faults else entry.faces,
        digests=np.array(digests, np.uint64),
        sides=np.array(sides),
        contrast=np.array(contrast),
        contents=contents,
        faults=faults,
    )


def choose_shape(
    folder: Path, files: Sequence[FaceFile], size: int | None, colour: bool | None, largest: int
) -> tuple[int, ...]:
    """Return the shape of a face; what is None is chosen from a sample of pictures and printed."""
    if size is None or colour is None:
        sides, tinted = [], []
        for index in np.unique(np.linspace(0, len(files) - 1, _SAMPLED).astype(int)):
            picture = _read(folder, files[index])
            if not isinstance(picture, str):  # else it is named later, with the others
                sides.append(min(picture.shape[:2]))
                small = as_face(picture, (FACE_SIZE, FACE_SIZE, 3)).astype(int)
                tinted.append(np.mean(np.ptp(small, axis=2) > _TINTED) > 0.02)
        reached = max(min(np.median(sides or [0]), largest), FACE_SIZE)
        size = size or max(each for each in SIZES if each <= reached)
        colour = np.mean(tinted or [False]) > 0.5 if colour is None else colour
        kind = f"{size}x{size} {'colour' if colour else 'grey'}"
        chosen = "chosen from the pictures (--face_size, --colour)"
        print(f"{folder.name}: faces of {kind}, {chosen}", file=sys.stderr)
    return (size, size, 3) if colour else (size, size)


def _read(folder: Path, file: FaceFile) -> np.ndarray | str:
    """Return the picture of a face, (h, w, 3) uint8 RGB, or why it cannot be read."""
    path = folder / file.file
    try:
        return read_face(parquet.read_row(path, file.row) if file.row else path, file.box)
    except InputError as error:
        return str(error)


def _decode(folder: Path, files: Sequence[FaceFile], faces: np.ndarray) -> list[list | str]:
    """Decode pictures into `faces`; return what else `Pictures` has of each, or its fault."""

    def read(index: int) -> list | str:
        picture = _read(folder, files[index])
        if isinstance(picture, str):
            return picture
        grey = as_face(picture)
        faces[index] = as_face(picture, faces.shape[1:])
        contents = hashlib.blake2b(np.ascontiguousarray(picture), digest_size=16).hexdigest()
        return [digest(grey.tobytes()), picture.shape[:2], int(np.ptp(grey)), contents]

    def read_some(begin: int) -> list[list | str]:
        found = [read(index) for index in range(begin, min(begin + _TOGETHER, len(files)))]
        cache.release(faces)
        return found

    found = []
    bar = progress_bar(total=len(files), desc=f"reading {folder.name}", unit=" pictures")
    with bar, ThreadPoolExecutor() as pool:
        for some in pool.map(read_some, range(0, len(files), _TOGETHER)):
            found += some
            bar.update(len(some))
    return found


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
        f"cannot read {counts} in {folder}; repair or remove them, or leave own pictures out by "
        f"--skip_unreadable:{''.join(lines)}"
    )


def check_pictures(folder: Path, pictures: Pictures) -> None:
    """Warn of pictures that show nothing, are squeezed, or have two labels.

    Raises:
        InputError: a folder or class of pictures shows nothing at all.
    """
    files, blank = pictures.files, pictures.contrast <= BLANK
    groups = defaultdict(list)
    for index, file in enumerate(files):
        groups[PurePosixPath(file.path).parent, file.label].append(index)
    for (parent, label), rows in groups.items():
        if len(rows) >= _FOLDER and blank[rows].all():
            raise InputError(
                f"all {len(rows)} pictures of '{label}' in {folder / parent} show nothing: they "
                f"are black or of one shade ({pictures.contrast[rows].max()} of 255 grey levels "
                "between darkest and brightest); 16-bit files must use the whole range to 65535"
            )
    alike = pictures.digests.tolist()
    labels = found_in(alike, (file.label for file in files))
    torn = np.array([len(labels[each]) > 1 for each in alike]) & ~blank
    oblong = pictures.sides.max(axis=1) >= OBLONG * pictures.sides.min(axis=1)
    for rows, fault in (
        (blank, "show nothing: they are black or of one shade"),
        (torn, "are there under two labels or more"),
        (oblong & (oblong.mean() >= _MANY), "are far from square and are squeezed: crop the faces"),
    ):
        if rows.any():
            example = files[int(rows.argmax())].path
            counted = f"{np.count_nonzero(rows)} of {len(files)} pictures in {folder}"
            print(f"warning: {counted} {fault}, such as {example}", file=sys.stderr)


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
    if group:
        files = find_groups(files, group)
    shape = choose_shape(folder, files, face_size, colour, largest)
    kept = cache.cache_folder(cache_dir)
    pictures = read_pictures(folder, files, shape, kept, skip_unreadable)
    check_pictures(folder, pictures)
    files = pictures.files
    splits = divide(files, pictures.digests)
    if not group:
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
    return pictures.rows(np.eye(len(class_names), dtype=np.float32)[labels], splits, class_names)
