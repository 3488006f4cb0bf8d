"""What the operations of the monitor answer."""

from __future__ import annotations

import msgspec

from falaj.monitor.labelling import Counts
from falaj.monitor.records import Answer, ColumnDrift, LiveScore, Verdict, VersionShare


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class Collected(View, frozen=True, kw_only=True):
    """Predictions that were taken from a log into a dataset.

    Attributes:
        version: of the dataset; None where there is none yet.
        segments, rows: collected now; `shadows` of these rows a shadow made, and they answered nobody.
        total: rows in the version.
        expired: rows that it does not hold any longer, because their time is over.
        damaged: segments that hold something else than predictions; they lie where they lay.
        removed: files of the log that were not needed any more; `left` still lie there.
    """

    deployment: str
    dataset: str
    version: int | None
    previous: int | None
    segments: int
    rows: int
    shadows: int
    total: int
    expired: int
    damaged: tuple[str, ...]
    removed: int
    left: int
    stored_bytes: int
    run: str
    entry_id: str = ""
    entry: int | None = None


class Labelled(View, frozen=True, kw_only=True):
    """Outcomes that were joined to predictions.

    Attributes:
        version: of the dataset; None where no outcome is known yet.
        counts: what became of every prediction.
        predictions, data: versions that were joined, `delay_predictions:7`.
    """

    deployment: str
    dataset: str
    version: int | None
    previous: int | None
    counts: Counts
    predictions: str
    data: str
    run: str
    entry_id: str = ""
    entry: int | None = None


class Reported(View, frozen=True, kw_only=True):
    """A report as it was made. See `records.Report` for its fields.

    Attributes:
        number: of the report's version.
        alarms: ids of the entries `drift.found` and `score.fell`, by these words.
    """

    deployment: str
    number: int
    model: str
    version: int
    verdict: Verdict
    drift: Answer
    score: Answer
    why: tuple[str, ...]
    rows: int
    first_at: str | None
    last_at: str | None
    reference: str
    level: float | None
    effect: float | None
    needed: int
    drifted: int
    columns: tuple[ColumnDrift, ...]
    scored: LiveScore | None
    versions: tuple[VersionShare, ...]
    alarms: dict[str, str]
    run: str
    entry_id: str
    entry: int | None = None


class ReportRow(View, frozen=True, kw_only=True):
    """A report as a line of a list."""

    number: int
    at: str
    version: int
    verdict: Verdict
    rows: int
    drifted: int
    score: float | None
    why: str


class Status(View, frozen=True, kw_only=True):
    """Where the watching of a deployment stands.

    Attributes:
        segments, predictions: collected so far.
        waiting: segments of the log on this host that are not collected yet; None where there is no log here.
        outcomes: predictions with an outcome.
        due_at: when the loop makes the next report by itself; None where only a person asks for one.
        reports: the newest, newest first.
    """

    deployment: str
    segments: int
    predictions: int
    waiting: int | None
    outcomes: int
    due_at: str | None
    reports: tuple[ReportRow, ...]
