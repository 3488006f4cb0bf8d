"""A skops file becomes an ONNX file where that is the same model, shown on at least 10,000 rows; else it stays.

The converter needs libraries that do not go together with others here, so it runs in an environment of its own, made
from the lock that lies beside (`conversion.lock`), in a process that locks itself up (`converter`). What comes out is
a file like one from anybody: looked into, loaded and asked in the jail, and compared with the given one (`agreement`).
Whatever does not go well leaves the given file, with the reason in the version.

The lock has the scikit-learn that the project's own lock has. A model says which one made it, and the converter refuses
one of another version.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final

import msgspec

from falaj.core.entries import What
from falaj.core.errors import FalajError
from falaj.core.names import Thing, printable
from falaj.data.contract import from_data
from falaj.data.kinds import DATASET
from falaj.data.records import Contract, ContractVersion, DatasetVersion
from falaj.door import Context
from falaj.environments import ENVIRONMENTS, interpreters
from falaj.environments.lock import parse
from falaj.environments.place import Environment, Place
from falaj.models import agreement, formats, scoring
from falaj.models import rows as rows_of
from falaj.models.agreement import Disagreement
from falaj.models.converter import MAX_OUTPUT, TOGETHER
from falaj.models.nursery import clean_environment
from falaj.models.records import Conversion, File, Input, Model
from falaj.models.skops_file import TRUSTED
from falaj.pipelines.kinds import ARTIFACT
from falaj.pipelines.records import Artifact
from falaj.store.catalog import Held

if TYPE_CHECKING:
    import pyarrow as pa

LOCK: Final = Path(__file__).with_name("conversion.lock")
_MAX_WORDS: Final = 1 << 16
_BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from falaj.models.converter import main; main()"
_LOOK_S: Final = 0.05


class Stays(Exception):
    """Why the given file stays."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the converter may use: bytes of address space, processor seconds, seconds from start to end."""

    memory_bytes: int = 4 << 30
    cpu_s: int = 300
    answer_s: float = 300.0


DEFAULT: Final = Limits()


class _Told(msgspec.Struct, frozen=True):
    """What the converter says before its file: what keeps it in, and why there is none."""

    guards: tuple[str, ...]
    message: str = ""


def converted_or_not(
    ctx: Context, payload: Model, path: Path, tables: Sequence[Held], *, beside: Collection[str], folder: Path
) -> tuple[Model, Path]:
    """The payload and the file to register: the converted ones, or the given ones with the reason why not.

    Args:
        payload: names the given file, and its inputs.
        tables: what it was made from; the first of them that has its columns and enough rows is asked for.
        beside: what the files that go with it are called.
        folder: an empty one of the caller's.
    """
    record = Conversion(source=payload.files[0].sha256)
    try:
        if payload.format != "skops":
            raise Stays(f"the given file is {payload.format} already")
        if len(payload.inputs) > agreement.MAX_COLUMNS:
            raise Stays(f"it reads {len(payload.inputs):,} columns, at most {agreement.MAX_COLUMNS:,} are converted")
        name = PurePosixPath(payload.files[0].path).with_suffix(".onnx").as_posix()
        if name in beside:
            raise Stays(f"another file is called {name}")
        table = _table(ctx, payload, tables)
        record = msgspec.structs.replace(record, data=_address(table))
        environment = _environment(ctx)
        record = msgspec.structs.replace(record, environment=environment.digest)
        target = folder / "converted.onnx"
        with _place(ctx).used(environment.digest):
            ctx.progress("converting", 0, 0)
            data, _ = converted(payload, path, environment.python, scratch=folder)
            target.write_bytes(data)
        made = _described(payload, target, name, folder)
        agreed = _agreed(ctx, payload, path, made, target, _rows(ctx, payload, table, folder), folder)
    except (Stays, Disagreement) as why:
        return _with(payload, record, refused=str(why)), path
    except FalajError as error:
        return _with(payload, record, refused=scoring.printable_words(error.message)), path
    return _with(made, record, rows=agreed.rows, edges=agreed.edges, largest=agreed.largest), target


def _with(payload: Model, record: Conversion, **more: object) -> Model:
    return msgspec.structs.replace(payload, conversion=msgspec.structs.replace(record, **more))


# the converter


def _place(ctx: Context) -> Place:
    place: Place = ctx.ground.port(ENVIRONMENTS)
    return place


def _environment(ctx: Context) -> Environment:
    """The converter's environment, made where it is not there; that is an entry. Raises: Stays."""
    lock, place, python = parse(LOCK.read_text(encoding="utf-8")), _place(ctx), interpreters.ours()
    try:
        found = place.find(lock.digest(python.python, python.platform))
        if found is not None:
            return found
        made = place.build(lock, python, lambda words: ctx.progress(f"converter: {words}", 0, 0))
    except FalajError as error:
        raise Stays(f"its environment cannot be made: {scoring.printable_words(error.message)}") from error
    with ctx.begin() as unit:
        detail = {"environment": "onnx", "digest": made.digest, "distributions": len(made.pins)}
        unit.say(What.ENVIRONMENT_BUILT, [ctx.project.id], detail=detail)
    return made


def converted(
    payload: Model, path: Path, python: Path, *, scratch: Path, limits: Limits = DEFAULT
) -> tuple[bytes, tuple[str, ...]]:
    """The ONNX file of a skops file, by a converter that may do nothing else, and what kept the converter in.

    Args:
        payload: names the file, by its SHA-256, and its inputs.
        python: of the converter's environment.
        scratch: an existing folder.
    Raises: Stays; NotFound, ModelRefused, Damaged where the file is not the one that `payload` names.
    """
    data = formats.read(path)
    found = formats.inspect_bytes(data, path.name)
    formats.check_file(payload, found)
    task = {
        "trusted": sorted({"numpy.dtype", *found.types} & set(TRUSTED)),
        "inputs": [[one.name, one.type] for one in payload.inputs],
        "memory_bytes": limits.memory_bytes,
        "cpu_s": limits.cpu_s,
    }
    with (
        tempfile.TemporaryFile(dir=scratch) as asked,
        tempfile.TemporaryFile(dir=scratch) as answer,
        tempfile.TemporaryFile(dir=scratch) as complaints,
    ):
        asked.write(msgspec.json.encode(task) + b"\n" + data)
        asked.seek(0)
        process = subprocess.Popen(  # noqa: S603  an interpreter of ours and fixed words, no shell
            [str(python), "-I", "-B", "-c", _BOOT, str(Path(__file__).resolve().parents[2])],
            stdin=asked,
            stdout=answer,
            stderr=complaints,
            cwd=scratch,
            env=clean_environment(),
            start_new_session=True,
        )
        try:
            code = process.wait(limits.answer_s)
        except subprocess.TimeoutExpired:
            raise Stays(f"the converter did not end within {limits.answer_s:g} s") from None
        finally:
            _end(process)
        if code != 0:
            raise Stays(f"the converter {_how(code)}{_last(complaints)}")
        return _answered(answer)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _last(complaints: IO[bytes]) -> str:
    """The last line that the process said, where it said something."""
    complaints.seek(max(0, os.fstat(complaints.fileno()).st_size - 300))
    line = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
    return f" ({scoring.printable_words(line)})" if line else ""


def _answered(answer: IO[bytes]) -> tuple[bytes, tuple[str, ...]]:
    answer.seek(0)
    try:
        told = msgspec.json.decode(answer.readline(_MAX_WORDS), type=_Told)
    except msgspec.MsgspecError as error:
        raise Stays("the converter answered what cannot be read") from error
    if told.message:
        raise Stays(f"the converter says: {scoring.printable_words(told.message)}")
    return answer.read(MAX_OUTPUT + 1), told.guards


# what came out


def _described(payload: Model, target: Path, name: str, scratch: Path) -> Model:
    """The payload for the converted file, looked into and loaded as any other. Raises: Stays."""
    try:
        found, about, _ = scoring.describe(target, scratch=scratch)
    except FalajError as error:
        raise Stays(f"the converted file is not taken: {scoring.printable_words(error.message)}") from error
    names = [one.name for one in payload.inputs]
    inputs = [TOGETHER] if len(found.inputs) == 1 and len(names) > 1 else names
    if list(found.inputs) != inputs or (about.names and list(about.names) != names):
        raise Stays(f"the converted file reads other columns: {printable(', '.join(found.inputs)[:200])}")
    file = File(path=name, sha256=found.sha256, size_bytes=found.size_bytes)
    return msgspec.structs.replace(payload, format=found.format, files=(file,), types=found.types)


def _agreed(
    ctx: Context, given: Model, path: Path, made: Model, target: Path, rows: pa.Table, scratch: Path
) -> agreement.Agreed:
    """Raises: Stays, Disagreement."""

    def progress(done: int) -> None:
        ctx.progress("comparing", done, rows.num_rows)

    try:
        with (
            scoring.Scorer(_of_numbers(given), path, scratch=scratch) as before,
            scoring.Scorer(_of_numbers(made), target, scratch=scratch) as after,
        ):
            return agreement.compare(before.score, after.score, rows, given.inputs, progress)
    except FalajError as error:
        raise Stays(f"the rows cannot be asked: {scoring.printable_words(error.message)}") from error


def _of_numbers(model: Model) -> Model:
    """The model as it reads rows that went through `scoring.selected`: text, or else numbers."""
    inputs = (Input(name=one.name, type="text" if one.type == "text" else "number") for one in model.inputs)
    return msgspec.structs.replace(model, inputs=tuple(inputs))


# the rows that both are asked for


def _table(ctx: Context, payload: Model, tables: Sequence[Held]) -> Held:
    """The version whose rows are asked: the first that has the columns, and enough of them. Raises: Stays."""
    wanted, most = {one.name for one in payload.inputs}, 0
    for held in tables:
        if held.asset.kind not in {DATASET.name, ARTIFACT.name}:
            continue
        about: Artifact | DatasetVersion = ctx.ground.catalog.payload(held.asset, held.version)
        if not wanted <= {column.name for column in about.columns} or not about.rows:
            continue
        if about.rows >= agreement.MIN_ROWS:
            return held
        most = max(most, about.rows)
    if most:
        raise Stays(f"{most:,} rows to compare on, {agreement.MIN_ROWS:,} are needed")
    named = ", ".join(_address(held) for held in tables[:5]) or "no data is named"
    raise Stays(f"no rows to compare on: none of its data has all of its columns ({named})")


def _address(held: Held) -> str:
    return f"{held.asset.kind}/{held.asset.name}:{held.version.number}"


def _rows(ctx: Context, payload: Model, held: Held, folder: Path) -> pa.Table:
    """At most 50,000 rows, spread evenly over the version; always the same ones. Raises: Stays; Invalid."""
    import pyarrow as pa

    about: Artifact | DatasetVersion = ctx.ground.catalog.payload(held.asset, held.version)
    form = rows_of.format_of("parquet" if isinstance(about, Artifact) else about.format, _address(held))
    contract = _contract(ctx, about) or rows_of.contract_of_inputs(payload.inputs)
    files = ctx.ground.contents.checkout(held.version, folder / "data")
    (folder / "spill").mkdir()
    every = -(-(about.rows or 0) // agreement.MAX_ROWS) or 1
    kept, seen = [], 0
    names = [one.name for one in payload.inputs]
    with rows_of.opened(files, form, contract, names, scratch=folder / "spill") as batches:
        for batch in batches:
            places = pa.array(range(-seen % every, batch.num_rows, every), pa.int64())
            kept.append(scoring.selected(batch.take(places), payload.inputs))
            seen += batch.num_rows
    if not kept:
        raise Stays("no rows to compare on")
    return pa.concat_tables(kept).slice(0, agreement.MAX_ROWS)


def _contract(ctx: Context, about: Artifact | DatasetVersion) -> Contract | None:
    if isinstance(about, Artifact) or about.contract is None:
        return None
    with ctx.reading() as tx:
        judging = ctx.ground.catalog.resolve(tx, ctx.project.id, Thing.parse(about.contract))
    document: ContractVersion = ctx.ground.catalog.payload(judging.asset, judging.version)
    return from_data(document.document, name=judging.asset.name)
