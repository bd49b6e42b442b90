"""A server on a port: its document, slow clients, traces, the command and a browser."""

import contextlib
import dataclasses
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

import httpx
import numpy as np
import pytest

from ferplus_keras import extras
from ferplus_keras.cli import main
from ferplus_keras.errors import InputError
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.serve.command import find_models, listen, make_server, url
from ferplus_keras.serve.guard import Guard, Limits, Metrics
from ferplus_keras.serve.server import make_app
from tests.conftest import REPOSITORY
from tests.serve.conftest import encoded, two_faces

PNG = {"content-type": "image/png"}
LIMITS = dataclasses.replace(Limits(), grace=0.6, request_bytes=4_000_000)


@pytest.fixture(scope="module")
def address(engine):
    """Return the address of a server that runs in a thread."""
    metrics = Metrics()
    app = Guard(make_app(engine, LIMITS, metrics), LIMITS, (), None, metrics)
    with listen("127.0.0.1", 0) as taken:
        server = make_server(app, LIMITS)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        yield url(taken)
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        yield client


@pytest.fixture
def connect(address):
    """Return a function that connects and sends some bytes."""
    place = urlsplit(address)

    def make(content: bytes) -> socket.socket:
        connection = socket.create_connection((place.hostname, place.port), timeout=60)
        connection.sendall(content)
        return connection

    return make


def test_only_what_the_document_names_exists(client):
    from ferplus_keras.serve.server import FILES

    paths = client.get("/openapi.json").json()["paths"]
    assert {*FILES, "/v1/predict", "/v1/predict-faces", "/v1/models"} <= set(paths)
    for path, operations in paths.items():
        for method in ("get", "post", "put", "delete"):
            status = client.request(method, path).status_code
            assert (status == 405) == (method not in operations), (method, path)
    others = (
        "/redoc",
        "/v1",
        "/v1/stream",
        "/docs/",
        "/docs/oauth2-redirect",
        "/static",
        "/%2e%2e/",
    )
    for path in others:
        assert client.get(path).status_code == 404, path


def test_head_is_answered_as_get_without_the_body(client):
    for path in ("/", "/healthz", "/v1/models", "/v1/predict", "/nowhere"):
        asked, head = client.get(path), client.head(path)
        assert head.status_code == asked.status_code
        assert head.headers["content-length"] == asked.headers["content-length"]
        assert not head.content


def test_the_document_holds_for_requests_made_from_it(address, tmp_path):
    command = Path(sys.executable).with_name("schemathesis")
    if not command.is_file():
        pytest.skip("schemathesis is not installed")
    words = ["run", f"{address}openapi.json", "--max-examples", "4", "--no-color", "--seed", "5"]
    command = [command, "--config-file", REPOSITORY / "schemathesis.toml"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_page_and_its_documentation_load_nothing_from_elsewhere(client):
    for path in ("/", "/docs"):
        reply = client.get(path)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        for found in re.findall(r"""(?:src|href)=["']?([^"'> ]+)""", reply.text):
            assert not urlsplit(found).netloc
            if not found.startswith("#"):
                assert client.get(f"/{found.removeprefix('./')}").status_code == 200, found


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: 127"])
def test_a_request_that_does_not_come_is_not_waited_for(begun, connect):
    began = time.monotonic()
    with connect(begun) as slow:
        assert slow.recv(100) == b""
    assert 0.4 < time.monotonic() - began < 30


def test_slow_bodies_end_and_take_no_turn_from_others(connect, client):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    slow = [connect(head + b"Content-Length: 999\r\n\r\nxx") for _ in range(300)]
    reply = client.post("/v1/predict", content=encoded(two_faces()), headers=PNG)
    assert reply.status_code == 200
    for each in slow:
        with each:
            assert each.recv(12) == b"HTTP/1.1 408"


def test_a_camera_learns_why_it_is_refused(connect):
    asked = (
        b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with connect(asked) as refused:
        assert refused.recv(12) == b"HTTP/1.1 403"
    with connect(asked.replace(b"evil.example", b"localhost")) as accepted:
        assert accepted.recv(12) == b"HTTP/1.1 101"


def test_a_large_upload_learns_why_it_is_refused(client):
    def pieces():
        for _ in range(500):
            yield b"x" * 1_000_000

    length = {"content-length": "500000000"}
    for more in (length, {}):  # without a length it is counted as it arrives
        reply = client.post("/v1/predict", content=pieces(), headers={**PNG, **more})
        assert reply.status_code == 413
    assert "ferplus_held_bytes 0.0" in client.get("/metrics").text


def test_only_this_machine_is_listened_to(address):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", urlsplit(address).port), timeout=5)


def test_nothing_is_written_and_nobody_is_called(client, capfd):
    rng = np.random.default_rng(3)
    large = encoded(rng.integers(0, 256, (900, 1200, 3), np.uint8))
    assert len(large) > 3_000_000  # a form's parser would lay it on the disk
    here, watching, seen = threading.get_ident(), True, []

    def watch(event: str, arguments: tuple) -> None:
        if watching and threading.get_ident() != here:
            if event in (
                "socket.connect",
                "socket.getaddrinfo",
                "subprocess.Popen",
                "tempfile.mkstemp",
            ):
                seen.append((event, arguments))
            if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                seen.append((event, arguments))

    sys.addaudithook(watch)
    query = "detector=whole&explain=occlusion&crops=true"
    for path in ("predict", "predict-faces"):
        asked = query if path == "predict" else query.partition("&")[2]
        files = {"files": ("my secret.png", large)}
        assert client.post(f"/v1/{path}?{asked}", files=files).status_code == 200
        assert client.post(f"/v1/{path}?{asked}", files={"files": ("x", b"no")}).status_code == 415
    client.get("/docs")
    watching = False
    assert seen == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--checkpoint_path", "no/such.onnx"], 1, r"no checkpoint at .*no/such.onnx"),
        (["--faces", "yunet", "--faces_weights", "no.onnx"], 1, r".*no\.onnx"),
        (["--port", "70000"], 2, r"--port: expected a whole number .* at most 65535, got '70000'"),
        (["--max_upload_mb", "0"], 2, r"--max_upload_mb: expected a number above 0, got '0'"),
        (["--max_rate", "nan"], 2, r"--max_rate: expected a number above 0, got 'nan'"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "app"])
def test_mistakes_are_one_line(command, words, code, expected, capsys):
    assert main([command, *words]) == code
    assert re.fullmatch(rf"error: {expected}.*\n", capsys.readouterr().err)


def test_a_token_must_fit_a_header(monkeypatch, capsys):
    monkeypatch.setenv("FERPLUS_TOKEN", "two words")
    assert main(["serve"]) == 2
    assert "FERPLUS_TOKEN: expected ASCII" in capsys.readouterr().err


def test_a_taken_port_is_said_before_models_are_opened(tmp_path, capsys):
    damaged = tmp_path / "damaged.onnx"
    damaged.touch()
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        words = ["--checkpoint_path", str(damaged), "--port", port, "--faces", "whole"]
        assert main(["serve", *words]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: cannot listen on 127.0.0.1 port {port}: .*choose another --port.*\n", error
    )


@pytest.mark.parametrize("host", [".local", "a..b", "x" * 70])
def test_a_host_that_cannot_be_is_one_line(host):
    with pytest.raises(InputError, match=f"cannot listen on {re.escape(host)} port 0: .*label"):
        listen(host, 0)


def test_models_are_called_by_their_folder_and_file(tmp_path):
    paths = [
        tmp_path / name for name in ("one/model.onnx", "two/model.onnx", "other/one/model.onnx")
    ]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    hub = "hf://user/name"
    names = ("fast_fer", "dlib_resnet")
    bundled = {f"{name} (bundled)": BUNDLED.with_name(f"{name}.onnx") for name in names}
    assert list(find_models([])) == list(bundled)
    named = {"one/model.onnx": paths[0], "two/model.onnx": paths[1], "user/name": hub}
    assert find_models([*paths[:2], hub]) == named | bundled
    assert next(iter(find_models([*paths[:1], "hf://a/b@main"][1:]))) == "a/b@main"
    assert find_models(paths[::2]) == {str(path): path for path in paths[::2]} | bundled


def test_without_fastapi_its_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "fastapi" else True)
    assert main(["serve"]) == 1
    assert "pip install 'ferplus-keras[serve]'" in capsys.readouterr().err


@contextlib.contextmanager
def started(folder: Path, port: int = 0):
    """Yield a server process, whose temporary files go into an empty `folder`, and its address."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    kept = {"TMPDIR": str(temporary), "XDG_CACHE_HOME": str(folder / "cache"), "HOME": "/none"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ferplus_keras", "serve", "--faces", "whole", "--port", str(port)],
        cwd=folder,
        env={**os.environ, **kept, "PYTHONPATH": str(REPOSITORY), "FERPLUS_TOKEN": "open"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        line = process.stdout.readline()
        place = re.match(r"The page is at (http://127\.0\.0\.1:\d+/)", line)
        assert place, process.stderr.read()
        yield process, place[1]
    finally:
        process.kill()
        process.communicate()
    assert list(temporary.iterdir()) == []
    assert not (folder / "cache").exists()


def test_killed_it_leaves_nothing_and_starts_again(tmp_path):
    for _ in range(2):
        with started(tmp_path) as (process, address):
            port = urlsplit(address).port
            head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer open\r\n"
            with socket.create_connection(("127.0.0.1", port)) as begun:
                kind = b"Content-Type: image/png\r\nContent-Length: 9000000\r\n\r\n"
                begun.sendall(head + kind + b"x" * 3_000_000)
                process.send_signal(signal.SIGKILL)
                process.wait(60)
    with started(tmp_path, port) as (_, address):
        assert urlsplit(address).port == port
        assert httpx.get(f"{address}healthz", trust_env=False).status_code == 200


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path):
    with started(tmp_path) as (process, address):
        files = {"files": ("my secret.png", encoded(two_faces()))}
        token = {"authorization": "Bearer open"}
        asked = f"{address}v1/predict-faces"
        assert httpx.post(asked, files=files, trust_env=False).status_code == 401
        assert httpx.post(asked, files=files, headers=token, trust_env=False).status_code == 200
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    said = errors.split("\n", 1)
    assert said[0].startswith("serving on ")
    assert (output, said[1].strip()) == ("", "interrupted")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        camera = [f"--use-fake-{what}-for-media-stream" for what in ("ui", "device")]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Return a function that opens the page; nothing may be loaded from elsewhere or fail."""
    hosts, faults, contexts = set(), [], []

    def make(width: int = 1280, **kwargs):
        context = browser.new_context(viewport={"width": width, "height": 900}, **kwargs)
        context.set_default_timeout(120_000)  # a busy machine, or one that swaps
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda fault: faults.append(fault))
        page.goto(address)
        return page

    yield make
    for context in contexts:
        context.close()
    assert hosts - {""} == {urlsplit(address).netloc}
    assert faults == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_in_a_browser(width, scheme, open_page, tmp_path):
    good, bad = tmp_path / "=good.png", tmp_path / "bad.png"
    good.write_bytes(encoded(two_faces()))
    bad.write_bytes(b"no picture")
    page = open_page(width, color_scheme=scheme)
    page.set_input_files("#files", [good, bad])
    page.wait_for_selector("#list .fault")
    page.wait_for_selector(".card .crop")
    assert page.locator(".card .number").all_inner_texts() == ["1", "2"]
    assert page.locator("#boxes .tag text").all_text_contents() == ["1", "2"]
    page.hover(".card >> nth=1")
    assert page.locator("#boxes .on").get_attribute("data-number") == "2"
    page.focus("#clear-button")
    page.keyboard.press("Tab")
    assert page.locator(".card.on").get_attribute("data-number") == "1"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => document.activeElement.dataset.number") == "2"
    page.click(".card >> nth=1 >> text=Why?")
    page.wait_for_selector(".card .map[src^=data]")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    with page.expect_download() as saved:
        page.click("#csv-button")
    header, *rows = Path(saved.value.path()).read_text().splitlines()
    assert header.startswith("file,face,x,y,width,height,label,neutral,")
    assert [row.split(",")[:6] for row in rows] == [
        ["./=good.png", "0", "0.0", "0.0", "48.0", "48.0"],
        ["./=good.png", "1", "48.0", "0.0", "48.0", "48.0"],
    ]
    page.click("text=bad.png")
    assert "This picture cannot be used" in page.inner_text("#cards")


def test_the_list_of_pictures_stays_while_more_are_added_in_a_browser(open_page, tmp_path):
    plain, good = tmp_path / "plain.png", tmp_path / "good.png"
    plain.write_bytes(encoded(np.zeros((48, 96, 3), np.uint8)))
    good.write_bytes(encoded(two_faces()))
    page = open_page()
    page.set_input_files("#files", [plain, good])
    page.wait_for_selector("#list li:nth-child(2) em")
    assert page.is_visible("#csv-button")  # although the picture that is shown has no face
    page.focus("#list li:first-child button")
    page.set_input_files("#files", [good])
    page.wait_for_selector("#list li:nth-child(3) em")
    assert page.evaluate("() => $('list').firstChild.contains(document.activeElement)")
    assert page.locator("#list [aria-current=true]").inner_text().startswith("good.png")


def test_paste_example_and_settings_in_a_browser(open_page):
    page = open_page()
    page.click("text=Try this example")
    page.wait_for_selector(".card .crop")
    page.click("text=Settings")
    page.select_option("#detector", "whole")
    page.wait_for_selector("#title >> text=1 face")
    page.keyboard.press("Escape")
    page.click("text=Clear")
    assert page.locator("#picture[src], #boxes g, .card").count() == 0
    page.evaluate(
        """async () => {
            const blob = await (await fetch("example.jpg")).blob();
            const held = new DataTransfer();
            held.items.add(new File([blob], "pasted.jpg", { type: "image/jpeg" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held }));
        }"""
    )
    page.wait_for_selector("#title >> text=pasted.jpg")
    page.wait_for_selector(".card .crop")


def test_a_late_answer_to_earlier_settings_is_dropped_in_a_browser(open_page):
    page = open_page()
    late = []
    page.route("**/v1/predict?*detector=halves*", lambda route: late.append(route))
    page.click("text=Try this example")
    page.wait_for_function("() => state.items[0]?.asked")
    page.click("text=Settings")
    page.select_option("#detector", "whole")
    page.wait_for_selector("#title >> text=1 face")
    with page.expect_response("**/v1/predict?*detector=halves*") as answered:
        late[0].continue_()
    answered.value.finished()
    page.wait_for_function("() => running === 0")
    assert page.inner_text("#title").endswith("1 face")
    assert page.locator(".card .number").all_inner_texts() == ["1"]


def test_a_wrong_token_is_named_in_a_browser(open_page):
    page = open_page()
    page.route("**/v1/models", lambda route: route.fulfill(status=401))
    page.evaluate("() => void ask('v1/models')")
    page.wait_for_selector("#token >> text=This server asks for a token.")
    page.fill("#token-value", "wrong")
    page.click("text=Continue")
    page.wait_for_selector("#token >> text=The server does not know this token.")


def test_the_camera_in_a_browser(open_page):
    page = open_page(permissions=["camera"])
    page.evaluate("""() => {
      tracks = [];
      const plain = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (asked) => {
        const media = await plain(asked);
        tracks.push(...media.getTracks());
        return media;
      };
    }""")
    page.dblclick("text=Use the camera")
    page.wait_for_selector(".card[data-number='2']")
    said = "() => { spoken = 0; new MutationObserver((all) => (spoken += all.length)).observe("
    page.evaluate(said + "$('title'), { childList: true }); }")
    page.click(".card[data-number='2'] >> text=All classes")
    page.evaluate("() => { seen = ((plain) => (answer) => (frames += 1, plain(answer)))(seen) }")
    page.evaluate("() => { frames = 0; }")
    page.wait_for_function("() => frames >= 3")
    assert page.evaluate("() => document.activeElement.textContent") == "All classes"
    assert page.locator(".card[data-number='2'] .more[open]").count() == 1
    page.focus("#boxes g[data-number='1']")
    page.evaluate("() => { frames = 0; }")
    page.wait_for_function("() => frames >= 3")
    assert page.locator("#boxes .on:focus").get_attribute("data-number") == "1"
    assert page.evaluate("() => spoken") == 0  # a screen reader has nothing new to say
    assert page.evaluate("() => tracks.map((track) => track.readyState)") == ["ended", "live"]
    page.click("#snap-button")
    page.wait_for_selector(".card[data-number='2'] >> text=Why?")  # hidden while the camera runs
    assert page.locator("#title").text_content().startswith("camera ")
    assert page.evaluate("() => tracks.map((track) => track.readyState)") == ["ended", "ended"]


def test_the_documentation_in_a_browser(open_page, address):
    page = open_page()
    page.goto(f"{address}docs")
    page.wait_for_selector('#swagger [data-path="/v1/predict-faces"]')
