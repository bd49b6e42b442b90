"""Store a checkpoint's weights as float16, half of its size, for the package to bring.

    python tools/store_half.py checkpoints/fast_fer/model_max_acc.keras \
        ferplus_keras/models/trained/fast_fer.keras

Keras makes them float32 again when it loads the file. Prints the SHA-256 that the table of
networks has to name.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferplus_keras.files import replacing, sha256

STAMP = (2026, 1, 1, 0, 0, 0)
"""Time of every member, so that the same weights give the same file."""


def store_half(source: Path, target: Path) -> None:
    """Write the .keras file `source` to `target` with its float32 arrays as float16."""
    with (
        replacing(target) as temporary,
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(temporary, "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".h5"):
                data = _halved(data)
            new.writestr(zipfile.ZipInfo(name, STAMP), data, zipfile.ZIP_DEFLATED)


def _halved(data: bytes) -> bytes:
    written = io.BytesIO()
    with h5py.File(io.BytesIO(data)) as old, h5py.File(written, "w") as new:

        def copy(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            else:
                values = item[()]
                kind = np.float16 if values.dtype == np.float32 else values.dtype
                made = new.create_dataset(name, data=values.astype(kind))
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    return written.getvalue()


def main(argv: Sequence[str] | None = None) -> None:
    """Store the checkpoint that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args(argv)
    store_half(arguments.source, arguments.target)
    print(
        f"{arguments.target}: {arguments.target.stat().st_size:,} bytes, {sha256(arguments.target)}"
    )


if __name__ == "__main__":
    main()
