"""Measure training and evaluation beside bare JAX functions, and the share of the device's peak.

    python benchmarks/gpu_step.py [--batch_size 256] [--peak_tflops 989] [--json FILE]

In turns in one process, on random faces: `fit` as train.py compiles and calls it, reading its
batches from memory, beside a bare step; and `probabilities` of a Classifier, as test.py calls it,
beside a bare forward pass. The bare ones are jitted functions of the same network, weights and
optimiser without Keras' trainer, on one batch that lies on the device. The share of the peak is the
floating-point operations that XLA counts in the bare one, times batches per second, over
--peak_tflops: dense operations in the precision, as the maker states them (989 for the H100 SXM and
the H200 in bfloat16).

Without a GPU a small case shows that it works:

    python benchmarks/gpu_step.py --network CompactFER --batch_size 16 --steps 3 --rounds 2
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.targets import Split
from ferplus_keras.models.freeze import freeze_before
from ferplus_keras.models.registry import build_model
from ferplus_keras.training.devices import compute_dtype, use_xla

LOSS = "categorical_crossentropy"
PARTS = ("training", "evaluation")


def build(arguments: argparse.Namespace) -> keras.Model:
    """Return the network, compiled as train.py compiles it."""
    size = {"image_size": arguments.image_size} if arguments.image_size else {}
    with compute_dtype(arguments.precision):
        model = build_model(arguments.network, 8, weights="none", **size)
    freeze_before(model, arguments.freeze_before)
    model.compile(keras.optimizers.Adam(1e-4), LOSS, metrics=["accuracy"], jit_compile=use_xla())
    model.optimizer.build(model.trainable_variables)
    return model


def bare_step(model: keras.Model, faces: np.ndarray, targets: np.ndarray):
    """Return a function that runs `steps` bare steps, and the operations that XLA counts in one."""
    optimizer, loss = model.optimizer, keras.losses.get(LOSS)
    state = copies(model.trainable_variables, model.non_trainable_variables, optimizer.variables)

    def losses(trained, others, x, y):
        predicted, others = model.stateless_call(trained, others, x, training=True)
        return loss(y, predicted).mean(), others

    def step(trained, others, slots, x, y):
        gradient = jax.value_and_grad(losses, has_aux=True)
        (value, others), gradients = gradient(trained, others, x, y)
        trained, slots = optimizer.stateless_apply(slots, gradients, trained)
        return value, trained, others, slots

    x, y = jax.device_put(faces), jax.device_put(targets)
    counted = operations(step, *state, x, y)
    compiled = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, x, y).compile()

    def run(steps: int) -> None:
        for _ in range(steps):
            value, *state[:] = compiled(*state, x, y)
        value.block_until_ready()

    return run, counted


def bare_forward(model: keras.Model, faces: np.ndarray):
    """Return a function that runs `steps` bare forward passes, and the operations of one."""
    trained, others = copies(model.trainable_variables, model.non_trainable_variables)

    def forward(trained, others, x):
        return model.stateless_call(trained, others, x, training=False)[0]

    x = jax.device_put(faces)
    compiled = jax.jit(forward).lower(trained, others, x).compile()

    def run(steps: int) -> None:
        for _ in range(steps):
            found = compiled(trained, others, x)
        found.block_until_ready()

    return run, operations(forward, trained, others, x)


def copies(*groups: list[keras.Variable]) -> list[list[jax.Array]]:
    """Return copies of the values of each group of variables; donating them spares the model."""
    return [[jax.numpy.copy(variable.value) for variable in group] for group in groups]


def operations(function, *arguments) -> float:
    """Return the floating-point operations that XLA counts in one call.

    They are counted as for a processor and before compiling: a GPU's plug-in counts none there,
    and a compiled function hides what runs in cuDNN.
    """
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), arguments)
    with jax.default_device(jax.devices("cpu")[0]):
        return float(jax.jit(function).lower(*shapes).cost_analysis()["flops"])


def main() -> int:
    """Measure, print the table, write JSON; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="ResNet50")
    parser.add_argument("--image_size", type=int, help="default: the network's own")
    parser.add_argument("--freeze_before", default="0")
    parser.add_argument("--precision", default="bfloat16", help="none is float32")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50, help="per round")
    parser.add_argument("--rounds", type=int, default=5, help="of both in turns")
    parser.add_argument("--measure", nargs="+", choices=PARTS, default=PARTS, help="default: both")
    parser.add_argument("--workers", type=int, help="threads that prepare batches, as train.py's")
    parser.add_argument("--augmentation", default="none", help="of fit's batches")
    parser.add_argument("--peak_tflops", type=float, help="of the device in this precision")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = arguments.batch_size * arguments.steps
    faces = rng.integers(0, 256, (rows, 48, 48), dtype=np.uint8)
    targets = np.eye(8, dtype=np.float32)[rng.integers(0, 8, rows)]
    model = build(arguments)
    classifier = Classifier.from_model(model, "abcdefgh")
    one = slice(arguments.batch_size)
    split = Split(faces, targets, np.arange(rows), tuple("abcdefgh"))
    batches = Batches(
        split,
        arguments.batch_size,
        augmentation=arguments.augmentation,
        sampling="shuffled",
        workers=arguments.workers,
    )
    device = jax.devices()[0].device_kind
    print(f"{arguments.network} on {device}, {arguments.precision}")
    print(f"{'':<16}{'images/s':>10}{'ms/batch':>10}{'of bare':>9}{'of peak':>9}")
    found = {"device": device, **vars(arguments), "json": None}

    def compare(name: str, work, bare_name: str, bare, counted: float) -> None:
        """Time `work` and as many batches of `bare`, of so many operations each, in turns."""
        took: dict[str, list[float]] = {name: [], bare_name: []}
        work()  # compiles
        bare(2)
        for _ in range(arguments.rounds):
            for who, what in ((name, work), (bare_name, lambda: bare(arguments.steps))):
                start = time.perf_counter()
                what()
                took[who].append(time.perf_counter() - start)
        speeds = {who: rows / statistics.median(times) for who, times in took.items()}
        for who, speed in speeds.items():
            share, peak = speed / speeds[bare_name], arguments.peak_tflops
            of_peak = peak and speed / arguments.batch_size * counted / (peak * 1e12)
            found[who] = {
                "images_per_second": speed,
                "seconds": took[who],
                "of_bare": share,
                "of_peak": of_peak,
                "operations_per_batch": counted,
            }
            print(
                f"{who:<16}{speed:>10,.0f}{1000 * arguments.batch_size / speed:>10.1f}{share:>9.0%}"
                + (f"{of_peak:>9.1%}" if peak else f"{'-':>9}"),
                flush=True,
            )

    def fit() -> None:
        model.fit(batches, epochs=1, shuffle=False, verbose=0)

    def evaluate() -> None:
        classifier.probabilities(faces, batch_size=arguments.batch_size)

    if "training" in arguments.measure:
        compare("fit", fit, "bare step", *bare_step(model, faces[one], targets[one]))
    if "evaluation" in arguments.measure:
        compare("probabilities", evaluate, "bare forward", *bare_forward(model, faces[one]))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
