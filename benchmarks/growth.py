"""Measure the input of training at 1, 10 and 100 times FER2013's size: faces per second and memory.

    python benchmarks/growth.py [--times 1 10 100] [--batches 2000] [--json FILE] [--png FILE]

Each size is a memory-mapped file of grey 48x48 faces, as the cache keeps them: 28,709 rows and
multiples, 6.6 GB at 100, in a temporary folder. `Batches` reads batches of 64 from it in shuffled
order, augmented as training does by default, in a process of its own for each size. Its peak of
resident memory holds TensorFlow, the faces themselves up to 256 MB (larger ones stay on disk) and
about 60 bytes per row: target, order and row numbers.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path

import numpy as np

ROWS = 28_709
BLOCK = 4096
BATCH_SIZE = 64


def write_faces(path: Path, rows: int) -> None:
    """Write random faces; every block is the same, since only reading is measured."""
    block = np.random.default_rng(0).integers(0, 256, (BLOCK, 48, 48), np.uint8)
    about = {"descr": "|u1", "fortran_order": False, "shape": (rows, 48, 48)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for start in range(0, rows, BLOCK):
            file.write(block[: rows - start])


def epochs(batches):
    """Yield batches without end, each epoch's in its own order."""
    for epoch in count():
        batches.set_epoch(epoch)
        yield from map(batches.__getitem__, range(len(batches)))


def measure(path: Path, batches: int, workers: int) -> dict:
    """Read batches of a file of faces in this process; return speed and peak memory."""
    from ferplus_keras.data.batches import Batches
    from ferplus_keras.data.cache import take
    from ferplus_keras.data.targets import Split

    faces = np.load(path, mmap_mode="r")
    order = np.arange(len(faces))
    targets = np.zeros((len(faces), 8), np.float32)
    targets[order, order % 8] = 1
    split = Split(take(faces, order), targets, order, tuple("abcdefgh"))
    how = {"augmentation": "wtomin", "sampling": "shuffled", "workers": workers}
    data = epochs(Batches(split, BATCH_SIZE, **how))
    next(data)  # starts the threads
    clock, processor = time.perf_counter(), time.process_time()
    images = sum(len(batch[0]) for batch in islice(data, batches))
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    # The peak that getrusage knows is inherited from the process that wrote the file.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = int(re.search(r"VmHWM:\s*(\d+)", status)[1])
    return {
        "rows": len(faces),
        "file_megabytes": path.stat().st_size / 1e6,
        "images": images,
        "images_per_second": images / clock,
        "images_per_processor_second": images / processor,
        "peak_megabytes": kilobytes * 1024 / 1e6,
    }


def draw(found: list[dict], path: Path) -> None:
    """Draw speed and memory against rows."""
    from matplotlib.figure import Figure

    rows = [one["rows"] for one in found]
    figure = Figure(figsize=(8, 3), layout="constrained")
    speed, memory = figure.subplots(1, 2)
    speed.plot(rows, [one["images_per_processor_second"] for one in found], "o-")
    speed.set(title="faces per processor-second", xlabel="rows", xscale="log")
    memory.plot(rows, [one["file_megabytes"] for one in found], "o--", label="file of faces")
    memory.plot(rows, [one["peak_megabytes"] for one in found], "o-", label="peak of the process")
    memory.set(title="megabytes", xlabel="rows", xscale="log", yscale="log")
    memory.legend()
    for axes in (speed, memory):
        axes.set_ylim(bottom=0 if axes is speed else 10)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main() -> int:
    """Measure every size, print the table, write JSON and plot; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--batches", type=int, default=2000, help="batches read of each size")
    parser.add_argument("--workers", type=int, default=1, help="threads, as train.py's")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--png", type=Path, help="where the plot goes")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        print(json.dumps(measure(arguments.file, arguments.batches, arguments.workers)))
        return 0
    print(f"{'rows':>10}{'file MB':>9}{'faces/s':>9}{'faces/processor-s':>19}{'peak MB':>9}")
    done = []
    for times in arguments.times:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "faces.npy")
            write_faces(path, times * ROWS)
            how = ["--batches", str(arguments.batches), "--workers", str(arguments.workers)]
            child = subprocess.run(
                [sys.executable, __file__, "--file", str(path), *how],
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
            )
        if child.returncode:
            print(f"error: {child.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return 1
        found = json.loads(child.stdout.splitlines()[-1])
        done.append(found)
        print(
            f"{found['rows']:>10,}{found['file_megabytes']:>9,.0f}"
            f"{found['images_per_second']:>9,.0f}{found['images_per_processor_second']:>19,.0f}"
            f"{found['peak_megabytes']:>9,.0f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
    if arguments.png:
        draw(done, arguments.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
