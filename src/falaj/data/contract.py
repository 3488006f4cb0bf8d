"""The contract: an Open Data Contract Standard (ODCS) v3.1 document, read strictly into frozen rules.

A contract describes one table: its columns with their types, and the rules that a version must keep to become a
ref. The document itself is kept whole as plain data; here it is given its meaning. A field of the standard that
Falaj does not act on is kept and ignored; a field that the standard does not know is refused, and so is a rule that
Falaj could not judge: a rule that is silently skipped would look like one that passed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.data import document as doc
from falaj.data.records import NONE, SIGNS, Bound, Column, Contract, Kind, Range, Rule, Scalar, Severity, shown

MAX_COLUMNS: Final = 2_000
MAX_RULES: Final = 2_000
_TYPES: Final = ("string", "integer", "number", "boolean", "date", "timestamp", "time")
_METRICS: Final = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
_SEVERITIES: Final[dict[str, Severity]] = {
    "error": "error", "critical": "error", "high": "error",
    "warning": "warning", "medium": "warning", "low": "warning", "info": "warning",
}  # fmt: skip
_HOURS: Final = {"m": 1 / 60, "min": 1 / 60, "minute": 1 / 60, "h": 1.0, "hr": 1.0, "hour": 1.0,
                 "d": 24.0, "day": 24.0, "w": 168.0, "week": 168.0, "y": 8766.0, "yr": 8766.0, "year": 8766.0}  # fmt: skip

_SHARED = "id name description tags customProperties authoritativeDefinitions"
_TOP = frozenset(
    f"{_SHARED} version kind apiVersion status tenant servers dataProduct domain schema support price team roles "
    "slaDefaultElement slaProperties contractCreatedTs".split()
)
_TABLE = frozenset(
    f"{_SHARED} logicalType physicalName physicalType businessName dataGranularityDescription properties "
    "relationships quality".split()
)
_COLUMN = frozenset(
    f"{_SHARED} primaryKey primaryKeyPosition logicalType logicalTypeOptions physicalType physicalName businessName "
    "required unique partitioned partitionKeyPosition classification encryptedName transformSourceObjects "
    "transformLogic transformDescription examples criticalDataElement relationships quality items properties".split()
)
_QUALITY = frozenset(
    f"{_SHARED} businessImpact dimension method schedule scheduler severity type unit metric rule arguments query "
    "engine implementation".split()
) | frozenset(SIGNS)
_SLA = frozenset("id property value valueExt unit element driver description scheduler schedule".split())
_CUSTOM = frozenset("id property value description".split())


def parse(text: str | bytes, *, name: str = "contract") -> tuple[Contract, dict[str, Any]]:
    """Read a contract file.

    Returns: the contract and its document as plain data, which `from_data` reads again to the same contract.
    Raises: Invalid or TooLarge, naming file, line and field.
    """
    return _read(doc.read(text, name=name))


def from_data(data: object, *, name: str = "contract") -> Contract:
    """Read a contract from its stored document. Raises: Invalid."""
    return _read(doc.plain(data, name=name))[0]


def _read(document: doc.Document) -> tuple[Contract, dict[str, Any]]:
    top = doc.View(document).only(_TOP)
    version = top.text("apiVersion")
    if not re.fullmatch(r"v3\.1\.\d{1,3}", version):
        top.refuse(f"{printable(version)} is not v3.1.x", "write apiVersion: v3.1.0", field="apiVersion")
    top.text("kind", one_of=("DataContract",))
    table = top.items("schema", least=1, most=1)[0].only(_TABLE)
    name = _identifier(table, "name")
    custom = {**_custom(top), **_custom(table)}
    columns = _columns(table)
    rules = _Rules(name, columns)
    for view, column in zip(table.items("properties", most=MAX_COLUMNS), columns, strict=True):
        rules.of_column(view, column)
    rules.of_table(table)
    for sla in top.items("slaProperties", most=200):
        rules.of_sla(sla.only(_SLA))
    contract = Contract(
        id=top.text("id"),
        version=top.text("version"),
        status=top.text("status"),
        name=top.text("name", default=name),
        table=name,
        columns=columns,
        rules=tuple(rules.done),
        null_markers=_markers(custom),
        extra_columns=_extra(custom),
        purpose=_purpose(top, custom),
        lawful_basis=_worded(custom, "lawfulBasis"),
        digest=sha256(canonical(document.data)),
    )
    assert isinstance(document.data, dict)  # noqa: S101  `only` has refused all else
    return contract, document.data


def _identifier(view: doc.View, field: str) -> str:
    text = view.text(field)
    if len(text) > 128 or not text.isprintable() or text.startswith("__falaj"):
        view.refuse(f"{printable(text)}: 1 to 128 printable characters, not starting with __falaj", field=field)
    return text


def _custom(view: doc.View) -> dict[str, doc.View]:
    found = {}
    for item in view.items("customProperties", most=200):
        found[item.only(_CUSTOM).text("property")] = item
    return found


def _worded(custom: dict[str, doc.View], key: str) -> str | None:
    return custom[key].text("value") if key in custom else None


def _markers(custom: dict[str, doc.View]) -> tuple[str, ...]:
    if "nullValues" not in custom:
        return ()
    markers = [item.value for item in custom["nullValues"].items("value", most=32)]
    if not all(isinstance(m, str) and len(m) <= 64 for m in markers):
        custom["nullValues"].refuse("null markers are texts of at most 64 characters", 'for example value: ["NA"]')
    return tuple(markers)


def _extra(custom: dict[str, doc.View]) -> bool:
    return (
        custom["extraColumns"].text("value", one_of=("allow", "refuse")) == "allow"
        if "extraColumns" in custom
        else False
    )


def _purpose(top: doc.View, custom: dict[str, doc.View]) -> str | None:
    if "purpose" in custom:
        return custom["purpose"].text("value")
    if top.has("description"):
        fields = frozenset("id usage purpose limitations authoritativeDefinitions customProperties".split())
        description = top.at("description").only(fields)
        return description.text("purpose") if description.has("purpose") else None
    return None


def _columns(table: doc.View) -> tuple[Column, ...]:
    columns: list[Column] = []
    seen: dict[str, str] = {}
    for view in table.items("properties", least=1, most=MAX_COLUMNS):
        name = _identifier(view.only(_COLUMN), "name")
        if (other := seen.get(name.casefold())) is not None:
            view.refuse(f"{printable(name)} and {printable(other)} are one name in SQL", "rename one", field="name")
        seen[name.casefold()] = name
        if (kind := view.text("logicalType")) in ("object", "array"):
            view.refuse(f"{kind}: nested columns cannot be judged yet", "flatten the table", field="logicalType")
        view.text("logicalType", one_of=_TYPES)
        primary = view.flag("primaryKey")
        place = view.value.get("primaryKeyPosition")
        if primary and (place is not None and (isinstance(place, bool) or not isinstance(place, int) or place < 1)):
            view.refuse("a whole number from 1", field="primaryKeyPosition")
        columns.append(
            Column(
                name=name,
                type=kind,  # type: ignore[arg-type]
                required=view.flag("required") or primary,
                unique=view.flag("unique"),
                key=(place or len(columns) + 1) if primary else None,
                classification=view.text("classification") if view.has("classification") else None,
            )
        )
    return tuple(columns)


class _Rules:
    """Collects the rules of one document; ids stay unique."""

    def __init__(self, table: str, columns: tuple[Column, ...]) -> None:
        self.table = table
        self.columns = {c.name: c for c in columns}
        self.done: list[Rule] = []
        self._ids: set[str] = set()
        primary = tuple(n for _, n in sorted((c.key, c.name) for c in columns if c.key is not None))
        if primary:
            self._add("primaryKey", kind="duplicates", columns=primary, title=f"unique ({', '.join(primary)})")

    def _add(self, rule_id: str, view: doc.View | None = None, *, kind: Kind, title: str, **fields: Any) -> None:
        if len(self.done) >= MAX_RULES:
            raise Invalid(f"contract {self.table}: more than {MAX_RULES:,} rules", next_step="split the table")
        if view is not None and (view.has("id") or view.has("name")):
            rule_id = view.text("id", default="") or view.text("name")
            if rule_id in self._ids:
                view.refuse(f"rule {printable(rule_id)} stands here a second time", "give it an id of its own")
            title = view.text("name", default=title)
        unique, n = rule_id, 2
        while unique in self._ids:
            unique, n = f"{rule_id}#{n}", n + 1
        self._ids.add(unique)
        self.done.append(Rule(id=unique, title=title, kind=kind, **fields))

    def of_column(self, view: doc.View, column: Column) -> None:
        name = column.name
        if column.required:
            self._add(f"{name}.required", kind="nulls", columns=(name,), title=f"{name} not null")
        if column.unique:
            self._add(f"{name}.unique", kind="duplicates", columns=(name,), title=f"unique ({name})")
        if view.has("logicalTypeOptions"):
            self._options(view.at("logicalTypeOptions"), column)
        for quality in view.items("quality", most=200):
            self._quality(quality.only(_QUALITY), column)

    def of_table(self, table: doc.View) -> None:
        for quality in table.items("quality", most=MAX_RULES):
            self._quality(quality.only(_QUALITY), None)

    def of_sla(self, sla: doc.View) -> None:
        """Freshness (the standard prefers the word latency): hours from the newest value to now."""
        if sla.text("property").lower() not in ("freshness", "latency", "ly") or not sla.has("element"):
            return
        limit, unit = sla.number("value"), sla.text("unit", default="d").lower()
        per = _HOURS.get(unit) or _HOURS.get(unit.rstrip("s"))
        if per is None or limit <= 0:
            sla.refuse(f"{limit} {unit} is not a time span", "use a value above 0 with unit m, h, d or y", field="unit")
        name = sla.text("element").removeprefix(f"{self.table}.")
        if name not in self.columns or self.columns[name].type not in ("date", "timestamp"):
            sla.refuse(f"{printable(name)} is not a date or timestamp column of {self.table}", field="element")
        title = f"{name} not older than {shown(limit)} {unit}"
        self._add(f"{name}.freshness", kind="freshness", columns=(name,), title=title,
                  bound=Bound("mustBeLessOrEqualTo", limit * per))  # fmt: skip

    def _options(self, view: doc.View, column: Column) -> None:
        name, numeric = column.name, column.type in ("integer", "number")
        span = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        known = {"string": ("minLength", "maxLength", "pattern"), "boolean": ()}.get(column.type, span)
        view.only(frozenset((*known, "format", "timezone", "defaultTimezone", *(("multipleOf",) if numeric else ()))))
        if view.has("format") and column.type in ("date", "timestamp", "time"):
            view.refuse("formats other than ISO 8601 cannot be read", "leave format out", field="format")
        if view.text("defaultTimezone", default="UTC") not in ("UTC", "Etc/UTC"):
            view.refuse("times without a zone are read as UTC", "convert them first", field="defaultTimezone")
        if column.type == "string":
            ends = [view.number(f) if view.has(f) else None for f in ("minLength", "maxLength")]
            if any(e is not None for e in ends):
                within = Range(minimum=ends[0], maximum=ends[1])
                self._add(
                    f"{name}.length", kind="length", columns=(name,), title=f"{name} length {within}", within=within
                )
            if view.has("pattern"):
                self._pattern(view, column, NONE, {})
            return
        found = {f: view.number(f) if numeric else view.text(f) for f in known if view.has(f)}
        if found:
            within = Range(minimum=found.get("minimum"), maximum=found.get("maximum"),
                           above=found.get("exclusiveMinimum"), below=found.get("exclusiveMaximum"))  # fmt: skip
            self._add(f"{name}.range", kind="range", columns=(name,), title=f"{name} {within}", within=within)
        if view.has("multipleOf"):
            step = view.number("multipleOf")
            if step <= 0:
                view.refuse(f"{step}: a number above 0", field="multipleOf")
            self._add(f"{name}.multipleOf", kind="multiple", columns=(name,), step=float(step),
                      title=f"{name} multiple of {shown(step)}")  # fmt: skip

    def _pattern(
        self, view: doc.View, column: Column, bound: Bound, fields: dict[str, Any], at: doc.View | None = None
    ) -> None:
        pattern = view.text("pattern")
        if column.type != "string":
            view.refuse(f"{column.name} is {column.type}; a pattern is for strings", field="pattern")
        try:
            re.compile(pattern)
        except re.error as error:
            view.refuse(f"not a regular expression: {error}", field="pattern")
        title = f"{column.name} matches {pattern}"
        self._add(f"{column.name}.invalidValues" if at else f"{column.name}.pattern", at, kind="invalid", pattern=pattern,
                  columns=(column.name,), title=_bounded(title, bound, fields.get("unit")), bound=bound, **fields)  # fmt: skip

    def _quality(self, view: doc.View, column: Column | None) -> None:
        kind = view.text("type", default="library", one_of=("library", "sql", "text", "custom"))
        if kind == "text":
            return
        if kind == "custom":
            view.refuse(
                f"custom rules (engine {printable(view.text('engine', default='none'))}) are reserved and would not be judged",
                "write the rule as a library metric or as type: sql", field="type",
            )  # fmt: skip
        fields: dict[str, Any] = {"severity": self._severity(view)}
        if kind == "sql":
            self._sql(view, column, fields)
            return
        unit = view.text("unit", default="rows", one_of=("rows", "percent"))
        bound = _bound(view, None if unit == "rows" else 100)
        fields["unit"] = unit
        metric = view.text("metric", one_of=_METRICS)
        arguments = view.at("arguments") if view.has("arguments") else doc.View(view.document, view.path, {})
        if (metric == "rowCount") != (column is None) and metric != "duplicateValues":
            view.refuse(f"{metric} is a rule of a {'table' if column else 'column'}", field="metric")
        getattr(self, f"_{metric}")(view, arguments, column, bound, fields)

    def _severity(self, view: doc.View) -> Severity:
        text = view.text("severity", default="error").lower()
        if text not in _SEVERITIES:
            view.refuse(f"{printable(text)} is not one of {', '.join(_SEVERITIES)}", field="severity")
        return _SEVERITIES[text]

    def _sql(self, view: doc.View, column: Column | None, fields: dict[str, Any]) -> None:
        query, bound = view.text("query"), _bound(view, None, truth=True)
        owner = column.name if column else self.table
        words = " ".join(query.split())
        title = f"{view.text('description', default=words[:80])} {bound}"
        self._add(f"{owner}.sql", view, kind="sql", columns=(column.name,) if column else (), title=title, bound=bound,
                  query=query, **fields)  # fmt: skip

    def _nullValues(
        self, view: doc.View, arguments: doc.View, column: Column, bound: Bound, fields: dict[str, Any]
    ) -> None:
        arguments.only(frozenset())
        title = f"{column.name} not null" if bound.is_none else _bounded(f"{column.name} null", bound, fields["unit"])
        self._add(
            f"{column.name}.nullValues", view, kind="nulls", columns=(column.name,), title=title, bound=bound, **fields
        )

    def _missingValues(
        self, view: doc.View, arguments: doc.View, column: Column, bound: Bound, fields: dict[str, Any]
    ) -> None:
        values = _scalars(arguments.only(frozenset({"missingValues"})), "missingValues")
        title = (
            f"{column.name} not missing" if bound.is_none else _bounded(f"{column.name} missing", bound, fields["unit"])
        )
        self._add(f"{column.name}.missingValues", view, kind="missing", columns=(column.name,), title=title, bound=bound,
                  values=values, **fields)  # fmt: skip

    def _invalidValues(
        self, view: doc.View, arguments: doc.View, column: Column, bound: Bound, fields: dict[str, Any]
    ) -> None:
        arguments.only(frozenset({"validValues", "pattern"}))
        if arguments.has("validValues") == arguments.has("pattern"):
            view.refuse("give either validValues or pattern", "write two rules for both", field="arguments")
        if arguments.has("pattern"):
            self._pattern(arguments, column, bound, fields, view)
            return
        values = _scalars(arguments, "validValues")
        wanted = (
            (int, float) if column.type in ("integer", "number") else (bool,) if column.type == "boolean" else (str,)
        )
        for value in values:
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                arguments.refuse(f"{value!r} is not a value of {column.name} ({column.type})", field="validValues")
        listed = ", ".join(map(shown, values[:8])) + (", …" if len(values) > 8 else "")
        self._add(f"{column.name}.invalidValues", view, kind="invalid", columns=(column.name,), bound=bound, values=values,
                  title=_bounded(f"{column.name} in {listed}", bound, fields["unit"]), **fields)  # fmt: skip

    def _duplicateValues(
        self, view: doc.View, arguments: doc.View, column: Column | None, bound: Bound, fields: dict[str, Any]
    ) -> None:
        arguments.only(frozenset() if column else frozenset({"properties"}))
        names = (
            (column.name,) if column else tuple(str(p.value) for p in arguments.items("properties", least=1, most=64))
        )
        for name in names:
            if name not in self.columns:
                arguments.refuse(f"{printable(name)} is not a column of {self.table}", field="properties")
        if len(set(names)) != len(names):
            arguments.refuse("a column stands here twice", field="properties")
        listed = ", ".join(names)
        title = f"unique ({listed})" if bound.is_none else _bounded(f"duplicates ({listed})", bound, fields["unit"])
        owner = column.name if column else self.table
        self._add(
            f"{owner}.duplicateValues", view, kind="duplicates", columns=names, title=title, bound=bound, **fields
        )

    def _rowCount(
        self, view: doc.View, arguments: doc.View, column: None, bound: Bound, fields: dict[str, Any]
    ) -> None:
        arguments.only(frozenset())
        if fields["unit"] != "rows":
            view.refuse("a row count has no percent", field="unit")
        self._add(f"{self.table}.rowCount", view, kind="rows", title=f"rows {bound}", bound=bound, **fields)


def _scalars(view: doc.View, field: str) -> tuple[Scalar, ...]:
    items = view.items(field, least=1, most=10_000)
    for item in items:
        if isinstance(item.value, dict | list):
            item.refuse("expected one value")
    return tuple(item.value for item in items)


def _bound(view: doc.View, ceiling: float | None, *, truth: bool = False) -> Bound:
    """The one operator of a rule. Two would leave open which one counts."""
    ops = [op for op in SIGNS if op in view.value]
    if len(ops) != 1:
        view.refuse(f"{len(ops)} bounds; a rule has exactly one", f"use one of {', '.join(SIGNS)}")
    op = ops[0]
    if op.endswith("Between"):
        pair = [p.value for p in view.items(op, least=2, most=2)]
        if any(isinstance(p, bool) or not isinstance(p, int | float) for p in pair) or pair[0] > pair[1]:
            view.refuse("two numbers, the smaller one first", field=op)
        return Bound(op, pair[0], pair[1])
    if truth and isinstance(view.value[op], bool) and op in ("mustBe", "mustNotBe"):
        return Bound(op, view.value[op])
    number = view.number(op)
    if number < 0 and not truth or ceiling is not None and number > ceiling:
        view.refuse(f"{shown(number)} is outside 0 and {shown(ceiling) if ceiling else 'up'}", field=op)
    return Bound(op, number)


def _bounded(title: str, bound: Bound, unit: str | None) -> str:
    return title if bound.is_none else f"{title} {bound}{' %' if unit == 'percent' else ' rows'}"
