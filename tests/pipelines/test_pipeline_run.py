"""Running pipelines: what steps see and hand back, and that nothing committed is computed again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.pipelines.house import Project, states

COUNT = """
@fj.step
def table(flights: fj.Dataset, *, more: int = 0) -> fj.Table:
    print("reading")
    return flights.sql("SELECT id, city FROM flights WHERE id >= 1")

@fj.step
def count(data: fj.Table, *, times: int) -> int:
    fj.log({"words": "some"}, rows=data.num_rows)
    return data.num_rows * times

@fj.step
def total(counts: list[int]) -> dict:
    return {"total": sum(counts), "of": len(counts)}

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), times: tuple[int, ...] = (1, 2, 3)):
    total(count.map(data=table(flights), times=times))
"""


def test_a_pipeline_runs_and_then_computes_nothing(project: Project) -> None:
    first = project.run(COUNT)
    assert states(first) == {
        "table": "done",
        "count[1]": "done",
        "count[2]": "done",
        "count[3]": "done",
        "total": "done",
    }
    assert project.value(first, "total") == {"total": 24, "of": 3}
    again = project.run()
    assert set(states(again).values()) == {"cached"}
    assert (again.computed, again.cached) == (0, 5)
    assert [s.output for s in again.steps] == [s.output for s in first.steps]
    # Other values of a parameter: what they do not touch is not computed.
    other = project.run(times=[3, 4])
    assert states(other) == {"table": "cached", "count[3]": "cached", "count[4]": "done", "total": "done"}


def test_new_data_and_changed_code_are_computed(project: Project) -> None:
    project.run(COUNT)
    project.add_data(0, 3)
    newer = project.run(times=[1])
    assert states(newer) == {"table": "done", "count[1]": "done", "total": "done"}
    changed = project.run(COUNT.replace("data.num_rows * times", "data.num_rows * times + 1"), times=[1])
    assert states(changed) == {"table": "cached", "count[1]": "done", "total": "done"}
    # Equal outputs are one to what comes after: a change that changes nothing ends there.
    same = project.run(
        COUNT.replace("id >= 1", "id > 0").replace("data.num_rows * times", "data.num_rows * times + 1"), times=[1]
    )
    assert states(same) == {"table": "done", "count[1]": "cached", "total": "cached"}


def test_a_step_is_a_run_with_its_lineage(project: Project) -> None:
    told = project.run(COUNT, times=[2])
    (count,) = [step for step in told.steps if step.step == "count"]
    nodes = project.call("asset.lineage", thing=count.output).nodes
    assert {(n.kind, n.name) for n in nodes if n.depth == 1} == {("artifact", "p.table"), ("pipeline", "p")}
    assert ("dataset", "flights") in {(n.kind, n.name) for n in nodes}
    run = project.call("run.show", run=nodes[0].run)
    assert (run.sort, run.name, run.state, run.metrics) == ("step", "p.count[2]", "done", {"rows": 4.0})
    assert run.params["words"] == "some"
    assert run.params["times"] == "2"
    assert project.call("ledger.verify").ok


MODELS = """
import numpy as np
from sklearn.linear_model import LogisticRegression

@fj.step
def rows(flights: fj.Dataset) -> fj.Table:
    return flights.sql("SELECT id::DOUBLE AS x, id > 2 AS late FROM flights ORDER BY id")

@fj.step
def train(data: fj.Table, *, c: float) -> fj.Model:
    fj.log(drawn=np.random.random())
    return LogisticRegression(C=c).fit(np.array([data["x"]]).T, np.array(data["late"]))

@fj.step
def evaluate(model: fj.Model, data: fj.Table) -> fj.Metrics:
    wrong = np.abs(model.predict_proba(np.array([data["x"]]).T)[:, 1] - np.array(data["late"]))
    return {"error": wrong.mean(), "by": {"all": 1}}

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main"), c: tuple[float, ...] = (0.01, 10.0)):
    data = rows(flights)
    models = train.map(data=data, c=c)
    best = fj.best(models, evaluate.map(model=models, data=data), by="error", least=True)
    fj.register("late", best, label="id > 2", columns=["x"])
"""


def test_the_best_model_is_registered_once_and_signed(project: Project) -> None:
    """Two runs at once, as when somebody repeats a command whose answer broke off while its run goes on."""
    project.write(MODELS)
    project.apply()
    with ThreadPoolExecutor(2) as pool:
        both = [told.result() for told in [pool.submit(project.run) for _ in range(2)]]
    assert [told.registered for told in both] == [("model/late:1",)] * 2
    assert sum(told.computed for told in both) == 6
    with project.platform.ground.database.read() as tx:
        assert list(tx.rows("SELECT key FROM step WHERE state = 'done' GROUP BY key HAVING count(*) > 1", {})) == []
    shown = project.call("asset.show", thing="model/late:1").shown
    assert [(i["name"], i["type"]) for i in shown.payload["inputs"]] == [("x", "number")]
    assert shown.payload["label"] == "id > 2"
    used = {one["thing"] for one in shown.payload["data"]}
    assert used == {"artifact/p.rows:1", "pipeline/p:1", "dataset/flights:1"}
    # The better of the two is the one with the weaker penalty.
    nodes = project.call("asset.lineage", thing="model/late:1").nodes
    run = project.call("run.show", run=nodes[0].run)
    assert run.params["c"] == "10.0"
    assert project.call("model.verify", thing="late:1").sound
    again = project.run()
    assert set(states(again).values()) == {"cached"}
    assert again.registered == ("model/late:1",)
    # Asked to be converted it is another version, of the same result: the given file, since five rows show nothing.
    for _ in range(2):
        told = project.run(MODELS.replace('columns=["x"])', 'columns=["x"], convert="onnx")'))
        assert told.registered == ("model/late:2",)
    payload = project.call("asset.show", thing="model/late:2").shown.payload
    assert payload["conversion"]["source"] == payload["files"][0]["sha256"] == shown.payload["files"][0]["sha256"]
    assert payload["conversion"]["refused"] == "5 rows to compare on, 10,000 are needed"


CHANCE = """
import os, random

@fj.step
def drawn() -> list[float]:
    import numpy as np
    return [random.random(), float(np.random.random()), len({"a", "b"}) * 1.0]

@fj.step
def free(a: list[float]) -> str: return os.urandom(8).hex()

@fj.step
def total(a: list[float], *, more: int) -> float:
    fj.log(total=sum(a) + more)
    print("adding")
    return sum(a) + more

@fj.pipeline
def p(more: int = 1):
    a = drawn()
    total(a, more=more)
    free(a)
"""


def test_a_run_is_explained_compared_and_computed_again(project: Project) -> None:
    first = project.run(CHANCE)
    told = project.call("run.explain", run=first.run)
    assert {(e.step.step, e.step.state, e.because) for e in told.steps} == {
        ("drawn", "done", ("the first time",)),
        ("total", "done", ("the first time",)),
        ("free", "done", ("the first time",)),
    }
    assert [e.step.log for e in told.steps if e.step.step == "total"] == ["adding\n"]
    second = project.run(more=2)
    told = project.call("run.explain", run=second.run)
    assert {(e.step.step, e.step.state, e.because) for e in told.steps} == {
        ("drawn", "cached", ("committed before",)),
        ("free", "cached", ("committed before",)),
        ("total", "done", ("more changed",)),
    }
    compared = project.call("run.compare", run=first.run, other=second.run)
    different = {d.what: (d.one, d.other) for d in compared.differences}
    assert set(different) == {"params.params.more", "total output", "total total"}
    # Equal keys draw equal numbers; what draws on the machine is told as what it is.
    again = project.call("run.reproduce", run=first.run)
    assert {one.step: one.same for one in again.steps} == {"drawn": True, "total": True, "free": False}
    assert (again.ok, again.environment) == (False, "same")
    assert project.call("ledger.verify").ok


LISTS = """
@fj.step
def words() -> list[str]: return ["a", "b", "cc"]

@fj.step
def size(word: str) -> int: return len(word)

@fj.step
def table(n: int) -> fj.Table:
    import pyarrow as pa
    return pa.table({"n": [n]})

@fj.step
def together(tables: list[fj.Table], sizes: list[int]) -> dict:
    return {"rows": [t["n"].to_pylist() for t in tables], "sizes": sizes}

@fj.step(cache=False)
def always() -> bool: return True

@fj.step(cpu=64)
def none(yes: bool) -> dict: return None

@fj.pipeline
def p():
    sizes = size.map(word=words())
    together(table.map(n=sizes), sizes)
    none(always())
"""


def test_what_a_step_returns_is_mapped_over_and_gathered(project: Project) -> None:
    told = project.run(LISTS)
    assert [s.label for s in told.steps if s.step == "table"] == ["a", "b", "cc"]
    assert project.value(told, "together") == {"rows": [[1], [1], [2]], "sizes": [1, 1, 2]}
    again = states(project.run())
    assert (again.pop("always"), set(again.values())) == ("done", {"cached"})
