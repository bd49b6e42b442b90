"""Read fer2013new.csv, the FER+ votes: ten people's opinion of every face of FER2013.

The file comes from https://github.com/microsoft/FERPlus (Barsoum, Zhang, Canton Ferrer, Zhang:
"Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution",
ICMI 2016).
"""

import csv
import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.emotions import SPLITS, VOTE_COLUMNS
from ferplus_keras.errors import InputError

VOTES_FILE = "fer2013new.csv"
WHERE_TO_GET_IT = (
    "download it from https://github.com/microsoft/FERPlus and put it beside fer2013.csv"
)

_VOTE_COUNTS = {str(count): count for count in range(11)}


class Votes(NamedTuple):
    """The rows of fer2013new.csv, in the order of fer2013.csv.

    Attributes:
        votes: (n, 10) int64, votes for each of `emotions.VOTE_COLUMNS`, 0-10.
        usage: (n,) str: Training, PublicTest or PrivateTest.
        image_names: (n,) str, name of the exported picture, "" where there is none.
        source: the file that was read.
        sha256: hash of that file's bytes, as 64 hexadecimal digits.
    """

    votes: np.ndarray
    usage: np.ndarray
    image_names: np.ndarray
    source: Path
    sha256: str


def read_votes(data_dir: str | Path) -> Votes:
    """Return the rows of fer2013new.csv.

    Args:
        data_dir: the folder that holds it, or any file of that folder, such as fer2013.csv. A
            byte-order mark, CRLF and further columns are accepted.

    Raises:
        InputError: there is no such file, it cannot be read, a column is missing, or a row has an
            unknown Usage, too few or too many fields, or a vote that is not a whole number from
            0 to 10. Rows are counted from 1; row k is line k + 1 of the file.
    """
    source = find_votes(data_dir)
    try:
        data = source.read_bytes()
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(rows, [])]
        usage_at, name_at, *votes_at = _columns(header, source)
        usage, names, votes = [], [], []
        for number, row in enumerate(rows, start=1):
            fault = _fault(row, header, usage_at, votes_at)
            if fault:
                raise InputError(
                    f"{source}: row {number} (data rows counted from 1; line {number + 1} of the "
                    f"file): {fault}; the file may be cut off or damaged"
                )
            usage.append(row[usage_at].strip())
            names.append(row[name_at].strip())
            votes.append([_VOTE_COUNTS[row[at].strip()] for at in votes_at])
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} is not the text of {VOTES_FILE} ({error})") from error
    if not votes:
        raise InputError(f"{source} has a header but no rows; {WHERE_TO_GET_IT}")
    return Votes(
        np.array(votes, np.int64),
        np.array(usage),
        np.array(names),
        source,
        hashlib.sha256(data).hexdigest(),
    )


def find_votes(data_dir: str | Path) -> Path:
    """Return the path of fer2013new.csv; `read_votes` says what `data_dir` may be.

    Raises:
        InputError: it is not there.
    """
    path = Path(data_dir)
    folder = path.parent if path.is_file() else path
    if not (folder / VOTES_FILE).is_file():
        raise InputError(f"no {VOTES_FILE} in '{folder}'; {WHERE_TO_GET_IT}")
    return (folder / VOTES_FILE).resolve()


def _columns(header: list[str], source: Path) -> list[int]:
    """Return where Usage, Image name and the ten votes stand in a row."""
    wanted = ("Usage", "Image name", *VOTE_COLUMNS)
    missing = [name for name in wanted if name not in header]
    if missing:
        raise InputError(
            f"{source}: expected the columns {', '.join(wanted)} in line 1; missing "
            f"{', '.join(missing)}; {WHERE_TO_GET_IT}"
        )
    return [header.index(name) for name in wanted]


def _fault(row: list[str], header: list[str], usage_at: int, votes_at: list[int]) -> str | None:
    """Say what is wrong with a row, None when nothing is."""
    if len(row) != len(header):
        return f"expected {len(header)} columns, found {len(row)}"
    if row[usage_at].strip() not in SPLITS.values():
        return f"expected the Usage {', '.join(SPLITS.values())}, found {row[usage_at][:20]!r}"
    for at in votes_at:
        if row[at].strip() not in _VOTE_COUNTS:
            return f"expected votes from 0 to 10, found {row[at][:20]!r} for {header[at]}"
    return None
