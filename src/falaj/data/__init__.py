"""The data room: datasets and the contracts that judge them.

This package imports neither DuckDB nor PyArrow; `checks` and `tables` load them when they first need them.
"""

from falaj.data.records import (
    Bound,
    Column,
    Contract,
    ContractRefused,
    ContractVersion,
    DatasetColumn,
    DatasetVersion,
    Finding,
    Outcome,
    Report,
    ReportSummary,
    Rule,
)

__all__ = [
    "Bound",
    "Column",
    "Contract",
    "ContractRefused",
    "ContractVersion",
    "DatasetColumn",
    "DatasetVersion",
    "Finding",
    "Outcome",
    "Report",
    "ReportSummary",
    "Rule",
]
