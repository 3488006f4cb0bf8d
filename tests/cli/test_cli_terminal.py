"""Around the commands: terminals, pipes, signals and locales, in real processes."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from falaj.cli.progress import Reporter
from tests.cli.playing import Folder, example

EVIL = "x\u202ey\x1b[2J\x1b]0;t\x07\u2066\r\nrefused  forged"


def command(*words: str | bytes) -> list[str | bytes]:
    return [sys.executable, "-m", "falaj.cli.main", *words]


def is_plain(text: str) -> bool:
    """Whether a terminal would only print it."""
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text.replace("\n", ""))


# terminals


def on_terminal(folder: Folder, *words: str, **env: str) -> str:
    """What a command writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    try:
        known = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        subprocess.run(
            command("-C", str(folder.path), *words), stderr=theirs, stdout=subprocess.DEVNULL, env={**known, **env},
            timeout=60, check=False,
        )  # fmt: skip
        return os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_error_is_coloured_on_a_terminal_alone_and_only_where_wanted(project):
    assert on_terminal(project, "show", "nothing").startswith("  \x1b[1;31merror\x1b[0m  model/nothing")
    assert "\x1b" not in on_terminal(project, "show", "nothing", NO_COLOR="1")
    assert "\x1b" not in on_terminal(project, "--no-color", "show", "nothing")
    assert "\x1b" not in project("show", "nothing").err


def test_words_and_values_from_others_do_not_act_on_the_terminal(tmp_path):
    folder = example(tmp_path / "flights")
    (folder.path / "a.csv").write_text("a\n1\n")
    for _ in range(2):
        folder.done("data", "add", "plain", "a.csv")
    folder.done("rm", "plain:1", "--reason", EVIL)
    for line in ("log plain", "ledger log", "ledger show 9", "show plain"):
        told = folder.done(*line.split())
        assert is_plain(told.out), line
    assert "\\u202e" in folder.done("ledger", "log").out


def test_a_cell_that_breaks_a_rule_is_shown_escaped(tmp_path):
    folder = Folder(tmp_path / "p")
    folder.path.mkdir()
    folder.done("init", "--project", "p")
    (folder.path / "contracts").mkdir()
    (folder.path / "contracts" / "names.yaml").write_text(
        "{apiVersion: v3.1.0, kind: DataContract, id: names, name: names, version: 1.0.0, status: active, schema: "
        "[{name: names, properties: [{name: who, logicalType: string, primaryKey: true, quality: "
        "[{metric: invalidValues, arguments: {validValues: [amal]}, mustBe: 0}]}]}]}"
    )
    folder.done("apply")
    (folder.path / "names.csv").write_text('who\n"x\u202ey\x1b[2J\u2066"\n')
    told = folder("data", "add", "names", "names.csv")
    assert told.code == 6
    assert "1 row, e.g. x\ufffdy\ufffd[2J\ufffd" in told.err
    assert is_plain(told.err)


@pytest.mark.parametrize("total", [0, 7])
def test_progress_off_a_terminal_is_now_and_then_a_line(total, monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    with Reporter(shown=True, colour=False, first_s=0) as tell:
        for done in range(3, 6):
            tell(EVIL, done, total)
    assert err.getvalue().count("\n") == 1
    assert is_plain(err.getvalue())
    assert err.getvalue().endswith("  3 of 7\n" if total else "  3\n")


def test_progress_is_silent_where_it_was_not_asked_for_or_is_over_at_once(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    for shown, first_s in ((False, 0), (True, 60)):
        with Reporter(shown=shown, colour=False, first_s=first_s) as tell:
            tell("reading", 1, 2)
    assert err.getvalue() == ""


def test_progress_on_a_terminal_is_a_bar_that_goes_away(tmp_path):
    program = (
        "from falaj.cli.progress import Reporter\n"
        "with Reporter(shown=True, colour=False, first_s=0) as tell:\n"
        "    for done in range(9): tell('reading' if done < 5 else 'writing', done, 8)\n"
    )
    ours, theirs = pty.openpty()
    try:
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        subprocess.run([sys.executable, "-c", program], stderr=theirs, env=env, timeout=60, check=True)
        written = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "reading" in written
    assert "writing" in written
    assert "━" in written
    assert written.count("\n") == 1  # one bar, whatever it is about
    assert written.rstrip().endswith("\x1b[2K")  # the line of the bar is cleared


# pipes, locales


def test_a_reader_that_goes_away_ends_the_command_quietly(project):
    asked = subprocess.Popen(
        command("-C", str(project.path), "asset", "list"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    asked.stdout.close()
    assert asked.stderr.read() == b""
    asked.stderr.close()
    assert asked.wait(60) == 141


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_any_locale_gets_an_answer(project, encoding):
    env = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    told = subprocess.run(
        command("-C", str(project.path), "log", "flights"), env=env, capture_output=True, timeout=60, check=True
    )
    assert b"v1 \\u2192 v3" in told.stdout


def test_words_that_are_no_text_are_refused_as_such(project):
    for words in ([b"show", b"fl\xffights"], [b"rm", b"flights:1", b"--reason", b"\xff"]):
        told = subprocess.run(command("-C", str(project.path), *words), capture_output=True, timeout=60, check=False)
        assert told.returncode == 2
        assert b"\\udcff" in told.stderr
        assert b"is not text in UTF-8" in told.stderr


def test_a_file_whose_name_is_no_text_is_refused_by_its_name(project, tmp_path):
    file = os.fsencode(tmp_path) + b"/\xff.csv"
    Path(os.fsdecode(file)).write_text("a\n1\n")
    told = subprocess.run(
        command("-C", str(project.path), "data", "add", "other", file), capture_output=True, timeout=60, check=False
    )
    assert told.returncode == 2
    assert b"invalid_name" in told.stderr
    assert b"Traceback" not in told.stderr


# signals


def hears_ctrl_c() -> None:
    """A process that a shell put in the background ignores Ctrl-C, and so do those that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_nothing_half_written_and_the_same_command_finishes(tmp_path, months):
    folder = example(tmp_path / "flights")
    folder.done("apply")
    files = [str(months / f"2013-{m:02d}.csv") for m in (1, 2, 4, 5, 6)]
    scratch = folder.path / ".falaj" / "scratch"
    begun = subprocess.Popen(
        command("-C", str(folder.path), "data", "add", "flights", *files), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c,  # noqa: PLW1509  no thread is at work here
    )  # fmt: skip
    while not any(scratch.glob("*/spill")):  # the judge has begun: the work is in its middle
        assert begun.poll() is None
        time.sleep(0.005)
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=60)
    assert (begun.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    assert list(scratch.iterdir()) == []
    assert folder("show", "flights").code == 3
    assert folder.done("verify", "--json").json["ok"] is True
    assert [r["state"] for r in folder.done("run", "list", "--json").json["items"]][-1] == "cancelled"
    assert "flights@main  v1" in folder.done("data", "add", "flights", *files).out
