"""Structured logs: one JSON object a line, to standard error, without secrets or names of persons.

A line never holds a header, a body, a query or the path of an unknown route; whatever looks like a token is redacted
from the finished line all the same, since a message may come from a library.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from falaj.core.encoding import moment

HIDDEN = "[redacted]"
REPEAT_S = 1.0
MAX_KNOWN = 100
_SECRET = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)[^\s\"\\,]+"  # credentials of a header
    r"|\bfalaj_[A-Za-z0-9_.\-]{6,}"  # tokens of Falaj
    r"|(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-.]+"  # signed tokens of others
    r"|(?<=://)[^\s/\"@]+@"  # user and password in an address
    r"|-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)"  # keys
    r"|(?<![A-Za-z0-9_\-:])[A-Za-z0-9_\-]{36,}"  # long random words; digests keep their `sha256:`
)
_encoder = msgspec.json.Encoder(enc_hook=str)


def redact(text: str) -> str:
    """Text without anything that looks like a token, key or password."""
    return _SECRET.sub(HIDDEN, text)


class Log:
    """Writes lines to a stream, whole and one at a time."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, event: str, level: str = "info", *, own: bool = False, **facts: Any) -> None:
        """One line: when, how grave, what, and the facts that are not None.

        Args:
            own: every fact is the edge's own word (an id, a declared name, a number), so there is nothing to redact;
                looking would be half of what a line costs.
        """
        kept = {k: v for k, v in facts.items() if v is not None}
        line = _encoder.encode({"at": moment(datetime.now(UTC)), "level": level, "event": event, **kept}).decode()
        with self._lock, suppress(OSError):  # whoever read the log is gone, or the disk is full: serving goes on
            stream = self._stream or sys.stderr
            stream.write((line if own else redact(line)) + "\n")
            stream.flush()

    def broke(self, error: BaseException, **facts: Any) -> None:
        """An error that nobody expected: its type, message and places. Values of variables are not shown."""
        places = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-12:]]
        self.say("error", "error", type=type(error).__name__, message=str(error)[:500], trace=places, **facts)


class Bridge(logging.Handler):
    """Takes what libraries log and says it in the same form; of the same words again, one line a second.

    uvicorn warns of every request that is no HTTP, and whoever sends many of those must not fill a disk.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._last: dict[str, tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._log.broke(error, logger=record.name)
            return
        at, untold = self._last.get(record.msg, (-REPEAT_S, 0))
        now = time.monotonic()
        if now - at < REPEAT_S:
            self._last[record.msg] = (at, untold + 1)
            return
        if len(self._last) >= MAX_KNOWN:
            self._last.clear()
        self._last[record.msg] = (now, 0)
        message = record.getMessage()[:500]
        self._log.say("log", record.levelname.lower(), logger=record.name, message=message, again=untold or None)


def take_over(log: Log, names: tuple[str, ...] = ("uvicorn", "uvicorn.error", "asyncio")) -> None:
    """Let the named loggers speak through `log`, from warnings upwards."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers = [Bridge(log)]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
