"""The records of the data room: what a contract asks, what a judgement found, and what a version carries.

All are frozen and plain: they go into payloads, over HTTP and into messages as they are.
"""

from __future__ import annotations

from math import isnan
from typing import Any, Final, Literal

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import Refused

LogicalType = Literal["string", "integer", "number", "boolean", "date", "timestamp", "time"]
Severity = Literal["error", "warning"]
Unit = Literal["rows", "percent"]
Kind = Literal["nulls", "missing", "invalid", "range", "length", "multiple", "duplicates", "rows", "sql", "freshness"]
Scalar = bool | int | float | str | None

SIGNS: Final = {
    "mustBe": "=",
    "mustNotBe": "≠",
    "mustBeGreaterThan": ">",
    "mustBeGreaterOrEqualTo": "≥",
    "mustBeLessThan": "<",
    "mustBeLessOrEqualTo": "≤",
    "mustBeBetween": "between",
    "mustNotBeBetween": "not between",
}


class Bound(msgspec.Struct, frozen=True):
    """What an observed number must be: one operator of the standard with its one or two numbers."""

    op: str
    value: float | bool
    upper: float | None = None

    def holds(self, observed: float | bool) -> bool:
        """Between counts both of its ends as inside. NaN holds for nothing."""
        if isnan(observed):
            return False
        match self.op:
            case "mustBe":
                return observed == self.value
            case "mustNotBe":
                return observed != self.value
            case "mustBeGreaterThan":
                return observed > self.value
            case "mustBeGreaterOrEqualTo":
                return observed >= self.value
            case "mustBeLessThan":
                return observed < self.value
            case "mustBeLessOrEqualTo":
                return observed <= self.value
        inside = self.value <= observed <= (self.value if self.upper is None else self.upper)
        return inside if self.op == "mustBeBetween" else not inside

    @property
    def is_none(self) -> bool:
        """Exactly zero is asked for: the rule reads better without its number."""
        return self.op in ("mustBe", "mustBeLessOrEqualTo") and self.value == 0 and not isinstance(self.value, bool)

    def __str__(self) -> str:
        low = str(self.value).lower() if isinstance(self.value, bool) else shown(self.value)
        return f"{SIGNS[self.op]} {low}" + ("" if self.upper is None else f" and {shown(self.upper)}")


NONE: Final = Bound("mustBe", 0)


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The values that a column may hold; text for dates and times. A missing end is open."""

    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    above: int | float | str | None = None
    below: int | float | str | None = None

    def __str__(self) -> str:
        if self.minimum is not None and self.maximum is not None and self.above is None and self.below is None:
            return f"between {shown(self.minimum)} and {shown(self.maximum)}"
        ends = (("≥", self.minimum), (">", self.above), ("≤", self.maximum), ("<", self.below))
        return " and ".join(f"{sign} {shown(end)}" for sign, end in ends if end is not None)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the table. `key` is its place in the primary key, from 1; None = not a part of it."""

    name: str
    type: LogicalType
    required: bool = False
    unique: bool = False
    key: int | None = None
    classification: str | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be judged.

    Attributes:
        id: stable within the contract: the document's own id, or its name, or made of column and metric.
        title: the rule as a person says it: `distance between 1 and 6,000`.
        kind: what is measured; decides which of the fields below are used.
        columns: the columns concerned, in the document's order.
        bound: what the measured number must be: rows, or percent of all rows (0 to 100), hours for freshness.
        values: `missing`: what counts as missing; `invalid`: what is valid.
        pattern: `invalid`: regular expression (RE2) that a valid value contains.
        within: `range` of values, or of character counts for `length`.
        step: `multiple`: values are multiples of it.
        query: `sql`: one SELECT that returns one number or truth value.
    """

    id: str
    title: str
    kind: Kind
    columns: tuple[str, ...] = ()
    bound: Bound = NONE
    unit: Unit = "rows"
    severity: Severity = "error"
    values: tuple[Scalar, ...] = ()
    pattern: str | None = None
    within: Range | None = None
    step: float | None = None
    query: str | None = None


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A contract in force: what a version of the table must be.

    Attributes:
        table: name of the table; queries may call it by this name or as {object}.
        null_markers: text that stands for null in CSV, beside the empty cell.
        extra_columns: whether columns beyond the declared ones are let in.
        decision: the moment at which a row is decided about, in words; None where the contract says nothing of it, and
            then nothing of when its columns are known.
        known_after: column → the event after the decision from which it is known (`dep_delay`: departure). Every
            other column is known at the decision.
        digest: sha256 of the document's canonical bytes.
    """

    id: str
    version: str
    status: str
    name: str
    table: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    null_markers: tuple[str, ...] = ()
    extra_columns: bool = False
    purpose: str | None = None
    lawful_basis: str | None = None
    decision: str | None = None
    known_after: dict[str, str] = {}
    digest: str

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row to a person: the primary key, or else the first key that must be unique."""
        primary = sorted((c.key, c.name) for c in self.columns if c.key is not None)
        if primary:
            return tuple(name for _, name in primary)
        return next((r.columns for r in self.rules if r.kind == "duplicates"), ())

    @property
    def compiled(self) -> str:
        """Digest of the rules as Falaj reads them: equal for two documents that differ in words only."""
        return sha256(canonical((self.table, self.columns, self.rules, self.null_markers, self.extra_columns)))

    @property
    def of_part(self) -> Contract:
        """The contract as it judges files that join others: without the rules on the size and age of the whole."""
        return msgspec.structs.replace(self, rules=tuple(r for r in self.rules if r.kind not in ("rows", "freshness")))

    def column(self, name: str) -> Column:
        """A declared column; a rule never names another."""
        return next(c for c in self.columns if c.name == name)


def shown(value: object) -> str:
    """A number as people write it: thousands apart, no useless zeros; text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) or not value.is_integer() else f"{int(value):,}"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one rule.

    Attributes:
        rule: the rule's id.
        title: the rule as a person says it.
        passed: False also for what could not be measured.
        severity: only a failed `error` refuses the data; a failed `warning` is reported.
        observed: the measured number in the rule's unit; None where it could not be measured.
        bound: what it had to be, as text with its unit.
        failed_rows: rows that break the rule (rows that repeat an earlier key, for a unique one).
        examples: up to 5 of these rows, first in file order: the columns of the key and those of the rule. Values of
            classified columns are hidden.
        text: what was found, in words: `412 rows, e.g. 2013-05-02 UA 1545 EWR`.
    """

    rule: str
    title: str
    passed: bool
    severity: Severity = "error"
    observed: float | bool | None = None
    bound: str = ""
    failed_rows: int = 0
    examples: tuple[dict[str, Scalar], ...] = ()
    text: str = ""

    def __str__(self) -> str:
        return f"{self.title}   {self.text}" if self.text else self.title


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement of one table by one contract. No findings at all is a refusal."""

    contract: str
    digest: str
    rows: int
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return bool(self.findings) and not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The failures that refuse the data."""
        return tuple(f for f in self.findings if not f.passed and f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if not f.passed and f.severity == "warning")

    def lines(self) -> list[str]:
        """One line for each failure and warning, their texts in one column."""
        shown_ones = self.failed + self.warnings
        width = max((len(f.title) for f in shown_ones), default=0)
        return [
            f"{f.title:<{width}}   {f.text}" + (" (warning)" if f.severity == "warning" else "") for f in shown_ones
        ]

    def summary(self) -> ReportSummary:
        return ReportSummary(
            rows=self.rows,
            rules=len(self.findings),
            failed=len(self.failed),
            warnings=len(self.warnings),
            outcomes=tuple(
                Outcome(rule=f.rule, passed=f.passed, observed=f.observed, failed_rows=f.failed_rows)
                for f in self.findings
            ),
        )


class ContractRefused(Refused):
    """Data does not keep its contract."""

    code = "contract_refused"

    def __init__(self, name: str, report: Report) -> None:
        self.report = report
        failed = report.failed
        super().__init__(
            f"{name}: {len(failed)} of {len(report.findings)} rules failed (contract {report.contract})",
            next_step="correct the file, or change the contract and apply it",
            facts={
                "rows": report.rows,
                "rules": len(report.findings),
                "failed": msgspec.to_builtins(failed),
            },
        )


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A finding without its words and example values: what may stand in a payload for ever."""

    rule: str
    passed: bool
    observed: float | bool | None
    failed_rows: int


class ReportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A report in numbers only: it holds no value of the data, so erasing a subject need not rewrite it."""

    rows: int
    rules: int
    failed: int
    warnings: int
    outcomes: tuple[Outcome, ...]


class DatasetColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column as a version holds it. `type` is the logical type, or the stored type where none is declared."""

    name: str
    type: str
    classification: str | None = None


class DatasetVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a version of kind `dataset`.

    Attributes:
        format: how its files are written.
        columns: in the contract's order; empty for `files`.
        rows: None for `files`, which are not counted.
        size_bytes: of the files as they came.
        contract: the contract version that judged it (`contract/flights:2`), None where there was none.
        contract_digest: digest of that contract's document.
        report: the judgement in numbers.
        source: name of the file or system it came from; a name, never a path.
    """

    format: Literal["csv", "parquet", "files"]
    columns: tuple[DatasetColumn, ...] = ()
    rows: int | None = None
    size_bytes: int
    contract: str | None = None
    contract_digest: str | None = None
    report: ReportSummary | None = None
    source: str = ""
    v: int = 1


class ContractVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a version of kind `contract`.

    Attributes:
        document: the ODCS document as plain data; `contract.from_data` reads it.
        digest: sha256 of the document's canonical bytes.
        compiled: sha256 of the rules as Falaj reads them: when it changes without the document, the reading changed.
        rules: number of rules, those that follow from types and columns not counted.
    """

    document: dict[str, Any]
    digest: str
    compiled: str
    table: str
    version: str
    rules: int
    purpose: str | None = None
    lawful_basis: str | None = None
    v: int = 1


def contract_version(contract: Contract, document: dict[str, Any]) -> ContractVersion:
    """The payload for a contract that `contract.parse` read."""
    return ContractVersion(
        document=document,
        digest=contract.digest,
        compiled=contract.compiled,
        table=contract.table,
        version=contract.version,
        rules=len(contract.rules),
        purpose=contract.purpose,
        lawful_basis=contract.lawful_basis,
    )


def dataset_columns(contract: Contract) -> tuple[DatasetColumn, ...]:
    """The columns of a version that kept its contract."""
    return tuple(DatasetColumn(name=c.name, type=c.type, classification=c.classification) for c in contract.columns)
