"""Every operation over HTTP, by those who may not: nobody at all, a person without roles, one of another project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from falaj.core.errors import NotFound
from falaj.door import Operation
from falaj.platform.rooms import every_operation
from falaj.server.surface import Route, routes
from tests.platform.places import contract, rows
from tests.server.house import House

OPERATIONS = list(every_operation())
ROUTES = list(routes(every_operation()).values())
IN_PROJECTS = [r for r in ROUTES if r.in_project]
ID = "01JD8M3V9Y7X2K4T6R8P0N1B5C"
VALUE = re.compile(r"x?'(?:[^']|'')*'|\b\d+\b|NULL")
ENTRY = re.compile(rb'"entry(_id)?":(\d+|null|"\w{26}")')


def sample(field: str, project: str) -> Any:
    """A plausible value of an argument, by its name; a plain word where none is known."""
    plausible = {
        "thing": "flights",
        "dataset": "flights",
        "data": "flights@main",
        "model": "delay@production",
        "into": "scored",
        "inputs": ["flights@main"],
        "scope": f"project:{project}",
        "resource": f"project:{project}",
        "version": 1,
        "old": 1,
        "name": "weather2",
        "subject": "badr",
        "role": "viewer",
        "principal": "badr",
        "operation": "asset.show",
        "files": [{"staged": ID, "name": "a.csv", "path": "contracts/a.yaml", "text": ""}],
        "graph": {"pipeline": "word", "nodes": [{"id": "step", "returns": "int"}]},
        "source": {"staged": ID, "name": "source.json"},
        "file": "2013-01.csv",
        "label": "arr_delay > 30",
        "confirm": "flights",
        "entry": "1",
        "run": ID,
        "proposal": ID,
        "token": ID,
        "binding": ID,
        "verdict": ID,
        "attempt": 1,
        "manifest": {"type": "int", "files": ["value.json"]},
        "prediction": ID,
        "deployment": "delay",
    }
    return plausible.get(field, "word")


def arguments(operation: Operation, project: str) -> dict[str, Any]:
    """Plausible arguments: those without a default."""
    struct = operation.params
    needed = len(struct.__struct_fields__) - len(struct.__struct_defaults__)
    required = [f.name for f in msgspec.structs.fields(struct) if f.required]
    assert len(required) >= needed
    args = {name: sample(name, project) for name in required}
    files = args.get("files")
    if files:
        fields = {f.name for f in msgspec.structs.fields(_element(operation, "files"))}
        args["files"] = [{k: v for k, v in files[0].items() if k in fields}]
    return args


def _element(operation: Operation, field: str) -> type[msgspec.Struct]:
    kind = next(f.type for f in msgspec.structs.fields(operation.params) if f.name == field)
    element: type[msgspec.Struct] = kind.__args__[0]
    return element


def ask(house: House, route: Route, project: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
    path = route.path.replace("{project}", project)
    args = arguments(route.operation, project)
    if route.method == "POST":
        return house.ask("POST", path, args, token=token, Prefer="wait=20")
    pairs = [f"{k}={v if isinstance(v, str) else msgspec.json.encode(v).decode()}" for k, v in args.items()]
    return house.ask("GET", path + "?" + "&".join(pairs), token=token)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two projects with the same things in them. Nemo has no role; Badr is the owner of one project."""
    built = House(tmp_path_factory.mktemp("doors") / "flights")
    try:
        built.olga.call("project.create", {"name": "weather"})
        file = rows(built.place / "2013-01.csv")
        for project in ("flights", "weather"):
            session = built.session("olga", project)
            session.call("config.apply", {"files": [contract()]})
            staged = session.stage(file)
            session.call("data.add", {"dataset": "flights", "files": [{k: staged[k] for k in ("staged", "name")}]})
        built.person("nemo")
        built.person("badr", ("owner", "project:flights"))
        yield built
    finally:
        built.close()


# declarations


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_no_operation_is_without_a_decision(operation):
    assert operation.on
    assert operation.roles


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_no_operation_is_without_its_faces_or_a_reason(operation):
    faces = operation.faces
    faced = {r.operation.name for r in ROUTES}
    assert bool(faces.cli) != ("cli" in faces.without)
    assert (operation.name in faced) != ("http" in faces.without)
    assert all(reason.strip() for reason in faces.without.values())
    assert operation.summary.strip()


# nobody


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.operation.name)
def test_without_a_token_no_operation_says_anything(house, route):
    anything = house.ask("GET", "/v1/nothing", token=None)
    told = ask(house, route, "flights", None)
    assert told[0] == 401
    assert told[2] == anything[2]


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.operation.name)
def test_a_person_without_a_role_is_refused_everywhere_and_each_time_it_is_an_entry(house, route):
    status, _, body = ask(house, route, "flights", house.tokens["nemo"])
    told = msgspec.json.decode(body)
    # That there is a store is no secret; whatever is in it is.
    assert (status, told["code"]) == ((404, "not_found") if route.in_project else (403, "forbidden"))
    entry = house.entries("request.refused", limit=1)[0]
    assert (entry["leaf"], entry["by"], entry["op"]) == (told["facts"]["entry"], "nemo", route.operation.name)


# another project


@pytest.mark.parametrize("route", IN_PROJECTS, ids=lambda r: r.operation.name)
def test_a_project_of_others_looks_like_one_that_is_not_there(house, route):
    theirs = ask(house, route, "weather", house.tokens["badr"])
    nothing = ask(house, route, "nonesuch", house.tokens["badr"])
    assert theirs[0] == nothing[0] == 404
    assert _alike(theirs[2]) == _alike(nothing[2])
    assert theirs[1].keys() == nothing[1].keys()


@pytest.mark.parametrize(
    ("operation", "args"),
    [
        ("asset.show", {"thing": "{thing}"}),
        ("asset.log", {"thing": "dataset/{thing}"}),
        ("data.files", {"thing": "{thing}@main"}),
        ("ref.rollback", {"thing": "{thing}@main"}),
        ("data.add", {"dataset": "{thing}", "files": []}),
        ("run.list", {}),
    ],
)
def test_what_is_theirs_costs_the_same_as_what_is_not_there(house, operation, args):
    """The time is the same because the work is: the same statements, in the same order."""
    found = {
        (project, thing): _statements(house, operation, project, {k: _put(v, thing) for k, v in args.items()})
        for project in ("weather", "nonesuch")
        for thing in ("flights", "nothing")
    }
    assert len({tuple(statements) for statements in found.values()}) == 1
    assert found["weather", "flights"]


def _put(value: Any, thing: str) -> Any:
    return value.replace("{thing}", thing) if isinstance(value, str) else value


def _statements(house: House, operation: str, project: str, args: dict[str, Any]) -> list[str]:
    """What the database is asked while Badr is refused, without the values.

    How many nodes the entry adds to the tree depends on its number alone.
    """
    platform = house.platform
    caller = platform.authenticate(house.tokens["badr"])
    platform.door.snapshot(caller)  # what is in force is kept in memory from the first question on
    connection = platform.ground.database._connections.mine
    told: list[str] = []
    connection.set_trace_callback(told.append)
    try:
        with pytest.raises(NotFound):
            platform.door.call(operation, args, caller=caller, project=project)
    finally:
        connection.set_trace_callback(None)
    return [VALUE.sub("?", statement) for statement in told if "INTO ledger_node" not in statement]


@pytest.mark.parametrize("operation", ["access.grant", "access.revoke", "access.list", "access.why", "ledger.log"])
@pytest.mark.parametrize(
    "scope", ["store", "project:weather", "asset:weather/dataset/flights", "ref:weather/model/d@p"]
)
def test_a_scope_counts_and_not_the_address_it_is_sent_to(house, operation, scope):
    route = next(r for r in IN_PROJECTS if r.operation.name == operation)
    args = arguments(route.operation, "flights")
    args |= {k: scope for k in ("scope", "resource") if k in args}
    path = route.path.replace("{project}", "flights")
    if route.method == "POST":
        status, _, body = house.ask("POST", path, args, token=house.tokens["badr"])
    else:
        query = "&".join(f"{k}={v}" for k, v in args.items())
        status, _, body = house.ask("GET", f"{path}?{query}", token=house.tokens["badr"])
    expected = (403, "forbidden") if scope == "store" else (404, "not_found")
    assert (status, msgspec.json.decode(body)["code"]) == expected


@pytest.mark.parametrize("thing", ["dataset/flights", "contract/flights", "dataset/flights:1", "flights@main"])
def test_a_thing_of_others_is_not_reached_through_ones_own_project(house, thing):
    for words in (f"weather/{thing}", f"../weather/{thing}", f"project:weather/{thing}"):
        status, _, _ = house.ask("GET", f"/v1/projects/flights/asset.show?thing={words}", token=house.tokens["badr"])
        assert status in (404, 422)


def test_ids_of_others_are_not_there(house):
    olga = house.session("olga", "weather")
    run = olga.call("run.list")["items"][0]["id"]
    badr = house.tokens["badr"]
    assert house.ask("GET", f"/v1/projects/weather/run.show?run={run}")[0] == 200
    theirs = house.ask("GET", f"/v1/projects/flights/run.show?run={run}", token=badr)
    nothing = house.ask("GET", f"/v1/projects/flights/run.show?run={ID}", token=badr)
    assert theirs[0] == nothing[0] == 404
    assert _alike(theirs[2].replace(run.encode(), ID.encode())) == _alike(nothing[2])


def test_lists_hold_nothing_of_others(house):
    badr = house.session("badr")
    for operation in ("asset.list", "run.list", "proposal.list"):
        assert "weather" not in str(badr.call(operation))
    entries = badr.call("ledger.log", {"scope": "project:flights", "limit": 200})["items"]
    assert any(entry["op"] == "data.add" for entry in entries)
    assert "weather" not in str([entry for entry in entries if entry["by"] != "badr"])  # what Badr tried, he knows


def test_afterwards_everything_is_as_it_was(house):
    house.check_clean()


def _alike(body: bytes) -> bytes:
    return ENTRY.sub(b"", body).replace(b"nonesuch", b"weather")
