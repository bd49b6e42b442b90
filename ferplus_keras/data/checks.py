"""Own pictures that a network could learn nothing from: found before training."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ferplus_keras.data.decoding import Pictures
from ferplus_keras.data.layouts import FaceFile
from ferplus_keras.errors import InputError

BLANK = 16
"""Grey levels between darkest and brightest of a picture that shows nothing."""

OBLONG = 1.5  # longer side / shorter side, from which on squeezing distorts a face
_MANY = 0.1  # share of oblong pictures from which on they are no accident
_FOLDER = 3  # blank pictures that make a blank folder


def check_pictures(folder: Path, files: Sequence[FaceFile], pictures: Pictures) -> None:
    """Warn of pictures that show nothing, are squeezed, or have two labels.

    Raises:
        InputError: a folder or class of pictures shows nothing at all.
    """
    blank = pictures.contrast <= BLANK
    groups = defaultdict(list)
    for index, file in enumerate(files):
        groups[PurePosixPath(file.path).parent, file.label].append(index)
    for (parent, label), rows in groups.items():
        if len(rows) >= _FOLDER and blank[rows].all():
            raise InputError(
                f"all {len(rows)} pictures of '{label}' in {folder / parent} show nothing: they "
                f"are black or of one shade ({pictures.contrast[rows].max()} of 255 grey levels "
                "between darkest and brightest); 16-bit files must use the whole range to 65535"
            )
    by_label = np.unique([file.label for file in files], return_inverse=True)[1]
    pairs = np.unique(np.stack([pictures.digests, by_label.astype(np.uint64)], axis=1), axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    torn = np.isin(pictures.digests, found[counts > 1]) & ~blank
    oblong = pictures.sides.max(axis=1) >= OBLONG * pictures.sides.min(axis=1)
    for rows, fault in (
        (blank, "show nothing: they are black or of one shade"),
        (torn, "are there under two labels or more"),
        (oblong & (oblong.mean() >= _MANY), "are far from square and are squeezed: crop the faces"),
    ):
        if rows.any():
            example = files[int(rows.argmax())].path
            counted = f"{np.count_nonzero(rows)} of {len(files)} pictures in {folder}"
            print(f"warning: {counted} {fault}, such as {example}", file=sys.stderr)
