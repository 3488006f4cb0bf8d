"""The whole way by command line, on the real flights: months in, a broken one refused, models judged, used, proved.

It is played once; each test reads what one step told.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.playing import ROOT, TOUR, Folder, Told, example

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LABEL = "arr_delay > 30"
ENTRY = r"   entry \d+"


class Play:
    """A project folder, and what each step on it told."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.told: dict[str, Told] = {}

    def step(self, name: str, *words: object, code: int = 0) -> Told:
        told = self.told[name] = self.folder(*words)
        assert told.code == code, (name, told)
        return told

    def train(self, *words: str) -> None:
        subprocess.run([sys.executable, "train.py", *words], cwd=self.folder.path, check=True, capture_output=True)

    def __getitem__(self, name: str) -> Told:
        return self.told[name]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory, months: Path) -> Play:
    path = tmp_path_factory.mktemp("slice") / "flights"
    play = Play(example(path))
    shutil.copy(TOUR / "train.py", path)
    gate = path / "gates" / "production.yaml"
    gate.write_text(gate.read_text().replace("at_least: 0.65", "at_least: 0.64"))  # two months of training, not three
    play.step("apply", "apply")
    play.step("first", "data", "add", "flights", months / "2013-01.csv")
    play.step("second", "data", "add", "flights", months / "2013-02.csv")
    play.step("broken", "data", "add", "flights", months / "broken.csv", code=6)
    play.step("holdout", "data", "add", "flights", months / "2013-04.csv", "--ref", "holdout")
    play.step("june", "data", "add", "flights", months / "2013-06.csv", "--ref", "2013-06")
    play.train("--worse")
    play.train()
    _models(play)
    _proofs(play)
    return play


def _models(play: Play) -> None:
    ask: Callable[..., Told] = play.step
    ask("sealed", "model", "register", "delay", "model.skops", "--label", LABEL, "--input", "flights@holdout", code=6)
    ask("worse", "promote", "delay@production", 1, code=6)
    ask("early", "predict", "delay@production", "flights@2013-06", "--into", "delay_predictions", code=3)
    ask("promote", "promote", "delay@production", 2, "--reason", "spring")
    ask("again", "promote", "delay@production", 2)
    ask("predict", "predict", "delay@production", "flights@2013-06", "--into", "delay_predictions")
    ask("number", "predict", "delay:1", "flights@2013-06", "--into", "delay_predictions", code=6)
    columns = [word for name in ("carrier", "origin", "dest", "hour") for word in ("--column", name)]
    [trained, _] = play.folder.done("run", "list", "--sort", "script", "--json").json["items"]
    ask("register", "model", "register", "delay", "model.skops", "--label", LABEL, "--run", trained["id"], *columns)
    ask("third", "promote", "delay@production", 3, "--expect", 2)
    ask("stale", "promote", "delay@production", 1, "--expect", 2, code=5)
    ask("rollback", "rollback", "delay@production", "--reason", "just to try")
    ask("never", "rollback", "delay@production", 1, code=6)


def _proofs(play: Play) -> None:
    ask: Callable[..., Told] = play.step
    ask("lineage", "lineage", "delay_predictions")
    ask("log", "log", "delay@production")
    ask("model", "model", "verify", "delay@production")
    ask("held", "rm", "delay:2", code=6)
    ask("rm", "rm", "delay:1", "--reason", "worse")
    ask("gc", "gc")
    ask("gone", "model", "verify", "delay:1", code=6)
    ask("verify", "verify")
    ask("ledger", "ledger", "verify")
    ask("export", "ledger", "export", "export")
    ask("twice", "ledger", "export", "export", code=5)


def test_files_become_assets(play):
    assert [line.split() for line in play["apply"].lines[:-1]] == [
        ["contracts/flights.yaml", "contract/flights", "created", "v1"],
        ["gates/production.yaml", "gate/production", "created", "v1"],
        ["falaj.toml", "location/main", "created", "v1"],
        ["falaj.toml", "policy/residency", "created", "v1"],
    ]


def test_months_become_versions(play):
    head, moved = play["first"].lines
    assert re.fullmatch(
        r"  flights v1   27,004 rows   1 file   2\.5 MB read, \d+\.\d kB stored   contract 38 of 38", head
    )
    assert re.fullmatch(rf"  flights@main  v1{ENTRY}", moved)
    assert re.fullmatch(rf"  flights@main  v1 → v2{ENTRY}", play["second"].lines[-1])
    assert "51,955 rows   2 files" in play["second"].lines[0]


def test_a_broken_month_names_every_failed_rule_and_moves_nothing(play):
    head, *findings, kept, following, see, entry, run, code = play["broken"].err.splitlines()[-10:]
    assert head == "  refused  flights: 3 of 38 rules failed (contract 1.0.0)"
    assert [line.strip() for line in findings] == [
        "tailnum null ≤ 2 %                                  60.3 %",
        "distance between 1 and 6,000                        7 rows, e.g. 999999",
        "unique (year, month, day, carrier, flight, origin)  412 rows, e.g. 2013-05-01 AA 677 JFK",
    ]
    assert kept == "  nothing moved under flights@main; what was refused is kept as flights@rejected"
    assert following.startswith("  next   ")
    assert see == "  see    falaj data contract show flights --version 3"
    assert re.fullmatch(r"  entry  \d+", entry)
    assert run.startswith("  run    ")
    assert code == "  code   contract_refused"


def test_training_may_not_name_what_the_gate_measures_on(play):
    assert play["sealed"].err.splitlines()[-1].split() == ["code", "evidence_sealed"]


def test_a_worse_model_is_refused_by_what_the_gate_measured_itself(play):
    lines = [line for line in play["worse"].err.splitlines() if not line.startswith("  reading")]
    assert re.fullmatch(r"  refused  gate production v1: 2 of 7 rules failed", lines[0])
    assert re.fullmatch(r"    auc            0\.5\d+ < 0\.64         27,\d{3} rows", lines[1])
    assert re.fullmatch(r"    auc by origin  [A-Z]{3} 0\.5\d+ < 0\.6 +[\d,]+ rows", lines[2])
    assert any(line.startswith("  see    falaj gate show ") for line in lines)


def test_nothing_predicts_that_no_gate_let_in(play):
    assert "not_found" in play["early"].err
    assert play["number"].err.splitlines()[-1].split() == ["code", "model_not_promoted"]


def test_a_better_model_moves_with_what_was_found(play):
    head, *findings = play["promote"].lines
    assert re.fullmatch(rf"  delay@production  v2   gate production v1{ENTRY}", head)
    assert [line.split()[0] for line in findings] == ["passed"] * 6 + ["waived"]
    assert play["again"].lines == ["  delay@production  v2   held it already"]


def test_the_promoted_model_scores_a_month_it_never_saw(play):
    head, by, moved = play["predict"].lines
    assert re.fullmatch(r"  delay_predictions v1   28,243 rows   mean probability 0\.\d+   \d+\.\d kB stored", head)
    assert re.fullmatch(r"  by delay:2 on flights:5   verdict 01\w{24}", by)
    assert re.fullmatch(rf"  delay_predictions@main  v1{ENTRY}", moved)


def test_a_registered_model_says_what_it_reads_and_who_signed(play):
    told = play["register"].out
    assert re.match(r"  delay v3   skops   \d+\.\d kB read, \d+\.?\d* k?B stored   entry \d+\n", told)
    assert "carrier text, origin text, dest text, hour integer" in told
    assert "dataset/flights:2" in told
    assert re.search(r"\n    signed by key \S+   loaded under ", told)


def test_a_promotion_that_expects_another_holder_moves_nothing(play):
    assert re.match(rf"  delay@production  v2 → v3   gate production v1{ENTRY}\n", play["third"].out)
    assert play["stale"].err.splitlines()[-1].split() == ["code", "ref_moved"]


def test_rollback_goes_only_to_what_held_the_ref(play):
    assert re.fullmatch(rf"  delay@production  v3 → v2{ENTRY}", play["rollback"].lines[0])
    assert play["never"].err.splitlines()[-1].split() == ["code", "rollback_refused"]


def test_lineage_leads_from_predictions_to_data_code_and_people(play):
    told = play["lineage"].out
    for part in (
        r"^  dataset/delay_predictions v1 @main",
        r"^    model/delay v2 @production",
        r"made by script, run 01\w{24} · script [0-9a-f]{12} · from flights:2$",
        r"^      dataset/flights v2 @main",
        r"^    dataset/flights v5 @2013-06",
    ):
        assert re.search(part, told, re.MULTILINE), part


def test_the_log_tells_every_move_and_its_reason(play):
    moves = [line.split() for line in play["log"].lines[1:]]
    assert [(m[1:4], m[-1]) for m in moves[:1]] == [(["v3", "→", "v2"], "try")]
    assert [m[m.index("entry") - 4] for m in moves] == ["rollback", "promote", "promote"]
    assert moves[-1][-1] == "spring"


def test_a_sound_model_says_all_that_was_looked_at(play):
    assert re.match(r"  delay v2   sound   sha256:[0-9a-f]{64}\n", play["model"].out)
    assert [line.split()[0] for line in play["model"].lines[1:]] == ["ok"] * 5


def test_a_retired_version_loses_its_bytes_and_a_held_one_cannot_be_retired(play):
    assert "held by production" in play["held"].err
    assert re.fullmatch(rf"  delay:1   retired{ENTRY}", play["rm"].lines[0])
    assert re.match(r"  deleted \d+ packs?, [\d.]+ k?B", play["gc"].out)
    assert "1 retired version are gone" in play["gc"].out or "1 retired version is gone" in play["gc"].out
    assert "model_unsound" in play["gone"].err


def test_everything_is_proved(play):
    for name in ("verify", "ledger"):
        assert play[name].lines[0].endswith(" · consistent · every state has its entry")


def test_a_stranger_verifies_the_export_with_a_script_of_their_own(play):
    folder = play.folder.path / "export"
    assert {p.name for p in folder.iterdir()} >= {"leaves.jsonl", "checkpoint", "falaj.vkey"}
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "stranger_verify.py"), str(folder)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked
    size = len((folder / "leaves.jsonl").read_bytes().splitlines())
    assert re.match(rf"  {size:,} entries written to ", play["export"].out)
    assert "export_exists" in play["twice"].err


def test_every_refusal_of_the_play_is_an_entry(play):
    page = play.folder.done("ledger", "log", "--what", "request.refused", "--limit", 100, "--json").json
    codes = [entry["detail"]["code"] for entry in page["items"]]
    assert {"contract_refused", "evidence_sealed", "gate_refused", "model_not_promoted", "rollback_refused"} <= set(
        codes
    )


def test_the_same_facts_in_json(play):
    told = play.folder.done("log", "delay@production", "--json")
    assert [m["version"] for m in json.loads(told.out)["moves"]] == [2, 3, 2]
