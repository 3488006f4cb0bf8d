"""The command line as a test plays it: in this process, with what it printed and the exit code it ended with."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from falaj.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flights"


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


def falaj(*words: object, stdin: str = "") -> Told:
    """Run one command line here."""
    import sys

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
    for name in ("contracts", "gates"):
        shutil.copytree(EXAMPLE / name, path / name)
    folder.done("init", "--project", "flights", "--region", "AE-DU")
    return folder
