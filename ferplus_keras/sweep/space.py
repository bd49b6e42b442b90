"""What is searched for one flag: a list of choices or a range of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferplus_keras.errors import UsageError, unknown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RANGE_KEYS = ("low", "high", "log", "int", "step")
"""Keys of a range: both ends included, drawn evenly over the logarithm, whole numbers only."""


@dataclass(frozen=True)
class Space:
    """The values of one flag.

    Attributes:
        plain: the YAML that describes it: a list of choices, or a mapping with `RANGE_KEYS`.
    """

    plain: list[Any] | dict[str, Any]

    @property
    def choices(self) -> dict[str, Any]:
        """Text, which is how Optuna keeps a choice -> value; empty for a range."""
        return {_label(value): value for value in self.plain if isinstance(self.plain, list)}

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(list(self.choices))
        low, high, log, step = (self.plain.get(key) for key in ("low", "high", "log", "step"))
        if self.plain["int"]:
            return distributions.IntDistribution(low, high, log, step or 1)
        return distributions.FloatDistribution(low, high, log, step)

    def grid(self) -> list[Any]:
        """Return what a grid visits; a range needs a step, or whole numbers."""
        if self.choices:
            return list(self.choices)
        low, high, step = self.plain["low"], self.plain["high"], self.plain.get("step", 1)
        count = int((high - low) / step + 1e-9) + 1
        return [self.tidy(low + index * step) for index in range(count)]

    def probes(self) -> list[Any]:
        """Return values to check: every choice, or both ends of a range and something between."""
        if self.choices:
            return list(self.choices.values())
        low, high = self.plain["low"], self.plain["high"]
        step = self.plain.get("step") or (1 if self.plain["int"] else 0.382 * (high - low))
        return [low, self.tidy(low + step), high]

    def tidy(self, drawn: Any) -> Any:
        """Return what was drawn without digits that nobody would type: 0.0003162."""
        if not isinstance(drawn, float):
            return drawn
        digits = 12 if "step" in self.plain else 4
        return min(max(float(f"{drawn:.{digits}g}"), self.plain["low"]), self.plain["high"])

    def value(self, kept: Any) -> Any:
        """Return the flag's value for what a trial keeps."""
        return self.choices.get(kept, kept)


def read_space(flag: str, written: Any, *, grid: bool) -> Space:
    """Return what YAML says about one searched flag.

    Args:
        flag: the flag's name, for messages.
        written: a list of choices, or a mapping with `RANGE_KEYS`.
        grid: whether the space must be countable.

    Raises:
        UsageError: one line that names the flag.
    """
    try:
        space = Space(_read_choices(written) if isinstance(written, list) else _read_range(written))
        space.distribution()
    except ValueError as error:  # ours, or Optuna's own
        raise UsageError(f"search: {flag}: {' '.join(str(error).split())}") from None
    plain = space.plain
    if grid and not space.choices and "step" not in plain and (plain["log"] or not plain["int"]):
        raise UsageError(
            f"search: {flag}: a grid needs a list of choices, or low, high and step; "
            "sampler tpe or random draws from a range"
        )
    return space


def _read_choices(written: list[Any]) -> list[Any]:
    labels = [_label(value) for value in written]
    if not labels:
        raise ValueError("expected one choice or more, got an empty list")
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"{label} is given twice")
    return written


def _read_range(written: Any) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise ValueError(f"expected a list of choices or {{low: …, high: …}}, got {written}")
    for key in written:
        if key not in RANGE_KEYS:
            raise ValueError(unknown("setting", str(key), RANGE_KEYS))
    for key in ("low", "high"):
        if key not in written:
            raise ValueError(f"a range needs low and high; {key} is missing")
    space = {key: written.get(key, False) for key in ("log", "int")}
    for key, value in space.items():
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false for {key}, got {value}")
    for key in ("low", "high", "step"):
        if written.get(key) is not None:
            space[key] = _number(key, written[key], space["int"])
    if not space["low"] < space["high"]:
        raise ValueError(f"expected low below high, got {space['low']} and {space['high']}")
    return space


def _number(key: str, written: Any, whole: bool) -> float:
    try:
        number = float(written)  # PyYAML reads 1e-4 as text
        if isinstance(written, bool) or not math.isfinite(number) or (whole and number % 1):
            raise ValueError
    except (TypeError, ValueError):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"expected {kind} for {key}, got {written}") from None
    return int(number) if whole else number


def _label(value: Any) -> str:
    if value is None:
        return "null"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
