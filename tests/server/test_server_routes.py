"""Declared operations as routes: where each is, how its arguments come in, how its answers and refusals go out."""

from __future__ import annotations

import http.client
from typing import Any

import msgspec
import pytest

from tests.server.running import TinyServer
from tests.server.tiny import AMAL, ARABIC, BADR, FRESH, NOBODY, ONE_TIME

FLIGHTS = "/v1/projects/flights"


def add(server: TinyServer, text: str = "a", **more: Any) -> dict[str, Any]:
    status, _, body = server.ask("POST", f"{FLIGHTS}/note.add", {"text": text, **more})
    assert status == 200
    return msgspec.json.decode(body)


@pytest.fixture
def empty(server: TinyServer) -> TinyServer:
    server.tiny.notes.clear()
    return server


# where operations are


def test_a_query_is_a_get_below_its_project(empty):
    add(empty, "hello")
    status, headers, body = empty.ask("GET", f"{FLIGHTS}/note.list")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert msgspec.json.decode(body)["notes"] == [{"number": 1, "text": "hello", "tags": []}]


def test_an_operation_of_the_store_stands_outside_of_projects(empty):
    assert msgspec.json.decode(empty.ask("GET", "/v1/store.count")[2]) == {"notes": 0}
    assert empty.problem("GET", f"{FLIGHTS}/store.count")["code"] == "no_such_route"
    assert empty.problem("GET", "/v1/note.list")["code"] == "no_such_route"


def test_a_command_is_a_post_with_a_json_body(empty):
    assert add(empty, "hello", tags=["x"], extra={"a": [1]}) == {"number": 1, "text": "hello", "tags": ["x"]}
    assert msgspec.json.decode(empty.ask("POST", "/v1/note.wipe")[2]) == 1


def test_what_has_no_http_face_has_no_route(server):
    assert server.problem("POST", "/v1/hidden.do", {})["code"] == "no_such_route"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{FLIGHTS}/note.list", "GET"),
        ("HEAD", f"{FLIGHTS}/note.list", "GET"),
        ("GET", f"{FLIGHTS}/note.add", "POST"),
        ("DELETE", "/v1/note.wipe", "POST"),
        ("GET", f"{FLIGHTS}/staging?name=x", "PUT"),
        ("POST", "/v1/openapi.json", "GET"),
        ("GET", "/v1/claim", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
def test_another_method_is_refused_with_the_one_that_is_allowed(server, method, path, allowed):
    status, headers, _ = server.ask(method, path)
    assert (status, headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/projects/flights",
        f"{FLIGHTS}/",
        f"{FLIGHTS}/note.list/",
        f"{FLIGHTS}//note.list",
        f"{FLIGHTS}/../flights/note.list",
        f"{FLIGHTS}/%2e%2e/note.list",
        f"{FLIGHTS}/note.list%00",
        "/v2/openapi.json",
    ],
)
def test_other_paths_are_not_found(server, path):
    assert server.problem("GET", path)["code"] == "no_such_route"


def test_a_project_may_be_named_in_any_script(server):
    status, _, _ = server.ask("GET", "/v1/projects/%D9%85%D8%B7%D8%A7%D8%B1/note.list")
    assert status == 200
    assert ARABIC.encode() == b"\xd9\x85\xd8\xb7\xd8\xa7\xd8\xb1"


def test_a_path_is_decoded_once(server):
    assert server.ask("GET", "/v1/projects/%66lights/note.list")[0] == 200
    assert server.problem("GET", "/v1/projects/%2566lights/note.list")["code"] == "not_found"


# arguments


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [1, 2, 3]),
        ("?order=down", [3, 2, 1]),
        ("?limit=1", [1]),
        ("?limit=1&order=down", [3]),
        ("?tags=[%22even%22]", [2]),
        ("?tags=null", [1, 2, 3]),
        ("?like=three", [3]),
        ("?like=null", []),
        ("?like=", [1, 2, 3]),
    ],
)
def test_text_arguments_of_a_query_are_plain_and_others_json(empty, query, numbers):
    for text, tags in (("one", []), ("two", ["even"]), ("three", [])):
        add(empty, text, tags=tags)
    _, _, body = empty.ask("GET", f"{FLIGHTS}/note.list{query}")
    assert [n["number"] for n in msgspec.json.decode(body)["notes"]] == numbers


@pytest.mark.parametrize(
    "query",
    [
        "limit=many",
        "limit=1.5",
        "limit=1&limit=2",
        "order=sideways",
        "unknown=1",
        "tags=even",
        "tags=[1]",
        "tags=" + "[" * 3000,
        "limit=%00",
        "limit=NaN",
    ],
)
def test_a_query_with_a_wrong_argument_is_invalid(server, query):
    told = server.problem("GET", f"{FLIGHTS}/note.list?{query}")
    assert (told["status"], told["code"], told["family"]) == (422, "invalid", "invalid")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"text":1}',
        b'{"text":"a","more":1}',
        b'{"text":"a","tags":"b"}',
        b'{"text":"\xff"}',
        b'{"text":"a"} {}',
        b'{"text":"a","extra":{"a":NaN}}',
    ],
)
def test_a_command_with_a_wrong_body_is_invalid_and_does_nothing(empty, body):
    told = empty.problem("POST", f"{FLIGHTS}/note.add", body, Content_Type="application/json")
    assert (told["status"], told["code"]) == (422, "invalid")
    assert not empty.tiny.notes


@pytest.mark.parametrize(
    "media", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
def test_a_body_that_is_not_declared_as_json_is_refused(empty, media):
    """A page of another origin can make a browser send the other media types without asking first."""
    told = empty.problem("POST", f"{FLIGHTS}/note.add", b'{"text":"a"}', Content_Type=media)
    assert (told["status"], told["code"]) == (415, "media_type")
    assert not empty.tiny.notes


def test_the_arguments_of_a_command_are_not_taken_from_its_address(empty):
    told = empty.problem("POST", f"{FLIGHTS}/note.add?text=a", {"text": "a"})
    assert (told["status"], told["code"]) == (422, "invalid")
    assert not empty.tiny.notes


# refusals


def test_a_refusal_is_a_problem_document_with_what_the_command_line_shows(server):
    status, headers, body = server.ask("POST", f"{FLIGHTS}/note.add", {"text": "refuse"})
    assert (status, headers["content-type"]) == (409, "application/problem+json")
    assert msgspec.json.decode(body) == {
        "type": "urn:falaj:error:tiny_refused",
        "title": "Conflict",
        "status": 409,
        "code": "tiny_refused",
        "family": "refused",
        "detail": "the note is refused: 1 rule failed",
        "next_step": "falaj note fix",
        "facts": {"rules": ["no_refuse"]},
    }


def test_an_unexpected_error_tells_nothing_but_where_to_find_it(server):
    status, headers, body = server.ask("GET", f"{FLIGHTS}/note.break?text=private")
    assert status == 500
    told = msgspec.json.decode(body)
    assert told["code"] == "error"
    assert headers["falaj-request"] in told["next_step"]
    assert b"private" not in body
    assert b"Zero" not in body
    line = next(x for x in server.log() if x["event"] == "error" and x["request"] == headers["falaj-request"])
    assert line["type"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    "sent",
    [
        {"token": None},
        {"token": "no"},
        {"token": AMAL[:-1]},
        {"token": "x" * 5000},
        {"token": None, "Authorization": f"Basic {AMAL}"},
        {"token": None, "Authorization": AMAL},
        {"token": None, "Authorization": "Bearer"},
        {"token": None, "Authorization": f"Bearer {AMAL} {AMAL}"},
        {"token": ONE_TIME},
    ],
    ids=["none", "short", "cut", "long", "basic", "bare", "empty", "two", "one-time"],
)
@pytest.mark.parametrize("path", [f"{FLIGHTS}/note.list", "/v1/store.count", "/v1/openapi.json", "/v1/nothing"])
def test_without_a_valid_token_every_address_answers_alike(server, sent, path):
    status, headers, body = server.ask("GET", path, **sent)
    assert status == 401
    assert headers["www-authenticate"] == 'Bearer realm="falaj"'
    assert body == server.ask("GET", f"{FLIGHTS}/other", token=None)[2]


def test_an_unknown_project_and_a_forbidden_one_answer_alike(server):
    forbidden = server.ask("GET", f"{FLIGHTS}/note.list", token=NOBODY)
    unknown = server.ask("GET", "/v1/projects/nonesuch/note.list", token=NOBODY)
    assert forbidden[0] == unknown[0] == 404
    assert forbidden[2].replace(b"flights", b"nonesuch") == unknown[2]
    assert _same_headers(forbidden[1]) == _same_headers(unknown[1])


def _same_headers(headers: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("falaj-request", "date", "content-length")}


# idempotency keys


def test_the_same_key_gives_the_first_answer_again(empty):
    first = empty.ask("POST", f"{FLIGHTS}/note.add", {"text": "a"}, Idempotency_Key="k-1")
    again = empty.ask("POST", f"{FLIGHTS}/note.add", {"text": "a"}, Idempotency_Key="k-1")
    assert first[2] == again[2]
    assert len(empty.tiny.notes) == 1


@pytest.mark.parametrize("key", ["k" * 129, "k\tk", "ключ".encode().decode("latin-1")])
def test_a_key_that_is_not_plain_is_invalid(empty, key):
    told = empty.problem("POST", f"{FLIGHTS}/note.add", {"text": "a"}, Idempotency_Key=key)
    assert told["code"] == "invalid"
    assert not empty.tiny.notes


# what every answer carries


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{FLIGHTS}/note.list"), ("GET", "/healthz"), ("GET", "/nothing"), ("PUT", "/v1/x")]
)
def test_every_answer_is_inert_in_a_browser_and_has_its_request_id(server, method, path):
    _, headers, _ = server.ask(method, path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"
    assert len(headers["falaj-request"]) == 26
    assert "server" not in headers
    assert not any(name.startswith("access-control") for name in headers)


def test_a_connection_serves_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.connect()
    port = connection.sock.getsockname()[1]
    for path in (f"{FLIGHTS}/note.list", f"{FLIGHTS}/note.list?limit=x", "/nothing", "/healthz"):
        connection.request("GET", path, headers={"Authorization": f"Bearer {BADR}"})
        connection.getresponse().read()
        assert connection.sock.getsockname()[1] == port
    connection.close()


# the first owner


def test_the_first_owner_comes_in_once(serving):
    server = serving()
    status, _, body = server.ask("POST", "/v1/claim", {"token": ONE_TIME, "name": "layla"}, token=None)
    told = msgspec.json.decode(body)
    assert (status, told["principal"]["name"], told["token"]) == (200, "layla", FRESH)
    assert server.ask("GET", "/v1/store.count", token=told["token"])[0] == 404
    again = server.problem("POST", "/v1/claim", {"token": ONE_TIME, "name": "omar"}, token=None)
    assert (again["status"], again["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("token", ["", "no", AMAL, ONE_TIME[:-1], "x" * 5000, "\u0665"])
def test_a_wrong_one_time_token_is_answered_like_any_wrong_token(serving, token):
    server = serving()
    refused = server.ask("POST", "/v1/claim", {"token": token, "name": "layla"}, token=None)
    assert refused[0] == 401
    assert refused[2] == server.ask("GET", "/v1/openapi.json", token=None)[2]
    assert not server.tiny.claimed


@pytest.mark.parametrize("body", [{"token": ONE_TIME}, {"token": ONE_TIME, "name": "a b"}, {"token": 1, "name": "a"}])
def test_a_claim_of_the_wrong_form_does_not_use_the_token_up(serving, body):
    server = serving()
    assert server.problem("POST", "/v1/claim", body, token=None)["status"] == 422
    assert server.ask("POST", "/v1/claim", {"token": ONE_TIME, "name": "layla"}, token=None)[0] == 200


def test_claims_are_few(serving):
    server = serving(claims={"per_s": 0.001, "burst": 3})
    told = [server.ask("POST", "/v1/claim", {"token": "no", "name": "x"}, token=None)[0] for _ in range(5)]
    assert told == [401, 401, 401, 429, 429]
    assert server.ask("GET", f"{FLIGHTS}/note.list")[0] == 200
