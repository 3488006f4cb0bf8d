"""A session: how a face (command line, Python, a test) calls operations, whether embedded or over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

Progress = Callable[[str, int, int], None]


class Session(Protocol):
    """Operations of one project, by name, in plain values."""

    project: str

    def call(
        self,
        operation: str,
        args: Mapping[str, Any] = {},
        *,
        idempotency_key: str = "",
        progress: Progress | None = None,
    ) -> Any:
        """Do one operation; a job is waited for. Returns plain values (dict, list). Raises: FalajError."""
        ...

    def stage(self, path: Path) -> dict[str, Any]:
        """Bring a file's bytes to where an operation can name them: {"staged", "name", "size"}."""
        ...

    def stream(self, operation: str, args: Mapping[str, Any] = {}) -> Iterator[bytes]:
        """The bytes of a transfer."""
        ...

    def close(self) -> None:
        """End the session."""
        ...
