"""The point-in-time join: for each row, what was known at its own moment. DuckDB does the work; nothing is kept.

Laws, each tested against a slow and plainly right join:
  - every row comes back once, in its place: none is dropped, and two equal ones stay two;
  - an event counts for a row where it is about the past (`time <= at`) and was known then (`created <= at`);
  - of several, the newest by time counts; of equal times the one known last, which is the one created last, also where
    all were known ahead of their time; of equal ones still, the greatest value;
  - an event older than the view's ttl is nothing known: null, and no older one in its stead;
  - a window holds events of `at - over <= time < at` that were known at `at`;
  - rows and events whose key or time is null meet nothing.

How: one ASOF join over keys and times alone finds the time of the newest event that was visible at each row's moment;
a second join fetches the values of the events of that time, of which the best counts. So nothing wide is sorted, and
ties cost only where they are met. Windows are joined by key and by buckets as
long as the window, so that a row meets the events of two buckets only.

Columns are compared as DuckDB compares them: without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from falaj.features.errors import FeatureInvalid
from falaj.features.records import ALL, Feature, Service, View, Window
from falaj.features.rules import folded, is_twice, missing_of

if TYPE_CHECKING:
    import duckdb

ROW = "__row"
AT = "__at"
MOMENTS: Final = ("TIMESTAMP", "DATE")
INTEGERS: Final = (
    "BIGINT",
    "INTEGER",
    "SMALLINT",
    "TINYINT",
    "HUGEINT",
    "UBIGINT",
    "UINTEGER",
    "USMALLINT",
    "UTINYINT",
)


def quoted(column: str) -> str:
    """A column or table as SQL names it."""
    return '"' + column.replace('"', '""') + '"'


def point_in_time(
    con: duckdb.DuckDBPyConnection,
    rows: str,
    service: Service,
    views: Mapping[str, View],
    sources: Mapping[str, str],
    *,
    at: str,
    into: str,
) -> tuple[str, ...]:
    """Join the features of a service to rows, as of each row's own time.

    Args:
        rows: name of a table or view of the connection; all its columns are kept, before the features.
        views: by name, the views that the service needs.
        sources: by name of the view, the table or view of the connection that holds its source.
        at: column of `rows` with the moment that features must have been known at.
        into: name of the table that is made; its rows are in the order of `rows`.
    Returns: the features' names, in order.
    Raises: FeatureInvalid where a column is not there or a name is taken.
    """
    columns = columns_of(con, f"SELECT * FROM {quoted(rows)}")
    if missing_of([at], columns):
        raise FeatureInvalid(f"rows: no column {at}", next_step=f"they have: {', '.join(columns)}")
    _check_moment("rows", at, columns)
    features = resolved(con, service, views, sources)
    for feature in features:
        if not missing_of([feature.name], columns):
            raise FeatureInvalid(
                f"feature {feature.name}: the rows have a column of that name",
                next_step=f'{feature.view}["{feature.feature}"].named("other") in the service',
            )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE __rows AS SELECT row_number() OVER () - 1 AS {ROW}, "
        f"{_utc(at)} AS {AT}, * FROM {quoted(rows)}"
    )
    joins: list[str] = []
    values: dict[str, str] = {}
    for number, name in enumerate(service.views):
        _check_keys("the rows have", views[name], columns)
        wanted = [feature for feature in features if feature.view == name]
        with _told_of(views[name]):
            _join_view(con, views[name], sources[name], number, wanted, joins, values)
    chosen = ", ".join(f"{values[f.name]} AS {quoted(f.name)}" for f in features)
    con.execute(
        f"CREATE OR REPLACE TABLE {quoted(into)} AS SELECT __rows.* EXCLUDE ({ROW}, {AT}), {chosen} "
        f"FROM __rows {' '.join(joins)} ORDER BY {ROW}"
    )
    return tuple(f.name for f in features)


def _join_view(
    con: duckdb.DuckDBPyConnection,
    view: View,
    source: str,
    number: int,
    wanted: Sequence[Feature],
    joins: list[str],
    values: dict[str, str],
) -> None:
    """Make the tables of a view's features; add how they are joined, and by name what each feature is."""
    windows = {window.name for window in view.windows}
    newest = [feature for feature in wanted if feature.feature not in windows]
    events = _make_events(con, view, source, number)
    if newest:
        table = f"__newest_{number}"
        _make_newest(con, view, events, table, list(dict.fromkeys(f.feature for f in newest)))
        joins.append(f"LEFT JOIN {table} USING ({ROW})")
        values.update({f.name: f"{table}.{quoted(f.feature)}" for f in newest})
    spans: dict[int, list[Window]] = {}
    for window in view.windows:
        if window.name in {feature.feature for feature in wanted}:
            spans.setdefault(window.over_s, []).append(window)
    for place, same in enumerate(spans.values()):
        table = f"__window_{number}_{place}"
        _make_windows(con, view, same, events, table)
        joins.append(f"LEFT JOIN {table} USING ({ROW})")
        for i, window in enumerate(same):
            value = f"coalesce({table}.v{i}, 0)" if window.function == "count" else f"{table}.v{i}"
            values.update({f.name: _where_known(view, value) for f in wanted if f.feature == window.name})


def resolved(
    con: duckdb.DuckDBPyConnection, service: Service, views: Mapping[str, View], sources: Mapping[str, str]
) -> tuple[Feature, ...]:
    """The features of a service, each by its name, with `*` written out. Raises: FeatureInvalid."""
    for one in views.values():
        _check_sql(con, one)
    out: list[Feature] = []
    for feature in service.features:
        view = views.get(feature.view)
        if view is None:
            raise FeatureInvalid(f"feature service {service.service}: no view {feature.view}", next_step="falaj apply")
        with _told_of(view):
            columns = columns_of(con, _select(view, sources[feature.view]))
        there = {folded(name): name for name in features_of(view, list(columns))}
        _check_types(view, columns)
        if feature.feature == ALL:
            out += [Feature(view=view.view, feature=name, name=name) for name in there.values()]
        elif folded(feature.feature) in there:
            out.append(replace(feature, feature=there[folded(feature.feature)]))
        else:
            raise FeatureInvalid(
                f"feature view {view.view}: no feature {feature.feature}",
                next_step=f"it has: {', '.join(there.values())}",
            )
    names = [feature.name for feature in out]
    for name in names:
        if is_twice(name, names):
            raise FeatureInvalid(
                f"feature service {service.service}: two features are called {name}",
                next_step='give one another name: view["feature"].named("other")',
            )
    return tuple(out)


def features_of(view: View, columns: Sequence[str]) -> tuple[str, ...]:
    """The features that a view has, given the columns of its source. Raises: FeatureInvalid for a missing column."""
    needed = [*view.keys, view.time, *([view.created] if view.created else []), *view.features]
    needed += [window.column for window in view.windows if window.column]
    missing = missing_of(needed, columns)
    if missing:
        made = "its SQL makes" if view.sql else "its source has"
        raise FeatureInvalid(
            f"feature view {view.view}: {made} no column {missing}", next_step=f"there are: {', '.join(columns)}"
        )
    reserved = {folded(column) for column in (*view.keys, view.time, view.created)}
    newest = view.features or (() if not view.uses_newest else tuple(c for c in columns if folded(c) not in reserved))
    return (*newest, *(window.name for window in view.windows))


def columns_of(con: duckdb.DuckDBPyConnection, select: str) -> dict[str, str]:
    """The columns of a SELECT, each with its type as DuckDB names it."""
    return {str(row[0]): str(row[1]) for row in con.execute(f"DESCRIBE {select}").fetchall()}


@contextmanager
def _told_of(view: View) -> Iterator[None]:
    """What DuckDB refuses here is told of the view. The first line alone: values of the data may stand in others."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        told = str(error).splitlines()[0][:300]
        raise FeatureInvalid(f"feature view {view.view}: {told}", next_step="correct its definition") from error


def _check_types(view: View, columns: Mapping[str, str]) -> None:
    """Raises: FeatureInvalid where times are no moments, or keys cannot be compared."""
    whose = f"feature view {view.view}"
    _check_moment(whose, view.time, columns)
    if view.created:
        _check_moment(whose, view.created, columns)
    _check_keys(f"{'its SQL makes' if view.sql else 'its source has'}", view, columns)


def _check_moment(whose: str, column: str, columns: Mapping[str, str]) -> None:
    """A text is no moment: without a zone one cannot tell, with one a plain cast would drop it."""
    kind = _type_of(column, columns)
    if not kind.startswith(MOMENTS):
        raise FeatureInvalid(
            f"{whose}: {column} is {kind}, not a moment", next_step="logicalType: timestamp (or date) in its contract"
        )


def _type_of(column: str, columns: Mapping[str, str]) -> str:
    return next(kind for one, kind in columns.items() if folded(one) == folded(column))


def _check_sql(con: duckdb.DuckDBPyConnection, view: View) -> None:
    """Raises: FeatureInvalid for SQL that is not one SELECT."""
    import duckdb

    if not view.sql:
        return
    with _told_of(view):
        statements = con.extract_statements(view.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise FeatureInvalid(f"feature view {view.view}: one SELECT is expected", next_step="correct its SQL")


def _select(view: View, source: str) -> str:
    """The view's own SELECT over its source, which it calls `source`."""
    inner = view.sql.strip().rstrip(";") or "SELECT * FROM source"  # it may end in a comment, so a line ends it
    return f"WITH source AS (SELECT * FROM {quoted(source)}) SELECT * FROM ({inner}\n) AS view_rows"


def _utc(column: str) -> str:
    """A time as microseconds since 1970 in UTC, whatever its type; times without a zone are UTC."""
    return f"epoch_us(CAST({quoted(column)} AS TIMESTAMP))"


def _check_keys(where: str, view: View, columns: Mapping[str, str]) -> None:
    """Raises: FeatureInvalid for a key that is not there, or one of whole numbers that holds anything else."""
    for key, kind in view.keys.items():
        if missing_of([key], columns):
            raise FeatureInvalid(
                f"feature view {view.view}: {where} no key {key}", next_step=f"there are: {', '.join(columns)}"
            )
        found = _type_of(key, columns)
        if kind == "integer" and found not in INTEGERS:
            raise FeatureInvalid(
                f"feature view {view.view}: key {key} is a whole number, and {where} {found} there",
                next_step="correct the entity, keys={...}, or the contract",
            )


def _key(view: View, key: str) -> str:
    return f"CAST({quoted(key)} AS {'BIGINT' if view.keys[key] == 'integer' else 'VARCHAR'})"


def _keys(view: View, side: str) -> str:
    return ", ".join(f"{side}.__k{i}" for i in range(len(view.keys)))


def _same_keys(view: View, left: str, right: str) -> str:
    return " AND ".join(f"{left}.__k{i} = {right}.__k{i}" for i in range(len(view.keys)))


def _key_columns(view: View) -> str:
    return ", ".join(f"{_key(view, key)} AS __k{i}" for i, key in enumerate(view.keys))


def _where_known(view: View, value: str) -> str:
    """A count of nothing is 0, but a row without key or time asks about nothing."""
    known = " AND ".join([f"{AT} IS NOT NULL", *(f"__rows.{quoted(key)} IS NOT NULL" for key in view.keys)])
    return f"CASE WHEN {known} THEN {value} END"


def _make_events(con: duckdb.DuckDBPyConnection, view: View, source: str, number: int) -> str:
    """The events of a view with their keys, time and the instant from which each is visible; the name of their table.

    A source that is taken as it is, is read where it lies; what a view's own SQL makes of it is made once.
    """
    seen = f"greatest(__time, {_utc(view.created)})" if view.created else "__time"
    known = [f"__k{i} IS NOT NULL" for i in range(len(view.keys))]
    known += [f"{quoted(view.created)} IS NOT NULL"] if view.created else []
    sort, name = ("TABLE", f"__events_{number}") if view.sql else ("VIEW", f"__source_{number}")
    con.execute(
        f"CREATE OR REPLACE TEMP {sort} {name} AS SELECT *, {seen} AS __seen FROM ("
        f"SELECT {_key_columns(view)}, {_utc(view.time)} AS __time, * FROM ({_select(view, source)})) "
        f"WHERE __time IS NOT NULL AND {' AND '.join(known)}"
    )
    return name


def _make_newest(con: duckdb.DuckDBPyConnection, view: View, events: str, table: str, features: Sequence[str]) -> None:
    """The newest event for each row. First its time alone, by an ASOF join over what is narrow; then its values."""
    keys = _keys(view, "e")
    steps = f"SELECT {keys}, __time AS __seen, __time AS __newest FROM {events} AS e"
    if view.created:  # late events: at each instant one becomes visible, the newest time by then
        steps = (
            f"SELECT {keys}, __seen, max(__time) OVER (PARTITION BY {keys} ORDER BY __seen) AS __newest "
            f"FROM {events} AS e"
        )
    fresh = "TRUE" if view.ttl_s is None else f"s.__newest >= r.{AT} - {view.ttl_s} * 1000000::BIGINT"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE __found AS SELECT r.*, s.__newest "
        f"FROM (SELECT {ROW}, {AT}, {_key_columns(view)} FROM __rows) AS r "
        f"ASOF JOIN ({steps}) AS s ON {_same_keys(view, 'r', 's')} AND r.{AT} >= s.__seen WHERE {fresh}"
    )
    # Of several events of that time the greatest struct counts: by when it was created, then by its values. Not by
    # __seen: events that were created before their time are all seen at that time, and yet one is the last word.
    packed = ", ".join(f"f{i} := {quoted(f)}" for i, f in enumerate(features))
    created = f"'c': {_utc(view.created)}, " if view.created else ""
    picked = ", ".join(f"best.v.f{i} AS {quoted(f)}" for i, f in enumerate(features))
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {ROW}, {picked} FROM ("
        f"SELECT r.{ROW}, max({{{created}'v': struct_pack({packed})}}) AS best FROM {events} AS e "
        f"JOIN __found AS r ON {_same_keys(view, 'r', 'e')} AND r.__newest = e.__time AND e.__seen <= r.{AT} "
        f"GROUP BY r.{ROW})"
    )
    con.execute("DROP TABLE __found")


def _make_windows(
    con: duckdb.DuckDBPyConnection, view: View, windows: Sequence[Window], events: str, table: str
) -> None:
    """The aggregates over one span, `v0`, `v1`, … in the order of the windows."""
    span = f"{windows[0].over_s * 1_000_000}::BIGINT"
    functions = {"mean": "avg({})", "sum": "sum({})", "count": "count(*)"}
    values = [f"{functions[w.function].format(quoted(w.column))} AS v{i}" for i, w in enumerate(windows)]
    keys = _keys(view, "q")
    # Equal questions are asked once: rows of one key and moment share their answer.
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE __asked AS SELECT DISTINCT {_key_columns(view)}, {AT} FROM __rows "
        f"WHERE {AT} IS NOT NULL"
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE __answers AS SELECT {keys}, q.{AT}, {', '.join(values)} "
        f"FROM (SELECT *, unnest([{AT} // {span} - 1, {AT} // {span}]) AS __bucket FROM __asked) AS q "
        f"JOIN (SELECT *, __time // {span} AS __bucket FROM {events}) AS e "
        f"ON {_same_keys(view, 'q', 'e')} AND q.__bucket = e.__bucket "
        f"WHERE e.__time >= q.{AT} - {span} AND e.__time < q.{AT} AND e.__seen <= q.{AT} "
        f"GROUP BY {keys}, q.{AT}"
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT r.{ROW}, {', '.join(f'a.v{i}' for i in range(len(windows)))} "
        f"FROM (SELECT {ROW}, {AT}, {_key_columns(view)} FROM __rows) AS r "
        f"JOIN __answers AS a ON {_same_keys(view, 'r', 'a')} AND r.{AT} = a.{AT}"
    )
    con.execute("DROP TABLE __asked")
    con.execute("DROP TABLE __answers")
