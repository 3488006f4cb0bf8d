"""Payloads of the kinds `feature_view` and `feature_service`.

A view says what is known of an entity, from one dataset, over time. A service is the list of features that one model
takes, in order. Times are compared as UTC; spans are seconds.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

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


UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def shown_span(seconds: int) -> str:
    """A span in its largest whole unit: `3h`, `28d`, `90s`."""
    unit, size = next((unit, size) for unit, size in UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"
