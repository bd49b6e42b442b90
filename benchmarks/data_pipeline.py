"""Compare two ways of preparing training batches: the older project's method and Batches.

    python benchmarks/data_pipeline.py --data_dir D [--batches 20]

The older method is rebuilt here from its description: the table keeps each face as text, and every
read splits the text, makes three channels, crops and enlarges to 224x224 and subtracts the mean in
float64, in a pool of eight threads. Batches returns 48x48 uint8 faces, cropped and flipped the
same way, and leaves the enlarging to the model. Both run in this process, one after the other, in
turns; reading the files beforehand is not counted.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ferplus_keras.data.dataset import Split, load_split
from ferplus_keras.errors import InputError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH_SIZE = 64
IMAGE_SIZE = 224
OLDER_THREADS = 8
MEAN_BGR = (91.4953, 103.8827, 131.0912)
"""VGGFace2's mean, in grey levels."""

ReadBatch = Callable[[int], tuple[np.ndarray, ...]]


def older_method(data_dir: Path, pool: ThreadPoolExecutor) -> ReadBatch:
    """Return a function that prepares batch i of the training rows as the older project did."""
    import albumentations
    import pandas

    table = pandas.read_csv(data_dir / "fer2013.csv")
    texts = table.loc[table["Usage"] == "Training", "pixels"].reset_index(drop=True)
    change = albumentations.Compose(
        [
            albumentations.RandomResizedCrop(
                size=(IMAGE_SIZE, IMAGE_SIZE), scale=(0.8, 1.0), ratio=(4 / 5, 5 / 4)
            ),
            albumentations.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1),
            albumentations.HorizontalFlip(p=0.5),
        ]
    )

    def face(row: int) -> np.ndarray:
        pixels = [int(number) for number in texts[row].split(" ")]
        grey = np.array(pixels, dtype=np.uint8).reshape(48, 48, 1)
        enlarged = change(image=np.repeat(grey, 3, axis=2))["image"]
        return enlarged.astype(np.float64) - MEAN_BGR

    def batch(index: int) -> tuple[np.ndarray, ...]:
        rows = range(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        return (np.array(list(pool.map(face, rows))),)

    return batch


def batches_method(split: Split, workers: int, augmentation: str = "wtomin") -> ReadBatch:
    """Return a function that prepares batch i of the training rows by `Batches`."""
    from ferplus_keras.data.batches import Batches

    batches = Batches(
        split, BATCH_SIZE, augmentation=augmentation, sampling="shuffled", workers=workers
    )
    return batches.__getitem__


def measure(read_batch: ReadBatch, indices: Sequence[int]) -> tuple[float, int]:
    """Return images per second and the bytes of one batch of images."""
    begin = time.perf_counter()
    for index in indices:
        images = read_batch(index)[0]
    seconds = time.perf_counter() - begin
    return len(indices) * BATCH_SIZE / seconds, images.nbytes


def compare(data_dir: Path, batches: int, turns: int = 3) -> None:
    """Measure each method `turns` times, alternating, and print a table of the medians."""
    split = load_split(data_dir, "train")
    with ThreadPoolExecutor(OLDER_THREADS) as pool:
        older = f"older method, {OLDER_THREADS} threads"
        methods = {
            older: older_method(data_dir, pool),
            "Batches, 1 thread": batches_method(split, 1),
            "Batches, 2 threads": batches_method(split, 2),
            "Batches, strong, 1 thread": batches_method(split, 1, "strong"),
            "Batches, strong, 2 threads": batches_method(split, 2, "strong"),
        }
        rates: dict[str, list[float]] = {name: [] for name in methods}
        sizes = {}
        for read_batch in methods.values():
            read_batch(0)  # imports and first allocations
        for turn in range(turns):
            for name, read_batch in methods.items():
                # Batches read ahead: indices not read before, so that nothing is ready already.
                indices = range(10 + turn * (batches + 10), 10 + turn * (batches + 10) + batches)
                rate, sizes[name] = measure(read_batch, indices)
                rates[name].append(rate)
    reference = statistics.median(rates[older])
    print(f"{'method':<26}{'images/s':>10}{'MB a batch of 64':>20}{'times as fast':>15}")
    for name, measured in rates.items():
        rate = statistics.median(measured)
        megabytes = sizes[name] / 1e6
        print(f"{name:<26}{rate:>10,.0f}{megabytes:>20.2f}{rate / reference:>15.1f}")


def main() -> int:
    """Run the comparison; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with both CSV files")
    parser.add_argument("--batches", type=int, default=20, help="batches of 64 a turn (1-100)")
    arguments = parser.parse_args()
    if not 1 <= arguments.batches <= 100:
        parser.error(f"--batches must be 1 to 100; got {arguments.batches}")
    try:
        compare(arguments.data_dir, arguments.batches)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
