"""What an attempt may touch of this machine: libraries and its own inputs to read, its own folder to write.

The kernel holds it (Landlock, Linux 5.13 and later), for the process and all that it begins: the store, other runs'
files and the person's home are not there for it, it traces no process outside, and from Linux 6.12 on it signals none.
The network stays open. What holds is said with the attempt, never assumed.

Source: landlock(7), capabilities(7).
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

LANDLOCK: Final = "landlock"
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every machine
_NO_NEW_PRIVILEGES = 38
_CAPABILITIES = 0x20080522  # the version of the form, the third
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_DEVICES = 1 << 6 | 1 << 11  # making devices
_TRUNCATE = 1 << 14
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/proc", "/sys", "/dev")
_WRITABLE: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/shm")  # noqa: S108  shared memory of libraries
_libc = ctypes.CDLL(None, use_errno=True)


def libraries() -> list[str]:
    """Where programs and modules are read from."""
    paths = [*_SYSTEM, sys.prefix, sys.base_prefix, *sys.path, str(Path(__file__).parents[1])]
    paths += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return [path for path in dict.fromkeys(paths) if Path(path).is_absolute()]


def behind(words: Sequence[str], writable: Iterable[str]) -> list[str]:
    """A command of an environment's interpreter, as one that is behind the fence before that interpreter starts.

    What starts with an interpreter is chosen by the libraries of its environment, and those by whoever wrote its lock.

    Args:
        writable: folders that it may read and change, and nothing else of this host.
    """
    python = Path(words[0])
    ours = str(Path(__file__).resolve().parents[2])
    # The links of an environment lead to the Python that it was made with.
    readable = [*_SYSTEM, str(python.parent.parent), str(python.resolve().parents[1]), f"{ours}/falaj"]
    readable += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    told = [json.dumps([one for one in readable if Path(one).is_absolute()]), json.dumps([*writable])]
    return [sys.executable, "-P", "-c", _BEHIND, ours, *told, *words]


_BEHIND: Final = "import sys; sys.path.append(sys.argv[1]); from falaj.engines.fence import main; main()"


def main() -> None:
    """Give up what is not needed, then become the command."""
    readable, writable, words = json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]
    close(readable, [Path(one) for one in writable])
    os.execv(words[0], words)  # noqa: S606  an interpreter that was built here


def is_there() -> bool:
    """Whether this kernel can hold it."""
    return _version() >= 1


def _version() -> int:
    return int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)) if sys.platform == "linux" else 0


def close(readable: Iterable[str], writable: Iterable[Path]) -> tuple[str, ...]:
    """Give up for good what an attempt does not need; to be called while the process has one thread.

    Returns: the guards that hold now; none where the kernel has none.
    """
    version = _version()
    if version < 1 or _libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), 0, 0, 0) != 0:
        return ()
    files = (1 << 13) - 1 | (version >= 2) << 13 | (version >= 3) << 14
    wanted = struct.pack("QQQ", files, 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = int(_libc.syscall(_CREATE, wanted[:size], ctypes.c_size_t(size), 0))
    if rules < 0:
        return ()
    try:
        for path in readable:
            _allow(rules, path, _READ & files)
        for place in (*_WRITABLE, *writable):
            _allow(rules, str(place), files & ~_DEVICES)
        _give_up_capabilities()
        return (LANDLOCK,) if int(_libc.syscall(_RESTRICT, rules, 0)) == 0 else ()
    finally:
        os.close(rules)


def _give_up_capabilities() -> None:
    """Where this is root: be as any other. One that may watch the system reads the environment of every process."""
    _libc.capset(struct.pack("Ii", _CAPABILITIES, 0), bytes(24))  # effective, permitted, inheritable: none, for good


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be read
    try:
        if not os.path.isdir(path):  # noqa: PTH112  beside `os.open`
            rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE
        _libc.syscall(_ADD, rules, 1, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)
