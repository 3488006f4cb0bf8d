"""The process that converts a scikit-learn model to ONNX, in an environment of its own: one model in, one file out.

It knows nothing of Falaj but this file and the jail, and needs only what `conversion.lock` names. Before it reads the
model it locks itself up as a scoring process does: no network, no file written, no other process.

    standard input    a file: one line of JSON (the task), then the bytes of the skops file
    standard output   a file: {"guards": …} on a line (JSON), then the bytes of the ONNX file; or {"guards": …,
                      "message": …}, and no more

The parent trusts nothing of what comes out: it looks into the file, and compares what both models answer.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from falaj.models import jail

MAX_OUTPUT = 1 << 29
TOGETHER = "columns"
"""What the one input is called that takes all columns side by side, where all are numbers."""
_READABLE = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo", "/dev/urandom", "/dev/null"),
)


def main() -> None:
    """Import the libraries, lock up, convert."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    jail.end_with_parent()
    task = json.loads(sys.stdin.buffer.readline())
    import skl2onnx  # noqa: F401  before the door is locked: it reads its own files
    import skops.io  # noqa: F401

    _limit(task["memory_bytes"], task["cpu_s"])
    told: dict[str, Any] = {"guards": jail.lock([*_READABLE, sys.prefix, sys.base_prefix, *sys.path])}
    made = b""
    try:
        made = converted(sys.stdin.buffer.read(), task["trusted"], task["inputs"])
    except Exception as error:  # noqa: BLE001  a library may raise anything over a model; it is told to the parent
        words = str(error) if isinstance(error, OtherVersion) else f"{type(error).__name__}: {error}"
        told["message"] = words[:500]
    answers.write(json.dumps(told).encode() + b"\n" + made)
    answers.flush()


class OtherVersion(Exception):
    """The model was made by another version of scikit-learn than the one here."""


def converted(data: bytes, trusted: list[str], inputs: list[list[str]]) -> bytes:
    """The ONNX file of a skops file.

    Args:
        inputs: name and type (text, or else a number) of each column that it reads, in its order.
    Raises: OtherVersion; whatever the libraries raise.
    """
    import skl2onnx
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            model = skops.io.loads(data, trusted=trusted)
        except InconsistentVersionWarning as error:
            theirs, ours = error.original_sklearn_version, error.current_sklearn_version
            raise OtherVersion(f"it was made with scikit-learn {theirs}, the converter has {ours}") from error
    options = {id(model): {"zipmap": False}}
    made = skl2onnx.to_onnx(model, initial_types=declared(inputs), options=options)
    return bytes(made.SerializeToString())


def declared(inputs: Sequence[Sequence[str]]) -> list[tuple[str, Any]]:
    """The inputs of the file: one matrix where all are numbers, else a column each. A number is a 32-bit float."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if all(kind != "text" for _, kind in inputs):
        return [(TOGETHER if len(inputs) > 1 else inputs[0][0], FloatTensorType([None, len(inputs)]))]
    return [(name, (StringTensorType if kind == "text" else FloatTensorType)([None, 1])) for name, kind in inputs]


def _limit(memory_bytes: int, cpu_s: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
