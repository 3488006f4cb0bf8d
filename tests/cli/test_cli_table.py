"""Commands and operations, both ways: what is declared can be typed, and what can be typed is declared."""

from __future__ import annotations

import msgspec
import pytest

from falaj.cli.table import COMMANDS
from falaj.platform.rooms import every_operation

OPERATIONS = {operation.name: operation for operation in every_operation()}

# What a handler makes of other arguments: command -> (fields of the operation that it fills, arguments of its own).
MADE = {
    "apply": ({"files"}, {"paths"}),
    "data add": ({"files"}, {"paths"}),
    "data get": ({"path"}, {"into", "file"}),
    "model register": ({"files"}, {"paths"}),
    "step run": ({"environment"}, set()),
    "deploy watch": (set(), {"every", "once"}),
    "deploy logs": (set(), {"follow", "every"}),
    "deploy export": (set(), {"into"}),
    "gate evidence": (set(), {"into", "check"}),
    "ledger show": ({"scope"}, set()),
    "ledger proof": ({"scope"}, set()),
    "ledger export": (set(), {"into"}),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda o: o.name)
def test_every_operation_has_its_command_or_says_why_it_has_none(operation):
    words = [command.words for command in COMMANDS if command.operation == operation.name]
    if operation.faces.cli:
        assert words == [operation.faces.cli]
    else:
        assert words == []
        assert len(operation.faces.without["cli"]) > 10


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.words)
def test_every_command_has_its_operation_and_each_of_its_arguments(command):
    if not command.operation:
        assert command.local
        return
    operation = OPERATIONS[command.operation]
    given = {arg.dest for arg in command.args} | {name for name, _ in command.fixed}
    filled, own = MADE.get(command.words, (set(), set()))
    assert (given - own) | filled == set(operation.params.__struct_fields__)
    assert bool(filled or own) <= bool(command.handler)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.operation and not c.handler], ids=lambda c: c.words)
def test_what_must_be_given_is_what_the_operation_cannot_do_without(command):
    needed = {f.name for f in msgspec.structs.fields(OPERATIONS[command.operation].params) if f.required}
    assert {arg.dest for arg in command.args if arg.need} == needed - {command.scoped}


def test_no_two_operations_share_a_command():
    words = [o.faces.cli for o in OPERATIONS.values() if o.faces.cli]
    assert len(words) == len(set(words))
