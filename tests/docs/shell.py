"""A page's shell blocks, played in one bash: each `$` line is typed, what follows it must be told.

    ```console
    $ falaj data add flights data/2013-01.csv
      flights v1   27,004 rows   … stored   contract 38 of 38
    ```

A line of output must be among the lines that the command prints, in the page's order; `…` stands for anything, and
spaces are compared as one. A command that ends in `# exit N` must end so; others end with 0. A line that ends in a
backslash goes on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_MARKED = re.compile(r"(?ms)^(?:<!-- file: (\S+) -->\n)?^```(\w+)\n(.*?)^```$")
_END = "falaj-tutorial-end"
_EXIT = re.compile(r"\s+# exit (\d+)$")


class Typed(NamedTuple):
    """A command of the page, the exit code it must have, and the lines that it must tell."""

    command: str
    code: int
    told: list[str]


class File(NamedTuple):
    """A file of the page, below the folder that the shell is in."""

    name: str
    text: str


def steps(page: str) -> Iterator[Typed | File]:
    """What the page has its reader do, in order."""
    for name, language, text in _MARKED.findall(page):
        if name:
            yield File(name, text)
        elif language == "console":
            yield from _typed(text.splitlines())


def _typed(lines: list[str]) -> Iterator[Typed]:
    at = 0
    while at < len(lines):
        assert lines[at].startswith("$ "), f"output without a command: {lines[at]}"
        command = lines[at][2:]
        while command.endswith("\\"):
            at += 1
            command = command[:-1] + lines[at].strip()
        code = _EXIT.search(command)
        at, told = at + 1, []
        while at < len(lines) and not lines[at].startswith("$ "):
            told.append(lines[at])
            at += 1
        yield Typed(_EXIT.sub("", command), int(code[1]) if code else 0, [line for line in told if line.strip()])


class Shell:
    """One bash that lives as long as the page."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def do(self, command: str) -> tuple[int, list[str]]:
        """Type a command; its exit code and its lines, errors among them."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{ {command}\n}} 2>&1 </dev/null; echo {_END} $?\n")
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(_END):
                return int(line.split()[1]), lines
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell ended at: {command}\n" + "\n".join(lines))

    @property
    def folder(self) -> Path:
        """Where the shell is."""
        return Path(f"/proc/{self._bash.pid}/cwd").readlink()

    def close(self) -> None:
        """End it, and what it began in the background; whatever it is at, it is not waited for."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)
        try:
            self._bash.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


def missing(told: list[str], lines: list[str]) -> list[str]:
    """The lines of the page that the command did not tell, in the page's order."""
    rest, lost = iter(lines), []
    for wanted in told:
        form = re.compile(r".*?".join(re.escape(part) for part in _spaced(wanted).split("…")))
        if not any(form.fullmatch(_spaced(line)) for line in rest):
            lost.append(wanted)
            rest = iter(lines)
    return lost


def _spaced(line: str) -> str:
    return " ".join(line.replace("…", " … ").split()).replace(" … ", "…").replace("… ", "…").replace(" …", "…")
