import keras
import numpy as np
import pytest

from ferplus_keras.errors import UsageError
from ferplus_keras.models.freeze import freeze_before
from ferplus_keras.models.networks import imagenet
from ferplus_keras.models.registry import build_model
from ferplus_keras.training.prepare import penalise


@pytest.fixture
def model(tiny_network):
    return build_model(tiny_network, 8, weights="none", image_size=48)


def arrays(layer, *names):
    return [keras.ops.convert_to_numpy(getattr(layer, name)) for name in names]


def penalty(model):
    return float(sum(keras.ops.convert_to_numpy(loss) for loss in model.losses))


def test_l2_of_the_named_layers_counts_in_the_loss(model):
    named = penalise(model, "l2", 0.01, ["dense", "bn1"])
    assert named == ["dense", "bn1"]
    weights = [
        *arrays(model.get_layer("dense"), "kernel"),
        *arrays(model.get_layer("bn1"), "gamma", "beta"),
    ]
    assert penalty(model) == pytest.approx(0.01 * sum(np.sum(w**2) for w in weights), rel=1e-5)


def test_l1_of_every_trainable_layer_and_bias(model):
    model.get_layer("dense").bias.assign(np.full(8, 0.5))
    freeze_before(model, "conv1")
    named = penalise(model, "l1", 0.1, bias=True)
    assert named == ["conv1", "bn1", "dense"]
    weights = [
        *arrays(model.get_layer("conv1"), "kernel", "bias"),
        *arrays(model.get_layer("bn1"), "gamma", "beta"),
        *arrays(model.get_layer("dense"), "kernel", "bias"),
    ]
    assert penalty(model) == pytest.approx(0.1 * sum(np.abs(w).sum() for w in weights), rel=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_every_kernel_of_attention_is_penalised(monkeypatch, tmp_path, bias):
    monkeypatch.setattr(imagenet, "_WIDTH", 12)
    monkeypatch.setattr(imagenet, "_BLOCKS", 2)
    model = build_model("ViTBase16", 8, weights="none", image_size=48)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    assert penalise(model, "l2", 0.01, ["block2_attention", "norm"], bias) == [
        "block2_attention",
        "norm",
    ]
    attention = model.get_layer("block2_attention")
    parts = ("query_dense", "key_dense", "value_dense", "output_dense")
    kinds = ("kernel", "bias") if bias else ("kernel",)
    weights = [w for part in parts for w in arrays(getattr(attention, part), *kinds)]
    assert len(weights) == 4 * len(kinds)
    weights += arrays(model.get_layer("norm"), "gamma", "beta")
    assert penalty(model) == pytest.approx(0.01 * sum(np.sum(w**2) for w in weights), rel=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert penalty(again) == pytest.approx(penalty(model), rel=1e-6)


def test_penalty_survives_saving(model, tmp_path):
    penalise(model, "l2", 0.01, ["dense"])
    model.save(tmp_path / "model.keras")
    assert penalty(keras.saving.load_model(tmp_path / "model.keras")) == pytest.approx(
        penalty(model), rel=1e-6
    )


@pytest.mark.parametrize(
    ("layer", "said"),
    [("desne", "nearest: dense"), ("conv0", "it is frozen"), ("pool", "no such weights")],
)
def test_layers_that_cannot_be_penalised_are_refused(model, layer, said):
    freeze_before(model, "conv1")
    with pytest.raises(UsageError, match=said):
        penalise(model, "l2", 0.01, [layer])
