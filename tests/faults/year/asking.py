"""Clients of the inference server: they ask until they are answered, and remember each answer."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from tests.faults.year.project import key_of
from tests.faults.year.servers import Server

CLIENTS = 3
PAUSE_S = 0.05
"""Between the questions of one client while nobody waits for answers."""


class Answer(NamedTuple):
    """What a client was told: the id of the answer, the key of its row, the version and the probability."""

    id: str
    key: str
    version: int
    output: float


class Asker:
    """A few clients, each with a connection of its own; each question is of a passenger of its own.

    Attributes:
        answers: all that were acknowledged.
        wrong: answers that were none: status and body.
        unanswered: questions whose answer broke off; they were asked again.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: list[Answer] = []
        self.wrong: list[tuple[int, bytes]] = []
        self.unanswered = 0
        self._rows: Sequence[dict[str, Any]] = ()
        self._inputs: list[tuple[str, str]] = []
        self._numbers = itertools.count()
        self._lock, self._over, self._hurry = threading.Lock(), threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def about(self, rows: Sequence[dict[str, Any]]) -> None:
        """From now on, ask about these flights."""
        self._rows = rows
        if not self._inputs:
            with closing(self._connection()) as connection:
                told = json.loads(self._once(connection, "GET", "/v2/models/delay", None)[2])
            self._inputs = [(one["name"], one["datatype"]) for one in told["inputs"]]
        for _ in range(CLIENTS - len(self._threads)):
            self._threads.append(threading.Thread(target=self._go_on, daemon=True))
            self._threads[-1].start()

    def hurry(self, until: Callable[[], Any]) -> None:
        """Ask as fast as can be until something holds."""
        self._hurry.set()
        try:
            until()
        finally:
            self._hurry.clear()

    def close(self) -> None:
        """Ask no more; what was asked is answered first."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _go_on(self) -> None:
        connection = self._connection()
        while not self._over.is_set():
            number = next(self._numbers)
            row = self._rows[number % len(self._rows)]
            body = self._question(row, f"passenger-{number}")
            while not self._is_answered(connection, body, key_of(row)):
                connection.close()
                with self._lock:
                    self.unanswered += 1
                self.server.wait_ready()
            if not self._hurry.is_set():
                self._over.wait(PAUSE_S)
        connection.close()

    def _is_answered(self, connection: http.client.HTTPConnection, body: bytes, key: str) -> bool:
        try:
            status, headers, text = self._once(connection, "POST", "/v2/models/delay/infer", body)
        except (OSError, http.client.HTTPException):
            return False
        if status != 200:
            with self._lock:
                self.wrong.append((status, text[:500]))
            return True
        version, output = int(headers["falaj-model-version"]), json.loads(text)["outputs"][0]["data"][0]
        with self._lock:
            self.answers.append(Answer(headers["falaj-prediction"], key, version, output))
        return True

    def _question(self, row: dict[str, Any], passenger: str) -> bytes:
        inputs = [{"name": name, "shape": [1], "datatype": kind, "data": [row[name]]} for name, kind in self._inputs]
        return json.dumps({"inputs": inputs, "parameters": {"key": passenger, "keys": [key_of(row)]}}).encode()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)

    @staticmethod
    def _once(
        connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
