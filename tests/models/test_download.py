import errno
import hashlib
import io
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest

from ferplus_keras.errors import InputError
from ferplus_keras.models import download as download_module
from ferplus_keras.models.hdf5 import hdf5_fault

PAGE = b"<!doctype html><title>Sign in to this network</title>" * 20


def hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as group:
        group["weights"] = np.random.default_rng(0).random(40_000)
    return file.getvalue()


BODY = hdf5()
download = partial(download_module.download, fault=hdf5_fault)


class Server(ThreadingHTTPServer):
    """Serves `body`; what goes wrong is set by the attributes.

    Attributes:
        send: bytes that a connection sends before it is cut.
        length: whether the answer says how long it is.
        status: HTTP status.
        stall: seconds before the body.
        requests: number of requests that came.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.kind, self.status = BODY, "application/octet-stream", 200
        self.send, self.length, self.requests = None, True, 0
        self.stall = threading.Event()
        self.stall.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/faces.h5"

    def handle_error(self, *_):
        """Stay quiet about connections that a test cut."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests += 1
        if server.status != 200:
            self.send_error(server.status)
            return
        self.send_response(200)
        self.send_header("Content-Type", server.kind)
        if server.length:
            self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        server.stall.wait(10)
        self.wfile.write(server.body[: server.send])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "cache" / "faces.h5"


def refusal(url, destination, **settings) -> str:
    with pytest.raises(InputError) as caught:
        download(url, destination, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert url in message
    assert f"put the file into {destination.parent} by hand" in message
    assert not destination.exists()
    return message


def left(destination) -> set[str]:
    return {path.name for path in destination.parent.iterdir()}


def test_whole_file(server, destination):
    assert download(server.url, destination) == destination
    assert destination.read_bytes() == BODY
    assert left(destination) == {"faces.h5"}
    download(server.url, destination)
    assert server.requests == 1


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_published_digest(server, destination, kind):
    expected = hashlib.new(kind, BODY).hexdigest()
    wrong = expected[::-1]
    said = refusal(server.url, destination, digest=wrong)
    assert f"its {kind.upper()} is {expected} instead of the published {wrong}" in said
    assert left(destination) == set()
    download(server.url, destination, digest=expected)
    assert destination.read_bytes() == BODY


def test_the_digest_is_reported(server, destination, capsys):
    download(server.url, destination)
    captured = capsys.readouterr()
    assert captured.out == ""
    digest = hashlib.sha256(BODY).hexdigest()
    assert captured.err == f"downloaded {server.url}, SHA-256 {digest}\n"


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("sent", [70_000, 0])
def test_file_cut_short_is_not_taken_for_whole(server, destination, sent, length):
    server.send, server.length = sent, length
    said = refusal(server.url, destination)
    if length:
        assert f"{sent} out of {len(BODY)} bytes" in said
    else:
        assert ("cut short" if sent else "not an HDF5 file but empty") in said
    assert left(destination) == set()
    server.send = None
    download(server.url, destination)
    assert destination.read_bytes() == BODY


def test_web_page_is_refused_and_not_kept(server, destination):
    server.body, server.kind = PAGE, "text/html"
    assert "not an HDF5 file but a web page" in refusal(server.url, destination)
    assert left(destination) == set()


@pytest.mark.parametrize("status", [404, 503])
def test_refusal_of_the_server(server, destination, status):
    server.status = status
    assert f"HTTP {status}" in refusal(server.url, destination)
    assert server.requests == 1


def test_an_answer_that_is_not_http(server, destination):
    server.status = 99
    assert "the connection broke off: HTTP/1.0 99" in refusal(server.url, destination)


def test_nothing_listening(destination):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/faces.h5"
    assert "refused" in refusal(url, destination)


def test_server_that_falls_silent(server, destination):
    server.stall.clear()
    assert "timed out" in refusal(server.url, destination, timeout=0.2)
    assert left(destination) == set()
    server.stall.set()
    assert socket.getdefaulttimeout() is None


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write to .*deep: .*KERAS_HOME$"):
        download(server.url, tmp_path / "cache" / "deep" / "faces.h5")


def test_full_disk(server, destination, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_module.os, "replace", full)
    assert "cannot write: [Errno 28] No space left" in refusal(server.url, destination)
    assert left(destination) == set()


def test_several_downloads_at_once_leave_one_whole_file(server, destination):
    threads = [threading.Thread(target=download, args=(server.url, destination)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert destination.read_bytes() == BODY
    assert left(destination) == {"faces.h5"}
