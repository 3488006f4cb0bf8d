"""Installs a lock with pip: wheels only, each by its hash, nothing that the lock does not name.

Where they come from is pip's own configuration on this machine: Falaj names no index. A wheel is unpacked, never run:
no code of a distribution is executed here. What pip is told beside the lock by its configuration cannot add to it: what
is installed is compared with the lock afterwards.
"""

from __future__ import annotations

import importlib.util
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from falaj.core.errors import MissingPart
from falaj.core.names import printable
from falaj.environments.errors import BuildFailed

BUILD_S: Final = 1800.0
_SILENT_S: Final = 0.2
_TARGETS = {
    f"PIP_{word}" for word in ("TARGET", "PREFIX", "ROOT", "USER", "PYTHON", "DRY_RUN", "REQUIREMENT", "EDITABLE")
}
_ADDRESS = re.compile(r"\b(?:https?|file)://\S+")
_BEGUN = re.compile(r"Collecting (\S+)|Processing .*?([^/]+)\.whl")
_MAX_WORDS: Final = 600
Progress = Callable[[str], None]


def install(python: Path, lock: Path, count: int, held: int, progress: Progress) -> None:
    """Install what a lock names into the environment of an interpreter.

    Args:
        count: how many distributions it names.
        progress: told several times a second what is done; what it raises ends the build.
        held: an open file that pip holds on to: while it is open, somebody still writes there.
    Raises: BuildFailed with pip's own words, MissingPart.
    """
    words = [
        *_pip(), "--python", str(python), "install", "--require-hashes", "--only-binary=:all:", "--no-deps",
        "--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--progress-bar=off",
        "--ignore-installed", "-r", str(lock),
    ]  # fmt: skip
    seen, doing = 0, "asking pip"

    def said(line: str) -> None:
        nonlocal seen, doing
        begun = _BEGUN.match(line)
        if begun:
            seen += 1
            doing = f"{seen} of {count}: {begun[1] or begun[2]}"
        elif line.startswith("Installing collected"):
            doing = f"installing {count}"
        progress(doing)

    run(words, lock.parent, held, said, "pip")


def run(words: list[str], folder: Path, held: int, said: Callable[[str], None], what: str) -> None:
    """Run a program of the build to its end.

    Args:
        said: told each line that it says, and "" now and then while it says nothing; what it raises ends the program.
    Raises: BuildFailed.
    """
    last: deque[str] = deque(maxlen=40)
    until = time.monotonic() + BUILD_S
    process = subprocess.Popen(  # noqa: S603  our own interpreter, fixed words, no shell
        words,
        cwd=folder,
        env=_surroundings(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(held,),
        start_new_session=True,
    )
    try:
        for line in _lines(process):
            if line:
                last.append(line)
            said(line)
            if time.monotonic() >= until:
                raise BuildFailed(f"{what}: over its {BUILD_S:,.0f} s")
        process.wait()
    finally:
        _end(process)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode != 0:
        raise BuildFailed(f"{what}: {_words(last) or f'ended with {process.returncode}'}")


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """What a program says, line by line, until it says no more; "" where it is silent for a while."""
    assert process.stdout is not None  # noqa: S101  it was asked for
    handle, rest = process.stdout.fileno(), b""
    while True:
        if not select.select([handle], [], [], _SILENT_S)[0]:
            yield ""
            continue
        piece = os.read(handle, 65536)
        if not piece:
            break
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace").strip() for line in whole)
    yield rest.decode("utf-8", "replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it began."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _words(lines: deque[str]) -> str:
    """What pip says went wrong. Addresses may hold a person's name or password and are left out."""
    told = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line][-3:]
    short = " ".join(line.removeprefix("ERROR:").strip() for line in told)
    if "DO NOT MATCH THE HASHES" in short:
        at = list(lines)
        rest = [line for line in at if "from " in line and ("==" in line or "://" in line)]
        named = rest[-1].partition(" from ")[0] if rest else ""
        short = f"a file does not have the hash that the lock names{f': {named}' if named else ''}"
    return printable(_ADDRESS.sub("(address)", short))[:_MAX_WORDS]


def _surroundings() -> dict[str, str]:
    """A person configures pip, so it knows what they set; but where it installs is said here."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _TARGETS and not name.startswith(("PYTHON", "FALAJ_", "VIRTUAL_ENV"))
    }


def _pip() -> list[str]:
    """How pip is run: as this interpreter has it, else from the copy that comes with Python. Raises: MissingPart."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-I", "-m", "pip"]
    if (bundled := importlib.util.find_spec("ensurepip")) is not None and bundled.origin:
        for wheel in sorted(Path(bundled.origin).parent.glob("_bundled/pip-*.whl")):
            return [sys.executable, "-I", f"{wheel}/pip"]
    raise MissingPart("pip is not installed here", next_step="python -m ensurepip, or install python3-pip")
