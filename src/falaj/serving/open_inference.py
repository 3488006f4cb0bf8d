"""The Open Inference Protocol, REST: tensors by name. Pure.

A request brings one tensor for each input, `[rows]` or `[rows, 1]`, by the input's name; or one tensor of all inputs
side by side, `[rows, inputs]`, where none is text or all are. Data may be flat or nested, in the order of rows.
Source: open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final

import msgspec

from falaj.core.bundle import BundleInput
from falaj.core.errors import FalajError, TooLarge
from falaj.core.names import printable
from falaj.serving.asked import Asked, Given, keys_of
from falaj.serving.errors import BadRequest
from falaj.serving.inputs import Table, check_range

OUTPUT: Final = "probability"
DATATYPES: Final = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "text": "BYTES"}
_REAL: Final[frozenset[type]] = frozenset({float, int, NoneType})
_KINDS: Final[dict[str, frozenset[type]]] = {
    "BOOL": frozenset({bool, NoneType}),
    "BYTES": frozenset({str, NoneType}),
    **dict.fromkeys(("FP16", "FP32", "FP64"), _REAL),
    **{f"{sign}INT{bits}": frozenset({int, NoneType}) for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
_RANGES: Final = {
    **{f"INT{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
}


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Output(msgspec.Struct):
    name: str


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


_decoder = msgspec.json.Decoder(_Request)
_encoder = msgspec.json.Encoder()


class OpenInference:
    """`POST /v2/models/{name}/infer`.

    Args:
        rows: most rows of a request.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def ask(self, body: bytes, content_type: str) -> Asked:
        """See `asked.Form`. The content type says nothing: clients of this protocol send several."""
        request = decoded(_decoder, body)
        for output in request.outputs or ():
            if output.name != OUTPUT:
                raise BadRequest(f"output {printable(output.name)}: there is only {OUTPUT}")
        if not request.inputs:
            raise BadRequest("inputs: at least one tensor is expected")
        table = self._table(request.inputs)
        key, keys = keys_of(request.parameters, table.rows)
        return Asked(table, key=key, keys=keys, id=request.id)

    def give(self, asked: Asked, given: Given) -> bytes:
        """See `asked.Form`."""
        body: dict[str, Any] = {} if asked.id is None else {"id": asked.id}
        body |= {
            "model_name": given.model,
            "model_version": str(given.version),
            "parameters": {"prediction_id": given.prediction},
            "outputs": [
                {"name": OUTPUT, "datatype": "FP64", "shape": [len(given.values)], "data": given.values},
            ],
        }
        return _encoder.encode(body)

    def refuse(self, error: FalajError) -> bytes:
        """See `asked.Form`."""
        return _encoder.encode({"error": error.message, "code": error.code})

    def _table(self, tensors: Sequence[_Tensor]) -> Table:
        if len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].shape[1] != 1:
            return self._matrix(tensors[0])
        rows = tensors[0].shape[0] if tensors[0].shape else -1
        named: dict[str, list[Any]] = {}
        for tensor in tensors:
            shape = tensor.shape
            if shape not in ([rows], [rows, 1]):
                raise _shape(tensor, f"[{max(rows, 1)}] or [{max(rows, 1)}, 1] is expected")
            if tensor.name in named:
                raise BadRequest(f"{printable(tensor.name)} comes twice")
            named[tensor.name] = self._values(tensor, rows, 1)
        return Table(rows, named=named)

    def _matrix(self, tensor: _Tensor) -> Table:
        rows, width = tensor.shape
        if width < 1:
            raise _shape(tensor, "at least one column is expected")
        values = self._values(tensor, rows, width)
        columns = [[value] for value in values] if rows == 1 else [values[i::width] for i in range(width)]
        return Table(rows, columns=columns)

    def _values(self, tensor: _Tensor, rows: int, width: int) -> list[Any]:
        if rows < 1:
            raise _shape(tensor, "at least one row is expected")
        if rows > self._rows:
            raise TooLarge(f"{rows:,} rows; at most {self._rows:,} are taken at once", next_step="ask for less at once")
        values = tensor.data
        if values and type(values[0]) is list:
            if any(type(row) is not list or len(row) != width for row in values):
                raise _shape(tensor, "its data has another")
            values = [value for row in values for value in row]
        if len(values) != rows * width:
            raise _shape(tensor, f"its data has {len(values)} values")
        return _typed(tensor, values)


def _typed(tensor: _Tensor, values: list[Any]) -> list[Any]:
    fits = _KINDS.get(tensor.datatype)
    if fits is None:
        raise BadRequest(f"{printable(tensor.name)}: {printable(tensor.datatype)} is no datatype of the protocol")
    if not set(map(type, values)) <= fits:
        raise BadRequest(f"{printable(tensor.name)}: values that are not {tensor.datatype}")
    if (bounds := _RANGES.get(tensor.datatype)) is not None:
        check_range(values, bounds, tensor.name)
    return values


def _shape(tensor: _Tensor, why: str) -> BadRequest:
    return BadRequest(f"{printable(tensor.name)}: shape {str(tensor.shape)[:60]}; {why}")


def decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """A body. Raises: BadRequest."""
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise BadRequest("body: nested too deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"body: {str(error)[:200]}") from error


def metadata(
    model: str, versions: Sequence[int], inputs: Sequence[BundleInput], more: Mapping[str, Any]
) -> dict[str, Any]:
    """What a model reads and answers, in the protocol's words."""
    return {
        "name": model,
        "versions": [str(version) for version in versions],
        "platform": "falaj",
        "inputs": [{"name": one.name, "datatype": DATATYPES[one.type], "shape": [-1]} for one in inputs],
        "outputs": [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}],
        "parameters": dict(more),
    }
