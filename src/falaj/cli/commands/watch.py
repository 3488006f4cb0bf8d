"""`falaj watch`: the loop of an embedded store, until it is told to end."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from falaj.cli import target
from falaj.cli.text import plain, safe
from falaj.core.errors import Invalid

Given = dict[str, Any]


def watch(options: Given, args: Given) -> None:
    """Look for causes, start what is due; with `once`, until nothing is left to do.

    Raises: Invalid where the folder works on a server, which has a loop of its own.
    """
    from falaj.platform import Platform
    from falaj.platform.loops import Loops

    where = target.resolve(options)
    if where.place is None or where.url:
        raise Invalid(
            f"{where.url}: a server does this by itself", next_step="falaj trigger list shows what it came to"
        )
    say = _silent if options.keys() & {"quiet", "json"} else _tell
    with Platform.open(where.place) as platform:
        loops = Loops(platform, say)
        ended = threading.Event()
        before = {one: signal.signal(one, lambda *_: ended.set()) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            if args.get("once"):
                _once(loops, ended)
            else:
                loops.start()
                ended.wait()
        finally:
            loops.stop()
            for one, handler in before.items():
                signal.signal(one, handler)


def _once(loops: Any, ended: threading.Event) -> None:
    """Rounds in a thread of their own, so that a signal ends them."""

    def work() -> None:
        try:
            loops.until_idle()
        finally:
            ended.set()

    threading.Thread(target=work, name="falaj-once", daemon=True).start()
    ended.wait()


def _tell(event: str, level: str = "info", **facts: Any) -> None:
    """One event a line, on standard error."""
    told = "   ".join(f"{safe(key)} {plain(value, key)}" for key, value in facts.items() if value is not None)
    print(f"  {event.replace('_', ' ')}   {told}", file=sys.stderr, flush=True)


def _silent(event: str, level: str = "info", **facts: Any) -> None:
    """Nothing."""
