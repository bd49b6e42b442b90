"""Find fer2013.csv in any of the forms it is passed around in, and open it as bytes."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ferplus_keras.errors import InputError

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
"""What the CSV file is called inside an archive; the first one found is read."""

FILE_NAMES = (
    *CSV_NAMES,
    *("fer2013.csv.gz", "icml_face_data.csv.gz", "fer2013.csv.zip", "fer2013.zip"),
    *("icml_face_data.csv.zip", "fer2013.tar.gz"),
)
"""File names looked for in a data folder, the preferred one first; then any other .zip."""

WHERE_TO_GET_IT = (
    "download it from Kaggle ('Challenges in Representation Learning: Facial Expression "
    "Recognition Challenge'), or write a drawn stand-in with 'python -m ferplus_keras "
    "sample-data OUT_DIR'"
)

_BUFFER_BYTES = 1 << 20
_DAMAGE = (
    *(EOFError, UnicodeDecodeError, zlib.error),
    *(gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError),
)


class Fer2013Missing(InputError):
    """There is no fer2013.csv where it was looked for."""


def find_fer2013(data_dir: str | Path) -> Path:
    """Return the file that holds fer2013.csv.

    That is the file as given; or, in a folder, the first of `FILE_NAMES` that is there; or the
    first other .zip by name that holds one of `CSV_NAMES`.

    Args:
        data_dir: a folder, or the file itself under any name.

    Raises:
        Fer2013Missing: there is no such path, or the folder holds none of these files.
    """
    path = Path(data_dir)
    if path.is_file():
        return path
    if not path.is_dir():
        raise Fer2013Missing(
            f"expected the folder of fer2013.csv, but there is no '{path}'; {WHERE_TO_GET_IT}"
        )
    for name in FILE_NAMES:
        if (path / name).is_file():
            return path / name
    hints = ""
    for archive_path in sorted(path.glob("*.zip")):
        try:
            with zipfile.ZipFile(archive_path) as archive:
                if _member_name(archive.namelist()):
                    return archive_path
        except (zipfile.BadZipFile, OSError):
            hints += f" ({archive_path.name} cannot be opened: damaged or cut off)"
    if (path / "train.csv").is_file():
        hints += " (train.csv has no test rows; icml_face_data.csv of the same page has all)"
    raise Fer2013Missing(
        f"no fer2013.csv in '{path}': looked for {', '.join(FILE_NAMES)} and any .zip that holds "
        f"fer2013.csv or icml_face_data.csv{hints}; {WHERE_TO_GET_IT}"
    )


@contextmanager
def open_csv(path: Path) -> Iterator[tuple[io.BufferedReader, BinaryIO]]:
    """Open the CSV text in `path`, unpacked on the fly, whatever the file is called.

    Reading the stream to its end verifies the archive's checksum.

    Yields:
        The stream of CSV bytes, and the file itself, whose `tell()` says how far reading got.

    Raises:
        InputError: the file cannot be read, or is damaged or cut off (on opening as well as
            anywhere inside the block), or is an archive without the CSV file.
    """
    try:
        with path.open("rb") as file:
            magic = file.peek(4)[:4]
            if magic.startswith(b"PK"):
                with (
                    zipfile.ZipFile(file) as archive,
                    archive.open(_require_member(path, archive.namelist())) as member,
                ):
                    yield io.BufferedReader(member, _BUFFER_BYTES), file
            elif magic.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as unpacked:
                    start = unpacked.read(512)
                    unpacked.seek(0)
                    if start[257:262] != b"ustar":
                        yield io.BufferedReader(unpacked, _BUFFER_BYTES), file
                        return
                    with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                        members = (m for m in archive if m.isfile() and _member_name([m.name]))
                        member = next(members, None) or _require_member(path, [])
                        yield archive.extractfile(member), file
                    while unpacked.read(_BUFFER_BYTES):  # up to the checksum at the end
                        pass
            else:
                yield file, file
    except _DAMAGE as error:
        raise InputError(
            f"{path} is damaged or cut off ({error}); download or copy it again"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted; unknown compression
        raise InputError(f"cannot unpack {path}: {error}; unpack it yourself") from error


def _member_name(names: list[str]) -> str | None:
    """Return the archive member to read, None when there is none."""
    found = {PurePosixPath(name).name: name for name in names}
    return next((found[name] for name in CSV_NAMES if name in found), None)


def _require_member(path: Path, names: list[str]) -> str:
    name = _member_name(names)
    if name is None:
        raise InputError(f"{path} holds no {' or '.join(CSV_NAMES)}; {WHERE_TO_GET_IT}")
    return name
