"""Pipelines and their runs."""

from __future__ import annotations

from falaj.cli.spec import Arg, Command, option

_GROUP = "pipelines"

COMMANDS: tuple[Command, ...] = (
    Command(
        "pipeline run",
        "pipeline.run",
        "Run a pipeline of pipeline.py; what was committed before is not computed again.",
        (
            Arg("pipeline", "the pipeline: name as pipeline.py defines it, or name:N as it was kept", complete="thing"),
            Arg(
                "params",
                "a value for a parameter, JSON or text; may be repeated",
                "--param",
                "many",
                False,
                metavar="NAME=VALUE",
            ),
            option("purpose", "what its data is read for, where your binding asks for it"),
        ),
        "pipeline_run",
        "pipeline:run",
        ("falaj pipeline run delay", "falaj pipeline run delay --param 'leaves=[15, 31]' --param flights=flights:3"),
        group=_GROUP,
    ),
    Command(
        "pipeline show",
        "pipeline.show",
        "A pipeline's parameters and steps, and what each takes from where.",
        (Arg("pipeline", "the pipeline: name or name:N", complete="thing"),),
        "pipeline",
        group=_GROUP,
    ),
    Command(
        "run watch",
        "run.steps",
        "Follow a run until it ends: each step as it begins and ends, whoever runs it.",
        (Arg("run", "id of the run"),),
        "watched",
        "pipeline:watch",
        ("falaj run watch 01JD8M3V9Y7X2K4T6R8P0N1B5C", "falaj run watch 01JD8M3V9Y7X2K4T6R8P0N1B5C --json"),
        group=_GROUP,
    ),
    Command(
        "run explain",
        "run.explain",
        "Why each step of a run was computed or was not, what it printed, how it failed.",
        (Arg("run", "id of the run"),),
        "explained",
        group=_GROUP,
    ),
    Command(
        "run compare",
        "run.compare",
        "How two runs differ: params, code, environment, data, metrics, outputs.",
        (Arg("run", "id of a run"), Arg("other", "id of another")),
        "compared",
        group=_GROUP,
    ),
    Command(
        "run reproduce",
        "run.reproduce",
        "Compute a run of a pipeline again from what it read, and compare what comes out.",
        (Arg("run", "id of the run"), option("purpose", "what its data is read for, where your binding asks for it")),
        "reproduced",
        group=_GROUP,
    ),
    Command(
        "run cancel",
        "run.cancel",
        "Cancel a run of a pipeline; what it committed stays.",
        (Arg("run", "id of the run"),),
        "cancelled",
        group=_GROUP,
    ),
)
