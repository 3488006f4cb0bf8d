"""Pipelines on a server, on both databases: who may run what, on which data, and whom a cancel reaches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.core.errors import Conflict, Forbidden, Invalid, NotFound
from falaj.pipelines.define import defined_in
from falaj.pipelines.errors import PipelineInvalid
from tests.pipelines.house import HEAD, states
from tests.platform.places import Person, Served, contract, make_place, rows, serve

PIPELINE = (
    HEAD
    + """
@fj.step
def count(flights: fj.Dataset) -> int: return flights.table().num_rows

@fj.step
def twice(n: int) -> int: return 2 * n

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main")):
    twice(count(flights))
"""
)


@pytest.fixture
def served(tmp_path: Path, database_address: str) -> Iterator[Served]:
    made = serve(make_place(tmp_path / "flights"), database_address)
    made.owner.call("config.apply", files=[contract()])
    made.owner.call("data.add", dataset="flights", files=[made.owner.stage(rows(tmp_path / "rows.csv"))])
    yield made
    made.platform.close()


def keep(who: Person, folder: Path, **more: Any) -> Any:
    file = folder / "pipeline.py"
    file.write_text(PIPELINE, encoding="utf-8")
    (graph,) = defined_in(file)
    source = folder / "source.json"
    source.write_text(json.dumps({"pipeline.py": PIPELINE}), encoding="utf-8")
    args = {"graph": msgspec.to_builtins(graph), "source": who.stage(source), **more}
    return who.call("pipeline.apply", **args)


def test_a_contributor_runs_and_another_takes_what_was_committed(served: Served, tmp_path: Path) -> None:
    sara = served.person("sara", ("contributor", "project:flights"))
    assert keep(sara, tmp_path).outcome == "added"
    assert keep(sara, tmp_path).outcome == "unchanged"
    told = sara.call("pipeline.run", pipeline="p")
    assert states(told) == {"count": "done", "twice": "done"}
    omar = served.person("omar", ("contributor", "project:flights"))
    assert set(states(omar.call("pipeline.run", pipeline="p")).values()) == {"cached"}
    assert omar.call("run.reproduce", run=told.run).ok
    with pytest.raises(Conflict, match="is done"):
        omar.call("run.cancel", run=told.run)
    assert served.owner.call("ledger.verify", project="").ok


def test_who_may_not_read_the_data_gets_no_result_that_was_made_from_it(served: Served, tmp_path: Path) -> None:
    keep(served.owner, tmp_path)
    served.owner.call("pipeline.run", pipeline="p")
    eve = served.person("eve", ("contributor", "asset:flights/pipeline/p"))
    with pytest.raises(NotFound):
        eve.call("pipeline.run", pipeline="p")
    vera = served.person("vera", ("viewer", "project:flights"))
    with pytest.raises(Forbidden):
        vera.call("pipeline.run", pipeline="p")
    with pytest.raises(NotFound):  # nor may she bring any bytes
        keep(vera, tmp_path)
    # On one pipeline alone: it is run, by Falaj; a run of it is not lent, since nobody else could work on it.
    mona = served.person("mona", ("viewer", "project:flights"), ("contributor", "asset:flights/pipeline/p"))
    assert mona.call("pipeline.run", pipeline="p").cached == 2
    with pytest.raises(Forbidden, match="as contributor on the project"):
        mona.call("pipeline.begin", pipeline="p")
    assert not [one for one in mona.call("run.list").items if one.state == "running"]


def test_source_that_is_none_is_refused_and_nothing_is_kept(served: Served, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    (graph,) = defined_in(tmp_path / "pipeline.py")
    file = tmp_path / "source.json"
    for source in ({}, {"../pipeline.py": ""}, {"pipeline.py": 1}, []):
        file.write_text(json.dumps(source), encoding="utf-8")
        with pytest.raises((PipelineInvalid, Invalid)):
            served.owner.call("pipeline.apply", graph=msgspec.to_builtins(graph), source=served.owner.stage(file))
    with pytest.raises(NotFound):
        served.owner.call("pipeline.show", pipeline="p")
