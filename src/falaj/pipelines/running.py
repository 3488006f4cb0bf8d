"""Running a pipeline: items become ready as what they take is there; what is committed is taken, the rest computed.

Cache and resume are one thing. Nothing here knows whether an earlier run ended well, failed, or was killed: a key that
was committed is never computed again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import FalajError
from falaj.door import Context
from falaj.pipelines import keeping, registering
from falaj.pipelines.code import modules_of
from falaj.pipelines.engine import Attempts, Ended, Engine
from falaj.pipelines.errors import PipelineInvalid, RunCancelled, StepFailed
from falaj.pipelines.keeping import Output, Use
from falaj.pipelines.plan import FEATURES, Plan, Read, write_source
from falaj.pipelines.records import MAX_ITEMS, Arg, Artifact, Given, Node, SourceFile, Task
from falaj.pipelines.rules import PLAIN, chosen, element_of, key_of
from falaj.pipelines.views import StepView
from falaj.store.content import Stored
from falaj.store.steps import Step

LOOK_EVERY_S: Final = 0.25
MAX_LOST: Final = 3


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
        return self.node.id if self.place < 0 else f"{self.node.id}[{self.label or self.place}]"

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


class _Underway(msgspec.Struct):
    item: Item
    step: Step
    folder: Path
    began: float


class Runner:
    """One run of a pipeline.

    Args:
        folder: the run's own; what lies there is removed by the caller.
        anew: compute everything, whatever was committed before.
    """

    def __init__(self, ctx: Context, plan: Plan, engine: Engine, folder: Path, *, anew: bool = False) -> None:
        self.ctx, self.plan, self.engine, self.folder, self.anew = ctx, plan, engine, folder, anew
        self.items: dict[str, list[Item]] = {}
        self._underway: dict[int, _Underway] = {}
        self._inputs: dict[str, tuple[str, ...]] = {}
        self._domain = ""
        self._numbers = 0

    def run(self) -> list[Item]:
        """Bring every step to its end. Raises: StepFailed, RunCancelled; what was committed stays."""
        write_source(self.plan.source, self.folder / "source")
        modules = modules_of(self.plan.source)
        try:
            with self.engine.attempts(self.folder, modules) as attempts:
                self._until_done(attempts)
        except BaseException as error:
            underway = [one.step for one in self._underway.values()]
            if underway:
                with suppress(FalajError):  # the first error is the one to tell
                    keeping.give_up(self.ctx, underway, "cancelled" if isinstance(error, RunCancelled) else "lost")
            raise
        failed = [item for item in self.every() if item.failed]
        if failed:
            raise _failure(failed, [item.view() for item in self.every()])
        return list(self.every())

    def every(self) -> Iterator[Item]:
        """Every item that is known by now, in the graph's order."""
        for node in self.plan.graph.nodes:
            yield from self.items.get(node.id, ())

    def _until_done(self, attempts: Attempts) -> None:
        looked = time.monotonic()
        while True:
            self._settle()
            self._launch(attempts)
            if not self._underway:
                return
            self._tell()
            for ended in attempts.wait(LOOK_EVERY_S):
                self._ended(ended)
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                if keeping.is_cancelled(self.ctx):
                    run = self.ctx.run.id if self.ctx.run else ""
                    raise RunCancelled(f"run {run} was cancelled", next_step=f"falaj run show {run}")

    # what can be known without running anything

    def _settle(self) -> None:
        """Find the items that exist, take what is committed, choose and register; until nothing more follows."""
        while any([self._expand(), self._take_committed(), self._do_own()]):
            pass

    def _expand(self) -> bool:
        grown = False
        for node in self.plan.graph.nodes:
            if node.id not in self.items and (labels := self._labels(node)) is not None:
                places = range(len(labels)) if node.is_mapped else (-1,)
                self.items[node.id] = [Item(node, place, labels[max(place, 0)]) for place in places]
                grown = True
        return grown

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
            raise PipelineInvalid(f"{node.id}.map: {count} items, 1 to {MAX_ITEMS:,} can be mapped over")
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

    def _take_committed(self) -> bool:
        """Give keys to items whose inputs are there, and take what was committed under them."""
        ready = [item for item in self.every() if item.state == "waiting" and self._is_ready(item)]
        ready = [item for item in ready if item.node.sort != "best"]
        for item in ready:
            item.parts = self._parts(item)
            digests = {name: value for name, value in item.parts.items() if name.startswith(("arg ", "source "))}
            own = self.plan.digests.get(item.node.id, "")
            item.key = key_of(item.node, own, self.plan.environment_digest, digests, {})
            item.state = "ready"
        if ready and not self.anew:
            with self.ctx.reading() as tx:
                for item in ready:
                    if item.node.options.cache and (found := keeping.committed(self.ctx, tx, item.key)):
                        item.output, item.state = found[1], "cached"
        return bool(ready)

    def _do_own(self) -> bool:
        """Choose and register: what needs no process of its own."""
        done = False
        for item in self.every():
            if item.node.sort == "best" and item.state == "waiting" and self._is_ready(item):
                item.output, item.state = self._chosen(item.node), "cached"
                done = True
            elif item.node.sort == "register" and item.state == "ready" and not self._failed():
                self._register(item)
                done = True
        return done

    def _chosen(self, node: Node) -> Output:
        """The output with the best metrics."""
        metrics = [self._value(item) or {} for item in self.items[node.args["metrics"].name]]
        models = self.items[node.args["items"].name]
        at = chosen(metrics, str(node.settings["by"]), least=bool(node.settings["least"]))
        output = models[at].output
        assert output is not None  # noqa: S101  it is ready
        return output

    def _register(self, item: Item) -> None:
        began = time.monotonic()
        item.attempts = 1
        step = keeping.claimed(self.ctx, item.node.id, -1, "", 1, item.key, item.parts, 3600)
        keeping.claim(self.ctx, [step])
        model = self._output(item.node.args["model"])
        folder = self.folder / "register"
        path = self._files(model)[0]
        try:
            item.output = registering.register(self.ctx, self.plan, item.node, model, path, self._columns(item), step)
            item.state = "done"
        except FalajError as error:
            ended = Ended(number=0, sort=error.code, message=error.message)
            item.failed, item.state = keeping.fail(self.ctx, step, ended), "failed"
        finally:
            item.seconds = time.monotonic() - began
            shutil.rmtree(folder, ignore_errors=True)

    def _columns(self, item: Item) -> dict[str, str]:
        """The types of columns by name, as the tables of the run have them."""
        known: dict[str, str] = {}
        for one in self.every():
            if one.output is not None and one.output.payload.type == "table":
                known |= {column.name: column.type for column in one.output.payload.columns}
        return known

    # inputs

    def _is_ready(self, item: Item) -> bool:
        return all(self._is_there(arg, item.place) for arg in item.node.args.values())

    def _is_there(self, arg: Arg, place: int) -> bool:
        if arg.sort != "node":
            return True
        items = self.items.get(arg.name)
        if items is None:
            return False
        if arg.each and items[0].place >= 0:
            return items[place].output is not None
        return all(item.output is not None for item in items)

    def _parts(self, item: Item) -> dict[str, str]:
        """What the key of an item is made of: code, environment, and each argument by value or digest."""
        node = item.node
        parts = {"code": self.plan.digests.get(node.id, ""), "environment": self.plan.environment_digest}
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

    def _output(self, arg: Arg, place: int = -1) -> Output:
        items = self.items[arg.name]
        output = (items[place] if arg.each and items[0].place >= 0 else items[0]).output
        assert output is not None  # noqa: S101  the item is ready
        return output

    def _value(self, item: Item) -> Any:
        """A plain output's value; None while it is not there."""
        output = item.output
        if output is None:
            return None
        if output.payload.value is not None or not output.payload.files:
            return output.payload.value
        return msgspec.json.decode(self._files(output)[0].read_bytes())

    def _given(self, arg: Arg, wanted: str, place: int) -> Given:
        """An argument as an attempt finds it."""
        if (read := self._read(arg)) is not None:
            return read.given(self._dataset(read))
        if arg.sort != "node":
            value = self.plan.values[arg.name] if arg.sort == "param" else arg.value
            return Given(type=wanted, value=value[place] if arg.each else value)
        items = self.items[arg.name]
        if arg.each and items[0].place < 0:
            return Given(type=wanted, value=self._value(items[0])[place])
        if arg.each or items[0].place < 0:
            return self._given_output(self._output(arg, place))
        outputs = [item.output for item in items if item.output]
        return Given(type=wanted, items=tuple(self._given_output(one) for one in outputs))

    def _given_output(self, output: Output) -> Given:
        kind = output.payload.type
        if (kind in PLAIN or element_of(kind) is not None) and output.payload.value is not None:
            return Given(type=kind, value=output.payload.value)
        paths = tuple(str(path) for path in self._files(output)) if output.payload.files else ()
        return Given(type=kind, paths=paths, value=output.payload.value if not paths else None)

    def _dataset(self, read: Read) -> tuple[str, ...]:
        """The files of a dataset's version, checked out once a run."""
        key = read.address
        if key not in self._inputs:
            self.ctx.progress(f"reading {read.held.asset.name}", 0, read.held.version.size_bytes)
            folder = self.folder / "inputs" / str(len(self._inputs))
            paths = self.ctx.ground.contents.checkout(read.held.version, folder)
            for path in paths:
                path.chmod(0o400)
            self._inputs[key] = tuple(str(path) for path in paths)
        return self._inputs[key]

    def _files(self, output: Output) -> tuple[Path, ...]:
        """The files of an output, as they were committed: a step may have written where it should not."""
        folder = self.folder / "made" / output.payload.digest.removeprefix("sha256:")
        paths = tuple(folder / file.path for file in output.payload.files)
        wanted = [file.sha256 for file in output.payload.files]
        if [_sha256(path) for path in paths] != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.ctx.ground.contents.checkout(output.version, folder, [file.path for file in output.payload.files])
            for path in paths:
                path.chmod(0o400)
        return paths

    # attempts

    def _failed(self) -> bool:
        return any(item.failed for item in self.every())

    def _launch(self, attempts: Attempts) -> None:
        """Begin what is ready, as far as there are cores. After a failure nothing new begins; what runs may end."""
        if self._failed():
            return
        free = self.engine.slots() - sum(one.item.node.options.cpu for one in self._underway.values())
        begun: list[tuple[Item, Step]] = []
        for item in self.every():
            cpu = item.node.options.cpu
            if item.state != "ready" or item.node.sort != "step":
                continue
            if cpu > free and (self._underway or begun):
                break  # in order: a large step is not overtaken for ever
            free -= cpu
            item.attempts += 1
            options = item.node.options
            step = keeping.claimed(
                self.ctx, item.node.id, item.place, item.label, item.attempts, item.key, item.parts, options.timeout_s
            )
            begun.append((item, step))
        if not begun:
            return
        tasks = [(item, step, self._task(item, step)) for item, step in begun]
        keeping.claim(self.ctx, [step for _, step in begun])
        for item, step, task in tasks:
            self._numbers += 1
            folder = self.folder / "attempts" / str(self._numbers)
            item.state = "running"
            self._underway[self._numbers] = _Underway(item, step, folder, time.monotonic())
            attempts.start(self._numbers, task, folder)

    def _task(self, item: Item, step: Step) -> Task:
        node, plan = item.node, self.plan
        args = {name: self._given(arg, node.types[name], item.place) for name, arg in node.args.items()}
        services = tuple(one for one in plan.graph.services if one.service in node.services)
        sources = {view: read.given(self._dataset(read)) for view, read in plan.sources(node).items()}
        return Task(
            run=step.run,
            step=node.id,
            item=item.place,
            attempt=step.attempt,
            path=node.path,
            function=node.function,
            source=str(self.folder / "source"),
            args=args,
            returns=node.returns,
            options=node.options,
            services=services,
            views=tuple(view for view in plan.graph.views if view.view in sources),
            sources=sources,
            seed=int(item.key.removeprefix("sha256:")[:8], 16),
        )

    def _ended(self, ended: Ended) -> None:
        one = self._underway.pop(ended.number)
        item = one.item
        item.seconds = time.monotonic() - one.began
        try:
            if ended.manifest is not None:
                ended = self._kept(one, ended)
        finally:
            shutil.rmtree(one.folder, ignore_errors=True)
        if item.state == "done":
            return
        step = keeping.fail(self.ctx, one.step, ended)
        item.lost += ended.sort == "lost"
        again = (
            item.lost <= MAX_LOST if ended.sort == "lost" else item.attempts - item.lost <= item.node.options.retries
        )
        if again:
            item.state = "ready"
        else:
            item.state, item.failed = "failed", step

    def _kept(self, one: _Underway, ended: Ended) -> Ended:
        """Commit an attempt's output; what cannot be kept is told as how it failed."""
        manifest, item, out = ended.manifest, one.item, one.folder / "out"
        assert manifest is not None  # noqa: S101  the caller looked
        try:
            self.engine.check_output(manifest, out)
        except FalajError as error:
            return Ended(number=ended.number, sort=error.code, message=error.message, log=ended.log)
        stored: Stored | None = None
        files: tuple[SourceFile, ...] = ()
        if manifest.value is None:  # a small plain value stands in the version itself
            self._domain = self._domain or keeping.ensure_domain(self.ctx)
            stored, files = keeping.upload(self.ctx, self._domain, manifest, out)
        listed = [[file.path, file.sha256] for file in files]
        artifact = Artifact(
            pipeline=self.plan.graph.pipeline,
            step=item.node.id,
            item=item.place,
            type=manifest.type,
            key=item.key,
            digest=sha256(canonical([manifest.type, listed, manifest.value])),
            files=files,
            columns=manifest.columns,
            rows=manifest.rows,
            value=manifest.value,
        )
        item.output = keeping.commit(self.ctx, self.plan, one.step, ended, artifact, stored, self._used(item))
        item.state = "done"
        if files:
            made = self.folder / "made" / artifact.digest.removeprefix("sha256:")
            made.parent.mkdir(exist_ok=True)
            with suppress(OSError):  # another item made the same; what was committed can be read from the store
                out.rename(made)
        return ended

    def _used(self, item: Item) -> list[Use]:
        """The versions that an item was made from."""
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

    def _tell(self) -> None:
        names = ", ".join(one.item.name for one in list(self._underway.values())[:4])
        done = sum(item.output is not None for item in self.every())
        self.ctx.progress(names, done, sum(1 for _ in self.every()))


def _failure(failed: list[Item], views: list[StepView]) -> StepFailed:
    first = failed[0]
    error: Mapping[str, Any] = (first.failed.error if first.failed else None) or {}
    where = f" ({error['where']})" if error.get("where") else ""
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    told = [msgspec.to_builtins(view) for view in views]
    log = first.failed.log if first.failed else ""
    return StepFailed(
        f"{first.name}: {error.get('message', 'failed')}{where}{more}",
        next_step="correct it and run again: what was committed is not computed anew",
        facts={"steps": told, "log": log[-2000:]},
    )


def _label(value: Any) -> str:
    """A value that is mapped over, where it is short enough to name an item by."""
    return str(value)[:40] if isinstance(value, str | int | float) else ""


def _sha256(path: Path) -> str:
    try:
        return sha256(path.read_bytes()) if not path.is_symlink() else ""
    except OSError:
        return ""
