"""Payloads of the kinds `policy` and `location`."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a project's law asks for.

    Attributes:
        policy: its name.
        allow: countries (ISO 3166-1 alpha-2) or regions (`AE-DU`) where bytes may rest and be read; empty forbids all.
        regime: the law pack it follows: federal, difc, adgm, cbuae, health, gov.
    """

    policy: str
    allow: tuple[str, ...]
    regime: str = "federal"
    note: str = ""


class Location(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A declared place for bytes.

    Attributes:
        location: its name.
        url: `file:FOLDER` below the store, or a bucket; only an owner of the project declares one.
        region: `AE-DU`: country and part of it.
    """

    location: str
    url: str
    region: str
