"""What a verdict rests on: all of it, in one folder that a stranger verifies, for who may hold it; measured again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from falaj.cli.commands.gate import evidence
from falaj.core.entries import What
from falaj.core.errors import FalajError, Forbidden, NotFound
from tests.gates.conftest import maintainer
from tests.gates.kites import APPROVAL, CHECKS, METRICS, World, begin, gate_file
from tests.models.files import town_model
from tests.platform.places import Person, Served, make_place, serve

STRANGER = Path(__file__).parents[2] / "docs" / "stranger_evidence.py"
RULES = METRICS + CHECKS + "  - latency_p99: 900ms\n" + APPROVAL
PRODUCTION = "kite@production"


class Talk:
    """A session of one person, as the command line has it."""

    project = "flights"

    def __init__(self, served: Served, person: Person) -> None:
        self._served, self._person = served, person

    def call(self, operation: str, args: Any, *, progress: Any = None, idempotency_key: str = "") -> Any:
        import msgspec

        return msgspec.to_builtins(self._person.call(operation, **args))

    def stream(self, operation: str, args: Any) -> Iterator[bytes]:
        return iter(self._person.call(operation, **args))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A store in which one version was approved and holds the ref, and another was judged against it."""
    folder = tmp_path_factory.mktemp("backing")
    served = serve(make_place(folder / "flights"))
    w = begin(served, folder, RULES)
    maya, badr = maintainer(served, "maya"), maintainer(served, "badr")
    first, second = w.register(town_model()), w.register(town_model(seed=4))
    asked = maya.call("ref.promote", thing=PRODUCTION, version=first, reason="summer winds")
    badr.call("ref.approve", proposal=asked.proposal, reason="looked at it")
    judged = maya.call("gate.judge", thing=PRODUCTION, version=second)
    served.platform.sign()
    yield {"served": served, "w": w, "maya": maya, "used": asked.verdicts[0], "judged": judged.verdicts[0].id}
    served.platform.close()


def written(told: dict[str, Any], verdict: str, into: Path, **more: Any) -> dict[str, Any]:
    talk = Talk(told["served"], told["maya"])
    return evidence(talk, {"folder": str(into.parent)}, {"verdict": verdict, "into": into.name, **more}, print)


def stranger(*args: Any) -> tuple[int, str]:
    ran = subprocess.run([sys.executable, STRANGER, *map(str, args)], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_all_that_a_verdict_rests_on_lies_in_one_folder_and_a_stranger_verifies_it(told: Any, tmp_path: Path) -> None:
    found = written(told, told["used"], tmp_path / "out")
    assert {part["role"]: part["thing"] for part in found["parts"]} == {
        "candidate": "model/kite:1", "gate": "gate/production:1", "evidence": "dataset/kites:3",
        "contract": "contract/kites:1",
    }  # fmt: skip
    assert (found["proposed_by"], found["reason"], [a["by"] for a in found["approvals"]]) == (
        "maya", "summer winds", ["badr"],
    )  # fmt: skip
    assert found["moved"]["approved_by"] == ["badr"]
    assert found["missing"] == []
    assert {"falaj", "python", "numpy", "machine"} <= found["program"].keys()
    whats = {entry["what"] for entry in found["entries"]}
    assert whats >= {"verdict.given", "ref.proposed", "ref.approved", "ref.moved", "version.added"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "badr" in page
    assert "auc by town" in page
    assert "://" not in page  # nothing is fetched
    vkey = (tmp_path / "out" / "falaj.vkey").read_text().strip()
    code, said = stranger(tmp_path / "out", "--vkey", vkey)
    assert code == 0, said
    for claim in ("the figures are those that were recorded", "its files are signed", "who proposed did not approve"):
        assert claim in said


def test_a_stranger_sees_every_change_of_what_was_written(told: Any, tmp_path: Path) -> None:
    written(told, told["judged"], tmp_path / "out")
    file = tmp_path / "out" / "evidence.json"
    kept = file.read_text()
    assert stranger(tmp_path / "out", "--model", told["w"].folder / "model.skops")[0] == 0
    assert stranger(tmp_path / "out", "--model", STRANGER)[0] == 1
    said = json.loads(kept)
    auc = next(f for f in said["verdict"]["findings"] if f["rule"] == "auc ≥ 0.8")
    changes = [
        ("a figure", f'"observed":{auc["observed"]}', '"observed":0.999'),
        ("a rule", "auc \u2265 0.8", "auc \u2265 0.7"),
        ("who is behind it", said["entries"][-1]["body"][-60:-40].replace('"', '\\"'), "x" * 20),
        ("a model's file", said["parts"][0]["files"][0]["sha256"], "sha256:" + "0" * 64),
        ("a digest", said["parts"][0]["digest"], "sha256:" + "0" * 64),
        ("a path", said["entries"][0]["path"][0], "A" * 43 + "="),
    ]
    for what, was, now in changes:
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        assert was in text, what
        file.write_text(text.replace(was, now))
        assert stranger(tmp_path / "out")[0] == 1, what
    other = "falaj.test/other+00000000+AA=="
    file.write_text(kept)
    assert stranger(tmp_path / "out", "--vkey", other)[0] == 1


def test_measured_again_it_gives_the_same_figures(told: Any, tmp_path: Path) -> None:
    found = written(told, told["judged"], tmp_path / "out", check=True)
    checked = found["checked"]
    assert (checked["measured"], checked["same"], list(checked["missing"])) == (True, True, [])
    assert {r["rule"]: r["outcome"] for r in checked["rules"]}["brier against holder no worse than 0.01"] == "same"
    assert {r["outcome"] for r in checked["rules"]} == {"same", "not_compared"}
    assert json.loads((tmp_path / "out" / "checked.json").read_text())["same"]
    w: World = told["w"]
    [entry] = [e for e in w.entries() if e.what == What.VERDICT_CHECKED]
    assert entry.on[0] == told["judged"]
    assert w.verdicts()[-1].id == told["judged"]  # it leaves no verdict


def test_who_may_hold_it_and_no_row_of_data_is_in_it(told: Any) -> None:
    served, asked = told["served"], {"verdict": told["used"]}
    before = sum(e.op == "gate.evidence" for e in told["w"].entries())
    rana = served.person("rana", ("auditor", "project:flights"))
    text = b"".join(rana.call("gate.evidence", **asked)).decode()
    assert sum(e.op == "gate.evidence" for e in told["w"].entries()) == before + 1
    rows = (told["w"].folder / "holdout.csv").read_text().splitlines()
    words = set(re.split(r'[":,]', text))
    assert words.isdisjoint(row.partition(",")[0] for row in rows[1:])
    assert "minutes," not in text
    here = served.person("hind", ("auditor", "ref:flights/model/kite@production"))
    assert b"".join(here.call("gate.evidence", **asked))
    with pytest.raises(Forbidden):  # measuring computes, and leaves a run: auditors change nothing
        rana.call("gate.check", **asked)
    vera = served.person("vera", ("viewer", "project:flights"))
    with pytest.raises(Forbidden):
        vera.call("gate.evidence", **asked)
    for stranger_ in (served.person("zaid"), served.person("lina", ("auditor", "ref:flights/model/kite@staging"))):
        for operation in ("gate.evidence", "gate.check"):
            with pytest.raises(NotFound):
                stranger_.call(operation, **asked)


def test_what_was_erased_is_said_to_be_erased(told: Any) -> None:
    """Runs last: it takes the evidence away."""
    w, served = told["w"], told["served"]
    badr = maintainer(served, "badr2")
    changed = w.apply(gate_file(CHECKS))
    badr.call("ref.approve", proposal=changed.files[0].proposal)
    w.add(w.folder / "2013-02.csv", ref="elsewhere", mode="replace")
    moved = w.owner.call("ref.promote", thing="dataset/kites@holdout", version=4)
    if moved.proposal:
        badr.call("ref.approve", proposal=moved.proposal)
    w.owner.call("version.retire", thing="dataset/kites:3")
    again = told["maya"].call("gate.check", verdict=told["judged"])
    assert (again.measured, again.same) == (True, True)  # retired, and its bytes are there
    served.owner.call("store.gc", project="")
    again = told["maya"].call("gate.check", verdict=told["judged"])
    assert (again.measured, again.same) == (False, False)
    assert again.missing == ("dataset/kites:3: its bytes were erased; it cannot be measured again",)
    found = json.loads(b"".join(told["maya"].call("gate.evidence", verdict=told["judged"])))
    assert "dataset/kites:3: its bytes were erased; its digest and its entries stay" in found["missing"]
    with pytest.raises(FalajError):
        w.owner.call("gate.judge", thing=PRODUCTION, version=99)
