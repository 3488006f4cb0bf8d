"""What was answered, by version and role: counts, errors, latency. For /metrics and /stats."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S: Final = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0),
)


class Count:
    """Of one version in one role."""

    __slots__ = ("buckets", "errors", "requests", "rows", "seconds")

    def __init__(self) -> None:
        self.requests = self.rows = self.errors = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)

    def add(self, rows: int, seconds: float, *, failed: bool) -> None:
        """One request that the model answered, or failed at."""
        self.requests += 1
        self.rows += rows
        self.errors += failed
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1

    def quantile_s(self, share: float) -> float | None:
        """An upper bound of a quantile of the latencies, in seconds; None without requests."""
        if not self.requests:
            return None
        for bound, total in zip((*BOUNDS_S, BOUNDS_S[-1]), accumulate(self.buckets), strict=True):
            if total >= share * self.requests:
                return bound
        return BOUNDS_S[-1]

    def as_dict(self) -> dict[str, Any]:
        """The same for machines; milliseconds."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "errors": self.errors,
            "seconds": round(self.seconds, 6),
            "p50_ms": _ms(self.quantile_s(0.5)),
            "p99_ms": _ms(self.quantile_s(0.99)),
        }


class Stats(Collector):
    """All counts of one server, since it started.

    Args:
        gauges: values that are read when they are asked for: name, words, function; None leaves the value out.
    """

    def __init__(self, gauges: list[tuple[str, str, Callable[[], float | None]]]) -> None:
        self._gauges = gauges
        self._counts: dict[tuple[int, str], Count] = {}
        self.refused: dict[int, int] = {}
        self.swaps = self.bundles_refused = self.shadows_dropped = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def of(self, version: int, role: str) -> Count:
        """The count of a version in a role."""
        return self._counts.setdefault((version, role), Count())

    def refuse(self, status: int) -> None:
        """Count a request that was answered with an error."""
        self.refused[status] = self.refused.get(status, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """By version, then role."""
        versions: dict[str, dict[str, Any]] = {}
        for (version, role), count in sorted(self._counts.items()):
            versions.setdefault(str(version), {})[role] = count.as_dict()
        return {
            "versions": versions,
            "refused": {str(status): count for status, count in sorted(self.refused.items())},
            "swaps": self.swaps,
            "bundles_refused": self.bundles_refused,
            "shadows_dropped": self.shadows_dropped,
        }

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """As Prometheus reads it."""
        labels = ["version", "role"]
        requests = CounterMetricFamily("falaj_serving_requests", "Requests a model was asked for", labels=labels)
        rows = CounterMetricFamily("falaj_serving_rows", "Rows of those requests", labels=labels)
        errors = CounterMetricFamily("falaj_serving_errors", "Requests a model failed at", labels=labels)
        seconds = HistogramMetricFamily("falaj_serving_seconds", "From the request to its answer", labels=labels)
        for (version, role), count in self._counts.items():
            both = [str(version), role]
            requests.add_metric(both, count.requests)
            rows.add_metric(both, count.rows)
            errors.add_metric(both, count.errors)
            names = [*map(str, BOUNDS_S), "+Inf"]
            buckets = list(zip(names, map(float, accumulate(count.buckets)), strict=True))
            seconds.add_metric(both, buckets, count.seconds)
        yield from (requests, rows, errors, seconds)
        refused = CounterMetricFamily("falaj_serving_refused", "Requests answered with an error", labels=["status"])
        for status, number in self.refused.items():
            refused.add_metric([str(status)], number)
        yield refused
        yield CounterMetricFamily("falaj_serving_swaps", "Bundles taken up", self.swaps)
        yield CounterMetricFamily("falaj_serving_bundles_refused", "Bundles not taken up", self.bundles_refused)
        yield CounterMetricFamily(
            "falaj_serving_shadows_dropped", "Copies a shadow had no time for", self.shadows_dropped
        )
        for name, words, read in self._gauges:
            if (value := read()) is not None:
                yield GaugeMetricFamily(name, words, value)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
