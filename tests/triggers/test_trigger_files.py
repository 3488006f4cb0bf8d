"""`triggers.yaml`, read strictly: what a trigger says, and what is refused with its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.assets.rules import documents
from falaj.core.errors import Invalid
from falaj.data import document
from falaj.triggers.records import Condition, Trigger, parse_trigger
from tests.pipelines.house import Project

WHOLE = """
trigger: retrain-delay
when:
  all:
    - drift: delay/production
    - score: delay
    - new_version: flights
    - new_version: model/delay@canary
start: delay:3
params: {leaves: [15, 31]}
propose: delay@production
as: retrainer
purpose: training
starts: each
paused: true
"""


def test_a_trigger_as_its_file_says_it() -> None:
    name, trigger = parse_trigger(WHOLE)
    assert name == "retrain-delay"
    assert trigger == Trigger(
        name="retrain-delay",
        needs="all",
        conditions=(
            Condition("drift", "delay"),
            Condition("score", "delay"),
            Condition("new_version", "dataset/flights@main"),
            Condition("new_version", "model/delay@canary"),
        ),
        start="pipeline/delay:3",
        params={"leaves": [15, 31]},
        propose="model/delay@production",
        principal="retrainer",
        purpose="training",
        starts="each",
        paused=True,
    )
    assert [str(condition) for condition in trigger.conditions[:3]] == [
        "drift: delay",
        "score: delay",
        "new_version: flights@main",
    ]


PLAIN = "trigger: t\nwhen: {any: [{drift: d}]}\nstart: p\n"
REFUSED = {
    "when: {any: [{drift: d}]}\nstart: p": "trigger: expected text",
    "trigger: t\nstart: p": "when: missing",
    "trigger: t\nwhen: {any: []}\nstart: p": "0 items; 1 to 20",
    "trigger: t\nwhen: {any: [{drift: d}], all: [{drift: d}]}\nstart: p": "exactly one of any and all",
    "trigger: t\nwhen: {any: [{drift: d, score: d}]}\nstart: p": "one condition is expected",
    "trigger: t\nwhen: {any: [{draft: d}]}\nstart: p": "unknown field",
    "trigger: t\nwhen: {any: [{drift: d}, {drift: d/production}]}\nstart: p": "a second time",
    "trigger: t\nwhen: {any: [{new_version: flights:3}]}\nstart: p": "a version does not change",
    "trigger: t\nwhen: {any: [{new_version: 'a b'}]}\nstart: p": "U+0020 is not allowed",
    "trigger: t\nwhen: {any: [{drift: d}]}\nstart: model/p": "a pipeline is expected",
    PLAIN + "propose: delay": "a ref of a model is expected",
    PLAIN + "propose: dataset/flights@main": "a ref of a model is expected",
    PLAIN + "starts: all": "is not one of latest, each",
    PLAIN + "paused: later": "expected true or false",
    PLAIN + "params: [1]": "expected fields",
    PLAIN + "as: a/b": "as",
    "trigger: t\nwhen: {any: [{new_version: model/m@live}]}\nstart: p\npropose: m@live": "it would start itself",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=re.escape(REFUSED[text])):
        parse_trigger(text)


@given(st.lists(st.sampled_from(["", "# a word", "a: 1", "b: [2]", "--- # new", "---", "--- c: 3", "----: 1"])))
def test_documents_keep_their_lines_and_lose_nothing(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        found = documents(text, "triggers.yaml")
    except Invalid:
        assert not any(re.sub(r"^---(?=\s|$)", "", line).strip().partition("#")[0] for line in lines)
        return
    for one in found:
        shown = {at: line for at, line in enumerate(one.splitlines()) if line.strip()}
        assert all(line.strip() in lines[at] for at, line in shown.items())
        assert not any(re.match(r"---(\s|$)", line) for line in shown.values())


def test_a_file_holds_several_and_names_the_line_of_a_fault(project: Project) -> None:
    text = PLAIN + "---\n" + PLAIN.replace("trigger: t", "trigger: u")
    told = project.call("config.apply", files=[{"path": "triggers.yaml", "text": text}])
    assert [(f.kind, f.name, f.outcome) for f in told.files] == [
        ("trigger", "t", "created"),
        ("trigger", "u", "created"),
    ]
    again = project.call("config.apply", files=[{"path": "triggers.yaml", "text": text}])
    assert [f.outcome for f in again.files] == ["unchanged", "unchanged"]
    for wrong, said in {
        text + "---\n" + PLAIN: "triggers.yaml: trigger t stands here a second time",
        text + "---\ntrigger: v\nwhen: {any: [{drift: 1}]}\n": "triggers.yaml: trigger line 10: when.any[0].drift",
        "# nothing\n---\n": "'triggers.yaml': 0 documents",
    }.items():
        with pytest.raises(Invalid, match=re.escape(said)):
            project.call("config.apply", files=[{"path": "triggers.yaml", "text": wrong}])
    assert len(project.call("trigger.list")) == 2


def test_every_document_is_read_at_its_own_lines() -> None:
    first, second = documents("a: 1\n---\n\nb: 2\n", "x")
    assert document.read(first, name="x").lines[("a",)] == 1
    assert document.read(second, name="x").lines[("b",)] == 4
