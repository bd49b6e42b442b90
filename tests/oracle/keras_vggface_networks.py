"""Write what genuine keras-vggface makes of random weights, to compare with.

Runs in a process of its own, because `keras` has to be tf_keras (Keras 2) here:

    TF_USE_LEGACY_KERAS=1 python keras_vggface_networks.py OUT_DIR

Per network OUT_DIR then holds, with random weights and BatchNormalization statistics:

    <network>.h5         weights with top           <network>_notop.h5   without
    <network>.hdf5       a whole model as the older project built and saved it
    <network>_gpus.hdf5  the same inside its multi-GPU wrapper (resnet50 only)
    <network>.npz        faces (2, 48, 48) uint8; image_size; top and full: probabilities of the
                         with-top and of the whole model; layers: names of the whole model's layers
"""

import os
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import tf_keras
from keras_applications import imagenet_utils

MEANS = {
    "resnet50": (91.4953, 103.8827, 131.0912),
    "senet50": (91.4953, 103.8827, 131.0912),
    "vgg16": (93.5940, 104.7624, 129.1863),
}
CLASSES = 8
# FULL is what was published. VGG16 with its top then has 145 million parameters, 13 million at 64.
FULL = bool(os.environ.get("FERPLUS_ORACLE_FULL"))
TOP_CLASSES = (
    {"resnet50": 8631, "senet50": 8631, "vgg16": 2622} if FULL else dict.fromkeys(MEANS, 11)
)
IMAGE_SIZES = {"resnet50": 224, "senet50": 224, "vgg16": 224 if FULL else 64}


def keras_vggface_constructors() -> dict:
    """Import keras_vggface on tf_keras, with stand-ins for modules that Keras 2.16 moved."""
    topology = types.ModuleType("keras.engine.topology")
    topology.get_source_inputs = tf_keras.utils.get_source_inputs
    data_utils = types.ModuleType("keras.utils.data_utils")
    data_utils.get_file = tf_keras.utils.get_file
    layer_utils = types.ModuleType("keras.utils.layer_utils")
    tf_keras.utils.layer_utils = layer_utils
    imagenet_utils._obtain_input_shape = lambda input_shape, **_: input_shape
    sys.modules |= {
        "keras": tf_keras,
        "keras.backend": tf_keras.backend,
        "keras.layers": tf_keras.layers,
        "keras.models": tf_keras.models,
        "keras.utils": tf_keras.utils,
        "keras.utils.data_utils": data_utils,
        "keras.utils.layer_utils": layer_utils,
        "keras.engine": types.ModuleType("keras.engine"),
        "keras.engine.topology": topology,
    }
    from keras_vggface.models import RESNET50, SENET50, VGG16

    return {"resnet50": RESNET50, "senet50": SENET50, "vgg16": VGG16}


def randomise(model, images: np.ndarray, rng: np.random.Generator) -> None:
    """Draw all weights so that every layer matters and no probability is near 0 or 1."""
    for layer in model.layers:
        values = []
        for weight in layer.weights:
            kind = weight.name.rpartition("/")[2].partition(":")[0]
            shape = tuple(weight.shape)
            if kind == "kernel":
                # He's variance keeps activations' size; images are about 60 grey levels wide.
                scale = np.sqrt(2 / np.prod(shape[:-1])) / (60 if shape[2:3] == (3,) else 1)
                scale *= 0.2 if "1x1_up" in layer.name else 1  # gates neither open nor shut
                values.append(rng.standard_normal(shape, dtype="float32") * np.float32(scale))
            elif kind in ("gamma", "moving_variance"):
                values.append(rng.uniform(0.5, 1.5, shape))
            else:  # bias, beta, moving_mean
                values.append(rng.normal(0, 0.1, shape))
        layer.set_weights(values)
    scale_logits(model, images)


def scale_logits(model, images: np.ndarray) -> None:
    """Divide the last Dense layer's kernel so that its logits spread by about 1."""
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    features = tf_keras.Model(model.input, last.input).predict(images, verbose=0)
    logits = features @ last.kernel.numpy()
    last.set_weights([last.kernel.numpy() / logits.std(), *last.get_weights()[1:]])


def older_project(base, images: np.ndarray, rng: np.random.Generator):
    """Replace the top as the older project did: Flatten, `dropout_layer`, `dense`."""
    if "flatten" in base.layers[-2].name:
        x = base.layers[-2].output
    else:  # VGG16, which that project did not offer
        x = tf_keras.layers.Flatten()(base.get_layer("pool5").output)
    x = tf_keras.layers.Dropout(0.4, name="dropout_layer")(x)
    x = tf_keras.layers.Dense(CLASSES, name="dense", activation="softmax")(x)
    model = tf_keras.Model(base.input, x)
    model.layers[-1].set_weights([rng.normal(size=w.shape) for w in model.layers[-1].weights])
    scale_logits(model, images)
    return model


def parallel(model, towers: int = 2):
    """Wrap a model as for several GPUs: slices of the batch, one shared model, one join."""
    inputs = tf_keras.Input(model.input_shape[1:])
    slices = [tf_keras.layers.Lambda(lambda x, i=i: x[i::towers])(inputs) for i in range(towers)]
    joined = tf_keras.layers.Concatenate(axis=0)([model(part) for part in slices])
    return tf_keras.Model(inputs, joined)


def main(out_dir: Path) -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (2, 48, 48), dtype=np.uint8)
    faces = np.stack([cv2.GaussianBlur(face, (0, 0), 2) for face in faces])
    for name, constructor in keras_vggface_constructors().items():
        tf_keras.backend.clear_session()
        side = IMAGE_SIZES[name]
        grey = np.stack([cv2.resize(face.astype("float32"), (side, side)) for face in faces])
        images = (grey[..., None] - np.array(MEANS[name])).astype("float32")

        settings = {"weights": None, "input_shape": (side, side, 3)}
        with_top = constructor(include_top=True, classes=TOP_CLASSES[name], **settings)
        randomise(with_top, images, rng)
        with_top.save_weights(out_dir / f"{name}.h5")
        full = older_project(with_top, images, rng)
        full.save(out_dir / f"{name}.hdf5")
        np.savez(
            out_dir / f"{name}.npz",
            faces=faces,
            image_size=side,
            top=with_top.predict(images, verbose=0),
            full=full.predict(images, verbose=0),
            layers=[layer.name for layer in full.layers],
        )
        if name == "resnet50":
            parallel(full).save(out_dir / f"{name}_gpus.hdf5")

        without_top = constructor(include_top=False, **settings)
        for layer in without_top.layers:
            if layer.weights:
                layer.set_weights(with_top.get_layer(layer.name).get_weights())
        without_top.save_weights(out_dir / f"{name}_notop.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
