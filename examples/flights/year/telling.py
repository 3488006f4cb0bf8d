"""What the play tells: printed as it happens, and kept for `year.json`. Every figure comes from an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from examples.flights.report import story as s

WIDTH = 110
WORDS = 92
MARKS = {"done": "", "refused": "refused  ", "alarm": "alarm  ", "rolled_back": "rolled back  ", "failed": "killed  "}


def now() -> str:
    """The clock of the machine, as Falaj writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Teller:
    """Prints, and remembers."""

    def __init__(self) -> None:
        self.month = "2013-01"
        self.begun = time.monotonic()
        self.at = now()
        self.events: list[s.Event] = []
        self.versions: list[s.Version] = []
        self.moves: list[s.Move] = []
        self.verdicts: list[s.Verdict] = []
        self.drift: list[s.Drift] = []
        self.reports: list[s.Report] = []
        self.retrainings: list[s.Retraining] = []
        self.rollouts: list[s.Rollout] = []
        self.rollbacks: list[s.Rollback] = []
        self.refusals: list[s.Refusal] = []
        self.kills: list[s.Kill] = []
        self.stages: list[s.Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A part of the play, with its time."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.stages.append(s.Stage(name=name, seconds=time.monotonic() - begin))

    def chapter(self, title: str) -> None:
        """A heading."""
        elapsed = f"{time.monotonic() - self.begun:,.0f} s"
        print(f"\n{title}  {'─' * max(3, WIDTH - len(title) - len(elapsed) - 4)}  {elapsed}", flush=True)

    def line(self, text: str = "") -> None:
        """A line of plain words."""
        print(f"  {text}" if text else "", flush=True)

    def output(self, text: str, most: int = 40) -> None:
        """What a command printed, indented; of a long one the first and the last lines."""
        lines = text.splitlines()
        if len(lines) > most:
            lines = [*lines[: most - 5], f"    … {len(lines) - most + 1} more lines", *lines[-4:]]
        print("".join(f"    {line}\n" for line in lines), end="", flush=True)

    def event(
        self,
        who: str,
        what: str,
        outcome: s.Outcome = "done",
        *,
        command: str = "",
        seconds: float | None = None,
        entry: int | None = None,
        major: bool = False,
        quiet: bool = False,
    ) -> None:
        """Something that happened, for the table at the end. `quiet`: its command has been printed already."""
        self.events.append(
            s.Event(
                at=now(),
                month=self.month,
                who=who,
                what=what,
                outcome=outcome,
                command=command,
                seconds=seconds,
                entry=entry,
                major=major,
            )
        )
        if not quiet:
            took = f"  {seconds:.1f} s" if seconds is not None and seconds >= 0.05 else ""
            self.line(f"{who:<11}{MARKS[outcome]}{what}{took}")

    def version(self, kind: str, name: str, number: int, *, by: str, rows: int | None = None, note: str = "") -> None:
        """A version that came to be."""
        self.versions.append(
            s.Version(at=now(), month=self.month, kind=kind, name=name, number=number, by=by, rows=rows, note=note)
        )

    def refused(self, who: str, what: str, error: Any, entry: int | None = None) -> None:
        """A refusal, from the error of the operation or its JSON."""
        facts = dict(error.facts or {}) if hasattr(error, "facts") else {}
        failed = [str(one.get("text") or one.get("title") or one) for one in facts.get("failed", ()) if one]
        failed += [f"{one['title']}  {one['text']}" for one in facts.get("findings", ()) if one["state"] == "failed"]
        self.refusals.append(
            s.Refusal(
                at=now(),
                month=self.month,
                who=who,
                what=what,
                why=error.message,
                details=tuple(failed),
                code=error.code,
                entry=entry if entry is not None else facts.get("entry"),
            )
        )

    def table(self) -> str:
        """What happened, a line each."""
        rows = []
        first = datetime.fromisoformat(self.at)
        for one in self.events:
            if not one.major:
                continue
            at = (datetime.fromisoformat(one.at) - first).total_seconds()
            what = f"{MARKS[one.outcome]}{one.what}"
            took = f"{one.seconds:6.1f} s" if one.seconds is not None else ""
            rows.append(f"  {at:6.0f} s  {one.month}  {one.who:<11}{what[:WORDS]:<{WORDS}}{took}")
        return "\n".join(rows)
