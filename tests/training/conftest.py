import pytest

from ferplus_keras.config import TrainConfig
from tests import tiny


@pytest.fixture
def tiny_config(tiny_network, sample_data, tmp_path) -> TrainConfig:
    """Settings of a run of the tiny network on drawn faces, in tmp_path, on the CPU."""
    return tiny.config(sample_data, tmp_path)
