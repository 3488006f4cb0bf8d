"""Where scoring processes come from: one clean process has the libraries imported and forks a child for each model.

Importing scikit-learn takes seconds; a model is loaded in milliseconds. So the libraries are imported once, by a
process that never sees a model, and each model gets a fork of it, which locks itself up before it reads a byte
(`worker`). That first process is started clean: no environment of ours, no inherited files, and its only tie is one
socket. It ends when that closes, or after five idle minutes; the next model starts another.
"""

from __future__ import annotations

import atexit
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from falaj.core.errors import MissingPart
from falaj.models.errors import ScoringStopped
from falaj.models.worker import END, FORK, RUNNING, STATUS

_REQUEST, _REPLY = struct.Struct("<Bq"), struct.Struct("<q")
_ANSWER_S = 120.0  # the first answer waits for the imports
_END_S = 5.0
_BOOT = "import sys; sys.path.append(sys.argv[1]); from falaj.models.worker import main; main()"


class Nursery:
    """Starts, watches and ends scoring processes. For any number of threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._has_answered = False

    def fork(self, pipes: Sequence[int]) -> int:
        """A new scoring process; returns its id.

        Args:
            pipes: what becomes its standard input, output and error.
        Raises: ScoringStopped where none can be started; MissingPart.
        """
        with self._lock:
            for attempt in (1, 2):  # an idle one may end just as it is asked
                try:
                    control = self._started()
                    socket.send_fds(control, [_REQUEST.pack(FORK, 0)], list(pipes))
                    return self._reply(control)
                except OSError as error:
                    self._close()
                    if attempt == 2:
                        raise ScoringStopped(f"no scoring process can be started: {error}") from error
        raise AssertionError("unreachable")

    def warm(self) -> None:
        """Begin importing, without waiting: for whoever will need a model soon and has other work before."""
        with self._lock, suppress(OSError):
            self._started()

    def end(self, pid: int, *, patience_s: float = 0.0) -> int | None:
        """End a process; returns its exit code, negative for the signal that ended it; None where that is not known.

        Args:
            patience_s: how long it may take to end by itself.
        """
        until = time.monotonic() + patience_s
        while True:
            is_late = time.monotonic() >= until
            with self._lock:
                if self._control is None:
                    return None
                try:
                    self._control.sendall(_REQUEST.pack(END if is_late else STATUS, pid))
                    status = self._reply(self._control)
                except OSError:
                    self._close()  # whoever is left ends with it
                    return None
            if status != RUNNING:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)

    def close(self) -> None:
        """End the nursery and all that came from it."""
        with self._lock:
            self._close()

    def forget(self) -> None:
        """In a fork of this process: have no part in what the other has."""
        self._lock = threading.Lock()
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0  # another's child: there is nothing to wait for
        self._control = self._process = None

    # inside, with the lock held

    def _started(self) -> socket.socket:
        if self._control is not None:
            return self._control
        if not sys.executable:
            raise MissingPart("no Python interpreter is known to run models with", next_step="run Falaj with python")
        ours, theirs = socket.socketpair()
        source = Path(__file__).resolve().parents[2]
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and code, no shell
                [sys.executable, "-I", "-c", _BOOT, str(source)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env=clean_environment(),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(_ANSWER_S)
        self._control, self._has_answered = ours, False
        return ours

    def _reply(self, control: socket.socket) -> int:
        reply = b""
        while len(reply) < _REPLY.size:
            piece = control.recv(_REPLY.size - len(reply))
            if not piece:
                raise OSError("the process that starts them ended")
            reply += piece
        self._has_answered = True
        (value,) = _REPLY.unpack(reply)
        return int(value)

    def _close(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S if self._has_answered else 0)  # one that still imports has no children
            self._process.kill()
            self._process.wait()
            self._process = None


def clean_environment() -> dict[str, str]:
    """All that the processes know of their surroundings: nothing of ours but where shared libraries lie."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "JOBLIB_MULTIPROCESSING": "0",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


NURSERY = Nursery()
"""The nursery of this process; nothing runs until the first model is asked for."""
atexit.register(NURSERY.close)
os.register_at_fork(after_in_child=NURSERY.forget)
