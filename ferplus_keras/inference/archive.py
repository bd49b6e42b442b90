"""`predict --engine ray`: archives of pictures on many processes and machines, into Parquet files.

Ray Data hands chunks of pictures to workers. Each chunk becomes one Parquet file, written whole, so
that a restart continues with the pictures that no file names yet.
"""

import hashlib
import json
import logging
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ferplus_keras.data.parquet import picture_at, pictures_of
from ferplus_keras.data.pictures import SUFFIXES, read_picture
from ferplus_keras.errors import InputError, UsageError, as_input_error, one_line
from ferplus_keras.extras import require
from ferplus_keras.files import replacing, require_writable, write_json
from ferplus_keras.hub import is_address
from ferplus_keras.inference.predictor import Predictor
from ferplus_keras.inference.sources import find_sources, is_video
from ferplus_keras.inputs import read_mapping
from ferplus_keras.lazy import parquet, pyarrow
from ferplus_keras.progress import progress_bar
from ferplus_keras.run import Run, locate

CHUNK = 64
"""Pictures per Parquet file, and what an interruption costs a worker at most."""

SETTINGS = "_settings.json"  # readers of a folder of Parquet files skip names that begin with _
BOX = ("x", "y", "width", "height")


def predict_archive(
    words: Sequence[str], folder: Path, settings: Mapping[str, Any], workers: int | None = None
) -> None:
    """Write one Parquet row per face of every picture.

    Columns: file, face (number in its picture, from 0), x, y, width, height, label, confidence, the
    probability of each class, and error. A picture without a face is a row without a face, and one
    that cannot be read a row with its reason.

    Args:
        words: files, folders, patterns, Parquet files with a column of encoded pictures; local or
            any address that fsspec knows, such as s3://bucket/folder. Workers must see them too.
        folder: where the Parquet files go; all workers must see it.
        settings: as `Predictor` takes them.
        workers: processes; None is one per processor core of the cluster.

    Raises:
        InputError: a word names nothing or cannot be read, the folder holds another model's
            results, or Ray or what reads an address is not installed.
    """
    require(("ray", "pyarrow"), "--engine ray", "ray")
    require_writable(folder, "--output_dir")
    # Refuses what cannot be used before any worker starts.
    model = Predictor(**settings).classifier.describe()["checkpoint_sha256"]
    paths = {name: settings.get(name) for name in ("checkpoint_path", "faces_weights")}
    # Workers may run in another folder.
    local = {k: str(locate(v).absolute()) for k, v in paths.items() if v and not is_address(v)}
    with Run(folder).writing():
        _keep_settings(folder, {**settings, "model": model})
        pictures = dict.fromkeys(name for word in words for name in _find(word))
        done = _written(folder)
        todo = [name for name in pictures if name not in done]
        there = len(pictures) - len(todo)
        print(f"{len(todo)} pictures to do, {there} are in {folder}", flush=True)
        if todo:
            _run(todo, folder.absolute(), {**settings, **local}, workers)
        failed = sum(_written(folder).values())
    said = f"; {failed} pictures could not be read (error)" if failed else ""
    print(f"done: {folder}{said}")


def _run(todo: list[str], folder: Path, settings: Mapping[str, Any], workers: int | None) -> None:
    import ray

    if not ray.is_initialized():
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(log_to_driver=False, logging_level="ERROR")
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process at once
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A chunk is a row, so that no worker needs another's.
    chunks = [{"names": todo[i : i + CHUNK]} for i in range(0, len(todo), CHUNK)]
    workers = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    work = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map(
        Worker,
        fn_constructor_args=(str(folder), dict(settings)),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(chunks))),
    )
    try:
        with progress_bar(total=len(todo), desc="pictures", unit=" pictures") as bar:
            for row in work.iter_rows():
                bar.update(row["pictures"])
    except ray.exceptions.RayError as error:
        if said := re.search("InputError: (.+)", str(error)):
            raise InputError(said[1]) from None
        raise


class Worker:
    """Finds and classifies the faces of one chunk after the other, in a process of its own."""

    def __init__(self, folder: str, settings: dict[str, Any]) -> None:
        self.folder, self.predictor = Path(folder), Predictor(**settings)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, int]:
        """Write the Parquet file of a chunk, {"names": […]}, and return {"pictures": how many}."""
        names, found, errors = [*row["names"]], {}, {}
        for name in names:
            try:
                found[name] = self.predictor.find(read_picture(_open(name)))
            except Exception as error:  # whatever a file system raises
                errors[name] = one_line(error) or type(error).__name__
        answers = dict(zip(found, self.predictor.classify(found.values()), strict=True))
        rows = []
        for name in names:
            for number, face in enumerate(answers.get(name, ())):
                box = dict(zip(BOX, map(float, face.box), strict=True))
                said = {"label": face.label, "confidence": face.confidence, **face.probabilities}
                rows.append({"file": name, "face": number, **box, **said})
            if not answers.get(name):
                rows.append({"file": name, "error": errors.get(name)})
        columns = {
            "file": pyarrow.string(),
            "face": pyarrow.int32(),
            **dict.fromkeys(BOX, pyarrow.float64()),
            "label": pyarrow.string(),
            **dict.fromkeys(("confidence", *self.predictor.class_names), pyarrow.float64()),
            "error": pyarrow.string(),
        }
        table = pyarrow.Table.from_pylist(rows, pyarrow.schema(columns.items()))
        part = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:16]
        with replacing(self.folder / f"part-{part}.parquet") as temporary:
            parquet.write_table(table, temporary)
        return {"pictures": len(names)}


def _keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(dict(settings), default=str))
    path = folder / SETTINGS
    before = read_mapping(path) if path.is_file() else now
    for name in now:
        if before.get(name) != now[name]:
            raise InputError(
                f"{folder} holds results with another {name} ({before.get(name)}, now {now[name]});"
                " choose another --output_dir"
            )
    write_json(now, path)


def _written(folder: Path) -> dict[str, bool]:
    """Return the pictures that the folder's files name, and whether each could not be read."""
    names: dict[str, bool] = {}
    for path in folder.glob("part-*.parquet"):
        table = parquet.read_table(path, columns=["file", "error"])
        errors = (error is not None for error in table["error"].to_pylist())
        names |= zip(table["file"].to_pylist(), errors, strict=True)
    return names


def _find(word: str) -> Iterator[str]:
    """Yield the names of the pictures that a word of the command line means.

    A picture in a Parquet file is called file.parquet#row.
    """
    if "://" not in word and not word.lower().endswith(".parquet"):
        for source in find_sources([word]):
            if is_video(source):
                raise UsageError(f"--engine ray: expected pictures, got the video {source}")
            name = str(source.absolute())
            if os.fsencode(name) != name.encode("utf-8", "replace"):
                raise InputError(f"expected names in UTF-8 for Parquet, got {name}: rename it")
            yield name
        return
    address = word if "://" in word else os.path.abspath(word)
    with _file_system(address) as (system, path):
        found = system.glob(path) if any(sign in path for sign in "*?[") else system.find(path)
    found = [name for name in found if name.lower().endswith((*SUFFIXES, ".parquet"))]
    if not found:
        raise InputError(f"no pictures and no Parquet files at {word}")
    inside = "".join(word.partition("://")[2].partition("::")[1:])  # as zip://*.jpg::/a/b.zip
    for name in sorted(found):
        whole = system.unstrip_protocol(name) + inside if "://" in word else name
        if name.lower().endswith(".parquet"):
            yield from (f"{whole}#{row}" for row in range(_parquet(whole).metadata.num_rows))
        else:
            yield whole


@contextmanager
def _file_system(address: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system of an address and the path in it; its errors become InputErrors."""
    from fsspec.core import url_to_fs

    with as_input_error(f"cannot read {address}", Exception):  # each has its own kinds
        yield url_to_fs(address)


@lru_cache(8)
def _parquet(address: str) -> Any:
    with _file_system(address) as (system, path):
        return parquet.ParquetFile(system.open(path))


def _open(name: str) -> Any:
    """Return a picture as `read_picture` takes it."""
    address, _, row = name.rpartition("#")
    if address.partition("::")[0].lower().endswith(".parquet"):
        return _row(address, int(row))
    if "://" not in name:
        return Path(name)
    with _file_system(name) as (system, path):
        return system.cat_file(path)


def _row(address: str, row: int) -> bytes:
    """Return the encoded picture in a row of a Parquet file: of its first column that holds any."""
    file = _parquet(address)
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if row < count:
            return picture_at(_group(address, group), row)
        row -= count
    raise InputError("there is no such row")


@lru_cache(2)
def _group(address: str, group: int) -> Any:
    return pictures_of(_parquet(address), group)
