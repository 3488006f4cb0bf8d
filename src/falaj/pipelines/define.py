"""Reading a project's `pipeline.py`: imported in a process of its own, which prints the graphs that it defines.

    python -m falaj.pipelines.define pipeline.py

See `falaj.features.telling` for how.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from falaj.core.encoding import decode
from falaj.core.errors import FalajError
from falaj.features.definitions import FeatureView
from falaj.features.records import View
from falaj.features.telling import imported, tell, told_by
from falaj.pipelines import definitions
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import MAX_FILES, MAX_SOURCE_BYTES, Graph
from falaj.pipelines.rules import check_graph

ENTRY = "pipeline.py"
_PASSED_OVER = frozenset({"tests", "test", "node_modules", "site-packages", "__pycache__", "build", "dist"})


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the process answers: the graphs, or what is wrong and what to do about it."""

    graphs: tuple[Graph, ...] = ()
    wrong: str = ""
    next_step: str = ""


def defined_in(file: Path) -> tuple[Graph, ...]:
    """The pipelines that a file's top level names, read in another process.

    Raises: PipelineInvalid where the file fails, takes longer than a minute, or wires what does not fit.
    """
    told = decode(told_by(file, "falaj.pipelines.define", PipelineInvalid), Told, file.name)
    if told.wrong:
        raise PipelineInvalid(f"{file.name}: {told.wrong}", next_step=told.next_step)
    return tuple(check_graph(graph) for graph in told.graphs)


def source_files(place: Path) -> list[Path]:
    """The Python files of a project, sorted; hidden folders, environments and tests are passed over.

    Raises: PipelineInvalid for more than 1,000 files or 16 MiB: a project is smaller than that.
    """
    found, size = [], 0
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(one for one in folders if not _is_passed_over(Path(folder, one)))
        for one in sorted(names):
            file = Path(folder, one)
            if one.endswith(".py") and not one.startswith(".") and file.is_file() and not file.is_symlink():
                found.append(file)
                size += file.stat().st_size
        if len(found) > MAX_FILES or size > MAX_SOURCE_BYTES:
            raise PipelineInvalid(
                f"{place.name}: over {MAX_FILES:,} Python files or {MAX_SOURCE_BYTES >> 20} MiB of them",
                next_step="keep the project in a folder of its own",
            )
    return found


def _is_passed_over(path: Path) -> bool:
    """Whether a file or folder is no part of a project: hidden, an environment, or made by tools."""
    return path.name.startswith(".") or path.name in _PASSED_OVER or (path / "pyvenv.cfg").exists()


def main(file: str) -> None:
    """Import the file and print the graphs of what it defines."""
    path = Path(file).resolve()
    definitions.PROJECT = str(path.parent) + os.sep
    reads = _Reads(path.parent)
    sys.addaudithook(reads)
    try:
        told = Told(graphs=_graphs(vars(imported(path, "pipeline"))))
        reads.check()
    except FalajError as error:
        told = Told(wrong=error.message, next_step=error.next_step)
    tell(told)


class _Reads:
    """Files of the project that are read while its pipelines are, other than Python, as the interpreter tells it.

    A version of a pipeline holds the project's Python files, and by them a change of it is noticed; what else it was
    wired by would be in no version, and no step could find it.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._found: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(args[0], str | bytes):
            return
        path, flags = Path(os.path.abspath(os.fsdecode(args[0]))), args[2]
        if self._place not in path.parents or path.suffix in (".py", ".pyc") or not path.is_file():
            return
        inner = path.relative_to(self._place)
        passed = any(_is_passed_over(self._place / one) for one in (inner, *inner.parents) if one.name)
        if not passed and not (isinstance(flags, int) and flags & os.O_WRONLY):
            self._found.append(inner.as_posix())

    def check(self) -> None:
        """Raises: PipelineInvalid where such a file was read."""
        if self._found:
            raise PipelineInvalid(
                f"it reads {self._found[0]}: a pipeline follows from its Python files and its parameters alone",
                next_step="put values in a Python file or give them with --param, and data in a dataset",
            )


def _graphs(names: dict[str, object]) -> tuple[Graph, ...]:
    values = {id(one): one for one in names.values() if isinstance(one, definitions.PipelineFunction)}
    graphs = [one.graph() for one in values.values()]
    twice = [one.pipeline for one in graphs if [other.pipeline for other in graphs].count(one.pipeline) > 1]
    if twice:
        raise PipelineInvalid(f"{twice[0]}: defined twice", next_step="give each pipeline a name of its own")
    known = _views()
    return tuple(_with_views(one, known) for one in graphs)


def _with_views(graph: Graph, known: dict[str, View]) -> Graph:
    """The graph with the views that its services take from. Raises: PipelineInvalid where one is not defined."""
    wanted = dict.fromkeys(name for service in graph.services for name in service.views)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise PipelineInvalid(f"{graph.pipeline}: no feature view {missing[0]}", next_step="define it in the project")
    return msgspec.structs.replace(graph, views=tuple(known[name] for name in wanted))


def _views() -> dict[str, View]:
    """The feature views that the project's modules name."""
    place, out = definitions.PROJECT or "", {}
    for module in list(sys.modules.values()):
        if str(getattr(module, "__file__", None) or "").startswith(place):
            views = [one for one in vars(module).values() if isinstance(one, FeatureView)]
            out.update({one.record.view: one.record for one in views})
    return out


if __name__ == "__main__":
    main(sys.argv[1])
