"""The catalog's contract, on both databases: a kind is one declaration, and every change has its entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from falaj.core.entries import Entry, What
from falaj.core.errors import Invalid, NotFound, Refused
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Verdict
from falaj.store.errors import Exists, GuardRefused, RefConflict, RollbackRefused
from falaj.store.kinds import Kind
from falaj.store.metadata import open_database
from falaj.store.metadata.digests import row_digest
from falaj.store.metadata.open import migrate
from falaj.store.rows import APPROVAL, VERDICT, VERSION
from falaj.store.unit import UnexplainedChange

from .ground import ALICE, BOB, KEY, Recipe, Small, small_ground


@pytest.fixture(params=["sqlite", "postgresql"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Small]:
    address = tmp_path / "db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = open_database(address)
    yield small_ground(database)
    database.close()


def add(ground: Small, *titles: str, name: str = "bread", guards: tuple[str, ...] = ()) -> None:
    for title in titles:
        with ground.units.begin(ALICE, "recipe.add", ground.project) as unit:
            asset = ground.catalog.ensure_asset(unit, ground.project, "recipe", name)
            ground.catalog.add_version(unit, asset, Recipe(title=title, guards=guards))
            unit.say(What.VERSION_ADDED, [asset.id])


def move(ground: Small, ref: str, number: int, *, name: str = "bread", verdicts=(), proposal=None) -> None:
    with ground.units.begin(ALICE, "ref.promote", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing(name, "recipe"))
        version = ground.catalog.version(unit.tx, asset, number)
        ground.catalog.move(unit, asset, ref, version, verdicts=verdicts, proposal=proposal)
        unit.say(What.REF_MOVED, [asset.id])


def held(ground: Small, text: str) -> int:
    with ground.database.read() as tx:
        return ground.catalog.resolve(tx, ground.project, Thing.parse(text, kind="recipe")).version.number


def entries(ground: Small) -> list[Entry]:
    while ground.log.sequence(ground.database):
        pass
    with ground.database.read() as tx:
        rows = tx.rows("SELECT body FROM ledger_entry WHERE leaf IS NOT NULL ORDER BY leaf")
    return [msgspec.json.decode(bytes(r[0]), type=Entry) for r in rows]


def test_versions_are_numbered_and_keep_what_they_were_given(ground: Small) -> None:
    add(ground, "rye", "wheat")
    with ground.database.read() as tx:
        asset = ground.catalog.asset(tx, ground.project, Thing("bread", "recipe"))
        versions = ground.catalog.versions(tx, asset)
        titles = [ground.catalog.payload(asset, v).title for v in versions]
    assert ([v.number for v in versions], titles) == ([2, 1], ["wheat", "rye"])


def test_a_ref_moves_and_its_history_tells_each_move(ground: Small) -> None:
    add(ground, "rye", "wheat")
    move(ground, "main", 1)
    move(ground, "main", 2)
    with ground.database.read() as tx:
        asset = ground.catalog.asset(tx, ground.project, Thing("bread", "recipe"))
        moves = [(m.previous, m.version, m.revision) for m in ground.catalog.history(tx, asset, "main")]
    assert moves == [(1, 2, 2), (None, 1, 1)]


def test_every_change_is_in_the_entry_of_its_transaction(ground: Small) -> None:
    add(ground, "rye")
    last = entries(ground)[-1]
    with ground.database.read() as tx:
        stored = next(VERSION.scan(tx))
    assert {c.table for c in last.changes} == {"asset", "version"}
    assert row_digest("version", stored, KEY) in {c.digest for c in last.changes}


def test_a_change_without_an_entry_does_not_commit(ground: Small) -> None:
    with pytest.raises(UnexplainedChange), ground.units.begin(ALICE, "recipe.add", ground.project) as unit:
        ground.catalog.ensure_asset(unit, ground.project, "recipe", "bread")
    with ground.database.read() as tx, pytest.raises(NotFound):
        ground.catalog.asset(tx, ground.project, Thing("bread", "recipe"))


def test_an_error_leaves_nothing(ground: Small) -> None:
    before = len(entries(ground))

    def fail() -> None:
        with ground.units.begin(ALICE, "recipe.add", ground.project) as unit:
            ground.catalog.ensure_asset(unit, ground.project, "recipe", "bread")
            unit.say(What.VERSION_ADDED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(entries(ground)) == before
    add(ground, "after")  # the frontier that was rolled back is not used again
    assert len(entries(ground)) == before + 1


def test_a_retired_version_is_held_by_no_ref(ground: Small) -> None:
    add(ground, "rye", "wheat")
    move(ground, "main", 2)
    with ground.units.begin(ALICE, "version.retire", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing("bread", "recipe"))
        with pytest.raises(Refused, match="held by main"):
            ground.catalog.set_state(unit, asset, ground.catalog.version(unit.tx, asset, 2), "retired")
        ground.catalog.set_state(unit, asset, ground.catalog.version(unit.tx, asset, 1), "retired")
        unit.say(What.VERSION_RETIRED, [asset.id])
    with pytest.raises(Refused, match="is retired"):
        move(ground, "main", 1)


# guarded refs


def guard(ground: Small) -> None:
    add(ground, "the guard", name="taste", guards=("recipe/bread@served",))
    move(ground, "main", 1, name="taste")


def verdict(ground: Small, number: int, **changed: object) -> Verdict:
    with ground.database.read() as tx:
        gate = ground.catalog.asset(tx, ground.project, Thing("taste", "recipe"))
        asset = ground.catalog.asset(tx, ground.project, Thing("bread", "recipe"))
        holder = ground.catalog.ref(tx, asset, "served")
        candidate = ground.catalog.version(tx, asset, number)
        given = Verdict(
            id=new_id(), project=ground.project, asset=asset.id, version=number, ref="served",
            candidate=candidate.digest, gate=gate.id, gate_version=ground.catalog.ref(tx, gate, "main").version,
            holder=holder.version if holder else None, passed=True, body=b"{}", at="", by="", person="",
        )  # fmt: skip
    given = msgspec.structs.replace(given, **changed)
    with ground.units.begin(ALICE, "gate.judge", ground.project) as unit:
        unit.add(VERDICT, given)
        unit.say(What.VERDICT_GIVEN, [given.id])
    return given


def test_a_guarded_ref_moves_by_its_verdict_once(ground: Small) -> None:
    add(ground, "rye", "wheat")
    guard(ground)
    with pytest.raises(GuardRefused, match="no verdict"):
        move(ground, "served", 1)
    first = verdict(ground, 1)
    move(ground, "served", 1, verdicts=[first])
    assert held(ground, "bread@served") == 1
    with pytest.raises(GuardRefused, match="used before"):
        move(ground, "served", 1, verdicts=[first])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"passed": False}, "is a refusal"),
        ({"candidate": "sha256:" + "0" * 64}, "another candidate"),
        ({"ref": "tested"}, "another ref"),
        ({"asset": "another"}, "another ref"),
        ({"gate_version": 7}, "the gate is at v1 now"),
        ({"holder": 2}, "held by nothing now"),
        ({"approvals": ("maintainer",)}, "approval is missing"),
        ({"gate": "another"}, "no verdict"),
    ],
    ids=lambda v: "_".join(v) if isinstance(v, dict) else "",
)
def test_a_verdict_on_anything_else_moves_nothing(ground: Small, changed: dict, why: str) -> None:
    add(ground, "rye", "wheat")
    guard(ground)
    with pytest.raises(GuardRefused, match=why):
        move(ground, "served", 1, verdicts=[verdict(ground, 1, **changed)])
    with pytest.raises(NotFound):
        held(ground, "bread@served")


def test_a_newer_gate_makes_old_verdicts_void(ground: Small) -> None:
    add(ground, "rye")
    guard(ground)
    given = verdict(ground, 1)
    add(ground, "a stricter guard", name="taste", guards=("recipe/bread@served",))
    move(ground, "main", 2, name="taste")
    with pytest.raises(GuardRefused, match="the gate is at v2 now"):
        move(ground, "served", 1, verdicts=[given])


@pytest.mark.parametrize(
    ("person", "roles", "moves"),
    [
        ("person-bob", ("maintainer",), True),
        ("person-alice", ("maintainer",), False),
        ("person-bob", ("viewer",), False),
    ],
    ids=["another maintainer", "the proposer", "another viewer"],
)
def test_an_approval_counts_from_another_person_with_the_role(ground, person, roles, moves) -> None:
    add(ground, "rye")
    guard(ground)
    given = verdict(ground, 1, approvals=("maintainer",))
    with ground.units.begin(ALICE, "ref.propose", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing("bread", "recipe"))
        proposal = ground.catalog.propose(unit, asset, "served", 1, None, (given.id,))
        unit.say(What.REF_PROPOSED, [proposal.id])
    with ground.units.begin(BOB, "ref.approve", ground.project) as unit:
        from falaj.core.records import Approval

        unit.add(APPROVAL, Approval(proposal=proposal.id, person=person, by="token", roles=roles, at=unit.now))
        unit.say(What.REF_APPROVED, [proposal.id])
    if moves:
        move(ground, "served", 1, verdicts=[given], proposal=proposal)
        assert held(ground, "bread@served") == 1
    else:
        with pytest.raises(GuardRefused, match="approval is missing"):
            move(ground, "served", 1, verdicts=[given], proposal=proposal)


# rollback


def roll_back(ground: Small, to: int | None = None) -> int:
    with ground.units.begin(ALICE, "ref.rollback", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing("bread", "recipe"))
        moved = ground.catalog.roll_back(unit, asset, "main", to)
        unit.say(What.REF_ROLLED_BACK, [asset.id])
    return moved.version


def test_rollback_goes_to_the_version_before(ground: Small) -> None:
    add(ground, "one", "two", "three")
    for number in (1, 2, 3):
        move(ground, "main", number)
    assert roll_back(ground) == 2
    assert roll_back(ground, 1) == 1


def test_rollback_again_goes_further_back_and_never_to_what_was_left(ground: Small) -> None:
    add(ground, "one", "two", "three")
    for number in (1, 2, 3):
        move(ground, "main", number)
    assert [roll_back(ground), roll_back(ground)] == [2, 1]
    with pytest.raises(RollbackRefused, match="no version held it before"):
        roll_back(ground)
    with pytest.raises(RollbackRefused, match="it is there"):
        roll_back(ground, 1)
    assert roll_back(ground, 3) == 3  # by name it held it before, too


@pytest.mark.parametrize("to", [2, 9])
def test_rollback_goes_only_where_the_ref_has_been(ground: Small, to: int) -> None:
    add(ground, "one", "two", "three")
    move(ground, "main", 1)
    move(ground, "main", 3)
    with pytest.raises(RollbackRefused, match="never held it"):
        roll_back(ground, to)


def test_rollback_of_a_ref_with_one_version_is_refused(ground: Small) -> None:
    add(ground, "one")
    move(ground, "main", 1)
    with pytest.raises(RollbackRefused, match="no version held it before"):
        roll_back(ground)


def test_the_expected_holder_is_compared(ground: Small) -> None:
    add(ground, "one")
    move(ground, "main", 1)
    with ground.database.read() as tx:
        asset = ground.catalog.asset(tx, ground.project, Thing("bread", "recipe"))
        ground.catalog.expect(tx, asset, "main", 1)
        with pytest.raises(RefConflict, match="held by v1, not by v2"):
            ground.catalog.expect(tx, asset, "main", 2)


def test_projections_are_rebuilt_from_the_payloads(ground: Small) -> None:
    add(ground, "rye", "wheat")
    select = "SELECT asset, number, field, text_value, number_value FROM projection ORDER BY 1, 2, 3"
    with ground.database.read() as tx:
        before = tx.rows(select)
    with ground.database.write() as tx:
        tx.run("DELETE FROM projection WHERE number = 1")
        assert ground.catalog.rebuild_projections(tx) == 2
        assert tx.rows(select) == before


def test_a_project_is_there_once(ground: Small) -> None:
    with pytest.raises(Exists), ground.units.begin(ALICE, "project.create") as unit:
        ground.catalog.add_project(unit, "kitchen")


def test_the_schema_is_migrated_once(ground: Small) -> None:
    assert migrate(ground.database) == migrate(ground.database)


def test_where_each_move_needs_a_second_person_going_back_does_too(tmp_path: Path) -> None:
    law = Kind("recipe", Recipe, config=True)
    database = open_database(tmp_path / "db")
    ground = small_ground(database, four_eyes=True, kind=law)
    add(ground, "strict", "lax")
    move(ground, "main", 1)
    with pytest.raises(GuardRefused, match="approval is missing"):
        move(ground, "main", 2)
    with ground.units.begin(BOB, "ref.rollback", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing("bread", "recipe"))
        ground.catalog.mark(unit, asset, "main", ground.catalog.version(unit.tx, asset, 2))
        unit.say(What.REF_MOVED, [asset.id])
    with ground.units.begin(BOB, "ref.rollback", ground.project) as unit:
        asset = ground.catalog.asset(unit.tx, ground.project, Thing("bread", "recipe"))
        with pytest.raises(RollbackRefused, match="another person"):
            ground.catalog.roll_back(unit, asset, "main", 1)
    database.close()


def test_a_guard_on_a_kind_that_is_not_known_is_refused(ground: Small) -> None:
    add(ground, "the guard", name="taste", guards=("cake/bread@served",))
    with pytest.raises(Invalid, match="cake"):
        move(ground, "main", 1, name="taste")


@pytest.mark.parametrize("count", [0, 1, 3, 450])
def test_a_page_among_some_keys_is_in_order_whatever_else_is_asked_for(ground, count):
    for name in ("bread", "cake", "date"):
        add(ground, "one", name=name)
    keys = ["recipe/date", "recipe/bread", *(f"recipe/none{i}" for i in range(count)), "other/cake", "recipe/date"]
    with ground.database.read() as tx:
        found = ground.catalog.assets(tx, ground.project, "", among=keys)
        assert [asset.name for asset in found] == ["bread", "date"]
        page = ground.catalog.assets(tx, ground.project, "recipe", "recipe/bread", 1, among=keys)
        assert [asset.name for asset in page] == ["date"]
        assert ground.catalog.assets(tx, ground.project, "", among=()) == []
