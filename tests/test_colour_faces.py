"""Own pictures in colour and at their own size, from the folder to an export's answers."""

import base64
import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ferplus_keras import cli
from ferplus_keras.classifier import Classifier
from ferplus_keras.data import cache
from ferplus_keras.data.pictures import read_picture
from ferplus_keras.inference.predictor import Predictor
from ferplus_keras.models.registry import MODELS
from tests import tiny

pytestmark = pytest.mark.slow

SIDE = 64


@pytest.fixture
def coloured(monkeypatch) -> str:
    """Name of a tiny network that sees blue, green and red, as VGGFace2's do."""
    spec = replace(tiny.SPEC, name="TinyBGR", channel_order="bgr", mean=(91.0, 103.0, 131.0))
    monkeypatch.setitem(MODELS, spec.name, spec)
    return spec.name


@pytest.fixture
def folder(tmp_path):
    """Faces of two classes that have the same grey levels: some red, the others blue."""
    from ferplus_keras.data.sample_faces import draw_rows

    rng = np.random.default_rng(0)
    for split, count, seed in (("train", 48, 1), ("validation", 16, 2), ("test", 16, 3)):
        for number, drawing in enumerate(draw_rows(400, seed)[:count]):
            grey = cv2.resize(drawing.pixels, (90, 90)).astype(float)
            tint = rng.uniform(30, 60)
            red, blue = (tint, 0) if number % 2 else (0, tint * 0.299 / 0.114 / 2)
            green = -(0.299 * red + 0.114 * blue) / 0.587
            picture = np.clip(grey[..., None] * 0.4 + 70 + [red, green, blue], 0, 255)
            path = tmp_path / "faces" / split / ("warm" if number % 2 else "cold")
            path.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path / f"{number}.png"), picture[..., ::-1].round().astype(np.uint8))
    return tmp_path / "faces"


def test_colour_faces_from_folder_to_export(coloured, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "_IN_MEMORY", 0)  # as if the faces were many
    (tmp_path / "left_out.csv").write_text("row\n20\n")
    command = f"train --dataset_name Folder --data_dir {folder} --exclude {tmp_path}/left_out.csv"
    command += f" --model_name {coloured} --weights none --image_size 64 --face_size {SIDE}"
    command += f" --nepochs 8 --batch_size 8 --init_lr 0.02 --checkpoints_dir {tmp_path} --name run"
    assert cli.main(command.split()) == 0
    assert "faces of 64x64 colour, chosen from the pictures" in capsys.readouterr().err
    run = tmp_path / "run"
    checkpoint = Classifier.open(run)
    assert checkpoint.face_shape == (SIDE, SIDE, 3)

    assert cli.main(["test", "--checkpoint_path", str(run)]) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["splits"]["test"]["n"] == 16
    assert report["splits"]["test"]["accuracy"] > 0.9  # grey levels tell nothing of the class

    target = run / "model_max_acc.onnx"
    assert cli.main(["export", "--checkpoint_path", str(run), "--format", "onnx"]) == 0
    picture = next((folder / "test/warm").iterdir())
    rgb = cv2.imread(str(picture))[..., ::-1]
    face = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    expected = checkpoint.network.predict_on_batch(face[None])[0]
    for path in (run, target):
        [[found]] = Predictor(path, detector="whole")(picture)
        np.testing.assert_allclose(list(found.probabilities.values()), expected, atol=1e-5)
    assert found.label == "warm"

    code = cli.main(["explain", "--checkpoint_path", str(run), "--images", str(picture)])
    assert code == 0
    with np.load(run / "explanations.npz") as maps:
        assert maps["maps"].shape[2:] == (SIDE, SIDE)
    assert cli.main(["explain", "--checkpoint_path", str(run), "--split", "test"]) == 0
    assert os.path.getsize(run / "class_means.png") > 0

    server = pytest.importorskip("ferplus_keras.serve.server")
    from starlette.testclient import TestClient

    from ferplus_keras.serve.engine import Engine
    from ferplus_keras.serve.guard import Guard, Limits, Metrics

    limits, metrics = Limits(), Metrics()
    app = server.make_app(Engine({"mine": target}, {}), limits, metrics)
    client = TestClient(Guard(app, limits, (), None, metrics), base_url="http://localhost")
    reply = client.post(
        "/v1/predict-faces?crops=true&explain=occlusion", files={"files": picture.read_bytes()}
    )
    (served,) = reply.json()["pictures"][0]["faces"]
    np.testing.assert_allclose(list(served["probabilities"].values()), expected, atol=1e-5)
    seen = read_picture(base64.b64decode(served["crop"].partition(",")[2]))
    np.testing.assert_array_equal(seen, face)  # red is red
