"""Compare ways to read fer2013.csv: seconds, how many times faster, and peak memory.

Every way runs in a process of its own, over the same rows, and must come to the same pixels:

    python benchmarks/read_csv.py --data_dir data --rows 5000
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np


def split_text(path: Path, cache_dir: Path) -> np.ndarray:
    """Split the text of every row and make integers of it, as the older project did."""
    import pandas as pd

    pixels = pd.read_csv(path)["pixels"]
    faces = [[int(number) for number in row.split(" ")] for row in pixels]
    return np.asarray(faces, np.uint8)


def numpy_text(path: Path, cache_dir: Path) -> np.ndarray:
    """Let NumPy read the numbers of every row."""
    import pandas as pd

    pixels = pd.read_csv(path)["pixels"]
    return np.stack([np.fromstring(row, np.uint8, sep=" ") for row in pixels])


def ours(path: Path, cache_dir: Path) -> np.ndarray:
    """Read with ferplus_keras, from the cache where `cache_dir` holds the pixels already."""
    from ferplus_keras.data.fer2013 import read_fer2013

    return read_fer2013(path, cache_dir).images


WAYS = {
    "pandas, text split per row": split_text,
    "pandas, np.fromstring per row": numpy_text,
    "ferplus_keras, first start": ours,
    "ferplus_keras, later starts": ours,
}


def main() -> None:
    """Print the table; with --way, run that way alone and print what it measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default=os.environ.get("FERPLUS_DATA_DIR", "data"))
    parser.add_argument("--rows", type=int, help="only the first rows of the file")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--cache_dir", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = Path(arguments.data_dir) / "fer2013.csv"
    if arguments.way:
        measure(WAYS[arguments.way], path, arguments.cache_dir)
        return
    if not path.is_file():
        sys.exit(f"error: no {path}; name its folder with --data_dir")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rows:
            path = first_rows(path, arguments.rows, Path(folder))
        compare(path, Path(folder) / "cache")


def compare(path: Path, cache_dir: Path) -> None:
    """Run every way on `path` and print a line for each."""
    print(f"{'':32}  seconds  times faster  peak MB")
    slowest, pixels = None, None
    for way in WAYS:
        command = [sys.executable, __file__, f"--data_dir={path.parent}", f"--way={way}"]
        command.append(f"--cache_dir={cache_dir}")
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, peak, digest = found.split()
        slowest, pixels = slowest or float(seconds), pixels or digest
        if digest != pixels:
            sys.exit(f"error: '{way}' came to other pixels than '{next(iter(WAYS))}'")
        ratio = slowest / float(seconds)
        print(f"{way:32}  {float(seconds):7.3f}  {ratio:12.1f}  {float(peak):7.0f}", flush=True)


def measure(read, path: Path, cache_dir: Path) -> None:
    """Print seconds, peak memory of the process in MB, and a hash of the pixels."""
    import resource

    begin = time.perf_counter()
    pixels = read(path, cache_dir)
    seconds = time.perf_counter() - begin
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    print(seconds, peak, hashlib.sha256(pixels).hexdigest())


def first_rows(path: Path, rows: int, folder: Path) -> Path:
    """Return a copy of the CSV file with its first rows only."""
    shorter = folder / path.name
    with path.open("rb") as source, shorter.open("wb") as target:
        target.writelines(islice(source, 1 + rows))
    return shorter


if __name__ == "__main__":
    main()
