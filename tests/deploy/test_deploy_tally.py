"""The prediction log as evidence: the canary, and beside it as much of the stable version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from falaj.core.errors import Damaged
from falaj.deploy.tally import Tally
from tests.deploy.lines import alternating, answer, failed_over, spread

THEN = datetime.now(UTC) - timedelta(minutes=1)
_encoder = msgspec.json.Encoder()


def tally(lines) -> Tally:
    made = Tally(1, THEN)
    made.add(lines)
    return made


def write(path: Path, lines, torn: bytes = b"") -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as out:
        out.write(_encoder.encode_lines(lines) + torn)
    return path


def test_the_slice_is_as_large_as_the_canary_and_as_old():
    lines = [line for _ in range(50) for line in answer("stable", 0.9)]
    for at in range(100):
        lines += answer("canary", 0.5) if at % 10 == 0 else answer("stable", 0.1)
    now = tally(lines).evidence().now
    assert (now.canary.requests, now.stable.requests) == (10, 10)
    assert now.stable.outputs[900] == 0, "what was answered before the canary is not beside it"
    assert now.stable.outputs[100] == 10


def test_where_the_stable_version_answers_less_all_of_it_counts():
    lines = [line for at in range(30) for line in (answer("stable", 0.1) if at % 3 == 0 else answer("canary", 0.2))]
    now = tally(lines).evidence().now
    assert (now.canary.requests, now.stable.requests) == (20, 9)


def test_what_was_answered_in_the_canarys_place_is_not_held_against_the_stable_version():
    lines = [line for _ in range(20) for line in (*failed_over(0.3, ms=500.0), *answer("stable", 0.1))]
    now = tally(lines).evidence().now
    assert (now.canary.requests, now.canary.errors) == (20, 20)
    assert (now.stable.requests, now.stable.errors, now.stable.slower_than(100)) == (20, 0, 0)


def test_rows_of_one_answer_are_one_request_and_stay_together():
    lines = [*answer("canary", 0.1, 0.2, 0.3), *answer("stable", 0.4, 0.5), *answer("stable", 0.6)]
    now = tally(lines).evidence().now
    assert (now.canary.requests, now.canary.predictions) == (1, 3)
    assert (now.stable.requests, now.stable.predictions) == (1, 2)


def test_other_revisions_and_shadows_are_no_evidence():
    lines = [*answer("canary", 0.1, revision=2), *answer("shadow", 0.1), *answer("canary", 0.1)]
    made = tally(lines)
    assert made.evidence().now.canary.requests == 1
    assert set(made.everything) == {2, 3}, "told, and no evidence"


def test_looks_are_the_same_however_the_lines_come():
    lines = alternating(300, lambda at: None if at % 7 == 0 else spread(at), spread)
    whole = tally(lines).evidence()
    in_parts = Tally(1, THEN)
    for at in range(0, len(lines), 37):
        in_parts.add(lines[at : at + 37])
    assert in_parts.evidence() == whole
    assert [look.canary.requests for look in whole.looks] == [25, 50, 100, 200]


def test_the_log_is_read_on_from_where_it_ended(tmp_path):
    log = tmp_path / "log"
    lines = alternating(20, spread, spread)
    segment = write(log / "01.open", lines[:10], torn=b'{"id": "half')
    made = Tally(1, THEN)
    first = made.read(log)
    assert first == tally(lines[:10]).evidence()
    segment.write_bytes(_encoder.encode_lines(lines[:10]))
    segment.rename(segment.with_suffix(".jsonl"))
    write(log / "02.open", lines[10:])
    assert made.read(log) == tally(lines).evidence()
    assert made.read(log) == tally(lines).evidence()


def test_a_line_that_is_none_is_told(tmp_path):
    write(tmp_path / "log" / "01.jsonl", [], torn=b"nonsense\n")
    with pytest.raises(Damaged):
        Tally(1, THEN).read(tmp_path / "log")


def test_no_log_yet_is_no_evidence(tmp_path):
    assert Tally(1, THEN).read(tmp_path / "log").now.canary.requests == 0


def test_of_a_long_log_the_newest_segments_are_enough_where_so_many_are_asked_for(tmp_path):
    for at in range(5):
        write(tmp_path / "log" / f"0{at}.jsonl", answer("stable", 0.5, version=at + 1))
    made = Tally(1, THEN, newest=2)
    made.read(tmp_path / "log")
    assert set(made.everything) == {4, 5}
