"""Predictions as a server writes them, made for tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from falaj.core.bundle import Role
from falaj.core.encoding import moment
from falaj.core.predictions import Prediction

_ids = itertools.count(1)


def answer(
    role: Role,
    *outputs: float | None,
    version: int = 0,
    revision: int = 1,
    ms: float = 2.0,
    key: str = "",
    id: str = "",
    at: datetime | None = None,
) -> list[Prediction]:
    """The lines of one answer, a row for each output; None is a row that the model failed at."""
    number = id or f"{next(_ids):026d}"
    versions = {"stable": 1, "canary": 2, "shadow": 3}
    return [
        Prediction(
            id=number,
            row=row,
            at=moment(at or datetime.now(UTC)),
            deployment="kite",
            revision=revision,
            model="kite",
            version=version or versions[role],
            role=role,
            inputs={},
            ms=ms,
            key=key,
            output=output,
            error=None if output is not None else "model_failed",
        )
        for row, output in enumerate(outputs)
    ]


def failed_over(output: float, *, revision: int = 1, ms: float = 2.0) -> list[Prediction]:
    """The canary failed, and the stable version answered."""
    bad = answer("canary", None, revision=revision, ms=ms)
    return [*bad, *answer("stable", output, revision=revision, ms=ms * 2, id=bad[0].id)]


def alternating(count: int, canary: Callable[[int], float | None], stable: Callable[[int], float]) -> list[Prediction]:
    """So many answers of each, one after the other."""
    made: list[Prediction] = []
    for at in range(count):
        found = canary(at)
        made += failed_over(stable(at)) if found is None else answer("canary", found)
        made += answer("stable", stable(at))
    return made


def spread(at: int) -> float:
    """Probabilities all over from 0 to 1, the same for the same place."""
    return (at * 0.618034) % 1.0


def requests(lines: Iterable[Prediction]) -> Sequence[str]:
    """The ids of the answers, in order."""
    return list(dict.fromkeys(line.id for line in lines))
