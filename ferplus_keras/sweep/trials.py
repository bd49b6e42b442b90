"""The folder that the workers of a sweep share: which trials there are, and who runs them.

    sweep.yaml       the plan, which later starts must repeat
    journal.log      Optuna's journal: every trial with its parameters, state and value
    trials/<number>/ a run folder each, with train.log

The journal is a file to which lines are added under a lock that also holds over NFS, where SQLite's
does not. Trials are written to it whole, with their parameters, so that a kill leaves none
half-made. Whoever runs a trial holds a lock on its train.log, the training process included; the
operating system frees it when they are gone. A trial that the journal calls running and whose log
is free was interrupted, and is gone on with.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.arguments import PLACES
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.sweep.plan import Plan
from ferplus_keras.sweep.results import Result, read_error, read_result
from ferplus_keras.training.run_folder import going_on

if TYPE_CHECKING:
    import optuna

PLAN = "sweep.yaml"
JOURNAL = "journal.log"
LOCK = ".lock"
TRIALS = "trials"
LOG = "train.log"


@dataclass(frozen=True, eq=False)
class Claim:
    """A trial that this process runs, and the open train.log whose lock says so."""

    number: int
    kept: dict[str, Any]
    log: int


class Trials:
    """The trials of one sweep.

    Args:
        plan: the sweep.
        folder: where it lives; made if need be.

    Raises:
        InputError: Optuna is missing, the folder cannot be written, or it holds another sweep.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        if not find_spec("optuna"):
            raise InputError("a sweep needs Optuna; run: pip install 'ferplus-keras[sweep]'")
        require_writable(folder / TRIALS, "--sweep_dir")
        self.plan = plan
        self.folder = folder
        with self.locked():
            _keep_plan(plan, folder / PLAN)
            self.study = _open_study(plan, folder / JOURNAL)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the sweep's other workers from claiming trials and writing results."""
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def run_dir(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / TRIALS / str(number)

    def all(self) -> list[optuna.trial.FrozenTrial]:
        """Return every trial so far, by number."""
        return self.study.get_trials(deepcopy=False)

    def claim(self) -> Claim | None:
        """Return an interrupted trial, else a new one, else None: every trial has its worker."""
        from optuna.trial import TrialState, create_trial

        with self.locked():
            trials = self.all()
            for trial in trials:
                if trial.state == TrialState.RUNNING:
                    log = self._lock_log(trial.number)
                    if log is not None:
                        return Claim(trial.number, trial.params, log)
            number = len(trials)
            if number >= self.plan.trials:
                return None
            log = self._lock_log(number)
            if log is None:  # its training outlived a journal that somebody removed
                raise InputError(f"{self.run_dir(number)} is being written; choose --sweep_dir")
            kept = self._draw(trials)
            distributions = {f: space.distribution() for f, space in self.plan.search.items()}
            self.study.add_trial(
                create_trial(state=TrialState.RUNNING, params=kept, distributions=distributions)
            )
        return Claim(number, kept, log)

    def is_running(self, number: int) -> bool:
        """Say whether some process runs a trial that has no result yet."""
        log = self._lock_log(number)
        if log is not None:
            os.close(log)
        return log is None

    def settings(self, claim: Claim) -> dict[str, Any]:
        """Return the train.py settings that run a trial, or go on with it."""
        run_dir = self.run_dir(claim.number)
        own = {"name": str(claim.number), "checkpoints_dir": str(run_dir.parent)}
        return self.plan.settings(claim.kept) | own | going_on(run_dir)

    def result(self, number: int, kept: dict[str, Any]) -> Result | None:
        """Return the result of a trial whose epochs are all done."""
        return read_result(self.run_dir(number), self.plan, kept)

    def finish(self, claim: Claim) -> Result | None:
        """Write a trial's result to the journal, or that it failed, and let it go."""
        from optuna.trial import TrialState

        result = self.result(claim.number, claim.kept)
        if result:
            self.study.tell(claim.number, result.value)
        else:
            self.study.tell(claim.number, state=TrialState.FAIL)
        self.release(claim)
        return result

    def release(self, claim: Claim) -> None:
        """Let go of a trial whose training has ended."""
        os.close(claim.log)

    def error(self, number: int) -> str:
        """Return the line in which a failed training said why."""
        return read_error(self.run_dir(number) / LOG)

    def _lock_log(self, number: int) -> int | None:
        """Return the trial's open log when nobody else holds it."""
        run_dir = self.run_dir(number)
        run_dir.mkdir(exist_ok=True)
        log = os.open(run_dir / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(log)
            return None
        return log

    def _draw(self, trials: list[optuna.trial.FrozenTrial]) -> dict[str, Any]:
        """Return the parameters of the next trial, decided by the seed and the trials so far."""
        if self.plan.sampler == "grid":
            return self.plan.grid()[len(trials)]
        import optuna

        seed = self.plan.base.get("seed", 0) + len(trials)
        if self.plan.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=seed)
        else:
            sampler = optuna.samplers.RandomSampler(seed=seed)
        draft = optuna.create_study(direction=self.plan.direction, sampler=sampler)
        draft.add_trials(trials)
        distributions = {f: space.distribution() for f, space in self.plan.search.items()}
        drawn = draft.ask(fixed_distributions=distributions).params
        return {flag: space.tidy(drawn[flag]) for flag, space in self.plan.search.items()}


def _keep_plan(plan: Plan, path: Path) -> None:
    """Write the plan, or refuse one that is not the one that the folder's trials followed."""
    import yaml

    now = plan.to_plain()
    if path.is_file():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, was, given in _differences(before, now):
            raise InputError(
                f"{path.parent} holds a sweep with another {key}: it was {was}, now {given}; "
                "keep it as it was, or choose another --sweep_dir"
            )
        if before == now:
            return
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")


def _differences(before: dict, now: dict) -> Iterator[tuple[str, Any, Any]]:
    for key in ("sampler", "metric"):
        if before[key] != now[key]:
            yield key, before[key], now[key]
    if list(before["search"]) != list(now["search"]):  # a grid's order is its trials' numbers
        yield "search", ", ".join(before["search"]), ", ".join(now["search"])
    for section in ("base", "search"):
        was, given = before[section], now[section]
        for flag in {**was, **given}:
            if flag not in PLACES and was.get(flag) != given.get(flag):
                yield flag, was.get(flag, "the default"), given.get(flag, "the default")


def _open_study(plan: Plan, path: Path) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = str(path.resolve())
    storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    return optuna.create_study(
        storage=storage, study_name="sweep", direction=plan.direction, load_if_exists=True
    )
