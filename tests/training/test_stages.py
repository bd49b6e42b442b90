import pytest

from ferplus_keras.config import TrainConfig
from ferplus_keras.errors import UsageError
from ferplus_keras.training.stages import stage_configs


def test_a_run_without_stages_is_one_stage():
    config = TrainConfig()
    assert stage_configs(config) == [config]


def test_each_stage_has_its_epochs_boundary_and_rate():
    config = TrainConfig(stages=("2:-3:0.01", "4:conv5/block:1e-3"), early_stopping=5)
    first, second = stage_configs(config)
    assert (first.nepochs, first.freeze_before, first.init_lr) == (2, -3, 0.01)
    assert (second.nepochs, second.freeze_before, second.init_lr) == (4, "conv5/block", 0.001)
    assert (first.early_stopping, second.early_stopping) == (0, 5)


@pytest.mark.parametrize(
    "text", ["5", "a:b:c", "0:-3:0.1", "5:-3:0", "5:-3:nan", "5:-3:inf", "5::0.1", "1:2:3:4"]
)
def test_refusals(text):
    with pytest.raises(UsageError, match="EPOCHS:FREEZE_BEFORE:INIT_LR"):
        stage_configs(TrainConfig(stages=(text,)))
