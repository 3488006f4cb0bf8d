"""The one root of all errors, and those that more than one floor raises.

Every error carries a stable `code` for machines, the HTTP `status` an edge maps it to, a message that says what
happened with which values, and `next_step`: what to do about it. Edges map the root once; nothing else catches
`Exception`. A code, once released, keeps its meaning. Rooms define their own errors beside their rules, below
this root.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FalajError(Exception):
    """Something Falaj refused or could not do.

    Args:
        message: what happened, with the values concerned.
        next_step: what to do about it: one sentence or command; empty where the message already says so.
        facts: values for machines (`--json`, problem details); must be JSON-able and free of secrets.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    usual_step: ClassVar[str] = ""
    """The next step where the one who raises knows no better one."""

    def __init__(self, message: str, *, next_step: str = "", facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.usual_step
        self.facts = facts or {}

    def as_dict(self) -> dict[str, Any]:
        """The same facts for machines; the shape of every error body and of `--json`."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.next_step:
            body["next_step"] = self.next_step
        if self.facts:
            body["facts"] = self.facts
        return body


class Invalid(FalajError):
    """An argument has the wrong type, size or form."""

    code, status, exit_code = "invalid", 422, 2


class InvalidName(Invalid):
    """A name is not one of ours: see `core.names`."""

    code = "invalid_name"


class TooLarge(Invalid):
    """A value, body, file or tree is over its declared limit."""

    code, status = "too_large", 413


class NotFound(FalajError):
    """No such thing, or not for this principal: both look alike on purpose."""

    code, status, exit_code = "not_found", 404, 3


class Unauthenticated(FalajError):
    """No valid token came with the request."""

    code, status, exit_code = "unauthenticated", 401, 4


class Forbidden(FalajError):
    """A principal who may know of the thing may not do this to it."""

    code, status, exit_code = "forbidden", 403, 4


class Conflict(FalajError):
    """The state is not the one that the caller expected."""

    code, status, exit_code = "conflict", 409, 5


class Refused(FalajError):
    """A gate, contract, policy or residency rule said no. Stands in the ledger as an entry of its own."""

    code, status, exit_code = "refused", 409, 6


class Damaged(FalajError):
    """Stored bytes or rows are not what was committed: a digest, a seal or a signature does not hold."""

    code, status, exit_code = "damaged", 500, 7
    usual_step = "falaj verify says what else is; restore it from a backup"


class Unavailable(FalajError):
    """A part that is needed is away: locked, full, read-only, unreachable. Trying again later may help."""

    code, status, exit_code = "unavailable", 503, 8


class MissingPart(FalajError):
    """An optional extra or an outside program is not installed."""

    code, status, exit_code = "missing_part", 501, 9
