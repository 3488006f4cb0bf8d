"""Records of deployments: what a file of `deploy/` says. It is the payload of the kind `deployment`.

Shares are whole ten-thousandths, as in the serving bundle (`core.bundle.FULL` is all traffic); latencies milliseconds.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from falaj.core.bundle import FULL
from falaj.core.names import Thing

Judge = Literal["errors", "latency", "prediction_shift"]
Measure = Literal["errors", "p50", "p95", "p99"]
Reference = Literal["training", "first"]
ScoreMetric = Literal["auc", "brier", "log_loss", "accuracy"]

JUDGES: Final[tuple[Judge, ...]] = ("errors", "latency", "prediction_shift")
QUANTILES: Final[dict[Measure, float]] = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
HIGHER_IS_BETTER: Final[frozenset[ScoreMetric]] = frozenset({"auc", "accuracy"})
SHIFT: Final = 0.5


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the parts of a deployment."""


class Bake(Part, frozen=True, kw_only=True):
    """How much the canary answers at each share before the next.

    Attributes:
        unit: "requests", or the "predictions" in them: the rows that were answered.
    """

    count: int
    unit: Literal["requests", "predictions"] = "requests"

    def __str__(self) -> str:
        return f"{self.count:,} {self.unit}"


class Plan(Part, frozen=True, kw_only=True):
    """How a version goes out.

    Attributes:
        canary: its share at each step, rising; the last is all.
        judge: what the canary is compared by with an equal, concurrent slice of the stable version.
        shift: the population stability index of the two from which on predictions count as shifted.
    """

    canary: tuple[int, ...] = (FULL,)
    bake: Bake
    judge: tuple[Judge, ...] = JUDGES
    shift: float = SHIFT


class Limit(Part, frozen=True, kw_only=True):
    """By what a canary is rolled back, whatever the stable version does: `errors > 1%`, `p99 > 50ms`.

    Attributes:
        above: a share for errors, milliseconds for latencies; the bound itself is fine.
    """

    measure: Measure
    above: float

    @property
    def bound(self) -> str:
        """The bound with its unit: `1 %`, `50 ms`."""
        return f"{self.above * 100:g} %" if self.measure == "errors" else f"{self.above:g} ms"

    def __str__(self) -> str:
        return f"{self.measure} > {self.bound}"


class LogPlan(Part, frozen=True, kw_only=True):
    """What the prediction log holds.

    Attributes:
        features: the inputs that are logged, None for all.
        personal: whether columns that a contract calls personal are left out.
        keep_days: how long a segment of the log is kept, None for ever.
    """

    features: tuple[str, ...] | None = None
    personal: Literal["drop", "keep"] = "drop"
    keep_days: int | None = None


class Shadow(Part, frozen=True, kw_only=True):
    """A version that is asked beside the ones that answer, and answers nobody.

    Attributes:
        model: another ref of the same model, `delay@challenger`; its gate says what may be held by it.
        share: of 10,000: of so many requests it gets a copy.
    """

    model: str
    share: int

    @property
    def follows(self) -> Thing:
        """The ref it follows, with its kind."""
        return Thing.parse(self.model, kind="model")


class Labels(Part, frozen=True, kw_only=True):
    """Where outcomes come from, later.

    Attributes:
        data: ref of the dataset, `flights@main`.
        key: its columns that, joined by "/", are the key of a prediction. The label is the model's own.
    """

    data: str
    key: tuple[str, ...]


class Drift(Part, frozen=True, kw_only=True):
    """When inputs count as drifted.

    Attributes:
        level: of the Benjamini-Hochberg procedure over the columns.
        effect: the least population stability index that matters.
        columns: how many columns must drift.
    """

    level: float = 0.01
    effect: float = 0.2
    columns: int = 1


class ScoreWatch(Part, frozen=True, kw_only=True):
    """When the live score counts as fallen: by its 95 % interval, against that of the reference."""

    metric: ScoreMetric
    no_worse_than: float


class Watch(Part, frozen=True, kw_only=True):
    """What is watched once labels or predictions come in.

    Attributes:
        every_s: seconds from one report to the next, which the loop makes by itself; None where only a person asks.
        reference: what live inputs are compared with: the data that the stable version was trained on, or its first
            predictions.
    """

    every_s: int | None = None
    reference: Reference = "training"
    drift: Drift | None = Drift()
    score: ScoreWatch | None = None


class Deployment(Part, frozen=True, kw_only=True):
    """A deployment: the ref that it follows, how a version goes out, and what is logged and watched.

    Attributes:
        name: of the asset, `delay`.
        model: the ref it follows, `delay@production`.
    """

    name: str
    model: str
    rollout: Plan
    rollback: tuple[Limit, ...] = ()
    shadow: Shadow | None = None
    log: LogPlan = LogPlan()
    labels: Labels | None = None
    watch: Watch | None = None

    @property
    def follows(self) -> Thing:
        """The ref it follows, with its kind."""
        return Thing.parse(self.model, kind="model")
