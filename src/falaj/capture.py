"""What a run says of its code and its environment, gathered where the code runs. No network, no secrets.

    code          {"commit", "dirty", "diff_digest", "script", "script_digest"}
    environment   {"python", "implementation", "system", "machine", "distributions", "distributions_digest"}

Names only, never paths: a path tells about a person's machine. What cannot be told is left out.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

GIT_TIMEOUT_S = 20
MAX_UNTRACKED = 1000
_FIELD = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)


def code_state(folder: Path | None = None) -> dict[str, str | bool]:
    """The script that runs, and the Git commit it belongs to.

    `dirty`: the work tree differs from the commit, untracked files counted. `diff_digest` (SHA-256) then covers the
    tracked changes and the bytes of the untracked files, so that two equal states have one digest.

    Args:
        folder: a folder of the work tree (default: the script's, else the current one).
    """
    told: dict[str, str | bool] = {}
    place = folder or Path.cwd()
    script = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "")
    if script.is_file():
        told["script"] = script.name
        told["script_digest"] = hashlib.sha256(script.read_bytes()).hexdigest()
        place = folder or script.resolve().parent
    commit = _git(place, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return told
    told["commit"] = commit.decode("ascii").strip()
    changed = _git(place, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--binary") or b""
    untracked = _git(place, "ls-files", "--others", "--exclude-standard", "-z", "--full-name", ":/") or b""
    told["dirty"] = bool(changed or untracked)
    if told["dirty"]:
        told["diff_digest"] = _diff_digest(place, changed, untracked)
    return told


def environment() -> dict[str, str | int]:
    """The interpreter and the installed distributions, by one digest over their sorted names and versions."""
    installed = sorted({f"{name}=={version}".lower() for name, version in _distributions() if name})
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "distributions": len(installed),
        "distributions_digest": hashlib.sha256("\n".join(installed).encode()).hexdigest(),
    }


def _distributions() -> Iterator[tuple[str, str]]:
    """Name and version of each installed distribution, as the head of its metadata says."""
    for found in metadata.distributions():
        # The standard library would parse the whole text, which for the few hundred of an environment takes a second.
        head = (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").partition("\n\n")[0]
        said = dict(_FIELD.findall(head))
        yield said.get("Name", ""), said.get("Version", "")


def _diff_digest(place: Path, changed: bytes, untracked: bytes) -> str:
    digest = hashlib.sha256(changed)
    top = (_git(place, "rev-parse", "--show-toplevel") or b"").decode("utf-8", "surrogateescape").rstrip("\n")
    for name in sorted(untracked.split(b"\0"))[: MAX_UNTRACKED + 1]:
        file = Path(top, os.fsdecode(name))
        if name and file.is_file() and not file.is_symlink():
            with file.open("rb") as stream:
                digest.update(name + b"\0" + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _git(place: Path, *words: str) -> bytes | None:
    """What git says, or None where there is no git, no work tree, or no answer in time."""
    command = ["git", "-c", "core.fsmonitor=false", *words]
    try:
        # S603: fixed words, no shell; git is whatever the person's own path finds
        done = subprocess.run(  # noqa: S603
            command,
            cwd=place,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
