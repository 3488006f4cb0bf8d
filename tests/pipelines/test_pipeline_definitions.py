"""Pipelines as people write them: what is read from a `pipeline.py`, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from falaj.pipelines.define import defined_in, source_files
from falaj.pipelines.errors import PipelineInvalid
from falaj.pipelines.records import Arg, Graph, Node
from falaj.pipelines.rules import check_graph, check_source

FEATURES = """
import falaj as fj

airport = fj.Entity("airport", keys={"origin": str})
weather = fj.FeatureView("airport_weather", entity=airport, source=fj.Dataset("weather"), time="observed_at")
delay_v1 = fj.FeatureService("delay_v1", [weather])
"""
HEAD = """
from __future__ import annotations
import falaj as fj
from features import delay_v1

print("a print does no harm")

@fj.step
def training_set(flights: fj.Dataset, *, months: int = 12) -> fj.Table:
    \"\"\"One row per flight.\"\"\"
    return fj.point_in_time(flights.sql("..."), delay_v1, at="decided_at")

@fj.step(cpu=2, memory="1GiB", retries=1, timeout="10m")
def train(data: fj.Table, *, leaves: int) -> fj.Model: ...

@fj.step
def evaluate(model: fj.Model, data: fj.Table) -> fj.Metrics: ...

@fj.step
def count(data: fj.Table) -> int: ...
"""
DELAY = """
@fj.pipeline
def delay(flights: fj.Dataset = fj.dataset("flights@main"), leaves: tuple[int, ...] = (15, 31, 63)):
    data = training_set(flights)
    models = train.map(leaves=leaves, data=data)
    best = fj.best(models, evaluate.map(model=models, data=data), by="brier", least=True)
    return fj.register("delay", best)
"""


def read(tmp_path: Path, text: str) -> tuple[Graph, ...]:
    (tmp_path / "features.py").write_text(FEATURES, encoding="utf-8")
    file = tmp_path / "pipeline.py"
    file.write_text(text, encoding="utf-8")
    return defined_in(file)


def test_a_pipeline_is_read_as_a_static_graph(tmp_path: Path) -> None:
    (graph,) = read(tmp_path, HEAD + DELAY)
    assert graph.pipeline == "delay"
    assert [(p.name, p.type, p.default) for p in graph.params] == [
        ("flights", "dataset", "flights@main"),
        ("leaves", "list[int]", [15, 31, 63]),
    ]
    nodes = {node.id: node for node in graph.nodes}
    assert list(nodes) == ["training_set", "train", "evaluate", "best", "register"]
    assert nodes["train"].args == {
        "leaves": Arg(sort="param", name="leaves", each=True),
        "data": Arg(sort="node", name="training_set"),
    }
    assert nodes["evaluate"].args["model"] == Arg(sort="node", name="train", each=True)
    assert (nodes["train"].options.cpu, nodes["train"].options.memory) == (2, 1024**3)
    assert (nodes["train"].options.retries, nodes["train"].options.timeout_s) == (1, 600)
    assert nodes["training_set"].path == "pipeline.py"
    assert nodes["training_set"].summary == "One row per flight."
    # The service that a step's code names is an input of it, with the views that it takes from.
    assert nodes["training_set"].services == ("delay_v1",)
    assert nodes["train"].services == ()
    assert [view.view for view in graph.views] == ["airport_weather"]


def test_a_step_used_twice_has_two_nodes(tmp_path: Path) -> None:
    body = "    count(training_set(f))\n    count(training_set(f, months=3))\n"
    more = f"@fj.pipeline\ndef twice(f: fj.Dataset):\n{body}"
    (graph,) = read(tmp_path, HEAD + more)
    assert [node.id for node in graph.nodes] == ["training_set", "count", "training_set_2", "count_2"]
    assert graph.params[0].needed


WRONG = {
    "evaluate(training_set(f), training_set(f))": r"evaluate\(model\): a table is given, a model is taken",
    "train(training_set(f), leaves='many')": r"train\(leaves\): 'many' is a str, not an int",
    "train(f, leaves=3)": r"train\(data\): a dataset is given, a table is taken",
    "train(training_set(f))": "missing a required",
    "train(training_set(f), leaves=3, deep=4)": "unexpected keyword argument 'deep'",
    "train.map(data=training_set(f), leaves=3)": "train.map: nothing given is a list",
    "train.map(data=training_set(f), leaves=['a'])": r"train\(leaves\)",
    "train(training_set(f), leaves=leaves)": r"train\(leaves\): a list\[int\] is given, an int is taken",
    "[train(training_set(f), leaves=n) for n in leaves]": "leaves: it has no value while the pipeline is read",
    "count(training_set(f)) and 1": "count: it has no value",
    "fj.register('delay', training_set(f))": "register: <training_set: table> is no model",
    "fj.register('delay', train(training_set(f), leaves=3), convert='gif')": "nothing converts to 'gif'",
    "fj.register('de/lay', train(training_set(f), leaves=3))": "no name of a model",
    "fj.best(training_set(f), training_set(f), by='x')": "best: two mapped steps",
    "pass": "it uses no step",
    "other()": "it is run by Falaj, not called",
    "1/0": r"pipeline.py:\d+: ZeroDivisionError",
}


@pytest.mark.parametrize(("body", "word"), WRONG.items(), ids=list(WRONG))
def test_wrong_wiring_is_refused_with_the_names(tmp_path: Path, body: str, word: str) -> None:
    body = body.replace("other()", "delay()")
    text = f"{HEAD}{DELAY}\n@fj.pipeline\ndef p(f: fj.Dataset, leaves: list[int]):\n    {body}\n"
    with pytest.raises(PipelineInvalid, match=word):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("path", "is_read"),
    [("params.yaml", True), ("conf/deep/params.json", True), (".env", False), ("own/lib/data.txt", False)],
)
def test_what_no_version_would_hold_may_not_shape_a_pipeline(tmp_path: Path, path: str, is_read: bool) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("3", encoding="utf-8")
    (tmp_path / "own").mkdir(exist_ok=True)
    (tmp_path / "own" / "pyvenv.cfg").touch()
    text = HEAD + f"@fj.pipeline\ndef p(f: fj.Dataset):\n    training_set(f, months=int(open({path!r}).read()))\n"
    if is_read:
        with pytest.raises(PipelineInvalid, match=f"it reads {path}: .* Python files") as refused:
            read(tmp_path, text)
        assert "--param" in refused.value.next_step
    else:
        assert read(tmp_path, text)[0].nodes[0].args["months"].value == 3


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("@fj.step\ndef s(a) -> int: ...\n", r"step s\(a\): nothing is no type"),
        ("@fj.step\ndef s(a: int): ...\n", "step s returns: nothing"),
        ("@fj.step\ndef s(*a: int) -> int: ...\n", r"\*a has no type"),
        ("@fj.step\ndef s(a: bytes) -> int: ...\n", "bytes"),
        ("@fj.step\ndef s(a: int) -> fj.Dataset: ...\n", "a dataset is not made by a step"),
        ("@fj.step(memory='much')\ndef s(a: int) -> int: ...\n", "memory 'much'"),
        ("@fj.step(timeout='soon')\ndef s(a: int) -> int: ...\n", "timeout 'soon'"),
        ("@fj.step(retries=-1)\ndef s(a: int) -> int: ...\n", "retries"),
    ],
)
def test_a_step_says_its_types(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(PipelineInvalid, match=word):
        read(tmp_path, f"import falaj as fj\n{text}\n@fj.pipeline\ndef p():\n    s(1)\n")


def node(name: str, *after: str) -> Node:
    args = {f"a{i}": Arg(sort="node", name=one) for i, one in enumerate(after)}
    return Node(id=name, path="pipeline.py", function=name, args=args, returns="json")


@pytest.mark.parametrize(
    ("nodes", "word"),
    [
        ((node("a", "b"), node("b", "a")), r"a\(a0\): b is not there before it: the graph is cyclic"),
        ((node("a", "a"),), "cyclic"),
        ((node("a"), node("b", "c")), "no step 'c'"),
        ((node("a"), node("a")), "two steps named a"),
    ],
)
def test_a_graph_that_comes_from_outside_is_checked(nodes: tuple[Node, ...], word: str) -> None:
    with pytest.raises(PipelineInvalid, match=word):
        check_graph(Graph(pipeline="p", nodes=nodes))


def test_a_step_outside_of_a_pipeline_is_the_plain_function() -> None:
    import falaj as fj

    @fj.step
    def double(a: int) -> int:
        return 2 * a

    assert double(4) == 8
    with pytest.raises(PipelineInvalid, match="inside of a pipeline"):
        double.map(a=[1, 2])


def test_hidden_folders_and_environments_are_no_source(tmp_path: Path) -> None:
    for name in ("pipeline.py", "lib/a.py", ".venv/b.py", "env/pyvenv.cfg", "env/c.py", "tests/d.py", "x.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("", encoding="utf-8")
    assert [f.relative_to(tmp_path).as_posix() for f in source_files(tmp_path)] == ["pipeline.py", "lib/a.py"]


@pytest.mark.parametrize(
    "path",
    [
        "../a.py",
        "/etc/a.py",
        "a//b.py",
        ".hidden/a.py",
        "a.csv",
        "../a.txt",
        "a/../b.py",
        "",
        "a\\b.py",
        "a\n.py",
        "a.py/",
        "x" * 200 + ".py",
    ],
)
def test_a_path_that_leads_elsewhere_is_no_source(path: str) -> None:
    with pytest.raises(PipelineInvalid):
        check_source({path: ""})


def test_files_below_a_project_are_source() -> None:
    files = {"pipeline.py": "a", "lib/__init__.py": "", "lib/_own-2.x.py": "b"}
    assert check_source(files) == {name: text.encode() for name, text in sorted(files.items())}
