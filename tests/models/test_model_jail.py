"""A locked process: what it cannot do any more, guard by guard, and what it still can."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from falaj.models import jail

SOURCE = Path(jail.__file__).parents[2]
HEAD = """
import errno, json, os, signal, socket, subprocess, sys, threading
sys.path.append(sys.argv[1])
from falaj.models import jail
given = sys.argv[2:]
readable = ["/lib", "/lib64", "/usr/lib", sys.prefix, sys.base_prefix, *sys.path]

def refused(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""
ON_LINUX = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}


def run(code: str, *given: object) -> str:
    """What a program prints; it starts with the prelude above."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", HEAD + textwrap.dedent(code), str(SOURCE), *map(str, given)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def guards() -> tuple[str, ...]:
    """The guards that this machine allows."""
    return tuple(run("print(*jail.lock(readable), sep='|')").split("|"))


def needs(guards: tuple[str, ...], guard: str) -> None:
    """Where the kernel or a container does not allow a guard, that is said; the others are tested all the same."""
    if guard not in guards:
        pytest.skip(f"this machine allows no {guard}")


def test_on_linux_at_least_the_system_calls_are_held_down(guards):
    assert not ON_LINUX or jail.SECCOMP in guards


ATTEMPTS = {
    "socket": "socket.socket()",
    "unix socket": "socket.socketpair()",
    "file made": "open(given[0] + '/new', 'w')",
    "file appended to": "open(given[0] + '/there', 'a')",
    "file cut": "os.truncate(given[0] + '/there', 0)",
    "file removed": "os.unlink(given[0] + '/there')",
    "file renamed": "os.rename(given[0] + '/there', given[0] + '/gone')",
    "file linked": "os.link(given[0] + '/there', given[0] + '/twin')",
    "mode changed": "os.chmod(given[0] + '/there', 0o777)",
    "folder made": "os.mkdir(given[0] + '/folder')",
    "pipe made by name": "os.mkfifo(given[0] + '/pipe')",
    "process forked": "os.fork()",
    "program run": "os.execv('/bin/true', ['true'])",
    "parent signalled": "os.kill(os.getppid(), signal.SIGTERM)",
    "limits of the parent": "__import__('resource').prlimit(os.getppid(), __import__('resource').RLIMIT_CPU)",
    "namespace entered": "os.setns(0, 0) if hasattr(os, 'setns') else os.fork()",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_the_filter_does_not_list_is_not_done(attempt, tmp_path, guards):
    assert jail.SECCOMP in guards
    (tmp_path / "there").write_text("as it was")
    told = run(f"jail._prctl(38, 1); assert jail._seccomp(); print(refused(lambda: {ATTEMPTS[attempt]}))", tmp_path)
    assert told in {"ENOSYS", "EPERM", "EACCES"}
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "as it was"


def test_landlock_alone_lets_only_the_libraries_be_read(tmp_path, guards):
    needs(guards, jail.LANDLOCK)
    (tmp_path / "secret").write_text("key")
    code = """
        jail._prctl(38, 1); assert jail._landlock(readable)
        print(refused(lambda: open(given[0] + "/secret")), refused(lambda: os.listdir(given[0])),
              refused(lambda: open(given[0] + "/new", "w")), refused(lambda: open(json.__file__).close()))
    """
    assert run(code, tmp_path) == "EACCES EACCES EACCES done"


def test_the_namespace_alone_has_no_network(guards):
    needs(guards, jail.NAMESPACE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = """
            assert jail._leave_network()
            told = refused(lambda: socket.create_connection(("127.0.0.1", int(given[0])), 5))
            print(told, len(socket.if_nameindex()))
        """
        assert run(code, server.getsockname()[1]) == "ENETUNREACH 1"


def test_a_locked_process_cannot_read_what_its_parent_knows(guards):
    needs(guards, jail.LANDLOCK)
    code = """
        jail.lock(readable)
        print(*(refused(lambda: open(f"/proc/{os.getppid()}/{name}")) for name in ("environ", "maps", "fd/0")))
    """
    assert run(code) == "EACCES EACCES EACCES"


def test_a_locked_process_still_computes_reads_libraries_and_starts_threads():
    code = """
        held = jail.lock(readable)
        import decimal, sqlite3  # read from the library after the lock
        done = []
        threads = [threading.Thread(target=done.append, args=(i,)) for i in range(4)]
        [t.start() for t in threads]; [t.join() for t in threads]
        block = bytearray(50_000_000)
        print(len(done), decimal.Decimal(1) / 4, len(block), len(os.urandom(8)))
    """
    assert run(code) == "4 0.25 50000000 8"


def test_a_thread_started_later_is_locked_too(tmp_path, guards):
    assert jail.SECCOMP in guards
    code = """
        jail.lock(readable)
        told = []
        thread = threading.Thread(target=lambda: told.append(refused(socket.socket)))
        thread.start(); thread.join()
        print(*told)
    """
    assert run(code) == "ENOSYS"


@pytest.mark.parametrize(("column", "arch"), [(0, 0xC000003E), (1, 0xC00000B7)])
def test_the_filter_is_one_the_kernel_can_run(column, arch):
    """Every path ends in an answer, no jump leaves the program, and another machine's calls end the process."""
    code = jail.program(column, arch, os.getpid())
    for at, (operation, yes, no, _) in enumerate(code):
        if operation in (jail._EQUAL, jail._ANY_BIT):
            assert max(at + 1 + yes, at + 1 + no) < len(code)
    assert code[-1] == (jail._RETURN, 0, 0, jail._ERRNO | 38)
    assert code[2] == (jail._RETURN, 0, 0, jail._KILL)
    assert len(code) < 4096
