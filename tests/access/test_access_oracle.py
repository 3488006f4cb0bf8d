"""100,000 random decisions against a plain slow oracle, and laws that any such rules must keep.

The oracle is written from the words of the README, shares no code with the rules, and looks at every binding.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.access import rules, scopes
from falaj.access.records import Binding, Principal, Request
from falaj.access.snapshot import Snapshot
from falaj.core.encoding import moment
from tests.access.access_cases import CHANGING, CUSTOM, JUDGED, NOW, REGISTRY, ROLES

DECISIONS = 100_000
PER_WORLD = 500
PROJECTS = ["a", "ab", "a-b", "a+b", "a.b"]
KINDS = ["model", "dataset"]
NAMES = ["x", "x2", "x-2", "x+"]
REFS = ["main", "main2"]
ROLE_WORDS = ["viewer", "contributor", "maintainer", "owner", "auditor", "labeller", "blind_writer", "root"]
CONDITION_WORDS = ["four_eyes", "classification", "residency", "purpose", "mood"]
CLASSES = ["public", "internal", "confidential", "restricted"]
GROUPS = ["science", "risk", "sci"]
BAD_SCOPES = ["*", "project:", "project:a/", "asset:a/model", "ref:a/model/x", "project:a*", ""]


# The oracle.

LADDER = ["viewer", "contributor", "maintainer", "owner"]


def oracle(request: Request, bindings: list[Binding]) -> bool:
    if not request.resources or request.operation not in REGISTRY:
        return False
    if not any(cap == "*" or oracle_role_may(cap, request.operation) for cap in request.token_roles):
        return False
    for resource in request.resources:
        if not any(oracle_below(resource, scope) for scope in request.token_scope):
            return False
        if not any(oracle_binding(b, request, resource) for b in bindings):
            return False
    return True


def oracle_binding(binding: Binding, request: Request, resource: str) -> bool:
    mine = binding.subject == request.principal.id or any(
        binding.subject == f"group:{g}" for g in request.principal.groups
    )
    if not mine or not oracle_below(resource, binding.scope) or not oracle_role_may(binding.role, request.operation):
        return False
    if binding.expires_at is not None:
        ends = datetime.strptime(binding.expires_at[:-1] + "+0000", "%Y-%m-%dT%H:%M:%S.%f%z")
        if request.at >= ends:
            return False
    return all(oracle_condition(c, request) for c in binding.conditions)


def oracle_role_may(role: str, operation: str) -> bool:
    if role in CUSTOM:
        return operation in CUSTOM[role]
    for least in REGISTRY[operation]:
        if role in LADDER and least in LADDER and LADDER.index(role) >= LADDER.index(least):
            return True
        if least == "auditor" and role in ("auditor", "owner"):
            return True
        if role == "auditor" and least == "viewer" and operation not in CHANGING:
            return True
    return False


def oracle_condition(name: str, request: Request) -> bool:
    if name == "mood":
        return False
    if request.operation in JUDGED and name not in JUDGED[request.operation]:
        return True
    facts = request.attributes
    try:
        if name == "four_eyes":
            return bool(facts["proposer_person"]) and facts["proposer_person"] != request.principal.person
        if name == "classification":
            return CLASSES.index(facts["clearance"]) >= CLASSES.index(facts["classification"])
        if name == "residency":
            return facts["country"] in facts["countries"]
        return facts["purpose"] in facts["purposes"]
    except (KeyError, ValueError):
        return False


def oracle_below(resource: str, scope: str) -> bool:
    """Whether the resource lies at or below the scope, part by part."""
    one, two = oracle_path(scope), oracle_path(resource)
    return (
        one is not None
        and two is not None
        and len(one) <= len(two)
        and all(o == t for o, t in zip(one, two, strict=False))
    )


def oracle_path(text: str) -> list[tuple[str, ...]] | None:
    if text == "store":
        return []
    if ":" not in text or text in BAD_SCOPES:
        return None
    sort, rest = text.split(":")
    words = rest.split("/")
    if sort == "project":
        return [("project", words[0])]
    if sort == "asset":
        return [("project", words[0]), ("asset", words[1], words[2])]
    if sort == "ref":
        asset, ref = words[2].split("@")
        return [("project", words[0]), ("asset", words[1], asset), ("ref", ref)]
    return [("project", words[0]), (sort, words[1])] + [("part", w) for w in words[2:]]


# Random worlds.


class World:
    """A few dozen bindings and some principals, in names that are easily taken for one another."""

    def __init__(self, random: random.Random, size: int) -> None:
        self.random = random
        self.principals = [
            Principal(
                id=f"P{i}", person=f"H{i % 4}", name=f"n{i}", groups=tuple(random.sample(GROUPS, random.randint(0, 2)))
            )
            for i in range(6)
        ]
        self.bindings = [self.binding(i) for i in range(size)]

    def resource(self) -> str:
        r = self.random
        project = r.choice(PROJECTS)
        match r.randrange(8):
            case 0:
                return "store" if r.random() < 0.3 else f"project:{project}"
            case 1 | 2:
                return f"project:{project}"
            case 3 | 4:
                return f"asset:{project}/{r.choice(KINDS)}/{r.choice(NAMES)}"
            case 5 | 6:
                return f"ref:{project}/{r.choice(KINDS)}/{r.choice(NAMES)}@{r.choice(REFS)}"
            case _:
                return f"{r.choice(['run', 'token'])}:{project}/{r.choice(NAMES)}" + r.choice(["", "/x", "/x/x2"])

    def scope(self) -> str:
        return self.random.choice(BAD_SCOPES) if self.random.random() < 0.05 else self.resource()

    def when(self) -> str | None:
        roll = self.random.random()
        return None if roll < 0.7 else moment(NOW + timedelta(hours=self.random.randint(-2, 2)))

    def binding(self, number: int) -> Binding:
        r = self.random
        subject = f"P{r.randrange(6)}" if r.random() < 0.5 else "group:" + r.choice(GROUPS)
        return Binding(
            id=f"B{number}",
            subject=subject,
            role=r.choice(ROLE_WORDS),
            scope=self.scope(),
            conditions=tuple(r.sample(CONDITION_WORDS, r.choice([0, 0, 0, 1, 2]))),
            granted_by="P0",
            created_at=moment(NOW),
            expires_at=self.when(),
        )

    def attributes(self) -> Mapping[str, Any]:
        r = self.random
        facts = {
            "proposer_person": r.choice(["H0", "H1", "H2", "H3", ""]),
            "clearance": r.choice(CLASSES),
            "classification": r.choice([*CLASSES, "odd"]),
            "country": r.choice(["AE", "US"]),
            "countries": r.choice([("AE",), ("AE", "US"), ()]),
            "purpose": r.choice(["plan", "sell"]),
            "purposes": r.choice([["plan"], [], ["plan", "sell"]]),
        }
        return {k: v for k, v in facts.items() if r.random() < 0.9}

    def request(self) -> Request:
        """Two of three are aimed at a binding: its subject, its scope, an operation near its role."""
        r = self.random
        who, operation = r.choice(self.principals), r.choice([*REGISTRY, "ref.burn"])
        resources = [self.resource() for _ in range(r.choice([1, 1, 1, 1, 2, 3]))]
        if self.bindings and r.random() < 0.67:
            aim = r.choice(self.bindings)
            near = [p for p in self.principals if aim.subject == p.id or aim.subject[6:] in p.groups]
            who, resources[0] = r.choice(near or [who]), aim.scope
            operation = r.choice([*(ROLES.operations(aim.role) & REGISTRY.keys()), operation])
            resources = resources[:1] if r.random() < 0.8 else resources
        if r.random() < 0.02:
            resources = r.choice([[], [*resources, "nonsense"], [r.choice(BAD_SCOPES)]])
        return Request(
            principal=who,
            operation=operation,
            resources=tuple(resources),
            at=NOW + timedelta(hours=r.randint(-2, 2)),
            attributes=self.attributes(),
            token_scope=("store",) if r.random() < 0.7 else tuple(self.scope() for _ in range(r.randint(0, 3))),
            token_roles=("*",) if r.random() < 0.8 else tuple(r.sample(ROLE_WORDS, r.randint(0, 2))),
        )

    def snapshot(self) -> Snapshot:
        return Snapshot.build(self.bindings, self.principals, ROLES, revision=1)


def test_no_wrong_decision_of_100_000_against_the_oracle(seed: int, rng: random.Random) -> None:
    wrong, met = [], Counter[str]()
    for number in range(DECISIONS // PER_WORLD):
        world = World(rng, size=rng.choice([1, 10, 40, 80]))
        snapshot = world.snapshot()
        for _ in range(PER_WORLD):
            request = world.request()
            decision = rules.decide(request, snapshot)
            met[decision.code] += 1
            if decision.allowed != oracle(request, world.bindings):
                wrong.append((number, request, decision))
    assert not wrong, f"seed {seed}: {len(wrong)} wrong, first {wrong[0]}"
    every = {"allowed", "no_binding", "condition", "token_scope", "token_role", "no_resource", "unknown_operation"}
    assert set(met) == every
    assert DECISIONS * 0.15 < met["allowed"] < DECISIONS * 0.85, f"seed {seed}: {met}"


worlds = st.builds(lambda seed, size: World(random.Random(seed), size), st.integers(0, 2**32), st.integers(0, 40))


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_an_answer_names_exactly_the_bindings_that_decide(world: World) -> None:
    request, snapshot = world.request(), world.snapshot()
    decision = rules.decide(request, snapshot)
    used = [b for b in world.bindings if b.id in decision.bindings]
    again = Snapshot.build(used, world.principals, ROLES, revision=1)
    assert rules.decide(request, again).allowed == decision.allowed
    assert all(f.resource in request.resources for f in decision.findings)


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_adding_a_binding_never_takes_anything_away(world: World) -> None:
    request, before = world.request(), world.snapshot()
    world.bindings.append(world.binding(999))
    assert rules.decide(request, before).allowed <= rules.decide(request, world.snapshot()).allowed


@settings(max_examples=60, deadline=None)
@given(worlds, st.sampled_from(CONDITION_WORDS))
def test_a_token_and_a_condition_only_narrow(world: World, condition: str) -> None:
    request, snapshot = world.request(), world.snapshot()
    free = msgspec.structs.replace(request, token_scope=("store",), token_roles=("*",))
    assert rules.decide(request, snapshot).allowed <= rules.decide(free, snapshot).allowed
    stricter = [msgspec.structs.replace(b, conditions=(*b.conditions, condition)) for b in world.bindings]
    strict = Snapshot.build(stricter, world.principals, ROLES, revision=1)
    assert rules.decide(request, strict).allowed <= rules.decide(request, snapshot).allowed


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_who_can_names_everyone_whom_the_rules_allow_and_nobody_else(world: World) -> None:
    snapshot, resource = world.snapshot(), world.resource()
    operation = world.random.choice(sorted(REGISTRY))
    named = rules.who_can(operation, resource, snapshot, at=NOW)
    for principal in world.principals:
        request = Request(principal=principal, operation=operation, resources=(resource,), at=NOW, attributes={})
        decision = rules.decide(request, snapshot)
        known = [f for f in decision.findings if "mood" not in f.binding.conditions]
        held = {f.binding.id for f in known}
        assert {h.binding.id for h in named if h.subject == principal.id} == held


@settings(max_examples=80, deadline=None)
@given(worlds)
def test_the_filter_of_a_list_lets_through_what_the_rules_allow(world: World) -> None:
    request, snapshot = world.request(), world.snapshot()
    reach = rules.reach(request, snapshot)
    for resource in [world.resource() for _ in range(20)]:
        one = msgspec.structs.replace(request, resources=(resource,))
        through = any(
            scopes.covers(r.scope, resource) and all(oracle_condition(c, request) for c in r.conditions) for r in reach
        )
        assert through == rules.decide(one, snapshot).allowed
    for r in reach:
        wider = [
            o for o in reach if o != r and scopes.covers(o.scope, r.scope) and set(o.conditions) <= set(r.conditions)
        ]
        assert not wider
