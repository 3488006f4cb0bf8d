"""Tokens at the edge: read, handed to the platform, counted where they do not hold."""

from __future__ import annotations

import threading

from falaj.core.errors import FalajError, Unauthenticated
from falaj.door import Caller
from falaj.server.backend import Backend
from falaj.server.metrics import Metrics
from falaj.trust.records import PrincipalView

MAX_TOKEN = 4096


class Gatekeeper:
    """Authenticates and counts what fails. Floods become one number a second, never an entry each."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._count = 0
        self._lock = threading.Lock()

    def token(self, header: str) -> str:
        """The token in an `Authorization` header. Raises: Unauthenticated."""
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN or not token.isascii():
            raise self._failed()
        return token

    def admit(self, token: str) -> Caller:
        """The caller behind a token; asks the database, so call it in a worker. Raises: Unauthenticated."""
        try:
            return self._backend.authenticate(token)
        except Unauthenticated:
            raise self._failed() from None

    def claim(self, one_time_token: str, person_name: str) -> tuple[PrincipalView, str]:
        """The first owner and a token of their own; in a worker. Raises: Unauthenticated, InvalidName."""
        try:
            return self._backend.claim(one_time_token, person_name)
        except Unauthenticated:
            raise self._failed() from None

    @property
    def untold(self) -> int:
        """How many failed since they were last handed on."""
        return self._count

    def tell(self) -> None:
        """Hand on what was counted since the last time. Raises: FalajError; nothing is lost by it."""
        with self._lock:
            count, self._count = self._count, 0
        try:
            if count:
                self._backend.note_unauthenticated(count)
        except FalajError:
            with self._lock:
                self._count += count  # the database is away: told when it is back
            raise

    def _failed(self) -> Unauthenticated:
        self._metrics.unauthenticated()
        with self._lock:
            self._count += 1
        # One answer to a missing, malformed, unknown, expired or revoked token.
        return Unauthenticated("a valid token is needed", next_step="send Authorization: Bearer TOKEN; falaj login")
