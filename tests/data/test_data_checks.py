"""Judging tables: counts agree with a plain slow reading, and nothing in a file or contract does harm."""

from __future__ import annotations

import csv
import io
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falaj.core.errors import Invalid
from falaj.data import checks, contract, tables
from falaj.data.records import ContractRefused, Report

A = {"name": "a", "logicalType": "integer"}
S = {"name": "s", "logicalType": "string"}


def col(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "logicalType": kind, **fields}


def metric(name: str, kind: str, **rule: Any) -> dict[str, Any]:
    return col(name, kind, quality=[{"mustBe": 0, **rule}])


def failures(report: Report) -> dict[str, int]:
    return {f.rule: f.failed_rows for f in report.findings if not f.passed}


def line(report: Report, rule: str) -> str:
    return str(next(f for f in report.findings if f.rule == rule))


# --- one rule at a time


@pytest.mark.parametrize(
    ("column", "cells", "failed"),
    [
        (col("a", "integer", required=True), ["1", "", "3", ""], 2),
        (metric("a", "integer", metric="nullValues"), ["1", ""], 1),
        (col("a", "integer", unique=True), ["1", "1", "1", "2", "", ""], 2),
        (col("a", "integer", primaryKey=True), ["1", "1"], 1),
        (metric("a", "string", metric="duplicateValues"), ["x", "y", "x"], 1),
        (
            metric("a", "string", metric="invalidValues", arguments={"validValues": ["x", "it's"]}),
            ["x", "it's", "z", ""],
            1,
        ),
        (metric("a", "integer", metric="invalidValues", arguments={"validValues": [1, 2]}), ["1", "3", ""], 1),
        (metric("a", "number", metric="invalidValues", arguments={"validValues": [0.5]}), ["0.5", "0.25"], 1),
        (metric("a", "boolean", metric="invalidValues", arguments={"validValues": [True]}), ["true", "false"], 1),
        (
            metric("a", "date", metric="invalidValues", arguments={"validValues": ["2013-01-01"]}),
            ["2013-01-01", "2013-01-02"],
            1,
        ),
        (metric("a", "string", metric="invalidValues", arguments={"pattern": "^[A-Z]{2}$"}), ["UA", "U", "UAA", ""], 2),
        (
            metric("a", "string", metric="missingValues", arguments={"missingValues": [None, "N/A"]}),
            ["x", "N/A", ""],
            2,
        ),
        (metric("a", "integer", metric="missingValues", arguments={"missingValues": [-1]}), ["5", "-1"], 1),
        (col("a", "integer", logicalTypeOptions={"minimum": 1, "maximum": 3}), ["0", "1", "3", "4", ""], 2),
        (col("a", "number", logicalTypeOptions={"exclusiveMinimum": 0, "exclusiveMaximum": 1}), ["0", "0.5", "1"], 2),
        (col("a", "integer", logicalTypeOptions={"minimum": 0.5}), ["0", "1"], 1),
        (col("a", "integer", logicalTypeOptions={"multipleOf": 5}), ["-10", "0", "7"], 1),
        (col("a", "number", logicalTypeOptions={"multipleOf": 0.1}), ["0.3", "0.35"], 1),
        (col("a", "string", logicalTypeOptions={"minLength": 2, "maxLength": 3}), ["é", "éé", "abcd"], 2),
        (col("a", "date", logicalTypeOptions={"minimum": "2013-01-01"}), ["2012-12-31", "2013-01-01"], 1),
        (
            col("a", "timestamp", logicalTypeOptions={"maximum": "2013-01-01T00:00:00Z"}),
            ["2013-01-01T01:00:00+04:00", "2013-01-02"],
            1,
        ),
        (col("a", "time", logicalTypeOptions={"maximum": "12:00"}), ["11:59", "12:01"], 1),
    ],
)
def test_each_rule_counts_the_rows_that_break_it(build, judge, column, cells, failed):
    report = judge(build([column, col("b", "string")]), "a,b\n" + "".join(f"{c},x\n" for c in cells))
    assert list(failures(report).values()) == [failed]
    assert not report.passed


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "integer",
            ["1", "-5", "+7", "12.0", " 4 ", "9007199254740993"],
            ["12.7", "abc", "1e3", "0x1F", "1_000", "99999999999999999999"],
        ),
        ("number", ["1", "-0.5", "1e3", "0.1"], ["abc", "nan", "inf", "-Infinity", "1_000"]),
        ("boolean", ["true", "FALSE"], ["maybe", "2x"]),
        ("date", ["2013-01-31"], ["2013-02-30", "31.01.2013"]),
        ("timestamp", ["2013-01-01T10:00:00Z", "2013-01-01 10:00:00"], ["2013-01-01T25:00:00Z", "noon"]),
        ("time", ["10:00", "10:00:01"], ["25:00"]),
    ],
)
def test_a_cell_that_is_not_of_its_type_is_counted_and_shown(build, judge, kind, good, bad):
    report = judge(build([col("a", kind), S]), "a,s\n" + "".join(f"{c},x\n" for c in good + bad))
    finding = next(f for f in report.findings if f.rule == "a.type")
    assert finding.failed_rows == len(bad)
    assert [e["a"] for e in finding.examples] == bad[:5]
    assert line(report, "a.type").endswith(f"{len(bad)} row{'s' * (len(bad) > 1)}, e.g. {bad[0]}")


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        ({"mustBeLessOrEqualTo": 50, "unit": "percent"}, True),
        ({"mustBeLessThan": 50, "unit": "percent"}, False),
        ({"mustBe": 2}, True),
        ({"mustNotBe": 2}, False),
        ({"mustBeBetween": [2, 3]}, True),
        ({"mustBeGreaterThan": 2}, False),
    ],
)
def test_bounds_are_judged_in_their_unit(build, judge, rule, passes):
    report = judge(
        build([col("a", "integer", quality=[{"metric": "nullValues", **rule}]), S]), "a,s\n1,x\n2,x\n,x\n,x\n"
    )
    assert report.passed is passes


def test_a_failed_warning_is_told_and_does_not_refuse(build, judge):
    rule = {"metric": "nullValues", "mustBe": 0, "severity": "warning"}
    report = judge(build([col("a", "integer", quality=[rule]), S]), "a,s\n,x\n")
    assert report.passed
    assert [w.rule for w in report.warnings] == ["a.nullValues"]
    assert report.lines() == ["a not null   1 row, e.g. null (warning)"]


@pytest.mark.parametrize(("hours", "passes"), [(23, True), (25, False)])
def test_freshness(build, judge, hours, passes):
    rules = build(
        [col("at", "timestamp")], slaProperties=[{"property": "freshness", "value": 1, "unit": "d", "element": "at"}]
    )
    now = datetime(2024, 1, 2, hours - 23, tzinfo=UTC) if hours < 24 else datetime(2024, 1, 3, 1, tzinfo=UTC)
    assert judge(rules, "at\n2024-01-01T01:00:00Z\n2023-05-05T00:00:00Z\n", now=now).passed is passes
    assert not judge(rules, "at\n2024-01-01T01:00:00Z\n").passed


def test_unique_tells_the_rows_to_remove_and_a_null_is_no_duplicate(build, judge):
    rule = {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["a", "s"]}}
    report = judge(build([A, S], quality=[rule]), "a,s\n1,x\n1,x\n1,x\n2,y\n,z\n,z\n2,\n2,\n")
    assert line(report, "t.duplicateValues") == "unique (a, s)   2 rows, e.g. 1 x"


def test_dates_in_three_columns_read_as_one(build, judge):
    names = ["year", "month", "day"]
    rule = {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": [*names, "s"]}}
    report = judge(
        build([*(col(n, "integer") for n in names), S], quality=[rule]), "year,month,day,s\n2013,5,2,UA\n2013,5,2,UA\n"
    )
    assert line(report, "t.duplicateValues") == "unique (year, month, day, s)   1 row, e.g. 2013-05-02 UA"


def test_examples_stop_at_five_come_in_file_order_and_carry_the_key(build, judge):
    rules = build([col("k", "integer", primaryKey=True), col("a", "integer", logicalTypeOptions={"maximum": 0})])
    report = judge(rules, "k,a\n" + "".join(f"{k},{k}\n" for k in range(9, -1, -1)))
    assert report.failed[0].examples == tuple({"k": k, "a": k} for k in (9, 8, 7, 6, 5))


def test_values_of_classified_columns_are_hidden(build, judge):
    rules = build(
        [col("k", "string", primaryKey=True, classification="confidential"), col("a", "integer", required=True)]
    )
    report = judge(rules, "k,a\nAlice,\nAlice,\n")
    assert "Alice" not in str(report)
    assert report.failed[0].examples[0]["k"] == "(hidden)"


def test_a_report_in_a_payload_holds_no_value(build, judge):
    report = judge(build([col("s", "string", unique=True)]), "s\nAlice\nAlice\n")
    assert "Alice" in str(report)
    assert "Alice" not in str(report.summary())
    assert (report.summary().failed, report.summary().rows) == (1, 2)
    assert ContractRefused("t", report).as_dict()["facts"]["failed"][0]["rule"] == "s.unique"


def test_values_cannot_rewrite_a_terminal(build, judge):
    report = judge(build([col("a", "integer"), S]), "a,s\n\x1b[2J\u202egood,x\n")
    assert "\x1b" not in line(report, "a.type")
    assert "\u202e" not in line(report, "a.type")


# --- files that are not what they should be


@pytest.mark.parametrize(
    ("data", "rule", "says"),
    [
        (b"", "readable", "empty"),
        (b"\n\n", "readable", "empty"),
        (b"a,s\n", "any_rows", "0 rows"),
        (b"a;s\n1;x\n", "columns", "missing a, s; not declared a;s; the file is separated by semicolons, not commas"),
        (b"a\ts\n1\tx\n", "columns", "tabs, not commas"),
        (b"a\n1\n", "columns", "missing s"),
        (b"a,s,b\n1,x,2\n", "columns", "not declared b"),
        (b"A,s\n1,x\n", "columns", "missing a; not declared A"),
        (b"a,a,s\n1,1,x\n", "readable", "column 'a' twice"),
        (b"a,caf\xe9\n1,x\n", "readable", "line 1: byte 5 is not UTF-8"),
        (b"a,s\n1,caf\xe9\n2,b\n", "readable", "1 row, e.g. line 2: invalid encoding"),
        (b"a,s\n1\n2,x\n3,y,z\n", "readable", "2 rows, e.g. line 2: missing columns; line 4: too many columns"),
        (b'a,s\n1,"x\n2,y\n', "readable", "unquoted value"),
        (b"\x00\x01\x02\xff\xfe", "readable", "not UTF-8"),
        (b"PAR1" + b"\x00" * 64, "columns", "missing a, s"),
        ("a,s\n1,x\n".encode("utf-16"), "readable", "not UTF-8"),
    ],
)
def test_a_broken_file_is_a_finding(build, judge, data, rule, says):
    report = judge(build([A, S]), data)
    assert not report.passed
    assert says in line(report, rule)


@pytest.mark.parametrize(
    "data", ["\ufeffa,s\n1,x\n", "a,s\r\n1,x\r\n", 'a,s\n1,"x, y"\n', '"a","s"\n1,x\n', "s,a\nx,1\n", "a,s\n1,x"]
)
def test_usual_dialects_are_read(build, judge, data):
    report = judge(build([col("a", "integer", required=True), S]), data)
    assert report.passed
    assert report.rows == 1


def test_the_other_lines_of_a_ragged_file_are_still_judged(build, judge):
    report = judge(build([col("a", "integer", logicalTypeOptions={"maximum": 1}), S]), "a,s\n1\n5,x\n1,y\n")
    assert report.rows == 2
    assert failures(report) == {"readable": 1, "a.range": 1}


def test_a_missing_column_fails_every_rule_on_it(build, judge):
    rules = build(
        [col("a", "integer", required=True, unique=True, logicalTypeOptions={"minimum": 1}), S],
        quality=[{"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["s", "a"]}}],
    )
    report = judge(rules, "s\nx\n")
    assert set(failures(report)) == {"columns", "a.type", "a.required", "a.unique", "a.range", "t.duplicateValues"}


def test_extra_columns_may_be_allowed(build, judge):
    rules = build([A], customProperties=[{"property": "extraColumns", "value": "allow"}])
    assert judge(rules, "a,b\n1,2\n").passed


def test_null_markers(build, judge):
    rules = build(
        [col("a", "integer", required=True), S], customProperties=[{"property": "nullValues", "value": ["NA", "it's"]}]
    )
    assert failures(judge(rules, "a,s\nNA,x\nit's,y\n3,z\n")) == {"a.required": 2}


def test_files_with_their_columns_in_another_order_are_one_table(build, tmp_path):
    (tmp_path / "1.csv").write_text("a,s\n1,x\n")
    (tmp_path / "2.csv").write_text("s,a\ny,2\n")
    rules = build([col("a", "integer", unique=True), S], quality=[{"metric": "rowCount", "mustBe": 2}])
    assert checks.judge_files(rules, [tmp_path / "1.csv", tmp_path / "2.csv"], "csv", scratch=tmp_path).passed


@pytest.mark.parametrize("named", ["gone.csv", "folder", "a*.csv", "[a].csv"])
def test_what_is_no_plain_file_is_refused(build, tmp_path, named):
    (tmp_path / "folder").mkdir()
    if named not in ("gone.csv", "folder"):
        (tmp_path / named).write_text("a\n1\n")
    with pytest.raises(Invalid) as refused:
        checks.judge_files(build([A]), [tmp_path / named], "csv", scratch=tmp_path)
    assert str(tmp_path) not in refused.value.message


# --- Parquet


def parquet(tmp_path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_parquet_is_judged_like_csv(build, judge, tmp_path):
    file = parquet(tmp_path, a=pa.array([1, 1, None], pa.int32()), s=["x", "y", "z"])
    assert failures(judge(build([col("a", "integer", required=True, unique=True), S]), file)) == {
        "a.required": 1,
        "a.unique": 1,
    }


@pytest.mark.parametrize(
    ("kind", "array", "passes"),
    [
        ("integer", pa.array(["1"]), False),
        ("string", pa.array([1]), False),
        ("date", pa.array(["2013-01-01"]), False),
        ("integer", pa.array([1.0, float("nan")]), True),
        ("integer", pa.array([1.5]), False),
        ("number", pa.array([1], pa.int8()), True),
        ("number", pa.array([1.5], pa.float32()), True),
        ("timestamp", pa.array([datetime(2013, 1, 1, tzinfo=UTC)]), True),
        ("string", pa.array(["a"]).dictionary_encode(), True),
        ("boolean", pa.array([True]), True),
    ],
)
def test_parquet_types(build, judge, tmp_path, kind, array, passes):
    report = judge(build([col("a", kind)]), parquet(tmp_path, a=array))
    assert report.passed is passes
    assert set(failures(report)) <= {"a.type"}


def test_nan_in_parquet_is_a_null(build, judge, tmp_path):
    rules = build([col("a", "number", required=True, logicalTypeOptions={"minimum": 0})])
    assert failures(judge(rules, parquet(tmp_path, a=[1.0, float("nan"), -1.0]))) == {"a.required": 1, "a.range": 1}


@pytest.mark.parametrize("at", [4, 30, -6, -1])
def test_a_damaged_parquet_file_is_a_finding(build, judge, tmp_path, at):
    file = parquet(tmp_path, a=list(range(1000)))
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(data[: len(data) // 2] if at == 30 else data)
    report = judge(build([A]), file)
    assert failures(report)["readable"] == 0


def test_not_parquet_at_all(build, judge, tmp_path):
    file = tmp_path / "t.parquet"
    file.write_text("a\n1\n")
    assert "not a Parquet file" in line(judge(build([A]), file), "readable")


def test_parquet_written_for_sharing_comes_back_and_changes_little(tmp_path):
    table = pa.table({"a": list(range(200_000)), "s": [f"row {i * i % 1009}" for i in range(200_000)]})
    inserted = pa.concat_tables([table.slice(0, 10), table.slice(0, 1), table.slice(10)])
    sizes = [tables.write_parquet(t, tmp_path / f"{i}.parquet") for i, t in enumerate((table, inserted))]
    assert pq.read_table(tmp_path / "0.parquet") == table
    assert pq.ParquetFile(tmp_path / "0.parquet").metadata.num_row_groups == 1
    assert sizes[0] == (tmp_path / "0.parquet").stat().st_size
    tail = [(tmp_path / f"{i}.parquet").read_bytes() for i in (0, 1)]
    pages = {tail[0][at : at + 256] for at in range(len(tail[0]) - 256)}
    shared = sum(tail[1][at : at + 256] in pages for at in range(0, len(tail[1]) - 256, 256))
    assert shared > 0.6 * len(tail[1]) / 256
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []


def test_a_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(pa.ArrowNotImplementedError):
        tables.write_parquet(pa.table({"a": pa.array([None], pa.struct([]))}), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


# --- harm


HARMFUL = [
    '"; DROP VIEW t; --',
    'a" OR 1=1 --',
    "it's",
    "a);SELECT 1;--",
    "%s{object}$1?",
    "名前",
    "SELECT",
    "c0",
    "t0",
]


@pytest.mark.parametrize("named", HARMFUL)
def test_names_and_values_are_only_names_and_values(build, judge, named):
    text = metric(named, "string", metric="invalidValues", arguments={"validValues": [named]})
    text["quality"] += [
        {"metric": "missingValues", "arguments": {"missingValues": [named]}, "mustBe": 1},
        {"type": "sql", "query": "SELECT count({property}) FROM {object}", "mustBe": 2},
    ]
    made = build([text, col("n", "integer", required=True)])
    table = io.StringIO()
    csv.writer(table).writerows([[named, "n"], [named, 1], ["other", 2]])
    assert failures(judge(made, table.getvalue())) == {f"{named}.invalidValues": 1}


def test_a_harmful_table_name(judge):
    document = {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "x", "version": "1", "status": "draft",
        "schema": [{"name": 't"; DROP TABLE x; --', "properties": [A, S],
                    "quality": [{"type": "sql", "query": "SELECT count(*) FROM {object}", "mustBe": 1}]}],
    }  # fmt: skip
    assert judge(contract.from_data(document), "a,s\n1,x\n").passed


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM read_text('/etc/hostname')",
        "SELECT count(*) FROM '/etc/hostname'",
        "SELECT count(*) FROM glob('/etc/*')",
        "SELECT count(*) FROM read_csv('http://127.0.0.1:9/x')",
        "SELECT 1) TO 'OUT'; COPY (SELECT 1",
        "COPY (SELECT 1) TO 'OUT'",
        "SELECT 1; SET enable_external_access = true",
        "SELECT 1) ; DROP VIEW t; SELECT * FROM (SELECT 1",
        "ATTACH 'OUT'",
        "INSTALL httpfs",
        "SELECT count(*) FROM rules",
        "SELECT getenv('HOME')::INT",
        "PRAGMA database_list",
        "DELETE FROM t RETURNING 1",
        "",
    ],
)
def test_a_query_reaches_nothing_but_the_table(build, judge, tmp_path, query):
    rules = pa.table({"x": [1]})  # a Python variable that DuckDB could otherwise see
    assert rules.num_rows == 1
    if not query:
        with pytest.raises(Invalid):
            build([A, S], quality=[{"type": "sql", "query": query, "mustBe": 0}])
        return
    query = query.replace("OUT", str(tmp_path / "out"))
    report = judge(build([A, S], quality=[{"type": "sql", "query": query, "mustNotBe": -1}]), "a,s\n1,x\n")
    assert failures(report) == {"t.sql": 0}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("query", "bound", "passes"),
    [
        ("SELECT count(*) FROM {object}", {"mustBe": 2}, True),
        ("SELECT count(*) FROM t WHERE a > 1;", {"mustBe": 1}, True),
        ("SELECT sum(a) FROM {object} -- done", {"mustBeGreaterThan": 2.5}, True),
        ("SELECT bool_and(a > 0) FROM {object}", {"mustBe": True}, True),
        ("SELECT bool_and(a > 1) FROM {object}", {"mustBe": True}, False),
        ("SELECT avg(a) FROM ${table}", {"mustBeBetween": [1, 2]}, True),
        ("SELECT min(a) FROM {object} WHERE a > 5", {"mustNotBe": 1}, False),
        ("SELECT a FROM {object}", {"mustNotBe": -1}, False),
        ("SELECT a FROM {object} WHERE false", {"mustNotBe": -1}, False),
        ("SELECT 1, 2", {"mustNotBe": -1}, False),
        ("SELECT 'x'", {"mustNotBe": -1}, False),
        ("SELECT true", {"mustBe": 1}, False),
        ("SELECT nothing FROM {object}", {"mustBe": 1}, False),
        ("SELEC 1", {"mustBe": 1}, False),
    ],
)
def test_what_a_query_may_return(build, judge, query, bound, passes):
    report = judge(build([A, S], quality=[{"type": "sql", "query": query, **bound}]), "a,s\n1,x\n2,y\n")
    assert report.passed is passes
    assert passes or set(failures(report)) == {"t.sql"}


def test_an_error_of_a_query_does_not_carry_values_out(build, judge):
    report = judge(
        build([A, S], quality=[{"type": "sql", "query": "SELECT s::INT FROM t", "mustBe": 1}]), "a,s\n1,secret\n"
    )
    assert "secret" not in str(report)


def test_a_query_without_end_is_stopped(build, tmp_path):
    query = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b"
    rules = build([A], quality=[{"type": "sql", "query": query, "mustBe": 1}])
    (tmp_path / "t.csv").write_text("a\n1\n")
    with tables.connect([tmp_path / "t.csv"], scratch=tmp_path) as con:
        opened = tables.open_table(con, [tmp_path / "t.csv"], "csv", rules)
        report = checks.judge(rules, con, opened, query_limit_s=0.2)
    assert "stopped after 0.2 s" in line(report, "t.sql")


def test_the_connection_is_locked(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    with tables.connect([tmp_path / "t.csv"], scratch=tmp_path, memory_limit="64MB") as con:
        for attempt in ("SET threads = 8", "SET enable_external_access = true", "RESET memory_limit", "LOAD httpfs"):
            with pytest.raises(duckdb.Error):
                con.execute(attempt)
        with pytest.raises(duckdb.PermissionException):
            con.execute(f"SELECT * FROM read_text('{tmp_path}/t.csv/../../../../../etc/hostname')")


def test_a_contract_is_tried_before_there_is_data(build, tmp_path):
    good = build([A, S], quality=[{"type": "sql", "query": "SELECT count(a) FROM {object}", "mustBe": 0}])
    checks.try_out(good, scratch=tmp_path)
    for wrong in (
        build([A], quality=[{"type": "sql", "query": "SELECT b FROM {object}", "mustBe": 0}]),
        build([A], quality=[{"type": "sql", "query": "COPY t TO 'x'", "mustBe": 0}]),
        build([col("s", "string", logicalTypeOptions={"pattern": r"(?=x)"})]),
    ):
        with pytest.raises(Invalid, match="rule"):
            checks.try_out(wrong, scratch=tmp_path)


def test_a_pattern_that_duckdb_cannot_read_fails_its_rule_alone(build, judge):
    rules = build([col("s", "string", required=True, logicalTypeOptions={"pattern": r"(?=x)"}), A])
    assert failures(judge(rules, "s,a\nx,1\n")) == {"s.pattern": 0}


# --- agreement with a plain slow reading

cells = st.sampled_from(["", "1", "2", "3", "-7", "2.0", "2.5", "x", "NA", "1e3"])
rows = st.lists(st.tuples(cells, st.sampled_from(["", "x", "y", "NA", "q'q"])), max_size=12)


def slowly(data: list[tuple[str, str]]) -> dict[str, int]:
    """What the contract below should find, in plain Python."""
    whole = {"1": 1, "2": 2, "3": 3, "-7": -7, "2.0": 2}
    typed = [(whole.get(a), None if s in ("", "NA") else s) for a, s in data]
    keys = [row for row in typed if None not in row]
    counts = {
        "a.type": sum(a not in ("", "NA") and a not in whole for a, _ in data),
        "a.required": sum(a is None for a, _ in typed),
        "a.range": sum(a is not None and not 1 <= a <= 2 for a, _ in typed),
        "s.invalidValues": sum(s not in (None, "x", "q'q") for _, s in typed),
        "s.unique": len([s for _, s in typed if s]) - len({s for _, s in typed if s}),
        "t.duplicateValues": len(keys) - len(set(keys)),
        "any_rows": 0 if data else -1,
    }
    return {rule: count for rule, count in counts.items() if count}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_counts_agree_with_a_plain_slow_reading(build, data):
    rules = build(
        [
            col("a", "integer", required=True, logicalTypeOptions={"minimum": 1, "maximum": 2}),
            col(
                "s",
                "string",
                unique=True,
                quality=[{"metric": "invalidValues", "arguments": {"validValues": ["x", "q'q"]}, "mustBe": 0}],
            ),
        ],
        quality=[{"metric": "duplicateValues", "arguments": {"properties": ["a", "s"]}, "mustBe": 0}],
        customProperties=[{"property": "nullValues", "value": ["NA"]}],
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.csv")
        with file.open("w", newline="") as out:
            csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows([["a", "s"], *data])
        report = checks.judge_files(rules, [file], "csv", scratch=Path(folder))
    found = failures(report)
    if "any_rows" in found:
        found["any_rows"] = -1
    assert found == slowly(data)
    assert report.rows == len(data)
    assert report.passed == (not found)
