"""`falaj step run`: what an engine runs for each attempt of a step, here or on a machine of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from falaj.session import Progress, Session


def run(session: Session, options: dict[str, Any], args: dict[str, Any], progress: Progress) -> Any:
    """Claim the attempt, compute it in a process of its own, commit it."""
    from falaj import capture
    from falaj.engines.contract import Attempt

    what = (args["run"], args["step"], args.get("item", -1), args.get("attempt", 1))
    with tempfile.TemporaryDirectory(prefix="falaj-step-", ignore_cleanup_errors=True) as folder:
        return Attempt(session, *what, capture.environment(), Path(folder)).run()
