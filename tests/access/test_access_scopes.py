"""The order of scopes, and the traps of text that looks alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.access import scopes
from falaj.core.errors import InvalidName

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._+-]{0,3}[A-Za-z0-9_+-])?", fullmatch=True) | st.sampled_from(
    ["a", "ab", "a-b", "a+b", "a.b", "x", "x2", "مطار", "é", "e\u0301"]
)
KINDS = st.sampled_from(["model", "dataset", "gate"])


@st.composite
def resources(draw: st.DrawFn) -> str:
    project = draw(NAMES)
    return draw(
        st.one_of(
            st.just("store"),
            st.just(f"project:{project}"),
            st.builds(lambda k, n: f"asset:{project}/{k}/{n}", KINDS, NAMES),
            st.builds(lambda k, n, r: f"ref:{project}/{k}/{n}@{r}", KINDS, NAMES, NAMES),
            st.builds(
                lambda s, p: f"{s}:{project}/{'/'.join(p)}",
                st.sampled_from(["run", "token"]),
                st.lists(NAMES, min_size=1, max_size=3),
            ),
        ).map(scopes.parse)
    )


@pytest.mark.parametrize(
    ("scope", "resource"),
    [
        ("store", "store"),
        ("store", "project:a"),
        ("store", "ref:a/model/x@production"),
        ("project:a", "asset:a/model/x"),
        ("project:a", "ref:a/model/x@production"),
        ("project:a", "run:a/R1"),
        ("project:a", "run:a/R1/train/0"),
        ("asset:a/model/x", "ref:a/model/x@production"),
        ("run:a/R1", "run:a/R1/train"),
        ("project:مطار", "asset:مطار/model/x"),
    ],
)
def test_a_scope_covers_what_lies_below(scope: str, resource: str) -> None:
    assert scopes.covers(scope, resource)


@pytest.mark.parametrize(
    ("scope", "resource"),
    [
        ("project:a", "store"),
        ("project:a", "project:ab"),
        ("project:a", "asset:ab/model/x"),
        ("project:a", "run:a-b/R1"),
        ("project:a", "run:a+b/R1"),
        ("project:a", "run:a.b/R1"),
        ("project:a", "project:A"),
        ("asset:a/model/x", "asset:a/model/x2"),
        ("asset:a/model/x", "ref:a/model/x2@main"),
        ("asset:a/model/x", "asset:a/dataset/x"),
        ("asset:a/model/x", "project:a"),
        ("ref:a/model/x@prod", "ref:a/model/x@production"),
        ("ref:a/model/x@main", "asset:a/model/x"),
        ("run:a/R1", "run:a/R12"),
        ("run:a/R1", "run:a/R1-b"),
        ("run:a/R1", "token:a/R1"),
        ("run:a/R1/train", "run:a/R1"),
    ],
)
def test_a_scope_covers_nothing_beside_or_above_it(scope: str, resource: str) -> None:
    assert not scopes.covers(scope, resource)


MALFORMED = [
    "",
    "*",
    "Store",
    "store ",
    "store:",
    "store:a/b",
    "project",
    "project:",
    "project:a/",
    "project:a/b",
    "project:a@b",
    "project:a\n",
    "project: a",
    "project:.a",
    "project:a.",
    "project:..",
    "asset:a/model",
    "asset:a/model/",
    "asset:a/model/x/y",
    "asset:a/Model/x",
    "asset:a/model/x@main",
    "asset:a//x",
    "asset:../model/x",
    "ref:a/model/x",
    "ref:a/model/x@",
    "ref:a/model/@main",
    "ref:a/model/x@a@b",
    "ref:a/model/x@a/b",
    "run:a",
    "run:a/",
    "run:a//x",
    "Run:a/x",
    "run a:b/x",
    "run:a/\u202ex",
    "run:a/x\x00",
    "run:a/" + "b/" * 8 + "c",
    "run:a/" + "/".join(["b" * 128] * 7) + "/" + "c" * 128,
    "project:" + "a" * 129,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_text_is_refused_and_covers_nothing(text: str) -> None:
    with pytest.raises(InvalidName):
        scopes.parse(text)
    assert not scopes.is_scope(text)
    assert scopes.chain(text) == ()
    assert not scopes.covers(text, text)
    assert not scopes.covers("store", text)
    assert not scopes.covers(text, "project:a")


@pytest.mark.parametrize("value", [None, 7, b"store", ["store"]])
def test_what_is_not_text_is_refused(value: object) -> None:
    assert not scopes.is_scope(value)
    with pytest.raises(InvalidName):
        scopes.parse(value)


def test_the_builders_refuse_parts_that_would_move_the_boundary() -> None:
    for build in (
        lambda: scopes.project("a/b"),
        lambda: scopes.asset("a", "model", "x@main"),
        lambda: scopes.ref("a", "model", "x", "b/c"),
        lambda: scopes.thing("run", "a/b", "R1"),
        lambda: scopes.thing("asset", "a", "model"),
        lambda: scopes.thing("run", "a"),
    ):
        with pytest.raises(InvalidName):
            build()
    assert scopes.thing("run", "a", "R1", "train") == "run:a/R1/train"
    assert scopes.ref("a", "model", "x", "main") == "ref:a/model/x@main"
    assert scopes.project_of("ref:a/model/x@main") == "a"
    assert scopes.project_of("store") == ""


def test_names_are_compared_in_their_canonical_form() -> None:
    assert scopes.parse("project:e\u0301") == "project:\u00e9"
    assert not scopes.is_scope("project:e\u0301")


@given(resources())
def test_every_scope_covers_itself_and_store_covers_all(resource: str) -> None:
    assert scopes.is_scope(resource)
    assert scopes.parse(resource) == resource
    assert scopes.covers(resource, resource)
    assert scopes.covers("store", resource)


@given(resources(), resources())
def test_two_scopes_that_cover_each_other_are_one(one: str, two: str) -> None:
    assert (scopes.covers(one, two) and scopes.covers(two, one)) == (one == two)


@given(resources())
def test_coverage_goes_through(resource: str) -> None:
    chain = scopes.chain(resource)
    for above in chain:
        assert scopes.chain(above) == chain[chain.index(above) :]


@given(resources(), resources())
def test_coverage_is_what_the_parts_say(one: str, two: str) -> None:
    assert scopes.covers(one, two) == parts_cover(parts_of(one), parts_of(two))


def parts_of(text: str) -> list[str]:
    """A scope as the path from the store down, read in another way than the code does."""
    if text == "store":
        return []
    sort, rest = text.split(":", 1)
    pieces = rest.replace("@", "/@").split("/")
    if sort == "project":
        return pieces
    first = "asset" if sort in ("asset", "ref") else sort
    if first == "asset":
        return [pieces[0], "asset " + pieces[1] + " " + pieces[2], *pieces[3:]]
    return [pieces[0], first + " " + pieces[1], *pieces[2:]]


def parts_cover(one: list[str], two: list[str]) -> bool:
    return two[: len(one)] == one
