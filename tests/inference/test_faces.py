"""Detectors and how faces are cut out."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inference.faces import (
    DETECTORS,
    LONGEST_SIDE,
    FoundFace,
    crop_face,
    find_detector,
)
from ferplus_keras.inference.tracking import overlap
from tests.conftest import REPOSITORY
from tests.inference.test_light import run_without

FACE = (180, 65, 85, 107)
"""The astronaut's face, from brows to chin."""


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def mtcnn():
    """MTCNN, loaded once for all tests."""
    pytest.importorskip("mtcnn")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("MTCNN runs on TensorFlow")
    return find_detector("mtcnn")


def test_mtcnn_finds_the_astronaut_at_every_size_and_where_it_is_cut_off(mtcnn, astronaut):
    for scale, right in ((1, 0), (4, 0), (0.5, 0), (1, 215)):  # 2048 is made smaller to detect
        picture = cv2.resize(astronaut, None, fx=scale, fy=scale)[:, int(right * scale) :]
        (face,) = mtcnn(picture)
        expected = (FACE[0] - right, *FACE[1:])
        assert overlap([value / scale for value in face.box], expected) > 0.7, scale
        assert face.score > 0.9
        assert face.eyes[0, 0] < face.eyes[1, 0]
        assert abs(face.tilt) < 10
    assert min(face.box[:2]) < 0  # reaches over the edge instead of being squeezed


def test_mtcnn_finds_several_faces_and_none(mtcnn, astronaut):
    pair = np.hstack([astronaut[:, :350], astronaut[:, :350]])
    assert sorted(round(face.box[0] / 350, 1) for face in mtcnn(pair)) == [0.5, 1.5]
    assert mtcnn(np.full((200, 300, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (19, 400), (20, 20), (25, 900), (900, 25)])
def test_mtcnn_takes_pictures_too_small_for_a_face(mtcnn, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    assert mtcnn(noise) == []


def test_mtcnn_says_what_it_needs(monkeypatch):
    done = run_without(
        ["mtcnn"],
        "from ferplus_keras.inference.faces import find_detector\nfind_detector('mtcnn')",
    )
    assert "face detector mtcnn needs mtcnn" in done.stderr
    assert "ferplus-keras[faces]" in done.stderr
    assert "--faces: yunet" in done.stderr
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("mtcnn")
    with pytest.raises(InputError, match="needs Keras on TensorFlow, not on torch"):
        find_detector("mtcnn")


def test_mtcnn_chooses_tensorflow_whatever_keras_is_set_to(tmp_path):
    pytest.importorskip("mtcnn")
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    environment = {key: os.environ[key] for key in os.environ if key != "KERAS_BACKEND"}
    code = (
        "import os; from ferplus_keras.inference.faces import find_detector\n"
        "find_detector('mtcnn'); print(os.environ['KERAS_BACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"KERAS_HOME": str(tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "tensorflow\n", done.stderr


@pytest.fixture(scope="module")
def yunet_file(tmp_path_factory):
    """A network with YuNet's inputs and outputs that sees a face of 32x32 in 8x8 red pixels."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants, nodes, outputs = {}, [], []

    def constant(name, values, kind=np.float32):
        constants[name] = numpy_helper.from_array(np.array(values, kind), name)
        return name

    red = constant("red", [[[[0]], [[0]], [[1 / 255]]]])  # blue, green, red
    nodes.append(helper.make_node("Mul", ["input", red], ["reds"]))
    nodes.append(helper.make_node("ReduceSum", ["reds", constant("axis", [1], np.int64)], ["red1"]))
    corner = np.log(4), 0.5  # 4 cells wide; half a cell off
    parts = {
        "cls": ([1], [0]),
        "obj": ([1], [0]),
        "bbox": ([0] * 4, [corner[1], corner[1], corner[0], corner[0]]),
        "kps": ([0] * 10, [1.5, 0.0, -0.5, 0.0, 0.5, 0.5, 1.0, 1.0, 0.0, 1.0]),
    }
    shape = constant("shape", [1, -1, 1], np.int64)
    for stride in (8, 16, 32):
        pool = helper.make_node(
            "AveragePool",
            ["red1"],
            [f"pool{stride}"],
            kernel_shape=[stride, stride],
            strides=[stride, stride],
        )
        nodes.append(pool)
        nodes.append(helper.make_node("Reshape", [f"pool{stride}", shape], [f"flat{stride}"]))
        for name, (times, plus) in parts.items():
            key = f"{name}_{stride}"
            weight = constant(f"w{key}", [[np.array(times) * (stride == 8)]])
            nodes.append(helper.make_node("Mul", [f"flat{stride}", weight], [f"m{key}"]))
            bias = constant(f"b{key}", [[plus]])
            nodes.append(helper.make_node("Add", [f"m{key}", bias], [key]))
    for name, (times, _) in parts.items():
        for stride in (8, 16, 32):
            outputs.append(
                helper.make_tensor_value_info(f"{name}_{stride}", 1, [1, None, len(times)])
            )
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", 1, [1, 3, "height", "width"])],
        outputs,
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("yunet") / "yunet.onnx"
    onnx.save(model, path)
    return path


def test_yunet_by_its_file(yunet_file):
    picture = np.zeros((320, 640, 3), np.uint8)
    picture[80:88, 160:168] = (255, 0, 0)
    picture[200:208, 400:408] = (0, 0, 255)  # blue: no face
    (face,) = find_detector("yunet", yunet_file)(picture)
    np.testing.assert_allclose(face.box, (148, 68, 32, 32), atol=0.01)
    assert face.score == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(face.eyes, [(156, 80), (172, 80)], atol=0.01)
    large = np.kron(picture, np.ones((4, 4, 1), np.uint8))
    assert max(large.shape) == 2 * LONGEST_SIDE
    larger = find_detector("yunet", yunet_file)
    (face,) = larger(large)
    x, y, width, height = face.box
    assert (width, height) == pytest.approx((64, 64))
    assert 640 <= x + width / 2 <= 672
    assert 320 <= y + height / 2 <= 352
    assert larger(np.zeros((1, 1, 3), np.uint8)) == []


def test_yunet_without_its_file_or_with_another(tmp_path):
    with pytest.raises(InputError, match=r"needs face_detection_yunet.*--faces_weights; got None"):
        find_detector("yunet")
    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"OpenCV cannot read .*other\.onnx"):
        find_detector("yunet", tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="did you mean 'yunet'"):
        find_detector("yunnet")
    assert list(DETECTORS) == ["mtcnn", "yunet", "whole"]


def ramp(height, width):
    grey = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def test_the_crop_is_a_square_around_the_box():
    picture = ramp(120, 130)
    cut = crop_face(picture, (20.2, 10, 48, 30), margin=0)
    np.testing.assert_array_equal(cut, picture[1:49, 20:68, 0])
    larger = crop_face(picture, (30, 20, 48, 48), margin=0.5)
    whole = cv2.resize(picture[8:80, 18:90, 0], (48, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(larger, whole)


@pytest.mark.parametrize("box", [(-24, -24, 48, 48), (100, 90, 48, 48), (500, 500, 48, 48)])
def test_over_the_edge_the_pictures_edge_is_repeated(box):
    picture = ramp(120, 130)
    rows = np.clip(np.arange(box[1], box[1] + 48), 0, 119)
    columns = np.clip(np.arange(box[0], box[0] + 48), 0, 129)
    expected = picture[rows[:, None], columns, 0]
    np.testing.assert_array_equal(crop_face(picture, box, margin=0), expected)


def test_a_box_without_size_still_gives_a_face():
    assert crop_face(ramp(3, 3), (1, 1, 0, 0)).shape == (48, 48)


@pytest.mark.parametrize("angle", [-25, 0, 40])
def test_a_tilted_face_is_turned_back(angle):
    """The eyes and the mouth of a drawn face lie where they lie in the upright one."""
    upright = np.full((240, 240, 3), 150, np.uint8)
    for x, y in ((100, 100), (140, 100), (120, 145)):
        cv2.circle(upright, (x, y), 8, (20, 20, 20), -1)
    turn = cv2.getRotationMatrix2D((120, 120), -angle, 1)  # OpenCV counts the other way round
    picture = cv2.warpAffine(upright, turn, (240, 240), borderValue=(150, 150, 150))
    eyes = np.array([turn @ (100, 100, 1), turn @ (140, 100, 1)])
    face = FoundFace((72, 72, 96, 96), 1.0, eyes)
    assert face.tilt == pytest.approx(angle)
    cut = crop_face(picture, face.box, 0.0, face.tilt).astype(int)
    expected = crop_face(upright, face.box, 0.0)
    assert np.abs(cut - expected).mean() < 3
    if angle:
        assert np.abs(crop_face(picture, face.box, 0.0) - expected.astype(int)).mean() > 8
