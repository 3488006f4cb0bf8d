"""Predicting: only what a gate let in is run, on data of any month; what was changed behind the door is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from falaj.compliance.rules import ResidencyRefused
from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.entries import What
from falaj.core.errors import FalajError, Invalid, NotFound, Refused
from falaj.data.records import ContractRefused
from falaj.models.errors import ModelNotPromoted, ModelUnsound, WrongColumns
from falaj.models.kinds import MODEL
from falaj.models.signing import Claim, sign
from falaj.models.verification import digest_of, unsigned
from falaj.store.errors import RefConflict
from tests.models import files
from tests.models.kites import COLUMNS, House, kites, make

# what comes out


def test_every_row_is_scored_by_the_promoted_model_under_the_key_of_the_contract(promoted):
    told = promoted.predict()
    assert (told["dataset"], told["version"], told["rows"], told["model"]) == ("guesses", 1, 400, "delay:1")
    found = promoted.table("guesses@main")
    july = kites(seed=12, start=20_000)
    rows = np.column_stack([july[name].to_numpy(zero_copy_only=False) for name in COLUMNS]).astype(object)
    assert found.column_names == ["id", "probability", "model_version"]
    assert found["id"].to_pylist() == july["id"].to_pylist()
    np.testing.assert_allclose(found["probability"], files.town_model(3).predict_proba(rows)[:, 1])
    assert set(found["model_version"].to_pylist()) == {"delay:1"}
    assert told["mean_probability"] == pytest.approx(np.mean(found["probability"]))


def test_lineage_leads_from_the_predictions_to_model_and_data(promoted):
    promoted.predict()
    nodes = promoted.call("asset.lineage", thing="guesses@main")["nodes"]
    assert sorted(nodes[0]["inputs"]) == ["dataset/kites:3", "model/delay:1"]
    assert {(node["kind"], node["version"]) for node in nodes} >= {("model", 1), ("dataset", 3), ("dataset", 1)}
    down = promoted.call("asset.lineage", thing="model/delay:1", direction="down")["nodes"]
    assert ("guesses", 1) in {(node["name"], node["version"]) for node in down}


def test_the_whole_way_holds_on_both_databases(tmp_path, database_address):
    house = make(tmp_path / "kites", database_address)
    house.register(house.model())
    house.promote(1)
    assert house.predict()["rows"] == 400
    assert house.call("model.verify", thing="delay@production")["sound"]
    assert house.call("ledger.verify")["ok"]
    house.platform.close()


def test_data_without_a_contract_is_read_as_the_model_reads_it_and_rows_are_numbered(promoted):
    promoted.add("wild", kites(rows=70_000, seed=5).drop_columns(["id", "late", "flown"]))
    told = promoted.predict(data="wild@main")
    found = promoted.table("guesses@main")
    assert told["rows"] == 70_000
    assert found["row"].to_pylist() == list(range(1, 70_001))


def test_csv_is_read_by_its_contract_nulls_and_all(promoted):
    path = promoted.folder / "day.csv"
    path.write_text("id,town,wind,flown,late\n1,Sur,,2013-01-01,\n2,,4.5,2013-01-01,true\n3,Muscat,12,,false\n")
    promoted.call("data.add", dataset="kites", files=promoted.staged(path), ref="day", mode="replace")
    with pytest.raises(FalajError, match="NaN"):  # this model was made for winds that are known
        promoted.predict(data="kites@day")
    path.write_text("id,town,wind,flown,late\n2,,4.5,2013-01-01,true\n3,Muscat,12,,false\n")
    promoted.call("data.add", dataset="kites", files=promoted.staged(path), ref="day", mode="replace")
    assert promoted.predict(data="kites@day")["rows"] == 2
    assert promoted.table("guesses@main")["id"].to_pylist() == [2, 3]


def test_predictions_again_are_the_next_version(promoted):
    assert promoted.predict()["previous"] is None
    again = promoted.predict()
    assert (again["version"], again["previous"]) == (2, 1)


def test_a_contract_on_the_predictions_judges_them(promoted):
    contract = """\
apiVersion: v3.1.0
kind: DataContract
id: guesses
name: guesses
version: 1.0.0
status: active
schema:
  - name: guesses
    properties:
      - {name: id, logicalType: integer, required: true}
      - {name: probability, logicalType: number, logicalTypeOptions: {minimum: 0, maximum: MOST}}
      - {name: model_version, logicalType: string}
"""
    promoted.apply("contracts/guesses.yaml", contract.replace("MOST", "0.5"))
    with pytest.raises(ContractRefused, match="1 of"):
        promoted.predict()
    assert promoted.versions("dataset", "guesses") == 0
    promoted.apply("contracts/guesses.yaml", contract.replace("MOST", "1"))
    promoted.predict()
    shown = promoted.call("asset.show", thing="dataset/guesses@main")["shown"]["payload"]
    assert (shown["contract"], shown["report"]["failed"]) == ("contract/guesses:2", 0)


# who is not run


def refused_with_an_entry(house: House, error: type[FalajError], words: str, **args: str) -> None:
    """The refusal, its entry, and that nothing came of it."""
    with pytest.raises(error, match=words) as refused:
        house.predict(**args)
    entry = house.call("ledger.show", entry=str(refused.value.facts["entry"]), scope="project:kites")
    assert entry["what"] == "request.refused"
    assert house.versions("dataset", "guesses") == 0


def test_a_version_named_by_its_number_is_not_run(promoted):
    refused_with_an_entry(promoted, ModelNotPromoted, "names no ref", model="delay:1")


def test_a_model_that_was_judged_and_refused_is_not_run(registered):
    with pytest.raises(Refused):
        registered.promote(2)
    with pytest.raises(NotFound):
        registered.predict()


def test_a_ref_that_no_gate_guards_is_not_run(registered):
    registered.promote(2, "delay@staging")  # nothing stands in its way, and nothing vouches for it
    refused_with_an_entry(registered, ModelNotPromoted, "no gate guards it", model="delay@staging")


def test_a_ref_that_was_free_before_its_gate_came_is_not_run(registered):
    registered.promote(2, "delay@staging")
    registered.apply("gates/staging.yaml", OTHER_GATE.replace("production", "staging").replace("other@", "delay@"))
    refused_with_an_entry(registered, ModelNotPromoted, "no verdict let it in", model="delay@staging")


OTHER_GATE = """\
gate: production
guards: [other@production]
evidence: {data: kites@holdout, label: late}
rules: [{metric: auc, at_least: 0.65}]
"""


def test_a_gate_that_lets_go_of_the_ref_takes_the_model_out_of_use(promoted):
    promoted.apply("gates/production.yaml", OTHER_GATE)
    refused_with_an_entry(promoted, ModelNotPromoted, "no gate guards it")


def test_a_stricter_gate_does_not_undo_what_was_let_in(promoted):
    text = OTHER_GATE.replace("other@production", "delay@production").replace("0.65", "0.999")
    promoted.apply("gates/production.yaml", text)
    assert promoted.predict()["rows"] == 400


def test_after_a_rollback_the_earlier_version_predicts(promoted):
    promoted.register(promoted.model(5))
    promoted.promote(3)
    assert promoted.predict()["model"] == "delay:3"
    promoted.call("ref.rollback", thing="delay@production")
    assert promoted.predict()["model"] == "delay:1"


def test_data_that_does_not_fit_the_model_is_told_column_by_column(promoted):
    promoted.add("wild", pa.table({"town": ["Sur"], "gust": [1.0]}))
    with pytest.raises(WrongColumns, match="'wind'"):
        promoted.predict(data="wild@main")


def test_data_of_no_rows_and_plain_files_are_no_data(promoted):
    promoted.add("wild", kites(rows=1).slice(0, 0))
    with pytest.raises(Invalid, match="no rows"):
        promoted.predict(data="wild@main")
    path = promoted.folder / "notes.txt"
    path.write_text("not a table")
    promoted.call("data.add", dataset="notes", files=promoted.staged(path))
    with pytest.raises(Invalid, match="plain files"):
        promoted.predict(data="notes@main")


def test_a_ref_that_moves_while_rows_are_scored_ends_the_prediction(promoted):
    promoted.register(promoted.model(5))

    def move(what: str, _done: int, _total: int) -> None:
        if what == "scoring":
            promoted.promote(3)

    args = {"model": "delay@production", "data": "kites@july", "into": "guesses"}
    with pytest.raises(RefConflict, match="moved while rows were scored"):
        promoted.platform.session("kites").call("model.predict", args, progress=move)
    assert promoted.versions("dataset", "guesses") == 0


def test_where_no_byte_may_rest_nothing_is_stored_read_or_moved(promoted):
    promoted.register(promoted.model(5))
    promoted.apply("policies/home.yaml", "policy: home\nallow: [SA]\n")
    refused_with_an_entry(promoted, ResidencyRefused, "home")
    for attempt in (
        lambda: promoted.register(promoted.model(6)),
        lambda: promoted.promote(3),
        lambda: promoted.call("model.verify", thing="delay:1"),
    ):
        with pytest.raises(ResidencyRefused):
            attempt()
    assert promoted.versions("model", "delay") == 3


# what was changed behind the door


def payload_of(house: House, number: int = 1) -> dict[str, Any]:
    return dict(msgspec.json.decode(house.version(number)[1].payload))


def put_payload(house: House, payload: dict[str, Any], number: int = 1) -> None:
    """Write a payload, and the digest that goes with it, into the row."""
    asset, version = house.version(number)
    changed = msgspec.structs.replace(version, payload=canonical(payload))
    house.behind_the_door(
        "UPDATE version SET payload = :payload, digest = :digest WHERE asset = :asset AND number = :number",
        payload=changed.payload,
        digest=digest_of(asset, changed),
        asset=asset.id,
        number=number,
    )


def change_payload(house: House) -> None:
    payload = payload_of(house)
    payload["payload"]["label"] = "wind > 0"
    put_payload(house, payload)


def drop_signature(house: House) -> None:
    payload = payload_of(house)
    payload["payload"]["signature"] = None
    put_payload(house, payload)


def take_the_signature_of_another_version(house: House) -> None:
    payload = payload_of(house)
    payload["payload"]["signature"] = payload_of(house, 2)["payload"]["signature"]
    put_payload(house, payload)


def take_another_version_whole(house: House) -> None:
    """Payload, signature and content of version 2, under the number 1."""
    _, other = house.version(2)
    house.behind_the_door(
        "UPDATE version SET content = :content WHERE number = 1 AND content <> :content", content=other.content
    )
    put_payload(house, payload_of(house, 2))


def sign_with_a_key_of_ones_own(house: House) -> None:
    asset, version = house.version(1)
    payload = payload_of(house)
    model = MODEL.decode(version.payload)
    claim = Claim(
        project=asset.project,
        asset=asset.id,
        version=1,
        run=version.run or "",
        payload=sha256(unsigned(version.payload)),
    )
    bundle = sign({file.path: file.sha256 for file in model.files}, claim, ed25519.Ed25519PrivateKey.generate())
    payload["payload"]["signature"] = bundle.decode()
    put_payload(house, payload)


def change_the_statement(house: House) -> None:
    payload = payload_of(house)
    bundle = json.loads(payload["payload"]["signature"])
    statement = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b'"version":1', b'"version":2')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(statement).decode()
    payload["payload"]["signature"] = canonical(bundle).decode()
    put_payload(house, payload)


def change_the_digest(house: House) -> None:
    house.behind_the_door("UPDATE version SET digest = :digest WHERE number = 1", digest=sha256(b"another"))


def swap_the_content(house: House) -> None:
    """The row's content becomes that of the model that learnt nothing; the digest is made to fit."""
    asset, version = house.version(1)
    changed = msgspec.structs.replace(version, content=house.version(2)[1].content)
    house.behind_the_door(
        "UPDATE version SET content = :content, digest = :digest WHERE asset = :asset AND number = 1",
        content=changed.content,
        digest=digest_of(asset, changed),
        asset=asset.id,
    )


def flip_a_bit(house: House) -> None:
    """In every pack of the project's artifacts."""
    location = house.platform.layout.store / "objects"
    with house.platform.ground.database.read() as tx:
        packs = [row[0] for row in tx.rows("SELECT id FROM pack WHERE domain LIKE 'artifacts-%'")]
    assert packs
    for pack in packs:
        [path] = [p for p in location.rglob("*") if p.is_file() and pack in p.name]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)


CHANGES: dict[str, tuple[Callable[[House], None], type[Refused], str]] = {
    "payload": (change_payload, ModelUnsound, "signature: .* is for"),
    "signature dropped": (drop_signature, ModelUnsound, "signature: it is not signed"),
    "signature of another version": (take_the_signature_of_another_version, ModelUnsound, "signature"),
    "another version whole": (take_another_version_whole, ModelUnsound, "signature"),
    "a key of one's own": (sign_with_a_key_of_ones_own, ModelUnsound, "none of the project's"),
    "the signed statement": (change_the_statement, ModelUnsound, "does not hold for its statement"),
    "the version's digest": (change_the_digest, ModelUnsound, "digest"),
    "the content": (swap_the_content, ModelUnsound, "differs from what was signed|is not signed"),
    "a bit of the bytes": (flip_a_bit, ModelUnsound, "signature"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_version_is_not_run_and_does_not_verify(promoted, change):
    do, error, words = CHANGES[change]
    do(promoted)
    # A verdict binds the digest, so a changed one is no longer covered by it either: both say no.
    refused_with_an_entry(promoted, Refused, "delay")
    with pytest.raises(error, match=words):
        promoted.call("model.verify", thing="delay:1")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_version_is_not_promoted(registered, change):
    CHANGES[change][0](registered)
    with pytest.raises(Refused):
        registered.promote(1)
    assert registered.call("asset.show", thing="model/delay")["refs"] == []


def test_a_version_that_is_not_signed_takes_no_ref_at_all(registered):
    """Not even one that no gate guards: what is held is fit to be held."""
    drop_signature(registered)
    with pytest.raises(ModelUnsound, match="it is not signed"):
        registered.promote(1, "delay@staging")


@pytest.mark.parametrize("change", ["payload", "signature dropped", "a key of one's own"])
def test_a_changed_version_does_not_take_a_ref_back(promoted, change):
    """A rollback judges no scores again; but what is not signed is not fit to be held."""
    promoted.register(promoted.model(5))
    promoted.promote(3)
    CHANGES[change][0](promoted)
    with pytest.raises(ModelUnsound):
        promoted.call("ref.rollback", thing="delay@production")


VERDICTS = {
    "removed": "DELETE FROM verdict",
    "turned into a refusal": "UPDATE verdict SET passed = 0",
    "of another version": "UPDATE verdict SET version = 2",
    "of another ref": "UPDATE verdict SET ref = 'staging'",
    "of another candidate": "UPDATE verdict SET candidate = 'sha256:" + "0" * 64 + "'",
    "never used": "UPDATE verdict SET used_by = NULL",
    "used by another entry": "UPDATE verdict SET used_by = 'another'",
}


@pytest.mark.parametrize("change", VERDICTS)
def test_without_the_verdict_that_let_it_in_a_model_is_not_run(promoted, change):
    promoted.behind_the_door(VERDICTS[change])
    refused_with_an_entry(promoted, ModelNotPromoted, "no verdict let it in")
    with pytest.raises(ModelUnsound, match=r"verdict: .*no verdict let it in"):
        promoted.call("model.verify", thing="delay@production")


MOVES = {
    "the ref points elsewhere": "UPDATE ref SET version = 2 WHERE name = 'production'",
    "the ref and its history": "UPDATE ref_move SET version = 2 WHERE ref = 'production'",
    "a move that is no promotion": "UPDATE ref_move SET sort = 'move' WHERE ref = 'production'",
    "no history": "DELETE FROM ref_move WHERE ref = 'production'",
}


@pytest.mark.parametrize("change", MOVES)
def test_a_ref_moved_past_its_gate_is_not_run(promoted, change):
    promoted.behind_the_door(MOVES[change])
    refused_with_an_entry(promoted, ModelNotPromoted, "no verdict let it in|its history does not lead to it")


def test_a_retired_version_is_not_run(promoted):
    promoted.behind_the_door("UPDATE version SET state = 'retired' WHERE number = 1")
    with pytest.raises(Invalid, match=r"is retired|is erased"):
        promoted.predict()


def test_what_verifies_names_every_check(promoted):
    told = promoted.call("model.verify", thing="delay@production")
    assert [check["check"] for check in told["checks"]] == [
        *("signature", "digest", "format", "lineage_complete", "verdict")
    ]
    assert all(check["ok"] for check in told["checks"])
    assert promoted.call("model.verify", thing="model/delay")["version"] == 2  # the newest, where none is named


def test_verify_tells_all_that_is_wrong_at_once(promoted):
    change_payload(promoted)
    promoted.behind_the_door("DELETE FROM verdict")
    with pytest.raises(ModelUnsound) as refused:
        promoted.call("model.verify", thing="delay@production")
    failed = [check["check"] for check in refused.value.facts["checks"] if not check["ok"]]
    assert failed == ["signature", "verdict"]


def test_a_key_that_was_rotated_still_verifies_what_it_signed(promoted):
    ground = promoted.platform.ground
    asset, _ = promoted.version(1)
    with ground.units.begin(promoted.platform._store, "keys.rotate", asset.project) as unit:
        ground.keys.begin(unit).create_signing_key("sign", asset.project)
        unit.say(What.KEY_ROTATED, [asset.project])
    assert promoted.predict()["rows"] == 400
    promoted.register(promoted.model(5))
    assert promoted.call("model.verify", thing="delay:3")["sound"]
