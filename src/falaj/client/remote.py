"""`RemoteSession`, the twin of the embedded session: operations by name, in plain values."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from falaj.client.errors import Cut, StoppedWaiting
from falaj.client.wire import HashedFile, Wire
from falaj.core.errors import Invalid, NotFound, Unavailable
from falaj.core.ids import new_id
from falaj.core.names import name
from falaj.credentials import token_text
from falaj.session import encoded

WAIT_S = 30
MAX_KEY = 128
JSON = {"Content-Type": "application/json"}
Progress = Callable[[str, int, int], None]


def connect(url: str, token: str, project: str, *, ca: Path | None = None) -> RemoteSession:
    """A session with a server.

    Args:
        url: `https://host[:port][/path]`; http only to this machine.
        ca: PEM file of the authority to trust, where it is not one of the system's.
    Raises: Invalid. The server is not asked before the first call.
    """
    return RemoteSession(url, token, project, ca=ca)


def claim(url: str, one_time_token: str, person: str, *, ca: Path | None = None) -> str:
    """Come in as the first owner of a new server; returns the text of a token of one's own.

    Args:
        one_time_token: as the server showed it to its operator. It is used up.
        person: the name to be known by.
    Raises: Unauthenticated for any other token, or once somebody owns the server; InvalidName; ServerAway.
    """
    wire = Wire(url, ca=ca)
    try:
        body = encoded({"token": token_text(one_time_token), "name": person})
        # Not repeated: it holds once, and an answer that broke off would only be followed by a refusal.
        return str(wire.json("POST", "/v1/claim", body, JSON, repeat=False)[1]["token"])
    finally:
        wire.close()


class RemoteSession:
    """Operations of one project of a server, by name, in plain values. Safe to use from several threads.

    Each command and job goes under an idempotency key, one's own or a fresh one: what broke off on the way is sent
    again and done once. A staged file is never named by half.
    """

    def __init__(self, url: str, token: str, project: str, *, ca: Path | None = None) -> None:
        self._wire = Wire(url, token_text(token), ca)
        self.url = self._wire.url
        self.project = project and name(project, "project")
        self._below = f"/v1/projects/{quote(self.project, safe='')}"
        self._places: dict[str, tuple[str, str]] | None = None

    def __repr__(self) -> str:
        return f"RemoteSession({self.url!r}, project={self.project!r})"

    def call(
        self,
        operation: str,
        args: Mapping[str, Any] = {},
        *,
        idempotency_key: str = "",
        progress: Progress | None = None,
    ) -> Any:
        """Do one operation; a job is waited for.

        Returns: plain values (dict, list).
        Raises: FalajError; ServerAway where no answer came in several attempts: it may have been done or not;
            StoppedWaiting at a Ctrl-C, where a job goes on.
        """
        sort, path = self._place(operation)
        if sort == "transfer":
            raise Invalid(f"{operation} gives bytes", next_step="use stream")
        if sort == "query":
            return self._wire.json("GET", path + _query(args))[1]
        headers = {**JSON, "Idempotency-Key": _plain_key(idempotency_key) or new_id()}
        if sort == "job" and progress is None:
            headers["Prefer"] = f"wait={WAIT_S}"
        status, answer = self._wire.json("POST", path, encoded(args), headers)
        return self._result(str(answer["run"]), progress) if status == 202 else answer

    def stage(self, path: Path) -> dict[str, Any]:
        """Send a file's bytes to where an operation can name them, without loading them.

        Returns: {"staged", "name", "size", "sha256"}.
        Raises: NotFound, Invalid for the file; Cut where the server has other bytes.
        """
        where = f"{self._below}/staging" + _query({"name": path.name})
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                source = HashedFile(file, str(path), size)
                headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
                staged: dict[str, Any] = self._wire.json("PUT", where, source, headers)[1]
        except FileNotFoundError:
            raise NotFound(f"{path}: no such file", next_step="give the path of a file") from None
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror}", next_step="give a file that you may read") from error
        if not source.was_sent_as(str(staged.get("sha256", "")).removeprefix("sha256:")):
            raise Cut(f"{path}: the server has other bytes than were read", next_step="send it again")
        return staged

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        """The bytes of a transfer. Raises: FalajError before the first byte; Cut where they end early."""
        sort, path = self._place(operation)
        if sort != "transfer":
            raise Invalid(f"{operation} gives no bytes", next_step="use call")
        return self._wire.pieces(path + _query(args))

    def close(self) -> None:
        """Close the connections that are idle."""
        self._wire.close()

    def __enter__(self) -> RemoteSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, operation: str) -> tuple[str, str]:
        """The sort of an operation and its path, as the server lists them."""
        if self._places is None:
            told = self._wire.json("GET", "/v1/operations")[1]
            self._places = {key: (str(at["sort"]), str(at["path"])) for key, at in told["operations"].items()}
        if operation not in self._places:
            raise NotFound(f"operation {operation[:60]!r} is not served at {self.url}", next_step="see /v1/operations")
        sort, path = self._places[operation]
        return sort, path.replace("{project}", quote(self.project, safe=""))

    def _result(self, run: str, progress: Progress | None) -> Any:
        try:
            return self._waited(run, progress)
        except KeyboardInterrupt:
            raise StoppedWaiting(run) from None

    def _waited(self, run: str, progress: Progress | None) -> Any:
        run = quote(run, safe="")
        if progress is not None:
            self._follow(run, progress)
        while True:
            status, answer = self._wire.json("GET", f"/v1/jobs/{run}", headers={"Prefer": f"wait={WAIT_S}"})
            if status != 202:
                return answer

    def _follow(self, run: str, progress: Progress) -> None:
        """Tell progress until the job or the stream ends; the result is asked for afterwards in any case."""
        try:
            lines = self._wire.lines(f"/v1/jobs/{run}/events")
        except Unavailable:
            return
        event = b""
        for line in lines:
            if line.startswith(b"event: "):
                event = line[7:].strip()
            elif line.startswith(b"data: ") and event == b"progress" and (moved := _moved(line[6:])):
                progress(*moved)


def _moved(data: bytes) -> tuple[str, int, int] | None:
    try:
        facts = json.loads(data)
        return str(facts["what"]), int(facts["done"]), int(facts["total"])
    except (ValueError, KeyError, TypeError):
        return None


def _plain_key(key: str) -> str:
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise Invalid(f"idempotency key: at most {MAX_KEY} printable ASCII characters", next_step="use a random one")
    return key


def _query(args: Mapping[str, Any]) -> str:
    pairs = [(k, v if isinstance(v, str) else encoded(v).decode()) for k, v in args.items() if v is not None]
    try:
        return "?" + urlencode(pairs) if pairs else ""
    except UnicodeEncodeError as error:  # half a character, as in a file's name that is no text
        raise Invalid(f"arguments: {error}", next_step="give text") from error
