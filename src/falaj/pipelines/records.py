"""Records of the pipelines: the static graph, the payloads of `pipeline` and `artifact`, what an attempt hands back.

A type is a word: `dataset`, `table`, `model`, `metrics`, `json`, `int`, `float`, `str`, `bool`, or `list[T]` of one.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from falaj.features.records import Service, View

MAX_NODES: Final = 500
MAX_ITEMS: Final = 10_000
MAX_FILES: Final = 1_000
MAX_SOURCE_BYTES: Final = 16 * 1024 * 1024
DEFAULT_TIMEOUT_S: Final = 3600
DEFAULT_MEMORY: Final = 4 * 1024**3

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Type = Annotated[str, msgspec.Meta(pattern=r"^(list\[)*(dataset|table|model|metrics|json|int|float|str|bool)\]*$")]
Sort = Literal["step", "best", "register"]
Isolation = Literal["fork", "exec"]


class Param(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter of a pipeline. A dataset's default is its address, `flights@main`."""

    name: Text
    type: Type
    default: Any = None
    needed: bool = False


class Arg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an argument of a step comes from.

    Attributes:
        sort: a parameter of the pipeline, the output of a node, or a value that the file itself names.
        name: of the parameter or node.
        each: one item for each attempt.
    """

    sort: Literal["param", "node", "value"]
    name: str = ""
    value: Any = None
    each: bool = False


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a step is run; nothing here changes what it computes.

    Attributes:
        cpu: share of the host's cores that it counts as, at least.
        memory: bytes of its own that it may hold.
        retries: attempts after the first one failed.
        timeout_s: seconds after which an attempt is ended.
        isolation: `exec` starts a fresh interpreter, for what does not survive a fork (GPUs).
        cache: whether a committed result of equal key stands for it.
    """

    cpu: Annotated[float, msgspec.Meta(gt=0, le=1024)] = 1.0
    memory: Annotated[int, msgspec.Meta(ge=64 * 1024**2)] = DEFAULT_MEMORY
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=7 * 86_400)] = DEFAULT_TIMEOUT_S
    isolation: Isolation = "fork"
    cache: bool = True


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One use of a step in a pipeline.

    Attributes:
        path, function: where its code is, below the project.
        returns: type of one item's output.
        settings: of `best` (by, least) and `register` (model, label, columns, convert).
        services: feature services that its code names; their sources are inputs, too.
        environment: what it runs in, by name; "" for that of Falaj itself.
    """

    id: Text
    sort: Sort = "step"
    path: str = ""
    function: str = ""
    args: dict[str, Arg] = {}
    types: dict[str, Type] = {}
    returns: Type
    options: Options = Options()
    settings: dict[str, Any] = {}
    services: tuple[str, ...] = ()
    summary: str = ""
    environment: Annotated[str, msgspec.Meta(max_length=200)] = ""

    @property
    def is_mapped(self) -> bool:
        """Whether it has an attempt for each item of something."""
        return self.sort == "step" and any(arg.each for arg in self.args.values())


class Locked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An environment as `falaj.toml` declares it.

    Attributes:
        path: of its lock, which is among the files of the pipeline's version.
        python: version of Python, "" for that of whoever runs it.
    """

    name: Text
    path: Text
    python: Annotated[str, msgspec.Meta(max_length=10)] = ""


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pipeline as a static graph; `nodes` stand in an order in which they can run."""

    pipeline: Text
    params: tuple[Param, ...] = ()
    nodes: Annotated[tuple[Node, ...], msgspec.Meta(min_length=1, max_length=MAX_NODES)]
    services: tuple[Service, ...] = ()
    views: tuple[View, ...] = ()
    summary: str = ""
    environments: tuple[Locked, ...] = ()


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the project, by SHA-256."""

    path: Text
    sha256: str
    size_bytes: int


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of the kind `pipeline`; the content of a version is the files.

    Attributes:
        code: the state of its Git work tree (see `capture`), empty where there is none.
        environment: digest of the distributions where it was defined, "" where not known.
        digest: SHA-256 of graph, files and environment, by which an unchanged pipeline is known.
    """

    graph: Graph
    files: tuple[SourceFile, ...]
    code: dict[str, Any] = {}
    environment: str = ""
    digest: str = ""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a table that a step made."""

    name: str
    type: str


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of the kind `artifact`: what one attempt of a step made. The content of a version is the files.

    Attributes:
        key: the key it was committed under; `digest`: SHA-256 of type, files and value, equal for equal outputs.
        columns: of a table; of a model, those that it says it reads.
        value: of `metrics`, `json` and plain values up to 64 KiB, which need no files.
    """

    pipeline: str
    step: str
    item: int
    type: Type
    key: str
    digest: str
    files: tuple[SourceFile, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: int | None = None
    value: Any = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt hands back: the files of its output, what it logged, and the guards that it ran under."""

    type: Type
    files: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: int | None = None
    value: Any = None
    params: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    guards: tuple[str, ...] = ()


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """An argument as an attempt finds it: a value, or files with what tells how they are read.

    Attributes:
        name: of the dataset.
        format, document: of a dataset, and its contract's document where it has one.
    """

    type: Type
    value: Any = None
    paths: tuple[str, ...] = ()
    name: str = ""
    format: str = ""
    document: dict[str, Any] | None = None
    items: tuple[Given, ...] = ()


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """All that an attempt knows; it lies in its folder as `task.json`.

    Attributes:
        source: folder of the project's files as they were when the pipeline was defined.
        sources: by feature view, its source.
        seed: of random numbers, from the key: equal keys draw equal numbers.
        environment: digest of the one that it runs in, "" for that of Falaj itself.
    """

    run: str
    step: str
    item: int
    attempt: int
    path: str
    function: str
    source: str
    args: dict[str, Given]
    returns: Type
    options: Options
    services: tuple[Service, ...] = ()
    views: tuple[View, ...] = ()
    sources: dict[str, Given] = {}
    seed: int = 0
    environment: str = ""
