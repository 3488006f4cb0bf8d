"""Whether two files are one model: both are asked for the same rows, and no answer may differ.

Fixed before anything was measured: at least 10,000 rows of the data, and of every row the two probabilities within
1e-5 of each other. No share of the rows is excused. Sums of 32-bit floats differ by less than 1e-6; a row that falls
on the other side of a threshold differs by far more.

Rows of the data may hold no null in a column that will have some later. So rows are made of them beside: each column
in turn without a value, with a text that the data does not have, with an empty text, with numbers below and above all
of the data's. Where the given model refuses such rows the converted one must refuse them, too: it would answer where
none may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from falaj.core.names import printable
from falaj.models.errors import ScoringFailed
from falaj.models.records import Input

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Floats = np.ndarray[Any, np.dtype[np.float64]]

Score = Callable[["pa.Table"], "Floats"]

MIN_ROWS: Final = 10_000
MAX_ROWS: Final = 50_000
MAX_COLUMNS: Final = 1_000
BOUND: Final = 1e-5
BATCH_ROWS: Final = 10_000
EDGE_ROWS: Final = 20
_MOST_EDGES: Final = 20_000


class Disagreement(Exception):
    """The two files are not one model, or that cannot be told."""


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """Both models answered alike.

    Attributes:
        rows: of the data; edges: those made beside.
        largest: difference of two probabilities.
    """

    rows: int
    edges: int
    largest: float


def compare(
    given: Score, made: Score, rows: pa.Table, inputs: Sequence[Input], progress: Callable[[int], None]
) -> Agreed:
    """Ask both models for all rows, and for those made beside.

    Args:
        rows: the columns that the model reads, in its order: text, or else float64.
        progress: told how many rows were asked.
    Raises: Disagreement; what scoring raises where a process ends.
    """
    if rows.num_rows < MIN_ROWS:
        raise Disagreement(f"{rows.num_rows:,} rows to compare on, {MIN_ROWS:,} are needed")
    largest = 0.0
    for start in range(0, rows.num_rows, BATCH_ROWS):
        batch = rows.slice(start, BATCH_ROWS)
        largest = max(largest, _both(given, made, batch, ""))
        progress(start + batch.num_rows)
    made_beside = list(edges(rows, inputs))
    try:
        largest = max(largest, _all_edges(given, made, [table for _, table in made_beside]))
    except (Disagreement, ScoringFailed):  # which of them?
        for what, table in made_beside:
            largest = max(largest, _edge(given, made, table, what))
    return Agreed(rows=rows.num_rows, edges=sum(table.num_rows for _, table in made_beside), largest=largest)


def edges(rows: pa.Table, inputs: Sequence[Input]) -> Iterator[tuple[str, pa.Table]]:
    """Rows that the data may not have, made of its own: what is strange about them, in words, and the rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = max(1, min(EDGE_ROWS, _MOST_EDGES // (3 * len(inputs))))
    few = rows.take(pa.array(np.linspace(0, rows.num_rows - 1, count).astype(np.int64)))
    for place, one in enumerate(inputs):
        column, name = rows.column(place), printable(one.name)
        strange: list[tuple[str, Any]] = [(f"with no value in {name}", None)]
        if one.type == "text":
            strange += [(f"with an unseen text in {name}", _unseen(column)), (f"with an empty text in {name}", "")]
        elif one.type != "boolean" and (ends := pc.min_max(column))["min"].is_valid:
            low, high = ends["min"].as_py(), ends["max"].as_py()
            span = high - low + 1.0
            strange += [(f"with less than any in {name}", low - span), (f"with more than any in {name}", high + span)]
        for what, value in strange:
            values = pa.array([value] * count, column.type)
            yield what, few.set_column(place, rows.schema.field(place), values)


def _unseen(column: pa.ChunkedArray) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    word = "unseen"
    while pc.any(pc.equal(column, pa.scalar(word, column.type))).as_py():
        word += "."
    return word


def _all_edges(given: Score, made: Score, tables: Sequence[pa.Table]) -> float:
    import pyarrow as pa

    every = pa.concat_tables(tables)
    return max(_both(given, made, every.slice(at, BATCH_ROWS), "") for at in range(0, every.num_rows, BATCH_ROWS))


def _edge(given: Score, made: Score, rows: pa.Table, what: str) -> float:
    """The largest difference; none where both refuse the rows."""
    try:
        given(rows)
    except ScoringFailed:
        try:
            made(rows)
        except ScoringFailed:
            return 0.0
        raise Disagreement(f"{what} the given model refuses, and the converted one would answer") from None
    return _both(given, made, rows, what)


def _both(given: Score, made: Score, rows: pa.Table, what: str) -> float:
    """The largest difference over some rows. Raises: Disagreement; ScoringFailed where the given model refuses them."""
    import numpy as np

    before = given(rows)
    try:
        after = made(rows)
    except ScoringFailed as error:
        raise Disagreement(f"{what} the converted model fails: {error.message}".strip()) from error
    apart = np.abs(before - after)
    largest, many = float(apart.max(initial=0.0)), int((apart > BOUND).sum())
    if many:
        raise Disagreement(
            f"{what} {many:,} of {len(apart):,} rows differ by more than {BOUND:g}, by {largest:.3g} at most".strip()
        )
    return largest
