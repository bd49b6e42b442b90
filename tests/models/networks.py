"""What the tests of networks share: the known figures and files as Keras 2 wrote them."""

import json

import cv2
import h5py
import keras
import numpy as np

from ferplus_keras.models.weights import layer_variables

FIGURES = {
    # layers, parameters for 8 classes, features that the head classifies; at its own image size
    "CompactFER": (52, 1_243_424, 256),
    "FastFER": (46, 1_357_736, 192),
    "DeepFaceCNN": (16, 1_486_856, 1024),
    "FaceEmotionCNN": (40, 1_644_712, 256),
    "FerVGG": (36, 29_898_696, 4096),
    "ScratchCNN": (13, 51_933_736, 512),
    "ScratchMLP": (6, 154_149_896, 1024),
    "VGG13": (26, 8_757_704, 1024),
    "DlibResNet": (103, 4_405_736, 256),
    "ImageNetResNet50": (179, 23_604_104, 2048),
    "ImageNetResNet101": (349, 42_674_568, 2048),
    "ViTBase16": (93, 85_804_808, 768),
    "ResNet50": (177, 23_577_544, 2048),
    "SeNet50": (289, 26_108_536, 2048),
    "VGG16": (22, 14_915_400, 25_088),
    "ResNet18": (73, 11_199_432, 512),
    "ResNet34": (129, 21_318_728, 512),
}

BOUNDARIES = {
    # position, its layer, trainable parameters, trainable layers; 8 classes, image size 48
    "ResNet50": (-51, "activation_36", 16_362_504, 29),
    "SeNet50": (-39, "activation_71", 9_994_504, 17),
    "VGG16": (-8, "pool4", 7_083_528, 4),
}
"""Where the older project started to train, and the like for VGG16."""


def faces(n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 48, 48), dtype=np.uint8)


def smooth_faces(n: int = 2, seed: int = 0) -> np.ndarray:
    """Faces whose neighbouring pixels differ as a photograph's do."""
    return np.stack([cv2.GaussianBlur(face, (0, 0), 2) for face in faces(n, seed)])


def weights_of(model) -> dict[str, dict[str, np.ndarray]]:
    """Layer name -> variable name -> copy of its values, layers without weights included."""
    return {
        layer.name: {
            key: np.array(keras.ops.convert_to_numpy(value))
            for key, value in layer_variables(layer).items()
        }
        for layer in model.layers
    }


def write_keras2_weights(group: h5py.Group, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """Lay layers out as Keras 2's `save_weights` did."""
    group.attrs["layer_names"] = np.array([name.encode() for name in layers])
    for name, variables in layers.items():
        layer = group.create_group(name)
        layer.attrs["weight_names"] = np.array([f"{name}/{key}:0".encode() for key in variables])
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
