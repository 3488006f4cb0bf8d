"""What goes into a step and comes out of it, as files: tables as Parquet, models as skops or ONNX, the rest as JSON."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from falaj.core.encoding import canonical
from falaj.data import tables
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.inside import Rows, number
from falaj.pipelines.records import Column, Given, Manifest
from falaj.pipelines.rules import is_of

MAX_VALUE: Final = 64 * 1024
_LOGICAL: Final = (
    ("is_boolean", "boolean"),
    ("is_integer", "integer"),
    ("is_floating", "number"),
    ("is_decimal", "number"),
    ("is_timestamp", "timestamp"),
    ("is_date", "date"),
    ("is_time", "time"),
)


class WrongType(PipelineInvalid):
    """A step returned something else than it said."""

    code = "wrong_type"


def read(given: Given) -> Any:
    """An input as the step's function takes it."""
    if given.items:
        return [read(one) for one in given.items]
    if given.type == "dataset":
        return Rows(given)
    if given.type == "table":
        from pyarrow import parquet

        return parquet.read_table(given.paths[0])
    if given.type == "model":
        return _model(Path(given.paths[0]))
    if given.paths:
        return msgspec.json.decode(Path(given.paths[0]).read_bytes())
    return given.value


def write(value: Any, returns: str, folder: Path) -> Manifest:
    """What a step returned, as files of a folder. Raises: WrongType."""
    match returns:
        case "table":
            return _write_table(value, folder)
        case "model":
            return _write_model(value, folder)
        case _:
            return _write_plain(value, returns, folder)


def _wrong(value: Any, returns: str, why: str = "") -> WrongType:
    told = f"returned {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")
    return WrongType(f"{told}, and says {returns}{why}", next_step="return what the step's annotation says")


def _write_table(value: Any, folder: Path) -> Manifest:
    import pyarrow as pa

    if hasattr(value, "to_arrow_table"):  # a relation of DuckDB
        value = value.to_arrow_table()
    if not isinstance(value, pa.Table):
        if not hasattr(value, "__arrow_c_stream__"):
            raise _wrong(value, "table")
        value = pa.table(value)
    names = value.column_names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise _wrong(value, "table", f": column {twice[0]} stands there twice")
    tables.write_parquet(value.combine_chunks().replace_schema_metadata(None), folder / "table.parquet")
    columns = tuple(Column(name=field.name, type=_logical(field.type)) for field in value.schema)
    return Manifest(type="table", files=("table.parquet",), columns=columns, rows=value.num_rows)


def _logical(kind: Any) -> str:
    import pyarrow as pa

    return next((word for test, word in _LOGICAL if getattr(pa.types, test)(kind)), "string")


def _write_model(value: Any, folder: Path) -> Manifest:
    """An estimator as skops; a path or bytes of a file as they are. What the file may hold is judged outside."""
    if isinstance(value, str | Path):
        source = Path(value)
        if not source.is_file():
            raise _wrong(value, "model", ": no such file")
        name = "model.onnx" if source.suffix == ".onnx" else "model.skops"
        shutil.copyfile(source, folder / name)
        return Manifest(type="model", files=(name,))
    if isinstance(value, bytes):
        (folder / "model.onnx").write_bytes(value)
        return Manifest(type="model", files=("model.onnx",))
    if not hasattr(value, "predict"):
        raise _wrong(value, "model")
    import skops.io

    skops.io.dump(value, folder / "model.skops")
    names = getattr(value, "feature_names_in_", ())
    columns = tuple(Column(name=str(name), type="") for name in names)
    return Manifest(type="model", files=("model.skops",), columns=columns)


def _model(path: Path) -> Any:
    """The model of an earlier step: its types were looked at, against the list of those allowed, before it was kept."""
    if path.suffix == ".onnx":
        return path
    import skops.io

    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def _write_plain(value: Any, returns: str, folder: Path) -> Manifest:
    plain = _plain(value, returns)
    if returns == "metrics":
        if not isinstance(plain, dict):
            raise _wrong(value, returns)
        _check_numbers(plain)
    elif not is_of(plain, returns):
        raise _wrong(value, returns)
    body = canonical(plain)
    (folder / "value.json").write_bytes(body)
    metrics = {k: v for k, v in plain.items() if _is_number(v)} if returns == "metrics" else {}
    kept = plain if len(body) <= MAX_VALUE else None
    return Manifest(type=returns, files=("value.json",), value=kept, metrics=metrics)


def _plain(value: Any, returns: str) -> Any:
    """The value with numbers of numpy as numbers, and tuples as lists. Raises: WrongType for what JSON cannot say."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value) and returns != "metrics":  # metrics are refused with the name
            raise _wrong(value, returns, f": {value} is no number that can be kept")
        return float(value)
    if hasattr(value, "tolist") and type(value).__module__ == "numpy":
        return _plain(value.tolist(), returns)
    if isinstance(value, list | tuple):
        return [_plain(one, returns) for one in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v, returns) for k, v in value.items()}
    raise _wrong(value, returns)


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _check_numbers(value)
        else:
            number(name, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
