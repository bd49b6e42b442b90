"""Pictures in Parquet files, as Hugging Face keeps them: a column of bytes, one of labels."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ferplus_keras.data.cache import stamp
from ferplus_keras.data.layouts import LAYOUTS, FaceFile, Tree, split_of
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.extras import require
from ferplus_keras.inputs import plain, read_json
from ferplus_keras.lazy import parquet, pyarrow

LABELS = ("label", "labels", "emotion", "expression", "class")
"""Names of the column of labels, the preferred one first."""

_PICTURES = re.compile("(struct<(.*, )?bytes: )?(large_)?binary")
_LOADING = threading.Lock()


@LAYOUTS.register("Parquet")
def _parquet(tree: Tree) -> list[FaceFile] | None:
    shards = [path for path in tree.others if path.endswith(".parquet")]
    if not shards:
        return None
    require(("pyarrow",), "reading Parquet files")
    files = [file for shard in shards for file in _faces(tree.folder, shard)]
    unlabelled = [file.path for file in files if file.label in ("None", "-1")]
    tree.skip(unlabelled, "without a label")
    return [file for file in files if file.label not in ("None", "-1")]


def _faces(folder: Path, shard: str) -> list[FaceFile]:
    split = split_of(*PurePosixPath(shard).parts)
    files: list[FaceFile] = []
    with _reading(folder / shard) as opened:
        schema = opened.schema_arrow
        picture = _picture_column(schema)
        single = [field.name for field in schema if not field.type.num_fields]
        label = next((name for name in LABELS if name in single), None)
        if label is None or picture is None:
            raise ValueError(
                f"expected a column of picture bytes and one of {', '.join(LABELS)}, found "
                f"{', '.join(schema.names)}"
            )
        about = read_json((schema.metadata or {}).get(b"huggingface", "{}"))
        names = about.get("info", {}).get("features", {}).get(label, {}).get("names") or ()
        columns = [name for name in single if name != picture]
        for group in range(opened.num_row_groups):
            for row, values in enumerate(opened.read_row_group(group, columns).to_pylist()):
                code = values[label]
                known = isinstance(code, int) and 0 <= code < len(names)
                path = f"{shard}#{len(files):07}"
                fields = {name: "" if cell is None else str(cell) for name, cell in values.items()}
                found = str(names[code] if known else code).strip()
                given = split or split_of(named := fields.get("split", ""))
                if not given and named:
                    raise ValueError(f"expected a split of {', '.join(SPLITS)}, found {named!r}")
                files.append(FaceFile(path, found, given, row=(group, row), fields=fields))
    return files


def read_row(path: Path, row: tuple[int, int]) -> bytes:
    """Return the picture in a row of a Parquet file, given its row group and its place in it.

    Raises InputError where there is none, or the file cannot be read.
    """
    with _LOADING:  # so that threads that read neighbours read their group once
        pictures = _row_group(path, row[0], *stamp(path))
    return picture_at(pictures, row[1])


@lru_cache(maxsize=2)
def _row_group(path: Path, group: int, *_stamp: int) -> Any:
    with _reading(path) as opened:
        return pictures_of(opened, group)


def pictures_of(opened: Any, group: int) -> Any:
    """Return the column of pictures in a row group of an open file; InputError if it has none."""
    if (column := _picture_column(opened.schema_arrow)) is None:
        raise InputError("the file has no column of encoded pictures (bytes)")
    return opened.read_row_group(group, [column])[column]


def picture_at(pictures: Any, row: int) -> bytes:
    """Return the encoded picture in a row of what `pictures_of` returned; InputError for none."""
    value = pictures[row].as_py()
    value = value["bytes"] if isinstance(value, dict) else value
    if not isinstance(value, bytes):
        raise InputError("expected the bytes of a picture, found none in this row")
    return value


def _picture_column(schema: Any) -> str | None:
    """Return the name of the column of pictures: of bytes, or of a struct with bytes."""
    return next((field.name for field in schema if _PICTURES.match(str(field.type))), None)


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    damage = (OSError, pyarrow.ArrowException, ValueError, AttributeError, TypeError, KeyError)
    fault = as_input_error(f"cannot read {path}", *damage)
    with fault, parquet.ParquetFile(plain(path)) as opened:
        yield opened
