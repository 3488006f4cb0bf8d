"""Conditions of bindings are judged on facts that Falaj finds, never on what a caller says."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.core.errors import FalajError, Forbidden, NotFound
from tests.platform.places import Person, Served, contract, rows

POLICY = "policy: home\nallow: [{allow}]\n"


def reading(person: Person) -> bytes:
    stream = person.call("data.get", thing="flights@main")
    return b"".join(stream)


def with_data(served: Served, tmp_path: Path, classification: str = "confidential") -> None:
    served.owner.call("config.apply", files=[contract(classification=classification)])
    file = served.owner.stage(rows(tmp_path / "flights.csv"))
    served.owner.call("data.add", dataset="flights", files=[file])


@pytest.mark.parametrize(
    ("classification", "groups", "reads"),
    [
        ("confidential", ("clearance-confidential",), True),
        ("confidential", ("clearance-restricted",), True),
        ("confidential", ("clearance-internal", "clearance-restricted"), True),
        ("confidential", ("clearance-internal",), False),
        ("confidential", (), False),
        ("confidential", ("clearance-everything",), False),
        ("internal", ("clearance-internal",), True),
    ],
)
def test_a_clearance_is_needed_where_the_binding_says_so(
    served: Served, tmp_path: Path, classification: str, groups: tuple[str, ...], reads: bool
) -> None:
    with_data(served, tmp_path, classification)
    scope = "asset:flights/dataset/flights"
    sara = served.person("sara", ("contributor", scope), groups=groups, conditions=["classification"])
    if reads:
        assert reading(sara).startswith(b"id,city")
        return
    with pytest.raises((Forbidden, NotFound)) as refused:
        reading(sara)
    assert refused.value.facts["entry_id"]


def test_residency_as_a_condition_follows_the_policies(served: Served, tmp_path: Path) -> None:
    with_data(served, tmp_path)
    sara = served.person("sara", ("contributor", "project:flights"), conditions=["residency"])
    with pytest.raises(Forbidden, match="countries"):  # no policy says where the bytes may be
        reading(sara)
    served.owner.call("config.apply", files=[{"path": "policies/home.yaml", "text": POLICY.format(allow="AE")}])
    assert reading(sara).startswith(b"id,city")


def test_a_purpose_must_be_one_that_the_contract_declares(served: Served, tmp_path: Path) -> None:
    with_data(served, tmp_path)
    sara = served.person("sara", ("contributor", "project:flights"), conditions=["purpose"])
    for purpose in ("", "marketing"):
        with pytest.raises(Forbidden, match="purpose"):
            list(sara.call("data.get", thing="flights@main", purpose=purpose))
    assert b"".join(sara.call("data.get", thing="flights@main", purpose="training")).startswith(b"id,city")


def test_four_eyes_as_a_condition_looks_at_the_person(served: Served) -> None:
    served.owner.call("config.apply", files=[contract()])
    changed = contract(classification="restricted")
    sara = served.person("sara", ("maintainer", "project:flights"), conditions=["four_eyes"])
    proposal = sara.call("config.apply", files=[changed]).files[0].proposal
    assert proposal
    second = served.another_token("sara")
    for token in (sara, second):
        with pytest.raises(Forbidden):
            token.call("ref.approve", proposal=proposal)
    badr = served.person("badr", ("maintainer", "project:flights"), conditions=["four_eyes"])
    assert badr.call("ref.approve", proposal=proposal).state == "moved"


def test_a_condition_that_does_not_apply_to_an_operation_does_not_hinder_it(served: Served) -> None:
    served.owner.call("config.apply", files=[contract()])
    sara = served.person("sara", ("viewer", "project:flights"), conditions=["four_eyes", "purpose"])
    assert sara.call("asset.list").items


def test_the_decision_is_explained_with_its_conditions(served: Served, tmp_path: Path) -> None:
    with_data(served, tmp_path)
    served.person("sara", ("contributor", "project:flights"), conditions=["residency"])
    told = served.owner.call(
        "access.why", operation="data.get", resource="asset:flights/dataset/flights", principal="sara"
    )
    assert not told.allowed
    assert any("residency" in line for line in told.lines)
    who = served.owner.call("access.who_can", operation="data.get", resource="asset:flights/dataset/flights")
    assert {"sara", "olga"} <= {holder.name for holder in who}


def test_nobody_grants_to_themselves_or_more_than_they_hold(served: Served) -> None:
    sara = served.person("sara", ("owner", "project:flights"))
    served.person("badr")
    for grant in (
        {"subject": "sara", "role": "owner", "scope": "store"},
        {"subject": "sara", "role": "owner", "scope": "project:flights"},
        {"subject": "badr", "role": "owner", "scope": "store"},
    ):
        with pytest.raises((Forbidden, NotFound)):
            sara.call("access.grant", project="", **grant)
    sara.call("access.grant", project="", subject="badr", role="maintainer", scope="project:flights")


def test_a_service_counts_as_the_person_behind_it(served: Served) -> None:
    sara = served.person("sara", ("owner", "store"))
    sara.call("principal.add", project="", name="nightly", service=True)
    with pytest.raises(FalajError, match="own person"):
        sara.call("access.grant", project="", subject="nightly", role="maintainer", scope="project:flights")
    served.owner.call("access.grant", project="", subject="nightly", role="maintainer", scope="project:flights")
    nightly = served.another_token("nightly")
    served.owner.call("config.apply", files=[contract()])
    proposal = sara.call("config.apply", files=[contract(classification="restricted")]).files[0].proposal
    with pytest.raises(Forbidden) as refused:
        nightly.call("ref.approve", proposal=proposal)
    assert refused.value.code == "same_person"
