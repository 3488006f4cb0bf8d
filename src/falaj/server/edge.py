"""What every request passes before anything else, and every answer on its way out.

A request id, the checks that need no caller (size of the head, host, origin, the address's rate), the headers that
every answer carries, the log line and the metrics. Plain ASGI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from falaj.core.errors import FalajError
from falaj.core.ids import new_id
from falaj.server.bodies import Gone
from falaj.server.errors import HeadTooLarge, TooManyRequests, UrlTooLong
from falaj.server.limits import Buckets, address_key, check_host, check_origin
from falaj.server.logs import Log
from falaj.server.metrics import Metrics
from falaj.server.problems import response_of, unexpected
from falaj.server.settings import Settings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
HSTS = (b"strict-transport-security", b"max-age=31536000")
LINGER_BYTES = 4 << 20
LINGER_S = 1.0


class Seen:
    """What becomes known of a request while it is answered; the log line and the metrics are made from it."""

    __slots__ = ("at", "operation", "principal", "project", "request", "run", "status")

    def __init__(self) -> None:
        self.request = new_id()
        self.at = time.perf_counter()
        self.operation = "unknown"
        self.principal: str | None = None
        self.project: str | None = None
        self.run: str | None = None
        self.status = 0


class Edge:
    """The outermost application."""

    def __init__(self, app: App, settings: Settings, log: Log, metrics: Metrics) -> None:
        self._app = app
        self._limits = settings.limits
        self._hosts = settings.allowed_hosts
        self._always = (*ALWAYS, HSTS) if settings.tls or settings.behind_proxy else ALWAYS
        self._addresses = Buckets(settings.limits.by_address)
        self._log = log
        self._metrics = metrics
        self._limited = 0
        self.open = 0

    def tell(self) -> None:
        """One line for all requests that were too many since the last time: a flood of them must not fill a disk."""
        count, self._limited = self._limited, 0
        if count:
            self._log.say("rate_limited", "warning", requests=count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = scope["falaj"] = Seen()
        self.open += 1
        answer = _Answer(scope, receive, send, self._always)
        try:
            self._check(scope)
            await self._app(scope, answer.receive, answer.send)
        except Gone:
            seen.status = seen.status or 499
        except FalajError as error:
            await self._refuse(error, scope, answer)
        except Exception as error:
            self._log.broke(error, request=seen.request, operation=seen.operation)
            if seen.status:
                raise  # in the middle of an answer: the connection is cut, so that it does not look complete
            await self._refuse(unexpected(seen.request), scope, answer)
        finally:
            self.open -= 1
            self._tell(scope, seen)

    async def _refuse(self, error: FalajError, scope: Scope, answer: _Answer) -> None:
        if answer.started:
            raise error
        await response_of(error)(scope, answer.receive, answer.send)

    def _check(self, scope: Scope) -> None:
        limits = self._limits
        client = scope.get("client")
        self._addresses.take(address_key(client[0] if client else ""), time.monotonic())
        headers: dict[bytes, bytes] = {}
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
            # Of two hosts neither is believed: another program on the way may have read the other one.
            headers[name] = b"" if name == b"host" and name in headers else value
        if size > limits.header_bytes:
            raise HeadTooLarge(f"headers of {size} bytes; at most {limits.header_bytes} are read")
        if len(scope["raw_path"]) + len(scope["query_string"]) > limits.url_bytes:
            raise UrlTooLong(f"path and query of more than {limits.url_bytes} bytes", next_step="ask for less at once")
        host = headers.get(b"host", b"").decode("latin-1")
        check_host(host, self._hosts)
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        check_origin(headers.get(b"origin", b"").decode("latin-1"), site, host)

    def _tell(self, scope: Scope, seen: Seen) -> None:
        seconds = time.perf_counter() - seen.at
        self._metrics.answered(seen.operation, seen.status, seconds)
        if seen.status == TooManyRequests.status:
            self._limited += 1
            return
        self._log.say(
            "request",
            "error" if seen.status >= 500 else "info",
            own=True,  # a project is noted only once it was found
            request=seen.request,
            method=scope["method"],  # one of those that the parser knows
            operation=seen.operation,
            status=seen.status,
            ms=round(seconds * 1000, 2),
            principal=seen.principal,
            project=seen.project,
            run=seen.run,
        )


class _Answer:
    """The channel of one answer: adds the headers, and lets an early refusal reach a client that still sends."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, always: tuple[tuple[bytes, bytes], ...]) -> None:
        self._receive = receive
        self._send = send
        self._seen: Seen = scope["falaj"]
        self._always = always
        self._all_read = not any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in scope["headers"]
        )
        self._early = False

    @property
    def started(self) -> bool:
        """Whether the status has been sent."""
        return self._seen.status != 0

    async def receive(self) -> Message:
        """The next part of the body."""
        message = await self._receive()
        self._all_read = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer. One that comes before the whole body has been read is the connection's last."""
        if message["type"] == "http.response.start":
            self._seen.status = message["status"]
            headers = [*message["headers"], *self._always, (b"falaj-request", self._seen.request.encode())]
            self._early = not self._all_read
            if self._early:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self._early and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        # Closing a socket with unread bytes resets it, and the client would see the reset before the answer.
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._all_read and left > 0:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
