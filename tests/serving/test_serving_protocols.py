"""Three protocols, each in its own words: what they answer, and what they refuse without harm to anybody else."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falaj.core import predictions
from tests.models import files
from tests.serving.places import Place, kite
from tests.serving.running import Running, one

INFER, INVOKE, PREDICT = "/v2/models/delay/infer", "/invocations", "/v1/models/delay:predict"
ROWS = [("Sur", 12.0), ("Nizwa", 3.5), ("Muscat", 9.0)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = Place(tmp_path_factory.mktemp("serving") / "delay")
    place.add(6, kite())
    place.deploy(1, 6)
    running = Running(place.folder.root)
    yield running
    assert running.infer("Sur").status == 200, "after all that was refused it answers as before"
    assert running.stop() == 0


@pytest.fixture(scope="module")
def expected() -> list[float]:
    rows = np.array(ROWS, dtype=object)
    return list(files.town_model().predict_proba(rows)[:, 1])


def tensor(name: str, datatype: str, data: Any, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def tensors(town: Any = ("Sur",), wind: Any = (12.0,), datatype: str = "FP64") -> list[dict[str, Any]]:
    return [tensor("town", "BYTES", list(town)), tensor("wind", datatype, list(wind))]


TOWNS, WINDS = [t for t, _ in ROWS], [w for _, w in ROWS]


def test_the_open_inference_protocol(server, expected):
    body = {"id": "q1", "inputs": tensors(TOWNS, WINDS), "outputs": [{"name": "probability"}]}
    told = server.post(INFER, body).json
    prediction = told["parameters"]["prediction_id"]
    (output,) = told.pop("outputs")
    assert told == {
        "id": "q1",
        "model_name": "delay",
        "model_version": "6",
        "parameters": {"prediction_id": prediction},
    }
    assert (output["name"], output["datatype"], output["shape"]) == ("probability", "FP64", [3])
    assert output["data"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("town", "BYTES", TOWNS, [3, 1]), tensor("wind", "FP32", WINDS, [3, 1])],
        [tensor("wind", "FP64", [[w] for w in WINDS], [3, 1]), tensor("town", "BYTES", TOWNS)],
    ],
    ids=["columns", "nested"],
)
def test_tensors_come_flat_or_nested_in_any_order(server, expected, inputs):
    assert server.post(INFER, {"inputs": inputs}).json["outputs"][0]["data"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["wind", "town"], "data": [[w, t] for t, w in ROWS], "index": [0, 1, 2]}},
        {"dataframe_split": {"data": [list(row) for row in ROWS]}},
        {"dataframe_records": [{"town": t, "wind": w} for t, w in ROWS]},
        {"instances": [{"town": t, "wind": w} for t, w in ROWS]},
        {"instances": [list(row) for row in ROWS]},
        {"inputs": {"town": TOWNS, "wind": WINDS}, "params": {"keys": ["a", "b", 3]}},
    ],
    ids=["split", "split without names", "records", "instances", "lists", "inputs"],
)
def test_the_forms_of_mlflow(server, expected, body):
    told = server.post(INVOKE, body, content_type="application/json; charset=utf-8")
    assert told.json == {"predictions": pytest.approx(expected)}
    assert (told.headers["falaj-model-version"], len(told.headers["falaj-prediction"])) == ("6", 26)


def test_the_protocol_of_kserve(server, expected):
    for instances in ([list(row) for row in ROWS], [{"town": t, "wind": w} for t, w in ROWS]):
        assert server.post(PREDICT, {"instances": instances}).json == {"predictions": pytest.approx(expected)}
    assert server.get("/v1/models").json == {"models": ["delay"]}
    assert server.get("/v1/models/delay").json == {"name": "delay", "ready": True}


def test_a_null_is_a_missing_value_where_the_model_can_read_one(server):
    assert server.post(INFER, {"inputs": tensors([None], [3], "INT32")}).status == 200
    told = server.post(INFER, {"inputs": tensors(["Sur"], [None])})
    assert (told.status, "'wind': a null" in told.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2", {"name": "falaj", "extensions": []}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True, "revision": 1, "deployment": "delay", "lease_over": False}),
        ("/v2/models/delay/ready", {"ready": True}),
        ("/v2/models/delay/versions/6", {"name": "delay", "versions": ["6"], "platform": "falaj"}),
        ("/ping", {"ready": True}),
        ("/", {"status": "alive"}),
    ],
)
def test_questions_about_it(server, path, told):
    found = server.get(path)
    assert found.status == 200
    assert told.items() <= found.json.items()


def test_what_a_model_reads_is_told(server):
    told = server.get("/v2/models/delay").json
    assert [(i["name"], i["datatype"], i["shape"]) for i in told["inputs"]] == [
        ("town", "BYTES", [-1]),
        ("wind", "FP64", [-1]),
    ]
    assert told["parameters"]["issued_at"] == "2026-11-01T00:00:00.000000Z"
    assert told["parameters"]["age_s"] > 0


BAD_TENSORS: dict[str, Any] = {
    "nothing": {},
    "no tensors": {"inputs": []},
    "no object": [],
    "no data": {"inputs": [{"name": "town", "shape": [1], "datatype": "BYTES"}]},
    "another width": {"inputs": [tensor("all", "FP64", [1.0, 2.0, 3.0], [1, 3])]},
    "too few values": {"inputs": [tensor("town", "BYTES", ["Sur"]), tensor("wind", "FP64", [1.0], [2])]},
    "two lengths": {"inputs": tensors(["Sur", "Ibra"], [1.0])},
    "no rows": {"inputs": [tensor("town", "BYTES", [], [0]), tensor("wind", "FP64", [], [0])]},
    "negative": {"inputs": [tensor("town", "BYTES", ["Sur"], [-1]), tensor("wind", "FP64", [1.0], [-1])]},
    "no shape": {"inputs": [{**tensor("town", "BYTES", ["Sur"]), "shape": []}, tensor("wind", "FP64", [1.0])]},
    "three dimensions": {"inputs": [tensor("town", "BYTES", ["Sur"], [1, 1, 1]), tensor("wind", "FP64", [1.0])]},
    "ragged": {"inputs": [tensor("town", "BYTES", [["Sur"], ["Ibra", "Sur"]], [2, 1]), tensor("wind", "FP64", [1, 2])]},
    "deep": {"inputs": [tensor("town", "BYTES", [[["Sur"]]], [1, 1]), tensor("wind", "FP64", [1.0])]},
    "unknown name": {"inputs": [*tensors(), tensor("colour", "BYTES", ["red"])]},
    "missing name": {"inputs": tensors()[:1]},
    "name twice": {"inputs": [*tensors(), *tensors()[:1]]},
    "text in numbers": {"inputs": tensors(wind=["12"])},
    "NaN as text": {"inputs": tensors(wind=["NaN"])},
    "a boolean for a number": {"inputs": tensors(wind=[True])},
    "a number for text": {"inputs": [tensor("town", "FP64", [1.0]), tensor("wind", "FP64", [1.0])]},
    "a fraction in whole numbers": {"inputs": tensors(wind=[1.5], datatype="INT64")},
    "out of its type": {"inputs": tensors(wind=[300], datatype="UINT8")},
    "out of every type": {"inputs": tensors(wind=[10**400])},
    "an unknown type": {"inputs": tensors(datatype="FP128")},
    "an unknown output": {"inputs": tensors(), "outputs": [{"name": "logit"}]},
    "a key of no form": {"inputs": tensors(), "parameters": {"key": {"a": 1}}},
    "a long key": {"inputs": tensors(), "parameters": {"key": "k" * 201}},
    "keys that do not fit": {"inputs": tensors(), "parameters": {"keys": ["a", "b"]}},
}
BAD_BYTES = {
    "NaN": b'{"inputs":[{"name":"wind","shape":[1],"datatype":"FP64","data":[NaN]}]}',
    "infinite": b'{"inputs":[{"name":"wind","shape":[1],"datatype":"FP64","data":[1e999]}]}',
    "cut": b'{"inputs":[',
    "no text": b"\xff\xfe",
    "empty": b"",
    "nested": b'{"inputs":' + b"[" * 200_000,
    "surrogates": b'{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"BYTES","data":["\\udfff"]}]}',
}


@pytest.mark.parametrize("body", [*BAD_TENSORS.values(), *BAD_BYTES.values()], ids=[*BAD_TENSORS, *BAD_BYTES])
def test_a_bad_question_is_refused_in_the_protocols_form(server, body):
    told = server.post(INFER, body)
    assert told.status == 400, told.body
    assert told.json["error"]


BAD_ROWS: list[Any] = [
    {},
    {"instances": []},
    {"instances": [["Sur", 1], ["Sur"]]},
    {"instances": [["Sur", "windy"]]},
    {"instances": [{"town": "Sur", "wind": 1}, {"town": "Sur"}]},
    {"instances": [{"town": "Sur", "wind": 1}, ["Sur", 1]]},
    {"instances": "Sur"},
    {"instances": [1, 2]},
    {"dataframe_split": {"columns": ["town", "town"], "data": [["Sur", "Sur"]]}},
    {"dataframe_split": {"columns": ["town"], "data": [["Sur", 1]]}},
    {"dataframe_records": [{"town": "Sur", "wind": 1, "colour": "red"}]},
    {"inputs": {"town": ["Sur"], "wind": [1, 2]}},
    {"inputs": {"town": "Sur", "wind": 1}},
]


@pytest.mark.parametrize("body", BAD_ROWS, ids=map(str, range(len(BAD_ROWS))))
def test_bad_rows_are_refused_in_both_other_forms(server, body):
    told = server.post(INVOKE, body, content_type="application/json")
    assert (told.status, set(told.json), told.json["error_code"]) == (400, {"error_code", "message"}, "BAD_REQUEST")
    told = server.post(PREDICT, {"instances": body.get("instances")})
    assert told.status == 400
    assert told.json["error"]


def test_two_forms_at_once_are_none(server):
    body = {"instances": [["Sur", 1]], "inputs": [["Sur", 1]]}
    assert server.post(INVOKE, body).status == 400


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v2/models/other/infer", {}, 404),
        ("POST", "/v2/models/delay/versions/7/infer", {}, 404),
        ("POST", "/v1/models/other:predict", {}, 404),
        ("POST", "/v2/models/delay/infer/../infer", {}, 404),
        ("GET", "/v2/models/delay/infer", {}, 404),
        ("GET", "/v2/models/other", {}, 404),
        ("GET", "/etc/passwd", {}, 404),
        ("PUT", INFER, {}, 405),
        ("DELETE", "/", {}, 405),
        ("POST", INVOKE, {"content_type": "text/csv"}, 400),
        ("POST", INFER, {"inference_header_content_length": "10"}, 400),
        ("POST", INFER, {"origin": "http://evil.example"}, 403),
        ("POST", INFER, {"content_length": str(1 << 40)}, 413),
    ],
)
def test_paths_methods_and_headers_that_are_not_answered(server, method, path, headers, status):
    told = server.ask(method, path, None if method == "GET" else b"{}", **headers)
    assert told.status == status
    assert told.json.get("error") or told.json.get("error_code")


def test_more_rows_or_bytes_than_are_taken(server):
    body = {"inputs": tensors(["Sur"] * 10_001, [1.0] * 10_001)}
    assert server.post(INFER, body).status == 413
    assert server.post(INFER, b" " * (9 << 20)).status == 413


def test_a_head_that_never_ends_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 1000) for i in range(60)))
        assert sock.recv(64).startswith(b"HTTP/1.1 431")


def test_pipelined_and_chunked_requests_are_answered(server):
    body = json.dumps({"inputs": one("Sur", 12.0)}).encode()
    chunked = b"POST %s HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" % INFER.encode()
    chunked += b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(chunked * 3)
        got = b""
        while got.count(b'model_version":') < 3:
            got += sock.recv(65536)
    assert got.count(b"HTTP/1.1 200") == 3


def test_clients_that_hang_up_or_ask_wrongly_spoil_no_answer_of_others(server, expected, rng):
    good = json.dumps({"inputs": tensors(TOWNS, WINDS)}).encode()
    wrong = json.dumps({"inputs": tensors(TOWNS, WINDS[:2])}).encode()
    socks, answers = [], []
    for turn in range(200):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        body = wrong if turn % 3 == 0 else good
        sock.sendall(
            b"POST %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            % (INFER.encode(), len(body))
            + body
        )
        if rng.random() < 0.4:
            sock.close()
        else:
            socks.append((turn, sock))
    for turn, sock in socks:
        answers.append((turn % 3 == 0, b"".join(iter(partial(sock.recv, 65536), b""))))
        sock.close()
    assert all(answer.startswith(b"HTTP/1.1 400 ") for is_wrong, answer in answers if is_wrong)
    for is_wrong, answer in answers:
        if not is_wrong:
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["outputs"][0]["data"] == pytest.approx(expected)


def test_what_was_answered_is_counted_and_what_was_refused_is_not_a_prediction(server, tmp_path: Path):
    before = server.get("/stats").json
    server.infer("Sur")
    server.post(INFER, {})
    after = server.get("/stats").json
    stable = [told["versions"]["6"]["stable"]["requests"] for told in (before, after)]
    assert stable[1] == stable[0] + 1
    assert after["refused"]["400"] == before["refused"].get("400", 0) + 1
    text = server.get("/metrics").body.decode()
    assert f'falaj_serving_requests_total{{role="stable",version="6"}} {stable[1]}.0' in text
    assert "falaj_serving_knowledge_age_seconds" in text
    lines = [p for path in predictions.unsealed(server.folder / "log") for p in predictions.read(path)[0]]
    assert len({p.id for p in lines}) == stable[1]
    assert {p.version for p in lines} == {6}
