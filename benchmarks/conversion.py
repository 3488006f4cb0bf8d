"""The example's form of model as a skops file and as the ONNX file that it is converted to, on real flights.

Usage: python -m benchmarks.conversion [--rows N] [--trees N]

Both are asked in one process by what serves them: one row again and again, and batches of 4,096. How far the answers
lie apart is told over all flights, those that the model was not trained on too. The converter's environment is built
before, where it is not there, and its time told by itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import skops.io
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from benchmarks.measure import ROOT, Loads, median, recorded, result, show, turns
from examples.flights.months import source as archive
from examples.flights.months import write_months
from falaj.core.bundle import BundleFile, BundleInput, BundleModel
from falaj.environments.place import Environment, built
from falaj.models import agreement, conversion, formats, scoring
from falaj.models.records import File, Input, Model
from falaj.serving import engines

sys.path.insert(0, str(ROOT / "examples" / "flights"))
TEXT = ["carrier", "origin", "dest"]
COLUMNS = [*TEXT, "hour", "minute", "distance", "month", "day", "air_time", "dep_delay"]
BATCH = 4_096


def flights(folder: Path) -> pa.Table:
    """Every flight that arrived: the columns of the model, and whether it was late."""
    options = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    months = [
        pyarrow.csv.read_csv(path, convert_options=options) for path in write_months(archive(), folder, range(1, 13))
    ]
    every = pa.concat_tables(months, promote_options="permissive")
    every = every.filter(pc.is_valid(every["arr_delay"]))
    numbers = [every[name] if name in TEXT else every[name].cast(pa.float64()) for name in COLUMNS]
    return pa.table([*numbers, pc.greater(every["arr_delay"], 30)], names=[*COLUMNS, "late"])


def trained(table: pa.Table, path: Path, trees: int) -> Model:
    """The form of model that the example trains, on some flights."""
    from training import boosted  # type: ignore[import-not-found]

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=50)
    model = boosted(encode, COLUMNS, 31).set_params(histgradientboostingclassifier__max_iter=trees)
    rows = np.array([table[name].to_numpy(zero_copy_only=False) for name in COLUMNS], dtype=object).T
    skops.io.dump(model.fit(rows, table["late"].to_numpy(zero_copy_only=False)), path)
    found = formats.inspect(path)
    return Model(
        format=found.format,
        files=(File(path=path.name, sha256=found.sha256, size_bytes=found.size_bytes),),
        inputs=tuple(Input(name=name, type="text" if name in TEXT else "number") for name in COLUMNS),
        label="arr_delay > 30",
        types=found.types,
    )


def converted(model: Model, path: Path, made: Environment, folder: Path) -> tuple[Model, Path, float]:
    """The ONNX file of it, and the seconds that it took."""
    begin = time.perf_counter()
    data, _ = conversion.converted(model, path, made.python, scratch=folder)
    took = time.perf_counter() - begin
    target = folder / "model.onnx"
    target.write_bytes(data)
    found = formats.inspect(target)
    file = File(path=target.name, sha256=found.sha256, size_bytes=found.size_bytes)
    return msgspec.structs.replace(model, format="onnx", files=(file,), types=found.types), target, took


def apart(one: tuple[Model, Path], other: tuple[Model, Path], table: pa.Table, folder: Path) -> tuple[Any, float]:
    """How far two files are apart as a registration judges them, and the largest difference over all rows."""
    rows = scoring.selected(table, one[0].inputs)
    with scoring.Scorer(*one, scratch=folder) as before, scoring.Scorer(*other, scratch=folder) as after:
        step = -(-rows.num_rows // agreement.MAX_ROWS)
        drawn = rows.take(pa.array(range(0, rows.num_rows, step)))
        agreed = agreement.compare(before.score, after.score, drawn, one[0].inputs, lambda _: None)
        parts = [rows.slice(at, BATCH) for at in range(0, rows.num_rows, BATCH)]
        largest = max(float(np.abs(before.score(part) - after.score(part)).max()) for part in parts)
    return agreed, largest


def engine(model: Model, path: Path) -> engines.Engine:
    """It as an inference server has it."""
    file = model.files[0]
    served = BundleModel(
        format=model.format,
        files=(BundleFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes),),
        inputs=tuple(BundleInput(name=one.name, type=one.type) for one in model.inputs),
        digest=file.sha256,
        verdict="measured",
        types=model.types,
    )
    return engines.load(served, path.read_bytes(), path.name)


def seconds_of(asked: engines.Engine, columns: list[list[Any]], times: int) -> Callable[[], list[float]]:
    """A turn: so many questions, the seconds of each."""

    def turn() -> list[float]:
        out = []
        for _ in range(times):
            begin = time.perf_counter()
            asked.score(columns, len(columns[0]))
            out.append(time.perf_counter() - begin)
        return out

    return turn


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000, metavar="N", help="flights to train on")
    parser.add_argument("--trees", type=int, default=80, metavar="N")
    given = parser.parse_args(argv)
    loads = Loads()
    made = built(conversion.LOCK.read_text(encoding="utf-8"), ROOT / "build" / "environments")
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        table = flights(folder)
        path = folder / "model.skops"
        model = trained(table.take(pa.array(range(0, table.num_rows, table.num_rows // given.rows))), path, given.trees)
        other, target, took = converted(model, path, made, folder)
        agreed, largest = apart((model, path), (other, target), table, folder)
        both = {"skops": engine(model, path), "onnx": engine(other, target)}
        batch = [table[column].slice(0, BATCH).to_pylist() for column in COLUMNS]
        one = [values[:1] for values in batch]
        single = turns({name: seconds_of(found, one, 100) for name, found in both.items()}, 5)
        many = turns({name: seconds_of(found, batch, 3) for name, found in both.items()}, 5)
    alone = {name: median([s for turn in found for s in turn]) for name, found in single.items()}
    rate = {name: BATCH / median([s for turn in found for s in turn]) for name, found in many.items()}
    others = [
        recorded(
            "a model of the example's form, 1 row in memory, ONNX beside skops",
            "µs",
            alone["onnx"] * 1e6,
            alone["skops"] * 1e6,
        ),
        recorded("the same, batches of 4,096 rows", "rows/s", rate["onnx"], rate["skops"]),
        recorded(f"largest difference over {table.num_rows:,} flights", "millionths", largest * 1e6),
        recorded("its conversion, the process that converts", "s", took),
        recorded("the converter's environment, built once", "s", made.seconds),
    ]
    facts = {
        "agreed": msgspec.to_builtins(agreed),
        "size_bytes": [model.files[0].size_bytes, other.files[0].size_bytes],
    }
    show(result("conversion", loads, (), others, rows=given.rows, trees=given.trees, **facts))


if __name__ == "__main__":
    main()
