"""From the fields of a contract document to rules: what each of them means, in one place.

A rule has an id that stays (the document's own, or column and metric), a title as a person would say it, and exactly
one bound. What could not be judged (custom engines, unknown metrics, two bounds) is refused here, not skipped.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.data.document import View
from falaj.data.records import SIGNS, Bound, Column, Kind, Range, Rule, Scalar, Severity, Unit, shown

MAX_RULES: Final = 2_000
_SPAN: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_QUALITY: Final = frozenset(
    (
        *("id", "name", "description", "tags", "customProperties", "authoritativeDefinitions", "businessImpact"),
        *("dimension", "method", "schedule", "scheduler", "severity", "type", "unit", "metric", "rule", "arguments"),
        *("query", "engine", "implementation"),
        *SIGNS,
    )
)
_SLA: Final = frozenset(
    ("id", "property", "value", "valueExt", "unit", "element", "driver", "description", "scheduler", "schedule")
)
_ERRORS: Final = ("error", "critical", "high")
_WARNINGS: Final = ("warning", "medium", "low", "info")
_HOURS: Final = {
    **dict.fromkeys(("m", "min", "minute"), 1 / 60),
    **dict.fromkeys(("h", "hr", "hour"), 1.0),
    **dict.fromkeys(("d", "day"), 24.0),
    **dict.fromkeys(("w", "week"), 168.0),
    **dict.fromkeys(("y", "yr", "year"), 8766.0),
}


class _Metric(msgspec.Struct, frozen=True):
    """One library rule of the document, its common fields already read."""

    view: View
    arguments: View
    bound: Bound
    unit: Unit
    severity: Severity

    def says(self, what: str, *, when_none: str | None = None) -> str:
        """The title: with its bound, or shorter where the bound is zero."""
        if self.bound.is_none:
            return when_none or what
        return f"{what} {self.bound} {'%' if self.unit == 'percent' else 'rows'}"


class Rules:
    """Collects the rules of one document; ids stay unique.

    Args:
        table: its name, for ids and messages.
        columns: as declared; the primary key's rule follows from them.
    """

    def __init__(self, table: str, columns: tuple[Column, ...]) -> None:
        self.table = table
        self.columns = {c.name: c for c in columns}
        self.done: list[Rule] = []
        self._ids: set[str] = set()
        primary = tuple(name for _, name in sorted((c.key, c.name) for c in columns if c.key is not None))
        if primary:
            self._add("primaryKey", kind="duplicates", columns=primary, title=f"unique ({', '.join(primary)})")

    def of_column(self, view: View, column: Column) -> None:
        """The rules of one property: required, unique, the options of its type, its quality."""
        name = column.name
        if column.required:
            self._add(f"{name}.required", kind="nulls", columns=(name,), title=f"{name} not null")
        if column.unique:
            self._add(f"{name}.unique", kind="duplicates", columns=(name,), title=f"unique ({name})")
        if view.has("logicalTypeOptions"):
            self._options(view.at("logicalTypeOptions"), column)
        for quality in view.items("quality", most=200):
            self._quality(quality.only(_QUALITY), column)

    def of_table(self, table: View) -> None:
        """The quality rules of the table as a whole."""
        for quality in table.items("quality", most=MAX_RULES):
            self._quality(quality.only(_QUALITY), None)

    def of_sla(self, sla: View) -> None:
        """Freshness (the standard prefers the word latency): hours from the newest value to now.

        Other service levels are promises about the service, not about a version: they are kept, not judged.
        """
        known = sla.only(_SLA).text("property").lower() in ("freshness", "latency", "ly")
        if not known or not sla.has("element"):
            return
        limit, unit = sla.number("value"), sla.text("unit", default="d").lower()
        per = _HOURS.get(unit) or _HOURS.get(unit.rstrip("s"))
        if per is None or limit <= 0:
            sla.refuse(f"{limit} {unit} is not a time span", "use a value above 0 with unit m, h, d or y", field="unit")
        name = sla.text("element").removeprefix(f"{self.table}.")
        if name not in self.columns or self.columns[name].type not in ("date", "timestamp"):
            sla.refuse(f"{printable(name)} is not a date or timestamp column of {self.table}", field="element")
        title = f"{name} not older than {shown(limit)} {unit}"
        bound = Bound("mustBeLessOrEqualTo", limit * per)
        self._add(f"{name}.freshness", kind="freshness", columns=(name,), title=title, bound=bound)

    def _add(self, rule_id: str, view: View | None = None, *, kind: Kind, title: str, **fields: Any) -> None:
        if len(self.done) >= MAX_RULES:
            raise Invalid(f"contract {self.table}: more than {MAX_RULES:,} rules", next_step="split the table")
        if view is not None and (view.has("id") or view.has("name")):
            rule_id = view.text("id") if view.has("id") else view.text("name")
            if rule_id in self._ids:
                view.refuse(f"rule {printable(rule_id)} stands here a second time", "give it an id of its own")
            title = view.text("name", default=title)
        unique, n = rule_id, 2
        while unique in self._ids:
            unique, n = f"{rule_id}#{n}", n + 1
        self._ids.add(unique)
        self.done.append(Rule(id=unique, title=_line(title), kind=kind, **fields))

    def _options(self, view: View, column: Column) -> None:
        """The options of a logical type. Formats are refused where only ISO 8601 can be read."""
        name, numeric = column.name, column.type in ("integer", "number")
        if column.type == "string":
            self._text_options(view.only(frozenset(("minLength", "maxLength", "pattern", "format"))), name)
            return
        if column.type == "boolean":
            view.only(frozenset())
            return
        extra = ("multipleOf", "format") if numeric else ("format", "timezone", "defaultTimezone")
        view.only(frozenset((*_SPAN, *extra)))
        if view.has("format") and not numeric:
            view.refuse("formats other than ISO 8601 cannot be read", "leave format out", field="format")
        if view.text("defaultTimezone", default="UTC") not in ("UTC", "Etc/UTC"):
            view.refuse("times without a zone are read as UTC", "convert them first", field="defaultTimezone")
        ends = [(view.number(f) if numeric else view.text(f)) if view.has(f) else None for f in _SPAN]
        if any(end is not None for end in ends):
            within = Range(minimum=ends[0], maximum=ends[1], above=ends[2], below=ends[3])
            self._add(f"{name}.range", kind="range", columns=(name,), title=f"{name} {within}", within=within)
        if view.has("multipleOf"):
            step = view.number("multipleOf")
            if step <= 0:
                view.refuse(f"{step}: a number above 0", field="multipleOf")
            title = f"{name} multiple of {shown(step)}"
            self._add(f"{name}.multipleOf", kind="multiple", columns=(name,), step=float(step), title=title)

    def _text_options(self, view: View, name: str) -> None:
        least, most = (view.number(f) if view.has(f) else None for f in ("minLength", "maxLength"))
        if least is not None or most is not None:
            within = Range(minimum=least, maximum=most)
            self._add(f"{name}.length", kind="length", columns=(name,), title=f"{name} length {within}", within=within)
        if view.has("pattern"):
            pattern = _pattern(view)
            title = f"{name} matches {pattern}"
            self._add(f"{name}.pattern", kind="invalid", pattern=pattern, columns=(name,), title=title)

    def _quality(self, view: View, column: Column | None) -> None:
        kind = view.text("type", default="library", one_of=("library", "sql", "text", "custom"))
        if kind == "text":
            return
        if kind == "custom":
            engine = printable(view.text("engine", default="none"))
            view.refuse(
                f"custom rules (engine {engine}) are reserved and would not be judged",
                "write the rule as a library metric or as type: sql",
                field="type",
            )
        if kind == "sql":
            self._sql(view, column)
            return
        name = view.text(
            "metric", one_of=("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
        )
        unit: Unit = "percent" if view.text("unit", default="rows", one_of=("rows", "percent")) == "percent" else "rows"
        metric = _Metric(
            view=view,
            arguments=view.at("arguments") if view.has("arguments") else View(view.document, view.path, {}),
            bound=_bound(view, 100 if unit == "percent" else None),
            unit=unit,
            severity=_severity(view),
        )
        if name == "duplicateValues":
            self._duplicates(metric, column)
        elif (name == "rowCount") != (column is None):
            view.refuse(f"{name} is a rule of a {'table' if column else 'column'}", field="metric")
        elif column is None:
            self._row_count(metric)
        elif name == "nullValues":
            metric.arguments.only(frozenset())
            title = metric.says(f"{column.name} null", when_none=f"{column.name} not null")
            self._metric("nulls", name, metric, (column.name,), title)
        elif name == "missingValues":
            values = _scalars(metric.arguments.only(frozenset({"missingValues"})), "missingValues")
            title = metric.says(f"{column.name} missing", when_none=f"{column.name} not missing")
            self._metric("missing", name, metric, (column.name,), title, values=values)
        else:
            self._invalid(metric, column)

    def _metric(self, kind: Kind, name: str, m: _Metric, columns: tuple[str, ...], title: str, **fields: Any) -> None:
        owner = columns[0] if len(columns) == 1 else self.table
        fields |= {"bound": m.bound, "unit": m.unit, "severity": m.severity}
        self._add(f"{owner}.{name}", m.view, kind=kind, columns=columns, title=title, **fields)

    def _sql(self, view: View, column: Column | None) -> None:
        query, bound = view.text("query"), _bound(view, None, truth=True)
        title = f"{view.text('description', default=' '.join(query.split())[:80])} {bound}"
        columns = (column.name,) if column else ()
        owner = column.name if column else self.table
        fields = {"bound": bound, "query": query, "severity": _severity(view)}
        self._add(f"{owner}.sql", view, kind="sql", columns=columns, title=title, **fields)

    def _invalid(self, m: _Metric, column: Column) -> None:
        name, given = column.name, m.arguments.only(frozenset({"validValues", "pattern"}))
        if given.has("validValues") == given.has("pattern"):
            m.view.refuse("give either validValues or pattern", "write two rules for both", field="arguments")
        if given.has("pattern"):
            if column.type != "string":
                given.refuse(f"{name} is {column.type}; a pattern is for strings", field="pattern")
            pattern = _pattern(given)
            self._metric("invalid", "invalidValues", m, (name,), m.says(f"{name} matches {pattern}"), pattern=pattern)
            return
        values = _scalars(given, "validValues")
        wanted = {"integer": (int,), "number": (int, float), "boolean": (bool,)}.get(column.type, (str,))
        for value in values:
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                given.refuse(f"{value!r} is not a value of {name} ({column.type})", field="validValues")
        listed = ", ".join(map(shown, values[:8])) + (", …" if len(values) > 8 else "")
        self._metric("invalid", "invalidValues", m, (name,), m.says(f"{name} in {listed}"), values=values)

    def _duplicates(self, m: _Metric, column: Column | None) -> None:
        given = m.arguments.only(frozenset() if column else frozenset({"properties"}))
        names = (column.name,) if column else tuple(str(p.value) for p in given.items("properties", least=1, most=64))
        for name in names:
            if name not in self.columns:
                given.refuse(f"{printable(name)} is not a column of {self.table}", field="properties")
        if len(set(names)) != len(names):
            given.refuse("a column stands here twice", field="properties")
        listed = ", ".join(names)
        title = m.says(f"duplicates ({listed})", when_none=f"unique ({listed})")
        self._metric("duplicates", "duplicateValues", m, names, title)

    def _row_count(self, m: _Metric) -> None:
        m.arguments.only(frozenset())
        if m.unit != "rows":
            m.view.refuse("a row count has no percent", field="unit")
        self._metric("rows", "rowCount", m, (), f"rows {m.bound}")


def _line(text: str) -> str:
    """One printable line: a title must not be able to rewrite a terminal."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200]


def _severity(view: View) -> Severity:
    """The standard leaves the words open: these are the usual ones, and no word means error."""
    text = view.text("severity", default="error").lower()
    if text not in _ERRORS + _WARNINGS:
        view.refuse(f"{printable(text)} is not one of {', '.join(_ERRORS + _WARNINGS)}", field="severity")
    return "error" if text in _ERRORS else "warning"


def _pattern(view: View) -> str:
    pattern = view.text("pattern")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        view.refuse(f"not a regular expression: {error}", field="pattern")
    return pattern


def _scalars(view: View, field: str) -> tuple[Scalar, ...]:
    items = view.items(field, least=1, most=10_000)
    for item in items:
        if isinstance(item.value, dict | list):
            item.refuse("expected one value")
    return tuple(item.value for item in items)


def _bound(view: View, ceiling: float | None, *, truth: bool = False) -> Bound:
    """The one operator of a rule; two would leave open which one counts.

    Args:
        ceiling: the largest number that makes sense (100 for percent), None = no such.
        truth: the rule may return a truth value or a negative number.
    """
    ops = [op for op in SIGNS if op in view.value]
    if len(ops) != 1:
        view.refuse(f"{len(ops)} bounds; a rule has exactly one", f"use one of {', '.join(SIGNS)}")
    op = ops[0]
    if op.endswith("Between"):
        low, high = (View(p.document, view.path, {op: p.value}).number(op) for p in view.items(op, least=2, most=2))
        if low > high:
            view.refuse("two numbers, the smaller one first", field=op)
        return Bound(op, low, high)
    if truth and isinstance(view.value[op], bool) and op in ("mustBe", "mustNotBe"):
        return Bound(op, view.value[op])
    number = view.number(op)
    if (number < 0 and not truth) or (ceiling is not None and number > ceiling):
        view.refuse(f"{shown(number)} is outside 0 and {shown(ceiling) if ceiling else 'up'}", field=op)
    return Bound(op, number)
