"""The comparison at the end, on the same flights: the first model frozen, one always retrained, what Falaj chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from examples.flights.report import story as s
from examples.flights.year import scores
from examples.flights.year.files import HERE  # noqa: F401  the project's own files are found from there

if TYPE_CHECKING:
    from examples.flights.year.play import Play

FROZEN = 1


def models(platform: Any, versions: Iterable[int], scratch: Path) -> dict[int, Any]:
    """The models by version, from the files that are stored."""
    import skops.io

    from falaj.core.names import Thing

    found = {}
    with platform.ground.database.read() as tx:
        project = platform.ground.catalog.project(tx, "flights").id
        held = {n: platform.ground.catalog.resolve(tx, project, Thing("delay", "model", None, n)) for n in versions}
    for number, one in held.items():
        (path,) = platform.ground.contents.checkout(one.version, scratch / str(number))
        found[number] = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    return found


def chances(play: Play, month: int, known: dict[int, Any]) -> dict[int, dict[str, float]]:
    """By version, the probabilities of a month's questions, by key. Under 0: what was answered, by whatever version."""
    from examples.flights.year.asking import key_of
    from training import COLUMNS, TEXT

    rows = play.asked[month]
    matrix = np.empty((len(rows), len(COLUMNS)), dtype=object)
    for place, name in enumerate(COLUMNS):
        values = [row[name] for row in rows]
        matrix[:, place] = values if name in TEXT else np.array(values, dtype=np.float64)
    keys = [key_of(row) for row in rows]
    wanted = {FROZEN, play.in_force[month], play.retrained.get(month, FROZEN)}
    found = {n: dict(zip(keys, known[n].predict_proba(matrix)[:, 1], strict=True)) for n in wanted}
    found[0] = {key: value for key, (value, _) in play.answered[month].items()}
    return found


def trained_on(play: Play, month: int) -> s.Month:
    """A month before anything was served."""
    return s.Month(month=f"2013-{month:02d}", flights=play.data.rows(month).num_rows, training=True)


def month_of(play: Play, month: int, found: dict[int, dict[str, float]]) -> s.Month:
    """A month that was played."""
    keys = [key for key in play.answered[month] if key in found[FROZEN]]
    late = play.data.late(month, keys)
    known = [i for i, one in enumerate(late) if one is not None]
    truth = np.array([late[i] for i in known], dtype=np.float64)

    def of(version: int) -> scores.Floats:
        return np.array([found[version][keys[i]] for i in known], dtype=np.float64)

    retrained = play.retrained.get(month, FROZEN)
    by = Counter(version for _, version in play.answered[month].values())
    frozen = of(FROZEN)
    told = [scores.score("frozen", frozen, truth, [FROZEN])]
    for sort, values, versions in (
        ("retrained", of(retrained), [retrained]),
        ("chosen", of(0), [version for version, _ in by.most_common()]),
    ):
        difference = scores.brier_difference(values, frozen, truth)
        against = s.Estimate(value=-difference.value, low=-difference.high, high=-difference.low)
        one = scores.score(sort, values, truth, versions)  # type: ignore[arg-type]
        told.append(msgspec.structs.replace(one, brier_to_frozen=against))
    return s.Month(
        month=f"2013-{month:02d}",
        flights=play.data.rows(month).num_rows,
        asked=len(play.asked[month]),
        answered=len(keys),
        labelled=len(known),
        cancelled=len(keys) - len(known),
        late=float(truth.mean()),
        scores=tuple(told),
    )


def with_hindsight(play: Play, report: s.Report, found: dict[int, dict[int, dict[str, float]]]) -> s.Report:
    """A report with whether its alarm was false, by the rule that was fixed before; None where it cannot be told."""
    after = int(report.month[5:]) + 1
    if not report.alarmed or after not in found or after not in play.retrained:
        return report
    ours, theirs = found[after][play.retrained[after]], found[after][play.in_force[after]]
    keys = [key for key in play.answered[after] if key in ours]
    late = play.data.late(after, keys)
    known = [i for i, one in enumerate(late) if one is not None]
    gained = scores.brier_difference(
        np.array([ours[keys[i]] for i in known]),
        np.array([theirs[keys[i]] for i in known]),
        np.array([late[i] for i in known], dtype=np.float64),
    )
    return msgspec.structs.replace(report, false_alarm=not gained.low > 0)


def table(story: s.Story) -> str:
    """Scores by month, for people."""
    lines = [f"  {'':<9}{'late':>6}  {'frozen':<28}{'always retrained':<28}{'served':<28}by"]
    for month in story.months:
        if month.training:
            continue
        cells = "".join(f"{_told(score):<28}" for score in month.scores)
        by = ", ".join(f"v{version}" for version in month.scores[-1].versions)
        lines.append(f"  {month.month:<9}{month.late or 0:>6.1%}  {cells}{by}")
    return "\n".join(lines)


def _told(score: s.Score) -> str:
    if score.brier is None or score.auc is None:
        return "-"
    half = score.brier.high - score.brier.value
    return f"{score.brier.value:.3f} ± {half:.3f}   {score.auc.value:.3f}"


def alarms(story: s.Story) -> str:
    """How many alarms there were, how many of them false, and what became of the retrainings."""
    alarmed = [report for report in story.reports if report.alarmed]
    false = sum(report.false_alarm is True for report in alarmed)
    unknown = sum(report.false_alarm is None for report in alarmed)
    came = Counter(one.outcome for one in story.retrainings)
    told = ", ".join(f"{number} {word.replace('_', ' ')}" for word, number in came.items()) or "none"
    return (
        f"{len(alarmed)} alarms in {len(story.reports)} months: {false} false by the rule fixed before"
        + (f", {unknown} cannot be told" if unknown else "")
        + f"\n{len(story.retrainings)} retrainings began by themselves: {told}"
    )
