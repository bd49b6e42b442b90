"""The door of the server: who may ask, how much, how often and how slowly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import json
import sys
import time
import traceback
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from ferplus_keras.serve.limits import MEGABYTE, Limits, Refused
from ferplus_keras.serve.metrics import Metrics

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content security policy: a browser loads nothing from elsewhere and sends nothing elsewhere."""

HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
}

PROTECTED = ("/v1", "/metrics")
"""Where a token is needed, if there is one; the page and its documentation hold no secret."""

LINGER = 3
"""Seconds in which the rest of a refused body is thrown away, so that its sender reads why."""

CLIENTS = 10_000
"""Addresses whose rate is remembered."""


class Guard:
    """An ASGI application before another one.

    Args:
        app: what answers.
        limits: what it accepts.
        hosts: names besides addresses and localhost by which browsers may call it.
        token: what clients must know; None lets everybody in.
        metrics: where requests are counted.
    """

    def __init__(
        self, app: Any, limits: Limits, hosts: Collection[str], token: str | None, metrics: Metrics
    ) -> None:
        self.app = app
        self.limits = limits
        self.hosts = {"localhost", *(host.lower() for host in hosts)}
        self.token = token
        self.metrics = metrics
        self.active = self.streams = self.held = 0
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: dict, receive: Any, send: Any) -> None:
        began, status, unread = time.perf_counter(), 0, True

        async def receiving() -> dict:
            nonlocal unread
            event = await receive()
            unread = event.get("more_body", False)
            return event

        async def answer(event: dict) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                own = {name for name, _ in event.get("headers", ())}
                added = [pair for pair in HEADERS.items() if pair[0] not in own]
                event = {**event, "headers": [*event.get("headers", ()), *added]}
            await send(event)

        body = bytearray()
        try:
            self._admit(scope)
            await self._read(scope, receiving, body)
            await self._work(scope, bytes(body), receive, answer)
        except Refused as refused:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    while unread and refused.status != 408:
                        await receiving()
            if not status:
                await _refuse(answer, refused)
        except Exception as error:  # a defect: said without what it was about
            _report(error)
            if not status:
                await _refuse(answer, Refused(500, "internal error"))
        finally:
            self.held -= len(body)
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    async def _read(self, scope: dict, receive: Any, body: bytearray) -> None:
        """Read the whole body, so that a slow client takes no turn from the others."""
        limits, began = self.limits, time.monotonic()
        too_large = Refused(
            413, f"expected at most {limits.request_bytes / MEGABYTE:g} MB per request"
        )
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > limits.request_bytes:
            raise too_large
        more = True
        while more:
            left = began + limits.grace + len(body) / limits.slowest - time.monotonic()
            try:
                event = await asyncio.wait_for(receive(), max(left, 0.001))
            except TimeoutError:
                raise Refused(408, "the body came too slowly") from None
            if event["type"] == "http.disconnect":
                raise Refused(400, "the client has gone")
            chunk, more = event.get("body", b""), event.get("more_body", False)
            body += chunk
            self.held += len(chunk)
            self.metrics.held.set(self.held)
            if len(body) > limits.request_bytes:
                raise too_large
            if self.held > limits.held_bytes:
                raise Refused(503, "too many uploads at the moment; try again")

    async def _work(self, scope: dict, body: bytes, receive: Any, send: Any) -> None:
        events = [{"type": "http.request", "body": body}]

        async def replay() -> dict:
            return events.pop() if events else await receive()

        counted = scope["method"] == "POST"
        if counted and self.active >= self.limits.concurrent:
            raise Refused(503, f"{self.active} requests are being worked on; try again")
        self.active += counted
        self.metrics.active.set(self.active)
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                await self.app(scope, replay, send)
        except TimeoutError:
            raise Refused(503, "the answer took too long; send fewer or smaller pictures") from None
        finally:
            self.active -= counted
            self.metrics.active.set(self.active)

    async def _websocket(self, scope: dict, receive: Any, send: Any) -> None:
        try:
            self._admit(scope)
            if self.streams >= self.limits.streams:
                raise Refused(503, f"{self.streams} cameras are connected; try again")
        except Refused as refused:
            await receive()
            if "websocket.http.response" in scope.get("extensions", {}):
                await _refuse(send, refused, "websocket.http.response")
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": str(refused)[:120]})
            return
        self.streams += 1
        self.metrics.streams.set(self.streams)
        try:
            await self.app(scope, receive, send)
        finally:
            self.streams -= 1
            self.metrics.streams.set(self.streams)

    def _admit(self, scope: dict) -> None:
        """Check host, origin, token and rate.

        A name that leads here without being one of ours belongs to a page that rebound its own
        (DNS rebinding); an address cannot be rebound.
        """
        host = _header(scope, b"host")
        if not self._is_ours(host):
            raise Refused(421, f"not served as {host[:80]!r}; name it with --allowed_hosts")
        origin = _header(scope, b"origin")
        # Behind a proxy that changes Host, its name is among the allowed ones.
        if (
            origin
            and urlsplit(origin).netloc.lower() != host.lower()
            and ((urlsplit(origin).hostname or "") not in self.hosts - {"localhost"})
        ):
            raise Refused(403, "requests from pages of other origins are not answered")
        if not scope["path"].startswith(PROTECTED):
            return
        if _header(scope, b"sec-fetch-site") in ("cross-site", "same-site") and not origin:
            raise Refused(403, "requests from pages of other origins are not answered")
        if self.token and not hmac.compare_digest(_token(scope).encode(), self.token.encode()):
            raise Refused(401, "expected the header 'Authorization: Bearer …' with the token")
        if scope.get("method") != "GET":
            self._count((scope.get("client") or [""])[0])

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return not host.startswith("[") and host.partition(":")[0].lower() in self.hosts
        return True

    def _count(self, client: str) -> None:
        """Take one request from a client's bucket, which fills at the rate."""
        now, rate = time.monotonic(), self.limits.rate
        left, since = self._buckets.pop(client, (max(rate, 1.0), now))
        left = min(left + (now - since) * rate, max(rate, 1.0)) - 1
        self._buckets[client] = (max(left, 0.0), now)  # the clients of longest ago stand first
        while len(self._buckets) > CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        if left < 0:
            raise Refused(429, f"expected at most {rate:g} requests per second and client")


def _header(scope: dict, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _token(scope: dict) -> str:
    """Return the token of a request; a browser's WebSocket carries it as a subprotocol."""
    kind, _, token = _header(scope, b"authorization").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    for each in _header(scope, b"sec-websocket-protocol").split(","):
        kind, _, coded = each.strip().partition(".")
        if kind == "bearer":
            try:
                return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
            except ValueError:
                break
    return ""


async def _refuse(send: Any, refused: Refused, kind: str = "http.response") -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += {401: [(b"www-authenticate", b"Bearer")]}.get(refused.status, [])
    headers += [(b"retry-after", b"1")] if refused.status in (429, 503) else []
    await send({"type": f"{kind}.start", "status": refused.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _report(error: Exception) -> None:
    """Print where a defect is, but no value and no message: they could name a picture."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    print(
        f"internal error: {type(error).__name__} at {last.filename}:{last.lineno}",
        file=sys.stderr,
        flush=True,
    )
