"""Who may ask the server, how much, how often and how slowly; and its metrics."""

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

MEGABYTE = 1 << 20

PROTECTED = ("/v1", "/metrics")
"""Where a token is needed, if there is one; the page and its documentation hold no secret."""

LINGER = 3  # seconds for which a refused body is still read, so that its sender learns why
CLIENTS = 10_000  # addresses whose rate is remembered

HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'"
    ),
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
}
"""Sent with every answer: a browser loads nothing from elsewhere and sends nothing elsewhere."""

Receive = Callable[[], Awaitable[dict]]
Send = Callable[[dict], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """What one server accepts."""

    request_bytes: int = 50 * MEGABYTE
    held_bytes: int = 512 * MEGABYTE  # bodies of all requests together, which are held in memory
    pixels: int = 40_000_000  # per picture, by its header
    files: int = 100
    frame_bytes: int = 4 * MEGABYTE
    concurrent: int = 128  # requests that are processed at a time
    streams: int = 16
    connections: int = 900  # a process may open 1024 files on most systems
    rate: float = 1000  # requests per second and client address, and as many at once
    grace: float = 15  # seconds in which a header or a body may arrive at any speed
    slowest: float = 50_000  # bytes per second that a body must average after that
    answer_seconds: float = 60  # from the complete request to the end of its response
    idle_seconds: float = 30  # until a camera that sends nothing is disconnected


class Refused(Exception):
    """A request that is not served: an HTTP status and one line that says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status

    def response(self) -> Any:
        """Return the ASGI application that says so to a request or a WebSocket."""
        from starlette.responses import JSONResponse

        again = {"retry-after": "1"}
        headers = {401: {"www-authenticate": "Bearer"}, 429: again, 503: again}.get(self.status)
        return JSONResponse({"detail": str(self)}, self.status, headers)


class Metrics:
    """What Prometheus may read of one server; nothing of what it was shown."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        own = {"registry": self.registry, "namespace": "ferplus"}
        self.requests = Counter("requests", "Requests answered.", ["route", "status"], **own)
        self.seconds = Histogram("request_seconds", "Seconds per request.", ["route"], **own)
        self.active = Gauge("active_requests", "Requests in progress.", **own)
        self.held = Gauge("held_bytes", "Bodies of requests in memory.", **own)
        self.streams = Gauge("streams", "Cameras that are connected.", **own)
        self.faces = Counter("faces", "Faces classified.", ["model"], **own)
        sizes = [1, 2, 4, 8, 16, 32, 64]
        self.batches = Histogram("batch_faces", "Faces per batch.", buckets=sizes, **own)


@dataclass(eq=False)
class Guard:
    """An ASGI application before `app`."""

    app: Any
    limits: Limits
    hosts: Collection[str]  # names besides addresses and localhost by which browsers may call it
    token: str | None  # what clients must know; None lets everybody in
    metrics: Metrics
    active: int = 0
    streams: int = 0
    held: int = 0
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hosts = {host.lower() for host in self.hosts} - {"localhost"}
        self.routes = {route.path for route in getattr(self.app, "routes", ())}
        for name in ("active", "streams", "held"):
            getattr(self.metrics, name).set_function(partial(getattr, self, name))

    async def __call__(self, scope: dict, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope.get("method") == "HEAD":  # as GET; uvicorn leaves the body out
            scope = {**scope, "method": "GET"}
        handle = {"http": self._http, "websocket": self._websocket}
        await handle.get(scope["type"], self.app)(scope, receive, send)

    async def _http(self, scope: dict, receive: Receive, send: Send) -> None:
        began, status, unread, body = time.perf_counter(), 0, True, bytearray()

        async def receiving() -> dict:
            nonlocal unread
            event = await receive()
            unread = event.get("more_body", False)
            return event

        async def answer(event: dict) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event = {**event, "headers": [*event.get("headers", ()), *HEADERS.items()]}
            await send(event)

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
                await refused.response()(scope, receive, answer)
        except Exception as error:
            _report(error)
            if not status:
                await Refused(500, "internal error").response()(scope, receive, answer)
        finally:
            self.held -= len(body)
            route = scope["path"] if scope["path"] in self.routes else "other"
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    async def _read(self, scope: dict, receive: Receive, body: bytearray) -> None:
        """Read the whole body, so that a slow client takes no turn from the others."""
        limits, began, more = self.limits, time.monotonic(), True
        too_large = f"expected at most {limits.request_bytes / MEGABYTE:g} MB per request"
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > limits.request_bytes:
            raise Refused(413, too_large)
        while more:
            left = began + limits.grace + len(body) / limits.slowest - time.monotonic()
            try:
                event = await asyncio.wait_for(receive(), max(left, 0.001))
            except TimeoutError:
                raise Refused(408, "the request arrived too slowly") from None
            if event["type"] == "http.disconnect":
                raise Refused(400, "the client has gone")
            more = event.get("more_body", False)
            body += event.get("body", b"")
            self.held += len(event.get("body", b""))
            if len(body) > limits.request_bytes:
                raise Refused(413, too_large)
            if self.held > limits.held_bytes:
                raise Refused(503, "too many uploads at the moment; try again")

    async def _work(self, scope: dict, body: bytes, receive: Receive, send: Send) -> None:
        events = [{"type": "http.request", "body": body}]

        async def replay() -> dict:
            return events.pop() if events else await receive()

        counted = scope["method"] == "POST"
        if counted and self.active >= self.limits.concurrent:
            raise Refused(503, f"{self.active} requests are in progress; try again")
        self.active += counted
        working = asyncio.create_task(self.app(scope, replay, send))
        gone = asyncio.create_task(receive())  # the body is read: all that comes is the end
        gone.add_done_callback(lambda _: working.cancel())
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                await working
        except TimeoutError:
            raise Refused(503, "the answer took too long; send fewer or smaller pictures") from None
        except asyncio.CancelledError:
            left = gone.done() and not gone.cancelled()
            why = (400, "the client has gone") if left else (503, "the server ends; try again")
            raise Refused(*why) from None
        finally:
            gone.cancel()
            self.active -= counted

    async def _websocket(self, scope: dict, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope)
            if self.streams >= self.limits.streams:
                raise Refused(503, f"{self.streams} cameras are connected; try again")
        except Refused as refused:
            return await refused.response()(scope, receive, send)
        self.streams += 1
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            _report(error)
            await send({"type": "websocket.close", "code": 1011})
        finally:
            self.streams -= 1

    def _admit(self, scope: dict) -> None:
        """Check host, origin, token and rate."""
        host = _header(scope, b"host").lower()
        # A name that leads here without being ours belongs to a page that rebound its own (DNS
        # rebinding); an address cannot be rebound.
        if _name(host) not in {"localhost", *filter(None, map(_name, self.hosts))}:
            raise Refused(421, f"not served as {host[:80]!r}; name it with --allowed_hosts")
        origin = _header(scope, b"origin").lower()
        # A proxy that does not pass on the name it is called by is among the allowed ones.
        own = origin.partition("://")[2] in {host, *self.hosts}
        if origin and not own:
            raise Refused(403, "requests from pages of other origins are not answered")
        if not scope["path"].startswith(PROTECTED):
            return
        if not origin and _header(scope, b"sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(403, "requests from pages of other origins are not answered")
        if self.token and not hmac.compare_digest(_token(scope).encode(), self.token.encode()):
            raise Refused(401, "expected the header 'Authorization: Bearer …' with the token")
        if scope.get("method") != "GET":
            self._count((scope.get("client") or [""])[0])

    def _count(self, client: str) -> None:
        """Take one request from a client's bucket, which fills at the rate."""
        now, rate, most = time.monotonic(), self.limits.rate, max(self.limits.rate, 1.0)
        left, since = self._buckets.pop(client, (most, now))
        left = min(left + (now - since) * rate, most) - 1
        self._buckets[client] = (max(left, 0.0), now)  # clients of longest ago stand first
        while len(self._buckets) > CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        if left < 0:
            raise Refused(429, f"expected at most {rate:g} requests per second and client")


def _report(defect: Exception) -> None:
    """Say where it was raised; its message could name a picture."""
    last = traceback.extract_tb(defect.__traceback__)[-1]
    place = f"{type(defect).__name__} at {last.filename}:{last.lineno}"
    print(f"internal error: {place}", file=sys.stderr, flush=True)


def _header(scope: dict, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _name(host: str) -> str:
    """Return a Host header without its port: a name, "localhost" for any address, "" for others."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return "localhost"
    return name


def _token(scope: dict) -> str:
    """Return the token of a request; a browser's WebSocket carries it as a subprotocol."""
    kind, _, token = _header(scope, b"authorization").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    for each in _header(scope, b"sec-websocket-protocol").split(","):
        kind, _, coded = each.strip().partition(".")
        if kind == "bearer":
            with contextlib.suppress(ValueError):
                return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    return ""
