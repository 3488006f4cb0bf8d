"""uvicorn's protocol with bounds on what a client may keep it waiting for, which neither it nor its parser has.

A request's head has a size and a time. An answer that nobody takes ends with its connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Waits(Protocol):
    """The bounds, in bytes and seconds: of a head, until it is there, until an answer is taken."""

    @property
    def header_bytes(self) -> int: ...
    @property
    def url_bytes(self) -> int: ...
    @property
    def header_wait_s(self) -> float: ...
    @property
    def unread_s(self) -> float: ...


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose head is too large or too slow to come, or whose client does not read.

    Attributes:
        whole: the head's time is that of the whole request.
    """

    limits: Waits
    whole = False
    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The clock starts with the connection: one that says nothing is closed too."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to time."""
        _cancel(self._head_timer)
        _cancel(self._read_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes while a head is awaited. Where it begins after another request, from the next piece on."""
        if not self._in_head and self.cycle.response_complete and not self.pipeline:
            self._expect_head()  # the parser skips empty lines, and whoever sends nothing else is timed as well
        awaited = self._in_head
        super().data_received(data)
        if awaited and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes + self.limits.url_bytes:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        if not self._in_head:
            self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        super().on_headers_complete()
        self._in_head = False
        if not self.whole:
            _cancel(self._head_timer)

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        _cancel(self._head_timer)

    def pause_writing(self) -> None:
        """The client does not take what was sent. It has a while to do so."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(self.limits.unread_s, self._abort)

    def resume_writing(self) -> None:
        """It has taken it."""
        _cancel(self._read_timer)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """The connection is idle. A plain close would wait for a client that has not taken its last answer."""
        self._abort()

    def _expect_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        _cancel(self._head_timer)
        self._head_timer = self.loop.call_later(self.limits.header_wait_s, self._abort)

    def _abort(self) -> None:
        self.transport.abort()


def bounded(limits: Waits, *, whole: bool = False) -> type[asyncio.Protocol]:
    """The protocol with these limits."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits, "whole": whole})


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
