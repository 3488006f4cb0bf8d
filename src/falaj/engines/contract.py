"""One attempt by the step contract: claimed at the door, computed in a process of its own, committed once.

An engine elsewhere runs `falaj step run --run R --step S [--item I] --attempt A` wherever it likes; this is what that
does. The step's code sees neither the door nor the token: it is run as the local engine runs it, behind its fence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from falaj.core.encoding import convert, decode
from falaj.core.errors import Conflict, Damaged, FalajError, NotFound, Unauthenticated
from falaj.core.names import tree_path
from falaj.engines.local import LocalAttempts
from falaj.pipelines.desk import SOURCE_PATH
from falaj.pipelines.engine import Ended
from falaj.pipelines.errors import RunCancelled, StepFailed
from falaj.pipelines.plan import write_source
from falaj.pipelines.records import Given, Task
from falaj.pipelines.rules import check_source, shown_item

LOOK_EVERY_S: Final = 0.5
NUMBER: Final = 1


class Doorway(Protocol):
    """A session, as far as it is needed here."""

    def call(self, operation: str, args: Mapping[str, Any] = {}) -> Any:
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
        self._name = shown_item(step, item)
        self._what = {"run": run, "step": step, "item": item, "attempt": attempt}

    def run(self) -> dict[str, Any]:
        """Do it all; returns what the door says of its end, with the state of the run where it ended with it.

        Raises: StepFailed, with `again` in its facts; RunCancelled; StaleAttempt, StepNotReady and what else the door
            refuses by.
        """
        told = dict(self._door.call("step.claim", {**self._what, "environment": self._environment}))
        if told["state"] == "running":
            told = self._computed(told)
        if told["is_last"]:
            told["run_state"] = self._settled()
        if told["state"] == "failed":
            error = told["error"] or {}
            raise StepFailed(
                f"{self._name}: {error.get('message', 'failed')}",
                next_step="try again, with the attempt raised by one" if told["again"] else "correct it and run again",
                facts={"again": told["again"], "error": error},
            )
        return {key: value for key, value in told.items() if key not in ("task", "files", "is_last")}

    def _settled(self) -> str:
        """The state of the run, of which nothing was left to compute."""
        try:
            return str(self._door.call("step.settle", {"run": self._what["run"]})["state"])
        except Unauthenticated:
            return "ended"  # another attempt was the last one, too, and sooner: the token went with the run

    def _computed(self, claimed: Mapping[str, Any]) -> dict[str, Any]:
        try:
            ended = self._ended(self._task(claimed))
        except (RunCancelled, KeyboardInterrupt):
            raise
        except (FalajError, OSError) as error:  # its inputs did not come, or no process could be begun
            code = error.code if isinstance(error, FalajError) else "lost"
            ended = Ended(number=NUMBER, sort=code, message=str(error))
        if ended.manifest is None:
            said = {"sort": ended.sort, "message": ended.message, "where": ended.where, "log": ended.log}
            return dict(self._door.call("step.fail", {**self._what, **said}))
        out = self._folder / "attempt" / "out"
        staged = [self._door.stage(out / name) for name in ended.manifest.files]
        made = {
            "manifest": msgspec.to_builtins(ended.manifest),
            "files": [{"staged": one["staged"], "name": one["name"]} for one in staged],
            "environment": self._environment,
            "log": ended.log,
            "peak": ended.peak,
        }
        return dict(self._door.call("step.commit", {**self._what, **made}))

    def _task(self, claimed: Mapping[str, Any]) -> Task:
        """The task, with its inputs and the project's files at hand."""
        inputs = self._folder / "inputs"
        for file in claimed["files"]:
            place = inputs / tree_path(str(file["path"]))
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as target:
                for piece in self._door.stream("step.input", {**self._what, "path": file["path"]}):
                    target.write(piece)
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

    def _ended(self, task: Task) -> Ended:
        """Compute it. Raises: RunCancelled where it was given up meanwhile: its process is ended then."""
        attempts = LocalAttempts(self._folder, ())
        try:
            attempts.start(NUMBER, task, self._folder / "attempt")
            looked = time.monotonic()
            while not (ended := attempts.wait(LOOK_EVERY_S)):
                if time.monotonic() - looked >= LOOK_EVERY_S:
                    looked = time.monotonic()
                    self._check_wanted()
            return ended[0]
        finally:
            attempts.close()

    def _check_wanted(self) -> None:
        """Raises: RunCancelled where the run has ended, or the attempt was given up."""
        step, item, attempt = self._what["step"], self._what["item"], self._what["attempt"]
        try:
            seen = self._door.call("run.steps", {"run": self._what["run"], "step": step})
            mine = [one for one in seen["steps"] if (one["item"], one["attempts"]) == (item, attempt)]
            if seen["state"] == "running" and mine and mine[0]["state"] == "running":
                return
            state = seen["state"] if seen["state"] != "running" else "given up"
        except (Unauthenticated, NotFound):
            state = "over, and its token void"
        except (Conflict, Damaged):
            return  # asked again soon
        raise RunCancelled(f"run {self._what['run']} is {state}", next_step=f"falaj run show {self._what['run']}")


def _placed(given: Given, inputs: Path) -> Given:
    """An argument with the paths that its files have here."""
    return msgspec.structs.replace(
        given,
        paths=tuple(str(inputs / path) for path in given.paths),
        items=tuple(_placed(one, inputs) for one in given.items),
    )
