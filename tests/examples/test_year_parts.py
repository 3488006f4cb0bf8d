"""The parts of the play that can be tried by themselves: scores, requests, the project's files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from examples.flights.year import scores
from examples.flights.year.asking import key_of, requests_of
from examples.flights.year.files import HERE
from examples.flights.year.play import ABOUT
from falaj.deploy.reading import parse
from falaj.gates import parse_gate
from falaj.pipelines.define import defined_in
from falaj.triggers.records import parse_trigger


def drawn(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.round(rng.beta(1, 5, rows), 2)
    return chance, (rng.random(rows) < chance).astype(float)


def test_scores_are_those_of_scikit_learn():
    chance, late = drawn(np.random.default_rng(1), 500)
    assert scores.auc(chance, late).value == pytest.approx(roc_auc_score(late, chance))
    assert scores.brier(chance, late).value == pytest.approx(brier_score_loss(late, chance))


def test_intervals_hold_what_they_say():
    """Of 300 samples, about 95 in a hundred hold the true value."""
    rng = np.random.default_rng(2)
    big, truth = drawn(rng, 400_000)
    auc, brier = roc_auc_score(truth, big), brier_score_loss(truth, big)
    held = [0, 0]
    for _ in range(300):
        chance, late = drawn(rng, 600)
        one, other = scores.auc(chance, late), scores.brier(chance, late)
        held[0] += one.low <= auc <= one.high
        held[1] += other.low <= brier <= other.high
    assert all(275 <= number <= 298 for number in held)


def test_the_auc_of_one_class_is_undefined():
    assert scores.auc(np.array([0.1, 0.2]), np.zeros(2)) is None


def test_a_difference_is_positive_where_the_first_is_better():
    late = np.array([1.0, 0.0] * 50)
    told = scores.brier_difference(np.where(late, 0.9, 0.1), np.full(100, 0.5), late)
    assert (told.value, told.low > 0) == (pytest.approx(0.24), True)


@given(rows=st.integers(0, 200), alone=st.integers(0, 80), batch=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_every_flight_is_asked_about_once(rows, alone, batch):
    one = {"year": 2013, "month": 4, "day": 1, "carrier": "AA", "origin": "JFK"}
    flights = [{**one, "flight": number} for number in range(rows)]
    found = requests_of(flights, "2013-04", alone=alone, batch=batch)
    assert sorted(key_of(row) for asked, _ in found for row in asked) == sorted(key_of(row) for row in flights)
    assert len({client for _, client in found}) == len(found)
    assert all(len(asked) <= batch or len(asked) == 1 for asked, _ in found)


def test_the_projects_files_are_read():
    gate = parse_gate((HERE / "gates" / "production.yaml").read_text())
    assert gate.guards == ("delay@production",)
    assert {"no_leakage", "lineage_complete", "signature", "format"} <= {
        getattr(one, "check", "") for one in gate.rules
    }
    deployment = parse((HERE / "deploy" / "production.yaml").read_text())
    assert (deployment.name, deployment.model) == ("delay", "delay@production")
    assert deployment.rollout.canary[-1] == 10_000
    name, trigger = parse_trigger((HERE / "triggers.yaml").read_text())
    assert (name, trigger.propose, trigger.principal) == ("retrain-delay", "model/delay@production", "retrainer")
    assert ABOUT.label == gate.evidence.label


def test_the_pipelines_are_what_they_say():
    found = {one.pipeline: one for one in defined_in(HERE / "pipeline.py")}
    assert set(found) == {"delay", "variants", "strict"}
    assert [node.id for node in found["delay"].nodes] == ["training_set", "train", "evaluate", "best", "register"]
    assert {service.service for service in found["delay"].services} == {"delay_v1"}
