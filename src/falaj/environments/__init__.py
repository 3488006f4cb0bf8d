"""Environments made from locks: exact distributions, built once, named by digest."""

from __future__ import annotations

from typing import Final

ENVIRONMENTS: Final = "environments"
"""The port behind which a store has the `place.Place` of its own."""
