import keras
import numpy as np
import pytest

from ferplus_keras.errors import UsageError
from ferplus_keras.models.freeze import (
    describe_layers,
    find_layer,
    format_layers,
    freeze_before,
    numbered_layers,
)
from ferplus_keras.models.registry import build_model
from tests.models.networks import BOUNDARIES, FIGURES, faces, weights_of


@pytest.fixture(scope="module")
def networks():
    return {name: build_model(name, 8, weights="none", image_size=48) for name in BOUNDARIES}


@pytest.fixture(scope="module")
def resnet(networks):
    return networks["ResNet50"]


def frozen(model) -> int:
    """Number of layers from the input on that do not train; no layer behind them may be frozen."""
    flags = [layer.trainable for layer in numbered_layers(model)]
    assert flags == sorted(flags)
    return flags.count(False)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_known_boundaries(networks, name):
    position, layer, trainable, weighted = BOUNDARIES[name]
    boundary = freeze_before(networks[name], position)
    assert (boundary.position, boundary.name) == (position, layer)
    assert boundary.trainable_params == trainable
    frozen_params = networks[name].count_params() - trainable
    assert boundary.frozen_params == frozen_params
    assert boundary.trainable_layers == weighted
    assert frozen(networks[name]) == FIGURES[name][0] + position
    said = f"{trainable:,} parameters trainable, {frozen_params:,} frozen"
    assert said in boundary.describe()


@pytest.mark.parametrize(
    ("position", "first"),
    [
        (-51, 126),
        ("-51", 126),
        (126, 126),
        ("126", 126),
        ("activation_36", 126),
        ("conv4_5_1x1_increase", 127),
        ("conv4_5_1x1_increase-bn", 128),
        ("conv4_5_1x1_increase/bn", 128),
        (-1, 176),
        (176, 176),
        ("dense", 176),
        (0, 0),
        (-177, 0),
        ("faces", 0),
        ("input_1", 0),
        (1, 1),
    ],
)
def test_spellings_of_a_position(resnet, position, first):
    boundary = freeze_before(resnet, position)
    assert frozen(resnet) == first
    assert boundary.position == first - 177


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (177, "1 to 176"),
        (-178, "-177 to -1"),
        ("900", "177 layers"),
        ("activaton_36", "activation_36"),
        ("conv4_5_1x1_incrase/bn", "conv4_5_1x1_increase-bn"),
        ("preprocessing", "unknown layer 'preprocessing'"),
    ],
)
def test_refused_positions_change_nothing(resnet, position, said):
    freeze_before(resnet, 7)
    with pytest.raises(UsageError) as caught:
        freeze_before(resnet, position)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert frozen(resnet) == 7


def test_layers_are_found_by_either_spelling(resnet):
    assert find_layer(resnet, "conv1/7x7_s2/bn") is find_layer(resnet, "conv1-7x7_s2-bn")


def test_a_training_step_moves_what_is_behind_the_boundary_only():
    keras.utils.set_random_seed(0)
    model = build_model("ResNet50", 8, weights="none", image_size=48, dropout_rate=0)
    boundary = freeze_before(model, -51)
    model.compile("sgd", "categorical_crossentropy", jit_compile=False)
    before = weights_of(model)
    model.train_on_batch(faces(4), np.eye(8, dtype="float32")[:4])
    after = weights_of(model)
    moved = {
        layer: {key: not np.array_equal(value, after[layer][key]) for key, value in values.items()}
        for layer, values in before.items()
        if values
    }
    names = [layer.name for layer in numbered_layers(model)]
    ahead, behind = names[: boundary.position], names[boundary.position :]
    assert {name for name in ahead if name in moved and any(moved[name].values())} == set()
    assert {name for name in behind if name in moved and not all(moved[name].values())} == set()
    assert sum(name in moved for name in behind) == 29


def test_freezing_survives_a_file(tiny_network, tmp_path):
    model = build_model(tiny_network, 8, weights="none", image_size=60)
    model.trainable = False
    assert freeze_before(model, "conv1").trainable_params > 0
    model.save(tmp_path / "tiny.keras")
    again = keras.saving.load_model(tmp_path / "tiny.keras")
    # Keras does not save the flag of the input layer, which has nothing to train.
    assert describe_layers(again)[1:] == describe_layers(model)[1:]
    assert [layer.trainable for layer in numbered_layers(again)[1:5]] == [False, False, False, True]
    np.testing.assert_array_equal(
        again.predict(faces(), verbose=0), model.predict(faces(), verbose=0)
    )


def test_rows_and_their_table(resnet):
    freeze_before(resnet, "conv1-7x7_s2-bn")
    rows = describe_layers(resnet)
    assert rows[1] == {
        "position": -176,
        "name": "conv1-7x7_s2",
        "original_name": "conv1/7x7_s2",
        "type": "Conv2D",
        "shape": [None, 24, 24, 64],
        "parameters": 9408,
        "trainable": False,
    }
    lines = format_layers(rows[:3]).splitlines()
    assert lines[0].split() == ["position", "name", "type", "shape", "parameters", "trainable"]
    said = " ".join(lines[2].split())
    assert said == "-176 conv1-7x7_s2 Conv2D (None, 24, 24, 64) 9,408 no"
    assert lines[3].endswith("yes")
    assert len({line.index("Conv2D") for line in lines if "Conv2D" in line}) == 1


@pytest.mark.parametrize(
    ("name", "position", "layer"),
    [
        # Noted by hand under the older project's own listings, made by Keras 2.2.4.
        ("ResNet50", -9, "activation_48"),
        ("ResNet50", -31, "activation_42"),
        ("ResNet50", -64, "activation_32"),
        ("SeNet50", -5, "activation_81"),
        ("SeNet50", -44, "activation_70"),
        ("SeNet50", -52, "activation_68"),
    ],
)
def test_positions_noted_in_the_older_project(networks, name, position, layer):
    assert numbered_layers(networks[name])[position].name == layer
