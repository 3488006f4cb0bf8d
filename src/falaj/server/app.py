"""The application: `/v1` from the door's operations, health, readiness and metrics beside it, the edge around both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from falaj.core.errors import FalajError
from falaj.server import metrics as metric_words
from falaj.server import openapi
from falaj.server.api import JSON, Api
from falaj.server.auth import Gatekeeper
from falaj.server.backend import Backend, Background
from falaj.server.edge import Edge, Receive, Scope, Send
from falaj.server.errors import MethodNotAllowed, NoRoute, NotReady, Stopping
from falaj.server.jobs import Jobs
from falaj.server.logs import Log
from falaj.server.metrics import Metrics
from falaj.server.settings import Settings, is_loopback
from falaj.server.surface import routes

TELL_S = 1.0
READY_S = 1.0


class Server:
    """One server over one platform: an ASGI application with its parts.

    Args:
        backend: the platform; it is not closed here.
        background: what the process does by itself while it serves.
    """

    def __init__(
        self, backend: Backend, settings: Settings, log: Log | None = None, background: Background | None = None
    ) -> None:
        limits = settings.limits
        self.backend = backend
        self.settings = settings
        self.background = background
        self.log = log or Log()
        self.metrics = Metrics()
        self.gate = Gatekeeper(backend, self.metrics)
        self.jobs = Jobs(backend.door, self.log, limits)
        self.api = Api(backend, self.gate, self.jobs, limits, openapi.encoded(routes(backend.operations)))
        self._ready: tuple[float, FalajError | None] = (0.0, None)
        self._looking = asyncio.Lock()
        router = Router(
            [
                Mount("/v1", app=self.api),
                Route("/healthz", _Page("healthz", self._live)),
                Route("/readyz", _Page("readyz", self._is_ready)),
                Route("/metrics", _Page("metrics", self._metrics)),
            ],
            redirect_slashes=False,
            default=self._nothing,
            lifespan=self._life,
        )
        self.edge = Edge(router, settings, self.log, self.metrics)
        self.metrics.gauge("falaj_jobs_running", "Jobs at work", lambda: self.jobs.running)
        self.metrics.gauge("falaj_http_open", "Requests being answered", lambda: self.edge.open)
        self.metrics.gauge("falaj_ledger_pending", "Entries not yet under a root", self._pending)
        if background is not None:
            self.metrics.gauge("falaj_loop_failures", "Rounds' parts that failed", lambda: background.failures)
            self.metrics.gauge("falaj_loop_running", "Starts of triggers at work", lambda: background.running)
            self.metrics.gauge("falaj_loop_age_seconds", "Since the last round ended", lambda: background.age_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.edge(scope, receive, send)

    @property
    def stopping(self) -> bool:
        """Whether it begins nothing new."""
        return self.jobs.stopping

    def begin_stop(self) -> None:
        """From now on not ready; no job begins, event streams and waiting requests end. On the loop's thread."""
        self.jobs.stopping = True
        self.jobs.wake()
        if self.background is not None:
            self.background.begin_stop()

    # life

    @asynccontextmanager
    async def _life(self, _app: Any) -> AsyncIterator[None]:
        teller = asyncio.create_task(self._tell_for_ever())
        if self.background is not None:
            self.background.start()
        try:
            yield
        finally:
            if self.background is not None:
                await asyncio.to_thread(self.background.stop, self.settings.limits.stop_s)
            teller.cancel()
            with suppress(asyncio.CancelledError):
                await teller
            lost = await self.jobs.stop(self.settings.limits.stop_s)
            await self._last(lost)
            self.api.workers.close()
            self.api.uploads.close()

    async def _last(self, lost: list[str]) -> None:
        if lost:
            self.log.say("jobs_lost", "warning", runs=lost)
            await self._try(lambda: self.backend.mark_lost(lost))
        await self._tell()

    async def _tell_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            await self._tell()

    async def _tell(self) -> None:
        self.edge.tell()
        if self.gate.untold:
            await self._try(self.gate.tell)

    async def _try(self, work: Callable[[], None]) -> None:
        try:
            await self.api.workers.do(work, min(self.settings.limits.request_s, self.settings.limits.stop_s))
        except FalajError as error:
            self.log.say("not_noted", "warning", code=error.code, message=error.message)

    # pages

    async def _live(self, _request: Request) -> Response:
        return Response(b'{"live":true}', media_type=JSON)

    async def _is_ready(self, _request: Request) -> Response:
        if self.stopping:
            raise Stopping("the server is about to stop")
        async with self._looking:  # a flood of these questions costs one look a second
            at, error = self._ready
            if not at or time.monotonic() - at > READY_S:
                error = await self._look()
                self._ready = (time.monotonic(), error)
        if error is not None:
            raise NotReady(f"not ready: {error.code}") from error
        return Response(b'{"ready":true}', media_type=JSON)

    async def _look(self) -> FalajError | None:
        try:
            await self.api.workers.do(self.backend.check_ready, self.settings.limits.request_s)
            return None
        except FalajError as error:
            return error

    async def _metrics(self, request: Request) -> Response:
        client = request.scope.get("client")
        local = client is not None and is_loopback(client[0]) and not self.settings.behind_proxy
        header = request.headers.get("authorization", "")
        if header or not local:
            token = self.gate.token(header)
            await self.api.workers.do(lambda: self.gate.admit(token), self.settings.limits.request_s)
        text = await self.api.workers.do(self.metrics.text, self.settings.limits.request_s)
        return Response(text, headers={"content-type": metric_words.CONTENT_TYPE})

    def _pending(self) -> float:
        try:
            return self.backend.ledger_pending()
        except FalajError:
            return float("nan")  # not known while the database is away

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/v1":
            await self.api(scope, receive, send)
            return
        raise NoRoute("nothing is served there", next_step="see /v1/openapi.json")


class _Page:
    """A page that is read with GET or HEAD."""

    def __init__(self, operation: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._operation = operation
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["falaj"].operation = self._operation
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(scope["method"], "GET, HEAD")
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)
