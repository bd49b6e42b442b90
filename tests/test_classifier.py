"""One face before every kind of trained network: the same probabilities from whatever file."""

import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from ferplus_keras.classifier import Classifier, mean_probabilities
from ferplus_keras.data.cache import FacesOnDisk
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inference.predictor import Predictor
from tests.backends import environment
from tests.exports import INFO, drawn

EXPORTS = ("onnx", "litert", "openvino", "saved_model")


def half_lights(faces):
    """Stand in for a network: how bright the left and the right half of a face are."""
    halves = np.stack([faces[:, :, :24].mean((1, 2)), faces[:, :, 24:].mean((1, 2))], axis=1)
    return (halves / halves.sum(axis=1, keepdims=True)).astype(np.float32)


def left_right(columns=None, run=half_lights):
    info = INFO.__class__("Halves", 48, ("left", "right"), "FERPlus", "majority", "majority")
    return Classifier(info, run, columns=columns)


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(1, 256, (5, 48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(tiny_checkpoint):
    pytest.importorskip("keras")
    return Classifier.open(tiny_checkpoint)


def test_flip_averages_over_both_views(faces):
    plain = left_right().probabilities(faces, batch_size=2)
    flipped = left_right().probabilities(faces, batch_size=2, tta="flip")
    np.testing.assert_allclose(plain.sum(axis=1), 1, atol=1e-6)
    assert np.abs(plain - 0.5).max() > 1e-3
    np.testing.assert_allclose(flipped, 0.5, atol=1e-6)


def test_faces_on_disk_are_read_batch_by_batch(faces, tmp_path, monkeypatch):
    np.save(tmp_path / "faces.npy", faces)
    on_disk = FacesOnDisk(np.load(tmp_path / "faces.npy", mmap_mode="r"), np.arange(5))
    read, counts = FacesOnDisk.__getitem__, []

    def watch(self, index):
        found = read(self, index)
        counts.append(found.shape[:-2])
        return found

    monkeypatch.setattr(FacesOnDisk, "__getitem__", watch)
    found = left_right().probabilities(on_disk, batch_size=2)
    assert counts == [(2,), (2,), (1,)]
    np.testing.assert_array_equal(found, left_right().probabilities(faces, batch_size=2))


def test_faces_may_be_anything_that_is_an_array(faces):
    expected = left_right().probabilities(faces)
    for given in (list(faces), memoryview(faces)):
        np.testing.assert_array_equal(left_right().probabilities(given), expected)


def test_a_batch_holds_at_least_one_face(faces):
    with pytest.raises(UsageError, match="expected a batch_size of at least 1, got -1"):
        left_right().probabilities(faces, batch_size=-1)


def test_several_crops_of_each_face_are_averaged(faces):
    crops = np.stack([faces, faces[:, :, ::-1]], axis=1)
    found = left_right().probabilities(crops, batch_size=2)
    np.testing.assert_allclose(found, 0.5, atol=1e-6)
    one = left_right().probabilities(crops[:, :1], batch_size=2)
    np.testing.assert_array_equal(one, left_right().probabilities(faces))
    with pytest.raises(InputError, match=r"expected faces \(n, 48, 48\) uint8, got \(1, 5, 2, 48"):
        left_right().probabilities(crops[None])


class Late:
    """An answer that is computed when it is waited for, and says when."""

    def __init__(self, faces, said):
        self.faces, self.said = faces, said

    def __array__(self, dtype=None, copy=None):
        self.said.append("waited for")
        return half_lights(self.faces)


def test_a_batch_is_begun_before_the_one_ahead_of_it_is_waited_for(faces):
    said = []

    def run(batch):
        said.append("begun")
        return Late(batch, said)

    found = left_right(run=run).probabilities(faces, batch_size=2)
    np.testing.assert_array_equal(found, half_lights(faces))
    assert said == ["begun", "begun", "waited for", "begun", "waited for", "waited for"]


def test_arranged_columns_follow_the_names(faces):
    straight = left_right()
    swapped = straight.arranged(("right", "left"))
    assert swapped.class_names == ("right", "left")
    np.testing.assert_array_equal(
        swapped.probabilities(faces), straight.probabilities(faces)[:, ::-1]
    )
    again = swapped.arranged(("left", "right"))
    np.testing.assert_array_equal(again.probabilities(faces), straight.probabilities(faces))
    info = replace(straight.info, class_names=("a", "A"))
    same = Classifier(info, half_lights)  # a name as it is comes before its spelling
    found = same.arranged(("a", "A")).probabilities(faces)
    np.testing.assert_array_equal(found, same.probabilities(faces))
    spelt = straight.arranged(("Right ", "LEFT"))
    np.testing.assert_array_equal(spelt.probabilities(faces), swapped.probabilities(faces))
    with pytest.raises(InputError, match=r"expected 7 .* has 2 .*--dataset_name FERPlus"):
        straight.arranged(FERPLUS_CLASSES[:7])


def test_means_of_probabilities_and_logits():
    a, b = np.array([[0.9, 0.1]]), np.array([[0.4, 0.6]])
    np.testing.assert_allclose(mean_probabilities([a, b], "probabilities"), [[0.65, 0.35]])
    geometric = np.sqrt(a * b)
    np.testing.assert_allclose(
        mean_probabilities([a, b], "logits"), geometric / geometric.sum(), rtol=1e-6
    )
    with pytest.raises(UsageError, match="probabilities or logits"):
        mean_probabilities([a, b], "votes")


@pytest.mark.parametrize("answer", [np.nan, np.inf, -2.5, 3.0])
def test_what_is_no_probability_is_refused(faces, answer):
    broken = left_right(run=lambda batch: np.full((len(batch), 2), answer, np.float32))
    with pytest.raises(InputError, match="no probabilities for 5 of 5 faces"):
        broken.probabilities(faces)


@pytest.mark.parametrize("shape", [(5, 48), (5, 48, 48, 3), (5, 40, 40)])
def test_faces_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"expected faces \(n, 48, 48\) uint8, got"):
        left_right().probabilities(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", EXPORTS)
def test_every_format_answers_as_the_checkpoint(kind, network, exported):
    exporter = Classifier.open(exported(kind).path)
    assert exporter.info == network.info
    assert exporter.class_names == FERPLUS_CLASSES
    assert (exporter.face_size, exporter.colour) == (network.face_size, network.colour) == (48, 0)
    assert (exporter.network, network.network is None) == (None, False)
    shown = drawn(21, seed=6)
    ways = (
        {},
        {"batch_size": 8},  # the last batch is short
        {"batch_size": 4, "tta": "flip"},
        {"tta": "ten_crop", "average": "logits"},
    )
    for way in ways:
        expected = network.probabilities(shown, **way)
        found = exporter.probabilities(shown, **way)
        assert found.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(
        exporter.probabilities(shown[:1]), network.probabilities(shown)[:1], atol=1e-4
    )
    reverse = FERPLUS_CLASSES[::-1]
    np.testing.assert_allclose(
        exporter.arranged(reverse).probabilities(shown),
        network.probabilities(shown)[:, ::-1],
        atol=1e-4,
    )


@pytest.mark.parametrize("kind", ["keras", *EXPORTS])
def test_several_threads_share_a_classifier(kind, network, exported, tiny_checkpoint):
    shared = Classifier.open(tiny_checkpoint if kind == "keras" else exported(kind).path)
    parts = np.split(drawn(40, seed=7), 20)
    expected = [network.probabilities(part) for part in parts]
    with ThreadPoolExecutor(4) as threads:
        for found, wanted in zip(threads.map(shared.probabilities, parts), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("kind", ["keras", *EXPORTS])
def test_a_pickled_classifier_opens_its_file_again(kind, exported, tiny_checkpoint):
    path = tiny_checkpoint if kind == "keras" else exported(kind).path
    classifier = Classifier.open(path).arranged(FERPLUS_CLASSES[::-1])
    copy = pickle.loads(pickle.dumps(classifier))
    assert copy.class_names == FERPLUS_CLASSES[::-1]
    shown = drawn(3)
    np.testing.assert_array_equal(copy.probabilities(shown), classifier.probabilities(shown))


def _send(classifier, faces, pipe):
    found = classifier.probabilities(faces)
    pipe.send((found, len(os.listdir("/proc/self/task"))))


def test_an_onnx_classifier_works_in_a_forked_process(exported):
    classifier = Classifier.open(exported("onnx").path)
    shown = drawn(64)
    expected = classifier.probabilities(shown)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_send, args=(classifier, shown, sender)
    )
    child.start()
    try:
        assert receiver.poll(300), "the forked process does not answer"
        found, threads = receiver.recv()
        np.testing.assert_array_equal(found, expected)
        assert threads > 1 or len(os.sched_getaffinity(0)) == 1  # those of its parent are gone
        child.join(300)
        assert child.exitcode == 0
    finally:
        child.kill()


@pytest.mark.parametrize("shape", [(32, 32), (24, 24, 3)])
def test_a_keras_model_from_memory(shape):
    keras = pytest.importorskip("keras")
    given = keras.Input(shape, dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(given))
    model = keras.Model(given, keras.layers.Dense(3, activation="softmax")(x))
    classifier = Classifier.from_model(model, ("a", "b", "c"))
    assert classifier.class_names == ("a", "b", "c")
    assert (classifier.face_size, classifier.colour) == (shape[0], len(shape) == 3)
    shown = np.random.default_rng(1).integers(0, 256, (7, *shape), dtype=np.uint8)
    expected = model.predict(shown, verbose=0)
    for copy in (classifier, pickle.loads(pickle.dumps(classifier))):
        np.testing.assert_allclose(copy.probabilities(shown, batch_size=4), expected, atol=1e-6)
    assert classifier.describe()["checkpoint_sha256"] is None


def test_a_saved_model_has_a_hash(exported):
    found = Classifier.open(exported("saved_model").path).describe()["checkpoint_sha256"]
    assert re.fullmatch("[0-9a-f]{64}", found)


def test_jax_predicts_with_the_weights_that_a_model_has_now():
    pytest.importorskip("jax")
    program = """
import keras, numpy as np
from ferplus_keras.classifier import Classifier
faces = np.random.default_rng(0).integers(0, 256, (5, 16, 16), dtype=np.uint8)
normalised = keras.layers.BatchNormalization()
model = keras.Sequential([
    keras.Input((16, 16, 1)), normalised, keras.layers.Flatten(), keras.layers.Dropout(0.5),
    keras.layers.Dense(2, activation="softmax"),
])
classifier = Classifier.from_model(model, ["left", "right"])
for weights in (model.get_weights(), [0.01 * (1 + each) for each in model.get_weights()]):
    model.set_weights(weights)
    found = classifier.probabilities(faces, batch_size=2)
    np.testing.assert_allclose(found, model.predict_on_batch(faces[..., None]), atol=1e-6)
    print(found[0, 0])
"""
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment("jax"), capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    before, after = said.stdout.split()
    assert before != after


def test_classifiers_without_file_or_model_are_not_pickled():
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(left_right())


def test_keras_does_not_run_in_a_fork_of_a_process_in_which_it_ran(network, tmp_path, monkeypatch):
    network.save(tmp_path / "a.keras")
    shown = np.zeros((1, *network.face_shape), np.uint8)
    network.probabilities(shown)

    def said(sender):
        for attempt in (
            lambda: network.probabilities(shown),
            lambda: Classifier.open(network.path),
        ):
            with pytest.raises(InputError) as caught:
                attempt()
            sender.send(str(caught.value))

    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=said, args=(sender,))
    child.start()
    try:
        for _ in range(2):
            assert receiver.poll(300), "the forked process does not answer"
            assert "does not run in a forked process" in receiver.recv()
    finally:
        child.kill()


def test_names_and_models_that_no_file_can_hold_are_refused(network):
    import keras

    for names, words in ((("a", "a"), "each class once, got 'a' again"), (("", "b"), "printed")):
        with pytest.raises(InputError, match=words):
            Classifier.from_function(lambda faces: np.full((len(faces), 2), 0.5), names)

    class Sub(keras.Model):
        def call(self, faces):
            return faces

    for model in (Sub(), keras.Sequential([keras.layers.Flatten()])):
        with pytest.raises(InputError, match=r"got one from None .*from_function\(model"):
            Classifier.from_model(model, ("a", "b"))
    function = Classifier.from_function(lambda faces: np.full((len(faces), 2), 0.5), "ab")
    with pytest.raises(InputError, match=r"a function is no Keras network$"):
        function.save("a.keras")


def test_a_model_of_the_older_project(network, tiny_network, tmp_path):
    from tests.models.networks import weights_of, write_keras2_model

    path = tmp_path / "model_max_acc.hdf5"
    write_keras2_model(
        path, weights_of(network.network), image_size=48, activation="softmax", rate=0.5
    )
    opened = Classifier.open(path)
    assert opened.class_names == ()
    assert opened.info.model_name == tiny_network
    with pytest.raises(InputError, match=r"expected 7 classes .*, but .* has 8; choose"):
        opened.arranged(FERPLUS_CLASSES[:7])
    opened.save(tmp_path / "saved.keras")
    assert Classifier.open(tmp_path / "saved.keras").class_names == FERPLUS_CLASSES
    [[face]] = Predictor(path, detector="whole")(drawn(1))
    assert set(face.probabilities) == set(FERPLUS_CLASSES)
    classifier = opened.arranged(FERPLUS_CLASSES)
    shown = drawn(9)
    for copy in (classifier, pickle.loads(pickle.dumps(classifier))):
        assert copy.class_names == FERPLUS_CLASSES
        np.testing.assert_allclose(
            copy.probabilities(shown, batch_size=4), network.probabilities(shown), atol=1e-5
        )
