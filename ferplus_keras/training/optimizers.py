"""Optimisers by name, and what this project adds to them: a slower backbone."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from ferplus_keras.errors import UsageError, one_line
from ferplus_keras.lazy import keras, yaml

OPTIMIZERS = (
    *("Adam", "SGD", "AdamW", "Adadelta", "Adafactor", "Adagrad", "Adamax", "Ftrl", "Lamb"),
    *("Lion", "Muon", "Nadam", "RMSprop"),
)
"""Names of Keras' optimisers, but ScheduleFreeAdamW, which is right on JAX only in Keras 3.15."""

DECAYS = ("weight_decay", "adam_weight_decay")
"""Arguments that are a weight decay; Muon has both, as it leaves some variables to Adam."""


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    momentum: float = 0.9,
    arguments: Sequence[str] = (),
    weight_decay: float | None = None,
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
        momentum: SGD's, Nesterov's unless 0; other optimisers keep their own.
        arguments: further arguments of the Keras class, each "NAME=VALUE"; they win.
        weight_decay: decoupled weight decay, times the learning rate per step; kernels only. None
            is the optimiser's own: 0.004 for AdamW and Muon, none for the others.
        clip_norm: bound on the norm of all gradients together; 0 for none.
        ema: momentum of a moving average of the weights; 0 for none.
        slow: paths of the variables whose learning rate is multiplied by `slow_factor`.
        slow_factor: 1 leaves them at the same rate.

    Raises:
        UsageError: the optimiser does not take one of the arguments.
    """
    kind = getattr(keras.optimizers, name)
    settings: dict[str, Any] = {"beta_1": betas[0], "beta_2": betas[1]}
    if weight_decay is not None:
        settings |= dict.fromkeys(DECAYS, weight_decay)
    taken = inspect.signature(kind).parameters
    settings = {key: value for key, value in settings.items() if key in taken}
    if name == "SGD":
        settings |= {"momentum": float(momentum), "nesterov": momentum > 0}
    if clip_norm:
        settings["global_clipnorm"] = clip_norm
    if ema:
        settings |= {"use_ema": True, "ema_momentum": ema}
    if slow_factor != 1:
        kind = _with_slow_variables(kind, frozenset(slow), slow_factor)
    try:
        for text in arguments:
            key, equals, value = text.partition("=")
            if not key or not equals:
                raise UsageError(f"--optimizer_args: expected NAME=VALUE, got '{text}'")
            settings[key] = _read_value(value)
        optimizer = kind(learning_rate, **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--optimizer {name} does not accept {' '.join(arguments) or 'its settings'}: "
            f"{one_line(error)}"
        ) from None
    if any(getattr(optimizer, name, None) for name in DECAYS):
        optimizer.exclude_from_weight_decay(var_names=["bias|gamma|beta|class_token|positions"])
    return optimizer


def _read_value(text: str) -> Any:
    """Return the number, truth or list that a text stands for; raises ValueError for any other."""
    with suppress(yaml.YAMLError):
        value = yaml.safe_load(text)
        if not isinstance(value, str):
            return value
    return float(text)  # PyYAML reads 1e-4 as text


def _with_slow_variables(kind: type, slow: frozenset[str], factor: float) -> type:
    """Return a subclass of an optimiser in which some variables learn at another rate."""

    class WithSlowVariables(kind):
        def update_step(self, gradient, variable, learning_rate) -> None:
            # TensorFlow passes its own variable, which has no path.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            rate = learning_rate * factor if path in slow else learning_rate
            kind.update_step(self, gradient, variable, rate)

        def _apply_weight_decay(self, variables) -> None:
            # Keras takes one learning rate for all; decoupled decay is a share of each one's own.
            whole = {key: getattr(self, key) for key in DECAYS if getattr(self, key, None)}
            decayed = [v for v in variables if self._use_weight_decay(v)]
            for share, is_slow in ((1, False), (factor, True)):
                if part := [v for v in decayed if (v.path in slow) is is_slow]:  # Torch needs one
                    vars(self).update({key: decay * share for key, decay in whole.items()})
                    kind._apply_weight_decay(self, part)
            vars(self).update(whole)

    return WithSlowVariables
