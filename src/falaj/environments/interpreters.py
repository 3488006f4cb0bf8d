"""Which Python an environment is made with: this one, or another version of it that is on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import lru_cache

import msgspec

from falaj.core.errors import Invalid, MissingPart

_ASK = "import json,sys,sysconfig;print(json.dumps(['%d.%d'%sys.version_info[:2],sysconfig.get_platform()]))"
_ASK_S = 30
NEEDS = (3, 11)


class Interpreter(msgspec.Struct, frozen=True):
    """A Python.

    Attributes:
        path: of the program.
        python: its version, as in `3.11`.
        platform: what it runs on, as in `linux-x86_64`.
    """

    path: str
    python: str
    platform: str


def ours() -> Interpreter:
    """The Python of this process."""
    if not sys.executable:
        raise MissingPart("no Python interpreter is known to make environments with", next_step="run Falaj with python")
    return Interpreter(sys.executable, ".".join(map(str, sys.version_info[:2])), sysconfig.get_platform())


def find(python: str = "") -> Interpreter:
    """The Python of a version; "" for the version of this process. Raises: Invalid, MissingPart."""
    if not python or python == ours().python:
        return ours()
    if not re.fullmatch(r"3\.\d{1,2}", python) or int(python[2:]) < NEEDS[1]:
        raise Invalid(
            f"python {python[:20]!r}: a version from {NEEDS[0]}.{NEEDS[1]} on is expected", next_step='python = "3.12"'
        )
    return _found(python, shutil.which(f"python{python}") or "")


@lru_cache(maxsize=16)
def _found(python: str, path: str) -> Interpreter:
    told: list[str] = []
    if path:
        try:  # a name on the path may be a stand-in that only says how to install it
            done = subprocess.run(  # noqa: S603  an interpreter of this machine and fixed words
                [path, "-I", "-c", _ASK], capture_output=True, timeout=_ASK_S, check=True, stdin=subprocess.DEVNULL
            )
            told = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            told = []
    if len(told) != 2 or told[0] != python:
        raise MissingPart(f"python{python} is not installed here", next_step=f"install Python {python}")
    return Interpreter(path, python, told[1])
