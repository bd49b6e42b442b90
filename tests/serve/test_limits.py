"""What the server refuses, and with which status."""

import asyncio
import base64
import re
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import WebSocketDenialResponse

from ferplus_keras.hardware import cores
from ferplus_keras.serve import guard
from tests.serve.conftest import encoded, two_faces

PNG = {"content-type": "image/png"}


FIELD = b'--a\r\nContent-Disposition: form-data; name="tta"\r\n\r\nflip\r\n--a--\r\n'


@pytest.mark.parametrize(
    ("content", "kind", "query", "status", "detail"),
    [
        (b"", "image/png", "", 422, "the body is empty"),
        (b"no picture", "image/png", "", 415, "not a picture that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png", "", 415, "not a picture that can be read"),
        (b"{}", "application/json", "", 415, "expected multipart/form-data"),
        (b"x", "", "", 415, "expected multipart/form-data"),
        (b"x", "multipart/form-data", "", 422, "cannot read the form: Missing boundary"),
        (b"x", "multipart/form-data; boundary=a", "", 422, "cannot read the form"),
        (b"--a--\r\n", "multipart/form-data; boundary=a", "", 422, "the form holds no file"),
        (FIELD, "multipart/form-data; boundary=a", "", 422, "tta belongs into the address: ?tta=…"),
        ("cut", "image/png", "", 422, "the picture is damaged"),
        ("whole", "image/png", "?detector=wole", 422, "detector: Input should be 'halves'"),
        ("whole", "image/png", "?model=other", 422, "model: Input should be 'bundled'"),
        ("whole", "image/png", "?tta=flop", 422, "tta: "),
        ("whole", "image/png", "?explain=saliency", 422, "explain: "),
        ("whole", "image/png", "?explain_class=joy", 422, "explain_class: "),
        ("whole", "image/png", "?detectr=halves", 422, "detectr: no setting of this route"),
    ],
)
def test_what_cannot_be_used(content, kind, query, status, detail, client):
    content = {"whole": encoded(two_faces()), "cut": encoded(two_faces())[:900]}.get(
        content, content
    )
    reply = client.post(f"/v1/predict{query}", content=content, headers={"content-type": kind})
    assert reply.status_code == status
    assert reply.json()["detail"].startswith(detail)


def test_too_much_at_once(serve):
    picture = encoded(two_faces())
    small = serve(request_bytes=len(picture) - 1)
    assert small.post("/v1/predict", content=picture, headers=PNG).status_code == 413
    pieces = (picture[begin : begin + 100] for begin in range(0, len(picture), 100))
    assert small.post("/v1/predict", content=pieces, headers=PNG).status_code == 413
    few = serve(files=2)
    reply = few.post("/v1/predict", files=[("files", picture)] * 3)
    assert reply.status_code == 413
    assert "Maximum number of files is 2" in reply.json()["detail"]
    assert few.post("/v1/predict", files=[("files", picture)] * 2).status_code == 200
    full = serve(held_bytes=len(picture) - 1)
    assert full.post("/v1/predict", content=picture, headers=PNG).status_code == 503
    assert full.guard.held == small.guard.held == few.guard.held == 0


def test_pixels_are_counted_before_a_picture_is_decoded(serve):
    huge = encoded(np.zeros((3000, 3000), np.uint8))
    assert len(huge) < 30_000
    reply = serve(pixels=8_999_999).post("/v1/predict", content=huge, headers=PNG)
    assert reply.status_code == 413
    assert reply.json()["detail"] == "expected at most 9 million pixels, got 3000 x 3000"
    cut = huge[:200]  # decoding it would fail
    assert serve(pixels=100).post("/v1/predict", content=cut, headers=PNG).status_code == 413


@pytest.fixture
def now(monkeypatch):
    """The time in seconds that the guard is told, in a list of one."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(guard, "time", clock)
    return now


def test_requests_per_second_are_limited_per_client(serve, now):
    client = serve(rate=3)
    statuses = [
        client.post("/v1/predict-faces", content=encoded(two_faces()), headers=PNG).status_code
        for _ in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]
    assert client.get("/v1/models").status_code == 200
    refused = client.post("/v1/predict", content=b"x", headers=PNG)
    assert refused.headers["retry-after"] == "1"


def test_refused_requests_do_not_lengthen_the_wait(serve, now):
    client = serve(rate=1)

    def ask():
        return client.post("/v1/predict", content=b"x", headers=PNG).status_code

    assert [ask() for _ in range(5)][1:] == [429] * 4
    now[0] = 1.01
    assert ask() != 429


def test_requests_at_a_time_are_limited(serve, engine, monkeypatch):
    client, entered, leave = serve(concurrent=1), threading.Event(), threading.Event()

    async def find(*_):
        entered.set()
        await asyncio.to_thread(leave.wait)
        return (1, 1), [], np.empty((0, 48, 48), np.uint8)

    monkeypatch.setattr(engine, "find", find)
    statuses = []
    first = threading.Thread(
        target=lambda: statuses.append(
            client.post("/v1/predict", content=b"x", headers=PNG).status_code
        )
    )
    first.start()
    assert entered.wait(60)
    assert client.post("/v1/predict", content=b"x", headers=PNG).status_code == 503
    assert client.get("/healthz").status_code == 200
    leave.set()
    first.join(60)
    assert statuses == [200]
    assert client.guard.active == 0


@pytest.mark.parametrize("ending", ["client", "server"])
def test_nobody_works_on_for_who_has_gone_or_is_ended(ending, serve, engine, monkeypatch):
    ended, sent = [], []

    async def find(*_):
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(time.monotonic())

    async def ask():
        events = [{"type": "http.request", "body": b"x"}]

        async def receive():
            if not events:
                await asyncio.sleep(0.1 if ending == "client" else 30)
            return events.pop() if events else {"type": "http.disconnect"}

        async def send(event):
            sent.append(event)

        headers = [(b"host", b"localhost"), (b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b""}
        task = asyncio.create_task(client.guard(scope | {"headers": headers}, receive, send))
        await asyncio.sleep(0.3)
        if ending == "server":
            task.cancel()
        await task

    monkeypatch.setattr(engine, "find", find)
    client, begun = serve(), time.monotonic()
    asyncio.run(ask())
    assert len(ended) == 1
    assert ended[0] - begun < 20
    assert sent[0]["status"] == {"client": 400, "server": 503}[ending]
    assert client.guard.active == 0


def test_pictures_of_one_request_leave_room_for_others(serve, engine, monkeypatch):
    now, most = [], []

    async def find(*_):
        now.append(None)
        most.append(len(now))
        await asyncio.sleep(0.01)
        now.pop()
        return (1, 1), [], np.empty((0, 48, 48), np.uint8)

    monkeypatch.setattr(engine, "find", find)
    files = [("files", encoded(two_faces()))] * 40
    assert serve().post("/v1/predict", files=files).status_code == 200
    assert len(most) == 40
    assert max(most) == cores()


def test_a_wrong_setting_of_a_camera_is_named(client):
    with pytest.raises(WebSocketDenialResponse) as refused:
        client.websocket_connect("ws://localhost/v1/stream?detector=nope").__enter__()
    assert refused.value.status_code == 422
    assert refused.value.json()["detail"].startswith("detector: Input should be")


def test_an_answer_may_take_so_long(serve, engine, monkeypatch):
    monkeypatch.setattr(engine, "find", lambda *_: asyncio.sleep(30))
    reply = serve(answer_seconds=0.05).post("/v1/predict", content=b"x", headers=PNG)
    assert reply.status_code == 503
    assert "took too long" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:7860", 200),
        ("192.168.0.7", 200),
        ("faces.example.org", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_only_own_names_are_answered(host, status, serve):
    for given in ("faces.example.org", "Faces.example.org:8443"):
        client = serve(hosts=["localhost", given])
        assert client.get("/", headers={"host": host}).status_code == status


def test_a_server_on_a_port_is_not_open_to_pages_of_the_host_itself(serve):
    client = serve(hosts=["localhost", "faces.example.org:8443"])
    for origin in ("http://localhost", "https://faces.example.org"):
        headers = {"host": "localhost:7860", "origin": origin}
        assert client.get("/v1/models", headers=headers).status_code == 403
    for origin in ("http://localhost:7860", "https://faces.example.org:8443"):
        headers = {"host": "localhost:7860", "origin": origin}
        assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "https://localhost"}, 200),  # a proxy speaks HTTPS
        ({"origin": "https://faces.example.org"}, 200),  # it does not pass its own name on
        ({"origin": "https://faces.example.org:8443"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_pages_of_others_are_not_answered(headers, status, serve):
    client = serve(hosts=["localhost", "faces.example.org"])
    content = encoded(two_faces())
    reply = client.post("/v1/predict", content=content, headers={**PNG, **headers})
    assert reply.status_code == status
    assert "access-control-allow-origin" not in reply.headers
    if "origin" in headers and status == 403:
        with pytest.raises(WebSocketDenialResponse) as refused:
            client.websocket_connect("ws://localhost/v1/stream", headers=headers).__enter__()
        assert refused.value.status_code == 403


def test_a_token_opens_the_interface(serve):
    client = serve(token="s3cret+/")
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    for path in ("/v1/models", "/metrics", "/v1/none"):
        assert client.get(path).status_code == 401
    document = client.get("/openapi.json").json()
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"HTTPBearer": []}]
    wrong = client.get("/v1/models", headers={"authorization": "Bearer s3cret"})
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"] == "Bearer"
    right = {"authorization": "Bearer s3cret+/"}
    assert client.get("/v1/models", headers=right).status_code == 200
    with pytest.raises(WebSocketDenialResponse) as refused:
        client.websocket_connect("ws://localhost/v1/stream").__enter__()
    assert refused.value.status_code == 401
    coded = base64.urlsafe_b64encode(b"s3cret+/").decode().rstrip("=")
    protocols = ["ferplus", f"bearer.{coded}"]
    with client.websocket_connect("ws://localhost/v1/stream", subprotocols=protocols) as camera:
        assert camera.accepted_subprotocol == "ferplus"


def test_cameras_are_limited(serve):
    client = serve(streams=1, idle_seconds=0.2)
    with client.websocket_connect("ws://localhost/v1/stream") as camera:
        with pytest.raises(WebSocketDenialResponse) as refused:
            client.websocket_connect("ws://localhost/v1/stream").__enter__()
        assert refused.value.status_code == 503
        assert camera.receive()["code"] == 1001  # sent nothing
    assert client.guard.streams == 0


def test_a_defect_is_said_without_what_it_was_about(serve, engine, monkeypatch, capsys):
    async def fail(*_):
        raise RuntimeError("holiday.png")

    monkeypatch.setattr(engine, "find", fail)
    assert serve().post("/v1/predict", content=b"x", headers=PNG).status_code == 500
    with serve().websocket_connect("ws://localhost/v1/stream") as camera:
        camera.send_bytes(b"x")
        assert camera.receive()["code"] == 1011
    said = r"internal error: RuntimeError at \S+test_limits.py:\d+\n"
    assert re.fullmatch(2 * said, capsys.readouterr().err)
