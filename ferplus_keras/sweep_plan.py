"""A sweep as YAML describes it, checked to the last value before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import as_words, read_yaml, settings_of, to_plain
from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.errors import UsageError, one_line, unknown
from ferplus_keras.lazy import optuna
from ferplus_keras.training.schedules import MONITORS, plan_stages

KEYS = ("sampler", "trials", "metric", "config", "base", "search")
RANGE_KEYS = ("low", "high", "step", "log", "int")
SAMPLERS = ("grid", "tpe", "random")
METRICS = {metric: f"{best}imize" for metric, best in MONITORS.items()}
"""What trials are compared by, each at its best epoch -> what is better, in Optuna's words."""

OWN = ("name", "checkpoints_dir", "resume", "overwrite")
"""Settings of train.py that the sweep gives to each trial."""


@dataclass(frozen=True)
class Space:
    """What is searched for one flag."""

    plain: list[Any] | dict[str, Any]  # the YAML: choices, or a range with its ends
    distribution: optuna.distributions.BaseDistribution  # what Optuna draws from
    choices: dict[str, Any]  # text, as which Optuna keeps a choice -> value; empty for a range

    def grid(self) -> list[Any]:
        """Return what a grid visits; a range needs a step, or whole numbers."""
        if self.choices:
            return list(self.choices)
        of = self.distribution
        return [self.tidy(of.low + index * of.step) for index in range(self.size)]

    @property
    def size(self) -> int:
        """How many values a grid visits."""
        of = self.distribution
        return len(self.choices) or 1 + int((of.high - of.low) / of.step + 1e-9)

    def tidy(self, drawn: Any) -> Any:
        """Return what was drawn without digits that nobody would type: 0.0003162."""
        if not isinstance(drawn, float):
            return drawn
        rounded = float(f"{drawn:.{12 if self.distribution.step else 4}g}")
        return min(max(rounded, self.plain["low"]), self.plain["high"])


@dataclass(frozen=True)
class Plan:
    """A sweep; `base` holds the settings of every trial that differ from train.py's defaults."""

    sampler: str
    trials: int
    metric: str
    base: dict[str, Any]
    search: dict[str, Space]

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination as trials keep it, the last flag changing fastest."""
        values = itertools.product(*(space.grid() for space in self.search.values()))
        return [dict(zip(self.search, combination, strict=True)) for combination in values]

    def settings(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the train.py settings of a trial that keeps these parameters."""
        found = {f: space.choices.get(kept[f], kept[f]) for f, space in self.search.items()}
        return {flag: value for flag, value in (self.base | found).items() if value is not None}


def read_plan(path: Path, overrides: Sequence[str] = (), trials: int | None = None) -> Plan:
    """Return the sweep of a YAML file; `overrides` are train.py flags, `trials` wins over its own.

    Raises:
        UsageError: a key, flag, value, sampler or metric that is unknown or does not fit; one line.
    """
    written = read_yaml(path, f"no sweep file {path}; recipes/sweeps/ has examples")
    if not isinstance(written, dict):
        raise UsageError(f"expected sampler:, base: and search: in {path}")
    sampler, metric = written.get("sampler", "grid"), written.get("metric", "val_accuracy")
    names = [(f"setting in {path}", str(key), KEYS) for key in written]
    for kind, name, known in (*names, ("sampler", sampler, SAMPLERS), ("metric", metric, METRICS)):
        if name not in tuple(known):
            raise unknown(kind, name, known)
    search = {}
    for flag, space in _flags(path, written, "search").items():
        try:
            search[flag] = _read_space(space, grid=sampler == "grid")
        except (ValueError, ArithmeticError) as error:  # Optuna's own, too
            raise UsageError(f"search: {flag}: {one_line(error)}") from None
    if not search:
        raise UsageError(f"{path}: expected flags to search under search:")
    for flag in (word[2:].split("=")[0] for word in overrides if word.startswith("--")):
        if flag in search:
            raise UsageError(f"--{flag} is searched by {path}: it cannot be set for every trial")
        if flag in OWN:
            raise UsageError(f"--{flag} is set by the sweep; its folder is --sweep_dir")
    below = as_words({"config": written.get("config"), **_flags(path, written, "base")})
    settings = to_plain(read_config(TrainConfig, [*below, *overrides]))
    default = to_plain(TrainConfig()) | {flag: settings[flag] for flag in (*OWN, *search)}
    base = {flag: value for flag, value in settings.items() if value != default[flag]}
    plan = Plan(sampler, 1, metric, base, search)
    for flag, space in search.items():
        for value in space.choices.values() or (space.plain["low"], space.plain["high"]):
            read_config(TrainConfig, as_words(base | {flag: value}))
    if sampler == "grid" and (size := math.prod(space.size for space in search.values())) > 10_000:
        raise UsageError(
            f"{path}: the grid has {size:,} combinations, expected at most 10,000; give it larger "
            "steps, or sampler: random or tpe"
        )
    combinations = plan.grid() if sampler == "grid" else []
    for combination in combinations:
        plan_stages(read_config(TrainConfig, as_words(plan.settings(combination))))
    trials = written.get("trials", len(combinations) or None) if trials is None else trials
    if trials is None:
        raise UsageError(f"{path}: sampler {sampler} needs trials: N")
    if type(trials) is not int or trials < 1:
        raise UsageError(f"{path}: expected a whole number for trials, 1 or more, got {trials}")
    return dataclasses.replace(plan, trials=min(trials, len(combinations) or trials))


def _flags(path: Path, written: dict, key: str) -> dict[str, Any]:
    """Return the flags under `base` or `search`, refusing those that cannot be set there."""
    mapping = written.get(key) or {}
    if not isinstance(mapping, dict):
        raise UsageError(f"{path}: expected 'flag: …' lines under {key}:, got {mapping}")
    known = settings_of(TrainConfig)
    for flag in mapping:
        if flag not in known:
            raise unknown(f"flag under {key}: in {path}", str(flag), known)
        if flag in OWN:
            raise UsageError(f"{path}: {flag} under {key}: is set by the sweep; leave it out")
    return mapping


def _read_space(written: Any, *, grid: bool) -> Space:
    """Return what YAML says about one searched flag; raises ValueError, as Optuna does."""
    if isinstance(written, list):
        labels = [_label(value) for value in written]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        choices = dict(zip(labels, written, strict=True))
        return Space(written, optuna.distributions.CategoricalDistribution(labels), choices)
    if not isinstance(written, dict):
        raise ValueError(f"expected a list of choices or {{low: …, high: …}}, got {written}")
    written = {key: value for key, value in written.items() if value is not None}
    whole, numbers = written.get("int") is True, {}
    for key, value in written.items():
        if key not in RANGE_KEYS:
            raise ValueError(unknown("setting", str(key), RANGE_KEYS))
        if key not in ("log", "int"):
            numbers[key] = _number(key, value, whole=whole)
        elif not isinstance(value, bool):
            raise ValueError(f"expected true or false for {key}, got {value}")
    if missing := [key for key in ("low", "high") if key not in written]:
        raise ValueError(f"a range needs low and high; {missing[0]} is missing")
    plain = {"log": False, "int": False} | written | numbers
    if grid and "step" not in plain and (plain["log"] or not whole):
        raise ValueError("a grid needs a list of choices, or low, high and step")
    kinds = optuna.distributions
    kind = kinds.IntDistribution if whole else kinds.FloatDistribution
    return Space(plain, kind(log=plain["log"], **numbers), {})


def _number(key: str, written: Any, *, whole: bool) -> float:
    with suppress(ValueError):
        number = float(str(written))  # PyYAML reads 1e-4 as text
        if math.isfinite(number) and not (whole and number % 1):
            return int(number) if whole else number
    raise ValueError(f"expected a {'whole ' * whole}number for {key}, got {written}")


def _label(value: Any) -> str:
    if value is None:
        return "null"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
