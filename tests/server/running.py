"""A real server on a free loopback port, in a thread of this process, over the small platform or a real one."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from falaj.server.backend import Backend
from falaj.server.logs import Log
from falaj.server.run import prepare
from falaj.server.settings import Settings
from tests.server.tiny import AMAL, Tiny


def until(read: Callable[[], Any]) -> Any:
    """Ask until there is an answer, for twenty seconds at most; the last answer."""
    pause, give_up = threading.Event(), time.monotonic() + 20
    while not (told := read()) and time.monotonic() < give_up:
        pause.wait(0.005)
    return told


def until_closed(sock: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    out = b""
    try:
        while piece := sock.recv(65536):
            out += piece
    except ConnectionResetError:
        pass
    return out


class Running:
    """A server at work, with what it wrote to its log."""

    token = ""

    def __init__(self, backend: Backend, settings: Settings, lines: io.StringIO | None = None) -> None:
        self.lines = lines or io.StringIO()
        self.url = ""
        up = threading.Event()
        self._runner = prepare(backend, settings, Log(self.lines), lambda url: (setattr(self, "url", url), up.set()))
        self.app = self._runner.config.app
        self._thread = threading.Thread(target=self._runner.run)
        self._thread.start()
        assert up.wait(20)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers in lower case, body. `token`: None for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        if isinstance(body, dict):
            body = msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def raw(self) -> socket.socket:
        """A connection of its own, for what no client library would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, data: bytes) -> bytes:
        """Send bytes, and read until the server ends the connection."""
        with self.raw() as sock:
            sock.sendall(data)
            return until_closed(sock)

    def problem(self, *args: Any, **more: Any) -> dict[str, Any]:
        """A refused request's problem document."""
        status, headers, body = self.ask(*args, **more)
        assert headers["content-type"] == "application/problem+json"
        told: dict[str, Any] = msgspec.json.decode(body)
        assert told["status"] == status
        return told

    def log(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.lines.getvalue().splitlines()]

    def stop(self) -> None:
        """May be called twice."""
        self._runner.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


class TinyServer(Running):
    """A server over the small platform; asked by Amal where nobody else is named."""

    token = AMAL

    def __init__(self, settings: Settings, lines: io.StringIO | None = None) -> None:
        self.tiny = Tiny()
        super().__init__(self.tiny, settings, lines)

    def stop(self) -> None:
        """May be called twice."""
        super().stop()
        self.tiny.close()
