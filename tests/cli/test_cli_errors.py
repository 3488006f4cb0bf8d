"""How errors are told: on a terminal and as JSON, escaped, with the exit code that the documentation names."""

from __future__ import annotations

import json
import unicodedata

import pytest

from falaj.cli.main import Internal, main
from falaj.cli.render import error_lines
from falaj.core import errors
from falaj.core.errors import FalajError, Refused

EVIL = "x\x1b[2J\u202eevil\r\nrefused  forged"


class ContractRefused(Refused):
    code = "contract_refused"


def test_a_refusal_lists_each_failed_rule_then_the_way_on():
    error = ContractRefused(
        "flights: 2 of 18 rules failed (contract 2.1)",
        next_step="correct the file, or change the contract and apply it",
        facts={
            "failed": [
                {
                    "rule": "k",
                    "title": "unique (year, month)",
                    "passed": False,
                    "text": "412 rows, e.g. 2013-05-02 UA 1545",
                },
                {"rule": "d", "title": "distance between 1 and 6,000", "passed": False, "text": "7 rows, e.g. 999999"},
            ],
            "entry": 1206,
        },
    )
    assert error_lines(error) == [
        "refused  flights: 2 of 18 rules failed (contract 2.1)",
        "  unique (year, month)          412 rows, e.g. 2013-05-02 UA 1545",
        "  distance between 1 and 6,000  7 rows, e.g. 999999",
        "next   correct the file, or change the contract and apply it",
        "entry  1206",
        "code   contract_refused",
    ]


def test_findings_that_passed_are_not_told():
    facts = {
        "findings": [
            {"title": "auc", "passed": True, "text": "0.74"},
            {"title": "brier", "passed": False, "text": "+0.006"},
        ]
    }
    lines = error_lines(Refused("no", facts=facts))
    assert lines[1] == "  brier  +0.006"
    assert not any("auc" in line for line in lines)


def test_a_finding_without_words_is_told_by_its_numbers():
    facts = {"findings": [{"rule": "rows", "passed": False, "observed": 61.3, "bound": "≤ 2 %"}]}
    assert error_lines(Refused("no", facts=facts))[1] == "  rows  61.3 (≤ 2 %)"


def test_a_thousand_findings_are_cut_and_counted():
    facts = {"findings": [{"title": f"rule {i}", "passed": False, "text": "no"} for i in range(1000)]}
    lines = error_lines(Refused("no", facts=facts))
    assert "  … and 950 more; --json shows all" in lines
    assert len(lines) < 60


def test_nothing_in_an_error_acts_on_the_terminal():
    finding = {"title": EVIL, "text": EVIL, "passed": False}
    error = Refused(EVIL, next_step=EVIL, facts={"findings": [finding], "entry": EVIL, "run": EVIL})
    lines = error_lines(error)
    assert len(lines) == 6
    assert not any(unicodedata.category(c) in ("Cc", "Cf") for line in lines for c in line)


def test_colour_is_only_ever_on_the_first_word():
    first, *rest = error_lines(Refused("no"), colour=True)
    assert first == "\x1b[1;31mrefused\x1b[0m  no"
    assert not any("\x1b" in line for line in rest)


@pytest.mark.parametrize(
    ("kind", "exit_code", "word"),
    [
        (errors.Invalid, 2, "error"),
        (errors.NotFound, 3, "error"),
        (errors.Unauthenticated, 4, "error"),
        (errors.Forbidden, 4, "error"),
        (errors.Conflict, 5, "error"),
        (errors.Refused, 6, "refused"),
        (errors.Damaged, 7, "error"),
        (errors.Unavailable, 8, "error"),
        (errors.MissingPart, 9, "error"),
        (Internal, 1, "error"),
        (FalajError, 1, "error"),
    ],
)
def test_each_error_has_its_exit_code_and_word(kind, exit_code, word):
    assert kind.exit_code == exit_code
    assert error_lines(kind("no"))[0] == f"{word}  no"


def test_a_usage_error_goes_to_standard_error(capsys):
    assert main(["promot"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "  error  no such command: 'promot'",
        "  next  falaj promote --help",
        "  code  usage",
    ]


def test_with_json_the_same_facts_stand_on_standard_output(capsys):
    assert main(["show", "--json"]) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err == ""
    assert (told["code"], told["status"], told["next_step"]) == ("usage", 422, "falaj show --help")


def test_a_folder_without_a_project_says_what_to_do(tmp_path, capsys):
    assert main(["-C", str(tmp_path), "show", "flights", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["code"] == "no_project"
    assert "falaj init" in told["next_step"]


def test_json_is_printable_ascii_whatever_the_names_are(tmp_path, capsys):
    evil = tmp_path / "x\x1b[2J\u202e\x7f"
    evil.mkdir()
    assert main(["-C", str(evil), "show", "a", "--json"]) == 3
    out = capsys.readouterr().out
    assert out.rstrip("\n").isascii()
    assert out.rstrip("\n").isprintable()
    assert evil.name in json.loads(out)["message"]


def test_an_unforeseen_error_is_short_and_says_how_to_see_more(tmp_path, capsys, monkeypatch):
    (tmp_path / "falaj.toml").write_text('project = "flights"\n')
    monkeypatch.setenv("FALAJ_DEBUG", "")
    monkeypatch.setitem(__import__("falaj.cli.render").cli.render.RENDERERS, "version", _broken)
    assert main(["version"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "  error  ZeroDivisionError: by zero",
        "  next  FALAJ_DEBUG=1 shows where; please report it",
        "  code  internal",
    ]
    monkeypatch.setenv("FALAJ_DEBUG", "1")
    assert main(["version"]) == 1
    assert "Traceback" in capsys.readouterr().err


def _broken(result, given):
    raise ZeroDivisionError("by zero")
