"""One attempt by the step contract: claimed at the door, computed in a process of its own, committed once.

An engine elsewhere runs `falaj step run --run R --step S [--item I] --attempt A` wherever it likes; this is what that
does. The step's code sees neither the door nor the token: it is run as the local engine runs it, behind its fence.

A door that is away for a while ends no attempt: what must be said to it is said again until the lease of the claim is
over, and the step computes on meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from falaj.core.encoding import convert, decode
from falaj.core.errors import Conflict, Damaged, FalajError, NotFound, Unauthenticated, Unavailable
from falaj.core.ids import new_id
from falaj.core.names import tree_path
from falaj.engines.keeper import Keeper, Key
from falaj.engines.local import LocalAttempts
from falaj.pipelines.desk import SOURCE_PATH
from falaj.pipelines.engine import Ended
from falaj.pipelines.errors import RunCancelled, StepFailed
from falaj.pipelines.keeping import LEASE, kept_log
from falaj.pipelines.plan import write_source
from falaj.pipelines.records import Given, Task
from falaj.pipelines.rules import check_source, next_step_after, shown_item

NUMBER: Final = 1
HEAR_S: Final = 0.25
LOOK_S: Final = (1.0, 5.0)
"""How often it is asked whether the attempt is still wanted, in seconds: at first, and once it has run for minutes."""
PAUSE_S: Final = (0.5, 30.0)
"""The first and the longest pause before a door that was away is asked again, in seconds."""
CUTS: Final = 3
TOO_MANY: Final = 429
T = TypeVar("T")


class Doorway(Protocol):
    """A session, as far as it is needed here."""

    def call(self, operation: str, args: Mapping[str, Any] = {}, *, idempotency_key: str = "") -> Any:
        """Do one operation; plain values."""
        ...

    def stage(self, path: Path) -> dict[str, Any]:
        """Bring a file's bytes to where an operation can name them."""
        ...

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        """The bytes of a transfer."""
        ...


class Attempt:
    """One attempt of a step of a run that was lent.

    Args:
        environment: of this interpreter, as `falaj.capture` tells it.
        folder: empty, private; whoever gives it removes it.
    """

    def __init__(
        self, door: Doorway, run: str, step: str, item: int, attempt: int, environment: Mapping[str, Any], folder: Path
    ) -> None:
        self._door, self._folder, self._environment = door, folder, dict(environment)
        self._step, self._item, self._label, self._log = step, item, "", ""
        self._what = {"run": run, "step": step, "item": item, "attempt": attempt}
        self._until = 0.0

    def run(self) -> dict[str, Any]:
        """Do it all; returns what the door says of its end, with the state of the run where it ended with it.

        Raises: StepFailed, with `again` in its facts; RunCancelled; StaleAttempt, StepNotReady and what else the door
            refuses by; Unavailable where the door was away for too long.
        """
        told = dict(self._door.call("step.claim", {**self._what, "environment": self._environment}))
        self._until = time.monotonic() + LEASE.total_seconds()
        self._label = str(told["label"])
        if told["state"] == "running":
            self._until += told["task"]["options"]["timeout_s"]
            told = self._computed(told)
        if told["is_last"]:
            told["run_state"] = self._settled()
        if told["state"] == "failed":
            raise self._failure(told)
        told = {key: value for key, value in told.items() if key not in ("task", "files", "is_last")}
        return {**told, "label": self._label, "log": self._log}

    def _failure(self, told: Mapping[str, Any]) -> StepFailed:
        error, run = told["error"] or {}, str(self._what["run"])
        name = shown_item(self._step, self._item, self._label)
        where = f" ({error['where']})" if error.get("where") else ""
        next_step = "try again, with the attempt raised by one" if told["again"] else next_step_after(error, run)
        facts = {"again": told["again"], "error": error, "log": self._log}
        return StepFailed(f"{name}: {error.get('message', 'failed')}{where}", next_step=next_step, facts=facts)

    def _settled(self) -> str:
        """The state of the run, of which nothing was left to compute.

        Where another process registers for it, or for a run that makes the same, that is waited for: nobody else would
        ask again.
        """
        what, pause = {"run": self._what["run"]}, PAUSE_S[0]
        while True:
            key = new_id()
            try:
                said = self._patiently(partial(self._door.call, "step.settle", what, idempotency_key=key))
            except (Unauthenticated, Conflict):
                return "ended"  # another attempt was the last one, too, and sooner: the token went with the run
            if said["state"] != "running" or time.monotonic() + pause > self._until:
                return str(said["state"])
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_S[1])

    def _computed(self, claimed: Mapping[str, Any]) -> dict[str, Any]:
        try:
            ended = self._ended(self._task(claimed))
        except (RunCancelled, KeyboardInterrupt):
            raise
        except (FalajError, OSError) as error:  # its inputs did not come, or no process could be begun
            sort = error.code if isinstance(error, FalajError) and not is_away(error) else "lost"
            ended = Ended(number=NUMBER, sort=sort, message=str(error))
        self._log = kept_log(ended.log)
        if ended.manifest is not None:
            return self._committed(ended)
        said = {"sort": ended.sort, "message": ended.message, "where": ended.where, "log": ended.log}
        key = new_id()
        what = {**self._what, **said}
        return dict(self._patiently(lambda: self._door.call("step.fail", what, idempotency_key=key)))

    def _committed(self, ended: Ended) -> dict[str, Any]:
        """Commit what was made, once, whatever comes in between. Raises: StaleAttempt."""
        tried = 0

        def commit() -> Any:
            nonlocal tried
            tried += 1
            return self._door.call("step.commit", self._made(ended), idempotency_key=new_id())

        try:
            return dict(self._patiently(commit))
        except Conflict:
            state, output = self._patiently(self._seen) if tried > 1 else ("", "")
            if state != "done":
                raise
            # Only the answer did not come. Whether it was the last one is asked once: others may go on for long.
            self._until = min(self._until, time.monotonic())
            return {**self._what, "state": state, "output": output, "is_last": True}

    def _made(self, ended: Ended) -> dict[str, Any]:
        """What a commit says. The files are brought each time: a door that was away may have forgotten them."""
        assert ended.manifest is not None  # noqa: S101  the caller looked
        out = self._folder / "attempt" / "out"
        staged = [self._door.stage(out / name) for name in ended.manifest.files]
        return {
            **self._what,
            "manifest": msgspec.to_builtins(ended.manifest),
            "files": [{"staged": one["staged"], "name": one["name"]} for one in staged],
            "environment": self._environment,
            "log": ended.log,
            "peak": ended.peak,
        }

    def _task(self, claimed: Mapping[str, Any]) -> Task:
        """The task, with its inputs and the project's files at hand."""
        inputs = self._folder / "inputs"
        for file in claimed["files"]:
            place = inputs / tree_path(str(file["path"]))
            place.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(str(file["path"]), place)
            place.chmod(0o400)
        source = self._folder / "source"
        body = (inputs / SOURCE_PATH).read_bytes()
        write_source(check_source(decode(body, dict[str, str], SOURCE_PATH)), source)
        task = convert(claimed["task"], Task, "task")
        return msgspec.structs.replace(
            task,
            source=str(source),
            args={name: _placed(given, inputs) for name, given in task.args.items()},
            sources={name: _placed(given, inputs) for name, given in task.sources.items()},
        )

    def _fetch(self, path: str, place: Path) -> None:
        """One input as a file; bytes that broke off are asked for again. Raises: NotCovered, StaleAttempt, Damaged."""

        def fetch() -> None:
            with place.open("wb") as target:
                for piece in self._door.stream("step.input", {**self._what, "path": path}):
                    target.write(piece)

        for left in range(CUTS - 1, -1, -1):
            try:
                self._patiently(fetch)
            except Damaged:
                if not left:
                    raise
            else:
                return

    def _ended(self, task: Task) -> Ended:
        """Compute it. Raises: RunCancelled where it was given up meanwhile: its process is ended then."""
        keeper = Keeper()
        attempts = LocalAttempts(keeper, Key())
        watch = _Watch(self._seen)
        try:
            attempts.start(NUMBER, task, self._folder / "attempt")
            watch.start()
            while not (ended := attempts.wait(HEAR_S)):
                if watch.over:
                    run = self._what["run"]
                    raise RunCancelled(f"run {run} is {watch.over}", next_step=f"falaj run show {run}")
            return ended[0]
        finally:
            watch.stop()
            attempts.close()
            keeper.close()

    def _seen(self) -> tuple[str, str]:
        """`running` or `done` as the attempt is, with its output; of one that is not wanted any more, why."""
        step, item, attempt = self._what["step"], self._what["item"], self._what["attempt"]
        try:
            seen = self._door.call("run.steps", {"run": self._what["run"], "step": step})
        except (Unauthenticated, NotFound):
            return "over, and its token void", ""
        mine = [one for one in seen["steps"] if (one["item"], one["attempts"]) == (item, attempt)]
        state = str(mine[0]["state"]) if mine else ""
        if state == "done":
            return state, str(mine[0]["output"])
        if seen["state"] != "running":
            return str(seen["state"]), ""
        return state if state == "running" else "given up", ""

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do something at the door, again and again while it is away. Raises: Unavailable once the lease is over."""
        pause = PAUSE_S[0]
        while True:
            try:
                return work()
            except FalajError as error:
                if not is_away(error) or time.monotonic() + pause > self._until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_S[1])


def is_away(error: FalajError) -> bool:
    """Whether the door could not answer, or would not yet: asked again later it may."""
    return isinstance(error, Unavailable) or error.status == TOO_MANY


class _Watch:
    """Asks now and then, beside the attempt, whether it is still wanted; a door that is away says nothing of that.

    Args:
        seen: the state of the attempt, as the door tells it.
    """

    def __init__(self, seen: Callable[[], tuple[str, str]]) -> None:
        self._seen, self._stopped = seen, threading.Event()
        self._thread = threading.Thread(target=self._run, name="falaj-wanted", daemon=True)
        self.over = ""

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. A question that is underway is left to itself."""
        self._stopped.set()

    def _run(self) -> None:
        began = time.monotonic()
        away = 0.0
        while not self._stopped.wait(away or min(LOOK_S[1], max(LOOK_S[0], (time.monotonic() - began) / 20))):
            try:
                state, _ = self._seen()
            except FalajError:
                away = min(max(2 * away, LOOK_S[0]), PAUSE_S[1])
                continue
            away = 0.0
            if state != "running":
                self.over = state
                return


def _placed(given: Given, inputs: Path) -> Given:
    """An argument with the paths that its files have here."""
    return msgspec.structs.replace(
        given,
        paths=tuple(str(inputs / path) for path in given.paths),
        items=tuple(_placed(one, inputs) for one in given.items),
    )
