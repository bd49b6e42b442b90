"""A network for tests: two convolutions with BatchNormalization, two strides of three."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferplus_keras.config import TrainConfig
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.registry import ModelSpec, build_model

RULES = {"FERPlus": "majority", "FER": "emotion column", "Folder": "own labels"}
"""Data set -> the label rule of `save`'s networks."""


def backbone(images):
    from keras import layers

    x = images
    for index, filters in enumerate((8, 16)):
        x = layers.Conv2D(filters, 3, strides=3, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"bn{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    return layers.GlobalAveragePooling2D(name="pool")(x)


SPEC = ModelSpec("Tiny", backbone, "for tests", "grey", mean=(127.5,), weighted_layers=4)


def save(
    path: Path,
    class_names: Sequence[str] = FERPLUS_CLASSES,
    dataset: str = "FERPlus",
    activation: str = "softmax",
    **info: Any,
):
    """Save the network, which `tiny_network` makes known, with its first weights, and return it."""
    settings = {"weights": "none", "image_size": 48, "activation": activation}
    model = build_model(SPEC.name, len(class_names), **settings)
    about = (SPEC.name, 48, tuple(class_names), dataset, RULES[dataset], RULES[dataset])
    save_checkpoint(model, path, CheckpointInfo(*about, **info))
    return model


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
