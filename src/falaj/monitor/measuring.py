"""Figures of a window: every column beside the reference, every version's share, and the score with its interval.

Columns are read one at a time, so memory holds a column of each sample and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from falaj.data import tables
from falaj.deploy.records import Drift, ScoreWatch
from falaj.gates import metrics
from falaj.gates.metrics import Bools
from falaj.models.records import Input
from falaj.monitor import columns, statistics
from falaj.monitor.columns import Compared
from falaj.monitor.records import (
    MIN_ROWS,
    CalibrationBin,
    ColumnDrift,
    Interval,
    LiveScore,
    Sort,
    VersionShare,
)
from falaj.monitor.rules import INPUT, against_reference, judged_columns
from falaj.monitor.statistics import Floats

if TYPE_CHECKING:
    import duckdb

TENTHS: Final = 10


class Sample:
    """A table of a connection, read by column.

    Args:
        relation: a table or view, or a query in parentheses.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, relation: str) -> None:
        self._con, self.relation = con, relation
        self.columns = frozenset(con.sql(f"SELECT * FROM {relation} LIMIT 0").columns)  # noqa: S608

    @property
    def rows(self) -> int:
        ((rows,),) = self._con.execute(f"SELECT count(*) FROM {self.relation}").fetchall()  # noqa: S608
        return int(rows)

    def numbers(self, column: str) -> Floats:
        """(rows,) in any order; NaN is null, and what is no number."""
        query = f"SELECT TRY_CAST({tables.name(column)} AS DOUBLE) FROM {self.relation}"  # noqa: S608
        found = self._con.sql(query).to_arrow_table()
        return np.asarray(found.column(0).to_numpy(zero_copy_only=False), dtype=np.float64)

    def by_version(self, figures: str) -> list[tuple[Any, ...]]:
        """Figures of each version, by its number."""
        query = f"SELECT version, {figures} FROM {self.relation} GROUP BY version ORDER BY version"  # noqa: S608
        return self._con.execute(query).fetchall()

    def categories(self, column: str) -> dict[str | None, int]:
        """Rows of each value, as text."""
        query = f"SELECT CAST({tables.name(column)} AS VARCHAR), count(*) FROM {self.relation} GROUP BY 1"  # noqa: S608
        return dict(self._con.execute(query).fetchall())


def compared(reference: Sample, live: Sample, inputs: Sequence[Input], *, prefix: str = "") -> list[ColumnDrift]:
    """Every input of a model in a live sample beside the reference. A column that one of them lacks says so.

    Args:
        prefix: what stands before an input's name in the reference.
    """
    rows = (reference.rows, live.rows)
    found = []
    for one in inputs:
        sort = sort_of(one)
        note = ""
        if INPUT + one.name not in live.columns:
            note = "not in the log"
        elif prefix + one.name not in reference.columns:
            note = "not in the reference"
        elif min(rows) < MIN_ROWS:
            note = too_few(rows)
        if note:
            found.append(ColumnDrift(column=one.name, sort=sort, rows=rows, note=note))
        elif sort == "number":
            a, b = reference.numbers(prefix + one.name), live.numbers(INPUT + one.name)
            found.append(_told(one.name, sort, columns.compare_numbers(a, b)))
        else:
            c, d = reference.categories(prefix + one.name), live.categories(INPUT + one.name)
            found.append(_told(one.name, sort, columns.compare_categories(c, d)))
    return found


def too_few(rows: tuple[int, int]) -> str:
    """Why two samples are not compared."""
    return f"not enough data: {rows[0]:,} rows of reference, {rows[1]:,} answers; {MIN_ROWS} of each are needed"


def sort_of(one: Input) -> Sort:
    """How a column is compared."""
    return "number" if one.type in {"number", "integer"} else "category"


def output_compared(first: Floats, live: Floats, name: str) -> ColumnDrift:
    """A version's answers beside the first that it gave, as the column `name`."""
    rows = (len(first), len(live))
    if min(rows) < MIN_ROWS:
        note = too_few(rows) if rows[0] else "the first answers of this version; later ones are compared with them"
        return ColumnDrift(column=name, sort="prediction", rows=rows, note=note)
    return _told(name, "prediction", columns.compare_numbers(first, live))


def _told(column: str, sort: Sort, found: Compared) -> ColumnDrift:
    return ColumnDrift(
        column=column,
        sort=sort,
        rows=found.rows,
        nulls=(_short(found.nulls[0]), _short(found.nulls[1])),
        means=None if found.means is None else (_short(found.means[0]), _short(found.means[1])),
        unseen=None if found.unseen is None else _short(found.unseen),
        psi=_short(found.psi),
        distance=None if found.distance is None else _short(found.distance),
        p=_short(found.p),
    )


def judged(found: Sequence[ColumnDrift], asked: Drift) -> tuple[ColumnDrift, ...]:
    """The columns with their answers, see `rules.judged_columns`."""
    compared_p = [column.p for column in found if column.p is not None]
    adjusted = [_short(p) for p in statistics.benjamini_hochberg(compared_p)]
    return judged_columns(found, adjusted, asked)


def scored(asked: ScoreWatch, label: Bools, output: Floats, *, reference: float | None, of: str) -> LiveScore:
    """A version's score on outcomes, with its 95 % interval and calibration.

    Args:
        label, output: (rows,) outcomes and the probabilities that were answered.
        reference: the score before, None where there is none.
    """
    found = metrics.measured(label, output, list(metrics.METRICS))
    live = interval(asked.metric, label, output)
    worse = None if live is None or reference is None else against_reference(live, asked.metric, reference)
    return LiveScore(
        metric=asked.metric,
        rows=len(label),
        metrics={name: None if value is None else _short(value) for name, value in found.items()},
        live=live,
        reference=None if reference is None else _short(reference),
        reference_of=of,
        worse_by=worse,
        tolerated=asked.no_worse_than,
        predicted=_short(float(output.mean())) if len(output) else None,
        observed=_short(float(label.mean())) if len(label) else None,
        calibration=_calibration(label, output),
    )


def interval(metric: str, label: Bools, output: Floats) -> Interval | None:
    """A metric on some rows with its 95 % interval; None where it is undefined.

    It is the interval of the difference from answers whose metric is the same on every row, whatever the label: one
    half, or for the accuracy the truth itself.
    """
    value = metrics.METRICS[metric](label, output)
    still = label.astype(np.float64) if metric == "accuracy" else np.full(len(label), 0.5)
    found = metrics.difference(metric, label, output, still)
    if found.low is None or found.high is None or not np.isfinite(value):
        return None
    half = (found.high - found.low) / 2
    return Interval(value=_short(value), low=_short(value - half), high=_short(value + half))


def _calibration(label: Bools, output: Floats) -> tuple[CalibrationBin, ...]:
    at = np.minimum((output * TENTHS).astype(np.int64), TENTHS - 1)
    rows = np.bincount(at, minlength=TENTHS)
    predicted = np.bincount(at, weights=output, minlength=TENTHS)
    observed = np.bincount(at, weights=label.astype(np.float64), minlength=TENTHS)
    return tuple(
        CalibrationBin(
            rows=int(rows[i]), predicted=_short(float(predicted[i] / rows[i])), observed=_short(observed[i] / rows[i])
        )
        for i in range(TENTHS)
        if rows[i]
    )


def shares(answered: Sequence[tuple[int, int, int]], labelled: Sequence[tuple[int, int]]) -> tuple[VersionShare, ...]:
    """What each version answered, and how many outcomes came.

    Args:
        answered: (version, rows with a probability, rows without); labelled: (version, rows).
    """
    found = {version: VersionShare(version=version, answered=rows, failed=failed) for version, rows, failed in answered}
    for version, rows in labelled:
        found[version] = msgspec.structs.replace(found.get(version) or VersionShare(version=version), labelled=rows)
    return tuple(found[version] for version in sorted(found))


def _short(value: float) -> float:
    """Eight significant digits: what any machine repeats."""
    return float(f"{value:.8g}")
