"""Kill train.py, test.py, export and sweep by SIGKILL, start them again, and compare: one table.

    python benchmarks/kill.py [--backends tensorflow jax] [--seeds 20] [--points POINT …]

Every case is the real command line on drawn faces. It is killed once at a point, after a delay
that the seed decides, and then started again as its message or the documentation says. All that an
unbroken run leaves must be there, equal to the last digit, and nothing else: no half files.
The exit code is 1 if any case differs. `late` counts cases that had ended before their kill.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np

from ferplus_keras.run import CHECKPOINTS, HISTORY, PREDICTIONS, RECORD, REPORT, STATE, Run
from ferplus_keras.workspace import WORK

PROGRAM = (sys.executable, "-m", "ferplus_keras")
EPOCHS = 3
PLAN = """
sampler: grid
base: {model_name: FaceEmotionCNN, weights: none, nepochs: 1, limit_train: 64, loggers: none}
search: {init_lr: [0.01, 0.02]}
"""
FOLLOWING = {"report": "test", "export": "export", "sweep": "sweep"}
"""Point -> what is killed there, where it is no training."""


class Case:
    """One folder in which a command is run to its end, killed or not."""

    def __init__(self, folder: Path, backend: str, data: Path, cache: Path) -> None:
        self.folder, self.data = folder, data
        self.run = Run(folder / "run")
        folder.mkdir(parents=True)
        self.environment = os.environ | {
            "KERAS_BACKEND": backend,
            "FERPLUS_CACHE_DIR": str(cache),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def words(self, command: str) -> list[str]:
        """Return the words of a command as a user types them now: anew, or to go on."""
        place = ["--checkpoints_dir", str(self.folder), "--name", "run"]
        if command == "test":
            return ["test", *place, "--data_dir", str(self.data)]
        if command == "export":
            file = str(self.run / CHECKPOINTS[0])
            return ["export", "--checkpoint_path", file, "--format", "onnx", "--rows", "20"]
        if command == "sweep":
            (self.folder / "plan.yaml").write_text(PLAN)
            own = ["--config", str(self.folder / "plan.yaml"), "--data_dir", str(self.data)]
            return ["sweep", *own, "--sweep_dir", str(self.folder / "sweep")]
        if (self.run / STATE).is_file():
            return ["train", *place, "--resume"]
        how = "--model_name FaceEmotionCNN --weights none --optimizer SGD --early_stopping 0"
        how += f" --nepochs {EPOCHS} --limit_train 96 --batch_size 32 --num_gpus 0"
        again = ["--overwrite"] * self.run.exists
        return ["train", *place, *how.split(), "--data_dir", str(self.data), *again]

    def start(self, command: str) -> subprocess.Popen:
        """Start a command in a session of its own."""
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [*PROGRAM, *self.words(command)],
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )

    def finish(self, command: str) -> None:
        """Run a command to its end, once what a kill left of its children has ended."""
        for _ in range(600):
            code = self.start(command).wait()
            said = (self.folder / "log.txt").read_text(errors="replace")
            if code == 0 or "in use" not in said.splitlines()[-1]:
                break
            time.sleep(1)
        if code:
            raise SystemExit(f"{command} in {self.folder} failed:\n{said[-2000:]}")

    def text(self) -> str:
        """Return what the commands have printed."""
        log = self.folder / "log.txt"
        return log.read_text(errors="replace") if log.is_file() else ""

    def reached(self, point: str, cache: Path) -> bool:
        """Say whether the command has come to a point."""
        if point == "cache":
            return cache.is_dir()  # made just before the faces are written into it
        if point == "checkpoint":
            return any(self.run.folder.glob(f"{WORK}*/*.keras"))
        if point == "report":
            return any(self.run.folder.glob(f"{WORK}*"))
        if point == "export":
            return any(self.run.folder.glob(f"{WORK}*/new"))
        if point == "sweep":
            return any(self.folder.glob("sweep/trials/*/config.yaml"))
        lines = {"mid-epoch": "epoch 1/", "end": f"epoch {EPOCHS}/"}
        return point == "imports" or f"\n{lines[point]}" in self.text()

    def kill(self, point: str, cache: Path, dice: random.Random) -> bool:
        """Start what belongs to a point and kill it there; say whether it was still running."""
        process = self.start(FOLLOWING.get(point, "train"))
        while process.poll() is None and not self.reached(point, cache):
            time.sleep(0.002)
        longest = {"imports": 6, "mid-epoch": 2, "sweep": 8, "report": 0.5, "end": 0.5}
        time.sleep(dice.random() * longest.get(point, 0.05))
        running = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if running else None
        process.wait()
        return running

    def left(self, command: str) -> dict[str, object]:
        """Return what a command leaves, as it is to be compared; without times and paths."""
        found: dict[str, object] = {
            "half files": sorted(str(path) for path in self.folder.rglob(f"{WORK}*"))
        }
        if command == "sweep":
            lines = (self.folder / "sweep" / "sweep.csv").read_text().splitlines()
            found["sweep.csv"] = [line.split(",")[:5] for line in lines]  # no seconds
            return found
        found[HISTORY] = (self.run / HISTORY).read_bytes()
        best = self.run.record()["best"]
        found[RECORD] = json.dumps(best, sort_keys=True)
        for name in CHECKPOINTS:
            found[name] = numbers_of(self.run / name)
        if command == "test":
            found[PREDICTIONS] = (self.run / PREDICTIONS).read_bytes()
            report = self.run.report()
            found[REPORT] = json.dumps([report["splits"], report["evaluation_id"]])
        if command == "export":
            found["export"] = (self.run / "model_max_acc.onnx").stat().st_size
        return found


def numbers_of(path: Path) -> bytes:
    """Return the weights in a checkpoint, in order."""
    found: list[bytes] = []
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(
            lambda name, item: (
                found.append(name.encode() + np.asarray(item).tobytes())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return b"".join(found)


def differences(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    """Return the names of what is not as it should be."""
    return [name for name in expected if found.get(name) != expected[name]]


def score(
    backend: str, points: list[str], seeds: int, folder: Path, keep: bool = False
) -> dict[str, list[str]]:
    """Return what came of every case by point: "equal", "late", or the names of what differs."""
    data, cache = folder / "data", folder / "cache"
    if not data.is_dir():
        words = ["sample-data", str(data), "--rows", "400"]
        subprocess.run([*PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    unbroken = Case(folder / backend / "unbroken", backend, data, cache)
    expected = {}
    commands = dict.fromkeys(["train", *(FOLLOWING.get(point, "train") for point in points)])
    for command in commands:
        unbroken.finish(command)
        expected[command] = unbroken.left(command)
    outcomes: dict[str, list[str]] = {}
    for seed in range(seeds):
        for point in points:
            command = FOLLOWING.get(point, "train")
            own = folder / backend / f"{point} {seed}"
            case_cache = own / "cache" if point == "cache" else cache
            case = Case(own, backend, data, case_cache)
            if command in ("test", "export"):  # of a trained run
                trained = [unbroken.run / name for name in ("config.yaml", HISTORY, RECORD)]
                case.run.folder.mkdir()
                for file in (*trained, *(unbroken.run / name for name in CHECKPOINTS)):
                    shutil.copy2(file, case.run.folder)
            killed = case.kill(point, case_cache, random.Random(f"{seed} {point}"))
            if "best" not in _record(case.run) or command != "train":
                case.finish(command)
            wrong = differences(case.left(command), expected[command])
            outcome = ", ".join(wrong) or ("equal" if killed else "late")
            outcomes.setdefault(point, []).append(outcome)
            print(f"{backend} {point} {seed}: {outcome}", flush=True)
            if not wrong and not keep:
                shutil.rmtree(own)
    return outcomes


def _record(run: Run) -> dict:
    return run.record() if (run / RECORD).is_file() else {}


POINTS = ("imports", "cache", "mid-epoch", "checkpoint", "end", *FOLLOWING)


def main(argv=None):
    """Print the scoreboard; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--points", nargs="+", choices=POINTS, default=list(POINTS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--keep", action="store_true", help="keep the folders of all cases")
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    table = {}
    for backend in arguments.backends:
        found = score(backend, arguments.points, arguments.seeds, folder, arguments.keep)
        table |= {(backend, point): outcomes for point, outcomes in found.items()}
    print(f"\n{'backend':<12}{'point':<12}{'killed':>8}{'late':>6}{'equal':>7}{'different':>11}")
    wrong = 0
    for (backend, point), outcomes in table.items():
        late, equal = outcomes.count("late"), outcomes.count("equal")
        different = len(outcomes) - late - equal
        wrong += different
        numbers = f"{len(outcomes) - late:>8}{late:>6}{equal:>7}{different:>11}"
        print(f"{backend:<12}{point:<12}{numbers}")
    if wrong:
        print(f"what differs is in {folder}")
    elif not arguments.keep:
        shutil.rmtree(folder)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
