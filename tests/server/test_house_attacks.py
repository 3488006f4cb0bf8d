"""The attacks of `docs/security.md` over HTTP: each is refused with a stable code and changes nothing.

The numbers are those of the table of attacks that other platforms have suffered (traversal, foreign addresses, files
that run, doors without checks, objects of others, pages of others, injection, floods, forged tokens, second persons).
"""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from falaj.core.errors import Conflict
from tests.platform.places import contract, rows
from tests.server.attacks import ATTACKS, DOTS, Attack
from tests.server.house import House

FLIGHTS = "/v1/projects/flights"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A store with one dataset under a contract. Badr contributes, Carla maintains."""
    folder = tmp_path_factory.mktemp("attacks")
    database = ""
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_server").create_database(f"attacks_{os.getpid()}")
    built = House(folder / "flights", database)
    try:
        built.olga.call("config.apply", {"files": [contract()]})
        built.badr = built.person("badr", ("contributor", "project:flights"))
        built.person("carla", ("maintainer", "project:flights"))
        file = rows(folder / "a.csv")
        staged = built.badr.stage(file)
        built.badr.call("data.add", {"dataset": "flights", "files": [{k: staged[k] for k in ("staged", "name")}]})
        built.file = rows(folder / "b.csv", 5)
        built.marker = folder / "marker"
        yield built
    finally:
        built.close()


def sent(house: House, attack: Attack) -> tuple[int, dict[str, str], bytes]:
    """The request as it goes out."""
    path = attack.path if attack.path.startswith("/") else f"{FLIGHTS}/{attack.path}"
    text = json.dumps(attack.args).replace("{marker}", str(house.marker))
    if "{staged}" in text:
        text = text.replace("{staged}", str(house.badr.stage(house.file)["staged"]))
    args = json.loads(text)
    more = {k.replace("-", "_"): v for k, v in attack.headers.items()}
    token = house.tokens[attack.by]
    if attack.method == "POST":
        more.setdefault("Content_Type", "application/json")
        return house.ask("POST", path, json.dumps(args).encode(), token=token, Prefer="wait=20", **more)
    query = urlencode({k: v if isinstance(v, str) else json.dumps(v) for k, v in args.items()})
    return house.ask(attack.method, f"{path}?{query}", b"x" if attack.method == "PUT" else None, token=token, **more)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_is_refused_and_changes_nothing(house, attack):
    before, refused = house.fingerprint(), house.refused(attack.by)
    status, headers, body = sent(house, attack)
    told = msgspec.json.decode(body)
    assert 400 <= status < 500
    assert told["code"] in attack.codes
    assert told["next_step"]
    assert headers["content-type"] == "application/problem+json"
    assert house.fingerprint() == before
    assert not house.marker.exists()
    reached = "entry" in told.get("facts", {}) and "run" not in told["facts"]  # for what is not theirs, before any run
    assert house.refused(attack.by) == refused + reached


# 6, 8: files that would run or burst


def pickled(marker: Path) -> bytes:
    class Run:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {marker}",)

    return pickle.dumps(Run())


def bomb(_: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("schema.json", b"0" * (64 << 20))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, pickled) for name in ("m.pkl", "m.joblib", "m.skops", "m.onnx", "m.h5", "m.keras", "m.bin")),
        *((name, bomb) for name in ("m.skops", "m.keras")),
        *((name, lambda _: bytes(range(256)) * 4) for name in ("m.skops", "m.onnx")),
    ],
)
def test_a_model_file_that_is_not_data_alone_is_refused_unread(house, tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content(house.marker))
    staged = house.badr.stage(file)
    before = house.fingerprint()
    body = {
        "model": "delay",
        "files": [{"staged": staged["staged"], "name": name}],
        "inputs": ["flights:1"],
        "label": "id > 1",
    }
    status, _, answer = house.ask(
        "POST", f"{FLIGHTS}/model.register", body, token=house.tokens["badr"], Prefer="wait=60"
    )
    assert 400 <= status < 500, answer
    assert msgspec.json.decode(answer)["next_step"]
    assert house.fingerprint() == before
    assert not house.marker.exists()


# 9: the way in


@pytest.mark.parametrize("path", ["/v1/principals", "/v1/signup", "/v1/login", "/v1/users", "/api/2.0/mlflow/users"])
def test_nobody_signs_up_or_in(house, path):
    for body in ({"name": "admin", "password": "password"}, {"username": "admin", "password": "admin"}):
        assert house.ask("POST", path, body, token=None)[0] in (401, 404)


def test_the_one_time_token_is_used_up(house):
    before = house.fingerprint()
    for token in (house.one_time, house.tokens["olga"], house.tokens["badr"]):
        told = house.problem("POST", "/v1/claim", {"token": token, "name": "mallory"}, token=None)
        assert (told["status"], told["code"]) == (401, "unauthenticated")
    assert house.ask("GET", "/v1/store.status", token=house.one_time)[0] == 401
    assert house.fingerprint() == before


# 13: text that a browser would run


def test_what_people_write_is_never_a_page(house):
    text = "<script>alert(1)</script>"
    _, headers, body = house.ask("POST", f"{FLIGHTS}/run.start", {"name": text, "params": {text: text}})
    assert msgspec.json.decode(body)["name"] == text
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    told = house.ask("GET", f"{FLIGHTS}/asset.show?thing={text}")
    assert told[1]["content-type"] == "application/problem+json"


# 14: words of a query language, where they are only words


@pytest.mark.parametrize(
    "words", ["' OR 1=1 --", "x'; DROP TABLE run; --", '" OR ""="', "%", "\\", "(a+)+$" + "a" * 30]
)
@pytest.mark.parametrize(
    ("path", "argument"),
    [
        (f"{FLIGHTS}/asset.list", "after"),
        (f"{FLIGHTS}/run.list", "sort"),
        (f"{FLIGHTS}/run.list", "before"),
        (f"{FLIGHTS}/proposal.list", "state"),
        ("/v1/principal.list", "after"),
        ("/v1/token.list", "principal"),
        ("/v1/keys.list", "domain"),
    ],
)
def test_words_in_a_search_are_words(house, path, argument, words):
    before = house.fingerprint()
    status, _, body = house.ask("GET", f"{path}?{urlencode({argument: words})}")
    assert status in (200, 404, 422)
    assert b"hash" not in body
    assert house.fingerprint() == before


# 15: pages


@pytest.mark.parametrize("limit", [0, -1, 10**9])
def test_a_page_is_never_larger_than_a_page(house, limit):
    status, _, body = house.ask("GET", f"{FLIGHTS}/run.list?limit={limit}")
    assert status in (200, 422)
    assert status == 422 or len(msgspec.json.decode(body)["items"]) <= 1000


# 16: forged tokens


def jwt(header: dict[str, Any], **claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part({'sub': 'olga', 'iss': 'falaj', **claims})}.{'A' * 43}"


@pytest.mark.parametrize(
    "forged",
    [
        jwt({"alg": "none"}),
        jwt({"alg": "HS256", "typ": "JWT"}),
        jwt({"alg": "RS256", "kid": DOTS}),
        jwt({"alg": "RS256", "jku": "http://169.254.169.254/keys"}),
        "{olga} ",
        "{olga}x",
        "{olga:-1}",
        "{swapped}",
        "{other secret}",
        "falaj_" + "0" * 26 + "_" + "0" * 49,
        "falaj__",
        "null",
        "undefined",
        "admin",
    ],
)
def test_a_forged_token_is_no_token(house, forged):
    olga, badr = house.tokens["olga"], house.tokens["badr"]
    token = {
        "{olga} ": olga + "_",
        "{olga}x": olga + "x",
        "{olga:-1}": olga[:-1],
        "{swapped}": badr[:32] + olga[32:],
        "{other secret}": olga[:33] + badr[33:],
    }.get(forged, forged)
    anything = house.ask("GET", "/v1/store.status", token=None)
    told = house.ask("GET", "/v1/store.status", token=token)
    assert told[0] == 401
    assert told[2] == anything[2]


# 19: secrets


def test_a_secret_in_what_is_logged_is_not_kept(house):
    secret = "hunter2-planted-secret"
    run = house.badr.call("run.start", {"name": "x", "params": {"password": secret, "api_key": secret, "depth": 3}})
    shown = house.badr.call("run.show", {"run": run["id"]})
    assert shown["params"]["depth"] == 3
    assert secret not in str(shown)
    assert secret not in house.lines.getvalue()


def test_no_token_is_shown_or_kept(house):
    issued = house.olga.call("token.issue", {"principal": "badr"}, idempotency_key="one token")
    with pytest.raises(Conflict) as again:
        house.olga.call("token.issue", {"principal": "badr"}, idempotency_key="one token")
    assert again.value.code == "answer_not_kept"
    assert issued["text"] not in str(house.olga.call("token.list"))
    assert issued["text"] not in str(house.entries())
    with house.platform.ground.database.read() as tx:
        kept = [bytes(row[0]).decode() for row in tx.rows("SELECT response FROM idempotency")]
    secret = issued["text"].rpartition("_")[2]
    assert not [answer for answer in kept if secret in answer]
    assert secret not in house.lines.getvalue()


def test_keys_are_remembered_for_a_day(house):
    ground = house.platform.ground
    with ground.database.write() as tx:
        for n in range(600):
            at = "2026-01-01T00:00:00.000000Z" if n < 200 else "2026-01-03T00:00:00.000000Z"
            ground.remember(tx, "somebody", f"key {n}", "op", "request", b"{}", at)
    with ground.database.read() as tx:
        kept = [n for n in range(600) if ground.remembered(tx, "somebody", f"key {n}")]
    assert kept == list(range(200, 600))


# after all of it


def test_afterwards_everything_is_as_it_was(house):
    house.check_clean()
