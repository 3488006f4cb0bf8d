"""Attempts in environments of their own: what they are forked from runs the interpreter that was built for them."""

from __future__ import annotations

import select
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol, Self

from falaj.core.names import printable
from falaj.engines import fence, parent
from falaj.engines.keeper import surroundings
from falaj.environments.place import Environment, Place
from falaj.pipelines.engine import Attempts, Ended
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import Task

PROBE_S: Final = 120


class OneKind(Attempts, Protocol):
    """Attempts of one environment, as far as they are waited for with others."""

    @property
    def is_busy(self) -> bool: ...

    @property
    def control(self) -> socket.socket | None: ...

    def close(self) -> None: ...


class ManyAttempts:
    """The attempts of one run, each in the environment of its step. For one thread.

    An environment that attempts run in is held, so that nobody removes it.

    Args:
        begin: attempts in the environment of a digest; "" for that of Falaj itself.
        built: where environments are; None where there are none.
    """

    def __init__(self, begin: Callable[[str], OneKind], built: Place | None) -> None:
        self._begin, self._built = begin, built
        self._kinds: dict[str, OneKind] = {}
        self._where: dict[int, str] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with self._held:
            for one in self._kinds.values():
                self._held.callback(one.close)

    def start(self, number: int, task: Task, folder: Path) -> None:
        """See `Attempts.start`. Raises: StepFailed; NotFound where the environment was removed."""
        digest = task.environment
        if digest not in self._kinds:
            if digest and self._built is not None:
                self._held.enter_context(self._built.used(digest))
            self._kinds[digest] = self._begin(digest)
        self._kinds[digest].start(number, task, folder)
        self._where[number] = digest

    def wait(self, limit_s: float) -> list[Ended]:
        """See `Attempts.wait`."""
        busy = [one for one in self._kinds.values() if one.is_busy]
        if len(busy) == 1:
            return busy[0].wait(limit_s)
        ended = [told for one in busy for told in one.wait(0.0)]
        if ended or not busy:
            return ended
        select.select([one.control for one in busy if one.control is not None], [], [], limit_s)
        return [told for one in busy for told in one.wait(0.0)]

    def end(self, number: int) -> None:
        """See `Attempts.end`."""
        if number in self._where:
            self._kinds[self._where[number]].end(number)


def check_begins(name: str, made: Environment) -> None:
    """Whether attempts can begin in an environment. Raises: PipelineInvalid with what is amiss."""
    source = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(  # noqa: S603  an interpreter that was built here, and words of our own
            fence.behind([str(made.python), "-P", "-c", parent.PROBE, source], []),
            cwd="/",
            env=surroundings(str(made.python)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PipelineInvalid(f"environment {name}: it does not start within {PROBE_S} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().rpartition("\n")[2]
        raise PipelineInvalid(
            f"environment {name}: attempts cannot begin in it: {printable(words)[:300]}",
            next_step="lock what is missing, or a newer version of it",
        )
