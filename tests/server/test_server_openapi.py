"""The OpenAPI document: valid, complete, and true to what the server does."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from falaj.server import openapi
from falaj.server.surface import routes
from tests.server.running import TinyServer
from tests.server.tiny import Tiny

FIXED = {
    "/v1/claim",
    "/v1/openapi.json",
    "/v1/operations",
    "/v1/projects/{project}/staging",
    "/v1/jobs/{run}",
    "/v1/jobs/{run}/events",
}


@pytest.fixture(scope="module")
def document(server: TinyServer) -> dict[str, Any]:
    status, headers, body = server.ask("GET", "/v1/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    return msgspec.json.decode(body)


def test_the_document_is_valid_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    assert [e.message for e in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere(document):
    for reference in _references(document):
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_every_operation_with_an_http_face_is_in_it_and_no_other(document):
    faced = {r.path for r in routes(Tiny().operations).values()}
    assert set(document["paths"]) == faced | FIXED
    assert not any("hidden" in path for path in document["paths"])


def test_operation_ids_are_the_operations_names(document):
    ids = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))
    assert {"note.list", "note.add", "note.get", "work.do", "store.count", "staging", "claim"} <= set(ids)


def test_only_the_first_owners_way_in_is_open_to_anybody(document):
    assert document["security"] == [{"bearer": []}]
    unsecured = [p for p, methods in document["paths"].items() for o in methods.values() if o.get("security") == []]
    assert unsecured == ["/v1/claim"]


def test_arguments_of_a_query_have_their_types_defaults_and_need(document):
    listed = document["paths"]["/v1/projects/{project}/note.list"]["get"]["parameters"]
    found = {p["name"]: p for p in listed}
    assert found["project"]["in"] == "path"
    assert found["order"]["schema"] == {"enum": ["down", "up"], "default": "up"}
    assert found["limit"]["content"]["application/json"]["schema"] == {"type": "integer", "default": 10}
    assert found["like"]["schema"] == {"type": "string"}
    assert not found["like"]["required"]
    got = document["paths"]["/v1/projects/{project}/note.get"]["get"]["parameters"]
    assert [p["name"] for p in got if p["in"] == "query" and p["required"]] == ["size"]


def test_a_command_says_what_it_reads_and_answers(document):
    add = document["paths"]["/v1/projects/{project}/note.add"]["post"]
    body = add["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][body]
    assert schema["required"] == ["text"]
    assert schema["additionalProperties"] is False
    assert add["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Note"}
    assert add["summary"] == "Add a note."


def test_a_job_may_answer_later(document):
    responses = document["paths"]["/v1/projects/{project}/work.do"]["post"]["responses"]
    assert responses["202"]["headers"]["Location"]["required"]


def test_the_document_is_the_same_each_time():
    assert openapi.encoded(routes(Tiny().operations)) == openapi.encoded(routes(Tiny().operations))


def test_the_index_names_each_operation_with_its_sort_and_place(server):
    told = msgspec.json.decode(server.ask("GET", "/v1/operations")[2])["operations"]
    assert told["note.list"] == {"sort": "query", "path": "/v1/projects/{project}/note.list"}
    assert told["note.wipe"] == {"sort": "command", "path": "/v1/note.wipe"}
    assert told["note.get"] == {"sort": "transfer", "path": "/v1/projects/{project}/note.get"}
    assert told["work.do"] == {"sort": "job", "path": "/v1/projects/{project}/work.do"}
    assert "hidden.do" not in told


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [r for v in value.values() for r in _references(v)]
    if isinstance(value, list):
        return [r for v in value for r in _references(v)]
    return []
