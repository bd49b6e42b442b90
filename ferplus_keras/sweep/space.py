"""What is searched: for one flag a list of choices or a range of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferplus_keras.errors import UsageError, unknown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RANGE_KEYS = ("low", "high", "log", "int", "step")
"""What a range may say."""


@dataclass(frozen=True)
class Choices:
    """Values of a flag to choose from, in the order in which they were written.

    Attributes:
        values: as YAML has them; a list is one value of a flag that takes several.
    """

    values: tuple[Any, ...]

    @property
    def labels(self) -> list[str]:
        """The values as text, which is how Optuna keeps them."""
        return [_label(value) for value in self.values]

    def probes(self) -> list[Any]:
        """Return the values that must be fit for the flag."""
        return list(self.values)

    def grid(self) -> list[Any]:
        """Return what a grid visits."""
        return self.labels

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def tidy(self, drawn: str) -> str:
        """Return what was drawn as it is kept."""
        return drawn

    def value(self, kept: str) -> Any:
        """Return the flag's value."""
        return self.values[self.labels.index(kept)]

    def to_plain(self) -> list[Any]:
        """Return the YAML that reads as this."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: smallest number.
        high: largest number.
        log: draw evenly over the logarithm.
        int: whole numbers only.
        step: distance between neighbours; None draws anything in between (whole numbers: 1).
    """

    low: float
    high: float
    log: bool = False
    int: bool = False
    step: float | None = None

    def probes(self) -> list[Any]:
        """Return the ends and, of a range of fractions, something in between."""
        between = [] if self.int else [self.tidy(self.low + 0.382 * (self.high - self.low))]
        return [self.low, *([self.low + self.step] if self.step else between), self.high]

    def grid(self) -> list[float]:
        """Return what a grid visits; needs a step, or whole numbers that are not logarithmic."""
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return [self.tidy(self.low + index * step) for index in range(count)]

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.int:
            return IntDistribution(self.low, self.high, self.log, self.step or 1)
        return FloatDistribution(self.low, self.high, self.log, self.step)

    def tidy(self, drawn: float) -> float:
        """Return what was drawn without digits that nobody would type: 0.0003162."""
        if self.int:
            return drawn
        digits = 12 if self.step else 4
        return min(max(float(f"{drawn:.{digits}g}"), self.low), self.high)

    def value(self, kept: float) -> float:
        """Return the flag's value."""
        return kept

    def to_plain(self) -> dict[str, Any]:
        """Return the YAML that reads as this."""
        plain = {"low": self.low, "high": self.high, "log": self.log, "int": self.int}
        return plain if self.step is None else plain | {"step": self.step}


Space = Choices | Range


def read_space(flag: str, written: Any, *, grid: bool) -> Space:
    """Return what YAML says of one searched flag.

    Args:
        flag: the flag's name, for messages.
        written: a list of choices, or a mapping with `RANGE_KEYS`.
        grid: whether the space must be countable.

    Raises:
        UsageError: one line that names the flag.
    """
    if isinstance(written, list):
        return _read_choices(flag, written)
    if not isinstance(written, dict):
        raise UsageError(
            f"search: {flag}: expected a list of choices or {{low: …, high: …}}, got {written}"
        )
    space = _read_range(flag, written)
    if grid and space.step is None and (space.log or not space.int):
        raise UsageError(
            f"search: {flag}: a grid needs a list of choices, or low, high and step; "
            "sampler tpe or random draws from a range"
        )
    return space


def _read_choices(flag: str, written: list) -> Choices:
    if not written:
        raise UsageError(f"search: {flag}: expected one choice or more, got an empty list")
    choices = Choices(tuple(written))
    twice = {label for label in choices.labels if choices.labels.count(label) > 1}
    if twice:
        raise UsageError(f"search: {flag}: {min(twice)} is given twice")
    return choices


def _read_range(flag: str, written: dict) -> Range:
    for key in written:
        if key not in RANGE_KEYS:
            raise unknown(f"setting of search: {flag}", str(key), RANGE_KEYS)
    for key in ("low", "high"):
        if key not in written:
            raise UsageError(f"search: {flag}: a range needs low and high; {key} is missing")
    for key in ("log", "int"):
        if not isinstance(written.get(key, False), bool):
            raise UsageError(f"search: {flag}: expected true or false for {key}")
    whole = written.get("int", False)
    numbers = {
        key: _number(flag, key, written[key], whole)
        for key in ("low", "high", "step")
        if written.get(key) is not None
    }
    space = Range(**numbers, log=written.get("log", False), int=whole)
    if not space.low < space.high:
        raise UsageError(
            f"search: {flag}: expected low below high, got {space.low} and {space.high}"
        )
    if space.log and (space.low <= 0 or space.step is not None):
        raise UsageError(f"search: {flag}: log needs low above 0 and no step")
    if space.step is not None and not 0 < space.step <= space.high - space.low:
        raise UsageError(f"search: {flag}: expected a step within the range, got {space.step}")
    return space


def _number(flag: str, key: str, written: Any, whole: bool) -> float:
    try:
        number = float(written)  # PyYAML reads 1e-4 as text
        if isinstance(written, bool) or not math.isfinite(number) or (whole and number % 1):
            raise ValueError
    except (TypeError, ValueError):
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"search: {flag}: expected {kind} for {key}, got {written}") from None
    return int(number) if whole else number


def _label(value: Any) -> str:
    if value is None:
        return "null"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
