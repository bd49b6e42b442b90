"""Training rows that should not be trained on: duplicates of test faces, and rows on a list."""

from pathlib import Path

import numpy as np

from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.errors import InputError

DUPLICATE = "same pixels as a validation or test row"
EXCLUDED = "listed in --exclude"


def duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Return for each face (n, ...) uint8 the first row with the same pixels, (n,) int64."""
    first: dict[bytes, int] = {}
    return np.array(
        [first.setdefault(image.tobytes(), row) for row, image in enumerate(images)], np.int64
    )


def leaked_rows(groups: np.ndarray, in_train: np.ndarray) -> np.ndarray:
    """Return which rows have a duplicate across the border between training and testing, (n,) bool.

    For training rows that is a duplicate among validation or test rows, for the others one among
    training rows. Validation and test rows are not compared with each other.

    Args:
        groups: (n,) int, as `duplicate_groups` returns them.
        in_train: (n,) bool.
    """
    trained = np.bincount(groups[in_train], minlength=len(groups)) > 0
    tested = np.bincount(groups[~in_train], minlength=len(groups)) > 0
    return np.where(in_train, tested[groups], trained[groups])


def read_excluded(path: str | Path, rows: int) -> tuple[np.ndarray, str]:
    """Return which rows a CSV file lists, (rows,) bool, and the file's SHA-256.

    Args:
        path: CSV file with a column `row`, counted from 0; its other columns are not used.
        rows: number of rows of the data set.

    Raises:
        InputError: `read_table` refuses the file, or it lists what is not the number of a row.
    """
    name = f"--exclude {path}"
    table, sha256 = read_table(Path(path), ("row",), name)
    excluded = np.zeros(rows, bool)
    for line, fields in table:
        field = fields["row"]
        if not (field.isascii() and field.isdigit() and int(field) < rows):
            raise InputError(
                f"{at_line(name, line)}: expected a row from 0 to {rows - 1}, found '{field[:20]}'"
            )
        excluded[int(field)] = True
    return excluded, sha256
