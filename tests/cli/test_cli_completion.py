"""Completion as the shells do it: the scripts run in the real shells, and what they offer is the program's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from falaj.cli.completion import SCRIPTS, candidates
from falaj.cli.table import COMMANDS

ASK = """
source <(falaj completion bash)
COMP_LINE=$1
COMP_POINT=${#COMP_LINE}
COMP_WORDS=($COMP_LINE)
_falaj
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A PATH on which `falaj` is this tree's."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "falaj"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m falaj.cli.main "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def in_bash(path, line, cwd):
    asked = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", line], env={**os.environ, "PATH": path}, cwd=cwd, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    assert asked.stderr == ""
    return asked.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("falaj prom", ["promote"]),
        ("falaj data ", ["add", "contract", "files", "get"]),
        ("falaj data contract ", ["show"]),
        ("falaj completion ", ["bash", "fish", "zsh"]),
        ("falaj lineage x --direction ", ["down", "up"]),
        ("falaj access why ref.pro", ["ref.promote", "ref.propose"]),
        ("falaj access grant sara m", ["maintainer"]),
        ("falaj -C /nowhere show ", []),
    ],
)
def test_bash_offers_what_the_program_knows(path, line, offered, tmp_path):
    assert in_bash(path, line, tmp_path) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("falaj ", {c.words.split()[0] for c in COMMANDS}),
        ("falaj promote x 1 --e", {"--expect"}),
        ("falaj promote x 1 --json --e", {"--expect"}),
        ("falaj -C a --json sho", {"show"}),
        ("falaj show -C ", set()),
        ("falaj --url ", set()),
        ("falaj data add flights ", set()),
        ("falaj init x", set()),
        ("falaj nothing ", set()),
        ("falaj rm flights:3 --reas", {"--reason"}),
        ("falaj rm flights:3 --reason ", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_candidates_follow_the_words_before_them(line, offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = set(candidates(line))
    assert found == offered if line else found


def test_an_error_offers_nothing_and_says_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "falaj.toml").write_text("broken")
    monkeypatch.chdir(tmp_path)
    assert candidates("falaj show ") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_each_script_is_sound_for_its_shell(shell, check, tmp_path):
    if shell != "bash" and shutil.which(shell) is None:
        assert "falaj __complete" in SCRIPTS[shell]  # no such shell here to ask
        return
    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell])
    subprocess.run([shell, check, str(script)], check=True, capture_output=True, timeout=60)
