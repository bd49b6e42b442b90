"""A campaign as YAML describes it: recipes, seeds, studies and ensembles, checked beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import as_words, read_yaml
from ferplus_keras.config import EvaluateConfig, TrainConfig, read_config
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.run import PLACES
from ferplus_keras.training.schedules import plan_stages
from tools.record import CHECKPOINTS

PROG = "tools/campaign.py"


@dataclass(frozen=True)
class Entry:
    """One training with its evaluation, or the evaluation of an ensemble.

    Attributes:
        name: of the run and of its result.
        members: runs that are evaluated: the entry's own, or an ensemble's.
        test: settings of test.py.
        recipe: YAML file; None for an ensemble.
        settings: those of train.py that differ from the recipe's.
        starts: settings, the recipe's too, that name other runs in checkpoints/.
        study: folder of the result within the folder of results; "" for none.
    """

    name: str
    members: tuple[str, ...]
    test: dict[str, Any]
    recipe: Path | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    starts: dict[str, Any] = dataclasses.field(default_factory=dict)
    study: str = ""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the entries that must be done before."""
        starts = {run for value in self.starts.values() for run in _runs_in(value)}
        return frozenset(starts | set(self.members) - {self.name})

    def train_settings(self, checkpoints_dir: Path) -> dict[str, Any]:
        """Return train.py's settings, but for the data and the name."""
        inside = {key: _inside(value, checkpoints_dir) for key, value in self.starts.items()}
        return {"config": str(self.recipe), **self.settings, **inside, "loggers": "none"}

    def test_words(self, checkpoints_dir: Path) -> list[str]:
        """Return test.py's arguments, but for the data."""
        paths = [str(checkpoints_dir / member) for member in self.members]
        return as_words({"checkpoint_path": paths, **self.test})


def read_plan(path: Path, recipes_dir: Path, *, pilot: bool = False) -> list[Entry]:
    """Return the entries of a YAML file, in its order.

    Args:
        path: the plan.
        recipes_dir: folder of the recipes that it names.
        pilot: one seed, one epoch (of each stage) and 256 rows each, to find mistakes early.

    Raises:
        UsageError: an unknown key, recipe, setting or member, a wrong value or a name that is
            given twice; one line.
    """
    written = read_yaml(path, f"no plan {path}; recipes/campaigns/ has examples")
    reader = _Reader(path, recipes_dir, pilot)
    reader.check(written, (), ("runs", "study", "ensembles"))
    entries = [entry for run in written.get("runs") or [] for entry in reader.runs(run)]
    if written.get("study"):
        entries += reader.study(written["study"])
    names = [entry.name for entry in entries]
    for group in written.get("ensembles") or []:
        reader.check(group, ("name", "members"), ("test",))
        members = tuple(name for name in group["members"] if not pilot or name in names)
        for member in members:
            if member not in names:
                raise unknown(f"member of {group['name']}", member, names)
        entries.append(Entry(group["name"], members, _checked_test(group)))
    if not entries:
        raise UsageError(f"{path}: expected runs: or study: with something in it")
    for number, entry in enumerate(entries):
        earlier = [before.name for before in entries[:number]]
        if entry.name in earlier:
            raise UsageError(f"{path}: two runs are called {entry.name}; give one a name:")
        for need in entry.needs:
            if need not in earlier:
                raise UsageError(f"{path}: {entry.name} needs the run {need} before it")
    return entries


@dataclass(frozen=True)
class _Reader:
    """Reads the trainings of one plan."""

    path: Path
    recipes_dir: Path
    pilot: bool

    def runs(self, run: Any) -> Iterator[Entry]:
        """Yield one entry per seed."""
        self.check(run, ("recipe",), ("name", "seeds", "settings", "test"))
        for suffix, seed in self._seeds(run):
            name = run.get("name", run["recipe"]) + suffix
            settings = (run.get("settings") or {}) | seed
            yield self._training(name, run, settings, test=_checked_test(run))

    def study(self, study: Any) -> Iterator[Entry]:
        """Yield the base and every variant with the first seed, then with the next."""
        self.check(study, ("name", "recipe", "variants"), ("seeds", "settings"))
        more = {"test": {"splits": ["validation"]}, "study": study["name"]}
        for suffix, seed in self._seeds(study):
            for variant, changed in ({"base": {}} | study["variants"]).items():
                settings = (study.get("settings") or {}) | (changed or {}) | seed
                name = f"{study['name']}_{variant}{suffix}"
                yield self._training(name, study, settings, **more)

    def check(self, entry: Any, needed: tuple[str, ...], optional: tuple[str, ...]) -> None:
        """Refuse an unknown or missing key of the plan or of an entry in it."""
        keys = (*needed, *optional)
        if not isinstance(entry, dict):
            raise UsageError(
                f"{self.path}: expected 'key: value' lines with {', '.join(keys)}; got {entry}"
            )
        for key in entry:
            if key not in keys:
                raise unknown(f"key in {self.path}", str(key), keys)
        for key in needed:
            if not entry.get(key):
                raise UsageError(f"{self.path}: expected {key}: in the entry {entry}")

    def _seeds(self, entry: dict[str, Any]) -> list[tuple[str, dict[str, int]]]:
        """Return the suffix of the name and the setting of each seed; none for seed 0."""
        seeds = entry.get("seeds", [0])
        whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
        if not whole or not seeds:
            raise UsageError(f"{self.path}: expected seeds: [0, 1, …], got {seeds}")
        return [
            (f"_seed{seed}", {"seed": seed}) if seed else ("", {})
            for seed in (seeds[:1] if self.pilot else seeds)
        ]

    def _training(self, name: str, entry: dict, settings: dict[str, Any], **more: Any) -> Entry:
        for key in settings:
            if key in PLACES:
                raise UsageError(
                    f"{self.path}: {key} of {name} is set by the campaign; leave it out"
                )
        recipe = self.recipes_dir / f"{entry['recipe']}.yaml"
        if not recipe.is_file():
            known = sorted(found.stem for found in self.recipes_dir.glob("*.yaml"))
            raise unknown(f"recipe in {self.path}", entry["recipe"], known)
        config = _checked(recipe, settings)
        if self.pilot:
            stages = ["1:" + stage.split(":", 1)[1] for stage in config.stages or ()]
            epochs = {"stages": stages} if stages else {"nepochs": 1}
            settings = settings | epochs | {"limit_train": 256, "warmup_epochs": 0}
            config = _checked(recipe, settings)
        starts = {
            key: value
            for key, value in vars(config).items()
            if key not in PLACES and any(_runs_in(value))
        }
        return Entry(name, (name,), recipe=recipe, settings=settings, starts=starts, **more)


def _checked_test(entry: dict[str, Any]) -> dict[str, Any]:
    test = entry.get("test") or {}
    read_config(EvaluateConfig, as_words(test), PROG)
    return test


def _runs_in(value: Any) -> Iterator[str]:
    """Yield the names of the runs that a setting names, as in checkpoints/NAME/…"""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, str) and part.startswith(CHECKPOINTS):
            yield part.split("/")[1]


def _inside(value: Any, checkpoints_dir: Path) -> Any:
    """Return a setting with the runs that it names in another folder."""
    if isinstance(value, tuple):
        return [_inside(part, checkpoints_dir) for part in value]
    return str(checkpoints_dir / value.removeprefix(CHECKPOINTS)) if any(_runs_in(value)) else value


def _checked(recipe: Path, settings: dict[str, Any]) -> TrainConfig:
    """Return the settings of a training, or raise UsageError for what it could not follow."""
    config = read_config(TrainConfig, as_words({"config": str(recipe), **settings}), PROG)
    plan_stages(config)
    return config
