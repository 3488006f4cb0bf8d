"""OpenAPI 3.1 from the declared operations. Pure: the document is the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

import falaj
from falaj.server.problems import MEDIA, Problem
from falaj.server.records import Begun, Claim, Claimed, Index, Staged
from falaj.server.surface import Route

_OWN = (Problem, Begun, Staged, Index, Claim, Claimed)
_REF = "#/components/schemas/{name}"
_REFUSALS = {
    "400": "Not a request that can be read",
    "401": "No valid token came with it",
    "403": "Not allowed to this principal, who may know of the thing; or a page of another origin",
    "404": "No such thing, or not for this principal",
    "405": "The route is there, for another method",
    "408": "The body did not come in time",
    "409": "The state is another one, or a gate, contract, policy or residency rule said no",
    "413": "The body is over its limit",
    "414": "Path and query are over their limit",
    "415": "The body is not of the content type that is read here",
    "421": "Sent to a host name that is not this server's",
    "422": "An argument has the wrong type, size or form",
    "429": "Too many requests",
    "431": "The headers are over their limit",
    "500": "Damaged, or not expected",
    "501": "An optional part is not installed",
    "503": "A part is away, or everything is busy",
    "504": "No answer in time; what was asked may still come to be",
    "507": "The disk is full; nothing was committed",
}


def document(routes: Mapping[tuple[bool, str], Route]) -> dict[str, Any]:
    """The whole document, as plain values."""
    known = [routes[key] for key in sorted(routes)]
    wanted: list[Any] = list(_OWN)
    for route in known:
        wanted += [route.operation.params, _result(route)]
    refs, schemas = msgspec.json.schema_components(wanted, ref_template=_REF)
    problem, begun = refs[:2]
    paths: dict[str, Any] = {}
    for at, route in enumerate(known):
        ref, result = refs[len(_OWN) + 2 * at :][:2]
        params = schemas[ref["$ref"].rpartition("/")[2]]
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, params, ref, result, begun)
    paths |= _fixed(*refs[1 : len(_OWN)])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Falaj",
            "version": falaj.__version__,
            "description": "Every operation of the one door. Each answer carries its request id in `Falaj-Request`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
            "responses": {
                f"E{status}": {"description": words, "content": {MEDIA: {"schema": problem}}}
                for status, words in _REFUSALS.items()
            },
        },
    }


def encoded(routes: Mapping[tuple[bool, str], Route]) -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(document(routes))


def _operation(route: Route, params: dict[str, Any], ref: Any, result: Any, begun: Any) -> dict[str, Any]:
    operation = route.operation
    out: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.name.partition(".")[0]],
        "x-falaj-sort": operation.sort,
        "x-falaj-roles": sorted(operation.roles),
    }
    if operation.description != operation.summary:
        out["description"] = operation.description
    parameters = [_path_parameter("project")] if route.in_project else []
    if route.method == "GET":
        parameters += _query_parameters(route, params)
    else:
        parameters.append(_header("Idempotency-Key", "The same key with the same request gives the first answer again"))
        if operation.sort == "job":
            parameters.append(_header("Prefer", "`wait=SECONDS`: answer with the result if it is there by then"))
        out["requestBody"] = {
            "required": bool(params.get("required")),
            "content": {"application/json": {"schema": ref}},
        }
    out["parameters"] = parameters
    media = "application/octet-stream" if operation.sort == "transfer" else "application/json"
    schema = {} if operation.sort == "transfer" else result
    out["responses"] = {"200": {"description": "Done", "content": {media: {"schema": schema}}}, **_refusals()}
    if operation.sort == "job":
        out["responses"]["202"] = {
            "description": "At work",
            "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
            "content": {"application/json": {"schema": begun}},
        }
    return out


def _query_parameters(route: Route, params: dict[str, Any]) -> list[dict[str, Any]]:
    required = set(params.get("required", ()))
    out = []
    for name, schema in params.get("properties", {}).items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required}
        if name in route.texts:
            parameter["schema"] = _without_null(schema)
        else:
            parameter["content"] = {"application/json": {"schema": schema}}
        out.append(parameter)
    return out


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: what is absent is left out."""
    kept = {k: v for k, v in schema.items() if not (k == "default" and v is None)}
    if "anyOf" in kept:
        kept["anyOf"] = [s for s in kept["anyOf"] if s.get("type") != "null"]
        if len(kept["anyOf"]) == 1:
            kept |= kept.pop("anyOf")[0]
    return kept


def _fixed(begun: Any, staged: Any, index: Any, claim: Any, claimed: Any) -> dict[str, Any]:
    project, run = _path_parameter("project"), _path_parameter("run")
    name = {"name": "name", "in": "query", "required": True, "schema": {"type": "string", "maxLength": 128}}
    wait = _header("Prefer", "`wait=SECONDS`: answer when it has ended, or by then")
    free = {"content": {"application/json": {"schema": {}}}, "description": "The document"}
    body = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    return {
        "/v1/claim": {
            "post": {
                **_page("claim", "Come in as the first owner, once", [], _json("The owner, and a token", claimed)),
                "requestBody": {"required": True, "content": {"application/json": {"schema": claim}}},
                "security": [],
            }
        },
        "/v1/openapi.json": {"get": _page("openapi", "This document", [], free)},
        "/v1/operations": {
            "get": _page("operations", "Every operation in short", [], _json("Every operation", index)),
        },
        "/v1/projects/{project}/staging": {
            "put": {
                **_page("staging", "Bring a file's bytes", [project, name], _json("Kept until it is named", staged)),
                "requestBody": body,
            }
        },
        "/v1/jobs/{run}": {"get": _page("job", "A job's result", [run, wait], _json("Its result", {}), begun)},
        "/v1/jobs/{run}/events": {
            "get": _page(
                "events",
                "A job's progress and its end, as server-sent events",
                [run],
                {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            )
        },
    }


def _page(name: str, summary: str, parameters: list[Any], good: Any, begun: Any = None) -> dict[str, Any]:
    responses = {"200": good, **_refusals()}
    if begun is not None:
        responses["202"] = _json("Still at work", begun)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def _json(words: str, schema: Any) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 128}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _header(name: str, words: str) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": 128, "pattern": "^[ -~]*$"}
    return {"name": name, "in": "header", "required": False, "description": words, "schema": schema}


def _refusals() -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/E{status}"} for status in _REFUSALS}


def _result(route: Route) -> Any:
    return None if route.operation.sort == "transfer" else route.operation.returns
