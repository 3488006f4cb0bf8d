"""Scoring: the answers are the model's own, whatever goes wrong is told, and no process is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from falaj.core.errors import Damaged
from falaj.models import jail, scoring
from falaj.models.errors import ModelRefused, ScoringFailed, ScoringStopped, WrongColumns, WrongOutput
from falaj.models.nursery import NURSERY, Nursery
from falaj.models.scoring import Limits, Scorer, describe, score
from tests.models import files

ONE = pa.table({"x": [0.5, -1.0]})


def town_table(rows: np.ndarray) -> pa.Table:
    return pa.table({"wind": pa.array(list(rows[:, 1])), "town": pa.array(list(rows[:, 0])), "other": range(len(rows))})


def onnx(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# what a model answers


@pytest.mark.parametrize("batch_rows", [7, 400, 1000])
def test_the_answers_are_those_of_the_model_however_the_rows_are_cut(tmp_path, batch_rows):
    model, (rows, _) = files.town_model(), files.towns()
    path = files.dumped(model, tmp_path / "m.skops")
    told = score(
        files.payload(path, town="text", wind="number"), path, town_table(rows), scratch=tmp_path, batch_rows=batch_rows
    )
    np.testing.assert_array_equal(told, model.predict_proba(rows)[:, 1])


def test_no_rows_give_no_answers(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    assert score(files.payload(path, x="number"), path, ONE.slice(0, 0), scratch=tmp_path).shape == (0,)


def test_nulls_reach_the_model_as_nothing_known(tmp_path):
    """A category that is null is one that was never seen; a number that is null is NaN, which trees can split on."""
    draw = np.random.default_rng(2).normal(size=(200, 1))
    draw[::3] = np.nan
    tree = DecisionTreeClassifier(max_depth=3).fit(draw, np.isnan(draw[:, 0]))
    path = files.dumped(tree, tmp_path / "m.skops")
    told = score(files.payload(path, x="number"), path, pa.table({"x": [None, 0.1]}), scratch=tmp_path)
    assert told.tolist() == [1.0, 0.0]


def test_whole_numbers_truth_and_text_come_as_they_were_trained(tmp_path):
    rows = np.array([[5, "a", True], [6, "b", False], [7, "a", False]] * 30, dtype=object)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(rows, [1, 0, 0] * 30)
    path = files.dumped(model, tmp_path / "m.skops")
    named = files.payload(path, hour="integer", kind="text", late="boolean")
    table = pa.table({"hour": pa.array([5, 6, 7], pa.int16()), "kind": ["a", "b", "a"], "late": [True, False, False]})
    np.testing.assert_allclose(score(named, path, table, scratch=tmp_path), model.predict_proba(rows[:3])[:, 1])


@pytest.mark.parametrize(("labels", "told"), [([0] * 9, 0.0), ([1] * 9, 1.0), ([True] * 9, 1.0)])
def test_a_model_of_one_class_is_sure_of_it(tmp_path, labels, told):
    model = DummyClassifier().fit(np.zeros((9, 1)), labels)
    path = files.dumped(model, tmp_path / "m.skops")
    assert score(files.payload(path, x="number"), path, ONE, scratch=tmp_path).tolist() == [told, told]


def test_onnx_of_one_tensor_reads_all_columns_side_by_side(tmp_path):
    draw = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)
    model = CalibratedClassifierCV(LogisticRegression()).fit(draw, draw[:, 0] > 0)
    path = onnx(tmp_path / "m", to_onnx(model, draw[:1], options={"zipmap": False}).SerializeToString())
    table = pa.table({name: draw[:, i].astype(float) for i, name in enumerate("abc")})
    told = score(files.payload(path, a="number", b="number", c="number"), path, table, scratch=tmp_path)
    np.testing.assert_allclose(told, model.predict_proba(draw)[:, 1], atol=1e-5)


def test_onnx_of_a_tensor_for_each_column_is_fed_by_name(tmp_path):
    model, (rows, _) = files.town_model(), files.towns()
    types = [("town", StringTensorType([None, 1])), ("wind", FloatTensorType([None, 1]))]
    path = onnx(tmp_path / "m", to_onnx(model, initial_types=types, options={"zipmap": False}).SerializeToString())
    told = score(files.payload(path, wind="number", town="text"), path, town_table(rows), scratch=tmp_path)
    np.testing.assert_allclose(told, model.predict_proba(rows)[:, 1], atol=1e-5)


def test_onnx_whole_numbers_cannot_be_null(tmp_path):
    types = [("x", Int64TensorType([None, 1]))]
    model = LogisticRegression().fit(np.arange(20).reshape(-1, 1), np.arange(20) > 9)
    path = onnx(tmp_path / "m", to_onnx(model, initial_types=types, options={"zipmap": False}).SerializeToString())
    with pytest.raises(ScoringFailed, match="nulls in x"):
        score(files.payload(path, x="integer"), path, pa.table({"x": pa.array([1, None])}), scratch=tmp_path)


# what a model says of itself


def test_a_model_says_how_many_columns_it_reads_and_which_where_it_knows(tmp_path):
    path = files.dumped(files.town_model(), tmp_path / "m.skops")
    found, about, guards = describe(path, scratch=tmp_path)
    assert (found.format, about.width, about.names) == ("skops", 2, ())
    assert set(guards) <= set(jail.GUARDS)
    types = [("town", StringTensorType([None, 1])), ("wind", FloatTensorType([None, 1]))]
    converted = to_onnx(files.town_model(), initial_types=types, options={"zipmap": False}).SerializeToString()
    _, about, _ = describe(onnx(tmp_path / "n", converted), scratch=tmp_path)
    assert about.names == ("town", "wind")


UNFIT = {
    "three classes": (
        LogisticRegression().fit(np.arange(9).reshape(-1, 1), [0, 1, 2] * 3),
        "classes are False, True, 2",
    ),
    "classes of words": (LogisticRegression().fit([[0], [1]], ["no", "yes"]), "classes are no, yes"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_model_of_other_classes_is_refused(tmp_path, case):
    model, words = UNFIT[case]
    with pytest.raises(ModelRefused, match=words):
        describe(files.dumped(model, tmp_path / "m.skops"), scratch=tmp_path)


def test_a_model_of_no_probabilities_is_refused(tmp_path):
    from sklearn.preprocessing import StandardScaler

    with pytest.raises(ModelRefused, match="gives no probabilities"):
        describe(files.dumped(StandardScaler().fit([[0.0], [1.0]]), tmp_path / "m.skops"), scratch=tmp_path)
    with pytest.raises(ModelRefused, match="LinearRegression"):  # not even on the list of types
        describe(files.dumped(LinearRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "n.skops"), scratch=tmp_path)


def test_onnx_without_plain_probabilities_is_refused_with_the_way_out(tmp_path):
    model = LogisticRegression().fit(np.zeros((4, 1), np.float32), [0, 1, 0, 1])
    path = onnx(tmp_path / "m", to_onnx(model, np.zeros((1, 1), np.float32)).SerializeToString())
    with pytest.raises(ModelRefused, match="zipmap"):
        describe(path, scratch=tmp_path)


# what does not fit


def test_other_bytes_than_those_named_are_not_loaded(tmp_path):
    path = files.dumped(files.town_model(), tmp_path / "m.skops")
    named = files.payload(path, town="text", wind="number")
    files.dumped(files.town_model(seed=4), path)
    with pytest.raises(Damaged, match=r"its bytes are sha256:"):
        score(named, path, town_table(files.towns()[0]), scratch=tmp_path)


def test_a_pickle_in_the_place_of_the_model_is_not_loaded(tmp_path):
    path = files.dumped(files.town_model(), tmp_path / "m.skops")
    named = files.payload(path, town="text", wind="number")
    path.write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(ModelRefused, match="a pickle"):
        score(named, path, town_table(files.towns()[0]), scratch=tmp_path)


WRONG_TABLES = {
    "column missing": (pa.table({"town": ["Sur"]}), r"'wind' \(not there\)"),
    "text for a number": (pa.table({"town": ["Sur"], "wind": ["9"]}), r"'wind' \(string, the model reads number\)"),
    "number for text": (pa.table({"town": [1], "wind": [9.0]}), r"'town' \(int64, the model reads text\)"),
    "a column twice": (pa.table([["Sur"], [1.0], [2.0]], names=["town", "wind", "wind"]), "stands there twice"),
    "both": (pa.table({"x": [1]}), "2 of 2 columns"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_columns_that_do_not_fit_are_all_named(tmp_path, case):
    table, words = WRONG_TABLES[case]
    path = files.dumped(files.town_model(), tmp_path / "m.skops")
    with pytest.raises(WrongColumns, match=words):
        score(files.payload(path, town="text", wind="number"), path, table, scratch=tmp_path)


OUTPUTS = {
    "above one": (helper.make_node("Identity", ["x"], ["y"]), "answered 3.0 for row 2"),
    "not a number": (helper.make_node("Log", ["x"], ["y"]), "answered nan for row 1"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_answers_that_are_no_probabilities_are_refused(tmp_path, case):
    node, words = OUTPUTS[case]
    path = onnx(tmp_path / "m", files.graph([node], inputs={"x": files.FLOAT}))
    table = pa.table({"x": [0.5 if case == "above one" else -1.0, 3.0]})
    with pytest.raises(WrongOutput, match=words):
        score(files.payload(path, x="number"), path, table, scratch=tmp_path)


def test_fewer_answers_than_rows_are_refused(tmp_path):
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=None, keepdims=1)
    path = onnx(tmp_path / "m", files.graph([node], inputs={"x": files.FLOAT}))
    with pytest.raises(WrongOutput, match="1 numbers for 2 rows"):
        score(files.payload(path, x="number"), path, ONE, scratch=tmp_path)


def test_values_of_the_rows_are_not_told(tmp_path):
    """What cannot be scored is told by its sort: a message of a library may quote a person's name."""
    rows = np.array([["Sur"], ["Ibra"]] * 9, dtype=object)
    strict = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, [0, 1] * 9)
    path = files.dumped(strict, tmp_path / "m.skops")
    with pytest.raises(ScoringFailed, match="unknown categories … in column 0") as failed:
        score(files.payload(path, town="text"), path, pa.table({"town": ["Salma bint Said"]}), scratch=tmp_path)
    assert "Salma" not in str(failed.value.as_dict())


# what is stopped


def test_a_model_that_never_answers_is_stopped(tmp_path):
    path = onnx(tmp_path / "m", files.endless())
    with pytest.raises(ScoringStopped, match=r"no answer within 0\.5 s"):
        score(files.payload(path, x="number"), path, ONE, scratch=tmp_path, limits=Limits(answer_s=0.5))


def test_a_model_that_takes_all_the_processor_is_stopped(tmp_path):
    path = onnx(tmp_path / "m", files.endless())
    with pytest.raises(ScoringStopped, match=r"SIGXCPU|SIGKILL"):
        score(files.payload(path, x="number"), path, ONE, scratch=tmp_path, limits=Limits(cpu_s=1))


@pytest.mark.parametrize("cells", [2**29, 2**40])
def test_a_model_that_takes_all_the_memory_is_stopped(tmp_path, cells):
    path = onnx(tmp_path / "m", files.greedy(cells))
    with pytest.raises(ScoringStopped, match="out of memory"):
        score(files.payload(path, x="number"), path, ONE, scratch=tmp_path, limits=Limits(memory_bytes=2 << 30))


def test_a_model_too_large_for_its_process_is_stopped(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    with pytest.raises(ScoringStopped, match="memory"):
        score(files.payload(path, x="number"), path, ONE, scratch=tmp_path, limits=Limits(memory_bytes=400 << 20))


def test_a_model_that_crashes_its_process_is_told(tmp_path):
    """A tree whose first node leads far outside of its array: reading there ends the process."""
    tree = DecisionTreeClassifier(max_depth=1).fit([[0.0], [1.0]], [0, 1])
    state = tree.tree_.__getstate__()
    state["nodes"]["left_child"][0] = state["nodes"]["right_child"][0] = 2**40
    tree.tree_.__setstate__(state)
    path = files.dumped(tree, tmp_path / "m.skops")
    with pytest.raises(ScoringStopped, match=r"SIGSEGV|SIGBUS"):
        score(files.payload(path, x="number"), path, ONE, scratch=tmp_path)


def test_a_killed_process_is_told_and_the_next_one_answers(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    named = files.payload(path, x="number")
    with Scorer(named, path, scratch=tmp_path) as scorer:
        os.kill(scorer._process._pid, signal.SIGKILL)
        with pytest.raises(ScoringStopped, match="SIGKILL"):
            scorer.score(ONE)
    assert score(named, path, ONE, scratch=tmp_path).shape == (2,)


def test_the_first_process_dies_and_another_takes_its_place(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    named = files.payload(path, x="number")
    score(named, path, ONE, scratch=tmp_path)
    assert NURSERY._process is not None
    NURSERY._process.kill()
    NURSERY._process.wait()
    assert score(named, path, ONE, scratch=tmp_path).shape == (2,)


def test_no_process_is_left_behind(tmp_path):
    nursery = Nursery()
    ends = [os.pipe() for _ in range(3)]
    pids = [nursery.fork((ends[0][0], ends[1][1], ends[2][1])) for _ in range(3)]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert nursery.end(pids[0]) == -signal.SIGKILL
    assert not Path(f"/proc/{pids[0]}").exists()
    assert nursery.end(pids[0]) == 0  # known no more
    nursery.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for pipe in ends:
        os.close(pipe[0])
        os.close(pipe[1])


def test_a_fork_of_this_process_starts_its_own(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    named = files.payload(path, x="number")
    before = score(named, path, ONE, scratch=tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            own = NURSERY._process is None
            told = score(named, path, ONE, scratch=tmp_path)
            NURSERY.close()
            os._exit(0 if own and (told == before).all() else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (score(named, path, ONE, scratch=tmp_path) == before).all()


def test_what_the_process_knows_of_its_surroundings(monkeypatch):
    monkeypatch.setenv("FALAJ_TOKEN", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    nursery = Nursery()
    nursery.warm()
    assert nursery._process is not None
    deadline = time.monotonic() + 20
    while not (environ := Path(f"/proc/{nursery._process.pid}/environ").read_bytes()) or b"PYTEST" in environ:
        assert time.monotonic() < deadline
    nursery.close()
    assert b"secret" not in environ
    assert {entry.split(b"=")[0].decode() for entry in environ.split(b"\0") if entry} <= {
        *("LC_ALL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "JOBLIB_MULTIPROCESSING"),
        *("ARROW_DEFAULT_MEMORY_POOL", "LD_LIBRARY_PATH"),
    }


def test_many_threads_score_at_once(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    named = files.payload(path, x="number")
    told: list[float] = []

    def one(value: float) -> None:
        told.append(float(score(named, path, pa.table({"x": [value]}), scratch=tmp_path)[0]))

    threads = [threading.Thread(target=one, args=(float(i),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(sorted(told), 1 / (1 + np.exp(-np.arange(6.0))), rtol=1e-6)


def test_nothing_is_written_where_the_process_worked(tmp_path):
    path = onnx(tmp_path / "m", files.sigmoid())
    (tmp_path / "scratch").mkdir()
    score(files.payload(path, x="number"), path, ONE, scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_on_this_machine_the_guards_that_are_told_are_those_that_hold(tmp_path):
    """The process that answers runs under seccomp and without new rights, as its own kernel tells."""
    path = onnx(tmp_path / "m", files.sigmoid())
    with Scorer(files.payload(path, x="number"), path, scratch=tmp_path) as scorer:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{scorer._process._pid}/status").read_text().splitlines()
        )
        same = Path(f"/proc/{scorer._process._pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
        guards = scorer.guards
    assert (jail.SECCOMP in guards) == (status["Seccomp"] == "2")
    assert status["NoNewPrivs"] == "1"
    assert (jail.NAMESPACE in guards) == (not same)


def test_a_forest_of_real_size_is_scored(tmp_path):
    draw = np.random.default_rng(4).normal(size=(2000, 4))
    model = RandomForestClassifier(40).fit(draw, draw.sum(axis=1) > 0)
    path = files.dumped(model, tmp_path / "m.skops")
    table = pa.table({name: draw[:, i] for i, name in enumerate("abcd")})
    told = score(files.payload(path, **dict.fromkeys("abcd", "number")), path, table, scratch=tmp_path)
    np.testing.assert_allclose(told, model.predict_proba(draw)[:, 1])


def test_words_of_the_process_cannot_move_a_terminal():
    assert scoring.printable_words("a\x1b[2Jb\u202ec\n") == "a [2Jb c"
