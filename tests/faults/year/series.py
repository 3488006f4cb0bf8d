"""Stories one after the other until so many were killed, each by a seed of its own; told as they go, and as a table."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.year import proof
from tests.faults.year.killer import VICTIMS, Kill, Killer
from tests.faults.year.sight import Sight
from tests.faults.year.story import Story, make_base

MOST_STORIES = 12


class Telling(Killer):
    """Says what happens as it happens."""

    @contextmanager
    def during(self, act: str) -> Iterator[None]:
        begin, before = time.monotonic(), len(self.kills)
        with super().during(act):
            yield
        told = ", ".join(f"{kill.victim} ({kill.place})" for kill in self.kills[before:])
        print(f"  {act:<15}{time.monotonic() - begin:6.1f} s  {told}", flush=True)


@dataclass
class Series:
    """Plays on copies of one base.

    Args:
        place: a folder for all of them.
        months: of each story.

    Attributes:
        kills: of all stories.
        seconds: of each play, the undisturbed one first.
    """

    place: Path
    months: int
    kills: list[Kill] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    answers: int = 0
    entries: int = 0

    def __post_init__(self) -> None:
        self._base = self.place / "base"
        self._tokens = make_base(self._base)
        self._numbers = iter(range(MOST_STORIES + 1))

    def play(self, seed: str, budget: int, share: float = 1.0) -> dict[str, Any]:
        """One story, and all that must hold after it. Returns: what it came to."""
        begin = time.monotonic()
        folder = self.place / f"story-{next(self._numbers)}"
        story = Story(folder, self._base, self._tokens, self.months)
        killer = Telling(random.Random(seed), Sight(folder, story.server), budget, share)
        story.play(killer)
        killer.sight.close()
        proof.check(story, killer)
        self.kills += killer.kills
        self.seconds.append(time.monotonic() - begin)
        self.answers += len(story.asker.answers) if story.asker else 0
        self.entries += len(story.persons.told)
        return proof.outcome(folder)

    def run(self, seed: int, kills: int) -> Iterator[None]:
        """Undisturbed once, then killed again and again. Yields: after each story.

        Raises: AssertionError where anything is not as it was.
        """
        print("undisturbed", flush=True)
        expected = self.play("", 0)
        while len(self.kills) < kills:
            number = len(self.seconds)
            assert number <= MOST_STORIES, f"{len(self.kills)} kills in {number - 1} stories"
            print(f"story {number}, seed {seed}:{number}", flush=True)
            found = self.play(f"{seed}:{number}", kills - len(self.kills))
            assert found == expected, f"{found}\nundisturbed: {expected}"
            print(f"  as undisturbed; {len(self.kills)} of {kills} kills, {self.seconds[-1]:.0f} s", flush=True)
            yield

    def table(self) -> str:
        """Kills by victim and place, as Markdown."""
        counted = Counter((kill.victim, kill.place) for kill in self.kills)
        lines = ["| victim | kills | where |", "|---|---:|---|"]
        for victim in VICTIMS:
            where = sorted((place, n) for (one, place), n in counted.items() if one == victim)
            total = sum(n for _, n in where)
            lines.append(f"| {victim} | {total} | {', '.join(f'{place}: {n}' for place, n in where)} |")
        return "\n".join([*lines, f"| all | {len(self.kills)} | |"])


def write(series: Series, seed: int, into: Path) -> Path:
    """The table, and the same for programs."""
    into.mkdir(parents=True, exist_ok=True)
    facts = {
        "seed": seed,
        "kills": [kill._asdict() for kill in series.kills],
        "seconds": series.seconds,
        "predictions": series.answers,
        "entries": series.entries,
    }
    (into / "year.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    took = ", ".join(f"{seconds:.0f}" for seconds in series.seconds)
    text = (
        f"# Kills through the short year\n\nSeed {seed}; {len(series.seconds) - 1} stories of {series.months} months "
        f"after an undisturbed one, {took} s each. Acknowledged and found again: {series.answers:,} predictions, "
        f"{series.entries:,} entries.\n\n{series.table()}\n"
    )
    target = into / "year.md"
    target.write_text(text, encoding="utf-8")
    return target
