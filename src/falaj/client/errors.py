"""What a client raises: what the server said, and what came between the two."""

from __future__ import annotations

import json

from falaj.core import errors
from falaj.core.errors import Damaged, FalajError, Unavailable

_FAMILIES = {c.code: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FalajError)}
_MOST_KNOWN = 1000
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


class StoppedWaiting(KeyboardInterrupt):
    """Ctrl-C while a server was at work: it goes on there, as `run`."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.run = run


def error_of(status: int, body: bytes) -> FalajError:
    """A problem document as the error that it tells of."""
    try:
        told = json.loads(body)
        code, detail = str(told["code"])[:64], str(told["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return NotFalaj(f"status {status} without an explanation", next_step="is this the address of a Falaj server?")
    facts = told.get("facts")
    return _class_of(code, status, str(told.get("family", "")))(
        detail, next_step=str(told.get("next_step", "")), facts=facts if isinstance(facts, dict) else None
    )


def _class_of(code: str, status: int, family: str) -> type[RemoteError]:
    key = (code, status, family)
    found = _known.get(key)
    if found is None:
        general = _FAMILIES.get(family, FalajError)
        bases = (RemoteError,) if general is FalajError else (RemoteError, general)
        found = type("RemoteError", bases, {"code": code, "status": status, "__module__": __name__})
        if len(_known) < _MOST_KNOWN:
            _known[key] = found
    return found
