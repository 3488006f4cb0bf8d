"""The bare fork: a process with the same libraries forks, the child computes and leaves its output, and is waited for.

Usage: python limits/steps.py MODULES

For each line on standard input, `FILE N SALT`: a child of its own adds the two and writes that to the file. The line is
said back once the child is gone. Nothing holds the child, limits it, watches it or checks what it leaves.
"""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Forks:
    """Such a process, asked by the one who made it."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        words = [sys.executable, __file__, ",".join(modules)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._said()

    def step(self, file: Path, n: int, salt: int) -> None:
        """One step in a child."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{file} {n} {salt}\n")
        self._process.stdin.flush()
        self._said()

    def _said(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the bare parent ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def main(modules: str) -> None:
    """Import, then fork."""
    for name in modules.split(","):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        file, n, salt = line.split()
        pid = os.fork()
        if pid == 0:
            Path(file).write_bytes(b"%d" % (int(n) + int(salt)))
            os._exit(0)
        os.waitpid(pid, 0)
        print(line, end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
