"""A sweep as YAML says it, checked to the last value before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import read_config, read_yaml
from ferplus_keras.config import TrainConfig, to_plain
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.sweep.space import Space, read_space
from ferplus_keras.training.schedules import check_policy
from ferplus_keras.training.stages import stage_configs

SAMPLERS = ("grid", "tpe", "random")
"""grid: every combination once; tpe: Optuna's tree-structured Parzen estimator; random."""

METRICS = {"val_accuracy": "maximize", "val_loss": "minimize"}
"""What trials are judged by, over the epochs of each -> what is better."""

KEYS = ("sampler", "trials", "metric", "config", "base", "search")
"""What a sweep's file may say."""

OWN = ("name", "checkpoints_dir", "resume", "overwrite")
"""Settings of train.py that the sweep gives to each trial."""

PROG = "python -m ferplus_keras sweep"


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        sampler: one of `SAMPLERS`.
        trials: how many to run, all workers together.
        metric: one of `METRICS`.
        base: settings of every trial that differ from train.py's defaults.
        search: flag -> what is searched.
    """

    sampler: str
    trials: int
    metric: str
    base: dict[str, Any]
    search: dict[str, Space]

    @property
    def direction(self) -> str:
        """What is better, in Optuna's words."""
        return METRICS[self.metric]

    @property
    def better(self):
        """`max` or `min`."""
        return max if self.direction == "maximize" else min

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination as trials keep it, the last flag changing fastest."""
        values = itertools.product(*(space.grid() for space in self.search.values()))
        return [dict(zip(self.search, combination, strict=True)) for combination in values]

    def settings(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the train.py settings of a trial that keeps these parameters."""
        found = {flag: space.value(kept[flag]) for flag, space in self.search.items()}
        return {k: v for k, v in (self.base | found).items() if v is not None}

    def to_plain(self) -> dict[str, Any]:
        """Return the YAML that reads as this plan."""
        return {
            "sampler": self.sampler,
            "trials": self.trials,
            "metric": self.metric,
            "base": self.base,
            "search": {flag: space.to_plain() for flag, space in self.search.items()},
        }


def read_plan(path: Path, overrides: Sequence[str] = (), trials: int | None = None) -> Plan:
    """Return the sweep that a YAML file asks for.

    Args:
        path: the sweep's file.
        overrides: train.py flags that win over the file's base.
        trials: wins over the file's.

    Raises:
        UsageError: an unknown key, flag, value, sampler or metric, or a setting that cannot be
            searched; one line.
    """
    written = _read_yaml(path)
    sampler = _one_of("sampler", written.get("sampler", "grid"), SAMPLERS)
    metric = _one_of("metric", written.get("metric", "val_accuracy"), METRICS)
    search = {
        flag: read_space(flag, space, grid=sampler == "grid")
        for flag, space in _mapping(path, written, "search").items()
    }
    if not search:
        raise UsageError(f"{path}: expected flags to search under search:")
    base = _base(path, written, overrides, search)
    plan = Plan(sampler, 1, metric, base, search)
    _check_values(plan)
    combinations = plan.grid() if sampler == "grid" else None
    for combination in combinations or ():
        config = _config(plan.settings(combination))
        for stage in stage_configs(config):
            check_policy(stage)
    return dataclasses.replace(plan, trials=_trials(path, written, trials, combinations))


def as_words(settings: dict[str, Any]) -> list[str]:
    """Return settings as words of a command line; None is left out."""
    words: list[str] = []
    for flag, value in settings.items():
        if value is not None:
            words += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return words


def _read_yaml(path: Path) -> dict[str, Any]:
    written = read_yaml(path, f"no sweep file {path}; recipes/sweeps/ has examples")
    if not isinstance(written, dict):
        raise UsageError(f"expected sampler:, base: and search: in {path}")
    for key in written:
        if key not in KEYS:
            raise unknown(f"setting in {path}", str(key), KEYS)
    return written


def _one_of(key: str, given: Any, known: Sequence[str]) -> str:
    if given not in known:
        raise unknown(key, given, known)
    return given


def _mapping(path: Path, written: dict, key: str) -> dict[str, Any]:
    """Return what stands under `base` or `search`, its flags known."""
    mapping = written.get(key) or {}
    if not isinstance(mapping, dict):
        raise UsageError(f"{path}: expected 'flag: …' lines under {key}:, got {mapping}")
    flags = [setting.name for setting in dataclasses.fields(TrainConfig)]
    for flag in mapping:
        if flag not in flags:
            raise unknown(f"flag under {key}: in {path}", str(flag), flags)
        if flag in OWN:
            raise UsageError(f"{path}: {flag} under {key}: is the sweep's to set; leave it out")
    return mapping


def _base(
    path: Path, written: dict, overrides: Sequence[str], search: dict[str, Space]
) -> dict[str, Any]:
    """Return the settings of every trial: a recipe, then `base:`, then the command line."""
    for word in overrides:
        flag = word[2:].split("=")[0]
        if word.startswith("--") and flag in search:
            raise UsageError(f"--{flag} is searched by {path}: it cannot be set for every trial")
        if word.startswith("--") and flag in OWN:
            raise UsageError(f"--{flag} is the sweep's to set; its folder is --sweep_dir")
    recipe = ["--config", str(written["config"])] if written.get("config") else []
    base = as_words(_mapping(path, written, "base"))
    settings = to_plain(read_config(TrainConfig, [*recipe, *base, *overrides], PROG))
    default = to_plain(TrainConfig())
    return {
        flag: value
        for flag, value in settings.items()
        if value != default[flag] and flag not in (*OWN, *search)
    }


def _check_values(plan: Plan) -> None:
    """Refuse a searched value that its flag does not take."""
    for flag, space in plan.search.items():
        for value in space.probes():
            _config(plan.base | {flag: value})


def _config(settings: dict[str, Any]) -> TrainConfig:
    return read_config(TrainConfig, as_words(settings), PROG)


def _trials(path: Path, written: dict, given: int | None, combinations: list | None) -> int:
    trials = written.get("trials") if given is None else given
    if trials is None and combinations is None:
        raise UsageError(f"{path}: sampler {written['sampler']} needs trials: N")
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int)):
        raise UsageError(f"{path}: expected a whole number for trials, got {trials}")
    if trials is not None and trials < 1:
        raise UsageError(f"expected 1 trial or more, got {trials}")
    if combinations is None:
        return trials
    return min(trials or len(combinations), len(combinations))
