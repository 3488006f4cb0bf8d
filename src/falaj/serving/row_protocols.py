"""MLflow's `/invocations` and KServe's v1 protocol: rows as records, lists or a split frame, in JSON. Pure.

Sources: the MLflow scoring protocol (`mlflow models serve`), KServe's v1 data plane.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from falaj.core.errors import FalajError, TooLarge
from falaj.core.names import printable
from falaj.serving.asked import Asked, Given, keys_of
from falaj.serving.errors import BadRequest
from falaj.serving.inputs import Table
from falaj.serving.open_inference import decoded

FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CODES: Final = {404: "RESOURCE_DOES_NOT_EXIST", 413: "BAD_REQUEST", 503: "TEMPORARILY_UNAVAILABLE"}


class _Split(msgspec.Struct):
    data: list[list[Any]]
    columns: list[str] | None = None


class _Invocation(msgspec.Struct):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | dict[str, Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None
    params: dict[str, Any] | None = None


class _Instances(msgspec.Struct):
    instances: list[Any]
    parameters: dict[str, Any] | None = None


_invocation, _instances = msgspec.json.Decoder(_Invocation), msgspec.json.Decoder(_Instances)
_encoder = msgspec.json.Encoder()


class MLflow:
    """`POST /invocations`, JSON; `params` may bring `key` and `keys`.

    Args:
        rows: most rows of a request.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def ask(self, body: bytes, content_type: str) -> Asked:
        """See `asked.Form`."""
        if content_type and content_type.partition(";")[0].strip().lower() != "application/json":
            raise BadRequest(f"content type {printable(content_type)}: application/json is expected")
        request = decoded(_invocation, body)
        given = [form for form in FORMS if getattr(request, form) is not None]
        if len(given) != 1:
            raise BadRequest(f"exactly one of {', '.join(FORMS)} is expected, not {', '.join(given) or 'none'}")
        value = getattr(request, given[0])
        table = (
            split(value)
            if isinstance(value, _Split)
            else by_columns(value)
            if isinstance(value, dict)
            else rows_of(value)
        )
        key, keys = keys_of(request.params, check_rows(table, self._rows).rows)
        return Asked(table, key=key, keys=keys)

    def give(self, asked: Asked, given: Given) -> bytes:
        """See `asked.Form`."""
        return _encoder.encode({"predictions": given.values})

    def refuse(self, error: FalajError) -> bytes:
        """See `asked.Form`."""
        code = _CODES.get(
            error.status, "BAD_REQUEST" if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL_ERROR"
        )
        return _encoder.encode({"error_code": code, "message": error.message})


class KServe:
    """`POST /v1/models/{name}:predict`; `parameters` may bring `key` and `keys`.

    Args:
        rows: most rows of a request.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def ask(self, body: bytes, content_type: str) -> Asked:
        """See `asked.Form`."""
        request = decoded(_instances, body)
        table = check_rows(rows_of(request.instances), self._rows)
        key, keys = keys_of(request.parameters, table.rows)
        return Asked(table, key=key, keys=keys)

    def give(self, asked: Asked, given: Given) -> bytes:
        """See `asked.Form`."""
        return _encoder.encode({"predictions": given.values})

    def refuse(self, error: FalajError) -> bytes:
        """See `asked.Form`."""
        return _encoder.encode({"error": error.message, "code": error.code})


def rows_of(rows: list[Any]) -> Table:
    """Rows that are records, or lists, or single values of a model of one input. Raises: BadRequest."""
    if not rows:
        raise BadRequest("at least one row is expected")
    first = rows[0]
    if type(first) is dict:
        names = first.keys()
        if any(type(row) is not dict or row.keys() != names for row in rows):
            raise BadRequest("rows with other columns than the first")
        return Table(len(rows), named={name: [row[name] for row in rows] for name in names})
    if type(first) is not list:
        return Table(len(rows), columns=[rows])
    return _side_by_side(rows)


def by_columns(columns: dict[str, Any]) -> Table:
    """Columns by name. Raises: BadRequest."""
    lengths = {len(values) if isinstance(values, list) else -1 for values in columns.values()}
    if len(lengths) != 1 or -1 in lengths or 0 in lengths:
        raise BadRequest("columns: lists of one length, of at least one row, are expected")
    return Table(lengths.pop(), named=columns)


def split(frame: _Split) -> Table:
    """A data frame as pandas splits it. Raises: BadRequest."""
    if not frame.data:
        raise BadRequest("at least one row is expected")
    table = _side_by_side(frame.data)
    if frame.columns is None:
        return table
    if len(set(frame.columns)) != len(frame.columns) or len(frame.columns) != len(table.columns):
        raise BadRequest(
            f"columns: {len(frame.columns)} names for {len(table.columns)} columns, each once, are expected"
        )
    return Table(table.rows, named=dict(zip(frame.columns, table.columns, strict=True)))


def check_rows(table: Table, most: int) -> Table:
    """Raises: TooLarge."""
    if table.rows > most:
        raise TooLarge(f"{table.rows:,} rows; at most {most:,} are taken at once", next_step="ask for less at once")
    return table


def _side_by_side(rows: list[list[Any]]) -> Table:
    width = len(rows[0])
    if not width or any(type(row) is not list or len(row) != width for row in rows):
        raise BadRequest("rows of one length, of at least one value, are expected")
    return Table(len(rows), columns=[list(column) for column in zip(*rows, strict=True)])
