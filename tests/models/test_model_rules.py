"""Which columns a model reads, and what its run says of how it was made."""

from __future__ import annotations

import pytest

from falaj.core.errors import Invalid
from falaj.models.records import Input
from falaj.models.rules import code_of, columns_of, environment_of

KNOWN = {"town": "string", "wind": "number", "hour": "integer", "late": "boolean", "flown": "date", "at": "timestamp"}


def test_named_columns_get_the_types_that_the_data_gives_them():
    told = columns_of(["town", "wind", "hour", "late"], width=4, names=(), form="skops", known=KNOWN)
    assert [(one.name, one.type) for one in told] == [
        *(("town", "text"), ("wind", "number"), ("hour", "integer"), ("late", "boolean"))
    ]


def test_a_type_given_by_the_caller_counts():
    given = [Input(name="wind", type="text"), Input(name="height", type="number")]
    assert columns_of(given, width=2, names=(), form="skops", known=KNOWN) == tuple(given)


def test_what_the_file_says_is_taken_where_nothing_is_given():
    told = columns_of([], width=2, names=("wind", "hour"), form="skops", known=KNOWN)
    assert [one.name for one in told] == ["wind", "hour"]


def test_onnx_is_fed_by_name_so_the_order_is_the_callers():
    told = columns_of(["hour", "wind"], width=None, names=("wind", "hour"), form="onnx", known=KNOWN)
    assert [one.name for one in told] == ["hour", "wind"]


REFUSED = {
    "nothing known": (([], 3, ()), "3 columns and does not say which"),
    "too many": ((["wind", "hour"], 1, ()), "2 are named, the model reads 1"),
    "another order": ((["hour", "wind"], 2, ("wind", "hour")), "the model says 'wind', 'hour'"),
    "other names": ((["wind", "late"], 2, ("wind", "hour")), "the model says"),
    "not in the data": ((["height"], 1, ()), "its type is not known"),
    "a date": ((["flown"], 1, ()), "a date; models read boolean, integer, number, string"),
    "a time": ((["at"], 1, ()), "a timestamp"),
    "twice": ((["wind", "wind"], 2, ()), "twice"),
    "marks that turn the line": ((["wi\u202end"], 1, ()), r"'wi\\u202end'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_right_is_refused_by_name(case):
    (given, width, names), words = REFUSED[case]
    with pytest.raises(Invalid, match=words):
        columns_of(given, width=width, names=names, form="skops", known=KNOWN)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ({"commit": "4f1c", "dirty": False, "script_digest": "ab"}, ("4f1c", True)),
        ({"commit": "4f1c", "dirty": True}, ("4f1c", False)),
        ({"commit": "4f1c"}, ("4f1c", False)),  # not said to be clean
        ({"script_digest": "ab"}, ("sha256:ab", None)),
        ({}, ("", None)),
    ],
)
def test_code_is_the_commit_else_the_script(code, told):
    assert code_of(code) == told


def test_the_environment_is_the_digest_of_what_was_installed():
    assert environment_of({"distributions_digest": "ab", "python": "3.11"}) == "sha256:ab"
    assert environment_of({}) == ""
