"""Conditions: a short fixed list of named, pure predicates over a request's attributes.

    four_eyes        `proposer_person` is another person than the one who asks
    classification   `clearance` (of the principal) is at least `classification` (of the thing)
    residency        `country` (where the bytes go) is one of `countries` (where they may be)
    purpose          `purpose` (of the request) is one of `purposes` (declared for the data)

What is missing or of the wrong type fails, and so does a name that is not on the list. An operation declares which
conditions it is judged by (`Roles.judged`): promoting has a proposer, listing has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from falaj.access.records import ConditionResult, Request

CLASSES = ("public", "internal", "confidential", "restricted")
_RANK = {word: rank for rank, word in enumerate(CLASSES)}

Check = Callable[[Request], tuple[bool, str]]


def _four_eyes(request: Request) -> tuple[bool, str]:
    proposer, person = request.attributes.get("proposer_person"), request.principal.person
    if not isinstance(proposer, str) or not proposer:
        return False, "the proposer is not known"
    return proposer != person, f"proposed by {proposer}, asked by {person}"


def _classification(request: Request) -> tuple[bool, str]:
    clearance, needed = request.attributes.get("clearance"), request.attributes.get("classification")
    have, need = _rank(clearance), _rank(needed)
    if have is None or need is None:
        return False, f"clearance or classification is not one of {', '.join(CLASSES)}"
    return have >= need, f"clearance {clearance}, classification {needed}"


def _residency(request: Request) -> tuple[bool, str]:
    return _is_among(request.attributes, "country", "countries")


def _purpose(request: Request) -> tuple[bool, str]:
    return _is_among(request.attributes, "purpose", "purposes")


CONDITIONS: Mapping[str, Check] = {
    "four_eyes": _four_eyes,
    "classification": _classification,
    "residency": _residency,
    "purpose": _purpose,
}


def judge(name: str, request: Request, judged: frozenset[str]) -> ConditionResult:
    """Judge one condition of a binding.

    Args:
        judged: the conditions that the request's operation is judged by.
    """
    check = CONDITIONS.get(name)
    if check is None:
        return ConditionResult(name, False, "no such condition")
    if name not in judged:
        return ConditionResult(name, True, f"does not apply to {request.operation}")
    return ConditionResult(name, *check(request))


def _rank(word: object) -> int | None:
    return _RANK.get(word) if isinstance(word, str) else None


def _is_among(attributes: Mapping[str, Any], one: str, many: str) -> tuple[bool, str]:
    value, allowed = attributes.get(one), attributes.get(many)
    if not isinstance(value, str) or not value:
        return False, f"the {one} is not known"
    if not isinstance(allowed, (tuple, list, frozenset, set)) or not allowed:
        return False, f"no {many} are declared"
    return value in allowed, f"{one} {value}, {many} {', '.join(sorted(str(a) for a in allowed))}"
