"""Running a model: in a process of its own, with the rows it may see and nothing else.

The bytes that are checked here are the bytes that are loaded there: they are read once, looked into, compared with
what was signed, and sent. The process comes clean (`nursery`: no environment, no inherited files), locks itself up
(`jail`) before it reads a model, and has limits on memory, processor time and the time of each answer. What it answers
is checked: one finite probability for each row.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import struct
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from falaj.core.errors import MissingPart
from falaj.core.names import printable
from falaj.models import formats
from falaj.models.errors import ModelRefused, ScoringFailed, ScoringStopped, WrongColumns, WrongOutput
from falaj.models.records import Input, InputType, Model

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Floats = np.ndarray[Any, np.dtype[np.float64]]

BATCH_ROWS: Final = 32_768
_MAX_WORDS: Final = 1 << 20
_START_S: Final = 120.0
_GRACE_S: Final = 5.0
_VALUES: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]")  # what a library quotes from the rows stays with them
_TOLERANCE: Final = 1e-6  # sums of 32-bit floats land a little outside


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a scoring process may use.

    Attributes:
        memory_bytes: of address space; libraries take about 0.6 GiB of it.
        cpu_s: processor seconds from start to end, on one thread.
        answer_s: seconds for loading, and for each batch.
    """

    memory_bytes: int = 4 << 30
    cpu_s: int = 3600
    answer_s: float = 120.0


DEFAULT: Final = Limits()


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model says of itself.

    Attributes:
        width: how many columns it takes; None where it does not say.
        names: their names in order; empty where it does not say.
    """

    width: int | None = None
    names: tuple[str, ...] = ()


class _Guards(msgspec.Struct, frozen=True):
    guards: tuple[str, ...]


class _Loaded(msgspec.Struct, frozen=True):
    about: About | None
    sort: str = ""
    message: str = ""


class _Failure(msgspec.Struct, frozen=True):
    sort: str
    message: str


def score(
    model: Model, path: Path, table: pa.Table, *, scratch: Path, limits: Limits = DEFAULT, batch_rows: int = BATCH_ROWS
) -> Floats:
    """Probabilities that the label is true, one for each row of a table.

    Args:
        path: the model's file; it must be the one that `model` names, by its SHA-256.
        table: has the model's inputs among its columns.
        scratch: an existing folder for what the process complains about.
    Returns: (rows,) in [0, 1].
    Raises: as `Scorer`, and its `score`.
    """
    import numpy as np

    with Scorer(model, path, scratch=scratch, limits=limits) as scorer:
        starts = range(0, table.num_rows, batch_rows)
        parts = [scorer.score(table.slice(start, batch_rows)) for start in starts]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float64)


def warm() -> None:
    """Let the libraries be imported while other work is done: a model will be asked soon."""
    from falaj.models.nursery import NURSERY

    NURSERY.warm()


def describe(
    path: Path, *, scratch: Path, limits: Limits = DEFAULT
) -> tuple[formats.ModelFile, About, tuple[str, ...]]:
    """Look into a model file, load it in a process of its own, and tell what it says of itself.

    Returns: what the file is, what the model says, and what kept the process in.
    Raises: as `formats.inspect`; ModelRefused for what gives no probabilities of two classes; ScoringFailed,
        ScoringStopped.
    """
    data = formats.read(path)
    found = formats.inspect_bytes(data, path.name)
    with _Process(scratch, limits) as process:
        return found, process.load(found, data), process.guards


class Scorer:
    """A model that is loaded once and asked many times. A context manager; its process ends with it.

    Args: as `score`.
    Raises on entering: NotFound, ModelRefused, Damaged where the file is not the one that `model` names;
        ScoringFailed where it cannot be loaded; ScoringStopped; MissingPart without the libraries.
    """

    def __init__(self, model: Model, path: Path, *, scratch: Path, limits: Limits = DEFAULT) -> None:
        self._model, self._path = model, path
        self._process = _Process(scratch, limits)

    @property
    def guards(self) -> tuple[str, ...]:
        """What keeps the process in, of `jail.GUARDS`."""
        return self._process.guards

    def __enter__(self) -> Self:
        data = formats.read(self._path)
        found = formats.inspect_bytes(data, self._path.name)
        formats.check_file(self._model, found)
        with self._process as process:
            process.load(found, data)
            self._process = process.detach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def score(self, table: pa.Table) -> Floats:
        """Probabilities for the rows of a table, asked all at once.

        Raises: WrongColumns, WrongOutput, ScoringFailed, ScoringStopped.
        """
        import numpy as np

        rows = selected(table, self._model.inputs)
        return self._process.ask(rows) if rows.num_rows else np.empty(0, dtype=np.float64)

    def times(self, table: pa.Table, count: int, *, limit_s: float) -> Floats:
        """How long single rows take, each asked alone: from its being handed to the process until its answer is here.

        The clock is ours, not the process's, whose word is not taken for it.

        Args:
            table: at least one row; its rows are asked in turn, again and again.
            limit_s: after so long no further row is asked.
        Returns: (rows asked,) seconds, in their order; at most `count`.
        Raises: as `score`.
        """
        import numpy as np

        rows = selected(table, self._model.inputs)
        ones = [rows.slice(at, 1) for at in range(min(count, rows.num_rows))]
        taken: list[float] = []
        begun = time.perf_counter()
        while len(taken) < count and time.perf_counter() - begun < limit_s:
            asked = time.perf_counter()
            self._process.ask(ones[len(taken) % len(ones)])
            taken.append(time.perf_counter() - asked)
        return np.array(taken, dtype=np.float64)


def selected(table: pa.Table, inputs: tuple[Input, ...]) -> pa.Table:
    """The model's inputs out of a table, in their order: text as text, all else as float64, nulls kept.

    Raises: WrongColumns, naming every column that is missing or of another type.
    """
    import pyarrow as pa

    at: dict[str, int] = {}
    twice = set()
    for place, column in enumerate(table.column_names):
        if column in at:
            twice.add(column)
        at[column] = place
    wrong, arrays = [], []
    for one in inputs:
        if one.name not in at or one.name in twice:
            wrong.append(f"{printable(one.name)} ({'stands there twice' if one.name in twice else 'not there'})")
            continue
        column = table.column(at[one.name])
        if not _is_type(column.type, one.type):
            wrong.append(f"{printable(one.name)} ({column.type}, the model reads {one.type})")
            continue
        arrays.append(column.cast(pa.string() if one.type == "text" else pa.float64(), safe=False))
    if wrong:
        raise WrongColumns(
            f"{len(wrong)} of {len(inputs)} columns do not fit the model: {', '.join(wrong[:10])}",
            next_step="give the data that the model was made for, or register it with the right columns",
        )
    return pa.table(arrays, names=[one.name for one in inputs])


def _is_type(found: pa.DataType, wanted: InputType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_null(found):
        return True
    match wanted:
        case "text":
            return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))
        case "boolean":
            return bool(pa.types.is_boolean(found))
        case "integer":
            return bool(pa.types.is_integer(found))
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found))


class _Process:
    """The process, its two pipes and its complaints."""

    def __init__(self, scratch: Path, limits: Limits) -> None:
        self._scratch, self._limits = scratch, limits
        self.guards: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        from falaj.models.nursery import NURSERY

        self._nursery = NURSERY
        self._complaints = tempfile.TemporaryFile(dir=self._scratch)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        try:
            self._pid = self._nursery.fork((theirs_in, theirs_out, self._complaints.fileno()))
        except BaseException:
            self._close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._kept = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self.stop()

    def detach(self) -> Self:
        """Live on after the block; `stop` is then called by whoever holds it."""
        self._kept = True
        return self

    def load(self, found: formats.ModelFile, data: bytes) -> About:
        """Send the model. Raises: ModelRefused, ScoringFailed, ScoringStopped, MissingPart."""
        from falaj.models.skops_file import TRUSTED

        limits = self._limits
        task = {
            "format": found.format,
            "trusted": sorted({"numpy.dtype", *found.types} & set(TRUSTED)),
            "memory_bytes": limits.memory_bytes,
            "cpu_s": limits.cpu_s,
        }
        until = time.monotonic() + _START_S
        self._send(msgspec.json.encode(task), until)
        self.guards = self._decoded(self._receive(until, _MAX_WORDS), _Guards).guards
        until = time.monotonic() + limits.answer_s
        self._send(data, until)
        loaded: _Loaded = self._decoded(self._receive(until, _MAX_WORDS), _Loaded)
        if loaded.about is None:
            raise self._failure(_Failure(loaded.sort, loaded.message), "cannot be loaded", ModelRefused)
        return loaded.about

    def ask(self, batch: pa.Table) -> Floats:
        """Probabilities for one batch. Raises: WrongOutput, ScoringFailed, ScoringStopped."""
        import numpy as np
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_table(batch.combine_chunks())
        until = time.monotonic() + self._limits.answer_s
        self._send(sink.getvalue(), until)
        answer = self._receive(until, max(_MAX_WORDS, 16 * batch.num_rows))
        if answer[:1] == b"E":
            told = self._decoded(answer[1:], _Failure)
            hidden = _Failure(told.sort, _VALUES.sub("…", told.message))
            raise self._failure(hidden, "cannot score these rows", WrongOutput)
        if answer[:1] != b"P" or len(answer) != 1 + 8 * batch.num_rows:
            raise WrongOutput(
                f"the model answered {(len(answer) - 1) // 8:,} numbers for {batch.num_rows:,} rows",
                next_step="one probability for each row is expected",
            )
        return _checked(np.frombuffer(answer, dtype="<f8", offset=1))

    def stop(self) -> None:
        """End the process, however it is."""
        self._nursery.end(self._pid)
        self._close()

    def _close(self) -> None:
        os.close(self._to)
        os.close(self._from)
        self._complaints.close()

    # inside

    def _failure(
        self, told: _Failure, what: str, unfit: type[ModelRefused] | type[WrongOutput]
    ) -> ModelRefused | ScoringFailed | ScoringStopped | MissingPart:
        words = printable_words(told.message)
        if told.sort == "memory":
            return self._stopped(f"it ran out of memory ({words})")
        if told.sort == "unfit":
            return unfit(f"the model cannot be used: {words}", next_step="a classifier of two classes is expected")
        if words.startswith("ModuleNotFoundError"):
            return MissingPart(f"the model {what}: {words}", next_step="pip install 'falaj[local]'")
        return ScoringFailed(f"the model {what}: {words}", next_step="see that it was made with the versions in use")

    def _send(self, frame: Any, until: float) -> None:
        for part in (memoryview(struct.pack("<Q", len(frame))), memoryview(frame)):
            rest = part.cast("B")
            while rest:
                self._wait(self._to, selectors.EVENT_WRITE, until)
                try:
                    rest = rest[os.write(self._to, rest) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._died() from None

    def _receive(self, until: float, most: int) -> bytearray:
        (length,) = struct.unpack("<Q", self._read(8, until))
        if length > most:
            raise WrongOutput(f"the model answered {length:,} bytes; at most {most:,} are read")
        return self._read(length, until)

    def _read(self, length: int, until: float) -> bytearray:
        out = bytearray()
        while len(out) < length:
            self._wait(self._from, selectors.EVENT_READ, until)
            try:
                piece = os.read(self._from, min(length - len(out), 1 << 20))
            except BlockingIOError:
                continue
            if not piece:
                raise self._died()
            out += piece
        return out

    def _wait(self, handle: int, event: int, until: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, event)
            if not selector.select(max(0.0, until - time.monotonic())):
                raise self._stopped(f"it gave no answer within {self._limits.answer_s:g} s")

    def _died(self) -> ScoringStopped:
        code = self._nursery.end(self._pid, patience_s=_GRACE_S)
        how = "was cut off" if code is None else f"ended with code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        self._complaints.seek(max(0, os.fstat(self._complaints.fileno()).st_size - 300))
        last = self._complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
        return self._stopped(f"it {how}{f' ({printable_words(last)})' if last else ''}")

    def _stopped(self, how: str) -> ScoringStopped:
        limits = self._limits
        return ScoringStopped(
            f"the scoring process was stopped: {how}",
            next_step=f"it has {limits.memory_bytes >> 20:,} MiB, {limits.cpu_s:,} s of processor and "
            f"{limits.answer_s:g} s an answer: make the model smaller",
        )

    @staticmethod
    def _decoded(data: bytes | bytearray, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise WrongOutput("the model answered what cannot be read") from error


def printable_words(text: str) -> str:
    """Words from the process as a message may show them: one line, nothing that could move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text)[:300].strip()


def _checked(values: Floats) -> Floats:
    import numpy as np

    wrong = ~((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE))  # NaN is wrong, too
    if wrong.any():
        first = int(np.argmax(wrong))
        raise WrongOutput(
            f"the model answered {values[first]} for row {first + 1} of a batch, and {int(wrong.sum()):,} such values; "
            "probabilities from 0 to 1 are expected",
            next_step="register a classifier of two classes",
        )
    return np.clip(values, 0.0, 1.0)
