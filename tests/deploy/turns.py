"""A rollout carried on by processes that are killed: `python -m tests.deploy.turns PLACE DEPLOYMENT SEED KILLS`.

Each turn is a fork of its own: it opens the store, does the one thing that is next, and is killed with SIGKILL
somewhere on the way: after a random time, or exactly between a commit and the file that tells of it. Rollouts follow
one another, each rolled back at its end, until so many were killed; the last one is let be.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from falaj.core.bundle_folder import BundleFolder
from falaj.platform import Platform
from tests.deploy.lines import answer, spread

LONGEST_S = 0.25
END = 7


def next_thing(platform: Platform, name: str, *, last: bool) -> bool:
    """Promote, then answer and tick until the ref has moved, then roll it back. Returns: whether that was all."""
    session = platform.session("flights")
    now: dict[str, Any] = session.call("deploy.status", {"deployment": name})
    if now["rollout"]:
        traffic(platform.layout.serving / name, now)
        session.call("deploy.tick", {"deployment": name})
        return False
    moves = session.call("asset.log", {"thing": f"kite@{name}"})["moves"]
    if moves[0]["version"] == 2:
        session.call("ref.rollback", {"thing": f"kite@{name}"})
    elif last and len(moves) > 1:
        return True
    else:
        session.call("ref.promote", {"thing": f"kite@{name}", "version": 2})
    return False


def traffic(folder: Path, now: dict[str, Any]) -> None:
    """What both versions answered since the step began, once: half and half."""
    log, revision = BundleFolder(folder).log, now["revision"]
    log.mkdir(exist_ok=True)
    lines = []
    for at in range(300):
        lines += answer("canary", spread(at), version=2, revision=revision)
        lines += answer("stable", spread(at), version=1, revision=revision)
    part = log / f".{revision}"
    part.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    part.rename(log / f"{revision:026d}.jsonl")


def turn(place: Path, name: str, *, unwritten: bool, last: bool) -> None:
    """One turn, in a process of its own. Ends the process: 0 for one more, `END` for the end."""
    code = 1
    try:
        with Platform.open(place) as platform:
            if unwritten:
                die = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
                platform.ground.catalog.follow._published = die
            code = END if next_thing(platform, name, last=last) else 0
    finally:
        os._exit(code)


def main(place: Path, name: str, seed: int, kills: int) -> int:
    draw, killed = random.Random(seed), 0
    for _ in range(10 * kills + 100):
        unwritten = killed < kills and draw.random() < 0.3
        if (child := os.fork()) == 0:
            turn(place, name, unwritten=unwritten, last=killed >= kills)
        if killed < kills and not unwritten:
            time.sleep(draw.uniform(0, LONGEST_S))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == END:
            print(killed)
            return 0
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1:
            return 1
    return 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
