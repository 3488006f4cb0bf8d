"""Model files made for tests: scikit-learn models as skops, ONNX graphs by hand, and the payloads that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from falaj.models import formats
from falaj.models.records import File, Input, InputType, Model

FLOAT, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING


def payload(path: Path, **inputs: InputType) -> Model:
    """The payload that names a file, with its inputs in order."""
    found = formats.inspect(path)
    return Model(
        format=found.format,
        files=(File(path=path.name, sha256=found.sha256, size_bytes=found.size_bytes),),
        inputs=tuple(Input(name=name, type=kind) for name, kind in inputs.items()),
        label="late",
        types=found.types,
    )


def dumped(model: Any, path: Path) -> Path:
    skops.io.dump(model, path)
    return path


def towns(rows: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Rows of (town, wind) and whether the kite came down late."""
    draw = np.random.default_rng(seed)
    town = np.array(["Sur", "Nizwa", "Ibra"], dtype=object)[draw.integers(0, 3, rows)]
    wind = draw.normal(10, 4, rows).round(1)
    late = wind + (town == "Sur") * 3 + draw.normal(0, 2, rows) > 11
    return np.column_stack([town, wind]).astype(object), late


def town_model(seed: int = 3, *, blind: bool = False) -> Any:
    """A pipeline over (town, wind); a blind one has learnt from shuffled labels."""
    rows, late = towns(seed=seed)
    if blind:
        late = np.random.default_rng(seed).permutation(late)
    encode = ColumnTransformer([("town", OneHotEncoder(handle_unknown="ignore"), [0]), ("wind", StandardScaler(), [1])])
    return make_pipeline(encode, LogisticRegression()).fit(rows, late)


def graph(
    nodes: list[Any], *, inputs: dict[str, int], width: int | None = 1, outputs: int = FLOAT, **weights: Any
) -> bytes:
    """An ONNX file: `inputs` by name and type, each a tensor [rows, width]; one output `y`."""
    given = [helper.make_tensor_value_info(name, kind, [None, width]) for name, kind in inputs.items()]
    told = [helper.make_tensor_value_info("y", outputs, [None, None])]
    constants = [helper.make_tensor(name, kind, shape, values) for name, (kind, shape, values) in weights.items()]
    made = helper.make_graph(nodes, "g", given, told, initializer=constants)
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString())


def sigmoid() -> bytes:
    """y = sigmoid(x): a model of one number."""
    return graph([helper.make_node("Sigmoid", ["x"], ["y"])], inputs={"x": FLOAT})


def endless() -> bytes:
    """A loop of 2^62 rounds."""
    value = [helper.make_tensor_value_info(name, FLOAT, [None, 1]) for name in ("v", "w")]
    go = [helper.make_tensor_value_info(name, BOOL, []) for name in ("go", "on")]
    turn = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])]
    body = helper.make_graph(
        turn, "body", [helper.make_tensor_value_info("i", INT64, []), go[0], value[0]], [go[1], value[1]]
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "x"], ["y"], body=body)
    return graph([loop], inputs={"x": FLOAT}, rounds=(INT64, [], [2**62]), yes=(BOOL, [], [True]))


def greedy(cells: int = 2**40) -> bytes:
    """Asks for a tensor of so many cells."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return graph(nodes, inputs={"x": FLOAT}, shape=(INT64, [1], [cells]))
