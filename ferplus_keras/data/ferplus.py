"""Read fer2013new.csv, the FER+ votes: ten people's opinion of every face of FER2013.

The file comes from https://github.com/microsoft/FERPlus (Barsoum, Zhang, Canton Ferrer, Zhang:
"Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution",
ICMI 2016).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.fer2013 import read_fer2013
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.data.registry import FileRows, data_set, split_names
from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.emotions import FERPLUS_CLASSES, SPLITS, VOTE_COLUMNS
from ferplus_keras.errors import InputError

VOTES_FILE = "fer2013new.csv"
WHERE_TO_GET_IT = (
    "download it from https://github.com/microsoft/FERPlus and put it beside fer2013.csv"
)

_VOTE_COUNTS = {text: count for count in range(11) for text in (str(count), f"{count}.0")}


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


_BY_VOTES = {"rules": LABEL_RULES, "uses_votes": True}
_WITHOUT_CONTEMPT = [name for name in FERPLUS_CLASSES if name != "contempt"]


@data_set("FERPlus7", "FERPlus without contempt", _WITHOUT_CONTEMPT, **_BY_VOTES)
@data_set(
    "FERPlus",
    "ten votes per face for eight classes, unknown and not-a-face",
    FERPLUS_CLASSES,
    **_BY_VOTES,
)
def ferplus(data_dir: str | Path, cache_dir: str | Path | None) -> FileRows:
    """Read fer2013new.csv and fer2013.csv, the small one first: its faults show at once.

    Raises:
        InputError: a file is missing or damaged, or they do not belong together.
    """
    votes = read_votes(data_dir)
    fer = read_fer2013(data_dir, cache_dir)
    shorter = min(len(fer.usage), len(votes.usage))
    differs = np.flatnonzero(fer.usage[:shorter] != votes.usage[:shorter])
    if differs.size:
        row = differs[0]
        raise InputError(
            f"{fer.source} and {votes.source} do not belong together: row {row + 1} (data rows "
            f"counted from 1) has Usage {fer.usage[row]} in one, {votes.usage[row]} in the other; "
            "get both anew, with their rows in the original order"
        )
    if len(fer.usage) != len(votes.usage):
        raise InputError(
            f"{fer.source} has {len(fer.usage)} rows, {votes.source} has {len(votes.usage)}: row "
            f"{shorter + 1} is in one of them only; the shorter file may be cut off: get it anew"
        )
    rows = _rows_of(votes)
    hashes = {fer.source.name: fer.sha256} | rows.hashes
    return rows._replace(images=fer.images, hashes=hashes)


def ferplus_votes(data_dir: str | Path) -> FileRows:
    """Read fer2013new.csv alone: labels without faces; raises as `read_votes`."""
    return _rows_of(read_votes(data_dir))


def _rows_of(votes: Votes) -> FileRows:
    hashes = {votes.source.name: votes.sha256}
    return FileRows(votes.votes, split_names(votes.usage), None, FERPLUS_CLASSES, hashes)


def read_votes(data_dir: str | Path) -> Votes:
    """Return the rows of fer2013new.csv.

    Args:
        data_dir: the folder that holds it, or any file of that folder, such as fer2013.csv.

    Raises:
        InputError: there is no such file, `read_table` refuses it, or a row has an unknown Usage
            or a vote that is not a whole number from 0 to 10.
    """
    path = Path(data_dir)
    folder = path.parent if path.is_file() else path
    if not (folder / VOTES_FILE).is_file():
        raise InputError(f"no {VOTES_FILE} in '{folder}'; {WHERE_TO_GET_IT}")
    source = (folder / VOTES_FILE).resolve()
    table, sha256 = read_table(source, ("Usage", "Image name", *VOTE_COLUMNS))
    if not table:
        raise InputError(f"{source} has a header but no rows; {WHERE_TO_GET_IT}")
    votes = np.empty((len(table), len(VOTE_COLUMNS)), np.int64)
    for index, (line, row) in enumerate(table):
        where = f"{at_line(str(source), index + 2)}: expected"
        if line != index + 2:
            raise InputError(f"{where} {len(VOTE_COLUMNS) + 2} columns, found an empty line")
        if row["Usage"] not in SPLITS.values():
            raise InputError(
                f"{where} the Usage {', '.join(SPLITS.values())}, found {row['Usage'][:20]!r}"
            )
        try:
            votes[index] = [_VOTE_COUNTS[row[name]] for name in VOTE_COLUMNS]
        except KeyError:
            name = next(name for name in VOTE_COLUMNS if row[name] not in _VOTE_COUNTS)
            raise InputError(
                f"{where} votes from 0 to 10, found {row[name][:20]!r} for {name}; the file may be "
                "cut off or damaged"
            ) from None
    usage, names = (
        np.array([row[column] for _, row in table]) for column in ("Usage", "Image name")
    )
    return Votes(votes, usage, names, source, sha256)
