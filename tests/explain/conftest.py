"""A network that was trained, for seconds, on drawn faces, and faces that it has not seen."""

from typing import NamedTuple

import numpy as np
import pytest

from ferplus_keras.emotions import FERPLUS_CLASSES
from tests.explain import networks


class Trained(NamedTuple):
    path: object  # its checkpoint
    model: object
    faces: np.ndarray  # (n, 48, 48) uint8
    labels: np.ndarray  # (n,)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    import keras

    from ferplus_keras.data.sample_faces import draw_rows

    drawings = draw_rows(1200, seed=5)
    drawings = [d for d in drawings if d.votes[: len(FERPLUS_CLASSES)].max() > 6]
    images = np.stack([d.pixels for d in drawings])
    labels = np.array([d.votes[: len(FERPLUS_CLASSES)].argmax() for d in drawings])
    keras.utils.set_random_seed(3)
    model = networks.build(networks.convolutions)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 0.003
    fresh = 32
    model.fit(images[fresh:], labels[fresh:], batch_size=32, epochs=18, verbose=0)
    path = tmp_path_factory.mktemp("trained") / "model_max_acc.keras"
    networks.save(model, path)
    return Trained(path, model, images[:fresh], labels[:fresh])


@pytest.fixture(scope="session")
def network(trained):
    return networks.cut_open(trained.model, batch_size=20)
