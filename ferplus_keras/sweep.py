"""The command `sweep`: one training process per trial, several at a time, until all are done.

Any number of these may work on one folder, on one machine or on several. A trial is written to
Optuna's journal whole, so a kill leaves none incomplete. The worker that runs a trial, and its
training, hold a lock on its train.log. A trial that the journal calls running and whose log is free
was interrupted, and is resumed.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.arguments import Number, as_words
from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.extras import require
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.inputs import read_mapping
from ferplus_keras.lazy import optuna, pandas, plt, yaml
from ferplus_keras.queue import TRAIN, Job, Queue, lock_log, read_error, train_words
from ferplus_keras.run import PLACES, Run
from ferplus_keras.sweep_plan import METRICS, Plan, read_plan

DESCRIPTION = """\
Search over any settings of train.py, one training process per trial.

  python -m ferplus_keras sweep --config recipes/sweeps/compact_fer_tpe.yaml --workers 2

runs the trials of the sweep's YAML (docs/sweeps.md) and leaves sweep.csv, sweep.png and best.yaml
in sweeps/compact_fer_tpe/, with a run folder for each trial under trials/. Ctrl-C is safe: the
same command resumes. Every other flag is train.py's and holds for all trials."""

LOG = "train.log"

PICTURE_SECONDS = 10
"""Seconds after which sweep.png is redrawn while trials run: it takes a second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `sweep`; what it does not know are train.py's flags."""
    count = Number(int, low=1)
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="the sweep")
    parser.add_argument("--sweep_dir", type=Path, help="its folder [sweeps/NAME of NAME.yaml]")
    parser.add_argument("--workers", type=count, default=1, help="trials at a time [1]")
    parser.add_argument("--trials", type=count, help="trials to run, instead of the YAML's")


def run_command(arguments: argparse.Namespace, train_flags: Sequence[str]) -> None:
    """Run `sweep`; `train_flags` are the words that `add_arguments` does not know."""
    require(("optuna", "filelock", "pandas", "matplotlib"), "a sweep", "sweep")
    from ferplus_keras.training.settle import read_dataset, resolve

    plan = read_plan(arguments.config, train_flags, arguments.trials)
    if not {"data_dir", "dataset_name"} & {*plan.search}:  # what they lack is said once
        read_dataset(resolve(read_config(TrainConfig, as_words(plan.base))))
    sweep(plan, arguments.sweep_dir or Path("sweeps") / arguments.config.stem, arguments.workers)


def sweep(plan: Plan, folder: Path, workers: int = 1, program: Sequence[str] = TRAIN) -> None:
    """Run the trials of a plan that nobody runs yet, and resume interrupted ones.

    Args:
        plan: the sweep.
        folder: its folder, for sweep.csv, sweep.png, best.yaml and trials/<number>/.
        workers: trials at a time.
        program: what runs a trial, ahead of its settings as flags.

    Raises:
        InputError: the folder holds another sweep, or cannot be written.
        KeyboardInterrupt: Ctrl-C; the trainings were stopped and the same sweep resumes them.
    """
    trials = Trials(plan, folder, program)
    try:
        Queue(workers).run(trials.take)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command resumes the sweep in {folder}", file=sys.stderr)
        raise
    finally:
        table = trials.write_results(last=True)
    ranked = trials.ranked(table)
    if len(ranked):
        best = ranked[[plan.metric, "best_epoch", "number", *plan.search]].head(10)
        print(best.to_string(index=False, float_format="{:.4g}".format))
    counts = table["state"].value_counts().sort_index()
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    if len(ranked):
        print(f"all trials: {folder / 'sweep.csv'}, {folder / 'sweep.png'}")
        name = f"{folder.resolve().name}_best"
        words = ["--config", str(folder / "best.yaml"), "--name", name]
        print(f"train the best: python -m ferplus_keras train {shlex.join(words)}")
    elif (table["state"] == "failed").all():
        raise InputError(
            f"every trial failed ({folder / 'sweep.csv'} says why); remove {folder} to start again"
        )


class Trials:
    """The trials of one sweep, in a folder with sweep.yaml, journal.log and trials/<number>/.

    `program` is what runs a trial, ahead of its settings as flags.

    Raises:
        InputError: the folder cannot be written, or it holds another sweep.
    """

    def __init__(self, plan: Plan, folder: Path, program: Sequence[str] = TRAIN) -> None:
        from filelock import FileLock

        require_writable(folder / "trials", "--sweep_dir")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.plan, self.folder, self.program = plan, folder, program
        self._lock = FileLock(folder / ".lock")  # for what is written
        journal = str((folder / "journal.log").resolve())
        with self._lock:
            _keep_plan(plan, folder / "sweep.yaml")
            # Unlike SQLite's, the journal's lock also holds over NFS.
            files = optuna.storages.journal
            backend = files.JournalFileBackend(journal, files.JournalFileOpenLock(journal))
            os.truncate(journal, Path(journal).read_bytes().rfind(b"\n") + 1)  # less a torn line
            with as_input_error(f"cannot read {journal}", Exception):
                self.study = optuna.create_study(
                    storage=optuna.storages.JournalStorage(backend),
                    study_name="sweep",
                    direction=METRICS[plan.metric],
                    load_if_exists=True,
                )

    def run(self, number: int) -> Run:
        """Return the run of a trial."""
        return Run(self.folder / "trials" / str(number))

    def take(self) -> Job | None:
        """Return the training of a trial that nobody runs; None when all have a worker."""
        while claim := self._claim():
            number, kept, log = claim
            run = self.run(number)
            if not run.is_trained:
                verb = "resumes" if run.is_interrupted else "begins"
                described = ", ".join(f"{flag} {value}" for flag, value in kept.items())
                print(f"trial {number} {verb}: {described}", flush=True)
                words = train_words(run, self.plan.settings(kept))
                return Job([*self.program, *words], log, partial(self._finish, number))
            self._finish(number, 0, False)  # its training outlived its sweep
            os.close(log)
        return None

    def _claim(self) -> tuple[int, dict[str, Any], int] | None:
        """Return number, parameters and locked log of a trial to run."""
        running = optuna.trial.TrialState.RUNNING
        with self._lock:
            trials = self.study.trials
            for trial in trials:
                if trial.state == running:
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
            new = optuna.trial.create_trial(state=running, params=kept, distributions=space)
            self.study.add_trial(new)
        return number, kept, log

    def _draw(self, trials: list, space: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the next trial, decided by the seed and the trials so far."""
        if self.plan.sampler == "grid":  # Optuna's visits a grid in random order
            return self.plan.grid()[len(trials)]
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        seed = (self.plan.base.get("seed", 0) + len(trials)) % 2**32
        sampler = samplers[self.plan.sampler](seed=seed)
        draft = optuna.create_study(direction=METRICS[self.plan.metric], sampler=sampler)
        draft.add_trials(trials)
        drawn = draft.ask(fixed_distributions=space).params
        return {flag: self.plan.search[flag].tidy(value) for flag, value in drawn.items()}

    def is_running(self, number: int) -> bool:
        """Say whether some process runs a trial that has no result yet."""
        log = lock_log(self.run(number) / LOG)
        if log is not None:
            os.close(log)
        return log is None

    def _finish(self, number: int, code: int, stopped: bool) -> None:
        """Write a trial's best metric to the journal, or that it failed, unless it was stopped."""
        run, metric = self.run(number), self.plan.metric
        if stopped and not run.is_trained:
            return
        best = self._best_epoch(run)
        with self._lock:
            failed = None if best else optuna.trial.TrialState.FAIL
            self.study.tell(number, best and best[metric], state=failed)
        table = self.write_results(last=False)
        done = table["state"].isin(["complete", "failed"]).sum()
        outcome = f"failed: {read_error(run / LOG)}"
        if best:
            outcome = f"{metric} {best[metric]:.4f} in epoch {best['epoch']:.0f}"
        print(f"trial {number} ({done} of {self.plan.trials} done): {outcome}", flush=True)

    def _best_epoch(self, run: Run) -> dict[str, float] | None:
        """Return the line of training.csv that is best by the metric; None for no trained run."""
        metric = self.plan.metric
        better = {"maximize": max, "minimize": min}[METRICS[metric]]
        epochs = run.history() if run.is_trained else []
        finite = [epoch for epoch in epochs if math.isfinite(epoch.get(metric, math.nan))]
        return better(finite, key=lambda epoch: epoch[metric], default=None)

    def write_results(self, *, last: bool) -> pandas.DataFrame:
        """Write sweep.csv and, once a trial is complete, best.yaml and sweep.png.

        Args:
            last: whether this process writes no more; sweep.png may else be some seconds behind.

        Returns:
            What sweep.csv holds, one row per trial by number: number, state (complete, failed,
            running or interrupted), the searched flags, the metric, best_epoch, seconds, error.
        """
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
                    if best := self._best_epoch(run):
                        row |= {"best_epoch": best["epoch"], "seconds": run.record().get("seconds")}
                rows.append(row)
            table = pandas.DataFrame(rows, columns=columns)
            table = table.astype({metric: float, "best_epoch": "Int64", "seconds": float})
            with replacing(self.folder / "sweep.csv") as temporary:
                table.round({"seconds": 1}).to_csv(temporary, index=False)
            ranked = self.ranked(table)
            if len(ranked):
                self._write_best(ranked)
                picture = self.folder / "sweep.png"
                age = time.time() - picture.stat().st_mtime if picture.is_file() else math.inf
                if last or age > PICTURE_SECONDS:
                    self._plot(picture)
        return table

    def ranked(self, table: pandas.DataFrame) -> pandas.DataFrame:
        """Return the complete trials of what `write_results` returned, the best first."""
        complete = table[table["state"] == "complete"]
        ascending = METRICS[self.plan.metric] == "minimize"
        return complete.sort_values(self.plan.metric, ascending=ascending, kind="stable")

    def _write_best(self, ranked: pandas.DataFrame) -> None:
        """Write the settings of the best trial as a recipe."""
        best, name, metric = ranked.iloc[0], self.folder.resolve().name, self.plan.metric
        settings = self.plan.settings(self.study.trials[best["number"]].params)
        recipe = yaml.safe_dump(settings, sort_keys=False)
        with replacing(self.folder / "best.yaml") as temporary:
            temporary.write_text(
                f"# The best of {len(ranked)} trials of the sweep {name}: trial {best['number']}, "
                f"{metric} {best[metric]:.4f} in epoch {best['best_epoch']}.\n{recipe}",
                encoding="utf-8",
            )

    def _plot(self, path: Path) -> None:
        """Stack Optuna's plots: the best so far, each flag, and two lists against each other."""
        from matplotlib.ticker import LogLocator

        plt.switch_backend("agg")
        search, plots = self.plan.search, optuna.visualization.matplotlib
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
                    if axes.get_xscale() == "log":
                        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                        axes.xaxis.set_major_formatter("{x:g}")
                        axes.xaxis.set_minor_formatter("")
                    plt.setp(axes.get_xticklabels(), rotation=30, ha="right")
                figure.canvas.draw()
                strips.append(np.array(figure.canvas.buffer_rgba()))
                plt.close(figure)
        with replacing(path) as temporary:
            plt.imsave(temporary, np.vstack(strips))


def _keep_plan(plan: Plan, path: Path) -> None:
    """Write the plan, or refuse one that is not the one that the folder's trials followed."""

    def shared(plain: dict[str, Any]) -> dict[str, Any]:
        order = ", ".join(plain["search"])  # gives a grid's trials their numbers
        own = {"sampler": plain["sampler"], "metric": plain["metric"], "search": order}
        return own | {f: v for f, v in plain["base"].items() if f not in PLACES} | plain["search"]

    now = vars(plan) | {"search": {flag: space.plain for flag, space in plan.search.items()}}
    before = read_mapping(path, yaml.safe_load, yaml.YAMLError) if path.is_file() else now
    for key in shared(before) | shared(now):
        was, given = (shared(plain).get(key, "the default") for plain in (before, now))
        if was != given:
            raise InputError(
                f"{path.parent} holds a sweep with another {key}: it was {was}, now {given}; "
                "keep it as it was, or choose another --sweep_dir"
            )
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")
