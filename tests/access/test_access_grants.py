"""Who may grant what: nobody more than they hold, nobody to their own person."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.access import rules
from falaj.access.records import Binding, Principal, Request
from falaj.access.snapshot import Granted, Snapshot
from tests.access.access_cases import (
    AMINA,
    AMINAS_ROBOT,
    ASSET,
    BADR,
    LATER,
    NOW,
    PAST,
    PROJECT,
    REGISTRY,
    ROLES,
    STRANGER,
    ask,
    binding,
    snapshot,
)

ME, YOU = AMINA.id, STRANGER.id

GRANTS: list[tuple[str, str, list[Binding], Binding, dict[str, Any]]] = [
    ("allowed", "an owner, a maintainer", [binding(ME, "owner", PROJECT)], binding(YOU, "maintainer", ASSET), {}),
    ("allowed", "an owner, an auditor", [binding(ME, "owner", "store")], binding(YOU, "auditor", "store"), {}),
    ("allowed", "an owner, an owner", [binding(ME, "owner", "store")], binding(YOU, "owner", "store"), {}),
    ("allowed", "by a group", [binding("group:science", "owner", PROJECT)], binding(YOU, "viewer", PROJECT), {}),
    ("allowed", "to a group", [binding(ME, "owner", PROJECT)], binding("group:risk", "viewer", PROJECT), {}),
    ("allowed", "to an empty group", [binding(ME, "owner", PROJECT)], binding("group:new", "viewer", PROJECT), {}),
    ("allowed", "custom below mine", [binding(ME, "owner", PROJECT)], binding(YOU, "labeller", PROJECT), {}),
    (
        "allowed",
        "as long as mine",
        [binding(ME, "owner", PROJECT, expires_at=LATER)],
        binding(YOU, "viewer", PROJECT, expires_at=LATER),
        {},
    ),
    (
        "allowed",
        "stricter",
        [binding(ME, "owner", PROJECT, "purpose")],
        binding(YOU, "viewer", PROJECT, "four_eyes", "purpose"),
        {},
    ),
    (
        "allowed",
        "two of mine together",
        [binding(ME, "blind_writer", PROJECT), binding(ME, "viewer", "store")],
        binding(YOU, "labeller", ASSET),
        {},
    ),
    ("own_person", "to myself", [binding(ME, "owner", "store")], binding(ME, "viewer", PROJECT), {}),
    ("own_person", "to my service", [binding(ME, "owner", "store")], binding(AMINAS_ROBOT.id, "viewer", PROJECT), {}),
    ("own_person", "to my group", [binding(ME, "owner", "store")], binding("group:science", "viewer", PROJECT), {}),
    ("unknown_subject", "to nobody", [binding(ME, "owner", "store")], binding("P-nobody", "viewer", PROJECT), {}),
    ("unknown_role", "no such role", [binding(ME, "owner", "store")], binding(YOU, "root", PROJECT), {}),
    ("bad_grant", "no such scope", [binding(ME, "owner", "store")], binding(YOU, "viewer", "project:"), {}),
    ("bad_grant", "no such condition", [binding(ME, "owner", "store")], binding(YOU, "viewer", PROJECT, "mood"), {}),
    ("bad_grant", "expired", [binding(ME, "owner", "store")], binding(YOU, "viewer", PROJECT, expires_at=PAST), {}),
    (
        "bad_grant",
        "no such time",
        [binding(ME, "owner", "store")],
        binding(YOU, "viewer", PROJECT, expires_at="never"),
        {},
    ),
    ("exceeds", "a maintainer, an owner", [binding(ME, "maintainer", "store")], binding(YOU, "owner", PROJECT), {}),
    ("exceeds", "a maintainer, an auditor", [binding(ME, "maintainer", "store")], binding(YOU, "auditor", PROJECT), {}),
    ("exceeds", "elsewhere", [binding(ME, "owner", "project:a")], binding(YOU, "viewer", "project:ab"), {}),
    ("exceeds", "above", [binding(ME, "owner", PROJECT)], binding(YOU, "viewer", "store"), {}),
    (
        "exceeds",
        "by an expired one",
        [binding(ME, "owner", "store", expires_at=PAST)],
        binding(YOU, "viewer", PROJECT),
        {},
    ),
    (
        "exceeds",
        "longer than mine",
        [binding(ME, "owner", PROJECT, expires_at=LATER)],
        binding(YOU, "viewer", PROJECT),
        {},
    ),
    ("exceeds", "freer than mine", [binding(ME, "owner", PROJECT, "purpose")], binding(YOU, "viewer", PROJECT), {}),
    (
        "exceeds",
        "token of a lower role",
        [binding(ME, "owner", PROJECT)],
        binding(YOU, "owner", PROJECT),
        {"token_roles": ("maintainer",)},
    ),
    (
        "exceeds",
        "token of no role",
        [binding(ME, "owner", PROJECT)],
        binding(YOU, "viewer", PROJECT),
        {"token_roles": ()},
    ),
    (
        "token_scope",
        "token below",
        [binding(ME, "owner", PROJECT)],
        binding(YOU, "viewer", PROJECT),
        {"token_scope": (ASSET,)},
    ),
]


@pytest.mark.parametrize(
    ("code", "held", "grant", "rest"), [(g[0], *g[2:]) for g in GRANTS], ids=[g[1] for g in GRANTS]
)
def test_grants(code: str, held: list[Binding], grant: Binding, rest: dict[str, Any]) -> None:
    decision = rules.may_grant(ask(AMINA, "access.grant", grant.scope, **rest), grant, snapshot(*held))
    assert decision.code == code
    assert decision.allowed is (code == "allowed")
    assert grant.role in decision.reason
    assert bool(decision.findings) >= decision.allowed


def test_a_group_of_the_token_counts_as_own_before_the_snapshot_knows_it() -> None:
    fresh = msgspec.structs.replace(STRANGER, groups=("new",))
    held = snapshot(binding(YOU, "owner", "store"))
    decision = rules.may_grant(ask(fresh, "access.grant", PROJECT), binding("group:new", "viewer", PROJECT), held)
    assert decision.code == "own_person"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([AMINA, BADR, STRANGER]),
            st.sampled_from([AMINA.id, BADR.id, STRANGER.id, AMINAS_ROBOT.id, "group:science", "group:risk"]),
            st.sampled_from(["viewer", "contributor", "maintainer", "owner", "auditor", "labeller"]),
            st.sampled_from(["store", PROJECT, "project:flights2", ASSET]),
            st.sampled_from([(), ("four_eyes",)]),
            st.sampled_from([None, LATER]),
        ),
        max_size=12,
    )
)
def test_no_chain_of_grants_gives_anybody_what_nobody_held(
    steps: list[tuple[Principal, str, str, str, tuple[str, ...], str | None]],
) -> None:
    """Amina starts as maintainer of one project, Badr as viewer of another: no power appears beyond these two."""
    current: Snapshot = snapshot(
        binding(AMINA.id, "maintainer", PROJECT), binding(BADR.id, "viewer", "project:flights2")
    )
    for number, (granter, subject, role, scope, conditions, until) in enumerate(steps):
        grant = msgspec.structs.replace(
            binding(subject, role, scope, *conditions, expires_at=until), id=f"G{number}", granted_by=granter.id
        )
        if rules.may_grant(ask(granter, "access.grant", scope), grant, current).allowed:
            current = current.apply([Granted(grant)], revision=current.revision + 1)
    most = {
        PROJECT: ROLES.operations("maintainer"),
        "project:flights2": ROLES.operations("viewer"),
        "store": frozenset[str](),
    }
    for who in (AMINA, BADR, STRANGER, AMINAS_ROBOT):
        for resource, ceiling in most.items():
            for operation in REGISTRY:
                request = Request(
                    principal=who,
                    operation=operation,
                    resources=(resource,),
                    at=NOW,
                    attributes={"proposer_person": "H-x"},
                )
                assert not rules.decide(request, current).allowed or operation in ceiling


def test_the_first_owner_may_be_claimed_only_while_there_is_none() -> None:
    assert rules.owners(snapshot(), at=NOW) == ()
    assert rules.owners(snapshot(binding(ME, "owner", PROJECT), binding(ME, "maintainer", "store")), at=NOW) == ()
    assert rules.owners(snapshot(binding(ME, "owner", "store", expires_at=PAST)), at=NOW) == ()
    owner = binding(ME, "owner", "store")
    assert rules.owners(snapshot(owner), at=NOW) == (owner,)


def test_the_last_owner_who_stays_is_known() -> None:
    one, two = binding(ME, "owner", "store", named="B1"), binding(YOU, "owner", "store", named="B2")
    passing = binding(BADR.id, "owner", "store", named="B3", expires_at=LATER)
    assert rules.is_last_owner("B1", snapshot(one, passing), at=NOW)
    assert not rules.is_last_owner("B1", snapshot(one, two), at=NOW)
    assert not rules.is_last_owner("B3", snapshot(one, passing), at=NOW)
