"""Payloads of the kinds `feature_view` and `feature_service`.

A view says what is known of an entity, from one dataset, over time. A service is the list of features that one model
takes, in order. Times are compared as UTC; spans are seconds.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from falaj.core.names import name
from falaj.features.errors import FeatureInvalid

KeyType = Literal["text", "integer"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Sql = Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
MAX_COLUMNS: Final = 1000


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An aggregate over the events of a span that ends before the moment asked about.

    Attributes:
        function: `mean` and `sum` of the non-null values of `column` (null where there are none), `count` of events.
        over_s: events with `at - over_s <= time < at` count, as far as they were known then.
    """

    function: Literal["mean", "sum", "count"]
    column: str = ""
    over_s: Annotated[int, msgspec.Meta(ge=1)]

    @property
    def name(self) -> str:
        """The feature's name: `dep_delay_mean_3h`, `count_3h`."""
        return "_".join(part for part in (self.column, self.function, shown_span(self.over_s)) if part)


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of the kind `feature_view`.

    Attributes:
        entity: what it is about; `keys` name its columns in the source and in the rows that ask.
        source: the dataset, `weather` or `weather@main`.
        sql: one SELECT over the table `source`; empty for the table as it is.
        time: column of the moment an event is about. A row whose time or key is null is nothing known.
        created: column of the moment from which the event was known; "" where that is its time.
        ttl_s: for how long an event is good: the one of exactly `at - ttl_s` still is. None for ever.
        features: columns whose newest value is a feature; empty for all but keys, time and created.
        windows: aggregates that are features too.
    """

    view: Text
    entity: Text
    keys: dict[str, KeyType]
    source: Text
    time: Text
    sql: str = ""
    created: str = ""
    ttl_s: int | None = None
    features: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    description: str = ""

    @property
    def uses_newest(self) -> bool:
        """Whether any feature is a newest value; else there are windows only."""
        return bool(self.features) or not self.windows


class Feature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature of a view, under the name that it has in the joined table."""

    view: Text
    feature: Text
    name: Text


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of the kind `feature_service`: the features that one model takes, in order.

    Attributes:
        features: an entry with `feature` `*` stands for all of its view.
    """

    service: Text
    features: Annotated[tuple[Feature, ...], msgspec.Meta(min_length=1, max_length=MAX_COLUMNS)]
    description: str = ""

    @property
    def views(self) -> tuple[str, ...]:
        """The views that it needs, in order of first use."""
        return tuple(dict.fromkeys(feature.view for feature in self.features))


ALL: Final = "*"


def check_view(view: View) -> View:
    """A view as it came in from outside. Raises: FeatureInvalid, InvalidName."""
    name(view.view, "feature view")
    name(view.entity, "entity")
    if not view.keys:
        raise FeatureInvalid(f"feature view {view.view}: entity {view.entity} has no keys", next_step="name them")
    reserved = {*view.keys, view.time, *([view.created] if view.created else [])}
    if len(reserved) < len(view.keys) + 1 + bool(view.created):
        raise FeatureInvalid(f"feature view {view.view}: keys, time and created must be different columns")
    taken = [*view.features, *(window.name for window in view.windows)]
    for feature in taken:
        if feature in reserved or taken.count(feature) > 1:
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
        if names.count(one) > 1:
            raise FeatureInvalid(f"feature service {service.service}: {one} stands there twice", next_step="rename one")
    return service


_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def shown_span(seconds: int) -> str:
    """A span in its largest whole unit: `3h`, `28d`, `90s`."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def parse_span(text: str | int) -> int:
    """Seconds of a span such as `3h`, `28d`, `90s`, `15m`. Raises: FeatureInvalid."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    value, unit = (text[:-1], text[-1:]) if isinstance(text, str) else ("", "")
    size = dict(_UNITS).get(unit)
    if size is None or not value.isascii() or not value.isdigit() or not 0 < int(value) <= 10**6:
        raise FeatureInvalid(f"span {str(text)[:20]!r}: a number and d, h, m or s", next_step="for example 3h")
    return int(value) * size
