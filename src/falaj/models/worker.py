"""The processes that run models: one that imports the libraries and forks, and for each model a fork of it.

The first (`main`) answers requests on its standard input, a socket: fork a child with the pipes that come along, tell
how a child is, end it. It sees no model and no row. A child (`serve`) locks itself up (`jail`), then reads one model,
then rows. Frames on its standard input and output, each with its length before it (8 bytes, little-endian):

    in   the task (JSON), the model's bytes, then for each batch an Arrow stream
    out  {"guards": …} (JSON), {"about": …} (JSON), then for each batch the letter P and float64 values, or the letter E
         and {"sort": …, "message": …} (JSON)

The parent trusts nothing that comes from a child once it has read a model.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from falaj.models import jail

FORK, STATUS, END = 1, 2, 3
RUNNING = -1
IDLE_S = 300.0
MAX_OPEN_FILES = 64
_NO_MEMORY = ("bad_alloc", "allocate memory", "failed to map segment")  # as C++ libraries and the loader say it
MAX_WRITTEN = 1 << 20
_READABLE = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo", "/dev/urandom", "/dev/null"),
)
_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}

Answer = Callable[[Any], Any]
_REQUEST, _REPLY = struct.Struct("<Bq"), struct.Struct("<q")


class Unfit(Exception):
    """The model was read, and is none that can be used here."""


# the one that forks


def main() -> None:
    """Serve the socket on standard input until it closes, or nobody has asked for five minutes."""
    with suppress(Exception):  # whoever needs it says why it is not there
        importlib.import_module("skops.io")
    control, children = socket.socket(fileno=0), set[int]()
    while children or select.select([control], [], [], IDLE_S)[0]:
        request, pipes, _, _ = socket.recv_fds(control, _REQUEST.size, 3)
        if len(request) < _REQUEST.size:
            break
        operation, pid = _REQUEST.unpack(request)
        if operation == FORK:
            answer = _fork(pipes)
            children.add(answer)
        else:
            answer = _status(pid, end=operation == END) if pid in children else 0
            if answer != RUNNING:
                children.discard(pid)
        control.sendall(_REPLY.pack(answer))
    for pid in children:
        _status(pid, end=True)


def _fork(pipes: Sequence[int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            jail.end_with_parent()
            for place, pipe in enumerate(pipes):
                os.dup2(pipe, place)
            os.closerange(3, 1024)
            serve()
            code = 0
        except Exception:  # noqa: BLE001  the last words of the process; its parent reads them
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    for pipe in pipes:
        os.close(pipe)
    return pid


def _status(pid: int, *, end: bool) -> int:
    """How a child ended, as `wait` tells it; RUNNING while it runs."""
    if end:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # before it has a group of its own
    ended, status = os.waitpid(pid, 0 if end else os.WNOHANG)
    return status if ended else RUNNING


# the one that runs a model


def serve() -> None:
    """Serve one model until its pipe closes."""
    frames, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    task = json.loads(_take(frames))
    _limit(task["memory_bytes"], task["cpu_s"])
    _give(answers, json.dumps({"guards": jail.lock([*_READABLE, sys.prefix, sys.base_prefix, *sys.path])}).encode())
    answer = _loaded(task, frames, answers)
    while answer and (frame := _take(frames)):
        _give(answers, _told(answer, frame))


def _take(frames: BinaryIO) -> bytes:
    """The next frame; empty at the end."""
    head = frames.read(8)
    return frames.read(struct.unpack("<Q", head)[0]) if len(head) == 8 else b""


def _give(answers: BinaryIO, frame: bytes) -> None:
    answers.write(struct.pack("<Q", len(frame)))
    answers.write(frame)
    answers.flush()


def _limit(memory_bytes: int, cpu_s: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _loaded(task: dict[str, Any], frames: BinaryIO, answers: BinaryIO) -> Answer | None:
    """The model as a function from a batch to probabilities; None where it cannot be used, which was then said."""
    try:
        importlib.import_module("pyarrow")
        load = _load_skops if task["format"] == "skops" else _load_onnx
        answer, about = load(_take(frames), task)
    except Exception as error:  # noqa: BLE001  a library may raise anything over a model; it is told to the parent
        _give(answers, json.dumps({"about": None, "sort": _sort(error), "message": _words(error)}).encode())
        return None
    _give(answers, json.dumps({"about": about}).encode())
    return answer


def _told(answer: Answer, frame: bytes) -> bytes:
    import numpy as np
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(pa.py_buffer(frame)) as reader:
            batch = reader.read_all()
        return b"P" + np.ascontiguousarray(answer(batch), dtype="<f8").tobytes()
    except Exception as error:  # noqa: BLE001  as above
        return b"E" + json.dumps({"sort": _sort(error), "message": _words(error)}).encode()


def _sort(error: Exception) -> str:
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return "memory"
    return "unfit" if isinstance(error, Unfit) else "failed"


def _words(error: Exception) -> str:
    return str(error)[:500] if isinstance(error, Unfit) else f"{type(error).__name__}: {error}"[:500]


# skops: a scikit-learn estimator


def _load_skops(data: bytes, task: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
    import skops.io

    model = skops.io.loads(data, trusted=task["trusted"])
    names = getattr(model, "feature_names_in_", None)
    width = getattr(model, "n_features_in_", None)
    about = {"width": None if width is None else int(width), "names": [] if names is None else [str(n) for n in names]}
    if not hasattr(model, "predict_proba") or not hasattr(model, "classes_"):
        raise Unfit(f"a {type(model).__name__} gives no probabilities of classes")
    classes = [bool(c) if c in (0, 1) else str(c)[:40] for c in model.classes_]
    if not set(classes) <= {False, True}:
        raise Unfit(f"its classes are {', '.join(map(str, classes[:5]))}; false and true (0 and 1) are expected")

    def answer(batch: Any) -> Any:
        import numpy as np

        found = np.asarray(model.predict_proba(matrix(batch)))
        return found[:, classes.index(True)] if True in classes else np.zeros(len(found))

    return answer, about


def matrix(batch: Any) -> Any:
    """The columns of an Arrow table side by side, in their order.

    Returns: float64 where all are numbers (null: NaN), else objects: text, None for a null in a column of text, and
        floats, NaN for a null among them.
    """
    import numpy as np
    import pyarrow as pa

    objects = any(pa.types.is_string(field.type) for field in batch.schema)
    out = np.empty((batch.num_rows, batch.num_columns), dtype=object if objects else np.float64)
    for i, column in enumerate(batch.columns):
        out[:, i] = column.to_numpy()
    return out


# ONNX


def _load_onnx(data: bytes, task: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    for one in inputs:
        if one.type not in _TYPES:
            raise Unfit(f"its input {one.name[:60]} is a {one.type}; tensors of numbers or text are expected")
    together, shape = len(inputs) == 1, inputs[0].shape
    width = shape[1] if together and len(shape) == 2 and isinstance(shape[1], int) else None
    output = _probabilities(session.get_outputs())

    def answer(batch: Any) -> Any:
        if together:
            fed = {inputs[0].name: _typed(matrix(batch), inputs[0])}
        else:
            fed = {one.name: _typed(matrix(batch.select([one.name])), one) for one in inputs}
        (found,) = session.run([output], fed)
        return found[:, -1] if found.ndim == 2 else found

    return answer, {"width": width, "names": [] if together and width != 1 else [one.name for one in inputs]}


def _probabilities(outputs: list[Any]) -> str:
    """The output that holds probabilities: the last tensor of floats."""
    floats = [o for o in outputs if o.type in ("tensor(float)", "tensor(double)")]
    if not floats:
        raise Unfit(
            f"its outputs are {', '.join(o.type for o in outputs)}; a tensor of probabilities is expected "
            "(convert with options={'zipmap': False})"
        )
    shape = floats[-1].shape
    if len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 2:
        raise Unfit(f"it tells {shape[1]} classes apart; two are expected")
    return str(floats[-1].name)


def _typed(values: Any, one: Any) -> Any:
    import numpy as np

    kind = _TYPES[one.type]
    if kind in ("int64", "int32", "bool") and not np.isfinite(values.astype(np.float64)).all():
        raise ValueError(f"nulls in {one.name[:60]}, which the model reads as whole numbers")
    if kind == "object":
        return np.where(values == None, "", values)  # noqa: E711  element by element
    values = values.astype(kind)
    return values if len(one.shape) == 2 else values.reshape(-1)
