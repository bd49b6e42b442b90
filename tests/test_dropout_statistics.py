"""What benchmarks/dropout_statistics.py measures: statistics that dropout widened."""

import keras
import numpy as np
import pytest

from benchmarks.dropout_statistics import replace_statistics


def test_statistics_of_training_with_dropout_are_those_of_use_without_it():
    faces = np.random.default_rng(0).normal(1, 1, (20_000, 1)).astype(np.float32)
    inputs = keras.Input((1,))
    dropped = keras.layers.Dropout(0.5, seed=1)(inputs)
    norm = keras.layers.BatchNormalization(momentum=0.0, name="norm")
    model = keras.Model(inputs, norm(dropped))
    model(faces, training=True)  # kept with 1/2 and doubled: variance 2 (1 + 1) - 1 = 3
    assert replace_statistics(model, faces) == {"norm": pytest.approx(1 / 3, rel=0.05)}
    out = model.predict(faces, verbose=0)
    np.testing.assert_allclose([out.mean(), out.std()], [0, 1], atol=1e-2)
