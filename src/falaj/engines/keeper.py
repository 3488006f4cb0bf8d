"""Keeps the processes that attempts are forked from, from one run to the next.

Importing scikit-learn takes seconds. A process that runs many pipelines (a server, `falaj watch`) pays for it once:
what a run has forked from is handed back when nothing of the run is left, and the next run of the same interpreter,
modules, project and principal takes it. It serves one run at a time, has imported libraries and nothing else, and knows
of no run but what its socket says: no folder, no token, no code of a project. Attempts cannot reach into it, since the
kernel fences them (`fence`); where it does not, nothing is kept.

It is ended when it was idle for a while, when there are too many, with the keeper, and by the kernel with the process
of the keeper, however that ends. One that died, or whose surroundings changed (a library was installed), is not used
again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from falaj.engines import fence, parent

IDLE_S: Final = 300.0
MOST: Final = 4
MAX_WORDS: Final = 300
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SSL_CERT_FILE")


class Key(NamedTuple):
    """What two runs must have in common to be forked from the same process.

    Attributes:
        interpreter: the path of a Python.
        modules: imported before the first fork.
        project, principal: whose runs; "" for a process that nobody else takes.
        folder: of the only run that it is for, "" for any. What such a process imports is not trusted: it is behind
            the fence from its first moment, and sees that folder alone.
    """

    interpreter: str = sys.executable
    modules: tuple[str, ...] = ()
    project: str = ""
    principal: str = ""
    folder: str = ""


class Parent(msgspec.Struct, eq=False):
    """A process that forks, and the socket by which it is asked to.

    Attributes:
        state: of its surroundings, when it was begun.
        idle_at: since when nobody has it, by the monotonic clock.
        words: the last line of what it said; known once it was ended.
    """

    key: Key
    process: subprocess.Popen[bytes]
    control: socket.socket
    log: IO[bytes]
    state: object
    idle_at: float = 0.0
    words: str = ""

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def end(self, patience_s: float = 0.0) -> None:
        """End it, and with it all that came from it.

        Args:
            patience_s: how long it may take to end that in good order.
        """
        self.control.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self.process.kill()
        self.process.wait()
        size = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size - MAX_WORDS))
        self.words = self.log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self.log.close()

    def forget(self) -> None:
        """In a fork of the process that began it: have no part in it."""
        self.control.close()
        self.process.returncode = 0  # another's child: there is nothing to wait for
        self.log.close()


class Keeper:
    """The processes that wait for a run. For any number of threads of one process.

    Args:
        idle_s: how long one may wait.
        most: how many may wait at once; of more, the one that waits for longest is ended.
    """

    def __init__(self, *, idle_s: float = IDLE_S, most: int = MOST) -> None:
        self._idle_s, self._most, self._closed = idle_s, most, False
        self._idle: list[Parent] = []
        self._timer: threading.Timer | None = None
        self._begin()

    def take(self, key: Key) -> Parent:
        """A process for a run, which hands it back or ends it. Raises: OSError where none can be begun."""
        if self._pid != os.getpid():  # in a fork
            for one in self._idle:
                one.forget()
            self._idle, self._timer = [], None
            self._begin()
        with self._lock:
            if self._closed:
                raise OSError("no process is begun any more: whoever runs steps here is about to end")
            state = surroundings_of(key.interpreter)
            found = [one for one in self._idle if one.key == key]
            fit = next((one for one in found if one.state == state and one.is_alive()), None)
            for one in found:
                self._idle.remove(one)
        for one in found:
            if one is not fit:
                one.end()
        if fit is not None:
            return fit
        # Begun by a thread that lasts: the kernel ends a process with the thread that began it, not with its process.
        return self._starter.submit(_begun, key, state).result()

    def give_back(self, one: Parent) -> None:
        """Have it wait for the next run. Nothing may have been left by the last one."""
        over: list[Parent] = []
        with self._lock:
            if self._closed or one.key.folder or not one.is_alive() or not fence.is_there():
                over.append(one)
            else:
                over += [other for other in self._idle if other.key == one.key]
                one.idle_at = time.monotonic()
                self._idle = [*(other for other in self._idle if other not in over), one]
                many = max(0, len(self._idle) - self._most)
                over += self._idle[:many]
                del self._idle[:many]
                self._watch()
        for other in over:
            other.end()

    def close(self) -> None:
        """End what waits; what is handed back from now on is ended, too."""
        with self._lock:
            self._closed = True
            over, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
        for one in over:
            one.end()
        self._starter.shutdown(wait=False)

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="falaj-keeper")

    def _watch(self) -> None:
        """Look again when the one that waits for longest has waited long enough. With the lock held."""
        if self._timer is None and self._idle:
            self._timer = threading.Timer(self._idle[0].idle_at + self._idle_s - time.monotonic(), self._tidy)
            self._timer.daemon = True
            self._timer.start()

    def _tidy(self) -> None:
        with self._lock:
            over = [one for one in self._idle if time.monotonic() - one.idle_at >= self._idle_s]
            self._idle = [one for one in self._idle if one not in over]
            self._timer = None
            if not self._closed:
                self._watch()
        for one in over:
            one.end()


def _begun(key: Key, state: object) -> Parent:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    source = str(Path(__file__).resolve().parents[2])
    words = [key.interpreter, "-P", "-c", parent.BOOT, str(theirs.fileno()), source, ",".join(key.modules)]
    if key.folder:
        words = fence.behind(words, [key.folder])
    log = tempfile.TemporaryFile()  # noqa: SIM115  it is closed with the process
    try:
        process = subprocess.Popen(  # noqa: S603  an interpreter and code of our own, no shell
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=surroundings(key.interpreter),
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        log.close()
        raise
    finally:
        theirs.close()
    return Parent(key, process, ours, log, state)


def surroundings(interpreter: str = sys.executable) -> dict[str, str]:
    """What attempts know of their surroundings: no token, no secret; settings by which a fork and a run repeat.

    Args:
        interpreter: one of an environment has its programs found before all others.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if interpreter != sys.executable:
        place = Path(interpreter).parent
        kept |= {"VIRTUAL_ENV": str(place.parent), "PATH": f"{place}:{kept.get('PATH', os.defpath)}"}
    return {
        "LC_ALL": "C.UTF-8",
        **kept,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Attempts run side by side, one a core: were each to have threads for all of them, they would take turns.
        "OMP_NUM_THREADS": "1",
        # A process with two threads cannot be forked safely: these two begin some when they are imported.
        "OPENBLAS_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }


def surroundings_of(interpreter: str) -> tuple[Mapping[str, str], tuple[tuple[str, int], ...]]:
    """What the modules that an interpreter imports come from: what it knows, and when its libraries last changed.

    Whatever is installed, removed or renewed changes the folder that it lies in.
    """
    places = [Path(interpreter), *sorted(Path(interpreter).parent.parent.glob("lib/python3*/*-packages"))]
    if interpreter == sys.executable:
        places += [Path(place) for place in sys.path if place.endswith("-packages")]
    found: dict[str, int] = {}
    for place in places:
        with suppress(OSError):
            found[str(place)] = place.stat().st_mtime_ns
    return surroundings(interpreter), tuple(found.items())
