"""Train several recipes within a time limit, on a GPU or on processor cores.

    python tools/campaign.py recipes/campaigns/gpu.yaml --data_dir D --output_dir OUT \
        --time_limit 540 --parallel 5

Each run of the plan is trained, evaluated and kept in OUT/results/; small checkpoints are copied to
OUT/weights/, and what the programs print is in OUT/logs/. At the time limit trainings stop after
their last finished epoch; the same command resumes them and skips what is done. --pilot makes every
run short, one epoch of 256 rows, to find a mistake before it costs time: choose another OUT for it.
docs/results.md describes plans.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferplus_keras import cli
from ferplus_keras.arguments import LineParser, Number
from ferplus_keras.config import default_data_dir
from ferplus_keras.errors import InputError
from ferplus_keras.extras import STACK, require
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.queue import TRAIN, Job, Queue, lock_log, read_error, train_words
from ferplus_keras.run import MAX_ACCURACY, Run
from tools.plan import Entry, read_plan
from tools.record import write_result

TEST = (*TRAIN[:-1], "test")
ROOT = Path(__file__).resolve().parent.parent


class Campaign:
    """The entries of a plan, run side by side in their order.

    Each training is a process of train.py, then one of test.py. An entry whose result exists is
    not run again, and an interrupted training is resumed, so the same campaign may be started as
    often as it takes.

    Args:
        entries: as `read_plan` returns them.
        data_dir: folder of the CSV files.
        output_dir: receives checkpoints/, results/, weights/ and logs/.
        largest_weights: checkpoints of at most so many bytes are copied to weights/.
        programs: command lines of train.py and test.py without their arguments.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        data_dir: Path,
        output_dir: Path,
        *,
        largest_weights: int = 30 * 2**20,
        programs: tuple[Sequence[str], Sequence[str]] = (TRAIN, TEST),
    ) -> None:
        require_writable(output_dir, "--output_dir")
        for folder in ("checkpoints", "results", "weights", "logs"):
            (output_dir / folder).mkdir(exist_ok=True)
        self.entries = {entry.name: entry for entry in entries}
        self.data_dir = data_dir
        self.output_dir = output_dir
        self.largest_weights = largest_weights
        self.train, self.test = programs
        self.started: dict[str, float] = {}
        self.failed: set[str] = set()

    def run(self, queue: Queue) -> bool:
        """Run until all is done or time is up; return whether nothing failed.

        Raises:
            KeyboardInterrupt: Ctrl-C; every training has saved its last finished epoch.
        """
        queue.run(self.take)
        left = [
            name
            for name, entry in self.entries.items()
            if name not in self.failed and not self.result(entry).is_file()
        ]
        if left:
            print(f"{len(left)} left ({', '.join(left)}): the same command resumes")
        return not self.failed

    def result(self, entry: Entry) -> Path:
        """Return the file of an entry's result."""
        return self.output_dir / "results" / entry.study / f"{entry.name}.json"

    def log(self, entry: Entry) -> Path:
        """Return the file of what an entry's programs print."""
        return self.output_dir / "logs" / f"{entry.name}.log"

    def checkpoint(self, entry: Entry) -> Run:
        """Return an entry's run; of an ensemble, the folder of its evaluation."""
        return Run(self.output_dir / "checkpoints" / entry.name)

    def take(self) -> Job | None:
        """Return the first job that may start now."""
        for name, entry in self.entries.items():
            if name in self.started or self.result(entry).is_file():
                continue
            broken = sorted(entry.needs & self.failed)
            if broken:
                self._fail(entry, f"{broken[0]}, which it needs, failed")
            elif all(self.result(self.entries[need]).is_file() for need in entry.needs):
                self.started[name] = time.monotonic()
                log = lock_log(self.log(entry))
                if log is not None:  # else another campaign runs it
                    return self._job(entry, log)
        return None

    def table(self) -> str:
        """Return what every finished entry reached."""
        return "\n".join(
            f"{name:<40}{_brief(self.result(entry))}"
            for name, entry in self.entries.items()
            if self.result(entry).is_file()
        )

    def _job(self, entry: Entry, log: int) -> Job:
        """Return the job that trains an entry, or evaluates it when it is trained."""
        run, runs = self.checkpoint(entry), self.output_dir / "checkpoints"
        data = ["--data_dir", str(self.data_dir)]
        if entry.recipe is None or run.is_trained:
            print(f"{entry.name} is evaluated", flush=True)
            run.folder.mkdir(exist_ok=True)
            words = [*entry.test_words(runs), "--output_dir", str(run.folder), *data]
            finish = partial(self._evaluated, entry)
            return Job([*self.test, *words], log, finish, resumable=False)
        verb = "resumes" if run.is_interrupted else "begins"
        print(f"{entry.name} {verb}", flush=True)
        words = [*train_words(run, entry.train_settings(runs)), *data]
        return Job([*self.train, *words], log, partial(self._trained, entry, log))

    def _trained(self, entry: Entry, log: int, code: int, stopped: bool) -> Job | None:
        if stopped:
            print(f"{entry.name} stopped", flush=True)
        elif self.checkpoint(entry).is_trained:
            return self._job(entry, log)
        else:
            self._fail(entry, read_error(self.log(entry)))
        return None

    def _evaluated(self, entry: Entry, code: int, stopped: bool) -> None:
        """Write an entry's result and weights, and say what it reached."""
        if code:
            if stopped:
                print(f"{entry.name} stopped", flush=True)
            else:
                self._fail(entry, read_error(self.log(entry)))
            return
        path, run = self.result(entry), self.checkpoint(entry)
        try:
            write_result(run.folder, path.parent, entry.name, entry.recipe)
        except InputError as error:
            self._fail(entry, str(error))
            return
        if entry.recipe and (run / MAX_ACCURACY).stat().st_size <= self.largest_weights:
            with replacing(self.output_dir / "weights" / f"{entry.name}.keras") as temporary:
                shutil.copyfile(run / MAX_ACCURACY, temporary)
        done = sum(self.result(each).is_file() for each in self.entries.values())
        seconds = time.monotonic() - self.started[entry.name]
        counted = f"({done} of {len(self.entries)})"
        print(f"{entry.name} done in {seconds:.0f} s {counted}: {_brief(path)}", flush=True)

    def _fail(self, entry: Entry, why: str) -> None:
        self.started.setdefault(entry.name, 0)
        self.failed.add(entry.name)
        print(f"{entry.name} failed: {why}", file=sys.stderr, flush=True)


def _brief(path: Path) -> str:
    """Return a result's accuracies and speed in a line."""
    result = json.loads(path.read_text(encoding="utf-8"))
    splits, networks = result["evaluation"]["splits"], result["networks"]
    said = [f"{name} {scores['accuracy']:.4f}" for name, scores in splits.items()]
    if len(networks) == 1:
        speed = f"{networks[0]['images_per_second']:.0f} images/s"
        said.append(f"{networks[0]['epochs']} epochs at {speed}")
    return ", ".join(said)


@cli.exit_code
def main(argv: Sequence[str]) -> None:
    """Run the campaign that the command line asks for and return the exit code."""
    parser = LineParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path(default_data_dir()))
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--time_limit", type=Number(float, above=0), help="seconds; default: none")
    parser.add_argument(
        "--parallel", type=Number(int, low=1), default=1, help="runs side by side [1]"
    )
    parser.add_argument(
        "--largest_weights", type=Number(float, low=0), default=30, help="MiB to copy [30]"
    )
    parser.add_argument("--pilot", action="store_true", help="one short epoch of one seed each")
    arguments = parser.parse_args(argv)
    require(STACK, "training")
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    from ferplus_keras.data.dataset import load_split

    queue = Queue(arguments.parallel, arguments.time_limit)
    campaign = Campaign(
        read_plan(arguments.plan, ROOT / "recipes", pilot=arguments.pilot),
        arguments.data_dir.resolve(),
        arguments.output_dir.resolve(),
        largest_weights=int(arguments.largest_weights * 2**20),
    )
    # Read once, so that jobs side by side find the pixels in the cache.
    split = load_split(str(campaign.data_dir), "validation")
    print(f"data: {len(split.images):,} validation rows by majority in {campaign.data_dir}")
    went_well = campaign.run(queue)
    print(campaign.table())
    if not went_well:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
