"""Details of the smaller networks, derived here from what their authors published."""

from collections import Counter
from itertools import pairwise

import pytest
from keras import layers

from ferplus_keras.models.registry import build_model
from tests.models.networks import FIGURES


def convolutions(side, channels, *filters):
    """Parameters of square convolutions with biases, one after another."""
    inputs = (channels, *filters[:-1])
    return sum(side**2 * a * b + b for a, b in zip(inputs, filters, strict=True))


def dense(*widths):
    """Parameters of dense layers, one after another."""
    return sum(a * b + b for a, b in pairwise(widths))


FER_VGG = (64, 64, 128, 128, 256, 256, 512, 512)
BY_HAND = {
    # A BatchNormalization has four parameters a channel.
    "VGG13": convolutions(3, 1, 64, 64, 128, 128, *[256] * 6) + dense(4 * 4 * 256, 1024, 1024, 8),
    "FerVGG": (convolutions(3, 1, *FER_VGG) + 4 * sum(FER_VGG) + dense(2 * 2 * 512, 4096, 4096, 8)),
    "FaceEmotionCNN": (
        convolutions(3, 1, 8, 16, 32, 64, 128, 256, 256)
        + 4 * (8 + 16 + 32 + 64 + 128 + 256 + 256)
        + dense(1024, 512, 256, 8)
    ),
    "ViTBase16": 85_798_656 + dense(768, 8),  # as keras-hub states for its preset
    "ImageNetResNet50": 23_587_712 + dense(2048, 8),  # as keras.applications counts without top
    "ImageNetResNet101": 42_658_176 + dense(2048, 8),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_parameters_by_hand(name):
    assert FIGURES[name][1] == BY_HAND[name]


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [
        ("ScratchCNN", 7, 51_933_223),
        ("ScratchMLP", 7, 154_148_871),
        ("DeepFaceCNN", 6, 1_484_806),
    ],
)
def test_published_parameters_at_their_own_class_count(name, classes, published):
    _, parameters, features = FIGURES[name]
    assert parameters - (8 - classes) * (features + 1) == published


def sides(model, *kinds):
    return [layer.output.shape[1] for layer in model.layers if isinstance(layer, kinds)]


def test_deep_face_cnn_side_by_side():
    model = build_model("DeepFaceCNN", 6)
    pools = (layers.MaxPooling2D, layers.AveragePooling2D)
    assert sides(model, layers.Conv2D, *pools) == [44, 20, 18, 16, 7, 5, 3, 1]


def test_face_emotion_cnn_leaves_1024_features():
    model = build_model("FaceEmotionCNN", 7)
    assert sides(model, layers.MaxPooling2D) == [45, 42, 39, 36, 17, 7, 2]
    assert model.get_layer("flatten").output.shape == (None, 1024)
    names = [layer.name for layer in model.layers]
    for block in (2, 4, 6, 7):
        start = names.index(f"conv{block}")
        parts = [f"{part}{block}" for part in ("conv", "drop", "bn", "pool", "relu")]
        assert names[start : start + 5] == parts
    assert "drop3" not in names


def test_fer_vgg_leaves_2048_features_of_the_centre():
    model = build_model("FerVGG", 7)
    assert sides(model, layers.MaxPooling2D) == [20, 10, 5, 2]
    assert model.get_layer("flatten").output.shape == (None, 2048)
    preprocessing = model.get_layer("preprocessing")
    assert (preprocessing.crop, preprocessing.image_size) == (40, 40)


def test_vgg13_drops_out_after_every_pool():
    model = build_model("VGG13", 8)
    rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
    assert rates == [0.25, 0.25, 0.25, 0.25, 0.5, 0.5]
    assert sides(model, layers.MaxPooling2D) == [32, 16, 8, 4]
    assert model.get_layer("preprocessing").equalize


@pytest.mark.parametrize(("name", "convs", "adds"), [("ResNet18", 21, 8), ("ResNet34", 37, 16)])
def test_resnet_v2_is_keras_contribs(name, convs, adds):
    model = build_model(name, 8)
    kinds = Counter(type(layer).__name__ for layer in model.layers)
    assert (kinds["Conv2D"], kinds["BatchNormalization"], kinds["Add"]) == (convs, convs, adds)
    weighted = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert all(layer.use_bias for layer in weighted)
    assert all(float(layer.kernel_regularizer.l2) == pytest.approx(1e-4) for layer in weighted)
    assert {
        layer.epsilon for layer in model.layers if isinstance(layer, layers.BatchNormalization)
    } == {1e-3}
    projections = [layer for layer in weighted if layer.kernel_size == (1, 1)]
    assert [layer.strides for layer in projections] == [(2, 2)] * 4
    assert [layer.output.shape[1] for layer in projections] == [28, 14, 7, 4]
