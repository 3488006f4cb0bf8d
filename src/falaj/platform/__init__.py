"""The platform: rooms, store and access wired into one, from one configuration."""

from falaj.platform.platform import OwnerExists, Platform

__all__ = ["OwnerExists", "Platform"]
