"""The items of a run, and what can be known of them without running anything.

An item is one use of a step: a mapped step has one for each thing that it is mapped over. Items exist once that is
known; each is ready once all that it takes is there, and then it has its key. One board serves the runner of this
machine, which keeps it while it works, and engines elsewhere, for which it is laid out anew at each question.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import NotFound
from falaj.door import Context
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.keeping import Output, Use
from falaj.pipelines.plan import FEATURES, Plan, Read
from falaj.pipelines.records import MAX_ITEMS, Arg, Given, Node, Task
from falaj.pipelines.rules import PLAIN, chosen, element_of, is_of, key_of, shown_item
from falaj.pipelines.views import StepView
from falaj.store.steps import Step

MAX_VALUE: Final = 64 * 1024 * 1024
"""Most bytes of a plain output that is looked into: to map over it, or to choose by it."""


class Files(Protocol):
    """Where an attempt finds its inputs."""

    def dataset(self, read: Read) -> tuple[str, ...]:
        """The files of a version of a dataset."""
        ...

    def output(self, output: Output) -> tuple[str, ...]:
        """The files of what a step made."""
        ...


class Item:
    """One item of a step: what it is mapped over, its key, and what it came to."""

    def __init__(self, node: Node, place: int, label: str) -> None:
        self.node, self.place, self.label = node, place, label
        self.key = ""
        self.parts: dict[str, str] = {}
        self.state = "waiting"
        self.attempts = self.lost = 0
        self.seconds = 0.0
        self.output: Output | None = None
        self.failed: Step | None = None

    @property
    def name(self) -> str:
        """`train[31]`."""
        return shown_item(self.node.id, self.place, self.label)

    def view(self) -> StepView:
        """It as people read it."""
        error = self.failed.error if self.failed else None
        return StepView(
            step=self.node.id,
            item=self.place,
            label=self.label,
            state=self.state,
            attempts=self.attempts,
            seconds=round(self.seconds, 3),
            output=self.output.address if self.output else "",
            key=self.key,
            error=error,
        )


class Board:
    """The items of one run of a plan."""

    def __init__(self, ctx: Context, plan: Plan) -> None:
        self.ctx, self.plan = ctx, plan
        self.items: dict[str, list[Item]] = {}
        self._values: dict[str, Any] = {}

    def every(self) -> Iterator[Item]:
        """Every item that is known by now, in the graph's order."""
        for node in self.plan.graph.nodes:
            yield from self.items.get(node.id, ())

    def item(self, step: str, place: int) -> Item:
        """One item. Raises: NotFound where the run has none such, or not yet."""
        found = next((one for one in self.items.get(step, ()) if one.place == place), None)
        if found is None:
            known = len(self.items.get(step, ()))
            told = f"it has {known} items, counted from 0" if known and place >= 0 else "falaj pipeline show tells them"
            raise NotFound(f"{shown_item(step[:60], place)}: no such item of a step, or not yet", next_step=told)
        return found

    def settle(self, *steps: Callable[[], bool]) -> None:
        """Find the items that exist and choose the best, until nothing more follows, also by what the caller adds."""
        while any([self.expand(), self.choose(), *(step() for step in steps)]):
            pass

    def restore(self, made: Mapping[tuple[str, int], Output], only: Collection[str]) -> None:
        """Lay out what a run came to so far, of these nodes."""

        def take() -> bool:
            found = [one for one in self.every() if one.output is None and (one.node.id, one.place) in made]
            for item in found:
                item.output, item.state = made[item.node.id, item.place], "done"
            return bool(found)

        while any([self.expand(only), take(), self.choose()]):
            pass

    def expand(self, only: Collection[str] | None = None) -> bool:
        """Add the items of steps whose number of items is known now. Returns: whether there were such."""
        grown = False
        for node in self.plan.graph.nodes:
            if node.id in self.items or (only is not None and node.id not in only):
                continue
            if (labels := self._labels(node)) is not None:
                places = range(len(labels)) if node.is_mapped else (-1,)
                self.items[node.id] = [Item(node, place, labels[max(place, 0)]) for place in places]
                grown = True
        return grown

    def ready(self) -> list[Item]:
        """The items that wait for nothing any more, with their keys; those that choose need none."""
        found = [item for item in self.every() if item.state == "waiting" and self.is_ready(item)]
        found = [item for item in found if item.node.sort != "best"]
        for item in found:
            self.give_key(item)
            item.state = "ready"
        return found

    def choose(self) -> bool:
        """Take the best where all is there to choose from. Returns: whether there were such."""
        found = [one for one in self.every() if one.node.sort == "best" and one.state == "waiting"]
        found = [item for item in found if self.is_ready(item)]
        for item in found:
            item.output, item.state = self._chosen(item.node), "cached"
        return bool(found)

    def give_key(self, item: Item) -> None:
        """Find the key of an item that is ready, and what it is made of."""
        item.parts = self._parts(item)
        digests = {name: value for name, value in item.parts.items() if name.startswith(("arg ", "source "))}
        own = self.plan.digests.get(item.node.id, "")
        item.key = key_of(item.node, own, item.parts["environment"], digests, {})

    def is_ready(self, item: Item) -> bool:
        """Whether all that it takes is there."""
        return all(self._is_there(arg, item.place) for arg in item.node.args.values())

    def is_failed(self) -> bool:
        """Whether an item came to no good end."""
        return any(item.failed for item in self.every())

    def used(self, item: Item) -> list[Use]:
        """The versions that an item is made from."""
        used = [Use(version=self.plan.pipeline.version, role="code")]
        for name, arg in item.node.args.items():
            if (read := self._read(arg)) is not None:
                used.append(Use(version=read.held.version, role=name))
            elif arg.sort == "node":
                items = self.items[arg.name]
                found = [items[item.place]] if arg.each and items[0].place >= 0 else items
                used += [Use(version=one.output.version, role=name) for one in found if one.output]
        used += [Use(version=read.held.version, role=view) for view, read in self.plan.sources(item.node).items()]
        used += [Use(version=version, role=FEATURES) for version in self.plan.features(item.node)]
        return used

    def output_of(self, arg: Arg, place: int = -1) -> Output:
        """What an argument of a ready item stands for, where it is one output."""
        items = self.items[arg.name]
        output = (items[place] if arg.each and items[0].place >= 0 else items[0]).output
        assert output is not None  # noqa: S101  the item is ready
        return output

    def columns(self) -> dict[str, str]:
        """The types of columns by name, as the tables of the run have them."""
        known: dict[str, str] = {}
        for one in self.every():
            if one.output is not None and one.output.payload.type == "table":
                known |= {column.name: column.type for column in one.output.payload.columns}
        return known

    def task(self, item: Item, step: Step, source: str, files: Files) -> Task:
        """All that an attempt of an item must know.

        Args:
            source: the folder of the project's files.
            files: where it finds its inputs.
        """
        node, plan = item.node, self.plan
        services = tuple(one for one in plan.graph.services if one.service in node.services)
        sources = {view: read.given(files.dataset(read)) for view, read in plan.sources(node).items()}
        return Task(
            run=step.run,
            step=node.id,
            item=item.place,
            attempt=step.attempt,
            path=node.path,
            function=node.function,
            source=source,
            args={name: self._given(arg, node.types[name], item.place, files) for name, arg in node.args.items()},
            returns=node.returns,
            options=node.options,
            services=services,
            views=tuple(view for view in plan.graph.views if view.view in sources),
            sources=sources,
            seed=int(item.key.removeprefix("sha256:")[:8], 16),
            environment=plan.environments[node.environment].digest if node.environment else "",
        )

    # what is known

    def _labels(self, node: Node) -> list[str] | None:
        """What each item of a step is mapped over, in short; None while that is not known. Raises: PipelineInvalid."""
        if not node.is_mapped:
            return [""]
        lengths: dict[str, int] = {}
        labels: list[str] = []
        for name, arg in node.args.items():
            if not arg.each:
                continue
            found = self._each_labels(arg)
            if found is None:
                return None
            lengths[name] = len(found)
            if any(found) and not any(labels):
                labels = found
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise PipelineInvalid(f"{node.id}.map: as many items of each are expected, not {told}")
        count = next(iter(lengths.values()))
        if not 1 <= count <= MAX_ITEMS:
            told = f"{node.id}.map: {count} items, 1 to {MAX_ITEMS:,} can be mapped over"
            raise PipelineInvalid(told, next_step="give at least one" if not count else "let each item be more")
        return labels or [""] * count

    def _each_labels(self, arg: Arg) -> list[str] | None:
        if arg.sort == "node":
            items = self.items.get(arg.name)
            if items is None:
                return None
            if items[0].place >= 0:
                return [item.label for item in items]
            value = self._value(items[0])
            return None if value is None else [_label(one) for one in value]
        values = self.plan.values[arg.name] if arg.sort == "param" else arg.value
        return [_label(one) for one in values]

    def _is_there(self, arg: Arg, place: int) -> bool:
        if arg.sort != "node":
            return True
        items = self.items.get(arg.name)
        if items is None:
            return False
        if arg.each and items[0].place >= 0:
            return items[place].output is not None
        return all(item.output is not None for item in items)

    def _chosen(self, node: Node) -> Output:
        """The output with the best metrics."""
        metrics = [self._value(item) or {} for item in self.items[node.args["metrics"].name]]
        models = self.items[node.args["items"].name]
        at = chosen(metrics, str(node.settings["by"]), least=bool(node.settings["least"]))
        output = models[at].output
        assert output is not None  # noqa: S101  it is ready
        return output

    def _parts(self, item: Item) -> dict[str, str]:
        """What the key of an item is made of: code, environment, and each argument by value or digest."""
        node = item.node
        parts = {"code": self.plan.digests.get(node.id, ""), "environment": self.plan.digest_of(node)}
        for name, arg in node.args.items():
            parts[f"arg {name}"] = self._digest(arg, item.place)
        for view, read in self.plan.sources(node).items():
            parts[f"source {view}"] = read.held.version.digest
        return parts

    def _digest(self, arg: Arg, place: int) -> str:
        if arg.sort == "node":
            items = self.items[arg.name]
            if arg.each and items[0].place < 0:
                return canonical((self._value(items[0]) or [])[place]).decode()
            found = [items[place]] if arg.each else items
            digests = [one.output.payload.digest for one in found if one.output]
            return digests[0] if arg.each or items[0].place < 0 else sha256(canonical(digests))
        if (read := self._read(arg)) is not None:
            return read.held.version.digest
        value = self.plan.values[arg.name] if arg.sort == "param" else arg.value
        return canonical(value[place] if arg.each else value).decode()

    def _read(self, arg: Arg) -> Read | None:
        """The dataset that an argument names, None where it is a plain value."""
        if arg.sort != "param":
            return None
        param = next(one for one in self.plan.graph.params if one.name == arg.name)
        return self.plan.reads[self.plan.values[arg.name]] if param.type == "dataset" else None

    def _value(self, item: Item) -> Any:
        """A plain output's value; None while it is not there."""
        output = item.output
        if output is None:
            return None
        if output.payload.value is not None or not output.payload.files:
            return output.payload.value
        if output.payload.digest not in self._values:
            file = output.payload.files[0].path
            body = self.ctx.ground.contents.read(output.version, file, limit=MAX_VALUE)
            self._values[output.payload.digest] = _decoded(body, output)
        return self._values[output.payload.digest]

    # what an attempt is given

    def _given(self, arg: Arg, wanted: str, place: int, files: Files) -> Given:
        """An argument as an attempt finds it."""
        if (read := self._read(arg)) is not None:
            return read.given(files.dataset(read))
        if arg.sort != "node":
            value = self.plan.values[arg.name] if arg.sort == "param" else arg.value
            return Given(type=wanted, value=value[place] if arg.each else value)
        items = self.items[arg.name]
        if arg.each and items[0].place < 0:
            return Given(type=wanted, value=self._value(items[0])[place])
        if arg.each or items[0].place < 0:
            return _given_output(self.output_of(arg, place), files)
        outputs = [item.output for item in items if item.output]
        return Given(type=wanted, items=tuple(_given_output(one, files) for one in outputs))


def _given_output(output: Output, files: Files) -> Given:
    kind = output.payload.type
    if (kind in PLAIN or element_of(kind) is not None) and output.payload.value is not None:
        return Given(type=kind, value=output.payload.value)
    paths = files.output(output) if output.payload.files else ()
    return Given(type=kind, paths=paths, value=output.payload.value if not paths else None)


def _decoded(body: bytes, output: Output) -> Any:
    """The value in a file that a person's code wrote. Raises: PipelineInvalid where it is not what it says."""
    kind = output.payload.type
    try:
        value = msgspec.json.decode(body)
        if is_of(value, "json" if kind == "metrics" else kind) and (kind != "metrics" or isinstance(value, dict)):
            return value
    except msgspec.DecodeError:
        pass
    raise PipelineInvalid(f"{output.payload.step}: its file holds no {kind}", next_step="return what the step says")


def _label(value: Any) -> str:
    """A value that is mapped over, where it is short enough to name an item by."""
    return str(value)[:40] if isinstance(value, str | int | float) else ""
