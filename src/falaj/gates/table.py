"""The rows that a gate measures on: evidence files opened as their contract reads them, by a locked DuckDB connection.

The gate's `label` and `where` are single SQL expressions over those rows. They can read nothing else: no file, no
network, no setting (see `data.tables`). Label, slice columns and model inputs come from one query, so that they are
of the same rows in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from falaj.core.errors import Invalid, MissingPart, Unavailable
from falaj.core.names import printable
from falaj.data import tables
from falaj.data.records import Contract
from falaj.data.tables import Format
from falaj.gates.records import EvidenceSource

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

LABEL: Final = "__falaj_label"
BATCH_ROWS: Final = 200_000
QUERY_LIMIT_S: Final = 300.0
_ABOUT_QUERY: Final = frozenset(("ParserException", "BinderException", "CatalogException"))


class BadExpression(Invalid):
    """A label or condition of a gate is not one SQL expression over the columns of its evidence."""

    code = "bad_expression"


def check_expressions(source: EvidenceSource) -> None:
    """Raises: BadExpression where label or condition is not one expression; MissingPart without DuckDB."""
    for field, text in (("label", source.label), ("where", source.where)):
        if text is not None:
            _parsed(field, text)


def batches(
    paths: Sequence[Path],
    fmt: Format,
    contract: Contract,
    source: EvidenceSource,
    columns: Sequence[str],
    *,
    scratch: Path,
    rows: int = BATCH_ROWS,
    limit_s: float = QUERY_LIMIT_S,
) -> Iterator[pa.Table]:
    """The rows of the evidence, at most `rows` at a time: `LABEL` (boolean or null), then the columns.

    Args:
        columns: those wanted; what the contract does not declare or the files do not have is left out.
        scratch: an existing folder of this call's own.
        limit_s: no batch may take longer.
    Raises: Invalid (BadExpression, Unreadable) for what cannot be read or evaluated; Unavailable when memory does not
        suffice; MissingPart without DuckDB.
    """
    check_expressions(source)
    with tables.connect(paths, scratch=scratch) as con:
        import duckdb

        try:
            opened = tables.open_table(con, paths, fmt, contract)
            there = [contract.columns[i].name for i in opened.present]
            query = _query(opened.relation, source, [c for c in dict.fromkeys(columns) if c in there])
            seen = 0
            for batch in _read(con, query, rows, limit_s):
                seen += batch.num_rows
                yield batch
            _check_count(con, _rows_of(opened.relation, source), seen, limit_s)
        except duckdb.InterruptException as error:
            raise BadExpression(f"evidence: stopped after {limit_s:g} s", next_step="ask for less") from error
        except duckdb.OutOfMemoryException as error:
            raise Unavailable("evidence: not enough memory to read it", next_step="give it more room") from error
        except duckdb.Error as error:
            raise BadExpression(f"evidence: {_told(error)}", next_step="correct label and where") from error


def _query(relation: str, source: EvidenceSource, columns: Sequence[str]) -> str:
    """One SELECT; label and condition were parsed alone before, so neither can reach beyond its parentheses."""
    wanted = ", ".join([f"(\n{source.label}\n) AS {tables.name(LABEL)}", *map(tables.name, columns)])
    return f"SELECT {wanted} {_rows_of(relation, source)}"


def _rows_of(relation: str, source: EvidenceSource) -> str:
    where = "" if source.where is None else f" WHERE (\n{source.where}\n)"
    return f"FROM {tables.name(relation)}{where}"


def _read(con: duckdb.DuckDBPyConnection, query: str, rows: int, limit_s: float) -> Iterator[pa.Table]:
    import pyarrow as pa

    with _limited(con, limit_s):
        relation = con.sql(query)
        found = dict(zip(relation.columns, map(str, relation.types), strict=True))
        if found.get(LABEL) != "BOOLEAN":
            held = printable(found.get(LABEL, "nothing"))
            raise BadExpression(f"label: {held}; true, false or null is expected", next_step="such as arr_delay > 30")
        reader = relation.to_arrow_reader(rows)
    while True:
        try:
            with _limited(con, limit_s):
                batch = reader.read_next_batch()
        except StopIteration:
            return
        yield pa.Table.from_batches([batch])


def _check_count(con: duckdb.DuckDBPyConnection, rows_of: str, seen: int, limit_s: float) -> None:
    """One label a row: `unnest` would make more of one."""
    with _limited(con, limit_s):
        row = con.execute(f"SELECT count(*) {rows_of}").fetchone()
    if row is None or row[0] != seen:
        raise BadExpression(f"label: {seen:,} values for {row[0] if row else 0:,} rows", next_step="one for each row")


@contextmanager
def _limited(con: duckdb.DuckDBPyConnection, limit_s: float) -> Iterator[None]:
    """Interrupts what the connection does once the time is over."""
    timer = threading.Timer(limit_s, con.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _parsed(field: str, text: str) -> None:
    try:
        import duckdb
    except ImportError as error:
        raise MissingPart("DuckDB is not installed", next_step="pip install 'falaj[local]'") from error
    try:
        duckdb.SQLExpression(text)
    except duckdb.Error as error:
        raise BadExpression(
            f"evidence.{field} {printable(text)}: not one SQL expression ({_first_line(error)})",
            next_step="such as arr_delay > 30",
        ) from error


def _told(error: Any) -> str:
    """What DuckDB says about the query. What it says about data or files is left out: it quotes values and paths."""
    kind = type(error).__name__
    if kind == "PermissionException":
        return "label and where can read the rows of the evidence and nothing else"
    return _first_line(error) if kind in _ABOUT_QUERY else kind


def _first_line(error: Exception) -> str:
    return "".join(c if c.isprintable() else "�" for c in str(error).split("\n", 1)[0])[:200]
