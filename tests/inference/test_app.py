"""The page: functions behind it, its server over plain HTTP, a browser where there is one."""

import base64
import csv
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from ferplus_keras import extras
from ferplus_keras.cli import main
from ferplus_keras.data.face_image import as_face
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError
from ferplus_keras.explain.methods import METHODS
from ferplus_keras.inference.app import shown
from ferplus_keras.inference.app.answers import Answers, Look
from ferplus_keras.inference.app.server import address, listen, make_server, quiet_environment
from ferplus_keras.inference.app.uploads import (
    LEFT_BEHIND,
    Upload,
    delete_left_behind,
    private_folder,
    read_upload,
)
from ferplus_keras.inference.faces import MARGIN, FoundFace, crop_face, find_detector
from ferplus_keras.inference.predictor import Prediction, Predictor
from tests.conftest import REPOSITORY
from tests.inference.exports import drawn

BOX = (40.0, 30.0, 60.0, 70.0)


def one_box(picture):
    """Find a face in every picture that is not plain."""
    return [FoundFace(BOX, 0.9, None)] if picture.std() else []


@pytest.fixture(scope="module")
def answers(tiny_checkpoint) -> Answers:
    pytest.importorskip("keras")
    return Answers({"tiny": tiny_checkpoint}, {"whole": find_detector("whole"), "one box": one_box})


def picture_of(side: int = 160) -> np.ndarray:
    (face,) = drawn(1, seed=8)
    return cv2.cvtColor(cv2.resize(face, (side, side)), cv2.COLOR_GRAY2RGB)


def test_a_look_cuts_faces_as_the_predictor_does_and_answers_as_it_does(answers, tiny_checkpoint):
    predictor = Predictor(tiny_checkpoint, faces="whole")
    picture = picture_of()
    expected = {"one box": crop_face(picture, FoundFace(BOX), MARGIN)}
    expected["whole"] = as_face(picture)
    for detector, crop in expected.items():
        look = answers.look(picture, "tiny", detector)
        np.testing.assert_array_equal(look.crops, [crop])
        (row,) = predictor.probabilities(crop[None])
        np.testing.assert_allclose(list(look.faces[0].probabilities.values()), row, atol=1e-6)
        assert look.faces[0].label == FERPLUS_CLASSES[row.argmax()]
    assert answers.look(np.zeros_like(picture), "tiny", "one box").faces == []
    with pytest.raises(InputError, match="unknown model 'tinny'; did you mean 'tiny'"):
        answers.look(picture, "tinny", "whole")


def test_checkpoints_are_explained_by_every_method_and_exports_by_answers_only(answers, exported):
    assert [method.name for method in answers.methods("tiny")] == list(METHODS)
    look = answers.look(picture_of(), "tiny", "whole")
    fear = answers.explain(look, 0, "fear", "saliency")
    assert fear.shape == (48, 48)
    assert fear.max() > 0
    assert (fear != answers.explain(look, 0, "anger", "saliency")).any()

    export = Answers({"tiny": exported("onnx").path}, {"whole": find_detector("whole")})
    assert [method.name for method in export.methods("tiny")] == ["occlusion"]
    maps = [each.explain(look, 0, "fear", "occlusion").ravel() for each in (export, answers)]
    assert np.corrcoef(maps)[0, 1] > 0.5  # logits and probabilities


@pytest.fixture
def upload(tmp_path):
    """Return a function from bytes to an upload as Gradio lays it down."""

    def lay(content: bytes, name: str = "me & you.png") -> Upload:
        folder = tmp_path / "1f0c"
        folder.mkdir()
        path = folder / "me  you.png"
        path.write_bytes(content)
        return Upload(path, name)

    return lay


def png_of(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def huge_png() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("1", (9000, 8000)).save(out, "png")
    return out.getvalue()


def test_an_upload_is_read_once_and_gone(upload, tmp_path):
    picture = picture_of(50)
    np.testing.assert_array_equal(read_upload(upload(png_of(picture))), picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: b"", "me & you.png is not a picture"),
        (lambda: b"<svg/>", "me & you.png is not a picture"),
        (lambda: png_of(picture_of())[:900], r"me & you.png"),
        (huge_png, r"me & you.png has 9000 x 8000, more than 64 million pixels"),
    ],
)
def test_a_bad_upload_is_named_as_its_owner_does_and_gone(content, expected, upload, tmp_path):
    with pytest.raises(InputError, match=expected) as error:
        read_upload(upload(content()))
    assert str(tmp_path) not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_only_uploads_that_nobody_asked_about_for_long_are_deleted(tmp_path):
    old, fresh = tmp_path / "a" / "old.png", tmp_path / "b" / "fresh.png"
    for path in (old, fresh, tmp_path / "partial"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    then = time.time() - LEFT_BEHIND - 5
    os.utime(old, (then, then))
    os.utime(tmp_path / "partial", (then, then))
    delete_left_behind(tmp_path)
    assert sorted(tmp_path.rglob("*")) == [fresh.parent, fresh]


def test_the_private_folder_is_closed_to_others_and_gone_afterwards():
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "left").touch()
    assert not folder.exists()


def a_look(**probabilities: float) -> Look:
    label = max(probabilities, key=probabilities.get)
    face = Prediction(BOX, label, probabilities[label], probabilities)
    return Look(picture_of(), drawn(1), [face], "tiny")


def test_cards_escape_names_and_show_each_class(answers):
    html = shown.faces(a_look(**{"<b>joy</b>": 0.75, "rest": 0.25}))
    assert "<b>joy" not in html
    assert re.findall(r"--v:([\d.]+)", html) == ["0.7500", "0.2500"]
    assert shown.NO_FACE in shown.faces(Look(picture_of(), drawn(1)[:0], [], "tiny"))


def test_the_batch_table_holds_its_csv():
    look = a_look(joy=0.7, rest=0.3)
    empty = ("empty.png", look.crops[:0], [])
    html = shown.batch([("<1>.png", look.crops, look.faces), empty], ["2.png is not a picture"])
    assert "<1>" not in html
    assert "2.png is not a picture" in html
    assert "no face found" in html
    (held,) = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', html)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(held).decode())))
    assert [(row["file"], row["label"], row["joy"]) for row in rows] == [
        ("<1>.png", "joy", "0.700000")
    ]


LIMIT = 300_000


class Serving:
    """A page that is being served."""

    def __init__(self, url: str, port: int, folder: Path):
        self.url, self.port, self.folder = url, port, folder

    def left(self) -> list[Path]:
        return list(self.folder.rglob("*"))


@pytest.fixture(scope="module")
def serving(answers, tmp_path_factory):
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("uploads")
    with listen("127.0.0.1", 0) as taken, quiet_environment(folder):
        from ferplus_keras.inference.app.page import build_page
        from ferplus_keras.inference.app.style import look

        server = make_server(build_page(answers, "whole", 0.3), look(), folder, LIMIT)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield Serving(address(taken), taken.getsockname()[1], folder)
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(serving):
    from gradio_client import Client

    return Client(serving.url, verbose=False, analytics_enabled=False, download_files=False)


def test_the_page_fetches_nothing_from_elsewhere_and_stays_on_this_machine(serving):
    import httpx

    reply = httpx.get(serving.url, trust_env=False)
    assert reply.status_code == 200
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert not re.findall(r"<(?:script|link)[^>]*(?:src|href)=.https?://", reply.text)
    config = httpx.get(f"{serving.url}config", trust_env=False).json()
    assert not config["analytics_enabled"]
    assert not config["run_history"]
    with pytest.raises(ConnectionRefusedError):  # listens on 127.0.0.1 only
        socket.create_connection(("127.0.0.2", serving.port), timeout=5)


def test_pictures_are_answered_and_leave_nothing_on_disk(serving, client, answers, tmp_path):
    from gradio_client import handle_file

    picture = picture_of()
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png_of(picture))
    bad.write_bytes(b"no picture")
    expected = answers.look(picture, "tiny", "whole")
    said = client.predict(handle_file(good), "tiny", "whole", api_name="/picture")
    assert shown.faces(expected) in said
    assert shown.picture(expected) in said
    said = client.predict(handle_file(bad), "tiny", "whole", api_name="/picture")
    assert any("bad.png is not a picture" in str(part) for part in said)
    assert serving.left() == []

    files = [handle_file(good), handle_file(bad)]
    _, table = client.predict(files, "tiny", "whole", api_name="/batch")
    assert "1 picture, 1 face" in table
    assert "bad.png is not a picture" in table
    assert serving.left() == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_cannot_name_other_files(stream, serving, client, tmp_path):
    import httpx

    other = tmp_path / "other.png"
    other.write_bytes(png_of(picture_of()))
    files = {
        component["id"]: component["type"]
        for component in client.config["components"]
        if component["type"] in ("image", "file")
    }
    named = {"path": str(other), "is_stream": stream, "meta": {"_type": "gradio.FileData"}}
    asked = 0
    for event in client.config["dependencies"]:
        if not set(event["inputs"]) & set(files):
            continue
        asked += 1
        data = [
            "whole" if files.get(key) is None else [named] if files[key] == "file" else named
            for key in event["inputs"]
        ]
        data[1] = "tiny"
        session = {"session_hash": f"other{event['id']}{stream}", "fn_index": event["id"]}
        queue = f"{serving.url}gradio_api/queue"
        httpx.post(f"{queue}/join", json={"data": data, **session}, trust_env=False)
        with httpx.stream("GET", f"{queue}/data", params=session, trust_env=False) as reply:
            for line in reply.iter_lines():
                if "process_completed" in line:
                    break
        assert '"success":false' in line.replace(" ", ""), line[:300]
        assert "base64" not in line
    assert asked == 3  # picture, camera, batch
    assert other.is_file()
    assert serving.left() == []


def test_a_request_cannot_make_the_server_fetch(serving, client, monkeypatch):
    from gradio import processing_utils

    fetched = []
    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", fetched.append)
    address = {"path": "http://example.org/a.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="was not uploaded"):
        client.predict(address, "tiny", "whole", api_name="/picture")
    assert fetched == []


def test_uploads_are_not_given_back(serving):
    import httpx

    files = {"files": ("mine.png", png_of(picture_of()))}
    (path,) = httpx.post(f"{serving.url}gradio_api/upload", files=files, trust_env=False).json()
    try:
        assert Path(path).is_file()
        reply = httpx.get(f"{serving.url}gradio_api/file={path}", trust_env=False)
        assert reply.status_code == 404
    finally:
        read_upload(Upload(Path(path), "mine.png"))


def test_large_requests_are_refused(serving):
    import httpx

    def pieces():
        yield from [b"x" * 65536] * 8

    where = f"{serving.url}gradio_api/queue/join"
    for content in (b"x" * (LIMIT + 1), pieces()):  # with its length told, and without
        reply = httpx.post(where, content=content, trust_env=False)
        assert reply.status_code == 413
        assert "larger than" in reply.text


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--checkpoint_path", "no/such.onnx"], 1, r"no model at no/such.onnx"),
        (["--port", "70000"], 2, r"--port: expected 0 to 65535, got 70000"),
        (["--max_upload_mb", "0"], 2, r"--max_upload_mb: expected more than 0, got 0"),
    ],
)
def test_mistakes_are_one_line(words, code, expected, capsys):
    pytest.importorskip("gradio")
    assert main(["app", *words]) == code
    assert re.fullmatch(rf"error: {expected}.*\n", capsys.readouterr().err)


def test_a_taken_port_is_said_before_models_are_opened(tmp_path, capsys):
    pytest.importorskip("gradio")
    damaged = tmp_path / "damaged.onnx"
    damaged.touch()
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert main(["app", "--checkpoint_path", str(damaged), "--port", port]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: cannot listen on 127.0.0.1 port {port}: .*choose another --port.*\n", error
    )


def test_without_gradio_its_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "gradio" else True)
    assert main(["app"]) == 1
    assert "pip install 'ferplus-keras[app]'" in capsys.readouterr().err


def test_ctrl_c_ends_it_and_its_folder(tiny_checkpoint, tmp_path):
    pytest.importorskip("gradio")
    words = ["--checkpoint_path", str(tiny_checkpoint), "--faces", "whole", "--port", "0"]
    temporary, cache = tmp_path / "tmp", tmp_path / "cache"
    temporary.mkdir()
    # A library that sends telemetry would keep its identity in these; CI keeps some silent.
    kept = {"TMPDIR": str(temporary), "XDG_CACHE_HOME": str(cache)}
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ferplus_keras", "app", *words],
        cwd=tmp_path,
        env={**inherited, **kept, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        line = process.stdout.readline()
        assert re.match(r"The page is at http://127\.0\.0\.1:\d+/", line), process.stderr.read()
        assert [path.name[:8] for path in temporary.iterdir()] == ["ferplus_"]
        with socket.create_connection(("127.0.0.1", int(line.split(":")[2].split("/")[0]))) as page:
            page.sendall(b"GET /gradio_api/heartbeat/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert page.recv(12) == b"HTTP/1.1 200"  # an open page, until the end
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(temporary.iterdir()) == []
    assert {path.name for path in cache.glob("*")} <= {"matplotlib"}  # its list of fonts


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(width, browser, serving, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png_of(picture_of()))
    bad.write_bytes(b"no picture")
    page = browser.new_page(viewport={"width": width, "height": 900})
    hosts, faults = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda fault: faults.append(fault))
    page.goto(serving.url)
    files = page.locator("#picture input[type=file]")
    files.set_input_files(bad)
    page.wait_for_selector(".message")
    assert page.inner_text(".message").startswith("bad.png is not a picture")
    files.set_input_files(good)
    page.wait_for_selector(".faces article")
    assert page.locator(".faces li span").all_inner_texts() == list(FERPLUS_CLASSES)
    assert page.locator(".drawn img").evaluate("image => image.naturalWidth") == 960
    page.get_by_role("button", name="Explain").click()
    page.wait_for_selector(".why img")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("tab", name="Batch").click()
    page.locator("#files input[type=file]").set_input_files([good, bad])
    page.wait_for_selector(".batch table")
    with page.expect_download() as saved:
        page.click(".download")
    assert Path(saved.value.path()).read_text().startswith("file,face,x,y,width,height,label,")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert hosts - {""} == {f"127.0.0.1:{serving.port}"}
    assert faults == []
    assert serving.left() == []
