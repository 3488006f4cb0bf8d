"""The pages that are written from the program are those of the program as it is."""

from __future__ import annotations

from scripts import cli_docs, error_docs


def test_the_page_of_commands_is_fresh():
    assert cli_docs.PAGE.read_text(encoding="utf-8") == cli_docs.page(), "python -m scripts.cli_docs"


def test_every_error_code_has_its_line_and_says_what_to_do():
    assert error_docs.problems() == []


def test_a_code_without_a_word_about_it_is_told(tmp_path, monkeypatch):
    page = tmp_path / "errors.md"
    known = error_docs.steps(error_docs.PAGE.read_text(encoding="utf-8"))
    del known["usage"]
    page.write_text(error_docs.page(known), encoding="utf-8")
    monkeypatch.setattr(error_docs, "PAGE", page)
    assert "usage: nothing says what to do" in error_docs.problems()
    page.write_text("", encoding="utf-8")
    assert error_docs.problems()[-1] == "stale: python -m scripts.error_docs"


def test_the_exit_codes_of_the_page_are_those_of_the_errors():
    told = {int(line.split("|")[1]) for line in cli_docs.page().splitlines() if line[2:3].isdigit()}
    assert {cls.exit_code for cls in error_docs.classes().values()} | {0, 130, 141} == told
