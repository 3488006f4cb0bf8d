"""Label and condition of a gate: single SQL expressions over the rows of the evidence, which reach nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from falaj.core.errors import Invalid
from falaj.data.contract import from_data
from falaj.gates import table
from falaj.gates.kinds import GATE, parse
from falaj.gates.records import EvidenceSource, Gate

CONTRACT = from_data(
    {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "t", "version": "1", "status": "active",
        "schema": [{
            "name": "t",
            "properties": [
                {"name": "a", "logicalType": "integer"},
                {"name": "g", "logicalType": "string"},
            ],
        }],
    }
)  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """Reads the evidence: 1,000 rows of a = 0 … 999 and g = x, y, z in turn, and one row without a."""
    file = tmp_path / "t.csv"
    lines = ["a,g", *(f"{i},{'xyz'[i % 3]}" for i in range(1000)), ",x"]
    file.write_text("\n".join(lines) + "\n")
    (tmp_path / "spill").mkdir()

    def read(label: str, where: str | None = None, columns: tuple[str, ...] = ("g",), **more: Any) -> list[Any]:
        source = EvidenceSource(data="t@holdout", label=label, where=where)
        return list(table.batches([file], "csv", CONTRACT, source, columns, scratch=tmp_path / "spill", **more))

    return read


def test_label_and_columns_are_of_the_same_rows_in_their_order(rows: Any) -> None:
    batches = rows("a > 30", columns=("g", "a", "nowhere"), rows=300)
    assert [b.num_rows for b in batches] == [300, 300, 300, 101]
    assert batches[0].column_names == [table.LABEL, "g", "a"]
    label, g, a = ([v for b in batches for v in b.column(i).to_pylist()] for i in range(3))
    assert a == [*range(1000), None]
    assert label == [None if v is None else v > 30 for v in a]
    assert g == [*("xyz"[i % 3] for i in range(1000)), "x"]


def test_a_condition_chooses_rows(rows: Any) -> None:
    assert sum(b.num_rows for b in rows("a > 30", "g = 'x'")) == 335
    assert rows("a > 30", "false") == []


def test_who_asks_for_the_label_by_its_name_does_not_get_it(rows: Any) -> None:
    assert rows("a > 3", columns=(table.LABEL, "g"))[0].remove_column(0).column_names == ["g"]


NOT_ONE = [
    ("two", "a > 1, a > 2"),
    ("out of its parentheses", "a > 1) AS x, (a > 2"),
    ("another statement", "a > 1; DROP TABLE t"),
    ("a whole query", "SELECT true FROM t"),
    ("an open comment", "a > 1 /*"),
    ("a setting", "(SET threads = 1)"),
    ("a copy", "(SELECT 1 FROM (COPY t TO '/tmp/x')) = 1"),
]


@pytest.mark.parametrize("field", ["label", "where"])
@pytest.mark.parametrize("text", [c[1] for c in NOT_ONE], ids=[c[0] for c in NOT_ONE])
def test_what_is_not_one_expression_is_refused_when_the_gate_is_read(field: str, text: str) -> None:
    source = EvidenceSource(data="t@h", **{"label": "a > 1", field: text})
    with pytest.raises(table.BadExpression, match=field):
        table.check_expressions(source)


REFUSED = [
    ("a file", "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0", "nothing else"),
    ("a text", "(SELECT content FROM read_text('/etc/hostname')) = 'x'", "nothing else"),
    ("a folder", "(SELECT count(*) FROM glob('/etc/*')) > 0", "nothing else"),
    ("the network", "(SELECT count(*) FROM read_csv('https://example.com/x.csv')) > 0", "evidence"),
    ("secrets", "EXISTS (SELECT * FROM duckdb_secrets())", "nothing else"),
    ("the environment", "getenv('HOME') = 'x'", "does not exist"),
    ("an unknown column", "b > 3", "not found"),
    ("not a truth", "a", "'BIGINT'; true, false or null"),
    ("all rows in one", "max(a) > 3", "GROUP BY"),
    ("two of one row", "unnest([true, false])", "2,002 values for 1,001 rows"),
    ("a parameter", "a > $1", "evidence"),
    ("a value that does not fit", "cast(g AS integer) > 3", "ConversionException"),
]


@pytest.mark.parametrize(("label", "told"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_an_expression_reads_its_rows_and_nothing_else(rows: Any, label: str, told: str) -> None:
    with pytest.raises(table.BadExpression, match=told) as refused:
        rows(label)
    assert "/" not in refused.value.message


@pytest.mark.parametrize("field", ["label", "where"])
def test_an_expression_without_end_is_stopped(rows: Any, field: str) -> None:
    endless = "(SELECT sum(x.a * y.a * z.a * w.a) FROM t x, t y, t z, t w) > a"
    with pytest.raises(table.BadExpression, match="stopped after 1 s"):
        rows(**{"label": "a > 1", field: endless}, limit_s=1)


def test_a_gate_file_becomes_a_kind_that_guards_and_seals() -> None:
    text = (
        "gate: g\nguards: [delay@production, dataset/flights@main]\n"
        "evidence: {data: flights@holdout, label: a > 1}\nrules: [{metric: auc, at_least: 0.5}]\n"
    )
    name, payload = parse(text)
    assert name == "g"
    assert GATE.guards(payload) == ("delay@production", "dataset/flights@main")
    assert GATE.seals(payload) == ("flights@holdout",)
    assert GATE.decode(GATE.encode(payload)) == payload
    assert GATE.seals(Gate(name="g", guards=("d@p",), rules=())) == ()
    with pytest.raises(Invalid, match=r"evidence\.label"):
        parse(text.replace("a > 1", "a >"))
