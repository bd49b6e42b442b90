"""Turn the text of fer2013.csv into arrays: NumPy arithmetic on the bytes, strict on every row."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ferplus_keras.emotions import FACE_SIZE, FER2013_CLASSES, SPLITS
from ferplus_keras.errors import InputError

PIXELS_PER_ROW = FACE_SIZE * FACE_SIZE
USAGES = tuple(SPLITS.values())
"""Values of the `Usage` column; the arrays hold positions in this tuple."""

_WANTED = ("emotion", "pixels", "Usage")
_BLOCK_BYTES = 1 << 17  # the intermediate arrays of a block stay in the processor's cache
_LONGEST_HEADER = 1 << 16
_EMOTION_CODES = {str(code).encode(): code for code in range(len(FER2013_CLASSES))}
_USAGE_CODES = {name.encode(): code for code, name in enumerate(USAGES)}


class FaceRows(NamedTuple):
    """The rows of fer2013.csv in file order.

    Attributes:
        images: (n, 48, 48) uint8 grey levels, 0-255.
        emotions: (n,) int8, position in `FER2013_CLASSES`.
        usage: (n,) uint8, position in `USAGES`.
    """

    images: np.ndarray
    emotions: np.ndarray
    usage: np.ndarray


class _Columns(NamedTuple):
    """Where the wanted fields of a row stand, and how many fields it has."""

    emotion: int
    pixels: int
    usage: int
    width: int


def parse_rows(
    stream: io.BufferedReader, name: str, after_block: Callable[[], None] = lambda: None
) -> FaceRows:
    """Parse CSV with the columns emotion, pixels and Usage, in any order.

    Blanks round names and values, a byte-order mark, CRLF line ends and further columns are
    accepted; anything else that Kaggle's file does not have is refused. Rows are counted from 1
    and the header is line 1, so row k is line k + 1 of the file. A file cut exactly between two
    rows cannot be told from a shorter one here.

    Args:
        stream: the bytes of the CSV text.
        name: what to call the file in errors.
        after_block: called after every block of rows (to show progress).

    Returns:
        All rows.

    Raises:
        InputError: the header lacks a column, there are no rows, or a row has other than 2,304
            pixels, a pixel that is not a whole number from 0 to 255, an emotion outside 0-6, an
            unknown Usage, or too few or too many fields.
    """
    columns = _read_header(stream, name)
    blocks: list[FaceRows] = []
    rows = 0
    while lines := stream.readlines(_BLOCK_BYTES):
        block = _parse_block(lines, columns)
        if block is None:
            at = next(i for i, line in enumerate(lines) if _parse_block([line], columns) is None)
            raise InputError(
                f"{name}: row {rows + at + 1} (data rows counted from 1; line {rows + at + 2} of "
                f"the file): {_fault(lines[at], columns)}; the file may be cut off or damaged"
            )
        blocks.append(block)
        rows += len(lines)
        after_block()
    if not blocks:
        raise InputError(f"{name} has a header but no rows; download or copy it again")
    return FaceRows(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _read_header(stream: io.BufferedReader, name: str) -> _Columns:
    header = stream.readline(_LONGEST_HEADER)
    if not header.strip():
        raise InputError(f"{name} is empty; expected the columns {', '.join(_WANTED)}")
    if header.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise InputError(
            f"{name} is a web page, not fer2013.csv; log in to Kaggle and download the file again"
        )
    text = header.decode("utf-8-sig", errors="replace")
    names = [column.strip().casefold() for column in text.split(",")]
    missing = [column for column in _WANTED if column.casefold() not in names]
    if missing:
        raise InputError(
            f"{name}: expected the columns {', '.join(_WANTED)} in line 1; missing "
            f"{', '.join(missing)}; line 1 is {text.strip()[:60]!r}"
        )
    return _Columns(*(names.index(column.casefold()) for column in _WANTED), width=len(names))


def _parse_block(lines: list[bytes], columns: _Columns) -> FaceRows | None:
    """Return the rows of `lines`, or None when any of them is not as it should be."""
    fields = [line.split(b",") for line in lines]
    if any(len(row) != columns.width for row in fields):
        return None
    try:
        emotions = [_EMOTION_CODES[row[columns.emotion].strip()] for row in fields]
        usage = [_USAGE_CODES[row[columns.usage].strip()] for row in fields]
    except KeyError:
        return None
    pixels = _parse_pixels([row[columns.pixels].strip() for row in fields])
    if pixels is None:
        return None
    return FaceRows(
        pixels.reshape(-1, FACE_SIZE, FACE_SIZE),
        np.array(emotions, np.int8),
        np.array(usage, np.uint8),
    )


def _parse_pixels(fields: list[bytes]) -> np.ndarray | None:
    """Return the numbers of all fields, (2304 len(fields),) uint8; None where one is wrong.

    A number ends before each blank: its last digit counts once, the one before it ten times, the
    one before that a hundred times. All numbers of a block are added up in one go.
    """
    text = np.frombuffer(b" " + b" ".join(fields) + b" ", np.uint8)
    blanks = np.flatnonzero(text == ord(" "))
    row_ends = np.cumsum([len(field) + 1 for field in fields])
    if blanks.size != 1 + PIXELS_PER_ROW * len(fields):
        return None
    if not np.array_equal(blanks[PIXELS_PER_ROW::PIXELS_PER_ROW], row_ends):
        return None
    digits = text - np.uint8(ord("0"))  # wraps round: whatever is no digit becomes 10 or more
    if np.count_nonzero(digits < 10) != text.size - blanks.size:
        return None
    ends = blanks[1:]
    lengths = ends - blanks[:-1] - 1
    if lengths.min() < 1 or lengths.max() > 3:
        return None
    values = digits[ends - 1].astype(np.uint16)
    values += (digits[ends - 2] * (lengths > 1)).astype(np.uint16) * 10
    values += (digits[ends - 3] * (lengths > 2)).astype(np.uint16) * 100
    return values.astype(np.uint8) if values.max() <= 255 else None


def _fault(line: bytes, columns: _Columns) -> str:
    """Say what is wrong with a row that `_parse_block` has refused."""
    fields = [field.strip() for field in line.split(b",")]
    if fields == [b""]:
        return "the line is empty"
    if len(fields) != columns.width:
        return f"expected {columns.width} columns, found {len(fields)}"
    if fields[columns.emotion] not in _EMOTION_CODES:
        return f"expected an emotion from 0 to 6, found {_quoted(fields[columns.emotion])}"
    if fields[columns.usage] not in _USAGE_CODES:
        return f"expected the Usage {', '.join(USAGES)}, found {_quoted(fields[columns.usage])}"
    numbers = fields[columns.pixels].split(b" ") if fields[columns.pixels] else []
    for position, number in enumerate(numbers, start=1):
        if not (number.isdigit() and len(number) <= 3 and int(number) <= 255):
            return (
                f"expected whole numbers from 0 to 255 with one blank between them, found "
                f"{_quoted(number)} as pixel {position}"
            )
    return f"expected {PIXELS_PER_ROW} pixels, found {len(numbers)}"


def _quoted(field: bytes) -> str:
    return repr(field[:20].decode("utf-8", errors="replace"))
