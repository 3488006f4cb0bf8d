"""The same operations over HTTP: `RemoteSession`, the twin of the embedded session.

Standard library only. Connections are kept alive; certificates are verified; proxies and redirects are not followed,
since a token goes to the address it was made for and nowhere else. What can be repeated safely is repeated: a query
always, a command or job where the caller gave an idempotency key, a staged file never half.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlencode, urlsplit

from falaj.core import errors
from falaj.core.errors import Damaged, FalajError, Invalid, NotFound, TooLarge, Unavailable
from falaj.credentials import server_url, token_text

CONNECT_S = 10.0
ANSWER_S = 90.0
WAIT_S = 30
ATTEMPTS = 3
LONGEST_PAUSE_S = 5.0
MAX_ANSWER = 256 << 20
CHUNK = 1 << 20
_BROKEN = (http.client.HTTPException, OSError)
_FAMILIES = {c.code: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FalajError)}
_known: dict[tuple[str, int, str], type[RemoteError]] = {}


class RemoteError(FalajError):
    """What the server refused or could not do; also an instance of its family (`Refused`, `NotFound`, …).

    Made by `error_of`, with the code, status, message, next step and facts that the server gave.
    """

    code = "remote_error"


class ServerAway(Unavailable):
    """The server cannot be reached, or went away in the middle of an answer."""

    code = "server_away"


class NotFalaj(Unavailable):
    """Something answers there, but not as Falaj does."""

    code, status = "not_falaj", 502


class Cut(Damaged):
    """Bytes ended before their end, or are not the ones that were sent."""

    code, status = "transfer_cut", 502


def error_of(status: int, body: bytes) -> FalajError:
    """A problem document as the error that it tells of."""
    try:
        told = json.loads(body)
        code, detail = str(told["code"])[:64], str(told["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return NotFalaj(f"status {status} without an explanation", next_step="is this the address of a Falaj server?")
    family = str(told.get("family", ""))
    facts = told.get("facts")
    key = (code, status, family)
    if key not in _known:
        bases = (
            (RemoteError, _FAMILIES[family]) if family in _FAMILIES and family != FalajError.code else (RemoteError,)
        )
        _known[key] = type("RemoteError", bases, {"code": code, "status": status, "__module__": __name__})
    return _known[key](
        detail, next_step=str(told.get("next_step", "")), facts=facts if isinstance(facts, dict) else None
    )


def connect(url: str, token: str, project: str, *, ca: Path | None = None) -> RemoteSession:
    """A session with a server.

    Args:
        url: `https://host[:port][/path]`; http only to this machine.
        ca: PEM file of the authority to trust, where it is not one of the system's.
    Raises: Invalid. The server is not asked before the first call.
    """
    return RemoteSession(url, token, project, ca=ca)


class RemoteSession:
    """Operations of one project of a server, by name, in plain values. Safe to use from several threads."""

    def __init__(self, url: str, token: str, project: str, *, ca: Path | None = None) -> None:
        self.url = server_url(url)
        self.project = project
        self._token = token_text(token)
        parts = urlsplit(self.url)
        self._host, self._port, self._base = cast(str, parts.hostname), parts.port, parts.path
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except (OSError, ssl.SSLError) as error:
                raise Invalid(f"{ca}: {error}", next_step="give a PEM file with the authority's certificate") from error
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._places: dict[str, tuple[str, str]] | None = None

    def __repr__(self) -> str:
        return f"RemoteSession({self.url!r}, project={self.project!r})"

    # the session

    def call(
        self,
        operation: str,
        args: Mapping[str, Any] = {},
        *,
        idempotency_key: str = "",
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Any:
        """Do one operation; a job is waited for.

        Returns: plain values (dict, list).
        Raises: FalajError; ServerAway where the answer did not come: without a key it is not known whether it was done.
        """
        sort, path = self._place(operation)
        if sort == "transfer":
            raise Invalid(f"{operation} gives bytes", next_step="use stream")
        if sort == "query":
            return self._json("GET", path + _query(args), None, {}, repeat=True)[1]
        headers = {"Content-Type": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if sort == "job" and progress is None:
            headers["Prefer"] = f"wait={WAIT_S}"
        body = _encoded(args)
        status, answer = self._json("POST", path, body, headers, repeat=bool(idempotency_key))
        if status == 202:
            return self._result(answer, progress)
        return answer

    def stage(self, path: Path) -> dict[str, Any]:
        """Send a file's bytes to where an operation can name them, without loading them.

        Returns: {"staged", "name", "size", "sha256"}.
        Raises: NotFound, Invalid for the file; Cut where the server has other bytes.
        """
        where = f"{self._base}/v1/projects/{quote(self.project, safe='')}/staging?" + urlencode({"name": path.name})
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
                source = _Hashed(file, size)
                # What was staged by half is never named, so sending it again is safe.
                staged: dict[str, Any] = self._json("PUT", where, source, headers, repeat=True)[1]
        except FileNotFoundError:
            raise NotFound(f"{path}: no such file", next_step="give the path of a file") from None
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror}", next_step="give a file that you may read") from error
        if source.taken != size or staged.get("sha256", "").removeprefix("sha256:") != source.sha256.hexdigest():
            raise Cut(f"{path}: the server has other bytes than were read", next_step="send it again")
        return staged

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        """The bytes of a transfer. Raises: FalajError before the first byte; Cut where they end early."""
        _, path = self._place(operation)
        connection, response = self._send("GET", path + _query(args), None, {}, repeat=True)
        return self._pieces(connection, response)

    def claim(self, person: str) -> dict[str, Any]:
        """Come in as the first owner of the server, with its one-time token as this session's token.

        Returns: {"principal", "token"}: the person, and the text of a token of their own.
        Raises: Unauthenticated where it is not that token; RemoteError "owner_exists".
        """
        body = _encoded({"token": self._token, "name": person})
        headers = {"Content-Type": "application/json"}
        claimed: dict[str, Any] = self._json("POST", f"{self._base}/v1/claim", body, headers, repeat=False)[1]
        return claimed

    def close(self) -> None:
        """Close the connections that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> RemoteSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # jobs

    def _result(self, begun: Mapping[str, Any], progress: Callable[[str, int, int], None] | None) -> Any:
        run = quote(str(begun["run"]), safe="")
        project = f"{self._base}/v1/projects/{quote(self.project, safe='')}"
        if progress is not None:
            self._follow(f"{project}/runs/{run}/events", progress)
        while True:
            status, answer = self._json("GET", f"{project}/jobs/{run}", None, {"Prefer": f"wait={WAIT_S}"}, repeat=True)
            if status != 202:
                return answer

    def _follow(self, path: str, progress: Callable[[str, int, int], None]) -> None:
        """Tell progress until the job or the stream ends; the result is asked for afterwards in any case."""
        try:
            connection, response = self._send("GET", path, None, {}, repeat=True)
        except Unavailable:
            return
        name = ""
        try:
            while line := response.readline(1 << 16):
                if line.startswith(b"event: "):
                    name = line[7:].strip().decode("ascii", "replace")
                elif line.startswith(b"data: ") and name == "progress":
                    facts = json.loads(line[6:])
                    progress(str(facts["what"]), int(facts["done"]), int(facts["total"]))
        except (*_BROKEN, ValueError, KeyError):
            return
        finally:
            connection.close()

    # requests

    def _place(self, operation: str) -> tuple[str, str]:
        if self._places is None:
            told = self._json("GET", f"{self._base}/v1/operations", None, {}, repeat=True)[1]
            self._places = {name: (str(sort), str(path)) for name, (sort, path) in told["operations"].items()}
        try:
            sort, path = self._places[operation]
        except KeyError:
            raise NotFound(f"operation {operation[:60]!r} is not served at {self.url}") from None
        return sort, self._base + path.replace("{project}", quote(self.project, safe=""))

    def _json(self, method: str, path: str, body: Any, headers: dict[str, str], *, repeat: bool) -> tuple[int, Any]:
        connection, response = self._send(method, path, body, headers, repeat=repeat)
        answer = self._whole(connection, response)
        try:
            return response.status, json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise NotFalaj("the answer is not JSON", next_step="is this the address of a Falaj server?") from error

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str], *, repeat: bool
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """One request; its answer has a good status and is not read yet. Raises: what the server said; ServerAway."""
        for left in range(ATTEMPTS - 1, -1, -1):
            connection = self._taken()
            if isinstance(body, _Hashed):
                body.rewind()
            try:
                response = self._exchange(connection, method, path, body, headers)
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise ServerAway(
                    f"{self.url}: its certificate is not trusted: {error.verify_message}",
                    next_step="give its authority",
                ) from error
            except _BROKEN as error:
                connection.close()
                if repeat and left:
                    continue
                raise ServerAway(
                    f"{self.url}: {type(error).__name__}{': ' + str(error) if str(error) else ''}",
                    next_step="look whether it was done, then try again",
                ) from error
            if response.status < 300:
                return connection, response
            pause = _pause(response)
            problem = error_of(response.status, self._whole(connection, response))
            if not (repeat and left and problem.status in (429, 503) and pause <= LONGEST_PAUSE_S):
                raise problem
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", **headers}
        try:
            connection.request(method, path, body, sent)
        except (BrokenPipeError, ConnectionResetError):
            # It stopped reading: it may have said why before it closed.
            with suppress(*_BROKEN):
                return connection.getresponse()
            raise
        return connection.getresponse()

    def _taken(self) -> http.client.HTTPConnection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            if not _went_stale(connection):
                return connection
            connection.close()
        if self._tls is not None:
            fresh: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_S, context=self._tls, blocksize=CHUNK
            )
        else:
            fresh = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S, blocksize=CHUNK)
        try:
            fresh.connect()
        except ssl.SSLCertVerificationError as error:
            raise ServerAway(
                f"{self.url}: its certificate is not trusted: {error.verify_message}", next_step="give its authority"
            ) from error
        except OSError as error:
            raise ServerAway(f"{self.url}: {error}", next_step="is the server up? falaj server") from error
        fresh.sock.settimeout(ANSWER_S)
        return fresh

    def _whole(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> bytes:
        """A whole answer; afterwards the connection is kept for the next request."""
        try:
            body = response.read(MAX_ANSWER + 1)
        except _BROKEN as error:
            connection.close()
            raise ServerAway(f"{self.url}: the answer broke off", next_step="look whether it was done") from error
        if len(body) > MAX_ANSWER:
            connection.close()
            raise TooLarge(f"an answer of more than {MAX_ANSWER >> 20} MiB", next_step="ask for less at once")
        if response.length:  # reading up to a size says nothing of an early end
            connection.close()
            raise ServerAway(f"{self.url}: the answer broke off", next_step="look whether it was done")
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return body

    def _pieces(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while piece := response.read1(CHUNK):
                yield piece
        except _BROKEN as error:
            raise Cut(f"{self.url}: the bytes broke off", next_step="ask again") from error
        finally:
            connection.close()


class _Hashed:
    """A file that is hashed while it is sent, and ends where its size was when it was opened."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.rewind()

    def rewind(self) -> None:
        """Begin again."""
        self._file.seek(0)
        self._left = self._size
        self.taken = 0
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes."""
        piece = self._file.read(min(size, self._left))
        self._left -= len(piece)
        self.taken += len(piece)
        self.sha256.update(piece)
        return piece


def _query(args: Mapping[str, Any]) -> str:
    pairs = [(k, v if isinstance(v, str) else _encoded(v).decode()) for k, v in args.items() if v is not None]
    return "?" + urlencode(pairs) if pairs else ""


def _encoded(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"arguments: {error}", next_step="give plain values") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a plain value")


def _pause(response: http.client.HTTPResponse) -> float:
    text = response.headers.get("Retry-After", "1")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1.0


def _went_stale(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed an idle connection: then there is something to read, its end."""
    sock = connection.sock
    if sock is None:
        return True
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
