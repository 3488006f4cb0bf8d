"""The kinds of this room: `policy` and `location`."""

from __future__ import annotations

from falaj.compliance.records import Location, Policy
from falaj.compliance.rules import parse_location, parse_policy
from falaj.store.kinds import Kind

POLICY = Kind("policy", Policy, config=True, folder="policies", parse=parse_policy)
LOCATION = Kind("location", Location, config=True, folder="locations", parse=parse_location)
