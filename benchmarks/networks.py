"""Measure training and prediction of networks on every backend and runtime that is installed.

    python benchmarks/networks.py [--parts train steps predict] [--seconds 10] [--json speed.json]

`train` is a training step of CompactFER at 48 pixels and ResNet50 at 224, from layer -51 on, in
float32 and bfloat16 on TensorFlow, JAX and Torch. `steps` is ResNet50's step with nothing frozen,
from -51 and from -1 on. `predict` is ResNet50 by Keras, and exported to ONNX Runtime (float32,
int8) and OpenVINO (float32, bfloat16). Each row has a process of its own and random faces in
memory. An image per processor-second counts the time of all threads, so that other load on the
machine changes it little; an image per second is what the clock says.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ENGINES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
RUNTIME_FASTEST = {"onnx": "int8", "openvino": "bfloat16"}  # of export's --quantize
BATCH = {"CompactFER": 32, "ResNet50": 8}
COLUMNS = ("part", "network", "engine", "precision", "freeze_before", "batch_size")


def rows(parts: list[str], engines: list[str]) -> list[dict]:
    """Return what is to be measured, one dict per row of the table."""
    found = []

    def add(part: str, network: str, engine: str, precision: str, freeze_before: int = 0) -> None:
        values = (part, network, engine, precision, freeze_before, BATCH[network])
        found.append(dict(zip(COLUMNS, values, strict=True)))

    for engine in engines:
        for precision in ("none", "bfloat16"):
            if "train" in parts:
                add("train", "CompactFER", engine, precision)
                add("train", "ResNet50", engine, precision, -51)
        for position in (0, -51, -1) if "steps" in parts else ():
            add("steps", "ResNet50", engine, "none", position)
        if "predict" in parts:
            add("predict", "ResNet50", engine, "none")
    for engine in RUNTIMES if "predict" in parts and "tensorflow" in engines else ():
        if find_spec(RUNTIMES[engine]):
            add("predict", "ResNet50", engine, "none")
            add("predict", "ResNet50", engine, RUNTIME_FASTEST[engine])
    return found


def measure(row: dict, seconds: float) -> dict:
    """Return a row with its speed; runs in a process of its own, whose backend is chosen."""
    import numpy as np

    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (row["batch_size"], 48, 48), dtype=np.uint8)
    targets = np.eye(8, dtype=np.float32)[rng.integers(0, 8, len(faces))]
    model = prepare(row)
    if row["part"] != "predict":

        def step() -> None:
            model.train_on_batch(faces, targets)

    elif row["engine"] in ENGINES:

        def step() -> None:
            model.predict_on_batch(faces)

    else:
        run = exported(model, row["engine"], row["precision"], faces)

        def step() -> None:
            run(faces)

    for _ in range(2):  # compiles, allocates
        step()
    steps, clock, processor = 0, time.perf_counter(), time.process_time()
    while steps < 2 or time.process_time() - processor < seconds:
        step()
        steps += 1
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    images = steps * len(faces)
    return row | {
        "images_per_processor_second": images / processor,
        "images_per_second": images / clock,
        "processor_seconds_per_step": processor / steps,
    }


def prepare(row: dict):
    """Return the network as train.py and test.py run it, compiled."""
    from ferplus_keras.models.freeze import freeze_before
    from ferplus_keras.models.registry import build_model
    from ferplus_keras.training.devices import compute_dtype, use_xla

    with compute_dtype(row["precision"] if row["engine"] in ENGINES else "none"):
        model = build_model(row["network"], 8, weights="none")
    freeze_before(model, row["freeze_before"])
    model.compile("adam", "categorical_crossentropy", jit_compile=use_xla())
    return model


def exported(model, runtime: str, precision: str, faces):
    """Return the network exported and opened in another runtime, as a function of faces."""
    from ferplus_keras.formats import FORMATS, open_network
    from ferplus_keras.models.info import CheckpointInfo

    names = tuple("abcdefgh")
    info = CheckpointInfo("ResNet50", 224, names, "FERPlus", "majority", "majority")
    form = FORMATS[runtime]
    folder = tempfile.mkdtemp(dir=os.environ["WORK"])
    path = Path(folder, f"model{form.suffixes[0]}")
    model.predict_on_batch(faces)  # Keras exports only what has been called
    form.write(model, info, path, "float32" if precision == "none" else precision, faces)
    return open_network(path).run


def main() -> int:
    """Measure every row, print the table, write JSON; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("train", "steps", "predict")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--seconds", type=float, default=10.0, help="of processor time per row")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--row", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.row, arguments.seconds)))
        return 0
    engines = [name for name in arguments.engines if find_spec(ENGINES[name])]
    print(
        f"{'part':<9}{'network':<12}{'engine':<12}{'precision':<11}{'from':>5}{'batch':>7}", end=""
    )
    print(f"{'images/processor-s':>20}{'images/s':>10}{'s/step':>8}")
    done, failed = [], 0
    with tempfile.TemporaryDirectory() as work:
        for row in rows(arguments.parts, engines):
            backend = row["engine"] if row["engine"] in ENGINES else "tensorflow"
            command = [sys.executable, __file__, "--row", json.dumps(row)]
            child = subprocess.run(
                [*command, "--seconds", str(arguments.seconds)],
                env=os.environ | {"KERAS_BACKEND": backend, "WORK": work},
                capture_output=True,
                text=True,
            )
            if child.returncode:
                failed += 1
                print(f"error: {row}: {child.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found = json.loads(child.stdout.splitlines()[-1])
            done.append(found)
            precision = "float32" if row["precision"] == "none" else row["precision"]
            print(
                f"{row['part']:<9}{row['network']:<12}{row['engine']:<12}{precision:<11}"
                f"{row['freeze_before']:>5}{row['batch_size']:>7}"
                f"{found['images_per_processor_second']:>20.1f}{found['images_per_second']:>10.1f}"
                f"{found['processor_seconds_per_step']:>8.2f}",
                flush=True,
            )
            if arguments.json:
                arguments.json.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
