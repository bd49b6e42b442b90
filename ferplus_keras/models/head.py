"""The classification head: Flatten, Dropout, Dense, under the names the older project gave them."""

import keras
from keras import layers

HEAD = "dense"
"""Name of the one head layer with weights, here and in checkpoints of the older project."""


def classify(
    features: keras.KerasTensor, num_classes: int, dropout_rate: float, activation: str
) -> keras.KerasTensor:
    """Return the (b, C) float32 probabilities of features (b, h, w, c) or (b, c).

    Dropout is there even at rate 0, so that a layer's position never depends on the rate. The
    last layer computes in float32 under mixed precision as well: softmax overflows in float16.
    """
    x = layers.Flatten(data_format="channels_last", name="flatten_1")(features)
    x = layers.Dropout(dropout_rate, name="dropout_layer")(x)
    return layers.Dense(num_classes, activation=activation, dtype="float32", name=HEAD)(x)
