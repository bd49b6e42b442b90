"""A port of this machine, and uvicorn on it: no log, no patience with slow clients."""

from __future__ import annotations

import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ferplus_keras.errors import InputError
from ferplus_keras.serve.limits import Limits


def listen(host: str, port: int) -> socket.socket:
    """Take a port, so that nobody else does while models are opened; 0 takes any that is free.

    Raises:
        InputError: the port is taken or not allowed, or the host is not this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --port "
            "(0 takes a free one) or --host"
        ) from None


def url(taken: socket.socket) -> str:
    """Return where a browser on this machine finds the page."""
    host, port = taken.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: Any, limits: Limits) -> uvicorn.Server:
    """Return the server of an ASGI application; `run(sockets=[…])` serves until interrupted."""

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
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
