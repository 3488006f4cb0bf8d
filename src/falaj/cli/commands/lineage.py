"""`falaj lineage`: of a version, or of one answer, `prediction:ID`."""

from __future__ import annotations

from typing import Any

from falaj.cli.spec import UsageError
from falaj.session import Progress, Session

PREDICTION = "prediction:"


def lineage(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """What a version came from or led to; of a prediction, all that it came from."""
    if not args["thing"].startswith(PREDICTION):
        return session.call("asset.lineage", args, progress=progress)
    if args.keys() - {"thing"}:
        raise UsageError(
            "the lineage of a prediction goes up to its end", next_step="leave --direction and --depth out"
        )
    return session.call("prediction.lineage", {"prediction": args["thing"].removeprefix(PREDICTION)}, progress=progress)
