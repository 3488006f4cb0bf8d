"""`fj.score`: how good a model's probabilities are on a table, by the metrics that gates measure with.

What a step measures is told with its run and chooses among candidates. It is no evidence: gates measure themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from falaj.core.names import printable
from falaj.gates import metrics
from falaj.pipelines.errors import PipelineInvalid

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def score(
    model: Any, data: pa.Table, *, label: str = "label", slices: Sequence[str] = (), columns: Sequence[str] = ()
) -> dict[str, Any]:
    """The metrics of a model's probabilities for a yes-or-no column.

    Args:
        model: with `predict_proba`, as a step is given it.
        label: the column that says what happened; rows where it is null are left out, and counted.
        slices: columns; for each of their values the same metrics, under `slices`.
        columns: those that the model reads, in its order; default: as it says itself, else all others.
    Returns: `auc`, `brier`, `log_loss`, `accuracy`, `mean_error`, `calibration_error` where they are defined, `rows`,
        `unlabelled`, and `slices`: column → value → metrics.
    Raises: PipelineInvalid for a column that is not there; TooManySlices.
    """
    import numpy as np
    from pyarrow import compute

    wanted = list(columns) or [str(name) for name in getattr(model, "feature_names_in_", ())]
    wanted = wanted or [name for name in data.column_names if name != label and name not in slices]
    missing = [name for name in (label, *wanted, *slices) if name not in data.column_names]
    if missing:
        raise PipelineInvalid(
            f"score: no column {printable(missing[0])}", next_step=f"there are: {', '.join(data.column_names)}"
        )
    known = data.filter(compute.is_valid(data[label]))
    happened = np.asarray(known[label].to_pylist(), dtype=bool)
    chances = np.asarray(model.predict_proba(matrix(known, wanted)))[:, 1].astype(np.float64)
    told: dict[str, Any] = _defined(metrics.measured(happened, chances, list(metrics.METRICS)))
    told |= {"rows": known.num_rows, "unlabelled": data.num_rows - known.num_rows}
    if slices:
        told["slices"] = {one: _sliced(happened, chances, known[one].to_pylist()) for one in slices}
    return told


def matrix(data: pa.Table, columns: Sequence[str]) -> np.ndarray[Any, Any]:
    """Columns as the rows that a model reads: float64 where all are numbers (null is NaN), else objects."""
    import numpy as np
    import pyarrow as pa

    kinds = [data.schema.field(name).type for name in columns]
    if all(pa.types.is_integer(k) or pa.types.is_floating(k) or pa.types.is_boolean(k) for k in kinds):
        numbers = [data[name].cast(pa.float64()).to_numpy() for name in columns]
        return np.column_stack(numbers)
    return np.array([data[name].to_pylist() for name in columns], dtype=object).T


def _sliced(happened: Any, chances: Any, values: list[Any]) -> dict[str, Any]:
    found = metrics.slices(happened, chances, values, list(metrics.METRICS))
    return {one.value: {**_defined(one.metrics), "rows": one.rows} for one in found}


def _defined(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
