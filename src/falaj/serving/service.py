"""Answering: to which model a request goes, what is written down of it, and what is served at all.

What is served is one reference, replaced whole. A request belongs to what was served when it came, to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from falaj.core.bundle import FULL, Bundle, Role, slot
from falaj.core.encoding import moment, parse_moment
from falaj.core.errors import FalajError, NotFound
from falaj.core.ids import new_id
from falaj.core.predictions import Prediction
from falaj.serving.asked import Asked, Given
from falaj.serving.batching import Batcher, Outcome
from falaj.serving.engines import Engine
from falaj.serving.errors import BadRequest, NotLogged, NotServing, Overloaded
from falaj.serving.inputs import Columns, bind, check_names
from falaj.serving.loading import Loaded
from falaj.serving.settings import Limits
from falaj.serving.stats import Count, Stats

MODEL_THREADS: Final = 2
_encoder = msgspec.json.Encoder()

Reply = asyncio.Future[Given]


class Lane:
    """One version at work in one role, under one bundle.

    Attributes:
        logged: places and names of the inputs that the log may hold.
    """

    __slots__ = ("batcher", "bundle", "count", "engine", "logged", "role", "share", "version")

    def __init__(
        self, bundle: Bundle, role: Role, version: int, share: int, batcher: Batcher[Work], count: Count
    ) -> None:
        self.bundle = bundle
        self.role = role
        self.version = version
        self.share = share
        self.batcher = batcher
        self.engine = batcher.engine
        self.count = count
        dropped = set(bundle.log.drop)
        names = enumerate(one.name for one in self.engine.inputs)
        self.logged = [(place, name) for place, name in names if name not in dropped]

    def takes(self, key: str) -> bool:
        """Whether a key falls into the share of this lane."""
        return self.share >= FULL or slot(self.bundle.deployment, self.version, key) < self.share


class Work:
    """A request at its model. Without `reply` nobody waits for it: a copy for the shadow."""

    __slots__ = ("asked", "columns", "fallback", "id", "lane", "reply", "rows", "started")

    def __init__(
        self, id: str, asked: Asked, lane: Lane, columns: Columns, started: float, reply: Reply | None
    ) -> None:
        self.id = id
        self.asked = asked
        self.lane = lane
        self.columns = columns
        self.rows = asked.table.rows
        self.started = started
        self.reply = reply
        self.fallback: Lane | None = None

    def is_over(self) -> bool:
        """See `batching.Job`."""
        return self.reply is not None and self.reply.done()

    def give_up(self, error: FalajError) -> None:
        """See `batching.Job`."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)


class Serving:
    """What is served under one bundle."""

    def __init__(self, loaded: Loaded, lane: Callable[[Bundle, Role, int, int, Engine], Lane]) -> None:
        self.bundle = bundle = loaded.bundle
        lanes = {
            r.role: lane(bundle, r.role, r.version, r.share, loaded.engines[str(r.version)]) for r in bundle.routes
        }
        self.stable = lanes["stable"]
        self.canary = lanes.get("canary")
        self.shadow = lanes.get("shadow")
        self.answering = {one.version: one for one in (self.stable, self.canary) if one is not None}
        self.known = frozenset(one.name for each in lanes.values() for one in each.engine.inputs)
        self.issued = parse_moment(bundle.issued_at)
        self.lease = parse_moment(bundle.lease_until)

    @property
    def names(self) -> set[str]:
        """By which clients may call the model: its own, and that of the deployment."""
        return {self.bundle.model, self.bundle.deployment}

    def lane_of(self, key: str) -> Lane:
        """The lane that answers a key."""
        canary = self.canary
        return canary if canary is not None and canary.takes(key) else self.stable

    def knowledge(self) -> dict[str, Any]:
        """What this server knows, and how old that is."""
        now = datetime.now(UTC)
        return {
            "deployment": self.bundle.deployment,
            "revision": self.bundle.revision,
            "issued_at": self.bundle.issued_at,
            "lease_until": self.bundle.lease_until,
            "age_s": round((now - self.issued).total_seconds(), 3),
            "lease_over": now > self.lease,
        }


class Service:
    """Everything of one server behind its HTTP face. Lives on the event loop.

    Args:
        write: appends lines to the prediction log; raises NotLogged.
    """

    def __init__(self, limits: Limits, stats: Stats, write: Callable[[bytes], None]) -> None:
        self.serving: Serving | None = None
        self._limits, self._stats, self._write = limits, stats, write
        self._pool = ThreadPoolExecutor(MODEL_THREADS, thread_name_prefix="model")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._batchers: dict[tuple[Engine, bool], Batcher[Work]] = {}

    def swap(self, loaded: Loaded) -> None:
        """Serve this from now on. What was begun is finished as it was begun."""
        held = set(loaded.engines.values())
        self._batchers = {key: one for key, one in self._batchers.items() if key[0] in held or one.busy}
        self.serving = Serving(loaded, self._lane)
        self._stats.swaps += 1

    def waiting_rows(self) -> int:
        """Rows that wait for models."""
        return sum(batcher.rows for batcher in self._batchers.values())

    def sweep(self) -> None:
        """Give up what waited too long."""
        now = time.perf_counter()
        for batcher in self._batchers.values():
            batcher.sweep(now)

    def close(self) -> None:
        """Let no thread begin another batch."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._aside.shutdown(wait=False, cancel_futures=True)

    def begin(self, asked: Asked, version: int | None, started: float) -> Reply:
        """Let a request wait for its model; the reply comes once its line is in the log.

        Args:
            version: the one that the client insists on.
            started: `time.perf_counter` of its last byte.
        Raises: NotServing, BadRequest, NotFound, Overloaded.
        """
        serving = self.serving
        if serving is None:
            raise NotServing("no bundle is served yet", next_step="deploy something; see this server's log")
        if asked.table.named is not None:
            check_names(asked.table.named, serving.known)
        prediction = new_id()
        key = asked.key or prediction
        lane = serving.lane_of(key) if version is None else serving.answering.get(version)
        if lane is None:
            raise NotFound(f"version {version} is not served", next_step="GET /v2/models/NAME says which are")
        reply: Reply = asyncio.get_running_loop().create_future()
        stable = None if version is not None else serving.stable
        work = self._bound(Work(prediction, asked, lane, [], started, reply), stable)
        work.lane.batcher.put(work)
        if serving.shadow is not None and serving.shadow.takes(key):
            asyncio.get_running_loop().call_soon(self._copy, work, serving.shadow)
        return reply

    def _bound(self, work: Work, stable: Lane | None) -> Work:
        lane = work.lane
        try:
            work.columns = bind(lane.engine.inputs, work.asked.table, nulls=lane.engine.nulls)
        except BadRequest as error:
            if lane.role != "canary" or stable is None:
                raise
            # What the stable version can read is no fault of the client: the canary cannot take its place.
            instead = self._bound(Work(work.id, work.asked, stable, [], work.started, work.reply), None)
            self._note([work], [error])
            return instead
        work.fallback = stable if lane.role == "canary" else None
        return work

    def _copy(self, work: Work, shadow: Lane) -> None:
        """A copy for the shadow, once the request itself is on its way; whatever becomes of it, no client notices."""
        if shadow.batcher.rows + work.rows > self._limits.shadow_rows:
            self._stats.shadows_dropped += 1
            return
        copy = Work(work.id, work.asked, shadow, [], work.started, None)
        try:
            try:
                shadow.batcher.put(self._bound(copy, None))
            except BadRequest as error:
                self._note([copy], [error])
        except (Overloaded, NotLogged):
            self._stats.shadows_dropped += 1

    def _lane(self, bundle: Bundle, role: Role, version: int, share: int, engine: Engine) -> Lane:
        aside = role == "shadow"
        batcher = self._batchers.get((engine, aside))
        if batcher is None:
            pool = self._aside if aside else self._pool
            batcher = self._batchers[engine, aside] = Batcher(engine, pool, self._limits, self._deliver, aside=aside)
        return Lane(bundle, role, version, share, batcher, self._stats.of(version, role))

    def _deliver(self, batch: Sequence[Work], outcomes: Sequence[Outcome]) -> None:
        """Write down what a model answered, then tell those who wait."""
        try:
            self._note(batch, outcomes)
        except NotLogged as error:
            for work in batch:
                work.give_up(error)
            return
        for work, outcome in zip(batch, outcomes, strict=True):
            if work.reply is None or work.reply.done():
                continue
            if not isinstance(outcome, FalajError):
                work.reply.set_result(Given(work.id, work.lane.bundle.model, work.lane.version, outcome))
            elif work.fallback is not None:
                self._again(work, work.fallback)
            else:
                work.give_up(outcome)

    def _again(self, work: Work, stable: Lane) -> None:
        """A canary failed: the stable version answers, and only the log knows."""
        try:
            again = Work(work.id, work.asked, stable, [], work.started, work.reply)
            stable.batcher.put(self._bound(again, None))
        except FalajError as error:
            work.give_up(error)

    def _note(self, batch: Sequence[Work], outcomes: Sequence[Outcome]) -> None:
        """Raises: NotLogged."""
        now, at = time.perf_counter(), moment(datetime.now(UTC))
        lines: list[Prediction] = []
        for work, outcome in zip(batch, outcomes, strict=True):
            seconds = now - work.started
            work.lane.count.add(work.rows, seconds, failed=isinstance(outcome, FalajError))
            lines.extend(_lines(work, outcome, at, round(seconds * 1000, 3)))
        self._write(_encoder.encode_lines(lines))


def _lines(work: Work, outcome: Outcome, at: str, ms: float) -> list[Prediction]:
    lane, asked, columns = work.lane, work.asked, work.columns
    bundle, keys = lane.bundle, asked.keys
    error, values = (outcome.code, None) if isinstance(outcome, FalajError) else (None, outcome)
    return [
        Prediction(
            id=work.id,
            row=row,
            at=at,
            deployment=bundle.deployment,
            revision=bundle.revision,
            model=bundle.model,
            version=lane.version,
            role=lane.role,
            key=asked.key if keys is None else keys[row],
            inputs={name: columns[place][row] for place, name in lane.logged} if columns else {},
            output=None if values is None else values[row],
            ms=ms,
            error=error,
        )
        for row in range(work.rows)
    ]
