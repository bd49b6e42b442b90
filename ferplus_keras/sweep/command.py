"""The command `sweep`: one training process per trial, several at a time, until all are done.

Any number of these may work on one folder, on one machine or on several.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ferplus_keras.arguments import Number
from ferplus_keras.extras import require
from ferplus_keras.queue import TRAIN, Job, Queue, read_error, train_words
from ferplus_keras.run import Status
from ferplus_keras.sweep.plan import PROG, Plan, read_plan
from ferplus_keras.sweep.trials import LOG, Trials

DESCRIPTION = """\
Search over any settings of train.py, one training process per trial.

  python -m ferplus_keras sweep --config recipes/sweeps/compact_fer_tpe.yaml --workers 2

runs the trials of the sweep's YAML (docs/sweeps.md) and leaves sweep.csv, sweep.png and best.yaml
in sweeps/compact_fer_tpe/, with a run folder for each trial under trials/. Ctrl-C is safe: the
same command resumes. Every other flag is train.py's and holds for all trials."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `sweep`; what it does not know are train.py's flags."""
    parser.prog = PROG
    parser.description = DESCRIPTION
    count = Number(int, low=1)
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="the sweep")
    parser.add_argument("--sweep_dir", type=Path, help="its folder [sweeps/NAME of NAME.yaml]")
    parser.add_argument("--workers", type=count, default=1, help="trials at a time [1]")
    parser.add_argument("--trials", type=count, help="trials to run, instead of the YAML's")


def run_command(arguments: argparse.Namespace, train_flags: Sequence[str]) -> None:
    """Run `sweep`; `train_flags` are the words that `add_arguments` does not know."""
    require(("optuna", "pandas", "matplotlib"), "a sweep", "sweep")
    plan = read_plan(arguments.config, train_flags, arguments.trials)
    folder = arguments.sweep_dir or Path("sweeps") / arguments.config.stem
    sweep(plan, folder, arguments.workers)


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
    trials = Trials(plan, folder)

    def take() -> Job | None:
        while claim := trials.claim():
            number, kept, log = claim
            run = trials.run(number)
            if not run.is_trained:
                verb = "resumes" if run.status is Status.INTERRUPTED else "begins"
                described = ", ".join(f"{flag} {value}" for flag, value in kept.items())
                print(f"trial {number} {verb}: {described}", flush=True)
                words = train_words(run, plan.settings(kept))
                return Job([*program, *words], log, partial(finish, number))
            finish(number, 0, False)  # its training outlived its sweep
            os.close(log)
        return None

    def finish(number: int, code: int, stopped: bool) -> None:
        run = trials.run(number)
        if stopped and not run.is_trained:
            return
        value = trials.finish(number)
        table = trials.write_results(last=False)
        done = table["state"].isin(["complete", "failed"]).sum()
        outcome = f"failed: {read_error(run / LOG)}"
        if value is not None:
            outcome = f"{plan.metric} {value:.4f} in epoch {table['best_epoch'][number]}"
        print(f"trial {number} ({done} of {plan.trials} done): {outcome}", flush=True)

    try:
        Queue(workers).run(take)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command resumes the sweep in {folder}", file=sys.stderr)
        raise
    finally:
        table = trials.write_results(last=True)
    counts = table["state"].value_counts().sort_index()
    if "complete" in counts:
        columns = [plan.metric, "best_epoch", "number", *plan.search]
        best = trials.ranked(table)[columns].head(10)
        print(best.to_string(index=False, float_format="{:.4g}".format))
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    if "complete" in counts:
        print(f"all trials: {folder / 'sweep.csv'}, {folder / 'sweep.png'}")
        print(f"train the best: python train.py --config {folder / 'best.yaml'}")
