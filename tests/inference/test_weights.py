"""YuNet's file: found, or fetched once and checked."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ferplus_keras.cli import main
from ferplus_keras.errors import InputError
from ferplus_keras.inference import detectors
from ferplus_keras.inference.detectors import YUNET, find_yunet

CONTENT = b"YuNet" * 1000


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serve `server.content` as YuNet's file; `server.asked` counts requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked += 1
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(server.content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.status, server.asked = CONTENT, 200, 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("FERPLUS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(detectors, "YUNET_URL", f"http://127.0.0.1:{server.server_port}/{YUNET}")
    monkeypatch.setattr(detectors, "YUNET_SHA256", hashlib.sha256(CONTENT).hexdigest())
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_is_fetched_once_into_the_cache(server, tmp_path, capsys):
    assert main(["fetch"]) == 0
    path = tmp_path / "cache" / YUNET
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes() == CONTENT
    assert find_yunet() == path
    assert server.asked == 1
    assert [file.name for file in path.parent.iterdir()] == [YUNET]


def test_it_is_not_fetched_where_that_is_not_wanted(server):
    with pytest.raises(InputError, match=rf"{YUNET} is not here; .* fetch downloads it"):
        find_yunet(fetch=False)
    assert server.asked == 0


def test_a_file_put_there_by_hand_is_taken(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FERPLUS_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / YUNET).write_bytes(CONTENT)
    assert find_yunet() == tmp_path / YUNET
    assert server.asked == 0
    (tmp_path / YUNET).write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match=rf"{YUNET} is not YuNet's published file: its SHA256 is"):
        find_yunet()


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"more", b"<html>"])
def test_another_file_is_refused_and_not_kept(server, tmp_path, content):
    server.content = content
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError, match=f"its SHA256 is {found} instead of the published"):
        find_yunet()
    assert not any((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(InputError, match=r"cannot write to .*cache: .*FERPLUS_CACHE_DIR"):
        find_yunet()


def test_a_user_without_home_is_told_what_to_set(server, monkeypatch, tmp_path):
    for name in ("FERPLUS_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda path: (_ for _ in ()).throw(RuntimeError()))
    with pytest.raises(InputError, match=r"no home folder .*: set \$FERPLUS_CACHE_DIR"):
        find_yunet()
    monkeypatch.setenv("FERPLUS_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / YUNET).write_bytes(CONTENT)
    assert find_yunet() == tmp_path / YUNET


def test_out_of_reach_one_line_says_where_to_put_it(server, tmp_path, capsys, monkeypatch):
    server.status = 404
    expected = r"error: cannot download http://127\S+ \((.+)\); put the file into (\S+) by hand\n"
    assert main(["fetch"]) == 1
    reason, folder = re.fullmatch(expected, capsys.readouterr().err).groups()
    assert "404" in reason or "Not Found" in reason
    assert folder == str(tmp_path / "cache")
    monkeypatch.setattr(detectors, "YUNET_URL", "http://127.0.0.1:9/yunet.onnx")
    monkeypatch.setenv("FERPLUS_WEIGHTS_DIR", "mine")
    assert main(["fetch"]) == 1
    reason, folder = re.fullmatch(expected, capsys.readouterr().err).groups()
    assert "refused" in reason
    assert folder == str(tmp_path / "cache")
