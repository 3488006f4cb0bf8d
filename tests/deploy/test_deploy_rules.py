"""The controller of a rollout: a function of the plan and of what was answered, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.bundle import FULL
from falaj.deploy import rules
from falaj.deploy.records import Bake, Limit, LogPlan, Plan
from falaj.deploy.rules import Evidence, Look, Position, Sample

PLAN = Plan(canary=(500, 2500, FULL), bake=Bake(count=1000))
ERRORS = Limit(measure="errors", above=0.01)
SLOW = Limit(measure="p99", above=50.0)


def sample(requests: int, errors: int = 0, ms: float = 2.0, slow: int = 0, shifted: float = 0.0) -> Sample:
    """So many answers, some failed, some of them slow (a second), all moved up by `shifted`."""
    latencies = [0] * rules.LATENCY_BINS
    latencies[rules.latency_bin(ms)] = requests - slow
    latencies[rules.latency_bin(1000)] += slow
    outputs = [0] * rules.OUTPUT_BINS
    for at in range(requests - errors):
        outputs[rules.output_bin(min(1.0, (at * 0.618034) % 0.5 + shifted))] += 1
    return Sample(
        requests=requests,
        errors=errors,
        predictions=requests - errors,
        latencies=tuple(latencies),
        outputs=tuple(outputs),
        draws=float(requests - errors),
    )


def evidence(canary: Sample, stable: Sample | None = None, looks: tuple[Look, ...] = ()) -> Evidence:
    return Evidence(looks=looks, now=Look(canary=canary, stable=stable or sample(canary.requests)))


def decide(found: Evidence, step: int = 0, *limits: Limit, plan: Plan = PLAN, state: str = "running"):
    return rules.next_step(Position(step=step, state=state), plan, limits, found)


@pytest.mark.parametrize(
    ("canary", "stable", "action"),
    [
        (sample(0), sample(0), "wait"),
        (sample(999), sample(999), "wait"),
        (sample(1000), sample(1000), "advance"),
        (sample(5000), sample(5000), "advance"),
        (sample(1000), sample(0), "hold"),
        (sample(1000), sample(40), "hold"),
        (sample(1000, errors=1), sample(1000), "advance"),
        (sample(1000, errors=3), sample(1000), "hold"),
        (sample(1000, errors=40), sample(1000), "fail"),
        (sample(1000, errors=40), sample(1000, errors=40), "advance"),
        (sample(1000, ms=9.0), sample(1000), "fail"),
        (sample(1000, ms=2.5), sample(1000), "advance"),
        (sample(1000, slow=11), sample(1000), "hold"),
        (sample(1000, slow=40), sample(1000), "fail"),
        (sample(1000, slow=40), sample(1000, slow=40), "advance"),
        (sample(1000, shifted=0.3), sample(1000), "fail"),
        (sample(1000, shifted=0.05), sample(1000), "advance"),
    ],
)
def test_what_comes_next(canary, stable, action):
    assert decide(evidence(canary, stable)).action == action


@pytest.mark.parametrize(
    ("limit", "canary", "action"),
    [
        (ERRORS, sample(1000), "finish"),
        (ERRORS, sample(1000, errors=10), "finish"),
        (ERRORS, sample(1000, errors=13), "hold"),
        (ERRORS, sample(1000, errors=30), "fail"),
        (SLOW, sample(1000, ms=49), "finish"),
        (SLOW, sample(1000, slow=12), "hold"),
        (SLOW, sample(1000, slow=30), "fail"),
        (Limit(measure="errors", above=0.0), sample(1000, errors=1), "fail"),
        (Limit(measure="p50", above=1.0), sample(1000, ms=2.0), "fail"),
        (Limit(measure="p95", above=1.0), sample(1000, slow=40, ms=0.5), "finish"),
    ],
)
def test_limits_hold_for_the_canary_alone(limit, canary, action):
    assert decide(evidence(canary, sample(0)), 2, limit).action == action


def test_at_its_last_share_there_is_nothing_to_compare_with():
    assert decide(evidence(sample(1000, errors=500), sample(0)), 2).action == "finish"
    assert decide(evidence(sample(0), sample(0)), 2).action == "wait"


def test_the_first_look_at_which_it_fails_is_told_whatever_came_later():
    early = Look(canary=sample(50, errors=40), stable=sample(50))
    fine = sample(1000, errors=40)
    found = decide(evidence(fine, sample(1000, errors=40), looks=(early,)))
    assert (found.action, found.baked) == ("fail", 1000)
    assert "errors 80.00 % against 0.00 % (n = 50)" in found.text


def test_few_failures_early_are_no_verdict():
    early = Look(canary=sample(25, errors=1), stable=sample(25))
    assert decide(evidence(sample(40, errors=1), sample(40), looks=(early,)), 0, ERRORS).action == "wait"


def test_paused_it_stays_and_is_still_taken_back():
    assert decide(evidence(sample(1000)), state="paused").action == "wait"
    assert decide(evidence(sample(1000, errors=400)), state="paused").action == "fail"


def test_it_bakes_by_predictions_where_the_plan_says_so():
    plan = Plan(canary=(500, FULL), bake=Bake(count=3000, unit="predictions"))
    assert decide(evidence(sample(2999)), plan=plan).action == "wait"
    assert decide(evidence(sample(3000)), plan=plan).action == "advance"


def test_rows_that_are_alike_are_worth_less_than_they_are():
    many = msgspec.structs.replace(sample(1000), draws=29.0)
    found = decide(evidence(many, sample(1000)))
    assert found.action == "hold"
    assert "worth 29 of one row each" in found.text


def test_only_what_the_plan_names_is_judged():
    plan = Plan(canary=(500, FULL), bake=Bake(count=1000), judge=("errors",))
    assert decide(evidence(sample(1000, ms=500, shifted=0.4)), plan=plan).action == "advance"


ANY = st.builds(
    sample,
    requests=st.integers(0, 2000),
    errors=st.just(0),
    ms=st.sampled_from([0.5, 2.0, 3.0, 20.0]),
    shifted=st.sampled_from([0.0, 0.1, 0.4]),
) | st.integers(1, 2000).flatmap(lambda n: st.builds(sample, st.just(n), st.integers(0, n)))
LOOKS = st.lists(st.builds(Look, canary=ANY, stable=ANY), max_size=3).map(tuple)
LIMITS = st.lists(st.sampled_from([ERRORS, SLOW]), max_size=2, unique=True)


@given(ANY, ANY, LOOKS, st.integers(0, 2), LIMITS, st.sampled_from(["running", "paused"]))
def test_a_share_changes_by_one_step_at_most_and_never_without_proof(canary, stable, looks, step, limits, state):
    found = decide(evidence(canary, stable, looks), step, *limits, state=state)
    assert found.step in (step, step + 1)
    assert (found.step == step + 1) == (found.action == "advance")
    if found.action in ("advance", "finish"):
        assert state == "running"
        assert canary.requests >= PLAN.bake.count
        assert all(one.state == "ok" for one in found.findings)
        judged = len(limits) + (len(PLAN.judge) if step < 2 else 0)
        assert len(found.findings) == judged
    assert (found.action == "finish") <= (step == 2)
    assert decide(evidence(canary, stable, looks), step, *limits, state=state) == found


@given(st.integers(1, 60))
def test_all_looks_together_cry_wolf_once_in_a_hundred(looks):
    assert sum(rules.level(number) for number in range(1, looks + 1)) < rules.LEVEL


def test_looks_come_when_the_requests_have_doubled():
    assert [n for n in range(2000) if rules.is_look(n)] == [25, 50, 100, 200, 400, 800, 1600]


@given(st.floats(0.0, 60_000.0))
def test_a_bin_holds_its_latencies_within_five_percent(ms):
    upper = rules.latency_ms(rules.latency_bin(ms))
    assert ms <= upper * (1 + 1e-9)
    assert upper <= max(0.05, ms * 1.05 * (1 + 1e-9))


@pytest.mark.parametrize(
    ("plan", "left_out"),
    [
        (LogPlan(), {"passport", "salary"}),
        (LogPlan(personal="keep"), set()),
        (LogPlan(features=("wind",)), {"passport", "salary", "town"}),
        (LogPlan(features=("wind", "salary"), personal="keep"), {"passport", "town"}),
    ],
)
def test_the_log_leaves_out_what_is_personal_or_not_asked_for(plan, left_out):
    classes = {"town": "public", "wind": "", "passport": "restricted", "salary": "confidential"}
    assert rules.dropped(plan, ["town", "wind", "passport", "salary"], classes) == left_out
