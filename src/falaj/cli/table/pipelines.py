"""Pipelines and their runs."""

from __future__ import annotations

from falaj.cli.spec import Arg, Command, option

_GROUP = "pipelines"

_RUN = Arg("run", "id of the run", "--run")
_STEP = Arg("step", "the step, by its name in the pipeline", "--step")
_PARAMS = Arg(
    "params",
    "a value for a parameter, JSON or text; may be repeated",
    "--param",
    "many",
    False,
    metavar="NAME=VALUE",
)
_PURPOSE = option("purpose", "what its data is read for, where your binding asks for it")

COMMANDS: tuple[Command, ...] = (
    Command(
        "pipeline run",
        "pipeline.run",
        "Run a pipeline of pipeline.py; what was committed before is not computed again.",
        (
            Arg("pipeline", "the pipeline: name as pipeline.py defines it, or name:N as it was kept", complete="thing"),
            _PARAMS,
            _PURPOSE,
        ),
        "pipeline_run",
        "pipeline:run",
        ("falaj pipeline run delay", "falaj pipeline run delay --param 'leaves=[15, 31]' --param flights=flights:3"),
        group=_GROUP,
    ),
    Command(
        "environment list",
        "environment.list",
        "Environments of steps that are on this host, each built from a lock.",
        (),
        "environments",
        examples=("falaj environment list",),
        group=_GROUP,
    ),
    Command(
        "environment build",
        "environment.build",
        "Build what a pipeline's steps run in, before it is run.",
        (Arg("pipeline", "the pipeline, as pipeline.py defines it, or name:N as it was kept", complete="thing"),),
        "environments_built",
        "pipeline:build",
        ("falaj environment build delay",),
        group=_GROUP,
    ),
    Command(
        "environment verify",
        "environment.verify",
        "Read every file of every environment, and compare it with what was built.",
        (),
        "environments_checked",
        examples=("falaj environment verify",),
        group=_GROUP,
    ),
    Command(
        "environment remove",
        "environment.remove",
        "Remove environments that no run is in; what is needed again is built again.",
        (
            Arg("digests", "their first characters, six or more", type="many", need=False, metavar="DIGEST"),
            option("unused", "all that nobody asked for in this time: 8h, 30d, 12w"),
        ),
        "environments_removed",
        examples=("falaj environment remove 3f6a1c", "falaj environment remove --unused 30d"),
        group=_GROUP,
    ),
    Command(
        "pipeline begin",
        "pipeline.begin",
        "Begin a run that an engine elsewhere works on; tells its steps, and a token that is good for it alone.",
        (
            Arg("pipeline", "the pipeline, as it was last kept, or name:N", complete="thing"),
            _PARAMS,
            _PURPOSE,
            option("expires_in", "until when it must have ended, such as 8h or 2d; a day where not said"),
        ),
        "begun",
        "pipeline:begin",
        ("falaj pipeline begin delay --expires-in 8h --json",),
        group=_GROUP,
    ),
    Command(
        "step run",
        "step.claim",
        "Run one attempt of a step of such a run, in a process of its own: what an engine calls.",
        (
            _RUN,
            _STEP,
            option("item", "of a mapped step, the place of the item, from 0", "int"),
            option("attempt", "from 1; higher by one each time that the same item is tried again", "int"),
        ),
        "step_ended",
        "step:run",
        ("falaj step run --run 01JD8M3V9Y7X2K4T6R8P0N1B5C --step train --item 2 --attempt 1",),
        group=_GROUP,
    ),
    Command(
        "step items",
        "step.items",
        "The items of a mapped step of such a run, once they are known.",
        (_RUN, _STEP),
        "step_items",
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
        (Arg("run", "id of the run"), option("step", "only this step, by its name in the pipeline")),
        "watched",
        "pipeline:watch",
        ("falaj run watch 01JD8M3V9Y7X2K4T6R8P0N1B5C", "falaj run watch 01JD8M3V9Y7X2K4T6R8P0N1B5C --json"),
        group=_GROUP,
    ),
    Command(
        "run explain",
        "run.explain",
        "Why each step of a run was computed or was not, what it printed, how it failed.",
        (Arg("run", "id of the run"), option("step", "only this step, and what it printed also where it did not fail")),
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
        (Arg("run", "id of the run"), _PURPOSE),
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
