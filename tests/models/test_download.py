import hashlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ferplus_keras.errors import InputError
from ferplus_keras.models.download import download

BODY = b"\x89HDF\r\n\x1a\n" + np.random.default_rng(0).bytes(300_000)
OTHER = b"\x89HDF\r\n\x1a\n" + np.random.default_rng(1).bytes(250_000)
PAGE = b"<!doctype html><title>Sign in to this network</title>" * 20


class Server(ThreadingHTTPServer):
    """Serves `body`; what goes wrong is set by the attributes.

    Attributes:
        send: bytes a connection sends before it is cut, by connection; the last one is repeated.
        status: HTTP status, by connection; 200 when used up.
        ranges: whether Range is honoured.
        etag: sent with the body, and compared with If-Range.
        requests: headers of the requests that came.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.kind, self.etag, self.ranges = BODY, "application/octet-stream", '"1"', True
        self.send, self.status, self.requests = [len(BODY)], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/faces.h5"

    def handle_error(self, *_):
        """Stay quiet about connections that a test cut."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        status = server.status.pop(0) if server.status else 200
        if status != 200:
            self.send_error(status)
            return
        send = server.send.pop(0) if len(server.send) > 1 else server.send[0]
        start, total = 0, len(server.body)
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.ranges and unchanged:
            start = int(wanted[1])
            if start >= total:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(total - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(server.body[start : start + send])

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


def fetch(url, destination):
    return download(url, destination, progress=False, retry_wait=0.001)


def refusal(url, destination) -> str:
    with pytest.raises(InputError) as caught:
        fetch(url, destination)
    message = str(caught.value)
    assert "\n" not in message
    assert url in message
    assert str(destination.parent) in message
    assert not destination.exists()
    return message


def partial(destination):
    return destination.with_name("faces.h5.partial")


def left(destination) -> set[str]:
    return {path.name for path in destination.parent.iterdir()} - {"faces.h5.lock"}


def test_whole_file(server, destination):
    assert fetch(server.url, destination) == destination
    assert destination.read_bytes() == BODY
    assert left(destination) == {"faces.h5"}
    fetch(server.url, destination)
    assert len(server.requests) == 1


def test_published_md5(server, destination):
    with pytest.raises(InputError, match=r"MD5 is .* instead of the published 0123") as caught:
        download(server.url, destination, md5="0123", progress=False)
    assert "by hand" in str(caught.value)
    assert left(destination) == set()
    download(server.url, destination, md5=hashlib.md5(BODY).hexdigest(), progress=False)
    assert destination.read_bytes() == BODY


def test_progress_goes_to_standard_error(server, destination, capsys):
    download(server.url, destination)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err


def test_cut_connections_are_resumed(server, destination):
    server.send = [70_000]  # five connections, more than the attempts that may bring nothing
    fetch(server.url, destination)
    assert destination.read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == [
        None,
        "bytes=70000-",
        "bytes=140000-",
        "bytes=210000-",
        "bytes=280000-",
    ]
    assert {request.get("If-Range") for request in server.requests[1:]} == {'"1"'}


def test_cut_connection_starts_over_where_ranges_are_ignored(server, destination):
    server.ranges = False
    server.send = [70_000, len(BODY)]
    fetch(server.url, destination)
    assert destination.read_bytes() == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_file_that_changed_meanwhile_is_not_mixed(server, destination, etag):
    server.etag, server.send = etag, [70_000]
    server.status = [200, 404]
    refusal(server.url, destination)
    assert partial(destination).read_bytes() == BODY[:70_000]
    server.body, server.send = OTHER, [len(OTHER)]
    server.etag = etag and etag.replace("1", "2")
    fetch(server.url, destination)
    assert destination.read_bytes() == OTHER


def test_partial_file_of_unknown_origin_is_not_resumed(server, destination):
    destination.parent.mkdir()
    partial(destination).write_bytes(OTHER[:1000])
    fetch(server.url, destination)
    assert destination.read_bytes() == BODY


def test_partial_file_longer_than_the_servers_starts_over(server, destination):
    server.send, server.status = [70_000], [200, 404]
    refusal(server.url, destination)
    partial(destination).write_bytes(BODY + b"x")
    server.send = [len(BODY)]
    fetch(server.url, destination)
    assert destination.read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
def test_file_cut_short_forever_stays_for_the_next_start(server, destination, ranges):
    server.ranges, server.send = ranges, [70_000, 0]
    said = refusal(server.url, destination)
    assert ("70,000 of 300,008" if ranges else "0 of 300,008") in said
    assert left(destination) == {"faces.h5.partial", "faces.h5.partial.origin"}
    assert len(server.requests) == 5  # the one that brought something, four that did not
    server.send = [len(BODY)]
    fetch(server.url, destination)
    assert destination.read_bytes() == BODY
    assert server.requests[-1].get("Range") == (f"bytes={70_000}-" if ranges else None)


def test_web_page_is_refused_and_not_kept(server, destination):
    server.body, server.kind = PAGE, "text/html"
    assert "text/html" in refusal(server.url, destination)
    assert left(destination) == set()
    assert len(server.requests) == 1


def test_web_page_leaves_what_came_before(server, destination):
    server.send, server.status = [70_000], [200, 404]
    refusal(server.url, destination)
    server.body, server.kind, server.etag = PAGE, "text/html", None
    refusal(server.url, destination)
    assert partial(destination).read_bytes() == BODY[:70_000]


def test_empty_answer_is_refused(server, destination):
    server.body = b""
    assert "after 0 of 0 bytes" in refusal(server.url, destination)


def test_missing_file_is_asked_for_once(server, destination):
    server.status = [404] * 9
    assert "404" in refusal(server.url, destination)
    assert len(server.requests) == 1


def test_busy_server_is_asked_again(server, destination):
    server.status = [503, 429]
    fetch(server.url, destination)
    assert destination.read_bytes() == BODY


def test_nothing_listening(destination):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/faces.h5"
    assert "refused" in refusal(url, destination)


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert "cannot write" in refusal(server.url, tmp_path / "cache" / "deep" / "faces.h5")


def test_full_disk(server, destination):
    destination.parent.mkdir()
    partial(destination).symlink_to("/dev/full")
    assert "No space left" in refusal(server.url, destination)


def test_two_downloads_at_once_fetch_once(server, destination):
    threads = [threading.Thread(target=fetch, args=(server.url, destination)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert destination.read_bytes() == BODY
    assert len(server.requests) == 1
