"""`/v1`: every declared operation at its path, staging, jobs and their events, and the first owner's way in.

Nothing else below `/v1` is answered before the caller is known, not even that a route is not there.
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from falaj.core.names import name as parse_name
from falaj.door import Caller
from falaj.server import bodies, surface
from falaj.server.auth import Gatekeeper
from falaj.server.backend import Backend
from falaj.server.edge import Receive, Scope, Seen, Send
from falaj.server.errors import Busy, MethodNotAllowed, NoRoute, TimedOut
from falaj.server.jobs import Event, Job, Jobs, not_here
from falaj.server.limits import Buckets, address_key
from falaj.server.problems import response_of
from falaj.server.records import Begun, Claim, Claimed
from falaj.server.settings import Limits
from falaj.server.surface import Route
from falaj.server.workers import Workers

JSON = "application/json"
BYTES = "application/octet-stream"
HEARTBEAT_S = 15.0
STAGE_S = 24 * 3600.0


class Api:
    """The application below `/v1`."""

    def __init__(self, backend: Backend, gate: Gatekeeper, jobs: Jobs, limits: Limits, openapi: bytes) -> None:
        self._backend = backend
        self._gate = gate
        self._jobs = jobs
        self._limits = limits
        self._routes = surface.routes(backend.operations)
        self._principals = Buckets(limits.by_principal)
        self._claims = Buckets(limits.claims)
        self._openapi = openapi
        self._index = msgspec.json.encode(surface.index(self._routes))
        self.workers = Workers(limits.threads, limits.waiting)
        self.uploads = Workers(limits.uploads, 0)
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope, receive)
        response = await self._answer(request, scope["falaj"])
        await response(scope, receive, send)

    async def _answer(self, request: Request, seen: Seen) -> Response:
        match request.scope["path"].split("/")[2:]:
            case ["claim"]:
                return await self._claim(request, seen)
            case ["openapi.json"]:
                return await self._document(request, seen, "openapi", self._openapi)
            case ["operations"]:
                return await self._document(request, seen, "operations", self._index)
            case ["projects", project, "staging"]:
                return await self._staging(request, seen, project)
            case ["jobs", run]:
                return await self._job(request, seen, run)
            case ["jobs", run, "events"]:
                return await self._events(request, seen, run)
            case ["projects", project, operation]:
                route = self._routes.get((True, operation))
            case [operation]:
                project, route = "", self._routes.get((False, operation))
            case _:
                project, route = "", None
        if route is None:
            await self._caller(request, seen)
            raise NoRoute("nothing is served there", next_step="see /v1/openapi.json")
        return await self._operation(request, seen, route, project)

    # who, how often

    def _admit(self, token: str, seen: Seen) -> Caller:
        caller = self._gate.admit(token)
        seen.principal = caller.principal.id
        self._principals.take(caller.principal.id, time.monotonic())
        return caller

    async def _caller(self, request: Request, seen: Seen) -> Caller:
        token = self._gate.token(request.headers.get("authorization", ""))
        return cast(Caller, await self._do(lambda: self._admit(token, seen)))

    async def _do(self, work: Callable[[], Any]) -> Any:
        return await self.workers.do(work, self._limits.request_s)

    # operations

    async def _operation(self, request: Request, seen: Seen, route: Route, project: str) -> Response:
        operation = route.operation
        if request.method != route.method:
            await self._caller(request, seen)
            surface.check_method(route, request.method)
        seen.operation = operation.name
        if route.method == "POST":
            return await self._post(request, seen, route, project)
        token = self._gate.token(request.headers.get("authorization", ""))
        pairs = request.query_params.multi_items()

        def work() -> Any:  # one crossing of threads for a whole query
            caller = self._admit(token, seen)
            arguments = surface.query_arguments(route, pairs)
            result = self._backend.door.call(operation.name, arguments, caller=caller, project=project)
            seen.project = project or None
            return msgspec.json.encode(result) if operation.sort == "query" else _begun_stream(result)

        if operation.sort == "query":
            return Response(await self._do(work), media_type=JSON)
        first, rest = await self._do(work)
        return StreamingResponse(self._stream(first, rest), media_type=BYTES)

    async def _stream(self, first: bytes, rest: Pieces) -> AsyncIterator[bytes]:
        piece: bytes | None = first
        try:
            while piece is not None:
                if piece:
                    yield piece
                piece = await self._do(rest.next)
        finally:  # shielded: a client that went away must not leave files open
            await asyncio.shield(self._do(rest.close))

    async def _post(self, request: Request, seen: Seen, route: Route, project: str) -> Response:
        operation = route.operation
        caller = await self._caller(request, seen)
        body = await self._json_body(request, operation.name)
        args = surface.body_arguments(operation.params, body, self._limits.depth, operation.name)
        key = request.headers.get("idempotency-key", "")
        surface.check_key(key)
        if operation.sort == "job":
            job = self._jobs.start(operation, args, caller, project, key, seen.request)
            return await self._begun(request, seen, job)

        def work() -> bytes:
            result = self._backend.door.call(operation.name, args, caller=caller, project=project, idempotency_key=key)
            seen.project = project or None
            return msgspec.json.encode(result)

        return Response(await self._do(work), media_type=JSON)

    async def _json_body(self, request: Request, what: str) -> bytes:
        length = bodies.declared_length(request.headers)
        bodies.check_json(request.headers.get("content-type", ""), length)
        bodies.check_length(length, self._limits.body_bytes)
        surface.check_no_query(what, request.url.query)
        return await bodies.read_body(request.receive, self._limits)

    # jobs

    async def _begun(self, request: Request, seen: Seen, job: Job) -> Response:
        if not await job.wait(lambda j: bool(j.run) or j.ended, self._limits.request_s):
            raise TimedOut("the job did not begin in time; it may still", next_step="falaj run list")
        if job.run:
            seen.run, seen.project = job.run, job.project or None
        return await self._state(request, job)

    async def _state(self, request: Request, job: Job) -> Response:
        wait = surface.wait_of(request.headers.get("prefer", ""), self._limits.wait_s)
        if wait and not self._jobs.stopping:
            await job.wait(lambda j: j.ended or self._jobs.stopping, wait)
        if job.error is not None:
            return response_of(job.error)
        if job.result is not None:
            return Response(job.result, media_type=JSON)
        where = f"/v1/jobs/{job.run}"
        begun = Begun(run=job.run, status=where)
        return Response(msgspec.json.encode(begun), 202, {"Location": where}, media_type=JSON)

    async def _job(self, request: Request, seen: Seen, run: str) -> Response:
        job = await self._own_job(request, seen, run)
        seen.operation = "job"
        return await self._state(request, job)

    async def _own_job(self, request: Request, seen: Seen, run: str) -> Job:
        caller = await self._caller(request, seen)
        _only("GET", request.method)
        job = self._jobs.find(run, caller)
        if job is None:
            raise not_here(run)
        seen.run, seen.project = run, job.project or None
        return job

    async def _events(self, request: Request, seen: Seen, run: str) -> Response:
        job = await self._own_job(request, seen, run)
        seen.operation = "events"
        if self._streams >= self._limits.streams:
            raise Busy(f"{self._limits.streams} event streams are open, which is as many as may be")
        return StreamingResponse(self._told(job), media_type="text/event-stream")

    async def _told(self, job: Job) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._limits.stream_s
        told = 0
        self._streams += 1
        try:
            while (left := deadline - clock()) > 0 and not self._jobs.stopping:
                last = job.last
                if last.number > told:
                    told = last.number
                    yield _sse(last)
                    if last.name == "end":
                        return
                elif not await job.wait(self._news_after(told), min(HEARTBEAT_S, left)):
                    yield b": still at work\n\n"
        finally:
            self._streams -= 1

    def _news_after(self, told: int) -> Callable[[Job], bool]:
        return lambda job: job.last.number > told or self._jobs.stopping

    # the first owner, staging, documents

    async def _claim(self, request: Request, seen: Seen) -> Response:
        seen.operation = "claim"
        _only("POST", request.method)
        self._claims.take(address_key(request.client.host if request.client else ""), time.monotonic())
        asked = surface.body_arguments(Claim, await self._json_body(request, "claim"), self._limits.depth, "claim")
        person = parse_name(asked.name, "person")
        principal, text = await self._do(lambda: self._gate.claim(asked.token, person))
        seen.principal = principal.id
        return Response(msgspec.json.encode(Claimed(principal=principal, token=text)), media_type=JSON)

    async def _staging(self, request: Request, seen: Seen, project: str) -> Response:
        caller = await self._caller(request, seen)
        _only("PUT", request.method)
        seen.operation = "staging"
        parse_name(project, "project")
        file_name = parse_name(surface.name_of(request.query_params, "name"), "file name")
        bodies.check_length(bodies.declared_length(request.headers), self._limits.staging_bytes)
        raw = bodies.BodyFile(request.receive, asyncio.get_running_loop(), self._limits.body_wait_s)
        stream = io.BufferedReader(raw, bodies.CHUNK)

        def work() -> bytes:
            kept = self._backend.stage(caller, project, file_name, stream, self._limits.staging_bytes)
            seen.project = project
            return msgspec.json.encode(kept)

        return Response(await self.uploads.do(work, STAGE_S), media_type=JSON)

    async def _document(self, request: Request, seen: Seen, operation: str, body: bytes) -> Response:
        await self._caller(request, seen)
        _only("GET", request.method)
        seen.operation = operation
        return Response(body, media_type=JSON)


class Pieces:
    """The pieces of a transfer, taken one at a time by whichever thread is free."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._lock = threading.Lock()
        self._closed = False

    def next(self) -> bytes | None:
        """The next piece, None at the end."""
        with self._lock:
            return None if self._closed else next(self._pieces, None)

    def close(self) -> None:
        """Let go of what they are read from, after the piece that is being read."""
        with self._lock:
            self._closed = True
            if close := getattr(self._pieces, "close", None):
                close()


def _begun_stream(result: Any) -> tuple[bytes, Pieces]:
    """The first piece, so that an error before any byte is still an answer of its own, and the rest."""
    pieces = Pieces(iter(result))
    return pieces.next() or b"", pieces


def _only(allowed: str, method: str) -> None:
    if method != allowed:
        raise MethodNotAllowed(method, allowed)


def _sse(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.name.encode(), msgspec.json.encode(event.facts))
