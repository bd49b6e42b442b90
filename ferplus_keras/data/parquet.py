"""Pictures in Parquet files, as Hugging Face keeps them: a column of bytes, one of labels."""

import json
import threading
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ferplus_keras.data.cache import stamp
from ferplus_keras.data.layouts import LAYOUTS, FaceFile, Tree, split_of
from ferplus_keras.errors import InputError, one_line
from ferplus_keras.extras import require

LABELS = ("label", "labels", "emotion", "expression", "class")
"""Names of the column of labels, the preferred one first."""

_READING = threading.Lock()


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
    from pyarrow.types import is_nested

    opened = _open(folder / shard)
    schema = opened.schema_arrow
    features = json.loads((schema.metadata or {}).get(b"huggingface", "{}"))
    features = features.get("info", {}).get("features", {})
    label = next((name for name in LABELS if name in schema.names), None)
    picture = _picture_column(schema)
    if label is None or picture is None:
        raise InputError(
            f"{folder / shard}: expected a column of picture bytes and one of {', '.join(LABELS)}, "
            f"found {', '.join(schema.names)}"
        )
    names = features.get(label, {}).get("names")
    plain = [f.name for f in schema if f.name != picture and not is_nested(f.type)]
    split = split_of(*PurePosixPath(shard).parts)
    files = []
    for group in range(opened.num_row_groups):
        for row, values in enumerate(opened.read_row_group(group, plain).to_pylist()):
            code = values[label]
            known = names and isinstance(code, int) and 0 <= code < len(names)
            path = f"{shard}#{len(files):07}"
            fields = {name: str(value) for name, value in values.items()}
            found = names[code] if known else str(code)
            files.append(FaceFile(path, found, split, row=(group, row), fields=fields))
    return files


def read_row(path: Path, row: tuple[int, int]) -> bytes:
    """Return the picture in a row of a Parquet file, given its row group and its place in it.

    Raises InputError where it holds no bytes.
    """
    with _READING:  # so that threads that read neighbours read their group once
        picture = _pictures(path, row[0], *stamp(path))[row[1]]
    picture = picture["bytes"] if isinstance(picture, dict) else picture
    if not isinstance(picture, bytes):
        raise InputError("expected the bytes of a picture, found none in this row")
    return picture


@lru_cache(maxsize=2)
def _pictures(path: Path, group: int, *_stamp: int) -> list[Any]:
    opened = _open(path)
    column = _picture_column(opened.schema_arrow)
    return opened.read_row_group(group, [column])[column].to_pylist()


def _picture_column(schema: Any) -> str | None:
    from pyarrow.types import is_binary, is_large_binary, is_struct

    for field in schema:
        inner = (
            field.type.field("bytes").type
            if is_struct(field.type) and field.type.get_field_index("bytes") >= 0
            else field.type
        )
        if is_binary(inner) or is_large_binary(inner):
            return field.name
    return None


def _open(path: Path) -> Any:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path)
    except (OSError, ArrowException) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}") from None
