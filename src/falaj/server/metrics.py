"""Prometheus metrics. Labels are operations and statuses: no project, person, name or address among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "falaj_http_requests", "Answered requests", ["operation", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "falaj_http_request_seconds",
            "Time from a request's head to the end of its answer",
            ["operation"],
            buckets=_BOUNDS,
            registry=self._registry,
        )
        self._unauthenticated = Counter(
            "falaj_http_unauthenticated", "Requests without a valid token", registry=self._registry
        )
        self._known: dict[tuple[str, int], tuple[Any, Any]] = {}
        ProcessCollector(registry=self._registry)

    def gauge(self, name: str, words: str, read: Callable[[], float]) -> None:
        """A value that is read when it is asked for."""
        Gauge(name, words, registry=self._registry).set_function(read)

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        pair = self._known.get((operation, status))
        if pair is None:  # looking labels up costs more than counting
            pair = (self._requests.labels(operation, str(status)), self._seconds.labels(operation))
            self._known[operation, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def unauthenticated(self) -> None:
        """Count one request without a valid token."""
        self._unauthenticated.inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
