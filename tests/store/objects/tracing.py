"""A worker under strace: what it asked of the kernel, in order; with calls that fail, or kill it, at chosen points."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
CALLS = "openat,mkdirat,mkdir,write,pwrite64,fsync,fdatasync,linkat,unlinkat,unlink,ftruncate"
_LINE = re.compile(r"^\d+ +(?P<call>[a-z0-9_]+)\((?P<args>.*)\) += (?P<result>-?\d+)")
_HANDLE = re.compile(r"^\d+<(?P<path>[^>]*)>")


@dataclass(frozen=True)
class Call:
    """One system call that was answered.

    Attributes:
        path: of the file that a handle stands for, "" for calls by name.
        number: how many calls of this name there were up to this one.
    """

    name: str
    path: str
    args: str
    result: int
    number: int


def run(strace: str, log: Path, folder: Path, *words: str, inject: str = "") -> tuple[int, list[str]]:
    """Run a worker; its exit code (negative: the signal) and the lines it printed."""
    options = ["-f", "-qq", "-y", "-s", "5000", "-e", f"trace={CALLS}", "-o", str(log)]
    # A filter in the kernel makes tracing fast; with it, strace 6.1 injects no signals.
    options += ["-e", f"inject={inject}"] if inject else ["--seccomp-bpf"]
    worker = [sys.executable, "-m", "tests.store.objects.worker", str(folder), *words]
    done = subprocess.run(
        [strace, *options, *worker], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode in {0, -9, 137}, done.stderr
    return done.returncode, done.stdout.splitlines()


def calls(log: Path) -> list[Call]:
    """Every call of a log, in order."""
    found: list[Call] = []
    numbers: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match:
            name, args = match["call"], match["args"]
            numbers[name] = numbers.get(name, 0) + 1
            handle = _HANDLE.match(args)
            found.append(Call(name, handle["path"] if handle else "", args, int(match["result"]), numbers[name]))
    return found


def unsynced(trace: Sequence[Call], pack: str, folder: Path) -> str:
    """What was not durable of a pack when the database was told of it; "" where all was.

    The pack's bytes: synced after their last write and before they got their name. The name: its folder synced after
    the link and before the first page of the write-ahead log that names the pack.
    """
    packs, log = str(folder / "objects" / "packs"), str(folder / "falaj.db-wal")
    link = next((i for i, c in enumerate(trace) if c.name == "linkat" and f'"{pack}"' in c.args and not c.result), None)
    named = next((i for i, c in enumerate(trace) if c.name == "pwrite64" and c.path == log and pack in c.args), None)
    if link is None or named is None:
        return "it was never named"
    if link > named:
        return "it was named before it was there"
    temporary = trace[link].args.split('"')[1]
    writes = [i for i, c in enumerate(trace) if c.name == "write" and c.path.endswith(f"/.tmp/{temporary}")]
    syncs = [i for i, c in enumerate(trace) if c.name == "fsync" and c.path.endswith(f"/.tmp/{temporary}")]
    if not any(max(writes) < i < link for i in syncs):
        return "its bytes were not synced before it got its name"
    if not any(link < i < named for i, c in enumerate(trace) if c.name == "fsync" and c.path == packs):
        return "its name was not synced before the database was told"
    if not any(named < i for i, c in enumerate(trace) if c.name == "fdatasync" and c.path == log):
        return "the commit was not synced"
    return ""
