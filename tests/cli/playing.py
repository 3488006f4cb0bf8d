"""The command line as a test plays it: in this process, with what it printed and the exit code it ended with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from falaj.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flights"
TOUR = EXAMPLE / "tour"


class Told(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Folder:
    """A project folder, and `falaj -C` on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *words: object, **more: Any) -> Told:
        return falaj("-C", self.path, *words, **more)

    def done(self, *words: object, **more: Any) -> Told:
        """A command that must end well."""
        told = self(*words, **more)
        assert told.code == 0, told
        return told

    def state(self) -> dict[str, bytes]:
        """Every file outside of the store."""
        return {
            p.relative_to(self.path).as_posix(): p.read_bytes()
            for p in sorted(self.path.rglob("*"))
            if p.is_file() and ".falaj" not in p.parts
        }


class Server:
    """`falaj server` on a project folder, as a process, until it is told to stop. It writes to `log`."""

    def __init__(self, folder: Folder, database: str = "") -> None:
        self.log = folder.path.with_name(f"{folder.path.name}-server.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "falaj.cli.main", "-C", str(folder.path), "server", "--port", "0"],
                stderr=log,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "FALAJ_DATABASE": database},
            )
        while "--claim" not in (said := self.log.read_text()):
            assert self.process.poll() is None, said
            time.sleep(0.01)
        self.url = re.search(r"serving (http://\S+)", said)[1]
        self.one_time = re.search(r"^  (falaj_\S+)$", said, re.MULTILINE)[1]

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(sig)
        return self.process.wait(60)


def falaj(*words: object, stdin: str = "") -> Told:
    """Run one command line here."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
    finally:
        sys.stdin = before
    return Told(code, out.getvalue(), err.getvalue())


def example(path: Path, **more: str) -> Folder:
    """The example's project folder with its store, and no data yet."""
    folder = Folder(path)
    path.mkdir(parents=True)
    shutil.copytree(TOUR / "gates", path / "gates")
    (path / "contracts").mkdir()
    shutil.copy(EXAMPLE / "contracts" / "flights.yaml", path / "contracts")
    folder.done("init", "--project", "flights", "--region", "AE-DU")
    return folder
