"""Optimisers by name, and what this project adds to them: a slower backbone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ferplus_keras.errors import UsageError

if TYPE_CHECKING:
    import keras

OPTIMIZERS = (
    "Adam",
    "SGD",
    "AdamW",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Muon",
    "Nadam",
    "RMSprop",
    "ScheduleFreeAdamW",
)
"""Names of Keras' optimisers."""

SPARED = ("bias", "gamma", "beta")
"""Names of the variables that weight decay spares."""


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    momentum: float = 0.9,
    arguments: Sequence[str] = (),
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    ema: float = 0.0,
    slow: Collection[str] = (),
    slow_factor: float = 1.0,
) -> keras.optimizers.Optimizer:
    """Return one of Keras' optimisers.

    Args:
        name: one of `OPTIMIZERS`.
        learning_rate: number or schedule.
        betas: decay of the moments, where the optimiser has them.
        momentum: where the optimiser has it; SGD's is Nesterov's.
        arguments: more arguments of the Keras class, each "NAME=VALUE"; they win.
        weight_decay: decoupled weight decay, times the learning rate a step; kernels only.
        clip_norm: bound on the norm of all gradients together; 0 for none.
        ema: momentum of a moving average of the weights; 0 for none.
        slow: paths of the variables whose learning rate is multiplied by `slow_factor`.
        slow_factor: 1 leaves them at the same rate.

    Raises:
        UsageError: the optimiser does not take one of the arguments.
    """
    import keras

    kind = getattr(keras.optimizers, name)
    own = {
        "beta_1": betas[0],
        "beta_2": betas[1],
        "momentum": float(momentum),
        "nesterov": name == "SGD" and momentum > 0,
    }
    taken = inspect.signature(kind).parameters
    settings: dict[str, Any] = {key: value for key, value in own.items() if key in taken}
    if weight_decay:
        settings["weight_decay"] = weight_decay
    if clip_norm:
        settings["global_clipnorm"] = clip_norm
    if ema:
        settings |= {"use_ema": True, "ema_momentum": ema}
    settings |= dict(map(_argument, arguments))
    if slow_factor != 1:
        kind = _with_slow_variables(kind, frozenset(slow), slow_factor)
    try:
        optimizer = kind(learning_rate, **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--optimizer_args: {name} refuses {' '.join(arguments)}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(SPARED))
    return optimizer


def _argument(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--optimizer_args: expected NAME=VALUE, got '{text}'")
    return name, yaml.safe_load(value)


def _with_slow_variables(kind: type, slow: frozenset[str], factor: float) -> type:
    """Return a subclass of an optimiser in which some variables learn at another rate."""

    def update_step(self, gradient, variable, learning_rate) -> None:
        # TensorFlow hands its own variable over, which has no path.
        path = self._trainable_variables[self._get_variable_index(variable)].path
        rate = learning_rate * factor if path in slow else learning_rate
        kind.update_step(self, gradient, variable, rate)

    members: dict[str, Callable] = {"update_step": update_step}
    return type(f"{kind.__name__}WithSlowVariables", (kind,), members)
