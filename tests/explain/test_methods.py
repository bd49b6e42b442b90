"""Whether maps say something true: each method is held against the network itself."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from ferplus_keras.explain.methods import METHODS, PATCH, integrated_gradients, occlusion
from tests.backends import environment
from tests.explain import networks


@pytest.fixture(scope="module")
def maps(network, trained):
    return {name: m(network, trained.faces, trained.labels) for name, m in METHODS.items()}


def logits_of(network, trained, faces):
    return network.scores(faces)[np.arange(len(faces)), trained.labels]


def rank_correlation(a, b):
    """Spearman's, mean over the faces."""

    def ranks(maps):
        return maps.reshape(len(maps), -1).argsort(axis=1).argsort(axis=1)

    return np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(ranks(a), ranks(b), strict=True)])


def test_logits_are_the_classifiers_before_softmax(network, trained):
    logits = network.scores(trained.faces)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = trained.model.predict(trained.faces, verbose=0)
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert np.mean(expected.argmax(axis=1) == trained.labels) > 0.7  # worth explaining


def test_gradients_are_slopes_of_the_logits(network, trained):
    gradients = network.gradients(trained.faces, trained.labels)
    steepest = gradients.reshape(len(gradients), -1).__abs__().argmax(axis=1)
    rows = np.arange(len(gradients))
    slopes = []
    for change in (0.5, -0.5):
        faces = trained.faces.astype(np.float32)
        faces.reshape(len(faces), -1)[rows, steepest] += change
        slopes.append(logits_of(network, trained, faces))
    expected = gradients.reshape(len(gradients), -1)[rows, steepest]
    np.testing.assert_allclose(np.median((slopes[0] - slopes[1]) / expected), 1, atol=0.02)


def test_integrated_gradients_sum_to_the_difference_of_logits(network, trained):
    found = integrated_gradients(network, trained.faces, trained.labels)
    plain = np.full(trained.faces.shape, network.grey, np.float32)
    difference = logits_of(network, trained, trained.faces) - logits_of(network, trained, plain)
    error = np.abs(found.sum(axis=(1, 2)) - difference)
    assert error.max() < 0.02 * np.abs(difference).mean()


def test_occlusion_is_the_loss_of_logit_under_the_patch(network, trained):
    whole = occlusion(network, trained.faces, trained.labels, patch=networks.CROP)
    plain = np.full(trained.faces.shape, network.grey, np.float32)
    loss = logits_of(network, trained, trained.faces) - logits_of(network, trained, plain)
    np.testing.assert_allclose(whole[:, 24, 24], loss, atol=1e-4)

    apart = occlusion(network, trained.faces, trained.labels, stride=PATCH)
    faces = trained.faces.astype(np.float32)
    faces[:, 2 : 2 + PATCH, 10 : 10 + PATCH] = network.grey
    loss = logits_of(network, trained, trained.faces) - logits_of(network, trained, faces)
    np.testing.assert_allclose(apart[:, 4, 13], loss, atol=1e-4)


def test_grad_cam_is_coarse_and_lies_where_the_features_do(network, maps, trained):
    assert network.feature_layer == "relu2"
    features, derivatives = network.feature_maps(trained.faces, trained.labels)
    assert features.shape == derivatives.shape == (len(trained.faces), 8, 8, 64)
    coarse = np.einsum("nhwc,nc->nhw", features, derivatives.mean(axis=(1, 2))).clip(0)
    assert np.mean(coarse.max(axis=(1, 2)) > 0) > 0.5
    middles = (np.arange(networks.CROP) + 0.5) * 8 / networks.CROP - 0.5
    weights = np.stack([np.interp(middles, range(8), one) for one in np.eye(8)], axis=1)
    enlarged = np.pad(weights @ coarse @ weights.T, ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_allclose(maps["grad_cam"], enlarged, atol=1e-4 * coarse.max())


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name, network, maps, trained):
    found = maps[name]
    assert found.shape == trained.faces.shape
    assert found.dtype == np.float32
    assert (found.min() >= 0) == (METHODS[name].absolute or name == "grad_cam")
    outside = np.ones(found.shape, bool)
    outside[:, 2:46, 2:46] = False
    assert not found[outside].any(), "the network does not look there"
    assert found[:, 2, 2:46].any()
    assert found[:, 2:46, 45].any()
    alone = METHODS[name](network, trained.faces[:3], trained.labels[:3])
    np.testing.assert_allclose(alone, found[:3], atol=1e-4 * np.abs(found).max())


@pytest.mark.parametrize("name", METHODS)
def test_blanking_what_matters_hurts_more_than_blanking_anything(name, network, maps, trained):
    blanked = 200
    # Grad-CAM may find nothing that speaks for a class; such a map ranks no pixels.
    shown = maps[name].reshape(len(trained.faces), -1).max(axis=1) > 0
    assert shown.sum() >= 8

    def loss(order):
        faces = trained.faces.astype(np.float32)
        np.put_along_axis(faces.reshape(len(faces), -1), order[:, :blanked], network.grey, axis=1)
        return np.mean((before - logits_of(network, trained, faces))[shown])

    before = logits_of(network, trained, trained.faces)
    inside = np.zeros((48, 48), bool)
    inside[2:46, 2:46] = True
    rng = np.random.default_rng(0)
    anything = np.stack([rng.permutation(np.flatnonzero(inside)) for _ in trained.faces])
    first = np.argsort(-maps[name].reshape(len(before), -1), axis=1)
    if name == "grad_cam":
        # Its regions are smooth, and scattered pixels do more harm: compare with another region.
        moved = np.roll(maps[name], (24, 24), axis=(1, 2)) * inside
        elsewhere = np.argsort(-moved.reshape(len(before), -1), axis=1)
        assert loss(first) > loss(elsewhere)
    else:
        assert loss(first) > loss(anything) + 0.5


def test_maps_depend_on_the_weights(network, maps, trained):
    """Adebayo et al. 2018: a map that outlives the weights shows the face, not the network."""
    import keras

    keras.utils.set_random_seed(11)
    blind = networks.cut_open(networks.build(networks.convolutions))
    noise = np.random.default_rng(0).integers(-2, 3, trained.faces.shape)
    again = np.clip(trained.faces + noise, 0, 255).astype(np.uint8)
    for name in ("saliency", "smoothgrad", "integrated_gradients", "occlusion"):
        method = METHODS[name]
        itself = rank_correlation(maps[name], method(network, again, trained.labels))
        randomised = rank_correlation(maps[name], method(blind, trained.faces, trained.labels))
        assert randomised < itself - 0.2, (name, itself, randomised)


def test_weights_and_statistics_stay(network, trained):
    before = trained.model.get_weights()
    for method in METHODS.values():
        method(network, trained.faces[:2], trained.labels[:2])
    for old, new in zip(before, trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_network_without_feature_map_has_no_grad_cam(trained):
    from ferplus_keras.errors import InputError

    flat = networks.cut_open(networks.build(networks.perceptron))
    assert flat.feature_layer is None
    with pytest.raises(InputError, match="grad_cam: the network has no feature map"):
        METHODS["grad_cam"](flat, trained.faces[:1], trained.labels[:1])
    assert METHODS["saliency"](flat, trained.faces[:1], trained.labels[:1]).any()


def test_evened_out_light_has_explanations_too(trained):
    """VGG13's preprocessing has no derivative of its own."""
    even = networks.cut_open(networks.build(networks.convolutions, equalize=True))
    faces, labels = trained.faces[:4], trained.labels[:4]
    for method in METHODS.values():
        found = method(even, faces, labels)
        assert np.isfinite(found).all()
        assert found.any(axis=(1, 2)).all() or method.name == "grad_cam"
    found = integrated_gradients(even, faces, labels)
    rows = np.arange(len(faces))
    plain = even.scores(np.full(faces.shape, even.grey, np.float32))
    difference = (even.scores(faces) - plain)[rows, labels]
    error = np.abs(found.sum(axis=(1, 2)) - difference)
    assert error.max() < 0.02 * np.abs(difference).mean()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends_agree(backend, network, maps, trained, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    some = 4
    names = ("saliency", "grad_cam", "occlusion")  # each way of asking the network once
    np.save(tmp_path / "faces.npy", trained.faces[:some])
    np.save(tmp_path / "labels.npy", trained.labels[:some])
    code = f"""
import numpy as np
from pathlib import Path
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.classifier import Classifier
from ferplus_keras.explain.network import Network
network = Network(Classifier.open({str(trained.path)!r}))
faces, labels = np.load("faces.npy"), np.load("labels.npy")
np.savez("maps.npz", **{{name: METHODS[name](network, faces, labels) for name in {names}}})
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(backend), check=True)
    with np.load(tmp_path / "maps.npz") as found:
        for name in names:
            expected = maps[name][:some]
            error = np.abs(found[name] - expected).max() / np.abs(expected).max()
            assert error < 1e-4, (name, error)
