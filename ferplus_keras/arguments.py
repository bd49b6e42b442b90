"""How settings are declared, and read from command lines and YAML files.

Lists are written as on the older project's command line, `--class_weights 1 2 3`, and a YAML file
(`--config`) holds the same names and values, which is why this is `argparse` over dataclasses.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ferplus_keras.errors import UsageError, one_line, unknown

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its name and default.

    Attributes:
        meaning: for `--help`.
        kind: int, float, bool or str; a tuple of kinds takes the first that reads the text.
        low: smallest value.
        above: bound that a value exceeds.
        below: bound that a value stays under.
        high: largest value.
        known: accepted names; an unknown one is refused with the nearest spelling.
        many: whether it takes one or more values.
        group: heading in `--help`, on the first setting under it.
    """

    meaning: str
    kind: type | tuple[type, ...] = str
    low: float | None = None
    above: float | None = None
    below: float | None = None
    high: float | None = None
    known: Collection[str] = ()
    many: bool = False
    group: str = ""

    def read(self, text: str) -> Any:
        """Return the value that a text stands for.

        Raises:
            ValueError: it stands for none, or for one out of range; says what was expected.
        """
        if self.kind is bool:
            if text.casefold() not in TRUTHS:
                raise ValueError(f"expected true or false, got '{text}'")
            return TRUTHS[text.casefold()]
        for kind in self.kind if isinstance(self.kind, tuple) else (self.kind,):
            try:
                value = kind(text)
            except ValueError:
                continue
            if isinstance(value, str) or self._in_range(value):
                return value
        raise ValueError(f"expected {self._range()}, got '{text}'")

    def _in_range(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.high is None or value <= self.high)
        )

    def _range(self) -> str:
        if self.kind is int:
            most = "" if self.high is None else f" and at most {self.high:g}"
            return f"a whole number of at least {self.low:g}{most}"
        words = [("from", self.low), ("above", self.above), ("below", self.below)]
        bounds = [
            f"{word} {bound:g}"
            for word, bound in [*words, ("at most", self.high)]
            if bound is not None
        ]
        return f"a number {' and '.join(bounds)}"


def setting(default: Any, meaning: str, kind: Any = str, **details: Any) -> Any:
    """Return a dataclass field that is a setting; `Setting` lists the details."""
    how = {"default_factory" if callable(default) else "default": default}
    if details.get("known"):
        meaning = f"{meaning.rstrip('.')}: {', '.join(details['known'])}."
    return field(**how, metadata={"setting": Setting(meaning, kind, **details)})


@dataclass(frozen=True)
class Config:
    """Settings that are checked when they are made, from flags and from Python alike.

    Raises:
        UsageError: a name that is in no table, or a value out of range.
    """

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            about: Setting = entry.metadata["setting"]
            value = getattr(self, entry.name)
            if isinstance(value, list) or (value is not None and about.many):
                value = (value,) if isinstance(value, str | float | int) else tuple(value)
                object.__setattr__(self, entry.name, value)
            for item in value if isinstance(value, tuple) else (value,):
                if item is None:
                    continue
                if about.known and item not in about.known:
                    raise unknown(f"--{entry.name}", item, about.known)
                try:
                    about.read(str(item))
                except ValueError as error:
                    raise UsageError(f"--{entry.name}: {error}") from None


def to_plain(config: Config) -> dict[str, Any]:
    """Return settings as YAML-ready values."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


class LineParser(argparse.ArgumentParser):
    """argparse whose errors are one line, with the nearest spelling of an unknown flag."""

    def __init__(self, **options: Any) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"allow_abbrev": False, "formatter_class": raw, **options})

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and exiting."""
        raise UsageError(message)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse, naming the nearest spelling of a flag that there is not."""
        found, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("--"):
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise unknown("argument", rest[0].split("=")[0], flags)
        if rest:
            raise UsageError(f"unexpected argument '{rest[0]}'; settings are given as --name value")
        return found


def parse(
    config_class: type, argv: Sequence[str], prog: str = "", description: str = ""
) -> dict[str, Any]:
    """Return what a command line says of the settings of a class, and `config`, its YAML files.

    Raises:
        UsageError: unknown flag, or a value of the wrong kind.
    """
    usage = f"{prog} [--config YAML] [--SETTING VALUE ...]"
    parser = LineParser(prog=prog, description=description, usage=usage)
    parser.add_argument(
        "--config",
        action="append",
        default=argparse.SUPPRESS,
        metavar="YAML",
        help="File of settings; flags win over it.",
    )
    group = parser
    for entry in dataclasses.fields(config_class):
        about: Setting = entry.metadata["setting"]
        if about.group:
            group = parser.add_argument_group(about.group)
        options: dict[str, Any] = {"metavar": entry.name.upper()}
        meaning = about.meaning
        if about.kind is bool:
            options = {"metavar": "true|false", "nargs": "?", "const": True}
        elif entry.default not in (None, dataclasses.MISSING):
            shown = entry.default if isinstance(entry.default, tuple) else (entry.default,)
            meaning += f" [{' '.join(map(str, shown))}]"
        if about.many:
            options["nargs"] = "+"
        group.add_argument(
            f"--{entry.name}",
            default=argparse.SUPPRESS,
            help=meaning.replace("%", "%%"),
            type=reader(about),
            **options,
        )
    return vars(parser.parse_args(list(argv)))


def reader(about: Setting) -> Any:
    """Return what argparse takes as the type of a setting."""

    def read(text: str) -> Any:
        try:
            return about.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def read_yaml(path: Path, absent: str) -> Any:
    """Return what a YAML file that somebody wrote holds.

    Args:
        path: the file.
        absent: what to say when it is not there.

    Raises:
        UsageError: it is not there, not YAML, or names a key twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a repeated key, of which YAML would silently keep the last."""

        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.YAMLError(f"the key '{key}' appears twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UsageError(absent) from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path} as YAML: {one_line(error)}") from None


def as_settings(config_class: type, path: Path) -> dict[str, Any]:
    """Return the settings that a YAML file gives.

    A mapping stands for a list of NAME=VALUE, and a list in it for VALUE+VALUE.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or a value of the wrong kind.
    """
    settings = read_yaml(path, f"no configuration file {path}")
    if not isinstance(settings, dict):
        raise UsageError(f"expected 'setting: value' lines in {path}")
    known = {entry.name: entry.metadata["setting"] for entry in dataclasses.fields(config_class)}
    found = {}
    for key, value in settings.items():
        if key not in known:
            raise unknown(f"setting in {path}", str(key), known)
        if value is None:
            continue
        if isinstance(value, dict) and known[key].many:
            value = [f"{name}={_joined(part)}" for name, part in value.items()]
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict) or (len(values) > 1 and not known[key].many):
            raise UsageError(f"{path}: expected one value for '{key}', got {value}")
        try:
            read = tuple(known[key].read(str(item)) for item in values)
        except ValueError as error:
            raise UsageError(f"{path}: {key}: {error}") from None
        found[key] = read if known[key].many else read[0]
    return found


def as_words(settings: dict[str, Any]) -> list[str]:
    """Return settings as words of a command line; those that are None are left out."""
    words: list[str] = []
    for flag, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{flag}", *map(str, values)]
    return words


def _joined(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
