"""What the features of a service are called, by definitions and contracts alone, and which of them may be late.

No data is read. A view whose source has columns that are known only after the decision (`knownAfter` in its contract)
must say from when an event was known (`created`): then the join sees to it. Without that, features of such columns are
doubtful, and so is all that the view's own SQL makes, since SQL can reach a column without naming it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from falaj.data import tables
from falaj.data.records import Contract
from falaj.features import join
from falaj.features.errors import FeatureInvalid
from falaj.features.records import ALL, Feature, Service, View
from falaj.features.rules import folded


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """The features of a service.

    Attributes:
        names: of those that are known when they are asked for, each with its view.
        doubtful: of the others, each with the reason.
        troubles: of views whose features have no names that can be told, the reasons.
    """

    names: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    troubles: tuple[str, ...] = ()


def naming(
    service: Service, views: Mapping[str, View], contracts: Mapping[str, Contract | None], *, scratch: Path
) -> Naming:
    """The features of a service by name.

    Args:
        views: by name, the views that it takes from; one may be missing.
        contracts: by view, the contract of its source.
        scratch: an existing folder, where DuckDB may spill.
    Raises: MissingPart without DuckDB, where SQL must be asked for its columns.
    """
    names: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    troubles = []
    for name in service.views:
        view, contract = views.get(name), contracts.get(name)
        wanted = [one for one in service.features if one.view == name]
        if view is None or contract is None:
            what = "is not there" if view is None else f"takes from {view.source}, which has no contract"
            troubles.append(f"feature view {name} {what}")
            continue
        try:
            every = _features(view, contract, [c.name for c in contract.columns], scratch)
            sure = _sure(view, contract, every)
        except FeatureInvalid as error:
            troubles.append(error.message)
            continue
        for one in wanted:
            for feature in every:
                if one.feature != ALL and folded(one.feature) != folded(feature):
                    continue
                called = feature if one.feature == ALL else one.name
                if feature in sure:
                    names[called] = name
                else:
                    doubtful[called] = _late(view, contract)
    return Naming(names=names, doubtful=doubtful, troubles=tuple(troubles))


def _sure(view: View, contract: Contract, every: tuple[str, ...]) -> frozenset[str]:
    """The features of a view that are known when they are asked for."""
    if view.created or not contract.known_after:
        return frozenset(every)
    if view.sql:
        return frozenset()
    late = {folded(column) for column in contract.known_after}
    taken = {window.name: window.column for window in view.windows}
    return frozenset(one for one in every if folded(taken.get(one, one)) not in late)


def _late(view: View, contract: Contract) -> str:
    columns = ", ".join(f"{column} after {event}" for column, event in contract.known_after.items())
    return f"feature view {view.view} takes from {view.source}, where {columns} is known, and names no `created`"


def _features(view: View, contract: Contract, columns: list[str], scratch: Path) -> tuple[str, ...]:
    """All features of a view. Raises: FeatureInvalid; MissingPart without DuckDB, where its SQL must be asked."""
    if not view.sql:
        return join.features_of(view, columns)
    if view.features or not view.uses_newest:
        return (*view.features, *(window.name for window in view.windows))
    probe = scratch / "empty.csv"
    probe.touch()
    everything = Service(service=view.view, features=(Feature(view=view.view, feature=ALL, name=ALL),))
    with tables.connect([probe], scratch=scratch) as con:
        import duckdb

        try:
            source = tables.empty_table(con, contract).relation
            return tuple(one.feature for one in join.resolved(con, everything, {view.view: view}, {view.view: source}))
        except duckdb.Error as error:
            told = str(error).splitlines()[0][:200]
            raise FeatureInvalid(f"feature view {view.view}: {told}", next_step="correct its SQL") from error
