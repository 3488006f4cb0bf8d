"""Model files: attacks are refused by what they are, nothing in them runs, and benign models are let in."""

from __future__ import annotations

import functools
import gzip
import io
import json
import operator
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from falaj.core.digests import sha256
from falaj.core.errors import FalajError, NotFound, TooLarge
from falaj.models import formats
from falaj.models.errors import ModelRefused
from falaj.models.formats import inspect, inspect_bytes

CANARY = "canary-of-the-model-tests"
SHELL = f"touch {CANARY}"


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """Every planted payload would create the canary in the working folder."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(CANARY).exists()


class Payload:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def pickled(protocol: int, call=os.system, *args) -> bytes:
    return pickle.dumps(Payload(call, *(args or (SHELL,))), protocol=protocol)


def joblibbed(compress) -> bytes:
    out = io.BytesIO()
    joblib.dump([Payload(os.system, SHELL), np.arange(3)], out, compress=compress)
    return out.getvalue()


def zipped(members: dict[str, bytes], method=zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def array(values) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values), allow_pickle=True)
    return out.getvalue()


def node(module: str, name: str, loader: str = "ObjectNode", content=None) -> dict:
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, "content": content}


def skopsed(inner: dict, **members: bytes) -> bytes:
    schema = node("builtins", "list", "ListNode", [inner]) | {"protocol": 2, "_skops_version": "0.16.0"}
    return zipped({**{k.replace("__", "."): v for k, v in members.items()}, "schema.json": json.dumps(schema).encode()})


PLAIN = node("sklearn.linear_model._logistic", "LogisticRegression")
GOOD_ZIP = skopsed(PLAIN, a__npy=array([1.0, 2.0]))


def renamed(name: str) -> bytes:
    return zipped({name: b"x", "schema.json": b"{}"})


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def repeated() -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("schema.json", json.dumps(PLAIN))
        archive.writestr("schema.json", json.dumps(node("os", "system", "FunctionNode")))
    return out.getvalue()


def lying_bomb() -> bytes:
    """A member that says it is small: the sizes in directory and header are patched."""
    data = zipped(
        {"a.npy": array(np.zeros(1_000_000)), "schema.json": json.dumps(PLAIN).encode()}, zipfile.ZIP_DEFLATED
    )
    true = struct.pack("<I", len(array(np.zeros(1_000_000))))
    return data.replace(true, struct.pack("<I", 8192))


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("../../.profile")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"touch"))
    return out.getvalue()


def nested(depth: int) -> bytes:
    schema = (
        '{"__loader__":"ListNode","__class__":"list","__module__":"builtins","content":'
        + "[" * depth
        + "]" * depth
        + "}"
    )
    return zipped({"schema.json": schema.encode()})


def onnx_model(nodes, *, domain="", initializers=(), functions=()) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=list(initializers))
    opsets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions))


def external() -> TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    return tensor


def onnx_external() -> bytes:
    return onnx_model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[external()]).SerializeToString()


def onnx_external_in_branch() -> bytes:
    inner = helper.make_graph([helper.make_node("Constant", [], ["b"], value=external())], "inner", [], [])
    outer = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    return onnx_model([outer]).SerializeToString()


def onnx_custom(domain: str) -> bytes:
    return onnx_model([helper.make_node("Run", ["x"], ["y"], domain=domain)], domain=domain).SerializeToString()


def onnx_unannounced() -> bytes:
    return onnx_model([helper.make_node("Run", ["x"], ["y"], domain="evil.ops")]).SerializeToString()


def onnx_functions() -> bytes:
    body = [helper.make_node("Identity", ["a"], ["b"])]
    function = helper.make_function("", "Own", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    return onnx_model([helper.make_node("Own", ["x"], ["y"])], functions=[function]).SerializeToString()


def onnx_nested() -> bytes:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [])
    for _ in range(28):
        inner = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "g", [], [])
    return onnx_model(inner.node).SerializeToString()


GOOD_ONNX = onnx_model([helper.make_node("Identity", ["x"], ["y"])]).SerializeToString()
NUMPY_BUILTINS = b"cnumpy\n__builtins__\n(dS'x'\nbcos\nsystem\n(S'" + SHELL.encode() + b"'\ntR."
EVAL = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x051 + 1\x85R."
SAFETENSORS = struct.pack("<Q", 2) + b"{}" + b"\0" * 8

ATTACKS: dict[str, tuple[bytes, str]] = {
    **{f"pickle protocol {p}": (pickled(p), "a pickle") for p in range(6)},
    "pickle spawns a process": (pickled(4, os.spawnlp, os.P_NOWAIT, "touch", "touch", CANARY), "a pickle"),
    "pickle through numpy builtins": (NUMPY_BUILTINS, "a pickle"),
    "pickle GLOBAL os system": (b"cos\nsystem\n(S'" + SHELL.encode() + b"'\ntR.", "a pickle"),
    "pickle INST": (b"(S'" + SHELL.encode() + b"'\nios\nsystem\n.", "a pickle"),
    "pickle STACK_GLOBAL eval": (EVAL, "a pickle"),
    "pickle that opens a file": (pickled(2, open, CANARY, "w"), "a pickle"),
    "pickle of plain numbers": (pickle.dumps({"a": [1, 2]}, protocol=0), "a pickle"),
    "broken pickle": (pickled(4)[:-9], "a pickle"),
    "joblib": (joblibbed(0), "a pickle"),
    "joblib gzip": (joblibbed(("gzip", 3)), "joblib) compressed with gzip"),
    "joblib zlib": (joblibbed(("zlib", 3)), "joblib) compressed with zlib"),
    "joblib bz2": (joblibbed(("bz2", 3)), "joblib) compressed with bzip2"),
    "joblib xz": (joblibbed(("xz", 3)), "joblib) compressed with xz"),
    "gzip of a good model": (gzip.compress(GOOD_ONNX), "compressed with gzip"),
    "pytorch zip": (zipped({"archive/data.pkl": pickled(2), "archive/version": b"3"}), "PyTorch"),
    "keras zip": (zipped({"config.json": b"{}", "model.weights.h5": b"x"}), "Keras"),
    "keras h5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
    "tar": (tarred(), "tar"),
    "safetensors": (SAFETENSORS, "safetensors"),
    "xgboost json": (b'{"learner": {}}', "JSON"),
    "empty": (b"", "empty"),
    "noise": (bytes(range(200, 256)) * 9, "not a form"),
    "zip bomb": (
        zipped({"a.npy": array(np.zeros(2_000_000)), "schema.json": b"{}"}, zipfile.ZIP_DEFLATED),
        "unpacks to",
    ),
    "zip bomb that lies": (lying_bomb(), ""),
    "zip of too many members": (zipped({f"{i}.npy": b"" for i in range(20_001)}), "20,001 members"),
    "zip traversal": (renamed("../../evil.npy"), "leads out"),
    "zip absolute": (renamed("/etc/cron.d/evil"), "leads out"),
    "zip backslash": (renamed("..\\evil.npy"), "leads out"),
    "zip drive": (renamed("c:evil"), "leads out"),
    "zip control character": (renamed("a\nb.npy"), "no part"),
    "zip NUL in a name": (zipped({"aXb.npy": b"x", "schema.json": b"{}"}).replace(b"aXb.npy", b"a\0b.npy"), "no part"),
    "zip with a pickle beside": (renamed("helper.pkl"), "no part"),
    "zip holds a name twice": (repeated(), "twice"),
    "zip cut off": (GOOD_ZIP[:-30], "damaged"),
    "zip with a wrong checksum": (GOOD_ZIP.replace(b"LogisticRegression", b"LogisticRegressioN"), "damaged"),
    "zip says encrypted": (
        GOOD_ZIP.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "encrypted",
    ),
    "zip directory and header disagree": (patched(GOOD_ZIP, 30, b"b"), ""),
    "zip with a pickle behind": (GOOD_ZIP + pickled(4), "belong to no member"),
    "zip with a comment": (GOOD_ZIP[:-2] + struct.pack("<H", 4) + b"evil", "belong to no member"),
    "pickle with a zip behind": (pickled(4) + GOOD_ZIP, "a pickle"),
    "zip without schema": (zipped({"a.npy": array([1])}), "without schema.json"),
    "empty zip": (zipped({}), "0 members"),
    "skops of os.system": (skopsed(node("os", "system", "FunctionNode")), "os.system (FunctionNode)"),
    "skops of Popen": (skopsed(node("subprocess", "Popen")), "subprocess.Popen"),
    "skops of builtins eval as a type": (skopsed(node("builtins", "eval", "TypeNode")), "builtins.eval"),
    "skops calls a method": (skopsed(node("builtins", "str", "MethodNode")), "MethodNode"),
    "skops calls a constructor": (skopsed(node("builtins", "str", "ConstructorFromReduceNode")), "FromReduceNode"),
    "skops partial": (skopsed(node("functools", "partial", "PartialNode")), "PartialNode"),
    "skops operator": (skopsed(node("operator", "attrgetter", "OperatorFuncNode")), "OperatorFuncNode"),
    "skops good type, other loader": (
        skopsed(node("sklearn.pipeline", "Pipeline", "DictNode")),
        "sklearn.pipeline.Pip",
    ),
    "skops node without a loader": (skopsed({"__class__": "system", "__module__": "os"}), "os.system"),
    "skops type hidden deep": (skopsed(PLAIN | {"x": [{"y": [node("os", "popen")]}]}), "os.popen"),
    "skops array of objects": (skopsed(PLAIN, a__npy=array([Payload(os.system, SHELL)])), "array of objects"),
    "skops array that is a pickle": (skopsed(PLAIN, a__npy=pickled(4)), "not a numpy array"),
    "skops array with a false header": (
        skopsed(PLAIN, a__npy=b"\x93NUMPY\x01\x00\x08\x00(1)(2)()"),
        "unreadable header",
    ),
    "skops nested too deep": (nested(300), "nested deeper"),
    "skops nested past the parser": (nested(200_000), ""),
    "skops schema of noise": (zipped({"schema.json": b"\xff\xfe"}), "cannot be read"),
    "skops schema that is a list": (zipped({"schema.json": b"[]"}), "not that of a skops"),
    "onnx external data": (onnx_external(), "external data"),
    "onnx external data in a branch": (onnx_external_in_branch(), "external data"),
    "onnx custom operators": (onnx_custom("evil.ops"), "domain 'evil.ops'"),
    "onnx custom operators unannounced": (onnx_unannounced(), "'evil.ops' ('Run')"),
    "onnx python operators": (onnx_custom("ai.onnx.contrib"), "ai.onnx.contrib"),
    "onnx functions": (onnx_functions(), "functions"),
    "onnx nested graphs": (onnx_nested(), "nested deeper"),
    "onnx cut off": (GOOD_ONNX[:-5], "not a readable ONNX"),
    "onnx without a graph": (b"\x08\x08\x42\x04\x0a\x00\x10\x12", "one graph"),
    "another protocol buffer": (b"\x08\x96\x01\xfa\x7f\x01a", "not a readable ONNX"),
}


@pytest.mark.parametrize("ending", [".skops", ".onnx", ".safetensors"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_for_what_it_is_whatever_it_is_called(tmp_path, attack, ending):
    data, told = ATTACKS[attack]
    path = tmp_path / f"model{ending}"
    path.write_bytes(data)
    with pytest.raises(ModelRefused) as refused:
        inspect(path)
    assert told in refused.value.message
    assert refused.value.code == "model_refused"
    assert "skops.io.dump" in refused.value.next_step
    assert "onnx" in refused.value.next_step


def test_the_planted_pickle_is_a_live_one():
    pickle.loads(pickled(4))
    Path(CANARY).unlink()


FUNCTIONS = {
    "a ufunc": (FunctionTransformer(np.log1p), "numpy.log1p"),
    "a function": (FunctionTransformer(os.system), "posix.system"),
    "a partial function": (FunctionTransformer(functools.partial(np.clip, a_min=0)), "functools.partial"),
    "an inverse": (FunctionTransformer(inverse_func=os.system), "posix.system"),
    "a callable object": (FunctionTransformer(operator.methodcaller("tofile", CANARY)), "operator.methodcaller"),
    "names by a function": (FunctionTransformer(feature_names_out=os.path.join), "posixpath.join"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_function_in_a_pipeline_is_refused_by_name(tmp_path, case):
    transformer, name = FUNCTIONS[case]
    skops.io.dump(make_pipeline(transformer, LogisticRegression()), tmp_path / "m.skops")
    with pytest.raises(ModelRefused, match=name) as refused:
        inspect(tmp_path / "m.skops")
    assert name in str(refused.value.facts)


def table(rows=80):
    draw = np.random.default_rng(5)
    numbers = draw.normal(size=(rows, 3))
    return numbers, numbers[:, 0] > 0


PIPELINE = make_pipeline(
    ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1]), ("c", OneHotEncoder(), [2])]),
    LogisticRegression(),
)
BENIGN = {
    "logistic": LogisticRegression(),
    "trees": HistGradientBoostingClassifier(max_iter=3),
    "forest": RandomForestClassifier(3),
    "boosting": GradientBoostingClassifier(n_estimators=3),
    "calibrated": CalibratedClassifierCV(LogisticRegression()),
    "isotonic": CalibratedClassifierCV(LogisticRegression(), method="isotonic"),
    "pipeline": PIPELINE,
}


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", BENIGN)
def test_a_benign_skops_model_is_let_in_with_its_types(tmp_path, name, packing):
    x, y = table()
    model = BENIGN[name].fit(np.round(x), y)
    skops.io.dump(model, tmp_path / "model.pickle", compression=packing)
    found = inspect(tmp_path / "model.pickle")
    assert found.format == "skops"
    assert f"{type(model).__module__}.{type(model).__name__}" in found.types
    assert found.sha256 == sha256((tmp_path / "model.pickle").read_bytes())


def test_text_categories_are_let_in(tmp_path):
    words = np.array([["a"], ["b"]] * 20, dtype=object)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(words, [0, 1] * 20)
    skops.io.dump(model, tmp_path / "m")
    assert "sklearn.preprocessing._encoders.OneHotEncoder" in inspect(tmp_path / "m").types


@pytest.mark.parametrize("name", ["logistic", "forest", "pipeline"])
def test_a_benign_onnx_model_is_let_in_with_its_operators(tmp_path, name):
    x, y = table()
    model = BENIGN[name].fit(np.round(x).astype(np.float32), y)
    data = to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    (tmp_path / "model.skops").write_bytes(data)
    found = inspect(tmp_path / "model.skops")
    assert (found.format, found.inputs, found.size_bytes) == ("onnx", ("X",), len(data))
    assert all(kind.startswith(("ai.onnx:", "ai.onnx.ml:")) for kind in found.types)


def test_weights_listed_as_inputs_are_not_inputs():
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    model = onnx_model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[weights])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    assert inspect_bytes(model.SerializeToString()).inputs == ("x",)


def test_what_is_not_a_regular_file_is_refused(tmp_path):
    (tmp_path / "real").write_bytes(GOOD_ONNX)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, error in (("link", NotFound), ("pipe", ModelRefused), ("folder", ModelRefused), ("gone", NotFound)):
        with pytest.raises(error):
            inspect(tmp_path / name)


def test_a_file_over_the_cap_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_BYTES", 100)
    (tmp_path / "m").write_bytes(b"\x08" * 101)
    with pytest.raises(TooLarge, match="101 bytes"):
        inspect(tmp_path / "m")


@settings(max_examples=300)
@given(st.sampled_from([GOOD_ZIP, GOOD_ONNX]), st.data())
def test_any_damage_is_let_in_or_refused_but_never_crashes(good, data):
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = patched(good, at, data.draw(st.binary(min_size=1, max_size=4)))[: data.draw(st.integers(1, len(good)))]
    try:
        told: str = inspect_bytes(damaged).format
    except FalajError as error:
        told = error.code
    assert told in ("skops", "onnx", "model_refused")


@given(st.binary(max_size=200))
def test_noise_is_never_let_in(noise):
    with pytest.raises(ModelRefused):
        inspect_bytes(noise)
