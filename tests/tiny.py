"""A network for tests: two convolutions with BatchNormalization, two strides of three."""

from pathlib import Path
from typing import Any

from ferplus_keras.config import TrainConfig
from ferplus_keras.models.registry import ModelSpec


def backbone(images):
    from keras import layers

    x = images
    for index, filters in enumerate((8, 16)):
        x = layers.Conv2D(filters, 3, strides=3, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"bn{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    return layers.GlobalAveragePooling2D(name="pool")(x)


SPEC = ModelSpec("Tiny", backbone, "for tests", "grey", mean=(127.5,), weighted_layers=4)


def config(data_dir: Path, checkpoints_dir: Path, **settings: Any) -> TrainConfig:
    """Return the settings of a run of the network that takes seconds."""
    return TrainConfig(
        data_dir=str(data_dir),
        checkpoints_dir=str(checkpoints_dir),
        model_name=SPEC.name,
        weights="none",
        image_size=48,
        num_gpus=0,
        **settings,
    )
