"""Several trainings within a time limit, each evaluated and kept as a result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.results.plan import Job
from ferplus_keras.results.record import write_result
from ferplus_keras.sweep.plan import as_words
from ferplus_keras.sweep.results import read_error
from ferplus_keras.training.run_folder import MAX_ACCURACY, RECORD, going_on

POLL_SECONDS = 0.5
GRACE_SECONDS = 30
"""How long before the time limit trainings are stopped, so that they can save and go."""


@dataclass(frozen=True)
class Places:
    """Where a campaign reads and writes.

    Attributes:
        data_dir: folder of the CSV files.
        output_dir: receives checkpoints/, results/, weights/ and logs/.
    """

    data_dir: Path
    output_dir: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of all runs."""
        return self.output_dir / "checkpoints"

    def result(self, job: Job) -> Path:
        """Return the file of a job's result."""
        return self.output_dir / "results" / job.study / f"{job.name}.json"

    def log(self, job: Job) -> Path:
        """Return the file of what a job's programs print."""
        return self.output_dir / "logs" / f"{job.name}.log"

    def weights(self, job: Job) -> Path:
        """Return the copy of a job's best checkpoint."""
        return self.output_dir / "weights" / f"{job.name}.keras"


@dataclass
class _Running:
    """A job under way: its present program, which of the side-by-side places it has, its start."""

    job: Job
    slot: int
    process: subprocess.Popen
    training: bool
    began: float = field(default_factory=time.monotonic)


class Campaign:
    """The jobs of a plan, run side by side in their order.

    Each training is a process of train.py, then one of test.py. A job whose result is there is not
    run again, and a training that was begun goes on where its last finished epoch left it, so the
    same campaign may be started as often as it takes.

    Args:
        jobs: as `read_plan` returns them.
        places: where to read and write.
        parallel: how many jobs run side by side; each gets its share of the processor cores.
        time_limit: seconds from now after which everything has stopped; None for no limit.
        largest_weights: checkpoints of at most so many bytes are copied to weights/.
        programs: command lines of train.py and test.py without their arguments.

    Raises:
        InputError: the data cannot be read, or the folder cannot be written.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        places: Places,
        *,
        parallel: int = 1,
        time_limit: float | None = None,
        largest_weights: int = 30 * 2**20,
        programs: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> None:
        require_writable(places.output_dir, "--output_dir")
        for folder in ("checkpoints", "results", "weights", "logs"):
            (places.output_dir / folder).mkdir(exist_ok=True)
        self.jobs = list(jobs)
        self.places = places
        self.parallel = parallel
        self.deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
        self.largest_weights = largest_weights
        self.train, self.test = programs or tuple(
            [sys.executable, "-m", "ferplus_keras", name] for name in ("train", "test")
        )
        self.running: list[_Running] = []
        self.failed: dict[str, str] = {}
        _prepare_data(places.data_dir)

    def run(self) -> bool:
        """Run until all is done or time is up.

        Returns:
            Whether nothing failed; jobs for which there was no time have not.

        Raises:
            KeyboardInterrupt: Ctrl-C; every training has saved its last finished epoch.
        """
        try:
            while self._waiting() or self.running:
                self._start_jobs()
                for running in [*self.running]:
                    if running.process.poll() is not None:
                        self._advance(running)
                if time.monotonic() > self.deadline - GRACE_SECONDS:
                    self._stop(trainings_only=True)
                if time.monotonic() > self.deadline:
                    self._stop()
                if not self.running and not self._may_start():
                    break
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._stop()
            raise
        left = self._waiting()
        if left:
            names = ", ".join(job.name for job in left)
            print(f"{len(left)} left ({names}): the same command goes on")
        return not self.failed

    def _waiting(self) -> list[Job]:
        """Return the jobs that have neither a result nor failed, nor run now."""
        busy = {running.job.name for running in self.running}
        return [
            job
            for job in self.jobs
            if job.name not in busy | self.failed.keys() and not self.places.result(job).is_file()
        ]

    def _may_start(self) -> bool:
        """Return whether there is a job to start, and time for it."""
        return bool(self._waiting()) and time.monotonic() < self.deadline - GRACE_SECONDS

    def _start_jobs(self) -> None:
        names = {job.name: job for job in self.jobs}
        for job in self._waiting():
            gone = next((need for need in sorted(job.needs) if need in self.failed), None)
            if gone:
                self._fail(job, f"{gone}, which it needs, failed")
            free = set(range(self.parallel)) - {running.slot for running in self.running}
            ready = all(self.places.result(names[need]).is_file() for need in job.needs)
            if not gone and free and ready and self._may_start():
                self._start(job, min(free))

    def _start(self, job: Job, slot: int) -> None:
        folder = self.places.checkpoints / job.name
        training = job.recipe is not None and not _is_trained(folder)
        how = going_on(folder) if training else {}
        does = "is evaluated" if not training else "goes on" if "resume" in how else "begins"
        print(f"{job.name} {does}", flush=True)
        program = self._train_program(job, how) if training else self._test_program(job)
        self.running.append(_Running(job, slot, self._spawn(program, job, slot), training))

    def _train_program(self, job: Job, how: dict[str, bool]) -> list[str]:
        runs = self.places.checkpoints
        if "resume" in how:  # what it began with is in its folder; the plan is not asked again
            words = as_words({"checkpoints_dir": str(runs), "name": job.name})
        else:
            words = job.train_words(runs)
        return [*self.train, *words, *(f"--{flag}" for flag in how)]

    def _test_program(self, job: Job) -> list[str]:
        folder = self.places.checkpoints / job.name
        folder.mkdir(exist_ok=True)
        words = job.test_words(self.places.checkpoints)
        return [*self.test, *words, "--output_dir", str(folder)]

    def _spawn(self, program: list[str], job: Job, slot: int) -> subprocess.Popen:
        environment = dict(os.environ)
        if self.parallel > 1:  # else the first process would take all of a GPU's memory
            environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        with self.places.log(job).open("a") as log:
            process = subprocess.Popen(
                [*program, "--data_dir", str(self.places.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a Ctrl-C reaches it through `_stop` only
            )
        with suppress(AttributeError, ProcessLookupError):  # macOS and Windows cannot
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(process.pid, cores[slot % len(cores) :: self.parallel])
        return process

    def _advance(self, running: _Running) -> None:
        """Go on with a job whose present program has ended."""
        job, code = running.job, running.process.returncode
        self.running.remove(running)
        if code:
            ended = f"ended by signal {-code}" if code < 0 else read_error(self.places.log(job))
            self._fail(job, ended)
        elif running.training:
            process = self._spawn(self._test_program(job), job, running.slot)
            self.running.append(_Running(job, running.slot, process, False, running.began))
        else:
            self._keep(job, time.monotonic() - running.began)

    def _keep(self, job: Job, seconds: float) -> None:
        """Write a job's result and weights, and say what it reached."""
        path = self.places.result(job)
        folder = self.places.checkpoints / job.name
        try:
            write_result(folder, path.parent, job.name, job.recipe)
        except InputError as error:
            self._fail(job, str(error))
            return
        checkpoint = folder / MAX_ACCURACY
        if job.recipe and checkpoint.stat().st_size <= self.largest_weights:
            with replacing(self.places.weights(job)) as temporary:
                shutil.copyfile(checkpoint, temporary)
        done = sum(self.places.result(each).is_file() for each in self.jobs)
        print(
            f"{job.name} done in {seconds:.0f} s ({done} of {len(self.jobs)}): {_brief(path)}",
            flush=True,
        )

    def _fail(self, job: Job, why: str) -> None:
        self.failed[job.name] = why
        print(f"{job.name} failed: {why}", file=sys.stderr, flush=True)

    def _stop(self, *, trainings_only: bool = False) -> None:
        """Interrupt what runs, wait for it, and record what had just finished."""
        some = [running for running in self.running if running.training or not trainings_only]
        for running in some:
            running.process.terminate()  # a background job would not hear a Ctrl-C
        for running in some:
            try:
                running.process.wait(timeout=GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
            if running.process.returncode == 0 and not running.training:
                self._advance(running)
            else:  # one that was trained in the last moment is evaluated next time
                self.running.remove(running)
                print(f"{running.job.name} stopped", flush=True)


def format_results(jobs: Sequence[Job], places: Places) -> str:
    """Return what every finished job reached, as a table."""
    lines = [
        f"{job.name:<40}{_brief(places.result(job))}"
        for job in jobs
        if places.result(job).is_file()
    ]
    return "\n".join(lines)


def _brief(path: Path) -> str:
    """Return a result's accuracies and speed in a line."""
    result = json.loads(path.read_text(encoding="utf-8"))
    said = [
        f"{name} {scores['accuracy']:.4f}"
        for name, scores in result["evaluation"]["splits"].items()
    ]
    networks = result["networks"]
    if len(networks) == 1:
        said.append(
            f"{networks[0]['epochs']} epochs at {networks[0]['images_per_second']:.0f} images/s"
        )
    return ", ".join(said)


def _is_trained(folder: Path) -> bool:
    """Return whether a run is trained to its end."""
    record: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return "seconds" in record and (folder / MAX_ACCURACY).is_file()


def _prepare_data(data_dir: Path) -> None:
    """Read the data once, so that jobs side by side find the pixels in the cache."""
    from ferplus_keras.data.dataset import load_split

    split = load_split(str(data_dir), "validation")
    print(f"data: {len(split.images):,} validation rows by majority in {data_dir}", flush=True)
