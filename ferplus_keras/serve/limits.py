"""How much, how often and how long a server works for others, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


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
