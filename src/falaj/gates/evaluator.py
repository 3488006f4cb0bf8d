"""The evaluator: measures a candidate, and the holder beside it, on the data that a gate names.

Nothing that a client logged is looked at. The evidence version is checked out into scratch, opened as its contract
reads it, labelled by the gate's own expression, and both models score the same rows in processes that can do nothing
else. What could not be measured is told in the evidence, where its rule fails by it; only an outage (a store that is
away, a missing part) ends the evaluation, since it says nothing about the candidate.
"""

from __future__ import annotations

import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from falaj.core.errors import FalajError, Invalid, MissingPart, Unavailable
from falaj.core.names import Thing
from falaj.core.records import Asset, Version
from falaj.data.contract import from_data
from falaj.data.records import Contract, ContractVersion, DatasetVersion
from falaj.data.tables import Format
from falaj.gates import checks, table
from falaj.gates.records import Evidence, EvidenceSource, Gate, Latency
from falaj.models import scoring
from falaj.models.errors import ScoringStopped
from falaj.models.kinds import MODEL
from falaj.models.verification import Verified, verified
from falaj.store.catalog import Held
from falaj.store.ground import Ground
from falaj.store.keys.errors import KeyDestroyed
from falaj.store.metadata import Transaction
from falaj.store.objects.errors import ContentErased

if TYPE_CHECKING:
    import pyarrow as pa

LIBRARIES: Final = ("falaj", "numpy", "scikit-learn", "skops", "onnxruntime", "duckdb", "pyarrow")
TIMED_ROWS: Final = 300
TIMED_LEAST: Final = 100
TIMED_BEFORE: Final = 20
ROUNDS: Final = 3
ROUND_S: Final = 10.0

Progress = Callable[[str, int, int], None]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: a version that shall hold a ref, beside the version that holds it (None for none).

    Attributes:
        data, contract: versions to measure on and to read it by, to measure once more what was measured before; ""
            for what the gate names, as it is now.
    """

    asset: Asset
    candidate: Version
    holder: Version | None
    data: str = ""
    contract: str = ""


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence version, and the contract that reads it: `judging` is the contract's version."""

    held: Held
    judging: Held
    rows: int
    format: Format
    contract: Contract


def evidence_for(ground: Ground, gate: Gate, trial: Trial, progress: Progress) -> tuple[Evidence, Data | None]:
    """All that the gate's rules need, measured now.

    Returns: the evidence, and the data that it was measured on (None where none was found).
    Raises: Unavailable, MissingPart, where an outage kept it from measuring.
    """
    measures = bool(gate.metrics) or gate.latency_ms is not None
    if measures:
        scoring.warm()  # libraries are imported while the candidate is verified and the evidence is read
    data, trouble = _found(ground, trial, gate.evidence)
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ground.scratch) as folder:
        scratch = Path(folder)
        sound = _sound(ground, trial.asset, trial.candidate, scratch / "candidate")
        evidence = Evidence()
        if measures:
            evidence = _measured(ground, gate, trial, sound, data, trouble, scratch, progress)
        held = data.held if data else None
        found = checks.established(ground, trial.asset, trial.candidate, sound, held, gate, scratch=scratch)
    return msgspec.structs.replace(evidence, checks=found), data


def program() -> dict[str, str]:
    """What measures here: Falaj, Python, the machine and the libraries that figures depend on, with their versions."""
    told = {"python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            told[library] = version(library)
    return {**told, "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"}


def _found(ground: Ground, trial: Trial, source: EvidenceSource | None) -> tuple[Data | None, str]:
    """The evidence, or why there is none."""
    if source is None:
        return None, "the gate names no evidence"
    try:
        with ground.database.read() as tx:
            return _data(ground, tx, trial, Thing.parse(trial.data or source.data, kind="dataset")), ""
    except FalajError as error:
        return None, _why(error)


def _data(ground: Ground, tx: Transaction, trial: Trial, thing: Thing) -> Data:
    catalog, project = ground.catalog, trial.asset.project
    held = catalog.resolve(tx, project, thing)
    where = f"{held.asset.name} v{held.version.number}"
    if held.version.state != "live" and not trial.data:  # what was measured on once may be so again
        raise Invalid(f"{where} is {held.version.state}")
    payload: DatasetVersion = catalog.payload(held.asset, held.version)
    if payload.format == "files":
        raise Invalid(f"{where}: plain files, not a table")
    named = Thing.parse(trial.contract or payload.contract or f"contract/{held.asset.name}@main")
    if payload.contract is None and catalog.find_asset(tx, project, "contract", held.asset.name) is None:
        raise Invalid(f"{where} has no contract that says how it is read")
    judging = catalog.resolve(tx, project, named)
    document: ContractVersion = catalog.payload(judging.asset, judging.version)
    contract = from_data(document.document, name=judging.asset.name)
    return Data(held=held, judging=judging, rows=payload.rows or 0, format=payload.format, contract=contract)


def _sound(ground: Ground, asset: Asset, version: Version, folder: Path) -> Verified | None:
    """The version checked out and looked at, bytes and all; None where it is no model."""
    return verified(ground, asset, version, folder=folder) if asset.kind == MODEL.name else None


def _measured(
    ground: Ground,
    gate: Gate,
    trial: Trial,
    sound: Verified | None,
    data: Data | None,
    trouble: str,
    scratch: Path,
    progress: Progress,
) -> Evidence:
    """The metrics, or why there are none."""
    if sound is None:
        return Evidence(unmeasured={"metrics": f"a {trial.asset.kind} gives no scores"})
    if data is None or gate.evidence is None:
        return Evidence(unmeasured={"metrics": trouble})
    try:
        model, path = sound.required("signature", "digest", "format")
        with ExitStack() as stack:
            ours = stack.enter_context(scoring.Scorer(model, path, scratch=scratch))
            other = _Holder(ground, trial, scratch, stack)
            rows = _Rows(gate.slices)
            columns = [*(one.name for one in model.inputs), *other.columns, *gate.slices]
            for batch in _batches(ground, gate.evidence, data, columns, scratch, progress):
                # The label stands first and is taken away: no name among a model's inputs can reach it.
                seen = batch.remove_column(0)
                rows.add(batch.column(0), seen, ours.score(seen))
                other.add(seen)
                progress("scoring", len(rows.label), max(data.rows, len(rows.label)))
            figures = _figures(gate, rows, other)
            if "no_leakage" in checks.asked(gate) and rows.first is not None:
                figures = _watched(figures, rows, [one.name for one in model.inputs])
            return _timed(gate, ours, rows.first, figures) if gate.latency_ms else figures
    except FalajError as error:
        return Evidence(unmeasured={"metrics": _why(error)})


def _batches(
    ground: Ground, source: EvidenceSource, data: Data, columns: Sequence[str], scratch: Path, progress: Progress
) -> Iterator[pa.Table]:
    progress("reading", 0, data.held.version.size_bytes)
    files = ground.contents.checkout(data.held.version, scratch / "evidence")
    (scratch / "spill").mkdir()
    return table.batches(
        files, data.format, data.contract, source, columns, scratch=scratch / "spill", rows=scoring.BATCH_ROWS
    )


def _figures(gate: Gate, rows: _Rows, other: _Holder) -> Evidence:
    from falaj.gates import metrics

    columns: dict[str, Sequence[Any]] = dict(rows.columns)
    theirs = other.scores()
    found = metrics.measure(gate, rows.label, _joined(rows.scores), columns=columns, holder=theirs)
    if other.trouble:
        found = msgspec.structs.replace(found, unmeasured={**found.unmeasured, "holder": other.trouble})
    return found


def _watched(evidence: Evidence, rows: _Rows, inputs: Sequence[str]) -> Evidence:
    """The evidence with those inputs that tell the label alone, by the first batch."""
    import pyarrow as pa

    from falaj.gates import metrics

    batch = rows.first
    assert batch is not None  # noqa: S101  the caller looked
    numbers = [one for one in inputs if _is_number(batch.schema.field(one).type)]
    columns = {one: batch.column(one).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) for one in numbers}
    found = metrics.suspicious(rows.label[: batch.num_rows], columns)
    return msgspec.structs.replace(evidence, alone=found)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _timed(gate: Gate, scorer: scoring.Scorer, rows: pa.Table | None, evidence: Evidence) -> Evidence:
    """The evidence with how long single rows take: asked again, at most three times, while the bound is missed.

    The same rows are asked in each round, and of each row its least time counts. Other work on the host makes a row
    slower and never faster, and seldom the same row each time; what a row costs the model itself it costs every time.
    """
    import numpy as np

    if rows is None or not rows.num_rows:
        return evidence
    scorer.times(rows, TIMED_BEFORE, limit_s=ROUND_S)
    best, found = None, None
    for number in range(1, ROUNDS + 1):
        taken = 1000 * scorer.times(rows, TIMED_ROWS, limit_s=ROUND_S)
        both = min(len(taken), len(taken) if best is None else len(best))
        if both < TIMED_LEAST:
            why = f"{len(taken)} rows in {ROUND_S:g} s; {TIMED_LEAST} are needed"
            return msgspec.structs.replace(evidence, unmeasured={**evidence.unmeasured, "latency": why})
        best = taken if best is None else np.minimum(best[:both], taken[:both])
        ranked = np.sort(best)
        p50, p99 = (float(ranked[math.ceil(share * both) - 1]) for share in (0.5, 0.99))
        found = Latency(p50_ms=p50, p99_ms=p99, rows=both, rounds=number)
        if p99 <= (gate.latency_ms or 0):
            break
    return msgspec.structs.replace(evidence, latency=found)


class _Rows:
    """What is kept of the rows that were scored; `first` are some of them as they were asked."""

    def __init__(self, slices: Sequence[str]) -> None:
        self._wanted = slices
        self.columns: dict[str, list[Any]] = {column: [] for column in slices}
        self.label: list[bool | None] = []
        self.scores: list[Any] = []
        self.first: pa.Table | None = None

    def add(self, label: pa.ChunkedArray, batch: pa.Table, scores: Any) -> None:
        self.first = batch if self.first is None else self.first
        self.label += label.to_pylist()
        self.scores.append(scores)
        for column in self._wanted:
            if column in batch.column_names:
                self.columns[column] += batch.column(column).to_pylist()
            else:
                self.columns.pop(column, None)


class _Holder:
    """The version that holds the ref, while it is scored on the same rows; `trouble` says why it is not."""

    def __init__(self, ground: Ground, trial: Trial, scratch: Path, stack: ExitStack) -> None:
        self.columns: tuple[str, ...] = ()
        self.trouble = ""
        self._scorer: scoring.Scorer | None = None
        self._parts: list[Any] = []
        if trial.holder is None:
            return
        try:
            sound = verified(ground, trial.asset, trial.holder, folder=scratch / "holder")
            model, path = sound.required("signature", "digest", "format")
            self._scorer = stack.enter_context(scoring.Scorer(model, path, scratch=scratch))
            self.columns = tuple(one.name for one in model.inputs)
        except FalajError as error:
            self.trouble = _why(error)

    def add(self, batch: pa.Table) -> None:
        if self._scorer is None:
            return
        try:
            self._parts.append(self._scorer.score(batch))
        except FalajError as error:
            self.trouble, self._scorer = _why(error), None

    def scores(self) -> Any:
        """(rows,) probabilities; None where there is no holder, or it could not be scored."""
        return None if self._scorer is None else _joined(self._parts)


def _joined(parts: Sequence[Any]) -> Any:
    import numpy as np

    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float64)


def _why(error: FalajError) -> str:
    """The reason, for a finding. Raises: the error itself where it is an outage, which judges nobody.

    A process that died judges its model; bytes that were given up, and keys that were destroyed, do not come back.
    """
    lasting = isinstance(error, ScoringStopped | ContentErased | KeyDestroyed)
    if isinstance(error, MissingPart) or (isinstance(error, Unavailable) and not lasting):
        raise error
    return error.message
