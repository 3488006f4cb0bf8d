"""A process that has Falaj imported and forks a worker for each line of JSON: an `Errand`.

The worker says `pid N`, opens the store and does the commands one after the other, with a line of JSON for each that
was acknowledged. Afterwards the nursery says `ended STATUS`.

Forking a warm process makes a worker in a few milliseconds instead of a second; it has one thread when it forks.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import msgspec

from falaj.core.errors import FalajError
from falaj.platform import Platform
from tests.faults import plan

PR_SET_PTRACER, PTRACER_ANY = 0x59616D61, 2**64 - 1  # linux/prctl.h


class Errand(msgspec.Struct):
    """What a worker is sent for.

    Attributes:
        stop: it stops itself `before` or after it `opened` the store, until it is told to go on: so a tracer can hold
            it from there.
        limit: no file of it grows past so many bytes; 0 for none.
        user: whom it becomes first; "" for who it is.
    """

    place: str
    commands: list[list[str]]
    database: str = ""
    stop: str = ""
    limit: int = 0
    user: str = ""


def tell(*values: object) -> None:
    """One line to whoever reads, at once and whole."""
    os.write(1, (json.dumps(values) + "\n").encode())


def allow_tracer() -> None:
    """Let a tracer attach that is no ancestor of this process; some systems forbid that to all but root."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(PTRACER_ANY), 0, 0, 0)


def become(user: str) -> None:
    """Give up every right but those of that user."""
    found = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(found.pw_gid)
    os.setuid(found.pw_uid)


def work(errand: Errand) -> None:
    """A worker's life."""
    tell("pid", os.getpid())
    if errand.user:
        become(errand.user)
    if errand.stop:
        allow_tracer()
    if errand.stop == "before":
        os.kill(os.getpid(), signal.SIGSTOP)
    place = Path(errand.place)
    try:
        platform = Platform.open(place, database=errand.database)
        if errand.stop == "opened":
            os.kill(os.getpid(), signal.SIGSTOP)
        if errand.limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (errand.limit, errand.limit))
        session = platform.session(plan.PROJECT)
        for number, command in enumerate(errand.commands):
            tell("begin", number)
            tell("done", number, plan.do(session, place, *command))
        platform.close()
    except FalajError as error:
        tell("failed", error.as_dict())


def warm() -> None:
    """Import what Falaj imports late: a worker that becomes another user may not be able to read it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "warm"
        plan.make(place)
        with Platform.open(place) as platform:
            plan.do(platform.session(plan.PROJECT), place, "read")


def main() -> None:
    """Fork until the input ends."""
    warm()
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"{threads} threads: forking is not safe")
    tell("ready")
    for line in sys.stdin:
        errand = msgspec.json.decode(line, type=Errand)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(errand)
                code = 0
            except BaseException:  # noqa: BLE001  this process ends here, and says why
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        tell("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
