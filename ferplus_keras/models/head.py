"""The classification head: Flatten, Dropout, Dense, under the names the older project gave them."""

import keras

HEAD = "dense"
"""Name of the one head layer with weights, here and in checkpoints of the older project."""


def classify(
    features: keras.KerasTensor, num_classes: int, *, dropout_rate: float, activation: str
) -> keras.KerasTensor:
    """Put the head on a backbone.

    Dropout is there even at rate 0, so that a layer's position never depends on the rate. The
    last layer computes in float32 under mixed precision as well: softmax overflows in float16.

    Args:
        features: the backbone's output, (b, h, w, c) or (b, c).
        num_classes: number of classes C.
        dropout_rate: share of features dropped while training, 0 <= rate < 1.
        activation: "softmax" or "sigmoid".

    Returns:
        (b, C) float32, 0-1.
    """
    x = keras.layers.Flatten(data_format="channels_last", name="flatten_1")(features)
    x = keras.layers.Dropout(dropout_rate, name="dropout_layer")(x)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name=HEAD)(x)
