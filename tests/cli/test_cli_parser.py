"""From words to a command: where options may stand, what is refused, what help says."""

from __future__ import annotations

import shlex

import pytest

from falaj.cli.arguments import parser_of
from falaj.cli.parser import overview, parse
from falaj.cli.render import RENDERERS
from falaj.cli.spec import Help, UsageError
from falaj.cli.table import COMMANDS


@pytest.mark.parametrize(
    ("line", "words", "options", "args"),
    [
        ("show flights@main", "show", {}, {"thing": "flights@main"}),
        ("-C /x --json show a", "show", {"folder": "/x", "json": True}, {"thing": "a"}),
        ("show a --json -C /x", "show", {"folder": "/x", "json": True}, {"thing": "a"}),
        (
            "--url=https://h --project p show a -q",
            "show",
            {"url": "https://h", "project": "p", "quiet": True},
            {"thing": "a"},
        ),
        ("promote delay@production 7", "promote", {}, {"thing": "delay@production", "version": 7}),
        (
            "promote delay@production v7 --expect 6",
            "promote",
            {},
            {"thing": "delay@production", "version": 7, "expect": 6},
        ),
        ("rollback delay@production", "rollback", {}, {"thing": "delay@production"}),
        ("data add flights a.csv b.csv", "data add", {}, {"dataset": "flights", "paths": ["a.csv", "b.csv"]}),
        ("data contract show flights", "data contract show", {}, {"thing": "flights"}),
        ("apply", "apply", {}, {}),
        ("asset list model", "asset list", {}, {"kind": "model"}),
        ("feature_view list --limit 3", "feature_view list", {}, {"limit": 3}),
        (
            "model register d m.onnx --label y --input a:1 --input b:2",
            "model register",
            {},
            {"model": "d", "paths": ["m.onnx"], "label": "y", "inputs": ["a:1", "b:2"]},
        ),
        ("--version", "version", {}, {}),
    ],
)
def test_a_line_is_its_command_options_and_arguments(line, words, options, args):
    given = parse(line.split())
    assert (given.command.words, given.options) == (words, options)
    assert given.args == args


def test_the_kind_of_a_kind_list_is_decided_by_the_command():
    assert parse(["model", "list"]).command.fixed == (("kind", "model"),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("promot delay@production 7", "no such command: 'promot'"),
        ("data ad flights", "no such command: 'data ad'"),
        ("promote delay@production", "the following arguments are required: VERSION"),
        ("promote delay@production seven", "a whole number is expected, not 'seven'"),
        ("show a --colour", "unrecognized arguments: --colour"),
        ("show a b", "unrecognized arguments: b"),
        ("lineage a --direction sideways", "invalid choice: 'sideways'"),
        ("--json", "a command is expected"),
        ("--url", "a command is expected"),
        ("show --url", "expected one argument"),
        ("show --jso a", "unrecognized arguments: --jso"),
    ],
)
def test_what_is_no_command_of_ours_is_refused_with_a_next_step(line, message):
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert message in caught.value.message
    assert caught.value.next_step.startswith("falaj")


def test_the_nearest_command_is_offered():
    with pytest.raises(UsageError) as caught:
        parse(["promot", "x"])
    assert caught.value.next_step == "falaj promote --help"


@pytest.mark.parametrize(
    "line",
    ["", "--help", "-h", "help", "data", "data --help", "help data", "promote --help", "help promote", "promote -h"],
)
def test_help_is_an_answer(line):
    with pytest.raises(Help) as caught:
        parse(line.split())
    assert caught.value.page


def test_the_overview_names_every_command_and_global_option():
    page = overview()
    assert all(f"  {c.words} " in page and c.summary in page for c in COMMANDS)
    assert all(flag in page for flag in ("-C DIR", "--url", "--project", "--token-file", "--json", "-q", "--no-color"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.words)
def test_every_command_can_be_parsed_and_told_and_its_examples_parse(command):
    assert command.render in RENDERERS
    assert bool(command.operation) != bool(command.local)
    assert parser_of(command).format_help()
    assert command.summary.endswith(".")
    for example in command.examples:
        words = shlex.split(example.removeprefix("source <(").removesuffix(")"))
        redirected = [at for at, word in enumerate(words) if word in ("<", ">")]
        assert parse(words[1 : redirected[0] if redirected else None]).command.operation == command.operation


def test_no_two_commands_have_the_same_words():
    words = [c.words for c in COMMANDS]
    assert len(words) == len(set(words))
