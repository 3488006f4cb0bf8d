"""Lists: who may see a part of a project gets that part, page by page; who may see nothing of it learns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from falaj.core.errors import NotFound
from tests.platform.places import contract, rows
from tests.server.house import House

KITES, FLIGHTS, CONTRACT = "dataset/kites", "dataset/flights", "contract/flights"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    built = House(tmp_path_factory.mktemp("lists") / "flights")
    try:
        built.olga.call("project.create", {"name": "weather"})
        file = rows(built.place / "2013-01.csv")
        built.olga.call("config.apply", {"files": [contract()]})
        for project, names in (("flights", ("flights", "kites")), ("weather", ("flights",))):
            session = built.session("olga", project)
            for name in names:
                staged = session.stage(file)
                session.call("data.add", {"dataset": name, "files": [{k: staged[k] for k in ("staged", "name")}]})
        yield built
    finally:
        built.close()


CASES = {
    "one dataset": ([KITES], [KITES]),
    "two": ([KITES, FLIGHTS], [FLIGHTS, KITES]),
    "of another kind": ([CONTRACT], [CONTRACT]),
    "something that is not there yet": ([KITES, "model/delay"], [KITES]),
}


@pytest.mark.parametrize(("held", "seen"), CASES.values(), ids=CASES)
def test_who_may_see_some_assets_is_listed_those(house: House, held: list[str], seen: list[str], request: Any) -> None:
    name = request.node.callspec.id.replace(" ", "-")[:20]
    badr = house.person(name, *(("viewer", f"asset:flights/{key}") for key in held))
    page = badr.call("asset.list")
    assert [f"{item['kind']}/{item['name']}" for item in page["items"]] == seen
    assert page["next"] is None
    assert [i["name"] for i in badr.call("asset.list", {"kind": "dataset"})["items"]] == [
        key.partition("/")[2] for key in seen if key.startswith("dataset/")
    ]
    assert badr.call("proposal.list") == []


def test_such_a_list_goes_on_page_by_page(house: House) -> None:
    noor = house.person("noor", *(("viewer", f"asset:flights/{key}") for key in (KITES, FLIGHTS, CONTRACT)))
    seen, after = [], ""
    while True:
        page = noor.call("asset.list", {"limit": 1, "after": after})
        seen += [f"{item['kind']}/{item['name']}" for item in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [CONTRACT, FLIGHTS, KITES]


@pytest.mark.parametrize("scope", ["asset:weather/dataset/flights", "ref:weather/dataset/flights@main"])
def test_a_role_in_another_project_shows_nothing_of_this_one(house: House, scope: str) -> None:
    lulu = house.person(f"lulu-{scope[:3]}", ("viewer", scope))
    with pytest.raises(NotFound):
        lulu.call("asset.list")
    with pytest.raises(NotFound):
        lulu.call("proposal.list")


def test_proposals_are_listed_of_what_is_to_be_seen(house: House) -> None:
    house.olga.call("config.apply", {"files": [contract(classification="confidential")]})
    kites = house.olga.call("ref.propose", {"thing": "dataset/kites@blessed", "version": 1})
    noor = house.person("nora", ("viewer", "ref:flights/dataset/kites@blessed"))
    assert [p["id"] for p in noor.call("proposal.list")] == [kites["id"]]
    assert house.person("omar", ("viewer", "ref:flights/dataset/kites@other")).call("proposal.list") == []
    amal = house.person("amal", ("viewer", f"asset:flights/{CONTRACT}"))
    theirs, everyone = amal.call("proposal.list"), house.olga.call("proposal.list")
    assert [p["thing"] for p in theirs] == [f"{CONTRACT}@main"]
    assert len(everyone) == 2
