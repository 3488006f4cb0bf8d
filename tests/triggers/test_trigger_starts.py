"""One start for each cause, on both databases, however many look at once; who acts, and what a refusal leaves."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.core.encoding import moment
from falaj.core.entries import What
from falaj.core.errors import FalajError, NotFound
from falaj.pipelines.define import defined_in
from falaj.platform.loops import Loops
from falaj.store import triggers
from falaj.store.rows import RUN
from falaj.store.triggers import CURSOR, START, Start
from tests.pipelines.house import HEAD
from tests.platform.places import Person, Served, contract, make_place, rows, serve

PIPELINE = (
    HEAD
    + """
@fj.step
def count(flights: fj.Dataset) -> int:
    return 1

@fj.pipeline
def p(flights: fj.Dataset = fj.dataset("flights@main")):
    count(flights)
"""
)
TRIGGER = "trigger: again\nwhen: {{any: [{{new_version: flights@main}}]}}\nstart: p\nas: robot\nstarts: {}\n"


LATER = "2999-01-01T00:00:00.000000Z"


@pytest.fixture
def served(tmp_path: Path, database_address: str) -> Iterator[Served]:
    made = serve(make_place(tmp_path / "flights"), database_address)
    made.owner.call("config.apply", files=[contract()])
    made.owner.call("principal.add", project="", name="robot", service=True)
    other = made.person("sami", ("owner", "store"))  # nobody gives a role to a service of their own
    other.call("access.grant", project="", subject="robot", role="maintainer", scope="project:flights")
    keep(made.owner, tmp_path)
    yield made
    made.platform.close()


def keep(who: Person, folder: Path) -> None:
    file = folder / "pipeline.py"
    file.write_text(PIPELINE, encoding="utf-8")
    (graph,) = defined_in(file)
    source = folder / "source.json"
    source.write_text(json.dumps({"pipeline.py": PIPELINE}), encoding="utf-8")
    who.call("pipeline.apply", graph=msgspec.to_builtins(graph), source=who.stage(source))


def apply(who: Person, text: str) -> Any:
    return who.call("config.apply", files=[{"path": "triggers.yaml", "text": text}])


def add(served: Served, folder: Path, number: int) -> None:
    file = served.owner.stage(rows(folder / "rows.csv", number))
    served.owner.call("data.add", dataset="flights", files=[file], mode="replace")


def numbered(served: Served) -> None:
    """Every entry that was committed has its number: on PostgreSQL the sequencer's next round gives it."""
    while served.platform.ground.log.sequence(served.platform.ground.database):
        pass


def starts(served: Served) -> list[Start]:
    with served.platform.ground.database.read() as tx:
        return sorted(START.scan(tx), key=lambda start: start.number)


def moves(served: Served) -> list[str]:
    """The entries by which the dataset's main moved."""
    with served.platform.ground.database.read() as tx:
        clause = (
            "SELECT m.entry FROM ref_move m JOIN asset a ON a.id = m.asset WHERE a.kind = 'dataset' ORDER BY revision"
        )
        return [str(row[0]) for row in tx.rows(clause)]


def ask(served: Served, operation: str) -> Any:
    return served.platform.door.call(
        operation, {"trigger": "again"}, caller=served.platform.own_caller, project="flights"
    )


def work(served: Served, errors: list[FalajError], rng: random.Random, causes: int) -> None:
    """Look and carry out, in an order drawn by chance, until every cause has been started."""
    while not errors and sum(start.state == "done" for start in starts(served)) < causes:
        try:
            ask(served, rng.choice(["trigger.tick", "trigger.start"]))
        except FalajError as error:
            errors.append(error)


def test_many_workers_begin_each_cause_once_and_in_order(served: Served, tmp_path: Path, rng: random.Random) -> None:
    apply(served.owner, TRIGGER.format("each"))
    for number in range(6):
        add(served, tmp_path, number)
    numbered(served)
    errors: list[FalajError] = []
    args = [(served, errors, random.Random(rng.random()), 6) for _ in range(4)]
    threads = [threading.Thread(target=work, args=one) for one in args]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    found = starts(served)
    assert [(start.number, start.state, start.attempt) for start in found] == [(n, "done", 1) for n in range(1, 7)]
    assert [start.entry for start in found] == moves(served)
    runs = [run for start in found for run in start.runs]
    with served.platform.ground.database.read() as tx:
        every = {run.id: run for run in RUN.scan(tx)}
    assert sorted(runs) == sorted(id_ for id_, run in every.items() if run.sort == "pipeline.run")
    assert len(set(runs)) == 6
    assert sorted(runs) == runs  # one after the other
    causes = Counter(entry["cause"] for entry in entries(served, "trigger.caused"))
    assert causes == Counter(moves(served))
    assert served.owner.call("ledger.verify", project="").ok


def entries(served: Served, what: str) -> list[dict[str, Any]]:
    with served.platform.ground.database.read() as tx:
        found = tx.rows("SELECT body FROM ledger_entry WHERE what = :what ORDER BY id", {"what": what})
    return [msgspec.json.decode(bytes(row[0])) for row in found]


def test_the_newest_of_what_waits_is_started_and_stands_for_the_others(served: Served, tmp_path: Path) -> None:
    add(served, tmp_path, 0)  # before the trigger: no cause of it
    apply(served.owner, TRIGGER.format("latest"))
    for number in (1, 2, 3):
        add(served, tmp_path, number)
    numbered(served)
    assert [one.number for one in ask(served, "trigger.tick").noted] == [1, 2, 3]
    assert ask(served, "trigger.tick").noted == ()
    told = ask(served, "trigger.start").outcome
    assert (told.number, told.state, told.params) == (3, "done", {"flights": "dataset/flights:4"})
    found = starts(served)
    assert [(one.state, one.covered_by) for one in found] == [
        ("covered", found[2].entry),
        ("covered", found[2].entry),
        ("done", None),
    ]
    assert ask(served, "trigger.start").outcome is None
    with served.platform.ground.database.read() as tx:
        (started,) = entries(served, "trigger.started")
        assert served.platform.ground.detail(tx, started["id"])["covers"] == [1, 2]
        assert started["cause"] == moves(served)[-1]
    assert served.owner.call("ledger.verify", project="").ok


def test_an_index_that_is_lost_or_set_back_starts_nothing_again(served: Served, tmp_path: Path) -> None:
    apply(served.owner, TRIGGER.format("each"))
    for number in (1, 2):
        add(served, tmp_path, number)
    numbered(served)
    ask(served, "trigger.tick")
    with served.platform.ground.database.write() as tx:
        assert tx.run("UPDATE trigger_cursor SET leaf = 0") == 1
    assert ask(served, "trigger.tick").noted == ()
    with served.platform.ground.database.write() as tx:
        tx.run("DELETE FROM trigger_cursor")
    assert ask(served, "trigger.tick").noted == ()
    assert len(starts(served)) == 2
    with served.platform.ground.database.read() as tx:
        assert len(list(CURSOR.scan(tx))) == 1


def lease(served: Served) -> str:
    with served.platform.ground.database.read() as tx:
        (cursor,) = CURSOR.scan(tx)
    return cursor.lease_until


def test_a_start_has_its_lease_from_the_first_claim_on_and_only_its_newest_attempt_renews_it(
    served: Served, tmp_path: Path
) -> None:
    add(served, tmp_path, 1)
    apply(served.owner, TRIGGER.format("latest"))
    served.owner.call("trigger.fire", trigger="again")  # on PostgreSQL no entry of the trigger has a number yet
    first = lease(served)
    assert first > moment(datetime.now(UTC))
    with served.platform.ground.units.begin(served.platform.own_caller.actor, "test") as unit:
        (given_up,) = starts(served)
        taken = unit.put(START, msgspec.structs.replace(given_up, state="running", attempt=2, ended_at=None))
        unit.say(What.TRIGGER_CONTINUED, [taken.trigger])
    with served.platform.ground.database.write() as tx:
        assert not triggers.renew_lease(tx, given_up, LATER)
    assert lease(served) == first
    with served.platform.ground.database.write() as tx:
        assert triggers.renew_lease(tx, taken, LATER)
    numbered(served)
    ask(served, "trigger.tick")  # reads on, and leaves the lease
    assert lease(served) == LATER


def test_a_start_goes_on_with_the_versions_that_it_began_with(served: Served, tmp_path: Path) -> None:
    """Its process is gone after it had begun; meanwhile a newer version came."""
    apply(served.owner, TRIGGER.format("latest"))
    add(served, tmp_path, 1)
    numbered(served)
    ask(served, "trigger.tick")
    ask(served, "trigger.start")
    with served.platform.ground.units.begin(served.platform.own_caller.actor, "test") as unit:
        (one,) = starts(served)
        gone = msgspec.structs.replace(
            one, state="running", owner="elsewhere:1:1", ended_at=None, runs=(), registered=""
        )
        unit.put(START, gone)
        unit.tx.run("UPDATE trigger_cursor SET lease_until = ''")
        unit.say("trigger.continued", [one.trigger])  # type: ignore[arg-type]
    add(served, tmp_path, 2)
    numbered(served)
    ask(served, "trigger.tick")
    told = ask(served, "trigger.start").outcome
    assert (told.number, told.attempt, told.state) == (1, 2, "done")
    assert told.params == {"flights": "dataset/flights:1"}
    assert ask(served, "trigger.start").outcome.params == {"flights": "dataset/flights:2"}


def test_who_acts_is_a_service_of_whoever_wrote_or_approved_the_trigger(served: Served, tmp_path: Path) -> None:
    add(served, tmp_path, 1)
    text, fire = TRIGGER.format("each"), partial(served.owner.call, "trigger.fire", trigger="again")
    mona = served.person("mona", ("maintainer", "project:flights"))
    for acts, message in {"": "nobody to act as", "as: mona\n": "no service", "as: robot\n": "somebody else"}.items():
        named = f"again{len(acts)}"
        apply(mona, text.replace("trigger: again", f"trigger: {named}").replace("as: robot\n", acts))
        with pytest.raises(FalajError, match=message) as refused:
            served.owner.call("trigger.fire", trigger=named)
        assert refused.value.code == "trigger_actor"
    assert {start.state for start in starts(served)} == {"failed"}
    assert apply(served.owner, text).files[0].outcome == "created"
    assert fire().outcome.state == "done"
    (proposed,) = apply(mona, text.replace("starts: each", "starts: latest")).files
    assert proposed.outcome == "proposed"
    served.owner.call("ref.approve", proposal=proposed.proposal)
    told = fire(reason="to see").outcome
    assert told.state == "done"
    assert served.owner.call("run.show", run=told.runs[-1]).by == "robot"


def test_a_start_says_how_its_proposal_stands_by_now(served: Served, tmp_path: Path) -> None:
    add(served, tmp_path, 1)
    text = TRIGGER.format("each")
    apply(served.owner, text)
    served.owner.call("trigger.fire", trigger="again")
    mona = served.person("mona", ("maintainer", "project:flights"))
    (proposed,) = apply(mona, text.replace("starts: each", "starts: latest")).files
    with served.platform.ground.units.begin(served.platform.own_caller.actor, "test") as unit:
        (start,) = START.scan(unit.tx)
        outcome = {"sort": "proposed", "proposal": proposed.proposal}
        unit.put(START, msgspec.structs.replace(start, outcome=outcome))
        unit.say(What.TRIGGER_CONTINUED, [start.trigger])
    assert served.owner.call("trigger.list")[0].history[0].stands == "open"
    served.owner.call("ref.approve", proposal=apply(mona, text.replace("@main", "@old")).files[0].proposal)
    assert served.owner.call("trigger.list")[0].history[0].stands == "stale"


def test_who_may_not_see_a_trigger_learns_nothing(served: Served) -> None:
    apply(served.owner, TRIGGER.format("each"))
    nemo = served.person("nemo", ("viewer", "project:flights"))
    assert len(nemo.call("trigger.list")) == len(nemo.call("trigger.list", trigger="again")) == 1
    with pytest.raises(NotFound, match="trigger/other"):
        nemo.call("trigger.list", trigger="other")
    apply(served.owner, TRIGGER.format("each").replace("trigger: again", "trigger: other"))
    part = served.person("part", ("viewer", "asset:flights/trigger/other"))
    assert [one.trigger for one in part.call("trigger.list")] == ["other"]
    with pytest.raises(NotFound, match="not for you"):
        part.call("trigger.list", trigger="again")
    stranger = served.person("stranger")
    for operation in ("trigger.list", "trigger.fire", "trigger.tick", "trigger.start"):
        args = {} if operation == "trigger.list" else {"trigger": "again"}
        with pytest.raises(NotFound, match="not for you"):
            stranger.call(operation, **args)


def test_a_pipeline_that_is_not_there_fails_its_start_and_nothing_else(served: Served, tmp_path: Path) -> None:
    apply(served.owner, TRIGGER.format("latest").replace("start: p", "start: q"))
    assert served.owner.call("trigger.list")[0].absent == ("dataset/flights", "pipeline/q")
    add(served, tmp_path, 1)
    assert served.owner.call("trigger.list")[0].absent == ("pipeline/q",)
    numbered(served)
    said: list[tuple[str, dict[str, Any]]] = []
    loops = Loops(served.platform, lambda event, level="info", **facts: said.append((event, facts)))
    loops.until_idle()
    (one,) = starts(served)
    assert (one.state, one.error and one.error["code"]) == ("failed", "not_found")
    assert loops.failures == 0
    assert [event for event, _ in said] == ["cause_noted", "start_ended"]
    loops.until_idle()
    assert len(starts(served)) == 1
