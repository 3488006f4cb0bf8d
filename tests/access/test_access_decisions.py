"""What is allowed, what is refused, and what the answer says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from falaj.access import rules
from falaj.access.records import Binding, Principal
from falaj.access.roles import BUILT_IN, SEE, Roles, custom_role
from falaj.core.encoding import moment
from falaj.core.errors import Forbidden, Invalid, NotFound
from tests.access.access_cases import (
    AMINA,
    AMINAS_ROBOT,
    ASSET,
    BADR,
    CHANGING,
    LATER,
    NOW,
    PAST,
    PROJECT,
    REF,
    REGISTRY,
    ROLES,
    STRANGER,
    ask,
    binding,
    snapshot,
)

ME = AMINA.id


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("viewer", {"asset.show", "data.read", SEE}),
        ("contributor", {"asset.show", "data.read", "data.add", SEE}),
        (
            "maintainer",
            {"asset.show", "data.read", "data.add", "ref.promote", "proposal.approve", "access.who_can", SEE},
        ),
        ("owner", set(REGISTRY) - {"store.retired_op"} | {SEE}),
        ("auditor", {"asset.show", "data.read", "ledger.log", "access.who_can", SEE}),
        ("labeller", {"data.add", "data.read", SEE}),
        ("blind_writer", {"data.add"}),
        ("no_such_role", set()),
    ],
)
def test_a_role_is_a_named_set_of_operations(role: str, may: set[str]) -> None:
    assert ROLES.operations(role) == may
    assert {operation for operation in (*REGISTRY, SEE) if role in ROLES.of(operation)} == may
    assert set(BUILT_IN) <= set(ROLES.names())


def test_an_auditor_changes_nothing() -> None:
    assert not ROLES.operations("auditor") & CHANGING
    with pytest.raises(Invalid):
        Roles({"data.add": {"auditor"}}, changing={"data.add"})
    assert "auditor" not in Roles({"token.rename": {"viewer"}}, changing={"token.rename"}).of("token.rename")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Roles({"x": {"admin"}}),
        lambda: Roles({}, judged={"x": {"mood"}}),
        lambda: Roles({}, custom={"owner": {"x"}}),
        lambda: Roles({}, custom={"*": {"x"}}),
        lambda: custom_role("owner", {"data.add"}, REGISTRY),
        lambda: custom_role("empty", set(), REGISTRY),
        lambda: custom_role("typo", {"data.ad"}, REGISTRY),
        lambda: custom_role("a/b", {"data.add"}, REGISTRY),
    ],
)
def test_roles_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(Invalid):
        wrong()
    assert custom_role("labeller", {"data.add", SEE}, REGISTRY) == {"data.add", SEE}


ALLOWED: list[tuple[str, list[Binding], dict[str, Any]]] = [
    ("own binding on the project", [binding(ME, "maintainer", PROJECT)], {}),
    ("on the store", [binding(ME, "owner", "store")], {}),
    ("on the ref itself", [binding(ME, "maintainer", REF)], {}),
    ("through a group", [binding("group:science", "maintainer", ASSET)], {}),
    ("not yet expired", [binding(ME, "maintainer", PROJECT, expires_at=LATER)], {}),
    ("token narrowed to it", [binding(ME, "maintainer", PROJECT)], {"token_scope": ("project:other", REF)}),
    ("token of that role", [binding(ME, "maintainer", PROJECT)], {"token_roles": ("viewer", "maintainer")}),
    ("a condition that does not apply", [binding(ME, "maintainer", PROJECT, "four_eyes", "purpose")], {}),
    ("one of two bindings", [binding(ME, "owner", PROJECT, "mood"), binding(ME, "maintainer", PROJECT)], {}),
]


@pytest.mark.parametrize(("bindings", "rest"), [c[1:] for c in ALLOWED], ids=[c[0] for c in ALLOWED])
def test_allowed(bindings: list[Binding], rest: dict[str, Any]) -> None:
    decision = rules.decide(ask(AMINA, "ref.promote", REF, **rest), snapshot(*bindings))
    assert decision.allowed
    assert decision.code == "allowed"
    assert set(decision.bindings) == {b.id for b in bindings}


REFUSED: list[tuple[str, str, list[Binding], dict[str, Any]]] = [
    ("nothing", "no_binding", [], {}),
    ("somebody else's", "no_binding", [binding(BADR.id, "owner", "store")], {}),
    ("another group's", "no_binding", [binding("group:risk", "owner", "store")], {}),
    ("the group's name without its sign", "no_binding", [binding("science", "owner", "store")], {}),
    ("the person is not a subject", "no_binding", [binding("H-amina", "owner", "store")], {}),
    ("too low a role", "no_binding", [binding(ME, "contributor", "store")], {}),
    ("an unknown role", "no_binding", [binding(ME, "root", "store")], {}),
    ("another project", "no_binding", [binding(ME, "owner", "project:flight")], {}),
    ("another asset", "no_binding", [binding(ME, "owner", "asset:flights/model/delay2")], {}),
    ("another ref", "no_binding", [binding(ME, "owner", "ref:flights/model/delay@main")], {}),
    ("a malformed scope", "no_binding", [binding(ME, "owner", "*")], {}),
    ("expired", "no_binding", [binding(ME, "owner", "store", expires_at=PAST)], {}),
    ("expiring now", "no_binding", [binding(ME, "owner", "store", expires_at=moment(NOW))], {}),
    ("an unreadable expiry", "no_binding", [binding(ME, "owner", "store", expires_at="never")], {}),
    ("an unknown condition", "condition", [binding(ME, "owner", "store", "mood")], {}),
    ("token elsewhere", "token_scope", [binding(ME, "owner", "store")], {"token_scope": ("project:flight",)}),
    ("token below", "token_scope", [binding(ME, "owner", "store")], {"token_scope": (REF + "x",)}),
    ("token of nothing", "token_scope", [binding(ME, "owner", "store")], {"token_scope": ()}),
    ("token of a lower role", "token_role", [binding(ME, "owner", "store")], {"token_roles": ("contributor",)}),
    ("token of no role", "token_role", [binding(ME, "owner", "store")], {"token_roles": ()}),
]


@pytest.mark.parametrize(("code", "bindings", "rest"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(code: str, bindings: list[Binding], rest: dict[str, Any]) -> None:
    decision = rules.decide(ask(AMINA, "ref.promote", REF, **rest), snapshot(*bindings))
    assert not decision.allowed
    assert decision.code == code
    assert REF in decision.reason or code == "token_role"


@pytest.mark.parametrize("operation", ["ref.delete_all", "store.retired_op", "", "*"])
def test_what_nobody_may_do_is_refused_to_owners_too(operation: str) -> None:
    decision = rules.decide(ask(AMINA, operation, REF), snapshot(binding(ME, "owner", "store")))
    assert (decision.allowed, decision.code) == (False, "unknown_operation")


def test_an_operation_that_names_nothing_is_refused() -> None:
    decision = rules.decide(ask(AMINA, "ref.promote"), snapshot(binding(ME, "owner", "store")))
    assert (decision.allowed, decision.code) == (False, "no_resource")


def test_every_resource_must_be_allowed() -> None:
    bindings = snapshot(binding(ME, "contributor", "project:a"), binding(ME, "viewer", "project:b"))
    assert rules.decide(ask(AMINA, "data.add", "project:a"), bindings).allowed
    for both in (("project:a", "project:b"), ("project:b", "project:a"), ("project:a", "nonsense")):
        decision = rules.decide(ask(AMINA, "data.add", *both), bindings)
        assert not decision.allowed
        assert decision.bindings == (f"B-{ME}-contributor-project:a",)


APPROVER = binding("group:risk", "maintainer", PROJECT, "four_eyes")


@pytest.mark.parametrize(
    ("who", "attributes", "allowed"),
    [
        (BADR, {"proposer_person": "H-amina"}, True),
        (BADR, {"proposer_person": "H-badr"}, False),
        (
            Principal(id="P-badr-ci", person="H-badr", name="ci", sort="service", groups=("risk",)),
            {"proposer_person": "H-badr"},
            False,
        ),
        (BADR, {}, False),
        (BADR, {"proposer_person": ""}, False),
        (BADR, {"proposer_person": None}, False),
        (BADR, {"proposer_person": ["H-amina"]}, False),
        (BADR, {"proposer": "H-amina"}, False),
    ],
    ids=["another", "self", "own service", "absent", "empty", "none", "list", "misspelt"],
)
def test_four_eyes_are_counted_by_person_not_by_token(
    who: Principal, attributes: dict[str, Any], allowed: bool
) -> None:
    decision = rules.decide(ask(who, "proposal.approve", REF, attributes=attributes), snapshot(APPROVER))
    assert decision.allowed is allowed
    assert [(c.name, c.passed) for c in decision.conditions] == [("four_eyes", allowed)]


READ_OK = {
    "clearance": "confidential",
    "classification": "internal",
    "country": "AE",
    "countries": ("AE",),
    "purpose": "delay prediction",
    "purposes": ["delay prediction", "planning"],
}


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({}, set()),
        ({"classification": "confidential"}, set()),
        ({"classification": "restricted"}, {"classification"}),
        ({"clearance": "public"}, {"classification"}),
        ({"clearance": "top"}, {"classification"}),
        ({"classification": "top"}, {"classification"}),
        ({"classification": None}, {"classification"}),
        ({"clearance": 3}, {"classification"}),
        ({"country": "US"}, {"residency"}),
        ({"country": ""}, {"residency"}),
        ({"country": None, "countries": (None,)}, {"residency"}),
        ({"country": "A", "countries": "AE"}, {"residency"}),
        ({"countries": ()}, {"residency"}),
        ({"purpose": "advertising"}, {"purpose"}),
        ({"purposes": None}, {"purpose"}),
        ({"purpose": "plan", "country": "US", "clearance": "public"}, {"purpose", "residency", "classification"}),
    ],
)
def test_conditions_on_attributes(changed: dict[str, Any], failing: set[str]) -> None:
    reader = snapshot(binding(ME, "viewer", PROJECT, "classification", "residency", "purpose"))
    decision = rules.decide(
        ask(AMINA, "data.read", "asset:flights/dataset/flights", attributes=READ_OK | changed), reader
    )
    assert {c.name for c in decision.conditions if not c.passed} == failing
    assert decision.allowed == (not failing)
    assert decision.code == ("condition" if failing else "allowed")


@pytest.mark.parametrize("missing", sorted(READ_OK))
def test_a_missing_attribute_fails_its_condition(missing: str) -> None:
    reader = snapshot(binding(ME, "viewer", PROJECT, "classification", "residency", "purpose"))
    facts = {k: v for k, v in READ_OK.items() if k != missing}
    assert not rules.decide(ask(AMINA, "data.read", PROJECT, attributes=facts), reader).allowed


def test_an_operation_that_declares_no_conditions_is_judged_by_all() -> None:
    guarded = snapshot(binding(ME, "owner", "store", "four_eyes"))
    assert not rules.decide(ask(AMINA, "access.grant", PROJECT), guarded).allowed
    assert rules.decide(ask(AMINA, "access.grant", PROJECT, attributes={"proposer_person": "H-badr"}), guarded).allowed


def test_the_answer_explains_itself() -> None:
    bindings = snapshot(
        binding(ME, "maintainer", PROJECT, "four_eyes", named="B1"),
        binding("group:science", "owner", ASSET, named="B2", expires_at=LATER),
        binding(ME, "viewer", "store", named="B3"),
        binding(ME, "owner", "store", named="B4", expires_at=PAST),
    )
    request = ask(AMINA, "proposal.approve", REF, attributes={"proposer_person": "H-amina"})
    assert rules.why(request, bindings) == (
        "allowed  proposal.approve as owner on asset:flights/model/delay",
        f"  {REF}: binding B1: P-amina is maintainer on project:flights",
        "    condition four_eyes failed: proposed by H-amina, asked by H-amina",
        f"  {REF}: binding B2: group:science is owner on asset:flights/model/delay until {LATER}",
        "  not enough: binding B3: P-amina is viewer on store; viewer does not include proposal.approve",
        f"  expired: binding B4: P-amina is owner on store until {PAST}",
        "  proposal.approve needs: maintainer, owner",
    )
    assert msgspec.json.decode(msgspec.json.encode(rules.decide(request, bindings)))["code"] == "allowed"


def test_unknown_and_forbidden_look_alike_to_who_may_not_see() -> None:
    bindings = snapshot(binding(BADR.id, "viewer", PROJECT))
    errors = []
    for name in ("delay", "no-such-model"):
        request = ask(STRANGER, "ref.promote", f"ref:flights/model/{name}@production")
        error = rules.refusal(request, rules.decide(request, bindings), bindings)
        assert type(error) is NotFound
        errors.append((error.message.replace(name, "NAME"), error.next_step, error.facts))
    assert errors[0] == errors[1]
    assert errors[0][0] == rules.not_found("ref:flights/model/NAME@production").message


def test_who_may_see_is_told_that_it_is_forbidden_and_why() -> None:
    bindings = snapshot(binding(BADR.id, "viewer", PROJECT))
    request = ask(BADR, "ref.promote", REF)
    error = rules.refusal(request, rules.decide(request, bindings), bindings)
    assert type(error) is Forbidden
    assert error.facts["reason"] == "no_binding"
    assert "no binding gives a role" in error.message


@pytest.mark.parametrize(
    ("bindings", "rest", "sees"),
    [
        ([binding(ME, "viewer", PROJECT)], {}, True),
        ([binding(ME, "auditor", "store")], {}, True),
        ([binding(ME, "labeller", PROJECT)], {}, True),
        ([binding(ME, "blind_writer", PROJECT)], {}, False),
        ([binding(ME, "viewer", "asset:flights/model/other")], {}, False),
        ([binding(ME, "viewer", PROJECT)], {"token_scope": ("project:other",)}, False),
        ([binding(ME, "viewer", PROJECT, expires_at=PAST)], {}, False),
        ([binding(ME, "viewer", PROJECT, "purpose", "residency")], {}, True),
        ([binding(ME, "viewer", PROJECT, "classification")], {}, False),
        ([binding(ME, "viewer", PROJECT, "classification")], {"attributes": READ_OK}, True),
        ([binding(ME, "viewer", PROJECT, "mood")], {}, False),
    ],
)
def test_what_a_principal_may_know_of(bindings: list[Binding], rest: dict[str, Any], sees: bool) -> None:
    request = ask(AMINA, "data.read", "asset:flights/dataset/flights", **rest)
    held = snapshot(*bindings)
    assert rules.is_visible(request, request.resources[0], held) is sees
    wanted = Forbidden if sees else NotFound
    assert type(rules.refusal(request, rules.decide(request, held), held)) is wanted


def test_that_there_is_a_store_is_no_secret() -> None:
    request = ask(STRANGER, "access.grant", "store")
    assert type(rules.refusal(request, rules.decide(request, snapshot()), snapshot())) is Forbidden


def test_who_can_resolves_groups_and_leaves_out_what_does_not_count() -> None:
    bindings = snapshot(
        binding("group:risk", "maintainer", PROJECT, "four_eyes", named="B1"),
        binding(ME, "owner", "store", named="B2"),
        binding(STRANGER.id, "viewer", "store", named="B3"),
        binding(STRANGER.id, "owner", "store", named="B4", expires_at=PAST),
        binding(STRANGER.id, "owner", "store", "mood", named="B5"),
        binding("group:nobody-yet", "owner", ASSET, named="B6"),
        binding(STRANGER.id, "owner", "project:flights2", named="B7"),
    )
    found = [(h.subject, h.binding.id, h.via) for h in rules.who_can("proposal.approve", REF, bindings, at=NOW)]
    assert found == [("P-amina", "B2", ""), ("P-badr", "B1", "group:risk"), ("group:nobody-yet", "B6", "")]


@pytest.mark.parametrize(
    ("bindings", "rest", "held"),
    [
        ([binding(ME, "maintainer", PROJECT)], {}, ("contributor", "maintainer", "viewer")),
        ([binding(ME, "owner", "store")], {}, ("contributor", "maintainer", "owner", "viewer")),
        ([binding(ME, "auditor", "store")], {}, ("auditor",)),
        ([binding("group:science", "labeller", ASSET)], {}, ("labeller",)),
        ([binding(ME, "owner", "store", expires_at=PAST)], {}, ()),
        ([binding(ME, "viewer", "store", "four_eyes")], {}, ()),
        ([binding(ME, "viewer", "store", "four_eyes")], {"attributes": {"proposer_person": "H-badr"}}, ("viewer",)),
        ([binding(ME, "owner", "store")], {"token_roles": ("contributor",)}, ("contributor", "viewer")),
        ([binding(ME, "owner", "store")], {"token_scope": ("project:other",)}, ()),
    ],
)
def test_the_roles_that_a_principal_holds_on_a_thing(
    bindings: list[Binding], rest: dict[str, Any], held: tuple[str, ...]
) -> None:
    assert rules.roles_on(AMINA, REF, snapshot(*bindings), NOW, **rest) == held


def test_a_request_needs_an_aware_time_and_a_principal_an_id_of_its_own() -> None:
    with pytest.raises(Invalid):
        ask(AMINA, "asset.show", ASSET, at=datetime(2026, 1, 1))  # noqa: DTZ001
    for wrong in ({"id": "group:science"}, {"id": ""}, {"person": ""}):
        with pytest.raises(Invalid):
            Principal(**{"id": "P", "person": "H", "name": "n", **wrong})


def test_a_service_is_not_reached_by_bindings_of_its_person() -> None:
    assert not rules.decide(ask(AMINAS_ROBOT, "asset.show", ASSET), snapshot(binding(ME, "owner", "store"))).allowed


def test_an_expiry_is_judged_by_the_time_that_is_given() -> None:
    held = snapshot(binding(ME, "viewer", ASSET, expires_at=LATER))
    last = NOW + timedelta(days=1) - timedelta(microseconds=1)
    assert rules.decide(ask(AMINA, "asset.show", ASSET, at=last), held).allowed
    assert not rules.decide(ask(AMINA, "asset.show", ASSET, at=last + timedelta(microseconds=1)), held).allowed
