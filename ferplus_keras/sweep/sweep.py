"""Run a sweep: one training process a trial, several at a time, until all are done.

Any number of these may work on one folder, on one machine or on several.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.sweep.plan import Plan, as_words
from ferplus_keras.sweep.report import describe, format_best, write_report
from ferplus_keras.sweep.trials import LOG, Claim, Trials

TRAIN = (sys.executable, "-m", "ferplus_keras", "train")
"""What runs a trial, ahead of its settings."""

POLL_SECONDS = 0.2


def sweep(plan: Plan, folder: Path, workers: int = 1, program: Sequence[str] = TRAIN) -> None:
    """Run the trials of a plan that nobody runs yet, and go on with interrupted ones.

    Args:
        plan: the sweep.
        folder: its folder, for sweep.csv, sweep.png, best.yaml and trials/<number>/.
        workers: trials at a time.
        program: what runs a trial, ahead of its settings as flags.

    Raises:
        InputError: the folder holds another sweep, or Optuna is missing.
        KeyboardInterrupt: Ctrl-C; the trainings were stopped and the same sweep goes on with them.
    """
    trials = Trials(plan, folder)
    running: dict[Claim, subprocess.Popen] = {}
    try:
        while True:
            while len(running) < workers and (claim := trials.claim()):
                if trials.result(claim.number, claim.kept):  # its training outlived its sweep
                    _finish(trials, claim)
                else:
                    running[claim] = _start(trials, claim, program)
            if not running:
                break
            for claim, process in [*running.items()]:
                if process.poll() is not None:
                    del running[claim]
                    _finish(trials, claim, process.returncode)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        _stop(trials, running)
        raise
    with trials.locked():
        write_report(trials, last=True)
        print(format_best(trials))


def _start(trials: Trials, claim: Claim, program: Sequence[str]) -> subprocess.Popen:
    settings = trials.settings(claim)
    verb = "goes on" if "resume" in settings else "begins"
    print(f"trial {claim.number} {verb}: {describe(claim.kept)}", flush=True)
    return subprocess.Popen(
        [*program, *as_words(settings)],
        stdin=subprocess.DEVNULL,
        stdout=claim.log,
        stderr=claim.log,
        start_new_session=True,  # a Ctrl-C reaches it through `_stop` only
    )


def _finish(trials: Trials, claim: Claim, code: int = 0) -> None:
    """Record how a trial ended, and bring the sweep's table and pictures up to date."""
    if code < 0:
        line = f"error: ended by signal {-code}" + " (out of memory?)" * (code == -9)
        with (trials.run_dir(claim.number) / LOG).open("a") as log:
            log.write(f"{line}\n")
    result = trials.finish(claim)
    if result:
        outcome = f"{trials.plan.metric} {result.value:.4f} in epoch {result.epoch}"
    else:
        outcome = f"failed: {trials.error(claim.number)}"
    with trials.locked():
        done = write_report(trials, last=False)
    print(f"trial {claim.number} ({done} of {trials.plan.trials} done): {outcome}", flush=True)


def _stop(trials: Trials, running: dict[Claim, subprocess.Popen]) -> None:
    """End the trainings; those that had just finished are recorded, the others let go."""
    for process in running.values():
        process.terminate()
    try:
        for process in running.values():
            process.wait()
    except KeyboardInterrupt:
        for process in running.values():
            process.kill()
        raise
    for claim in running:
        if trials.result(claim.number, claim.kept):
            _finish(trials, claim)
        else:
            trials.release(claim)
    with trials.locked():
        write_report(trials, last=True)
    print(f"\nstopped; the same command goes on in {trials.folder}", file=sys.stderr)
