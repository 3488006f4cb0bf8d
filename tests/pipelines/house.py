"""A small project with a pipeline, on a store of its own, as tests play it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from falaj.pipelines.define import defined_in, source_files
from falaj.pipelines.views import PipelineRun
from falaj.platform import Platform
from tests.platform.places import contract, make_place, rows

HEAD = "import falaj as fj\n"


class Project:
    """A project folder with an embedded platform and a small dataset `flights`."""

    def __init__(self, folder: Path, *, data: bool = True) -> None:
        self.folder = make_place(folder)
        self.platform = Platform.create(self.folder, "flights")
        if data:
            self.add_data(0)

    def call(self, operation: str, /, **args: Any) -> Any:
        platform = self.platform
        return platform.door.call(operation, args, caller=platform.caller, project="flights")

    def stage(self, path: Path) -> dict[str, str]:
        told = self.platform.staging.name(path, self.platform.caller)
        return {"staged": told["staged"], "name": told["name"]}

    def add_data(self, start: int, count: int = 5) -> None:
        self.call("config.apply", files=[contract()])
        file = rows(self.folder / "rows.csv", start, count)
        self.call("data.add", dataset="flights", files=[self.stage(file)], mode="replace")

    def write(self, text: str, **more: str) -> None:
        """The project's pipeline.py, and other files of it."""
        for name, body in {"pipeline": HEAD + text, **more}.items():
            (self.folder / f"{name}.py").write_text(body, encoding="utf-8")

    def apply(self) -> Any:
        """Keep every pipeline of the project; returns what the last came to."""
        source = {f.relative_to(self.folder).as_posix(): f.read_text("utf-8") for f in source_files(self.folder)}
        file = self.folder / "source.json"
        file.write_text(json.dumps(source), encoding="utf-8")
        applied = None
        for graph in defined_in(self.folder / "pipeline.py"):
            applied = self.call("pipeline.apply", graph=msgspec.to_builtins(graph), source=self.stage(file))
        return applied

    def run(self, text: str = "", pipeline: str = "p", **params: Any) -> PipelineRun:
        """Keep the pipelines, and run one."""
        if text:
            self.write(text)
            self.apply()
        told: PipelineRun = self.call("pipeline.run", pipeline=pipeline, params=params)
        return told

    def value(self, told: PipelineRun, step: str, item: int = -1) -> Any:
        """What a step with a plain output came to."""
        (view,) = [one for one in told.steps if (one.step, one.item) == (step, item)]
        return self.call("asset.show", thing=view.output).shown.payload["value"]


def is_running(pid: int) -> bool:
    """Whether a process still runs; one that ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that the threads of a process began."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for one in threads for word in (one / "children").read_text().split()]
    except OSError:
        return []


def states(told: PipelineRun) -> dict[str, str]:
    """State by step and item."""
    return {s.step if s.item < 0 else f"{s.step}[{s.label or s.item}]": s.state for s in told.steps}
