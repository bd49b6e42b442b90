"""What the tests of networks share: the known figures and files as Keras 2 wrote them."""

import json

import cv2
import h5py
import numpy as np

FIGURES = {
    # layers, parameters, boundary, its layer, trainable parameters, trainable layers (8 classes)
    "ResNet50": (177, 23_577_544, -51, "activation_36", 16_362_504, 29),
    "SeNet50": (289, 26_108_536, -39, "activation_71", 9_994_504, 17),
    "VGG16": (22, 14_718_792, -8, "pool4", 7_083_528, 4),
}
"""At an image size of 48; only VGG16's head depends on the size."""


def faces(n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 48, 48), dtype=np.uint8)


def smooth_faces(n: int = 2, seed: int = 0) -> np.ndarray:
    """Faces whose neighbouring pixels differ as a photograph's do."""
    return np.stack([cv2.GaussianBlur(face, (0, 0), 2) for face in faces(n, seed)])


def weights_of(model) -> dict[str, dict[str, np.ndarray]]:
    """Layer name -> variable name -> copy of its values, layers without weights included."""
    return {
        layer.name: {
            variable.name: np.array(value)
            for variable, value in zip(layer.weights, layer.get_weights(), strict=True)
        }
        for layer in model.layers
    }


def write_keras2_weights(group: h5py.Group, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """Lay layers out as Keras 2's `save_weights` did."""
    group.attrs["layer_names"] = [name.encode() for name in layers]
    for name, variables in layers.items():
        layer = group.create_group(name)
        layer.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in variables]
        for key, value in variables.items():
            layer[f"{name}/{key}:0"] = value


def write_keras2_model(path, layers, *, image_size=48, activation="softmax", rate=0.3) -> None:
    """Lay a whole model out as Keras 2's `save` did, as far as this project reads it."""
    images = {"name": "input_1", "batch_input_shape": [None, image_size, image_size, 3]}
    dropout = {"name": "dropout_layer", "rate": rate}
    dense = {"name": "dense", "units": layers["dense"]["bias"].size, "activation": activation}
    graph = [{"config": config} for config in (images, dropout, dense)]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": graph}})
        write_keras2_weights(file.create_group("model_weights"), layers)
