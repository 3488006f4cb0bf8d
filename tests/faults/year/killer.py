"""Who kills, when and where: drawn from the seed, placed by what is seen.

Each act of the story has sorts of victims. For each act the killer draws some, and for each of them a place: the n-th
entry that the act commits, an attempt that is seen to run, a share that a rollout has come to, a routing table that is
committed and not yet written as a bundle, the n-th answer that clients have. Of servers that were killed, some are
killed once more while they start. A place that does not come before the act is over is left out.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from tests.faults.year.servers import Server, kill
from tests.faults.year.sight import Process, Sight, descendants

Victim = Literal[
    "step", "fork parent", "runner", "command", "rollout controller", "inference server", "platform server"
]
VICTIMS: Final[tuple[Victim, ...]] = (
    "step",
    "fork parent",
    "runner",
    "command",
    "rollout controller",
    "inference server",
    "platform server",
)
POLL_S: Final = 0.001
LATEST_S: Final = 0.08
"""The longest pause between what is seen and the kill."""
STARTING_S: Final = 1.0
AGAIN: Final = 0.2
"""The share of killed servers that are killed again while they start."""
GONE_S: Final = 30.0


class Sort(NamedTuple):
    """A sort of kill in an act: at least `least` and at most `most` of them are tried."""

    victim: Victim
    place: str
    least: int
    most: int


FEEDS = (Sort("platform server", "entry", 1, 2),)
PIPELINE = (
    Sort("step", "running", 5, 8),
    Sort("fork parent", "running", 1, 2),
    Sort("runner", "step running", 1, 1),
)
ACTS: Final[dict[str, tuple[Sort, ...]]] = {
    "feeds": FEEDS,
    "first pipeline": (*PIPELINE, Sort("command", "step running", 1, 1)),
    "first gate": (Sort("platform server", "entry", 1, 1),),
    "questions": (Sort("inference server", "answer", 1, 2),),
    "retraining": (*PIPELINE, Sort("platform server", "entry", 1, 1), Sort("inference server", "answer", 2, 3)),
    "rollout": (
        Sort("rollout controller", "commit", 1, 2),
        Sort("rollout controller", "at 5 %", 1, 1),
        Sort("rollout controller", "at 25 %", 1, 1),
        Sort("rollout controller", "at 100 %", 1, 1),
        Sort("rollout controller", "ended", 0, 1),
        Sort("inference server", "answer", 2, 3),
    ),
    "watching": (Sort("platform server", "entry", 1, 1), Sort("inference server", "answer", 0, 1)),
    "rollback": (Sort("rollout controller", "commit", 1, 1), Sort("inference server", "answer", 0, 1)),
}
SHARES: Final = {"at 5 %": 500, "at 25 %": 2_500, "at 100 %": 10_000}
ENTRIES: Final = {"feeds": 12, "first gate": 6, "retraining": 30, "watching": 8}
"""About as many as an undisturbed act commits."""


class Kill(NamedTuple):
    """One kill: the act, who, and where it was found to have struck."""

    act: str
    victim: Victim
    place: str


@dataclass
class Killer:
    """Walks through one story.

    Args:
        budget: kills at most; 0 for an undisturbed play.
        share: of the kills that are drawn, how many are tried.

    Attributes:
        kills: those that struck.
        below: processes that were begun, directly or not, by those that were killed.
        seen: the id of each entry that was there at some kill, by its number.
    """

    rng: random.Random
    sight: Sight
    budget: int
    share: float = 1.0
    answered: Callable[[], int] = lambda: 0
    inference: Server | None = None
    kills: list[Kill] = field(default_factory=list)
    below: list[Process] = field(default_factory=list)
    seen: dict[int, str] = field(default_factory=dict)
    command: Callable[[], int | None] = lambda: None
    _before: str = ""

    def orphans(self) -> list[Process]:
        """Those that outlived whoever began them. One that was importing libraries is given the time to see it."""
        give_up = time.monotonic() + GONE_S
        while (left := [one for one in self.below if one.is_running]) and time.monotonic() < give_up:
            time.sleep(POLL_S)
        return left

    @contextmanager
    def during(self, act: str) -> Iterator[None]:
        """Play an act with the killer at large."""
        over = threading.Event()
        orders = self._orders(act)
        self._before = rollout.id if (rollout := self.sight.rollout()) else ""
        failed: list[BaseException] = []

        def roam() -> None:
            try:
                for sort in orders:
                    self._carry_out(act, sort, over)
            except BaseException as error:  # noqa: BLE001  told where the act ends
                failed.append(error)
            finally:
                self.sight.close()

        thread = threading.Thread(target=roam, name=f"killer in {act}")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failed:
            raise failed[0]

    def _orders(self, act: str) -> list[Sort]:
        """What is tried: shares in the order in which they come, all else mixed in by chance."""
        drawn = [sort for sort in ACTS[act] for _ in range(self.rng.randint(sort.least, sort.most))]
        drawn = [sort for sort in drawn if self.rng.random() < self.share]
        rising = [sort for sort in drawn if sort.place in SHARES or sort.place == "ended"]
        others = [sort for sort in drawn if sort not in rising]
        self.rng.shuffle(others)
        mixed = [True] * len(rising) + [False] * len(others)
        self.rng.shuffle(mixed)
        return [(rising if one else others).pop(0) for one in mixed]

    def _carry_out(self, act: str, sort: Sort, over: threading.Event) -> None:
        if len(self.kills) >= self.budget:
            return
        server = self._server(sort.victim)
        while server and not server.is_ready():  # those that start have kills of their own, below
            if over.wait(POLL_S):
                return
        seen = self._place(act, sort)
        while not (pid := seen()):
            if over.wait(POLL_S):
                return
        if sort.place != "commit":
            over.wait(self.rng.uniform(0, LATEST_S))
        if self._strike(act, sort, pid) and server and self.rng.random() < AGAIN and len(self.kills) < self.budget:
            server.wait_begun_after(pid)
            time.sleep(self.rng.uniform(0, STARTING_S))
            self._strike(act, sort._replace(place="starting"), server.pid)

    def _server(self, victim: Victim) -> Server | None:
        if victim == "inference server":
            return self.inference
        return self.sight.server if victim in {"runner", "rollout controller", "platform server"} else None

    def _strike(self, act: str, sort: Sort, pid: int) -> bool:
        below = [*descendants(pid)]
        self.seen |= self.sight.entries()
        if not kill(pid):
            return False
        place = self._found(sort)
        self.kills.append(Kill(act, sort.victim, place))
        self.below += below
        return True

    def _found(self, sort: Sort) -> str:
        """Where a kill struck, as the rows tell it afterwards."""
        if sort.victim != "rollout controller" or sort.place == "starting":
            return sort.place
        if self.sight.revision() != self.sight.written():
            return "between commit and bundle"
        rollout = self.sight.rollout()
        if rollout is None or rollout.state != "running":
            return "after its end"
        return f"at {rollout.share / 100:g} %"

    def _place(self, act: str, sort: Sort) -> Callable[[], int | None]:
        """A look for the place; it gives the victim once it is there."""
        sight, server = self.sight, self.sight.server
        match sort.place:
            case "running":
                return lambda: _last(sight.attempts() if sort.victim == "step" else sight.parents())
            case "step running":
                is_command = sort.victim == "command"
                return lambda: (self.command() if is_command else server.pid) if sight.attempts() else None
            case "entry":
                wanted = sight.commits() + self.rng.randint(1, ENTRIES[act])
                return lambda: server.pid if sight.commits() >= wanted else None
            case "commit":
                revision = sight.revision()
                return lambda: server.pid if sight.revision() > revision else None
            case "answer":
                answers = self.answered() + self.rng.randint(1, 60)
                return lambda: self._serving() if self.answered() >= answers else None
            case "ended":
                before = self._before
                return lambda: (
                    server.pid if (now := sight.rollout()) and now.id != before and now.state != "running" else None
                )
        share = SHARES[sort.place]
        return lambda: server.pid if (now := sight.rollout()) and (now.state, now.share) == ("running", share) else None

    def _serving(self) -> int | None:
        return self.inference.pid if self.inference else None


def _last(found: Sequence[int]) -> int | None:
    return found[-1] if found else None
