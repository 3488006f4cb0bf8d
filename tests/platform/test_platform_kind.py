"""A kind that is stored, versioned, gated and audited is one declaration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from falaj.core.encoding import convert
from falaj.core.errors import Invalid, NotFound, Refused
from falaj.gates.views import GateRefused
from falaj.store.kinds import Kind
from tests.platform.places import Person, Served, make_place, serve


class Prompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of a kind that only this test knows."""

    prompt: str
    text: str
    tokens: int = 0


def parse_prompt(text: str) -> tuple[str, Prompt]:
    prompt = convert(yaml.safe_load(text), Prompt, "prompt")
    return prompt.prompt, prompt


# This, and nothing else.
PROMPT = Kind("prompt", Prompt, folder="prompts", parse=parse_prompt, project_fields=lambda p: {"tokens": p.tokens})

GATE = """\
gate: careful
guards: [prompt/greeting@production]
rules:
  - approval: {from: maintainer, not: proposer}
"""


def prompt(text: str, tokens: int = 3) -> dict[str, str]:
    return {"path": "prompts/greeting.yaml", "text": f"prompt: greeting\ntext: {text}\ntokens: {tokens}\n"}


@pytest.fixture
def made(tmp_path: Path, database_address: str) -> Iterator[Served]:
    served = serve(make_place(tmp_path / "flights"), database_address, kinds=(PROMPT,))
    served.owner.call("config.apply", files=[{"path": "gates/careful.yaml", "text": GATE}])
    yield served
    served.platform.close()


def test_it_is_stored_versioned_listed_and_told(made: Served) -> None:
    assert made.owner.call("config.apply", files=[prompt("hello")]).files[0].outcome == "created"
    assert made.owner.call("config.apply", files=[prompt("hello")]).files[0].outcome == "unchanged"
    assert made.owner.call("config.apply", files=[prompt("salam")]).files[0].version == 2
    assert [i.name for i in made.owner.call("asset.list", kind="prompt").items] == ["greeting"]
    shown = made.owner.call("asset.show", thing="prompt/greeting@main").shown
    assert (shown.version, shown.payload["text"]) == (2, "salam")
    moves = made.owner.call("asset.log", thing="prompt/greeting").moves
    assert [(m.version, m.previous, m.by) for m in moves] == [(2, 1, "olga"), (1, None, "olga")]
    assert all(m.entry is not None for m in moves) or made.platform.ground.database.dialect == "postgresql"


def test_its_declared_fields_are_columns_that_are_rebuilt_from_the_payloads(made: Served) -> None:
    made.owner.call("config.apply", files=[prompt("hello", tokens=7)])
    select = "SELECT number_value FROM projection WHERE field = 'tokens'"
    with made.platform.ground.database.write() as tx:
        assert [row[0] for row in tx.rows(select)] == [7.0]
        tx.run("DELETE FROM projection")
        made.platform.ground.catalog.rebuild_projections(tx)
        assert [row[0] for row in tx.rows(select)] == [7.0]


def move_behind_the_door(made: Served, person: Person) -> None:
    """What code that holds the catalog could try: the guard stands there too."""
    ground = made.platform.ground
    with ground.units.begin(person.caller.actor, "test") as unit:
        project = ground.project_by_name(unit.tx, "flights")
        assert project is not None
        asset = ground.catalog.find_asset(unit.tx, project.id, "prompt", "greeting")
        assert asset is not None
        ground.catalog.move(unit, asset, "production", ground.catalog.version(unit.tx, asset, 1))


def test_it_is_gated_by_another_person(made: Served) -> None:
    made.owner.call("config.apply", files=[prompt("hello")])
    sara = made.person("sara", ("maintainer", "project:flights"))
    badr = made.person("badr", ("maintainer", "project:flights"))
    proposed = sara.call("ref.promote", thing="prompt/greeting@production", version=1)
    assert proposed.proposal
    with pytest.raises(NotFound):
        made.owner.call("asset.show", thing="prompt/greeting@production")
    with pytest.raises(Refused):
        move_behind_the_door(made, sara)
    assert badr.call("ref.approve", proposal=proposed.proposal).state == "moved"
    assert made.owner.call("asset.show", thing="prompt/greeting@production").shown.version == 1


def test_a_rule_that_cannot_be_measured_on_it_refuses_it(made: Served) -> None:
    made.owner.call("config.apply", files=[prompt("hello")])
    rule = GATE.replace(
        "rules:", "evidence: {data: flights@holdout, label: late}\nrules:\n  - {metric: auc, at_least: 0.5}"
    )
    badr = made.person("badr", ("maintainer", "project:flights"))
    proposal = made.owner.call("config.apply", files=[{"path": "gates/careful.yaml", "text": rule}]).files[0].proposal
    badr.call("ref.approve", proposal=proposal)
    with pytest.raises(GateRefused, match="1 of 2 rules failed"):
        made.owner.call("ref.promote", thing="prompt/greeting@production", version=1)


def test_it_is_audited(made: Served) -> None:
    made.owner.call("config.apply", files=[prompt("hello")])
    made.platform.sign()
    told = made.owner.call("ledger.verify", project="")
    assert told.ok, told.problems
    with made.platform.ground.database.write() as tx:
        tx.run("UPDATE version SET payload = :payload WHERE number = 1", {"payload": b"{}"})
    wrong = made.owner.call("ledger.verify", project="")
    assert not wrong.ok
    assert {p.sort for p in wrong.problems} == {"state_changed"}


def test_a_file_of_it_that_cannot_be_meant_is_refused(made: Served) -> None:
    with pytest.raises(Invalid, match=r"prompts/greeting\.yaml"):
        made.owner.call("config.apply", files=[{"path": "prompts/greeting.yaml", "text": "prompt: greeting\n"}])
