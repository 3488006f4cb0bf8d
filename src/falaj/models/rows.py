"""Rows on their way through a model: data as its contract reads it, a batch at a time, and predictions to Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from falaj.core.errors import Invalid, MissingPart, Unavailable
from falaj.core.names import printable
from falaj.data import tables
from falaj.data.records import Column, Contract, DatasetColumn, LogicalType
from falaj.models.records import Input, InputType

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BATCH_ROWS: Final = 32_768
ROW, PROBABILITY, MODEL_VERSION = "row", "probability", "model_version"
_LOGICAL: Final[dict[InputType, LogicalType]] = {
    "text": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        columns: of the file, as a version names them.
        total: sum of all probabilities.
    """

    rows: int
    total: float
    columns: tuple[DatasetColumn, ...]


def contract_of_inputs(inputs: Sequence[Input]) -> Contract:
    """For data without a contract: the columns that a model reads, with the types that it reads them as."""
    columns = tuple(Column(name=one.name, type=_LOGICAL[one.type]) for one in inputs)
    return Contract(
        id="", version="", status="", name="", table="data", columns=columns, rules=(), extra_columns=True, digest=""
    )


@contextmanager
def opened(
    paths: Sequence[Path],
    fmt: tables.Format,
    contract: Contract,
    columns: Sequence[str],
    *,
    scratch: Path,
    rows: int = BATCH_ROWS,
) -> Iterator[Iterator[pa.Table]]:
    """The rows of files in their order, at most `rows` at a time.

    Args:
        columns: those wanted, each once; those that the files do not all have are left out.
        scratch: an existing folder where DuckDB may spill.
    Raises: Invalid (Unreadable) for what cannot be read; Unavailable when memory does not suffice; MissingPart.
    """
    with tables.connect(paths, scratch=scratch) as con:
        import duckdb
        import pyarrow as pa

        try:
            table = tables.open_table(con, paths, fmt, contract)
            there = {contract.columns[i].name for i in table.present}
            wanted = ", ".join(tables.name(c) for c in dict.fromkeys(columns) if c in there) or "1 AS nothing"
            source = con.sql(f"SELECT {wanted} FROM {tables.name(table.relation)}")  # noqa: S608  quoted names
            yield (pa.Table.from_batches([batch]) for batch in source.to_arrow_reader(rows))
        except duckdb.OutOfMemoryException as error:
            raise Unavailable("data: not enough memory to read it", next_step="give it more room") from error
        except duckdb.Error as error:
            # What DuckDB says may quote a value of the data.
            raise tables.Unreadable(f"data: {type(error).__name__}", next_step="falaj verify") from error


def write_predictions(
    batches: Iterator[pa.Table],
    score: Callable[[pa.Table], np.ndarray[Any, np.dtype[np.float64]]],
    path: Path,
    *,
    key: Sequence[DatasetColumn],
    model_version: str,
    progress: Callable[[int], None],
) -> Predictions:
    """Score batch after batch into one Parquet file; a batch is all that is in memory.

    Each row has the columns of the key (without one, `row`: its place from 1), `probability` and `model_version`.

    Raises: Invalid where the key has a column of such a name; as `score`; MissingPart without PyArrow.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPart("PyArrow is not installed", next_step="pip install 'falaj[local]'") from error
    own = {PROBABILITY, MODEL_VERSION}
    if taken := [column.name for column in key if column.name in own]:
        raise Invalid(f"the data's key has a column {printable(taken[0])}", next_step="rename it in the data")
    done, total = 0, 0.0
    writer: Any = None
    try:
        for batch in batches:
            values = score(batch)
            table = _predicted(batch, values, [c.name for c in key], done, model_version)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=[MODEL_VERSION])
            writer.write_table(table)
            done, total = done + len(values), total + float(values.sum())
            progress(done)
        if writer is None:
            raise Invalid("the data has no rows: there is nothing to predict", next_step="choose another version")
    finally:
        if writer is not None:
            writer.close()
    named = tuple(key) or (DatasetColumn(name=ROW, type="integer"),)
    ours = (DatasetColumn(name=PROBABILITY, type="number"), DatasetColumn(name=MODEL_VERSION, type="string"))
    return Predictions(rows=done, total=total, columns=(*named, *ours))


def _predicted(batch: pa.Table, values: Any, key: list[str], done: int, model_version: str) -> pa.Table:
    import pyarrow as pa

    rows = len(values)
    places = range(done + 1, done + 1 + rows)
    table = batch.select(key) if key else pa.table({ROW: pa.array(places, pa.int64())})
    table = table.append_column(PROBABILITY, pa.array(values, pa.float64()))
    return table.append_column(MODEL_VERSION, pa.array([model_version] * rows, pa.string()))


def format_of(fmt: Literal["csv", "parquet", "files"], thing: str) -> tables.Format:
    """Raises: Invalid for plain files, which are no table."""
    if fmt == "files":
        raise Invalid(f"{thing}: plain files, not a table", next_step="choose a version of .csv or .parquet files")
    return fmt
