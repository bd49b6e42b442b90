"""Read fer2013.csv in every form in which it circulates; later starts map its pixels."""

import csv
import gzip
import io
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from ferplus_keras.data import cache
from ferplus_keras.data.registry import FileRows, data_set, only_rule
from ferplus_keras.data.tables import at_line, find_delimiter, text_encoding
from ferplus_keras.emotions import FACE_SIZE, FER2013_CLASSES, SPLITS
from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.files import sha256
from ferplus_keras.progress import progress_bar

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")  # inside an archive, the preferred one first

FILE_NAMES = (
    *CSV_NAMES,
    *("fer2013.csv.gz", "icml_face_data.csv.gz", "fer2013.csv.zip", "fer2013.zip"),
    *("icml_face_data.csv.zip", "fer2013.tar.gz"),
)
"""File names looked for in a data folder, the preferred one first; then any other .zip."""

WHERE_TO_GET_IT = (
    "give its folder by --data_dir, download it from Kaggle ('Challenges in Representation "
    "Learning: Facial Expression Recognition Challenge'), or write a drawn stand-in with 'python "
    "-m ferplus_keras sample-data OUT_DIR'"
)

_PIXELS = FACE_SIZE * FACE_SIZE
_USAGES = tuple(SPLITS.values())
_COLUMNS = ("emotion", "pixels", "Usage")
_BLOCK_ROWS = 16  # so that the intermediate arrays of a block stay in the processor's cache
_LONGEST_LINE = 1 << 16  # a longer one, as a small archive may hold, is a fault
_BUFFER_BYTES = 1 << 20
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
_EMOTION_CODES = {
    f"{code}{zeros}": code
    for code in range(len(FER2013_CLASSES))
    for zeros in ("", ".0", ",0", ".00", ",00")
}

FaceRows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Images (n, 48, 48) uint8, emotions (n,) int8 from 0 to 6, positions in `SPLITS` (n,) uint8."""


class Fer2013Missing(InputError):
    """There is no fer2013.csv where it was looked for."""


_RULES = only_rule("emotion column", "FER2013's own label")
_WITHOUT_DISGUST = [name for name in FER2013_CLASSES if name != "disgust"]


@data_set("FER6", "FER without disgust", _WITHOUT_DISGUST, rules=_RULES)
@data_set(
    "FER",
    "the seven labels of FER2013 itself; needs fer2013.csv only",
    FER2013_CLASSES,
    rules=_RULES,
)
def read_fer2013(data_dir: str | Path, cache_dir: str | Path | None = None) -> FileRows:
    """Return the rows of fer2013.csv in file order, with its own labels.

    The first call parses the text (one to two seconds for Kaggle's 301 MB) and stores the pixels in
    the cache folder; later calls map them into memory. A file with other times but the same
    contents is hashed, not parsed.

    Args:
        data_dir: the file under any name, or its folder: the first of `FILE_NAMES` that is there,
            or the first other .zip by name that holds one of `CSV_NAMES`.
        cache_dir: as `cache.cache_folder` takes it.

    Raises:
        Fer2013Missing: there is no such file.
        InputError: it cannot be read, is damaged or cut off, changes while it is being read, is an
            archive without the CSV file, or `parse_rows` refuses it.
    """
    source = Path(os.path.realpath(_find(Path(data_dir))))
    folder = cache.cache_folder(cache_dir)
    with as_input_error(f"cannot read {source}", OSError):
        stamp = cache.stamp(source)
        entry = cache.load(folder, source)
        if entry is None or entry.stamp != stamp:
            digest = sha256(source)
            if entry and entry.sha256 == digest:
                entry = entry._replace(stamp=stamp)
            else:
                images, emotions, usage = _parse(source)
                extra = {"emotions": emotions.tolist(), "usage": usage.tolist()}
                entry = cache.Entry(images, extra, stamp, digest)
            if cache.stamp(source) != stamp:
                raise InputError(
                    f"{source} changed while it was read; try again when it is complete"
                )
            entry = cache.store(folder, source, entry)
    return FileRows(
        opinions=np.eye(len(FER2013_CLASSES), dtype=np.float32)[entry.extra["emotions"]],
        splits=np.array(list(SPLITS))[entry.extra["usage"]],
        images=entry.faces,
        class_names=FER2013_CLASSES,
        hashes={source.name: entry.sha256},
    )


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        found = f"expected the folder of fer2013.csv, but there is no '{path}'"
        raise Fer2013Missing(f"{found}; {WHERE_TO_GET_IT}")
    for name in FILE_NAMES:
        if (path / name).is_file():
            return path / name
    hints = ""
    for archive_path in sorted(path.glob("*.zip")):
        try:
            with zipfile.ZipFile(archive_path) as archive:
                if _member(archive.namelist()):
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
def _open_csv(path: Path) -> Iterator[tuple[io.BufferedReader, BinaryIO]]:
    """Open the CSV text and the file itself; a read to the end verifies an archive's checksum."""
    no_member = InputError(f"{path} holds no {' or '.join(CSV_NAMES)}; {WHERE_TO_GET_IT}")
    try:
        with path.open("rb") as file:
            magic = file.peek(4)
            if magic.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    name = _member(archive.namelist())
                    if name is None:
                        raise no_member
                    yield io.BufferedReader(archive.open(name), _BUFFER_BYTES), file
            elif magic.startswith(b"\x1f\x8b"):
                unpacked = gzip.GzipFile(fileobj=file)
                is_tar = unpacked.read(512)[257:262] == b"ustar"
                unpacked.seek(0)
                if not is_tar:
                    yield io.BufferedReader(unpacked, _BUFFER_BYTES), file
                    return
                with tarfile.open(fileobj=unpacked, mode="r:") as archive:
                    members = (m for m in archive if m.isfile() and _member([m.name]))
                    member = next(members, None)
                    if member is None:
                        raise no_member
                    yield io.BufferedReader(archive.extractfile(member), _BUFFER_BYTES), file
                while unpacked.read(_BUFFER_BYTES):  # up to the checksum at the end
                    pass
            else:
                yield file, file
    except _DAMAGE as error:
        raise InputError(
            f"{path} is damaged or cut off ({error}); download or copy it again"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted; unknown compression
        raise InputError(f"cannot unpack {path}: {error}; unpack it yourself") from error


def _member(names: list[str]) -> str | None:
    """Return the archive member to read, None when there is none."""
    found = {PurePosixPath(name).name: name for name in names}
    return next((found[name] for name in CSV_NAMES if name in found), None)


def _parse(source: Path) -> FaceRows:
    """Parse the file with a progress bar by bytes, shown on a terminal only."""
    shown = {"unit": "B", "unit_scale": True, "disable": None, "desc": f"reading {source.name}"}
    with (
        _open_csv(source) as (stream, file),
        progress_bar(total=source.stat().st_size, **shown) as bar,
    ):
        return parse_rows(stream, str(source), lambda: bar.update(file.tell() - bar.n))


def parse_rows(
    stream: io.BufferedReader, name: str, after_block: Callable[[], None] = lambda: None
) -> FaceRows:
    """Parse CSV text with the columns emotion, pixels and Usage, in any order.

    Blanks round names and values, a byte-order mark, CRLF or CR line ends and further columns are
    accepted, and what a spreadsheet makes of the file: quotes, semicolons or tabs for commas,
    UTF-16, emotions such as 3.0, and empty last lines. Errors call the file `name`; `after_block`
    is called after every block of rows.

    Raises:
        InputError: the header lacks a column, there are no rows, or a row has a fault.
    """
    source = io.TextIOWrapper(stream, text_encoding(stream.peek(2)), "replace")
    names, delimiter = _read_header(source.readline(_LONGEST_LINE), name)
    lines, blocks, number = _lines(source), [], 2
    while texts := list(islice(lines, _BLOCK_ROWS)):
        try:
            blocks.append(_parse_block(texts, names, delimiter))
        except ValueError:
            for place, text in enumerate(texts, start=number):
                try:
                    _parse_block([text], names, delimiter)
                except ValueError as fault:
                    where = f"{at_line(name, place)}: {fault}"
                    raise InputError(f"{where}; the file may be cut off or damaged") from None
        number += len(texts)
        after_block()
    if not blocks:
        raise InputError(f"{name} has a header but no rows; download or copy it again")
    return tuple(map(np.concatenate, zip(*blocks, strict=True)))


def _lines(source: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a file; empty ones at its end are left out."""
    while text := source.readline(_LONGEST_LINE):
        if text.strip() or any(map(str.strip, iter(partial(source.read, _BUFFER_BYTES), ""))):
            yield text


def _read_header(header: str, name: str) -> tuple[list[str], str]:
    """Return the names of the columns in lower case, and what separates them."""
    if not header.strip():
        raise InputError(f"{name} is empty; expected the columns {', '.join(_COLUMNS)}")
    if header.lstrip().startswith("<"):
        raise InputError(
            f"{name} is a web page, not fer2013.csv; log in to Kaggle and download the file again"
        )
    delimiter = find_delimiter(header)
    names = [column.strip(' \t\r\n"').casefold() for column in header.split(delimiter)]
    missing = [column for column in _COLUMNS if column.casefold() not in names]
    if missing == ["Usage"]:
        raise InputError(
            f"{name}: missing Usage in line 1; this is train.csv, which does not say what is for "
            f"validation and test: use icml_face_data.csv or fer2013.tar.gz; {WHERE_TO_GET_IT}"
        )
    if missing:
        raise InputError(
            f"{name}: expected the columns {', '.join(_COLUMNS)} in line 1; missing "
            f"{', '.join(missing)}; line 1 is {header.strip()[:60]!r}"
        )
    return names, delimiter


def _fields(line: str, delimiter: str) -> list[str]:
    if '"' in line:
        with suppress(csv.Error):  # then some field is wrong
            return next(csv.reader([line], delimiter=delimiter))
    return line.split(delimiter)


def _parse_block(lines: list[str], names: list[str], delimiter: str) -> FaceRows:
    """Return the faces of lines; raises ValueError, which says what is wrong with a single one."""
    places = [names.index(column.casefold()) for column in _COLUMNS]
    emotions, pixels, usages = [], [], []
    for line in lines:
        fields = [field.strip() for field in _fields(line, delimiter)]
        if fields == [""]:
            raise ValueError("the line is empty")
        if len(fields) != len(names):
            raise ValueError(f"expected {len(names)} columns, found {len(fields)}")
        emotion, pixel, usage = (fields[place] for place in places)
        if emotion not in _EMOTION_CODES:
            raise ValueError(f"expected an emotion from 0 to 6, found {emotion[:20]!r}")
        if usage not in _USAGES:
            raise ValueError(f"expected the Usage {', '.join(_USAGES)}, found {usage[:20]!r}")
        emotions.append(_EMOTION_CODES[emotion])
        pixels.append(pixel)
        usages.append(_USAGES.index(usage))
    return _parse_pixels(pixels), np.array(emotions, np.int8), np.array(usages, np.uint8)


def _parse_pixels(fields: list[str]) -> np.ndarray:
    """Return the numbers of all fields, (len(fields), 48, 48) uint8; ValueError where one is wrong.

    A number ends before each blank: its last digit counts once, the one before it ten times, the
    one before that a hundred times. All numbers of a block are added up in one go.
    """
    text = np.frombuffer(f" {' '.join(fields)} ".encode("ascii", "replace"), np.uint8)
    blanks = np.flatnonzero(text == ord(" "))
    row_ends = np.cumsum([len(field) + 1 for field in fields])
    digits = text - np.uint8(ord("0"))  # wraps round: whatever is no digit becomes 10 or more
    ends, lengths = blanks[1:], np.diff(blanks) - 1
    if (
        np.array_equal(blanks[::_PIXELS], [0, *row_ends])
        and blanks.size == 1 + _PIXELS * len(fields)
        and np.count_nonzero(digits < 10) == text.size - blanks.size
        and lengths.min() >= 1
        and lengths.max() <= 3
    ):
        values = digits[ends - 1].astype(np.uint16)
        values += (digits[ends - 2] * (lengths > 1)).astype(np.uint16) * 10
        values += (digits[ends - 3] * (lengths > 2)).astype(np.uint16) * 100
        if values.max() <= 255:
            return values.astype(np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE)
    words = fields[0].split(" ") if fields[0] else []
    wrong = (word for word in words if not re.fullmatch("[0-9]{1,3}", word) or int(word) > 255)
    found = next((repr(word[:20]) for word in wrong), f"{len(words)} of them")
    raise ValueError(
        f"expected {_PIXELS} whole numbers from 0 to 255 with one blank between them, found {found}"
    )
