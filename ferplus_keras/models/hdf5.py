"""HDF5 files that anybody may have made: opened, and read without following them elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.inputs import EXPANSION

_DAMAGE = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError)
"""What h5py raises, or reading a file whose parts are of other kinds than expected."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; InputError says what it is instead, or how it is damaged."""
    if fault := hdf5_fault(path):
        raise InputError(f"{path} is {fault}; fetch it again")
    try:
        with h5py.File(path, "r") as file:
            stored_numbers(file)
            yield file
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged or of another kind: {one_line(error)}") from None


def stored_numbers(file: h5py.File) -> int:
    """Return how many numbers the data sets of a file hold.

    Raises:
        ValueError: they declare far more than its size allows.
    """
    counts, sizes = [], []

    def note(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            counts.append(item.size or 0)
            sizes.append(counts[-1] * item.dtype.itemsize)

    file.visititems(note)
    held = file.id.get_filesize()
    if sum(sizes) > EXPANSION * held + 1_000_000:
        raise ValueError(f"it declares {sum(sizes):,} bytes of numbers in a file of {held:,}")
    return sum(counts)


def numbers(group: h5py.Group, path: str) -> h5py.Dataset:
    """Return an array of numbers that lies in the file itself.

    Links to other files could name anything that the user may read; Keras writes none.

    Raises:
        ValueError: there is no such array, or it is of another kind.
    """
    found = member(group, path)
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers at {path}")
    if found.external or found.is_virtual:
        raise ValueError(f"the numbers of {path} are in another file")
    return found


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a path in a file names; None for nothing, and for a link to elsewhere."""
    for name in filter(None, path.split("/")):
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            return None
        group = group[name]
    return group


def hdf5_fault(path: Path) -> str:
    """Return what is wrong with an HDF5 file; an empty string where it can be read."""
    if h5py.is_hdf5(path):
        try:
            h5py.File(path, "r").close()
        except OSError as error:
            return f"damaged or cut short ({error})"
        return ""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    kind = "something else" if start else "empty"
    if start.startswith(b"version https://git-lfs"):
        kind = "a git-lfs pointer to one"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        kind = "a web page"
    return f"not an HDF5 file but {kind}"
