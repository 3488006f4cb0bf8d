"""Workers of a nursery, and the ways to end them: by a tracer at a chosen system call, or from outside at any time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.nursery import Errand
from tests.faults.plan import Command

ROOT = Path(__file__).parents[2]
CALLS = ("fsync", "fdatasync", "link", "linkat", "unlink", "unlinkat", "rename", "pwrite64", "write", "ftruncate")
WITHIN_S = 60.0
_LINE = re.compile(r"^\d+ +(?P<call>[a-z0-9_]+)\((?P<args>.*)\) += (?P<result>-?\d+)")


def kill(pid: int) -> None:
    """End a process at once; one that was quicker has done everything it was told."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Outcome:
    """What a worker said and how it ended.

    Attributes:
        done: results by the command's place in the list.
        begun: how many commands it began.
        failed: the error that stopped it, as for machines.
        status: its exit code; negative: the signal.
    """

    done: dict[int, Any] = field(default_factory=dict)
    begun: int = 0
    failed: dict[str, Any] | None = None
    status: int = 0

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


@dataclass(frozen=True)
class Call:
    """One system call of a trace; `number` counts those of its name up to this one."""

    name: str
    args: str
    number: int

    def inject(self, fault: str) -> str:
        """As strace wants it."""
        return f"{self.name}:{fault}:when={self.number}"


class Nursery:
    """The process that forks workers; made by `nursery`."""

    def __init__(self, strace: str, folder: Path) -> None:
        self._strace, self._log = strace, folder / "trace"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._said() == ["ready"]

    def close(self) -> None:
        self._process.communicate(timeout=WITHIN_S)
        assert self._process.returncode == 0

    def run(
        self,
        place: Path,
        *commands: Command,
        database: str = "",
        inject: str = "",
        trace: bool = False,
        opening: bool = False,
        limit_kib: int = 0,
        user: str = "",
        at: Callable[[int, list[Any]], None] = lambda _pid, _said: None,
    ) -> Outcome:
        """Let a worker do the commands.

        Args:
            inject: what strace does to its calls; `opening`: from before it opens the store.
            limit_kib: no file of it grows past that, 0 for none.
            user: whom it becomes before it opens the store.
            trace: only record its calls; see `calls`.
            at: told of each line that the worker says, with its pid.
        """
        traced = bool(inject or trace)
        stop = ("before" if opening else "opened") if traced else ""
        errand = Errand(str(place), [list(c) for c in commands], database, stop, limit_kib * 1024, user)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(errand).decode() + "\n")
        self._process.stdin.flush()
        word, pid = self._said()
        assert word == "pid"
        tracer = self._attached(pid, inject) if traced else None
        outcome = Outcome()
        while True:
            said = self._said()
            at(pid, said)
            match said:
                case ["begin", number]:
                    outcome.begun = number + 1
                case ["done", number, result]:
                    outcome.done[number] = result
                case ["failed", error]:
                    outcome.failed = error
                case ["ended", status]:
                    outcome.status = status
                    break
        if tracer is not None:
            tracer.wait(WITHIN_S)
        return outcome

    def calls(self) -> list[Call]:
        """The answered calls of the last traced worker, in order."""
        found: list[Call] = []
        numbers: dict[str, int] = {}
        for line in self._log.read_text(errors="replace").splitlines():
            if match := _LINE.match(line):
                name = match["call"]
                numbers[name] = numbers.get(name, 0) + 1
                found.append(Call(name, match["args"], numbers[name]))
        return found

    def _said(self) -> list[Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery ended"
        said: list[Any] = json.loads(line)
        return said

    def _attached(self, pid: int, inject: str) -> subprocess.Popen[bytes]:
        """A tracer that holds the stopped worker, which goes on then."""
        _until(lambda: _state(pid) == "T", "the worker did not stop")
        options = ["-f", "-qq", "-y", "-s", "200", "-e", f"trace={','.join(CALLS)}", "-o", str(self._log)]
        options += ["-e", f"inject={inject}"] if inject else []
        tracer = subprocess.Popen([self._strace, *options, "-p", str(pid)])
        _until(lambda: _status(pid, "TracerPid") == str(tracer.pid), "the tracer did not attach")
        os.kill(pid, signal.SIGCONT)
        return tracer


@contextmanager
def nursery(strace: str, folder: Path) -> Iterator[Nursery]:
    """A nursery, ended afterwards."""
    made = Nursery(strace, folder)
    try:
        yield made
    finally:
        made.close()


def _status(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


def _state(pid: int) -> str:
    return _status(pid, "State")[:1]


def _until(holds: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, failure
        time.sleep(0.002)


def chosen(calls: Sequence[Call], names: Sequence[str]) -> list[Call]:
    """Those of some names."""
    return [call for call in calls if call.name in names]
