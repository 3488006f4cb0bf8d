"""The loop: what a store does by itself, in the process of a server and under `falaj watch`.

Each round is short: it writes bundles that are not as their routing says, lets each rollout take its next step, notes
the causes of each trigger, and hands what takes longer (the report of a deployment, the start of a trigger) to a thread
of its own when it is due, so that rounds go on meanwhile. Whatever fails is told, counted and tried again, in the next
round or after a pause: the loop outlives a database that is away. Stopping ends what runs within a fraction of a
second; the rows say how far it came, and the next process goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, Protocol

from falaj.core.encoding import parse_moment
from falaj.core.errors import FalajError, Refused, Unavailable
from falaj.core.records import Project
from falaj.deploy.bundles import BUNDLES, Bundles, Place
from falaj.deploy.following import asset_of
from falaj.deploy.views import Turn
from falaj.monitor import rules, watching
from falaj.monitor.views import Collected, Reported
from falaj.platform import waiting
from falaj.platform.platform import Platform
from falaj.platform.waiting import Waiting
from falaj.store.errors import RefConflict
from falaj.store.rollouts import underway
from falaj.store.rows import PROJECT
from falaj.triggers.views import Started, TriggerView

EVERY_S: Final = 1.0
SOON_S: Final = 0.25
SLOWER: Final = 20
"""A step of a rollout that began s seconds ago is looked at again after s / SLOWER, but not sooner than SOON_S."""
STARTS: Final = 2
REPORTS: Final = 1
TELL_AGAIN_S: Final = 60.0
LOOK_S: Final = 60.0
RUNS_S: Final = 10.0
MOST_LAG: Final = 500
"""Entries without a cause that a trigger may be behind before its row says that they were read."""

Sort = Literal["start", "report"]


class LoopStopped(Unavailable):
    """A start or a report was interrupted because the process is about to end. The next one goes on with it."""

    code = "loop_stopped"


class Say(Protocol):
    """Where the loop tells what it did: `server.logs.Log.say`, or the terminal."""

    def __call__(self, event: str, level: str = "info", **facts: Any) -> None:
        """One event with its facts."""
        ...


def wall_clock() -> datetime:
    """Now."""
    return datetime.now(UTC)


class Loops:
    """The loop of one platform.

    Args:
        every_s: seconds between two rounds; fewer while a step of a rollout is young.
        starts: starts of triggers that may be at work at once; those of one trigger follow one another.
        clock: by which reports become due.

    `rounds`, `failures`, `ended` (starts by state) and `pause_s` (until the next round) tell how it goes.
    """

    def __init__(
        self,
        platform: Platform,
        say: Say,
        *,
        every_s: float = EVERY_S,
        starts: int = STARTS,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._platform, self._say, self._every_s, self._clock = platform, say, every_s, clock
        self._most: dict[Sort, int] = {"start": starts, "report": REPORTS}
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._working: dict[tuple[Sort, str], threading.Thread] = {}
        self._resting: dict[str, tuple[int, datetime]] = {}
        self._launched = 0
        self._told: dict[str, tuple[str, float]] = {}
        self._looked: dict[str, float] = {}
        self.pause_s = every_s
        self._thread = threading.Thread(target=self._run, name="falaj-loop", daemon=True)
        self._finished = time.monotonic()
        self.rounds = self.failures = 0
        self.ended: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """Starts and reports at work."""
        with self._lock:
            return len(self._working)

    @property
    def age_s(self) -> float:
        """Seconds since a round came to its end; rises where the loop is stuck."""
        return time.monotonic() - self._finished

    def start(self) -> None:
        """Begin; rounds follow one another until `stop`."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Begin nothing new, and interrupt what is at work."""
        self._stopping.set()
        self._wake.set()

    def stop(self, limit_s: float = 20.0) -> None:
        """Stop, and wait for what is at work to write down how far it came."""
        self.begin_stop()
        deadline = time.monotonic() + limit_s
        with self._lock:
            threads = [*self._working.values()]
        for thread in [self._thread, *threads]:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def until_idle(self) -> list[Waiting]:
        """Rounds, one after the other, until nothing is left to do now: for a process that ends after it.

        Returns: what is left for later, because it failed and is tried again after a pause, or is another process's.
        """
        while not self._stopping.is_set():
            before = self._launched
            noted = self.round()
            with self._lock:
                threads = [*self._working.values()]
            for thread in threads:
                thread.join()
            if not noted and self._launched == before:
                break
        return list(waiting.left(self._platform.ground, self._clock(), self._resting))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.round()
            self._wake.wait(self.pause_s)
            self._wake.clear()

    def round(self) -> int:
        """One look at everything; returns how many causes it noted."""
        noted, self.pause_s = 0, self._every_s
        with self._guarded("ledger"):
            self._platform.number_and_sign()
        with self._guarded("runs"):
            self._runs()
        with self._guarded("deployments"):
            self._deployments()
        with self._guarded("projects"):
            for project in self._projects():
                noted += self._triggers(project)
        self.rounds += 1
        self._finished = time.monotonic()
        return noted

    def _projects(self) -> list[Project]:
        with self._platform.ground.database.read() as tx:
            return list(PROJECT.scan(tx))

    # runs

    def _runs(self) -> None:
        """End runs that nobody works on any more: their process is gone, or the time of their loan over."""
        now = time.monotonic()
        if now - self._looked.get("runs", -RUNS_S) < RUNS_S:
            return
        self._looked["runs"] = now
        if lost := self._platform.lose_dead_runs():
            self._say("runs_lost", "warning", runs=lost)

    # deployments

    def _deployments(self) -> None:
        """Have each deployment's bundle say what its routing says, its rollout go on, its report made when due."""
        bundles: Bundles = self._platform.ground.port(BUNDLES)
        places = bundles.places()
        for place in places:
            with self._guarded(f"bundle {place.name}"):
                bundles.reconcile(place.asset, wait_s=0)
            with self._guarded(f"rollout {place.name}"):
                self._rollout(place)
        self._reports(places)

    def _rollout(self, place: Place) -> None:
        with self._platform.ground.database.read() as tx:
            rollout = underway(tx, place.asset)
        now = time.monotonic()
        if rollout is None and now - self._looked.get(place.asset, -LOOK_S) < LOOK_S:
            return  # nothing goes out; what the log need not keep any more goes once a minute
        self._looked[place.asset] = now
        if rollout is not None:
            bundles: Bundles = self._platform.ground.port(BUNDLES)
            bundles.warm(place.asset)
            age = self._clock() - parse_moment(rollout.step_at)
            self.pause_s = min(self.pause_s, max(SOON_S, age.total_seconds() / SLOWER))
        told: Turn = self._call(place.project, "deploy.tick", {"deployment": place.name})
        if told.action in {"advance", "finish", "fail", "abort"}:
            facts: dict[str, Any] = {"candidate": told.candidate, "share": told.share, "entry": told.entry}
            self._say("rollout_went_on", deployment=place.name, action=told.action, **facts)

    # reports

    def _reports(self, places: list[Place]) -> None:
        """Begin the report that is overdue for longest."""
        due: list[tuple[datetime, Place]] = []
        for place in places:
            with self._guarded(f"monitor {place.name}"):
                if (plan := self._due(place)) is not None:
                    due.append((plan.due_at, place))
        if due:
            _, first = min(due, key=lambda one: one[0])
            self._launch("report", first.asset, first.name, partial(self._report, first))

    def _due(self, place: Place) -> watching.Plan | None:
        """The report that a deployment is owed; None where that is not due, or failed a moment ago."""
        now = self._clock()
        if self._rests(place.asset):
            return None
        with self._platform.ground.database.read() as tx:
            plan = watching.plan(tx, self._platform.ground.catalog, asset_of(tx, place.asset))
        return plan if plan is not None and plan.due_at <= now else None

    def _report(self, place: Place) -> None:
        """Make the report that is due. What fails is left alone for a while, longer each time."""
        failures, _ = self._resting.get(place.asset, (0, None))
        made = False
        with self._guarded(f"monitor {place.name}"):
            made = self._reported(place, told=failures > 0)
        self._rest(place.asset, failed=not made)

    def _reported(self, place: Place, *, told: bool) -> bool:
        """Collect, join, report; whether nothing is left to do.

        Another process may do the same at this moment: whoever comes second is refused, and has nothing to tell.

        Args:
            told: raise that refusal all the same, because it is not the first one.
        """
        plan = self._due(place)
        if plan is None:
            return True
        try:
            collected: Collected = self._monitor(place, "collect")
            if plan.labels:
                self._join(place)
            made: Reported = self._monitor(place, "report", expect=plan.newest)
        except RefConflict:
            if told:
                raise
            return False
        predictions = collected.rows - collected.shadows
        facts: dict[str, Any] = {"predictions": predictions, "damaged": len(collected.damaged) or None}
        facts |= {"report": made.number, "verdict": made.verdict, "entry": made.entry}
        self._say("report_made", deployment=place.name, **facts)
        return True

    def _join(self, place: Place) -> None:
        """Join outcomes. Where that is refused the inputs are judged all the same; outcomes are when they come."""
        try:
            self._monitor(place, "labels")
        except (RefConflict, Unavailable):
            raise
        except FalajError as error:
            self._failed(f"outcomes {place.name}", error.code, error.message)

    def _monitor(self, place: Place, operation: str, **args: Any) -> Any:
        self._progress("", 0, 0)
        return self._call(place.project, f"monitor.{operation}", {"deployment": place.name, **args}, self._progress)

    # triggers

    def _triggers(self, project: Project) -> int:
        """Note what has causes, begin what is due."""
        noted = 0
        found: tuple[TriggerView, ...] = ()
        with self._guarded("triggers"):
            found = self._call(project.name, "trigger.list", {"limit": 1})
        for one in found:
            with self._guarded("triggers"):
                noted += self._trigger(project, one)
        return noted

    def _trigger(self, project: Project, one: TriggerView) -> int:
        noted, is_due = 0, one.due
        if one.causes or one.lag > MOST_LAG:
            told = self._call(project.name, "trigger.tick", {"trigger": one.trigger})
            noted = len(told.noted)
            for start in told.noted:
                self._say("cause_noted", trigger=one.trigger, start=start.number, entry=start.cause_entry)
            is_due = is_due or bool(noted)
        key = f"{project.id}/{one.trigger}"
        if is_due and not self._rests(key):
            self._launch("start", key, one.trigger, partial(self._carry_out, project, one.trigger, key))
        return noted

    def _carry_out(self, project: Project, trigger: str, key: str) -> None:
        """Begin the start that is due. One that fails before its row says so is left alone for a while."""
        begun: waiting.Begun | None = None
        is_same = True
        with self._guarded("starts"):
            begun = waiting.begun(self._platform.ground, project, trigger)
        with self._guarded("starts", trigger):
            told: Started = self._call(project.name, "trigger.start", {"trigger": trigger}, self._progress)
            if told.outcome is not None:
                one = told.outcome
                self._ended(trigger, one.state, start=one.number, became=one.became or None, entry=told.entry)
            is_same = False
        if is_same:
            with self._guarded("starts"):
                is_same = waiting.begun(self._platform.ground, project, trigger) == begun
        self._rest(key, failed=is_same)

    # what failed rests

    def _rests(self, key: str) -> bool:
        return key in self._resting and self._clock() < self._resting[key][1]

    def _rest(self, key: str, *, failed: bool) -> None:
        """Leave what failed alone, longer each time; nothing that succeeded rests."""
        failures, _ = self._resting.get(key, (0, None))
        if failed:
            self._resting[key] = failures + 1, self._clock() + rules.pause(failures + 1)
        else:
            self._resting.pop(key, None)

    # threads

    def _launch(self, sort: Sort, key: str, name: str, work: Callable[[], None]) -> None:
        """Do it in a thread of its own, unless it is at work already, or as many of its sort are as may be."""
        at = (sort, key)
        with self._lock:
            busy = sum(one == sort for one, _ in self._working)
            if at in self._working or busy >= self._most[sort] or self._stopping.is_set():
                return
            thread = threading.Thread(target=self._work, args=(at, work), name=f"falaj-{sort}-{name}"[:60], daemon=True)
            self._working[at] = thread
            self._launched += 1
        try:
            thread.start()
        except BaseException:  # no more threads for now: another round may find one
            with self._lock:
                del self._working[at]
            raise

    def _work(self, at: tuple[Sort, str], work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                del self._working[at]
            self._wake.set()

    def _progress(self, _what: str, _done: int, _total: int) -> None:
        if self._stopping.is_set():
            raise LoopStopped("the process is about to end", next_step="the next one goes on with it")

    def _ended(self, trigger: str, state: str, **facts: Any) -> None:
        self.ended[state] += 1
        self._say("start_ended", trigger=trigger, state=state, **facts)

    # the edge

    def _call(
        self,
        project: str,
        operation: str,
        args: dict[str, Any],
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Any:
        platform = self._platform
        return platform.door.call(operation, args, caller=platform.own_caller, project=project, progress=progress)

    @contextmanager
    def _guarded(self, part: str, trigger: str = "") -> Iterator[None]:
        """What fails here is told and counted, and nothing else fails for it.

        A start whose candidate was refused, or whose pipeline failed, is no failure of the loop: it has ended.
        """
        try:
            yield
        except FalajError as error:
            if trigger and not isinstance(error, Unavailable):
                self._ended(trigger, "refused" if isinstance(error, Refused) else "failed", code=error.code)
            elif not isinstance(error, LoopStopped):
                self._failed(part, error.code, error.message)
        except Exception as error:  # noqa: BLE001  the edge of a thread that must go on
            self._failed(part, type(error).__name__, str(error)[:500])

    def _failed(self, part: str, code: str, message: str) -> None:
        """Told when it is new, and again every minute: rounds are many."""
        self.failures += 1
        now = time.monotonic()
        last, at = self._told.get(part, ("", -TELL_AGAIN_S))
        if last != code or now - at >= TELL_AGAIN_S:
            self._told[part] = (code, now)
            self._say("loop_failed", "warning", part=part, code=code, message=message)
