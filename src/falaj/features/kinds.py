"""The kinds of this room: `feature_view` and `feature_service`; `falaj apply` makes their files of `features.py`."""

from __future__ import annotations

from falaj.core.encoding import decode
from falaj.core.names import name
from falaj.features.records import Service, View
from falaj.features.rules import check_service, check_view
from falaj.store.kinds import Kind


def parse_view(text: str) -> tuple[str, View]:
    """A view as JSON. Raises: Invalid."""
    view = check_view(decode(text, View, "feature view"))
    return name(view.view), view


def parse_service(text: str) -> tuple[str, Service]:
    """A service as JSON. Raises: Invalid."""
    service = check_service(decode(text, Service, "feature service"))
    return name(service.service), service


FEATURE_VIEW = Kind(
    "feature_view",
    View,
    config=True,
    folder="feature_views",
    parse=parse_view,
    project_fields=lambda v: {"entity": v.entity, "source": v.source},
)
FEATURE_SERVICE = Kind(
    "feature_service",
    Service,
    config=True,
    folder="feature_services",
    parse=parse_service,
    project_fields=lambda s: {"features": len(s.features)},
)
