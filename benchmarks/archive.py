"""`predict --engine ray`: pictures per second by workers, and the workers' memory over time.

    python benchmarks/archive.py --pictures 10000 --workers 1 2 --output archive.json

writes as many pictures of random blobs, classifies each as one face (--faces whole), into a fresh
folder for each number of workers, and prints one table. The time includes the start of the workers
but not Ray's own; the memory is that of the largest worker, early and late.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from ferplus_keras.inference.archive import predict_archive


def worker_memory() -> float:
    """Return the resident MiB of the largest worker process."""
    found = [0.0]
    for folder in Path("/proc").iterdir():
        try:
            if b"ray::MapWorker" in (folder / "cmdline").read_bytes():
                pages = int((folder / "statm").read_text().split()[1])
                found.append(pages * 4096 / 2**20)
        except OSError:  # ended, or none of ours
            continue
    return max(found)


def measure(pictures: Path, count: int, workers: int) -> dict[str, float]:
    """Predict all pictures by so many workers; return speed and memory."""
    memory, ended = [], threading.Event()

    def watch():
        while not ended.wait(0.5):
            memory.append(worker_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        predict_archive([str(pictures)], Path(out), {"detector": "whole"}, workers)
        seconds = time.perf_counter() - started
    ended.set()
    thread.join()
    used = [size for size in memory if size] or [0.0]
    return {
        "workers": workers,
        "pictures_per_second": count / seconds,
        "mib_at_a_third": used[len(used) // 3],
        "mib_at_the_end": max(used[len(used) // 3 :]),
    }


def main() -> None:
    """Print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    import ray

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.pictures):
            face = cv2.resize(rng.integers(0, 256, (6, 6)).astype(np.uint8), (96, 96))
            cv2.imwrite(f"{folder}/{number:06d}.jpg", face)
        ray.init(num_cpus=max(arguments.workers), log_to_driver=False, logging_level="ERROR")
        rows = [measure(Path(folder), arguments.pictures, each) for each in arguments.workers]
    print(" ".join(f"{name:>20}" for name in rows[0]))
    for row in rows:
        print(" ".join(f"{value:20.0f}" for value in row.values()))
    if arguments.output:
        arguments.output.write_text(json.dumps({"pictures": arguments.pictures, "rows": rows}))


if __name__ == "__main__":
    main()
