"""Microseconds of an access decision with 10, 1,000 and 100,000 bindings, beside bare dictionary look-ups.

Usage: python -m benchmarks.access [--bindings N …] [--requests N] [--seed S]

Requests are drawn over all principals, resources and operations, so that caches of the
processor are as cold as in service. `decide_us` is the whole decision, reason and findings included; `limit_us` looks
up the same subjects and scopes in plain dictionaries and keeps nothing, with the scopes' texts ready made.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from benchmarks.measure import Loads, recorded, result, show
from falaj.access import rules, scopes, tokens
from falaj.access.records import Binding, Principal, Request
from falaj.access.roles import Roles
from falaj.access.snapshot import Granted, Snapshot
from falaj.core.encoding import moment
from falaj.core.errors import Unauthenticated

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ROLES = Roles(
    {
        "asset.show": {"viewer"},
        "data.add": {"contributor"},
        "ref.promote": {"maintainer"},
        "proposal.approve": {"maintainer"},
        "access.grant": {"owner"},
    },
    changing={"data.add", "ref.promote", "proposal.approve", "access.grant"},
    judged={"asset.show": set(), "data.add": set(), "ref.promote": set(), "proposal.approve": {"four_eyes"}},
)
OPERATIONS = ("asset.show", "data.add", "ref.promote", "proposal.approve", "access.grant")
HELD = ("viewer", "contributor", "maintainer", "owner")

T = TypeVar("T")


class World:
    """Principals in groups, projects of 40 assets, and bindings on projects, assets and refs."""

    def __init__(self, count: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.people = max(2, min(2000, count // 10))
        self.projects = max(1, min(500, count // 20))
        groups = [f"team{i}" for i in range(max(1, self.people // 10))]
        self.principals = [
            Principal(
                id=f"P{i}", person=f"H{i}", name=f"n{i}", groups=tuple(self.random.sample(groups, min(3, len(groups))))
            )
            for i in range(self.people)
        ]
        self.groups = groups
        self.bindings = [self.binding(i) for i in range(count)]

    def resource(self) -> str:
        project, asset = self.random.randrange(self.projects), self.random.randrange(40)
        forms = (
            f"project:p{project}",
            f"asset:p{project}/model/m{asset}",
            f"ref:p{project}/model/m{asset}@production",
            f"ref:p{project}/model/m{asset}@staging",
        )
        return self.random.choice(forms)

    def binding(self, number: int) -> Binding:
        draw = self.random
        by_group = draw.random() < 0.3
        return Binding(
            id=f"B{number}",
            subject=f"group:{draw.choice(self.groups)}" if by_group else f"P{draw.randrange(self.people)}",
            role=draw.choice(HELD),
            scope=self.resource(),
            conditions=draw.choice(((), (), ("four_eyes",))),
            granted_by="P0",
            created_at=moment(NOW),
            expires_at=draw.choice((None, None, None, "2027-01-01T00:00:00.000000Z")),
        )

    def request(self) -> Request:
        """Half of them about a thing that the principal has a binding on, so that both answers are common."""
        draw = self.random
        principal, resource = draw.choice(self.principals), self.resource()
        if draw.random() < 0.5:
            binding = draw.choice(self.bindings)
            resource = binding.scope
            if not binding.subject.startswith("group:"):
                principal = self.principals[int(binding.subject[1:])]
        return Request(
            principal=principal,
            operation=draw.choice(OPERATIONS),
            resources=(resource,),
            attributes={"proposer_person": f"H{draw.randrange(self.people)}"},
            at=NOW,
        )


def timed(call: Callable[[T], object], values: Sequence[T]) -> list[float]:
    """Microseconds of each call."""
    out = []
    clock = time.perf_counter_ns
    for value in values:
        begin = clock()
        call(value)
        out.append((clock() - begin) / 1000)
    return out


def bare(snapshot: Snapshot, request: Request) -> tuple[tuple[dict[str, tuple[Binding, ...]], ...], tuple[str, ...]]:
    """What the bare limit looks up: the subjects' dictionaries and the scopes, ready made."""
    return tuple(dict(snapshot.of(s)) for s in request.principal.subjects()), scopes.chain(request.resources[0])


def look_up(prepared: tuple[tuple[dict[str, tuple[Binding, ...]], ...], tuple[str, ...]]) -> int:
    """The bare limit: whether there is any binding."""
    found = 0
    for held in prepared[0]:
        for scope in prepared[1]:
            if held.get(scope):
                found += 1
    return found


def measure(count: int, requests: int, seed: int) -> dict[str, Any]:
    """One row of the result."""
    world = World(count, seed)
    begin = time.perf_counter()
    snapshot = Snapshot.build(world.bindings, world.principals, ROLES, revision=1)
    build_ms = (time.perf_counter() - begin) * 1000
    asked = [world.request() for _ in range(requests)]
    answers = [rules.decide(r, snapshot) for r in asked]
    took = timed(lambda r: rules.decide(r, snapshot), asked)
    limit = timed(look_up, [bare(snapshot, r) for r in asked])
    by = {answer: [t for t, d in zip(took, answers, strict=True) if d.allowed is answer] for answer in (True, False)}
    extra = [world.binding(count + i) for i in range(50)]
    grant = timed(lambda b: snapshot.apply([Granted(b)], revision=2), extra)
    whole = timed(lambda r: rules.who_can("ref.promote", r.resources[0], snapshot, at=NOW), asked[:20])
    return {
        "bindings": count,
        "decide_us": round(statistics.median(took), 2),
        "decide_us_p99": round(statistics.quantiles(took, n=100)[98], 2),
        "decide_us_allowed": round(statistics.median(by[True]), 2) if by[True] else None,
        "decide_us_refused": round(statistics.median(by[False]), 2) if by[False] else None,
        "allowed_share": round(len(by[True]) / len(took), 3),
        "limit_us": round(statistics.median(limit), 2),
        "ratio": round(statistics.median(took) / statistics.median(limit), 1),
        "apply_one_us": round(statistics.median(grant), 1),
        "build_ms": round(build_ms, 1),
        "who_can_ms": round(statistics.median(whole) / 1000, 2),
    }


def token_costs(rounds: int) -> dict[str, float]:
    """Microseconds of parsing and checking a token; of an unknown one too, which must not differ."""
    key, owner = bytes(range(32)), Principal(id="P", person="H", name="n")
    minted = tokens.mint(owner, key=key, now=NOW)
    text = minted.reveal()
    known = timed(lambda _: tokens.check(text, minted.row, key, NOW), range(rounds))
    wrong = tokens.text(minted.row.id, "0" * 43)
    unknown = timed(lambda _: refused(wrong, None, key), range(rounds))
    forged = timed(lambda _: refused(wrong, minted.row, key), range(rounds))
    return {
        "check_us": round(statistics.median(known), 2),
        "refuse_unknown_us": round(statistics.median(unknown), 2),
        "refuse_wrong_secret_us": round(statistics.median(forged), 2),
    }


def refused(text: str, row: tokens.Token | None, key: bytes) -> bool:
    """Whether the token is refused, as it must be."""
    try:
        tokens.check(text, row, key, NOW)
    except Unauthenticated:
        return True
    raise AssertionError("a wrong token was taken")


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bindings", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    loads = Loads()
    decisions = [measure(n, given.requests, given.seed) for n in given.bindings]
    checks = token_costs(5_000)
    others = [
        recorded(f"access decision, {d['bindings']:,} bindings", "µs", d["decide_us"], d["limit_us"]) for d in decisions
    ]
    others += [recorded("token checked", "µs", checks["check_us"])]
    show(result("access", loads, (), others, seed=given.seed, decisions=decisions, tokens=checks))


if __name__ == "__main__":
    main()
