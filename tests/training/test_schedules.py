import keras
import numpy as np
import pytest

from ferplus_keras.config import TrainConfig
from ferplus_keras.errors import UsageError
from ferplus_keras.training.schedules import (
    PLANNED,
    POLICIES,
    check_policy,
    learning_rate,
    planned_rates,
    plateau,
    reaches_over_all_epochs,
)


def rates_by_epoch(policy, epochs, **settings):
    """Return the rate at the beginning of each epoch of ten steps."""
    settings = {"init_lr": 0.01, "nepochs": epochs} | settings
    return planned_rates(TrainConfig(lr_policy=policy, **settings), 10)[::10]


def rates_of_plateau(losses, **settings):
    """Return the learning rate of each epoch, given what is watched."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    config = TrainConfig(init_lr=0.01, **settings)
    schedule = plateau(config)
    schedule.set_model(model)
    schedule.on_train_begin()
    seen = []
    for epoch, loss in enumerate(losses):
        schedule.on_epoch_begin(epoch, {})
        seen.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
        schedule.on_epoch_end(epoch, {config.lr_monitor: loss})
    return seen


def test_plateau_halves_after_three_epochs_without_a_lower_loss():
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6]
    expected = [0.01] * 5 + [0.005] * 5 + [0.0025]
    assert rates_of_plateau(losses) == pytest.approx(expected)


def test_plateau_of_khaireddin_watches_accuracy():
    accuracies = [0.5, 0.6, 0.6, 0.6, 0.7]
    settings = {"lr_monitor": "val_accuracy", "lr_factor": 0.75, "lr_patience": 2}
    assert rates_of_plateau(accuracies, **settings) == pytest.approx([0.01] * 4 + [0.0075])


def test_step_decays_tenfold_counting_epochs_from_one():
    expected = [0.01] * 2 + [0.001] * 3 + [0.0001] * 3
    assert rates_by_epoch("step", 8, lr_decay_epochs=3) == pytest.approx(expected)


def test_piecewise_is_shangeths_plan():
    rates = rates_by_epoch("piecewise", 140, init_lr=1e-3, lr_milestones=(100, 120))
    assert rates == pytest.approx([1e-3] * 100 + [1e-4] * 20 + [1e-5] * 20)


def test_cosine_falls_to_nothing_and_warm_up_rises():
    rates = planned_rates(
        TrainConfig(lr_policy="cosine", init_lr=1.0, nepochs=5, warmup_epochs=1), 10
    )
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == pytest.approx(1)
    assert rates[30] == pytest.approx(0.5)
    assert rates[49] == pytest.approx((1 + np.cos(np.pi * 39 / 40)) / 2, abs=1e-6)


def test_restarts_begin_again():
    rates = rates_by_epoch("cosine_restarts", 6, lr_decay_epochs=3)
    assert rates[:3] == pytest.approx(rates[3:])
    assert rates[:3] == pytest.approx([0.01, 0.0075, 0.0025])


def test_one_cycle_peaks_at_thirty_percent():
    rates = planned_rates(TrainConfig(lr_policy="one_cycle", init_lr=1.0, nepochs=10), 10)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.argmax() == 30
    assert rates[30] == pytest.approx(1)
    assert rates[-1] < 0.01


def test_constant_stays():
    assert rates_by_epoch("constant", 3) == pytest.approx([0.01] * 3)


@pytest.mark.parametrize("policy", PLANNED)
def test_the_optimiser_steps_at_the_planned_rate(policy):
    """With a gradient of one, plain SGD moves by exactly the rate; past the plan the last stays."""
    config = TrainConfig(lr_policy=policy, init_lr=0.5, nepochs=4, lr_decay_epochs=2)
    variable = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(learning_rate(config, 3))
    optimizer.build([variable])
    moved, before = [], 0.0
    for _ in range(13):
        optimizer.apply([keras.ops.ones(())], [variable])
        now = float(keras.ops.convert_to_numpy(variable))
        moved.append(before - now)
        before = now
    expected = planned_rates(config, 3)
    assert moved == pytest.approx([*expected, expected[-1]], abs=1e-6)


def test_every_policy_has_a_case():
    assert set(POLICIES) == {"plateau", *PLANNED}
    assert len(POLICIES) == 7


def test_policies_that_another_number_of_epochs_would_change():
    found = [name for name in POLICIES if reaches_over_all_epochs(TrainConfig(lr_policy=name))]
    assert found == ["cosine", "one_cycle"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr_policy": "plateau", "warmup_epochs": 1}, "needs a planned --lr_policy"),
        ({"lr_policy": "cosine", "warmup_epochs": 5, "nepochs": 5}, "leaves nothing"),
    ],
)
def test_refusals(settings, said):
    with pytest.raises(UsageError, match=said):
        check_policy(TrainConfig(**settings))
