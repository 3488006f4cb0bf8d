"""A small platform to test the edge on: a few declared operations and a door that decides by a table.

Real as far as it goes: it validates, decides, remembers idempotency keys, streams, stages to disk and runs jobs.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from falaj.access.records import Principal
from falaj.core.encoding import convert
from falaj.core.entries import What
from falaj.core.errors import Conflict, NotFound, Refused, TooLarge, Unauthenticated, Unavailable
from falaj.core.ids import new_id
from falaj.core.records import Run
from falaj.door import Caller, Operations, command, job, query, transfer
from falaj.trust.records import PrincipalView

AMAL = "falaj_01ARZ3NDEKTSV4RRFFQ69G5FAV_amalamalamalamalamalamalamalamalamalamalamal"
BADR = "falaj_01BX5ZZKBKACTAV9WEVGEMMVRZ_badrbadrbadrbadrbadrbadrbadrbadrbadrbadrbadr"
NOBODY = "falaj_01BX5ZZKBKACTAV9WEVGEMMVS0_nonenonenonenonenonenonenonenonenonenonenone"
ONE_TIME = "falaj_01BX5ZZKBKACTAV9WEVGEMMVT0_onceonceonceonceonceonceonceonceonceonceonceonce"
FRESH = "falaj_01BX5ZZKBKACTAV9WEVGEMMVT1_newnewnewnewnewnewnewnewnewnewnewnewnewnewnew"
PROJECT = "flights"
ARABIC = "مطار"
NO_CLI = {"cli": "a test's operation"}


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One note."""

    number: int
    text: str
    tags: tuple[str, ...] = ()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some notes."""

    notes: tuple[Note, ...]
    order: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a job did."""

    steps: int


class Broken(Refused):
    """A rule of the tests said no."""

    code = "tiny_refused"


class Ctx:
    """What the operations work with."""

    def __init__(self, tiny: Tiny, progress: Callable[[str, int, int], None]) -> None:
        self.tiny = tiny
        self.progress = progress


@query("note.list", on="project:{project}", without=NO_CLI)
def list_notes(
    ctx: Ctx,
    order: Literal["up", "down"] = "up",
    limit: int = 10,
    tags: list[str] | None = None,
    like: str | None = None,
) -> Page:
    """Notes of a project.

    At most `limit`, those with every tag.
    """
    found = [n for n in ctx.tiny.notes if set(tags or ()) <= set(n.tags) and (like or "") in n.text]
    return Page(notes=tuple(found[: max(0, limit)] if order == "up" else found[::-1][: max(0, limit)]), order=order)


@query("note.wait", on="project:{project}", without=NO_CLI)
def wait_note(ctx: Ctx) -> Page:
    """Answers once the test lets it."""
    ctx.tiny.entered.release()
    ctx.tiny.go.wait(20)
    return Page(notes=(), order="up")


@query("note.break", on="project:{project}", without=NO_CLI)
def break_note(ctx: Ctx, text: str = "") -> Page:
    """Fails in a way that nobody expected."""
    raise ZeroDivisionError(f"secret {AMAL} {text}")


@command("note.add", on="project:{project}", entry=What.VERSION_ADDED, role="contributor", without=NO_CLI)
def add_note(ctx: Ctx, text: str, tags: list[str] = [], extra: dict[str, Any] = {}) -> Note:  # noqa: B006
    """Add a note."""
    if text == "refuse":
        raise Broken("the note is refused: 1 rule failed", next_step="falaj note fix", facts={"rules": ["no_refuse"]})
    note = Note(number=len(ctx.tiny.notes) + 1, text=text, tags=tuple(tags))
    ctx.tiny.notes.append(note)
    return note


@command("note.wipe", on="store", entry=What.VERSION_RETIRED, role="owner", without=NO_CLI)
def wipe_notes(ctx: Ctx) -> int:
    """Forget every note; returns how many."""
    count = len(ctx.tiny.notes)
    ctx.tiny.notes.clear()
    return count


@query("store.count", on="store", without=NO_CLI)
def count_notes(ctx: Ctx) -> dict[str, int]:
    """How many notes there are."""
    return {"notes": len(ctx.tiny.notes)}


@transfer("note.get", on="project:{project}", without=NO_CLI)
def get_note(ctx: Ctx, size: int, fail_at: int = -1) -> Iterator[bytes]:
    """Bytes, in pieces of 64 KiB; breaks at a piece if it is told to."""
    if not 0 <= size <= 1 << 24:
        raise NotFound("no such note")

    def pieces() -> Iterator[bytes]:
        try:
            for number, at in enumerate(range(0, size, 65536)):
                if number == fail_at:
                    raise Conflict("the note changed")
                yield bytes([number % 251]) * min(65536, size - at)
        finally:
            ctx.tiny.closed.release()

    return pieces()


@job("work.do", on="project:{project}", entry=What.RUN_STARTED, role="contributor", without=NO_CLI)
def work(ctx: Ctx, steps: int, fail: bool = False, hold: bool = False, unexpected: bool = False) -> Done:
    """Take some steps."""
    for step in range(min(max(steps, 0), 100_000)):
        ctx.progress("step", step + 1, steps)
    if hold:
        ctx.tiny.entered.release()
        ctx.tiny.go.wait(20)
    if unexpected:
        raise ZeroDivisionError("nobody thought of this")
    if fail:
        raise Broken("the work is refused", facts={"steps": steps})
    return Done(steps=steps)


@job("store.work", on="store", entry=What.RUN_STARTED, role="owner", without=NO_CLI)
def store_work(ctx: Ctx, steps: int, hold: bool = False, fail: bool = False) -> Done:
    """Take some steps outside of any project."""
    return work(ctx, steps, hold=hold, fail=fail)


@command("hidden.do", on="store", entry=What.STORE_REPAIRED, role="owner", without={**NO_CLI, "http": "only here"})
def hidden(ctx: Ctx) -> int:
    """Has no HTTP face."""
    return 1


class TinyDoor:
    """Validates, decides by a table, calls."""

    def __init__(self, tiny: Tiny) -> None:
        self._tiny = tiny

    def call(
        self,
        operation_name: str,
        args: Mapping[str, Any] | msgspec.Struct,
        *,
        caller: Caller,
        project: str = "",
        idempotency_key: str = "",
        progress: Callable[[str, int, int], None] | None = None,
        on_run: Callable[[Run], None] | None = None,
    ) -> Any:
        """As the door's."""
        operation = self._tiny.operations[operation_name]
        params = args if isinstance(args, operation.params) else convert(dict(args), operation.params, operation.name)
        if caller.principal.name not in {"amal", "badr"} or project not in {"", PROJECT, ARABIC}:
            raise NotFound(f"{project or 'store'}: no such thing, or not for you", next_step="falaj access why")
        key = (caller.principal.id, idempotency_key)
        if idempotency_key and key in self._tiny.answers:
            return self._tiny.answers[key]
        if operation.sort == "job" and on_run:
            self._tiny.begun += 1
            on_run(_run(operation_name, caller))
        fields = {f: getattr(params, f) for f in params.__struct_fields__}
        result = operation.function(Ctx(self._tiny, progress or (lambda *_: None)), **fields)
        if idempotency_key:
            self._tiny.answers[key] = result
        return result


class Tiny:
    """The platform."""

    def __init__(self) -> None:
        self.operations = Operations()
        self.operations.include(sys.modules[__name__])
        self.door = TinyDoor(self)
        self.notes: list[Note] = []
        self.answers: dict[tuple[str, str], Any] = {}
        self.begun = 0
        self.claimed = False
        self.people = {
            AMAL: _principal("01ARZ3NDEKTSV4RRFFQ69G5FAV", "amal"),
            BADR: _principal("01BX5ZZKBKACTAV9WEVGEMMVRZ", "badr"),
            NOBODY: _principal("01BX5ZZKBKACTAV9WEVGEMMVS0", "nobody"),
        }
        self.unauthenticated: list[int] = []
        self.noted = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self.go = threading.Event()
        self.looks = 0
        self.lost: list[str] = []
        self.on_piece: Callable[[], None] = lambda: None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.ready = True
        self.away = False

    @property
    def staged(self) -> Path:
        """The folder of staged files; made when it is first asked for."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="tiny-")
        return Path(self._folder.name)

    def close(self) -> None:
        """Remove what was staged."""
        if self._folder is not None:
            self._folder.cleanup()

    def authenticate(self, token_text: str) -> Caller:
        """By the table."""
        if token_text not in self.people:
            raise Unauthenticated(f"token {token_text} is unknown here")
        return Caller(principal=self.people[token_text])

    def claim(self, one_time_token: str, person_name: str) -> tuple[PrincipalView, str]:
        """Once."""
        if one_time_token != ONE_TIME or self.claimed:
            raise Unauthenticated(f"token {one_time_token} is unknown here")
        self.claimed = True
        owner = _principal("01BX5ZZKBKACTAV9WEVGEMMVT1", person_name)
        self.people[FRESH] = owner
        return PrincipalView(id=owner.id, name=owner.name, person=owner.person, sort="person", groups=()), FRESH

    def note_unauthenticated(self, count: int) -> None:
        """Kept for the test."""
        if self.away:
            raise Unavailable("the database is away")
        self.unauthenticated.append(count)
        self.noted.release()

    def stage(self, caller: Caller, project: str, name: str, stream: BinaryIO, limit: int) -> dict[str, Any]:
        """To a folder."""
        if project != PROJECT or caller.principal.name == "nobody":
            raise NotFound(f"{project}: no such thing, or not for you", next_step="falaj access why")
        digest, size = hashlib.sha256(), 0
        target = self.staged / new_id()
        try:
            with target.open("wb") as file:
                while piece := stream.read(1 << 20):
                    self.on_piece()
                    size += len(piece)
                    if size > limit:
                        raise TooLarge(f"more than {limit} bytes")
                    digest.update(piece)
                    file.write(piece)
        except BaseException:
            target.unlink()
            raise
        return {"staged": target.name, "name": name, "size": size, "sha256": digest.hexdigest()}

    def check_ready(self) -> None:
        """By a switch."""
        self.looks += 1
        if not self.ready:
            raise Conflict("away")

    def ledger_pending(self) -> int:
        """A known number."""
        return 3

    def mark_lost(self, runs: Any) -> None:
        """Kept for the test."""
        self.lost.extend(runs)


def _principal(id_: str, name: str) -> Principal:
    return Principal(id=id_, person=id_, name=name)


def _run(sort: str, caller: Caller) -> Run:
    who = caller.principal
    return Run(
        id=new_id(), project="p", sort=sort, name=sort, state="running", started_at="", by=who.id, person=who.person
    )
