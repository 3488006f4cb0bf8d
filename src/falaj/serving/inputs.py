"""From what a client sent to the columns that a model reads. Pure.

A value is taken for what it is: text is no number, a number is no text, a whole number may stand where a number is
read. A null is a missing value: NaN for the model in numbers, None in text, as it was when it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final

from falaj.core.bundle import BundleInput
from falaj.core.names import printable
from falaj.core.predictions import Value
from falaj.serving.errors import BadRequest

Columns = list[list[Any]]
INT_RANGE: Final = (-(1 << 63), (1 << 64) - 1)
_FITS: Final[dict[str, frozenset[type]]] = {
    "number": frozenset({float, int, NoneType}),
    "integer": frozenset({int, NoneType}),
    "boolean": frozenset({bool, NoneType}),
    "text": frozenset({str, NoneType}),
}
_WORDS: Final = {
    float: "a number",
    int: "a whole number",
    bool: "a boolean",
    str: "text",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}


class Table:
    """What one request holds: columns by name, or side by side without names.

    Attributes:
        named: None where there are no names.
        rows: each column has so many values.
    """

    __slots__ = ("columns", "named", "rows")

    def __init__(
        self, rows: int, *, named: Mapping[str, list[Any]] | None = None, columns: Columns | None = None
    ) -> None:
        self.rows = rows
        self.named = named
        self.columns = columns or []


def bind(inputs: Sequence[BundleInput], table: Table, *, nulls: Sequence[bool]) -> Columns:
    """The columns of a table in the order in which a model reads them.

    Args:
        nulls: whether the model can read a null there.
    Raises: BadRequest, naming the first columns that are missing or of another type.
    """
    named = table.named
    if named is None:
        if len(table.columns) != len(inputs):
            raise BadRequest(f"{len(table.columns)} columns without names; the model reads {len(inputs)}")
        found: Sequence[list[Any] | None] = table.columns
    else:
        found = [named.get(one.name) for one in inputs]
        if None in found:
            raise _missing(inputs, named)
    return [
        _column(one, values or [], can_be_null) for one, values, can_be_null in zip(inputs, found, nulls, strict=True)
    ]


def check_names(named: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse columns that no model here reads: a name mistyped must not become a null. Raises: BadRequest."""
    if not named.keys() <= known:
        strange = sorted(named.keys() - known)
        raise BadRequest(f"no model here reads {_list(strange)}; expected are {_list(sorted(known))}")


def _column(one: BundleInput, values: list[Any], can_be_null: bool) -> list[Any]:
    kinds = set(map(type, values))
    if NoneType in kinds and not can_be_null:
        raise BadRequest(f"{printable(one.name)}: a null, which the model cannot read there")
    fits = _FITS[one.type]
    if not kinds <= fits:
        if one.type == "integer" and kinds <= {float, int, NoneType}:
            return [_whole(one, value) for value in values]
        strange = next(kind for kind in kinds if kind not in fits)
        raise BadRequest(f"{printable(one.name)}: {_WORDS.get(strange, 'a value')}; the model reads {one.type}")
    if int in kinds:
        check_range(values, INT_RANGE, one.name)
    return values


def check_range(values: list[Any], bounds: tuple[int, int], name: str) -> None:
    """Refuse numbers outside of bounds. Raises: BadRequest."""
    there = [value for value in values if value is not None]
    if there and not (bounds[0] <= min(there) and max(there) <= bounds[1]):
        raise BadRequest(f"{printable(name)}: a number outside of {bounds[0]} to {bounds[1]}")


def _whole(one: BundleInput, value: float | None) -> int | None:
    if value is None:
        return None
    if not float(value).is_integer() or abs(value) > 1 << 53:
        raise BadRequest(f"{printable(one.name)}: a number with a fraction; the model reads integer")
    return int(value)


def _missing(inputs: Sequence[BundleInput], named: Mapping[str, Any]) -> BadRequest:
    return BadRequest(f"without {_list([one.name for one in inputs if one.name not in named])}, which the model reads")


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def example(inputs: Sequence[BundleInput]) -> Columns:
    """One row of a plain value for each input, to try a model with."""
    plain: dict[str, Value] = {"number": 0.0, "integer": 0, "boolean": False, "text": ""}
    return [[plain[one.type]] for one in inputs]
