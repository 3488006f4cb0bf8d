"""Bytes in and out: staged files and streamed transfers, whole or not at all, whatever happens in the middle."""

from __future__ import annotations

import hashlib
import http.client
from typing import Any

import msgspec
import pytest

from tests.server.running import TinyServer, until, until_closed
from tests.server.tiny import AMAL, NOBODY

FLIGHTS = "/v1/projects/flights"
STAGING = f"{FLIGHTS}/staging"


def put(server: TinyServer, data: Any, name: str = "a.csv", **more: Any) -> tuple[int, dict[str, str], bytes]:
    return server.ask("PUT", f"{STAGING}?name={name}", data, **more)


def head(path: str, length: int, token: str = AMAL, method: str = "PUT") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


# out


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1_000_000])
def test_a_transfer_gives_all_its_bytes(server, size):
    status, headers, body = server.ask("GET", f"{FLIGHTS}/note.get?size={size}")
    assert (status, headers["content-type"], len(body)) == (200, "application/octet-stream", size)


@pytest.mark.parametrize(
    ("query", "code"), [("size=-1", "not_found"), ("size=1&fail_at=0", "conflict"), ("", "invalid")]
)
def test_a_transfer_that_fails_before_its_first_byte_is_a_refusal(server, query, code):
    assert server.problem("GET", f"{FLIGHTS}/note.get?{query}")["code"] == code


def test_a_transfer_that_fails_midway_does_not_look_complete(serving):
    server = serving()
    with pytest.raises(http.client.IncompleteRead) as cut:
        server.ask("GET", f"{FLIGHTS}/note.get?size=1000000&fail_at=3")
    assert len(cut.value.partial) <= 3 * 65536
    assert server.tiny.closed.acquire(timeout=20)
    assert server.ask("GET", f"{FLIGHTS}/note.list")[0] == 200
    assert any(line["event"] == "error" and "the note changed" in line["message"] for line in server.log())


def test_a_reader_who_leaves_lets_go_of_what_is_read(serving):
    server = serving()
    with server.raw() as sock:
        sock.sendall(head(f"{FLIGHTS}/note.get?size={1 << 24}", 0, method="GET"))
        sock.recv(1)
    assert server.tiny.closed.acquire(timeout=20)


def test_a_reader_who_stops_reading_is_left(serving):
    server = serving(unread_s=0.2)
    with server.raw() as sock:
        sock.sendall(head(f"{FLIGHTS}/note.get?size={1 << 24}", 0, method="GET"))
        assert server.tiny.closed.acquire(timeout=20)
        assert len(until_closed(sock)) < 1 << 24


# in


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_staged_file_is_kept_whole(serving, size):
    server = serving()
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    status, _, body = put(server, data, "2013-01.csv")
    kept = msgspec.json.decode(body)
    assert (status, kept["name"], kept["size"]) == (200, "2013-01.csv", size)
    assert kept["sha256"] == hashlib.sha256(data).hexdigest()
    assert (server.tiny.staged / kept["staged"]).read_bytes() == data


def test_a_file_of_unknown_length_is_staged(serving):
    server = serving()
    status, _, body = put(server, iter([b"abc", b"def"]))
    assert (status, msgspec.json.decode(body)["size"]) == (200, 6)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a.csv",
        "..%2Fa.csv",
        "%2e%2e%2fa.csv",
        "%252e%252e%252fa.csv",
        "a/b.csv",
        "%5C%5Chost%5Cshare",
        "C:%5Ca.csv",
        "a%00.csv",
        "a%0A.csv",
        "%E2%80%AEvsc.a",
        "%EF%BC%8E%EF%BC%8E",
        "file:///etc/passwd",
        "a" * 129,
    ],
)
def test_a_name_that_is_more_than_a_name_is_refused(server, name):
    before = list(server.tiny.staged.iterdir())
    assert put(server, b"x", name)[0] == 422
    assert list(server.tiny.staged.iterdir()) == before


def test_who_may_stage_nothing_here_sends_in_vain(server):
    before = list(server.tiny.staged.iterdir())
    forbidden = put(server, b"x", token=NOBODY)
    unknown = server.ask("PUT", "/v1/projects/nonesuch/staging?name=a.csv", b"x", token=NOBODY)
    assert forbidden[0] == unknown[0] == 404
    assert forbidden[2].replace(b"flights", b"nonesuch") == unknown[2]
    assert list(server.tiny.staged.iterdir()) == before


@pytest.mark.parametrize("data", [b"x" * 1001, iter([b"x" * 600] * 2)], ids=["declared", "not declared"])
def test_a_file_over_the_limit_leaves_nothing(serving, data):
    server = serving(staging_bytes=1000)
    status, _, body = put(server, data)
    assert (status, msgspec.json.decode(body)["family"]) == (413, "too_large")
    assert not list(server.tiny.staged.iterdir())


def test_a_sender_who_falls_silent_leaves_nothing(serving):
    server = serving(body_wait_s=0.3)
    told = server.exchange(head(f"{STAGING}?name=a.csv", 1000) + b"x" * 500)
    assert b" 408 " in told
    assert b"body_too_slow" in told
    assert not list(server.tiny.staged.iterdir())


def test_a_sender_who_leaves_leaves_nothing(serving):
    server = serving()
    with server.raw() as sock:
        sock.sendall(head(f"{STAGING}?name=a.csv", 1 << 24) + b"x" * (1 << 21))
    assert until(lambda: [line["status"] for line in server.log() if line.get("operation") == "staging"]) == [499]
    assert not list(server.tiny.staged.iterdir())


def test_files_are_sent_few_at_once(serving):
    server = serving(uploads=1)
    with server.raw() as sock:
        sock.sendall(head(f"{STAGING}?name=a.csv", 4) + b"ab")
        assert until(lambda: list(server.tiny.staged.iterdir()))
        assert put(server, b"x")[0] == 503
        assert server.ask("GET", f"{FLIGHTS}/note.list")[0] == 200
        sock.sendall(b"cd")
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert put(server, b"x")[0] == 200


# refused before it is read


@pytest.mark.parametrize(
    ("path", "token", "method", "status"),
    [
        (f"{FLIGHTS}/note.add", AMAL, "POST", 413),
        (f"{FLIGHTS}/note.add", "no", "POST", 401),
        (f"{FLIGHTS}/note.list", AMAL, "POST", 405),
        (f"{FLIGHTS}/nothing", AMAL, "POST", 404),
        ("/nothing", AMAL, "POST", 404),
        ("/v1/claim", AMAL, "POST", 413),
        (f"{STAGING}?name=..", AMAL, "PUT", 422),
        (f"{STAGING}?name=a.csv", NOBODY, "PUT", 404),
        (f"{STAGING}?name=a.csv", "no", "PUT", 401),
    ],
)
def test_a_body_of_a_gibibyte_is_refused_before_it_is_sent(server, path, token, method, status):
    with server.raw() as sock:
        sock.sendall(head(path, 1 << 30, token, method))
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert (response.status, response.getheader("connection")) == (status, "close")
        assert msgspec.json.decode(response.read())["status"] == status
        response.close()


def test_who_sends_a_gibibyte_all_the_same_gets_the_answer_and_is_cut_off(server):
    sent = 0
    with server.raw() as sock:
        sock.sendall(head(f"{FLIGHTS}/note.add", 1 << 30, "no", "POST"))
        piece = b" " * (1 << 20)
        try:
            for _ in range(1024):
                sock.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        told = until_closed(sock)
    assert sent < 64 << 20
    assert told.startswith(b"HTTP/1.1 401") or not told  # a client that never reads may find its connection reset


def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large(serving):
    server = serving(body_bytes=1000)
    with server.raw() as sock:
        start = head(f"{FLIGHTS}/note.add", 0, method="POST").replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        sock.sendall(start + b"3e9\r\n" + b" " * 1001 + b"\r\n")
        assert sock.recv(12) == b"HTTP/1.1 413"
