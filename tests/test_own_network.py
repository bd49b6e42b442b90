"""The page on own networks, run from the first block to the last as a reader would."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from ferplus_keras import Classifier, Predictor, evaluate
from ferplus_keras.cli import main
from ferplus_keras.data.targets import Split
from ferplus_keras.errors import InputError
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "own_network.md").read_text(encoding="utf-8")


def test_the_page_runs_in_order(sample_data, tmp_path, monkeypatch):
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the page exports, which runs on TensorFlow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERPLUS_DATA_DIR", raising=False)
    (tmp_path / "data").symlink_to(sample_data)
    blocks = re.findall(r"```(python|sh)\n(.*?)```", PAGE, re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") >= 6
    names = {}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "own_network.md", "exec"), names)
        else:
            for line in block.splitlines():
                assert main(shlex.split(line)[3:]) == 0, line
    assert len(names["history"].history["loss"]) == 2
    assert names["info"].dataset_name == "FERPlus"
    for name in ("my_network.onnx", "my_report/report.html", "my_report/explanations.png"):
        assert (tmp_path / name).is_file()
    assert len(list((tmp_path / "faces").glob("test/*/*.png"))) == len(names["test"].images)
    assert Image.open(tmp_path / "batch.png").size == (192, 192)


def test_a_function_is_a_classifier_whose_answers_are_checked():
    def run(faces):
        bright = faces.mean(axis=(1, 2, 3)) / 255
        return np.stack([bright, 1 - bright], axis=1)

    classifier = Classifier.from_function(run, ("glad", "sad"), face_size=24, colour=True)
    assert (classifier.class_names, classifier.face_shape) == (("glad", "sad"), (24, 24, 3))
    faces = np.random.default_rng(0).integers(0, 256, (130, 24, 24, 3), np.uint8)
    np.testing.assert_allclose(classifier.probabilities(faces), run(faces), atol=1e-6)
    [[face]] = Predictor(classifier, detector="whole")(np.full((9, 9), 230, np.uint8))
    assert (face.label, face.confidence) == ("glad", pytest.approx(230 / 255, abs=1e-6))
    said = r"from faces \(n, 24, 24, 3\) to probabilities \(n, 3\); it returned \(2, 2\)"
    with pytest.raises(InputError, match=said):
        Classifier.from_function(run, ("glad", "sad", "cross"), face_size=24, colour=True)


def small(shape, classes):
    keras = pytest.importorskip("keras")
    faces = keras.Input(shape)
    x = keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(faces))
    return keras.Model(faces, x, name="small")


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 1), (24, 24, 3)])
def test_a_saved_network_answers_as_before(shape, tmp_path):
    model = small(shape, 2)
    classifier = Classifier.from_model(model, ("glad", "sad"))
    classifier.save(tmp_path / "small.keras")
    opened = Classifier.open(tmp_path / "small.keras")
    assert opened.info == classifier.info
    assert (opened.info.dataset_name, opened.info.evaluation_rule) == ("Folder", "own labels")
    colour = shape[2:] == (3,)
    assert (opened.face_size, opened.colour) == (24, colour)
    given = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    faces = given if colour else given.reshape(5, 24, 24)
    np.testing.assert_allclose(
        opened.probabilities(faces), model.predict(given, verbose=0), atol=1e-6
    )


def test_files_classifiers_and_models_are_evaluated_alike(tmp_path):
    model, path = small((24, 24), 3), tmp_path / "small.keras"
    classifier = Classifier.from_model(model, ("glad", "sad", "cross"))
    classifier.save(path)
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (40, 24, 24), dtype=np.uint8)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 40)]
    split = Split(faces, targets, np.arange(40), ("sad", "cross", "glad"))
    expected = np.mean(
        np.take(model.predict(faces, verbose=0), [1, 2, 0], axis=1).argmax(axis=1)
        == targets.argmax(axis=1)
    )
    assert evaluate(classifier, split)["accuracy"] == expected
    assert evaluate(path, split)["accuracy"] == expected
    in_order = split._replace(class_names=classifier.class_names, targets=targets[:, [2, 0, 1]])
    assert evaluate(model, in_order)["accuracy"] == expected
    with pytest.raises(InputError, match="3 classes"):
        evaluate(classifier, split._replace(class_names=("a", "b", "c")))


@pytest.mark.parametrize(("shape", "classes"), [((24, 20), 2), ((24, 24, 2), 2), ((24, 24), 3)])
def test_models_of_other_shapes_are_refused(shape, classes):
    with pytest.raises(InputError, match="expected a model from faces"):
        Classifier.from_model(small(shape, classes), ("glad", "sad"))


def test_what_cannot_be_saved_is_said(tmp_path):
    classifier = Classifier.from_model(small((24, 24), 2), ("glad", "sad"))
    with pytest.raises(InputError, match=r"ending in \.keras"):
        classifier.save(tmp_path / "small.h5")
