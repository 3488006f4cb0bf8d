"""The short year: a model goes out, months come in, each is asked about, retrains the model and brings it out; back.

The same persons do the same things whether somebody kills or not, and wait for the same things to happen by
themselves: where a command broke off they send it again, and a server that ended is started again by its supervisor.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from falaj.session import fetch
from tests.faults.year import project
from tests.faults.year.asking import Asker
from tests.faults.year.killer import Killer
from tests.faults.year.persons import Persons, let_in, waited
from tests.faults.year.servers import Server, inference_server, platform_server

REF = "delay@production"
FEEDS = ("weather", "departures", "schedule")
DUE = ("running", "due", "met")


def make_base(folder: Path) -> dict[str, str]:
    """January, before the story begins: a store with everybody in it. Returns: tokens by name."""
    from falaj.cli.main import main as falaj

    project.write(folder)
    assert falaj(["-C", str(folder), "init", "-q"]) == 0
    server = platform_server(folder).start()
    try:
        (one_time,) = [word for word in server.log.read_text().split() if word.startswith("falaj_")]
        tokens = let_in(server, one_time)
        persons = Persons(server, tokens)
        _january(folder, persons)
        persons.close()
    finally:
        server.stop()
    return tokens


def _january(folder: Path, persons: Persons) -> None:
    operations, risk = persons["operations"], persons["risk"]
    operations.run(folder, "apply")
    operations.add("planes", folder / "data" / "planes.parquet")
    for name in ("weather", "departures", "flights"):
        operations.add(name, project.file(folder, name, project.FIRST))
    flown = operations.add("schedule", project.file(folder, "schedule", project.FIRST), ref="flown", mode="replace")
    evidence = _joined(persons, flown["version"], "delay_evidence")
    told = operations.do("ref.promote", thing="delay_evidence@holdout", version=evidence, reason="January")
    if told["proposal"]:
        risk.do("ref.approve", proposal=told["proposal"], reason="no training has read it")
    (folder / "triggers.yaml").write_text(project.TRIGGER, "utf-8")
    operations.run(folder, "apply", "triggers.yaml")


def _joined(persons: Persons, schedule: int, into: str) -> int:
    told = persons["operations"].do(
        "features.join", service="delay_v1", rows=f"schedule:{schedule}", at="decided_at", into=into
    )
    return int(told["version"])


class Story:
    """One play on a copy of the base.

    Args:
        months: how many of February, March and April are played.
    """

    def __init__(self, folder: Path, base: Path, tokens: dict[str, str], months: int) -> None:
        self.folder = Path(shutil.copytree(base, folder))
        self.months = project.MONTHS[:months]
        self.server = platform_server(folder)
        self.persons = Persons(self.server, tokens)
        self.inference: Server | None = None
        self.asker: Asker | None = None

    def play(self, killer: Killer) -> None:
        """All of it, and everything stopped at the end."""
        self.killer = killer
        try:
            self.server.start()
            self._begin()
            for month in self.months:
                self._month(month)
            with killer.during("rollback"):
                self.persons["operations"].do("ref.rollback", thing=REF, reason="winter is over")
                self._served()
            self._watch()
        finally:
            self._end()

    def _end(self) -> None:
        if self.asker is not None:
            self.asker.close()
        if self.inference is not None:
            self.inference.stop()
        self.persons.close()
        self.server.stop()

    # the first model

    def _begin(self) -> None:
        science = self.persons["science"]
        with self.killer.during("first pipeline"):
            science.run(self.folder, "pipeline", "run", "delay", begun=self._command)
        with self.killer.during("first gate"):
            waiting = science.do("ref.propose", thing=REF, version=1, reason="trained on January")
            self.persons["risk"].do("ref.approve", proposal=_id(waiting), reason="looked at")
        status = self.persons["operations"].ask("deploy.status", deployment="delay")
        self.inference = inference_server(self.folder, self.folder / status["folder"], status["key"]).start()
        self.asker = Asker(self.inference)
        asker = self.asker
        self.killer.inference, self.killer.answered = self.inference, lambda: len(asker.answers)

    def _command(self, process: subprocess.Popen[bytes]) -> None:
        self.killer.command = lambda: process.pid if process.poll() is None else None

    # a month

    def _month(self, month: int) -> None:
        operations = self.persons["operations"]
        with self.killer.during("feeds"):
            versions = {
                name: operations.add(name, project.file(self.folder, name, month), **_how(name))["version"]
                for name in FEEDS
            }
            questions = _joined(self.persons, versions["schedule"], "delay_questions")
        self._ask(questions, month)
        with self.killer.during("retraining"):
            operations.add("flights", project.file(self.folder, "flights", month))
            waiting = waited(lambda: self._proposed(month), f"nothing was proposed after month {month}")
        with self.killer.during("rollout"):
            self.persons["risk"].do("ref.approve", proposal=waiting, reason="looked at")
            self._asker.hurry(lambda: waited(self._rolled_out, f"month {month} was not rolled out"))
            self._served()
        self._watch()

    @property
    def _asker(self) -> Asker:
        assert self.asker is not None
        return self.asker

    def _ask(self, questions: int, month: int) -> None:
        """Passengers ask about the month; what they need to know of it comes from the platform."""
        into = self.folder / f"questions-{month}"
        self.persons["operations"].patient(
            lambda session: fetch(session, f"dataset/delay_questions:{questions}", _emptied(into))
        )
        rows = [row for path in sorted(into.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
        asker = self._asker
        with self.killer.during("questions"):
            asker.about(rows)
            wanted = len(asker.answers) + 100
            asker.hurry(lambda: waited(lambda: len(asker.answers) >= wanted, "questions stay unanswered"))

    def _proposed(self, month: int) -> str:
        """The proposal of what the trigger has had trained, "" while it is at work."""
        (trigger,) = self.persons["risk"].ask("trigger.list", trigger="retrain-delay", limit=5)
        history = trigger["history"]
        if len(history) < 1 + self.months.index(month) or any(one["state"] in DUE for one in history):
            return ""
        assert history[0]["became"] == "proposed", history[0]
        (waiting,) = self.persons["risk"].ask("proposal.list", state="open")
        return _id(waiting)

    def _rolled_out(self) -> bool:
        status = self.persons["operations"].ask("deploy.status", deployment="delay")
        ended = status["rollout"] is None and status["last"] is not None
        assert not ended or status["last"]["state"] == "done", status["last"]
        return ended

    def _served(self) -> None:
        """The inference server has what the routing says."""

        def is_served() -> bool:
            status = self.persons["operations"].ask("deploy.status", deployment="delay")
            return bool(status["served"] == status["revision"])

        waited(is_served, "the bundle in force is not served")

    def _watch(self) -> None:
        operations = self.persons["operations"]
        with self.killer.during("watching"):
            for what in ("collect", "labels", "report"):
                operations.do(f"monitor.{what}", deployment="delay")


def _how(name: str) -> dict[str, str]:
    """Questions are of their month alone; the other feeds go on."""
    return {"ref": "asked", "mode": "replace"} if name == "schedule" else {}


def _id(proposal: dict[str, Any]) -> str:
    return str(proposal["id"])


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
