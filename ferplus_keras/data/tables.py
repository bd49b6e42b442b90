"""Read small CSV files, as they were published or as a spreadsheet saved them."""

import codecs
import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.inputs import plain


def read_table(
    path: Path, columns: Sequence[str], name: str | None = None, errors: str = "surrogateescape"
) -> tuple[list[tuple[int, dict[str, str]]], str]:
    """Read a CSV file whose header has these columns; messages call it `name`, or by its path.

    UTF-8 and UTF-16, quotes, further columns, and semicolons or tabs instead of commas are
    accepted; blanks around fields and empty lines do not count. Names of files that are not UTF-8
    keep their bytes, unless `errors` is "strict".

    Returns:
        Line number in the file, and column name to text, of every row; the SHA-256 of the file.

    Raises:
        InputError: the file cannot be read or is not CSV, the header lacks or repeats a column, or
            a row has too few or too many fields.
    """
    name = name or str(path)
    with as_input_error(f"cannot read {name}", OSError):
        data = plain(path).read_bytes()
    try:
        text = data.decode(text_encoding(data), errors)
        delimiter = find_delimiter(text.partition("\n")[0])
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [field.strip() for field in next(lines, [])]
        rows = [(lines.line_num, [field.strip() for field in line]) for line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name} is not CSV text ({error})") from None
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{name}: expected the columns {', '.join(columns)} in line 1; missing "
            f"{', '.join(missing)}; found {', '.join(header) or 'nothing'}"
        )
    if twice := [column for column in header if column and header.count(column) > 1]:
        raise InputError(f"{name}: expected each column once in line 1, found {twice[0]} again")
    table = []
    for line, fields in rows:
        if any(fields):
            if len(fields) != len(header):
                found = f"expected {len(header)} columns, found {len(fields)}"
                raise InputError(f"{at_line(name, line)}: {found}")
            table.append((line, dict(zip(header, fields, strict=True))))
    return table, hashlib.sha256(data).hexdigest()


def text_encoding(start: bytes) -> str:
    """Return the encoding of a text that starts with these bytes, two or more."""
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def find_delimiter(header: str) -> str:
    """Return what separates the fields of a CSV file: what its first line has most of."""
    return max(",;\t", key=header.count)


def at_line(name: str, line: int) -> str:
    """Name a line of a file with a header as messages do; lines are counted from 1."""
    return f"{name}: line {line} (data row {line - 1}, counted from 1)"
