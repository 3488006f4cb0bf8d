"""The kind of this room: `report`. Its versions are made by `monitor.report` alone; `main` is the newest."""

from __future__ import annotations

from falaj.monitor.records import Report
from falaj.store.kinds import Kind

REPORT = Kind(
    "report",
    Report,
    project_fields=lambda report: {"verdict": report.verdict, "rows": report.rows, "drifted": report.drifted},
)
