"""Collecting: every line of the log is a row once, sealed by the digest of its segment, whatever ends the process."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

from falaj.core import predictions
from falaj.core.digests import sha256
from falaj.core.encoding import moment
from falaj.core.errors import NotFound
from falaj.monitor import keeping
from falaj.monitor.errors import DatasetTaken, SegmentChanged
from falaj.serving.prediction_log import PredictionLog
from tests.models.kites import CONTRACT
from tests.monitor.watched import DEPLOYMENT, Deployed, asked, kites, written

ROOT = Path(__file__).parents[2]


def test_every_line_is_a_row_with_its_inputs_under_their_own_names(deployed: Deployed) -> None:
    lines = asked(kites(250, seed=5))
    failed = msgspec.structs.replace(lines[7], output=None, error="the model failed")
    written(deployed.log, [*lines[:7], failed, *lines[8:200]])
    written(deployed.log, lines[200:])
    told = deployed.collect()
    assert (told["segments"], told["rows"], told["total"], told["version"]) == (2, 250, 250, 1)
    found = deployed.table("delay_predictions")
    assert found["prediction"].to_pylist() == [line.id for line in lines]
    assert found["input_wind"].to_pylist() == [line.inputs["wind"] for line in lines]
    assert found["input_town"].to_pylist() == [line.inputs["town"] for line in lines]
    assert found["key"].to_pylist() == [line.key for line in lines]
    assert found["output"].null_count == 1
    assert found["error"].to_pylist()[7] == "the model failed"
    assert [at.isoformat(timespec="microseconds") for at in found["answered_at"].to_pylist()] == [
        line.at.replace("Z", "+00:00") for line in lines
    ]
    payload = deployed.call("asset.show", thing="delay_predictions@main")["shown"]["payload"]
    types = {column["name"]: column["type"] for column in payload["columns"]}
    assert (types["input_wind"], types["input_town"], types["output"], payload["rows"]) == (
        "number",
        "string",
        "number",
        250,
    )


def test_inputs_and_key_keep_the_highest_class_that_their_data_ever_declared(deployed: Deployed) -> None:
    july = kites(20, seed=5, start=500)
    written(deployed.log, asked(july))
    deployed.collect()
    deployed.outcomes(july)
    deployed.labels()
    text = CONTRACT.replace("{name: wind,", "{name: wind, classification: confidential,")
    deployed.house.apply("contracts/kites.yaml", text.replace("{name: id,", "{name: id, classification: restricted,"))
    deployed.house.add("kites", kites(seed=3))
    deployed.house.register(deployed.house.model(5))
    more = kites(20, seed=6, start=900)
    for lowered in (False, True):
        if lowered:
            deployed.house.apply("contracts/kites.yaml", CONTRACT)
        written(deployed.log, asked(more))
        deployed.collect()
        payload = deployed.call("asset.show", thing="delay_predictions@main")["shown"]["payload"]
        classes = {column["name"]: column["classification"] for column in payload["columns"]}
        assert (classes["input_wind"], classes["key"], classes["input_town"]) == ("confidential", "restricted", None)
    deployed.outcomes(more.slice(0, 10))
    assert deployed.labels()["counts"]["joined"] == 20
    payload = deployed.call("asset.show", thing="delay_labelled@main")["shown"]["payload"]
    assert {"name": "key", "type": "string", "classification": "restricted"} in payload["columns"]


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        ([1, 2, None], "integer", [1, 2, None]),
        ([1, 2.5], "number", [1.0, 2.5]),
        ([True, None, False], "boolean", [True, None, False]),
        ([True, 1], "string", ["true", "1"]),
        (["a", 1, None], "string", ["a", "1", None]),
        ([None, None], "string", [None, None]),
        ([1, 2**70], "number", [1.0, float(2**70)]),
        (["at", "version"], "string", ["at", "version"]),
    ],
    ids=str,
)
def test_a_column_has_the_one_type_that_holds_all_of_its_values(
    deployed: Deployed, values: list[object], kind: str, kept: list[object]
) -> None:
    lines = asked(kites(len(values), seed=5))
    changed = [msgspec.structs.replace(line, inputs={"version": v}) for line, v in zip(lines, values, strict=True)]
    written(deployed.log, changed)
    deployed.collect()
    assert deployed.table("delay_predictions")["input_version"].to_pylist() == kept
    payload = deployed.call("asset.show", thing="delay_predictions@main")["shown"]["payload"]
    assert {"name": "input_version", "type": kind, "classification": None} in payload["columns"]


def test_a_segment_is_collected_once_and_sealed_by_its_digest(deployed: Deployed) -> None:
    path = written(deployed.log, asked(kites(20, seed=5)))
    digest = sha256(path.read_bytes())
    assert deployed.collect()["removed"] == 1
    assert not path.exists()
    again = deployed.collect()
    assert (again["segments"], again["rows"], again["version"], again["entry_id"]) == (0, 0, 1, "")
    (row,) = deployed.segments
    assert (row.segment, row.sha256, row.rows, row.version) == (path.name, digest, 20, 1)
    (entry,) = deployed.entries("predictions.collected")
    told = deployed.call("ledger.show", entry=str(entry["leaf"]), scope="project:kites")
    assert told["detail"]["segments"] == [{"segment": path.name, "sha256": digest, "rows": 20}]
    assert deployed.call("ledger.verify")["ok"]


def test_the_next_segments_join_those_that_are_there(deployed: Deployed) -> None:
    first, second = asked(kites(20, seed=5)), asked(kites(30, seed=6), start=100)
    written(deployed.log, first)
    deployed.collect()
    written(deployed.log, second)
    told = deployed.collect()
    assert (told["previous"], told["version"], told["rows"], told["total"]) == (1, 2, 30, 50)
    ids = deployed.table("delay_predictions")["prediction"].to_pylist()
    assert ids == [line.id for line in [*first, *second]]


def test_what_was_collected_and_lies_there_still_is_removed_and_not_collected_again(deployed: Deployed) -> None:
    """As after a kill between the commit and the removal."""
    path = written(deployed.log, asked(kites(20, seed=5)))
    data = path.read_bytes()
    deployed.collect()
    path.write_bytes(data)
    told = deployed.collect()
    assert (told["removed"], told["rows"], told["total"], path.exists()) == (1, 0, 20, False)


def test_other_bytes_under_the_name_of_a_collected_segment_are_refused(deployed: Deployed) -> None:
    path = written(deployed.log, asked(kites(20, seed=5)))
    deployed.collect()
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in asked(kites(3, seed=9))))
    with pytest.raises(SegmentChanged, match=path.name):
        deployed.collect()
    assert path.exists()
    assert deployed.table("delay_predictions").num_rows == 20


@pytest.mark.parametrize(
    "damage", [b"{}\n", b"not a line\n", b'{"id": "cut', b"\xff\n"], ids=["other", "text", "cut", "bytes"]
)
def test_a_damaged_segment_stays_where_it_lies_and_keeps_no_other_from_being_collected(
    deployed: Deployed, damage: bytes
) -> None:
    bad = written(deployed.log, asked(kites(20, seed=5)))
    with bad.open("ab") as stream:
        stream.write(damage)
    written(deployed.log, asked(kites(30, seed=6)))
    told = deployed.collect()
    assert (told["damaged"], told["rows"], bad.exists()) == ([bad.name], 30, True)


def test_segments_of_other_hosts_are_collected_from_folders_of_their_own_and_those_of_other_deployments_from_none(
    deployed: Deployed,
) -> None:
    written(deployed.log, asked(kites(10, seed=5)))
    for number, host in enumerate(("east", "west")):
        (deployed.log / host).mkdir()
        written(deployed.log / host, asked(kites(20, seed=6 + number)))
    other = written(deployed.log / "west", asked(kites(5, seed=9), deployment="other"))
    assert deployed.call("monitor.status", deployment="delay")["waiting"] == 4
    told = deployed.collect()
    assert (told["segments"], told["rows"], told["damaged"]) == (3, 50, [other.name])
    assert sorted(deployed.log.rglob("*.jsonl")) == [other]


def test_what_a_dead_server_left_is_sealed_and_collected(deployed: Deployed) -> None:
    path = written(deployed.log, asked(kites(20, seed=5)))
    left = path.rename(path.with_suffix(predictions.OPEN))
    with left.open("ab") as stream:
        stream.write(b'{"id": "01')  # torn by its end: never acknowledged
    assert deployed.collect()["rows"] == 20


def test_what_living_servers_write_at_this_moment_is_sealed_and_collected(deployed: Deployed) -> None:
    lines = asked(kites(40, seed=5))
    stopped = threading.Event()

    def serving(log: PredictionLog, mine: list[predictions.Prediction]) -> None:
        log.start()
        log.write(b"".join(msgspec.json.encode(line) + b"\n" for line in mine))
        while not stopped.wait(0.01):
            log.tick()
        log.close()

    logs = [
        PredictionLog(deployed.log, segment_bytes=1 << 30, segment_s=1e9, say=lambda *_, **_facts: None)
        for _ in range(2)
    ]
    servers = [threading.Thread(target=serving, args=(log, lines[at::2])) for at, log in enumerate(logs)]
    for server in servers:
        server.start()
    try:
        while len(predictions.unsealed(deployed.log)) < 2:
            stopped.wait(0.01)
        told = deployed.collect()
    finally:
        stopped.set()
        for server in servers:
            server.join()
    assert (told["segments"], told["rows"]) == (2, 40)
    assert sorted(deployed.table("delay_predictions")["prediction"].to_pylist()) == sorted(line.id for line in lines)


def test_nothing_predicted_is_nothing_collected(deployed: Deployed) -> None:
    told = deployed.collect()
    assert (told["version"], told["rows"], told["segments"]) == (None, 0, 0)
    with pytest.raises(NotFound):
        deployed.call("monitor.collect", deployment="other")
    with pytest.raises(NotFound):
        deployed.call("monitor.collect", deployment="delay/staging")
    assert deployed.call("monitor.collect", deployment="delay/production")["deployment"] == "delay"


def test_two_that_collect_at_once_collect_once(deployed: Deployed) -> None:
    written(deployed.log, asked(kites(20, seed=5)))
    session = deployed.house.platform.session("kites")

    def meanwhile(what: str, _done: int, _total: int) -> None:
        if what == "reading the log":
            deployed.collect()

    told = session.call("monitor.collect", {"deployment": "delay"}, progress=meanwhile)
    assert (told["rows"], told["total"]) == (0, 20)
    assert deployed.table("delay_predictions").num_rows == 20
    assert len(deployed.segments) == 1


def test_rows_of_others_under_its_name_are_not_added_to(deployed: Deployed) -> None:
    deployed.house.predict(data="kites@main", into="delay_predictions")
    written(deployed.log, asked(kites(30, seed=5)))
    for told in (deployed.collect, deployed.labels, deployed.report):
        with pytest.raises(DatasetTaken) as refused:
            told()
        assert "delay_predictions v1" in refused.value.message
    assert deployed.segments == []
    assert len(list(deployed.log.glob("*.jsonl"))) == 1


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        ("2026-10-27-01M8DCZFDCWP1MN54R88E14NNZ.parquet", True),
        ("2026-10-28-01M8DCZFDCWP1MN54R88E14NNZ.parquet", False),  # its last row may be of that day's last second
        ("01M8DCZFDCWP1MN54R88E14NNZ.parquet", False),
        ("2026-13-01-x.parquet", False),
    ],
)
def test_a_file_goes_when_the_youngest_row_that_it_can_hold_is_too_old(file: str, gone: bool) -> None:
    assert keeping.is_expired(file, 30, date(2026, 11, 27)) is gone


def test_what_was_collected_is_kept_as_long_as_the_log_and_no_longer(deployed: Deployed) -> None:
    deployed.house.apply("deploy/production.yaml", DEPLOYMENT + "log: {keep: 30d}\n")
    long_ago, now = "2020-01-01T08:00:00.000000Z", moment(datetime.now(UTC))
    written(deployed.log, asked(kites(20, seed=5, start=500), at=long_ago))
    deployed.collect()
    deployed.aged("delay_predictions", "2020-01-01")
    july = kites(30, seed=6, start=900)
    shadow = msgspec.structs.replace(asked(july, at=now)[0], role="shadow")
    written(deployed.log, [*asked(july.slice(0, 20), at=now), shadow])
    told = deployed.collect()
    assert (told["rows"], told["shadows"], told["expired"], told["total"]) == (21, 1, 20, 21)
    deployed.outcomes(july.slice(0, 15))
    assert deployed.labels()["counts"]["joined"] == 16
    deployed.aged("delay_labelled", "2020-01-01")
    assert deployed.labels()["counts"]["before"] == 16
    assert deployed.table("delay_labelled").num_rows == 0
    written(deployed.log, asked(july.slice(20, 10), at=now))
    deployed.collect()
    deployed.outcomes(july)
    assert deployed.labels()["counts"]["joined"] == 15
    deployed.call("store.gc")
    assert deployed.states("delay_predictions") == ["erased", "erased", "live", "live"]
    assert deployed.states("delay_labelled") == ["erased", "erased", "live", "live"]
    assert deployed.states("delay_waiting") == ["live"] * 3
    assert len(deployed.entries("predictions.expired")) == 2
    assert deployed.call("store.verify")["ok"]
    assert deployed.call("ledger.verify")["ok"]


@pytest.mark.faults
def test_killed_anywhere_nothing_is_lost_and_nothing_doubled(
    deployed: Deployed, tmp_path: Path, rng: random.Random
) -> None:
    place, kills = deployed.house.folder.parent, 16
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    lines = [asked(kites(10, seed=at), start=100 * at) for at in range(kills)]
    digests = {hashlib.sha256(written(prepared, some).read_bytes()).hexdigest() for some in lines}
    assert deployed.log.is_dir()
    deployed.house.platform.close()
    words = [str(place), str(prepared), str(rng.randrange(2**32)), str(kills)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.monitor.killed", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ends = done.stdout.split("\n")[:-1]
    assert ends[0] == "ended", done.stderr
    assert set(ends) <= {"ended", "killed"}, done.stderr
    assert ends.count("killed") >= kills // 2
    after = Deployed.reopened(place)
    after.collect()
    found = after.table("delay_predictions")["prediction"].to_pylist()
    assert sorted(found) == sorted(line.id for some in lines for line in some)
    assert {row.sha256.removeprefix("sha256:") for row in after.segments} == digests
    assert list(after.log.glob("*.jsonl")) == []
    assert after.call("ledger.verify")["ok"]
    assert after.call("store.verify")["ok"]
    after.house.platform.close()
