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
)
