"""The port to what runs attempts: local processes, and what engines add. Filled by the platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from falaj.door import Caller
from falaj.pipelines.locks import Chosen
from falaj.pipelines.records import Manifest, Task

ENGINE, ELSEWHERE = "engine", "elsewhere"
"""The ports by their names; see `store.ground`."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended.

    Attributes:
        number: as it was started.
        manifest: what it hands back; None where it did not come to its end.
        sort: `done`, `raised`, `wrong_type`, `memory`, `timeout`, `signal`, `lost`, or the code of an error of Falaj.
        peak: most bytes that it held.
        log: the end of what it printed.
    """

    number: int
    manifest: Manifest | None = None
    sort: str = "done"
    message: str = ""
    where: str = ""
    peak: int = 0
    log: str = ""


class Attempts(Protocol):
    """The attempts of one run."""

    def start(self, number: int, task: Task, folder: Path) -> None:
        """Begin an attempt in a folder of its own, which is not there yet."""
        ...

    def wait(self, limit_s: float) -> list[Ended]:
        """The attempts that ended; none where nothing ended within the time."""
        ...

    def end(self, number: int) -> None:
        """End an attempt; `wait` tells that it ended."""
        ...


class Engine(Protocol):
    """What runs attempts."""

    def environment(self) -> Mapping[str, Any]:
        """The environment in which attempts run, as runs keep it; by `distributions_digest` in keys."""
        ...

    def prepare(self, environment: Chosen, say: Callable[[str], None]) -> bool:
        """Have an environment at hand, for the attempts of any run; may take minutes, and is called in any thread.

        Args:
            say: told several times a second what is done; what it raises ends it.
        Returns: whether it was made now.
        Raises: BuildFailed, Damaged, PipelineInvalid.
        """
        ...

    def slots(self) -> float:
        """How many cores may be used at once."""
        ...

    def attempts(
        self, modules: Sequence[str], project: str, principal: str, folder: Path
    ) -> AbstractContextManager[Attempts]:
        """Begin the attempts of a run; whatever still runs when the block ends is ended.

        Args:
            modules: that the project imports, worth having at hand.
            project, principal: ids of whose run it is; no other's may share a process with it.
            folder: the run's own; those of its attempts and their inputs are below it.
        """
        ...

    def check_output(self, manifest: Manifest, folder: Path) -> None:
        """Raises: where a file is not what it should be (a model with code in it)."""
        ...


class Elsewhere:
    """What other rooms do for a run, through the door, as the same caller. Filled by the platform.

    Args:
        call: an operation by its name, in a project, with its arguments.
        stage: a file for an operation that takes files: the word and name that it takes.
    """

    def __init__(
        self,
        call: Callable[[Caller, str, str, Mapping[str, Any]], Any],
        stage: Callable[[Caller, Path], Mapping[str, Any]],
    ) -> None:
        self.call, self.stage = call, stage
