"""Jobs over HTTP: begun, waited for, followed, found again; nobody else's; a bounded number at once."""

from __future__ import annotations

import http.client
from typing import Any

import msgspec
import pytest

from tests.server.running import TinyServer, until
from tests.server.tiny import AMAL, BADR, NOBODY

FLIGHTS = "/v1/projects/flights"
WORK = f"{FLIGHTS}/work.do"


def begin(server: TinyServer, body: dict[str, Any], path: str = WORK, **more: str) -> tuple[int, dict[str, str], Any]:
    status, headers, answer = server.ask("POST", path, body, **more)
    return status, headers, msgspec.json.decode(answer)


def held(server: TinyServer, path: str = WORK, fail: bool = False, **more: str) -> tuple[str, str]:
    """A job that is at work until the test lets it go: its run, and where it is."""
    server.tiny.go.clear()
    status, headers, told = begin(server, {"steps": 2, "hold": True, "fail": fail}, path, **more)
    assert status == 202
    assert server.tiny.entered.acquire(timeout=20)
    return told["run"], headers["location"]


def ended(server: TinyServer, path: str = WORK, fail: bool = False, **more: str) -> tuple[str, str]:
    """A job that was begun and has ended."""
    run, place = held(server, path, fail, **more)
    server.tiny.go.set()
    assert server.ask("GET", place, Prefer="wait=20")[0] == (409 if fail else 200)
    return run, place


def test_a_job_is_begun_and_its_result_read_where_it_says(serving):
    server = serving()
    run, place = held(server)
    assert place == f"/v1/jobs/{run}"
    assert server.ask("GET", place)[0] == 202
    server.tiny.go.set()
    status, _, body = server.ask("GET", place, Prefer="wait=20")
    assert (status, msgspec.json.decode(body)) == (200, {"steps": 2})
    assert server.ask("GET", place)[2] == body


def test_a_short_job_is_answered_at_once_to_who_waits(serving):
    server = serving()
    assert begin(server, {"steps": 3}, Prefer="wait=20")[::2] == (200, {"steps": 3})


def test_who_waits_no_longer_than_the_job_takes_is_told_where_it_is(serving):
    server = serving(wait_s=0.2)
    status, headers, told = begin(server, {"steps": 1, "hold": True}, Prefer="wait=600")
    assert (status, headers["location"]) == (202, told["status"])


@pytest.mark.parametrize("path", ["/v1/projects/%D9%85%D8%B7%D8%A7%D8%B1/work.do", "/v1/store.work"])
def test_jobs_of_any_project_and_of_the_store_itself_are_found_by_their_run(serving, path):
    server = serving()
    run, place = ended(server, path)
    assert place == f"/v1/jobs/{run}"


def test_a_failed_job_answers_its_error_wherever_it_is_asked(serving):
    server = serving()
    _, place = ended(server, fail=True)
    waited = begin(server, {"steps": 2, "fail": True}, Prefer="wait=20")
    later = server.problem("GET", place)
    assert waited[0] == later["status"] == 409
    assert waited[2] == later
    assert later["code"] == "tiny_refused"


def test_a_job_that_breaks_tells_no_more_than_a_request_that_breaks(serving):
    server = serving()
    status, _, told = begin(server, {"steps": 1, "fail": True, "unexpected": True}, Prefer="wait=20")
    assert (status, told["code"]) == (500, "error")
    assert "Zero" not in str(told)
    assert any(line["event"] == "error" and line["type"] == "ZeroDivisionError" for line in server.log())


def test_a_job_that_is_not_allowed_has_no_run(serving):
    server = serving()
    status, _, told = begin(server, {"steps": 1}, token=NOBODY)
    assert (status, told["code"]) == (404, "not_found")


# events


def test_events_tell_progress_and_the_end(serving):
    server = serving()
    run, _ = held(server)
    with _Events(server, run) as events:
        assert events.next() == ("progress", {"what": "step", "done": 2, "total": 2})
        server.tiny.go.set()
        assert events.next() == ("end", {"state": "done"})
        assert events.next() is None


def test_events_of_an_ended_job_are_its_end(serving):
    server = serving()
    run, _ = ended(server, fail=True)
    with _Events(server, run) as events:
        assert events.next() == ("end", {"state": "failed", "code": "tiny_refused"})
        assert events.next() is None


def test_a_job_that_tells_very_often_is_heard_as_often_as_the_loop_turns(serving):
    server = serving()
    status, _, told = begin(server, {"steps": 100_000}, Prefer="wait=20")
    assert (status, told) == (200, {"steps": 100_000})


def test_streams_are_few(serving):
    server = serving(streams=1)
    run, _ = held(server)
    with _Events(server, run) as first:
        assert first.next() is not None
        told = server.problem("GET", f"/v1/jobs/{run}/events")
    assert (told["status"], told["code"]) == (503, "busy")


def test_a_stream_ends_after_its_time_and_may_be_asked_for_again(serving):
    server = serving(stream_s=0.2)
    run, _ = held(server)
    for _ in range(2):
        with _Events(server, run) as events:
            assert events.next()[0] == "progress"
            assert events.next() is None


# whose they are


@pytest.mark.parametrize("path", ["/v1/jobs/{run}", "/v1/jobs/{run}/events"])
def test_a_job_of_somebody_else_looks_like_none(serving, path):
    server = serving()
    run, _ = held(server)
    missing = "0" * 26
    theirs = server.ask("GET", path.format(run=run), token=BADR)
    nothing = server.ask("GET", path.format(run=missing), token=BADR)
    assert theirs[0] == nothing[0] == 404
    assert theirs[2].replace(run.encode(), missing.encode()) == nothing[2]


# keys and numbers


def test_the_same_key_finds_the_job_that_it_began(serving):
    server = serving()
    run, _ = held(server, Idempotency_Key="once")
    body = {"steps": 2, "hold": True}
    assert begin(server, body, Idempotency_Key="once")[2]["run"] == run
    assert begin(server, {"steps": 3}, Idempotency_Key="once")[2]["code"] == "idempotency_key_reused"
    assert begin(server, {"steps": 3}, Idempotency_Key="once", token=BADR, Prefer="wait=20")[0] == 200


def test_the_key_of_a_failed_job_is_free_again(serving):
    server = serving()
    first, _ = ended(server, fail=True, Idempotency_Key="again")
    second, _ = ended(server, fail=True, Idempotency_Key="again")
    assert first != second


def test_jobs_are_few_at_once(serving):
    server = serving(jobs=1)
    held(server)
    status, headers, told = begin(server, {"steps": 1})
    assert (status, told["code"], headers["retry-after"]) == (503, "busy", "1")
    server.tiny.go.set()
    assert until(lambda: not server.app.jobs.running)
    assert begin(server, {"steps": 1}, Prefer="wait=20")[0] == 200


@pytest.mark.parametrize("limits", [{"kept_jobs": 2}, {"kept_bytes": 2 * len('{"steps":2}')}], ids=["number", "size"])
def test_results_are_kept_for_the_newest_jobs_only(serving, limits):
    server = serving(**limits)
    places = [ended(server)[1] for _ in range(4)]
    assert [server.ask("GET", place)[0] for place in places] == [404, 404, 200, 200]


class _Events:
    """Reads server-sent events one by one."""

    def __init__(self, server: TinyServer, run: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._connection.request("GET", f"/v1/jobs/{run}/events", headers={"Authorization": f"Bearer {AMAL}"})
        self._response = self._connection.getresponse()
        assert self._response.getheader("content-type") == "text/event-stream; charset=utf-8"

    def __enter__(self) -> _Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()

    def next(self) -> tuple[str, Any] | None:
        name = ""
        while line := self._response.readline():
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return name, msgspec.json.decode(line[6:])
        return None
