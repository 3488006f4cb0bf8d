"""The kinds of this room: `pipeline`, by its graph and source; `artifact`, what a step of one made."""

from __future__ import annotations

from falaj.pipelines.records import Artifact, Pipeline
from falaj.store.kinds import Kind

PIPELINE = Kind("pipeline", Pipeline, project_fields=lambda p: {"steps": len(p.graph.nodes)})
ARTIFACT = Kind(
    "artifact",
    Artifact,
    project_fields=lambda a: {"type": a.type, "key": a.key, "digest": a.digest},
)
