"""The folder that the workers of a sweep share: which trials there are, and who runs them.

The journal is a file to which lines are added under a lock that also holds over NFS, where SQLite's
does not. A trial is written to it whole, so a kill leaves none incomplete. The worker that runs a
trial, and its training, hold a lock on its train.log. A trial that the journal calls running and
whose log is free was interrupted, and is resumed.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.config import PLACES
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.queue import lock_log
from ferplus_keras.run import Run
from ferplus_keras.sweep.plan import METRICS, Plan

if TYPE_CHECKING:
    import optuna

LOG = "train.log"


class Trials:
    """The trials of one sweep, in a folder with sweep.yaml, journal.log and trials/<number>/.

    Raises:
        InputError: the folder cannot be written, or it holds another sweep.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        require_writable(folder / "trials", "--sweep_dir")
        self.plan = plan
        self.folder = folder
        with self.locked():
            _keep_plan(plan, folder / "sweep.yaml")
            self.study = _open_study(plan, folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the sweep's other workers from claiming trials and writing results."""
        with (self.folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def run(self, number: int) -> Run:
        """Return the run of a trial."""
        return Run(self.folder / "trials" / str(number))

    def all(self) -> list[optuna.trial.FrozenTrial]:
        """Return every trial so far, by number."""
        return self.study.get_trials(deepcopy=False)

    def claim(self) -> tuple[int, dict[str, Any], int] | None:
        """Return number, parameters and locked log of a trial to run; None: all have a worker."""
        from optuna.trial import TrialState, create_trial

        with self.locked():
            trials = self.all()
            for trial in trials:
                if trial.state == TrialState.RUNNING:
                    log = self._lock(trial.number)
                    if log is not None:
                        return trial.number, trial.params, log
            number = len(trials)
            if number >= self.plan.trials:
                return None
            log = self._lock(number)
            if log is None:  # its training outlived a journal that somebody removed
                raise InputError(f"{self.run(number).folder} is in use; choose another --sweep_dir")
            space = {flag: space.distribution() for flag, space in self.plan.search.items()}
            kept = self._draw(trials, space)
            self.study.add_trial(
                create_trial(state=TrialState.RUNNING, params=kept, distributions=space)
            )
        return number, kept, log

    def _lock(self, number: int) -> int | None:
        return lock_log(self.run(number) / LOG)

    def is_running(self, number: int) -> bool:
        """Say whether some process runs a trial that has no result yet."""
        log = self._lock(number)
        if log is not None:
            os.close(log)
        return log is None

    def best_epoch(self, number: int) -> dict[str, float] | None:
        """Return the line of a trial's training.csv that is best by the sweep's metric."""
        metric = self.plan.metric
        better = max if METRICS[metric] == "maximize" else min
        epochs = [epoch for epoch in self.run(number).history() if math.isfinite(epoch[metric])]
        return better(epochs, key=lambda epoch: epoch[metric], default=None)

    def finish(self, number: int) -> float | None:
        """Write a trial's best metric to the journal, or that it failed; return it."""
        from optuna.trial import TrialState

        best = self.best_epoch(number) if self.run(number).is_trained else None
        value = best and best[self.plan.metric]
        self.study.tell(number, value, state=None if best else TrialState.FAIL)
        return value

    def _draw(self, trials: list, space: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the next trial, decided by the seed and the trials so far."""
        import optuna

        if self.plan.sampler == "grid":  # Optuna's visits a grid in random order
            return self.plan.grid()[len(trials)]
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        sampler = samplers[self.plan.sampler](seed=self.plan.base.get("seed", 0) + len(trials))
        draft = optuna.create_study(direction=METRICS[self.plan.metric], sampler=sampler)
        draft.add_trials(trials)
        drawn = draft.ask(fixed_distributions=space).params
        return {flag: self.plan.search[flag].tidy(value) for flag, value in drawn.items()}


def _keep_plan(plan: Plan, path: Path) -> None:
    """Write the plan, or refuse one that is not the one that the folder's trials followed."""
    import yaml

    def shared(plain: dict[str, Any]) -> dict[str, Any]:
        order = ", ".join(plain["search"])  # gives a grid's trials their numbers
        own = {"sampler": plain["sampler"], "metric": plain["metric"], "search": order}
        return own | {f: v for f, v in plain["base"].items() if f not in PLACES} | plain["search"]

    now = plan.to_plain()
    before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else now
    for key in shared(before) | shared(now):
        was, given = (shared(plain).get(key, "the default") for plain in (before, now))
        if was != given:
            raise InputError(
                f"{path.parent} holds a sweep with another {key}: it was {was}, now {given}; "
                "keep it as it was, or choose another --sweep_dir"
            )
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")


def _open_study(plan: Plan, folder: Path) -> optuna.Study:
    """Return the study of a folder; its storage is chosen here and nowhere else."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = str((folder / "journal.log").resolve())
    storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    better = METRICS[plan.metric]
    return optuna.create_study(
        storage=storage, study_name="sweep", direction=better, load_if_exists=True
    )
