"""A sweep as YAML describes it, checked to the last value before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.arguments import as_words, read_yaml
from ferplus_keras.config import TrainConfig, read_config, to_plain
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.queue import check_settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

KEYS = ("sampler", "trials", "metric", "config", "base", "search")
RANGE_KEYS = ("low", "high", "step", "log", "int")
SAMPLERS = ("grid", "tpe", "random")
METRICS = {"val_accuracy": "maximize", "val_loss": "minimize"}
"""What trials are compared by, each at its best epoch -> what is better, in Optuna's words."""

OWN = ("name", "checkpoints_dir", "resume", "overwrite")
"""Settings of train.py that the sweep gives to each trial."""

PROG = "python -m ferplus_keras sweep"


@dataclass(frozen=True)
class Space:
    """What is searched for one flag; `plain` is the YAML: choices, or a range with its ends."""

    plain: list[Any] | dict[str, Any]

    @property
    def choices(self) -> dict[str, Any]:
        """Text, which is how Optuna keeps a choice -> value; empty for a range."""
        return {_label(value): value for value in self.plain if isinstance(self.plain, list)}

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna import distributions

        if isinstance(self.plain, list):
            return distributions.CategoricalDistribution(list(self.choices))
        numbers = {key: value for key, value in self.plain.items() if key != "int"}
        if self.plain["int"]:
            return distributions.IntDistribution(**{"step": 1} | numbers)
        return distributions.FloatDistribution(**numbers)

    def grid(self) -> list[Any]:
        """Return what a grid visits; a range needs a step, or whole numbers."""
        if self.choices:
            return list(self.choices)
        low, step = self.plain["low"], self.plain.get("step", 1)
        count = int((self.plain["high"] - low) / step + 1e-9) + 1
        return [self.tidy(low + index * step) for index in range(count)]

    def tidy(self, drawn: Any) -> Any:
        """Return what was drawn without digits that nobody would type: 0.0003162."""
        if not isinstance(drawn, float):
            return drawn
        digits = 12 if "step" in self.plain else 4
        return min(max(float(f"{drawn:.{digits}g}"), self.plain["low"]), self.plain["high"])


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

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination as trials keep it, the last flag changing fastest."""
        values = itertools.product(*(space.grid() for space in self.search.values()))
        return [dict(zip(self.search, combination, strict=True)) for combination in values]

    def settings(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the train.py settings of a trial that keeps these parameters."""
        found = {f: space.choices.get(kept[f], kept[f]) for f, space in self.search.items()}
        return {flag: value for flag, value in (self.base | found).items() if value is not None}

    def to_plain(self) -> dict[str, Any]:
        """Return the YAML that reads as this plan."""
        return {**vars(self), "search": {flag: space.plain for flag, space in self.search.items()}}


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
        except ValueError as error:  # Optuna's own, too
            raise UsageError(f"search: {flag}: {' '.join(str(error).split())}") from None
    if not search:
        raise UsageError(f"{path}: expected flags to search under search:")
    plan = Plan(sampler, 1, metric, _base(path, written, overrides, search), search)
    for flag, space in search.items():
        ends = space.choices or {key: space.plain[key] for key in ("low", "high")}
        for value in ends.values():
            read_config(TrainConfig, as_words(plan.base | {flag: value}), PROG)
    combinations = plan.grid() if sampler == "grid" else []
    for combination in combinations:
        check_settings(as_words(plan.settings(combination)), PROG)
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
    known = [setting.name for setting in dataclasses.fields(TrainConfig)]
    for flag in mapping:
        if flag not in known:
            raise unknown(f"flag under {key}: in {path}", str(flag), known)
        if flag in OWN:
            raise UsageError(f"{path}: {flag} under {key}: is set by the sweep; leave it out")
    return mapping


def _base(path: Path, written: dict, overrides: Sequence[str], search: dict) -> dict[str, Any]:
    """Return the settings of every trial: a recipe, then `base:`, then the command line."""
    for flag in (word[2:].split("=")[0] for word in overrides if word.startswith("--")):
        if flag in search:
            raise UsageError(f"--{flag} is searched by {path}: it cannot be set for every trial")
        if flag in OWN:
            raise UsageError(f"--{flag} is set by the sweep; its folder is --sweep_dir")
    below = as_words({"config": written.get("config"), **_flags(path, written, "base")})
    settings = to_plain(read_config(TrainConfig, [*below, *overrides], PROG))
    default = to_plain(TrainConfig()) | {flag: settings[flag] for flag in (*OWN, *search)}
    return {flag: value for flag, value in settings.items() if value != default[flag]}


def _read_space(written: Any, *, grid: bool) -> Space:
    """Return what YAML says about one searched flag, or raise ValueError."""
    if isinstance(written, list):
        labels = [_label(value) for value in written]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        plain = written
    elif isinstance(written, dict):
        plain = dict.fromkeys(RANGE_KEYS) | {"log": False, "int": False} | written
        for key, value in written.items():
            if key not in RANGE_KEYS:
                raise ValueError(unknown("setting", str(key), RANGE_KEYS))
            if key in ("log", "int") and not isinstance(value, bool):
                raise ValueError(f"expected true or false for {key}, got {value}")
        for key in ("low", "high", "step"):
            if plain[key] is not None:
                plain[key] = _number(key, plain[key], whole=plain["int"])
            elif key != "step":
                raise ValueError(f"a range needs low and high; {key} is missing")
        if plain["step"] is None:
            del plain["step"]
            if grid and (plain["log"] or not plain["int"]):
                raise ValueError("a grid needs a list of choices, or low, high and step")
    else:
        raise ValueError(f"expected a list of choices or {{low: …, high: …}}, got {written}")
    space = Space(plain)
    space.distribution()  # Optuna refuses what does not go together
    return space


def _number(key: str, written: Any, *, whole: bool) -> float:
    try:
        number = math.nan if isinstance(written, bool) else float(written)  # PyYAML: 1e-4 is text
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (whole and number % 1):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"expected {kind} for {key}, got {written}")
    return int(number) if whole else number


def _label(value: Any) -> str:
    if value is None:
        return "null"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
