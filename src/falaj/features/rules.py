"""Pure rules of features: what a view and a service must be, and what a span says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from falaj.core.names import name
from falaj.features.errors import FeatureInvalid
from falaj.features.records import ALL, UNITS, Service, View


def check_view(view: View) -> View:
    """A view as it came in from outside. Raises: FeatureInvalid, InvalidName."""
    name(view.view, "feature view")
    name(view.entity, "entity")
    if not view.keys:
        raise FeatureInvalid(f"feature view {view.view}: entity {view.entity} has no keys", next_step="name them")
    reserved = {folded(one) for one in (*view.keys, view.time, view.created) if one}
    if len(reserved) < len(view.keys) + 1 + bool(view.created):
        raise FeatureInvalid(f"feature view {view.view}: keys, time and created must be different columns")
    names = [*view.features, *(window.name for window in view.windows)]
    for feature in names:
        if folded(feature) in reserved or is_twice(feature, names):
            raise FeatureInvalid(f"feature view {view.view}: {feature} stands there twice", next_step="rename one")
    for window in view.windows:
        if bool(window.column) == (window.function == "count"):
            raise FeatureInvalid(
                f"feature view {view.view}: {window.function} over {window.over_s} s",
                next_step="mean and sum need a column; count takes none",
            )
    if view.ttl_s is not None and view.ttl_s <= 0:
        raise FeatureInvalid(f"feature view {view.view}: ttl {view.ttl_s} s", next_step="a positive span, or none")
    return view


def check_service(service: Service) -> Service:
    """A service as it came in from outside. Raises: FeatureInvalid, InvalidName."""
    name(service.service, "feature service")
    names = [feature.name for feature in service.features if feature.feature != ALL]
    for one in names:
        if is_twice(one, names):
            raise FeatureInvalid(f"feature service {service.service}: {one} stands there twice", next_step="rename one")
    return service


def folded(column: str) -> str:
    """A name as DuckDB compares it: without regard to case, of ASCII letters alone."""
    return "".join(char.lower() if char.isascii() else char for char in column)


def is_twice(column: str, columns: Sequence[str]) -> bool:
    """Whether columns hold a name more than once, as DuckDB compares them."""
    return [folded(one) for one in columns].count(folded(column)) > 1


def missing_of(wanted: Iterable[str], columns: Iterable[str]) -> str | None:
    """The first name that columns do not hold, as DuckDB compares them; None where they hold them all."""
    there = {folded(column) for column in columns}
    return next((one for one in wanted if folded(one) not in there), None)


def parse_span(text: str | int) -> int:
    """Seconds of a span such as `3h`, `28d`, `90s`, `15m`. Raises: FeatureInvalid."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    value, unit = (text[:-1], text[-1:]) if isinstance(text, str) else ("", "")
    size = dict(UNITS).get(unit)
    if size is None or not value.isascii() or not value.isdigit() or not 0 < int(value) <= 10**6:
        raise FeatureInvalid(f"span {str(text)[:20]!r}: a number and d, h, m or s", next_step="for example 3h")
    return int(value) * size
