"""The embedded session: operations called in this process, results as plain values, as over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from falaj.door import Caller, Door
from falaj.platform.staging import StagedFiles
from falaj.session import Progress, encoded


class EmbeddedSession:
    """Operations of one project of the store that this process has open."""

    def __init__(self, door: Door, staging: StagedFiles, caller: Caller, project: str) -> None:
        self._door, self._staging, self._caller = door, staging, caller
        self.project = project

    def __repr__(self) -> str:
        return f"EmbeddedSession(project={self.project!r})"

    def call(
        self,
        operation: str,
        args: Mapping[str, Any] = {},
        *,
        idempotency_key: str = "",
        progress: Progress | None = None,
    ) -> Any:
        """Do one operation; a job is waited for. Returns plain values (dict, list). Raises: FalajError."""
        result = self._door.call(
            operation,
            msgspec.json.decode(encoded(args)),
            caller=self._caller,
            project=self.project,
            idempotency_key=idempotency_key,
            progress=progress,
        )
        return msgspec.json.decode(msgspec.json.encode(result))  # as it comes over HTTP, tuples as lists

    def stage(self, path: Path) -> dict[str, Any]:
        """A word for a file: {"staged", "name", "size"}. The file stays where it is. Raises: NotFound, Invalid."""
        return self._staging.name(path, self._caller)

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        """The bytes of a transfer."""
        stream: Any = self._door.call(operation, args, caller=self._caller, project=self.project)
        return iter(stream)

    def close(self) -> None:
        """The platform outlives its sessions: whoever opened it closes it."""
