"""Models in memory give what the estimator gives, read what the bundle says, and are refused where they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.core.bundle import BundleInput, BundleRefused
from falaj.serving import engines
from falaj.serving.engines import Engine
from falaj.serving.errors import ModelFailed
from falaj.serving.inputs import Table, bind
from tests.models import files
from tests.serving.places import NUMBERS, TOWN, Place, X, kite, picky, sigmoid, windy


def loaded(place: Place, data: bytes, inputs: tuple[BundleInput, ...] = TOWN) -> Engine:
    place.add(9, data, inputs)
    engine = engines.load(place.models["9"], data, "version 9")
    engine.warm()
    return engine


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return loaded(Place(tmp_path_factory.mktemp("engines")), kite())


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["Sur", "Nizwa", "Muscat", ""]), st.floats(-50, 50)), min_size=1, max_size=9))
def test_skops_gives_what_the_estimator_gives(towns, rows):
    columns = bind(
        TOWN, Table(len(rows), named={"town": [t for t, _ in rows], "wind": [w for _, w in rows]}), nulls=towns.nulls
    )
    expected = files.town_model().predict_proba(np.array(rows, dtype=object))[:, 1]
    assert towns.score(columns, len(rows)) == pytest.approx(list(expected))


def test_onnx_of_one_tensor_and_of_a_tensor_for_each_input(tmp_path):
    place = Place(tmp_path)
    assert loaded(place, sigmoid(), X).score([[0.0, 2.0]], 2) == pytest.approx([0.5, 1 / (1 + np.exp(-2))])
    assert loaded(place, windy(0.5), NUMBERS).score([[1, 2], [0.0, 4.0]], 2) == pytest.approx(
        [0.5, 1 / (1 + np.exp(-2))]
    )


def test_what_cannot_read_a_null_is_known_before_anybody_sends_one(tmp_path, towns):
    assert towns.nulls == (True, False), "its encoder knows None, its regression no NaN"
    assert loaded(Place(tmp_path), windy(), NUMBERS).nulls == (False, False)


def test_an_answer_that_is_no_probability_is_none(tmp_path):
    double = files.graph([files.helper.make_node("Add", ["x", "x"], ["y"])], inputs={"x": files.FLOAT})
    engine = loaded(Place(tmp_path), double, X)
    assert engine.score([[0.25]], 1) == [0.5]
    for wrong in (2.0, -1.0, float("nan")):
        with pytest.raises(ModelFailed):
            engine.score([[wrong]], 1)


def test_a_failure_tells_no_value(tmp_path):
    engine = loaded(Place(tmp_path), picky(), NUMBERS)
    with pytest.raises(ModelFailed) as caught:
        engine.score([[123456], [1.0]], 1)
    assert "123456" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "inputs"),
    [
        (kite(), X),
        (sigmoid(), TOWN),
        (windy(), NUMBERS[:1] + X),
        (windy(), TOWN),
        (b"PK\x05\x06" + bytes(18), TOWN),
        (b"\x08", X),
        (b"", X),
        (b"\x80\x04.", X),
    ],
    ids=[
        "another width",
        "width of one tensor",
        "other names",
        "text for a number",
        "an empty zip",
        "cut",
        "nothing",
        "a pickle",
    ],
)
def test_what_is_not_the_model_that_the_bundle_names(tmp_path, data, inputs):
    with pytest.raises(BundleRefused, match="version 9"):
        loaded(Place(tmp_path), data, inputs)
