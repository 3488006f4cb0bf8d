"""Falaj: one governed channel from data to prediction and back.

    import falaj as fj

    project = fj.open()                                                     # the project folder one works in
    project = fj.connect("https://falaj.example.ae", project="flights")    # or a server

Names are loaded when they are first used: `import falaj` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; `typing` itself costs as much as starting Python
if TYPE_CHECKING:
    from falaj.api import DataVersion as DataVersion
    from falaj.api import Model as Model
    from falaj.api import ModelVersion as ModelVersion
    from falaj.api import Project as Project
    from falaj.api import Run as Run
    from falaj.api import connect as connect
    from falaj.api import open as open  # noqa: A004  read as fj.open
    from falaj.core.errors import FalajError as FalajError
    from falaj.engines.score import score as score
    from falaj.features.definitions import Dataset as Dataset
    from falaj.features.definitions import Entity as Entity
    from falaj.features.definitions import FeatureService as FeatureService
    from falaj.features.definitions import FeatureView as FeatureView
    from falaj.features.definitions import count as count
    from falaj.features.definitions import mean as mean
    from falaj.features.definitions import sum_of as sum_of
    from falaj.pipelines.definitions import Metrics as Metrics
    from falaj.pipelines.definitions import Table as Table
    from falaj.pipelines.definitions import best as best
    from falaj.pipelines.definitions import dataset as dataset
    from falaj.pipelines.definitions import pipeline as pipeline
    from falaj.pipelines.definitions import register as register
    from falaj.pipelines.definitions import step as step
    from falaj.pipelines.inside import log as log
    from falaj.pipelines.inside import point_in_time as point_in_time

__version__ = "0.1.0"
__all__ = [
    "DataVersion",
    "Dataset",
    "Entity",
    "FalajError",
    "FeatureService",
    "FeatureView",
    "Metrics",
    "Model",
    "ModelVersion",
    "Project",
    "Run",
    "Table",
    "best",
    "connect",
    "count",
    "dataset",
    "log",
    "mean",
    "open",
    "pipeline",
    "point_in_time",
    "register",
    "score",
    "step",
    "sum_of",
]

_HOME = {
    **dict.fromkeys(__all__, "falaj.api"),
    "FalajError": "falaj.core.errors",
    **dict.fromkeys(
        ("Dataset", "Entity", "FeatureService", "FeatureView", "count", "mean", "sum_of"), "falaj.features.definitions"
    ),
    **dict.fromkeys(
        ("Metrics", "Table", "best", "dataset", "pipeline", "register", "step"), "falaj.pipelines.definitions"
    ),
    "score": "falaj.engines.score",
    **dict.fromkeys(("log", "point_in_time"), "falaj.pipelines.inside"),
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'falaj' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
