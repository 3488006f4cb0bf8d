"""The point-in-time join against a slow, plainly right one, and its laws one by one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features.errors import FeatureInvalid
from falaj.features.join import point_in_time
from falaj.features.records import Feature, Service, View, Window, shown_span
from falaj.features.rules import check_view, parse_span

START = datetime(2013, 3, 10, 6)  # noqa: DTZ001  what a column without a zone holds
HOUR = timedelta(hours=1)
CON = duckdb.connect(config={"threads": 1})  # one for all: making one costs more than a join of these sizes


def view(**more: Any) -> View:
    given_: dict[str, Any] = {
        "view": "delays",
        "entity": "airport",
        "keys": {"origin": "text"},
        "source": "departures",
        "time": "time",
        "features": ("value",),
    }
    return check_view(View(**{**given_, **more}))


def service_of(one: View) -> Service:
    return Service(service="s", features=(Feature(view=one.view, feature="*", name="*"),))


def joined(rows: list[dict[str, Any]], events: list[dict[str, Any]], one: View) -> list[dict[str, Any]]:
    """The join under test; rows come with their place, to see that each comes back in it."""
    con = CON
    times = pa.timestamp("us")
    asked = pa.schema([("place", pa.int64()), ("origin", pa.string()), ("at", times)])
    told = pa.schema([("origin", pa.string()), ("time", times), ("created", times), ("value", pa.int64())])
    con.register("asked", pa.Table.from_pylist([{"place": i, **r} for i, r in enumerate(rows)], asked))
    con.register("told", pa.Table.from_pylist(events, told))
    point_in_time(con, "asked", service_of(one), {one.view: one}, {one.view: "told"}, at="at", into="out")
    out = con.table("out").to_arrow_table().to_pylist()
    assert [r.pop("place") for r in out] == list(range(len(rows)))
    return [{k: v for k, v in r.items() if k not in ("origin", "at")} for r in out]


def slowly(rows: list[dict[str, Any]], events: list[dict[str, Any]], one: View) -> list[dict[str, Any]]:
    """The same, as one would say it."""
    out = []
    for row in rows:
        known = [
            e
            for e in events
            if None not in (e["origin"], e["time"], row["origin"], row["at"])
            and e["origin"] == row["origin"]
            and e["time"] <= row["at"]
            and (not one.created or (e["created"] is not None and e["created"] <= row["at"]))
        ]
        answer: dict[str, Any] = {}
        if one.features:
            newest = max(known, key=lambda e: order(e, one), default=None)
            fresh = newest and (one.ttl_s is None or newest["time"] >= row["at"] - timedelta(seconds=one.ttl_s))
            answer["value"] = newest["value"] if newest and fresh else None
        for window in one.windows:
            inside = [e for e in known if row["at"] - timedelta(seconds=window.over_s) <= e["time"] < row["at"]]
            values = [e["value"] for e in inside if e["value"] is not None]
            asks = row["origin"] is not None and row["at"] is not None
            if window.function == "count":
                answer[window.name] = len(inside) if asks else None
            elif window.function == "sum":
                answer[window.name] = sum(values) if values else None
            else:
                answer[window.name] = sum(values) / len(values) if values else None
        out.append(answer)
    return out


def order(event: dict[str, Any], one: View) -> tuple[Any, ...]:
    """By time, then by when it was created: of two that were known ahead of their time, the later word counts."""
    created = event["created"] if one.created else START
    return (
        event["time"],
        created,
        event["value"] is None,
        event["value"] or 0,
    )  # a null is the greatest, as DuckDB has it


moments = st.none() | st.integers(0, 12).map(lambda h: START + h * HOUR)
keys = st.sampled_from(["JFK", "LGA", None])
asked_rows = st.lists(st.fixed_dictionaries({"origin": keys, "at": moments}), max_size=12)
told_events = st.lists(
    st.fixed_dictionaries(
        {"origin": keys, "time": moments, "created": moments, "value": st.none() | st.integers(-3, 3)}
    ),
    max_size=20,
)
views = st.builds(
    lambda created, ttl, features, windows: view(
        created=created,
        ttl_s=ttl,
        features=features,
        windows=tuple(Window(function=f, column="" if f == "count" else "value", over_s=s) for f, s in windows),
    ),
    st.sampled_from(["", "created"]),
    st.sampled_from([None, 3600, 3 * 3600]),
    st.just(("value",)),
    st.lists(
        st.tuples(st.sampled_from(["mean", "sum", "count"]), st.sampled_from([3600, 5400, 4 * 3600])),
        max_size=2,
        unique=True,
    ),
)


@settings(max_examples=100)
@given(asked_rows, told_events, views)
def test_it_agrees_with_the_slow_join(rows: list[dict[str, Any]], events: list[dict[str, Any]], one: View) -> None:
    assert joined(rows, events, one) == [pytest.approx(r) for r in slowly(rows, events, one)]


def at(hours: float) -> datetime:
    return START + hours * HOUR


def event(hours: float, value: int | None, known: float | None = None, origin: str = "JFK") -> dict[str, Any]:
    return {"origin": origin, "time": at(hours), "created": at(hours if known is None else known), "value": value}


@pytest.mark.parametrize(
    ("one", "events", "expected"),
    [
        pytest.param(view(), [event(1, 1), event(2, 2)], 2, id="the newest"),
        pytest.param(view(), [event(5, 5)], 5, id="of the very moment"),
        pytest.param(view(), [event(5.5, 6)], None, id="the future is not known"),
        pytest.param(view(ttl_s=3600), [event(4, 4)], 4, id="exactly as old as the ttl"),
        pytest.param(view(ttl_s=3600), [event(3.99, 4)], None, id="older than the ttl"),
        pytest.param(view(ttl_s=3600), [event(4.5, None), event(4.2, 4)], None, id="a null value is the newest value"),
        pytest.param(view(), [event(2, 2), event(2, 7)], 7, id="of equal times the greatest"),
        pytest.param(view(created="created"), [event(2, 2, 3), event(2, 1, 4)], 1, id="of equal times the last known"),
        pytest.param(view(created="created"), [event(4, 9, 1), event(4, 3, 2)], 3, id="also where all were forecasts"),
        pytest.param(view(created="created"), [event(2, 2), event(3, 3, 6)], 2, id="a late report is not known yet"),
        pytest.param(view(created="created"), [event(2, 2), event(3, 3, 5)], 3, id="known at the very moment"),
        pytest.param(view(), [event(3, 3, 6)], 3, id="without created the report's time does not matter"),
        pytest.param(view(), [event(3, 3, origin="LGA")], None, id="of another key"),
    ],
)
def test_one_row_at_five_o_clock(one: View, events: list[dict[str, Any]], expected: int | None) -> None:
    assert joined([{"origin": "JFK", "at": at(5)}], events, one) == [{"value": expected}]


def test_equal_rows_stay_two_and_unknown_ones_stay() -> None:
    rows = [{"origin": "JFK", "at": at(5)}] * 2 + [{"origin": "XXX", "at": at(5)}, {"origin": None, "at": None}]
    assert joined(rows, [event(1, 1)], view()) == [{"value": v} for v in (1, 1, None, None)]


def test_windows_end_before_the_moment_and_begin_with_their_edge() -> None:
    one = view(
        features=(),
        windows=(Window(function="mean", column="value", over_s=3 * 3600), Window(function="count", over_s=3 * 3600)),
    )
    events = [event(1.9, 100), event(2, 1), event(4, 2), event(5, 100)]
    assert joined([{"origin": "JFK", "at": at(5)}], events, one) == [{"value_mean_3h": 1.5, "count_3h": 2}]


def test_times_with_a_zone_and_without_are_compared_as_utc() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE asked AS SELECT 'JFK' AS origin, TIMESTAMPTZ '2013-03-10 05:00:00-04' AS at")
    con.execute("CREATE TABLE told AS SELECT 'JFK' AS origin, TIMESTAMP '2013-03-10 09:00:00' AS time, 7 AS value")
    con.execute("SET TimeZone = 'Asia/Dubai'")
    one = view()
    point_in_time(con, "asked", service_of(one), {"delays": one}, {"delays": "told"}, at="at", into="out")
    assert con.execute("SELECT value FROM out").fetchall() == [(7,)]


@pytest.mark.parametrize(
    ("rows", "source", "word"),
    [
        ("SELECT 1 AS origin", "SELECT 'a' AS origin, now() AS time, 1 AS value", "no column at"),
        ("SELECT now() AS at", "SELECT 'a' AS origin, now() AS time, 1 AS value", "no key origin"),
        (
            "SELECT 'a' AS origin, now() AS at, 1 AS value",
            "SELECT 'a' AS origin, now() AS time, 1 AS value",
            "column of that",
        ),
        ("SELECT 'a' AS origin, now() AS at", "SELECT 'a' AS origin, now() AS time", "no column value"),
        (
            "SELECT 'a' AS origin, now() AS at, 1 AS \"VALUE\"",
            "SELECT 'a' AS origin, now() AS time, 1 AS value",
            "column of that",
        ),
        (
            "SELECT 'a' AS origin, '2013' AS at",
            "SELECT 'a' AS origin, now() AS time, 1 AS value",
            "rows: at is VARCHAR",
        ),
        ("SELECT 'a' AS origin, now() AS at", "SELECT 'a' AS origin, 7 AS time, 1 AS value", "delays: time is INTEGER"),
    ],
)
def test_what_does_not_fit_is_told(rows: str, source: str, word: str) -> None:
    con = duckdb.connect()
    con.execute(f"CREATE TABLE asked AS {rows}")
    con.execute(f"CREATE TABLE told AS {source}")
    one = view()
    with pytest.raises(FeatureInvalid, match=word):
        point_in_time(con, "asked", service_of(one), {"delays": one}, {"delays": "told"}, at="at", into="out")


def test_columns_are_compared_as_duckdb_does_and_sql_may_end_in_a_comment() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE asked AS SELECT 'JFK' AS \"ORIGIN\", TIMESTAMP '2013-03-10 09:00:00' AS \"At\"")
    con.execute(
        'CREATE TABLE told AS SELECT \'JFK\' AS "Origin", TIMESTAMP \'2013-03-10 08:00:00\' AS "Time", 7 AS "VALUE"'
    )
    one = view(sql="SELECT * FROM source -- as it is")
    point_in_time(con, "asked", service_of(one), {"delays": one}, {"delays": "told"}, at="at", into="out")
    assert con.execute('SELECT * EXCLUDE "At" FROM out').fetchall() == [("JFK", 7)]
    named = Service(service="s", features=(Feature(view="delays", feature="VALUE", name="v"),))
    point_in_time(con, "asked", named, {"delays": one}, {"delays": "told"}, at="at", into="out")
    assert con.table("out").columns == ["ORIGIN", "At", "v"]
    whole = view(keys={"origin": "integer"})
    for wrong, words in (
        (whole, "feature view delays: key origin is a whole number, and its source has VARCHAR there"),
        (view(features=("gone",)), "feature view delays: its source has no column gone"),
        (view(sql="SELECT gone FROM source"), "feature view delays: Binder Error"),
        (view(sql="SELECT (FROM source"), "feature view delays: Parser Error"),
        (view(windows=(Window(function="mean", column="origin", over_s=60),)), "feature view delays: Binder Error"),
    ):
        with pytest.raises(FeatureInvalid, match=words):
            point_in_time(con, "asked", service_of(wrong), {"delays": wrong}, {"delays": "told"}, at="at", into="out")


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": "ORIGIN"},
        {"created": "Time"},
        {"features": ("value", "VALUE")},
        {"features": ("Time",)},
        {"ttl_s": -1},
        {"ttl_s": 0},
        {"keys": {}},
        {"windows": (Window(function="count", column="value", over_s=60),)},
        {"windows": (Window(function="mean", over_s=60),)},
    ],
    ids=str,
)
def test_a_view_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FeatureInvalid, match="feature view delays"):
        view(**wrong)


@pytest.mark.parametrize(("text", "seconds"), [("3h", 10_800), ("28d", 2_419_200), ("90s", 90), ("15m", 900)])
def test_spans(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds
    assert parse_span(shown_span(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "h", "3", "-3h", "0h", "3 h", "3w", "1e3s", "٣h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(FeatureInvalid):
        parse_span(text)
