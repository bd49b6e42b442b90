import keras
import pytest

from ferplus_keras.config import TrainConfig
from ferplus_keras.training.schedules import SCHEDULES


@pytest.fixture
def model():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def rates(model, policy, losses, **settings):
    """Return the learning rate of each epoch, given its validation loss."""
    schedule = SCHEDULES[policy](TrainConfig(init_lr=0.01, **settings))
    schedule.set_model(model)
    schedule.on_train_begin()
    seen = []
    for epoch, loss in enumerate(losses):
        schedule.on_epoch_begin(epoch, {})
        seen.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
        schedule.on_epoch_end(epoch, {"val_loss": loss})
    return seen


def test_plateau_halves_after_three_epochs_without_a_lower_loss(model):
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6]
    expected = [0.01] * 5 + [0.005] * 5 + [0.0025]
    assert rates(model, "plateau", losses) == pytest.approx(expected)


def test_step_decays_tenfold_counting_epochs_from_one(model):
    expected = [0.01] * 2 + [0.001] * 3 + [0.0001] * 3
    assert rates(model, "step", [1.0] * 8, lr_decay_epochs=3) == pytest.approx(expected)
