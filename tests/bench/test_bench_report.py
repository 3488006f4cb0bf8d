"""Results as a table and as a page: nothing is left out, and a bar that does not hold is plain to see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as bench
from benchmarks import report
from benchmarks.machine import describe
from benchmarks.measure import bar, recorded

MACHINE = {
    "processor": "2 x Some",
    "memory": "24 GiB",
    "system": "Linux 6.1",
    "python": "3.12.1",
    "sqlite": "3.45.1",
    "postgresql": "15.4",
}
RESULT: dict[str, Any] = {
    "name": "ref_move",
    "bars": [bar("a guarded move", "µs", 600, 250, at_most=3.0), bar("writers", "changes/s", 60, 100, at_least=0.7)],
    "recorded": [recorded("processor time", "µs", 12_345.6, 1_000), recorded("memory", "MiB", 0.123)],
    "load": {"before": 1.25, "after": 2.5},
    "facts": {},
    "at": "2026-01-31",
    "machine": MACHINE,
}


def test_lines_say_value_limit_ratio_bar_and_whether_it_holds() -> None:
    held, over, cpu, memory = (line.split() for line in report.lines(RESULT))
    assert held[3:] == ["600", "µs", "250", "2.40", "≤", "3", "ok,", "1.25", "→", "2.5"]
    assert over[1:] == ["60", "changes/s", "100", "0.60", "≥", "0.7", "OVER,", "1.25", "→", "2.5"]
    assert cpu[2:6] == ["12,350", "µs", "1,000", "12.35"]
    assert memory[1:3] == ["0.123", "MiB"]


def test_every_line_has_its_columns_where_the_heading_has_them() -> None:
    ends = report.heading().index("ratio") + len("ratio")
    for line in report.lines(RESULT):
        assert line[ends - 4 : ends].strip() in {"2.40", "0.60", "2.35", ""}


def test_the_page_has_every_figure_and_the_machine_it_is_of() -> None:
    page = report.page([RESULT, {**RESULT, "name": "writers", "facts": {"settings": {"fsync": "on"}}}])
    assert "| a guarded move | 600 µs | 250 | 2.40 | ≤ 3 | holds | 1.2 → 2.5 |" in page
    assert "**does not hold**" in page
    assert "| memory | 0.123 MiB |  |  | 1.2 → 2.5 |" in page
    assert report.machine_line(MACHINE) + ": ref_move (2026-01-31), writers (2026-01-31)." in page
    assert '`{"fsync": "on"}`' in page


def test_every_module_of_the_folder_is_a_benchmark_and_those_with_bars_come_first() -> None:
    names = bench.names()
    assert names[: len(bench.FIRST)] == list(bench.FIRST)
    assert len(names) == len(set(names))
    for name in names:
        assert "def main(argv" in (Path(bench.__file__).parent / f"{name}.py").read_text(), name


def test_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["nonsense"])
    assert ended.value.code == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_the_status_tells_whether_the_bars_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ok: bool, status: int
) -> None:
    """A program in place of a benchmark: the process, its output and what is kept are real."""
    made = {**RESULT, "bars": [{**RESULT["bars"][0], "ok": ok}]}
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "start.py").write_text(f"print({json.dumps(made)!r})")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    assert bench.main(["start"]) == status
    assert ("OVER" in capsys.readouterr().out) is not ok
    assert json.loads((tmp_path / "results" / "start.json").read_text())["machine"] == describe()


def test_a_benchmark_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "start.py").write_text("import sys; sys.exit(5)")
    (tmp_path / "benchmarks" / "access.py").write_text(f"print({json.dumps(RESULT)!r})")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    assert bench.main(["start", "access"]) == 2
    told = capsys.readouterr()
    assert "start: status 5" in told.err
    assert "a guarded move" in told.out
