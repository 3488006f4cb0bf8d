"""What can go wrong with features."""

from __future__ import annotations

from falaj.core.errors import Invalid


class FeatureInvalid(Invalid):
    """A definition of features cannot be meant, or does not fit its source."""

    code = "feature_invalid"
