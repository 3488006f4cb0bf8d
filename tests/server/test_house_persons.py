"""Persons, their tokens and their chances: void at once, no wider than issued, and of two at once one is first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from falaj.access import tokens
from falaj.access.rows import TOKEN, principal_named
from falaj.access.state import raise_revision
from falaj.client import RemoteSession
from falaj.core.entries import What
from falaj.core.errors import Conflict, FalajError, Forbidden, Invalid, NotFound, Unauthenticated
from falaj.session import staged
from falaj.store.unit import Actor
from tests.platform.places import contract, rows
from tests.server.house import House
from tests.server.running import until

FLIGHTS = "/v1/projects/flights"


def outcome(call: Callable[[], Any]) -> str:
    """What a call came to: "done", or the code of its refusal."""
    try:
        call()
    except FalajError as error:
        return error.code
    return "done"


def at_once(*calls: Callable[[], Any]) -> list[str]:
    """What the calls came to that began together."""
    start = Barrier(len(calls))

    def one(call: Callable[[], Any]) -> str:
        start.wait(20)
        return outcome(call)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


# tokens


def test_a_revoked_token_is_void_at_once_on_every_connection(house):
    badr = house.person("badr", ("viewer", "project:flights"))
    badr.call("asset.list")
    token = house.tokens["badr"]
    house.olga.call("token.revoke", {"token": token.split("_")[1]})
    with pytest.raises(Unauthenticated):
        badr.call("asset.list")
    unknown = house.ask("GET", f"{FLIGHTS}/asset.list", token="falaj_unknown")
    assert house.ask("GET", f"{FLIGHTS}/asset.list", token=token)[2] == unknown[2]


def test_a_revoked_binding_is_void_at_once(house):
    badr = house.person("badr", ("viewer", "project:flights"))
    badr.call("asset.list")
    binding = next(b for b in house.olga.call("access.list", {"scope": "project:flights"}) if b["subject"] == "badr")
    house.olga.call("access.revoke", {"binding": binding["id"], "scope": "project:flights"})
    with pytest.raises(NotFound):
        badr.call("asset.list")


def test_an_expired_token_is_void_like_any_other(house):
    house.person("badr", ("viewer", "project:flights"))
    then, ground = datetime.now(UTC) - timedelta(hours=2), house.platform.ground
    with ground.database.read() as tx:
        principal = principal_named(tx, "badr")
    assert principal is not None
    key = house.platform.door.token_key
    minted = tokens.mint(principal, key=key, now=then, expires_at=then + timedelta(hours=1))
    with ground.units.begin(Actor(principal.id, principal.person, "badr"), "token.issue") as unit:
        unit.add(TOKEN, minted.row)
        raise_revision(unit)
        unit.say(What.TOKEN_ISSUED, [minted.row.id])
    told = house.ask("GET", f"{FLIGHTS}/asset.list", token=minted.reveal())
    assert told[0] == 401
    assert told[2] == house.ask("GET", f"{FLIGHTS}/asset.list", token=None)[2]


@pytest.mark.parametrize(
    ("narrowed", "may"),
    [
        ({}, {"asset.list", "run.start", "project.create"}),
        ({"scope": ["project:flights"]}, {"asset.list", "run.start"}),
        ({"roles": ["viewer"]}, {"asset.list"}),
        ({"scope": ["project:weather"]}, set()),
        ({"scope": ["asset:flights/dataset/flights"]}, {"asset.list"}),
    ],
)
def test_a_token_is_good_for_no_more_than_it_was_issued_for(house, narrowed, may):
    session = house.session("olga", token=house.new_token("olga", **narrowed))
    calls = {
        "asset.list": lambda: session.call("asset.list"),
        "run.start": lambda: session.call("run.start", {"name": "x"}),
        "project.create": lambda: session.call("project.create", {"name": "w" + str(len(may))}),
    }
    assert {name for name, call in calls.items() if outcome(call) == "done"} == may


def test_a_flood_without_tokens_is_few_entries(house):
    before = len(house.entries("requests.unauthenticated"))
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda n: house.ask("GET", f"{FLIGHTS}/asset.list", token=f"no{n}")[0], range(300)))
    assert told == [401] * 300

    def counted() -> bool:
        found = house.entries("requests.unauthenticated")
        return sum(entry["detail"]["count"] for entry in found) >= 300

    assert until(counted)
    assert len(house.entries("requests.unauthenticated")) - before < 30
    house.check_clean()


# second persons


def changed(session: RemoteSession, classification: str) -> dict[str, Any]:
    """Apply the contract with another classification: a change that another person must approve."""
    return dict(session.call("config.apply", {"files": [contract(classification=classification)]})["files"][0])


def test_nobody_is_a_second_person_to_oneself(house):
    carla = house.person("carla", ("maintainer", "project:flights"))
    dana = house.person("dana", ("maintainer", "project:flights"))
    assert changed(carla, "internal")["outcome"] == "created"
    proposed = changed(carla, "public")
    assert proposed["outcome"] == "proposed"
    ask = {"proposal": proposed["proposal"]}
    for session in (carla, house.session("carla", token=house.new_token("carla"))):
        with pytest.raises(Forbidden) as refused:
            session.call("ref.approve", ask)
        assert refused.value.code == "same_person"
    assert carla.call("proposal.show", ask)["state"] == "open"
    assert dana.call("ref.approve", ask)["state"] == "moved"
    assert [e["by"] for e in house.entries("request.refused")].count("carla") == 2
    house.check_clean()


def test_a_service_that_one_answers_for_is_no_second_person(house):
    house.olga.call("principal.add", {"name": "nightly", "service": True})
    carla = house.person("carla", ("owner", "project:flights"))
    carla.call("access.grant", {"subject": "nightly", "role": "maintainer", "scope": "project:flights"})
    nightly = house.session("nightly", token=house.new_token("nightly"))
    changed(house.olga, "internal")
    proposed = changed(house.olga, "public")
    with pytest.raises(Forbidden) as refused:
        nightly.call("ref.approve", {"proposal": proposed["proposal"]})
    assert refused.value.code == "same_person"


def test_of_many_approvals_at_once_one_moves_it(house):
    house.person("carla", ("maintainer", "project:flights"))
    house.person("dana", ("maintainer", "project:flights"))
    changed(house.olga, "internal")
    proposal = changed(house.olga, "public")["proposal"]
    sessions = [house.session(name) for name in ("carla", "dana") * 3]
    told = at_once(*[lambda s=s: s.call("ref.approve", {"proposal": proposal}) for s in sessions])
    assert told.count("done") == 1
    log = house.olga.call("asset.log", {"thing": "contract/flights@main"})["moves"]
    assert [move["version"] for move in log] == [2, 1]
    house.check_clean()


def test_a_proposal_is_taken_back_by_who_made_it_or_could_approve_it(house):
    carla = house.person("carla", ("contributor", "project:flights"))
    eva = house.person("eva", ("contributor", "project:flights"))
    dana = house.person("dana", ("maintainer", "project:flights"))
    changed(house.olga, "internal")
    mine = {"proposal": carla.call("ref.propose", {"thing": "contract/flights@tried", "version": 1})["id"]}
    other = {"proposal": changed(house.olga, "public")["proposal"]}
    for ask in (mine, other):
        with pytest.raises(Forbidden) as refused:
            eva.call("ref.withdraw", ask)
        assert refused.value.code == "not_proposer"
    assert carla.call("ref.withdraw", {**mine, "reason": "wrong version"})["state"] == "withdrawn"
    assert dana.call("ref.withdraw", other)["state"] == "withdrawn"
    for ask in (mine, other):
        with pytest.raises(Invalid, match="is withdrawn"):
            dana.call("ref.approve", ask)
    assert {p["id"] for p in dana.call("proposal.list", {"state": "withdrawn"})} == {
        mine["proposal"],
        other["proposal"],
    }
    house.check_clean()


# two at once


@pytest.fixture
def two_versions(house: House, tmp_path: Path) -> House:
    """A dataset with two versions and a maintainer."""
    for start in (0, 5):
        files = staged(house.olga, [rows(tmp_path / f"{start}.csv", start)])
        house.olga.call("data.add", {"dataset": "flights", "files": files})
    house.person("carla", ("maintainer", "project:flights"))
    return house


def test_of_promotions_at_once_one_is_first_and_the_others_are_told(two_versions):
    house = two_versions

    def promote(version: int, expect: int) -> Callable[[], Any]:
        session = house.session("carla")
        body = {"thing": "dataset/flights@blessed", "version": version, "expect": expect}
        return lambda: session.call("ref.promote", body)

    told = at_once(*[promote(1 + n % 2, 0) for n in range(6)])
    assert told.count("done") >= 1
    moves = house.olga.call("asset.log", {"thing": "dataset/flights@blessed"})["moves"]
    assert len(moves) == 1
    assert set(told) <= {"done", "ref_moved"}
    holder = moves[0]["version"]
    told = at_once(*[promote(3 - holder, holder) for _ in range(6)])
    assert set(told) <= {"done", "ref_moved"}
    moves = house.olga.call("asset.log", {"thing": "dataset/flights@blessed"})["moves"]
    assert [move["version"] for move in moves] == [3 - holder, holder]
    house.check_clean()


def test_one_key_from_many_hands_at_once_is_done_once(house):
    body = {"name": "once"}
    sessions = [house.session("olga") for _ in range(6)]
    told = at_once(*[lambda s=s: s.call("run.start", body, idempotency_key="k") for s in sessions])
    runs = house.olga.call("run.list", {"sort": "script"})["items"]
    assert len(runs) == 1
    assert told.count("done") >= 1


def test_names_taken_at_once_are_taken_once(house):
    sessions = [house.session("olga") for _ in range(6)]
    told = at_once(*[lambda s=s: s.call("project.create", {"name": "weather"}) for s in sessions])
    assert sorted(told) == ["done"] + ["exists"] * 5
    house.check_clean()


def test_an_expected_version_counts(two_versions):
    with pytest.raises(Conflict):
        two_versions.olga.call("ref.rollback", {"thing": "flights@main", "expect": 1})
    assert two_versions.olga.call("ref.rollback", {"thing": "flights@main", "expect": 2})["version"] == 1
