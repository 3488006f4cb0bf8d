"""A server that plays one act for each request that reaches it, in turn: what a broken or foreign server does."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

OPERATIONS = json.dumps(
    {
        "operations": {
            name: {"sort": sort, "path": f"/v1/projects/{{project}}/{name}"}
            for name, sort in (("note.list", "query"), ("note.add", "command"), ("note.get", "transfer"))
        }
    }
).encode()


class Asked(NamedTuple):
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Act = Callable[[socket.socket, Asked], bool]  # whether the connection goes on


class Script:
    """Listens on a free port until `close`. What is asked after the last act finds its connection closed."""

    def __init__(self, *acts: Act) -> None:
        self._acts = list(acts)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[Asked] = []
        self.connections = 0
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            connection.settimeout(20)
            while asked := _read(connection):
                self.asked.append(asked)
                if not self._acts or not self._acts.pop(0)(connection, asked):
                    return


def answer(body: bytes, status: str = "200 OK", *, length: int | None = None, keep: bool = True, **headers: str) -> Act:
    """Answers. `length`: as the head declares it, where that is not true."""

    def act(connection: socket.socket, _: Asked) -> bool:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return keep

    return act


def raw(data: bytes) -> Act:
    """Sends bytes and closes."""

    def act(connection: socket.socket, _: Asked) -> bool:
        connection.sendall(data)
        return False

    return act


def cut(_connection: socket.socket, _asked: Asked) -> bool:
    """Closes without an answer."""
    return False


def relayed(port: int, *, cut_after: int | None = None) -> Act:
    """Lets a real server answer, and passes on the first `cut_after` bytes of what it says, or all."""

    def act(connection: socket.socket, asked: Asked) -> bool:
        there = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        there.request(asked.method, asked.path, asked.body, asked.headers)
        response = there.getresponse()
        body = response.read()
        there.close()
        head = f"HTTP/1.1 {response.status} X\r\nContent-Length: {len(body)}\r\n"
        if place := response.getheader("location"):
            head += f"Location: {place}\r\n"
        connection.sendall((head.encode() + b"\r\n" + body)[:cut_after])
        return cut_after is None

    return act


def _read(connection: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body)
