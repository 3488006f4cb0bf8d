"""API tokens: `falaj_<id>_<secret>`. Shown once; only a keyed hash is stored.

The secret is 32 random bytes in base 62, followed by a checksum of six characters, so that a mistyped or cut token
is refused before any look-up and scanners can recognise a leaked one. The stored hash is BLAKE3 keyed with the
store's token key, over the secret *and* every field of the row that never changes: a row that was edited behind the
door (another principal, a wider scope, a later expiry) no longer fits its token.

The first owner's one-time token is the same thing with `single_use`, accepted only where a one-time token is asked for.
"""

from __future__ import annotations

import hmac
import secrets
import zlib
from datetime import datetime
from typing import NoReturn

import blake3
import msgspec

from falaj.access import scopes
from falaj.access.records import ANY_ROLE, Principal
from falaj.access.scopes import STORE
from falaj.core.digests import b3k
from falaj.core.encoding import canonical, moment
from falaj.core.errors import Conflict, Invalid, Unauthenticated
from falaj.core.ids import is_id, new_id

PREFIX = "falaj"
KEY_BYTES = 32
_SECRET_CHARS, _SUM_CHARS = 43, 6
_TEXT_CHARS = len(PREFIX) + 1 + 26 + 1 + _SECRET_CHARS + _SUM_CHARS
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTEXT = b"falaj token 1\n"
_HIDDEN = "…"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """The stored row of a token.

    Attributes:
        hash: `b3k:…`, see the module.
        scope: all that it may be used on; empty is nothing.
        roles: the roles that it is capped to; `("*",)` caps nothing, empty is nothing.
        single_use: good for one use, by the operation that asks for it.
    """

    id: str
    principal: str
    person: str
    hash: str
    scope: tuple[str, ...] = (STORE,)
    roles: tuple[str, ...] = (ANY_ROLE,)
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    single_use: bool = False

    def __repr__(self) -> str:
        return f"Token(id={self.id!r}, principal={self.principal!r}, person={self.person!r}, hash={_HIDDEN})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("id", self.id), ("principal", self.principal), ("person", self.person)]


class Presented:
    """A token as it came with a request: well formed, not yet checked. Never shows its secret."""

    __slots__ = ("_secret", "id")

    def __init__(self, token_id: str, secret: str) -> None:
        self.id, self._secret = token_id, secret

    def opens(self, row: Token, key: bytes) -> bool:
        """Whether this is the token that the row was made with; in constant time."""
        return hmac.compare_digest(seal(row, self._secret, key), row.hash)

    def __repr__(self) -> str:
        return f"Presented(id={self.id!r}, secret={_HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled")


class Minted:
    """A new token: the row to store, and the text to hand over once by `reveal`."""

    __slots__ = ("_text", "row")

    def __init__(self, text: str, row: Token) -> None:
        self._text, self.row = text, row

    def reveal(self) -> str:
        """The token's text. Show it once, store it nowhere."""
        return self._text

    def __repr__(self) -> str:
        return f"Minted(row={self.row!r}, text={_HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled")


def mint(
    principal: Principal,
    *,
    key: bytes,
    now: datetime,
    scope: tuple[str, ...] = (STORE,),
    roles: tuple[str, ...] = (ANY_ROLE,),
    expires_at: datetime | None = None,
    single_use: bool = False,
) -> Minted:
    """A new token of a principal.

    Args:
        key: the store's token key, 32 bytes.
        scope, roles: what it is narrowed to; what the principal does not hold, no token gives.
    Raises: Invalid for a malformed or empty scope, no roles, or an expiry that is not after `now`.
    """
    if not scope or not roles:
        raise Invalid("token: an empty scope or no roles would be good for nothing", next_step="name at least one")
    if expires_at is not None and expires_at <= now:
        raise Invalid(f"token: would be expired since {moment(expires_at)}", next_step="choose a later time")
    secret = base62(secrets.token_bytes(32))
    row = Token(
        id=new_id(),
        principal=principal.id,
        person=principal.person,
        hash="",
        scope=tuple(scopes.parse(s) for s in scope),
        roles=roles,
        created_at=moment(now),
        expires_at=None if expires_at is None else moment(expires_at),
        single_use=single_use,
    )
    return Minted(text(row.id, secret), msgspec.structs.replace(row, hash=seal(row, secret, key)))


def mint_bootstrap(owner: Principal, *, key: bytes, now: datetime, expires_at: datetime) -> Minted:
    """The one-time token by which the first owner comes in. It always expires."""
    return mint(owner, key=key, now=now, roles=("owner",), expires_at=expires_at, single_use=True)


def parse(presented: object) -> Presented:
    """A token's text as it came in. Raises: Unauthenticated, always with the same words."""
    if not isinstance(presented, str) or len(presented) != _TEXT_CHARS or not presented.isascii():
        raise _refused()
    prefix, _, rest = presented.partition("_")
    token_id, _, tail = rest.partition("_")
    secret, check = tail[:_SECRET_CHARS], tail[_SECRET_CHARS:]
    if prefix != PREFIX or not is_id(token_id) or len(check) != _SUM_CHARS or check != _checksum(token_id, secret):
        raise _refused()
    return Presented(token_id, secret)


def check(
    presented: str | Presented, row: Token | None, key: bytes, now: datetime, *, single_use: bool = False
) -> Token:
    """The row of a presented token that is genuine, unexpired and unrevoked.

    The hash is compared first and in constant time, also when there is no such row, so that only the holder of the
    secret learns that a token is expired or revoked.

    Args:
        row: the stored row of the presented id, None where there is none.
        single_use: whether a one-time token is asked for; neither sort passes for the other.
    Raises: Unauthenticated.
    """
    token = parse(presented) if isinstance(presented, str) else presented
    found = row is not None and row.id == token.id
    against = row if row is not None and found else _nobody(token.id)
    genuine = token.opens(against, key)
    if not (genuine and found) or against.single_use != single_use:
        raise _refused()
    if against.revoked_at is not None:
        raise Unauthenticated(f"token {against.id}: revoked at {against.revoked_at}", next_step="falaj login")
    if against.expires_at is not None and against.expires_at <= moment(now):
        raise Unauthenticated(f"token {against.id}: expired at {against.expires_at}", next_step="falaj login")
    return against


def revoke(row: Token, *, now: datetime) -> Token:
    """The row after revoking it; using up a one-time token is revoking it in the transaction of its use.

    Raises: Conflict when it is revoked or used already, so that of two uses one is refused.
    """
    if row.revoked_at is not None:
        raise Conflict(f"token {row.id}: {'used' if row.single_use else 'revoked'} already at {row.revoked_at}")
    return msgspec.structs.replace(row, revoked_at=moment(now))


def seal(row: Token, secret: str, key: bytes) -> str:
    """The stored hash of a secret for a row, over all of the row that never changes. Raises: Invalid."""
    if len(key) != KEY_BYTES:
        raise Invalid(f"token key: {len(key)} bytes, expected {KEY_BYTES}")
    fixed = (row.id, row.principal, row.person, row.scope, row.roles, row.created_at, row.expires_at, row.single_use)
    return b3k(blake3.blake3(_CONTEXT + canonical((*fixed, secret)), key=key).digest())


def text(token_id: str, secret: str) -> str:
    """The text of a token, with its checksum."""
    return f"{PREFIX}_{token_id}_{secret}{_checksum(token_id, secret)}"


def base62(raw: bytes) -> str:
    """32 bytes as 43 characters, most significant first."""
    return _digits(int.from_bytes(raw), _SECRET_CHARS)


def _checksum(token_id: str, secret: str) -> str:
    return _digits(zlib.crc32(f"{token_id}_{secret}".encode()), _SUM_CHARS)


def _digits(value: int, width: int) -> str:
    out = []
    for _ in range(width):
        value, digit = divmod(value, 62)
        out.append(_BASE62[digit])
    return "".join(reversed(out))


def _nobody(token_id: str) -> Token:
    return Token(id=token_id, principal="0" * 26, person="0" * 26, hash=b3k(bytes(32)), created_at=_CONTEXT.decode())


def _refused() -> Unauthenticated:
    return Unauthenticated("no valid token", next_step="falaj login, or pass a token with the request")
