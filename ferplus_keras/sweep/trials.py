"""The folder that the workers of a sweep share: its trials, who runs them, and what they found.

A trial is written to Optuna's journal whole, so a kill leaves none incomplete. The worker that runs
a trial, and its training, hold a lock on its train.log. A trial that the journal calls running and
whose log is free was interrupted, and is resumed.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.config import PLACES
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.queue import lock_log, read_error
from ferplus_keras.run import Run
from ferplus_keras.sweep.plan import METRICS, Plan

if TYPE_CHECKING:
    import pandas as pd

LOG = "train.log"

PICTURE_SECONDS = 10
"""Seconds after which sweep.png is redrawn while trials run: it takes a second."""


class Trials:
    """The trials of one sweep, in a folder with sweep.yaml, journal.log and trials/<number>/.

    Raises:
        InputError: the folder cannot be written, or it holds another sweep.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        import optuna
        from filelock import FileLock
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        require_writable(folder / "trials", "--sweep_dir")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan, self.folder = plan, folder
        self._better = METRICS[plan.metric]
        self._lock = FileLock(folder / ".lock")  # for claiming trials and writing results
        journal = str((folder / "journal.log").resolve())
        with self._lock:
            _keep_plan(plan, folder / "sweep.yaml")
            # Unlike SQLite's, the journal's lock also holds over NFS.
            backend = JournalFileBackend(journal, JournalFileOpenLock(journal))
            self.study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name="sweep",
                direction=self._better,
                load_if_exists=True,
            )

    def run(self, number: int) -> Run:
        """Return the run of a trial."""
        return Run(self.folder / "trials" / str(number))

    def claim(self) -> tuple[int, dict[str, Any], int] | None:
        """Return number, parameters and locked log of a trial to run; None: all have a worker."""
        from optuna.trial import TrialState, create_trial

        with self._lock:
            trials = self.study.trials
            for trial in trials:
                if trial.state == TrialState.RUNNING:
                    log = lock_log(self.run(trial.number) / LOG)
                    if log is not None:
                        return trial.number, trial.params, log
            number = len(trials)
            if number >= self.plan.trials:
                return None
            log = lock_log(self.run(number) / LOG)
            if log is None:  # its training outlived a journal that somebody removed
                raise InputError(f"{self.run(number).folder} is in use; choose another --sweep_dir")
            space = {flag: space.distribution for flag, space in self.plan.search.items()}
            kept = self._draw(trials, space)
            new = create_trial(state=TrialState.RUNNING, params=kept, distributions=space)
            self.study.add_trial(new)
        return number, kept, log

    def _draw(self, trials: list, space: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the next trial, decided by the seed and the trials so far."""
        import optuna

        if self.plan.sampler == "grid":  # Optuna's visits a grid in random order
            return self.plan.grid()[len(trials)]
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        sampler = samplers[self.plan.sampler](seed=self.plan.base.get("seed", 0) + len(trials))
        draft = optuna.create_study(direction=self._better, sampler=sampler)
        draft.add_trials(trials)
        drawn = draft.ask(fixed_distributions=space).params
        return {flag: self.plan.search[flag].tidy(value) for flag, value in drawn.items()}

    def is_running(self, number: int) -> bool:
        """Say whether some process runs a trial that has no result yet."""
        log = lock_log(self.run(number) / LOG)
        if log is not None:
            os.close(log)
        return log is None

    def finish(self, number: int) -> float | None:
        """Write a trial's best metric to the journal, or that it failed; return it."""
        from optuna.trial import TrialState

        best = self._best_epoch(number) if self.run(number).is_trained else None
        value = best and best[self.plan.metric]
        self.study.tell(number, value, state=None if best else TrialState.FAIL)
        return value

    def _best_epoch(self, number: int) -> dict[str, float] | None:
        """Return the line of a trial's training.csv that is best by the sweep's metric."""
        metric = self.plan.metric
        better = max if self._better == "maximize" else min
        epochs = [epoch for epoch in self.run(number).history() if math.isfinite(epoch[metric])]
        return better(epochs, key=lambda epoch: epoch[metric], default=None)

    def write_results(self, *, last: bool) -> pd.DataFrame:
        """Write sweep.csv and, once a trial is complete, best.yaml and sweep.png.

        Args:
            last: whether this process writes no more; sweep.png may else be some seconds behind.

        Returns:
            What sweep.csv holds, one row per trial by number: number, state (complete, failed,
            running or interrupted), the searched flags, the metric, best_epoch, seconds, error.
        """
        import pandas as pd

        metric = self.plan.metric
        columns = ["number", "state", *self.plan.search, metric, "best_epoch", "seconds", "error"]
        rows = []
        with self._lock:
            for trial in self.study.trials:
                run = self.run(trial.number)
                row = {"number": trial.number, **trial.params, metric: trial.value}
                if trial.state.name == "FAIL":
                    row |= {"state": "failed", "error": read_error(run / LOG)}
                elif trial.value is None:
                    row["state"] = "running" if self.is_running(trial.number) else "interrupted"
                else:
                    row["state"] = "complete"
                    if run.is_trained and (best := self._best_epoch(trial.number)):
                        row |= {"best_epoch": best["epoch"], "seconds": run.record().get("seconds")}
                rows.append(row)
            table = pd.DataFrame(rows, columns=columns)
            table = table.astype({metric: float, "best_epoch": "Int64", "seconds": float})
            with replacing(self.folder / "sweep.csv") as temporary:
                table.round({"seconds": 1}).to_csv(temporary, index=False)
            if "complete" in table["state"].values:
                self._write_best(table)
                picture = self.folder / "sweep.png"
                age = time.time() - picture.stat().st_mtime if picture.is_file() else math.inf
                if last or age > PICTURE_SECONDS:
                    self._plot(picture)
        return table

    def ranked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the complete trials of what `write_results` returned, the best first."""
        complete = table[table["state"] == "complete"]
        ascending = self._better == "minimize"
        return complete.sort_values(self.plan.metric, ascending=ascending, kind="stable")

    def _write_best(self, table: pd.DataFrame) -> None:
        """Write the settings of the best trial as a recipe."""
        import yaml

        ranked, name, metric = self.ranked(table), self.folder.resolve().name, self.plan.metric
        best = ranked.iloc[0]
        settings = self.plan.settings(self.study.trials[best["number"]].params)
        recipe = yaml.safe_dump({"name": f"{name}_best", **settings}, sort_keys=False)
        with replacing(self.folder / "best.yaml") as temporary:
            temporary.write_text(
                f"# The best of {len(ranked)} trials of the sweep {name}: trial {best['number']}, "
                f"{metric} {best[metric]:.4f} in epoch {best['best_epoch']}.\n{recipe}",
                encoding="utf-8",
            )

    def _plot(self, path: Path) -> None:
        """Stack Optuna's plots: the best so far, each flag, and two lists against each other."""
        import matplotlib.pyplot as plt
        import numpy as np
        from optuna.visualization import matplotlib as plots

        plt.switch_backend("agg")
        search = self.plan.search
        wanted = {plots.plot_optimization_history: {}, plots.plot_slice: {"params": [*search]}}
        choices = [flag for flag, space in search.items() if space.choices]
        if len(choices) == 2:
            wanted[plots.plot_rank] = {"params": choices}
        strips = []
        layout = {"figure.constrained_layout.use": True}
        with warnings.catch_warnings(), plt.rc_context(layout):  # Optuna sets a style
            warnings.simplefilter("ignore")  # and calls its plots experimental
            for plot, options in wanted.items():
                plot(self.study, target_name=self.plan.metric, **options)
                figure = plt.gcf()
                figure.set(figwidth=max(8, 2.6 * len(search)), figheight=4.8, dpi=120)
                for axes in figure.axes:
                    plt.setp(axes.get_xticklabels(), rotation=30, ha="right")
                figure.canvas.draw()
                strips.append(np.array(figure.canvas.buffer_rgba()))
                plt.close(figure)
        with replacing(path) as temporary:
            plt.imsave(temporary, np.vstack(strips))


def _keep_plan(plan: Plan, path: Path) -> None:
    """Write the plan, or refuse one that is not the one that the folder's trials followed."""
    import yaml

    def shared(plain: dict[str, Any]) -> dict[str, Any]:
        order = ", ".join(plain["search"])  # gives a grid's trials their numbers
        own = {"sampler": plain["sampler"], "metric": plain["metric"], "search": order}
        return own | {f: v for f, v in plain["base"].items() if f not in PLACES} | plain["search"]

    now = vars(plan) | {"search": {flag: space.plain for flag, space in plan.search.items()}}
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
