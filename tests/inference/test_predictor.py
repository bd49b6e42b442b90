"""`Predictor`: pictures in, expressions out."""

import base64
import dataclasses
import io
import pickle

import numpy as np
import pandas
import pytest
from PIL import Image

import ferplus_keras
from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.formats import one_at_a_time
from ferplus_keras.inference import predictor as predictor_module
from ferplus_keras.inference.crop import DetectedFace, crop_face
from ferplus_keras.inference.predictor import Predictor
from tests.inference.faces import by_brightness, grounds, head, lay, red_patches

HEADS = ((20, 30, 100, 60), (200, 120, 60, 180))
"""x, y, side, brightness of each head of `picture`."""


@pytest.fixture
def picture():
    image = grounds()
    for seed, (x, y, side, mean) in enumerate(HEADS):
        lay(image, head(seed, side, mean), x, y)
    return image


def test_every_face_with_its_box_and_probabilities_in_class_order(light, picture):
    (faces,) = Predictor(margin=0.1)(picture)
    assert [face.box for face in faces] == [(x, y, side, side) for x, y, side, _ in HEADS]
    expected = 0
    for margin in (0.04, 0.1, 0.16):
        crops = np.array([crop_face(picture, DetectedFace(face.box), margin) for face in faces])
        expected = expected + by_brightness().probabilities(crops) / 3
    for face, row in zip(faces, expected, strict=True):
        assert tuple(face.probabilities) == FERPLUS_CLASSES
        np.testing.assert_allclose(list(face.probabilities.values()), row, rtol=1e-5)
        assert face.label == FERPLUS_CLASSES[row.argmax()]
        assert face.confidence == face.probabilities[face.label]
    assert faces[0].label != faces[1].label


def test_pictures_come_as_paths_arrays_and_pillow_images_one_or_many(light, picture, tmp_path):
    predictor = ferplus_keras.Predictor()
    Image.fromarray(picture).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (expected,) = predictor(picture)
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(picture)):
        assert predictor(given) == [expected]
    empty = grounds()
    assert predictor([picture, empty, str(tmp_path / "a.png")]) == [expected, [], expected]
    assert predictor(np.stack([picture, empty])) == [expected, []]
    assert predictor(iter([empty])) == [[]]
    assert predictor([]) == []
    assert predictor(np.array([str(tmp_path / "a.png")])) == [expected]
    assert predictor(pandas.DataFrame({"path": [tmp_path / "a.png"]})["path"]) == [expected]
    deep = picture.astype(np.uint16) * 257
    assert predictor(deep.astype(">u2")) == predictor(deep) == [expected]
    with Image.open(tmp_path / "a.png") as opened, (tmp_path / "a.png").open("rb") as file:
        assert predictor([opened, file, io.BytesIO(content)]) == [expected] * 3
    assert predictor(content) == predictor(bytearray(content)) == [expected]
    faces = np.stack([np.full((48, 48), level, np.uint8) for level in (10, 250)])
    whole = Predictor(detector="whole")(faces)
    assert [face.label for (face,) in whole] == ["neutral", "contempt"]


class Tensor:
    """As those of TensorFlow, PyTorch and JAX: an array by `__array__`, and iterable."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        if self.values is None:
            raise TypeError("can't convert cuda:0 device type tensor")
        return self.values

    def __iter__(self):
        return map(Tensor, self.values)


def test_a_tensor_is_one_array(light):
    values = np.random.default_rng(0).integers(0, 256, (130, 125, 3)).astype(np.uint8)
    predictor = Predictor(detector="whole")
    assert predictor(Tensor(values)) == predictor(values)
    assert predictor([Tensor(values)] * 2) == predictor(values) * 2
    assert predictor(Tensor(values[None])) == predictor(values)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, r"expected a picture .* or several of these; got NoneType"),
        ([None], r"expected a picture .*; got NoneType"),
        (7, "got int"),
        ({"a.png": 1}, "got dict"),
        ("data:image/png;base64,iVBORw0KGgo=", "as a path: decode base64"),
        (base64.b64encode(bytes(3000)).decode(), "as a path: decode base64"),
        (b"no picture", "no picture, or damaged"),
        (io.StringIO("text"), "StringIO cannot be used"),
        (np.zeros((3, 40, 50), np.uint8), r"\(3, 40, 50\) may be 3 grey pictures, or one .*first"),
        (np.zeros(5, np.uint8), r"got \(5,\)"),
        (np.array(7), r"got \(\)"),
        (np.zeros((2, 2, 4, 5, 3), np.uint8), r"got \(2, 4, 5, 3\)"),
        (np.zeros((2, 3, 40, 50), np.uint8), r"got \(3, 40, 50\)"),
        (np.array([["a.png"]]), "got an array of <U5"),
        (Tensor(None), "cannot make an array of Tensor: can't convert cuda:0"),
    ],
)
def test_what_is_no_picture_or_may_be_several_is_refused_in_one_line(light, given, expected):
    with pytest.raises(InputError, match=expected) as error:
        Predictor(detector="whole")(given)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_predictor_is_ready_when_it_is_built(light, monkeypatch):
    predictor = Predictor()
    monkeypatch.setattr(Classifier, "open", None)
    monkeypatch.setattr(predictor_module, "find_detector", None)
    predictor.warm_up()
    assert predictor(grounds()) == [[]]


def test_a_network_from_memory_neither_forks_nor_pickles_and_says_so(light, monkeypatch):
    function = Classifier.from_function(by_brightness().run, FERPLUS_CLASSES)
    locked = dataclasses.replace(function, run=one_at_a_time(function.run))
    own, predictor = (Predictor(each, detector="whole") for each in (function, locked))
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(InputError, match="does not run in a forked process"):
        predictor(grounds())
    assert own(grounds())
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(predictor)


def test_the_whole_picture_is_squeezed_like_pictures_to_train_on(light):
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, :60] = 255
    predictor = Predictor(detector="whole")
    ((face,),) = predictor(picture)
    assert face.box == (0, 0, 120, 40)
    _, (seen,) = predictor.find(picture)
    assert seen.mean() == pytest.approx(127.5, abs=1)


def test_views_are_averaged_and_batches_change_nothing():
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (7, 48, 48)).astype(np.uint8)
    lop_sided = by_brightness()
    run = lop_sided.run
    lop_sided.run = lambda faces: run(faces[:, :, :9])
    predictor = Predictor(lop_sided, detector="whole", tta="flip", batch_size=3)
    expected = (lop_sided.run(faces) + lop_sided.run(faces[:, :, ::-1])) / 2
    np.testing.assert_allclose(predictor.probabilities(faces), expected, rtol=1e-6)
    assert predictor.probabilities(faces[:0]).shape == (0, 8)
    with pytest.raises(InputError, match=r"expected faces \(n, 48, 48\) uint8, got \(7, 24, 48\)"):
        predictor.probabilities(faces[:, ::2])
    with pytest.raises(UsageError, match="unknown kind of views 'flop'; did you mean 'flip'"):
        Predictor(detector="whole", tta="flop")


def test_the_detector_is_asked_once_a_picture(light, picture):
    predictor = Predictor()
    asked = []
    predictor.detect = lambda image: asked.append(image.shape) or red_patches(image)
    predictor([picture, picture])
    assert asked == [picture.shape] * 2


def test_models_with_other_classes_keep_their_names(monkeypatch, picture, light):
    names = ("calm", "cross", "glad")
    monkeypatch.setattr(Classifier, "open", lambda path: by_brightness(names))
    (faces,) = Predictor()(picture)
    assert [tuple(face.probabilities) for face in faces] == [names] * 2
    assert {face.label for face in faces} <= set(names)


def test_a_missing_bundled_model_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(predictor_module, "BUNDLED", tmp_path / "fast_fer.onnx")
    with pytest.raises(InputError, match=r"package is missing .*fast_fer.*checkpoint_path"):
        Predictor(detector="whole")


def test_an_empty_name_is_not_the_bundled_model():
    with pytest.raises(InputError, match="no checkpoint at"):
        Predictor("", detector="whole")  # of a shell's unset variable


def test_a_missing_model_is_named_before_a_detector_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr("ferplus_keras.inference.predictor.find_detector", None)
    with pytest.raises(InputError, match=r"no checkpoint at .*none\.onnx"):
        Predictor(tmp_path / "none.onnx")


def test_a_model_without_class_names_is_refused():
    model = type("Functional", (), {"predict_on_batch": None})()
    with pytest.raises(InputError, match=r"pass Classifier\.from_model"):
        Predictor(model, detector="whole")
