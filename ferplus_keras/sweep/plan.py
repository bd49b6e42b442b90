"""A sweep as YAML describes it, checked to the last value before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import as_words, read_yaml
from ferplus_keras.config import TrainConfig, read_config, to_plain
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.queue import check_settings
from ferplus_keras.sweep.space import Space, read_space

SAMPLERS = ("grid", "tpe", "random")
"""Every combination once; Optuna's tree-structured Parzen estimator; Optuna's random draws."""

METRICS = {"val_accuracy": "maximize", "val_loss": "minimize"}
"""What trials are compared by, each at its best epoch -> what is better, in Optuna's words."""

KEYS = ("sampler", "trials", "metric", "config", "base", "search")
"""Keys of a sweep's file."""

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
    def better(self) -> Callable:
        """`max` or `min`."""
        return max if METRICS[self.metric] == "maximize" else min

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination as trials keep it, the last flag changing fastest."""
        values = itertools.product(*(space.grid() for space in self.search.values()))
        return [dict(zip(self.search, combination, strict=True)) for combination in values]

    def settings(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the train.py settings of a trial that keeps these parameters."""
        found = {flag: space.value(kept[flag]) for flag, space in self.search.items()}
        return {flag: value for flag, value in (self.base | found).items() if value is not None}

    def to_plain(self) -> dict[str, Any]:
        """Return the YAML that reads as this plan."""
        search = {flag: space.plain for flag, space in self.search.items()}
        return {**vars(self), "search": search}


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
    written = read_yaml(path, f"no sweep file {path}; recipes/sweeps/ has examples")
    if not isinstance(written, dict):
        raise UsageError(f"expected sampler:, base: and search: in {path}")
    for key in written:
        if key not in KEYS:
            raise unknown(f"setting in {path}", str(key), KEYS)
    sampler, metric = written.get("sampler", "grid"), written.get("metric", "val_accuracy")
    for kind, name, known in (("sampler", sampler, SAMPLERS), ("metric", metric, [*METRICS])):
        if name not in known:
            raise unknown(kind, name, known)
    grid = sampler == "grid"
    search = {
        flag: read_space(flag, space, grid=grid)
        for flag, space in _flags(path, written, "search").items()
    }
    if not search:
        raise UsageError(f"{path}: expected flags to search under search:")
    plan = Plan(sampler, 1, metric, _base(path, written, overrides, search), search)
    for flag, space in search.items():
        for value in space.probes():
            read_config(TrainConfig, as_words(plan.base | {flag: value}), PROG)
    combinations = plan.grid() if grid else []
    for combination in combinations:
        check_settings(as_words(plan.settings(combination)), PROG)
    trials = written.get("trials") if trials is None else trials
    if trials is None and not grid:
        raise UsageError(f"{path}: sampler {sampler} needs trials: N")
    if trials is not None and (type(trials) is not int or trials < 1):
        raise UsageError(f"{path}: expected a whole number for trials, 1 or more, got {trials}")
    if grid:
        trials = min(trials or len(combinations), len(combinations))
    return dataclasses.replace(plan, trials=trials)


def _flags(path: Path, written: dict, key: str) -> dict[str, Any]:
    """Return the flags under `base` or `search`, refusing those that cannot be set there."""
    mapping = written.get(key) or {}
    if not isinstance(mapping, dict):
        raise UsageError(f"{path}: expected 'flag: …' lines under {key}:, got {mapping}")
    known = [setting.name for setting in dataclasses.fields(TrainConfig)]
    for flag in mapping:
        if flag not in known:
            raise unknown(f"flag under {key}: in {path}", str(flag), known)
        if flag in OWN:
            raise UsageError(f"{path}: {flag} under {key}: is the sweep's to set; leave it out")
    return mapping


def _base(
    path: Path, written: dict, overrides: Sequence[str], search: dict[str, Space]
) -> dict[str, Any]:
    """Return the settings of every trial: a recipe, then `base:`, then the command line."""
    for flag in (word[2:].split("=")[0] for word in overrides if word.startswith("--")):
        if flag in search:
            raise UsageError(f"--{flag} is searched by {path}: it cannot be set for every trial")
        if flag in OWN:
            raise UsageError(f"--{flag} is the sweep's to set; its folder is --sweep_dir")
    recipe = ["--config", str(written["config"])] if written.get("config") else []
    base = as_words(_flags(path, written, "base"))
    settings = to_plain(read_config(TrainConfig, [*recipe, *base, *overrides], PROG))
    default = to_plain(TrainConfig())
    return {
        flag: value
        for flag, value in settings.items()
        if value != default[flag] and flag not in (*OWN, *search)
    }
