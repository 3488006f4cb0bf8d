"""Environments of steps: which one a step runs in, by which lock, and the digest that this makes of it.

A lock is kept with the source files of a pipeline's version, so that a run can be computed again by the lock that it
had, whatever the file says by then. Declared in `falaj.toml`, used by name: `@fj.step(environment="train")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from falaj.core.encoding import convert
from falaj.core.errors import Invalid
from falaj.core.names import name, printable
from falaj.environments import interpreters
from falaj.environments.declared import EnvironmentSettings
from falaj.environments.interpreters import Interpreter
from falaj.environments.lock import MAX_BYTES, Lock, parse
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import Graph, Locked

NEEDED: Final = ("msgspec", "pyyaml")
"""What attempts themselves need of an environment; tables need `pyarrow`, feature services `duckdb`."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """An environment of a run: made of a lock by a Python of this machine.

    Attributes:
        digest: names it, wherever it is built.
    """

    name: str
    lock: Lock
    interpreter: Interpreter
    digest: str

    @property
    def facts(self) -> dict[str, Any]:
        """It as the runs of its steps keep it."""
        return {
            "name": self.name,
            "lock": self.digest,
            "python": self.interpreter.python,
            "platform": self.interpreter.platform,
            "distributions": len(self.lock.pins),
            "distributions_digest": self.digest.removeprefix("sha256:"),
        }


def used(graph: Graph) -> tuple[str, ...]:
    """The environments that steps of a graph name, sorted."""
    return tuple(sorted({node.environment for node in graph.nodes if node.environment}))


def declared(settings: Mapping[str, Any], names: Iterable[str]) -> tuple[Locked, ...]:
    """Environments as `falaj.toml` declares them. Raises: Invalid where one is not declared, or not well."""
    told = settings.get("environments", {})
    known = convert(told, dict[str, EnvironmentSettings], "falaj.toml: environments")
    out = []
    for one in names:
        if one not in known:
            raise Invalid(
                f"falaj.toml: no environment {printable(one)}",
                next_step=f'[environments.{one}] with lock = "requirements/{one}.txt"',
            )
        out.append(Locked(name=one, path=Path(known[one].lock).as_posix(), python=known[one].python))
    return tuple(out)


def texts(place: Path, locked: Iterable[Locked]) -> dict[str, str]:
    """The files of locks, by their paths below a project's folder. Raises: Invalid; LockInvalid with the line."""
    out = {}
    for one in locked:
        try:
            if (place / one.path).stat().st_size > MAX_BYTES:
                raise Invalid(f"{one.path}: over {MAX_BYTES >> 20} MiB", next_step="a lock holds pins and hashes")
            out[one.path] = (place / one.path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise Invalid(f"environment {one.name}: {one.path}: {why}", next_step="see [environments]") from error
        _lock(out[one.path], one)
    return out


def check(graph: Graph, files: Mapping[str, bytes]) -> None:
    """Whether each environment that a graph names comes with its lock, and no other file comes than Python and those.

    Raises: PipelineInvalid, LockInvalid.
    """
    known = {name(one.name, "environment"): one for one in graph.environments}
    if len(known) != len(graph.environments) or set(known) != set(used(graph)):
        raise PipelineInvalid(f"pipeline {graph.pipeline}: its environments are not those that its steps name")
    paths = {one.path for one in graph.environments}
    for path in [*paths, *(one for one in files if not one.endswith(".py"))]:
        if path not in files or path not in paths or path.endswith(".py"):
            raise PipelineInvalid(f"pipeline {graph.pipeline}: {printable(path)} is no lock of it that came with it")
    for one in graph.environments:
        _lock(files[one.path].decode(), one)


def chosen(graph: Graph, files: Mapping[str, bytes]) -> dict[str, Chosen]:
    """The environments of a pipeline on this machine, by name. Raises: MissingPart where its Python is not here."""
    out = {}
    for one in graph.environments:
        lock, python = _lock(files[one.path].decode(), one), interpreters.find(one.python)
        out[one.name] = Chosen(
            name=one.name, lock=lock, interpreter=python, digest=lock.digest(python.python, python.platform)
        )
    return out


def _lock(text: str, one: Locked) -> Lock:
    lock = parse(text, one.path)
    if missing := lock.missing(NEEDED):
        raise PipelineInvalid(
            f"environment {one.name}: {', '.join(missing)} not in {one.path}: attempts need it",
            next_step=f"add it and lock again; attempts need {' and '.join(NEEDED)}, tables also pyarrow",
        )
    return lock
