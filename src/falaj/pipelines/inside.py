"""What code of a step reaches of Falaj while it runs: `fj.log`, `fj.point_in_time`, and the datasets it was given.

An attempt has no store, no token and no network of ours: it sees the files that were put there for it, and what it
hands back is judged and kept by whoever started it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.data import tables
from falaj.data.contract import from_data
from falaj.features import join
from falaj.features.definitions import Dataset, FeatureService
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import Given, Task

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

ROWS, JOINED = "entity_rows", "joined"


class Attempt:
    """The attempt that runs in this process, and what it logged."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}


_current: Attempt | None = None


def begin(attempt: Attempt) -> None:
    """Make an attempt this process's own; for whoever starts the code of the step."""
    global _current  # noqa: PLW0603  one attempt a process
    _current = attempt


def _attempt(what: str) -> Attempt:
    if _current is None:
        raise PipelineInvalid(f"{what}: no step runs here", next_step=f"call it in a step; elsewhere use run.{what}")
    return _current


def log(params: Mapping[str, Any] | None = None, **metrics: float) -> None:
    """Keep parameters and metrics on the step's run; the last value of a name counts.

    Raises: Invalid for a metric that is no finite number; PipelineInvalid outside of a step.
    """
    attempt = _attempt("log")
    for name, value in metrics.items():
        attempt.metrics[name] = number(name, value)
    attempt.params.update(params or {})


def number(name: str, value: Any) -> float:
    """A metric as a finite number. Raises: Invalid."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise Invalid(f"metric {printable(name)} is {printable(str(value))}: a finite number is expected")
    return found


class Rows(Dataset):
    """A version of a dataset as a step reads it."""

    def __init__(self, given: Given) -> None:
        super().__init__(given.name)
        self._given = given
        self.paths = tuple(Path(path) for path in given.paths)

    def table(self) -> pa.Table:
        """All rows, typed as the dataset's contract reads them; without one, as the files themselves say."""
        return self.sql(f"SELECT * FROM {tables.name(self._table)}")  # noqa: S608  a quoted name

    def sql(self, query: str) -> pa.Table:
        """What a query in DuckDB's SQL answers over the dataset, which is a table of its own name.

        Raises: Invalid for a dataset of plain files; what DuckDB raises of the query.
        """
        with tempfile.TemporaryDirectory(prefix="falaj-") as spill:
            con = tables.connect(self.paths, scratch=Path(spill))
            try:
                load(con, self._given, self._table)
                return con.sql(query).to_arrow_table()
            finally:
                con.close()

    @property
    def _table(self) -> str:
        return self.name.partition("@")[0].partition(":")[0]

    @property
    def name(self) -> str:
        """The dataset's address."""
        return self.thing


def load(con: duckdb.DuckDBPyConnection, given: Given, table: str) -> None:
    """One dataset as a table of a connection that may read its files."""
    if given.format not in ("csv", "parquet"):
        raise Invalid(f"{given.name}: plain files, not a table", next_step="read its paths")
    paths = [Path(path) for path in given.paths]
    if given.document is None:
        files = "[" + ", ".join(tables.text(str(path)) for path in paths) + "]"
        read = "read_csv" if given.format == "csv" else "read_parquet"
        query = f"SELECT * FROM {read}({files})"  # noqa: S608  quoted paths of our own
        con.execute(f"CREATE TEMP TABLE {tables.name(table)} AS {query}")
        return
    contract = from_data(dict(given.document), name=given.name)
    opened = tables.open_table(con, paths, "csv" if given.format == "csv" else "parquet", contract)
    con.execute(f"CREATE TEMP TABLE __loaded AS SELECT * FROM {tables.name(opened.relation)}")  # noqa: S608
    con.execute(f"DROP VIEW {tables.name(contract.table)}")
    con.execute(f"ALTER TABLE __loaded RENAME TO {tables.name(table)}")


def point_in_time(rows: Any, service: FeatureService, *, at: str) -> pa.Table:
    """Rows with the features of a service, each as it was known at the row's own time, the column `at`.

    The sources of the service are inputs of the step: Falaj found the service by its name in the step's code. Every
    row comes back once and in its place.

    Raises: PipelineInvalid for a service that the step's code does not name; FeatureInvalid.
    """
    task = _attempt("point_in_time").task
    if service.name not in {one.service for one in task.services}:
        raise PipelineInvalid(
            f"feature service {service.name}: the step {task.step} does not name it where it is read",
            next_step="use a service defined at the top of a file of the project, by its name",
        )
    views = {view.view: view for view in task.views if view.view in service.record.views}
    paths = [Path(path) for view in views for path in task.sources[view].paths]
    with tempfile.TemporaryDirectory(prefix="falaj-") as spill:
        con = tables.connect(paths, scratch=Path(spill))
        try:
            sources: dict[str, str] = {}
            known: dict[str, str] = {}
            for view in views:  # those of one version read it once
                given = task.sources[view]
                if given.name not in known:
                    known[given.name] = f"source_{len(known)}"
                    load(con, given, known[given.name])
                sources[view] = known[given.name]
            # An Arrow table is known to DuckDB by registering it; files outside of the inputs stay unreadable.
            con.register("__given", rows)
            con.execute(f"CREATE TEMP TABLE {ROWS} AS FROM __given")
            join.point_in_time(con, ROWS, service.record, views, sources, at=at, into=JOINED)
            return con.table(JOINED).to_arrow_table()
        finally:
            con.close()
