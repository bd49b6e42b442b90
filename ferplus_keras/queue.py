"""A queue of trainings: commands side by side, within a time limit, stopped so that they resume."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import as_words
from ferplus_keras.run import MOVABLE, Run
from ferplus_keras.workspace import lock

TRAIN = (sys.executable, "-m", "ferplus_keras", "train")
POLL_SECONDS = 0.2
GRACE_SECONDS = 30
"""How long a training has to save and leave; it is stopped this long before the time limit."""


@dataclass(eq=False)
class Job:
    """One command of a queue."""

    command: Sequence[str]
    log: int  # its output, from `lock_log`; the queue closes it
    finish: Callable[[int, bool], Job | None]
    """Called with the exit code (negative for a signal) and whether the queue stopped the command;
    returns the job that follows in its place, or None.
    """
    resumable: bool = True  # whether it may be stopped before the time limit


class Queue:
    """Runs jobs side by side, each on its share of the processor cores and of a GPU's memory.

    Args:
        parallel: how many jobs run at a time.
        time_limit: seconds from now after which nothing runs; None for no limit.
    """

    def __init__(self, parallel: int = 1, time_limit: float | None = None) -> None:
        self.parallel = parallel
        self.deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
        self.running: dict[int, tuple[Job, subprocess.Popen]] = {}

    def run(self, take: Callable[[], Job | None]) -> None:
        """Run the jobs that `take` returns until it returns None and all have ended, or time is up.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; every job was stopped and finished.
        """
        try:
            while True:
                left = self.deadline - time.monotonic()
                for slot in sorted(set(range(self.parallel)) - self.running.keys()):
                    if left > GRACE_SECONDS and (job := take()):
                        self._start(slot, job)
                if not self.running:
                    return
                time.sleep(POLL_SECONDS)
                for slot, (_, process) in [*self.running.items()]:
                    if process.poll() is not None:
                        self._end(slot)
                if left < GRACE_SECONDS:
                    self._stop(everything=left < 0)
        except BaseException:
            self._stop(everything=True)
            raise

    def _start(self, slot: int, job: Job) -> None:
        environment = dict(os.environ)
        if self.parallel > 1:  # else the first process would take all of a GPU's memory
            environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
            environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / self.parallel:.3f}")
        os.write(job.log, f"\n$ {shlex.join(job.command)}\n".encode("utf-8", "replace"))
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=job.log,
            stderr=job.log,
            env=environment,
            start_new_session=True,  # a Ctrl-C reaches it through `_stop` only
        )
        self.running[slot] = job, process
        with suppress(AttributeError, ProcessLookupError):  # macOS has no affinity
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(process.pid, cores[slot % len(cores) :: self.parallel])

    def _end(self, slot: int, *, stopped: bool = False) -> None:
        job, process = self.running.pop(slot)
        if process.returncode < 0 and not stopped:
            hint = " (out of memory?)" if process.returncode == -9 else ""
            os.write(job.log, f"\nerror: ended by signal {-process.returncode}{hint}\n".encode())
        following = job.finish(process.returncode, stopped)
        if following and not stopped:
            self._start(slot, following)
        else:
            os.close(job.log)

    def _stop(self, *, everything: bool) -> None:
        """Stop all jobs, or the resumable ones, and wait for them; a second Ctrl-C kills them."""
        chosen = {s: p for s, (job, p) in self.running.items() if everything or job.resumable}
        for process in chosen.values():
            process.terminate()  # a background job would not hear a Ctrl-C
        until = time.monotonic() + GRACE_SECONDS
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in chosen.values():
                process.wait(max(0.0, until - time.monotonic()))
        for slot, process in chosen.items():
            process.kill()
            process.wait()
            self._end(slot, stopped=True)


def lock_log(path: Path) -> int | None:
    """Return the open log of a job, or None while another process runs the job."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return lock(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)


def read_error(log: Path) -> str:
    """Return the line of a log that says why its last command failed."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    last = text[text.rfind("\n$ ") + 1 :].splitlines()
    lines = [line.strip() for line in last if line.strip() and not line.startswith("$ ")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no message"])[-1]


def train_words(run: Run, settings: dict[str, Any]) -> list[str]:
    """Return the arguments of train.py that start a run, or resume it under its own settings."""
    own = {"name": run.folder.name, "checkpoints_dir": str(run.folder.parent)}
    if run.is_interrupted:
        settings = {flag: value for flag, value in settings.items() if flag in MOVABLE}
        own["resume"] = True
    elif run.exists:
        own["overwrite"] = True
    return as_words(settings | own)
