"""`falaj pipeline run`: the project's `pipeline.py` is read here, kept where it changed, and run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from falaj import folder
from falaj.cli import target
from falaj.core.errors import Invalid, NotFound
from falaj.session import Progress, Session


def run(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Keep the pipeline as the project's files define it, then run it; a version (`delay:3`) is run as it is."""
    params = dict(param(text) for text in args.pop("params", ()))
    name = args["pipeline"]
    if not set(name) & set("@:/") and (place := _place(options)) is not None:
        keep(session, place, name, progress)
    return session.call("pipeline.run", {**args, "params": params}, progress=progress)


def keep(session: Session, place: Path, name: str, progress: Progress) -> None:
    """Make the pipeline's newest version of what the project's files say, where they say something new.

    Raises: PipelineInvalid; Invalid where the project has no such pipeline.
    """
    import msgspec

    from falaj import capture
    from falaj.pipelines import rules
    from falaj.pipelines.define import ENTRY, defined_in, source_files

    progress(f"reading {ENTRY}", 0, 0)
    graphs = {graph.pipeline: graph for graph in defined_in(place / ENTRY)}
    if name not in graphs:
        known = ", ".join(graphs) or "none"
        raise Invalid(f"{ENTRY}: no pipeline {name[:60]}", next_step=f"it defines: {known}")
    files = {file.relative_to(place).as_posix(): _text(file) for file in source_files(place)}
    code = {key: value for key, value in capture.code_state(place).items() if not key.startswith("script")}
    environment = f"sha256:{capture.environment()['distributions_digest']}"
    payload = rules.defined(graphs[name], rules.check_source(files), code, environment)
    if _kept_digest(session, name) == payload.digest:
        return
    with tempfile.TemporaryDirectory(prefix="falaj-") as drafts:
        source = Path(drafts, "source.json")
        source.write_text(json.dumps(files), encoding="utf-8")
        staged = session.stage(source)
        told = {"staged": staged["staged"], "name": staged["name"]}
        graph = msgspec.to_builtins(graphs[name])
        args = {"graph": graph, "source": told, "code": code, "environment": environment}
        session.call("pipeline.apply", args, progress=progress)


def param(text: str) -> tuple[str, Any]:
    """`leaves=[15, 31]` as a parameter's name and value: JSON where it is that, else text. Raises: Invalid."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"--param {text[:60]!r}: NAME=VALUE is expected", next_step="such as --param 'leaves=[15, 31]'")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _place(options: dict[str, Any]) -> Path | None:
    """The project folder with pipelines that one works in; None where there is none, as on a server's client."""
    from falaj.pipelines.define import ENTRY

    try:
        place = folder.find(target.start_folder(options))
    except folder.NoProject:
        return None
    return place if (place / ENTRY).is_file() else None


def _kept_digest(session: Session, name: str) -> str:
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
