"""Pure rules of pipelines: what fits where, what a graph must be, what a key covers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import TooLarge
from falaj.core.names import name, printable
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import MAX_FILES, MAX_SOURCE_BYTES, Arg, Graph, Node, Param, Pipeline, SourceFile

_SIZE = re.compile(r"(\d{1,6}) ?(MiB|GiB)")
_SPAN = re.compile(r"(\d{1,6}) ?([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMED: Final[dict[type, str]] = {bool: "bool", int: "int", float: "float", str: "str"}
PLAIN: Final = frozenset({"json", "metrics", "int", "float", "str", "bool"})


def parse_size(text: str | int) -> int:
    """Bytes of `512MiB` or `2GiB`. Raises: PipelineInvalid."""
    match = _SIZE.fullmatch(str(text))
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if match is None:
        raise PipelineInvalid(f"memory {printable(str(text))}: a number and MiB or GiB", next_step="such as 2GiB")
    return int(match[1]) * (1024**2 if match[2] == "MiB" else 1024**3)


def parse_timeout(text: str | int) -> int:
    """Seconds of `90s`, `10m` or `2h`. Raises: PipelineInvalid."""
    match = _SPAN.fullmatch(str(text))
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if match is None:
        raise PipelineInvalid(f"timeout {printable(str(text))}: a number and s, m, h or d", next_step="such as 10m")
    return int(match[1]) * _UNITS[match[2]]


def element_of(type_: str) -> str | None:
    """The type of a list's items, None for what is no list."""
    return type_[5:-1] if type_.startswith("list[") else None


def fits(given: str, wanted: str) -> bool:
    """Whether an output of one type may be an input of another."""
    if given == wanted or (given, wanted) == ("int", "float"):
        return True
    inner, outer = element_of(given), element_of(wanted)
    if inner is not None and outer is not None:
        return fits(inner, outer)
    if wanted == "json":
        return given in PLAIN or (inner is not None and fits(inner, "json"))
    return False


def type_of(value: Any) -> str | None:
    """The type of a plain value, None where it has none."""
    if type(value) in _NAMED:
        return _NAMED[type(value)]
    if isinstance(value, list | tuple):
        kinds = {type_of(one) for one in value}
        if len(kinds) == 1 and None not in kinds:
            return f"list[{kinds.pop()}]"
        return "list[float]" if kinds == {"int", "float"} else "json"
    return "json" if isinstance(value, dict) or value is None else None


def is_of(value: Any, wanted: str) -> bool:
    """Whether a plain value is of a type, item by item where it is a list."""
    inner = element_of(wanted)
    if inner is not None:
        return isinstance(value, list) and all(is_of(one, inner) for one in value)
    given = type_of(value)
    return given is not None and fits(given, wanted)


def check_value(value: Any, wanted: str, what: str) -> Any:
    """A plain value for a parameter. Raises: PipelineInvalid, naming parameter, value and type."""
    if element_of(wanted) is not None and isinstance(value, list | tuple) and not value:
        return []
    given = type_of(value)
    if given is None or not fits(given, wanted):
        inner = element_of(wanted)
        listed = f": {json.dumps([value])[:80]}" if inner and given is not None and fits(given, inner) else ""
        raise PipelineInvalid(
            f"{what}: {printable(str(value))} is {_article(given or type(value).__name__)}, not {_article(wanted)}",
            next_step=f"give {_article(wanted)}{listed}",
        )
    return value


def check_graph(graph: Graph) -> Graph:
    """A graph as it came in from outside: each input is there before it is used, and fits. So no cycle can be.

    Raises: PipelineInvalid, InvalidName.
    """
    name(graph.pipeline, "pipeline")
    params = {name(param.name, "parameter"): param for param in graph.params}
    if len(params) != len(graph.params):
        raise PipelineInvalid(f"pipeline {graph.pipeline}: a parameter stands there twice")
    every = {node.id for node in graph.nodes}
    known: dict[str, Node] = {}
    for node in graph.nodes:
        name(node.id, "step")
        if node.id in known:
            raise PipelineInvalid(f"pipeline {graph.pipeline}: two steps named {node.id}", next_step="rename one")
        for arg_name, arg in node.args.items():
            where = f"{node.id}({arg_name})"
            given = _given_type(arg, params, known, every, where)
            wanted = node.types.get(arg_name, "json")
            check_fit(given, wanted, where, each=arg.each)
        known[node.id] = node
    return graph


def check_fit(given: str, wanted: str, where: str, *, each: bool) -> None:
    """Raises: PipelineInvalid where what is given cannot be what is wanted."""
    one = element_of(given) if each else given
    if one is None:
        raise PipelineInvalid(f"{where}: {_article(given)} has no items to map over", next_step="give a list")
    if not fits(one, wanted):
        said = f"an item of {_article(given)}" if each else _article(given)
        raise PipelineInvalid(f"{where}: {said} is given, {_article(wanted)} is taken", next_step="wire another output")


def output_type(node: Node) -> str:
    """The type of a node's output as a whole: of a mapped one, a list."""
    return f"list[{node.returns}]" if node.is_mapped else node.returns


def _given_type(arg: Arg, params: Mapping[str, Param], known: Mapping[str, Node], every: set[str], where: str) -> str:
    if arg.sort == "value":
        return type_of(arg.value) or "json"
    if arg.sort == "param":
        if arg.name not in params:
            raise PipelineInvalid(
                f"{where}: no parameter {printable(arg.name)}", next_step="name one of the pipeline's"
            )
        return params[arg.name].type
    if arg.name in known:
        return output_type(known[arg.name])
    if arg.name in every:
        raise PipelineInvalid(
            f"{where}: {arg.name} is not there before it: the graph is cyclic, or out of order",
            next_step="a step takes outputs of steps before it",
        )
    raise PipelineInvalid(f"{where}: no step {printable(arg.name)}", next_step="name one of the pipeline's steps")


def values_of(graph: Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a run: as given, else by default. Raises: PipelineInvalid."""
    known = {param.name: param for param in graph.params}
    for word in given:
        if word not in known:
            told = ", ".join(known) or "none"
            raise PipelineInvalid(f"{graph.pipeline}: no parameter {printable(word)}", next_step=f"it has: {told}")
    missing = [param.name for param in graph.params if param.needed and param.name not in given]
    if missing:
        raise PipelineInvalid(f"{graph.pipeline}: parameter {missing[0]} is not given", next_step="give a value")
    values = {param.name: given.get(param.name, param.default) for param in graph.params}
    for param in graph.params:
        kind = "str" if param.type == "dataset" else param.type
        if param.name in given:
            check_value(values[param.name], kind, f"{graph.pipeline}({param.name})")
    return values


def key_of(node: Node, code: str, environment: str, args: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """What makes two attempts the same: code, environment, values and digests of inputs."""
    settings = {k: v for k, v in node.settings.items() if k != "at"}
    what = [node.sort, node.function, node.returns, settings]
    return sha256(canonical([what, code, environment, dict(args), dict(sources)]))


def chosen(metrics: Sequence[Mapping[str, Any]], by: str, *, least: bool) -> int:
    """The place of the best item by a metric; of equal ones the first. Raises: PipelineInvalid where one lacks it."""
    values = []
    for place, one in enumerate(metrics):
        value = one.get(by)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            has = ", ".join(sorted(one)) or "none"
            raise PipelineInvalid(f"best: item {place} has no number {printable(by)}", next_step=f"it has: {has}")
        values.append(value)
    if not values:
        raise PipelineInvalid("best: there is nothing to choose from", next_step="map over at least one item")
    return values.index(min(values) if least else max(values))


MAX_LOST: Final = 3


def is_tried_again(sort: str, attempts: int, lost: int, retries: int) -> bool:
    """Whether an item is tried once more after an attempt came to no good end.

    Args:
        sort: how it ended, see `engine.Ended`.
        attempts, lost: how many there were, and how many of them ended through no fault of the step.
    """
    return lost <= MAX_LOST if sort == "lost" else attempts - lost <= retries


_CORRECT: Final = "correct it and run again: what was committed is not computed anew"
_STEPS: Final = {
    "memory": "hold less at once, or give it more: @fj.step(memory='8GiB')",
    "timeout": "see what it printed, falaj run explain {run}; or give it longer: @fj.step(timeout='2h')",
    "signal": "see what it printed, falaj run explain {run}; isolation='exec' is for what does not survive a fork",
    "lost": "run again: what was committed is not computed anew",
    "wrong_type": "return what the step's annotation says, or correct the annotation",
    "model_refused": "return an estimator of scikit-learn, XGBoost or LightGBM, or an ONNX file: no code of your own",
}
_OUTSIDE: Final = "a step sees its inputs and its own folder alone: falaj data add, then take it as an fj.Dataset"
_RAISED: Final = {
    "FileNotFoundError": _OUTSIDE,
    "PermissionError": _OUTSIDE,
    "ModuleNotFoundError": "install it beside falaj, or correct the import; then run again",
}


def next_step_after(error: Mapping[str, Any], run: str) -> str:
    """What to do about a step that failed.

    Args:
        error: `code`, how it ended (see `engine.Ended`), and `message`.
    """
    name = str(error.get("message", "")).partition(":")[0]
    usual = _RAISED.get(name, _CORRECT) if error.get("code") == "raised" else _CORRECT
    return _STEPS.get(str(error.get("code")), usual).format(run=run)


def shown_item(step: str, item: int, label: str = "") -> str:
    """A step's item as people read it: `train[31]`, by the value it was mapped over, else by its place."""
    return step if item < 0 else f"{step}[{label or item}]"


def _article(type_: str) -> str:
    return f"an {type_}" if type_[0] in "aeiou" else f"a {type_}"


_FILE = re.compile(
    r"(?!.*\.\.)(?:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}/){0,20}[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}\.(?:py|txt|lock)"
)


def check_source(files: Mapping[str, str]) -> dict[str, bytes]:
    """The files of a project as they came in from outside. Raises: PipelineInvalid, TooLarge."""
    if not 1 <= len(files) <= MAX_FILES:
        raise PipelineInvalid(f"source: {len(files)} files: 1 to {MAX_FILES:,} are expected")
    for path in files:
        if not _FILE.fullmatch(path):
            raise PipelineInvalid(f"source: {printable(path)} is no path of a Python file or lock below a project")
    out = {path: text.encode() for path, text in sorted(files.items())}
    if (size := sum(map(len, out.values()))) > MAX_SOURCE_BYTES:
        raise TooLarge(f"source: {size:,} bytes, at most {MAX_SOURCE_BYTES:,}", next_step="keep data out of the code")
    return out


def defined(graph: Graph, files: Mapping[str, bytes], code: Mapping[str, Any], environment: str) -> Pipeline:
    """A pipeline as it is kept. The state of Git is told beside it: alone, it makes no other pipeline of it."""
    known = listed(files)
    digest = sha256(canonical([graph, known, environment]))
    return Pipeline(graph=graph, files=known, code=dict(code), environment=environment, digest=digest)


def listed(files: Mapping[str, bytes]) -> tuple[SourceFile, ...]:
    """Files by their digests, sorted by path."""
    return tuple(SourceFile(path=p, sha256=sha256(b), size_bytes=len(b)) for p, b in sorted(files.items()))
