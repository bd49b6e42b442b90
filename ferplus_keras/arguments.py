"""How settings are declared, and read from command lines and YAML files.

Lists are written as on the older project's command line, `--class_weights 1 2 3`, and a YAML file
(`--config`) holds the same names and values, which is why this is `argparse` over dataclasses.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

from ferplus_keras.errors import UsageError, one_line, unknown
from ferplus_keras.inputs import plain
from ferplus_keras.lazy import yaml

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_truth(text: str) -> bool:
    """Return the truth that a text stands for; raises argparse's error for any other text."""
    if text.casefold() not in TRUTHS:
        raise argparse.ArgumentTypeError(f"expected true or false, got '{text}'")
    return TRUTHS[text.casefold()]


@dataclass(frozen=True)
class Number:
    """Reads numbers, as a type for argparse and, in `Annotated`, for a setting."""

    kind: type[int] | type[float]
    low: float | None = None  # smallest value
    above: float | None = None  # bound that a value exceeds
    below: float | None = None  # bound that a value stays under
    high: float | None = None  # largest value
    word: str | None = None  # text that stands for itself instead of a number

    def __call__(self, text: str) -> float | str:
        """Return the number; raises argparse's error, which says what was expected."""
        if text == self.word:
            return text
        noun, least = ("number", "from") if self.kind is float else ("whole number of", "at least")
        words = (least, "above", "below", "at most")
        tests = (operator.ge, operator.gt, operator.lt, operator.le)
        limits = (self.low, self.above, self.below, self.high)
        bounds = [each for each in zip(words, tests, limits, strict=True) if each[2] is not None]
        with suppress(ValueError):
            value = self.kind(text)
            if math.isfinite(value) and all(holds(value, bound) for _, holds, bound in bounds):
                return value
        instead = f", or {self.word}" if self.word else ""
        allowed = " and ".join(f"{word} {bound:g}" for word, _, bound in bounds)
        raise argparse.ArgumentTypeError(f"expected a {noun} {allowed}{instead}, got '{text}'")


_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # in no path

READERS = {str: str, bool: read_truth, int: Number(int), float: Number(float)}
"""What reads the text of a setting that is annotated with a plain type."""


class Setting(NamedTuple):
    """What is known of one setting."""

    meaning: str  # for `--help`
    default: Any  # dataclasses.MISSING where a function finds it
    known: Collection[str]  # accepted names; others are refused with the nearest spelling
    group: str  # heading in `--help`, on the first setting under it
    readers: list[Callable[[str], Any]]  # from text to value; the first that can read a text does
    many: bool  # whether it takes one or more values

    def read(self, text: str) -> Any:
        """Return the value that a text stands for; raises argparse's error."""
        *others, last = self.readers
        for reader in others:
            with suppress(argparse.ArgumentTypeError):
                return reader(text)
        return last(text)

    def read_all(self, value: Any, where: str) -> Any:
        """Return what a value stands for, a tuple if it takes many; UsageErrors begin with `where`.

        A mapping stands for a list of NAME=VALUE, and a list in it for VALUE+VALUE.
        """
        items = [*map(str, _items(value))]
        if (isinstance(value, dict) or len(items) != 1) and not self.many:
            raise UsageError(f"{where}: expected one value, got {value}")
        for item in items:
            if _NO_TEXT.search(item):
                raise UsageError(f"{where}: expected text that can name a file, got {item!r}")
            if self.known and item not in self.known:
                raise unknown(where, item, self.known)
        try:
            read = tuple(map(self.read, items))
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{where}: {error}") from None
        return read if self.many else read[0]


def setting(meaning: str, default: Any = None, known: Collection[str] = (), group: str = "") -> Any:
    """Return a dataclass field that is a setting; its annotation says which values it takes."""
    if known:
        meaning = f"{meaning.rstrip('.')}: {', '.join(known)}."
    how = {"default_factory" if callable(default) else "default": default}
    return dataclasses.field(**how, metadata={"meaning": meaning, "known": known, "group": group})


@functools.cache
def settings_of(config_class: type[Config]) -> dict[str, Setting]:
    """Return the settings of a class by name."""
    hints = get_type_hints(config_class, include_extras=True)
    found = {}
    for entry in dataclasses.fields(config_class):
        hint = hints[entry.name]
        many = tuple in map(get_origin, (hint, *get_args(hint)))
        found[entry.name] = Setting(
            **entry.metadata, default=entry.default, readers=[*_readers(hint)], many=many
        )
    return found


def _readers(hint: Any) -> Iterator[Callable[[str], Any]]:
    if hint in READERS:
        yield READERS[hint]
    elif get_origin(hint) is Annotated:
        yield hint.__metadata__[0]
    else:  # alternatives, or the items of a tuple
        for part in get_args(hint):
            yield from _readers(part)


@dataclass(frozen=True)
class Config:
    """Settings that are checked when they are made, from flags and from Python alike.

    Raises:
        UsageError: a name that is in no table, or a value out of range.
    """

    def __post_init__(self) -> None:
        for name, about in settings_of(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, about.read_all(value, f"--{name}"))
            elif about.default is not None:
                raise UsageError(f"--{name}: expected a value, got None")


def to_plain(config: Config) -> dict[str, Any]:
    """Return settings as YAML-ready values."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


DROPPED = {
    "--n_threads_train": "give --workers, or leave it out",
    "--n_threads_test": "leave it out",
    "--output_logs_dir": "leave it out, logs are written to the run's folder",
    "--remove_prev_exp": "give --overwrite to train.py, or leave it out",
}
"""Flags of wtomin's project that have another name or no use here -> what to do."""


class LineParser(argparse.ArgumentParser):
    """argparse whose errors are one line, with the nearest spelling of an unknown flag."""

    def __init__(self, **options: Any) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"allow_abbrev": False, "formatter_class": raw, **options})

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and exiting."""
        raise UsageError(message.removeprefix("argument "))

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse, naming the nearest spelling of a flag that there is not."""
        found, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("--"):
            flag = rest[0].split("=")[0]
            if flag in DROPPED:
                raise UsageError(f"{flag} is the older project's: {DROPPED[flag]}")
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise unknown("argument", flag, flags)
        if rest:
            raise UsageError(f"unexpected argument '{rest[0]}'; settings are given as --name value")
        return found


def parse(
    config_class: type[Config], argv: Sequence[str], prog: str = "", description: str = ""
) -> dict[str, Any]:
    """Return what a command line says of the settings of a class, and `config`, its YAML files.

    Raises:
        UsageError: unknown flag, or a value of the wrong kind.
    """
    usage = f"{prog} [--config YAML] [--SETTING VALUE ...]"
    parser = LineParser(
        prog=prog, description=description, usage=usage, argument_default=argparse.SUPPRESS
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="YAML",
        help="File of settings, or the name of a recipe; flags win over it.",
    )
    group = parser
    for name, about in settings_of(config_class).items():
        if about.group:
            group = parser.add_argument_group(about.group)
        _add_setting(group, name, about)
    return vars(parser.parse_args(list(argv)))


def add_settings(
    parser: argparse.ArgumentParser, config_class: type[Config], names: Iterable[str]
) -> None:
    """Give the parser of a command some settings of a class, with their defaults."""
    defaults, about = config_class(), settings_of(config_class)
    for name in names:
        choices = list(about[name].known) or None
        _add_setting(parser, name, about[name], default=getattr(defaults, name), choices=choices)


def _add_setting(parser: argparse._ActionsContainer, name: str, about: Setting, **more) -> None:
    options = {"metavar": name.upper()}
    meaning = about.meaning
    if about.readers == [read_truth]:
        options = {"metavar": "true|false", "nargs": "?", "const": True}
    elif about.default not in (None, dataclasses.MISSING):
        shown = about.default if about.many else (about.default,)
        meaning += f" [{' '.join(map(str, shown))}]"
    if about.many:
        options["nargs"] = "+"
    meaning = meaning.replace("%", "%%")
    parser.add_argument(f"--{name}", type=about.read, help=meaning, **options, **more)


def read_yaml(path: Path, absent: str) -> Any:
    """Return what a YAML file that somebody wrote holds.

    Args:
        path: the file, or the name of a recipe, with or without `recipes/` and `.yaml`. Recipes lie
            in the package where it is installed, and beside it in the repository.
        absent: what to say when it is not there.

    Raises:
        UsageError: it is not there, not YAML, or names a key twice.
    """

    class Loader(yaml.SafeLoader):
        """Refuses a repeated key, of which YAML keeps the last, and aliases, which multiply.

        10:0:0.001, a stage, and 010, a class, stay text: YAML 1.1 reads them to base 60 and 8.
        """

        def resolve(self, kind, value, implicit):
            if kind is yaml.ScalarNode and re.search("^0[0-9]+$|:", value):
                return self.DEFAULT_SCALAR_TAG
            return super().resolve(kind, value, implicit)

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("expected values written out, got an alias (*name)")
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.YAMLError(f"the key '{key}' appears twice")
            return super().construct_mapping(node, deep)

    package = Path(__file__).parent
    recipe = f"recipes/{str(path).removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    places = (path, package / recipe, package.parent / recipe)
    path = next((place for place in places if place.is_file()), path)
    try:
        return yaml.load(plain(path).read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UsageError(absent) from None
    except Exception as error:  # a tag such as !!float raises what Python's own type does
        raise UsageError(f"cannot read {path} as YAML: {one_line(error)}") from None


def as_settings(config_class: type, path: Path) -> dict[str, Any]:
    """Return the settings that a YAML file gives, as `Setting.read_all` reads them.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or a value of the wrong kind.
    """
    settings = read_yaml(path, f"no configuration file {path}")
    if not isinstance(settings, dict):
        raise UsageError(f"expected 'setting: value' lines in {path}")
    known, found = settings_of(config_class), {}
    for key, value in settings.items():
        if key not in known:
            raise unknown(f"setting in {path}", str(key), known)
        if value is not None:
            found[key] = known[key].read_all(value, f"{key} in {path}")
    return found


def _items(value: Any) -> Sequence:
    """Return a value of a setting as its items; a mapping's are NAME=VALUE or NAME=VALUE+VALUE."""
    if isinstance(value, dict):
        parts = {name: part if isinstance(part, list) else [part] for name, part in value.items()}
        return [f"{name}={'+'.join(map(str, part))}" for name, part in parts.items()]
    return value if isinstance(value, list | tuple) else [value]


def as_words(settings: dict[str, Any]) -> list[str]:
    """Return settings as words of a command line; those that are None are left out.

    Raises:
        UsageError: a value would be read as a flag.
    """
    words: list[str] = []
    for flag, value in settings.items():
        if value is not None:
            values = [*map(str, _items(value))]
            if hidden := [item for item in values if item.startswith("--")]:
                raise UsageError(f"expected a value for '{flag}', got '{hidden[0]}'")
            words += [f"--{flag}", *values]
    return words
