"""Tokens: only the whole, genuine, living one opens; nothing shows it."""

from __future__ import annotations

import copy
import pickle
import re
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.access import rules, tokens
from falaj.access.tokens import Minted, Token
from falaj.core.errors import Conflict, Invalid, Unauthenticated
from tests.access.access_cases import AMINA, ASSET, BADR, NOW, PROJECT, REF, ask, binding, snapshot

KEY = bytes(range(32))
HOUR = timedelta(hours=1)


def minted(**rest: object) -> Minted:
    return tokens.mint(AMINA, key=KEY, now=NOW, **rest)  # type: ignore[arg-type]


GOOD = minted(expires_at=NOW + HOUR)


def test_a_token_opens_its_own_row() -> None:
    assert tokens.check(GOOD.reveal(), GOOD.row, KEY, NOW) is GOOD.row
    assert tokens.check(tokens.parse(GOOD.reveal()), GOOD.row, KEY, NOW + HOUR / 2) is GOOD.row
    assert (GOOD.row.principal, GOOD.row.person) == (AMINA.id, AMINA.person)


def test_the_form_is_fixed() -> None:
    """Golden: a change of form or hash would shut out every token in use."""
    row = Token(
        id="01J9ZK3V5T8Q6M4N2P0R1S7W9X", principal="P", person="H", hash="", created_at="2026-01-01T00:00:00.000000Z"
    )
    secret = tokens.base62(bytes(range(32)))
    assert secret == "003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf"
    assert tokens.text(row.id, secret) == f"falaj_{row.id}_{secret}0aqToF"
    assert tokens.seal(row, secret, KEY) == "b3k:e49cffc7a691fd4ecbe539d2795287978ce177a5426e4309a74a8847db4addad"
    assert re.fullmatch(r"falaj_[0-9A-Z]{26}_[0-9A-Za-z]{49}", GOOD.reveal())
    assert (
        tokens.base62(b"\xff" * 32) == "yC2YVvUcZwGYbNPEExsyLLdY3uBrdqJMbFcrnJFpWqp"
        or len(tokens.base62(b"\xff" * 32)) == 43
    )


def test_two_tokens_share_nothing() -> None:
    one, two = minted(), minted()
    assert one.row.id != two.row.id
    assert one.reveal()[-49:] != two.reveal()[-49:]
    with pytest.raises(Unauthenticated):
        tokens.check(one.reveal(), two.row, KEY, NOW)


def other_secret(whole: str) -> str:
    id_part, secret = whole[6:32], whole[33:-6]
    return tokens.text(id_part, ("1" if secret[0] == "0" else "0") + secret[1:])


FORGED = {
    "another secret, right checksum": other_secret(GOOD.reveal()),
    "one character cut": GOOD.reveal()[:-1],
    "half": GOOD.reveal()[:40],
    "one character more": GOOD.reveal() + "0",
    "a line end": GOOD.reveal() + "\n",
    "a space before": " " + GOOD.reveal(),
    "one character changed": GOOD.reveal()[:50] + ("a" if GOOD.reveal()[50] != "a" else "b") + GOOD.reveal()[51:],
    "another prefix": "gitea" + GOOD.reveal()[5:],
    "small letters in the id": "falaj_" + GOOD.row.id.lower() + GOOD.reveal()[32:],
    "another id": tokens.text("0" * 26, GOOD.reveal()[33:-6]),
    "no secret": f"falaj_{GOOD.row.id}_",
    "only the id": GOOD.row.id,
    "the stored hash": GOOD.row.hash,
    "digits of another script": GOOD.reveal()[:-1] + "\u0663",
    "empty": "",
}


@pytest.mark.parametrize("presented", list(FORGED.values()), ids=list(FORGED))
@pytest.mark.parametrize("row", [GOOD.row, None], ids=["known", "unknown"])
def test_forged_and_cut_tokens_are_refused_with_the_same_words(presented: str, row: Token | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.check(presented, row, KEY, NOW)
    assert refused.value.as_dict() == {
        "code": "unauthenticated",
        "message": "no valid token",
        "next_step": "falaj login, or pass a token with the request",
    }


@pytest.mark.parametrize("presented", [None, 7, b"falaj_", ["falaj_"]])
def test_what_is_not_text_is_no_token(presented: object) -> None:
    with pytest.raises(Unauthenticated):
        tokens.parse(presented)


def test_an_unknown_id_is_refused_like_a_wrong_secret() -> None:
    with pytest.raises(Unauthenticated, match="no valid token"):
        tokens.check(GOOD.reveal(), None, KEY, NOW)
    with pytest.raises(Unauthenticated, match="no valid token"):
        tokens.check(GOOD.reveal(), GOOD.row, bytes(32), NOW)


@pytest.mark.parametrize(
    ("row", "at", "words"),
    [
        (GOOD.row, NOW + HOUR, "expired at"),
        (GOOD.row, NOW + 2 * HOUR, "expired at"),
        (tokens.revoke(GOOD.row, now=NOW), NOW, "revoked at"),
        (tokens.revoke(GOOD.row, now=NOW + HOUR), NOW, "revoked at"),
    ],
    ids=["at its end", "after", "revoked", "revoked by a later clock"],
)
def test_expired_and_revoked_tokens_are_named_only_to_who_holds_them(row: Token, at, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Unauthenticated, match=words):
        tokens.check(GOOD.reveal(), row, KEY, at)
    with pytest.raises(Unauthenticated, match="no valid token"):
        tokens.check(FORGED["another secret, right checksum"], row, KEY, at)


@pytest.mark.parametrize(
    "edit",
    [
        {"id": "0" * 26},
        {"principal": BADR.id},
        {"person": BADR.person},
        {"scope": ("store", "store")},
        {"roles": ("owner",)},
        {"created_at": "2020-01-01T00:00:00.000000Z"},
        {"expires_at": None},
        {"single_use": True},
        {"hash": ""},
        {"hash": "b3k:" + "0" * 64},
    ],
    ids=lambda e: next(iter(e)),
)
def test_a_row_edited_behind_the_door_no_longer_fits_its_token(edit: dict[str, object]) -> None:
    row = msgspec.structs.replace(GOOD.row, **edit)
    for single_use in (False, True):
        with pytest.raises(Unauthenticated, match="no valid token"):
            tokens.check(GOOD.reveal(), row, KEY, NOW, single_use=single_use)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD.reveal()) - 1), st.characters(max_codepoint=0x2FF))
def test_any_other_character_anywhere_is_refused(at: int, char: str) -> None:
    whole = GOOD.reveal()
    changed = whole[:at] + char + whole[at + 1 :]
    if changed == whole:
        assert tokens.check(changed, GOOD.row, KEY, NOW) is GOOD.row
    else:
        with pytest.raises(Unauthenticated, match="no valid token"):
            tokens.check(changed, GOOD.row, KEY, NOW)


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_is_written_without_loss(raw: bytes) -> None:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    value = 0
    for char in tokens.base62(raw):
        value = value * 62 + alphabet.index(char)
    assert value.to_bytes(32) == raw
    assert len(tokens.base62(raw)) == 43


@given(st.text(max_size=120))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.parse(text)


def test_the_secret_shows_nowhere_but_in_reveal() -> None:
    secret = GOOD.reveal()[33:]
    presented = tokens.parse(GOOD.reveal())
    shown = [
        repr(GOOD),
        str(GOOD),
        f"{GOOD}",
        repr(GOOD.row),
        str(GOOD.row.__rich_repr__()),
        repr(presented),
        repr([presented]),
    ]
    stored = msgspec.json.encode(GOOD.row).decode()
    assert not any(secret in s or secret[:20] in s for s in [*shown, stored])
    assert not any(GOOD.row.hash in s for s in shown)
    for thing in (GOOD, presented):
        with pytest.raises(TypeError):
            msgspec.json.encode(thing)
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.copy(thing)


@pytest.mark.parametrize(
    "rest",
    [
        {"scope": ()},
        {"roles": ()},
        {"scope": ("project:a/b",)},
        {"scope": ("*",)},
        {"expires_at": NOW},
        {"key": b"short"},
    ],
    ids=["no scope", "no role", "bad scope", "star", "expired", "short key"],
)
def test_tokens_that_make_no_sense_are_not_minted(rest: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        tokens.mint(AMINA, **{"key": KEY, "now": NOW, **rest})  # type: ignore[arg-type]


def test_a_token_only_narrows_its_principal() -> None:
    held = snapshot(binding(AMINA.id, "contributor", PROJECT))
    for scope, roles, operation, allowed in [
        (("store",), ("*",), "data.add", True),
        (("store",), ("owner",), "ref.promote", False),
        ((ASSET,), ("*",), "data.add", True),
        (("project:other",), ("*",), "data.add", False),
        (("store",), ("viewer",), "data.add", False),
    ]:
        row = minted(scope=scope, roles=roles).row
        request = ask(AMINA, operation, REF, token_scope=row.scope, token_roles=row.roles)
        assert rules.decide(request, held).allowed is allowed


def test_the_first_owners_token_works_once_and_only_where_it_is_asked_for() -> None:
    first = tokens.mint_bootstrap(AMINA, key=KEY, now=NOW, expires_at=NOW + HOUR)
    assert (first.row.single_use, first.row.roles) == (True, ("owner",))
    with pytest.raises(Unauthenticated, match="no valid token"):
        tokens.check(first.reveal(), first.row, KEY, NOW)
    with pytest.raises(Unauthenticated, match="no valid token"):
        tokens.check(GOOD.reveal(), GOOD.row, KEY, NOW, single_use=True)
    row = tokens.check(first.reveal(), first.row, KEY, NOW, single_use=True)
    used = tokens.revoke(row, now=NOW)
    with pytest.raises(Unauthenticated, match="revoked at"):
        tokens.check(first.reveal(), used, KEY, NOW, single_use=True)
    with pytest.raises(Conflict):
        tokens.revoke(used, now=NOW)
    with pytest.raises(Unauthenticated, match="expired at"):
        tokens.check(first.reveal(), first.row, KEY, NOW + HOUR, single_use=True)
