"""From one answer of a running server back to everything it came from; from its log, and from what was collected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.cli.commands.lineage import lineage as command
from falaj.cli.render import RENDERERS
from falaj.cli.spec import UsageError
from falaj.core.errors import Damaged, NotFound
from falaj.core.ids import new_id
from falaj.core.predictions import OPEN, SEALED
from falaj.monitor import tracing
from tests.deploy.lines import answer, failed_over
from tests.gates.conftest import maintainer
from tests.gates.kites import CODE, RULES, World, begin
from tests.models.files import town_model
from tests.monitor.watched import DEPLOYMENT as DELAYS
from tests.monitor.watched import Deployed, asked, kites
from tests.monitor.watched import written as kept
from tests.platform.places import Served, make_place, serve
from tests.serving.running import Running

DEPLOYMENT = "deployment: kite\nmodel: kite@production\nrollout: {canary: [100%], bake: 10 requests}\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = serve(make_place(tmp_path / "flights"))
    yield made
    made.platform.close()


@pytest.fixture(name="watched")
def of_kites(deployed_place: Path, tmp_path: Path) -> Iterator[Deployed]:
    shutil.copytree(deployed_place, tmp_path / "kites")
    made = Deployed.reopened(tmp_path / "kites")
    yield made
    made.house.platform.close()


def deployed(served: Served, folder: Path) -> World:
    """A model that science proposed and risk approved, and its deployment."""
    w = begin(served, folder, RULES)
    w.apply({"path": "deploy/kite.yaml", "text": DEPLOYMENT})
    w.register(town_model())
    proposed = served.person("science", ("contributor", "project:flights"))
    asked = proposed.call("ref.propose", thing="kite@production", version=1)
    maintainer(served, "risk").call("ref.approve", proposal=asked.id)
    return w


def test_one_answer_leads_to_all_that_it_came_from(served: Served, tmp_path: Path) -> None:
    w = deployed(served, tmp_path)
    status = w.owner.call("deploy.status", deployment="kite")
    running = Running(w.platform.layout.serving / "kite", "--key", status.key)
    try:
        inputs: list[dict[str, Any]] = [
            {"name": "town", "shape": [2], "datatype": "BYTES", "data": ["Sur", "Nizwa"]},
            {"name": "wind", "shape": [2], "datatype": "FP64", "data": [12.0, 3.0]},
        ]
        told = running.post("/v2/models/kite/infer", {"inputs": inputs}).json
        prediction = told["parameters"]["prediction_id"]
        open_one = w.owner.call("prediction.lineage", prediction=prediction)
    finally:
        running.stop()
    check(w, open_one, told)
    # Sealed when the server ended; then taken into a dataset: it is the same answer wherever it stands.
    sealed = w.owner.call("prediction.lineage", prediction=prediction)
    assert sealed.where.endswith(SEALED)
    w.owner.call("monitor.collect", deployment="kite")
    assert not list((w.platform.layout.serving / "kite" / "log").iterdir())
    collected = w.owner.call("prediction.lineage", prediction=prediction)
    assert collected.where.endswith(".parquet")
    same = [msgspec.structs.replace(one, where="") for one in (open_one, sealed, collected)]
    assert same[0] == same[1] == same[2]
    session = w.platform.session("flights")
    typed = command(session, {}, {"thing": f"prediction:{prediction}"}, lambda *_: None)
    assert typed["where"] == collected.where
    with pytest.raises(UsageError):
        command(session, {}, {"thing": f"prediction:{prediction}", "direction": "down"}, lambda *_: None)
    of_a_canary(w, served)
    lines = RENDERERS["prediction"](json.loads(msgspec.json.encode(collected)), {})
    assert "kite v1" in lines[0]
    assert any("proposed by science, approved by risk" in line for line in lines)


def check(w: World, found: Any, told: Any) -> None:
    probabilities = next(one["data"] for one in told["outputs"] if one["datatype"].startswith("FP"))
    assert [row.output for row in found.rows] == pytest.approx(probabilities[-2:])
    assert (found.deployment, found.revision, found.role, found.model, found.version) == (
        "kite",
        1,
        "stable",
        "kite",
        1,
    )
    assert found.made.data == ("kites:2",)
    assert (found.made.code, found.made.clean, found.made.run_name) == (CODE["commit"], True, "train")
    assert found.made.environment == f"sha256:{'ab' * 32}"
    assert (found.admitted.proposed_by, found.admitted.approved_by) == ("science", ("risk",))
    assert found.admitted.gates == ("production v1",)
    assert found.admitted.verdicts == (w.verdicts()[-1].id,)
    assert found.problems == ()


def of_a_canary(w: World, served: Served) -> None:
    """A second version on its way: its answers name the rollout, and who asked for and allowed it."""
    w.register(town_model(4))
    proposing = served.person("analytics", ("contributor", "project:flights"))
    asked = proposing.call("ref.propose", thing="kite@production", version=2)
    maintainer(served, "audit").call("ref.approve", proposal=asked.id)
    rollout = w.owner.call("deploy.status", deployment="kite").rollout
    mine, unknown = new_id(), new_id()
    log = w.platform.layout.serving / "kite" / "log"
    written(log, answer("canary", 0.5, revision=2, id=mine), answer("stable", 0.5, version=9, revision=7, id=unknown))
    found = w.owner.call("prediction.lineage", prediction=mine)
    assert (found.role, found.version, found.problems) == ("canary", 2, ())
    assert (found.admitted.rollout, found.admitted.verdicts) == (rollout.id, (w.verdicts()[-1].id,))
    assert (found.admitted.proposed_by, found.admitted.approved_by) == ("analytics", ("audit",))
    # A line that the store knows nothing of is told as such, and not believed.
    odd = w.owner.call("prediction.lineage", prediction=unknown)
    assert (odd.made, odd.admitted) == (None, None)
    assert odd.problems[:2] == ("there is no kite v9", "no routing table 7 of kite leads to kite v9")


@pytest.mark.parametrize(
    "prediction", ["", "x", "../../etc/passwd", new_id()], ids=["empty", "short", "path", "unknown"]
)
def test_an_id_that_nobody_gave_gets_one_clear_error(served: Served, tmp_path: Path, prediction: str) -> None:
    w = begin(served, tmp_path, None)
    with pytest.raises(NotFound, match="neither in a log on this host nor among collected predictions"):
        w.owner.call("prediction.lineage", prediction=prediction)


def test_the_damage_of_one_deployment_is_told_beside_the_answer_of_another(watched: Deployed) -> None:
    text = DELAYS.replace("deployment: delay", "deployment: before").replace("delay@production", "delay@staging")
    watched.house.apply("deploy/before.yaml", text)
    (line,) = asked(kites(1, seed=5))
    kept(watched.log, [line])
    other = watched.log_of("before")
    (other / f"{new_id()}{SEALED}").write_text(f'{{"id":"{line.id}","torn\n', encoding="utf-8")
    for ending in (SEALED, ".parquet"):
        found = watched.call("prediction.lineage", prediction=line.id)
        assert (found["deployment"], Path(found["where"]).suffix) == ("delay", ending)
        assert [one for one in found["problems"] if one.startswith("deployment before: ")]
        watched.collect()
    (other / f"{new_id()}{SEALED}").write_text(f'{{"id":"{(lost := new_id())}","torn\n', encoding="utf-8")
    with pytest.raises(Damaged, match="not a prediction"):  # what cannot be read may be what is looked for
        watched.call("prediction.lineage", prediction=lost)


# where a line may stand


def written(log: Path, *answers: Any, ending: str = SEALED, rest: bytes = b"") -> Path:
    log.mkdir(exist_ok=True)
    path = log / f"{new_id()}{ending}"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for lines in answers for line in lines) + rest)
    return path


def test_an_answer_is_found_in_whatever_segment_it_stands(tmp_path: Path) -> None:
    before, begun = new_id(), new_id()
    written(tmp_path / "log", answer("stable", 0.1, id=begun), answer("stable", 0.2, id=new_id()))
    late = new_id()
    written(tmp_path / "log", answer("stable", 0.3, id=late), ending=OPEN, rest=b'{"id":"torn')
    written(tmp_path / "log", answer("stable", 0.4, id=before))  # its id is older than any segment
    outputs = [tracing.in_log(tmp_path / "log", one)[0].output for one in (begun, late, before)]
    assert outputs == [0.1, 0.3, 0.4]
    assert tracing.in_log(tmp_path / "log", new_id()) == []
    assert tracing.in_log(tmp_path / "none", before) == []


def test_what_a_shadow_said_was_not_answered_and_what_failed_first_is_told(tmp_path: Path) -> None:
    lines = failed_over(0.7)
    written(tmp_path / "log", lines, answer("shadow", 0.9, id=lines[0].id))
    mine, failed = tracing.answered(tracing.in_log(tmp_path / "log", lines[0].id))
    assert [(one.role, one.output) for one in mine] == [("stable", 0.7)]
    assert [(one.role, one.error) for one in failed] == [("canary", "model_failed")]


def test_an_id_inside_of_another_line_is_not_that_answer(tmp_path: Path) -> None:
    wanted = new_id()
    written(tmp_path / "log", answer("stable", 0.1, id=new_id(), key=wanted))
    assert tracing.in_log(tmp_path / "log", wanted) == []


def test_a_line_with_the_id_that_is_no_prediction_is_damage(tmp_path: Path) -> None:
    wanted = new_id()
    written(tmp_path / "log", rest=f'{{"id":"{wanted}","at":7}}\n'.encode())
    with pytest.raises(Damaged, match="not a prediction"):
        tracing.in_log(tmp_path / "log", wanted)
