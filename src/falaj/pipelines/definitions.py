"""How a person defines steps and pipelines, in the project's `pipeline.py`.

    @fj.step(memory="1GiB", retries=1)
    def train(data: fj.Table, *, leaves: int) -> fj.Model: ...

    @fj.pipeline
    def delay(flights: fj.Dataset = fj.dataset("flights@main"), leaves: tuple[int, ...] = (15, 31, 63)):
        data = training_set(flights)
        models = train.map(leaves=leaves, data=data)
        best = fj.best(models, evaluate.map(model=models, data=data), by="brier", least=True)
        return fj.register("delay", best, label="arr_delay > 30")

A step called outside of a pipeline is the plain function, so that it can be tested. A pipeline is called once, when it
is read, with stand-ins for everything: what it wires becomes a static graph. A stand-in has no value, so nothing in it
can depend on one.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn

import msgspec

from falaj.core.names import Thing, printable
from falaj.core.names import name as checked_name
from falaj.features.definitions import Dataset, FeatureService
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import Arg, Graph, Isolation, Node, Options, Param
from falaj.pipelines.rules import (
    check_fit,
    check_graph,
    check_value,
    element_of,
    fits,
    output_type,
    parse_size,
    parse_timeout,
    type_of,
)

Function = Callable[..., Any]


class Table:
    """The type of a table. A step is given a `pyarrow.Table`, and may return what holds Arrow data (pandas, DuckDB)."""


class Metrics:
    """The type of metrics. A step is given, and returns, a dict of numbers by name."""


_PLAIN: Final[dict[object, str]] = {
    Table: "table",
    Metrics: "metrics",
    Dataset: "dataset",
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    dict: "json",
    Any: "json",
}
# Types that other floors and libraries own, by where they are defined.
_BY_NAME: Final = {
    ("falaj.api", "Model"): "model",
    ("pyarrow.lib", "Table"): "table",
}


def dataset(thing: str) -> Dataset:
    """A dataset as the input of a pipeline, `flights` or `flights@main`. Raises: InvalidName."""
    return Dataset(thing)


class Output:
    """What stands for a value while a pipeline is read: a parameter, or the output of a step."""

    def __init__(self, sort: typing.Literal["param", "node"], name: str, type_: str) -> None:
        self.sort, self.name, self.type = sort, name, type_

    def _refuse(self, *_: object) -> NoReturn:
        raise PipelineInvalid(
            f"{self.name}: it has no value while the pipeline is read",
            next_step="pass it to a step; map over it with step.map(…)",
        )

    __bool__ = __iter__ = __len__ = __getitem__ = __add__ = __lt__ = __gt__ = __le__ = __ge__ = __eq__ = _refuse
    __int__ = __float__ = __index__ = __contains__ = __call__ = _refuse
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{self.name}: {self.type}>"


class _Tracing:
    """The graph that grows while a pipeline is read."""

    def __init__(self, environment: str = "") -> None:
        self.environment = environment
        self.nodes: list[Node] = []
        self.services: dict[str, FeatureService] = {}

    def add(self, node: Node) -> Output:
        taken = {one.id for one in self.nodes}
        name, number = node.id, 2
        while name in taken:
            name, number = f"{node.id}_{number}", number + 1
        node = msgspec.structs.replace(node, id=name)
        self.nodes.append(node)
        return Output("node", name, output_type(node))


_tracing: _Tracing | None = None


class Step:
    """A step: a typed function. `map` uses it once for each item of what it is mapped over."""

    def __init__(self, function: Function, options: Options, environment: str = "") -> None:
        self.function, self.options, self.environment = function, options, environment
        self.name = function.__name__
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _tracing is None:
            return self.function(*args, **kwargs)
        return self._used(args, kwargs, mapped=False)

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """Use it for each item: of every argument that is a list of what the step takes. The others stay the same.

        Raises: PipelineInvalid where nothing is such a list.
        """
        if _tracing is None:
            raise PipelineInvalid(f"{self.name}.map: only inside of a pipeline", next_step="call the step itself")
        return self._used(args, kwargs, mapped=True)

    def __repr__(self) -> str:
        return f"<falaj step {self.name}>"

    def _used(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, mapped: bool) -> Output:
        assert _tracing is not None  # noqa: S101  the callers looked
        takes, returns = signature_of(self.function)
        try:
            bound = inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            raise PipelineInvalid(f"step {self.name}: {error}", next_step="name its parameters") from error
        wired = {name: self._arg(name, value, takes[name], mapped=mapped) for name, value in bound.arguments.items()}
        if mapped and not any(arg.each for arg in wired.values()):
            raise PipelineInvalid(
                f"{self.name}.map: nothing given is a list of what it takes", next_step="call it without map"
            )
        services = _services_of(self.function)
        _tracing.services |= {one.name: one for one in services}
        node = Node(
            id=self.name,
            path=_path_of(self.function),
            function=self.name,
            args=wired,
            types=takes,
            returns=returns,
            options=self.options,
            environment=self.environment or _tracing.environment,
            services=tuple(one.name for one in services),
            summary=(inspect.getdoc(self.function) or "").partition("\n")[0][:200],
        )
        return _tracing.add(node)

    def _arg(self, name: str, value: Any, wanted: str, *, mapped: bool) -> Arg:
        where = f"{self.name}({name})"
        if isinstance(value, Output):
            inner = element_of(value.type)
            each = mapped and not fits(value.type, wanted) and inner is not None and fits(inner, wanted)
            check_fit(value.type, wanted, where, each=each)
            return Arg(sort=value.sort, name=value.name, each=each)
        plain = list(value) if isinstance(value, tuple) else value
        inner = element_of(type_of(plain) or "")
        if mapped and inner is not None and not fits(f"list[{inner}]", wanted):
            check_value(plain, f"list[{wanted}]", where)
            return Arg(sort="value", value=plain, each=True)
        if wanted not in ("json", "metrics", "int", "float", "str", "bool") and element_of(wanted) is None:
            raise PipelineInvalid(f"{where}: {_told(wanted)} is taken", next_step="wire a step or a parameter")
        return Arg(sort="value", value=check_value(plain, wanted, where))


@typing.overload
def step(function: Function, /) -> Step: ...
@typing.overload
def step(
    *,
    cpu: float = ...,
    memory: str | int = ...,
    retries: int = ...,
    timeout: str | int = ...,
    isolation: Isolation = ...,
    cache: bool = ...,
    environment: str = ...,
) -> Callable[[Function], Step]: ...
def step(
    function: Function | None = None,
    /,
    *,
    cpu: float = 1.0,
    memory: str | int = "4GiB",
    retries: int = 0,
    timeout: str | int = "1h",
    isolation: Isolation = "fork",
    cache: bool = True,
    environment: str = "",
) -> Step | Callable[[Function], Step]:
    """Make a step of a typed function.

    Args:
        memory: what an attempt may hold of its own, `512MiB` or `2GiB`.
        timeout: after which an attempt is ended, `90s`, `10m` or `2h`.
        isolation: `exec` starts a fresh interpreter for each attempt (GPUs).
        cache: whether a result that was committed for the same code and inputs is taken instead of computing.
        environment: what it runs in, as `falaj.toml` declares it by that name; default: the pipeline's.
    Raises: PipelineInvalid, InvalidName.
    """
    said = {
        "cpu": cpu,
        "memory": parse_size(memory),
        "retries": retries,
        "timeout_s": parse_timeout(timeout),
        "isolation": isolation,
        "cache": cache,
    }
    try:
        options = msgspec.convert(said, Options)
    except msgspec.ValidationError as error:
        raise PipelineInvalid(f"step: {error}", next_step="correct its options") from error
    named = checked_name(environment, "environment") if environment else ""
    return Step(function, options, named) if function is not None else lambda one: Step(one, options, named)


class PipelineFunction:
    """A pipeline as defined. `graph()` reads it."""

    def __init__(self, function: Function, environment: str = "") -> None:
        self.function, self.name, self.environment = function, function.__name__, environment
        functools.update_wrapper(self, function)

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise PipelineInvalid(
            f"pipeline {self.name}: it is run by Falaj, not called", next_step=f"falaj pipeline run {self.name}"
        )

    def __repr__(self) -> str:
        return f"<falaj pipeline {self.name}>"

    def graph(self) -> Graph:
        """The static graph. Raises: PipelineInvalid."""
        global _tracing  # noqa: PLW0603  one pipeline is read at a time, in a process of its own
        params = _params_of(self.function)
        if _tracing is not None:
            raise PipelineInvalid(f"pipeline {self.name}: inside of another", next_step="call steps")
        _tracing = traced = _Tracing(self.environment)
        try:
            self.function(**{param.name: Output("param", param.name, param.type) for param in params})
        finally:
            _tracing = None
        if not traced.nodes:
            raise PipelineInvalid(f"pipeline {self.name}: it uses no step", next_step="call a step in it")
        services = tuple(one.record for one in traced.services.values())
        summary = (inspect.getdoc(self.function) or "").partition("\n")[0][:200]
        graph = Graph(pipeline=self.name, params=params, nodes=tuple(traced.nodes), services=services, summary=summary)
        return check_graph(graph)


@typing.overload
def pipeline(function: Function, /) -> PipelineFunction: ...
@typing.overload
def pipeline(*, environment: str = ...) -> Callable[[Function], PipelineFunction]: ...
def pipeline(
    function: Function | None = None, /, *, environment: str = ""
) -> PipelineFunction | Callable[[Function], PipelineFunction]:
    """Make a pipeline of a function that wires steps.

    Args:
        environment: what its steps run in, as `falaj.toml` declares it by that name, where they name no other;
            default: that of Falaj itself.
    Raises: InvalidName.
    """
    named = checked_name(environment, "environment") if environment else ""
    return PipelineFunction(function, named) if function is not None else lambda one: PipelineFunction(one, named)


def best(models: Any, metrics: Any, *, by: str, least: bool = False) -> Any:
    """The model whose metrics are best: of `models`, by the metric `by`; the least value where `least`, else the most.

    Raises: PipelineInvalid.
    """
    kind = models.type if isinstance(models, Output) else ""
    if _tracing is None or element_of(kind) is None or not isinstance(metrics, Output):
        raise PipelineInvalid("best: two mapped steps are expected", next_step="fj.best(models, metrics, by='brier')")
    args = {"items": Arg(sort="node", name=models.name), "metrics": Arg(sort="node", name=metrics.name)}
    wanted = {"items": kind, "metrics": "list[metrics]"}
    check_fit(metrics.type, "list[metrics]", "best(metrics)", each=False)
    return _tracing.add(
        Node(
            id="best",
            sort="best",
            args=args,
            types=wanted,
            returns=element_of(kind) or kind,
            settings={"by": by, "least": least},
        )
    )


def register(
    model: str, output: Any, *, label: str = "", columns: Sequence[str] = (), convert: Literal["", "onnx"] = ""
) -> Any:
    """Register a step's model as a new version of `model`: signed, with its lineage.

    Args:
        label: what it predicts, as an SQL expression over the data; default: what the newest version says.
        columns: those it reads, in its order, where the model itself does not say.
        convert: `onnx` registers it as an ONNX file, where that is the same model on 10,000 rows or more of the tables
            that it was made from; else as it is, and the version says why.
    Raises: PipelineInvalid, InvalidName.
    """
    thing = Thing.parse(model, kind="model")
    if thing.kind != "model" or thing.ref or thing.version:
        raise PipelineInvalid(f"register: {printable(model)} is no name of a model", next_step="such as 'delay'")
    if _tracing is None or not isinstance(output, Output) or output.type != "model":
        told = repr(output) if isinstance(output, Output) else printable(str(output))
        raise PipelineInvalid(f"register: {told} is no model of a step", next_step="fj.register('delay', model)")
    if convert not in {"", "onnx"}:
        raise PipelineInvalid(f"register: nothing converts to {printable(str(convert))}", next_step="convert='onnx'")
    settings = {"model": thing.name, "label": label, "columns": list(columns)}
    return _tracing.add(
        Node(
            id="register",
            sort="register",
            args={"model": Arg(sort="node", name=output.name)},
            types={"model": "model"},
            returns="json",
            settings={**settings, "convert": convert} if convert else settings,
        )
    )


def type_word(annotation: Any, what: str) -> str:
    """The word for an annotation. Raises: PipelineInvalid for one that is none of ours."""
    try:
        if annotation in _PLAIN:
            return _PLAIN[annotation]
    except TypeError:
        pass
    known = _BY_NAME.get((getattr(annotation, "__module__", ""), getattr(annotation, "__name__", "")))
    if known:
        return known
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is dict or origin is Mapping:
        return "json"
    if origin in (list, Sequence) and len(inner) == 1:
        return f"list[{type_word(inner[0], what)}]"
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return f"list[{type_word(inner[0], what)}]"
    shown = printable(str(annotation)) if annotation is not inspect.Parameter.empty else "nothing"
    raise PipelineInvalid(
        f"{what}: {shown} is no type that is passed between steps",
        next_step="fj.Dataset, fj.Table, fj.Model, fj.Metrics, dict, int, float, str, bool, or a list of one",
    )


def signature_of(function: Function) -> tuple[dict[str, str], str]:
    """The types of a step's parameters and of what it returns. Raises: PipelineInvalid."""
    name = function.__name__
    hints = _hints(function)
    takes = {}
    for one in inspect.signature(function).parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise PipelineInvalid(f"step {name}: *{one.name} has no type", next_step="name its parameters")
        takes[one.name] = type_word(hints.get(one.name, inspect.Parameter.empty), f"step {name}({one.name})")
    returns = type_word(hints.get("return", inspect.Parameter.empty), f"step {name} returns")
    if returns == "dataset":
        raise PipelineInvalid(f"step {name}: a dataset is not made by a step", next_step="return fj.Table")
    return takes, returns


def _params_of(function: Function) -> tuple[Param, ...]:
    hints, out = _hints(function), []
    for one in inspect.signature(function).parameters.values():
        where = f"pipeline {function.__name__}({one.name})"
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise PipelineInvalid(f"{where}: it has no type", next_step="name its parameters")
        kind = type_word(hints.get(one.name, inspect.Parameter.empty), where)
        if kind in ("table", "model", "metrics") or element_of(kind) in ("table", "model", "metrics", "dataset"):
            raise PipelineInvalid(f"{where}: {_told(kind)} cannot be given to a run", next_step="give a dataset")
        default = None if one.default is one.empty else one.default
        if kind == "dataset":
            if default is not None and not isinstance(default, Dataset):
                raise PipelineInvalid(f"{where}: its default is no dataset", next_step="fj.dataset('flights@main')")
            default = default.thing if default is not None else None
        elif one.default is not one.empty:
            default = check_value(list(default) if isinstance(default, tuple) else default, kind, where)
        out.append(Param(name=one.name, type=kind, default=default, needed=one.default is one.empty))
    return tuple(out)


def _hints(function: Function) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception as error:
        raise PipelineInvalid(f"{function.__name__}: {error}", next_step="import what its annotations name") from error


def _services_of(function: Function) -> list[FeatureService]:
    """The feature services that a function names, itself or through functions of the project that it calls."""
    found: dict[str, FeatureService] = {}
    waiting, seen = [function], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for value in _named_values(one):
            inner = value.function if isinstance(value, Step) else value
            if isinstance(inner, FeatureService):
                found[inner.name] = inner
            elif isinstance(inner, types.FunctionType) and _is_of_project(inner):
                waiting.append(inner)
    return list(found.values())


def _named_values(function: Function) -> list[Any]:
    codes, out = [function.__code__], []
    while codes:
        code = codes.pop()
        codes += [one for one in code.co_consts if isinstance(one, types.CodeType)]
        for name in code.co_names:
            value = function.__globals__.get(name)
            out.append(value)
            if isinstance(value, types.ModuleType):  # features.delay_v1
                out += [getattr(value, other, None) for other in code.co_names if hasattr(value, "__file__")]
    return out


def _is_of_project(function: Function) -> bool:
    return PROJECT is not None and function.__code__.co_filename.startswith(PROJECT)


PROJECT: str | None = None
"""The project's folder, with a separator at its end; set where its file is read."""


def _path_of(function: Function) -> str:
    file = function.__code__.co_filename
    if PROJECT is None or not file.startswith(PROJECT):
        raise PipelineInvalid(
            f"step {function.__name__}: it is defined outside of the project", next_step="define it in the project"
        )
    return file[len(PROJECT) :]


def _told(kind: str) -> str:
    return f"a {kind}"
