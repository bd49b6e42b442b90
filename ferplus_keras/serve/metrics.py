"""What Prometheus may read of a server; nothing of what it was shown."""

from __future__ import annotations


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        own = {"registry": self.registry, "namespace": "ferplus"}
        self.requests = Counter("requests", "Requests answered.", ["route", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "Time from the first byte to the answer.", ["route"], **own
        )
        self.active = Gauge("active_requests", "Requests that are worked on.", **own)
        self.held = Gauge("held_bytes", "Bodies of requests in memory.", **own)
        self.streams = Gauge("streams", "Cameras that are connected.", **own)
        self.faces = Counter("faces", "Faces classified.", ["model"], **own)
        self.batches = Histogram(
            "batch_faces", "Faces per batch.", buckets=[1, 2, 4, 8, 16, 32, 64], **own
        )

    def text(self) -> bytes:
        """Return Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
