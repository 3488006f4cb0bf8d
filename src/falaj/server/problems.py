"""Errors as `application/problem+json` (RFC 9457). The root is mapped here, once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from falaj.core import errors
from falaj.core.errors import FalajError, Unauthenticated
from falaj.server.errors import MethodNotAllowed

MEDIA = "application/problem+json"
_FAMILIES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FalajError)]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was refused or failed, in the same facts as on the command line.

    Attributes:
        type: `urn:falaj:error:` and the code.
        status: the HTTP status again.
        code: stable; what a machine should look at.
        family: code of the general error that this one is a case of; decides a command's exit code.
        detail: what happened, with the values concerned.
        next_step: what to do about it.
        facts: values for machines.
    """

    type: str
    title: str
    status: int
    code: str
    family: str
    detail: str
    next_step: str = ""
    facts: dict[str, Any] = {}


def problem_of(error: FalajError) -> Problem:
    """An error as it is shown."""
    family = next((c.code for c in type(error).__mro__ if c in _FAMILIES), "error")
    try:
        title = HTTPStatus(error.status).phrase
    except ValueError:
        title = "Error"
    return Problem(
        type=f"urn:falaj:error:{error.code}",
        title=title,
        status=error.status,
        code=error.code,
        family=family,
        detail=error.message,
        next_step=error.next_step,
        facts=error.facts,
    )


def response_of(error: FalajError) -> Response:
    """An error as an answer, with the headers that its status asks for."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="falaj"'
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    if retry := getattr(error, "retry_after", 0):
        headers["Retry-After"] = str(retry)
    body = msgspec.json.encode(problem_of(error), enc_hook=str)
    return Response(body, error.status, headers, MEDIA)


def unexpected(request_id: str) -> FalajError:
    """What a client is told of an error that nobody expected: nothing but where to find it in the log."""
    return FalajError(
        "an error that was not expected; nothing was left half-done",
        next_step=f"tell the operator the request {request_id}",
    )
