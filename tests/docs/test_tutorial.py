"""The tutorial is played as it is written: every command in one shell, on the real flights, in a fresh folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT
from tests.docs.shell import File, Shell, missing, steps

PORTS = ("7400", "7410")


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on two idle cores
def test_the_tutorial_can_be_followed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    for port in PORTS:
        page = page.replace(port, str(free_port()))
    (tmp_path / "falaj").symlink_to(ROOT)  # the clone that the page speaks of
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FALAJ_")}
    given = {name: value for name, value in os.environ.items() if name == "FALAJ_FLIGHTS_DIR"}
    more = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
    }
    shell = Shell(tmp_path, {**environment, **given, **more})
    try:
        for step in steps(page):
            if isinstance(step, File):
                (shell.folder / step.name).write_text(step.text, encoding="utf-8")
                continue
            code, lines = shell.do(step.command)
            shown = f"$ {step.command}\n" + "\n".join(lines)
            assert code == step.code, shown
            assert missing(step.told, lines) == [], shown
    finally:
        shell.close()


@pytest.mark.parametrize(
    ("told", "lines", "lost"),
    [
        (["  v1   27,004 rows"], ["v1 27,004   rows"], []),
        (["v1 … stored"], ["v1   2.5 MB read, 704 kB stored"], []),
        (["v1 … stored"], ["v1   2.5 MB read"], ["v1 … stored"]),
        (["a", "c"], ["a", "b", "c"], []),
        (["c", "a"], ["a", "b", "c"], ["a"]),
        (["… entry …"], ["v1 → v2   entry 12"], []),
    ],
)
def test_lines_are_compared_loosely_and_in_order(told: list[str], lines: list[str], lost: list[str]) -> None:
    assert missing(told, lines) == lost


def test_a_command_its_exit_code_and_its_output_are_told_apart() -> None:
    [first, second] = steps("```console\n$ falaj a \\\n    b  # exit 6\n  refused\n$ falaj c\n```\n")
    assert first == ("falaj a b", 6, ["  refused"])
    assert second == ("falaj c", 0, [])
