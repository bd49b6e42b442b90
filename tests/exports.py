"""A tiny checkpoint whose answers differ from face to face, and faces to ask it about."""

from pathlib import Path

import numpy as np

from ferplus_keras.data.sample_faces import draw_rows
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.registry import build_model

INFO = CheckpointInfo("Tiny", 48, FERPLUS_CLASSES, "FERPlus", "ms_crossentropy", "majority", 3)


def drawn(rows: int, seed: int = 3) -> np.ndarray:
    return np.stack([drawing.pixels for drawing in draw_rows(rows, seed)])


def write_checkpoint(path: Path) -> None:
    """Save the network `Tiny` with statistics and a head as if it had been trained."""
    import keras

    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    model = build_model("Tiny", len(INFO.class_names), weights="none", image_size=48)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights([rng.uniform(0.5, 2, size) for _ in range(4)])
    faces = drawn(100)
    head = model.layers[-1]
    features = keras.Model(model.input, head.input).predict(faces, verbose=0)
    kernel, _ = head.get_weights()
    kernel *= 3 / (features @ kernel).std()
    head.set_weights([kernel, -(features @ kernel).mean(axis=0)])
    save_checkpoint(model, path, INFO)
