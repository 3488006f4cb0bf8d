"""From a project's files to a kept version of a pipeline: what every face does before it runs one.

Read here, on the side of the person; kept through the door, wherever that is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from falaj.core.errors import Invalid, NotFound
from falaj.pipelines import rules
from falaj.pipelines.define import ENTRY, defined_in, source_files

Progress = Callable[[str, int, int], None]


class Sender(Protocol):
    """A session, as far as it is needed here."""

    def call(self, operation: str, args: Mapping[str, Any] = {}, *, progress: Progress | None = None) -> Any:
        """Do one operation."""
        ...

    def stage(self, path: Path) -> dict[str, Any]:
        """Bring a file's bytes to where an operation can name them."""
        ...


def keep(
    session: Sender,
    place: Path,
    name: str,
    *,
    code: Mapping[str, Any],
    environment: Mapping[str, Any],
    progress: Progress | None = None,
) -> None:
    """Make the pipeline's newest version of what the project's files say, where they say something new.

    Args:
        place: the project folder, which has a `pipeline.py`.
        code, environment: as `falaj.capture` tells them.
    Raises: PipelineInvalid; Invalid where the project has no such pipeline.
    """
    if progress is not None:
        progress(f"reading {ENTRY}", 0, 0)
    graphs = {graph.pipeline: graph for graph in defined_in(place / ENTRY)}
    if name not in graphs:
        known = ", ".join(graphs) or "none"
        raise Invalid(f"{ENTRY}: no pipeline {name[:60]}", next_step=f"it defines: {known}")
    files = {file.relative_to(place).as_posix(): _text(file) for file in source_files(place)}
    state = {key: value for key, value in code.items() if not key.startswith("script")}
    lock = f"sha256:{environment['distributions_digest']}"
    payload = rules.defined(graphs[name], rules.check_source(files), state, lock)
    if _kept_digest(session, name) == payload.digest:
        return
    with tempfile.TemporaryDirectory(prefix="falaj-") as drafts:
        source = Path(drafts, "source.json")
        source.write_text(json.dumps(files), encoding="utf-8")
        staged = session.stage(source)
        told = {"staged": staged["staged"], "name": staged["name"]}
        graph = msgspec.to_builtins(graphs[name])
        args = {"graph": graph, "source": told, "code": state, "environment": lock}
        session.call("pipeline.apply", args, progress=progress)


def has_pipelines(place: Path) -> bool:
    """Whether a project folder defines pipelines."""
    return (place / ENTRY).is_file()


def is_bare(pipeline: str) -> bool:
    """Whether a pipeline is meant as the project's files say it; a version or ref of it is run as it was kept."""
    return not set(pipeline) & set("@:/")


def _kept_digest(session: Sender, name: str) -> str:
    try:
        shown = session.call("asset.show", {"thing": f"pipeline/{name}@main"})
    except NotFound:
        return ""
    return str(shown["shown"]["payload"]["digest"])


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{file.name}: not UTF-8 (byte {error.start})", next_step="save it as UTF-8") from error
