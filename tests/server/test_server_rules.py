"""The rules of the edge that are pure: buckets, depth, host names, waits, redaction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.core.errors import Invalid
from falaj.server.errors import TooManyRequests
from falaj.server.limits import Buckets, address_key, check_depth, host_name
from falaj.server.logs import redact
from falaj.server.settings import Rate
from falaj.server.surface import wait_of

# buckets


def allowed(buckets: Buckets, key: str, now: float) -> bool:
    try:
        buckets.take(key, now)
    except TooManyRequests:
        return False
    return True


@given(
    rate=st.integers(1, 20),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10)), max_size=200),
)
def test_buckets_agree_with_counting_tenths_one_by_one(rate, burst, steps):
    """Time passes in tenths of a second and tokens in tenths, so that the plain count is exact."""
    buckets = Buckets(Rate(rate, burst))
    full = 10 * burst
    left = dict.fromkeys("ab", full)
    now = 0
    for key, passed in steps:
        for _ in range(passed):
            now += 1
            left = {k: min(full, tenths + rate) for k, tenths in left.items()}
        may = left[key] >= 10
        left[key] -= 10 if may else 0
        assert allowed(buckets, key, now / 10) == may


def test_over_any_time_no_more_than_burst_and_rate_are_allowed():
    buckets = Buckets(Rate(2, 5))
    assert sum(allowed(buckets, "a", at / 1000) for at in range(10_000)) == 5 + 2 * 10 - 1


def test_a_refusal_says_when_to_come_again():
    buckets = Buckets(Rate(0.1, 1))
    buckets.take("a", 0)
    with pytest.raises(TooManyRequests) as refused:
        buckets.take("a", 2)
    assert refused.value.retry_after == 8
    assert not allowed(buckets, "a", 9.9)
    assert allowed(buckets, "a", 10.001)


def test_a_clock_that_goes_back_gives_nothing():
    buckets = Buckets(Rate(1, 1))
    buckets.take("a", 100)
    assert not allowed(buckets, "a", 50)
    assert not allowed(buckets, "a", 100.5)
    assert allowed(buckets, "a", 101)


def test_buckets_take_bounded_memory_and_forget_the_idlest():
    buckets = Buckets(Rate(0.001, 1), most=100)
    for n in range(1000):
        buckets.take(f"key {n}", n)
    assert len(buckets) == 100
    assert not allowed(buckets, "key 999", 1000)
    assert allowed(buckets, "key 1", 1000)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("", ""),
        ("x" * 1000, "x" * 64),
    ],
)
def test_an_address_counts_as_what_one_client_holds(address, key):
    assert address_key(address) == key


# depth

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(values, st.integers(1, 6))
def test_depth_agrees_with_its_definition(value, most):
    brackets = b"[" * 1000  # as many as make the walk needed
    if depth_of(value) <= most:
        check_depth(brackets, value, most)
    else:
        with pytest.raises(Invalid):
            check_depth(brackets, value, most)


# words


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [
        ("wait=5", 5),
        ("wait=100", 60),
        ("respond-async, wait=10", 10),
        ("wait=10; foo=bar", 10),
        ("wait=0", 0),
        ("", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=9999999", None),
        ("wait=1e9", None),
    ],
)
def test_the_wait_that_is_asked_for(prefer, wait):
    assert wait_of(prefer, 60) == wait


@pytest.mark.parametrize(
    ("host", "name"),
    [("A.Example:80", "a.example"), ("[::1]:8440", "[::1]"), ("[::1]", "[::1]"), ("::1", ""), ("", "")],
)
def test_the_name_in_a_host_header(host, name):
    assert host_name(host) == name


# redaction


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abc.def",
        "authorization: bearer short",
        "Basic dXNlcjpwYXNz",
        "falaj_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + "x" * 49,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
        "postgresql://amal:hunter22@db/falaj",
        "-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----",
        "0Jm3sPqz7Yt1vXw9Bc5Rk8Nf2Ld6Hg4Ta_Ue-Ioy3Ws",
        "9f" * 32,
    ],
)
def test_what_looks_like_a_secret_is_not_logged(secret):
    line = redact(f'{{"message":"before {secret} after"}}')
    assert "[redacted]" in line
    for word in ("abc.def", "short", "dXNlcjpwYXNz", "x" * 20, "eyJ", "hunter22", "MIIE"):
        assert word not in line
    assert line.startswith('{"message":"before ')
    assert line.endswith('after"}')


@pytest.mark.parametrize(
    "plain",
    [
        "the ref delay@production moved to 7",
        "sha256:" + "0" * 64,
        "b3k:" + "A" * 43,
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "2026-11-24T17:38:55.000000Z",
        "src/falaj/server/api.py:120 _operation",
    ],
)
def test_what_does_not_is_logged_as_it_is(plain):
    assert redact(plain) == plain


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)
