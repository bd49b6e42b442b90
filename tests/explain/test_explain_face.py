"""One face explained, as the served page asks for it, and maps drawn over faces."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.explain.explanations import AGAINST, FOR, explain_face, heat_overlay, methods_of
from ferplus_keras.explain.methods import METHODS, Scores, integrated_gradients
from ferplus_keras.run import PRECISIONS
from tests.explain import networks
from tests.exports import INFO, drawn


@pytest.mark.parametrize("name", METHODS)
def test_one_face_by_every_method(name, trained, network):
    classifier = Classifier.open(trained.path).arranged(FERPLUS_CLASSES[::-1])
    face, label = trained.faces[0], trained.labels[0]
    found = explain_face(classifier, face, FERPLUS_CLASSES[label], name)
    expected = METHODS[name](network, face[None], np.array([label]))[0]
    assert (found.shape, found.dtype) == ((48, 48), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_threads_may_ask_at_once(trained):
    classifier = Classifier.open(trained.path)
    assert methods_of(classifier) == list(METHODS.values())

    def saliency(face):
        return explain_face(classifier, face, "fear", "saliency")

    one_by_one = [saliency(face) for face in trained.faces[:8]]
    with ThreadPoolExecutor(4) as threads:
        np.testing.assert_array_equal(list(threads.map(saliency, trained.faces[:8])), one_by_one)


@pytest.mark.parametrize("kind", ["onnx", "litert", "openvino", "saved_model"])
def test_an_export_is_explained_by_its_probabilities(kind, exported, tiny_checkpoint):
    export, checkpoint = (Classifier.open(path) for path in (exported(kind).path, tiny_checkpoint))
    assert [method.name for method in methods_of(export)] == ["occlusion"]
    face = drawn(1, seed=8)[0]
    maps = [explain_face(one, face, "fear", "occlusion").ravel() for one in (export, checkpoint)]
    assert np.corrcoef(maps)[0, 1] > 0.5  # probabilities, and logits
    with pytest.raises(InputError, match=r"saliency: .* holds no Keras network; use the \.keras"):
        explain_face(export, face, "fear", "saliency")


@pytest.mark.parametrize("ending", ["", *(f"_{precision}" for precision in PRECISIONS[1:])])
def test_the_checkpoint_that_an_export_was_made_from_is_named(ending, tmp_path):
    for name in ("model_min_loss", "model_max_acc"):
        (tmp_path / f"{name}.keras").touch()
    export = Classifier(INFO, np.mean, tmp_path / f"model_min_loss{ending}.xml")
    said = Scores(export).without_gradients
    assert said.endswith(f"holds no Keras network; use {tmp_path}/model_min_loss.keras")


def test_occlusion_finds_the_only_place_that_counts():
    def corner_decides(faces):
        share = faces[:, 4:8, 4:8].mean(axis=(1, 2)) / 255
        return np.stack([share, 1 - share], axis=1)

    info = INFO.__class__("Corner", 48, ("bright", "dark"), "FERPlus", "majority", "majority")
    face = np.full((48, 48), 20, np.uint8)
    face[:24, :24] = 250
    found = explain_face(Classifier(info, corner_decides), face, "bright", "occlusion")
    assert found[4:8, 4:8].min() > 0
    assert not found[16:].any()
    assert not found[:, 16:].any()
    # A patch of 8x8 that covers the place takes (250 - 128) / 255 away.
    assert found[6, 6] == pytest.approx(122 / 255, abs=0.2)


@pytest.mark.parametrize("names", [("rescaling", "head"), ("preprocessing", "dense")])
def test_networks_of_another_shape_are_explained_by_their_probabilities(names):
    keras = pytest.importorskip("keras")
    given = keras.Input((20, 20, 3), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255, name=names[0])(given))
    model = keras.Model(given, keras.layers.Dense(3, activation="softmax", name=names[1])(x))
    classifier = Classifier.from_model(model, ("a", "b", "c"))
    face = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert explain_face(classifier, face, "b", "occlusion").shape == (20, 20)
    with pytest.raises(InputError, match="saliency: the network is not built as build_model"):
        explain_face(classifier, face, "b", "saliency")


def test_larger_faces_in_colour():
    network = networks.cut_open(networks.build(networks.convolutions, crop=60, face=(64, 64, 3)))
    faces = np.stack([np.roll(cv2.resize(drawn(2)[i], (64, 64)), i) for i in range(2)])
    faces = np.stack([faces, faces // 2, 255 - faces], axis=-1)
    classes = np.array([1, 4])
    for name, method in METHODS.items():
        found = method(network, faces, classes)
        assert (found.shape, found.dtype) == ((2, 64, 64), np.float32), name
        assert not found[:, :2].any()  # outside the crop
        assert found.any() or name == "grad_cam"
    found = integrated_gradients(network, faces, classes).sum(axis=(1, 2))
    plain = network.scores(np.full(faces.shape, network.grey, np.float32))
    difference = (network.scores(faces) - plain)[[0, 1], classes]
    np.testing.assert_allclose(found, difference, rtol=0.02)


@pytest.mark.parametrize(
    ("class_name", "method", "expected"),
    [("fera", "saliency", "did you mean 'fear'"), ("fear", "salency", "did you mean 'saliency'")],
)
def test_misspelled_names(class_name, method, expected, trained):
    with pytest.raises(UsageError, match=expected):
        explain_face(Classifier.open(trained.path), trained.faces[0], class_name, method)


def test_overlay_colours():
    values = np.zeros((48, 48))
    values[0, 0], values[1, 1] = 0.01, -0.01  # the only ones, however small
    picture = heat_overlay(np.full((48, 48), 100, np.uint8), values)
    assert picture.dtype == np.uint8
    assert np.unique(picture[2:], axis=None).size == 1
    np.testing.assert_allclose(picture[0, 0] / 255, FOR, atol=0.1)
    np.testing.assert_allclose(picture[1, 1] / 255, AGAINST, atol=0.1)


def test_a_map_is_enlarged_to_a_crop_in_colour():
    values = np.zeros((48, 48), np.float32)
    values[24:] = 1
    values[-1, -1] = 50  # of one pixel: the others keep their colour, and it has no other
    crop = np.full((130, 120, 3), (200, 150, 100), np.uint8)
    picture = heat_overlay(crop, values)
    assert picture.shape == crop.shape
    assert (np.diff(picture[0, 0].astype(int)) < 0).all()  # the crop's own colour
    np.testing.assert_allclose(picture[-1, [0, -1]] / 255, [FOR, FOR], atol=0.15)
