"""Kept results as files: what they hold, and one line for what an edit or damage makes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.inputs import plain, read_json

SCORE = (float, None)
BRIEF = {"n": int, "accuracy": float, "accuracy_interval": [float, float]}
SPLIT = {
    **BRIEF,
    **{"loss": float, "macro_f1": SCORE, "leak_free": BRIEF, "label_rules": {str: BRIEF}},
}
NETWORK = {
    **dict.fromkeys(("name", "recipe", "command", "model", "backend", "checkpoint"), str),
    **dict.fromkeys(("parameters", "train_rows", "seed", "epoch", "epochs"), int),
    **dict.fromkeys(("seconds", "images_per_second"), float),
    **{"checkpoint_sha256": str, "changed": dict, "commit": (str, None)},
    "versions": {"keras": str},
    "hardware": {"processor": str, "cores": int, "gpus": ([str], [])},
    "history": {"val_accuracy": [float]},
}
RESULT = {
    "name": str,
    "evaluation": {
        **dict.fromkeys(("command", "dataset_name", "label_rule", "tta", "average"), str),
        "splits": {"validation": SPLIT, str: SPLIT},
    },
    "networks": [NETWORK],
}
"""What the tables use of a result. `str` as a key stands for all other keys, a tuple for any of its
kinds. A list with one kind has one or more of it, with more kinds just these."""

_PEER = {"accuracy": float, "accuracy_interval": [float, float]}
PEER = {
    **dict.fromkeys(("name", "package", "version", "licence"), str),
    "faces_per_second": float,
    "weights": {str: {"bytes": int}},
    "splits": {
        "validation": {"FERPlus7": _PEER},
        "test": {"FERPlus7": {**_PEER, "macro_f1": float}, "FERPlus": {"accuracy": float}},
    },
}
"""The same of what benchmarks/peers writes."""


def read_result(path: Path, kind: dict[Any, Any] = RESULT) -> dict[str, Any]:
    """Return a kept result, of the kind `RESULT` or `PEER`.

    Raises:
        InputError: the file cannot be read, lacks something or holds something else in its place,
            or has another name than its result.
    """
    try:
        result = read_json(plain(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a result: {one_line(error)}") from None
    require(result, kind, path, "a result")
    if result["name"] != path.stem:
        raise InputError(f"{path} holds the result {one_line(result['name'])}: rename one of them")
    return result


def require(found: Any, kind: Any, path: Path, what: str) -> None:
    """Raise InputError if JSON from a file, which is called `what`, is not of a kind."""
    if fault := next(_faults(found, kind), None):
        raise InputError(f"{path} is not {what}: {one_line(fault)}")


def _faults(found: Any, kind: Any, place: str = "") -> Iterator[str]:
    """Yield what in a value is not of a kind, as in `RESULT`, and where it is."""
    if isinstance(kind, dict) and isinstance(found, dict):
        yield from (f"{place}{key} is missing" for key in kind.keys() - {str} - found.keys())
        for key, value in found.items():
            yield from _faults(value, kind.get(key, kind.get(str, object)), f"{place}{key}.")
    elif isinstance(kind, list) and isinstance(found, list):
        if len(found) < len(kind) or 1 < len(kind) < len(found):
            yield f"{place[:-1]} has {len(found)} values"
        for index, value in enumerate(found):
            yield from _faults(value, kind[0], f"{place}{index}.")
    elif isinstance(kind, tuple):
        if all(next(_faults(found, each), None) for each in kind):
            yield from _faults(found, kind[0], place)
    elif not (
        kind is object
        or (kind is None and found is None)
        or (kind is float and type(found) in (int, float) and math.isfinite(found))
        or (kind is not float and type(found) is kind)
    ):
        yield f"{place[:-1] or 'all of it'} is {one_line(json.dumps(found), 40)}"
