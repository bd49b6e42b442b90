"""Training rows that should not be trained on: twins of judged faces, and rows on a list."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError

TWIN = "same pixels as a validation or test row"
EXCLUDED = "listed in --exclude"
COLUMN = "row"


def leaked_rows(groups: np.ndarray, in_train: np.ndarray) -> np.ndarray:
    """Tell which rows have a twin across the border between training and judging.

    Of training rows that is a twin among validation or test rows, of the others a twin among
    training rows. Validation and test rows are not compared with each other.

    Args:
        groups: (n,) int, equal where the pixels are equal, 0 to n - 1.
        in_train: (n,) bool.

    Returns:
        (n,) bool.
    """
    trained = np.bincount(groups[in_train], minlength=len(groups)) > 0
    judged = np.bincount(groups[~in_train], minlength=len(groups)) > 0
    return np.where(in_train, judged[groups], trained[groups])


def read_excluded(path: str | Path, rows: int) -> tuple[np.ndarray, str]:
    """Return the rows that a CSV file lists, and the file's hash.

    Args:
        path: CSV file with a column `row`; its other columns are not looked at.
        rows: number of rows of the data set.

    Returns:
        (rows,) bool, True where listed; SHA-256 of the file.

    Raises:
        InputError: the file cannot be read, has no column `row`, or lists what is not the number
            of a row.
    """
    try:
        data = Path(path).read_bytes()
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except OSError as error:
        raise InputError(f"cannot read --exclude {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--exclude {path} is not CSV text ({error})") from None
    header = [name.strip() for name in lines[0]] if lines else []
    if COLUMN not in header:
        raise InputError(
            f"--exclude {path}: expected a column '{COLUMN}' (row of the data, counted from 0) in "
            f"line 1, found {', '.join(header) or 'nothing'}"
        )
    at = header.index(COLUMN)
    excluded = np.zeros(rows, bool)
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        field = line[at].strip() if at < len(line) else ""
        if not (field.isascii() and field.isdigit() and int(field) < rows):
            raise InputError(
                f"--exclude {path}: line {number}: expected a row from 0 to {rows - 1}, "
                f"found '{field[:20]}'"
            )
        excluded[int(field)] = True
    return excluded, hashlib.sha256(data).hexdigest()
