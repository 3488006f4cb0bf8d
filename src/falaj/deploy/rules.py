"""Pure rules of a rollout: what its evidence says, and what comes next. No clock, no database, no files.

The evidence of a step is what was answered under its own routing revision. The canary is looked at whenever its
requests have doubled (25, 50, 100, …), each look at a level of its own, so that all looks of a step together cry wolf
at most once in a hundred; what fails depends on the log alone, not on when somebody asked. A canary that fails is
taken back at once. One that was baked is looked at once more, and goes on where every judge says yes; where a judge
cannot tell, the share stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from math import ceil, log
from typing import Final, Literal

import msgspec

from falaj.core.bundle import FULL
from falaj.deploy.records import QUANTILES, Judge, Limit, LogPlan, Plan
from falaj.deploy.statistics import binomial_tail, share_is_greater, shift

LEVEL: Final = 0.01
FIRST_LOOK: Final = 25
LEAST_REQUESTS: Final = 50
LEAST_PREDICTIONS: Final = 200
LEAST_DRAWS: Final = 30
WORSE_ERRORS: Final = 0.001
WORSE_LATENCY: Final = 1.5
WORSE_LATENCY_MS: Final = 1.0
OUTPUT_BINS: Final = 1_000
_FINEST_MS: Final = 0.05
_RATIO: Final = 1.05
LATENCY_BINS: Final = 300
OPEN_CLASSES: Final = frozenset({"", "public", "internal"})

State = Literal["ok", "failed", "unsure", "not_enough"]
Action = Literal["wait", "advance", "finish", "fail", "hold"]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What one version answered.

    Attributes:
        requests: answers, `errors` of which failed.
        predictions: rows that got a probability.
        latencies: requests by `latency_bin`.
        outputs: predictions by probability, in 1,000 bins of equal width.
        draws: what the predictions are worth in independent ones: rows of one request are alike.
    """

    requests: int = 0
    errors: int = 0
    predictions: int = 0
    latencies: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    draws: float = 0.0

    @property
    def error_share(self) -> float | None:
        """None without requests."""
        return self.errors / self.requests if self.requests else None

    def quantile_ms(self, share: float) -> float | None:
        """An upper bound, within 5 %, of a quantile of the latencies; None without requests."""
        needed = share * sum(self.latencies)
        if not needed:
            return None
        return next(latency_ms(place) for place, total in enumerate(accumulate(self.latencies)) if total >= needed)

    def slower_than(self, ms: float) -> int:
        """Requests that certainly took longer."""
        return sum(self.latencies[latency_bin(ms) + 1 :])


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The canary, and the slice of the stable version that was answered beside it."""

    canary: Sample = Sample()
    stable: Sample = Sample()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the present step.

    Attributes:
        looks: how it stood when the canary's requests were 25, 50, 100, …, in this order.
        now: how it stands.
    """

    looks: tuple[Look, ...] = ()
    now: Look = Look()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one judge or limit says.

    Attributes:
        judge: "errors", "latency", "prediction_shift", or the limit in words.
        state: "unsure": it looks worse and may be chance; "not_enough": too little was answered to tell.
        canary, stable: shares for errors, milliseconds for latencies; for the shift its index and None.
    """

    judge: str
    state: State
    text: str
    canary: float | None = None
    stable: float | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next.

    Attributes:
        step: place of the step that is the next one, or stays.
        baked: how much was answered of what must be.
    """

    action: Action
    step: int
    text: str
    findings: tuple[Finding, ...] = ()
    baked: int = 0


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands. `step`: place in the plan's shares, from 0."""

    step: int
    state: Literal["running", "paused"] = "running"


def next_step(position: Position, plan: Plan, limits: Sequence[Limit], evidence: Evidence) -> Decision:
    """What comes next for a rollout: at most one change of the share.

    A paused rollout does not advance, and is still taken back where its canary fails.
    """
    judges = plan.judge if plan.canary[position.step] < FULL else ()
    baked = getattr(evidence.now.canary, plan.bake.unit)
    is_baked = baked >= plan.bake.count
    looks = (*evidence.looks, evidence.now) if is_baked else evidence.looks
    findings: tuple[Finding, ...] = ()
    for number, look in enumerate(looks, 1):
        findings = tuple(_findings(judges, plan, limits, look, level(number)))
        if failed := [f.text for f in findings if f.state == "failed"]:
            return Decision(action="fail", step=position.step, text="; ".join(failed), findings=findings, baked=baked)
    if not is_baked:
        findings = tuple(_findings(judges, plan, limits, evidence.now, level(len(looks) + 1)))
    action, text = _unless_failed(position, plan, findings, baked)
    step = position.step + 1 if action == "advance" else position.step
    return Decision(action=action, step=step, text=text, findings=findings, baked=baked)


def _unless_failed(position: Position, plan: Plan, findings: Sequence[Finding], baked: int) -> tuple[Action, str]:
    if baked < plan.bake.count:
        return "wait", f"{baked:,} of {plan.bake}"
    if open_ := [f.text for f in findings if f.state != "ok"]:
        return "hold", "; ".join(open_)
    if position.state == "paused":
        return "wait", "paused"
    if position.step + 1 == len(plan.canary):
        return "finish", f"{baked:,} {plan.bake.unit} at {shown_share(FULL)}"
    return "advance", f"{baked:,} {plan.bake.unit} at {shown_share(plan.canary[position.step])}"


def level(look: int) -> float:
    """The level of a look, from 1: those of all looks together are `LEVEL`, however many there are."""
    return LEVEL / (look * (look + 1))


def is_look(requests: int) -> bool:
    """Whether the canary is looked at after so many requests."""
    times, rest = divmod(requests, FIRST_LOOK)
    return not rest and times > 0 and times & (times - 1) == 0


def latency_bin(ms: float) -> int:
    """The bin of a latency; each is 5 % wide, the first goes up to 0.05 ms."""
    return min(LATENCY_BINS - 1, max(0, ceil(log(ms / _FINEST_MS) / log(_RATIO)))) if ms > _FINEST_MS else 0


def latency_ms(place: int) -> float:
    """The upper end of a bin."""
    return float(_FINEST_MS * _RATIO**place)


def output_bin(probability: float) -> int:
    """The bin of a probability."""
    return min(OUTPUT_BINS - 1, max(0, int(probability * OUTPUT_BINS)))


def dropped(plan: LogPlan, inputs: Sequence[str], classes: Mapping[str, str]) -> set[str]:
    """The inputs that the prediction log leaves out.

    Args:
        classes: by column of the training data, its classification as its contract has it. Whatever is neither
            "public" nor "internal" counts as personal.
    """
    unlogged = set() if plan.features is None else set(inputs) - set(plan.features)
    if plan.personal == "drop":
        unlogged |= {name for name in inputs if classes.get(name, "") not in OPEN_CLASSES}
    return unlogged


def shown_share(share: int) -> str:
    """A share for people: `25 %`, `0.5 %`."""
    return f"{share / 100:g} %"


def _findings(judges: Sequence[Judge], plan: Plan, limits: Sequence[Limit], look: Look, at: float) -> Iterator[Finding]:
    for limit in limits:
        yield _limit(limit, look.canary, at)
    for judge in judges:
        match judge:
            case "errors":
                yield _errors(look, at)
            case "latency":
                yield _latency(look, at)
            case "prediction_shift":
                yield _shift(look, plan.shift, at)


def _limit(limit: Limit, canary: Sample, at: float) -> Finding:
    """A limit is broken where what was seen is unlikely at the limit itself: one slow answer breaks none."""
    found: float | None
    if limit.measure == "errors":
        seen, share, found = canary.errors, limit.above, canary.error_share
        words = f"errors {percent(found)}"
    else:
        share = 1 - QUANTILES[limit.measure]
        seen, found = canary.slower_than(limit.above), canary.quantile_ms(QUANTILES[limit.measure])
        words = f"{limit.measure} {milliseconds(found)}"
    text = f"{words}, limit {limit.bound} (n = {canary.requests:,})"
    is_over = seen > share * canary.requests
    is_sure = is_over and (binomial_tail(seen, canary.requests, share) if share else 0.0) < at
    state: State = "failed" if is_sure else "unsure" if is_over else "ok"
    if not canary.requests:
        state = "not_enough"
    return Finding(judge=str(limit), state=state, text=text, canary=found)


def _errors(look: Look, at: float) -> Finding:
    canary, stable = look.canary, look.stable
    mine, other = canary.error_share, stable.error_share
    text = f"errors {percent(mine)} against {percent(other)} (n = {_smaller(look):,})"
    if _smaller(look) < LEAST_REQUESTS or mine is None or other is None:
        return Finding(judge="errors", state="not_enough", text=text, canary=mine, stable=other)
    state: State = "ok"
    if mine - other > WORSE_ERRORS:
        chance = share_is_greater(canary.errors, canary.requests, stable.errors, stable.requests)
        state = "failed" if chance < at else "unsure"
    return Finding(judge="errors", state=state, text=text, canary=mine, stable=other)


def _latency(look: Look, at: float) -> Finding:
    """Worse where clearly more than one in a hundred took longer than one and a half times the stable p99, and 1 ms."""
    mine, other = look.canary.quantile_ms(0.99), look.stable.quantile_ms(0.99)
    if _smaller(look) < LEAST_REQUESTS or mine is None or other is None:
        return Finding(judge="latency", state="not_enough", text=f"latency (n = {_smaller(look):,})")
    text = f"p99 {milliseconds(mine)} against {milliseconds(other)} (n = {_smaller(look):,})"
    slow = look.canary.slower_than(other * WORSE_LATENCY + WORSE_LATENCY_MS)
    state: State = "ok"
    if slow > 0.01 * look.canary.requests:
        state = "failed" if binomial_tail(slow, look.canary.requests, 0.01) < at else "unsure"
    return Finding(judge="latency", state=state, text=text, canary=mine, stable=other)


def _shift(look: Look, bound: float, at: float) -> Finding:
    n = min(look.canary.predictions, look.stable.predictions)
    draws = look.stable.draws, look.canary.draws
    if n < LEAST_PREDICTIONS or min(draws) < LEAST_DRAWS:
        text = f"shift (n = {n:,}, worth {min(draws):,.0f} of one row each)"
        return Finding(judge="prediction_shift", state="not_enough", text=text)
    index, chance = shift(look.stable.outputs, look.canary.outputs, draws)
    state: State = "ok" if index <= bound else "failed" if chance < at else "unsure"
    words = "none" if chance >= at or index <= 0 else f"{index:.2f}"
    return Finding(
        judge="prediction_shift", state=state, text=f"shift {words}, limit {bound:g} (n = {n:,})", canary=index
    )


def _smaller(look: Look) -> int:
    return min(look.canary.requests, look.stable.requests)


def percent(share: float | None) -> str:
    """A share for people, `0.12 %`."""
    return "-" if share is None else f"{share * 100:.2f} %"


def milliseconds(found: float | None) -> str:
    """A latency for people, `3.1 ms`."""
    return "-" if found is None else f"{found:.1f} ms"
