"""Small random CSV files in the real formats, and what was written into them."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.emotions import SPLITS, VOTE_COLUMNS

USAGES = tuple(SPLITS.values())


class Rows(NamedTuple):
    images: np.ndarray
    emotions: np.ndarray
    usage: np.ndarray
    votes: np.ndarray

    @property
    def splits(self) -> list[str]:
        names = {usage: name for name, usage in SPLITS.items()}
        return [names[usage] for usage in self.usage]


def random_rows(rows: int = 30, seed: int = 0) -> Rows:
    """Two thirds training rows, then validation, then test; clear votes for one emotion each."""
    rng = np.random.default_rng(seed)
    usage = np.repeat(USAGES, [rows - 2 * (rows // 6), rows // 6, rows // 6])
    votes = np.zeros((rows, len(VOTE_COLUMNS)), int)
    votes[np.arange(rows), rng.integers(0, 8, rows)] = 10
    images = rng.integers(0, 256, (rows, 48, 48), np.uint8)
    return Rows(images, rng.integers(0, 7, rows).astype(np.int8), usage, votes)


def fer2013_lines(rows: Rows) -> list[bytes]:
    return [b"emotion,pixels,Usage"] + [
        f"{emotion},{' '.join(map(str, image.ravel()))},{usage}".encode()
        for image, emotion, usage in zip(rows.images, rows.emotions, rows.usage, strict=True)
    ]


def icml_lines(rows: Rows) -> list[bytes]:
    """The other layout on Kaggle: columns in another order, blanks round names and usages."""
    return [b"emotion, Usage, pixels"] + [
        f"{emotion}, {usage} ,{' '.join(map(str, image.ravel()))}".encode()
        for image, emotion, usage in zip(rows.images, rows.emotions, rows.usage, strict=True)
    ]


def votes_lines(rows: Rows) -> list[bytes]:
    return [",".join(["Usage", "Image name", *VOTE_COLUMNS]).encode()] + [
        ",".join([usage, f"fer{number:07}.png", *map(str, votes)]).encode()
        for number, (usage, votes) in enumerate(zip(rows.usage, rows.votes, strict=True))
    ]


def text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def write_both(folder: Path, rows: Rows) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "fer2013.csv").write_bytes(text(fer2013_lines(rows)))
    (folder / "fer2013new.csv").write_bytes(text(votes_lines(rows)))
    return folder


def zipped(member: str, data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README", "another member")
        archive.writestr(member, data)
    return packed.getvalue()


def tarred(member: str, data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in {"fer2013/README": b"another", member: data, "after": b"x"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def packed_as(name: str, rows: Rows) -> bytes:
    """Contents of the file called `name`, as Kaggle packs it."""
    data = text(icml_lines(rows) if name.startswith("icml") else fer2013_lines(rows))
    member = "icml_face_data.csv" if name.startswith("icml") else "fer2013.csv"
    if name.endswith(".tar.gz"):
        return tarred(f"fer2013/{member}", data)
    if name.endswith(".gz"):
        return gzip.compress(data)
    return zipped(member, data) if name.endswith(".zip") else data
