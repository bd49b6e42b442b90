import keras
import numpy as np
import pytest

from ferplus_keras.config import TrainConfig
from ferplus_keras.errors import UsageError
from ferplus_keras.training.schedules import (
    POLICIES,
    Plan,
    learning_rate,
    plan_stages,
    planned_rates,
    spans_all_epochs,
    waiting,
)

PLANNED = [name for name, share in POLICIES.items() if share]


def rates_by_epoch(policy, epochs, init_lr=0.01, **settings):
    """Return the rate at the beginning of each epoch of ten steps."""
    return planned_rates(Plan(policy, epochs, init_lr, **settings), 10)[::10]


def rates_of_plateau(losses, **settings):
    """Return the learning rate of each epoch, given what is watched."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    plan = Plan("plateau", 50, 0.01, **settings)
    (schedule,) = waiting(plan)
    schedule.set_model(model)
    schedule.on_train_begin()
    seen = []
    for epoch, loss in enumerate(losses):
        schedule.on_epoch_begin(epoch, {})
        seen.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
        schedule.on_epoch_end(epoch, {plan.monitor: loss})
    return seen


def test_plateau_halves_after_three_epochs_without_a_lower_loss():
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6]
    expected = [0.01] * 5 + [0.005] * 5 + [0.0025]
    assert rates_of_plateau(losses) == pytest.approx(expected)


def test_plateau_of_khaireddin_watches_accuracy():
    accuracies = [0.5, 0.6, 0.6, 0.6, 0.7]
    settings = {"monitor": "val_accuracy", "factor": 0.75, "patience": 2}
    assert rates_of_plateau(accuracies, **settings) == pytest.approx([0.01] * 4 + [0.0075])


def test_step_decays_tenfold_counting_epochs_from_one():
    expected = [0.01] * 2 + [0.001] * 3 + [0.0001] * 3
    assert rates_by_epoch("step", 8, decay_epochs=3) == pytest.approx(expected)


def test_piecewise_is_shangeths_plan():
    rates = rates_by_epoch("piecewise", 140, init_lr=1e-3, milestones=(100, 120))
    assert rates == pytest.approx([1e-3] * 100 + [1e-4] * 20 + [1e-5] * 20)


def test_cosine_falls_to_nothing_and_warm_up_rises():
    rates = planned_rates(Plan("cosine", 5, 1.0, warmup=1), 10)
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == pytest.approx(1)
    assert rates[30] == pytest.approx(0.5)
    assert rates[49] == pytest.approx((1 + np.cos(np.pi * 39 / 40)) / 2, abs=1e-6)


@pytest.mark.parametrize("warmup", [0.5, 1, 1.7, 2, 3, 4.5])
@pytest.mark.parametrize("policy", PLANNED)
def test_every_policy_rises_through_its_warm_up_and_does_not_jump_after_it(policy, warmup):
    """The ramp ends at what the policy says there; nowhere does the rate rise by more than a
    ramp's step, but at the restarts that `cosine_restarts` is named after.
    """
    steps = 20
    plan = Plan(policy, 8, 1.0, warmup, decay_epochs=2, milestones=(2, 5))
    rates = planned_rates(plan, steps)
    last = int(np.ceil(warmup * steps))
    assert np.all(np.diff(rates[:last]) > 0)
    assert rates[0] < rates[last - 1] / (0.7 * last)
    assert rates[last - 1] == pytest.approx(POLICIES[policy](plan, warmup), rel=1e-5)
    rises = np.diff(rates[last - 1 :])
    if policy == "cosine_restarts":
        period = 2 * steps
        rises = np.delete(rises, np.arange(period, len(rises), period))
    assert rises.max() <= 1 / (warmup * steps) + 0.03  # one_cycle keeps rising
    assert rates[last] == pytest.approx(rates[last - 1], rel=0.35) or policy in (
        "step",
        "piecewise",
    )


def test_restarts_begin_again():
    rates = rates_by_epoch("cosine_restarts", 6, decay_epochs=3)
    assert rates[:3] == pytest.approx(rates[3:])
    assert rates[:3] == pytest.approx([0.01, 0.0075, 0.0025])


def test_one_cycle_peaks_at_thirty_percent():
    rates = planned_rates(Plan("one_cycle", 10, 1.0), 10)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.argmax() == 30
    assert rates[30] == pytest.approx(1)
    assert rates[-1] < 0.01


def test_constant_stays():
    assert rates_by_epoch("constant", 3) == pytest.approx([0.01] * 3)


@pytest.mark.parametrize("policy", PLANNED)
def test_the_optimiser_steps_at_the_planned_rate(policy):
    """With a gradient of one, plain SGD moves by exactly the rate; past the plan the last stays."""
    plan = Plan(policy, 4, 0.5, decay_epochs=2)
    variable = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(learning_rate(plan, 3))
    optimizer.build([variable])
    moved, before = [], 0.0
    for _ in range(13):
        optimizer.apply([keras.ops.ones(())], [variable])
        now = float(keras.ops.convert_to_numpy(variable))
        moved.append(before - now)
        before = now
    expected = planned_rates(plan, 3)
    assert moved == pytest.approx([*expected, expected[-1]], abs=1e-6)


def test_every_policy_has_a_case():
    assert [name for name in POLICIES if name not in PLANNED] == ["plateau"]
    assert len(POLICIES) == 7


def test_policies_that_another_number_of_epochs_would_change():
    assert [name for name in POLICIES if spans_all_epochs(name)] == ["cosine", "one_cycle"]


def test_a_run_without_stages_is_one_stage():
    (stage,) = plan_stages(TrainConfig(freeze_before=-51, nepochs=7))
    assert (stage.freeze_before, stage.epochs, stage.init_lr) == (-51, 7, 0.001)
    assert stage.early_stopping == 8


def test_each_stage_has_its_epochs_boundary_and_rate():
    config = TrainConfig(stages=("2:-3:0.01", "4:conv5/block:1e-3"), early_stopping=5)
    first, second = plan_stages(config)
    assert (first.epochs, first.freeze_before, first.init_lr) == (2, -3, 0.01)
    assert (second.epochs, second.freeze_before, second.init_lr) == (
        4,
        "conv5/block",
        0.001,
    )
    assert (first.early_stopping, second.early_stopping) == (0, 5)


@pytest.mark.parametrize(
    "text", ["5", "a:b:c", "0:-3:0.1", "5:-3:0", "5:-3:nan", "5:-3:inf", "5::0.1", "1:2:3:4"]
)
def test_a_malformed_stage_is_refused(text):
    with pytest.raises(UsageError, match="EPOCHS:FREEZE_BEFORE:INIT_LR"):
        plan_stages(TrainConfig(stages=(text,)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr_policy": "plateau", "warmup_epochs": 1}, "needs a planned --lr_policy"),
        ({"lr_policy": "cosine", "warmup_epochs": 5, "nepochs": 5}, "no epoch of --nepochs 5"),
        (
            {"lr_policy": "cosine", "warmup_epochs": 1, "stages": ("9:0:1", "1:0:1")},
            "leaves no epoch of a stage of 1",
        ),
    ],
)
def test_refusals(settings, said):
    with pytest.raises(UsageError, match=said):
        plan_stages(TrainConfig(**settings))
