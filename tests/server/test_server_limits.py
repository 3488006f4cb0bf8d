"""What stands before everything else: sizes, times, depth, rates, numbers, host names and origins."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from tests.server.running import until, until_closed
from tests.server.tiny import AMAL, BADR

FLIGHTS = "/v1/projects/flights"
LIST = f"{FLIGHTS}/note.list"
ADD = f"{FLIGHTS}/note.add"
HEAD = f"GET {LIST} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {AMAL}\r\n"


# size of the head


def test_headers_over_their_limit_are_refused(server):
    told = server.problem("GET", LIST, X_More="x" * 33_000)
    assert (told["status"], told["code"]) == (431, "head_too_large")


def test_many_headers_count_together(server):
    many = {f"X_{n}": "x" * 100 for n in range(99)}
    assert server.ask("GET", LIST, **many)[0] == 200
    many = {f"X_{n}": "x" * 400 for n in range(99)}
    assert server.problem("GET", LIST, **many)["code"] == "head_too_large"


def test_headers_without_end_are_cut_off(server):
    told = b""
    with server.raw() as sock:
        sock.sendall(HEAD.encode() + b"X-Long: ")
        try:
            for _ in range(1000):
                sock.sendall(b"x" * 4096)
        except OSError:
            pass
        else:
            pytest.fail("4 MB of one header were taken")
        told = until_closed(sock)
    assert told.startswith(b"HTTP/1.1 431") or not told  # the reset may overtake the answer


def test_an_address_over_its_limit_is_refused(server):
    told = server.problem("GET", f"{LIST}?like={'x' * 9000}")
    assert (told["status"], told["code"]) == (414, "url_too_long")


def test_what_is_no_http_is_refused(server):
    assert server.exchange(b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_flood_of_what_is_no_http_is_few_lines(serving):
    server = serving()
    for _ in range(50):
        server.exchange(b"no\r\n\r\n")
    assert 1 <= sum(line["event"] == "log" for line in server.log()) < 10  # one a second


@pytest.mark.parametrize(
    "extra",
    ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1"],
)
def test_a_body_of_two_lengths_is_refused(server, extra):
    """Two programs on the way may each believe another one, and see different requests."""
    told = server.exchange(f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n\r\n0\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 400")


# time


def test_a_head_that_does_not_come_ends_its_connection(serving):
    server = serving(header_wait_s=0.3)
    assert server.exchange(b"") == b""
    assert server.exchange(b"GET / HT") == b""


def test_a_head_that_trickles_ends_its_connection(serving):
    server = serving(header_wait_s=0.5)
    with server.raw() as sock:
        assert _trickled(sock, b"X: y\r\n", first=HEAD.encode()) == b""


def test_empty_lines_after_a_request_do_not_keep_a_connection(serving):
    server = serving(header_wait_s=0.5, keep_alive_s=600)
    with server.raw() as sock:
        sock.sendall(HEAD.encode() + b"\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
        _trickled(sock, b"\r\n")


def test_an_idle_connection_is_closed(serving):
    server = serving(keep_alive_s=1)
    with server.raw() as sock:
        sock.sendall(HEAD.encode() + b"\r\n")
        assert until_closed(sock).startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_come_is_given_up(serving):
    server = serving(body_wait_s=0.3)
    told = server.exchange(
        f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {AMAL}\r\n"
        'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"text'.encode()
    )
    assert told.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in told


def test_a_call_that_takes_too_long_is_answered_without_its_result(serving):
    server = serving(request_s=0.3, threads=1)
    told = server.problem("GET", f"{FLIGHTS}/note.wait")
    assert (told["status"], told["code"]) == (504, "timed_out")
    server.tiny.go.set()
    assert server.ask("GET", LIST)[0] == 200


def test_requests_one_after_the_other_in_one_piece_are_all_answered(server):
    last = HEAD.replace("\r\nHost", "\r\nConnection: close\r\nHost")
    told = server.exchange(((HEAD + "\r\n") * 5 + last + "\r\n").encode())
    assert told.count(b"HTTP/1.1 200 OK") == 6


# depth


def _nested(depth: int) -> bytes:
    return b'{"text":"a","extra":{"a":' + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}}"


@pytest.mark.parametrize(("depth", "status"), [(63, 200), (64, 200), (65, 422), (1_000, 422), (100_000, 422)])
def test_a_body_nests_so_deep_and_no_deeper(server, depth, status):
    assert server.ask("POST", ADD, _nested(depth), Content_Type="application/json")[0] == status


def test_brackets_in_texts_are_not_depth(server):
    assert server.ask("POST", ADD, {"text": "[" * 1000})[0] == 200


@pytest.mark.parametrize("count", [100_000, 10_000])
def test_a_flood_of_arguments_is_refused(server, count):
    body = {"text": "a", **{f"argument{n}": n for n in range(count)}}
    assert server.ask("POST", ADD, body)[0] in (413, 422)


# rates and numbers


def test_an_address_may_ask_so_often(serving):
    server = serving(by_address={"per_s": 0.01, "burst": 5})
    told = [server.ask("GET", "/healthz", token=None) for _ in range(7)]
    assert [t[0] for t in told] == [200] * 5 + [429] * 2
    assert 90 <= int(told[-1][1]["retry-after"]) <= 100
    assert msgspec.json.decode(told[-1][2])["code"] == "rate_limited"


def test_a_principal_may_ask_so_often_and_the_others_are_not_disturbed(serving):
    server = serving(by_principal={"per_s": 0.01, "burst": 3})
    assert [server.ask("GET", LIST, token=AMAL)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert server.ask("GET", LIST, token=BADR)[0] == 200


def test_a_flood_is_one_line_in_the_log(serving):
    server = serving(by_address={"per_s": 0.01, "burst": 1})
    for _ in range(50):
        server.ask("GET", "/healthz")
    server.stop()
    lines = server.log()
    assert sum(line["requests"] for line in lines if line["event"] == "rate_limited") == 49
    assert sum(line["event"] == "request" for line in lines) == 1


def test_calls_that_cannot_begin_are_turned_away_at_once(serving):
    server = serving(threads=1, waiting=1)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(server.ask, "GET", f"{FLIGHTS}/note.wait")
        assert server.tiny.entered.acquire(timeout=20)
        second = pool.submit(server.ask, "GET", f"{FLIGHTS}/note.wait")
        assert until(lambda: server.app.api.workers.taken == 2)
        status, headers, body = server.ask("GET", LIST)
        assert (status, headers["retry-after"], msgspec.json.decode(body)["code"]) == (503, "1", "busy")
        assert server.ask("GET", "/healthz")[0] == 200
        server.tiny.go.set()
        assert first.result()[0] == second.result()[0] == 200


def test_connections_are_counted(serving):
    server = serving(connections=3, header_wait_s=600)
    idle = [server.raw() for _ in range(3)]
    try:
        assert until(lambda: server.ask("GET", "/healthz")[0] == 503)
    finally:
        for sock in idle:
            sock.close()
    assert until(lambda: server.ask("GET", "/healthz")[0] == 200)


# host names and origins


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8440", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8440", 200),
        ("falaj.example.ae", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:127.0.0.1", 421),
        ("169.254.169.254", 421),
        ("0.0.0.0", 421),
        ("[::]", 421),
        ("2130706433", 421),
        ("", 421),
        ("localhost, evil.example", 421),
    ],
)
def test_the_server_answers_to_its_own_names_only(serving, host, status):
    """A name that an attacker's page was loaded from may be bound to this machine afterwards."""
    server = serving(hosts=("Falaj.example.ae",))
    assert server.ask("GET", LIST, Host=host)[0] == status


def test_of_two_hosts_neither_is_believed(server):
    assert server.exchange((HEAD + "Host: localhost\r\nConnection: close\r\n\r\n").encode()).startswith(b"HTTP/1.1 421")


def test_no_host_is_no_name(server):
    assert server.exchange(f"GET {LIST} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8440"}, 200),
        ({"Origin": "http://localhost:8440", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Origin": "http://localhost:9000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:8440.evil.example"}, 403),
        ({"Origin": "http://evil.example@localhost:8440"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "http://localhost:8440", "Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_another_origin_are_refused(server, method, headers, status):
    server.tiny.notes.clear()
    path, body = (LIST, None) if method == "GET" else (ADD, {"text": "a"})
    assert server.ask(method, path, body, Host="localhost:8440", **headers)[0] == status
    assert len(server.tiny.notes) == (status == 200 and method == "POST")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/nothing", "/v1/claim"])
def test_no_address_is_outside_of_these_checks(server, path):
    assert server.ask("GET", path, Host="evil.example")[0] == 421
    assert server.ask("GET", path, Origin="https://evil.example")[0] == 403


def test_a_preflight_is_not_answered_with_leave(server):
    status, headers, _ = server.ask(
        "OPTIONS", ADD, Origin="https://evil.example", Access_Control_Request_Method="POST", token=None
    )
    assert status == 403
    assert not any(name.startswith("access-control") for name in headers)


def _trickled(sock: socket.socket, piece: bytes, first: bytes = b"") -> bytes:
    """Send a piece often until the other side ends the connection; what it said. Fails where it never does."""
    sock.sendall(first)
    sock.settimeout(0.05)
    told = b""
    for _ in range(400):
        try:
            sock.sendall(piece)
            said = sock.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return told
        if not said:
            return told
        told += said
    return pytest.fail("the connection was kept for 20 s")
