import pytest

from ferplus_keras.config import TrainConfig


@pytest.fixture
def tiny_config(tiny_network, sample_data, tmp_path) -> TrainConfig:
    """Settings of a run of the tiny network on drawn faces, in tmp_path, on the CPU."""
    return TrainConfig(
        data_dir=str(sample_data),
        model_name=tiny_network,
        weights="none",
        image_size=48,
        checkpoints_dir=str(tmp_path),
        num_gpus=0,
    )
