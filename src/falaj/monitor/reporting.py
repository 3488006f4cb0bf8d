"""A window opened beside its reference, and all that is found on it: from files to the figures of a report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from falaj.core.encoding import moment
from falaj.data import tables
from falaj.deploy.records import ScoreWatch
from falaj.door import Context
from falaj.monitor import measuring, sources
from falaj.monitor.measuring import Sample
from falaj.monitor.records import PREDICTION, ColumnDrift, LiveScore
from falaj.monitor.rules import INPUT
from falaj.monitor.sources import Readable
from falaj.monitor.window import FIRST, Figures, Growing, Window

if TYPE_CHECKING:
    import duckdb

ANSWERS: Final = "__falaj_answers"
LIVE: Final = "__falaj_live"
EARLY: Final = "__falaj_early"
TRAINING: Final = "__falaj_training"
MOST_FILES: Final = 1_000
"""So many files of a window are opened as they are."""


def measure(ctx: Context, window: Window) -> Figures:
    """Open the files of a window, and measure. Raises: as reading does."""
    figures = Figures()
    answered: list[tuple[int, int, int]] = []
    labelled: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
        if window.predictions is not None:
            ctx.progress("comparing columns", 0, 0)
            with _opened(ctx, window, window.predictions, Path(folder, "predictions"), window.training) as con:
                if con is not None:
                    figures = _drift(con, window)
                    answered = Sample(con, ANSWERS).by_version("count(output), count(*) - count(output)")
        if window.outcomes is not None and window.watch.score is not None:
            ctx.progress("scoring outcomes", 0, 0)
            with _opened(ctx, window, window.outcomes, Path(folder, "outcomes")) as con:
                if con is not None:
                    figures = msgspec.structs.replace(figures, scored=_score(con, window, window.watch.score))
                    labelled = Sample(con, ANSWERS).by_version("count(*)")
    return msgspec.structs.replace(figures, versions=measuring.shares(answered, labelled))


@contextmanager
def _opened(
    ctx: Context, window: Window, growing: Growing, folder: Path, training: Readable | None = None
) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """The files that came since the last report, as views; None where none came.

    `ANSWERS` are all rows but those of shadows; `LIVE` those of the judged version with a probability; `EARLY` the
    first ones that it gave before the window; `TRAINING` what it was trained on.
    """
    earlier, fresh = sources.since(ctx, growing.now, growing.before)
    if not fresh:
        yield None
        return
    paths = few(ctx.ground.contents.checkout(growing.now, folder, fresh), folder)
    early = sources.first_of(ctx, growing.now, earlier, folder, model_version=window.number, rows=FIRST)
    trained = ctx.ground.contents.checkout(training.version, folder / "training") if training else []
    spill = folder / "spill"
    spill.mkdir()
    with tables.connect([*paths, *early, *trained], scratch=spill) as con:
        mine = f"version = {window.number:d} AND output IS NOT NULL"
        first = f"SELECT * FROM ({_rows(early or paths)}) WHERE {mine}"  # noqa: S608
        most = FIRST if early else 0
        con.execute(f"CREATE TEMP VIEW {ANSWERS} AS {_rows(paths)}")
        con.execute(f"CREATE TEMP VIEW {LIVE} AS SELECT * FROM {ANSWERS} WHERE {mine}")  # noqa: S608
        con.execute(f"CREATE TEMP TABLE {EARLY} AS {first} ORDER BY filename, file_row_number LIMIT {most:d}")
        if training is not None:
            _open_training(con, training, trained)
        yield con


def few(paths: Sequence[Path], folder: Path, most: int = MOST_FILES) -> list[Path]:
    """The same rows in files that one connection may open: a log that was collected each minute is thousands a week."""
    if len(paths) <= most:
        return list(paths)
    import pyarrow.parquet as pq

    made = []
    for number, at in enumerate(range(0, len(paths), most)):
        path, spill, part = folder / f"some-{number:06}.parquet", folder / f"some-{number}", paths[at : at + most]
        spill.mkdir()
        with tables.connect(part, scratch=spill) as con:
            found = con.sql(f"SELECT * FROM {_read(part)}").to_arrow_reader(100_000)  # noqa: S608  quoted paths
            with pq.ParquetWriter(path, found.schema, compression="zstd") as writer:
                for batch in found:
                    writer.write_batch(batch)
        made.append(path)
    return made


def _read(paths: Sequence[Path]) -> str:
    shown = ", ".join(tables.text(str(path.resolve())) for path in paths)
    return f"read_parquet([{shown}], union_by_name = true)"


def _rows(paths: Sequence[Path]) -> str:
    shown = ", ".join(tables.text(str(path.resolve())) for path in paths)
    options = "union_by_name = true, filename = true, file_row_number = true"
    return f"SELECT * FROM read_parquet([{shown}], {options}) WHERE role <> 'shadow'"  # noqa: S608  quoted paths


def _open_training(con: duckdb.DuckDBPyConnection, training: Readable, paths: Sequence[Path]) -> None:
    """Text files are read once, however many columns are compared."""
    if training.contract is None:
        source = _read(paths)
    else:
        tables.open_table(con, paths, training.format, training.contract)
        source = tables.name(training.contract.table)
    kept = "VIEW" if training.format == "parquet" else "TABLE"
    con.execute(f"CREATE TEMP {kept} {TRAINING} AS SELECT * FROM {source}")  # noqa: S608  quoted names


def _drift(con: duckdb.DuckDBPyConnection, window: Window) -> Figures:
    """Every column of the judged version's answers beside its reference."""
    live = Sample(con, LIVE)
    first_at, last_at = _moments(con)
    figures = Figures(rows=live.rows, first_at=first_at, last_at=last_at)
    asked = window.watch.drift
    if asked is None:
        return figures
    inputs, early = window.served.model.inputs, Sample(con, EARLY)
    if window.watch.reference == "first":
        found = measuring.compared(early, live, inputs, prefix=INPUT)
    elif window.training is None:
        note = "nothing that the version was trained on has this column"
        found = [ColumnDrift(column=one.name, sort=measuring.sort_of(one), note=note) for one in inputs]
    else:
        found = measuring.compared(Sample(con, TRAINING), live, inputs)
    found.append(measuring.output_compared(early.numbers("output"), live.numbers("output"), PREDICTION))
    return msgspec.structs.replace(figures, columns=measuring.judged(found, asked))


def _moments(con: duckdb.DuckDBPyConnection) -> tuple[str | None, str | None]:
    """First and last answer of the judged version in the window."""
    ((first, last),) = con.execute(f"SELECT min(answered_at), max(answered_at) FROM {LIVE}").fetchall()  # noqa: S608
    first, last = (None if at is None else moment(at) for at in (first, last))
    return first, last


def _score(con: duckdb.DuckDBPyConnection, window: Window, asked: ScoreWatch) -> LiveScore:
    """The judged version's score on the outcomes that came, against the one before."""
    value, of = window.before or (None, "")
    return measuring.scored(asked, *_outcomes(con), reference=value, of=of)


def _outcomes(con: duckdb.DuckDBPyConnection) -> tuple[Any, Any]:
    """Label and probability of each row, in one order."""
    found = con.sql(f"SELECT label, output FROM {LIVE}").to_arrow_table()  # noqa: S608
    label = found.column(0).to_numpy(zero_copy_only=False).astype(np.bool_)
    return label, np.asarray(found.column(1).to_numpy(zero_copy_only=False), dtype=np.float64)
