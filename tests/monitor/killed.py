"""Collects again and again, and is killed each time at another of the events that Python tells of: files and rows.

    python -m tests.monitor.killed PLACE PREPARED SEED KILLS

Before each run a prepared segment is put into the log. Each run is a process forked from this one, which has imported
and opened nothing. Prints how the runs ended, a word each.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401  so that a run need not import it

from falaj.platform import Platform

POINTS = frozenset(
    {"open", "os.link", "os.remove", "os.rename", "os.mkdir", "os.listdir", "shutil.rmtree", "os.scandir"}
)


def collect(place: Path, at: int) -> None:
    """Collect; killed at the event of that number."""
    platform = Platform.open(place)
    seen = 0

    def hook(event: str, _args: Any) -> None:
        nonlocal seen
        if event in POINTS:
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    platform.session("kites").call("monitor.collect", {"deployment": "delay"})
    Path(place, "events").write_text(str(seen))
    os._exit(0)


def main(place: Path, prepared: Path, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    log = place / ".falaj" / "serving" / "delay" / "log"
    total = 0
    for number, segment in enumerate(sorted(prepared.iterdir())[:kills]):
        shutil.move(segment, log / segment.name)
        # The first run is not killed, and tells how many events there are. Every fourth is killed near the end, where
        # what was committed is removed from the log.
        at = 0 if not number else total - rng.randrange(6) if number % 4 == 0 else rng.randrange(1, total)
        child = os.fork()
        if not child:
            try:
                collect(place, at)
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("killed" if status == -signal.SIGKILL else "ended" if not status else f"failed {status}", flush=True)
        total = total or int((place / "events").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
