"""A skops file becomes ONNX where both answer alike on 10,000 rows and more; else it stays, and is told why."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from falaj.environments import ENVIRONMENTS
from falaj.environments.errors import BuildFailed
from falaj.environments.lock import parse
from falaj.environments.place import Environment, Place, built
from falaj.models import agreement, conversion, converter, formats, jail, scoring
from falaj.models.agreement import Disagreement, compare
from falaj.models.kinds import MODEL
from falaj.models.records import Conversion, Input, Model
from falaj.models.skops_file import TRUSTED
from tests.models import files
from tests.models.kites import House, kites, make

ROWS = 12_000
NUMBERS = ("wind", "height", "year")
KEPT = Path(__file__).parents[2] / "build" / "environments"
OURS = Path(sys.executable)
"""What the tests run in has the converter's libraries, too: what needs no other environment is converted by it."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of many tests at once stand in each other's way."""
    with threadpool_limits(1):
        yield


# agreement


def data(rows: int = ROWS, nulls: float = 0.05) -> pa.Table:
    """Towns, without and with nulls, a number with nulls, one without, and whole numbers."""
    draw = np.random.default_rng(5)
    town = np.array(["Sur", "Nizwa", "Ibra", "Bahla"], dtype=object)[draw.choice(4, rows, p=[0.5, 0.3, 0.199, 0.001])]
    place = np.where(draw.random(rows) < nulls, None, town)
    wind, height = draw.normal(10, 4, rows).round(1), draw.normal(size=rows)
    wind[draw.random(rows) < nulls] = np.nan
    year = draw.integers(1990, 2014, rows).astype(float)
    return pa.table(
        {
            "town": pa.array(list(town), pa.string()),
            "place": pa.array(list(place), pa.string()),
            "wind": pa.array(wind, from_pandas=True),
            "height": pa.array(height),
            "year": pa.array(year),
        }
    )


def late(table: pa.Table) -> np.ndarray:
    wind = np.nan_to_num(table["wind"].to_numpy(), nan=10.0)
    return wind + np.random.default_rng(6).normal(0, 3, table.num_rows) > 11


def matrix(table: pa.Table) -> Any:
    columns = [c.to_pylist() if pa.types.is_string(c.type) else c.to_numpy() for c in table.columns]
    return np.array(columns, dtype=object if {"town", "place"} & {*table.column_names} else float).T


def fitted(model: Any, *columns: str, nulls: float = 0.05) -> tuple[Any, pa.Table]:
    table = data(nulls=nulls).select(list(columns))
    return model.fit(matrix(table), late(data(nulls=nulls))), table


def trees(**more: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=5, early_stopping=False, random_state=0, **more)


def towns(encode: Any, model: Any) -> Any:
    return make_pipeline(make_column_transformer((encode, [0]), remainder="passthrough"), model)


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=50)


def outcome(model: Any, table: pa.Table, folder: Path) -> agreement.Agreed:
    """Convert in this process, and compare in two of their own, as the operation does."""
    given, made = folder / "model.skops", folder / "model.onnx"
    skops.io.dump(model, given)
    kinds = {name: "text" if name in {"town", "place"} else "number" for name in table.column_names}
    made.write_bytes(converter.converted(given.read_bytes(), TRUSTED, [[name, kind] for name, kind in kinds.items()]))
    before, after = files.payload(given, **kinds), files.payload(made, **kinds)  # type: ignore[arg-type]
    with (
        scoring.Scorer(before, given, scratch=folder) as one,
        scoring.Scorer(after, made, scratch=folder) as other,
    ):
        return compare(one.score, other.score, table, before.inputs, lambda _: None)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (towns(ordinal(), trees()), ("town", *NUMBERS)),
        (trees(), NUMBERS),
        (make_pipeline(SimpleImputer(), RandomForestClassifier(10, max_depth=6, random_state=0)), NUMBERS),
        (make_pipeline(StandardScaler(), LogisticRegression()), ("year",)),
        (towns(OneHotEncoder(sparse_output=False), trees()), ("town", "height")),
    ],
    ids=["text and trees", "trees of numbers", "forest", "one column", "both refuse an unseen text"],
)
def test_what_answers_alike_is_one_model(model: Any, columns: tuple[str, ...], tmp_path: Path) -> None:
    agreed = outcome(*fitted(model, *columns), tmp_path)
    assert agreed.rows == ROWS
    assert agreed.edges > 0
    assert agreed.largest < 1e-6


def seconds(rows: int = ROWS) -> tuple[Any, pa.Table]:
    """Trees over seconds since 1970, which 32-bit floats tell apart by two minutes only."""
    at = 1_700_000_000.0 + np.arange(rows)
    model = trees().fit(at.reshape(-1, 1), np.arange(rows) < rows // 2 + 10)
    return model, pa.table({"at": pa.array(at)})


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (seconds, "rows differ by more than 1e-05"),
        (
            lambda: fitted(DecisionTreeClassifier(max_depth=8, random_state=0), "wind", "height"),
            "differ by more than 1e-05",
        ),
        (lambda: fitted(towns(ordinal(), trees()), "place", "wind"), "differ by more than 1e-05"),
        (
            lambda: fitted(RandomForestClassifier(5, max_depth=4, random_state=0), "wind", "height", nulls=0.0),
            "with no value in 'wind' 20 of 20 rows differ by more than 1e-05",
        ),
        (
            lambda: fitted(GradientBoostingClassifier(n_estimators=5), "wind", "height", nulls=0.0),
            "with no value in 'wind' the given model refuses, and the converted one would answer",
        ),
    ],
    ids=["thresholds too near", "nulls go the other way", "null is a category", "nulls seen never", "refused nulls"],
)
def test_what_does_not_answer_alike_is_told(made: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(Disagreement, match=why):
        outcome(*made(), tmp_path)


def test_one_row_in_ten_thousand_is_enough_to_refuse_and_too_few_rows_are_none() -> None:
    table = data().select(["height"])
    inputs = Input(name="height", type="number")

    def given(rows: pa.Table) -> Any:
        return np.full(rows.num_rows, 0.25)

    def made(rows: pa.Table) -> Any:
        return given(rows) + np.where(rows["height"].to_numpy() == table["height"][11_111].as_py(), 2e-5, 9e-6)

    with pytest.raises(Disagreement, match=r"1 of 2,000 rows differ by more than 1e-05, by 2e-05 at most"):
        compare(given, made, table, [inputs], lambda _: None)
    assert compare(given, given, table.slice(0, 10_000), [inputs], lambda _: None).rows == 10_000
    with pytest.raises(Disagreement, match="9,999 rows to compare on, 10,000 are needed"):
        compare(given, given, table.slice(0, 9_999), [inputs], lambda _: None)


# the converter's process


def given(model: Any, folder: Path, **kinds: Any) -> tuple[Model, Path]:
    path = files.dumped(model, folder / "model.skops")
    return files.payload(path, **kinds), path


def other_version(path: Path) -> None:
    """Say in a skops file that another scikit-learn made it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = members["schema.json"].replace(json.dumps(json.dumps("1.9.1")).encode(), b'"\\"1.6.0\\""')
    assert schema != members["schema.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, schema if name == "schema.json" else body)


def test_the_converter_is_kept_in_and_its_file_is_one_that_is_let_in(tmp_path: Path) -> None:
    payload, path = given(files.town_model(), tmp_path, town="text", wind="number")
    body, guards = conversion.converted(payload, path, OURS, scratch=tmp_path)
    _, _, same = scoring.describe(path, scratch=tmp_path)
    assert guards == same
    assert set(guards) <= set(jail.GUARDS)
    found = formats.inspect_bytes(body)
    assert (found.format, found.inputs) == ("onnx", ("town", "wind"))


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"cpu_s": 1}, "the converter was ended by SIG(KILL|XCPU)"),
        ({"answer_s": 0.01}, "the converter did not end within 0.01 s"),
        ({"memory_bytes": 64 << 20}, "the converter (says: MemoryError|ended with code|was ended)"),
    ],
)
def test_a_converter_that_is_stopped_leaves_the_given_file(limits: Any, why: str, tmp_path: Path) -> None:
    payload, path = given(files.town_model(), tmp_path, town="text", wind="number")
    with pytest.raises(conversion.Stays, match=why):
        conversion.converted(payload, path, OURS, scratch=tmp_path, limits=conversion.Limits(**limits))


def test_a_model_of_another_scikit_learn_is_not_converted(tmp_path: Path) -> None:
    path = files.dumped(LogisticRegression().fit([[0.0], [1.0]], [False, True]), tmp_path / "old.skops")
    other_version(path)
    with pytest.raises(converter.OtherVersion, match=r"made with scikit-learn 1\.6\.0, the converter has 1\.9\.1"):
        converter.converted(path.read_bytes(), TRUSTED, [["x", "number"]])


def test_the_lock_is_one_and_has_the_libraries_that_models_are_made_with() -> None:
    converters = {pin.name: pin.version for pin in parse(conversion.LOCK.read_text(encoding="utf-8")).pins}
    assert int(converters["protobuf"].partition(".")[0]) < 6
    text = Path("requirements/local.txt").read_text(encoding="utf-8")
    ours = dict(line.split(" ")[0].split("==") for line in text.splitlines() if "==" in line)
    for name in ("scikit-learn", "skops", "numpy", "scipy"):
        assert converters[name] == ours[name]


# registering


@pytest.fixture(scope="module")
def environment() -> Environment:
    """The converter's, as the lock says; kept between runs of the tests, since making it takes most of a minute."""
    try:
        return built(conversion.LOCK.read_text(encoding="utf-8"), KEPT.resolve())
    except BuildFailed as error:
        pytest.skip(f"the converter's environment cannot be made here: {error.message}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The kites, of which there are enough."""
    made = make(tmp_path_factory.mktemp("converting") / "kites")
    made.add("kites", kites(ROWS, seed=3))
    yield made
    made.platform.close()


def registered(house: House, path: Path, **more: Any) -> tuple[dict[str, Any], Conversion]:
    told = house.register(path, convert="onnx", **more)
    _, version = house.version(told["version"])
    record = MODEL.decode(version.payload).conversion
    assert record is not None
    return told, record


@pytest.mark.timeout(600)  # the first of them makes the environment
def test_where_both_agree_the_version_is_the_onnx_file(house: House, environment: Environment) -> None:
    house.platform.ground.fill(ENVIRONMENTS, lambda: Place(environment.python.parents[3]))
    path = house.model(3)
    told, record = registered(house, path)
    assert told["format"] == "onnx"
    assert record == Conversion(
        source=formats.inspect(path).sha256,
        environment=environment.digest,
        data="dataset/kites:4",
        rows=ROWS,
        edges=record.edges,
        largest=record.largest,
    )
    assert 0 < record.largest < 1e-6
    assert told["conversion"].startswith(f"from {record.source}: 12,000 rows of dataset/kites:4 and ")
    assert told["inputs"] == ["town text", "wind number"]
    # It is judged, signed and asked as any other, and answers what the given one would.
    assert house.call("model.verify", thing=f"delay:{told['version']}")["sound"]
    house.promote(told["version"])
    house.predict(into="converted")
    given_one = house.register(path)
    assert (given_one["format"], given_one["conversion"]) == ("skops", "")
    house.promote(given_one["version"])
    house.predict(into="given")
    one, other = (house.table(f"{name}@main")["probability"].to_numpy() for name in ("converted", "given"))
    assert np.abs(one - other).max() < 1e-6


STAYS = {
    "unknown": (
        lambda: make_pipeline(DummyClassifier(strategy="prior")).fit(*files.towns()),
        {},
        "not converted: the converter says: MissingShapeCalculator",
    ),
    "different": (
        lambda: towns(OneHotEncoder(), CalibratedClassifierCV(LogisticRegression(), method="isotonic")).fit(
            *files.towns(2_000)
        ),
        {},
        "not converted: .*(differ by more than|would answer)",
    ),
    "few": (
        files.town_model,
        {"run": "", "inputs": ["kites:1"]},
        "not converted: 400 rows to compare on, 10,000 are needed",
    ),
    "none": (
        files.town_model,
        {"run": "", "columns": [{"name": "town", "type": "text"}, {"name": "gust", "type": "number"}]},
        r"not converted: no rows to compare on: none of its data has all of its columns \(no data is named\)",
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", STAYS)
def test_else_the_given_file_stays_and_the_version_says_why(
    case: str, house: House, environment: Environment, tmp_path: Path
) -> None:
    house.platform.ground.fill(ENVIRONMENTS, lambda: Place(environment.python.parents[3]))
    model, more, why = STAYS[case]
    path = files.dumped(model(), tmp_path / "model.skops")
    told, record = registered(house, path, **more)
    assert told["format"] == "skops"
    assert told["sha256"] == record.source == formats.inspect(path).sha256
    assert bool(record.environment) == (case in {"unknown", "different"})
    assert re.match(why, told["conversion"])
    assert house.call("model.verify", thing=f"delay:{told['version']}")["sound"]


def test_where_its_environment_cannot_be_made_the_file_stays(house: House, tmp_path: Path) -> None:
    (tmp_path / "environments").write_text("no folder")
    house.platform.ground.fill(ENVIRONMENTS, lambda: Place(tmp_path / "environments"))
    told, _ = registered(house, house.model(3))
    assert told["format"] == "skops"
    assert told["conversion"].startswith("not converted: its environment cannot be made: ")
    assert list(house.platform.ground.scratch.iterdir()) == []
