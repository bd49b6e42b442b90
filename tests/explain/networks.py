"""Small networks in the shape of `build_model`'s, without a row in the table of networks."""

from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint

CROP = 44


def convolutions(images):
    from keras import layers

    x = images
    for index, filters in enumerate((16, 32, 64)):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", name=f"conv{index}")(x)
        x = layers.BatchNormalization(momentum=0.8, name=f"bn{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    return layers.GlobalAveragePooling2D(name="pool")(x)


def perceptron(images):
    from keras import layers

    return layers.Dense(16, activation="relu", name="hidden")(layers.Flatten(name="flat")(images))


def build(backbone, crop=CROP, image_size=60, equalize=False, classes=8, face=(48, 48)):
    import keras

    from ferplus_keras.models.layers import FacePreprocessing, classify

    faces = keras.Input(face, dtype="uint8", name="faces")
    channels = len(face)  # two of grey faces, three of colour
    mean, std = (120.0, 130.0, 90.0)[:channels], (64.0, 50.0, 60.0)[:channels]
    if equalize:
        mean, std = (0.0,), ()
    images = FacePreprocessing(image_size, mean, std, crop, equalize, "rgb", name="preprocessing")
    probabilities = classify(
        backbone(images(faces)), classes, dropout_rate=0.3, activation="softmax"
    )
    return keras.Model(faces, probabilities)


def save(model, path):
    info = CheckpointInfo("test", 48, FERPLUS_CLASSES, "FERPlus", "majority", "majority")
    save_checkpoint(model, path, info)


def cut_open(model, batch_size=64):
    from ferplus_keras.classifier import Classifier
    from ferplus_keras.explain.network import Network

    return Network(Classifier.from_model(model, FERPLUS_CLASSES), batch_size)
