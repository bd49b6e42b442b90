"""A queue of trainings: commands side by side, within a time limit, stopped so that they resume.

Sweeps and campaigns are its clients: each decides which command is next and what follows from its
end. The queue starts, shares out, watches and stops them.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import as_words
from ferplus_keras.config import PLACES, TrainConfig, read_config
from ferplus_keras.run import Run, Status
from ferplus_keras.training.schedules import check_policy
from ferplus_keras.training.stages import stage_configs

TRAIN = (sys.executable, "-m", "ferplus_keras", "train")
"""The command of a training, ahead of its arguments."""

POLL_SECONDS = 0.2
GRACE_SECONDS = 30
"""How long a training has to save and leave; it is stopped this long before the time limit."""


@dataclass(eq=False)
class Job:
    """One command of a queue.

    Attributes:
        command: its words.
        log: its open and locked log, from `lock_log`; the queue closes it.
        finish: called with the exit code (negative for a signal) and whether the queue stopped the
            command; returns the job that follows with the same log, or None.
        resumable: whether it may be stopped before the time limit, because it saves its progress.
    """

    command: Sequence[str]
    log: int
    finish: Callable[[int, bool], Job | None]
    resumable: bool = True


class Queue:
    """Runs jobs side by side.

    Each job gets its share of the processor cores. Jobs that share a GPU take its memory as they
    need it, each up to its share. Variables that are set already win.

    Args:
        parallel: how many jobs run at a time.
        time_limit: seconds from now after which nothing runs; None for no limit.
    """

    def __init__(self, parallel: int = 1, time_limit: float | None = None) -> None:
        self.parallel = parallel
        self.deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
        self.environment = dict(os.environ)
        if parallel > 1:
            shared = {
                "TF_FORCE_GPU_ALLOW_GROWTH": "true",
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / parallel:.3f}",
            }
            self.environment = shared | self.environment
        self._running: dict[int, tuple[Job, subprocess.Popen]] = {}

    def run(self, take: Callable[[], Job | None]) -> None:
        """Run jobs until none is left, or time is up.

        Args:
            take: returns the next job, or None while there is none to start.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; every job was stopped and finished.
        """
        try:
            while True:
                while len(self._running) < self.parallel and self._left() > GRACE_SECONDS:
                    job = take()
                    if job is None:
                        break
                    self._start(min(set(range(self.parallel)) - self._running.keys()), job)
                if not self._running:
                    return
                time.sleep(POLL_SECONDS)
                for slot, (_, process) in [*self._running.items()]:
                    if process.poll() is not None:
                        self._end(slot)
                if self._left() < GRACE_SECONDS:
                    self._stop(everything=self._left() < 0)
        except BaseException:
            self._stop(everything=True)
            raise

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _start(self, slot: int, job: Job) -> None:
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=job.log,
            stderr=job.log,
            env=self.environment,
            start_new_session=True,  # a Ctrl-C reaches it through `_stop` only
        )
        with suppress(AttributeError, ProcessLookupError):  # macOS has no affinity
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(process.pid, cores[slot % len(cores) :: self.parallel])
        self._running[slot] = job, process

    def _end(self, slot: int, *, stopped: bool = False) -> None:
        job, process = self._running.pop(slot)
        code = process.returncode
        if code < 0 and not stopped:
            hint = " (out of memory?)" if code == -9 else ""
            os.write(job.log, f"error: ended by signal {-code}{hint}\n".encode())
        following = job.finish(code, stopped)
        if following and not stopped:
            self._start(slot, following)
        else:
            os.close(job.log)

    def _stop(self, *, everything: bool) -> None:
        """Stop resumable jobs, or all; a second Ctrl-C kills them."""
        slots = [slot for slot, (job, _) in self._running.items() if everything or job.resumable]
        processes = [self._running[slot][1] for slot in slots]
        for process in processes:
            process.terminate()  # a background job would not hear a Ctrl-C
        until = time.monotonic() + GRACE_SECONDS
        try:
            for process in processes:
                process.wait(max(0.0, until - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in processes:
                process.kill()
                process.wait()
        for slot in slots:
            self._end(slot, stopped=True)


def lock_log(path: Path) -> int | None:
    """Return the open log of a job, or None while another process runs the job.

    The command inherits the lock, and the operating system frees it when both are gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(log)
        return None
    return log


def read_error(log: Path) -> str:
    """Return the line of a failed command's log that says why."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no message"])[-1]


def train_words(run: Run, settings: dict[str, Any]) -> list[str]:
    """Return the arguments of train.py that start a run, or resume it as it began."""
    own = {"name": run.folder.name, "checkpoints_dir": str(run.folder.parent)}
    if run.status is Status.INTERRUPTED:
        places = {flag: value for flag, value in settings.items() if flag in PLACES}
        return as_words(places | own | {"resume": True})
    return as_words(settings | own | ({"overwrite": True} if run.exists else {}))


def check_settings(words: Sequence[str], prog: str) -> TrainConfig:
    """Return the settings of a training, checked before anything runs.

    Raises:
        UsageError: an unknown flag or value, or settings that do not go together; one line.
    """
    config = read_config(TrainConfig, words, prog)
    for stage in stage_configs(config):
        check_policy(stage)
    return config
