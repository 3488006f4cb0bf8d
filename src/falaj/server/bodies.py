"""Reading request bodies: a small one whole, a large one as a file; never past a limit, never waiting for ever."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

from falaj.core.errors import Invalid
from falaj.server.errors import BodyTooLarge, BodyTooSlow, MediaTypeRefused
from falaj.server.settings import Limits

Receive = Callable[[], Awaitable[Any]]
CHUNK = 1 << 20


class Gone(Exception):
    """The client went away in the middle of its body. Nobody is left to be answered."""


def check_json(content_type: str, length: int | None) -> None:
    """Refuse a body that is not declared to be JSON. A request without a body needs no type.

    Raises: MediaTypeRefused.
    """
    if length == 0 and not content_type:
        return
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "application/json" or rest.strip().lower().replace('"', "") not in ("", "charset=utf-8"):
        raise MediaTypeRefused("the body must be JSON", next_step="send Content-Type: application/json")


def declared_length(headers: Any) -> int | None:
    """The length that the head declares: 0 where there is no body, None where it is not said beforehand.

    Raises: Invalid.
    """
    text = headers.get("content-length")
    if text is None:
        return None if "transfer-encoding" in headers else 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid("Content-Length is not a number", next_step="send the body's length in bytes")
    return int(text)


def check_length(length: int | None, most: int) -> None:
    """Raises: BodyTooLarge where the head already says that it is."""
    if length is not None and length > most:
        raise BodyTooLarge(f"body of {length} bytes; at most {most} are read", next_step="send less, or stage a file")


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """A whole body. Raises: BodyTooLarge as soon as it is, BodyTooSlow, Gone."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_wait_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                size += len(message.get("body", b""))
                if size > limits.body_bytes:
                    raise BodyTooLarge(
                        f"body of more than {limits.body_bytes} bytes", next_step="send less, or stage a file"
                    )
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise BodyTooSlow(f"the body did not come within {limits.body_wait_s:g} s", next_step="ask again") from None


class BodyFile(io.RawIOBase):
    """A request's body as a file, for a worker's thread to read while the loop receives.

    What has arrived is handed over in pieces of up to 1 MiB, so that crossing threads costs little.
    """

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop, silence_s: float) -> None:
        super().__init__()
        self._receive = receive
        self._loop = loop
        self._silence_s = silence_s
        self._piece = memoryview(b"")
        self._end = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises: BodyTooSlow, Gone."""
        if not self._piece and not self._end:
            self._piece = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        taken = min(len(buffer), len(self._piece))
        buffer[:taken] = self._piece[:taken]
        self._piece = self._piece[taken:]
        return taken

    async def _next(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while size < CHUNK and not self._end:
                async with asyncio.timeout(self._silence_s):
                    message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                self._end = not message.get("more_body", False)
        except TimeoutError:
            raise BodyTooSlow(f"no bytes for {self._silence_s:g} s", next_step="send the file again") from None
        return b"".join(parts)
