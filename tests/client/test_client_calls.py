"""The remote session against a real server: each sort of operation, its arguments, answers and refusals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falaj.client import Cut, RemoteError, RemoteSession, ServerAway, claim, connect
from falaj.core.errors import FalajError, Invalid, InvalidName, NotFound, Refused, TooLarge, Unauthenticated
from tests.server.running import TinyServer, until
from tests.server.tiny import AMAL, ARABIC, FRESH, NOBODY, ONE_TIME


@pytest.fixture
def session(server: TinyServer) -> Iterator[RemoteSession]:
    server.tiny.notes.clear()
    with connect(server.url, AMAL, "flights") as one:
        yield one


def test_a_query_gives_plain_values(session):
    session.call("note.add", {"text": "one", "tags": ("x",)})
    assert session.call("note.list") == {"notes": [{"number": 1, "text": "one", "tags": ["x"]}], "order": "up"}
    assert session.call("note.list", {"tags": ["y"]})["notes"] == []
    assert session.call("note.list", {"tags": None, "like": None, "order": "down", "limit": 1})["order"] == "down"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])), tags=st.lists(st.text(max_size=5), max_size=3))
def test_text_comes_back_as_it_went(session, text, tags):
    tags = [t.encode("utf-8", "replace").decode() for t in tags]
    note = session.call("note.add", {"text": text, "tags": tags})
    assert (note["text"], note["tags"]) == (text, tags)
    assert note in session.call("note.list", {"like": text, "tags": tags, "limit": 1000})["notes"]


def test_a_job_is_waited_for(session):
    assert session.call("work.do", {"steps": 3}) == {"steps": 3}


def test_progress_is_told_while_a_job_runs(serving):
    server = serving()
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        told.append((what, done, total))
        server.tiny.go.set()

    with connect(server.url, AMAL, "flights") as session:
        assert session.call("work.do", {"steps": 7, "hold": True}, progress=progress) == {"steps": 7}
    assert told[-1] == ("step", 7, 7)


def test_what_progress_raises_is_raised(serving):
    server = serving()

    def progress(*_: object) -> None:
        server.tiny.go.set()
        raise ValueError("the caller's own")

    with connect(server.url, AMAL, "flights") as session, pytest.raises(ValueError, match="own"):
        session.call("work.do", {"steps": 1, "hold": True}, progress=progress)


def test_a_transfer_gives_its_bytes(session):
    assert sum(map(len, session.stream("note.get", {"size": 1_000_000}))) == 1_000_000


def test_a_transfer_that_ends_early_is_cut(session):
    with pytest.raises(Cut):
        list(session.stream("note.get", {"size": 1_000_000, "fail_at": 3}))
    assert session.call("note.list")["notes"] == []


def test_a_refused_transfer_raises_before_any_byte(session):
    with pytest.raises(NotFound):
        session.stream("note.get", {"size": -1})


def test_bytes_are_not_called_and_answers_not_streamed(session):
    with pytest.raises(Invalid):
        session.call("note.get", {"size": 1})
    with pytest.raises(Invalid):
        session.stream("note.list")


def test_a_project_may_be_named_in_any_script(server):
    with connect(server.url, AMAL, ARABIC) as session:
        assert session.call("work.do", {"steps": 1}) == {"steps": 1}


def test_operations_of_the_store_need_no_project(server):
    with connect(server.url, AMAL, "") as session:
        assert session.call("store.count").keys() == {"notes"}


def test_many_threads_may_share_a_session(session):
    with ThreadPoolExecutor(8) as pool:
        notes = list(pool.map(lambda n: session.call("note.add", {"text": f"note {n}"}), range(100)))
    assert sorted(n["number"] for n in notes) == list(range(1, 101))


# refusals


def test_a_refusal_is_raised_as_its_family_with_everything_that_was_said(session):
    with pytest.raises(Refused) as refused:
        session.call("note.add", {"text": "refuse"})
    error = refused.value
    assert isinstance(error, RemoteError)
    assert (error.code, error.status, error.exit_code) == ("tiny_refused", 409, Refused.exit_code)
    assert (error.message, error.next_step) == ("the note is refused: 1 rule failed", "falaj note fix")
    assert error.facts == {"rules": ["no_refuse"]}


@pytest.mark.parametrize(
    ("operation", "args", "family"),
    [
        ("note.list", {"limit": "many"}, Invalid),
        ("note.list", {"unknown": 1}, Invalid),
        ("note.add", {}, Invalid),
        ("note.add", {"text": "a", "extra": {"a": "x" * 2_000_000}}, TooLarge),
        ("work.do", {"steps": 1, "fail": True}, Refused),
        ("work.do", {"steps": 1, "unexpected": True}, RemoteError),
        ("hidden.do", {}, NotFound),
        ("no.such", {}, NotFound),
    ],
)
def test_refusals_keep_their_family(session, operation, args, family):
    with pytest.raises(family):
        session.call(operation, args)


def test_who_may_not_and_who_is_nobody_are_told_apart(server):
    with connect(server.url, NOBODY, "flights") as session, pytest.raises(NotFound):
        session.call("note.list")
    with connect(server.url, "falaj_unknown", "flights") as session, pytest.raises(Unauthenticated):
        session.call("note.list")


@pytest.mark.parametrize(
    "args",
    [{"text": float("nan")}, {"text": object()}, {"text": "\ud800"}, {"extra": {1: {2}}}],
    ids=["nan", "object", "half a character", "set"],
)
def test_what_is_no_plain_value_is_refused_here(session, args):
    with pytest.raises(Invalid):
        session.call("note.add", args)
    with pytest.raises(Invalid):
        session.call("note.list", {"like": "\ud800"})


@pytest.mark.parametrize("key", ["k" * 129, "a\r\nX: y", "ключ"])
def test_a_key_that_is_not_plain_is_refused_here(session, key):
    with pytest.raises(Invalid):
        session.call("note.add", {"text": "a"}, idempotency_key=key)


@pytest.mark.parametrize("project", ["../x", "a/b", "a b", "\u202eabc", "x" * 129, "\ud800"])
def test_a_project_that_is_no_name_is_refused_here(server, project):
    with pytest.raises(InvalidName):
        connect(server.url, AMAL, project)


# files


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_staged_file_is_there_whole(session, server, tmp_path, size):
    file = tmp_path / "2013-01.csv"
    file.write_bytes(os.urandom(size))
    staged = session.stage(file)
    assert (staged["name"], staged["size"]) == ("2013-01.csv", size)
    assert (server.tiny.staged / staged["staged"]).read_bytes() == file.read_bytes()


def test_files_that_cannot_be_sent_are_refused_here(session, tmp_path):
    with pytest.raises(NotFound):
        session.stage(tmp_path / "missing")
    with pytest.raises(Invalid):
        session.stage(tmp_path)
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.csv"))
    odd.write_bytes(b"x")
    with pytest.raises(Invalid):
        session.stage(odd)


def test_a_file_that_the_server_refuses_early_is_told_as_what_it_said(serving, tmp_path):
    server = serving(staging_bytes=1000)
    file = tmp_path / "large"
    file.write_bytes(bytes(20_000_000))
    with connect(server.url, AMAL, "flights") as session, pytest.raises(TooLarge):
        session.stage(file)
    with connect(server.url, NOBODY, "flights") as session, pytest.raises(FalajError):
        session.stage(file)


def test_a_file_that_becomes_shorter_is_not_sent_as_whole(serving, tmp_path):
    server = serving()
    file = tmp_path / "file"
    file.write_bytes(bytes(50_000_000))
    server.tiny.on_piece = lambda: os.truncate(file, 10)
    with connect(server.url, AMAL, "flights") as session, pytest.raises(Invalid, match="shorter"):
        session.stage(file)
    assert until(lambda: not list(server.tiny.staged.iterdir()))


# the first owner


def test_the_first_owner_claims_a_server(serving):
    server = serving()
    assert claim(server.url, ONE_TIME + "\n", "layla") == FRESH
    with pytest.raises(Unauthenticated):
        claim(server.url, ONE_TIME, "omar")


def test_nobody_is_no_server(free_port):
    with pytest.raises(ServerAway), connect(f"http://127.0.0.1:{free_port()}", AMAL, "flights") as session:
        session.call("note.list")
