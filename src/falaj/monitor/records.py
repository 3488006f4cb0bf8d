"""The payload of the kind `report`: figures and no value of the data, so that erasing a subject changes no report."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Answer = Literal["ok", "alarm", "not_enough_data", "not_asked"]
Verdict = Literal["ok", "drift", "score_fell", "drift_and_score_fell", "not_enough_data"]
Sort = Literal["number", "category", "prediction"]

MIN_ROWS: Final = 200
"""Rows that a sample must have before anything is concluded from it."""
PREDICTION: Final = "prediction"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of a report."""


class ColumnDrift(Part, frozen=True, kw_only=True):
    """One column of the live window beside the reference. It holds no value of the data.

    Attributes:
        sort: `prediction` is the model's output, compared with the first answers of the same version.
        rows: of reference and live.
        nulls: shares of these rows.
        means: of the numbers, reference and live.
        unseen: share of live rows whose category the reference never had.
        psi: population stability index in nats, bias-corrected: about 0, and at times a little below, where nothing
            moved; None where it was not compared, then `note` says why.
        distance: of Kolmogorov and Smirnov.
        p: that so much is chance; `adjusted` by Benjamini and Hochberg over the columns of the report.
        significant: `adjusted` is within the level; `large`: `psi` reaches the effect. Only both together is drift.
    """

    column: str
    sort: Sort
    rows: tuple[int, int] = (0, 0)
    nulls: tuple[float, float] = (0.0, 0.0)
    means: tuple[float, float] | None = None
    unseen: float | None = None
    psi: float | None = None
    distance: float | None = None
    p: float | None = None
    adjusted: float | None = None
    significant: bool = False
    large: bool = False
    note: str = ""

    @property
    def drifted(self) -> bool:
        return self.significant and self.large


class Interval(Part, frozen=True, kw_only=True):
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float


class LiveScore(Part, frozen=True, kw_only=True):
    """How the judged version did on the outcomes that came in since the report before.

    Attributes:
        metric: what the deployment asks for, `brier`.
        rows: predictions with an outcome.
        metrics: every metric of the gates on these rows; None where one is undefined.
        live: the metric asked for, with its interval.
        reference: its value before: of the gate's verdict, or of the first outcomes; None where there is none yet.
        reference_of: what that was measured on, in words.
        worse_by: live against the reference, positive is worse; the interval is that of the live score.
        tolerated: `no_worse_than` of the deployment.
        predicted, observed: mean probability, and share of the outcomes that are true.
        calibration: by tenths of the probability.
    """

    metric: str
    rows: int
    metrics: dict[str, float | None] = {}
    live: Interval | None = None
    reference: float | None = None
    reference_of: str = ""
    worse_by: Interval | None = None
    tolerated: float = 0.0
    predicted: float | None = None
    observed: float | None = None
    calibration: tuple[CalibrationBin, ...] = ()


class CalibrationBin(Part, frozen=True, kw_only=True):
    """Predictions between two tenths: their mean, and the share that came true."""

    rows: int
    predicted: float
    observed: float


class VersionShare(Part, frozen=True, kw_only=True):
    """What one version answered in the window.

    Attributes:
        answered: rows with a probability; `failed` without.
        labelled: outcomes that came in since the report before.
    """

    version: int
    answered: int = 0
    failed: int = 0
    labelled: int = 0


class Report(Part, frozen=True, kw_only=True):
    """Payload of the kind `report`: what was found on one window of a deployment, and what follows.

    Attributes:
        deployment: its name; `deployment_version` the configuration that asked.
        model: of which `version` is judged: the one that holds the ref.
        predictions, outcomes: versions of the collected data that the window ends with, None where there were none.
        since_predictions, since_outcomes: versions that the window begins after. What was not enough to judge stays in
            the window of the next report.
        first_at, last_at: moments of the first and last answer of the window.
        rows: answers of the judged version in the window.
        reference: what columns were compared with, in words.
        verdict: both answers in one word.
        why: in words, with the figures.
        columns: as compared, largest effect first.
        drifted: how many columns drifted; `needed` how many must.
    """

    deployment: str
    deployment_version: int
    model: str
    version: int
    predictions: int | None
    outcomes: int | None
    since_predictions: int | None
    since_outcomes: int | None
    first_at: str | None
    last_at: str | None
    rows: int
    reference: str
    verdict: Verdict
    drift: Answer
    score: Answer
    why: tuple[str, ...]
    level: float | None
    effect: float | None
    needed: int
    drifted: int
    columns: tuple[ColumnDrift, ...]
    scored: LiveScore | None
    versions: tuple[VersionShare, ...]
    v: int = 1
