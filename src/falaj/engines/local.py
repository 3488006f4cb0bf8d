"""The local engine: attempts as processes of this machine, forked from one that has the libraries imported.

One host is its ceiling. An attempt is ended with all that it began when it is over its time, when its run is cancelled,
and when whoever runs it dies, however that comes about. What it was forked from is kept for the next run (`keeper`),
unless a run was given up: then it is ended, and everything with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from falaj.core.encoding import decode
from falaj.core.errors import FalajError, MissingPart
from falaj.core.names import printable
from falaj.engines import environments, parent
from falaj.engines.environments import ManyAttempts
from falaj.engines.keeper import Keeper, Key, Parent, surroundings_of
from falaj.environments.place import Environment, Place
from falaj.models import formats
from falaj.pipelines import keeping
from falaj.pipelines.engine import Attempts, Ended
from falaj.pipelines.errors import PipelineInvalid, StepFailed
from falaj.pipelines.locks import Chosen
from falaj.pipelines.records import Manifest, Task
from falaj.store import runs

MAX_LOG: Final = 64 * 1024
MAX_MANIFEST: Final = 8 * 1024 * 1024
_STARTED_S: Final = 300.0


class LocalEngine:
    """Runs attempts here.

    Args:
        environment: tells the environment of this interpreter, see `falaj.capture`.
        cores: how many cores attempts may use at once; default: those that this process may use.
        keeper: of what attempts are forked from; default: one that keeps as long as it is usual.
        built: where environments of steps are built; default: none can be.
    """

    def __init__(
        self,
        environment: Callable[[], Mapping[str, Any]],
        cores: float | None = None,
        keeper: Keeper | None = None,
        built: Place | None = None,
    ) -> None:
        self._built, self._ready = built, dict[str, Environment]()
        self._environment, self._cores, self._keeper = environment, cores, keeper or Keeper()
        self._captured: tuple[object, Mapping[str, Any]] | None = None

    def environment(self) -> Mapping[str, Any]:
        """The environment of this interpreter; looked at again when something was installed."""
        state = surroundings_of(sys.executable)
        if self._captured is None or self._captured[0] != state:
            self._captured = state, dict(self._environment())
        return self._captured[1]

    def prepare(self, environment: Chosen, say: Callable[[str], None]) -> bool:
        """See `Engine.prepare`. Raises: MissingPart, too, where there is no place to build in."""
        if self._built is None:
            raise MissingPart("environments of steps are not built here", next_step="run it embedded or on a server")
        before = time.time()
        made = self._built.build(environment.lock, environment.interpreter, say)
        if environment.digest not in self._ready:
            environments.check_begins(environment.name, made)
            self._ready[environment.digest] = made
        return made.is_newer_than(before)

    def slots(self) -> float:
        """The cores that attempts may use at once."""
        return self._cores or float(len(os.sched_getaffinity(0)))

    @contextmanager
    def attempts(self, modules: Sequence[str], project: str, principal: str, folder: Path) -> Iterator[Attempts]:
        """See `Engine.attempts`. No process is begun before the first attempt is. Raises: MissingPart."""
        if sys.platform != "linux":
            raise MissingPart(
                "steps run on Linux: elsewhere nothing ends them with their runner", next_step="use a server"
            )

        def begin(digest: str) -> LocalAttempts:
            key = Key(modules=tuple(modules), project=project, principal=principal)
            if digest:
                key = key._replace(interpreter=str(self._ready[digest].python), folder=str(folder))
            return LocalAttempts(self._keeper, key)

        with ManyAttempts(begin, self._built) as begun:
            yield begun

    def check_output(self, manifest: Manifest, folder: Path) -> None:
        """A model must be of a form that holds no code. Raises: ModelRefused, TooLarge."""
        if manifest.type == "model":
            formats.inspect(folder / manifest.files[0])

    def close(self) -> None:
        """End what is kept for runs to come."""
        self._keeper.close()


class _Running(msgspec.Struct):
    """An attempt underway. Its time counts from its start: libraries may still be imported before that."""

    folder: Path
    task: Task
    ends_at: float
    pid: int = 0
    owner: str = ""
    is_late: bool = False


class LocalAttempts:
    """The attempts of one run, and the process that they are forked from. For one thread.

    Args:
        key: what that process must have imported, and whose it is.
    """

    def __init__(self, keeper: Keeper, key: Key) -> None:
        self._keeper, self._key = keeper, key
        self._running: dict[int, _Running] = {}
        self._ended: list[Ended] = []
        self._from: Parent | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._running or self._ended)

    @property
    def control(self) -> socket.socket | None:
        """What can be read from once there may be news."""
        return self._from.control if self._from is not None else None

    def start(self, number: int, task: Task, folder: Path) -> None:
        """See `Attempts.start`. Raises: StepFailed where no process can be begun."""
        for name in ("out", "own"):
            (folder / name).mkdir(parents=True)
        (folder / "task.json").write_bytes(msgspec.json.encode(task))
        asked = {"start": number, "folder": str(folder), "exec": task.options.isolation == "exec"}
        for last in (False, True):  # the parent may have died since the last attempt
            try:
                self._parent().send(json.dumps(asked).encode())
                break
            except OSError as error:
                self._parent_is_gone()
                if last:
                    raise StepFailed(f"no process can be begun: {error}", next_step="look at the machine") from error
        self._running[number] = _Running(folder, task, time.monotonic() + _STARTED_S)

    def wait(self, limit_s: float) -> list[Ended]:
        """See `Attempts.wait`. An attempt over its time is ended here."""
        now = time.monotonic()
        for number, one in self._running.items():
            if now >= one.ends_at and not one.is_late and one.pid:
                one.is_late = True
                self.end(number)
        if any(now >= one.ends_at and not one.pid for one in self._running.values()):
            self._parent_is_gone()  # what is imported there never comes to an end
        soonest = min((one.ends_at - now for one in self._running.values() if not one.is_late), default=limit_s)
        if not self._ended and self._from is not None:
            try:
                self._hear(max(0.0, min(limit_s, soonest)))
            except OSError:
                self._parent_is_gone()
        ended, self._ended = self._ended, []
        return ended

    def end(self, number: int) -> None:
        """See `Attempts.end`."""
        if number in self._running and self._from is not None:
            with suppress(OSError):
                self._from.control.send(json.dumps({"end": number}).encode())

    def close(self) -> None:
        """End what still runs, and with it the parent; one that nothing of the run is left of goes back."""
        if self._from is not None and not self._running:
            self._keeper.give_back(self._from)
            self._from = None
        self._parent_is_gone()
        self._ended.clear()

    def _hear(self, limit_s: float) -> None:
        """Take in one message, if one comes in time. Raises: OSError where the parent is gone."""
        assert self._from is not None  # noqa: S101  the callers looked
        if not select.select([self._from.control], [], [], limit_s)[0]:
            return
        message = self._from.control.recv(parent.MAX_MESSAGE)
        if not message:
            raise ConnectionResetError("the process that attempts come from ended")
        told = json.loads(message)
        if "started" in told and (one := self._running.get(told["started"])):
            one.pid = int(told["pid"])
            one.owner = runs.process(one.pid)
            one.ends_at = time.monotonic() + one.task.options.timeout_s
        elif "ended" in told and (one := self._running.pop(told["ended"], None)):
            self._ended.append(ended_of(told["ended"], one.task, one.folder, told, is_late=one.is_late))

    def _parent(self) -> socket.socket:
        if self._from is None:
            self._from = self._keeper.take(self._key)
        return self._from.control

    def _parent_is_gone(self) -> None:
        """End the parent and all attempts; what it was running is told as lost."""
        last_words = ""
        if self._from is not None:
            self._from.end(1.0 if any(one.pid for one in self._running.values()) else 0.0)
            last_words, self._from = self._from.words, None
        for number, one in self._running.items():
            _end_group(one)
            self._ended.append(ended_of(number, one.task, one.folder, None, is_late=one.is_late, words=last_words))
        self._running.clear()


def _end_group(one: _Running) -> None:
    """What an attempt began may outlive the parent; its group is its own while it is the process it was."""
    if one.pid and runs.is_alive(one.owner):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(one.pid, signal.SIGKILL)


def ended_of(
    number: int, task: Task, folder: Path, told: Mapping[str, Any] | None, *, is_late: bool, words: str = ""
) -> Ended:
    """How an attempt ended, from what it left and what the kernel says of it.

    Args:
        told: what the kernel says; None where nobody could ask.
        words: the last of the process that it came from, where that is gone.
    """
    peak, log = int(told["peak"]) if told else 0, _log(folder)
    if is_late:
        words = f"over its {task.options.timeout_s:,} s"
        return Ended(number=number, sort="timeout", message=words, peak=peak, log=log)
    if told is None:
        words = f"the process that it came from was killed{f' ({printable(words)})' if words else ''}"
        return Ended(number=number, sort="lost", message=words, log=log)
    code = os.waitstatus_to_exitcode(int(told["status"]))
    if code < 0:
        words = f"ended by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            words += ": the machine was out of memory, or somebody ended it"
        return Ended(number=number, sort="signal", message=words, peak=peak, log=log)
    if code == 0 and (folder / "manifest.json").is_file():
        try:
            return Ended(number=number, manifest=_manifest(task, folder), peak=peak, log=log)
        except FalajError as error:
            return Ended(number=number, sort=error.code, message=error.message, peak=peak, log=log)
    failed = _failure(folder)
    words = failed.get("message") or f"ended with exit code {code} before its end"
    sort = failed.get("sort") or "signal"
    return Ended(number=number, sort=sort, message=words, where=failed.get("where", ""), peak=peak, log=log)


def _manifest(task: Task, folder: Path) -> Manifest:
    """What the attempt hands back. It was written by a person's code: believed only as far as it was checked."""
    file = folder / "manifest.json"
    if file.stat().st_size > MAX_MANIFEST:
        raise PipelineInvalid(f"{task.step}: what it says of its output is over {MAX_MANIFEST >> 20} MiB")
    manifest = decode(file.read_bytes(), Manifest, f"{task.step}: its output")
    return keeping.checked(manifest, task.step, task.returns, folder / "out")


def _failure(folder: Path) -> dict[str, str]:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / "error.json").read_bytes(), type=dict[str, str])
    return {}


def _log(folder: Path) -> str:
    with suppress(OSError), (folder / "log.txt").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_LOG))
        return file.read(MAX_LOG).decode("utf-8", "replace")
    return ""
