"""Files of `deploy/`: what they say, and what is refused, with its line."""

from __future__ import annotations

import pytest

from falaj.core.errors import FalajError
from falaj.deploy import records as r
from falaj.deploy.kinds import DEPLOYMENT, parse, spelled

WHOLE = """\
deployment: delay
model: delay@production
rollout: {canary: [5%, 25%, 100%], bake: 5000 requests, judge: [errors, latency, prediction_shift]}
rollback: {when: ["errors > 1%", "p99 > 50ms"]}
shadow: {model: delay@challenger, share: 10%}
log: {features: all, personal: drop, keep: 400d}
labels: {data: flights@main, key: [year, month, day, carrier, flight, origin]}
watch:
  every: 1d
  reference: training
  drift: {level: 0.01, effect: 0.2, columns: 1}
  score: {metric: brier, no_worse_than: 0.02}
"""
HEAD = "deployment: delay\nmodel: delay@production\n"
PLAN = HEAD + "rollout: {bake: 10 requests}\n"


def test_a_whole_file_says_everything():
    name, made = parse(WHOLE)
    assert (name, str(made.follows)) == ("delay", "model/delay@production")
    assert made.rollout == r.Plan(canary=(500, 2500, 10_000), bake=r.Bake(count=5000), judge=r.JUDGES, shift=0.5)
    assert made.rollback == (r.Limit(measure="errors", above=0.01), r.Limit(measure="p99", above=50.0))
    assert made.shadow == r.Shadow(model="delay@challenger", share=1000)
    assert made.log == r.LogPlan(features=None, personal="drop", keep_days=400)
    assert made.labels == r.Labels(data="flights@main", key=("year", "month", "day", "carrier", "flight", "origin"))
    assert made.watch == r.Watch(
        every_s=86_400,
        reference="training",
        drift=r.Drift(level=0.01, effect=0.2, columns=1),
        score=r.ScoreWatch(metric="brier", no_worse_than=0.02),
    )


def test_what_is_left_out_is_safe():
    _, made = parse(PLAN)
    assert made.rollout == r.Plan(canary=(10_000,), bake=r.Bake(count=10), judge=r.JUDGES, shift=0.5)
    assert made.log == r.LogPlan(features=None, personal="drop", keep_days=None)
    assert (made.rollback, made.labels, made.watch) == ((), None, None)


def test_what_is_stored_is_read_again():
    _, made = parse(WHOLE)
    assert DEPLOYMENT.decode(DEPLOYMENT.encode(made)) == made


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: delay@production\nrollout: {bake: 1 requests}\n", "deployment is missing"),
        ("deployment: delay\nrollout: {bake: 1 requests}\n", "model is missing"),
        (HEAD, "rollout is missing"),
        (PLAN + "canary: []\n", "line 4: canary: unknown field"),
        ("deployment: ../delay\nmodel: delay@production\nrollout: {bake: 1 requests}\n", "line 1: deployment"),
        ("deployment: delay\nmodel: delay\nrollout: {bake: 1 requests}\n", "line 2: model: 'delay' is not a ref"),
        ("deployment: d\nmodel: dataset/d@main\nrollout: {bake: 1 requests}\n", "is not a ref of a model"),
        (HEAD + "rollout: {bake: 5000}\n", "rollout.bake: expected text"),
        (HEAD + "rollout: {bake: many requests}\n", "a number of requests is expected"),
        (HEAD + "rollout: {bake: 0 requests}\n", "a number of requests is expected"),
        (HEAD + "rollout: {bake: 1 requests, canary: [5%, 5%, 100%]}\n", "shares rise"),
        (HEAD + "rollout: {bake: 1 requests, canary: [25%, 5%, 100%]}\n", "shares rise"),
        (HEAD + "rollout: {bake: 1 requests, canary: [5%]}\n", "ends at 5%"),
        (HEAD + "rollout: {bake: 1 requests, canary: [5, 100%]}\n", "'5': a share is expected"),
        (HEAD + "rollout: {bake: 1 requests, canary: [0%, 100%]}\n", "'0%': a share is expected"),
        (HEAD + "rollout: {bake: 1 requests, canary: [50%, 101%]}\n", "'101%': a share is expected"),
        (HEAD + "rollout: {bake: 1 requests, judge: [vibes]}\n", "'vibes' is not one of errors, latency"),
        (HEAD + "rollout: {bake: 1 requests, shift: 0}\n", "above 0"),
        (PLAN + 'rollback: {when: ["errors > 1"]}\n', "not a limit"),
        (PLAN + 'rollback: {when: ["p99 > 5%"]}\n', "not a limit"),
        (PLAN + 'rollback: {when: ["errors < 1%"]}\n', "not a limit"),
        (PLAN + 'rollback: {when: ["errors > 100%"]}\n', "could never be so"),
        (PLAN + "shadow: {share: 10%}\n", "shadow.model: expected text"),
        (PLAN + "shadow: {model: delay}\n", "shadow.model: 'delay' is not a ref"),
        (PLAN + "shadow: {model: delay@production}\n", "shadow.model: 'delay@production' is what answers"),
        (PLAN + "shadow: {model: kite@challenger}\n", "a ref of another model than delay"),
        (PLAN + "shadow: {model: delay@challenger, share: 0%}\n", "shadow.share: '0%': a share is expected"),
        (PLAN + "log: {keep: forever}\n", "log.keep: span 'forever'"),
        (PLAN + "log: {keep: 30}\n", "deployment line 4: log.keep: expected text"),
        (PLAN + "log: {personal: sell}\n", "'sell' is not one of drop, keep"),
        (PLAN + "log: {features: [a, a]}\n", "stands here a second time"),
        (PLAN + "labels: {data: flights, key: [a]}\n", "is not a ref of a dataset"),
        (PLAN + "labels: {data: flights@main}\n", "labels.key: 0 items"),
        (PLAN + "watch: {drift: {level: 0.9}}\n", "watch.drift.level: 0.9"),
        (PLAN + "watch: {drift: {columns: 1.5}}\n", "not a whole number"),
        (PLAN + "watch: {every: often}\n", "watch.every: span 'often'"),
        (PLAN + "watch: {every: 59s}\n", "watch.every: '59s': a minute to a year"),
        (PLAN + "watch: {every: 367d}\n", "watch.every: '367d': a minute to a year"),
        (PLAN + "watch: {every: 900}\n", "watch.every: expected text"),
        (PLAN + "watch: {score: {metric: luck, no_worse_than: 0}}\n", "'luck' is not one of"),
        (PLAN + "watch: {score: {metric: brier, no_worse_than: -1}}\n", "0 to 100"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text, told):
    with pytest.raises(FalajError) as caught:
        parse(text)
    assert told in caught.value.message
    assert caught.value.message.count("line ") <= 1
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("delay", "delay"),
        ("delay/production", "delay"),
        ("deployment/delay", "deployment/delay"),
        ("delay:3", "delay:3"),
        ("model/delay", "model"),
    ],
)
def test_a_deployment_is_called_by_its_ref_too(text, meant):
    assert spelled(text) == meant


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 500), ("0.01%", 1), ("100%", 10_000), ("12.5 %", 1250)],
)
def test_shares_are_whole_ten_thousandths(text, share):
    from falaj.deploy.reading import share as read

    assert read(text) == share
