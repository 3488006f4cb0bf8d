"""Sealed segments of a prediction log as one Parquet file. Nothing of a line is lost and no line is judged.

A first pass reads every line and learns columns, types and digests; a second writes them, a piece at a time, so that
memory stays flat however long a log is. Inputs stand under their own names behind `input_`: none can hide a column of
the log's own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from falaj.core import predictions
from falaj.core.errors import Conflict, Damaged, MissingPart
from falaj.core.predictions import Prediction
from falaj.data.records import DatasetColumn
from falaj.monitor.rules import INPUT

if TYPE_CHECKING:
    import pyarrow as pa

PATIENCE_S: Final = 2.0
_POLL_S: Final = 0.02
_ASK_S: Final = 0.1
_BIG: Final = 1 << 63
_OWN: Final = {
    "prediction": "string",
    "row": "integer",
    "answered_at": "timestamp",
    "revision": "integer",
    "model": "string",
    "version": "integer",
    "role": "string",
    "key": "string",
    "output": "number",
    "ms": "number",
    "error": "string",
}
_ARROW: Final = {
    "string": "string",
    "integer": "int64",
    "number": "float64",
    "boolean": "bool_",
}


class Surveyed(msgspec.Struct, frozen=True, kw_only=True):
    """One segment as it was read. `shadows`: how many of its rows a shadow made, which answered nobody."""

    path: Path
    sha256: str
    rows: int
    shadows: int = 0


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What is in some segments.

    Attributes:
        damaged: names of those that hold something else than predictions; they are left where they are.
        columns: of the file to be written, in its order.
    """

    segments: tuple[Surveyed, ...]
    damaged: tuple[str, ...]
    columns: tuple[DatasetColumn, ...]

    @property
    def rows(self) -> int:
        """Lines in all of them."""
        return sum(one.rows for one in self.segments)

    @property
    def shadows(self) -> int:
        """Those of shadows."""
        return sum(one.shadows for one in self.segments)


def seal(log: Path, patience_s: float = PATIENCE_S) -> list[Path]:
    """Every sealed segment, oldest first; what servers write at this moment is sealed first.

    Living servers are asked and waited for, again while one of several took the question of another. One that does not
    answer in time keeps its segment until the next time.
    """
    predictions.seal_left(log)
    waiting = set(predictions.unsealed(log))
    until = time.monotonic() + patience_s
    ask_at = 0.0
    while waiting and time.monotonic() < until:
        if time.monotonic() >= ask_at:
            predictions.ask_seal(log)
            ask_at = time.monotonic() + _ASK_S
        time.sleep(_POLL_S)
        waiting &= set(predictions.unsealed(log))
    return lying(log)


def lying(log: Path) -> list[Path]:
    """Every sealed segment of a log, of this host and of others."""
    return [*predictions.sealed(log), *predictions.brought(log)]


def survey(paths: Sequence[Path], deployment: str) -> Survey:
    """Read segments for what is in them; one with answers of another deployment counts as damaged."""
    found, damaged = [], []
    types: dict[str, set[type]] = {}
    for path in paths:
        shapes: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()
        digest, size, rows, shadows = hashlib.sha256(), 0, 0, 0
        try:
            for lines, data in _pieces(path):
                shapes |= {(tuple(p.inputs), tuple(map(_kind, p.inputs.values()))) for p in lines if _has_moment(p)}
                if any(p.deployment != deployment for p in lines):
                    raise Damaged(f"{path.name}: answers of another deployment")
                digest.update(data)
                size, rows = size + len(data), rows + len(lines)
                shadows += sum(p.role == "shadow" for p in lines)
            if size != path.stat().st_size:
                raise Damaged(f"{path.name}: its last line is not whole")
        except (Damaged, ValueError):
            damaged.append(path.name)
            continue
        except FileNotFoundError:  # somebody else collected it meanwhile
            continue
        found.append(Surveyed(path=path, sha256=f"sha256:{digest.hexdigest()}", rows=rows, shadows=shadows))
        for names, kinds in shapes:
            for name, kind in zip(names, kinds, strict=True):
                types.setdefault(name, set()).add(kind)
    own = [DatasetColumn(name=name, type=kind) for name, kind in _OWN.items()]
    inputs = [DatasetColumn(name=INPUT + name, type=_type_of(types[name])) for name in sorted(types)]
    return Survey(segments=tuple(found), damaged=tuple(damaged), columns=(*own, *inputs))


def write(found: Survey, path: Path) -> None:
    """Write the predictions of surveyed segments into one Parquet file.

    Raises: Conflict where somebody else collected one meanwhile; Damaged where one is not any more what was surveyed;
        MissingPart without PyArrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPart("PyArrow is not installed", next_step="pip install 'falaj[local]'") from error
    schema = pa.schema([(column.name, _arrow_type(column.type)) for column in found.columns])
    names = {column.name.removeprefix(INPUT): column.type for column in found.columns[len(_OWN) :]}
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["model", "role"]) as writer:
        for segment in found.segments:
            digest = hashlib.sha256()
            try:
                for lines, data in _pieces(segment.path):
                    digest.update(data)
                    writer.write_table(pa.table(_columns(lines, names), schema=schema))
            except FileNotFoundError as error:
                name = segment.path.name
                raise Conflict(f"{name} was collected by another at this moment", next_step="collect again") from error
            if f"sha256:{digest.hexdigest()}" != segment.sha256:
                raise Damaged(f"{segment.path.name} changed while it was read", next_step="collect again")


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file, None where it is gone by now."""
    try:
        with path.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    except FileNotFoundError:
        return None


def _pieces(path: Path) -> Iterator[tuple[list[Prediction], bytes]]:
    """The lines of a segment, a piece at a time, each with its bytes. Raises: Damaged."""
    offset = 0
    while True:
        lines, end = predictions.read(path, offset)
        if end == offset:
            return
        with path.open("rb") as stream:
            stream.seek(offset)
            yield lines, stream.read(end - offset)
        offset = end


def _has_moment(prediction: Prediction) -> bool:
    """Raises: ValueError where the line's moment is none."""
    return datetime.fromisoformat(prediction.at).tzinfo is not None


def _kind(value: object) -> type:
    """The type of a value; what is too large for 64 bits is no whole number any more."""
    kind = type(value)
    return float if kind is int and not -_BIG <= cast(int, value) < _BIG else kind


def _type_of(kinds: set[type]) -> str:
    """The one logical type that holds all values of a column; text where they have nothing in common."""
    some = kinds - {type(None)}
    if some == {bool}:
        return "boolean"
    if some == {int}:
        return "integer"
    return "number" if some and some <= {int, float} else "string"


def _columns(lines: list[Prediction], names: dict[str, str]) -> dict[str, list[Any]]:
    own: dict[str, list[Any]] = {
        "prediction": [p.id for p in lines],
        "row": [p.row for p in lines],
        "answered_at": [datetime.fromisoformat(p.at) for p in lines],
        "revision": [p.revision for p in lines],
        "model": [p.model for p in lines],
        "version": [p.version for p in lines],
        "role": [p.role for p in lines],
        "key": [p.key for p in lines],
        "output": [p.output for p in lines],
        "ms": [p.ms for p in lines],
        "error": [p.error for p in lines],
    }
    return own | {INPUT + name: _values(lines, name, kind) for name, kind in names.items()}


def _values(lines: list[Prediction], name: str, kind: str) -> list[Any]:
    values = (p.inputs.get(name) for p in lines)
    if kind in {"boolean", "integer"}:
        return list(values)
    as_kind = float if kind == "number" else _text
    return [None if value is None else as_kind(value) for value in values]


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC") if kind == "timestamp" else getattr(pa, _ARROW[kind])()
