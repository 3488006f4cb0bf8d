"""The process that attempts are forked from: it imports what the project's files import, then only forks.

    python -P -c … FD SOURCE MODULES

Importing scikit-learn takes seconds, a fork milliseconds. So libraries are imported here once, and nothing is ever
computed: a library that began threads could not be forked, and where one did, attempts are executed anew instead. Its
only tie is one socket; it ends when that closes, and every attempt ends with it.

    in    {"start": 7, "folder": "…", "exec": false}      {"end": 7}
    out   {"ready": …}   {"started": 7, "pid": 4711}   {"ended": 7, "status": 0, "peak": 183500800}
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from falaj.engines import worker
from falaj.models.jail import adopt_orphans, end_with_parent

MAX_MESSAGE = 64 * 1024
SWEEPS = 100
OURS = ("numpy.random", "falaj.engines.outputs")
WITH = {
    "pyarrow": ("pyarrow.parquet", "pyarrow.dataset", "duckdb", "falaj.engines.score"),
    "sklearn": ("skops.io",),
}
"""What attempts need beside a library that the project imports: were it not here, each would import it for itself."""


class Parent:
    """Forks, watches and ends attempts, one socket's worth."""

    def __init__(self, control: socket.socket, source: str) -> None:
        self.control, self.source = control, source
        self.children: dict[int, tuple[int, int]] = {}  # pidfd -> (number, pid)

    def serve(self) -> None:
        """Answer until the socket closes."""
        while True:
            waiting = [self.control.fileno(), *self.children]
            for handle in select.select(waiting, [], [])[0]:
                if handle in self.children:
                    self._ended(handle)
                elif not self._asked():
                    return

    def end_all(self) -> None:
        """End every attempt with all that it began."""
        for _, pid in self.children.values():
            _kill(pid)
        self.children.clear()
        self._end_orphans()

    def _asked(self) -> bool:
        message = self.control.recv(MAX_MESSAGE)
        if not message:
            return False
        asked = json.loads(message)
        if "start" in asked:
            self._start(int(asked["start"]), Path(asked["folder"]), anew=bool(asked["exec"]))
        else:
            for number, pid in self.children.values():
                if number == asked["end"]:
                    _kill(pid)
        return True

    def _start(self, number: int, folder: Path, *, anew: bool) -> None:
        anew = anew or _threads() != 1
        ours = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child(folder, ours, anew=anew)
        self.children[os.pidfd_open(pid)] = (number, pid)
        self._say({"started": number, "pid": pid})

    def _child(self, folder: Path, parent: int, *, anew: bool) -> None:
        code = worker.FAILED
        try:
            end_with_parent()
            if os.getppid() != parent:  # it ended before the kernel was told
                os._exit(code)
            if anew:
                words = ["-P", "-c", BOOT_WORKER, self.source, str(folder)]
                os.execv(sys.executable, [sys.executable, *words])  # noqa: S606  our own interpreter and code
            worker.become(folder)
            code = worker.run(folder)
        except BaseException:  # noqa: BLE001  the last words of the process
            sys.excepthook(*sys.exc_info())
        finally:
            worker.finish(code)

    def _ended(self, handle: int) -> None:
        number, pid = self.children.pop(handle)
        os.close(handle)
        # The group of the session is still its own while its leader is not waited for.
        _kill(pid)
        _, status, usage = os.wait4(pid, 0)
        self._end_orphans()
        self._say({"ended": number, "status": status, "peak": usage.ru_maxrss * 1024})

    def _end_orphans(self) -> None:
        """End what an attempt left behind, in sessions of its own too: it became a child of this process with its end.

        What attempts that go on began is below them, not here.
        """
        mine = {pid for _, pid in self.children.values()}
        for _ in range(SWEEPS):  # each one that ends may leave more; what multiplies faster is not waited for
            if not (left := _children() - mine):
                return
            for pid in left:
                _kill(pid)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _say(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the one who asked is gone, and the next look at the socket ends this process
            self.control.send(json.dumps(message).encode())


# Falaj is imported by its own path: where it lies beside other libraries, those are not of an attempt's environment.
_OURS = (
    "import sys; from importlib import util; place = sys.argv[{at}] + '/falaj'; "
    "spec = util.spec_from_file_location('falaj', place + '/__init__.py', submodule_search_locations=[place]); "
    "falaj = sys.modules['falaj'] = util.module_from_spec(spec); spec.loader.exec_module(falaj); "
)
BOOT = _OURS.format(at=2) + "from falaj.engines.parent import main; main()"
BOOT_WORKER = _OURS.format(at=1) + (
    "from pathlib import Path; from falaj.engines import worker; "
    "folder = Path(sys.argv[2]); worker.become(folder); worker.finish(worker.run(folder))"
)
PROBE = _OURS.format(at=1) + "from falaj.engines import parent, outputs"
"""Whether attempts can begin in an environment: it has what they import."""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # it may not have made its session yet


def _children() -> set[int]:
    try:
        return {int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    except OSError:  # a kernel that does not tell
        return set()


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208  names alone


def _wanted(modules: list[str]) -> list[str]:
    """The project's modules, each followed by what goes with it."""
    return [one for name in modules for one in (name, *WITH.get(name.partition(".")[0], ()))]


def main() -> None:
    """Import what is asked for, then serve the socket."""
    handle, source, modules = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    control = socket.socket(fileno=handle)
    end_with_parent()
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, who ends us in good order
    for name in (*OURS, *_wanted(modules.split(","))):
        with suppress(BaseException):  # the step itself says what it lacks
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": _threads()}).encode())
    parent = Parent(control, source)
    try:
        parent.serve()
    finally:
        parent.end_all()
