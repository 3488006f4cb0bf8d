"""The life of an inference server: bundles come and go, requests do not fail; what was answered is in the log."""

from __future__ import annotations

import http.client
import resource
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.core import bundle, predictions
from falaj.core.bundle import BundleInput, LogRule
from falaj.core.predictions import Prediction
from tests.serving.places import NUMBERS, Place, changed, forged, shadow, sigmoid, signed, windy
from tests.serving.running import Running, one, until


def logged(folder: Path, *, also_open: bool = True) -> list[Prediction]:
    log = folder / "log"
    paths = [*predictions.sealed(log), *(predictions.unsealed(log) if also_open else ())]
    return [line for path in paths for line in predictions.read(path)[0]]


class Crowd:
    """Clients that ask again and again until they are told to stop, each over one connection."""

    def __init__(self, server: Running, clients: int = 4) -> None:
        self.answers: list[tuple[float, int, str, str]] = []
        self.broken: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(server, f"client-{i}")) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, server: Running, name: str) -> None:
        connection = server.connection()
        body = msgspec.json.encode({"inputs": one(1, 12.0), "parameters": {"key": name}})
        try:
            while not self._over.is_set():
                connection.request("POST", "/v2/models/delay/infer", body)
                found = connection.getresponse()
                told = found.read()
                head = found.headers
                now = time.monotonic()
                self.answers.append((now, found.status, head["falaj-model-version"], head["falaj-prediction"]))
                if found.status != 200:
                    self.broken.append(told.decode())
        except (OSError, http.client.HTTPException) as error:
            self.broken.append(repr(error))
        finally:
            connection.close()

    def versions(self) -> Counter[str]:
        return Counter(version for _, _, version, _ in self.answers)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


def test_bundles_are_swapped_under_load_and_no_request_fails(place, start):
    place.deploy(1, 6)
    server = start()
    crowd = Crowd(server)
    for revision in range(2, 22):
        place.deploy(revision, 6 + revision % 2)
        assert server.serves(revision)
    until(lambda: len(crowd.answers) >= 1_000)
    crowd.stop()
    assert crowd.broken == []
    assert set(crowd.versions()) == {"6", "7"}
    assert {p for _, _, _, p in crowd.answers} <= {line.id for line in logged(server.folder)}
    assert server.get("/stats").json["swaps"] == 21


def test_after_a_rollback_no_answer_is_by_the_later_version(place, start):
    place.deploy(1, 6)
    server = start()
    place.deploy(2, 7, previous=1)
    assert server.serves(2)
    place.deploy(3, 6, previous=2)
    assert server.serves(3)
    assert {server.infer(key=str(i)).json["model_version"] for i in range(20)} == {"6"}


def break_current(place: Place) -> None:
    (place.folder.root / "current").write_text("the latest\n")


def break_signature(place: Place) -> None:
    document = bytearray(signed(place.bundle(2, 7)))
    document[-10] ^= 1
    place.folder.publish(2, bytes(document))


def break_file(place: Place) -> None:
    place.add(9, windy(9), NUMBERS)
    path = place.folder.root / "models" / "9" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    place.deploy(2, 9)


def lose_file(place: Place) -> None:
    place.add(9, windy(9), NUMBERS)
    (place.folder.root / "models" / "9" / "model.onnx").unlink()
    place.deploy(2, 9)


def leave_verdict_out(place: Place) -> None:
    models = {**place.models, "7": changed(place.models["7"], verdict="")}
    place.folder.publish(2, forged(changed(place.bundle(2, 7), models=models)))


def revoke(place: Place) -> None:
    place.folder.publish(2, forged(changed(place.bundle(2, 7), revoked=(place.models["7"].digest,))))


def be_no_model(place: Place) -> None:
    place.add(9, b"\x08\x01 no model", NUMBERS)
    place.deploy(2, 9)


def be_no_skops(place: Place) -> None:
    place.add(9, b"PK no model" * 9, NUMBERS)
    place.deploy(2, 9)


def name_other_inputs(place: Place) -> None:
    place.add(9, windy(9), (*NUMBERS, bundle.BundleInput(name="more", type="number")))
    place.deploy(2, 9)


BREAKS: list[Any] = [
    break_current,
    break_signature,
    break_file,
    lose_file,
    leave_verdict_out,
    revoke,
    be_no_model,
    be_no_skops,
    name_other_inputs,
]


def test_a_broken_bundle_leaves_the_last_good_one_serving(place, start):
    place.deploy(1, 6)
    server = start()
    for count, broken in enumerate(BREAKS, 1):
        broken(place)
        assert until(lambda count=count: server.get("/stats").json["bundles_refused"] >= count), broken
        told = server.get("/v2/health/ready").json
        assert (told["revision"], told["refused"]["code"]) == (1, told["refused"]["code"]), broken
        assert server.infer().json["model_version"] == "6", broken
    place.models.pop("9")
    place.deploy(3, 7)
    assert server.serves(3)
    assert server.get("/v2/health/ready").json["refused"] is None


def test_an_older_bundle_is_not_taken_up_not_even_after_a_restart(place, start):
    place.deploy(5, 6)
    server = start()
    older = signed(changed(place.bundle(4, 7), issued_at="2026-10-01T00:00:00.000000Z"))
    place.folder.publish(4, older)
    assert until(lambda: server.get("/stats").json["bundles_refused"] == 1)
    assert server.infer().json["model_version"] == "6"
    assert until((place.folder.root / "served").is_file)
    server.stop()
    again = start()
    assert again.events("bundle_refused")[0]["code"] == "bundle_refused"
    assert again.infer().json["model_version"] == "6"


def test_without_a_bundle_it_waits_for_one(place, start):
    server = start()
    assert server.get("/v2/health/live").status == 200
    assert server.get("/v2/health/ready").status == 503
    told = server.infer()
    assert (told.status, told.json["code"]) == (503, "not_serving")
    assert server.post("/invocations", {}).json["error_code"] == "TEMPORARILY_UNAVAILABLE"
    place.deploy(1, 6)
    assert server.serves(1)
    assert server.infer().status == 200


def test_a_lease_that_is_over_is_told_and_the_server_goes_on(place, start):
    one = place.bundle(1, 6)
    place.publish(changed(one, lease_until=one.issued_at))
    server = start()
    told = server.get("/v2/health/ready").json
    assert (told["ready"], told["lease_over"]) == (True, True)
    assert server.infer().status == 200
    place.deploy(1, 6)
    assert until(lambda: not server.get("/v2/health/ready").json["lease_over"])


def test_a_canary_answers_its_share_and_the_same_keys(place, start):
    place.deploy(1, 6, 7, share=3_000)
    server = start()
    keys = [f"flight-{i}" for i in range(60)]
    answers = {key: server.infer(key=key).headers["falaj-model-version"] for key in keys}
    assert answers == {k: "7" if bundle.slot("delay", 7, k) < 3_000 else "6" for k in keys}
    by_header = server.post("/v2/models/delay/infer", {"inputs": one(1, 1)}, falaj_key=keys[0])
    assert by_header.headers["falaj-model-version"] == answers[keys[0]]
    assert {server.infer(key=key, version=7).json["model_version"] for key in keys[:5]} == {"7"}
    roles = {(line.key, line.role, line.version) for line in logged(server.folder)}
    assert {(k, "canary" if v == "7" else "stable", int(v)) for k, v in answers.items()} <= roles


def test_where_the_canary_fails_the_stable_version_answers_and_the_log_knows(place, start):
    place.deploy(1, 6, 8)
    server = start()
    assert server.infer(town=9).json["model_version"] == "6"
    assert server.infer(town=1).json["model_version"] == "8"
    assert server.infer(town=9, version=8).status == 500
    lines = [(p.version, p.role, p.error) for p in logged(server.folder)]
    assert lines[:3] == [(8, "canary", "model_failed"), (6, "stable", None), (8, "canary", None)]
    counted = server.get("/stats").json["versions"]
    assert (counted["8"]["canary"]["errors"], counted["6"]["stable"]["errors"]) == (2, 0)


def test_a_canary_that_reads_more_than_clients_send_harms_nobody(place, start):
    place.add(9, sigmoid(), (bundle.BundleInput(name="gust", type="number"),))
    place.deploy(1, 6, 9)
    server = start()
    assert server.infer().json["model_version"] == "6"
    assert server.infer(wind="strong").status == 400
    assert [(p.version, p.error) for p in logged(server.folder)] == [(9, "bad_request"), (6, None)]


def test_a_shadow_is_asked_and_only_the_log_knows(place, start):
    place.deploy(1, 6, shadow=shadow(7), log=LogRule(drop=("town",)))
    server = start()
    answer = server.infer(key="k").json
    assert answer["model_version"] == "6"
    assert until(lambda: len(logged(server.folder)) == 2)
    first, copy = sorted(logged(server.folder), key=lambda line: line.version)
    assert (first.role, copy.role, first.id == copy.id, copy.key) == ("stable", "shadow", True, "k")
    assert first.inputs == {"wind": 12.0}, "what the bundle drops is not written"
    assert first.output == answer["outputs"][0]["data"][0] != copy.output
    place.add(9, sigmoid(), inputs=(BundleInput(name="y", type="number"),))
    place.deploy(2, 6, shadow=shadow(9))
    assert server.serves(2)
    assert server.infer().json["model_version"] == "6", "what the shadow cannot read fails for nobody"
    big = {"inputs": [{**tensor, "shape": [3000], "data": tensor["data"] * 3000} for tensor in one(1, 12.0)]}
    assert server.post("/v2/models/delay/infer", big).status == 200
    assert until(lambda: server.get("/stats").json["shadows_dropped"] == 1), "more rows than may wait for a shadow"
    lines = logged(server.folder)
    assert [(p.version, p.error) for p in lines if p.role == "shadow"] == [(7, None), (9, "bad_request")]


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_no_answer_that_was_given_is_missing_from_the_log(place, start, sig):
    place.deploy(1, 6)
    server = start()
    crowd = Crowd(server)
    assert until(lambda: len(crowd.answers) > 200)
    server.process.send_signal(sig)
    server.process.wait(30)
    crowd.stop()
    given = {prediction for _, status, _, prediction in crowd.answers if status == 200}
    assert given <= {line.id for line in logged(server.folder)}
    if sig == signal.SIGTERM:
        assert predictions.unsealed(server.folder / "log") == []
        return
    start()
    assert predictions.unsealed(server.folder / "log") == []
    assert given <= {line.id for line in logged(server.folder, also_open=False)}


def test_a_segment_is_sealed_when_somebody_asks(place, start):
    place.deploy(1, 6)
    server = start()
    first = server.infer().json["parameters"]["prediction_id"]
    predictions.ask_seal(server.folder / "log")
    assert until(lambda: predictions.sealed(server.folder / "log"))
    assert [p.id for p in logged(server.folder, also_open=False)] == [first]
    assert predictions.seal_left(server.folder / "log") == []
    server.infer()
    assert predictions.seal_left(server.folder / "log") == [], "a living server's segment stays its own"
    assert len(logged(server.folder)) == 2


def test_what_cannot_be_logged_is_not_answered(place, start):
    place.deploy(1, 6)
    (place.folder.root / "log").write_text("not a folder")
    server = start()
    told = server.infer()
    assert (told.status, told.json["code"]) == (503, "prediction_not_logged")
    (place.folder.root / "log").unlink()
    assert server.infer().status == 200


def test_a_line_that_is_cut_is_taken_back(place, start):
    place.deploy(1, 6)
    server = start()
    given = [server.infer().json["parameters"]["prediction_id"]]
    (segment,) = predictions.unsealed(server.folder / "log")
    unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (segment.stat().st_size + 40, unlimited[1]))
    told = server.infer()
    assert (told.status, told.json["code"]) == (503, "prediction_not_logged")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    given.append(server.infer().json["parameters"]["prediction_id"])
    assert [line.id for line in logged(server.folder)] == given
    assert predictions.read(segment)[1] == segment.stat().st_size


def test_a_stop_is_graceful(place, start):
    place.deploy(1, 6)
    server = start()
    connection = server.connection()
    connection.request("GET", "/v2/health/ready")
    assert connection.getresponse().read()
    server.process.send_signal(signal.SIGTERM)
    assert until(lambda: server.events("stopping"))
    connection.request("POST", "/v2/models/delay/infer", msgspec.json.encode({"inputs": one(1, 12.0)}))
    answer = connection.getresponse()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert server.process.wait(30) == 0
