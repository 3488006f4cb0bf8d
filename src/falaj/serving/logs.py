"""What the inference server says of itself: one JSON object a line, to standard error. No value of any request."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from falaj.core.encoding import moment

_encoder: Final = msgspec.json.Encoder(enc_hook=str)


def say(event: str, level: str = "info", **facts: Any) -> None:
    """One line: when, how grave, what, and the facts that are not None."""
    kept = {name: value for name, value in facts.items() if value is not None}
    line = _encoder.encode({"at": moment(datetime.now(UTC)), "level": level, "event": event, **kept}).decode()
    with suppress(OSError, ValueError):  # whoever read it is gone: serving goes on
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Bridge(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        words = f"{type(error).__name__}: {error}" if error is not None else record.getMessage()
        say("log", record.levelname.lower(), logger=record.name, message=words[:500])


def take_over(names: tuple[str, ...] = ("uvicorn", "uvicorn.error", "asyncio")) -> None:
    """Let the named loggers speak in the same form, from warnings upwards."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers = [_Bridge()]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
