"""Judging a table by its contract: all rules in one scan, keys in one more, and examples of what failed.

The rules become the columns of one SELECT. Uniqueness has its own query: rows are grouped by a 64-bit hash of the key,
and only rows whose hash occurs twice are compared key by key, so the answer is exact and the memory small. Rows are
looked at again only for rules that failed. Nothing in the data makes this module raise: a wrong file is a finding.

Nulls: a null breaks only the rules about nulls. In particular a key with a null in it is not a duplicate, as in SQL.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from falaj.core.errors import Invalid, Unavailable
from falaj.data import tables
from falaj.data.records import Contract, Finding, Report, Rule, Scalar, shown
from falaj.data.tables import SOURCE, Format, Opened, sql_type, text

if TYPE_CHECKING:
    import duckdb

EXAMPLES: Final = 5
READABLE: Final = "readable"
_SHOWN: Final = frozenset((None, "public", "open", "internal"))
_ABOUT_QUERY: Final = (
    "ParserException",
    "BinderException",
    "CatalogException",
    "PermissionException",
    "SyntaxException",
)


class Compiled(msgspec.Struct, frozen=True):
    """The one SELECT of a contract over the opened source.

    Attributes:
        sql: returns one row: the row count, then one value for each of `measures`.
        measures: what each further value is: ("type", column index), ("rule", index of the rule), or ("read", column
            index) for a column that is only read.
        bad: rule index -> condition that holds for the rows that break it.
    """

    sql: str
    measures: tuple[tuple[str, int], ...]
    bad: dict[int, str]


def judge_files(
    contract: Contract,
    paths: Sequence[Path],
    fmt: Format,
    *,
    scratch: Path,
    now: datetime | None = None,
    threads: int = 2,
    memory_limit: str = "2GB",
) -> Report:
    """Judge files as one table by a contract.

    Args:
        scratch: an existing folder of this call's own.
        now: the time that freshness is measured to; None leaves freshness unmeasured, which fails its rule.
    Raises: Invalid for files that are not there; Unavailable when memory or scratch space does not suffice;
        MissingPart without DuckDB. What is wrong inside the files is in the report.
    """
    with tables.connect(paths, scratch=scratch, threads=threads, memory_limit=memory_limit) as con:
        try:
            opened = tables.open_table(con, paths, fmt, contract)
        except tables.Unreadable as error:
            return _unreadable(contract, f"{error.message}")
        return judge(contract, con, opened, paths=paths, now=now)


def judge(
    contract: Contract,
    con: duckdb.DuckDBPyConnection,
    opened: Opened,
    *,
    paths: Sequence[Path] = (),
    now: datetime | None = None,
    query_limit_s: float = 60.0,
) -> Report:
    """Judge an opened table; see `judge_files`.

    Args:
        paths: the files of the table; with them, lines that cannot be read are counted and the others still judged.
        query_limit_s: a rule's own query is stopped after this time and counts as failed.
    """
    import duckdb

    compiled = compile_rules(contract, opened, con)
    readable = Finding(rule=READABLE, title="every line can be read", passed=True, text="all")
    try:
        try:
            values = _one(con, compiled.sql)
        except duckdb.InvalidInputException as error:
            if opened.format != "csv" or not paths:
                raise
            opened = tables.open_table(con, paths, "csv", contract, skip_broken=True)
            values = _one(con, compiled.sql)
            readable = _lost_lines(con, error)
        judging = _Judging(contract, con, opened, compiled, int(values[0]), now, query_limit_s)
        return judging.report(dict(zip(compiled.measures, values[1:], strict=True)), readable)
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException) or "No space left" in str(error):
            raise Unavailable(
                f"judging {contract.table}: {_first_line(error)}", next_step="give it more room"
            ) from error
        return _unreadable(contract, _first_line(error))


def try_out(contract: Contract, *, scratch: Path) -> None:
    """Try the queries and patterns of a contract on an empty table, so that a mistake shows when it is applied.

    Raises: Invalid, naming the rule and what DuckDB says of it.
    """
    import duckdb

    probe = scratch / "empty.csv"
    probe.touch()
    with tables.connect([probe], scratch=scratch) as con:
        opened = tables.empty_table(con, contract)
        compile_rules(contract, opened, con, strict=True)
        for rule in contract.rules:
            if rule.kind == "sql":
                try:
                    _one(con, _query(rule, contract, con))
                except duckdb.Error as error:
                    raise Invalid(f"rule {rule.id}: {_first_line(error)}", next_step="correct its query") from error


def compile_rules(
    contract: Contract, opened: Opened, con: duckdb.DuckDBPyConnection, *, strict: bool = False
) -> Compiled:
    """All rules that one scan can measure, as one SELECT.

    Args:
        strict: raise Invalid for a pattern that DuckDB cannot read, instead of leaving its rule unmeasured.
    """
    index = {c.name: i for i, c in enumerate(contract.columns)}
    selects, measures, bad = ["count(*)"], [], {}
    looked_at = {index[c] for rule in contract.rules if rule.kind not in ("sql", "duplicates") for c in rule.columns}
    for i in sorted(set(opened.present) - set(opened.checked) - looked_at):
        # Read all the same: only then is it known that its bytes are whole.
        measures.append(("read", i))
        selects.append(f"count(c{i})")
    for i in opened.checked:
        measures.append(("type", i))
        selects.append(f"count(*) FILTER (WHERE t{i} IS NOT NULL AND c{i} IS NULL)")
    for at, rule in enumerate(contract.rules):
        places = [index[c] for c in rule.columns]
        if not places or not set(places) <= set(opened.present):
            continue
        if rule.pattern is not None and not _readable_pattern(con, rule, strict=strict):
            continue
        if rule.kind == "freshness":
            selects.append(f"max(c{places[0]})")
        elif condition := _bad(rule, contract, places[0], opened):
            bad[at] = condition
            selects.append(f"count(*) FILTER (WHERE {condition})")
        else:
            continue
        measures.append(("rule", at))
    return Compiled(f"SELECT {', '.join(selects)} FROM {SOURCE}", tuple(measures), bad)


def _bad(rule: Rule, contract: Contract, i: int, opened: Opened) -> str:
    """The condition of a row that breaks the rule; "" for a rule that is not about single rows."""
    column, kind = f"c{i}", contract.columns[i].type
    match rule.kind:
        case "nulls":
            return f"{column} IS NULL"
        case "missing":
            words = [text(_word(v)) for v in rule.values if v is not None]
            gone = f"{column} IS NULL" if None in rule.values or ("" in rule.values and opened.format == "csv") else ""
            raw = f"t{i}" if i in opened.checked else column
            listed = f"CAST({raw} AS VARCHAR) IN ({', '.join(words)})" if words else ""
            return " OR ".join(filter(None, (gone, listed)))
        case "invalid" if rule.pattern is not None:
            return f"NOT regexp_matches({column}, {text(rule.pattern)})"
        case "invalid":
            return f"{column} NOT IN ({', '.join(_literal(v, kind) for v in rule.values if v is not None)})"
        case "range" | "length" if rule.within is not None:
            if rule.kind == "length":
                column, kind = f"length({column})", "integer"
            ends = (
                ("<", rule.within.minimum),
                ("<=", rule.within.above),
                (">", rule.within.maximum),
                (">=", rule.within.below),
            )
            return " OR ".join(f"{column} {sign} {_literal(end, kind)}" for sign, end in ends if end is not None)
        case "multiple" if rule.step is not None:
            return f"abs({column} / {rule.step!r} - round({column} / {rule.step!r})) > 1e-9"
    return ""


def _literal(value: Scalar, kind: Any) -> str:
    """A value of the contract as SQL. Numbers keep their own type, so that 0.5 is not rounded to the column's."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return tables.in_utc(text(str(value))) if kind == "timestamp" else f"CAST({text(str(value))} AS {sql_type(kind)})"


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _readable_pattern(con: duckdb.DuckDBPyConnection, rule: Rule, *, strict: bool) -> bool:
    import duckdb

    try:
        con.execute("SELECT regexp_matches('', ?)", [rule.pattern]).fetchone()
    except duckdb.Error as error:
        if strict:
            raise Invalid(f"rule {rule.id}: {_first_line(error)}", next_step="write the pattern for RE2") from error
        return False
    return True


class _Judging:
    """One table in front of one contract: turns measured numbers into findings, fetching examples where needed."""

    def __init__(
        self,
        contract: Contract,
        con: duckdb.DuckDBPyConnection,
        opened: Opened,
        compiled: Compiled,
        rows: int,
        now: datetime | None,
        query_limit_s: float,
    ) -> None:
        self.contract, self.con, self.opened, self.compiled = contract, con, opened, compiled
        self.rows, self.now, self.query_limit_s = rows, now, query_limit_s
        self.index = {c.name: i for i, c in enumerate(contract.columns)}
        self.unique: list[frozenset[str]] = []

    def report(self, measured: dict[tuple[str, int], Any], readable: Finding) -> Report:
        """Findings in the order: reading, columns, types, then the contract's own rules in its order."""
        columns = enumerate(self.contract.columns)
        typed = [i for i, column in columns if column.type != "string" or i in self.opened.stored]
        findings = [readable, self.columns()]
        if not any(rule.kind == "rows" for rule in self.contract.rules):
            findings.append(self.any_rows())
        findings += [self.type_of(i, measured.get(("type", i))) for i in typed]
        findings += self.rules({at: value for (kind, at), value in measured.items() if kind == "rule"})
        return _report(self.contract, self.rows, findings)

    def columns(self) -> Finding:
        missing = self.opened.missing
        unexpected = () if self.contract.extra_columns else self.opened.unexpected
        parts = [f"missing {_listed(missing)}"] if missing else []
        parts += [f"not declared {_listed(unexpected)}"] if unexpected else []
        parts += [self.opened.hint] if parts and self.opened.hint else []
        found = f"{len(self.contract.columns)} columns"
        return Finding(rule="columns", title="columns as declared", passed=not parts, text="; ".join(parts) or found)

    def any_rows(self) -> Finding:
        passed, title = self.rows > 0, "at least one row"
        said = _rows(self.rows)
        return Finding(rule="any_rows", title=title, passed=passed, observed=self.rows, bound="≥ 1 row", text=said)

    def type_of(self, i: int, failed: int | None) -> Finding:
        column = self.contract.columns[i]
        rule, title = f"{column.name}.type", f"{column.name} is {_a(column.type)}"
        if i not in self.opened.present:
            return Finding(rule=rule, title=title, passed=False, text=f"column {_say(column.name)} is missing")
        if held := self.opened.stored.get(i):
            return Finding(rule=rule, title=title, passed=False, failed_rows=self.rows, text=f"stored as {held}")
        count = failed or 0
        examples = self._examples([i], f"t{i} IS NOT NULL AND c{i} IS NULL", raw=True) if count else ()
        return Finding(
            rule=rule,
            title=title,
            passed=not count,
            observed=count,
            bound="= 0 rows",
            failed_rows=count,
            examples=examples,
            text=_rows(count) + _such_as(examples, [column.name]),
        )

    def rules(self, measured: dict[int, Any]) -> list[Finding]:
        """Findings in the contract's order. Short keys are looked at first: what contains a unique key is unique."""
        order = sorted(range(len(self.contract.rules)), key=lambda at: len(self.contract.rules[at].columns))
        found = {at: self._rule(at, measured.get(at)) for at in order}
        return [found[at] for at in range(len(self.contract.rules))]

    def _rule(self, at: int, value: Any) -> Finding:
        rule = self.contract.rules[at]
        gone = [c for c in rule.columns if self.index[c] not in self.opened.present]
        if gone:
            return _failed(rule, f"column {_listed(gone)} is missing")
        if rule.kind == "sql":
            return self._by_query(rule)
        if rule.kind == "duplicates":
            return self._duplicates(rule)
        if rule.kind == "rows":
            return _found(rule, self.rows, self.rows, (), _rows(self.rows), counts=False)
        if rule.kind == "freshness":
            return self._freshness(rule, value)
        if value is None:
            return _failed(rule, "the pattern cannot be read")
        observed = self._in_unit(rule, value)
        examples: tuple[dict[str, Scalar], ...] = ()
        if not rule.bound.holds(observed) and value:
            examples = self._examples([self.index[c] for c in rule.columns], self.compiled.bad[at])
        shows = self.contract.key if rule.kind == "nulls" else rule.columns
        said = _amount(rule, observed, value) + ("" if rule.unit == "percent" else _such_as(examples, shows))
        return _found(rule, observed, value, examples, said)

    def _in_unit(self, rule: Rule, count: int) -> float:
        if rule.unit == "rows":
            return count
        return 100 * count / self.rows if self.rows else 0.0

    def _duplicates(self, rule: Rule) -> Finding:
        """Rows that repeat an earlier row's key."""
        key = frozenset(rule.columns)
        if any(known <= key for known in self.unique):
            return _found(rule, 0, 0, (), _amount(rule, 0, 0))
        cells = [f"c{self.index[c]}" for c in rule.columns]
        rows = f"FROM {SOURCE} WHERE {' AND '.join(f'{c} IS NOT NULL' for c in cells)}"
        mark = f"hash({', '.join(cells)})"
        twice = f"SELECT {mark} AS mark {rows} GROUP BY mark HAVING count(*) > 1"
        if not _one(self.con, f"SELECT count(*) FROM ({twice})")[0]:
            self.unique.append(key)
            return _found(rule, 0, 0, (), _amount(rule, 0, 0))
        listed = ", ".join(cells)
        groups = (
            f"SELECT {listed}, count(*) AS n {rows} AND {mark} IN (SELECT mark FROM ({twice})) "
            f"GROUP BY {listed} HAVING count(*) > 1"
        )
        count = int(_one(self.con, f"SELECT coalesce(sum(n - 1), 0) FROM ({groups})")[0])
        observed = self._in_unit(rule, count)
        examples: tuple[dict[str, Scalar], ...] = ()
        if not rule.bound.holds(observed):
            shown_rows = self.con.execute(
                f"SELECT {listed} FROM ({groups}) ORDER BY {listed} LIMIT {EXAMPLES}"
            ).fetchall()
            examples = tuple(self._named(rule.columns, row) for row in shown_rows)
        return _found(
            rule, observed, count, examples, _amount(rule, observed, count) + _such_as(examples, rule.columns)
        )

    def _freshness(self, rule: Rule, newest: Any) -> Finding:
        if newest is None or self.now is None:
            return _failed(rule, "no value to measure" if newest is None else "no time to measure to")
        at = newest if isinstance(newest, datetime) else datetime(newest.year, newest.month, newest.day, tzinfo=UTC)
        hours = (self.now.astimezone(UTC) - at.replace(tzinfo=UTC)).total_seconds() / 3600
        return _found(rule, hours, 0, (), f"{hours:,.1f} hours, newest {at.isoformat()}Z", unit="hours")

    def _by_query(self, rule: Rule) -> Finding:
        """A rule's own query, stopped when it takes too long. What goes wrong is told without values of the data."""
        import duckdb

        timer = threading.Timer(self.query_limit_s, self.con.interrupt)
        timer.start()
        try:
            row = _one(self.con, _query(rule, self.contract, self.con))
        except duckdb.InterruptException:
            return _failed(rule, f"stopped after {self.query_limit_s:g} s")
        except Invalid as error:
            return _failed(rule, error.message)
        except duckdb.Error as error:
            told = _first_line(error) if type(error).__name__ in _ABOUT_QUERY else type(error).__name__
            return _failed(rule, f"the query failed: {told}")
        finally:
            timer.cancel()
            timer.join()
        value: Any = row[0] if len(row) == 1 else None
        if isinstance(value, bool) != isinstance(rule.bound.value, bool) or not hasattr(value, "__float__"):
            return _failed(rule, "the query did not return one number" if row else "the query returned nothing")
        observed = value if isinstance(value, bool) else float(value)
        return _found(rule, observed, 0, (), _word(value) if isinstance(value, bool) else shown(observed), unit="")

    def _examples(self, columns: list[int], condition: str, *, raw: bool = False) -> tuple[dict[str, Scalar], ...]:
        """The first rows, in file order, for which the condition holds: their key, then the columns concerned."""
        key = [self.index[c] for c in self.contract.key if self.index[c] in self.opened.present]
        places = list(dict.fromkeys([*key, *columns]))
        cells = ", ".join(f"t{i}" if raw and i in columns else f"c{i}" for i in places)
        rows = self.con.execute(f"SELECT {cells} FROM {SOURCE} WHERE {condition} LIMIT {EXAMPLES}").fetchall()
        return tuple(self._named([self.contract.columns[i].name for i in places], row) for row in rows)

    def _named(self, names: Sequence[str], row: Sequence[Any]) -> dict[str, Scalar]:
        return {n: _scalar(v) if self._may_show(n) else "(hidden)" for n, v in zip(names, row, strict=True)}

    def _may_show(self, column: str) -> bool:
        kind = self.contract.columns[self.index[column]].classification
        return (kind.lower() if kind else None) in _SHOWN


def _query(rule: Rule, contract: Contract, con: duckdb.DuckDBPyConnection) -> str:
    """A rule's own query inside a SELECT of ours: DuckDB's grammar then admits nothing but one query there."""
    query = (rule.query or "").strip().rstrip(";")
    column = tables.name(rule.columns[0]) if rule.columns else ""
    for mark in ("${object}", "${table}", "{object}"):
        query = query.replace(mark, tables.name(contract.table))
    for mark in ("${property}", "${column}", "{property}"):
        query = query.replace(mark, column)
    wrapped = f"SELECT * FROM (\n{query}\n) LIMIT 2"
    statements = con.extract_statements(wrapped)
    if len(statements) != 1 or statements[0].type.name != "SELECT":
        raise Invalid(f"rule {rule.id}: the query is not one SELECT", next_step="write one SELECT")
    return wrapped


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The only row of a query; () where there is none or more than one."""
    rows = con.execute(sql).fetchmany(2)
    return rows[0] if len(rows) == 1 else ()


def _lost_lines(con: duckdb.DuckDBPyConnection, error: Exception) -> Finding:
    """What DuckDB noted while it left out lines that it could not read."""
    rows = con.execute(
        "SELECT line, error_type FROM reject_errors WHERE scan_id = (SELECT min(scan_id) FROM reject_errors) "
        "ORDER BY file_id, line"
    ).fetchall()
    lines = list(dict.fromkeys(rows))
    rule, title = READABLE, "every line can be read"
    if not lines:
        return Finding(rule=rule, title=title, passed=False, text=_first_line(error))
    first = lines[:EXAMPLES]
    count = len({line for line, _ in lines})
    return Finding(
        rule=rule,
        title=title,
        passed=False,
        observed=count,
        bound="= 0 rows",
        failed_rows=count,
        examples=tuple({"line": line, "problem": kind.lower()} for line, kind in first),
        text=f"{_rows(count)}, e.g. " + "; ".join(f"line {line}: {kind.lower()}" for line, kind in first),
    )


def _unreadable(contract: Contract, why: str) -> Report:
    """The report on a file that could not be read at all: no rule was measured, so each one failed."""
    first = Finding(rule=READABLE, title="every line can be read", passed=False, text=why)
    return _report(contract, 0, [first, *(_failed(rule, "not measured") for rule in contract.rules)])


def _report(contract: Contract, rows: int, findings: list[Finding]) -> Report:
    return Report(contract=contract.version, digest=contract.digest, rows=rows, findings=tuple(findings))


def _failed(rule: Rule, why: str) -> Finding:
    return Finding(rule=rule.id, title=rule.title, passed=False, severity=rule.severity, bound=_asked(rule), text=why)


def _found(
    rule: Rule,
    observed: float | bool,
    count: int,
    examples: tuple[dict[str, Scalar], ...],
    said: str,
    *,
    counts: bool = True,
    unit: str | None = None,
) -> Finding:
    return Finding(
        rule=rule.id,
        title=rule.title,
        passed=rule.bound.holds(observed),
        severity=rule.severity,
        observed=observed,
        bound=_asked(rule, unit),
        failed_rows=count if counts else 0,
        examples=examples,
        text=said,
    )


def _asked(rule: Rule, unit: str | None = None) -> str:
    return f"{rule.bound} {('%' if rule.unit == 'percent' else 'rows') if unit is None else unit}".strip()


def _amount(rule: Rule, observed: float, count: int) -> str:
    return _rows(count) if rule.unit == "rows" else f"{observed:.3g} %"


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


def _such_as(examples: tuple[dict[str, Scalar], ...], columns: Sequence[str]) -> str:
    """`, e.g. 2013-05-02 UA 1545 EWR`: the first example; year, month and day side by side read as a date."""
    if not examples:
        return ""
    words = {c: examples[0][c] for c in columns if c in examples[0]} or examples[0]
    day = [words.get(part) for part in ("year", "month", "day")]
    said = list(words.values())
    if list(words)[:3] == ["year", "month", "day"] and all(isinstance(part, int) for part in day):
        said = [f"{day[0]:04d}-{day[1]:02d}-{day[2]:02d}", *said[3:]]
    return ", e.g. " + " ".join(map(_say, said))


def _say(value: object) -> str:
    """A value of the data in a message: printable and short, so that it cannot rewrite a terminal."""
    return "".join(c if c.isprintable() else "�" for c in str("null" if value is None else value))[:60]


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)[:200]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_say(n) for n in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "integer" else f"a {kind}"


def _first_line(error: Exception) -> str:
    return _say(str(error).strip().split("\n", 1)[0].replace("/", " ")) if str(error) else type(error).__name__
