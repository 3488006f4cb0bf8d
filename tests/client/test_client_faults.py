"""What a client does when connections break, servers are not what they seem, and somebody is in between."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from falaj.client import Cut, NotFalaj, RemoteError, RemoteSession, ServerAway, claim, connect
from falaj.client.errors import error_of
from falaj.core.errors import Damaged, FalajError, Invalid, NotFound, TooLarge, Unauthenticated, Unavailable
from falaj.server.settings import Settings
from tests.client.script import OPERATIONS, Asked, Script, answer, cut, raw, relayed
from tests.parts.tls import Certificate
from tests.server.running import TinyServer, until
from tests.server.tiny import AMAL, ONE_TIME

INDEX = answer(OPERATIONS)
NOTES = b'{"notes":[],"order":"up"}'


def problem(status: int, code: str, **more: object) -> bytes:
    return json.dumps({"status": status, "code": code, "detail": "words", "family": code, **more}).encode()


def session_with(script: Script) -> RemoteSession:
    return connect(script.url, AMAL, "flights")


# what breaks off is done once


@pytest.mark.parametrize("cut_after", [0, 1, 20, 45, -1])
def test_a_command_whose_answer_breaks_off_is_done_once(serving, cut_after):
    server = serving()
    real = relayed(server.port)
    with Script(INDEX, relayed(server.port, cut_after=cut_after), real) as script, session_with(script) as session:
        assert session.call("note.add", {"text": "once"})["number"] == 1
    first, again = script.asked[1:]
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert len(server.tiny.notes) == 1


def test_each_call_has_a_key_of_its_own(serving):
    server = serving()
    with Script(INDEX, *[relayed(server.port)] * 2) as script, session_with(script) as session:
        assert [session.call("note.add", {"text": "same"})["number"] for _ in range(2)] == [1, 2]
    assert script.asked[1].headers["idempotency-key"] != script.asked[2].headers["idempotency-key"]


def test_a_key_of_ones_own_is_sent(serving):
    server = serving()
    with connect(server.url, AMAL, "flights") as session:
        numbers = [session.call("note.add", {"text": "a"}, idempotency_key="mine")["number"] for _ in range(2)]
    assert numbers == [1, 1]


def test_a_job_whose_answer_breaks_off_is_found_again(serving):
    server = serving()
    operations = answer(server.ask("GET", "/v1/operations")[2])
    lost = relayed(server.port, cut_after=10)
    with Script(operations, lost, relayed(server.port)) as script, session_with(script) as session:
        assert session.call("work.do", {"steps": 2}) == {"steps": 2}
    assert server.tiny.begun == 1


def test_a_query_is_asked_three_times_and_no_more():
    with Script(INDEX, cut, cut, answer(NOTES)) as script, session_with(script) as session:
        assert session.call("note.list")["notes"] == []
    with Script(INDEX, cut, cut, cut, answer(NOTES)) as script, session_with(script) as session:
        with pytest.raises(ServerAway):
            session.call("note.list")
        assert len(script.asked) == 4


def test_an_answer_that_ends_early_is_no_answer():
    short = answer(NOTES, length=len(NOTES) + 5, keep=False)
    with Script(INDEX, short, answer(NOTES)) as script, session_with(script) as session:
        assert session.call("note.list")["notes"] == []
    assert len(script.asked) == 3


def test_a_claim_is_not_sent_twice():
    with Script(cut, answer(b"{}")) as script:
        with pytest.raises(ServerAway):
            claim(script.url, ONE_TIME, "layla")
        assert len(script.asked) == 1
        assert "authorization" not in script.asked[0].headers


def test_a_file_whose_sending_breaks_off_is_sent_again_whole(serving, tmp_path):
    server = serving()
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 300_000)
    with Script(cut, relayed(server.port)) as script, session_with(script) as session:
        staged = session.stage(file)
    assert (server.tiny.staged / staged["staged"]).read_bytes() == file.read_bytes()


def test_progress_that_breaks_off_does_not_lose_the_result(serving):
    server = serving()
    operations = answer(server.ask("GET", "/v1/operations")[2])
    told: list[object] = []
    broken = answer(b'event: progress\ndata: {"what":"step","done":1,"total":1}\n\nevent: pro', length=999, keep=False)

    def breaks(connection: socket.socket, asked: Asked) -> bool:
        server.tiny.go.set()
        return broken(connection, asked)

    with Script(operations, relayed(server.port), breaks, relayed(server.port)) as script, session_with(script) as one:
        result = one.call("work.do", {"steps": 1, "hold": True}, progress=lambda *moved: told.append(moved))
    assert result == {"steps": 1}
    assert told == [("step", 1, 1)]


# connections


def test_a_connection_is_kept_for_the_next_request():
    with Script(INDEX, *[answer(NOTES)] * 5, answer(problem(404, "not_found"), "404 X")) as script:
        with session_with(script) as session:
            for _ in range(5):
                session.call("note.list")
            with pytest.raises(NotFound):
                session.call("note.list")
        assert script.connections == 1


def test_a_connection_that_the_server_has_closed_is_not_used_again():
    """A command on it would break off after it was sent; so it is looked at before."""
    closes = answer(NOTES, keep=False)
    with Script(INDEX, closes, answer(b"{}")) as script, session_with(script) as session:
        session.call("note.list")
        assert until(lambda: session._wire._idle[0].sock.recv(1, 2 | 64) == b"")  # MSG_PEEK | MSG_DONTWAIT
        session.call("note.add", {"text": "a"})
        assert (script.connections, len(script.asked)) == (2, 3)


def test_a_connection_is_not_kept_where_the_server_says_close():
    with Script(INDEX, answer(NOTES, Connection="close", keep=False), answer(NOTES)) as script:
        with session_with(script) as session:
            session.call("note.list")
            session.call("note.list")
        assert script.connections == 2


def test_few_idle_connections_are_kept(serving):
    server = serving()
    with connect(server.url, AMAL, "flights") as session:
        session.call("note.list")
        threads = [threading.Thread(target=session.call, args=("note.wait",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert server.tiny.entered.acquire(timeout=20)
        extra = [session._wire._taken() for _ in range(8)]
        server.tiny.go.set()
        for thread in threads:
            thread.join()
        assert len(session._wire._idle) == 8
        for connection in extra:
            connection.close()


# asked to come again


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_its_pause(status):
    busy = answer(problem(status, "unavailable"), f"{status} X", Retry_After="0")
    with Script(INDEX, busy, busy, answer(NOTES)) as script, session_with(script) as session:
        assert session.call("note.list")["notes"] == []
    with (
        Script(INDEX, busy, busy, busy, answer(NOTES)) as script,
        session_with(script) as session,
        pytest.raises(Unavailable),
    ):
        session.call("note.list")


def test_a_long_pause_is_told_and_not_waited_for():
    later = answer(problem(429, "unavailable"), "429 X", Retry_After="3600")
    with Script(INDEX, later) as script, session_with(script) as session:
        with pytest.raises(Unavailable):
            session.call("note.list")
        assert len(script.asked) == 2


def test_a_claim_that_came_too_often_is_asked_again_and_one_that_failed_is_not():
    claimed = answer(b'{"token":"new"}')
    with Script(answer(problem(429, "unavailable"), "429 X", Retry_After="0"), claimed) as script:
        assert claim(script.url, ONE_TIME, "layla") == "new"
    with (
        Script(answer(problem(503, "unavailable"), "503 X", Retry_After="0"), claimed) as script,
        pytest.raises(Unavailable),
    ):
        claim(script.url, ONE_TIME, "layla")


# what is not Falaj


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_not_followed(status):
    with Script(answer(NOTES)) as elsewhere, Script(answer(b"", status, Location=elsewhere.url)) as script:
        with session_with(script) as session, pytest.raises(NotFalaj):
            session.call("note.list")
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "act",
    [
        answer(b"<html>"),
        answer(b""),
        answer(b"[" * 100_000),
        answer(b"\xff\xfe"),
        answer(b"no", "500 X"),
        answer(b"[]", "404 X"),
        answer(b'{"code":"x"}', "404 X"),
        answer(b"[" * 100_000, "404 X"),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: x" + b"y" * 100_000),
    ],
)
def test_what_answers_in_another_way_is_told_as_such(act):
    with (
        Script(INDEX, act, act, act) as script,
        session_with(script) as session,
        pytest.raises(Unavailable) as away,
    ):
        session.call("note.list")
    assert isinstance(away.value, NotFalaj | ServerAway)


def test_an_answer_without_end_is_not_kept_in_memory(monkeypatch):
    monkeypatch.setattr("falaj.client.wire.MAX_ANSWER", 1000)
    with (
        Script(INDEX, answer(b'"' + b"x" * 999 + b'"')) as script,
        session_with(script) as session,
        pytest.raises(TooLarge),
    ):
        session.call("note.list")


@pytest.mark.parametrize(
    ("body", "family", "code"),
    [
        (problem(404, "not_found"), NotFound, "not_found"),
        (problem(500, "damaged"), Damaged, "damaged"),
        (problem(500, "error"), RemoteError, "error"),
        (problem(418, "new_one", family="of a later version"), RemoteError, "new_one"),
        (problem(404, "x" * 1000, family="not_found"), NotFound, "x" * 64),
        (problem(404, "not_found", facts="no facts"), NotFound, "not_found"),
        (problem(404, "not_found", family=["list"]), RemoteError, "not_found"),
    ],
)
def test_problems_become_errors_of_their_family(body, family, code):
    error = error_of(json.loads(body)["status"], body)
    assert isinstance(error, family)
    assert (error.code, error.status, error.message) == (code, json.loads(body)["status"], "words")
    assert isinstance(error.facts, dict)


# bytes


def test_a_transfer_that_ends_before_its_length_is_cut():
    with (
        Script(INDEX, answer(b"x" * 100, length=200, keep=False)) as script,
        session_with(script) as session,
        pytest.raises(Cut),
    ):
        list(session.stream("note.get", {"size": 200}))


def test_other_bytes_than_were_sent_are_found(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    told = {"staged": "w", "name": "file", "size": 3, "sha256": "0" * 64}
    with (
        Script(answer(json.dumps(told).encode())) as script,
        session_with(script) as session,
        pytest.raises(Cut),
    ):
        session.stage(file)


# where a token goes


@pytest.mark.parametrize(
    "url",
    [
        "http://falaj.example.ae",
        "http://192.0.2.1:8440",
        "http://0.0.0.0:8440",
        "http://127.0.0.1.example.ae",
        "http://localhost.example.ae",
        "http://2130706433",
        "ftp://127.0.0.1",
        "//127.0.0.1",
        "127.0.0.1:8440",
        "https://amal:secret@falaj.example.ae",
        "https://falaj.example.ae?x=1",
        "https://falaj.example.ae#x",
        "https://falaj.example.ae/a b",
        "https://[::1",
        "https://falaj.example.ae:port",
        "file:///etc/passwd",
        "",
    ],
)
def test_an_address_that_a_token_must_not_go_to_is_refused(url):
    with pytest.raises(Invalid):
        connect(url, AMAL, "flights")
    with pytest.raises(Invalid):
        claim(url, ONE_TIME, "layla")


@pytest.mark.parametrize("token", ["", " ", "a b", "a\r\nX: y", "\u0665", "x" * 5000])
def test_what_is_no_token_is_refused_here(token):
    with pytest.raises(Invalid):
        connect("https://falaj.example.ae", token, "flights")


def test_no_proxy_of_the_environment_is_asked(serving, monkeypatch):
    server = serving()
    with Script(answer(NOTES)) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        with connect(server.url, AMAL, "flights") as session:
            session.call("note.list")
        assert proxy.asked == []


def test_a_token_is_not_shown(serving):
    server = serving()
    session = connect(server.url, AMAL, "flights")
    with session, pytest.raises(FalajError) as failed:
        session.call("no.such")
    for text in (repr(session), repr(failed.value), str(failed.value), failed.value.next_step):
        assert AMAL not in text


def test_a_server_below_a_path_is_asked_below_it():
    with Script(INDEX, answer(NOTES)) as script, connect(script.url + "/falaj/", AMAL, "flights") as session:
        session.call("note.list", {"limit": 3})
    assert [asked.path for asked in script.asked] == [
        "/falaj/v1/operations",
        "/falaj/v1/projects/flights/note.list?limit=3",
    ]


# TLS


@pytest.fixture
def secure(certificate: Certificate) -> Iterator[TinyServer]:
    server = TinyServer(Settings(port=0, cert=certificate.cert, key=certificate.key))
    yield server
    server.stop()


def test_a_private_authority_is_trusted_where_it_is_named(secure, certificate, monkeypatch):
    with connect(secure.url, AMAL, "flights", ca=certificate.authority) as session:
        assert session.call("note.list")["notes"] == []
        assert session.call("note.add", {"text": "a"})["number"] == 1
    assert claim(secure.url, ONE_TIME, "layla", ca=certificate.authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with connect(secure.url, AMAL, "flights") as session:
        assert len(session.call("note.list")["notes"]) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(secure):
    with connect(secure.url, AMAL, "flights") as session, pytest.raises(ServerAway, match="not trusted"):
        session.call("note.list")


def test_a_certificate_for_another_name_is_refused(certificate):
    server = TinyServer(Settings(host="::1", port=0, cert=certificate.cert, key=certificate.key))
    try:
        session = connect(server.url, AMAL, "flights", ca=certificate.authority)
        with session, pytest.raises(ServerAway, match="not trusted"):
            session.call("note.list")
    finally:
        server.stop()


def test_a_server_without_tls_is_not_answered_in_the_clear(serving, certificate):
    server = serving()
    session = connect(server.url.replace("http:", "https:"), AMAL, "flights", ca=certificate.authority)
    with session, pytest.raises(ServerAway):
        session.call("note.list")


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_file_that_holds_no_authority_is_refused(tmp_path, content):
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_bytes(content)
    with pytest.raises(Invalid):
        connect("https://falaj.example.ae", AMAL, "flights", ca=ca)


def test_over_tls_a_stale_connection_is_found_out(secure, certificate):
    with connect(secure.url, AMAL, "flights", ca=certificate.authority) as session:
        session.call("note.list")
        session._wire._idle[0].sock.shutdown(0)
        assert session.call("note.add", {"text": "a"})["number"] == 1


def test_unauthenticated_is_told_as_such(serving):
    server = serving()
    with connect(server.url, "falaj_x", "flights") as session, pytest.raises(Unauthenticated):
        session.call("note.list")
