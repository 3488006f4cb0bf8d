"""Promotion end to end, on both databases: measured by Falaj, judged by every rule, moved by persons."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from math import sqrt

import numpy as np
import pytest
from sklearn import metrics as oracle

from falaj.core.entries import What
from falaj.core.errors import FalajError, Forbidden, NotFound
from falaj.gates.metrics import Z95
from falaj.gates.views import GateRefused
from falaj.store.errors import GuardRefused, RefConflict
from tests.gates.conftest import Begin, maintainer
from tests.gates.kites import (
    CHECKS,
    METRICS,
    RULES,
    by_hand,
    contrary_model,
    failed,
    found,
    gate_file,
    held_out,
    noisy_model,
)
from tests.models.files import town_model
from tests.platform.places import Served

PRODUCTION = "kite@production"
STRICTER = gate_file(RULES + "  - {metric: brier, at_most: 0.2}\n")
LAX = gate_file("  - check: signature\n")


def test_a_good_model_waits_for_another_person_and_moves(served: Served, world: Begin) -> None:
    w = world()
    model = town_model()
    version = w.register(model)
    maya, badr = maintainer(served, "maya"), maintainer(served, "badr")

    asked = maya.call("ref.promote", thing=PRODUCTION, version=version, reason="summer winds")
    assert (asked.sort, asked.ref, asked.version, asked.previous) == (
        "proposed",
        "model/kite@production",
        version,
        None,
    )
    assert asked.waits_for == ("from a maintainer other than the proposer",)
    assert asked.next_step == f"another person: falaj approve {asked.proposal}"
    assert w.holds() is None

    for alone in (maya, served.another_token("maya")):
        with pytest.raises(Forbidden) as refused:
            alone.call("ref.approve", proposal=asked.proposal)
        assert refused.value.code == "same_person"
    assert badr.call("ref.approve", proposal=asked.proposal).state == "moved"
    assert w.holds() == version

    verdict = badr.call("gate.show", verdict=asked.verdicts[0])
    rows, late = held_out(9)
    scores = by_hand(model, rows)
    assert found(verdict.findings, "auc ≥ 0.8").observed == pytest.approx(oracle.roc_auc_score(late, scores), abs=1e-9)
    slices = {s.value: s for s in found(verdict.findings, "auc by town ≥ 0.7").slices}
    for town in ("Sur", "Nizwa", "Ibra"):
        here = rows[:, 0] == town
        assert slices[town].rows == here.sum()
        assert slices[town].observed == pytest.approx(oracle.roc_auc_score(late[here], scores[here]), abs=1e-9)
    assert found(verdict.findings, "brier against holder no worse than 0.01").note == "no holder"
    assert (verdict.rows, verdict.unlabelled, verdict.data) == (600, 0, "kites:3")
    assert (verdict.gate, verdict.gate_version, verdict.holder, verdict.by) == ("production", 1, None, "maya")
    assert verdict.used_by is not None
    whats = [entry.what for entry in w.entries()]
    for what in (What.VERDICT_GIVEN, What.REF_PROPOSED, What.REF_APPROVED, What.REF_MOVED):
        assert what in whats


def test_a_worse_model_is_refused_with_every_failing_rule_and_its_figures(served: Served, world: Begin) -> None:
    w = world(METRICS + CHECKS)
    good, wrong = town_model(), contrary_model()
    first, second = w.register(good), w.register(wrong)
    assert w.owner.call("ref.promote", thing=PRODUCTION, version=first).sort == "promote"

    with pytest.raises(GateRefused) as refused:
        w.owner.call("ref.promote", thing=PRODUCTION, version=second, reason="cheaper")
    error = refused.value
    assert (error.code, error.status, error.exit_code) == ("gate_refused", 409, 6)
    assert error.message == "gate production v1: 3 of 6 rules failed"
    bad = failed(error)
    assert list(bad) == ["auc ≥ 0.8", "auc by town ≥ 0.7", "brier against holder no worse than 0.01"]
    rows, late = held_out(9)
    p, q = by_hand(wrong, rows), by_hand(good, rows)
    assert bad["auc ≥ 0.8"]["observed"] == pytest.approx(oracle.roc_auc_score(late, p), abs=1e-9)
    assert bad["auc ≥ 0.8"]["text"].endswith("< 0.8, 600 rows")

    worse = bad["brier against holder no worse than 0.01"]
    gaps = (p - late) ** 2 - (q - late) ** 2
    half = Z95 * gaps.std(ddof=1) / sqrt(len(gaps))
    assert worse["observed"] == pytest.approx(gaps.mean(), abs=1e-9)
    assert worse["interval"] == pytest.approx([gaps.mean() - half, gaps.mean() + half], abs=1e-9)
    assert f"v{first} on the same 600 rows" in worse["text"]
    assert np.isclose(oracle.brier_score_loss(late, p) - oracle.brier_score_loss(late, q), gaps.mean())

    assert w.holds() == first
    stored = w.verdicts()[-1]
    assert (stored.id, stored.passed, stored.used_by) == (error.facts["verdict"], False, None)
    told = w.detail(error.facts["entry_id"])
    assert (told["code"], told["reason"], told["version"]) == ("gate_refused", "cheaper", second)
    assert [f["rule"] for f in told["facts"]["findings"] if not f["passed"]] == list(bad)
    entry = next(e for e in w.entries() if e.id == error.facts["entry_id"])
    assert entry.what == What.REQUEST_REFUSED
    assert stored.id in entry.on
    run = w.owner.call("run.show", run=error.facts["run"])
    assert (run.state, {link.role for link in run.links}) == ("failed", {"candidate", "holder", "evidence", "gate"})


def test_who_is_a_little_worse_must_show_that_it_is_not_more(served: Served, world: Begin) -> None:
    w = world("  - {metric: brier, against: holder, no_worse_than: 0.02}\n")
    good, rough = town_model(), noisy_model()
    first, second = w.register(good), w.register(rough)
    w.owner.call("ref.promote", thing=PRODUCTION, version=first)
    rows, late = held_out(9)
    gaps = (by_hand(rough, rows) - late) ** 2 - (by_hand(good, rows) - late) ** 2
    high = gaps.mean() + Z95 * gaps.std(ddof=1) / sqrt(len(gaps))
    judged = w.owner.call("gate.judge", thing=PRODUCTION, version=second)
    assert judged.passed == (high <= 0.02)
    assert judged.verdicts[0].findings[0].interval[1] == pytest.approx(high, abs=1e-9)


def test_of_two_promotions_at_once_exactly_one_wins(served: Served, world: Begin) -> None:
    w = world("  - {metric: auc, at_least: 0.6}\n")
    versions = [w.register(town_model()), w.register(noisy_model())]
    first = w.register(town_model(seed=4))
    people = [maintainer(served, "maya"), maintainer(served, "badr")]
    for holder in (None, first):
        if holder:
            w.owner.call("ref.promote", thing=PRODUCTION, version=holder)
        together = threading.Barrier(2)

        def go(place: int, together: threading.Barrier = together) -> object:
            measured = threading.Event()

            def progress(what: str, done: int, total: int) -> None:
                if what == "scoring" and done == total and not measured.is_set():
                    measured.set()
                    together.wait(60)

            try:
                return w.platform.door.call(
                    "ref.promote",
                    {"thing": PRODUCTION, "version": versions[place]},
                    caller=people[place].caller,
                    project="flights",
                    progress=progress,
                )
            except FalajError as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(go, (0, 1)))
        lost = [r for r in results if isinstance(r, FalajError)]
        assert len(lost) == 1, results
        assert isinstance(lost[0], GuardRefused | RefConflict)
        won = next(r for r in results if r is not lost[0])
        assert w.holds() == won.version
        used = [v for v in w.verdicts() if v.used_by]
        assert len({v.used_by for v in used}) == len(used)


def test_what_was_approved_is_refused_once_gate_or_holder_changed(served: Served, world: Begin) -> None:
    w = world()
    versions = [w.register(town_model()), w.register(town_model(seed=4))]
    maya, badr = maintainer(served, "maya"), maintainer(served, "badr")
    proposals = [maya.call("ref.promote", thing=PRODUCTION, version=v).proposal for v in (*versions, versions[0])]
    assert badr.call("ref.approve", proposal=proposals[0]).state == "moved"
    for late in proposals[1:]:
        with pytest.raises(GuardRefused, match=f"held by v{versions[0]} now") as refused:
            badr.call("ref.approve", proposal=late)
        assert refused.value.code == "proposal_stale"
        shown = badr.call("proposal.show", proposal=late)
        assert (shown.state, shown.waits_for) == ("stale", ())
        assert shown.next_step.startswith(f"falaj promote model/kite@production {shown.version} judges it anew")
    assert {p.id for p in badr.call("proposal.list", state="stale")} == set(proposals[1:])
    assert badr.call("proposal.list") == ()
    assert maya.call("ref.withdraw", proposal=proposals[1]).state == "withdrawn"

    again = maya.call("ref.promote", thing=PRODUCTION, version=versions[1]).proposal
    changed = w.apply(STRICTER)  # a stricter gate needs a second person, too
    with pytest.raises(Forbidden):
        w.owner.call("ref.approve", proposal=changed.files[0].proposal)
    badr.call("ref.approve", proposal=changed.files[0].proposal)
    with pytest.raises(GuardRefused, match="the gate is at v2 now, the verdict is of v1"):
        badr.call("ref.approve", proposal=again)
    assert badr.call("proposal.show", proposal=again).stale == "the gate is at v2 now, the verdict is of v1"
    assert w.holds() == versions[0]


def test_a_gate_is_weakened_by_two_persons_or_not_at_all(served: Served, world: Begin) -> None:
    w = world(METRICS)
    bad = w.register(contrary_model())
    maya, badr = maintainer(served, "maya"), maintainer(served, "badr")
    weak = maya.call("config.apply", files=[LAX])
    assert weak.files[0].outcome == "proposed"
    with pytest.raises(GateRefused):
        maya.call("ref.promote", thing=PRODUCTION, version=bad)
    for way in (
        lambda: maya.call("ref.approve", proposal=weak.files[0].proposal),
        lambda: served.another_token("maya").call("ref.approve", proposal=weak.files[0].proposal),
        lambda: maya.call("version.retire", thing="gate/production:1"),
    ):
        with pytest.raises(FalajError):
            way()
    moved = maya.call("ref.promote", thing="gate/production@main", version=2)
    assert (moved.sort, moved.gates, moved.waits_for) == (
        "proposed", (), ("from a maintainer other than the proposer",),
    )  # fmt: skip
    assert w.holds("gate/production@main") == 1
    assert badr.call("ref.approve", proposal=weak.files[0].proposal).state == "moved"
    assert maya.call("ref.promote", thing=PRODUCTION, version=bad).sort == "promote"
    with pytest.raises(FalajError, match="another person approves each of its moves"):
        badr.call("ref.rollback", thing="gate/production@main")


def test_roles_decide_who_may_propose_promote_and_approve(served: Served, world: Begin) -> None:
    w = world("  - check: signature\n")
    version = w.register(town_model())
    noor = served.person("noor", ("contributor", "project:flights"))
    vera = served.person("vera", ("viewer", "project:flights"))
    badr = maintainer(served, "badr")
    with pytest.raises(Forbidden):
        noor.call("ref.promote", thing=PRODUCTION, version=version)
    for operation in ("ref.propose", "gate.judge"):
        with pytest.raises(Forbidden):
            vera.call(operation, thing=PRODUCTION, version=version)
    proposed = noor.call("ref.propose", thing=PRODUCTION, version=version, reason="steady")
    assert (proposed.state, proposed.by, proposed.waits_for) == ("open", "noor", ())
    assert vera.call("gate.show", verdict=proposed.verdicts[0]).passed
    with pytest.raises(Forbidden):
        noor.call("ref.approve", proposal=proposed.id)
    assert w.holds() is None
    assert badr.call("ref.approve", proposal=proposed.id).state == "moved"
    stranger = served.person("zaid")
    for call in (
        lambda: stranger.call("gate.show", verdict=proposed.verdicts[0]),
        lambda: stranger.call("ref.promote", thing=PRODUCTION, version=version),
        lambda: stranger.call("ref.promote", thing="kite@nowhere", version=999),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_role_on_the_one_ref_is_enough_to_approve_and_never_on_another(served_one: Served, world_one: Begin) -> None:
    w = world_one(RULES)
    version = w.register(town_model())
    maya = maintainer(served_one, "maya")
    asked = maya.call("ref.promote", thing=PRODUCTION, version=version)
    here, there = "ref:flights/model/kite@production", "ref:flights/model/kite@staging"
    rana, lina = served_one.person("rana", ("maintainer", here)), served_one.person("lina", ("maintainer", there))
    vera = served_one.person("vera", ("viewer", here))
    for operation, told in (
        ("proposal.show", {"proposal": asked.proposal}),
        ("gate.show", {"verdict": asked.verdicts[0]}),
    ):
        assert vera.call(operation, **told).version == version
        with pytest.raises(NotFound):
            lina.call(operation, **told)
    assert [p.id for p in rana.call("proposal.list")] == [asked.proposal]
    assert lina.call("proposal.list") == ()
    with pytest.raises(NotFound):
        lina.call("ref.approve", proposal=asked.proposal)
    for unknown in (asked.verdicts[0], "01JD8M3V9Y7X2K4T6R8P0N1B5C"):
        with pytest.raises(NotFound):
            rana.call("ref.approve", proposal=unknown)
    with pytest.raises(Forbidden):
        vera.call("ref.approve", proposal=asked.proposal)
    assert rana.call("ref.approve", proposal=asked.proposal).state == "moved"
    own = rana.call("ref.propose", thing="kite@production", version=w.register(town_model(seed=4)))
    with pytest.raises(Forbidden) as refused:
        rana.call("ref.approve", proposal=own.id)
    assert refused.value.code == "same_person"


def test_back_to_a_version_that_held_the_ref_without_judging_it_again(served: Served, world: Begin) -> None:
    w = world("  - {metric: auc, at_least: 0.6}\n")
    versions = [w.register(town_model(seed=s)) for s in (3, 4, 5)]
    for version in versions[:2]:
        w.owner.call("ref.promote", thing=PRODUCTION, version=version)
    count = len(w.verdicts())
    moved = w.owner.call("ref.rollback", thing=PRODUCTION)
    assert (moved.version, moved.previous, moved.sort) == (versions[0], versions[1], "rollback")
    assert len(w.verdicts()) == count
    with pytest.raises(FalajError, match=f"v{versions[2]} never held it"):
        w.owner.call("ref.rollback", thing=PRODUCTION, version=versions[2])
    w.owner.call("version.retire", thing=f"kite:{versions[1]}")
    with pytest.raises(FalajError, match="is retired"):
        w.owner.call("ref.rollback", thing=PRODUCTION, version=versions[1])
    w.owner.call("version.restore", thing=f"kite:{versions[1]}")
    with w.platform.ground.database.write() as tx:
        tx.run(
            "UPDATE version SET digest = 'sha256:0' WHERE number = :n AND asset IN "
            "(SELECT id FROM asset WHERE kind = 'model')",
            {"n": versions[1]},
        )
    with pytest.raises(FalajError, match="digest is not that of its row"):
        w.owner.call("ref.rollback", thing=PRODUCTION, version=versions[1])
    assert w.holds() == versions[0]


def test_every_change_that_gates_make_is_in_the_ledger(served: Served, world: Begin) -> None:
    w = world()
    version = w.register(town_model())
    maya, badr = maintainer(served, "maya"), maintainer(served, "badr")
    asked = maya.call("ref.promote", thing=PRODUCTION, version=version)
    badr.call("ref.approve", proposal=asked.proposal)
    w.platform.sign()
    assert w.owner.call("ledger.verify", project="").ok


def test_the_same_request_under_its_key_is_done_once(served: Served, world: Begin) -> None:
    w = world("  - {metric: auc, at_least: 0.6}\n")
    versions = [w.register(town_model(seed=s)) for s in (3, 4)]
    asked = {"thing": PRODUCTION, "version": versions[0]}
    first = w.owner.call("ref.promote", key="summer", **asked)
    assert w.owner.call("ref.promote", key="summer", **asked).verdicts == first.verdicts
    assert len(w.verdicts()) == 1
    with pytest.raises(FalajError, match="another request"):
        w.owner.call("ref.promote", key="summer", thing=PRODUCTION, version=versions[1])
