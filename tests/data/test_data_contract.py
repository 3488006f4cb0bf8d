"""Reading ODCS documents: what they mean, and that nothing doubtful is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from falaj.core.errors import Invalid, TooLarge
from falaj.data import contract
from falaj.data.document import MAX_BYTES, read
from falaj.data.records import Bound, contract_version, shown

HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\n"
TABLE = HEAD + "schema:\n  - name: t\n    properties:\n      - {name: a, logicalType: integer}\n"


def column(**fields: Any) -> dict[str, Any]:
    return {"name": "a", "logicalType": "integer", **fields}


def quality(**fields: Any) -> dict[str, Any]:
    return column(quality=[fields])


# --- what it means


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ([column(required=True)], [("a.required", "a not null")]),
        ([column(unique=True)], [("a.unique", "unique (a)")]),
        ([column(primaryKey=True)], [("primaryKey", "unique (a)"), ("a.required", "a not null")]),
        ([column(logicalTypeOptions={"minimum": 1, "maximum": 6000})], [("a.range", "a between 1 and 6,000")]),
        ([column(logicalTypeOptions={"exclusiveMinimum": 0})], [("a.range", "a > 0")]),
        ([column(logicalTypeOptions={"multipleOf": 5})], [("a.multipleOf", "a multiple of 5")]),
        ([column(logicalType="string", logicalTypeOptions={"maxLength": 3})], [("a.length", "a length ≤ 3")]),
        ([column(logicalType="string", logicalTypeOptions={"pattern": "^x"})], [("a.pattern", "a matches ^x")]),
        ([quality(metric="nullValues", mustBe=0)], [("a.nullValues", "a not null")]),
        ([quality(metric="nullValues", mustBeLessOrEqualTo=2, unit="percent")], [("a.nullValues", "a null ≤ 2 %")]),
        (
            [quality(metric="invalidValues", arguments={"validValues": [1, 2]}, mustBeLessThan=5)],
            [("a.invalidValues", "a in 1, 2 < 5 rows")],
        ),
        ([quality(metric="nullValues", mustBe=0, id="q-1")], [("q-1", "a not null")]),
        ([quality(metric="nullValues", mustBe=0, name="nobody missing")], [("nobody missing", "nobody missing")]),
        ([quality(type="text", description="looks right")], []),
    ],
)
def test_what_a_property_asks(build, properties, expected):
    assert [(rule.id, rule.title) for rule in build(properties).rules] == expected


def test_rules_of_the_table(build):
    rules = build(
        [column(), {"name": "b", "logicalType": "date"}],
        quality=[
            {"metric": "duplicateValues", "arguments": {"properties": ["a", "b"]}, "mustBe": 0},
            {"metric": "rowCount", "mustBeBetween": [10, 2000]},
            {"type": "sql", "description": "odd ones", "query": "SELECT 1", "mustBe": 1},
        ],
        slaProperties=[
            {"property": "latency", "value": 2, "unit": "days", "element": "t.b"},
            {"property": "retention", "value": 3, "unit": "y", "element": "t.b"},
        ],
    ).rules
    assert [rule.title for rule in rules] == [
        "unique (a, b)",
        "rows between 10 and 2,000",
        "odd ones = 1",
        "b not older than 2 days",
    ]
    assert rules[-1].bound == Bound("mustBeLessOrEqualTo", 48.0)


def test_a_compound_primary_key_keeps_its_positions(build):
    first, second = (
        column(primaryKey=True, primaryKeyPosition=2),
        column(name="b", primaryKey=True, primaryKeyPosition=1),
    )
    assert build([first, second]).key == ("b", "a")


def test_ids_stay_unique(build):
    twice = column(quality=[{"metric": "nullValues", "mustBe": 0}, {"metric": "nullValues", "mustBeLessThan": 5}])
    assert [rule.id for rule in build([twice]).rules] == ["a.nullValues", "a.nullValues#2"]


@pytest.mark.parametrize(
    ("word", "severity"), [(None, "error"), ("high", "error"), ("Warning", "warning"), ("info", "warning")]
)
def test_severity(build, word, severity):
    rule = {"metric": "nullValues", "mustBe": 0, **({"severity": word} if word else {})}
    assert build([column(quality=[rule])]).rules[0].severity == severity


def test_purpose_lawful_basis_markers_and_classification(build):
    made = build(
        [column(classification="confidential")],
        description={"purpose": "to know"},
        customProperties=[
            {"property": "lawfulBasis", "value": "consent"},
            {"property": "nullValues", "value": ["NA", "-"]},
            {"property": "extraColumns", "value": "allow"},
        ],
    )
    assert (made.purpose, made.lawful_basis, made.null_markers, made.extra_columns) == (
        "to know",
        "consent",
        ("NA", "-"),
        True,
    )
    assert made.columns[0].classification == "confidential"


def test_the_document_comes_back_as_the_same_contract():
    made, document = contract.parse(TABLE)
    again = contract.from_data(json.loads(json.dumps(document)))
    assert again == made
    assert contract_version(made, document).digest == again.digest


def test_other_words_change_the_digest_but_not_the_compiled_rules():
    one, other = contract.parse(TABLE)[0], contract.parse(TABLE + "domain: elsewhere\n")[0]
    assert one.digest != other.digest
    assert one.compiled == other.compiled


def test_golden_digests():
    """A change here changes what stored versions say of themselves: it needs a new payload version."""
    made, _ = contract.parse(TABLE)
    assert made.digest == "sha256:85a5e9f877c193ee56712785347ea7c378bbc9a7a069b4554baf18fffa6a0d29"
    assert made.compiled == "sha256:b5347bbf2c3458bb1885214ebb1560a2b4d783a5fbee5213b01edc0468714836"


# --- what is refused, and how


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ([column(requird=True)], "schema[0].properties[0].requird: unknown field"),
        ([column(required="yes")], "properties[0].required: expected true or false"),
        ([column(logicalType="map")], "'map' is not one of string, integer"),
        ([column(logicalType="object")], "nested columns"),
        ([column(), column(name="A")], "one name in SQL"),
        ([column(name="")], "name: expected text"),
        ([column(name="a\nb")], "printable"),
        ([column(name="__falaj_source")], "not starting with __falaj"),
        ([], "0 items; 1 to"),
        ([quality(metric="nullValues")], "0 bounds"),
        ([quality(metric="nullValues", mustBe=0, mustBeLessThan=3)], "2 bounds"),
        ([quality(metric="nullValues", mustBe="none")], "expected a number"),
        ([quality(metric="nullValues", mustBe=True)], "expected a number"),
        ([quality(metric="nullValues", mustBe=-1)], "outside 0"),
        ([quality(metric="nullValues", mustBeLessThan=101, unit="percent")], "outside 0 and 100"),
        ([quality(metric="nullValues", mustBeBetween=[5, 2])], "smaller one first"),
        ([quality(metric="nullValues", mustBeBetween=[5])], "1 items; 2 to 2"),
        ([quality(metric="nullValues", mustBe=0, unit="cells")], "'cells' is not one of rows, percent"),
        ([quality(metric="rowCount", mustBe=0)], "rowCount is a rule of a table"),
        ([quality(metric="median", mustBe=0)], "'median' is not one of"),
        ([quality(metric="invalidValues", mustBe=0)], "either validValues or pattern"),
        ([quality(metric="invalidValues", mustBe=0, arguments={"validValues": ["x"]})], "'x' is not a value of a"),
        ([quality(metric="invalidValues", mustBe=0, arguments={"pattern": "x"})], "a pattern is for strings"),
        ([quality(type="custom", engine="soda", implementation="x")], "custom rules (engine 'soda') are reserved"),
        ([quality(type="sql", mustBe=0)], "query: expected text"),
        ([quality(metric="nullValues", mustBe=0, severity="loud")], "'loud' is not one of"),
        ([column(logicalTypeOptions={"format": "f16", "minLength": 1})], "minLength: unknown field"),
        ([column(logicalType="date", logicalTypeOptions={"format": "dd.MM.yyyy"})], "ISO 8601"),
        ([column(logicalType="string", logicalTypeOptions={"pattern": "("})], "not a regular expression"),
        ([column(quality=[{"metric": "nullValues", "mustBe": 0, "id": "x"}] * 2)], "a second time"),
    ],
)
def test_a_doubtful_property_is_refused(build, properties, says):
    with pytest.raises(Invalid) as refused:
        build(properties)
    assert says in refused.value.message
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"apiVersion": "v2.2.2"}, "'v2.2.2' is not v3.1.x"),
        ({"kind": "Contract"}, "kind: 'Contract' is not one of DataContract"),
        ({"schema": []}, "schema: 0 items"),
        ({"schema": [{"name": "a"}, {"name": "b"}]}, "schema: 2 items; 1 to 1"),
        ({"schemas": []}, "schemas: unknown field"),
        (
            {"quality": [{"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["z"]}}]},
            "'z' is not a col",
        ),
        ({"quality": [{"metric": "nullValues", "mustBe": 0}]}, "nullValues is a rule of a column"),
        ({"quality": [{"metric": "rowCount", "mustBe": 1, "unit": "percent"}]}, "no percent"),
        (
            {"slaProperties": [{"property": "freshness", "value": 1, "unit": "d", "element": "a"}]},
            "not a date or timestamp",
        ),
        ({"slaProperties": [{"property": "freshness", "value": 1, "unit": "moon", "element": "a"}]}, "not a time span"),
        ({"customProperties": [{"property": "nullValues", "value": [1]}]}, "null markers are texts"),
        ({"customProperties": [{"property": "decision", "value": ""}]}, "expected text"),
    ],
)
def test_a_doubtful_document_is_refused(build, fields, says):
    with pytest.raises(Invalid) as refused:
        build([column()], **fields)
    assert says in refused.value.message


LATE = column(name="late", customProperties=[{"property": "knownAfter", "value": "arrival"}])
DECISION = {"property": "decision", "value": "two hours before departure"}


def test_a_contract_says_which_columns_are_known_only_after_the_decision(build):
    made = build([column(), LATE], customProperties=[DECISION])
    assert (made.decision, made.known_after) == ("two hours before departure", {"late": "arrival"})
    # What a column is known from judges no data: the rules are as they were.
    assert made.compiled == build([column(), column(name="late")]).compiled


def test_known_after_needs_the_decision_that_it_is_after(build):
    with pytest.raises(Invalid, match="'late' is known only after a decision: after which"):
        build([column(), LATE])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        ("a: [1", "line 1: not YAML"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' stands here a second time"),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases"),
        ("a: !!python/object:os.system x", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("a: {<<: {b: 1}}", "a key must be plain text"),
        ("? [a]\n: 1", "a key must be plain text"),
        ("a: 1\n---\nb: 2", "line 2: a second document"),
        ("[" * 400 + "]" * 400, "nested deeper than"),
        ("- " * 400 + "a", "nested deeper than"),
        ("a: 1e999", "too large for a number"),
        ("a: '" + "x" * 20_000 + "'", "text of 20,000 characters"),
        ("just words", "expected fields, got text"),
    ],
)
def test_only_strict_plain_yaml_is_read(text, says):
    with pytest.raises(Invalid) as refused:
        contract.parse(text, name="c.yaml")
    assert says in refused.value.message
    assert refused.value.message.startswith("c.yaml")


def test_a_large_file_is_refused_before_it_is_read():
    with pytest.raises(TooLarge):
        contract.parse("#" * (MAX_BYTES + 1))


def test_a_complaint_names_the_line():
    wrong = TABLE + "      - name: b\n        logicalType: integer\n        requird: true\n"
    with pytest.raises(
        Invalid, match=r"c\.yaml line 12: schema\[0\]\.properties\[1\]\.requird: unknown field"
    ) as refused:
        contract.parse(wrong, name="c.yaml")
    assert "required" in refused.value.next_step


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("NO", "NO"),
        ("true", True),
        ("2013-01-01", "2013-01-01"),
        ("010", 10),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1e3", 1000.0),
        ("~", None),
        ("'1'", "1"),
        (".5", 0.5),
        ("", None),
    ],
)
def test_scalars_mean_one_thing(text, value):
    assert read(f"a: {text}", name="x").data == {"a": value}


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def words(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [w for k, v in data.items() for w in (k, *words(v))]
    return [data] if isinstance(data, str) else [w for v in data for w in words(v)] if isinstance(data, list) else []


@given(plain)
def test_what_json_can_say_is_read_as_json_reads_it(data):
    """JSON is YAML, but for the key `<<` (which would merge) and for keys over YAML's limit."""
    assume("<<" not in words(data))
    assert read(json.dumps({"a": data}), name="x").data == {"a": data}


@given(st.recursive(plain | st.floats(), lambda inner: st.dictionaries(st.text(max_size=9), inner, max_size=3)))
def test_any_data_is_a_contract_or_one_clear_refusal(data):
    with pytest.raises(Invalid):
        contract.from_data(data)


@pytest.mark.parametrize(
    ("op", "holds"),
    [
        ("mustBe", [False, True, False]),
        ("mustNotBe", [True, False, True]),
        ("mustBeGreaterThan", [False, False, True]),
        ("mustBeGreaterOrEqualTo", [False, True, True]),
        ("mustBeLessThan", [True, False, False]),
        ("mustBeLessOrEqualTo", [True, True, False]),
    ],
)
def test_bounds(op, holds):
    assert [Bound(op, 5).holds(x) for x in (4, 5, 6)] == holds
    assert not Bound(op, 5).holds(float("nan"))


def test_between_includes_both_ends():
    assert [Bound("mustBeBetween", 2, 4).holds(x) for x in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert [Bound("mustNotBeBetween", 2, 4).holds(x) for x in (1, 2, 3, 4, 5)] == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("value", "text"), [(6000, "6,000"), (2.0, "2"), (0.5, "0.5"), ("x", "x"), (1234567.0, "1,234,567")]
)
def test_numbers_as_people_write_them(value, text):
    assert shown(value) == text
