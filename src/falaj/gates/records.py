"""Records of the gates: rules read strictly from a file, evidence measured by Falaj, findings, verdicts.

A gate is a versioned asset; its payload is `Gate`. A rule that Falaj could not judge is refused when the gate is
read: a rule that is silently skipped would look like one that passed.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, cast

import msgspec

from falaj.core.errors import Invalid, InvalidName
from falaj.core.names import Thing, name, printable
from falaj.data import document

Metric = Literal["auc", "brier", "log_loss", "accuracy", "mean_error", "calibration_error"]
CheckName = Literal["lineage_complete", "no_leakage", "signature", "format"]
State = Literal["passed", "failed", "waived", "pending", "not_needed", "not_judged"]

UNDECIDED: Final = ("pending", "not_needed")
"""States of an approval that is still to be given, or that nobody asks for since the version is refused."""
MIN_ROWS: Final = 200
MAX_RULES: Final = 100
MAX_GUARDS: Final = 20
MAX_SLICES: Final = 500
ROLES: Final = ("viewer", "contributor", "maintainer", "owner", "auditor")
PAIRED: Final = frozenset({"auc", "brier", "log_loss", "accuracy"})
HIGHER_IS_BETTER: Final = frozenset({"auc", "accuracy"})

_SPAN = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(ms|s)")

S = TypeVar("S", bound=msgspec.Struct)
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="rule"):
    """Base of the rules; `str(rule)` is how people see it, `title` what it is about, without its bound."""

    @property
    def title(self) -> str:
        return str(self)


class BoundRule(Rule, frozen=True, kw_only=True, tag="bound"):
    """A metric must reach a bound, over all rows or in every slice of a column.

    Attributes:
        at_least, at_most: exactly one is given; the bound itself passes.
        by: column of the evidence; every value with `min_rows` rows or more is judged on its own.
        min_rows: a slice with fewer labelled rows is reported as not judged.
    """

    metric: Metric
    at_least: float | None = None
    at_most: float | None = None
    by: Text | None = None
    min_rows: Annotated[int, msgspec.Meta(ge=2)] = MIN_ROWS

    @property
    def title(self) -> str:
        return f"{self.metric} by {self.by}" if self.by else self.metric

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{self.title} {sign} {bound:g}"

    def holds(self, observed: float | None) -> bool:
        """Whether the observed value is inside; what was not measured (None, NaN) is not."""
        if observed is None or math.isnan(observed):
            return False
        return observed >= self.at_least if self.at_least is not None else observed <= cast(float, self.at_most)


class HolderRule(Rule, frozen=True, kw_only=True, tag="holder"):
    """A metric must be shown to be no worse than the holder's on the same rows.

    Attributes:
        no_worse_than: the largest worsening that is tolerated; the upper end of the 95 % interval of the worsening
            is compared with it, so a difference too uncertain to exclude more is a failure.
    """

    metric: Literal["auc", "brier", "log_loss", "accuracy"]
    against: Literal["holder"]
    no_worse_than: Annotated[float, msgspec.Meta(ge=0)]

    @property
    def title(self) -> str:
        return f"{self.metric} against holder"

    def __str__(self) -> str:
        return f"{self.title} no worse than {self.no_worse_than:g}"


class CheckRule(Rule, frozen=True, kw_only=True, tag="check"):
    """A fact about the candidate that Falaj establishes itself."""

    check: CheckName

    def __str__(self) -> str:
        return f"check {self.check}"


class LatencyRule(Rule, frozen=True, kw_only=True, tag="latency"):
    """99 of 100 single rows are answered within a time, by the candidate in its process beside the gate's evaluator.

    Attributes:
        at_most_ms: milliseconds from a row's being handed to the process until its answer is back; the bound passes.
    """

    at_most_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)]

    @property
    def title(self) -> str:
        return "latency_p99"

    def __str__(self) -> str:
        return f"{self.title} ≤ {self.at_most_ms:g} ms"


class ApprovalRule(Rule, frozen=True, kw_only=True, tag="approval"):
    """Another person says yes before the ref moves.

    Attributes:
        role: the role that the person must hold on the ref.
        excluding: who does not count; always the proposing person.
        embedded: "waive" where one operating-system user is all there is: recorded as waived, never as given.
    """

    role: str
    excluding: Literal["proposer"] = "proposer"
    embedded: Literal["fail", "waive"] = "fail"

    def __str__(self) -> str:
        return f"approval from a {self.role} other than the proposer"


AnyRule = BoundRule | HolderRule | CheckRule | LatencyRule | ApprovalRule


class EvidenceSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gate measures on: data that training cannot read.

    Attributes:
        data: ref or version of a dataset, `flights@holdout`.
        label: SQL expression over its columns that is true, false or null (`arr_delay > 30`); a null label leaves
            the row out, and the count of those rows is told.
        where: SQL condition that chooses rows, None for all.
    """

    data: Text
    label: Text
    where: Text | None = None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A gate: the refs it guards, its rules, and where the evidence comes from (None where no rule measures)."""

    name: str
    guards: tuple[str, ...]
    rules: tuple[AnyRule, ...]
    evidence: EvidenceSource | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the rules need, sorted."""
        return tuple(sorted({r.metric for r in self.rules if isinstance(r, BoundRule | HolderRule)}))

    @property
    def latency_ms(self) -> float | None:
        """The tightest bound on the time of a single row, None where no rule asks."""
        return min((r.at_most_ms for r in self.rules if isinstance(r, LatencyRule)), default=None)

    @property
    def slices(self) -> tuple[str, ...]:
        """The columns that rules slice by, sorted."""
        return tuple(sorted({r.by for r in self.rules if isinstance(r, BoundRule) and r.by}))


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one value of a column. A metric that is undefined there (AUC of one class) is None."""

    value: str
    rows: int
    metrics: dict[str, float | None]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse the candidate is than the holder on the same rows; negative = better.

    Attributes:
        low, high: the 95 % interval. Values are None where they are undefined.
    """

    worse_by: float | None
    low: float | None
    high: float | None
    rows: int


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long single rows took, in milliseconds.

    Attributes:
        rows: that were timed, the same in each round.
        rounds: that were made; of each row its least time counts, since other work on the host only adds time.
    """

    p50_ms: float
    p99_ms: float
    rows: int
    rounds: int


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What Falaj established for one check."""

    ok: bool
    note: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate measured on one candidate. Only the evaluator writes it; nothing a client logged is in it.

    Attributes:
        rows: labelled rows that were scored.
        unlabelled: rows left out because their label is null.
        alone: inputs, each with the AUC by which it tells the label by itself, where that is suspiciously high.
        latency: of single rows; None where no rule asks, or it could not be measured.
        unmeasured: why something is missing above: under "metrics" (nothing was scored), "holder" (the candidate
            was, the holder was not), "latency", or the name of a slice column.
    """

    rows: int = 0
    unlabelled: int = 0
    metrics: dict[str, float | None] = {}
    slices: dict[str, tuple[Slice, ...]] = {}
    differences: dict[str, Difference] = {}
    alone: dict[str, float] = {}
    latency: Latency | None = None
    checks: dict[str, Check] = {}
    unmeasured: dict[str, str] = {}


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, with what and by what: digests of versions, so that a verdict tells later what it rests on.

    Attributes:
        gate, holder, data, contract: digest of the version; "" where there was none.
        read_by: the version of the contract that read the data, `contract/flights:3`.
        program: what measured: Falaj, Python, the machine, and the libraries, each with its version.
    """

    gate: str
    holder: str = ""
    data: str = ""
    contract: str = ""
    read_by: str = ""
    program: dict[str, str] = {}


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict is bound to.

    Attributes:
        candidate: digest of the version judged.
        ref: `name@ref` it was proposed for.
        gate_version: version of the gate in force.
        holder: version that holds the ref, None for none yet.
        embedded: no server between the persons: one operating-system user owns everything.
        data_version: version of the evidence data, None where nothing was measured.
    """

    candidate: str
    ref: str
    gate_version: int
    holder: int | None = None
    embedded: bool = False
    data_version: int | None = None
    basis: Basis | None = None


class SliceFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One slice of a finding; `state` is passed, failed or not_judged."""

    value: str
    state: State
    observed: float | None
    rows: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule found.

    Attributes:
        rule: the rule in words; `title` is the same without its bound.
        text: what was found, in words, with the figures concerned.
        passed: True for passed and waived; a pending approval is not passed, and does not fail the verdict; one that
            is not needed was never asked for, since another rule failed.
        observed: the measured value; for slices the worst one judged; for the holder how much worse, negative=better.
        interval: 95 %, for the holder.
        slices: worst first.
    """

    rule: str
    state: State
    passed: bool
    observed: float | None = None
    bound: float | None = None
    rows: int | None = None
    interval: tuple[float, float] | None = None
    note: str = ""
    slices: tuple[SliceFinding, ...] = ()
    title: str = ""
    text: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """All findings on one candidate, for one ref, by one gate version, against one holder.

    Attributes:
        passed: every rule but the pending approvals passed, and there was at least one rule.
        approvals: roles whose approval is still to be given before the ref moves.
    """

    candidate: str
    ref: str
    gate: str
    gate_version: int
    holder: int | None
    data_version: int | None
    passed: bool
    findings: tuple[Finding, ...]
    approvals: tuple[str, ...]
    rows: int
    unlabelled: int
    basis: Basis | None = None

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that make it a refusal."""
        return tuple(f for f in self.findings if not f.passed and f.state not in UNDECIDED)


_FIELDS: Final[dict[type[Rule], tuple[str, ...]]] = {
    BoundRule: ("metric", "at_least", "at_most", "by", "min_rows"),
    HolderRule: ("metric", "against", "no_worse_than"),
    CheckRule: ("check",),
    LatencyRule: ("latency_p99",),
    ApprovalRule: ("approval", "embedded"),
}
_TOP: Final = ("gate", "guards", "rules", "evidence")


def parse_gate(text: str | bytes, *, file: str = "gate") -> Gate:
    """Read a gate from its YAML file.

    Args:
        file: what to call the file in messages.
    Raises: Invalid, with the line, the field and what was expected.
    """
    return _Reader(document.read(text, name=file)).gate()


class _Reader:
    def __init__(self, source: document.Document) -> None:
        self.source = source

    def gate(self) -> Gate:
        top = self._fields((), self.source.data, _TOP)
        for needed in ("gate", "guards", "rules"):
            if not top.get(needed):
                self._refuse((needed,), "missing or empty", f"a gate has {', '.join(_TOP)}")
        guards, rules = top["guards"], top["rules"]
        if not isinstance(guards, list) or len(guards) > MAX_GUARDS:
            self._refuse(("guards",), f"expected a list of 1 to {MAX_GUARDS} refs", "guards: [delay@production]")
        if not isinstance(rules, list) or len(rules) > MAX_RULES:
            self._refuse(("rules",), f"expected a list of 1 to {MAX_RULES} rules")
        parsed = tuple(self._rule(("rules", i), rule) for i, rule in enumerate(rules))
        words = [str(rule) for rule in parsed]
        for i, word in enumerate(words):
            if word in words[:i]:
                self._refuse(("rules", i), f"the rule {word!r} stands here a second time", "keep one of them")
        gate = Gate(
            name=name(top["gate"], f"{self.source.name}: gate"),
            guards=self._guards(guards),
            rules=parsed,
            evidence=self._evidence(top.get("evidence")),
        )
        if (gate.metrics or gate.latency_ms) and gate.evidence is None:
            what = "name metrics" if gate.metrics else "measure latency"
            self._refuse(("evidence",), f"missing, but rules {what}", "evidence: {data: …, label: …}")
        return gate

    def _guards(self, refs: list[Any]) -> tuple[str, ...]:
        seen: list[str] = []
        for i, ref in enumerate(refs):
            try:
                thing = Thing.parse(ref)
            except InvalidName as error:
                self._refuse(("guards", i), error.message, error.next_step)
            if thing.ref is None:
                self._refuse(("guards", i), f"{thing} is not a ref", "name a ref, such as delay@production")
            if str(thing) in seen:
                self._refuse(("guards", i), f"{thing} stands here a second time", "keep one of them")
            seen.append(str(thing))
        return tuple(seen)

    def _evidence(self, value: Any) -> EvidenceSource | None:
        if value is None:
            return None
        self._fields(("evidence",), value, ("data", "label", "where"))
        evidence = self._convert(("evidence",), value, EvidenceSource)
        try:
            thing = Thing.parse(evidence.data, kind="dataset")
        except InvalidName as error:
            self._refuse(("evidence", "data"), error.message, error.next_step)
        if thing.kind != "dataset" or (thing.ref is None and thing.version is None):
            self._refuse(("evidence", "data"), f"{_short(evidence.data)} is not a ref of a dataset")
        return evidence

    def _rule(self, path: document.Path, value: Any) -> AnyRule:
        if not isinstance(value, dict):
            self._refuse(path, "expected fields", "such as - metric: auc")
        if "approval" in value:
            return self._approval(path, value)
        if "latency_p99" in value:
            return self._latency(path, value)
        kind: type[BoundRule | HolderRule | CheckRule]
        if "check" in value:
            kind = CheckRule
        elif "metric" in value:
            kind = HolderRule if "against" in value or "no_worse_than" in value else BoundRule
        else:
            known = "metric, check, latency_p99 or approval"
            self._refuse(path, f"a rule of an unknown sort ({_keys(value)})", f"a rule starts with {known}")
        self._fields(path, value, _FIELDS[kind])
        rule = self._convert(path, value, kind)
        if isinstance(rule, BoundRule):
            self._check_bound(path, rule, value)
        if isinstance(rule, HolderRule) and not math.isfinite(rule.no_worse_than):
            self._refuse(path, "no_worse_than must be a finite number")
        return rule

    def _check_bound(self, path: document.Path, rule: BoundRule, value: dict[str, Any]) -> None:
        if (rule.at_least is None) == (rule.at_most is None):
            self._refuse(path, f"metric {rule.metric} needs exactly one of at_least and at_most")
        if not math.isfinite(rule.at_least if rule.at_least is not None else cast(float, rule.at_most)):
            self._refuse(path, "the bound must be a finite number")
        if "min_rows" in value and rule.by is None:
            self._refuse(path, "min_rows without by", "min_rows is for slices: add by: column")

    def _latency(self, path: document.Path, value: dict[str, Any]) -> LatencyRule:
        self._fields(path, value, _FIELDS[LatencyRule])
        match = _SPAN.fullmatch(str(value["latency_p99"]))
        if match is None:
            self._refuse(path, f"latency_p99: {_short(value['latency_p99'])}", "a number and ms or s, such as 5ms")
        most = float(match[1]) * (1000 if match[2] == "s" else 1)
        return self._convert(path, {"at_most_ms": most}, LatencyRule)

    def _approval(self, path: document.Path, value: dict[str, Any]) -> ApprovalRule:
        self._fields(path, value, _FIELDS[ApprovalRule])
        inner = self._fields((*path, "approval"), value["approval"], ("from", "not"))
        if inner.get("from") not in ROLES:
            self._refuse((*path, "approval"), f"from: {_short(inner.get('from'))}", f"a role: {', '.join(ROLES)}")
        if inner.get("not", "proposer") != "proposer":
            self._refuse((*path, "approval"), f"not: {_short(inner['not'])}", "not: proposer")
        plain = {"role": inner["from"], **({"embedded": value["embedded"]} if "embedded" in value else {})}
        return self._convert(path, plain, ApprovalRule)

    def _fields(self, path: document.Path, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._refuse(path, "expected fields", f"known here: {', '.join(known)}")
        for field in value:
            if field not in known:
                self._refuse((*path, field), f"unknown field {printable(field)}", f"known here: {', '.join(known)}")
        return value

    def _convert(self, path: document.Path, value: Any, kind: type[S]) -> S:
        try:
            return msgspec.convert(value, type=kind)
        except msgspec.ValidationError as error:
            self._refuse(path, str(error).replace("`", "").replace("Object", "Rule"))

    def _refuse(self, path: document.Path, what: str, next_step: str = "") -> NoReturn:
        lines, at = self.source.lines, path
        while at and at not in lines:
            at = at[:-1]
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        line = f" line {lines[at]}" if at in lines else ""
        place = f"{self.source.name}{line}{': ' + where if where else ''}"
        raise Invalid(f"{place}: {what}", next_step=next_step or "see examples/flights/gates/production.yaml")


def _keys(value: dict[str, Any]) -> str:
    return ", ".join(printable(str(k)) for k in list(value)[:5]) or "no fields"


def _short(value: Any) -> str:
    return printable(value) if isinstance(value, str) else type(value).__name__
