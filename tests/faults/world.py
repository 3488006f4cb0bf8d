"""What a store must hold after everything that was acknowledged, and after what was cut off in the middle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from falaj.core.names import Thing
from falaj.core.records import Version
from falaj.platform import Platform
from falaj.session import Session
from falaj.store.rows import RUN
from tests.faults import plan
from tests.faults.plan import Command
from tests.faults.workers import Outcome


class World:
    """A store beside what is known of it.

    Attributes:
        seeds: what an acknowledged version was made from, by number.
        states: what the state of a version may be.
        production: the versions that may hold it: one, or two while a move was cut off.
    """

    def __init__(self, place: Path, database: str = "") -> None:
        self.place, self.database = place, database
        self.seeds = {1: 1, 2: 2}
        self.states: dict[int, set[str]] = {1: {"live"}, 2: {"live"}}
        self.production = {1}
        self._compared: set[int] = set()
        self._next = 2
        self._key = 0

    @contextmanager
    def opened(self) -> Iterator[Session]:
        """A session of its own."""
        platform = Platform.open(self.place, database=self.database)
        try:
            self._platform = platform
            yield platform.session(plan.PROJECT)
        finally:
            platform.close()

    # what to do next

    def next(self, what: str) -> Command:
        """The next command of a sort; what it needs is done before."""
        self._key += 1
        match what:
            case "add":
                self._next += 1
                plan.prepare(self.place, self._next)
                return ("add", str(self._next))
            case "promote":
                return ("promote", str(self._another()))
            case "rollback":
                if self._came_from() is None:
                    self.finish(self.next("promote"))
                return ("rollback", str(self._came_from()), f"key-{self._key}")
            case "rm":
                return ("rm", str(self._spare()), f"key-{self._key}")
            case "gc":
                self.finish(self.next("rm"))
                return ("gc",)
        raise ValueError(what)

    def _another(self) -> int:
        """A live version that does not hold production; the newest two stay for that."""
        live = [n for n, states in self.states.items() if states == {"live"} and n not in self.production]
        if not live:
            self.finish(self.next("add"))
            return self._another()
        return live[-1]

    def _came_from(self) -> int | None:
        with self.opened() as session:
            moves = session.call("asset.log", {"thing": plan.PRODUCTION})["moves"]
        held = [move["version"] for move in moves if move["version"] not in self.production]
        return next((number for number in held if self.states[number] == {"live"}), None)

    def _spare(self) -> int:
        """A live version that no ref holds: not the newest, not production."""
        spare = [n for n, s in self.states.items() if s == {"live"} and n not in self.production and n != self.newest]
        if not spare:
            self.finish(self.next("add"))
            return self._spare()
        return spare[0]

    @property
    def newest(self) -> int:
        return max(self.states)

    # what is known by now

    def cut_off(self, command: Command) -> None:
        """The command may have happened or not."""
        match command:
            case ("promote" | "rollback", number, *_):
                self.production = {*self.production, int(number)}
            case ("rm", number, _):
                self.states[int(number)].add("retired")
            case ("gc",):
                for states in self.states.values():
                    if states == {"retired"}:
                        states.add("erased")

    def acknowledged(self, command: Command, result: Any) -> None:
        """The command has happened."""
        match command:
            case ("add", seed):
                self.seeds[result["version"]] = int(seed)
                self.states[result["version"]] = {"live"}
            case ("promote" | "rollback", number, *_):
                self.production = {int(number)}
            case ("rm", number, _):
                self.states[int(number)] = {"retired"}
            case ("gc",):
                for states in self.states.values():
                    if "erased" in states or states == {"retired"}:
                        states.clear()
                        states.add("erased")

    def told(self, commands: list[Command], outcome: Outcome) -> None:
        """What a worker said of its commands."""
        for number, command in enumerate(commands):
            if number in outcome.done:
                self.acknowledged(command, outcome.done[number])
            elif number < outcome.begun:
                self.cut_off(command)

    def finish(self, command: Command) -> None:
        """The same command again, by another process than the one that was cut off."""
        with self.opened() as session:
            self.acknowledged(command, plan.do(session, self.place, *command))

    # what must hold

    def check(self, *, whole: bool = False) -> None:
        """Everything acknowledged is there; verification is clean; no run of the dead is at work.

        Verification decrypts and compares every byte with what was committed. That it is what was given is looked at
        once for each version, and for all of them where the `whole` is asked for.
        """
        with self.opened() as session:
            found = session.call("store.verify")
            assert (found["ok"], found["problems"], found["unreadable"], found["pending"]) == (True, [], 0, 0)
            held = self._production(session)
            assert held in self.production, f"production is held by v{held}, not by {self.production}"
            for number, seed in self.seeds.items():
                version = self._version(number)
                assert version.state in self.states[number], f"v{number} is {version.state}"
                if version.state != "erased" and (whole or number not in self._compared):
                    assert self._bytes(version) == plan.files_of(seed)
                    self._compared.add(number)
            self._settle(held)
            with self._platform.ground.database.read() as tx:
                at_work = [run.id for run in RUN.where(tx, "state = 'running'", {})]
            assert at_work == []

    def check_clean(self) -> None:
        """After a collection the location holds what the rows name, and nothing else: also of what was cut off."""
        heads, scratch = self.place / ".falaj" / "checkpoints", self.place / ".falaj" / "scratch"
        for left in (*heads.glob(".part-*"), *scratch.rglob("*")):
            os.utime(left, (0, 0), follow_symlinks=False)  # as if a day were over
        with self.opened() as session:
            ground = self._platform.ground
            with ground.database.write() as tx:  # uploads of the dead are waited for; a day is over
                tx.run("UPDATE upload SET expires_at = '2020-01-01T00:00:00.000000Z'")
            self.acknowledged(("gc",), session.call("store.gc"))
            with ground.database.read() as tx:
                known = {f"packs/{row[0]}" for row in tx.rows("SELECT id FROM pack")}
            objects = self.place / ".falaj" / "objects"
            assert {found.name for found in ground.contents.readers.location("main").list()} == known
            assert list((objects / ".tmp").iterdir()) == []
        assert not list(heads.glob(".*"))
        assert list(scratch.iterdir()) == []

    def _production(self, session: Session) -> int:
        shown: dict[str, Any] = session.call("asset.show", {"thing": plan.PRODUCTION})
        number: int = shown["shown"]["version"]
        return number

    def _settle(self, production: int) -> None:
        """From now on what was found is what is known."""
        self.production = {production}
        for number in self.states:
            self.states[number] = {self._version(number).state}

    def _version(self, number: int) -> Version:
        ground = self._platform.ground
        with ground.database.read() as tx:
            project = ground.catalog.project(tx, plan.PROJECT)
            asset = ground.catalog.asset(tx, project.id, Thing(plan.DATASET, "dataset"))
            return ground.catalog.version(tx, asset, number)

    def _bytes(self, version: Version) -> dict[str, bytes]:
        contents = self._platform.ground.contents
        return {f.path: contents.read(version, f.path, limit=1 << 20) for f in contents.files(version)}


def copied(base: Path, place: Path) -> World:
    """A world of its own, as `plan.make` left it."""
    return World(Path(shutil.copytree(base, place)))
