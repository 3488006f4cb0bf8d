"""`falaj pipeline run`: the project's `pipeline.py` is read here, kept where it changed, and run. `falaj run watch`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from falaj import folder
from falaj.cli import target
from falaj.cli.text import safe
from falaj.core.errors import Invalid
from falaj.session import Progress, Session

LOOK_EVERY_S = 0.3


def run(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Keep the pipeline as the project's files define it, then run it; a version (`delay:3`) is run as it is."""
    params = dict(param(text) for text in args.pop("params", ()))
    _keep(session, options, args["pipeline"], progress)
    return session.call("pipeline.run", {**args, "params": params}, progress=progress)


def build(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Keep the pipeline as the project's files define it, then build what its steps run in."""
    _keep(session, options, args["pipeline"], progress)
    return session.call("environment.build", args, progress=progress)


def _keep(session: Session, options: dict[str, Any], name: str, progress: Progress) -> None:
    from falaj import capture
    from falaj.pipelines import sending

    if sending.is_bare(name) and (place := _place(options)) is not None:
        code, told = partial(capture.code_state, place), capture.environment()
        said = partial(folder.settings, place)
        sending.keep(session, place, name, code=code, environment=told, settings=said, progress=progress)


def begin(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Lend a run of the pipeline as it was last kept."""
    params = dict(param(text) for text in args.pop("params", ()))
    return session.call("pipeline.begin", {**args, "params": params})


def param(text: str) -> tuple[str, Any]:
    """`leaves=[15, 31]` as a parameter's name and value: JSON where it is that, else text. Raises: Invalid."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"--param {text[:60]!r}: NAME=VALUE is expected", next_step="such as --param 'leaves=[15, 31]'")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def watch(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Tell each change of a run's steps as it comes, until the run ends; whoever runs it, and wherever.

    With `--json` each change is a line of JSON, and so is the end. Raises: StepFailed, RunCancelled: as the run ended.
    """
    from falaj.cli.main import to_json
    from falaj.cli.render.pipelines import step_lines
    from falaj.pipelines.errors import RunCancelled, StepFailed

    told: dict[tuple[str, int, int], str] = {}
    while True:
        seen = session.call("run.steps", args)
        for step in seen["steps"]:
            place = (step["step"], step["item"], step["attempts"])
            if told.get(place) != step["state"]:
                told[place] = step["state"]
                if "json" in options:
                    print(to_json(step), flush=True)
                elif "quiet" not in options:
                    print(*(f"  {line}" for line in step_lines([step])), sep="\n", flush=True)
        if seen["state"] != "running":
            break
        time.sleep(LOOK_EVERY_S)
    if seen["state"] == "done":
        return {**seen, "steps": len(seen["steps"])}
    cls = RunCancelled if seen["state"] == "cancelled" else StepFailed
    raise cls(_how(seen), next_step=f"falaj run explain {seen['run']}", facts={"run": seen["run"]})


def _how(seen: Mapping[str, Any]) -> str:
    why = (seen["error"] or {}).get("message", "")
    return f"run {seen['run']} is {seen['state']}" + (f": {safe(str(why), 1000)}" if why else "")


def _place(options: dict[str, Any]) -> Path | None:
    """The project folder with pipelines that one works in; None where there is none, as on a server's client."""
    from falaj.pipelines.sending import has_pipelines

    try:
        place = folder.find(target.start_folder(options))
    except folder.NoProject:
        return None
    return place if has_pipelines(place) else None
