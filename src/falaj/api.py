"""Python's way to Falaj: `fj.open()` for the project folder, `fj.connect()` for a server. The same surface for both.

    project = fj.open()
    with project.run("train") as run:
        flights = run.use("flights@main").table()
        …
        run.log(params={"leaves": 31}, auc=0.74)
        delay = project.register("delay", "model.skops", inputs=["flights@main"], label="arr_delay > 30", run=run)
    project.model("delay").promote("production", delay.version)

Each method calls one operation of the door (`project.call` calls any); results that have no class of their own here
are plain values, as `--json` shows them. Errors are `FalajError`, with `code`, `message`, `next_step` and `facts`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from falaj import credentials
from falaj import folder as folders
from falaj import session as sessions
from falaj.core.errors import FalajError, Invalid, MissingPart, Unauthenticated

if TYPE_CHECKING:
    import pyarrow as pa

    from falaj.platform import Platform
    from falaj.session import Progress, Session

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def open(folder: str | os.PathLike[str] = ".") -> Project:  # noqa: A001  read as fj.open
    """The project of a folder, embedded: the nearest `falaj.toml` from there upwards.

    Raises: NoProject; Invalid where its file is wrong; Unavailable where its store cannot be opened.
    """
    place = folders.find(Path(folder))
    return Project(embedded(place, folders.project_of(place)), place)


def connect(url: str, *, token: str | None = None, project: str | None = None) -> Project:
    """A project on a server.

    Args:
        token: default: FALAJ_TOKEN, then what `falaj login` kept for this address.
        project: default: FALAJ_PROJECT, then the `falaj.toml` one works under.
    Raises: Unauthenticated without any token; Invalid for an address that a token must not go to.
    """
    from falaj.client import RemoteSession

    place = credentials.server_url(url)
    known = token or os.environ.get("FALAJ_TOKEN") or credentials.token_for(place)
    if not known:
        raise Unauthenticated(f"no token for {place}", next_step=f"falaj login {place}, FALAJ_TOKEN, or token=…")
    name = project or os.environ.get("FALAJ_PROJECT") or folders.project_of(folders.find(Path.cwd()))
    return Project(RemoteSession(place, credentials.token_text(known), name))


def embedded(place: Path, project: str) -> Session:
    """A session on the store of a project folder; closing it lets the store go."""
    from falaj.platform import Platform

    platform = Platform.open(place)
    try:
        return _Embedded(platform, platform.session(project))
    except BaseException:
        platform.close()
        raise


class _Embedded:
    """A session that owns its platform."""

    def __init__(self, platform: Platform, session: Session) -> None:
        self._platform, self._session = platform, session
        self.project, self.call, self.stage, self.stream = session.project, session.call, session.stage, session.stream

    def close(self) -> None:
        """End the session, and close the store."""
        self._session.close()
        self._platform.close()


class Project:
    """A project: data, runs, models and their refs. A context manager; `close` lets its store go.

    Attributes:
        folder: the project folder that it was opened from; None on a server.
    """

    def __init__(self, session: Session, folder: Path | None = None) -> None:
        self.session, self.folder = session, folder

    @property
    def name(self) -> str:
        """The project's name."""
        return self.session.project

    def __repr__(self) -> str:
        return f"<falaj project {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def call(self, operation: str, *, idempotency_key: str = "", progress: Progress | None = None, **args: Any) -> Any:
        """Do any operation by its name; a job is waited for. Returns plain values. Raises: FalajError."""
        return self.session.call(operation, args, idempotency_key=idempotency_key, progress=progress)

    def data(self, thing: str) -> DataVersion:
        """A version of a dataset: `flights`, `flights@main`, `flights:4`. Raises: NotFound."""
        return DataVersion(self, _shown(self.call("asset.show", thing=_of_kind("dataset", thing))))

    def add_data(
        self, dataset: str, paths: Paths, *, ref: str = "main", mode: str = "append", progress: Progress | None = None
    ) -> DataVersion:
        """Add files as a new version, judged by the dataset's contract.

        Raises: ContractRefused, with the failed rules in `facts`; what was refused does not become `ref`.
        """
        files = sessions.staged(self.session, [Path(path) for path in _listed(paths)], progress)
        done = self.call("data.add", dataset=dataset, files=files, ref=ref, mode=mode, progress=progress)
        return self.data(f"{dataset}:{done['version']}")

    @contextmanager
    def run(self, name: str, *, sort: str = "script", params: Mapping[str, Any] | None = None) -> Iterator[Run]:
        """A run around one's own code: it ends "done", or "failed" with the type and words of what was raised.

        Code state and environment are captured here (see `capture`).
        """
        from falaj import capture

        started = self.call(
            "run.start",
            name=name,
            sort=sort,
            params=dict(params or {}),
            code=capture.code_state(),
            environment=capture.environment(),
        )
        run = Run(self, started["id"], name)
        try:
            yield run
        except BaseException as error:
            with suppress(FalajError):  # the first error is the one to tell
                run.finish("failed", f"{type(error).__name__}: {error}"[:1000])
            raise
        run.finish("done", "")

    def run_pipeline(
        self,
        pipeline: str,
        params: Mapping[str, Any] | None = None,
        *,
        source: str | os.PathLike[str] | None = None,
        purpose: str = "",
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Run a pipeline and wait for it; what was committed before is not computed again.

        Args:
            pipeline: by its name, as the files of `source` define it (kept first where they changed), else as it was
                last kept; `delay:3` is version 3.
            params: values for its parameters; a dataset by its address, `flights:3`.
            source: a project folder with a `pipeline.py`; default: the folder that was opened.
        Returns: `run`, `steps`, `computed`, `cached`, `registered` (addresses of the models' versions), `seconds`.
        Raises: StepFailed, with each step in `facts`; PipelineInvalid, RunCancelled.
        """
        from falaj import capture
        from falaj.pipelines import sending

        place = Path(source) if source is not None else self.folder
        if place is not None and sending.is_bare(pipeline) and (source or sending.has_pipelines(place)):
            told = capture.environment()
            code, said = partial(capture.code_state, place), partial(folders.settings, place)
            sending.keep(self.session, place, pipeline, code=code, environment=told, settings=said, progress=progress)
        args = {"pipeline": pipeline, "params": dict(params or {}), **_given(purpose=purpose)}
        return dict(self.session.call("pipeline.run", args, progress=progress))

    def register(
        self,
        model: str,
        path: str | os.PathLike[str],
        *,
        inputs: Iterable[str] = (),
        label: str = "",
        run: Run | None = None,
        **more: Any,
    ) -> ModelVersion:
        """Register a model file (skops or ONNX; a pickle is refused) as a new version with its lineage.

        Args:
            inputs: versions of data it was trained on.
            label: what it predicts, as an SQL expression over the data.
        """
        files = sessions.staged(self.session, [Path(path)])
        args = _given(label=label, run=run.id if run else "", **more)
        done = self.call("model.register", model=model, files=files, inputs=list(inputs), **args)
        return self.model(model)[int(done["version"])]

    def model(self, name: str) -> Model:
        """A model by its name; nothing is asked of the store yet."""
        return Model(self, name)

    def promote(self, ref: str, version: int, *, reason: str = "", expect: int | None = None) -> dict[str, Any]:
        """Move a ref to a version when its gate allows it. Raises: GateRefused, with the findings in `facts`."""
        return dict(self.call("ref.promote", thing=ref, version=version, **_given(reason=reason, expect=expect)))

    def propose(self, ref: str, version: int, *, reason: str = "") -> dict[str, Any]:
        """Ask that a ref moves to a version, and have it judged; another person approves. Raises: GateRefused."""
        return dict(self.call("ref.propose", thing=ref, version=version, **_given(reason=reason)))

    def proposals(self, state: str = "open") -> list[dict[str, Any]]:
        """Proposals, newest first, and what each waits for. `state`: open, stale, moved or withdrawn."""
        return list(self.call("proposal.list", state=state))

    def approve(self, proposal: str, *, reason: str = "") -> dict[str, Any]:
        """Say yes to another person's proposal; its ref moves when nothing is missing any more.

        Raises: Forbidden ("same_person") for one's own.
        """
        return dict(self.call("ref.approve", proposal=proposal, **_given(reason=reason)))

    def withdraw(self, proposal: str, *, reason: str = "") -> dict[str, Any]:
        """Take a proposal back: one's own, or as a maintainer of the ref."""
        return dict(self.call("ref.withdraw", proposal=proposal, **_given(reason=reason)))

    def rollback(self, ref: str, version: int | None = None, *, reason: str = "") -> dict[str, Any]:
        """Move a ref back to a version that held it before (default: the one that the holder was moved on from)."""
        return dict(self.call("ref.rollback", thing=ref, **_given(version=version, reason=reason)))

    def predict(self, model: str, data: str, *, into: str, progress: Progress | None = None) -> DataVersion:
        """Score data with a promoted model; the predictions become a version of the dataset `into`."""
        done = self.call("model.predict", model=model, data=data, into=into, progress=progress)
        return self.data(f"{into}:{done['version']}")

    def lineage(self, thing: str, *, direction: str = "up", depth: int = 12) -> list[dict[str, Any]]:
        """What a version came from ("up") or led to ("down"); the version itself first."""
        return list(self.call("asset.lineage", thing=thing, direction=direction, depth=depth)["nodes"])


@dataclass(frozen=True, repr=False)
class AssetVersion:
    """One version of an asset. `facts`: all that `falaj show` knows of it, in plain values."""

    project: Project
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The asset's name."""
        return str(self.facts["name"])

    @property
    def version(self) -> int:
        """The version's number, from 1."""
        return int(self.facts["version"])

    @property
    def address(self) -> str:
        """Its full address, `dataset/flights:4`."""
        return f"{self.facts['kind']}/{self.name}:{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 over kind, name, number, payload and content."""
        return str(self.facts["digest"])

    @property
    def payload(self) -> Mapping[str, Any]:
        """The kind's own record."""
        return dict(self.facts["payload"])

    def __repr__(self) -> str:
        return f"<falaj {self.address} {self.facts['state']}>"

    def _repr_html_(self) -> str:
        shown = {"version": self.address, **{k: self.facts[k] for k in _SHOWN if self.facts.get(k)}}
        shown |= {k: v for k, v in self.payload.items() if isinstance(v, str | int | float)}
        rows = (f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in shown.items())
        return f"<table>{''.join(rows)}</table>"

    def lineage(self, **more: Any) -> list[dict[str, Any]]:
        """As `Project.lineage`."""
        return self.project.lineage(self.address, **more)


_SHOWN = ("state", "refs", "by", "created_at", "size_bytes", "digest")


class ModelVersion(AssetVersion):
    """One version of a model."""

    def verify(self) -> dict[str, Any]:
        """Check signature, digest, format and verdict. Raises: Damaged, Refused."""
        return dict(self.project.call("model.verify", thing=self.address))


class DataVersion(AssetVersion):
    """One version of a dataset."""

    @property
    def rows(self) -> int | None:
        """Number of rows; None for a dataset of plain files."""
        rows = self.payload.get("rows")
        return None if rows is None else int(rows)

    def files(self, folder: str | os.PathLike[str], *, only: Iterable[str] = ()) -> list[Path]:
        """Write its files below a folder; each reading is an entry.

        Args:
            only: paths inside the version (default: all).
        Raises: FileThere for a file that would be written over; NotFound for a path that it does not have.
        """
        found = sessions.fetch(self.project.session, self.address, Path(folder), list(only))
        return [Path(folder, file["path"]) for file in found["files"]]

    def table(self) -> pa.Table:
        """All its rows, typed as its contract reads them; without a contract, as the files themselves say.

        Raises: Invalid for a dataset of plain files; MissingPart without `falaj[local]`.
        """
        contract = self.payload.get("contract")
        document = None
        if contract:
            document = self.project.call("asset.show", thing=contract)["shown"]["payload"]["document"]
        with tempfile.TemporaryDirectory(prefix="falaj-") as folder:
            paths = self.files(Path(folder, "files"))
            return read_table(paths, str(self.payload["format"]), self.name, document)


@dataclass(frozen=True)
class Model:
    """A model by its name, with the refs that lead to its versions."""

    project: Project = field(repr=False)
    name: str

    def __getitem__(self, where: str | int) -> ModelVersion:
        """`model["production"]` by ref, `model[7]` by number. Raises: NotFound."""
        mark = ":" if isinstance(where, int) else "@"
        return ModelVersion(
            self.project, _shown(self.project.call("asset.show", thing=f"model/{self.name}{mark}{where}"))
        )

    def promote(self, ref: str, version: int, *, reason: str = "", expect: int | None = None) -> dict[str, Any]:
        """As `Project.promote`."""
        return self.project.promote(f"model/{self.name}@{ref}", version, reason=reason, expect=expect)

    def rollback(self, ref: str, version: int | None = None, *, reason: str = "") -> dict[str, Any]:
        """As `Project.rollback`."""
        return self.project.rollback(f"model/{self.name}@{ref}", version, reason=reason)

    def log(self, ref: str = "") -> dict[str, Any]:
        """Its history: the moves of its refs (or of one) and its versions."""
        return dict(self.project.call("asset.log", thing=f"model/{self.name}" + (f"@{ref}" if ref else "")))


class Run:
    """One activity of one's own code, from `Project.run`."""

    def __init__(self, project: Project, run_id: str, name: str) -> None:
        self.project, self.id, self.name = project, run_id, name
        self._params: dict[str, Any] = {}
        self._metrics: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<falaj run {self.name} {self.id}>"

    def use(self, thing: str) -> DataVersion:
        """Take a version of data as an input: lineage names exactly the version returned. Raises: NotFound."""
        version = self.project.data(thing)
        self.project.call("run.use", run=self.id, thing=version.address)
        return version

    def log(self, params: Mapping[str, Any] | None = None, **metrics: float) -> None:
        """Keep parameters and metrics; they are sent when the run ends, the last value of a name counts.

        Raises: Invalid for a metric that is no number.
        """
        for name, value in metrics.items():
            try:
                self._metrics[name] = float(value)
            except (TypeError, ValueError):
                raise Invalid(f"metric {name}: a number is expected, got {type(value).__name__}") from None
        self._params.update(params or {})

    def finish(self, state: str = "done", error: str = "") -> None:
        """End the run with what was logged; `Project.run` does it."""
        self.project.call(
            "run.finish", run=self.id, state=state, params=self._params, metrics=self._metrics, error=error
        )


def read_table(paths: list[Path], form: str, name: str, document: Mapping[str, Any] | None) -> pa.Table:
    """CSV or Parquet files as one table.

    Args:
        document: the contract's document, by which their cells are read; None reads what the files say themselves.
    Raises: Invalid, MissingPart.
    """
    if form not in ("csv", "parquet"):
        raise Invalid(f"{name}: plain files are no table", next_step="use files(folder)")
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise MissingPart("PyArrow is not installed", next_step="pip install 'falaj[local]'") from error
    if document is None:
        read = csv.read_csv if form == "csv" else parquet.read_table
        try:
            return pa.concat_tables([read(path) for path in paths], promote_options="permissive")
        except pa.ArrowException as error:
            raise Invalid(f"{name}: {error}", next_step="a contract says how its cells are read") from error
    from falaj.data import tables
    from falaj.data.contract import from_data

    contract = from_data(dict(document), name=name)
    with tempfile.TemporaryDirectory(prefix="falaj-") as scratch:
        con = tables.connect(paths, scratch=Path(scratch))
        try:
            opened = tables.open_table(con, paths, "csv" if form == "csv" else "parquet", contract)
            return con.table(opened.relation).to_arrow_table()
        finally:
            con.close()


def _listed(paths: Paths) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _of_kind(kind: str, thing: str) -> str:
    """An address with its kind. Raises: InvalidName."""
    from falaj.core.names import Thing

    return str(Thing.parse(thing, kind=kind))


def _shown(view: Mapping[str, Any]) -> Mapping[str, Any]:
    shown = view.get("shown")
    if shown is None:
        raise Invalid(f"{view['kind']}/{view['name']} has no version yet", next_step="add one")
    return dict(shown)


def _given(**args: Any) -> dict[str, Any]:
    return {name: value for name, value in args.items() if value not in (None, "")}
