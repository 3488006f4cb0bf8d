"""HTTP with one server: connections that are kept, what is repeated when one breaks, and where a token never goes.

Standard library only. Certificates are verified; proxies and redirects are not followed, since a token goes to the
address it was made for and nowhere else.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from falaj.client.errors import Cut, NotFalaj, ServerAway, error_of
from falaj.core.errors import Invalid, TooLarge
from falaj.credentials import server_url

CONNECT_S = 10.0
ANSWER_S = 90.0
ATTEMPTS = 3
LONGEST_PAUSE_S = 5.0
MAX_ANSWER = 256 << 20
MAX_LINE = 1 << 16
MAX_IDLE = 8
CHUNK = 1 << 20
BROKEN = (http.client.HTTPException, OSError)
T = TypeVar("T")
Connection = http.client.HTTPConnection
Response = http.client.HTTPResponse


class Wire:
    """Requests to one server. Safe to use from several threads; each request has its connection to itself.

    Args:
        token: sent with each request; "" for none.
        ca: PEM file of the authority to trust, None for those of the system (SSL_CERT_FILE names another file).
    Raises: Invalid for an address that a token must not go to, and for a file that holds no authority.
    """

    def __init__(self, url: str, token: str = "", ca: Path | None = None) -> None:
        self.url = server_url(url)
        parts = urlsplit(self.url)
        self._host, self._port, self._base = cast(str, parts.hostname), parts.port, parts.path
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._tls = _trusting(ca) if parts.scheme == "https" else None
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}, *, repeat: bool = True
    ) -> tuple[int, Any]:
        """A request whose answer is JSON: its status (below 300) and its value.

        Args:
            path: below the server's address.
            repeat: whether doing it twice is as good as once, so that it is sent again where its answer broke off.
        Raises: what the server said; ServerAway, NotFalaj, TooLarge.
        """
        status, answer = self._send(method, path, body, headers, self._whole, repeat=repeat)
        try:
            return status, json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise NotFalaj("the answer is not JSON", next_step="is this the address of a Falaj server?") from error

    def pieces(self, path: str) -> Iterator[bytes]:
        """The bytes of an answer. Raises: what the server said, at once; Cut, where they end early."""
        return self._send("GET", path, None, {}, self._pieces, repeat=True)[1]

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of an answer that grows. It ends quietly where it breaks off. Raises: as `json`, at once."""
        return self._send("GET", path, None, {}, self._lines, repeat=True)[1]

    def close(self) -> None:
        """Close the connections that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        read: Callable[[Connection, Response], T],
        *,
        repeat: bool,
    ) -> tuple[int, T]:
        """One request, in up to three attempts: its status, below 300, and what `read` makes of its answer."""
        for left in range(ATTEMPTS - 1, -1, -1):
            connection = self._taken()
            if isinstance(body, HashedFile):
                body.rewind()
            try:
                response = _exchange(connection, method, self._base + path, body, {**self._headers, **headers})
                if response.status < 300:
                    return response.status, read(connection, response)
                pause, problem = _pause(response), error_of(response.status, self._whole(connection, response))
            except BROKEN as error:
                connection.close()
                if repeat and left:
                    continue
                raise _broke_off(self.url, error) from error
            except BaseException:
                connection.close()
                raise
            # 429: nothing was begun, whatever it was. 503: something may have been.
            again = problem.status == 429 or (problem.status == 503 and repeat)
            if not (again and left and pause <= LONGEST_PAUSE_S):
                raise problem
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _taken(self) -> Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._fresh()
            if not _went_stale(connection):
                return connection
            connection.close()

    def _fresh(self) -> Connection:
        if self._tls is not None:
            fresh: Connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_S, context=self._tls, blocksize=CHUNK
            )
        else:
            fresh = Connection(self._host, self._port, timeout=CONNECT_S, blocksize=CHUNK)
        try:
            fresh.connect()
        except ssl.SSLCertVerificationError as error:
            fresh.close()
            raise ServerAway(
                f"{self.url}: its certificate is not trusted: {error.verify_message}",
                next_step="name the file of its authority, SSL_CERT_FILE=…",
            ) from error
        except OSError as error:
            fresh.close()
            raise ServerAway(f"{self.url}: {error}", next_step="is the server up? falaj server") from error
        fresh.sock.settimeout(ANSWER_S)
        return fresh

    def _whole(self, connection: Connection, response: Response) -> bytes:
        """A whole answer; afterwards the connection is kept for the next request. Raises: BROKEN, TooLarge."""
        if response.length is None and not response.chunked:  # a head that was cut still looks like one
            raise http.client.IncompleteRead(b"")
        body = response.read(MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            raise TooLarge(f"an answer of more than {MAX_ANSWER >> 20} MiB", next_step="ask for less at once")
        if response.length:  # reading up to a size says nothing of an early end
            raise http.client.IncompleteRead(body, response.length)
        with self._lock:
            kept = not response.will_close and response.isclosed() and len(self._idle) < MAX_IDLE
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()
        return body

    def _pieces(self, connection: Connection, response: Response) -> Iterator[bytes]:
        try:
            while piece := response.read1(CHUNK):
                yield piece
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
        except BROKEN as error:
            raise Cut(f"{self.url}: the bytes broke off", next_step="ask again") from error
        finally:
            connection.close()

    def _lines(self, connection: Connection, response: Response) -> Iterator[bytes]:
        try:
            with suppress(*BROKEN):
                while line := response.readline(MAX_LINE):
                    yield line
        finally:
            connection.close()


class HashedFile:
    """A file that is hashed while it is sent, and ends where its size was when it was opened."""

    def __init__(self, file: BinaryIO, name: str, size: int) -> None:
        self._file = file
        self._name = name
        self._size = size
        self.rewind()

    def rewind(self) -> None:
        """Begin again."""
        self._file.seek(0)
        self._left = self._size
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes. Raises: Invalid where the file cannot be read to its end."""
        wanted = min(size, self._left)
        try:
            piece = self._file.read(wanted)
        except OSError as error:
            raise Invalid(f"{self._name}: {error.strerror}", next_step="give a file that you may read") from error
        if wanted and not piece:
            raise Invalid(f"{self._name}: became shorter while it was sent", next_step="send it when it is whole")
        self._left -= len(piece)
        self._hash.update(piece)
        return piece

    def was_sent_as(self, sha256: str) -> bool:
        """Whether all of it was sent, and has this digest (hexadecimal)."""
        return self._left == 0 and self._hash.hexdigest() == sha256


def _exchange(
    connection: Connection, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    try:
        connection.request(method, path, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        # It stopped reading: it may have said why before it closed.
        with suppress(*BROKEN):
            return connection.getresponse()
        raise
    return connection.getresponse()


def _broke_off(url: str, error: Exception) -> ServerAway:
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ServerAway(f"{url}: {words}", next_step="look whether it was done, then try again")


def _trusting(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError is one
        raise Invalid(f"{ca}: {error}", next_step="give a PEM file with the authority's certificate") from error


def _pause(response: Response) -> float:
    text = response.headers.get("Retry-After", "1")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1.0


def _went_stale(connection: Connection) -> bool:
    """Whether the server has closed an idle connection: then there is something to read, its end."""
    sock = connection.sock
    try:
        sock.setblocking(False)
        try:
            return sock.recv(1) is not None
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            sock.settimeout(ANSWER_S)
    except OSError:
        return True
