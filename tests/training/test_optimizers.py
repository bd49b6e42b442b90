import importlib.util
import subprocess
import sys

import keras
import numpy as np
import pytest

from ferplus_keras.backend import BACKENDS
from ferplus_keras.errors import UsageError
from ferplus_keras.models.layers import PatchTokens
from ferplus_keras.training.optimizers import OPTIMIZERS, build_optimizer
from tests.backends import environment
from tests.conftest import REPOSITORY


def network():
    """A trunk and a head, both linear, with weights of one."""
    inputs = keras.Input((3,))
    trunk = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones", name="trunk")
    head = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones", name="head")
    return keras.Model(inputs, head(trunk(inputs)))


def step(optimizer, model, gradient=1.0):
    """Apply one gradient, the same everywhere, and return how far each variable moved."""
    variables = model.trainable_variables
    before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(v.shape) * gradient for v in variables], variables)
    return {v.path: before[i] - keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_lowers_a_loss(name):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(8)(inputs)))
    model.compile(build_optimizer(name, 0.01), "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    y = x.sum(axis=1, keepdims=True)
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, batch_size=8, epochs=4, verbose=0)
    assert model.evaluate(x, y, verbose=0) < before


def test_the_backbone_learns_more_slowly():
    model = network()
    slow = [v.path for v in model.get_layer("trunk").trainable_variables]
    moved = step(build_optimizer("SGD", 0.5, momentum=0, slow=slow, slow_factor=0.1), model)
    assert moved["trunk/kernel"] == pytest.approx(np.full((3, 2), 0.05))
    assert moved["trunk/bias"] == pytest.approx(np.full(2, 0.05))
    assert moved["head/kernel"] == pytest.approx(np.full((2, 1), 0.5))


def test_weight_decay_spares_biases_and_normalisation_and_is_decoupled():
    settings = {"momentum": 0, "weight_decay": 0.1}
    moved = step(build_optimizer("SGD", 0.5, **settings), network(), gradient=0.0)
    assert moved["trunk/kernel"] == pytest.approx(np.full((3, 2), 0.05))
    assert moved["trunk/bias"] == pytest.approx(np.zeros(2))
    inputs = keras.Input((3,))
    norm = keras.layers.BatchNormalization(beta_initializer="ones", name="norm")
    head = keras.layers.Dense(1, use_bias=False, name="head")  # Torch needs one that decays
    model = keras.Model(inputs, head(norm(inputs)))
    moved = step(build_optimizer("SGD", 0.5, **settings), model, gradient=0.0)
    assert moved["norm/gamma"].tolist() == moved["norm/beta"].tolist() == [0, 0, 0]
    assert moved["head/kernel"].any()
    tokens = PatchTokens(name="tokens")  # of ViTBase16
    model = keras.Model(patches := keras.Input((4, 3)), head(tokens(patches)))
    moved = step(build_optimizer("SGD", 0.5, **settings), model, gradient=0.0)
    assert [name for name, change in moved.items() if change.any()] == ["head/kernel"]


def test_weight_decay_is_slower_where_the_rate_is():
    model = network()
    slow = [v.path for v in model.get_layer("trunk").trainable_variables]
    settings = {"momentum": 0, "weight_decay": 0.1, "slow": slow, "slow_factor": 0.1}
    optimizer = build_optimizer("SGD", 0.5, **settings)
    moved = step(optimizer, model, gradient=0.0)
    assert moved["trunk/kernel"] == pytest.approx(np.full((3, 2), 0.005))
    assert moved["head/kernel"] == pytest.approx(np.full((2, 1), 0.05))
    assert optimizer.weight_decay == 0.1


@pytest.mark.parametrize("slow", [(), ("trunk/bias",)])
def test_weight_decay_where_no_slow_kernel_trains(slow):
    """As in a first stage of the head alone."""
    settings = {"momentum": 0, "weight_decay": 0.1, "slow": slow, "slow_factor": 0.1}
    moved = step(build_optimizer("SGD", 0.5, **settings), network(), gradient=0.0)
    assert moved["head/kernel"] == pytest.approx(np.full((2, 1), 0.05))
    assert moved["trunk/bias"] == pytest.approx(np.zeros(2))


@pytest.mark.parametrize("name", ["AdamW", "Muon"])
def test_no_weight_decay_is_none_and_unsaid_is_the_optimisers_own(name):
    moved = step(build_optimizer(name, 0.5, weight_decay=0.0), network(), gradient=0.0)
    assert all(np.all(values == 0) for values in moved.values())
    moved = step(build_optimizer(name, 0.5), network(), gradient=0.0)
    assert moved["head/kernel"] == pytest.approx(np.full((2, 1), 0.5 * 0.004), rel=1e-4)


def test_biases_are_spared_where_muon_decays_by_adam_alone():
    optimizer = build_optimizer("Muon", 0.5, arguments=["weight_decay=0"])
    moved = step(optimizer, network(), gradient=0.0)
    assert moved["head/bias"] == pytest.approx(np.zeros(1), abs=0)


def test_gradients_are_clipped_together():
    model = network()  # 6 + 2 + 2 + 1 gradients of one: norm sqrt(11)
    moved = step(build_optimizer("SGD", 1.0, momentum=0, clip_norm=0.5), model)
    norm = np.sqrt(sum((values**2).sum() for values in moved.values()))
    assert norm == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != keras.backend.backend()])
def test_the_arithmetic_is_the_same_on_every_backend(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    tests = [
        REPOSITORY / "tests/training" / f"test_{name}.py" for name in ("optimizers", "schedules")
    ]
    which = "slow or decay or clipped or planned_rate"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", which],
        cwd=REPOSITORY,
        env=environment(backend),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "16 passed" in done.stdout


def test_momentum_is_sgds():
    assert build_optimizer("SGD", 0.1, momentum=0.8).momentum == 0.8
    assert build_optimizer("RMSprop", 0.1, momentum=0.8).momentum == 0
    assert build_optimizer("RMSprop", 0.1, arguments=["momentum=0.8"]).momentum == 0.8


def test_arguments_win():
    optimizer = build_optimizer("SGD", 0.1, arguments=["momentum=0.5", "nesterov=false"])
    assert (optimizer.momentum, optimizer.nesterov) == (0.5, False)
    assert build_optimizer("SGD", 0.1).nesterov
    assert build_optimizer("Adam", 0.1, arguments=["epsilon=1e-4"]).epsilon == 1e-4
    assert build_optimizer("Adam", 0.1, betas=(0.5, 0.9)).beta_1 == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["momentum"], "expected NAME=VALUE"),
        (["speed=3"], "Adam does not accept speed=3"),
        (["epsilon=tiny"], "Adam does not accept epsilon=tiny: could not convert"),
        (["epsilon=[1"], r"Adam does not accept epsilon=\[1"),
    ],
)
def test_refused_arguments(arguments, said):
    with pytest.raises(UsageError, match=said) as caught:
        build_optimizer("Adam", 0.1, arguments=arguments)
    assert "\n" not in str(caught.value)
