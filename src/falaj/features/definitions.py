"""How a person defines features, in the project's `features.py`.

    airport = fj.Entity("airport", keys={"origin": str})
    delays = fj.FeatureView(
        "airport_delays", entity=airport, source=fj.Dataset("departures"), time="departed_at", created="reported_at",
        windows=[fj.mean("dep_delay", over="3h"), fj.count(over="3h")],
    )
    delay_v1 = fj.FeatureService("delay_v1", [weather, delays["dep_delay_mean_3h"]])

These are values: nothing is looked up or written when they are made. `record` gives the payload that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from falaj.core.names import Thing
from falaj.features.errors import FeatureInvalid
from falaj.features.records import ALL, Feature, KeyType, Service, View, Window
from falaj.features.rules import check_service, check_view, parse_span

_KEY_TYPES: Final[Mapping[object, KeyType]] = {str: "text", int: "integer", "text": "text", "integer": "integer"}


class Entity:
    """What features are about, and the columns that name one of it.

    Args:
        keys: column → `str` or `int`.
    Raises: FeatureInvalid for no keys or another type.
    """

    def __init__(self, name: str, keys: Mapping[str, type | str]) -> None:
        wrong = [key for key, kind in keys.items() if kind not in _KEY_TYPES]
        if wrong or not keys:
            told = f"key {wrong[0]} is neither str nor int" if wrong else "no keys"
            raise FeatureInvalid(f"entity {name}: {told}", next_step='for example keys={"origin": str}')
        self.name = name
        self.keys: dict[str, KeyType] = {key: _KEY_TYPES[kind] for key, kind in keys.items()}

    def __repr__(self) -> str:
        return f"Entity({self.name!r}, keys={self.keys!r})"


class Dataset:
    """A dataset as the source of features, `weather` or `weather@main`. Raises: InvalidName, FeatureInvalid."""

    def __init__(self, thing: str) -> None:
        parsed = Thing.parse(thing, kind="dataset")
        if parsed.kind != "dataset":
            raise FeatureInvalid(f"{thing}: a dataset is expected", next_step="for example weather@main")
        self.thing = str(parsed).removeprefix("dataset/")

    def __repr__(self) -> str:
        return f"Dataset({self.thing!r})"


class FeatureRef:
    """One feature of a view, perhaps under another name."""

    def __init__(self, view: str, feature: str, name: str = "") -> None:
        self.view, self.feature, self.name = view, feature, name or feature

    def named(self, name: str) -> FeatureRef:
        """The same feature under another name."""
        return FeatureRef(self.view, self.feature, name)

    def __repr__(self) -> str:
        return f"{self.view}[{self.feature!r}]"


class FeatureView:
    """What is known of an entity over time, from one dataset. The fields are those of `records.View`.

    Args:
        source: the dataset, or its name.
        sql: one SELECT over the table `source`; none for the dataset as it is.
        time: column of the moment that a row is about.
        created: column of the moment from which it was known, so that late reports cannot leak into the past.
        ttl: how long a row is good for, `3h`; none for ever.
        features: columns whose newest value is a feature; none for all of them, unless there are windows.
        windows: made by `mean`, `sum_of` and `count`.
    Raises: FeatureInvalid, InvalidName.
    """

    def __init__(
        self,
        name: str,
        *,
        entity: Entity,
        source: Dataset | str,
        time: str,
        sql: str = "",
        created: str = "",
        ttl: str | int | None = None,
        features: Sequence[str] = (),
        windows: Sequence[Window] = (),
        description: str = "",
    ) -> None:
        self.record = check_view(
            View(
                view=name,
                entity=entity.name,
                keys=entity.keys,
                source=(Dataset(source) if isinstance(source, str) else source).thing,
                time=time,
                sql=sql,
                created=created,
                ttl_s=None if ttl is None else parse_span(ttl),
                features=tuple(features),
                windows=tuple(windows),
                description=description,
            )
        )
        self.name = name

    def __getitem__(self, feature: str) -> FeatureRef:
        return FeatureRef(self.name, feature)

    def __repr__(self) -> str:
        return f"FeatureView({self.name!r})"


class FeatureService:
    """The features that one model takes, in order.

    Args:
        features: views (all of their features) and single ones, `view["feature"]`.
    Raises: FeatureInvalid, InvalidName.
    """

    def __init__(self, name: str, features: Sequence[FeatureView | FeatureRef], *, description: str = "") -> None:
        chosen = tuple(
            Feature(view=one.name, feature=ALL, name=ALL)
            if isinstance(one, FeatureView)
            else Feature(view=one.view, feature=one.feature, name=one.name)
            for one in features
        )
        if not chosen:
            raise FeatureInvalid(f"feature service {name}: no features", next_step="name views or features of views")
        self.record = check_service(Service(service=name, features=chosen, description=description))
        self.name = name

    def __repr__(self) -> str:
        return f"FeatureService({self.name!r})"


def mean(column: str, *, over: str | int) -> Window:
    """The mean of a column over the span before the moment: `dep_delay_mean_3h`."""
    return Window(function="mean", column=column, over_s=parse_span(over))


def sum_of(column: str, *, over: str | int) -> Window:
    """The sum of a column over the span before the moment: `seats_sum_1h`."""
    return Window(function="sum", column=column, over_s=parse_span(over))


def count(*, over: str | int) -> Window:
    """How many events there were in the span before the moment: `count_3h`."""
    return Window(function="count", over_s=parse_span(over))
