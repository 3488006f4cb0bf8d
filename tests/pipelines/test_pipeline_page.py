"""The pipeline of the page, on real flights, at the command line: run, run again, and asked about."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.cli.playing import EXAMPLE, Folder, example
from tests.docs.pages import DOCS, blocks


@pytest.fixture
def flights(tmp_path: Path) -> Folder:
    """The example with January, and the page's pipeline.py."""
    spec = importlib.util.spec_from_file_location("flights_months_of_pipelines", EXAMPLE / "months.py")
    assert spec is not None
    assert spec.loader is not None
    months = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(months)
    months.write_months(months.source(), tmp_path / "months", (1,))
    folder = example(tmp_path / "flights")
    for name in (folder.path / "gates").glob("*"):
        name.unlink()  # its evidence is April, which is not there
    folder.done("apply")
    folder.done("data", "add", "flights", tmp_path / "months" / "2013-01.csv")
    (file,) = [block for block in blocks(DOCS / "pipelines.md") if block.sort == "file"]
    (folder.path / file.name).write_text(file.text, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_pipeline_of_the_page_runs_and_is_explained(flights: Folder) -> None:
    told = flights.done("pipeline", "run", "delay")
    assert "7 steps computed" in told.lines[0]
    assert re.search(r"✓ train\[20\] +\d+\.\d s  artifact/delay\.train:", told.out)
    assert "registered  delay v1" in told.out
    first = re.search(r"run (\w{26})", told.out)[1]
    again = flights.done("pipeline", "run", "delay")
    assert "nothing to compute   7 as committed before" in again.lines[0]
    assert "✓ train[20]" in flights.done("run", "explain", first).out
    assert "the first time" in flights.done("run", "explain", first).out
    second = re.search(r"run (\w{26})", again.out)[1]
    assert flights.done("run", "compare", first, second).lines[0].startswith("  0 differences")
    assert "flights = flights, held_out = false" in flights.done("pipeline", "show", "delay").out
    shown = flights.done("lineage", "delay:1", "--json").json
    assert {"dataset", "artifact", "pipeline"} <= {node["kind"] for node in shown["nodes"]}
    wrong = flights("pipeline", "run", "delay", "--param", "frequencies=many")
    assert (wrong.code, "frequencies" in wrong.err) == (2, True)
    assert flights("pipeline", "run", "other").code == 2
