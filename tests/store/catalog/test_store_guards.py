"""The rule by which a guarded ref moves, purely: what verdicts and proposals are good for, who fills an approval."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.records import Approval, Guard, Proposal, Ref, Verdict, Version
from falaj.store.errors import GuardRefused
from falaj.store.guards import check_move, missing_approvals, share_out

AT = "2026-01-01T00:00:00.000000Z"
WHERE = "model/delay@production"
CANDIDATE = Version(asset="delay", number=7, payload=b"", digest="sha256:7", created_at=AT, by="ann", person="p-ann")
HOLDER = Ref(asset="delay", name="production", version=5, revision=3, moved_at=AT)
GUARD = Guard(gate="gate", project="p", kind="model", name="delay", ref="production", gate_version=3)
VERDICT = Verdict(
    id="v", project="p", asset="delay", version=7, ref="production", candidate="sha256:7", gate="gate",
    gate_version=3, holder=5, passed=True, body=b"{}", at=AT, by="ann", person="p-ann", approvals=("maintainer",),
)  # fmt: skip
PROPOSAL = Proposal(
    id="q", project="p", asset="delay", ref="production", version=7, holder=5, verdicts=("v",), at=AT, by="ann",
    person="p-ann",
)  # fmt: skip


def yes(person: str, *roles: str) -> Approval:
    return Approval(proposal="q", person=person, by=f"token-{person}", roles=roles, at=AT)


def move(*, verdict: Verdict | None = VERDICT, holder: Ref | None = HOLDER, approvals=(), proposal=PROPOSAL):
    verdicts = {verdict.gate: verdict} if verdict else {}
    return check_move(WHERE, CANDIDATE, holder, [GUARD], verdicts, proposal, approvals)


def test_a_ref_moves_by_its_verdict_and_the_approval_that_it_asks_for():
    assert move(approvals=[yes("p-bob", "maintainer")]) == (VERDICT,)


REFUSED = [
    ("no verdict", None, HOLDER, "no verdict"),
    ("a refusal", {"passed": False}, HOLDER, "is a refusal"),
    ("used before", {"used_by": "e"}, HOLDER, "used before"),
    ("another candidate", {"candidate": "sha256:8"}, HOLDER, "another candidate"),
    ("another ref", {"ref": "staging"}, HOLDER, "another ref"),
    ("another asset", {"asset": "fraud"}, HOLDER, "another ref"),
    ("an older gate", {"gate_version": 2}, HOLDER, "the gate is at v3 now"),
    ("another holder", {"holder": 4}, HOLDER, "held by v5 now"),
    ("the first holder", {"holder": 5}, None, "held by nothing now"),
]


@pytest.mark.parametrize(("changed", "holder", "told"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_verdict_is_good_for_one_move_only(changed, holder, told):
    verdict = None if changed is None else msgspec.structs.replace(VERDICT, **changed)
    with pytest.raises(GuardRefused, match=told):
        move(verdict=verdict, holder=holder, approvals=[yes("p-bob", "maintainer")], proposal=None)


OTHERS = [
    ("another version", {"version": 6}, "for another move"),
    ("another ref", {"ref": "staging"}, "for another move"),
    ("another asset", {"asset": "fraud"}, "for another move"),
    ("another holder", {"holder": 4}, "held by v5 now, it was proposed while v4 held it"),
    ("a first holder", {"holder": None}, "while nothing held it"),
    ("moved already", {"state": "moved"}, "the proposal is moved"),
]


@pytest.mark.parametrize(("changed", "told"), [c[1:] for c in OTHERS], ids=[c[0] for c in OTHERS])
def test_what_was_approved_is_one_move_from_one_holder(changed, told):
    with pytest.raises(GuardRefused, match=told):
        move(approvals=[yes("p-bob", "maintainer")], proposal=msgspec.structs.replace(PROPOSAL, **changed))


@pytest.mark.parametrize(
    "approvals",
    [[], [yes("p-ann", "maintainer")], [yes("p-bob", "viewer")]],
    ids=["none", "by the proposing person", "by too small a role"],
)
def test_without_another_persons_approval_it_stays(approvals):
    with pytest.raises(GuardRefused, match="from a maintainer other than the proposer"):
        move(approvals=approvals)


def test_who_may_fill_two_places_leaves_the_one_that_another_can_fill():
    owner, other = yes("p-bob", "maintainer", "owner"), yes("p-cyd", "maintainer")
    assert missing_approvals(["maintainer", "owner"], PROPOSAL, [owner, other]) == ()
    assert missing_approvals(["maintainer", "owner"], PROPOSAL, [owner]) == ("from an owner other than the proposer",)


people = st.dictionaries(st.sampled_from("abcd"), st.sets(st.sampled_from(["x", "y", "z"]), max_size=3), max_size=4)


@given(st.lists(st.sampled_from(["x", "y", "z"]), max_size=4), people)
def test_as_many_approvals_are_filled_as_can_be(roles, persons):
    filled = share_out(roles, persons)
    assert len(set(filled.values())) == len(filled)
    assert all(roles[at] in persons[person] for at, person in filled.items())
    places = [[None, *(p for p in persons if role in persons[p])] for role in roles]
    most = max(
        sum(p is not None for p in choice)
        for choice in itertools.product(*places)
        if len({p for p in choice if p}) == sum(p is not None for p in choice)
    )
    assert len(filled) == most
