"""Settings from command line and YAML.

A YAML file (`--config`) is a set of flags written down: its keys are flag names and its values go
through the same parser, ahead of the command line, so that flags win and a misspelled key is
refused like a misspelled flag. Lists are written as on the older project's command line,
`--class_weights 1 2 3`, which is why this is `argparse` over dataclasses.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ferplus_keras.config import EvaluateConfig, TrainConfig, to_plain, truth
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.training.schedules import reaches_over_all_epochs


class LineParser(argparse.ArgumentParser):
    """argparse whose errors are one line with the nearest spelling."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and exiting."""
        raise UsageError(message)


def build_parser(config_class: type, prog: str, description: str) -> argparse.ArgumentParser:
    """Return the command-line parser of a configuration dataclass."""
    parser = LineParser(
        prog=prog,
        description=description,
        usage=f"{prog} [--config YAML] [--SETTING VALUE ...]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", action="append", metavar="YAML", help="File of settings; flags win over it."
    )
    fields = dataclasses.fields(config_class)
    titles = dict.fromkeys(setting.metadata["group"] for setting in fields)
    groups = {title: parser.add_argument_group(title) for title in titles}
    for setting in fields:
        flag = setting.metadata
        meaning = flag["help"]
        if setting.default not in (None, dataclasses.MISSING) and flag["parse"] is not truth:
            values = setting.default if isinstance(setting.default, tuple) else (setting.default,)
            meaning += f" [{' '.join(map(str, values))}]"
        options: dict[str, Any] = {"type": flag["parse"], "metavar": setting.name.upper()}
        if flag["many"]:
            options["nargs"] = "+"
        if flag["parse"] is truth:
            options |= {"nargs": "?", "const": True, "metavar": "true|false"}
        groups[flag["group"]].add_argument(
            f"--{setting.name}",
            default=argparse.SUPPRESS,
            help=meaning.replace("%", "%%"),
            **options,
        )
    return parser


def read_config(
    config_class: type,
    argv: Sequence[str],
    prog: str,
    description: str = "",
    defaults: Sequence[str] = (),
) -> "TrainConfig | EvaluateConfig":
    """Return the configuration that a command line asks for.

    Args:
        config_class: `TrainConfig` or `EvaluateConfig`.
        argv: arguments without the program's name.
        prog: program name for `--help`.
        description: first lines of `--help`.
        defaults: flags that hold where neither YAML nor command line says otherwise.

    Raises:
        UsageError: unknown flag or key, or a value of the wrong kind; nearest spelling named.
    """
    parser = build_parser(config_class, prog, description)
    given = _parse(parser, config_class, argv)
    below = [*defaults]
    if given.get("resume"):
        below += _as_flags(_resumed_file(config_class, given), config_class)
    for path in given.pop("config", None) or []:
        below += _as_flags(Path(path), config_class)
    settings = _parse(parser, config_class, [*below, *argv])
    settings.pop("config", None)
    config = config_class(**settings)
    if given.get("resume"):
        _refuse_changes(config)
    return config


def _parse(parser: argparse.ArgumentParser, config_class: type, argv: Sequence[str]) -> dict:
    settings, rest = parser.parse_known_args(list(argv))
    if rest:
        flags = [f"--{setting.name}" for setting in dataclasses.fields(config_class)]
        if rest[0].startswith("--"):
            raise unknown("argument", rest[0].split("=")[0], [*flags, "--config", "--help"])
        raise UsageError(f"unexpected argument '{rest[0]}'; every setting is given as --name value")
    return vars(settings)


def read_yaml(path: Path, absent: str) -> Any:
    """Return what a YAML file that somebody wrote holds.

    Args:
        path: the file.
        absent: what to say when it is not there.

    Raises:
        UsageError: it is not there, or not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(absent) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path} as YAML: {' '.join(str(error).split())}") from None


def _as_flags(path: Path, config_class: type) -> list[str]:
    """Return a YAML file's settings as command-line words."""
    settings = read_yaml(path, f"no configuration file {path}")
    if not isinstance(settings, dict):
        raise UsageError(f"expected 'setting: value' lines in {path}")
    fields = {setting.name: setting for setting in dataclasses.fields(config_class)}
    words: list[str] = []
    for key, value in settings.items():
        if key not in fields:
            raise unknown(f"setting in {path}", str(key), fields)
        if value is None:
            continue
        if isinstance(value, dict) and fields[key].metadata["many"]:
            value = [f"{name}={_joined(part)}" for name, part in value.items()]
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict) or (len(values) > 1 and not fields[key].metadata["many"]):
            raise UsageError(f"{path}: expected one value for '{key}', got {value}")
        words += [f"--{key}", *map(str, values)]
    return words


def as_words(settings: dict[str, Any]) -> list[str]:
    """Return settings as words of a command line; those that are None are left out."""
    words: list[str] = []
    for flag, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{flag}", *map(str, values)]
    return words


def _joined(value: Any) -> str:
    """Write the value of a mapping as in NAME=VALUE; the parts of a list are joined by '+'."""
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


PLACES = frozenset(
    {"data_dir", "cache_dir", "checkpoints_dir", "name", "workers", "num_gpus", "loggers"}
    | {"resume", "overwrite"}
)
"""Settings that say where and with how many hands a run is made, not what comes out."""

MAY_CHANGE_ON_RESUME = PLACES | {"nepochs"}
"""Settings that a resumed run may be given anew: none of them alters what an epoch computes."""


def _resumed_file(config_class: type, given: dict) -> Path:
    run_dir = config_class(
        **{key: given[key] for key in ("name", "checkpoints_dir") if key in given}
    ).run_dir
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UsageError(f"nothing to resume: no {path}; start the run without --resume")
    return path


def _refuse_changes(config: "TrainConfig") -> None:
    import yaml

    saved = yaml.safe_load((config.run_dir / "config.yaml").read_text(encoding="utf-8"))
    planned_to_the_end = config.stages or reaches_over_all_epochs(config)
    free = MAY_CHANGE_ON_RESUME - ({"nepochs"} if planned_to_the_end else set())
    for key, value in to_plain(config).items():
        if key not in free and saved.get(key) != value:
            raise UsageError(
                f"--resume goes on as the run began: --{key} was {saved.get(key)}, got {value}; "
                "leave it out, or start a new run with another --name"
            )
