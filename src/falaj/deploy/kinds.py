"""The kind of this room: `deployment`. While its `main` holds a version, that version says how a ref goes out."""

from __future__ import annotations

from falaj.deploy.reading import parse as parse_file
from falaj.deploy.records import Deployment
from falaj.store.kinds import Kind


def parse(text: str) -> tuple[str, Deployment]:
    """A file of `deploy/`: its asset's name, and the payload. Raises: Invalid, naming the line and the field."""
    deployment = parse_file(text)
    return deployment.name, deployment


def spelled(text: str) -> str:
    """`delay/production` is the deployment `delay`, which follows a ref `production`; `deployment/delay` is `delay`."""
    before, slash, _ = text.partition("/")
    return before if slash and before != "deployment" else text


DEPLOYMENT = Kind(
    "deployment",
    Deployment,
    config=True,
    folder="deploy",
    parse=parse,
    spelled=spelled,
    project_fields=lambda deployment: {"follows": str(deployment.follows)},
)
