"""Read fer2013.csv as Kaggle ships it: parsed once, memory-mapped from then on."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data import pixel_cache
from ferplus_keras.data.fer_files import find_fer2013, open_csv
from ferplus_keras.data.fer_rows import USAGES, FaceRows, parse_rows
from ferplus_keras.errors import InputError
from ferplus_keras.files import sha256


class Fer2013(NamedTuple):
    """All rows of fer2013.csv, in file order.

    Attributes:
        images: (n, 48, 48) uint8 grey levels, 0-255, read-only, memory-mapped from the cache
            where that could be written.
        emotions: (n,) int8, position in `emotions.FER2013_CLASSES`, 0-6.
        usage: (n,) str: Training, PublicTest or PrivateTest.
        source: the file that was read.
        sha256: hash of that file's bytes, as 64 hexadecimal digits.
    """

    images: np.ndarray
    emotions: np.ndarray
    usage: np.ndarray
    source: Path
    sha256: str


def read_fer2013(data_dir: str | Path, cache_dir: str | Path | None = None) -> Fer2013:
    """Return the rows of fer2013.csv.

    The first call parses the text (one to two seconds for Kaggle's 301 MB) and stores the pixels in
    the cache folder; later calls map them into memory, for as long as the file keeps its size and
    times. A touched or copied-over file with the same contents is hashed, not parsed. When the
    cache cannot be written, one line on standard error says so and the pixels stay in memory.

    Args:
        data_dir: the folder of fer2013.csv, or the file itself; `fer_files.FILE_NAMES` lists the
            forms that are known.
        cache_dir: cache folder; None takes `$FERPLUS_CACHE_DIR`, else `~/.cache/ferplus_keras`.

    Raises:
        Fer2013Missing: there is no such file.
        InputError: it cannot be read, is damaged, or changes while it is
            being read; or a row is not as it should be (`fer_rows.parse_rows` lists how).
    """
    source = find_fer2013(data_dir).resolve()
    entry = _read(source, pixel_cache.cache_folder(cache_dir))
    usage = np.array(USAGES)[entry.rows.usage]
    return Fer2013(entry.rows.images, entry.rows.emotions, usage, source, entry.sha256)


def _read(source: Path, folder: Path) -> pixel_cache.Entry:
    try:
        stamp = pixel_cache.stamp(source)
        cached = pixel_cache.load(folder, source)
        if cached and cached.stamp == stamp:
            return cached
        with ThreadPoolExecutor(1) as pool:  # without an entry to compare with, hash beside parsing
            hashed = pool.submit(sha256, source)
            same_contents = cached is not None and cached.sha256 == hashed.result()
            rows = cached.rows if same_contents else _parse(source)
            entry = pixel_cache.Entry(rows, stamp, hashed.result())
        if pixel_cache.stamp(source) != stamp:
            raise InputError(f"{source} changed while it was read; try again when it is complete")
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    try:
        if same_contents:
            pixel_cache.store_record(folder, source, entry)
            return entry
        pixel_cache.store(folder, source, entry)
    except OSError as error:
        print(
            f"warning: cannot keep the pixels in the cache folder '{folder}' "
            f"({error.strerror or error}): {source.name} is read anew at every start",
            file=sys.stderr,
        )
        return entry
    return pixel_cache.load(folder, source) or entry


def _parse(source: Path) -> FaceRows:
    """Parse the file with a progress bar by bytes, shown on a terminal only."""
    from tqdm import tqdm

    with (
        open_csv(source) as (stream, file),
        tqdm(
            total=source.stat().st_size,
            desc=f"reading {source.name}",
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,
        ) as bar,
    ):
        rows = parse_rows(stream, str(source), lambda: bar.update(file.tell() - bar.n))
    rows.images.flags.writeable = False
    return rows
