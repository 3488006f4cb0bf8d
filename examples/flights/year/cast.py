"""The persons of the play. Each has a token of its own, and speaks to the server by command line or from Python."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

import falaj as fj
from examples.flights.report import story as s
from examples.flights.year.telling import Teller
from falaj.cli.main import run
from falaj.cli.parser import parse
from falaj.cli.render import RENDERERS, error_lines
from falaj.cli.render.shapes import indented
from falaj.client import claim
from falaj.core.errors import FalajError

DONE, REFUSED = 0, 6
PROJECT = "flights"
CAST = (
    s.Person(name="owner", role="lets the others in", may="owner of the store"),
    s.Person(name="science", role="trains and proposes", may="contributor of flights"),
    s.Person(name="risk", role="keeps the evidence, approves", may="maintainer of flights"),
    s.Person(name="operations", role="brings data in, runs what serves", may="owner of the store"),
    s.Person(name="retrainer", role="a service: acts for the trigger", may="maintainer of flights"),
)
_ROLES = {
    "science": ("contributor", f"project:{PROJECT}"),
    "risk": ("maintainer", f"project:{PROJECT}"),
    "operations": ("owner", "store"),
    "retrainer": ("maintainer", f"project:{PROJECT}"),
}


class WrongTurn(SystemExit):
    """What was told to happen did not."""


class Said(NamedTuple):
    """What a command came to: its result in plain values or its error, and what it prints."""

    result: Any
    error: FalajError | None
    output: str

    @property
    def entry(self) -> int | None:
        """The number of its entry in the ledger."""
        found = (self.error.facts or {}) if self.error else self.result
        number = found.get("entry") if isinstance(found, dict) else None
        return int(number) if isinstance(number, int) else None


class Cast:
    """Everybody who acts, on one server.

    Args:
        folder: the project's folder, which the command line works in.
    """

    def __init__(self, teller: Teller, folder: Path, url: str, one_time_token: str) -> None:
        self.teller, self.folder, self.url = teller, folder, url
        self._tokens = {"owner": claim(url, one_time_token, "owner")}
        self._projects: dict[str, fj.Project] = {}
        owner = self["owner"]
        for name, (role, scope) in _ROLES.items():
            service = name == "retrainer"  # of the person who adds it, to whom somebody else gives its role
            (self["operations"] if service else owner).call("principal.add", name=name, service=service)
            owner.call("access.grant", subject=name, role=role, scope=scope)
            self._tokens[name] = owner.call("token.issue", principal=name)["text"]

    def __getitem__(self, name: str) -> fj.Project:
        """The project as this person sees it, from Python."""
        if name not in self._projects:
            self._projects[name] = fj.connect(self.url, token=self._tokens[name], project=PROJECT)
        return self._projects[name]

    def close(self) -> None:
        """End every session."""
        for project in self._projects.values():
            project.close()

    def environment(self, name: str) -> dict[str, str]:
        """What a command of this person runs with."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FALAJ_")}
        return {**kept, "FALAJ_URL": self.url, "FALAJ_TOKEN": self._tokens[name]}

    def words(self, line: str) -> list[str]:
        """A command line as it is run."""
        return ["-C", str(self.folder), *shlex.split(line)]

    def falaj(self, name: str, line: str, told: str = "", *, code: int = DONE, major: bool = False) -> Said:
        """A command as this person types it, with what it prints.

        It is done by the command line's own code in this process: to start Python eighty times would be half the play.

        Args:
            told: what it shows, for the table of what happened.
            code: the exit code that it must end with.
        Raises: WrongTurn where it ends otherwise.
        """
        shown = line.replace(f"{self.folder}/", "")
        print(f"  {name} $ falaj {shown}", flush=True)
        begin = time.monotonic()
        said = self.ask(name, line)
        took = time.monotonic() - begin
        self.teller.output(said.output)
        found = said.error.exit_code if said.error else DONE
        if found != code:
            raise WrongTurn(f"\nthis is not what should happen: exit code {code} was expected, it is {found}")
        self.teller.event(
            name,
            told or f"falaj {shown}",
            "refused" if code == REFUSED else "done",
            command=f"falaj {shown}",
            seconds=took,
            entry=said.entry,
            major=major,
            quiet=True,
        )
        if said.error is not None:
            self.teller.refused(name, f"falaj {shown}", said.error, said.entry)
        return said

    def ask(self, name: str, line: str) -> Said:
        """A command of this person, without a word about it."""
        given = parse([*self.words(line), "-q"])
        before = {key: os.environ.get(key) for key in ("FALAJ_URL", "FALAJ_TOKEN")}
        os.environ.update({key: value for key, value in self.environment(name).items() if key in before})
        try:
            result = run(given)
            lines = indented(RENDERERS[given.command.render](result, given.args))
            return Said(result, None, "\n".join(lines))
        except FalajError as error:
            return Said({}, error, "\n".join(indented(error_lines(error))))
        finally:
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})
