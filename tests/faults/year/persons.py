"""Persons who know that a server may be gone: they repeat the same command until they have its answer.

What they were told is kept: an answer is an acknowledgement, and what was acknowledged must never be lost.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from falaj.client import Cut, RemoteSession, claim
from falaj.core.errors import Conflict, NotFound, Unavailable
from falaj.core.ids import new_id
from tests.faults.year.servers import Server, without_falaj

PROJECT = "flights"
ROLES = {
    "science": ("contributor", f"project:{PROJECT}"),
    "risk": ("maintainer", f"project:{PROJECT}"),
    "operations": ("owner", "store"),
    "retrainer": ("maintainer", f"project:{PROJECT}"),
}
LOOK_S = 0.05


class Acknowledged(NamedTuple):
    """What the ledger must have: the operation, by the number of its entry."""

    operation: str
    entry: int


def let_in(server: Server, one_time: str) -> dict[str, str]:
    """The first owner comes in, and lets the others in. Returns: tokens by name."""
    url = f"http://127.0.0.1:{server.port}"
    tokens = {"owner": claim(url, one_time, "owner")}
    for name, (role, scope) in ROLES.items():
        service = name == "retrainer"  # of operations, to whom the owner gives its role
        adding = RemoteSession(url, tokens["operations" if service else "owner"], PROJECT)
        adding.call("principal.add", {"name": name, "service": service})
        with RemoteSession(url, tokens["owner"], PROJECT) as owner:
            owner.call("access.grant", {"subject": name, "role": role, "scope": scope})
            tokens[name] = owner.call("token.issue", {"principal": name})["text"]
        adding.close()
    return tokens


class Person:
    """One person with a token of their own.

    Attributes:
        told: what was acknowledged.
    """

    def __init__(self, server: Server, token: str, told: list[Acknowledged]) -> None:
        self.server, self.told, self._token = server, told, token
        self.session = RemoteSession(f"http://127.0.0.1:{server.port}", token, PROJECT)

    def do(self, operation: str, /, **args: Any) -> Any:
        """A command or a job, under one idempotency key however often it must be sent."""
        return self._repeat(operation, args, new_id())

    def ask(self, operation: str, /, **args: Any) -> Any:
        """A query."""
        return self.patient(lambda session: session.call(operation, args))

    def patient(self, call: Callable[[RemoteSession], Any]) -> Any:
        """What may be done any number of times, until it is answered."""
        while True:
            try:
                return call(self.session)
            except (Unavailable, Cut):
                self._wait()

    def add(self, dataset: str, path: Path, **more: Any) -> Any:
        """`data.add`. What was sent and not named yet goes with the server: then it is sent again, and not before."""
        while True:
            staged = self.patient(lambda session: session.stage(path))
            files = [{"name": staged["name"], "staged": staged["staged"]}]
            try:
                return self.do("data.add", dataset=dataset, files=files, **more)
            except NotFound as error:
                if "staged file" not in str(error):
                    raise

    def run(self, folder: Path, *words: str, begun: Callable[[subprocess.Popen[bytes]], None] = lambda _: None) -> int:
        """A command line, until it ends well. Returns: how often it was begun."""
        environment = {"FALAJ_URL": self.session.url, "FALAJ_TOKEN": self._token}
        for times in itertools.count(1):
            with (folder / "command.log").open("ab") as out:
                process = subprocess.Popen(
                    [sys.executable, "-m", "falaj.cli.main", "-C", str(folder), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**without_falaj(), **environment},
                )
            begun(process)
            if process.wait() == 0:
                return times
            assert times < 60, (folder / "command.log").read_text()[-3000:]
            self.server.wait_ready()
        raise AssertionError

    def close(self) -> None:
        self.session.close()

    def _repeat(self, operation: str, args: dict[str, Any], key: str) -> Any:
        while True:
            try:
                answer = self.session.call(operation, args, idempotency_key=key)
            except Unavailable:
                self._wait()
            except Conflict as error:
                if not (run := error.facts.get("run")):
                    raise
                found = self.ask("run.show", run=run)
                if found["state"] == "done":  # committed, and cut off before the answer could be kept
                    return found["result"]
                time.sleep(LOOK_S)
            except NotFound as error:  # the job went with the process that did it
                if "falaj run show" not in error.next_step:
                    raise
            else:
                if isinstance(answer, dict) and isinstance(answer.get("entry"), int):
                    self.told.append(Acknowledged(operation, answer["entry"]))
                return answer

    def _wait(self) -> None:
        time.sleep(LOOK_S)
        self.server.wait_ready()


class Persons:
    """Everybody.

    Attributes:
        told: what was acknowledged to any of them.
    """

    def __init__(self, server: Server, tokens: dict[str, str]) -> None:
        self.told: list[Acknowledged] = []
        self._all = {name: Person(server, token, self.told) for name, token in tokens.items()}

    def __getitem__(self, name: str) -> Person:
        return self._all[name]

    def close(self) -> None:
        for one in self._all.values():
            one.close()


def waited(look: Callable[[], Any], what: str, within_s: float = 300.0) -> Any:
    """Look until there is something. Raises: AssertionError after a while."""
    pause, give_up = threading.Event(), time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < give_up, what
        pause.wait(LOOK_S)
    return found


__all__ = ["PROJECT", "Acknowledged", "Person", "Persons", "let_in", "waited"]
