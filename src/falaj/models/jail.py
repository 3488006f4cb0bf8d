"""Giving up rights: what the process that runs a model does to itself before it reads the first byte of the model.

The forms that are let in hold no code, so this is the second line: if a bug in a library that loads or runs a model
could be made to run an attacker's code, that code would find no network, no file but the installed libraries, no
other process and no way to start one. Each guard stands alone; which of them hold is said, never assumed:

    network namespace   of its own, with not even a loopback that is up
    landlock            files may be read below the libraries only, and written nowhere (Linux 5.13 and later)
    seccomp             system calls by an allow-list: reading, memory, threads; no socket, no exec, no fork, no
                        opening for writing (x86-64 and arm64)

Standard library only; to be called while the process has one thread, so that every later one inherits it.
Sources: seccomp(2), landlock(7), user_namespaces(7), the system call tables of Linux 6.1.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
from collections.abc import Iterable
from typing import Final

NAMESPACE, LANDLOCK, SECCOMP = "network namespace", "landlock", "seccomp"
GUARDS: Final = (NAMESPACE, LANDLOCK, SECCOMP)

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 4, 38, 22
_PR_SET_CHILD_SUBREAPER = 36
_ARCHES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# Name -> numbers on x86-64 and arm64; None where that machine has no such call.
_FREE: Final[dict[str, tuple[int | None, int | None]]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "fadvise64": (221, 223),
    "poll": (7, None),
    "ppoll": (271, 73),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "mincore": (27, 232),
    "brk": (12, 214),
    "membarrier": (324, 283),
    "get_mempolicy": (239, 236),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "arch_prctl": (158, None),
    "prctl": (157, 167),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "time": (201, None),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "times": (100, 153),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_OPEN, _OPENAT, _CLONE, _FCNTL = (2, None), (257, 56), (56, 220), (72, 25)
_IOCTL, _TGKILL, _PRLIMIT = (16, 29), (234, 131), (302, 261)

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000  # the last: O_TMPFILE
_FCNTLS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_IOCTLS = (0x5401, 0x5413, 0x5451)  # TCGETS, TIOCGWINSZ, FIOCLEX

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06

Instruction = tuple[int, int, int, int]
_libc = ctypes.CDLL(None, use_errno=True)


def lock(readable: Iterable[str]) -> tuple[str, ...]:
    """Give up for good what running a model does not need.

    Args:
        readable: files and folders that may still be read; those that are not there are passed over.
    Returns: the guards that hold now, of `GUARDS`; none outside of Linux.
    """
    if sys.platform != "linux":
        return ()
    held = []
    if _leave_network():
        held.append(NAMESPACE)
    end_with_parent()  # again: entering the namespace cleared it, and set the next
    _prctl(_PR_SET_DUMPABLE, 0)
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return tuple(held)
    if _landlock([*readable, "/proc/self"]):
        held.append(LANDLOCK)
    if _seccomp():
        held.append(SECCOMP)
    return tuple(held)


def end_with_parent() -> None:
    """Let the kernel end this process when its parent ends, however that ends. Linux only."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Let what this process began stay below it, also where its own parent ends sooner. Linux only."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> bool:
    return int(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)) == 0


def _leave_network() -> bool:
    """An empty network namespace, in a user namespace without rights over the machine where those are allowed."""
    wishes = (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET)
    return any(int(_libc.unshare(wish)) == 0 for wish in wishes)


# Landlock: the calls have the same numbers on every machine.

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3


def _landlock(readable: Iterable[str]) -> bool:
    version = int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    if version < 1:
        return False
    files = (1 << 13) - 1 | (version >= 2) << 13 | (version >= 3) << 14 | (version >= 5) << 15
    network, scopes = (0b11 if version >= 4 else 0), (0b11 if version >= 6 else 0)
    wanted = struct.pack("QQQ", files, network, scopes)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = int(_libc.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0))
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _may_read(ruleset, path)
        return int(_libc.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _may_read(ruleset: int, path: str) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112  standard library, little of it
        _libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)


# seccomp: a program of the classic BPF machine, run by the kernel at each system call.


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _seccomp() -> bool:
    machine = os.uname().machine
    if machine not in _ARCHES or sys.byteorder != "little":
        return False
    column, arch = _ARCHES[machine]
    code = b"".join(struct.pack("HBBI", *one) for one in program(column, arch, os.getpid()))
    filled = _Program(len(code) // 8, code)
    return int(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(filled), 0, 0)) == 0


def program(column: int, arch: int, pid: int) -> list[Instruction]:
    """The filter: what is not on the list fails as if the kernel did not know it, so libraries fall back or give up.

    Args:
        column: 0 for x86-64, 1 for arm64; `arch`: the kernel's word for it.
        pid: of this process: it may signal and ask about itself alone.
    """
    wrong = _ERRNO | errno.EPERM
    out: list[Instruction] = [_load(4), (_EQUAL, 1, 0, arch), _return(_KILL), _load(0)]
    for numbers in _FREE.values():
        if (number := numbers[column]) is not None:
            out += [(_EQUAL, 0, 1, number), _return(_ALLOW)]
    for numbers, body in (
        (_OPEN, _no_bits(1, _WRITING, _ERRNO | errno.EACCES)),
        (_OPENAT, _no_bits(2, _WRITING, _ERRNO | errno.EACCES)),
        (_CLONE, [_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), _return(_ALLOW), _return(wrong)]),
        (_FCNTL, _one_of(1, _FCNTLS, wrong)),
        (_IOCTL, _one_of(1, _IOCTLS, _ERRNO | errno.ENOTTY)),
        (_TGKILL, _one_of(0, (pid,), wrong)),
        (_PRLIMIT, _one_of(0, (0, pid), wrong)),
    ):
        if (number := numbers[column]) is not None:
            out += [(_EQUAL, 0, len(body), number), *body]
    return [*out, _return(_ERRNO | errno.ENOSYS)]


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _argument(index: int) -> Instruction:
    return _load(16 + 8 * index)  # the low half: these arguments are of 32 bits


def _return(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)


def _no_bits(index: int, bits: int, otherwise: int) -> list[Instruction]:
    return [_argument(index), (_ANY_BIT, 0, 1, bits), _return(otherwise), _return(_ALLOW)]


def _one_of(index: int, values: Iterable[int], otherwise: int) -> list[Instruction]:
    tests = [one for value in values for one in ((_EQUAL, 0, 1, value), _return(_ALLOW))]
    return [_argument(index), *tests, _return(otherwise)]
