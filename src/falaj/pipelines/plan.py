"""What a run reads, as it stood when the run began: the pipeline's version, its parameters, versions of datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from falaj.core.encoding import decode
from falaj.core.errors import Invalid
from falaj.core.names import Thing, printable
from falaj.core.records import Version
from falaj.data import reading
from falaj.data.records import ContractVersion, DatasetVersion
from falaj.door import Caller, Context
from falaj.features.kinds import FEATURE_SERVICE, FEATURE_VIEW
from falaj.pipelines import code, locks
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import MAX_SOURCE_BYTES, Given, Graph, Node, Pipeline
from falaj.pipelines.rules import check_graph, check_source, values_of
from falaj.store.catalog import Held
from falaj.store.metadata import Transaction

SOURCE = "source.json"
FEATURES = "features"
"""The role by which a run names the feature services and views that it used."""


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a dataset that a run reads, with the contract by which it is typed."""

    held: Held
    payload: DatasetVersion
    document: dict[str, Any] | None

    @property
    def address(self) -> str:
        """`dataset/flights:3`."""
        return f"dataset/{self.held.asset.name}:{self.held.version.number}"

    def given(self, paths: tuple[str, ...]) -> Given:
        """It as an attempt finds it."""
        return Given(
            type="dataset",
            name=f"{self.held.asset.name}:{self.held.version.number}",
            paths=paths,
            format=self.payload.format,
            document=self.document,
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run reads.

    Attributes:
        values: of the parameters.
        reads: by the address as the pipeline names it.
        source: the project's files; empty where attempts take them from elsewhere.
        digests: of the code of each step.
        definitions: by address without version, the applied version of each feature service and view that says what
            the project's files say; what was never applied as it stands there has none.
        environment: where attempts run whose step names none.
        environments: those that steps name.
    """

    pipeline: Held
    payload: Pipeline
    values: dict[str, Any]
    reads: dict[str, Read]
    source: dict[str, bytes]
    digests: dict[str, str]
    definitions: dict[str, Version]
    environment: dict[str, Any]
    environments: dict[str, locks.Chosen] = {}

    @property
    def graph(self) -> Graph:
        """The pipeline's graph."""
        return self.payload.graph

    @property
    def environment_digest(self) -> str:
        """The digest of the environment, "" where it is not known."""
        found = self.environment.get("distributions_digest")
        python = self.environment.get("python", "")
        return f"{python} sha256:{found}" if found else ""

    @property
    def told_environments(self) -> dict[str, Any]:
        """The environments of a run by name and digest, as its result keeps them; nothing where there are none."""
        told = {name: one.digest for name, one in self.environments.items()}
        return {"environments": told} if told else {}

    def digest_of(self, node: Node) -> str:
        """The digest of the environment that a step runs in, as its key has it."""
        return f"lock {self.environments[node.environment].digest}" if node.environment else self.environment_digest

    def facts_of(self, step: str) -> dict[str, Any]:
        """The environment that a step runs in, as the step's run keeps it."""
        node = next(node for node in self.graph.nodes if node.id == step)
        return self.environments[node.environment].facts if node.environment else self.environment

    def sources(self, node: Node) -> dict[str, Read]:
        """By feature view, the datasets that the services of a step take from."""
        wanted = {name for one in self.graph.services if one.service in node.services for name in one.views}
        return {view.view: self.reads[view.source] for view in self.graph.views if view.view in wanted}

    def features(self, node: Node) -> list[Version]:
        """The versions of the feature services that a step uses, and of their views."""
        views = [f"{FEATURE_VIEW.name}/{view}" for view in self.sources(node)]
        wanted = [*(f"{FEATURE_SERVICE.name}/{one}" for one in node.services), *views]
        return [self.definitions[one] for one in wanted if one in self.definitions]


def plan_of(
    ctx: Context,
    pipeline: str,
    params: Mapping[str, Any],
    environment: Mapping[str, Any],
    purpose: str = "",
    pins: Mapping[str, int] | None = None,
    *,
    caller: Caller | None = None,
    digests: Mapping[str, str] | None = None,
) -> Plan:
    """Look at everything that a run will read.

    Args:
        pins: by name of a dataset, or by its address as it is named, the version that is read where none is given.
        caller: whose rights to the data count; default: those of the one who asks, by the token in use.
        digests: of the code of each step, where they are known: the source is not read then.
    Raises: NotFound, Forbidden, PipelineInvalid, EvidenceSealed.
    """
    with ctx.reading() as tx:
        held = ctx.ground.catalog.resolve(tx, ctx.project.id, Thing.parse(pipeline, kind="pipeline"))
        payload: Pipeline = ctx.ground.catalog.payload(held.asset, held.version)
    graph = check_graph(payload.graph)
    values = values_of(graph, params)
    wanted = [values[param.name] for param in graph.params if param.type == "dataset"]
    wanted = list(dict.fromkeys([*wanted, *(view.source for view in graph.views)]))
    for thing in wanted:
        check_allowed(ctx, thing, purpose, caller or ctx.caller)
    with ctx.reading() as tx:
        reads = {thing: read(ctx, tx, thing, pins or {}) for thing in wanted}
        definitions = applied(ctx, tx, graph)
    source = {} if digests is not None else source_of(ctx, held.version)
    if digests is None:
        steps = [node for node in graph.nodes if node.sort == "step"]
        digests = {node.id: code.digest_of(source, node.path, node.function) for node in steps}
    return Plan(
        pipeline=held,
        payload=payload,
        values=values,
        reads=reads,
        source=source,
        digests=dict(digests),
        definitions=definitions,
        environment=dict(environment),
        environments=locks.chosen(graph, source) if source else {},
    )


def check_allowed(ctx: Context, thing: Any, purpose: str, caller: Caller) -> None:
    """Whether somebody may read a dataset, judged on the facts of that dataset.

    Raises: NotFound, Forbidden: as if they had asked for its files.
    """
    parsed = Thing.parse(thing, kind="dataset")
    if parsed.kind != "dataset":
        raise PipelineInvalid(f"{printable(str(thing))}: a dataset is expected", next_step="such as flights@main")
    reading.check_allowed(ctx, parsed, purpose, caller)


def read(ctx: Context, tx: Transaction, thing: Any, pins: Mapping[str, int]) -> Read:
    """A version of a dataset that no gate measures on, with what tells how it is read."""
    catalog = ctx.ground.catalog
    parsed = Thing.parse(thing, kind="dataset")
    pinned = pins.get(str(thing)) or pins.get(parsed.name)
    if parsed.version is None and pinned is not None:
        parsed = Thing(parsed.name, parsed.kind, None, pinned)
    held = catalog.resolve(tx, ctx.project.id, parsed)
    if held.version.state != "live":
        raise Invalid(f"{parsed}: v{held.version.number} is {held.version.state}", next_step="choose another version")
    catalog.check_unsealed(tx, held.asset, held.version, "a run")
    payload: DatasetVersion = catalog.payload(held.asset, held.version)
    document = None
    if payload.contract is not None:
        judging = catalog.resolve(tx, ctx.project.id, Thing.parse(payload.contract))
        contract: ContractVersion = catalog.payload(judging.asset, judging.version)
        document = dict(contract.document)
    return Read(held=held, payload=payload, document=document)


def applied(ctx: Context, tx: Transaction, graph: Graph) -> dict[str, Version]:
    """By address, the newest version of each feature service and view of a graph whose payload is the graph's own."""
    meant: dict[Thing, Any] = {Thing(one.service, FEATURE_SERVICE.name): one for one in graph.services}
    meant |= {Thing(one.view, FEATURE_VIEW.name): one for one in graph.views}
    catalog, found = ctx.ground.catalog, dict[str, Version]()
    for thing, payload in meant.items():
        asset = catalog.find_asset(tx, ctx.project.id, thing.kind or "", thing.name)
        for version in catalog.versions(tx, asset) if asset else ():
            if asset and catalog.payload(asset, version) == payload:
                found[str(thing)] = version
                break
    return found


def source_of(ctx: Context, version: Version) -> dict[str, bytes]:
    """The project's files as a version of a pipeline holds them. Raises: Damaged."""
    body = ctx.ground.contents.read(version, SOURCE, limit=2 * MAX_SOURCE_BYTES)
    return check_source(decode(body, dict[str, str], SOURCE))


def write_source(files: Mapping[str, bytes], folder: Path) -> None:
    """Put a project's files into an empty folder, for reading only."""
    for path, body in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        file.chmod(0o400)
