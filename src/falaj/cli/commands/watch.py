"""`falaj watch`: the loop of an embedded store, until it is told to end."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import msgspec

from falaj.cli import target
from falaj.cli.text import plain, safe
from falaj.core.errors import Invalid, Unavailable

Given = dict[str, Any]
MOST_TOLD = 10


class WorkWaits(Unavailable):
    """Everything that could be done was done; what failed is tried again later, by whoever watches then."""

    code = "work_waits"


def watch(options: Given, args: Given) -> None:
    """Look for causes, start what is due; with `once`, until nothing is left to do.

    Raises: Invalid where the folder works on a server, which has a loop of its own; WorkWaits with `once`, where
        something is left for later.
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
    """Rounds in a thread of their own, so that a signal ends them. Raises: WorkWaits; what the rounds raised."""
    left: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            left.extend(loops.until_idle())
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="falaj-once", daemon=True).start()
    ended.wait()
    for error in failed:
        raise error
    if left:
        facts = {"waiting": [msgspec.to_builtins(one) for one in left]}
        more = f"; {len(left) - MOST_TOLD} more" if len(left) > MOST_TOLD else ""
        raise WorkWaits(
            "; ".join(map(_waits, left[:MOST_TOLD])) + more,
            next_step="falaj watch --once again after that; falaj trigger list says what failed",
            facts=facts,
        )


def _waits(one: Any) -> str:
    """`retrain: start 3 waits until 2026-11-26 20:03:55Z after 3 attempts (run_failed)`."""
    what = f"{one.name}: start {one.start}" if one.start else f"{one.name}: its report"
    if not one.until:
        return f"{what} waits for its turn or is another process's"
    times = f" after {one.attempt} attempt{'s' if one.attempt > 1 else ''}" if one.attempt else ""
    return f"{what} waits until {plain(one.until)}{times}{f' ({one.why})' if one.why else ''}"


def _tell(event: str, level: str = "info", **facts: Any) -> None:
    """One event a line, on standard error."""
    told = "   ".join(f"{safe(key)} {plain(value, key)}" for key, value in facts.items() if value is not None)
    print(f"  {event.replace('_', ' ')}   {told}", file=sys.stderr, flush=True)


def _silent(event: str, level: str = "info", **facts: Any) -> None:
    """Nothing."""
