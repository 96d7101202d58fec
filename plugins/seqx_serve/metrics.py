"""The metrics of a server, in the format of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LINES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of one server.

    Args:
        waiting: returns the number of lines that wait
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "seqx_requests", "Requests, by path and status.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "seqx_request_seconds", "Time of requests.", ["path"], buckets=_SECONDS, registry=registry
        )
        self.lines = Counter(
            "seqx_lines", "Lines that were answered, by model.", ["model"], registry=registry
        )
        self.characters = Counter(
            "seqx_characters", "Characters that were answered, by model.", ["model"], registry=registry
        )
        self.batch_lines = Histogram(
            "seqx_batch_lines", "Lines that are decoded together.", buckets=_LINES, registry=registry
        )
        self.batch_seconds = Histogram(
            "seqx_batch_seconds", "Time of a batch.", buckets=_SECONDS, registry=registry
        )
        gauge = Gauge("seqx_waiting_lines", "Lines that wait.", registry=registry)
        gauge.set_function(waiting)

    def observe_batch(self, lines: int, seconds: float) -> None:
        """Record a batch."""
        self.batch_lines.observe(lines)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)
