"""How much, how often and how long a server works for others, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one server accepts.

    Attributes:
        request_bytes: largest body of a request.
        held_bytes: bodies of all requests together, which are held in memory.
        pixels: largest picture, compared with its header before it is decoded.
        files: pictures per request.
        frame_bytes: largest camera frame.
        concurrent: requests that are worked on at a time.
        streams: cameras at a time.
        rate: requests per second and client address, and how many may come at once.
        grace: seconds in which a body of any speed may arrive.
        slowest: bytes per second that a body must average after that.
        answer_seconds: longest time from a complete request to the end of its response.
        idle_seconds: a camera that sends nothing for longer is disconnected.
    """

    request_bytes: int = 50 * MEGABYTE
    held_bytes: int = 512 * MEGABYTE
    pixels: int = 40_000_000
    files: int = 100
    frame_bytes: int = 4 * MEGABYTE
    concurrent: int = 128
    streams: int = 16
    rate: float = 1000
    grace: float = 15
    slowest: float = 50_000
    answer_seconds: float = 60
    idle_seconds: float = 30


class Refused(Exception):
    """A request that is not served: an HTTP status and one line that says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
