"""A campaign as YAML says it: which recipes, seeds, studies and ensembles, checked beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import PLACES, read_config, read_yaml
from ferplus_keras.config import EvaluateConfig, TrainConfig
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.results.record import CHECKPOINTS
from ferplus_keras.sweep.plan import as_words
from ferplus_keras.training.schedules import check_policy
from ferplus_keras.training.stages import stage_configs

KEYS = ("runs", "study", "ensembles")
OF_RUN = ("recipe", "name", "seeds", "settings", "test")
OF_STUDY = ("name", "recipe", "seeds", "settings", "variants")
OF_ENSEMBLE = ("name", "members", "test")
"""What a plan, and each entry in it, may say."""

PROG = "campaign"


@dataclass(frozen=True)
class Job:
    """One training with its evaluation, or the evaluation of an ensemble.

    Attributes:
        name: of the run and of its result.
        recipe: YAML file; None for an ensemble.
        settings: those of train.py that differ from the recipe's.
        starts: settings, the recipe's too, that name other runs in checkpoints/.
        members: runs that are evaluated: the job's own, or an ensemble's.
        test: settings of test.py.
        study: folder of the result within the folder of results; "" for none.
    """

    name: str
    recipe: Path | None
    settings: dict[str, Any]
    starts: dict[str, Any]
    members: tuple[str, ...]
    test: dict[str, Any]
    study: str

    @property
    def needs(self) -> frozenset[str]:
        """Names of the jobs that must be done before."""
        starts = {run for value in self.starts.values() for run in _runs_in(value)}
        return frozenset(starts | set(self.members) - {self.name})

    def train_words(self, checkpoints_dir: Path) -> list[str]:
        """Return train.py's arguments, but for the data."""
        inside = {key: _inside(value, checkpoints_dir) for key, value in self.starts.items()}
        places = {"name": self.name, "checkpoints_dir": str(checkpoints_dir), "loggers": "none"}
        return ["--config", str(self.recipe), *as_words(self.settings | inside | places)]

    def test_words(self, checkpoints_dir: Path) -> list[str]:
        """Return test.py's arguments, but for the data."""
        paths = [str(checkpoints_dir / member) for member in self.members]
        return as_words({"checkpoint_path": paths, **self.test})


def read_plan(path: Path, recipes_dir: Path, *, pilot: bool = False) -> list[Job]:
    """Return the jobs that a YAML file asks for, in its order.

    Args:
        path: the plan.
        recipes_dir: folder of the recipes that it names.
        pilot: one seed, one epoch (of each stage) and 256 rows each, to find mistakes early.

    Raises:
        UsageError: an unknown key, recipe, setting or member, a wrong value or a name that is
            given twice; one line.
    """
    written = read_yaml(path, f"no plan {path}; recipes/campaigns/ has examples")
    _known(path, written, KEYS)
    jobs = [
        job for entry in written.get("runs") or [] for job in _runs(path, entry, recipes_dir, pilot)
    ]
    if written.get("study"):
        jobs += _study(path, written["study"], recipes_dir, pilot)
    names = [job.name for job in jobs]
    for entry in written.get("ensembles") or []:
        _known(path, entry, OF_ENSEMBLE, needed=("name", "members"))
        members = [name for name in entry["members"] if not pilot or name in names]
        for member in members:
            if member not in names:
                raise unknown(f"member of {entry['name']}", member, names)
        jobs.append(_evaluation(entry["name"], tuple(members), entry.get("test") or {}))
    if not jobs:
        raise UsageError(f"{path}: expected runs: or study: with something in it")
    for number, job in enumerate(jobs):
        earlier = [before.name for before in jobs[:number]]
        if job.name in earlier:
            raise UsageError(f"{path}: two runs are called {job.name}; give one a name:")
        for need in job.needs:
            if need not in earlier:
                raise UsageError(f"{path}: {job.name} needs the run {need} before it")
    return jobs


def _runs(path: Path, entry: Any, recipes_dir: Path, pilot: bool) -> Iterator[Job]:
    _known(path, entry, OF_RUN, needed=("recipe",))
    name = entry.get("name", entry["recipe"])
    for seed in _seeds(path, entry, pilot):
        yield _training(
            path,
            f"{name}_seed{seed}" if seed else name,
            recipes_dir / f"{entry['recipe']}.yaml",
            {**(entry.get("settings") or {}), **({"seed": seed} if seed else {})},
            entry.get("test") or {},
            pilot=pilot,
        )


def _study(path: Path, entry: Any, recipes_dir: Path, pilot: bool) -> Iterator[Job]:
    """Return the runs of a study: its base with every seed, then each variant once."""
    _known(path, entry, OF_STUDY, needed=("name", "recipe", "variants"))
    own = entry.get("settings") or {}
    changes = [(f"base_seed{seed}" if seed else "base", {"seed": seed} if seed else {})
               for seed in _seeds(path, entry, pilot)]  # fmt: skip
    changes += [(name, changed or {}) for name, changed in entry["variants"].items()]
    for name, changed in changes:
        yield _training(
            path,
            f"{entry['name']}_{name}",
            recipes_dir / f"{entry['recipe']}.yaml",
            own | changed,
            {"splits": ["validation"]},
            study=entry["name"],
            pilot=pilot,
        )


def _training(
    path: Path,
    name: str,
    recipe: Path,
    settings: dict[str, Any],
    test: dict[str, Any],
    *,
    study: str = "",
    pilot: bool = False,
) -> Job:
    for key in settings:
        if key in PLACES:
            raise UsageError(f"{path}: {key} of {name} is the campaign's to set; leave it out")
    if not recipe.is_file():
        known = sorted(found.stem for found in recipe.parent.glob("*.yaml"))
        raise unknown(f"recipe in {path}", recipe.stem, known)
    config = _config(recipe, settings)
    if pilot:
        settings = settings | _pilot(config)
        config = _config(recipe, settings)
    for stage in stage_configs(config):
        check_policy(stage)
    read_config(EvaluateConfig, as_words(test), PROG)
    return Job(name, recipe, settings, _starts(config), (name,), test, study)


def _evaluation(name: str, members: tuple[str, ...], test: dict[str, Any]) -> Job:
    read_config(EvaluateConfig, as_words(test), PROG)
    return Job(name, None, {}, {}, members, test, "")


def _pilot(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that make a run short."""
    short: dict[str, Any] = {"nepochs": 1, "limit_train": 256, "warmup_epochs": 0}
    if config.stages:
        short["stages"] = ["1:" + stage.split(":", 1)[1] for stage in config.stages]
    return short


def _config(recipe: Path, settings: dict[str, Any]) -> TrainConfig:
    return read_config(TrainConfig, ["--config", str(recipe), *as_words(settings)], PROG)


def _seeds(path: Path, entry: dict[str, Any], pilot: bool) -> list[int]:
    seeds = entry.get("seeds", [0])
    if (
        not isinstance(seeds, list)
        or not all(type(s) is int and s >= 0 for s in seeds)
        or not seeds
    ):
        raise UsageError(f"{path}: expected seeds: [0, 1, …], got {seeds}")
    return seeds[:1] if pilot else seeds


def _runs_in(value: Any) -> Iterator[str]:
    """Yield the names of the runs that a setting names, as in checkpoints/NAME/…"""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, str) and part.startswith(CHECKPOINTS):
            yield part.split("/")[1]


def _inside(value: Any, checkpoints_dir: Path) -> Any:
    """Return a setting with the runs that it names in another folder."""
    if isinstance(value, tuple):
        return [_inside(part, checkpoints_dir) for part in value]
    if any(_runs_in(value)):
        return str(checkpoints_dir / value.removeprefix(CHECKPOINTS))
    return value


def _starts(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that name other runs."""
    names = [setting.name for setting in dataclasses.fields(config) if setting.name not in PLACES]
    found = {name: getattr(config, name) for name in names}
    return {name: value for name, value in found.items() if any(_runs_in(value))}


def _known(path: Path, entry: Any, keys: tuple[str, ...], needed: tuple[str, ...] = ()) -> None:
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: expected 'key: value' lines with {', '.join(keys)}; got {entry}")
    for key in entry:
        if key not in keys:
            raise unknown(f"key in {path}", str(key), keys)
    for key in needed:
        if not entry.get(key):
            raise UsageError(f"{path}: expected {key}: in the entry {entry}")
