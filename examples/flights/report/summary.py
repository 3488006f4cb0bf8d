"""What a reader takes away who reads nothing else: a few sentences, and the main figures once more, large.

Sentences are made of what the story holds. Where a part is missing its sentence is left out rather than guessed; where
what Falaj chose did no better than a simpler way, that is the sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .charts import score_of
from .markup import Markup, el
from .story import Month, Sort, Story, Verdict
from .words import count, counted, listed, milliseconds, month_span, number, share, version

NAMES: dict[Sort, str] = {
    "frozen": "the first model, never replaced",
    "retrained": "retraining every month",
    "chosen": "what Falaj served",
}


def section(story: Story) -> Markup:
    sentences = list(_sentences(story))
    if not story.finished:
        sentences.insert(0, "The play broke off before its end: what follows is what had happened until then.")
    if not sentences:
        sentences = ["Nothing has happened yet."]
    tiles = [_tile(*t) for t in _tiles(story)]
    return el(
        "section",
        el("h2", "In short", id="short"),
        el("ul", [el("li", s) for s in sentences], class_="short"),
        el("dl", tiles, class_="tiles") if tiles else None,
        aria_labelledby="short",
    )


def served(story: Story) -> list[Month]:
    """The months in which requests were answered."""
    return [m for m in story.months if not m.training and (m.asked or m.answered or m.scores)]


def refused(story: Story) -> list[Verdict]:
    return [v for v in story.verdicts if not v.passed]


def mean_brier(months: Sequence[Month], of: Sort) -> float | None:
    """The Brier score over all rows of the months: a mean over rows, so months weigh by theirs.

    Returns: None where a month has none: means over different months would not compare.
    """
    scores = [score_of(m, of) for m in months if m.scores]
    known = [(s.rows, s.brier.value) for s in scores if s and s.brier and s.rows]
    if not known or len(known) < len(scores):
        return None
    return sum(rows * value for rows, value in known) / sum(rows for rows, _ in known)


def _sentences(story: Story) -> Iterator[str]:
    yield from _what_came(story)
    yield from _what_was_chosen(story)
    yield from _how_well(story)
    yield from _alarms(story)
    yield from _ledger(story)


def _what_came(story: Story) -> Iterator[str]:
    flights, at_work = sum(m.flights for m in story.months), served(story)
    if flights:
        yield f"{counted(flights, 'flight')} of {month_span([m.month for m in story.months])} came in month by month."
    if at_work:
        asked, failed = sum(m.asked for m in at_work), story.counts.requests_failed
        requests = f" in {counted(story.counts.requests, 'request')}" if story.counts.requests else ""
        ended = "" if failed is None else f"; {counted(failed, 'request')} failed"
        span = month_span([m.month for m in at_work])
        yield f"The running server was asked about {counted(asked, 'flight')} of {span}{requests}{ended}."
    if cancelled := sum(m.cancelled for m in at_work):
        yield f"{counted(cancelled, 'flight')} among them never arrived (cancelled or diverted) and are in no score."


def _what_was_chosen(story: Story) -> Iterator[str]:
    if story.verdicts:
        no, failed = len(refused(story)), [r for r in story.rollouts if r.state == "failed"]
        taken = len(story.verdicts) - no
        line = f"The gate judged {counted(len(story.verdicts), 'candidate')}: {taken} passed, {no} refused."
        if failed:
            names = listed([version(r.candidate) for r in failed])
            were = "was" if len(failed) == 1 else "were"
            line += f" {names} passed on paper, failed in canary and {were} rolled back without anyone's doing."
        yield line
    for rollback in story.rollbacks:
        took = (
            f": the earlier version answered after {milliseconds(rollback.answered_ms)}" if rollback.answered_ms else ""
        )
        lost = f", {rollback.failed:,} of {counted(rollback.requests, 'request')} failed" if rollback.requests else ""
        back = f"{version(rollback.before)} to {version(rollback.after)}"
        yield f"{rollback.ref} was rolled back from {back}{f' by {rollback.by}' if rollback.by else ''}{took}{lost}."


def _how_well(story: Story) -> Iterator[str]:
    months = [m for m in served(story) if m.scores]
    ours = mean_brier(months, "chosen")
    simpler: tuple[Sort, ...] = ("frozen", "retrained")
    others = [(of, value) for of in simpler if (value := mean_brier(months, of)) is not None]
    if ours is None:
        return
    compared = [f"{_against(ours, value)} {NAMES[of]} ({number(value, 4)})" for of, value in others]
    over = f"Over all scored flights of {month_span([m.month for m in months])}"
    than = f": {' and '.join(compared)}" if compared else ""
    yield f"{over}, the Brier score of what Falaj served was {number(ours, 4)} (lower is better){than}."
    yield from _beyond_chance(months)


def _beyond_chance(months: Sequence[Month]) -> Iterator[str]:
    """In how many months the paired interval of the difference to the frozen model leaves out zero."""
    found = [s.brier_to_frozen for m in months if (s := score_of(m, "chosen")) and s.brier_to_frozen]
    if found:
        better, worse = sum(e.high < 0 for e in found), sum(e.low > 0 for e in found)
        rest = len(found) - better - worse
        yield (
            f"What Falaj served was better than the first model in {better} of {counted(len(found), 'month')} "
            f"and worse in {worse}; in {rest} the difference may be chance (95 % interval of the paired difference)."
        )


def _against(ours: float, other: float) -> str:
    """How ours compares at the four digits that are shown."""
    difference = round(ours, 4) - round(other, 4)
    return "as good as" if difference == 0 else "better than" if difference < 0 else "worse than"


def _alarms(story: Story) -> Iterator[str]:
    if story.reports:
        raised = [r for r in story.reports if r.alarmed]
        false = sum(r.false_alarm is True for r in raised)
        line = f"The monitor made {counted(len(story.reports), 'report')} and raised {counted(len(raised), 'alarm')}"
        yield f"{line}, {false} of them false by the rule fixed before the play." if raised else f"{line}."
    if story.retrainings:
        taken = sum(r.outcome == "taken" for r in story.retrainings)
        said = f"Triggers started {counted(len(story.retrainings), 'retraining')}"
        yield f"{said}: {taken} led to a new version in force, {len(story.retrainings) - taken} did not."


def _ledger(story: Story) -> Iterator[str]:
    if ledger := story.ledger:
        yes = {
            "consistent": ledger.consistent,
            "every state change has its entry": ledger.every_state,
            "a verifier without Falaj's code agrees": ledger.stranger,
        }
        held = [words for words, answer in yes.items() if answer]
        broken = [words for words, answer in yes.items() if answer is False]
        line = f"The ledger holds {counted(ledger.entries, 'entry', 'entries')}"
        line += f": {listed(held)}" if held else ""
        yield line + (f". NOT so: {listed(broken)}." if broken else ".")


def _tiles(story: Story) -> Iterator[tuple[str, str, str]]:
    """Name, figure, and what it is beside."""
    counts = story.counts
    if counts.requests:
        yield "Failed requests", count(counts.requests_failed), f"of {count(counts.requests)}"
    if story.verdicts:
        yield "Refused by the gate", str(len(refused(story))), f"of {counted(len(story.verdicts), 'candidate')}"
    if story.reports:
        raised = [r for r in story.reports if r.alarmed]
        yield "False alarms", str(sum(r.false_alarm is True for r in raised)), f"of {counted(len(raised), 'alarm')}"
    if story.rollbacks and (took := story.rollbacks[-1].answered_ms) is not None:
        yield "Rollback", milliseconds(took), "to the first answer by the earlier version"
    late = [(m.late, m.labelled) for m in served(story) if m.late is not None and m.labelled]
    if late:
        mean = sum(rate * rows for rate, rows in late) / sum(rows for _, rows in late)
        yield "Late flights", share(mean), f"of {count(sum(rows for _, rows in late))} scored"
    if story.ledger:
        yield "Ledger", count(story.ledger.entries), "entries, verified" if story.ledger.consistent else "entries"


def _tile(name: str, figure: str, beside: str) -> Markup:
    return el("div", el("dt", name), el("dd", el("b", figure), " ", el("span", beside)), class_="tile")
