"""What the interface answers, compared with the predictor behind it."""

import asyncio
import base64
import gc
import io
import threading

import numpy as np
import pytest
from starlette.testclient import TestClient

from ferplus_keras.data.pictures import as_face
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.inference.predictor import BUNDLED, Predictor
from ferplus_keras.serve.engine import WAIT, Engine
from ferplus_keras.serve.guard import Guard, Limits, Metrics
from ferplus_keras.serve.server import make_app
from tests.serve.conftest import encoded, two_faces


def from_data_url(url: str) -> np.ndarray:
    from PIL import Image

    kind, _, content = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_one_picture_is_the_body(client):
    picture = two_faces()
    reply = client.post(
        "/v1/predict", content=encoded(picture), headers={"content-type": "image/png"}
    )
    assert reply.status_code == 200
    (answer,) = reply.json()["pictures"]
    assert (answer["width"], answer["height"]) == (96, 48)
    predictor = Predictor(detector=lambda _: [(0, 0, 48, 48), (48, 0, 48, 48)])
    expected = predictor.probabilities(predictor.find(picture)[1])
    assert [face["number"] for face in answer["faces"]] == [1, 2]
    assert [face["box"] for face in answer["faces"]] == [[0, 0, 48, 48], [48, 0, 48, 48]]
    for face, row in zip(answer["faces"], expected, strict=True):
        np.testing.assert_allclose(list(face["probabilities"].values()), row, atol=1e-6)
        assert face["label"] == predictor.class_names[row.argmax()]
        assert face["confidence"] == pytest.approx(row.max(), abs=1e-6)
        assert face.keys() == {"number", "box", "label", "confidence", "probabilities"}


def test_many_pictures_are_the_files_of_a_form(client):
    files = [
        ("files", ("two.png", encoded(two_faces()))),
        ("files", ("plain.png", encoded(np.full((9, 9, 3), 7, np.uint8)))),
        ("other", ("letter.txt", b"Dear all")),
        ("files", ("cut.png", encoded(two_faces())[:900])),
    ]
    pictures = client.post("/v1/predict", files=files).json()["pictures"]
    assert [picture["name"] for picture in pictures] == [name for _, (name, _) in files]
    assert [len(picture["faces"]) for picture in pictures] == [2, 0, 0, 0]
    assert "error" not in pictures[1]
    assert pictures[2]["error"].startswith("not a picture that can be read")
    assert pictures[3]["error"].startswith("the picture is damaged")


def test_cropped_faces_need_no_detector(client):
    face = two_faces()[:, :48]
    reply = client.post("/v1/predict-faces?tta=flip&crops=true", files={"files": encoded(face)})
    assert reply.json()["detector"] == "whole"
    (found,) = reply.json()["pictures"][0]["faces"]
    np.testing.assert_array_equal(from_data_url(found["crop"]), as_face(face))
    (row,) = Predictor(detector="whole", tta="flip").probabilities(as_face(face)[None])
    np.testing.assert_allclose(list(found["probabilities"].values()), row, atol=1e-6)


def test_a_face_is_explained_for_the_class_that_is_asked_for(client):
    def explained(query):
        url = f"/v1/predict-faces?explain=occlusion{query}"
        reply = client.post(url, files={"files": encoded(two_faces()[:, :48])})
        return reply.json()["pictures"][0]["faces"][0]

    face = explained("")
    assert face["explanation"]["class_name"] == face["label"]
    assert face["explanation"]["signed"]
    assert from_data_url(face["explanation"]["picture"]).shape == (48, 48, 3)
    other = explained("&explain_class=disgust")["explanation"]
    assert other["class_name"] == "disgust"
    assert other["picture"] != face["explanation"]["picture"]


def test_a_run_folder_is_explained_by_every_method(tiny_checkpoint):
    pytest.importorskip("keras")
    limits, metrics = Limits(), Metrics()
    engine = Engine({"run": tiny_checkpoint.parent, "bundled": BUNDLED}, {})
    app = Guard(make_app(engine, limits, metrics), limits, (), None, metrics)
    client = TestClient(app, base_url="http://localhost")
    run, bundled = client.get("/v1/models").json()["models"]
    assert run["explanations"] == list(METHODS)
    assert bundled["explanations"] == ["occlusion"]

    def explained(model: str, method: str):
        url = f"/v1/predict-faces?model={model}&explain={method}&explain_class=fear"
        return client.post(url, files={"files": encoded(two_faces()[:, :48])})

    pictures = set()
    for method in METHODS:
        (face,) = explained("run", method).json()["pictures"][0]["faces"]
        assert face["explanation"]["signed"] != METHODS[method].absolute
        pictures.add(face["explanation"]["picture"])
    assert len(pictures) == len(METHODS)
    refused = explained("bundled", "saliency")
    assert refused.status_code == 422
    assert "saliency" in refused.json()["detail"]


def test_models_lists_what_may_be_asked_for(client):
    choices = client.get("/v1/models").json()
    assert choices["detectors"] == ["halves", "whole"]
    (model,) = choices["models"]
    assert model["name"] == "bundled"
    assert len(model["class_names"]) == 8
    assert model["explanations"] == ["occlusion"]
    assert client.get("/healthz").json() == {"status": "ready"}


def test_metrics_count_and_name_no_picture(client):
    client.post("/v1/predict", files={"files": ("secret.png", encoded(two_faces()))})
    text = client.get("/metrics").text
    assert 'ferplus_requests_total{route="/v1/predict",status="200"} 1.0' in text
    assert 'ferplus_faces_total{model="bundled"} 2.0' in text
    assert "secret" not in text
    client.post("/v1/predict", headers={"origin": "https://evil.example"})
    client.get("/.env")
    text = client.get("/metrics").text
    assert 'ferplus_requests_total{route="/v1/predict",status="403"} 1.0' in text
    assert 'ferplus_requests_total{route="other",status="404"} 1.0' in text


def test_requests_that_come_together_share_a_batch(engine, batches):
    faces = np.stack([as_face(two_faces(seed)[:, :48]) for seed in range(7)])

    async def together():
        return await asyncio.gather(
            *(engine.probabilities(faces[i : i + 1], "bundled") for i in range(7)),
            engine.probabilities(faces[:0], "bundled"),
        )

    batches.clear()
    *rows, none = asyncio.run(together())
    assert batches == [7]
    assert none.shape == (0, 8)
    np.testing.assert_allclose(
        np.concatenate(rows), Predictor(detector="whole").probabilities(faces), atol=1e-6
    )


def test_requests_that_come_while_the_network_is_busy_share_a_batch(engine, batches, monkeypatch):
    entered, leave, count = threading.Event(), threading.Event(), engine._count_batch

    def slow(faces):
        count(faces)
        entered.set()
        leave.wait(60)

    async def one_after_the_other():
        asked = [asyncio.create_task(engine.probabilities(face, "bundled"))]
        await asyncio.to_thread(entered.wait)
        for _ in range(3):
            asked.append(asyncio.create_task(engine.probabilities(face, "bundled")))
            await asyncio.sleep(10 * WAIT)
        leave.set()
        return await asyncio.gather(*asked)

    face = as_face(two_faces()[:, :48])[None]
    monkeypatch.setattr(engine, "_count_batch", slow)
    batches.clear()
    assert [len(rows) for rows in asyncio.run(one_after_the_other())] == [1] * 4
    assert batches == [1, 3]


def test_a_failure_whose_clients_have_gone_stays_unsaid(engine, monkeypatch, caplog):
    failed = threading.Event()

    def fail(faces):
        failed.set()
        raise RuntimeError("the name of a picture")

    async def leave():
        asked = asyncio.create_task(engine.probabilities(face, "bundled"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.to_thread(failed.wait, 60)
        await asyncio.sleep(10 * WAIT)

    face = as_face(two_faces()[:, :48])[None]
    monkeypatch.setattr(engine, "_count_batch", fail)
    asyncio.run(leave())
    gc.collect()
    assert failed.is_set()
    assert caplog.text == ""


def test_a_camera_gets_an_answer_to_its_newest_frame(client):
    with client.websocket_connect("ws://localhost/v1/stream?detector=halves&crops=false") as camera:
        camera.send_bytes(encoded(two_faces()))
        first = camera.receive_json()
        assert first["frame"] == 1
        assert [face["number"] for face in first["faces"]] == [1, 2]
        for _ in range(5):
            camera.send_bytes(b"no picture")
        camera.send_bytes(encoded(np.full((9, 9, 3), 7, np.uint8)))
        while (last := camera.receive_json())["frame"] < 7:
            assert last["error"].startswith("not a picture")
        assert last["faces"] == []
        camera.send_text("text")
        assert camera.receive()["code"] == 1003
