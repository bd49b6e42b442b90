"""The page's server: one port, one private folder, no word to anyone else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.errors import InputError
from ferplus_keras.inference.app.uploads import delete_left_behind

if TYPE_CHECKING:
    import gradio
    import uvicorn

QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # from 1.29 on its wheels send to Microsoft; a call is too late
}
"""Environment in which Gradio and ONNX Runtime tell nobody that they run; set before either is
imported."""

SESSIONS = 16
"""Pages whose last picture stays in memory; those that were not used for longest are forgotten."""

SWEEP_EVERY = 60
"""Seconds between looks for uploads that were broken off."""

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "frame-ancestors 'self'",
    )
)
"""Content security policy: a browser fetches nothing from elsewhere for this page."""


def listen(host: str, port: int) -> socket.socket:
    """Take a port, so that nobody else does while models are opened.

    Args:
        host: name or address to listen on.
        port: 0 takes any that is free.

    Raises:
        InputError: the port is taken or not allowed, or the host is not this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise InputError(
            f"cannot listen on {host}: no address by this name; check --host"
        ) from None
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen()
    except OSError as error:
        taken.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --port "
            "(0 takes a free one) or --host"
        ) from None
    return taken


def address(taken: socket.socket) -> str:
    """Return where a browser on this machine finds the page."""
    host, port = taken.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(page: gradio.Blocks, look: dict, folder: Path, max_bytes: int) -> uvicorn.Server:
    """Return the server of a page; `run(sockets=[…])` serves until it is interrupted.

    Args:
        page: what is served.
        look: theme and style, as `gradio.mount_gradio_app` takes them.
        folder: where uploads lie until they are read.
        max_bytes: largest request.
    """
    import fastapi
    import gradio
    import uvicorn

    page.state_session_capacity = SESSIONS
    page.has_launched = True  # else Gradio lets requests name any file of this machine
    outer = fastapi.FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, lifespan=_sweeping(folder)
    )
    gradio.mount_gradio_app(
        outer,
        page,
        path="/",
        footer_links=[],
        run_history=False,  # it would be kept in the browser
        show_error=False,
        max_file_size=max_bytes,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        **look,
    )
    # Below critical, uvicorn logs a traceback for each page that is still open at the end.
    config = uvicorn.Config(
        Guarded(outer, max_bytes), log_level="critical", timeout_graceful_shutdown=1
    )
    return uvicorn.Server(config)


class Guarded:
    """An ASGI application that takes no large request, gives no upload back and stays at home."""

    def __init__(self, app, max_bytes: int):
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope, receive, send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if "/file=" in scope["path"]:  # Gradio's preview of an upload, deleted meanwhile
            return await _refuse(send, 404, "uploads are not given back")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if int(length) > self.max_bytes:
            return await _refuse(send, 413, self._too_large)
        came = 0

        async def counted():
            nonlocal came
            event = await receive()
            came += len(event.get("body", b""))
            if came > self.max_bytes:  # sent without a length
                from fastapi import HTTPException

                raise HTTPException(413, self._too_large)
            return event

        async def guarded(event):
            if event["type"] == "http.response.start":
                headers = [*event["headers"], (b"content-security-policy", POLICY.encode())]
                event = {**event, "headers": [*headers, (b"referrer-policy", b"no-referrer")]}
            await send(event)

        return await self.app(scope, counted, guarded)

    @property
    def _too_large(self) -> str:
        return f"larger than {self.max_bytes / (1 << 20):g} MB"


async def _refuse(send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _sweeping(folder: Path):
    @asynccontextmanager
    async def lifespan(app) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                delete_left_behind(folder)
                await asyncio.sleep(SWEEP_EVERY)

        task = asyncio.create_task(sweep())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return lifespan


@contextlib.contextmanager
def quiet_environment(folder: Path):
    """Make Gradio keep uploads in a folder, and `QUIET` hold, during the block."""
    changed = {**QUIET, "GRADIO_TEMP_DIR": str(folder)}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
