"""Residency, purely: may bytes rest or be read there?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from falaj.compliance.records import Location, Policy
from falaj.core.encoding import convert
from falaj.core.errors import Invalid, Refused
from falaj.core.names import name, printable

REGIMES = ("federal", "difc", "adgm", "cbuae", "health", "gov")
_URL = re.compile(r"(?:file:|(?:s3|gs|az)://)[\w./+-]{1,1000}")
_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
MAX_TEXT = 64 * 1024


class ResidencyRefused(Refused):
    """Bytes would rest or be read where the project's policy does not let them."""

    code = "residency_refused"


def is_allowed(region: str, allow: Sequence[str]) -> bool:
    """Whether a region is one of the allowed ones, or lies in an allowed country."""
    return region in allow or region.partition("-")[0] in allow


def check_residency(policies: Sequence[Policy], region: str, what: str) -> None:
    """Raises: ResidencyRefused where any policy in force does not allow the region. An unknown region is refused."""
    for policy in policies:
        if not is_allowed(region, policy.allow):
            where = region or "a place without a declared region"
            raise ResidencyRefused(
                f"{what}: {where} is not among {', '.join(policy.allow) or 'none'} (policy {policy.policy})",
                next_step="use a location in an allowed country, or change the policy",
                facts={"region": region, "allow": list(policy.allow), "policy": policy.policy},
            )


def check_same_region(declared: str | None, region: str, what: str) -> None:
    """Raises: ResidencyRefused where the location in force is declared in another region than the host says."""
    if declared is not None and declared != region:
        raise ResidencyRefused(
            f"{what}: location main is declared in {declared}, this host says {region or 'nothing'}",
            next_step="correct locations.main in falaj.toml, or apply the location anew",
            facts={"declared": declared, "region": region},
        )


def parse_policy(text: str) -> tuple[str, Policy]:
    """A policy file. Raises: Invalid."""
    policy = convert(load_yaml(text, "policy"), Policy, "policy")
    for region in policy.allow:
        check_region(region)
    if policy.regime not in REGIMES:
        raise Invalid(f"policy: regime {policy.regime[:20]!r} is not known", next_step=f"one of {', '.join(REGIMES)}")
    return name(policy.policy, "policy"), policy


def parse_location(text: str) -> tuple[str, Location]:
    """A location file. Raises: Invalid."""
    location = convert(load_yaml(text, "location"), Location, "location")
    check_region(location.region)
    check_url(location.url)
    return name(location.location, "location"), location


def check_url(url: str) -> str:
    """Raises: Invalid for what is no place for bytes: other schemes, user names, fragments, ways out by `..`."""
    if not _URL.fullmatch(url) or ".." in re.split(r"[/:]", url):
        raise Invalid(
            f"location url {printable(url)}: file:FOLDER or a bucket is expected",
            next_step="such as file:objects or s3://bucket/folder; no user names, queries, fragments or '..'",
        )
    return url


def check_region(region: str) -> str:
    """Raises: Invalid for what is not a country or region code."""
    if not _REGION.fullmatch(region):
        raise Invalid(
            f"region {region[:20]!r}: a country or region code is expected", next_step="for example AE or AE-DU"
        )
    return region


def load_yaml(text: str, what: str) -> Any:
    """YAML by the safe loader, within a size. Raises: Invalid, with the line."""
    if len(text) > MAX_TEXT:
        raise Invalid(f"{what}: {len(text):,} characters, at most {MAX_TEXT:,}")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        raise Invalid(f"{what}: not YAML{f', line {line}' if line else ''}", next_step="correct the file") from error
