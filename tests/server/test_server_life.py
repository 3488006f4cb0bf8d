"""A server's life: what it is allowed to listen on, how it says that it is well, what it logs, how it ends."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from falaj.core.errors import Invalid
from falaj.server.logs import Log
from falaj.server.run import CannotListen, serve
from falaj.server.settings import NotSafe, Settings
from tests.server.running import TinyServer, until, until_closed
from tests.server.tiny import AMAL, NOBODY, Tiny

FLIGHTS = "/v1/projects/flights"


# health


def test_a_live_server_says_so_to_anybody(server):
    status, headers, body = server.ask("GET", "/healthz", token=None)
    assert (status, headers["content-type"], body) == (200, "application/json", b'{"live":true}')
    assert server.ask("HEAD", "/healthz", token=None)[::2] == (200, b"")


def test_a_server_is_ready_while_its_store_can_be_read(serving):
    server = serving()
    assert server.ask("GET", "/readyz", token=None)[::2] == (200, b'{"ready":true}')
    server.tiny.ready = False
    assert until(lambda: server.ask("GET", "/readyz", token=None)[0] == 503)
    assert server.problem("GET", "/readyz", token=None)["code"] == "not_ready"
    assert server.ask("GET", "/healthz", token=None)[0] == 200
    server.tiny.ready = True
    assert until(lambda: server.ask("GET", "/readyz", token=None)[0] == 200)


def test_a_flood_of_questions_whether_it_is_ready_costs_few_looks(serving):
    server = serving()
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: server.ask("GET", "/readyz", token=None)[0], range(200)))
    assert told == [200] * 200
    assert server.tiny.looks < 20  # one a second


# metrics


def test_metrics_count_by_operation_and_status_and_name_nobody(serving):
    server = serving()
    server.ask("GET", f"{FLIGHTS}/note.list")
    server.ask("GET", f"{FLIGHTS}/note.list?limit=x")
    server.ask("GET", f"{FLIGHTS}/secret-place", token=None)
    status, headers, body = server.ask("GET", "/metrics", token=None)
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'falaj_http_requests_total{operation="note.list",status="200"} 1.0' in text
    assert 'falaj_http_requests_total{operation="note.list",status="422"} 1.0' in text
    assert 'falaj_http_requests_total{operation="unknown",status="401"} 1.0' in text
    assert "falaj_http_unauthenticated_total 1.0" in text
    assert "falaj_ledger_pending 3.0" in text
    assert "falaj_jobs_running 0.0" in text
    assert "process_resident_memory_bytes" in text
    for private in ("flights", "secret-place", "amal", "127.0.0.1", AMAL):
        assert private not in text


def test_a_wrong_token_is_not_taken_for_none(server):
    assert server.ask("GET", "/metrics", token="no")[0] == 401
    assert server.ask("GET", "/metrics", token=NOBODY)[0] == 200


def test_behind_a_proxy_nobody_is_local():
    server = TinyServer(Settings(port=0, behind_proxy=True))
    try:
        assert server.ask("GET", "/metrics", token=None)[0] == 401
        assert server.ask("GET", "/metrics")[0] == 200
    finally:
        server.stop()


# the log


def test_each_answer_is_a_line_that_says_who_asked_what_by_their_ids(serving):
    server = serving()
    _, headers, _ = server.ask("GET", f"{FLIGHTS}/note.list?like=private-text")
    line = next(x for x in server.log() if x.get("request") == headers["falaj-request"])
    assert line["ms"] > 0
    assert line["at"].endswith("Z")
    assert {k: line[k] for k in line.keys() - {"ms", "at", "request"}} == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "operation": "note.list",
        "status": 200,
        "principal": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "project": "flights",
    }


def test_no_secret_and_no_word_of_a_request_reaches_the_log(serving):
    server = serving()
    secret = "falaj_01BX5ZZKBKACTAV9WEVGEMMVRZ_plantedplantedplantedplantedplantedplanted"
    server.ask("GET", f"{FLIGHTS}/note.list?like=private-query", token=secret)
    server.ask("GET", f"/v1/{secret}/private-path")
    server.ask("POST", f"{FLIGHTS}/note.add", {"text": "private-body", "extra": {"password": "private-word"}})
    server.ask("GET", f"{FLIGHTS}/note.break?text={secret}")  # an error whose text holds two tokens
    server.ask("POST", "/v1/claim", {"token": secret, "name": "private-name"}, token=None)
    server.ask("GET", f"{FLIGHTS}/note.list", token=None, Authorization=f"Basic {secret}", Cookie="private-cookie")
    server.stop()
    text = server.lines.getvalue()
    assert "[redacted]" in text
    for private in (AMAL, secret, "planted", "private"):
        assert private not in text


def test_a_log_that_nobody_takes_does_not_stop_the_server():
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    server = TinyServer(Settings(port=0), Full())
    try:
        assert server.ask("GET", "/healthz")[0] == 200
    finally:
        server.stop()


def test_a_flood_without_tokens_is_told_as_numbers(serving):
    server = serving()
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: server.ask("GET", f"{FLIGHTS}/note.list", token="no")[0], range(300)))
    server.stop()
    assert told == [401] * 300
    assert sum(server.tiny.unauthenticated) == 300
    assert len(server.tiny.unauthenticated) < 30  # one a second


def test_what_could_not_be_told_is_told_later(serving):
    server = serving()
    server.tiny.away = True
    server.ask("GET", "/v1/nothing", token=None)
    assert until(lambda: [line for line in server.log() if line["event"] == "not_noted"])
    server.tiny.away = False
    server.ask("GET", "/v1/nothing", token=None)
    server.stop()
    assert sum(server.tiny.unauthenticated) == 2


# the end


def test_what_was_begun_is_finished_and_nothing_new_is_begun(serving):
    server = serving()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.ask, "GET", f"{FLIGHTS}/note.wait")
        assert server.tiny.entered.acquire(timeout=20)
        end = pool.submit(server.stop)
        assert until(lambda: not _accepts(server.port))
        assert not answer.done()
        server.tiny.go.set()
        assert answer.result()[0] == 200
        end.result()


def test_a_job_at_work_is_finished(serving):
    server = serving()
    with ThreadPoolExecutor() as pool:
        assert server.ask("POST", f"{FLIGHTS}/work.do", {"steps": 1, "hold": True})[0] == 202
        waiting = pool.submit(server.ask, "POST", f"{FLIGHTS}/work.do", {"steps": 1, "hold": True}, Prefer="wait=60")
        assert server.tiny.entered.acquire(timeout=20)
        assert server.tiny.entered.acquire(timeout=20)
        end = pool.submit(server.stop)
        assert waiting.result()[0] == 202  # told where its result would be, instead of waiting any longer
        assert not end.done()
        server.tiny.go.set()
        end.result()
    assert not server.tiny.lost


def test_a_job_that_does_not_end_in_time_is_given_up_by_name(serving):
    server = serving(stop_s=1)
    _, _, body = server.ask("POST", f"{FLIGHTS}/work.do", {"steps": 1, "hold": True})
    server.stop()
    assert server.tiny.lost == [msgspec.json.decode(body)["run"]]
    assert any(line["event"] == "jobs_lost" for line in server.log())


def test_event_streams_end_with_the_server(serving):
    server = serving()
    run = msgspec.json.decode(server.ask("POST", f"{FLIGHTS}/work.do", {"steps": 1, "hold": True})[2])["run"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", f"/v1/jobs/{run}/events", headers={"Authorization": f"Bearer {AMAL}"})
    response = connection.getresponse()
    with ThreadPoolExecutor() as pool:
        end = pool.submit(server.stop)
        assert b"event: progress" in response.read()
        server.tiny.go.set()
        end.result()
    connection.close()


def test_idle_connections_do_not_hold_the_end_up(serving):
    server = serving()
    with server.raw() as idle, server.raw() as silent:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        server.stop()
        assert until_closed(silent) == b""


# where it listens


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"host": "0.0.0.0"}, NotSafe),
        ({"host": "::"}, NotSafe),
        ({"host": "192.0.2.1"}, NotSafe),
        ({"host": "falaj.example.ae"}, NotSafe),
        ({"host": ""}, NotSafe),
        ({"port": -1}, Invalid),
        ({"port": 65536}, Invalid),
        ({"cert": Path("/nonexistent"), "key": Path("/nonexistent")}, Invalid),
        ({"cert": Path(__file__)}, Invalid),
        ({"key": Path(__file__)}, Invalid),
        ({"cert": Path(__file__), "key": Path(__file__)}, Invalid),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, error):
    with pytest.raises(error):
        serve(Tiny(), Settings(**settings))


@pytest.mark.parametrize(
    "settings",
    [{"host": "127.0.0.1"}, {"host": "::1"}, {"host": "localhost"}, {"host": "0.0.0.0", "behind_proxy": True}],
)
def test_settings_that_are_safe_are_taken(settings):
    Settings(**settings).check()


def test_an_address_that_is_taken_is_said_to_be():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(CannotListen):
        serve(Tiny(), Settings(port=other.getsockname()[1]), Log(io.StringIO()))


def test_over_tls_the_certificate_counts_and_the_clear_is_not_answered(certificate):
    server = TinyServer(Settings(port=0, cert=certificate.cert, key=certificate.key))
    try:
        assert server.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=certificate.authority)
        connection = http.client.HTTPSConnection("localhost", server.port, context=trusting, timeout=20)
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"live":true}')
        assert response.getheader("strict-transport-security") == "max-age=31536000"
        connection.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            http.client.HTTPSConnection("localhost", server.port, context=ssl.create_default_context()).connect()
        assert server.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    finally:
        server.stop()


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(certificate, tmp_path):
    locked = tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    with pytest.raises(Invalid, match="locked"):
        serve(Tiny(), Settings(cert=certificate.cert, key=locked))


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
