"""Questions to the inference server, by the Open Inference Protocol: some alone, most in batches, by several clients.

A question is a flight of the month with its features as they were known two hours before. The key of a prediction is
that of the flight; the key by which a canary is chosen is that of whoever asks.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

CLIENTS = 3
KEY = ("year", "month", "day", "carrier", "flight", "origin")
_TYPES = {"text": "BYTES", "integer": "INT64", "number": "FP64", "boolean": "BOOL"}

Row = Mapping[str, Any]


class Answer(NamedTuple):
    """One answer: its rows by key, or what went wrong. `client` asked; `at` is seconds since 1970."""

    id: str
    client: str
    version: int
    probabilities: dict[str, float]
    status: int
    seconds: float
    at: float


def key_of(row: Row) -> str:
    """The key of a flight, as outcomes are joined by it."""
    return "/".join(str(row[name]) for name in KEY)


class Asker:
    """Asks one deployment.

    Attributes:
        answers: all that came, in the order in which they came.
    """

    def __init__(self, port: int, model: str) -> None:
        self.port, self.model = port, model
        self.inputs: list[tuple[str, str]] = []
        self.answers: list[Answer] = []
        self._lock = threading.Lock()
        self._mine = threading.local()

    def learn(self) -> None:
        """Ask the server what the model reads."""
        told = self._exchange("GET", f"/v2/models/{self.model}", None)[2]
        self.inputs = [(one["name"], one["datatype"]) for one in told["inputs"]]

    def ask(self, rows: Sequence[Row], client: str) -> Answer:
        """One request for one or more flights.

        Args:
            client: who asks; while a canary lasts, the same client is answered by the same version.
        """
        body = {
            "inputs": [
                {"name": name, "shape": [len(rows)], "datatype": kind, "data": [row[name] for row in rows]}
                for name, kind in self.inputs
            ],
            "parameters": {"key": client, "keys": [key_of(row) for row in rows]},
        }
        begin = time.monotonic()
        status, headers, told = self._exchange("POST", f"/v2/models/{self.model}/infer", body)
        values = told["outputs"][0]["data"] if status == 200 else []
        answer = Answer(
            id=headers.get("falaj-prediction", ""),
            client=client,
            version=int(headers.get("falaj-model-version", 0)),
            probabilities=dict(zip((key_of(row) for row in rows), values, strict=False)),
            status=status,
            seconds=time.monotonic() - begin,
            at=time.time(),
        )
        with self._lock:
            self.answers.append(answer)
        return answer

    def ask_wrongly(self, row: Row) -> list[int]:
        """Requests that are no questions: text for a number, a column that is not there, a shape without its data.

        Returns: their statuses.
        """
        good = [{"name": name, "shape": [1], "datatype": kind, "data": [row[name]]} for name, kind in self.inputs]
        bad = (
            [{**one, "datatype": "BYTES", "data": ["soon"]} if one["name"] == "hour" else one for one in good],
            [*good, {"name": "dep_delay", "shape": [1], "datatype": "INT64", "data": [50]}],
            [{**one, "shape": [2]} for one in good],
        )
        path = f"/v2/models/{self.model}/infer"
        return [self._exchange("POST", path, {"inputs": inputs})[0] for inputs in bad]

    def ask_all(self, requests: Iterable[tuple[Sequence[Row], str]]) -> list[Answer]:
        """Many requests, by a few clients at once; the answers in the order of the requests."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda one: self.ask(*one), requests))

    def _exchange(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        data = None if body is None else json.dumps(body).encode()
        for last in (False, True):
            if (connection := getattr(self._mine, "connection", None)) is None:
                connection = self._mine.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
                response = connection.getresponse()
                text = response.read()
                return response.status, {k.lower(): v for k, v in response.getheaders()}, json.loads(text or b"{}")
            except (OSError, http.client.HTTPException):
                connection.close()
                self._mine.connection = None
                if last:
                    return 0, {}, {}
        raise AssertionError


def requests_of(rows: Sequence[Row], month: str, *, alone: int, batch: int) -> list[tuple[list[Row], str]]:
    """The rows of a month as requests: the first ones alone, the others in batches, mixed evenly.

    Returns: rows, and the name of who asks.
    """
    singles = [([row], f"{month}-passenger-{i}") for i, row in enumerate(rows[:alone])]
    rest = rows[alone:]
    batches = [(list(rest[i : i + batch]), f"{month}-site-{i // batch}") for i in range(0, len(rest), batch)]
    every = max(1, len(singles) // max(1, len(batches)))
    mixed: list[tuple[list[Row], str]] = []
    for i, one in enumerate(batches):
        mixed += [*singles[i * every : (i + 1) * every], one]
    return [*mixed, *singles[len(batches) * every :]]


def told(answers: Sequence[Answer]) -> str:
    """How a lot of requests went, in words."""
    failed = sum(answer.status != 200 for answer in answers)
    times = sorted(answer.seconds for answer in answers)
    versions = Counter(answer.version for answer in answers for _ in answer.probabilities)
    by = ", ".join(f"{n:,} by v{version}" for version, n in versions.most_common() if version)
    p99 = times[int(len(times) * 0.99)] * 1000 if times else 0.0
    rows = sum(versions.values())
    return f"{rows:,} predictions in {len(answers):,} requests, {failed} failed, p99 {p99:.0f} ms: {by}"
