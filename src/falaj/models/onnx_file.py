"""ONNX files, read as protocol buffers by the standard library, to see what they would run and what they point to.

Let in are models of standard operators whose weights are all inside. Field numbers: onnx.proto3 of the ONNX project.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from falaj.core.names import printable
from falaj.models.errors import WAY_OUT, ModelRefused

FIRST: Final = b"\x08"  # field 1, a number: ir_version, which every writer puts first
DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MAX_DEPTH: Final = 24
MAX_NODES: Final = 100_000

_MODEL: Final = {"ir": 1, "graph": 7, "opset": 8, "training": 20, "functions": 25}
_MODEL_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14})
_GRAPH: Final = {"node": 1, "initializer": 5, "input": 11, "sparse": 15}
_NODE: Final = {"op": 4, "attribute": 5, "domain": 7}
_ATTRIBUTE: Final = {"t": 5, "g": 6, "tensors": 10, "graphs": 11, "sparse": 22, "sparses": 23}
_EXTERNAL, _LOCATION = 13, 14

Part = int | memoryview


class _Broken(Exception):
    """The bytes are not a protocol buffer of this form."""


def look(data: bytes, what: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The operators (`domain:operator`, sorted) and the inputs of an ONNX file. Raises: ModelRefused."""
    reader = _Reader(what)
    try:
        reader.model(memoryview(data))
    except (_Broken, UnicodeDecodeError) as error:
        raise ModelRefused(f"{what}: not a readable ONNX file ({error})", next_step=WAY_OUT) from error
    return tuple(sorted(reader.operators)), tuple(name for name in reader.inputs if name not in reader.weights)


class _Reader:
    def __init__(self, what: str) -> None:
        self.what = what
        self.operators: set[str] = set()
        self.inputs: list[str] = []
        self.weights: set[str] = set()
        self.nodes = 0

    def refuse(self, why: str) -> ModelRefused:
        return ModelRefused(f"{self.what}: {why}", next_step=WAY_OUT)

    def model(self, data: memoryview) -> None:
        graphs: list[memoryview] = []
        versions: list[Part] = []
        opsets = 0
        for number, value in _fields(data):
            if number in (_MODEL["training"], _MODEL["functions"]):
                raise self.refuse("an ONNX file with functions or training steps of its own")
            if number not in _MODEL_FIELDS:
                raise _Broken(f"field {number} is not one of a model")
            if number == _MODEL["ir"]:
                versions.append(value)
            elif number == _MODEL["graph"]:
                graphs.append(_message(value))
            elif number == _MODEL["opset"]:
                opsets += 1
                self._domain(next((_text(v) for n, v in _fields(_message(value)) if n == 1), ""))
        if len(graphs) != 1 or len(versions) != 1 or not opsets:
            raise _Broken("a model has one version, one graph and an operator set")
        self._graph(graphs[0], 0)
        if not self.nodes:
            raise _Broken("its graph has no operators")

    def _graph(self, data: memoryview, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.refuse(f"an ONNX file nested deeper than {MAX_DEPTH} graphs")
        for number, value in _fields(data):
            if number == _GRAPH["node"]:
                self._node(_message(value), depth)
            elif number == _GRAPH["initializer"]:
                self._tensor(_message(value))
            elif number == _GRAPH["sparse"]:
                self._sparse(_message(value))
            elif number == _GRAPH["input"] and depth == 0:
                self.inputs.append(next((_text(v) for n, v in _fields(_message(value)) if n == 1), ""))

    def _node(self, data: memoryview, depth: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.refuse(f"an ONNX file of more than {MAX_NODES:,} operators")
        operator = domain = ""
        for number, value in _fields(data):
            if number == _NODE["op"]:
                operator = _text(value)
            elif number == _NODE["domain"]:
                domain = _text(value)
            elif number == _NODE["attribute"]:
                self._attribute(_message(value), depth)
        self._domain(domain, operator)
        self.operators.add(f"{domain or 'ai.onnx'}:{operator}")

    def _domain(self, domain: str, operator: str = "") -> None:
        if domain not in DOMAINS:
            inside = f" ({printable(operator)})" if operator else ""
            raise self.refuse(f"operators of the domain {printable(domain)}{inside}, which is not a standard one")

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, value in _fields(data):
            if number in (_ATTRIBUTE["t"], _ATTRIBUTE["tensors"]):
                self._tensor(_message(value))
            elif number in (_ATTRIBUTE["g"], _ATTRIBUTE["graphs"]):
                self._graph(_message(value), depth + 1)
            elif number in (_ATTRIBUTE["sparse"], _ATTRIBUTE["sparses"]):
                self._sparse(_message(value))

    def _sparse(self, data: memoryview) -> None:
        for number, value in _fields(data):
            if number in (1, 2):
                self._tensor(_message(value))

    def _tensor(self, data: memoryview) -> None:
        for number, value in _fields(data):
            if number == _EXTERNAL or (number == _LOCATION and value != 0):
                raise self.refuse("an ONNX file whose weights stand in another file (external data)")
            if number == 8:
                self.weights.add(_text(value))


def _fields(data: memoryview) -> Iterator[tuple[int, Part]]:
    """The fields of one message: number, and its value as a number or as bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _Broken(f"wire type {wire}")
        if number == 0 or at + size > end:
            raise _Broken("a field runs over its end")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Broken("a number runs over its end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(value: Part) -> memoryview:
    if isinstance(value, int):
        raise _Broken("a number where a message is expected")
    return value


def _text(value: Part) -> str:
    return bytes(_message(value)).decode()
