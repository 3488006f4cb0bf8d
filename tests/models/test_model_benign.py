"""Models as people make them: each is let in, loads in its locked process, and answers as where it was trained."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from skl2onnx import to_onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from falaj.models.scoring import describe, score
from tests.models import files

DRAW = np.random.default_rng(7).normal(size=(120, 3)).round(3)
LATE = DRAW[:, 0] + DRAW[:, 1] > 0
HOLES = np.where(np.random.default_rng(8).random(DRAW.shape) < 0.1, np.nan, DRAW)
TOWN = np.array([["Sur"], ["Nizwa"], ["Ibra"]], dtype=object)[np.arange(120) % 3]
MIXED = np.hstack([TOWN, DRAW[:, :2].astype(object)])


def logistic(*before: Any) -> Any:
    return make_pipeline(*before, LogisticRegression())


def boosted(**settings: Any) -> Any:
    return HistGradientBoostingClassifier(max_iter=5, **settings)


NUMBERS: dict[str, Any] = {
    "logistic": LogisticRegression(),
    "logistic, lasso": LogisticRegression(l1_ratio=1.0, solver="saga", max_iter=2000),
    "logistic, weighted": LogisticRegression(class_weight="balanced"),
    "logistic, chosen C": LogisticRegressionCV(
        Cs=3, cv=3, l1_ratios=(0.0,), use_legacy_attributes=False, scoring="roc_auc"
    ),
    "standard scaler": logistic(StandardScaler()),
    "min-max scaler": logistic(MinMaxScaler()),
    "max-abs scaler": logistic(MaxAbsScaler()),
    "robust scaler": logistic(RobustScaler()),
    "quantiles": logistic(QuantileTransformer(n_quantiles=20)),
    "power transform": logistic(PowerTransformer()),
    "bins": logistic(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")),
    "polynomials": logistic(PolynomialFeatures(2)),
    "union": logistic(make_union(StandardScaler(), PolynomialFeatures(2))),
    "naive Bayes": GaussianNB(),
    "dummy": DummyClassifier(),
    "tree": DecisionTreeClassifier(max_depth=4),
    "extra tree": ExtraTreeClassifier(max_depth=4),
    "forest": RandomForestClassifier(10),
    "extra trees": ExtraTreesClassifier(10),
    "boosting": GradientBoostingClassifier(n_estimators=10),
    "boosting, exponential loss": GradientBoostingClassifier(n_estimators=10, loss="exponential"),
    "histogram boosting": boosted(),
    "histogram boosting, early stop": boosted(early_stopping=True),
    "calibrated": CalibratedClassifierCV(GaussianNB()),
    "calibrated, isotonic": CalibratedClassifierCV(DecisionTreeClassifier(max_depth=3), method="isotonic"),
}
HOLED: dict[str, Any] = {
    "imputed": logistic(SimpleImputer(), StandardScaler()),
    "imputed, with indicator": logistic(SimpleImputer(strategy="median", add_indicator=True)),
    "indicator alone": logistic(make_union(SimpleImputer(), MissingIndicator(features="all"))),
    "histogram boosting with holes": boosted(),
}
WITH_TEXT: dict[str, Any] = {
    "one-hot": logistic(make_column_transformer((OneHotEncoder(), [0]), (StandardScaler(), [1, 2]))),
    "one-hot, dense, rare ones together": logistic(
        make_column_transformer((OneHotEncoder(min_frequency=5, sparse_output=False), [0]), remainder="passthrough")
    ),
    "ordinal, boosted": make_pipeline(
        make_column_transformer((OrdinalEncoder(), [0]), remainder="passthrough"), boosted()
    ),
    "nested": logistic(
        make_column_transformer(
            (make_pipeline(OneHotEncoder(drop="first")), [0]), (make_pipeline(RobustScaler()), [1, 2])
        )
    ),
}
CASES = {
    **{name: (model, DRAW) for name, model in NUMBERS.items()},
    **{name: (model, HOLES) for name, model in HOLED.items()},
    **{name: (model, MIXED) for name, model in WITH_TEXT.items()},
}


def trained(model: Any, rows: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(rows, LATE)


def as_table(rows: np.ndarray) -> pa.Table:
    return pa.table({name: pa.array(rows[:, i].tolist(), from_pandas=True) for i, name in enumerate("abc")})


def columns(rows: np.ndarray) -> dict[str, Any]:
    return {name: "text" if isinstance(rows[0, i], str) else "number" for i, name in enumerate("abc")}


def test_there_are_at_least_thirty():
    assert len(CASES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_it_answers_as_it_did_where_it_was_trained(tmp_path, name):
    model, rows = CASES[name]
    model = trained(model, rows)
    path = files.dumped(model, tmp_path / "model.skops")
    _, about, _ = describe(path, scratch=tmp_path)
    assert about.width == 3
    told = score(files.payload(path, **columns(rows)), path, as_table(rows), scratch=tmp_path)
    np.testing.assert_allclose(told, model.predict_proba(rows)[:, 1], rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["logistic", "naive Bayes", "tree", "forest", "boosting", "standard scaler", "calibrated"]
)
def test_converted_to_onnx_it_answers_the_same_in_32_bits(tmp_path, name):
    rows = DRAW.astype(np.float32)
    model = trained(NUMBERS[name], rows)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString())
    told = score(files.payload(path, **columns(rows.astype(float))), path, as_table(rows), scratch=tmp_path)
    np.testing.assert_allclose(told, model.predict_proba(rows)[:, 1], atol=1e-5)
