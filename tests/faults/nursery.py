"""A process that has Falaj imported and forks a worker for each line of JSON: place, database, stop, limit, commands.

The worker says `pid N`, opens the store and does the commands one after the other, with a line of JSON for each that
was acknowledged. With stop `before` or `opened` it stops itself before or after it opened the store, until it is told
to go on: so a tracer can hold it from there. With a limit no file of it grows past so many bytes. Afterwards the
nursery says `ended STATUS`.

Forking a warm process makes a worker in a few milliseconds instead of a second; it has one thread when it forks.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from falaj.core.errors import FalajError
from falaj.platform import Platform
from tests.faults import plan


def tell(*values: object) -> None:
    """One line to whoever reads, at once and whole."""
    os.write(1, (json.dumps(values) + "\n").encode())


def work(place: Path, database: str, stop: str, limit: int, commands: list[list[str]]) -> None:
    """A worker's life."""
    tell("pid", os.getpid())
    if stop == "before":
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        platform = Platform.open(place, database=database)
        if stop == "opened":
            os.kill(os.getpid(), signal.SIGSTOP)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        session = platform.session(plan.PROJECT)
        for number, command in enumerate(commands):
            tell("begin", number)
            tell("done", number, plan.do(session, place, *command))
        platform.close()
    except FalajError as error:
        tell("failed", error.as_dict())


def main() -> None:
    """Fork until the input ends."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"{threads} threads: forking is not safe")
    tell("ready")
    for line in sys.stdin:
        place, database, stop, limit, commands = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(Path(place), database, stop, limit, commands)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        tell("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
