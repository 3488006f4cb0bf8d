"""Deployments and their rollouts."""

from __future__ import annotations

from falaj.cli.spec import Arg, Command, option
from falaj.cli.table.common import REASON

_GROUP = "deployments"
DEPLOYMENT = Arg("deployment", "the deployment: delay, or delay/production", metavar="DEPLOYMENT")

COMMANDS: tuple[Command, ...] = (
    Command(
        "deploy status",
        "deploy.status",
        "Which versions answer, by which shares and how well; the rollout; what the server knows.",
        (DEPLOYMENT,),
        "deployment",
        examples=("falaj deploy status delay/production",),
        group=_GROUP,
    ),
    Command(
        "deploy watch",
        "deploy.tick",
        "Carry the rollout on by its evidence until it ends, telling each change.",
        (
            DEPLOYMENT,
            option("every", "seconds between two looks (default: 1)", "number"),
            option("once", "look once, do what is due, and end", "switch"),
        ),
        "turn",
        "deploy:watch",
        ("falaj deploy watch delay", "falaj deploy watch delay --once"),
        group=_GROUP,
    ),
    Command(
        "deploy advance",
        "deploy.advance",
        "Go to the next share now, baked or not; refused where the canary fails.",
        (DEPLOYMENT, REASON),
        "turn",
        examples=("falaj deploy advance delay --reason 'looked at by hand'",),
        group=_GROUP,
    ),
    Command(
        "deploy pause",
        "deploy.pause",
        "Keep the canary's share as it is; one that fails is taken back all the same.",
        (DEPLOYMENT, REASON),
        "turn",
        examples=("falaj deploy pause delay",),
        group=_GROUP,
    ),
    Command(
        "deploy resume",
        "deploy.resume",
        "Let a paused rollout go on.",
        (DEPLOYMENT, REASON),
        "turn",
        examples=("falaj deploy resume delay",),
        group=_GROUP,
    ),
    Command(
        "deploy abort",
        "deploy.abort",
        "Give everything back to the stable version; the ref stays where it is.",
        (DEPLOYMENT, REASON),
        "turn",
        examples=("falaj deploy abort delay --reason 'complaints from the desk'",),
        group=_GROUP,
    ),
    Command(
        "deploy logs",
        "deploy.logs",
        "Predictions as they were logged on this host, newest first; each reading is an entry.",
        (
            DEPLOYMENT,
            option("limit", "at most so many (default: 100)", "int"),
            option("version", "only those of this version", "int"),
            option("role", "only those of this role", choices=("stable", "canary", "shadow")),
            option("prediction", "only this one: the id that came with the answer", metavar="ID"),
            option("since", "from then on: 2026-11-26T14:00:00Z, or 2h for the last two hours"),
            option("until", "up to then"),
            option("failed", "only those that the model failed at", "switch"),
            option("after", "what came after this place, as the reading before said", metavar="PLACE"),
            option("follow", "go on with what comes, until Ctrl-C", "switch"),
            option("every", "seconds between two looks of --follow (default: 5)", "number"),
            option("purpose", "what it is read for, where your binding asks for it"),
        ),
        "predictions",
        "deploy:logs",
        ("falaj deploy logs delay --since 1h --failed", "falaj deploy logs delay --follow --json"),
        group=_GROUP,
    ),
    Command(
        "deploy export",
        "deploy.export",
        "Write the signed bundle, its key and how to serve it elsewhere into a folder.",
        (
            DEPLOYMENT,
            Arg("into", "folder to write to: new, or empty", "-o/--into", metavar="DIR", complete="folder"),
        ),
        "exported_bundle",
        "deploy:export",
        ("falaj deploy export delay --into delay-bundle",),
        group=_GROUP,
    ),
)
