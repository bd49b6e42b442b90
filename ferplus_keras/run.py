"""One training run: its folder, what is in it, and how far it has come."""

import csv
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras import hub
from ferplus_keras.arguments import as_settings
from ferplus_keras.errors import InputError, UsageError, as_input_error, one_line
from ferplus_keras.files import replacing, require_writable, write_json
from ferplus_keras.inputs import DAMAGED_ARRAY, open_zip, plain, read_json, read_mapping
from ferplus_keras.lazy import yaml
from ferplus_keras.workspace import LOCK, NEW, lock

CONFIG = "config.yaml"
RECORD = "run.json"
MAX_ACCURACY = "model_max_acc.keras"
MIN_LOSS = "model_min_loss.keras"
FINAL = "final_model.keras"
LIGHT = "model_max_acc.onnx"
STATE = "resume_state.npz"
HISTORY = "training.csv"
CURVES = "curves.png"
LOGS = "logs"
REPORT = "report.json"
PREDICTIONS = "predictions.csv"
PAGE = "report.html"
CONFUSION = "confusion_matrix.png"
CARD = "model_card.md"

CHECKPOINTS = (MAX_ACCURACY, MIN_LOSS, FINAL)
TRAINED = (CONFIG, RECORD, *CHECKPOINTS, STATE, HISTORY, CURVES)
"""What training writes, beside `logs/` with TensorBoard's events."""

EVALUATED = (REPORT, PREDICTIONS, PAGE, CONFUSION, CARD)
"""What an evaluation of the run adds."""

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
"""How an export stores its weights; the last two are what it computes in, too."""

_EXPORTS = tuple(
    Path(checkpoint).stem + precision + ending
    for checkpoint in CHECKPOINTS
    for precision in ("", *(f"_{name}" for name in PRECISIONS[1:]))
    for ending in (".onnx", ".tflite", ".xml", ".bin", "")
)
_EXPLAINED = ("explanations*.png", "explanations.npz", "class_means.npz", "class_means.png")
_PACKAGE = Path(__file__).resolve().parent
PLACES = frozenset(
    {"data_dir", "cache_dir", "checkpoints_dir", "name", "workers", "num_gpus", "loggers"}
    | {"coordinator", "num_processes", "process_id", "resume", "overwrite"}
)
"""Settings that say where and with how many hands a run is made, not what comes out."""

MOVABLE = PLACES | {"exclude", "teacher"}
"""Settings that a resumed run may change: the last two name files, known by what is in them."""

READING = ("group", "skip_unreadable")
"""Settings that say how own pictures are read."""


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path  # where the run's files are; it need not exist yet

    def __truediv__(self, name: str) -> Path:
        """Return the path of one of the run's files."""
        return self.folder / name

    @property
    def is_trained(self) -> bool:
        """Whether training has come to its end: the record is completed last."""
        return (self / FINAL).is_file() and (self / RECORD).is_file() and "best" in self.record()

    @property
    def is_interrupted(self) -> bool:
        """Whether training has begun and can be resumed."""
        return not self.is_trained and (self / STATE).is_file()

    @property
    def exists(self) -> bool:
        """Whether the folder holds any file of a training."""
        return any((self / name).exists() for name in TRAINED)

    def settings(self) -> dict[str, Any]:
        """Return config.yaml.

        Raises:
            InputError: it is missing or damaged.
        """
        return read_mapping(self / CONFIG, yaml.safe_load, yaml.YAMLError)

    def began_with(self, config_class: type) -> dict[str, Any]:
        """Return config.yaml as `config_class` takes it; raises UsageError if there is none."""
        if not (self / CONFIG).is_file():
            advice = "start the run without --resume"
            raise UsageError(f"nothing to resume: no {self / CONFIG}; {advice}")
        return as_settings(config_class, self / CONFIG)

    def known_settings(self) -> dict[str, Any]:
        """Return `settings`; {} of a folder without a readable config.yaml."""
        with suppress(InputError):
            return self.settings()
        return {}

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write config.yaml without what belongs to one start: resume, overwrite, processes."""
        kept = {**settings, "resume": False, "overwrite": False}
        kept |= dict.fromkeys(("coordinator", "num_processes", "process_id"))
        with replacing(self / CONFIG) as temporary:
            temporary.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")

    def record(self) -> dict[str, Any]:
        """Return run.json.

        Raises:
            InputError: it is missing or damaged.
        """
        return read_mapping(self / RECORD)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_json(record, self / RECORD)

    def report(self) -> dict[str, Any] | None:
        """Return report.json, or None before the first evaluation; raises as `record`."""
        return read_mapping(self / REPORT) if (self / REPORT).is_file() else None

    def history(self) -> list[dict[str, float]]:
        """Return the lines of training.csv, one per finished epoch; empty before the first."""
        if not (path := self / HISTORY).exists():
            return []
        with as_input_error(f"cannot read {path}", TypeError, ValueError):
            lines = plain(path).read_text(encoding="utf-8").splitlines()
            return [{k: float(v) for k, v in line.items()} for line in csv.DictReader(lines)]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the header and the arrays of the saved state, from which a run is resumed.

        The header is {"epochs": finished ones, "stopped": whether early stopping ended the run,
        "callbacks": {callback: {name: value}}}.

        Raises:
            InputError: the saved state is missing or damaged.
        """
        path = self / STATE
        try:
            with open_zip(path, "the state of a run"), np.load(path) as saved:
                arrays = {name: saved[name] for name in saved.files}
            header = read_json(str(arrays.pop("header")))
            shape = {"epochs": int, "stopped": bool, "callbacks": dict}
            if any(not isinstance(header[key], kind) for key, kind in shape.items()) or any(
                not isinstance(of, dict) for of in header["callbacks"].values()
            ):
                raise ValueError(f"expected {', '.join(shape)} in its header")
        except (InputError, *DAMAGED_ARRAY) as error:
            raise InputError(
                f"cannot read the state of the run in {path} ({one_line(error)}); "
                "start again with --overwrite or another --name"
            ) from None
        return header, arrays

    def data_dir(self) -> str:
        """Return the data folder that the run was trained on; the usual one if that is unknown.

        $FERPLUS_DATA_DIR counts instead where that folder does not exist: the run was copied here.
        """
        found = self.known_settings().get("data_dir")
        elsewhere = "FERPLUS_DATA_DIR" in os.environ and not Path(str(found)).exists()
        return found if isinstance(found, str) and not elsewhere else default_data_dir()

    def reading(self) -> dict[str, Any]:
        """Return how own pictures were read, as `open_source` takes it, as far as it is known."""
        settings = self.known_settings()
        return {of: v if v is True else str(v) for of in READING if (v := settings.get(of))}

    def require_usable(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse a folder in which this start may not write, before any slow work.

        Raises:
            InputError: the run exists and neither `resume` nor `overwrite` is set, it cannot be
                resumed, or the folder cannot be written, by TensorFlow if its name is not UTF-8.
        """
        if str(self.folder).encode("utf-8", "replace") != os.fsencode(self.folder):
            raise InputError(
                f"TensorFlow cannot write to {self.folder}, whose name is not UTF-8: choose "
                "another --checkpoints_dir"
            )
        if resume and overwrite:
            raise InputError("--resume continues a run and --overwrite replaces it: choose one")
        if self.exists and not (resume or overwrite):
            raise InputError(
                f"the run {self.folder} exists already: choose another --name, "
                "--resume to continue it, or --overwrite to replace it"
            )
        # Otherwise it would begin again, and replace its models by those of the first epoch.
        gone = resume and [name for name in (STATE, MAX_ACCURACY) if not (self / name).is_file()]
        if gone and (gone[0] != STATE or (self / FINAL).is_file() or len(self.history()) > 1):
            raise InputError(
                f"{self.folder} has no {gone[0]}, without which --resume cannot continue it: "
                "choose another --name, or --overwrite to start again"
            )
        ours = {"model_name", "label_rule", "freeze_before"}  # others may have a config.yaml, too
        if self.exists and overwrite and not ours <= self.known_settings().keys():
            raise InputError(
                f"{self.folder} holds no run of ferplus_keras, so --overwrite does not touch "
                "it: choose another --name"
            )
        require_writable(self.folder, "--checkpoints_dir")

    def written(self) -> list[Path]:
        """Return what training, evaluation, explanation and export have written but for logs/.

        The settings come last: without them, `require_usable` takes the folder for a stranger's.
        """
        patterns = (*_EXPORTS, *_EXPLAINED, *EVALUATED, *reversed(TRAINED))
        found = [path for pattern in patterns for path in self.folder.glob(pattern)]
        return [path for path in found if path.is_file() or (path / "saved_model.pb").is_file()]

    def require_kept(self, file: Path, what: str) -> None:
        """Raise UsageError if overwriting the run would delete a file that the new one needs."""
        if file.resolve() in [path.resolve() for path in self.written()]:
            raise UsageError(
                f"--overwrite would delete the {what} {file}: choose another --name for the run"
            )

    def clear(self) -> None:
        """Remove what `written` lists and logs/, nothing else."""
        shutil.rmtree(self / LOGS, ignore_errors=True)
        for path in self.written():
            path.unlink() if path.is_file() else shutil.rmtree(path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock: one process at a time trains, evaluates or exports into it.

        Raises:
            InputError: another process holds it; the message names that process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self / LOCK
        while (held := lock(path, NEW)) is None:
            with suppress(FileNotFoundError):  # its last holder has just removed it
                holder = path.read_text("utf-8", "replace").strip()
                raise InputError(
                    f"{self.folder} is in use by {holder or 'another process'}; "
                    "wait for it or choose another folder"
                )
        try:
            text = f"process {os.getpid()} ({shlex.join(sys.argv)[:200]})\n"
            with suppress(OSError):  # Windows, where there is no lock to write it to
                os.ftruncate(held, 0)
                os.write(held, text.encode("utf-8", "replace"))
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(held)


def default_data_dir() -> str:
    """Return the data folder when none is given: $FERPLUS_DATA_DIR, else ./data."""
    return os.environ.get("FERPLUS_DATA_DIR", "data")


def locate(path: str | Path) -> Path:
    """Return a path, or where the network is that comes with the package as a file of that name."""
    kinds = ("inference/*.onnx", "models/trained/*.keras")
    shipped = (file for kind in kinds for file in _PACKAGE.glob(kind) if file.name == str(path))
    return Path(path) if Path(path).exists() else next(shipped, Path(path))


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint at `path`: the file, or the most accurate model of a run or on the Hub.

    Where Keras is not installed, its ONNX export takes its place, in a run if there is one.
    hf://user/name is downloaded once; other names are for `locate`.

    Raises:
        InputError: there is no such file.
    """
    best = LIGHT if find_spec("keras") is None else MAX_ACCURACY
    if hub.is_address(path):
        return hub.fetch(str(path), best)
    path = locate(path)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        path = path / (best if (path / best).is_file() else MAX_ACCURACY)
    if not path.exists():
        raise InputError(f"no checkpoint at {path}")
    return plain(path)


def require_place(path: Any, given: object, flag: str) -> None:
    """Refuse a checkpoint on the Hub or in the package without `flag`: nothing is written there."""
    if not given and (hub.is_address(path) or _PACKAGE in find_checkpoint(path).resolve().parents):
        raise UsageError(f"expected {flag} for what is written of {path}")
