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

from falaj.core.encoding import convert
from falaj.core.errors import Invalid, NotFound
from falaj.pipelines import locks, rules
from falaj.pipelines.define import ENTRY, defined_in, source_files
from falaj.pipelines.records import Locked

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
    code: Callable[[], Mapping[str, Any]],
    environment: Mapping[str, Any],
    settings: Callable[[], Mapping[str, Any]] = dict,
    progress: Progress | None = None,
) -> None:
    """Make the pipeline's newest version of what the project's files say, where they say something new.

    Args:
        place: the project folder, which has a `pipeline.py`.
        code, environment: as `falaj.capture` tells them; the state of the code is asked for where it is needed.
        settings: what `falaj.toml` says; asked for where a step names an environment.
    Raises: PipelineInvalid; Invalid where the project has no such pipeline.
    """
    files = {file.relative_to(place).as_posix(): _text(file) for file in source_files(place)}
    lock = f"sha256:{environment['distributions_digest']}"
    kept = _kept(session, name)
    before = convert(kept.get("graph", {}).get("environments", []), tuple[Locked, ...], "environments")
    declared = locks.declared(settings(), [one.name for one in before]) if before else ()
    source = rules.check_source(files | locks.texts(place, declared))
    if (
        declared == before
        and kept.get("files") == list(map(msgspec.to_builtins, rules.listed(source)))
        and kept.get("environment") == lock
    ):
        return  # a pipeline is what its files say: where they say the same, they need not be asked
    if progress is not None:
        progress(f"reading {ENTRY}", 0, 0)
    graphs = {graph.pipeline: graph for graph in defined_in(place / ENTRY)}
    if name not in graphs:
        known = ", ".join(graphs) or "none"
        raise Invalid(f"{ENTRY}: no pipeline {name[:60]}", next_step=f"it defines: {known}")
    locked = locks.declared(settings(), named) if (named := locks.used(graphs[name])) else ()
    graph = msgspec.structs.replace(graphs[name], environments=locked)
    source = rules.check_source(files := files | locks.texts(place, locked))
    state = {key: value for key, value in code().items() if not key.startswith("script")}
    if kept.get("digest") == rules.defined(graph, source, state, lock).digest:
        return
    with tempfile.TemporaryDirectory(prefix="falaj-") as drafts:
        draft = Path(drafts, "source.json")
        draft.write_text(json.dumps(files), encoding="utf-8")
        staged = session.stage(draft)
        told = {"staged": staged["staged"], "name": staged["name"]}
        args = {"graph": msgspec.to_builtins(graph), "source": told, "code": state, "environment": lock}
        session.call("pipeline.apply", args, progress=progress)


def has_pipelines(place: Path) -> bool:
    """Whether a project folder defines pipelines."""
    return (place / ENTRY).is_file()


def is_bare(pipeline: str) -> bool:
    """Whether a pipeline is meant as the project's files say it; a version or ref of it is run as it was kept."""
    return not set(pipeline) & set("@:/")


def _kept(session: Sender, name: str) -> dict[str, Any]:
    """The payload of the newest version, empty where there is none."""
    try:
        shown = session.call("asset.show", {"thing": f"pipeline/{name}@main"})
    except NotFound:
        return {}
    return dict(shown["shown"]["payload"])


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{file.name}: not UTF-8 (byte {error.start})", next_step="save it as UTF-8") from error
