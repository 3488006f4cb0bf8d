"""Text for terminals: nothing that came from outside acts on the terminal; numbers as people write them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.cli.text import counted, number, plain, safe, size, table, width

ACTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("flights", "flights"),
        ("رحلات", "رحلات"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07"),
        ("a\x9b2Jb", "a\\x9b2Jb"),
        ("main\u202eniam", "main\\u202eniam"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("del\x7f", "del\\x7f"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(raw, shown):
    assert safe(raw) == shown


@given(st.text(max_size=600))
def test_safe_text_is_one_line_without_controls_and_not_longer_than_its_limit_asks(text):
    shown = safe(text, 50)
    assert not any(unicodedata.category(c) in ACTING for c in shown)
    assert width(shown) <= 50 * 10
    assert safe(shown, 10_000) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(28330, "28,330"), (-5, "-5"), (0.641, "0.641"), (0.64123456, "0.6412"), (3.0, "3"), (12345.678, "12,345.7")],
)
def test_numbers_have_thousands_and_no_useless_digits(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_400_000, "12.4 MB"),
        (999_960_000, "1.0 GB"),
        (5 * 10**18, "5,000.0 PB"),
    ],
)
def test_sizes_are_in_powers_of_ten(value, shown):
    assert size(value) == shown


@pytest.mark.parametrize(
    ("count", "word", "shown"),
    [(1, "rule", "1 rule"), (18, "rule", "18 rules"), (1412, "entry", "1,412 entries"), (2, "day", "2 days")],
)
def test_counts_agree_with_their_word(count, word, shown):
    assert counted(count, word) == shown


@pytest.mark.parametrize(
    ("value", "key", "shown"),
    [
        (None, "", "-"),
        (True, "", "yes"),
        (7000, "version", "7000"),
        (7000, "rows", "7,000"),
        (7000, "size_bytes", "7.0 kB"),
        ("2026-11-24T17:38:55.000000Z", "at", "2026-11-24 17:38:55Z"),
        (["a", "b\x1b"], "", "a, b\\x1b"),
        ({"a\x1b": 1}, "", "a\\x1b=1"),
        ([], "", "-"),
    ],
)
def test_any_value_becomes_one_safe_line(value, key, shown):
    assert plain(value, key) == shown


def test_columns_line_up_also_with_wide_and_combining_characters():
    lines = table([("航班", "1"), ("e\u0301te", "22"), ("flights", "333")], ("name", "rows"), right=(1,))
    assert lines == ["name     rows", "航班        1", "e\u0301te        22", "flights   333"]


def test_no_rows_are_no_table():
    assert table([], ("name",)) == []


@given(st.lists(st.lists(st.text("abcde é", max_size=8), min_size=1, max_size=4), min_size=1, max_size=6))
def test_every_cell_of_a_table_stands_in_its_line(rows):
    lines = table(rows)
    assert len(lines) == len(rows)
    assert all(cell.rstrip() in line for row, line in zip(rows, lines, strict=True) for cell in row)
