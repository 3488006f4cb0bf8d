"""Skops files: a zip of one `schema.json`, which names types, and of plain numpy arrays.

The container is held to the letter (every byte belongs to one listed member, no prefix, no suffix), so that no second
reader can see another archive in the same bytes. Types are allowed by name and by the loader that would build them;
loaders that call functions are never allowed.
"""

from __future__ import annotations

import ast
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, Final

from falaj.core.names import printable
from falaj.models.errors import WAY_OUT, ModelRefused

MAX_MEMBERS: Final = 20_000
MAX_UNPACKED: Final = 1024 * 1024 * 1024
MAX_RATIO: Final = 200
MAX_SCHEMA: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 200

_SCHEMA: Final = "schema.json"
_ARRAY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\.npy")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_END: Final = b"PK\x05\x06"
_PLAIN_FLAGS: Final = 0x0002 | 0x0004 | 0x0800  # deflate level, UTF-8 names

_PLAIN: Final = {
    "DictNode": {"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"},
    "ListNode": {"builtins.list"},
    "SetNode": {"builtins.set"},
    "TupleNode": {"builtins.tuple"},
    "JsonNode": {"builtins.str"},
    "SliceNode": {"builtins.slice"},
    "DTypeNode": {"numpy.dtype"},
    "RandomStateNode": {"numpy.random.mtrand.RandomState"},
    "RandomGeneratorNode": {"numpy.random._generator.Generator"},
    "TreeNode": {"sklearn.tree._tree.Tree"},
}
_SCALARS: Final = frozenset(
    f"numpy.{name}"
    for name in (
        *("bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "str_"),
    )
)
_BUILTINS: Final = frozenset(f"builtins.{name}" for name in ("str", "int", "float", "bool", "object"))
_SKLEARN: Final = {
    "pipeline": ("Pipeline", "FeatureUnion"),
    "compose._column_transformer": ("ColumnTransformer",),
    "preprocessing._encoders": ("OneHotEncoder", "OrdinalEncoder"),
    "preprocessing._label": ("LabelEncoder",),
    "preprocessing._data": (
        *("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"),
        *("QuantileTransformer", "PowerTransformer"),
    ),
    "preprocessing._discretization": ("KBinsDiscretizer",),
    "preprocessing._polynomial": ("PolynomialFeatures",),
    # Without a function it passes columns through, as ColumnTransformer makes it; a function is a node of its own,
    # of a loader that is not let in.
    "preprocessing._function_transformer": ("FunctionTransformer",),
    "impute._base": ("SimpleImputer", "MissingIndicator"),
    "linear_model._logistic": ("LogisticRegression", "LogisticRegressionCV"),
    "naive_bayes": ("GaussianNB",),
    "dummy": ("DummyClassifier", "DummyRegressor"),
    "tree._classes": (
        *("DecisionTreeClassifier", "DecisionTreeRegressor"),
        *("ExtraTreeClassifier", "ExtraTreeRegressor"),
    ),
    "ensemble._forest": ("RandomForestClassifier", "ExtraTreesClassifier"),
    "ensemble._gb": ("GradientBoostingClassifier",),
    "ensemble._hist_gradient_boosting.gradient_boosting": ("HistGradientBoostingClassifier",),
    "ensemble._hist_gradient_boosting.binning": ("_BinMapper",),
    "ensemble._hist_gradient_boosting.predictor": ("TreePredictor",),
    "calibration": ("CalibratedClassifierCV", "_CalibratedClassifier", "_SigmoidCalibration"),
    "isotonic": ("IsotonicRegression",),
    "_loss.link": ("Interval", "IdentityLink", "LogLink", "LogitLink", "HalfLogitLink", "MultinomialLogit"),
    "_loss.loss": ("HalfBinomialLoss", "HalfMultinomialLoss", "HalfSquaredError", "ExponentialLoss"),
}
OBJECTS: Final = frozenset(f"sklearn.{module}.{name}" for module, names in _SKLEARN.items() for name in names)
_LOSSES: Final = frozenset(
    f"sklearn._loss._loss.Cy{name}"
    for name in ("HalfBinomialLoss", "HalfMultinomialLoss", "HalfSquaredError", "ExponentialLoss")
)
ALLOWED: Final[dict[str, frozenset[str]]] = {
    **{loader: frozenset(types) for loader, types in _PLAIN.items()},
    "TypeNode": _BUILTINS | _SCALARS,
    "NdArrayNode": frozenset({"numpy.ndarray"}) | _SCALARS,
    "LossNode": _LOSSES,
    "ObjectNode": OBJECTS,
}
"""Loader → types that it may build."""

TRUSTED: Final = sorted({"numpy.dtype", "sklearn.tree._tree.Tree", *OBJECTS, *_LOSSES})
"""What skops is told to trust beyond its own defaults, after `look` has let the file in."""


def look(data: bytes, what: str) -> tuple[str, ...]:
    """The types in a skops file, sorted. Raises: ModelRefused."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, what)
            _check_layout(data, archive, members, what)
            schema = _read_members(archive, members, what)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, struct.error, RuntimeError) as error:
        raise _refuse(what, f"a damaged zip archive ({str(error)[:120]})") from error
    return _types(_schema(schema, what), what)


def _check_members(members: list[zipfile.ZipInfo], what: str) -> None:
    if not members or len(members) > MAX_MEMBERS:
        raise _refuse(what, f"a zip of {len(members):,} members; 1 to {MAX_MEMBERS:,} are read")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise _refuse(what, "a zip that holds a name twice")
    for member in members:
        name = member.orig_filename
        if name != _SCHEMA and not _ARRAY.fullmatch(name):
            raise _refuse(what, _stranger(name, names))
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & ~_PLAIN_FLAGS:
            raise _refuse(what, f"member {printable(name)} is encrypted or packed in an unusual way")
        if member.file_size > MAX_RATIO * member.compress_size + 4096:
            raise _refuse(what, f"member {printable(name)} unpacks to more than {MAX_RATIO} times its size")
    if _SCHEMA not in names:
        raise _refuse(what, f"a zip without {_SCHEMA}")
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise _refuse(what, f"unpacks to more than {MAX_UNPACKED:,} bytes")


def _stranger(name: str, names: list[str]) -> str:
    """What kind of zip it rather is, from the first name that no skops file holds."""
    if name.endswith("data.pkl") or any(n.endswith("data.pkl") for n in names):
        return "a PyTorch archive: a pickle inside a zip, which can run any code while it loads"
    if "model.weights.h5" in names or "config.json" in names:
        return "a Keras archive, which can hold code (Lambda layers)"
    if any(part in ("..", "") for part in re.split(r"[/\\]", name)) or ":" in name:
        return f"member {printable(name)} leads out of the archive"
    return f"member {printable(name)} is no part of a skops file"


def _check_layout(data: bytes, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], what: str) -> None:
    """Every byte belongs to one member, to the directory or to the end record; nothing stands before or between."""
    at = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset != at:
            raise _refuse(what, "bytes in the zip that belong to no member, or to two")
        head = _LOCAL.unpack_from(data, at)
        names, extra = head[9], head[10]
        raw = data[at + _LOCAL.size : at + _LOCAL.size + names]
        if head[0] != b"PK\x03\x04" or raw != member.orig_filename.encode() or head[2] != member.flag_bits:
            raise _refuse(what, "a zip whose directory and members disagree")
        if (head[3], head[7], head[8]) != (member.compress_type, member.compress_size, member.file_size) and extra == 0:
            raise _refuse(what, "a zip whose directory and members disagree")
        at += _LOCAL.size + names + extra + member.compress_size
    if at != archive.start_dir or archive.comment or not data[-22:].startswith(_END):
        raise _refuse(what, "bytes around the zip archive that belong to no member")


def _read_members(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], what: str) -> bytes:
    """The schema; every member is unpacked in small pieces, so its size and checksum hold."""
    schema = b""
    for member in members:
        with archive.open(member) as file:
            if member.filename == _SCHEMA:
                schema = file.read(MAX_SCHEMA + 1)
                if len(schema) > MAX_SCHEMA:
                    raise _refuse(what, f"its schema is over {MAX_SCHEMA:,} bytes")
                continue
            _check_array(file.read(4096), member.filename, what)
            while file.read(1 << 20):
                pass
    return schema


def _check_array(head: bytes, name: str, what: str) -> None:
    """A numpy array of plain numbers or text: an array of objects is a pickle in disguise (numpy format 1.0 to 3.0)."""
    if not head.startswith(b"\x93NUMPY") or len(head) < 12 or head[6] not in (1, 2, 3):
        raise _refuse(what, f"member {printable(name)} is not a numpy array")
    length, start = (
        (int.from_bytes(head[8:10], "little"), 10)
        if head[6] == 1
        else (
            int.from_bytes(head[8:12], "little"),
            12,
        )
    )
    try:
        header = ast.literal_eval(head[start : start + length].decode("utf-8").strip())
        kinds = list(_kinds(header["descr"]))
    except (ValueError, SyntaxError, KeyError, IndexError, TypeError, RecursionError, MemoryError) as error:
        raise _refuse(what, f"member {printable(name)} has an unreadable header") from error
    if any("O" in kind for kind in kinds):
        raise _refuse(what, f"member {printable(name)} is an array of objects: a pickle inside")


def _kinds(descr: Any) -> Iterator[str]:
    """The type strings of a dtype: one, or one for each field of a structured array, nested ones too."""
    if isinstance(descr, str):
        yield descr
    elif isinstance(descr, list):
        for field in descr:
            yield from _kinds(field[1])
    else:
        raise TypeError("not a dtype")


def _schema(raw: bytes, what: str) -> dict[str, Any]:
    try:
        schema = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refuse(what, f"its {_SCHEMA} cannot be read") from error
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise _refuse(what, f"its {_SCHEMA} is not that of a skops file")
    return schema


def _types(schema: dict[str, Any], what: str) -> tuple[str, ...]:
    """Walk the whole schema, whatever the keys are called, and check each node that a loader would build."""
    found: set[str] = set()
    unknown: set[str] = set()
    todo: list[tuple[Any, int]] = [(schema, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise _refuse(what, f"its schema is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, list):
            todo.extend((part, depth + 1) for part in value)
        if not isinstance(value, dict):
            continue
        todo.extend((part, depth + 1) for part in value.values())
        if not {"__class__", "__module__", "__loader__"} & value.keys():
            continue
        loader, full = str(value.get("__loader__")), f"{value.get('__module__')}.{value.get('__class__')}"
        if loader == "CachedNode":
            continue
        (found if full in ALLOWED.get(loader, ()) else unknown).add(full if loader in ALLOWED else f"{full} ({loader})")
    if unknown:
        named = ", ".join(printable(name) for name in sorted(unknown)[:10])
        raise _refuse(
            what, f"holds {len(unknown)} types that are not on the allow-list: {named}", facts=sorted(unknown)
        )
    return tuple(sorted(name for name in found if name.startswith("sklearn.")))


def _refuse(what: str, why: str, facts: list[str] | None = None) -> ModelRefused:
    return ModelRefused(f"{what}: {why}", next_step=WAY_OUT, facts={"types": facts[:50]} if facts else None)
