"""What follows from the figures. Pure: no clock, no database, no numpy.

An alarm needs two things at once: that it is no chance, and that it is large enough to matter. Drift: significant after
Benjamini and Hochberg, and an effect over the threshold, in as many columns as are asked for. Score: the whole 95 %
interval of the live score lies beyond what is tolerated. A sample of fewer than 200 rows says nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from falaj.access.conditions import CLASSES
from falaj.core.encoding import parse_moment
from falaj.core.errors import Invalid
from falaj.core.names import name
from falaj.data.records import DatasetColumn
from falaj.deploy.records import HIGHER_IS_BETTER, Deployment, Drift, Labels, ScoreWatch
from falaj.monitor.records import MIN_ROWS, Answer, ColumnDrift, Interval, LiveScore, Report, Verdict

SHOWN: Final = 3
FIRST_PAUSE_S: Final = 10
LONGEST_PAUSE_S: Final = 3600
INPUT: Final = "input_"
"""What stands before an input's name in the collected log: so none can hide a column of the log's own."""


def predictions_of(deployment: str) -> str:
    """The dataset that a deployment's predictions are collected into."""
    return name(f"{deployment}_predictions")


def outcomes_of(deployment: str) -> str:
    """The dataset of those predictions whose outcome is known."""
    return name(f"{deployment}_labelled")


def waiting_of(deployment: str) -> str:
    """The dataset of those predictions that have no outcome yet."""
    return name(f"{deployment}_waiting")


def labels_of(deployment: Deployment) -> Labels:
    """Where outcomes come from. Raises: Invalid where the deployment does not say."""
    if deployment.labels is None:
        raise Invalid(
            f"deployment {deployment.name} does not say where outcomes come from",
            next_step="labels: {data: flights@main, key: [day, flight]} in its file, then falaj apply",
        )
    return deployment.labels


def due_at(every_s: int | None, served_since: str | None, reported_at: str | None) -> datetime | None:
    """When the next report is due by itself: so long after the last one, whoever made it, or after the first answers.

    Args:
        every_s: as the deployment in force says; None where only a person asks for reports.
        served_since: when the deployment first routed to a version; None where it never did.
        reported_at: when the last report was made, None where there is none.
    """
    since = reported_at or served_since
    if every_s is None or since is None or served_since is None:
        return None
    return parse_moment(since) + timedelta(seconds=every_s)


def pause(failures: int) -> timedelta:
    """How long what failed so often in a row is left alone: ten seconds, twice as long each time, an hour at most."""
    return timedelta(seconds=min(FIRST_PAUSE_S * 2 ** min(failures - 1, 20), LONGEST_PAUSE_S))


def window_begins(last: Report | None) -> int | None:
    """The version of the predictions after which the next window begins; None for the first of all.

    What was not enough to judge is judged with what comes.
    """
    if last is None:
        return None
    return last.since_predictions if last.rows < MIN_ROWS else last.predictions


def outcomes_begin(last: Report | None) -> int | None:
    """The same for the outcomes."""
    if last is None:
        return None
    return last.since_outcomes if last.scored is None or last.scored.rows < MIN_ROWS else last.outcomes


def classified(columns: Sequence[DatasetColumn], classes: Mapping[str, str]) -> tuple[DatasetColumn, ...]:
    """Columns of the log with the class that each input has where it comes from, or a higher one that they had.

    Args:
        classes: by the input's name; that of the key by "".
    """
    found = []
    for column in columns:
        name = "" if column.name == "key" else column.name.removeprefix(INPUT)
        declared = classes.get(name) if name != column.name else None
        has = higher(column.classification, declared)
        found.append(msgspec.structs.replace(column, classification=has))
    return tuple(found)


def merged_columns(old: Sequence[DatasetColumn], new: Sequence[DatasetColumn]) -> tuple[DatasetColumn, ...]:
    """The columns of a table to which files were added: those of both, with a type that holds the values of both.

    A class that was declared later holds for what was collected before, too; one that was lowered does not.
    """
    merged = {column.name: column for column in old}
    for column in new:
        there = merged.setdefault(column.name, column)
        merged[column.name] = msgspec.structs.replace(
            there,
            type=_wider(there.type, column.type),
            classification=higher(there.classification, column.classification),
        )
    return tuple(merged.values())


def _wider(one: str, other: str) -> str:
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else "string"


def higher(one: str | None, other: str | None) -> str | None:
    """The stricter of two classes. None is no class; one that is not known is higher than all that are."""
    return max(one, other, key=_rank)


def _rank(word: str | None) -> int:
    if word is None:
        return -1
    return CLASSES.index(word) if word in CLASSES else len(CLASSES)


def judged_columns(columns: Sequence[ColumnDrift], adjusted: Sequence[float], asked: Drift) -> tuple[ColumnDrift, ...]:
    """The columns with their answers, largest effect first; what was not compared stands last.

    Args:
        adjusted: one p for each column that was compared, in their order.
    """
    given = iter(adjusted)
    out = []
    for column in columns:
        if column.p is None or column.psi is None:
            out.append(column)
            continue
        p = next(given)
        judged = msgspec.structs.replace(
            column, adjusted=p, significant=p <= asked.level, large=column.psi >= asked.effect
        )
        out.append(judged)
    return tuple(sorted(out, key=lambda c: (c.psi is None, not c.drifted, -(c.psi or 0.0), c.column)))


def drift_answer(columns: Sequence[ColumnDrift], rows: int, asked: Drift | None) -> tuple[Answer, str]:
    """Whether the inputs drifted, and why.

    Args:
        rows: answers of the judged version in the window.
    """
    if asked is None:
        return "not_asked", "drift is not watched"
    if rows < MIN_ROWS:
        return "not_enough_data", f"{rows:,} answers; {MIN_ROWS} are needed"
    compared = [column for column in columns if column.psi is not None]
    if not compared:
        return "not_enough_data", columns[0].note if columns else "no column to compare"
    drifted = [column for column in compared if column.drifted]
    needed = max(1, asked.columns)
    told = ", ".join(f"{c.column} {c.psi:.3g}" for c in drifted[:SHOWN])
    more = f" and {len(drifted) - SHOWN} more" if len(drifted) > SHOWN else ""
    what = f"{len(drifted)} of {len(compared)} columns drifted" + (f": {told}{more}" if told else "")
    return ("alarm" if len(drifted) >= needed else "ok"), what


def against_reference(live: Interval, metric: str, reference: float) -> Interval:
    """How much worse the live score is than the reference, positive is worse, with the live score's interval."""
    if metric in HIGHER_IS_BETTER:
        return Interval(value=reference - live.value, low=reference - live.high, high=reference - live.low)
    return Interval(value=live.value - reference, low=live.low - reference, high=live.high - reference)


def score_answer(scored: LiveScore | None, asked: ScoreWatch | None) -> tuple[Answer, str]:
    """Whether the score fell, and why."""
    if asked is None:
        return "not_asked", "the score is not watched"
    if scored is None or scored.rows < MIN_ROWS:
        return "not_enough_data", f"{scored.rows if scored else 0:,} outcomes; {MIN_ROWS} are needed"
    if scored.live is None:
        return "not_enough_data", f"{asked.metric} is undefined on these outcomes"
    if scored.worse_by is None:
        return "not_enough_data", f"{asked.metric} {scored.live.value:.4g}; there is nothing yet to compare it with"
    worse = scored.worse_by
    told = (
        f"{asked.metric} {scored.live.value:.4g}, {worse.value:+.4g} against {scored.reference:.4g} of "
        f"{scored.reference_of}, 95 % interval {worse.low:+.4g} … {worse.high:+.4g}, "
        f"{asked.no_worse_than:+.4g} tolerated"
    )
    return ("alarm" if worse.low > asked.no_worse_than else "ok"), told


def verdict_of(drift: Answer, score: Answer) -> Verdict:
    """Both answers in one word."""
    if drift == "alarm" and score == "alarm":
        return "drift_and_score_fell"
    if drift == "alarm":
        return "drift"
    if score == "alarm":
        return "score_fell"
    return "ok" if "ok" in {drift, score} else "not_enough_data"
