"""The snapshot: immutable, incremental, and equal to one built anew."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.access import rules
from falaj.access.records import Binding, Principal
from falaj.access.roles import Roles
from falaj.access.snapshot import Change, Granted, Known, Revoked, Snapshot
from falaj.core.errors import Conflict
from tests.access.access_cases import AMINA, ASSET, BADR, PEOPLE, PROJECT, REF, ROLES, ask, binding, snapshot

IDS = st.sampled_from(["B1", "B2", "B3", "B4"])
SOME_BINDINGS = st.builds(
    lambda named, subject, role, scope, until: binding(subject, role, scope, named=named, expires_at=until),
    IDS,
    st.sampled_from([AMINA.id, BADR.id, "group:science"]),
    st.sampled_from(["viewer", "owner"]),
    st.sampled_from(["store", PROJECT, ASSET, "nonsense"]),
    st.sampled_from([None, "soon"]),
)
STEPS = st.lists(
    SOME_BINDINGS.map(Granted)
    | IDS.map(Revoked)
    | st.builds(lambda g: Known(msgspec.structs.replace(BADR, groups=g)), st.sampled_from([(), ("science",)])),
    max_size=12,
)


def contents(held: Snapshot) -> tuple[object, ...]:
    subjects = (AMINA.id, BADR.id, "group:science")
    return (
        {b.id: b for b in held.bindings()},
        held.ignored,
        len(held),
        {s: {scope: frozenset(b.id for b in at) for scope, at in held.of(s).items()} for s in subjects},
        {s: frozenset(p.id for p in held.members(s)) for s in subjects},
    )


@settings(max_examples=200, deadline=None)
@given(STEPS, st.booleans())
def test_applying_changes_equals_building_from_the_rows_after_them(steps: list[Change], together: bool) -> None:
    rows: dict[str, Binding] = {}
    people: dict[str, Principal] = {p.id: p for p in PEOPLE}
    done: list[Change] = []
    for change in steps:
        match change:
            case Granted(one):
                rows[one.id] = one
            case Known(who):
                people[who.id] = who
            case Revoked(gone):
                if rows.pop(gone, None) is None:
                    continue
        done.append(change)
    start = snapshot()
    before = contents(start)
    held = start.apply(done, revision=2) if together else start
    for change in () if together else done:
        held = held.apply([change], revision=held.revision + 1)
    assert contents(held) == contents(Snapshot.build(rows.values(), people.values(), ROLES, revision=1))
    assert contents(start) == before


def test_a_revoked_binding_allows_nothing_in_the_next_snapshot_and_the_old_one_stays() -> None:
    first = snapshot(binding(AMINA.id, "maintainer", PROJECT, named="B1"))
    second = first.apply([Revoked("B1")], revision=2)
    request = ask(AMINA, "ref.promote", REF)
    assert rules.decide(request, first).allowed
    assert not rules.decide(request, second).allowed
    assert (first.revision, second.revision) == (1, 2)
    assert second.binding("B1") is None


@pytest.mark.parametrize("revision", [0, 1, 3])
def test_a_missed_or_repeated_revision_is_refused(revision: int) -> None:
    with pytest.raises(Conflict):
        snapshot().apply([], revision=revision)


def test_revoking_what_is_not_there_is_refused() -> None:
    with pytest.raises(Conflict):
        snapshot().apply([Revoked("B9")], revision=2)


def test_rows_that_no_door_wrote_are_named_and_allow_nothing() -> None:
    held = snapshot(
        binding(AMINA.id, "owner", "store*", named="B1"),
        binding(AMINA.id, "owner", "store", named="B2", expires_at="9999"),
        binding(AMINA.id, "viewer", "store", named="B3"),
    )
    assert held.ignored == {"B1", "B2"}
    assert [b.id for b in held.bindings()] == ["B3"]
    assert held.apply([Revoked("B1")], revision=2).ignored == {"B2"}


def test_changed_custom_roles_count_from_the_next_snapshot() -> None:
    first = snapshot(binding(AMINA.id, "packer", PROJECT))
    second = first.with_roles(Roles({"pack": {"owner"}}, custom={"packer": {"pack"}}))
    assert not rules.decide(ask(AMINA, "pack", PROJECT), first).allowed
    assert rules.decide(ask(AMINA, "pack", PROJECT), second).allowed
    assert second.revision == 2


def test_groups_are_resolved_to_their_known_members() -> None:
    held = snapshot()
    assert {p.id for p in held.members("group:science")} == {AMINA.id, BADR.id}
    assert held.members(AMINA.id) == (AMINA,)
    assert held.members("group:none") == held.members("P-none") == ()
    assert held.principal(BADR.id) == BADR
