"""Triggers, and the loop that looks for their causes."""

from __future__ import annotations

from falaj.cli.spec import Arg, Command, option
from falaj.cli.table.common import REASON

_GROUP = "pipelines"

COMMANDS: tuple[Command, ...] = (
    Command(
        "trigger list",
        "trigger.list",
        "Triggers in force: what causes them, what each cause came to.",
        (
            Arg("trigger", "one trigger (default: all)", need=False),
            option("limit", "at most so many starts of each (default: 5)", "int"),
        ),
        "triggers",
        examples=("falaj trigger list", "falaj trigger list retrain-delay --limit 50"),
        group=_GROUP,
    ),
    Command(
        "trigger fire",
        "trigger.fire",
        "Start a trigger now, as if it had a cause; its model goes through the same gate.",
        (Arg("trigger", "name of the trigger"), REASON),
        "start",
        examples=("falaj trigger fire retrain-delay --reason 'winter schedule'",),
        group=_GROUP,
    ),
    Command(
        "watch",
        "",
        "Do what the project does by itself, until Ctrl-C: causes, starts and reports that are due, rollouts.",
        (option("once", "end as soon as nothing is left to do", "switch"),),
        "silent",
        "watch:watch",
        ("falaj watch", "falaj watch --once"),
        local="calls operations round after round; a server does the same by itself",
        group=_GROUP,
    ),
)
