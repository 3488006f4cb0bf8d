"""What the edge needs of the platform: a narrow port, so that the edge can be tested on a small registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import msgspec

from falaj.core.records import Run
from falaj.door import Caller, Operations
from falaj.trust.records import PrincipalView


class Calls(Protocol):
    """The door, as the edge calls it."""

    def call(
        self,
        operation_name: str,
        args: Mapping[str, Any] | msgspec.Struct,
        *,
        caller: Caller,
        project: str = "",
        idempotency_key: str = "",
        progress: Callable[[str, int, int], None] | None = None,
        on_run: Callable[[Run], None] | None = None,
    ) -> Any:
        """As `falaj.door.Door.call`."""
        ...


class Backend(Protocol):
    """A platform behind a server. Everything here may be called from any thread."""

    operations: Operations

    @property
    def door(self) -> Calls:
        """The one way in."""
        ...

    def authenticate(self, token_text: str) -> Caller:
        """Who a token speaks for. Raises: Unauthenticated, the same for every cause."""
        ...

    def claim(self, one_time_token: str, person_name: str) -> tuple[PrincipalView, str]:
        """Let the first owner in: once, by the one-time token that the server's operator was shown.

        Returns: the person, and the text of a token of their own.
        Raises: Unauthenticated, the same for every cause; InvalidName.
        """
        ...

    def note_unauthenticated(self, count: int) -> None:
        """So many requests came without a valid token since the last call: one entry for all of them."""
        ...

    def stage(self, caller: Caller, project: str, name: str, stream: BinaryIO, limit: int) -> Mapping[str, Any]:
        """Keep the bytes of a stream until an operation names them.

        Returns: {"staged", "name", "size", "sha256"}.
        Raises: NotFound where the caller may stage nothing in the project, TooLarge past `limit` bytes.
        """
        ...

    def check_ready(self) -> None:
        """Raises: FalajError while the database cannot be read."""
        ...

    def ledger_pending(self) -> int:
        """Entries that are committed and not yet under a root."""
        ...

    def mark_lost(self, runs: Sequence[str]) -> None:
        """End runs that will not be waited for any longer."""
        ...


class Background(Protocol):
    """What the process does by itself beside answering. It has threads of its own, and never fails the server.

    Attributes:
        failures: what did not succeed, and was tried again.
    """

    failures: int

    @property
    def running(self) -> int:
        """Long work underway."""
        ...

    @property
    def age_s(self) -> float:
        """Seconds since it last came round."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def begin_stop(self) -> None:
        """Begin nothing new."""
        ...

    def stop(self, limit_s: float) -> None:
        """Stop, and wait for what is at work."""
        ...
