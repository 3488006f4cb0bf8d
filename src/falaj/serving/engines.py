"""Models in memory: loaded from bytes that were checked, asked for columns, answering probabilities.

What a file may hold was looked into when it was registered; here its bytes are those that were signed. A skops file
builds the types that the bundle lists and those that skops itself trusts, an ONNX file has its weights inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from falaj.core.bundle import BundleInput, BundleModel, BundleRefused
from falaj.core.errors import MissingPart
from falaj.serving.errors import ModelFailed
from falaj.serving.inputs import Columns, example

QUICK_S: Final = 0.0005
QUICK_ROWS: Final = 128
MOST_TRIED: Final = 300
_TRIES: Final = 5
_TOLERANCE: Final = 1e-6  # sums of 32-bit floats land a little outside
_HINT: Final = "deploy a version that this server can load"
_TYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
_WHOLE: Final = frozenset({"int64", "int32", "bool"})


class Engine:
    """One model in memory.

    Attributes:
        inputs: what it reads, in its order.
        nulls: for each input, whether it can read a null.
        quick: whether one row takes so little that it is not worth a thread.
    """

    def __init__(self, model: BundleModel, answer: Callable[[Columns, int], Any], nulls: Sequence[bool]) -> None:
        self.inputs = model.inputs
        self.nulls = tuple(nulls)
        self.quick = False
        self._answer = answer

    def score(self, columns: Columns, rows: int) -> list[float]:
        """Probabilities, one for each row. Raises: ModelFailed."""
        try:
            values = self._answer(columns, rows).tolist()
        except Exception as error:  # a library may raise anything over a row
            raise ModelFailed(f"the model failed: {type(error).__name__}") from error
        if len(values) != rows:
            raise ModelFailed(f"the model answered {len(values)} numbers for {rows} rows")
        for i, value in enumerate(values):
            if not 0.0 <= value <= 1.0:
                if not -_TOLERANCE <= value <= 1 + _TOLERANCE:  # NaN too
                    raise ModelFailed(f"the model answered {value}, which is no probability")
                values[i] = min(1.0, max(0.0, value))
        return list(values)

    def warm(self) -> None:
        """Ask it for a plain row a few times, so that the first client does not wait for what is made once.

        What it fails at with a null in one place only, it cannot read a null there.
        """
        best = 1e9
        for _ in range(_TRIES):
            begin = time.perf_counter()
            try:
                self.score(example(self.inputs), 1)
            except ModelFailed:
                return  # it may well not know the plain row; whether it is quick is then not known
            best = min(best, time.perf_counter() - begin)
        self.quick = best < QUICK_S
        width = len(self.inputs)
        if width <= MOST_TRIED and not self._takes(self.nulls):
            alone = ([i == place for i in range(width)] for place in range(width))
            self.nulls = tuple(can and self._takes(one) for can, one in zip(self.nulls, alone, strict=True))

    def _takes(self, nulls: Sequence[bool]) -> bool:
        row = [[None] if null else values for null, values in zip(nulls, example(self.inputs), strict=True)]
        try:
            self.score(row, 1)
        except ModelFailed:
            return False
        return True


def load(model: BundleModel, data: bytes, what: str) -> Engine:
    """A model from the bytes of its file.

    Raises: BundleRefused for a file that is not one of a model of two classes with these inputs; MissingPart.
    """
    make = _skops if model.format == "skops" else _onnx
    try:
        return make(model, data, what)
    except BundleRefused:
        raise
    except ImportError as error:
        raise MissingPart(f"{what}: {error}", next_step="pip install 'falaj[local]'") from error
    except Exception as error:  # a library may raise anything over a file
        raise BundleRefused(
            f"{what}: cannot be loaded ({type(error).__name__}: {str(error)[:200]})", next_step=_HINT
        ) from error


def _skops(model: BundleModel, data: bytes, what: str) -> Engine:
    import numpy as np
    import skops.io

    loaded = skops.io.loads(data, trusted=sorted({"numpy.dtype", *model.types}))
    if not hasattr(loaded, "predict_proba") or not hasattr(loaded, "classes_"):
        raise BundleRefused(f"{what}: a {type(loaded).__name__} gives no probabilities of classes", next_step=_HINT)
    classes = list(loaded.classes_)
    if not all(one in (0, 1) for one in classes):
        raise BundleRefused(f"{what}: its classes are not false and true", next_step=_HINT)
    _check_width(getattr(loaded, "n_features_in_", None), model.inputs, what)
    place = classes.index(1) if 1 in classes else None

    def answer(columns: Columns, rows: int) -> Any:
        if place is None:
            return np.zeros(rows)
        return loaded.predict_proba(matrix(model.inputs, columns, rows))[:, place]

    return Engine(model, answer, [True] * len(model.inputs))


def matrix(inputs: Sequence[BundleInput], columns: Columns, rows: int) -> Any:
    """The columns side by side.

    Returns: float64 where none is text (a null is NaN), else objects: text, None for a null of text, and floats, NaN
        for a null among them.
    """
    import numpy as np

    if all(one.type != "text" for one in inputs):
        return np.array(columns, dtype=np.float64).T
    out = np.empty((rows, len(columns)), dtype=object)
    for i, (one, values) in enumerate(zip(inputs, columns, strict=True)):
        out[:, i] = values if one.type == "text" else np.array(values, dtype=np.float64)
    return out


def _onnx(model: BundleModel, data: bytes, what: str) -> Engine:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()
    for one in given:
        if one.type not in _TYPES:
            raise BundleRefused(f"{what}: its input {one.name[:60]!a} is a {one.type}", next_step=_HINT)
    together = len(given) == 1
    if together:
        shape = given[0].shape
        _check_width(shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None, model.inputs, what)
    else:
        ours = {one.name: one.type == "text" for one in model.inputs}
        if ours != {one.name: _TYPES[one.type] == "object" for one in given}:
            raise BundleRefused(f"{what}: its inputs are others than the bundle says, or text is none", next_step=_HINT)
    output = _probabilities(session.get_outputs(), what)
    fed = _fed_together(given[0], model.inputs) if together else _fed_apart(given, model.inputs)

    def answer(columns: Columns, rows: int) -> Any:
        (found,) = session.run([output], fed(columns, rows))
        return found[:, -1] if found.ndim == 2 else found

    by_name = {one.name: _TYPES[one.type] not in _WHOLE for one in given}
    nulls = [_TYPES[given[0].type] not in _WHOLE if together else by_name[one.name] for one in model.inputs]
    return Engine(model, answer, nulls)


def _fed_together(one: Any, inputs: Sequence[BundleInput]) -> Callable[[Columns, int], dict[str, Any]]:
    import numpy as np

    kind, flat = _TYPES[one.type], len(one.shape) != 2

    def fed(columns: Columns, rows: int) -> dict[str, Any]:
        if kind == "object":
            values = matrix(inputs, columns, rows)
            values = np.where(values == None, "", values)  # noqa: E711  element by element
        else:
            values = np.ascontiguousarray(np.array(columns, dtype=kind).T)
        return {one.name: values.reshape(-1) if flat else values}

    return fed


def _fed_apart(given: Sequence[Any], inputs: Sequence[BundleInput]) -> Callable[[Columns, int], dict[str, Any]]:
    import numpy as np

    places = {one.name: i for i, one in enumerate(inputs)}
    parts = [(one.name, places[one.name], _TYPES[one.type], len(one.shape) == 2) for one in given]

    def fed(columns: Columns, rows: int) -> dict[str, Any]:
        out = {}
        for name, place, kind, is_matrix in parts:
            values = columns[place]
            if kind == "object":
                values = ["" if value is None else value for value in values]
            array = np.array(values, dtype=kind)
            out[name] = array.reshape(rows, 1) if is_matrix else array
        return out

    return fed


def _check_width(width: int | None, inputs: Sequence[BundleInput], what: str) -> None:
    if width is not None and width != len(inputs):
        raise BundleRefused(f"{what}: it reads {width} columns, the bundle names {len(inputs)}", next_step=_HINT)


def _probabilities(outputs: Sequence[Any], what: str) -> str:
    """The output that holds probabilities: the last tensor of floats."""
    floats = [o for o in outputs if o.type in ("tensor(float)", "tensor(double)")]
    if not floats:
        raise BundleRefused(f"{what}: none of its outputs is a tensor of probabilities", next_step=_HINT)
    shape = floats[-1].shape
    if len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 2:
        raise BundleRefused(f"{what}: it tells {shape[1]} classes apart; two are expected", next_step=_HINT)
    return str(floats[-1].name)
