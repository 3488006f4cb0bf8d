"""Outcomes: each joins its prediction once, as it was first known; nothing is dropped, doubled or guessed."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest

from falaj.core.errors import Invalid
from falaj.monitor.labelling import COLUMNS
from tests.monitor.watched import DEPLOYMENT, Deployed, asked, kites, written


def with_label(table: pa.Table, late: list[bool | None]) -> pa.Table:
    return table.set_column(table.column_names.index("late"), "late", pa.array(late, pa.bool_()))


def test_an_outcome_joins_its_prediction_by_its_key_as_soon_as_it_is_known(deployed: Deployed) -> None:
    july = kites(40, seed=5, start=500)
    lines = asked(july)
    written(deployed.log, lines)
    deployed.collect()
    early = deployed.labels()
    assert early["counts"] == {**NOTHING, "predictions": 40, "waiting": 40}
    assert (early["version"], early["entry_id"]) == (None, "")

    deployed.outcomes(july.slice(0, 30))
    first = deployed.labels()
    assert first["counts"] == {**NOTHING, "predictions": 40, "joined": 30, "waiting": 10}
    assert (first["version"], first["previous"]) == (1, None)

    deployed.outcomes(july)
    second = deployed.labels()
    assert second["counts"] == {**NOTHING, "predictions": 40, "before": 30, "joined": 10}
    found = deployed.table("delay_labelled")
    assert found.column_names == [column.name for column in COLUMNS]
    labels = dict(zip(july["id"].to_pylist(), july["late"].to_pylist(), strict=True))
    assert found["label"].to_pylist() == [labels[int(key)] for key in found["key"].to_pylist()]
    assert sorted(found["prediction"].to_pylist()) == [line.id for line in lines]
    outputs = {line.id: line.output for line in lines}
    assert found["output"].to_pylist() == [outputs[one] for one in found["prediction"].to_pylist()]
    assert {at.replace(tzinfo=UTC).date() for at in found["joined_at"].to_pylist()} <= {datetime.now(UTC).date()}


NOTHING = {
    "predictions": 0, "before": 0, "joined": 0, "without": 0, "waiting": 0, "ambiguous": 0, "keyless": 0, "failed": 0,
    "expired": 0,
}  # fmt: skip


def test_what_has_no_outcome_is_one_file_and_what_was_read_is_not_needed_again(deployed: Deployed) -> None:
    july = kites(60, seed=5, start=500)
    lines = asked(july)
    lines[0] = msgspec.structs.replace(lines[0], key="")
    for part in (lines[:20], lines[20:40]):
        written(deployed.log, part)
        deployed.collect()
        deployed.outcomes(july.slice(0, 10))
        deployed.labels()
    counts = {**NOTHING, "predictions": 40, "before": 9, "waiting": 30, "keyless": 1}
    assert deployed.labels()["counts"] == counts
    assert len(deployed.call("data.files", thing="delay_waiting@main")["files"]) == 1
    assert deployed.call("asset.show", thing="delay_waiting@main")["shown"]["version"] == 2
    # Whatever becomes of predictions that were read, those without an outcome are known from their own file.
    deployed.call("ref.rollback", thing="delay_predictions@main")
    deployed.outcomes(july)
    assert deployed.labels()["counts"] == {**counts, "joined": 30, "waiting": 0}


def test_outcomes_that_are_not_held_any_more_are_joined_again(deployed: Deployed) -> None:
    july = kites(40, seed=5, start=500)
    written(deployed.log, asked(july))
    deployed.collect()
    for known in (10, 30):
        deployed.outcomes(july.slice(0, known))
        deployed.labels()
    deployed.call("ref.rollback", thing="delay_labelled@main")
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 40, "before": 10, "joined": 20, "waiting": 10}
    assert len(set(deployed.table("delay_labelled")["prediction"].to_pylist())) == 30


def test_what_was_cancelled_has_no_outcome_and_none_is_made_up(deployed: Deployed) -> None:
    july = kites(40, seed=5, start=500)
    late = july["late"].to_pylist()
    written(deployed.log, asked(july))
    deployed.collect()
    deployed.outcomes(with_label(july, [None] * 10 + late[10:]))
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 40, "joined": 30, "without": 10}
    deployed.outcomes(july)  # known after all
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 40, "before": 30, "joined": 10}


def test_an_outcome_stays_as_it_was_first_known(deployed: Deployed) -> None:
    july = kites(40, seed=5, start=500)
    late = july["late"].to_pylist()
    written(deployed.log, asked(july))
    deployed.collect()
    deployed.outcomes(july)
    deployed.labels()
    deployed.outcomes(with_label(july, [not one for one in late]))
    again = deployed.labels()
    assert (again["counts"]["before"], again["counts"]["joined"], again["version"]) == (40, 0, 1)
    labels = dict(zip(july["id"].to_pylist(), late, strict=True))
    found = deployed.table("delay_labelled")
    assert found["label"].to_pylist() == [labels[int(key)] for key in found["key"].to_pylist()]


def test_outcomes_that_contradict_each_other_are_told_and_not_chosen_from(deployed: Deployed) -> None:
    july = kites(40, seed=5, start=500)
    late = july["late"].to_pylist()
    written(deployed.log, asked(july))
    deployed.collect()
    same, other = july.slice(0, 5), with_label(july.slice(5, 5), [not one for one in late[5:10]])
    contract = deployed.house.call("data.contract", thing="kites")
    assert any("id" in rule for rule in contract["rules"])  # unique by contract, so they come by another dataset
    deployed.house.apply("contracts/landed.yaml", LANDED)
    deployed.house.add("landed", pa.concat_tables([july, same, other]))
    deployed.house.apply("deploy/production.yaml", DEPLOYMENT.replace("kites@main", "landed@main"))
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 40, "joined": 35, "ambiguous": 5}


LANDED = """\
apiVersion: v3.1.0
kind: DataContract
id: landed
name: landed
version: 1.0.0
status: active
schema:
  - name: landed
    properties:
      - {name: id, logicalType: integer}
      - {name: town, logicalType: string}
      - {name: wind, logicalType: number}
      - {name: flown, logicalType: date}
      - {name: late, logicalType: boolean}
"""


def test_the_same_thing_asked_twice_is_two_predictions_with_one_outcome_each(deployed: Deployed) -> None:
    july = kites(20, seed=5, start=500)
    lines = [*asked(july), *asked(july)]
    batch = [msgspec.structs.replace(line, id=lines[0].id, row=place) for place, line in enumerate(lines)]
    written(deployed.log, batch)
    deployed.collect()
    deployed.outcomes(july)
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 40, "joined": 40}
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 40, "before": 40}


def test_a_shadow_and_a_canary_that_failed_have_outcomes_of_their_own(deployed: Deployed) -> None:
    july = kites(20, seed=5, start=500)
    lines = asked(july)
    shadows = [msgspec.structs.replace(line, role="shadow") for line in lines]
    fallen = [msgspec.structs.replace(line, role="canary", output=None, error="it failed") for line in lines[:5]]
    written(deployed.log, [*fallen, *lines, *shadows])
    deployed.collect()
    deployed.outcomes(july)
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 45, "joined": 40, "failed": 5}
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 45, "before": 40, "failed": 5}


def test_predictions_without_key_or_probability_are_counted_and_never_joined(deployed: Deployed) -> None:
    july = kites(40, seed=5, start=500)
    lines = asked(july)
    lines[0] = msgspec.structs.replace(lines[0], key="")
    lines[1] = msgspec.structs.replace(lines[1], output=None, error="it failed")
    lines[2] = msgspec.structs.replace(lines[2], version=99)  # a version that the catalog does not know has no label
    written(deployed.log, lines)
    deployed.collect()
    deployed.outcomes(july)
    assert deployed.labels()["counts"] == {
        **NOTHING, "predictions": 40, "joined": 37, "keyless": 1, "failed": 1, "waiting": 1,
    }  # fmt: skip


def test_keys_of_several_columns_are_joined_by_a_slash(deployed: Deployed) -> None:
    july = kites(30, seed=5, start=500)
    keys = [
        f"{town}/{flown}/{key}"
        for town, flown, key in zip(*(july[c].to_pylist() for c in ("town", "flown", "id")), strict=True)
    ]
    lines = [msgspec.structs.replace(line, key=key) for line, key in zip(asked(july), keys, strict=True)]
    written(deployed.log, lines)
    deployed.collect()
    deployed.outcomes(july)
    deployed.house.apply("deploy/production.yaml", DEPLOYMENT.replace("[id]", "[town, flown, id]"))
    assert deployed.labels()["counts"] == {**NOTHING, "predictions": 30, "joined": 30}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEPLOYMENT.replace("labels: {data: kites@main, key: [id]}\n", ""), "does not say where outcomes come from"),
        (DEPLOYMENT.replace("[id]", "[id, kite]"), "no column 'kite'"),
    ],
)
def test_a_deployment_that_cannot_be_joined_says_why(deployed: Deployed, text: str, words: str) -> None:
    written(deployed.log, asked(kites(20, seed=5)))
    deployed.collect()
    deployed.house.apply("deploy/production.yaml", text)
    with pytest.raises(Invalid, match=words):
        deployed.labels()


def test_whatever_the_order_in_which_predictions_and_outcomes_come_the_sum_is_the_same(
    deployed: Deployed, rng: random.Random
) -> None:
    july = kites(60, seed=5, start=500)
    late = [rng.choice([True, False, None]) for _ in range(60)]
    lines, known = asked(july), with_label(july, late)
    for cut in sorted(rng.sample(range(1, 60), 3)):
        written(deployed.log, lines[:20] if cut % 2 else lines[20:40])
        lines = lines[20:] if cut % 2 else [*lines[:20], *lines[40:]]
        deployed.collect()
        deployed.outcomes(known.slice(0, cut))
        counts = deployed.labels()["counts"]
        assert counts["predictions"] == sum(value for word, value in counts.items() if word != "predictions")
        kept = [deployed.table(name)["prediction"].to_pylist() for name in ("delay_labelled", "delay_waiting")]
        assert sorted(kept[0] + kept[1]) == sorted(deployed.table("delay_predictions")["prediction"].to_pylist())
    deployed.outcomes(known)
    counts = deployed.labels()["counts"]
    asked_about = set(deployed.table("delay_predictions")["key"].to_pylist())
    labels = {str(key): one for key, one in zip(july["id"].to_pylist(), late, strict=True)}
    found = deployed.table("delay_labelled")
    assert dict(zip(found["key"].to_pylist(), found["label"].to_pylist(), strict=True)) == {
        key: one for key, one in labels.items() if one is not None and key in asked_about
    }
    assert (counts["predictions"], counts["waiting"]) == (len(asked_about), 0)
