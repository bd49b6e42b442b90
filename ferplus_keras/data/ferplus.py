"""Read fer2013new.csv, the FER+ votes: ten people's opinion of every face of FER2013.

Barsoum, Zhang, Canton Ferrer, Zhang: "Training Deep Networks for Facial Expression Recognition
with Crowd-Sourced Label Distribution", ICMI 2016.
"""

import re
import sys
from pathlib import Path

import numpy as np

from ferplus_keras.data.cache import cache_folder
from ferplus_keras.data.fer2013 import read_fer2013
from ferplus_keras.data.folder import read_pictures
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.data.lists import MICROSOFT, written_by_microsoft
from ferplus_keras.data.registry import FileRows, data_set
from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.emotions import FACE_SIZE, FERPLUS_CLASSES, SPLITS, VOTE_COLUMNS
from ferplus_keras.errors import InputError

VOTES_FILE = "fer2013new.csv"
WHERE_TO_GET_IT = (
    "download it from https://github.com/microsoft/FERPlus and put it beside fer2013.csv"
)

_SPLIT_OF = {usage: name for name, usage in SPLITS.items()}
_VOTE_COUNTS = {text: count for count in range(11) for text in (str(count), f"{count}.0")}
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

    Where there is no fer2013new.csv, the pictures and label.csv files that FERPlus's own
    generate_training_data.py writes are read.

    Raises:
        InputError: a file is missing or damaged, or they do not belong together.
    """
    folder = Path(data_dir).absolute()
    files = [] if (folder / VOTES_FILE).is_file() else written_by_microsoft(folder)
    if files:
        print(f"{folder.name}: {len(files):,} pictures, read as {MICROSOFT}", file=sys.stderr)
        pictures = read_pictures(folder, files, (FACE_SIZE,) * 2, cache_folder(cache_dir))
        opinions = np.array([file.label.split() for file in files], int)
        return pictures.rows(opinions, np.array([file.split for file in files]), FERPLUS_CLASSES)
    votes = ferplus_votes(data_dir)
    fer = read_fer2013(data_dir, cache_dir)
    names = " and ".join([*fer.hashes, *votes.hashes])
    counts = [len(rows.splits) for rows in (fer, votes)]
    differs = np.flatnonzero(fer.splits[: min(counts)] != votes.splits[: min(counts)])
    if differs.size:
        usages = [SPLITS[rows.splits[differs[0]]] for rows in (fer, votes)]
        raise InputError(
            f"{names} in {data_dir} do not match: row {differs[0] + 1} (data rows "
            f"counted from 1) has Usage {usages[0]} in one, {usages[1]} in the other; download "
            "both again, with their rows in the original order"
        )
    if counts[0] != counts[1]:
        raise InputError(
            f"{names} in {data_dir} have {counts[0]} and {counts[1]} rows: row {min(counts) + 1} "
            "is in only one of them; the shorter file may be cut off: download it again"
        )
    digits = (re.sub(r"\D", "", name) for name in votes.names)
    if (np.diff([int(number) for number in digits if number]) < 0).sum() > 4:  # as published
        fault = f"{VOTES_FILE} was sorted, as 'Image name' shows; download it again, in its order"
        raise InputError(f"{names} in {data_dir} do not match: {fault}")
    return votes._replace(images=fer.images, hashes=fer.hashes | votes.hashes)


def ferplus_votes(data_dir: str | Path) -> FileRows:
    """Read fer2013new.csv alone, from a folder or beside a file: labels without faces.

    Raises:
        InputError: there is no such file, `read_table` refuses it, or a row has an unknown Usage
            or a vote that is not a whole number from 0 to 10.
    """
    path = Path(data_dir)
    source = (path.parent if path.is_file() else path) / VOTES_FILE
    if not source.is_file():
        raise InputError(
            f"no {VOTES_FILE} in '{source.parent}'; {WHERE_TO_GET_IT}; train.py and test.py read a "
            "folder of pictures with --dataset_name Folder"
        )
    table, sha256 = read_table(source, ("Usage", *VOTE_COLUMNS), errors="strict")
    if not table:
        raise InputError(f"{source} has a header but no rows; {WHERE_TO_GET_IT}")
    for expected, (line, fields) in enumerate(table, start=2):
        wrong = [name for name in VOTE_COLUMNS if fields[name] not in _VOTE_COUNTS]
        if line != expected:
            fault = f"{len(fields)} columns, found an empty line"
        elif fields["Usage"] not in _SPLIT_OF:
            fault = f"the Usage {', '.join(_SPLIT_OF)}, found {fields['Usage'][:20]!r}"
        elif wrong:
            fault = f"votes from 0 to 10, found {fields[wrong[0]][:20]!r} for {wrong[0]}"
        else:
            continue
        where = at_line(str(source), expected)
        raise InputError(f"{where}: expected {fault}; the file may be cut off or damaged")
    splits = [_SPLIT_OF[fields["Usage"]] for _, fields in table]
    votes = [[_VOTE_COUNTS[fields[name]] for name in VOTE_COLUMNS] for _, fields in table]
    names = np.array([fields.get("Image name", "") for _, fields in table])
    return FileRows(
        np.array(votes), np.array(splits), None, FERPLUS_CLASSES, {VOTES_FILE: sha256}, names=names
    )
