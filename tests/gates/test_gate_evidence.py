"""What a gate establishes itself, and what becomes of a rule whose evidence is missing, leaked or forged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from onnx import helper
from sklearn import metrics as oracle
from sklearn.base import clone

from falaj.core.entries import What
from falaj.core.errors import FalajError, Invalid, NotFound, Unavailable
from falaj.core.ids import new_id
from falaj.core.records import Proposal
from falaj.gates import Evidence, Gate, LatencyRule, evaluator
from falaj.gates.views import GateRefused
from falaj.platform import Platform
from falaj.store.errors import EvidenceSealed, GuardRefused, RefConflict
from falaj.store.rows import PROPOSAL, VERDICT, VERSION
from tests.gates.conftest import Begin, maintainer
from tests.gates.kites import (
    CHECKS,
    METRICS,
    World,
    begin,
    by_hand,
    contrary_model,
    csv,
    failed,
    found,
    gate_file,
    held_out,
)
from tests.models.files import FLOAT, graph, town_model, towns
from tests.platform.places import Served, make_place

PRODUCTION = "kite@production"
AUC = "  - {metric: auc, at_least: 0.8}\n"


def refused(w: World, version: int, thing: str = PRODUCTION) -> GateRefused:
    with pytest.raises(GateRefused) as error:
        w.owner.call("ref.promote", thing=thing, version=version)
    return error.value


# what could not be measured fails its rule, and says why


UNMEASURED: list[tuple[str, dict[str, Any], str]] = [
    ("no such ref", {"data": "kites@nowhere"}, "kites@nowhere: no such thing"),
    ("no such dataset", {"data": "boats@holdout"}, "boats"),
    ("rejected data", {"data": "kites@rejected"}, "is rejected"),
    ("no rows", {"where": "wind > 1000"}, "not measured"),
    ("no labels", {"label": "minutes > null"}, "not measured"),
    ("one class", {"label": "minutes >= 0"}, "not measured"),
    ("a label that is none", {"label": "minutes"}, "true, false or null is expected"),
    ("an unknown column", {"label": "delay > 10"}, "delay"),
    ("a file in the label", {"label": "(SELECT count(*) FROM glob(chr(47))) > minutes"}, "nothing else"),
    ("random rows of one", {"label": "unnest([true, false])"}, "values for 600 rows"),
]


def test_what_cannot_be_measured_is_refused_with_the_reason(world_one: Begin) -> None:
    w = world_one(rules=None)
    version = w.register(town_model())
    broken = w.folder / "broken.csv"
    broken.write_text("id,town,wind,minutes\n,Sur,1.0,3\n")
    with pytest.raises(FalajError):
        w.add(broken)  # kept as kites@rejected
    for at, (case, gate, why) in enumerate(UNMEASURED):
        w.apply(gate_file(AUC, gate=f"gate-{at}", guards=f"kite@ref-{at}", **gate))
        finding = failed(refused(w, version, f"kite@ref-{at}"))["auc ≥ 0.8"]
        assert finding["observed"] is None, case
        assert why in finding["text"], case
        assert w.holds(f"model/kite@ref-{at}") is None, case


def test_rules_by_a_column_that_is_not_there_fail_and_the_others_are_judged(world_one: Begin) -> None:
    w = world_one(AUC + "  - {metric: auc, by: airport, at_least: 0.1}\n  - {metric: auc, by: id, at_least: 0.1}\n")
    bad = failed(refused(w, w.register(town_model())))
    assert list(bad) == ["auc by airport ≥ 0.1", "auc by id ≥ 0.1"]
    assert "'airport' is not in the evidence" in bad["auc by airport ≥ 0.1"]["text"]
    assert "600 slices; at most 500" in bad["auc by id ≥ 0.1"]["text"]


def test_rows_without_a_label_are_left_out_and_counted(world_one: Begin) -> None:
    w = world_one(AUC, data="kites@other")
    w.add(csv(w.folder / "other.csv", 11, unlabelled=50), ref="other")
    model = town_model()
    judged = w.owner.call("gate.judge", thing=PRODUCTION, version=w.register(model))
    rows, late = held_out(11, unlabelled=50)
    verdict = judged.verdicts[0]
    assert (verdict.rows, verdict.unlabelled, verdict.data) == (550, 50, "kites:4")
    assert verdict.findings[0].observed == pytest.approx(oracle.roc_auc_score(late, by_hand(model, rows)), abs=1e-9)


def test_latency_is_measured_by_the_gate_on_single_rows(world_one: Begin) -> None:
    w = world_one("  - latency_p99: 0.001ms\n  - latency_p99: 20s\n")
    told = w.owner.call("gate.judge", thing=PRODUCTION, version=w.register(town_model())).verdicts[0]
    slow, quick = told.findings
    assert (slow.passed, quick.passed, slow.rows, told.rows) == (False, True, 300, 600)
    assert slow.observed == quick.observed
    assert "best of 3 rounds" in slow.note  # nobody answers within a microsecond, however often it is tried


def test_latency_of_a_model_that_cannot_be_run_is_not_measured(world_one: Begin) -> None:
    w = world_one("  - latency_p99: 5ms\n", where="wind > 1000")
    assert failed(refused(w, w.register(town_model())))["latency_p99 ≤ 5 ms"]["note"] == "not measured"


def test_a_condition_narrows_the_rows_that_are_measured(world_one: Begin) -> None:
    w = world_one("  - {metric: brier, at_most: 0.5}\n", where="wind < 10 and town <> ''Sur''")
    model = town_model()
    judged = w.owner.call("gate.judge", thing=PRODUCTION, version=w.register(model))
    rows, late = held_out(9)
    keep = (rows[:, 1].astype(float) < 10) & (rows[:, 0] != "Sur")
    assert judged.verdicts[0].rows == keep.sum()
    assert judged.verdicts[0].findings[0].observed == pytest.approx(
        oracle.brier_score_loss(late[keep], by_hand(model, rows[keep])), abs=1e-9
    )


def test_the_rows_are_scored_in_batches_and_none_is_lost(world_one: Begin) -> None:
    w = world_one(AUC, data="kites@large")
    w.add(csv(w.folder / "large.csv", 12, rows=70_000), ref="large")
    model = town_model()
    seen = []
    judged = w.platform.door.call(
        "gate.judge",
        {"thing": PRODUCTION, "version": w.register(model)},
        caller=w.owner.caller,
        project="flights",
        progress=lambda what, done, total: seen.append((what, done, total)),
    )
    rows, late = held_out(12, rows=70_000)
    observed = judged.verdicts[0].findings[0].observed
    assert observed == pytest.approx(oracle.roc_auc_score(late, by_hand(model, rows)), abs=1e-9)
    assert [done for what, done, _ in seen if what == "scoring"] == [32_768, 65_536, 70_000]


# a model that is not sound is not run, and what it claims counts for nothing


def test_what_a_client_logged_is_no_evidence(world_one: Begin) -> None:
    w = world_one(AUC)  # every run of the tests logs an AUC of 0.999
    assert failed(refused(w, w.register(contrary_model())))["auc ≥ 0.8"]["observed"] < 0.5


def test_a_model_that_reads_what_the_evidence_has_not_is_not_measured(world_one: Begin) -> None:
    w = world_one(AUC + CHECKS)
    path = w.folder / "sigmoid.onnx"
    for column in ("__falaj_label", "speed"):
        path.write_bytes(graph([helper.make_node("Sigmoid", [column], ["y"])], inputs={column: FLOAT}))
        version = w.owner.call(
            "model.register",
            model="kite",
            files=[w.owner.stage(path)],
            label="minutes > 10",
            inputs=["kites@main"],
            columns=[{"name": column, "type": "number"}],
        ).version
        bad = failed(refused(w, version))
        assert f"'{column}' (not there)" in bad["auc ≥ 0.8"]["text"]
        assert "the code is not known" in bad["check lineage_complete"]["text"]


def test_a_candidate_whose_bytes_or_row_were_changed_is_not_run(world_one: Begin) -> None:
    w = world_one(AUC + CHECKS)
    first, second = w.register(town_model()), w.register(town_model(seed=4))
    with w.platform.ground.database.write() as tx:  # the second version's files under the first one's name
        tx.run(
            "UPDATE version SET content = (SELECT content FROM version v WHERE v.asset = version.asset "
            "AND v.number = :other) WHERE number = :n AND asset IN (SELECT id FROM asset WHERE kind = 'model')",
            {"n": first, "other": second},
        )
    error = refused(w, first)
    bad = failed(error)
    assert "digest" in bad["check signature"]["text"]
    assert "not measured" in bad["auc ≥ 0.8"]["text"]


def test_a_holder_that_cannot_be_scored_fails_its_rule_and_no_other(world_one: Begin) -> None:
    w = world_one(METRICS)
    first, second = w.register(town_model()), w.register(town_model(seed=4))
    w.owner.call("ref.promote", thing=PRODUCTION, version=first)
    with w.platform.ground.database.write() as tx:
        tx.run(
            "UPDATE version SET payload = :body WHERE number = :n AND asset IN "
            "(SELECT id FROM asset WHERE kind = 'model')",
            {"n": first, "body": _rewritten(w, first)},
        )
    bad = failed(refused(w, second))
    assert list(bad) == ["brier against holder no worse than 0.01"]
    assert f"not measured against v{first}: " in bad["brier against holder no worse than 0.01"]["text"]


def test_bytes_that_are_gone_fail_a_rule_and_an_outage_judges_nobody(world_one: Begin) -> None:
    """A model that raises on the evidence; a holder, then a candidate, whose pack is damaged; a place that is away."""
    w = world_one(AUC + "  - {metric: brier, against: holder, no_worse_than: 0.5}\n")
    first = w.register(town_model())
    w.owner.call("ref.promote", thing=PRODUCTION, version=first)
    strict = clone(town_model()).set_params(columntransformer__town__handle_unknown="error")
    table, late = towns(seed=3)
    known = table[:, 0] != "Sur"
    raises = w.register(strict.fit(table[known], late[known]))
    bad = failed(refused(w, raises))
    assert bad["auc ≥ 0.8"]["text"].startswith("not measured: ")
    assert "put right what was not measured" in refused(w, raises).next_step
    objects = w.folder / "flights" / ".falaj" / "objects"
    aside = objects.with_name("aside")
    other = w.register(town_model(seed=4))
    objects.rename(aside)
    count = len(w.verdicts())
    with pytest.raises(Unavailable):
        w.owner.call("ref.promote", thing=PRODUCTION, version=other)
    assert len(w.verdicts()) == count
    aside.rename(objects)
    assert w.owner.call("gate.judge", thing=PRODUCTION, version=other).passed


def test_of_each_row_its_best_round_counts() -> None:
    gate = Gate(name="g", guards=("kite@production",), rules=(LatencyRule(at_most_ms=5),))
    rows = pa.table({"wind": [1.0]})

    class Clock:
        """Times in milliseconds that a process took, one list a round; the first is the warming-up."""

        def __init__(self, *rounds: list[float]) -> None:
            self.rounds = iter(([1.0], *rounds))

        def times(self, _rows: Any, count: int, *, limit_s: float) -> Any:
            return np.array(next(self.rounds)) / 1000

    quiet, noise, heavy = [1.0] * 300, [1.0] * 290 + [90.0] * 10, [90.0] * 10 + [1.0] * 290
    for rounds, p99, made in (([quiet], 1.0, 1), ([noise, heavy], 1.0, 2), ([heavy, heavy, heavy], 90.0, 3)):
        clock: Any = Clock(*rounds)
        told = evaluator._timed(gate, clock, rows, Evidence()).latency
        assert told is not None
        assert (told.p99_ms, told.rounds, told.rows) == (pytest.approx(p99), made, 300)


def _rewritten(w: World, number: int) -> bytes:
    with w.platform.ground.database.read() as tx:
        row = next(v for v in VERSION.scan(tx) if v.number == number and b'"format":"skops"' in v.payload)
    return row.payload.replace(b"minutes > 10", b"minutes > 11")


# evidence that training saw


def test_evidence_in_force_is_closed_to_whoever_trains(world_one: Begin) -> None:
    w = world_one(CHECKS)
    with pytest.raises(EvidenceSealed, match="gate/production"):
        w.register(town_model(), data="kites@holdout")


def test_a_model_trained_on_what_became_evidence_later_is_refused(world_one: Begin) -> None:
    w = world_one(rules=None)
    version = w.register(town_model(), data="kites@holdout")
    w.apply(gate_file(CHECKS))
    bad = failed(refused(w, version))
    assert list(bad) == ["check lineage_complete"]
    assert bad["check lineage_complete"]["text"] == "dataset/kites:3 is evidence of gate/production"


def test_a_file_that_is_both_in_training_and_in_evidence_is_found(world_one: Begin) -> None:
    w = world_one(CHECKS)
    w.add(csv(w.folder / "march.csv", 9))  # the held-out month under another name
    bad = failed(refused(w, w.register(town_model())))
    assert bad["check lineage_complete"]["text"] == "dataset/kites:4 holds holdout.csv, which the gate measures on"


def test_evidence_far_upstream_is_found(world_one: Begin) -> None:
    """January was trained on as part of main; then a gate measures on the version that main began with."""
    w = world_one(rules=None)
    version = w.register(town_model())
    w.owner.call("ref.promote", thing="dataset/kites@first", version=1)
    w.apply(gate_file(CHECKS, data="kites@first"))
    assert "dataset/kites:1 is evidence of gate/production" in refused(w, version).facts["findings"][0]["text"]


LINEAGES: list[tuple[str, dict[str, Any], str]] = [
    ("no code", {"code": {}}, "the code is not known"),
    ("no environment", {"environment": {}}, "the environment is not known"),
]


def test_a_lineage_with_a_gap_is_not_complete(world_one: Begin) -> None:
    w = world_one(CHECKS)
    for case, told, why in LINEAGES:
        finding = failed(refused(w, w.register(town_model(), **told)))["check lineage_complete"]
        assert finding["text"] == why, case


def test_a_complete_lineage_is_told(world_one: Begin) -> None:
    w = world_one(CHECKS)
    judged = w.owner.call("gate.judge", thing=PRODUCTION, version=w.register(town_model()))
    assert found(judged.verdicts[0].findings, "check lineage_complete").text == "dataset/kites:2, code 4f1c2e000000"
    assert judged.passed


# a verdict is good for one move


def forged(w: World, maker: Any, verdict: str, **changed: Any) -> str:
    """A proposal written past the operations, which names a verdict that was given for something else."""
    row = next(v for v in w.verdicts() if v.id == verdict)
    proposal = Proposal(
        id=new_id(), project=row.project, asset=row.asset, ref=row.ref, version=row.version,
        holder=w.holds(f"model/kite@{changed.get('ref', row.ref)}"), verdicts=(verdict,), at=row.at, by=row.by,
        person=row.person,
    )  # fmt: skip
    proposal = msgspec.structs.replace(proposal, **changed)
    with w.platform.ground.units.begin(maker.caller.actor, "ref.propose", row.project) as unit:
        unit.add(PROPOSAL, proposal)
        unit.say(What.REF_PROPOSED, [proposal.id])
    return proposal.id


def test_a_verdict_moves_one_ref_to_one_version_once(served_one: Served, tmp_path: Path) -> None:
    w = begin(served_one, tmp_path, "  - {metric: auc, at_least: 0.6}\n", guards="kite@production, kite@staging")
    maya, badr = maintainer(served_one, "maya"), maintainer(served_one, "badr")
    versions = [w.register(town_model(seed=s)) for s in (3, 4)]
    first = maya.call("ref.promote", thing=PRODUCTION, version=versions[0]).verdicts[0]

    def approve(proposal: str, why: str) -> None:
        with pytest.raises(GuardRefused, match=why):
            badr.call("ref.approve", proposal=proposal)

    unused = maya.call("gate.judge", thing=PRODUCTION, version=versions[1]).verdicts[0].id
    approve(forged(w, maya, first), "used before")
    approve(forged(w, maya, unused, version=versions[0]), "another candidate")
    approve(forged(w, maya, unused, ref="staging"), "another ref")
    approve(forged(w, maya, unused, verdicts=()), "no verdict")
    approve(forged(w, maya, unused, verdicts=(new_id(),)), "no verdict")
    with w.platform.ground.units.begin(maya.caller.actor, "gate.judge") as unit:
        row = next(v for v in w.verdicts() if v.id == unused)
        unit.put(VERDICT, msgspec.structs.replace(row, passed=False))
        unit.say(What.VERDICT_GIVEN, [row.id])
    approve(forged(w, maya, unused), "is a refusal")
    other = maya.call("gate.judge", thing=PRODUCTION, version=versions[1]).verdicts[0].id
    maya.call("ref.promote", thing=PRODUCTION, version=versions[1])
    maya.call("ref.rollback", thing=PRODUCTION)
    stricter = gate_file("  - {metric: auc, at_least: 0.61}\n", guards="kite@production, kite@staging")
    badr.call("ref.approve", proposal=w.apply(stricter).files[0].proposal)
    approve(forged(w, maya, other), "the gate is at v2 now")
    assert w.holds() == versions[0]


def test_judging_leaves_a_verdict_and_moves_nothing(world_one: Begin) -> None:
    w = world_one(AUC)
    version = w.register(town_model())
    judged = w.owner.call("gate.judge", thing=PRODUCTION, version=version)
    assert (judged.passed, judged.thing, judged.holder) == (True, "model/kite@production", None)
    assert w.holds() is None
    shown = w.owner.call("gate.show", verdict=judged.verdicts[0].id)
    assert shown == judged.verdicts[0]
    bad = w.owner.call("gate.judge", thing=PRODUCTION, version=w.register(contrary_model()))
    assert (bad.passed, bad.verdicts[0].findings[0].state) == (False, "failed")
    with pytest.raises(Invalid, match="no gate guards"):
        w.owner.call("gate.judge", thing="kite@elsewhere", version=version)
    with pytest.raises(NotFound):
        w.owner.call("gate.show", verdict=new_id())


# refs, expectations, several gates


def test_every_gate_that_guards_a_ref_must_let_it_pass(world_one: Begin) -> None:
    w = world_one(AUC)
    w.apply(gate_file("  - {metric: brier, at_most: 0.0001}\n", gate="calm"))
    error = refused(w, w.register(town_model()))
    assert error.message == "gate calm v1: 1 of 1 rules failed"
    assert len(error.facts["verdicts"]) == 2
    assert sorted(v.passed for v in w.verdicts()) == [False, True]


def test_a_ref_that_nothing_guards_moves_without_a_verdict(world_one: Begin) -> None:
    w = world_one(AUC)
    version = w.register(contrary_model())
    moved = w.owner.call("ref.promote", thing="kite@playground", version=version, reason="to look at")
    assert (moved.sort, moved.verdicts, moved.findings, moved.previous) == ("move", (), (), None)
    assert w.owner.call("ref.promote", thing="kite@playground", version=version).sort == "unchanged"


def test_who_expects_another_holder_is_refused_before_anything_is_measured(world_one: Begin) -> None:
    w = world_one("  - check: format\n")
    version = w.register(town_model())
    for expect in (1, 99):
        with pytest.raises(RefConflict, match="held by v0"):
            w.owner.call("ref.promote", thing=PRODUCTION, version=version, expect=expect)
    assert w.verdicts() == []
    assert w.owner.call("ref.promote", thing=PRODUCTION, version=version, expect=0).sort == "promote"
    assert w.owner.call("ref.promote", thing=PRODUCTION, version=version, expect=version).sort == "unchanged"
    with pytest.raises(RefConflict, match=f"held by v{version}, not by v0"):
        w.owner.call("ref.promote", thing=PRODUCTION, version=version, expect=0)


WRONG: list[tuple[str, dict[str, Any], type[FalajError]]] = [
    ("no ref", {"thing": "kite", "version": 1}, Invalid),
    ("version nought", {"thing": PRODUCTION, "version": 0}, Invalid),
    ("version below nought", {"thing": PRODUCTION, "version": -1}, Invalid),
    ("version without end", {"thing": PRODUCTION, "version": 2**70}, Invalid),
    ("version of text", {"thing": PRODUCTION, "version": "one"}, Invalid),
    ("no such version", {"thing": PRODUCTION, "version": 99}, NotFound),
    ("no such model", {"thing": "boat@production", "version": 1}, NotFound),
    ("a path", {"thing": "../kite@production", "version": 1}, Invalid),
    ("marks that turn the line", {"thing": "kite\u202e@production", "version": 1}, Invalid),
]


def test_bad_input_is_one_clear_error_and_leaves_nothing(world_one: Begin) -> None:
    w = world_one(AUC)
    w.register(town_model())
    for operation in ("ref.promote", "ref.propose", "gate.judge"):
        for name, args, kind in WRONG:
            with pytest.raises(kind) as error:
                w.owner.call(operation, **args)
            assert error.value.next_step, name
    assert w.verdicts() == []
    w.owner.call("version.retire", thing="kite:1")
    with pytest.raises(FalajError, match="kite v1 is retired"):
        w.owner.call("ref.promote", thing=PRODUCTION, version=1)


# embedded, and residency


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Platform]:
    with Platform.create(make_place(tmp_path / "flights"), "flights") as platform:
        yield platform


class _Alone:
    """The operating-system user, as a person of the tests."""

    name = "alone"

    def __init__(self, platform: Platform) -> None:
        self.platform, self.caller = platform, platform.caller

    def call(self, operation: str, /, project: str = "flights", **args: Any) -> Any:
        return self.platform.door.call(operation, args, caller=self.caller, project=project)

    def stage(self, path: Path) -> dict[str, str]:
        told = self.platform.session("flights").stage(path)
        return {"staged": told["staged"], "name": told["name"]}


@pytest.mark.parametrize("waived", [True, False])
def test_embedded_an_approval_is_waived_in_writing_or_fails(alone: Platform, tmp_path: Path, waived: bool) -> None:
    person: Any = _Alone(alone)
    rule = "  - approval: {from: maintainer, not: proposer}\n" + ("    embedded: waive\n" if waived else "")
    w = begin(Served(alone, person), tmp_path, AUC + rule)
    version = w.register(town_model())
    if not waived:
        error = refused(w, version)
        assert "cannot be two persons" in next(iter(failed(error).values()))["text"]
        return
    moved = person.call("ref.promote", thing=PRODUCTION, version=version)
    assert (moved.sort, moved.findings[1].state) == ("promote", "waived")
    shown = person.call("gate.show", verdict=moved.verdicts[0])
    assert (shown.approvals, shown.findings[1].state) == ((), "waived")
    changed = w.apply(gate_file("  - check: format\n"))
    assert changed.files[0].outcome == "changed"  # embedded, one person changes a gate: told, not hidden
    assert person.call("ref.rollback", thing="gate/production@main").version == 1


def test_evidence_is_not_read_where_the_law_does_not_let_it(world_one: Begin) -> None:
    w = world_one(AUC)
    version = w.register(town_model())
    w.apply({"path": "policies/home.yaml", "text": "policy: home\nallow: [SA]\n"})
    with pytest.raises(FalajError) as error:
        w.owner.call("ref.promote", thing=PRODUCTION, version=version)
    assert error.value.code == "residency_refused"
    assert w.verdicts() == []


def test_what_a_gate_measures_on_is_changed_by_two_persons(served_one: Served, tmp_path: Path) -> None:
    w = begin(served_one, tmp_path, AUC)
    maya, badr = maintainer(served_one, "maya"), maintainer(served_one, "badr")
    easy = csv(tmp_path / "easy.csv", 13)
    with pytest.raises(GuardRefused, match="another person approves each of its moves") as refusal:
        w.add(easy, ref="holdout", mode="replace")
    assert "falaj promote dataset/kites@holdout" in refusal.value.next_step
    version = w.add(easy, ref="next")
    asked = maya.call("ref.promote", thing="dataset/kites@holdout", version=version)
    assert (asked.sort, w.holds("dataset/kites@holdout")) == ("proposed", 3)
    with pytest.raises(FalajError):
        maya.call("ref.approve", proposal=asked.proposal)
    assert badr.call("ref.approve", proposal=asked.proposal).state == "moved"
    assert w.holds("dataset/kites@holdout") == version
    with pytest.raises(FalajError, match="another person"):
        maya.call("ref.rollback", thing="dataset/kites@holdout")
    w.add(csv(tmp_path / "march.csv", 14))  # main is nobody's evidence: it moves as ever
