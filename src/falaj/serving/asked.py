"""A request as every protocol hands it on, and the form of a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from falaj.core.errors import FalajError
from falaj.serving.errors import BadRequest
from falaj.serving.inputs import Table

MAX_KEY: Final = 200


class Asked:
    """What a client asks for.

    Attributes:
        key: what it calls the thing that it asks about; requests of one key go to one model while a canary lasts.
        keys: one for each row, where it says so; they are logged.
        id: its own id of the request, to be sent back.
    """

    __slots__ = ("id", "key", "keys", "table")

    def __init__(
        self, table: Table, *, key: str = "", keys: Sequence[str] | None = None, id: str | None = None
    ) -> None:
        self.table = table
        self.key = key
        self.keys = keys
        self.id = id


class Given:
    """What goes back: probabilities, and who says so."""

    __slots__ = ("model", "prediction", "values", "version")

    def __init__(self, prediction: str, model: str, version: int, values: list[float]) -> None:
        self.prediction = prediction
        self.model = model
        self.version = version
        self.values = values


class Form(Protocol):
    """One protocol: bytes to a question, an answer to bytes, an error to bytes. Pure."""

    def ask(self, body: bytes, content_type: str) -> Asked:
        """Raises: BadRequest, TooLarge."""

    def give(self, asked: Asked, given: Given) -> bytes:
        """The body of an answer."""

    def refuse(self, error: FalajError) -> bytes:
        """The body of an error."""


def keys_of(parameters: dict[str, Any] | None, rows: int) -> tuple[str, Sequence[str] | None]:
    """`key` and `keys` of a request's parameters. Raises: BadRequest."""
    if not parameters:
        return "", None
    key = "" if (one := parameters.get("key")) is None else _key(one)
    keys = parameters.get("keys")
    if keys is None:
        return key, None
    if not isinstance(keys, list) or len(keys) != rows:
        raise BadRequest(f"keys: a list of {rows}, one for each row, is expected")
    return key, [_key(one) for one in keys]


def _key(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or len(text := str(value)) > MAX_KEY:
        raise BadRequest(f"key: text of at most {MAX_KEY} characters is expected")
    return text
