"""`falaj serve` as a process of its own, until the test ends, and questions to it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.serving.places import KEY


class Told(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A server at work on a folder. What it says of itself is in `said`."""

    def __init__(self, folder: Path, *more: str, key: str = KEY) -> None:
        self.folder = folder
        self._said = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.jsonl")
        with self._said.open("w") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", "-m", "falaj.cli.main", "serve", str(folder)),
                    *("--key", key, "--listen", "127.0.0.1:0", *more),
                ],
                stderr=out,
                stdout=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},
            )
        assert until(lambda: self.process.poll() is not None or '"listening"' in self._said.read_text()), self.said
        assert self.process.poll() is None, self._said.read_text()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self._said.read_text())[1])

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._said.read_text().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["event"] == name]

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Told:
        connection = self.connection()
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
            found = connection.getresponse()
            return Told(found.status, {k.lower(): v for k, v in found.headers.items()}, found.read())
        finally:
            connection.close()

    def get(self, path: str) -> Told:
        return self.ask("GET", path)

    def post(self, path: str, body: Any, **headers: str) -> Told:
        return self.ask("POST", path, body, **headers)

    def infer(self, town: str | int = 1, wind: Any = 12.0, key: str | None = None, version: int | None = None) -> Told:
        body: dict[str, Any] = {"inputs": one(town, wind)}
        if key is not None:
            body["parameters"] = {"key": key}
        return self.post(f"/v2/models/delay/{f'versions/{version}/' if version else ''}infer", body)

    def serves(self, revision: int) -> bool:
        """Wait for a revision."""
        return bool(until(lambda: self.get("/v2/health/ready").json.get("revision") == revision))

    def stop(self, sig: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(30)


def one(town: str | int, wind: Any) -> list[dict[str, Any]]:
    """The tensors of one row."""
    return [
        {"name": "town", "shape": [1], "datatype": "BYTES" if isinstance(town, str) else "INT64", "data": [town]},
        {"name": "wind", "shape": [1], "datatype": "FP64", "data": [wind]},
    ]


def until(read: Callable[[], Any]) -> Any:
    """Ask until there is an answer, for thirty seconds at most; the last answer."""
    give_up = time.monotonic() + 30
    while not (told := read()) and time.monotonic() < give_up:
        time.sleep(0.005)
    return told
