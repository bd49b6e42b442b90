"""The command `serve`: its arguments, checks, and uvicorn on a port until Ctrl-C."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.arguments import Number
from ferplus_keras.errors import InputError, UsageError, one_line
from ferplus_keras.extras import SERVER, require
from ferplus_keras.hub import is_address
from ferplus_keras.inference.detectors import DETECTORS, WHOLE, find_detector, find_yunet
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.run import find_checkpoint, locate
from ferplus_keras.serve.guard import MEGABYTE, Guard, Limits, Metrics

if TYPE_CHECKING:
    import uvicorn

DESCRIPTION = """\
Serve a page and a REST interface that find faces and classify what they express.

  python -m ferplus_keras serve
  python -m ferplus_keras serve --checkpoint_path checkpoints/experiment_1

The page is at /, the interface under /v1 and described at /docs. Only this machine reaches them
unless --host says otherwise. With FERPLUS_TOKEN in the environment, clients must send it as a
bearer token. Nothing is kept, nothing is sent elsewhere. Ctrl-C ends it."""

PORT = 7860
TOKEN = "FERPLUS_TOKEN"

LIMITS = {
    "max_upload_mb": ("request_bytes", MEGABYTE, "largest request, files together"),
    "max_megapixels": ("pixels", 1e6, "largest picture, checked before it is decoded"),
    "max_rate": ("rate", 1, "requests per second and client address"),
    "max_concurrent": ("concurrent", 1, "requests that are processed at a time"),
}
"""Flag -> field of `Limits`, how many of its units the flag counts, and what it limits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `serve`."""
    add = parser.add_argument
    text = "run folders, checkpoints and exports to choose from, beside the two bundled"
    add("--checkpoint_path", nargs="+", default=[], metavar="PATH", help=text)
    add("--faces", choices=list(DETECTORS), help="default face detector [the first usable one]")
    add("--faces_weights", type=Path, help="YuNet's file [the one that fetch downloaded]")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all [127.0.0.1]")
    port = Number(int, low=0, high=65535)
    add("--port", type=port, default=PORT, help=f"0 takes any that is free [{PORT}]")
    text = "further names by which browsers may call the server, such as a proxy's"
    add("--allowed_hosts", nargs="+", default=[], metavar="NAME", help=text)
    for flag, (field, unit, text) in LIMITS.items():
        default = getattr(Limits, field) / unit
        add(f"--{flag}", type=Number(float, above=0), default=default, help=f"{text} [{default:g}]")


def serve(arguments: argparse.Namespace) -> None:
    """Run `serve` until it is interrupted.

    Raises:
        UsageError: a token that cannot be.
        InputError: a package, a model or a detector is missing, or the port is taken.
    """
    chosen = {field: getattr(arguments, flag) * unit for flag, (field, unit, _) in LIMITS.items()}
    token = os.environ.get(TOKEN) or None
    if token and not re.fullmatch("[!-~]+", token):
        raise UsageError(f"{TOKEN}: expected ASCII letters, digits and signs without spaces")
    require(SERVER, "the server", "serve")
    models = find_models(arguments.checkpoint_path)
    detectors = find_detectors(arguments.faces, arguments.faces_weights)
    limits = Limits(held_bytes=max(Limits.held_bytes, 4 * chosen["request_bytes"]), **chosen)

    from ferplus_keras.serve.engine import Engine
    from ferplus_keras.serve.server import make_app

    with listen(arguments.host, arguments.port) as taken:
        metrics = Metrics()
        engine = Engine(models, detectors, metrics.batches.observe)
        # A Keras model, if there is one, may be on a GPU.
        min(engine.classifiers.values(), key=lambda each: each.network is None).announce("serving")
        app = make_app(engine, limits, metrics, token=bool(token))
        hosts = [arguments.host, *arguments.allowed_hosts]
        if not token and not ipaddress.ip_address(taken.getsockname()[0]).is_loopback:
            note = f"note: anyone who reaches {arguments.host} can use it; {TOKEN} asks for a token"
            print(note, file=sys.stderr)
        print(f"The page is at {url(taken)} (Ctrl-C ends it)", flush=True)
        make_server(Guard(app, limits, hosts, token, metrics), limits).run(sockets=[taken])


def find_models(paths: Sequence[str]) -> dict[str, Path | str]:
    """Return models by name: those at `paths`, as `find_checkpoint` takes them, then our own."""
    for path in paths:
        if not is_address(path):
            find_checkpoint(path)
    places = [path if is_address(path) else locate(path).resolve() for path in paths]
    models = {"/".join(re.split(r"[\\/]", str(place))[-2:]): place for place in places}
    if len(models) < len(places):
        models = {str(place): place for place in places}
    if not paths or (BUNDLED.is_file() and find_spec("onnxruntime")):
        for file in (BUNDLED, BUNDLED.with_name("dlib_resnet.onnx")):
            models[f"{file.stem} (bundled)"] = file
    return models


def find_detectors(wanted: str | None, weights: Path | None) -> dict[str, Callable | str]:
    """Return the detectors that work here without fetching a file, the default one first.

    Args:
        wanted: row of `DETECTORS` that must be among them; None or "auto" takes any.
        weights: YuNet's file; None takes the one that is on this machine.

    Raises:
        InputError: what the one asked for needs is missing.
    """
    if wanted in (None, "auto"):
        wanted = "yunet" if weights else None
    found = {}
    for name in sorted(DETECTORS, key=lambda name: name != wanted):
        try:
            if name == "yunet":
                found[name] = find_detector(name, weights or find_yunet(fetch=False))
            elif name != "auto":
                found[name] = name if name == WHOLE else find_detector(name)
        except InputError as error:
            if name == wanted:
                raise
            if wanted is None:
                print(f"note: the detector {name} is not offered: {error}", file=sys.stderr)
    return found


def listen(host: str, port: int) -> socket.socket:
    """Take a port, so that nobody else does while models are opened; 0 takes any that is free.

    Raises:
        InputError: the port is taken or not allowed, or the host is not this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:  # the latter of a name such as a..b
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(
            f"cannot listen on {host} port {port}: {reason}; choose another --port "
            "(0 takes a free one) or --host"
        ) from None


def url(taken: socket.socket) -> str:
    """Return where a browser on this machine finds the page."""
    host, port = taken.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: Any, limits: Limits) -> uvicorn.Server:
    """Return the server of an ASGI application; `run(sockets=[…])` serves until interrupted."""
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Closes connections whose requests do not arrive, or whose responses are not read."""

        timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.timer = self.loop.call_later(limits.grace, self.transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            waiting = self.conn.their_state is h11.IDLE
            if waiting and self.timer is None:
                self.timer = self.loop.call_later(limits.grace, self.transport.close)
            elif self.timer is not None and not waiting:
                self.timer.cancel()
                self.timer = None

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.get_write_buffer_size() and self.timer is None:
                self.timer = self.loop.call_later(limits.answer_seconds, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.timer is not None:
                self.timer.cancel()

    # Below critical, uvicorn logs a traceback for each connection that is open at the end.
    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="websockets-sansio",
        ws_max_size=limits.frame_bytes,
        ws_max_queue=4,
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)
