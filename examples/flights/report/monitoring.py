"""From month to month: scores, what was predicted beside what came, drift, alarms and what they led to."""

from __future__ import annotations

from collections.abc import Sequence

from . import charts
from .markup import Markup, el, joined
from .story import Drift, Estimate, Month, Report, Retraining, Score, Story
from .tables import Column, Head, Row, badge, more, table
from .words import (
    NONE,
    bound,
    count,
    counted,
    estimate,
    month,
    number,
    seconds,
    sentence,
    share,
    short_month,
    span,
    version,
)

# Lower borders of the tones of the heat map; from 0.1 and from 0.25 on is the field's usual "some" and "much".
TONES = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


_NOTES: dict[charts.Metric, str] = {
    "brier": "Lower is better. It falls with the share of late flights: compare within a month, not between months.",
    "brier_to_frozen": "Below the line is better than the frozen model; a bar that crosses the line may be chance.",
    "auc": "Higher is better; 0.5 is chance. It asks only whether late flights were ranked before the others.",
}


def scores(story: Story) -> Markup | None:
    """The score of every way of choosing, by month."""
    months = [m for m in story.months if m.scores]
    if not months:
        return None
    figures = [_score_figure(months, metric) for metric in _NOTES if _has(months, metric)]
    if any(m.late is not None and not m.training for m in months):
        note = "Columns: the share of flights that were late. Marks: the mean of what was predicted."
        figures.append(_figure("Predicted and late", note, charts.both(lambda f: charts.late_chart(months, f))))
    return joined(
        el("p", "Bars through the marks are 95 % intervals. Where they overlap, a difference may be chance."),
        charts.legend(),
        figures,
        more("All figures as a table", _score_table(story.months)),
    )


def _has(months: Sequence[Month], metric: charts.Metric) -> bool:
    return any(getattr(s, metric) for m in months for s in m.scores)


def _score_figure(months: Sequence[Month], metric: charts.Metric) -> Markup:
    drawn = charts.both(lambda frame: charts.score_chart(months, metric, frame))
    return _figure(f"{charts.METRICS[metric]} by month", _NOTES[metric], drawn)


def _figure(title: str, note: str, drawn: Markup) -> Markup:
    return el("figure", el("figcaption", el("h3", title), el("p", note)), drawn)


def _score_table(months: Sequence[Month]) -> Markup:
    columns: Head = ["Month", Column("Flights", "figure"), Column("Scored", "figure")]
    columns += [Column("No outcome", "figure"), Column("Late", "figure"), "Chosen by", "Version"]
    columns += [Column(n, "figure") for n in ("AUC (95 %)", "Brier (95 %)", "To frozen (95 %)", "Mean predicted")]
    rows: list[tuple[object, ...]] = []
    for at in months:
        whole = (month(at.month), count(at.flights), count(at.labelled), count(at.cancelled), share(at.late))
        known = [(line.name, found) for line in charts.LINES if (found := charts.score_of(at, line.of))]
        rows += [(*whole, name, *_score_cells(found)) for name, found in known]
        if not known:
            rows.append((*whole, "learned from" if at.training else None, *[None] * 5))
    return table("Scores by month", columns, rows)


def _score_cells(found: Score) -> tuple[str, ...]:
    versions = " ".join(version(v) for v in found.versions)
    return versions, estimate(found.auc), estimate(found.brier, 4), _signed(found.brier_to_frozen), share(found.mean)


def _signed(value: Estimate | None) -> str:
    """`+0.0063 (+0.0032 to +0.0094)`."""
    if value is None:
        return NONE
    return f"{number(value.value, 4, signed=True)} ({span(value.low, value.high, 4, signed=True)})"


def drift(story: Story) -> Markup | None:
    """PSI of every column in every month, the columns that drifted most on top."""
    if not story.drift:
        return None
    months = sorted({d.month for d in story.drift})
    cells = {(d.column, d.month): d for d in story.drift}
    strongest: dict[str, float] = {}
    for cell in story.drift:
        strongest[cell.column] = max(strongest.get(cell.column, -1.0), cell.psi if cell.psi is not None else -1.0)
    columns = sorted(strongest, key=lambda c: (-strongest[c], c))
    rows = [[column, *(_cell(cells.get((column, m))) for m in months)] for column in columns]
    head: Head = [Column("Column"), *(Column(short_month(m), "figure") for m in months)]
    drifted = sum(d.drifted for d in story.drift)
    return joined(
        el("p", _drift_rule(story)),
        el("p", f"{drifted} of {counted(len(story.drift), 'cell')} drifted; they are framed and marked ●. "),
        _heat_key(),
        table("Population stability index by column and month", head, rows, look="heat"),
    )


def _drift_rule(story: Story) -> str:
    rule = "The population stability index (PSI, corrected for its bias) says how far a month lies from the reference."
    if story.drift_effect is not None and story.drift_level is not None:
        rule += (
            f" A column drifted where that is both significant (Benjamini-Hochberg, level {bound(story.drift_level)})"
            f" and large (PSI of {bound(story.drift_effect)} or more)."
        )
    if story.min_rows:
        rule += f" Below {count(story.min_rows)} rows the monitor says that there is not enough data."
    return rule


def _cell(at: Drift | None) -> Markup:
    if at is None or at.psi is None:
        said = "not measured" if at is None else f"not enough data ({counted(at.rows, 'row')})"
        return el("span", "\N{EN DASH}", class_="tone none", title=said)
    tone = sum(at.psi >= border for border in TONES)
    state = (
        "drifted"
        if at.drifted
        else "significant, small"
        if at.significant
        else "large, not significant"
        if at.large
        else "no drift"
    )
    told = f"{at.column}, {month(at.month)}: PSI {number(at.psi)}, {state}" + (
        f", {counted(at.rows, 'row')}" if at.rows else ""
    )
    mark = el("span", "●", el("span", " drifted", class_="unseen"), class_="dot") if at.drifted else None
    return el("span", number(at.psi, 2), mark, class_=f"tone tone{tone}{' drifted' if at.drifted else ''}", title=told)


def _heat_key() -> Markup:
    borders = (0.0, *TONES)
    names = [f"from {bound(b)}" if b else f"below {bound(TONES[0])}" for b in borders]
    entries = [el("li", el("span", "", class_=f"swatch tone{i}"), el("span", n)) for i, n in enumerate(names)]
    return el("ul", entries, class_="legend")


def alarms(story: Story) -> Markup | None:
    """Every report of the monitor, and for every alarm whether it was a false one."""
    if not story.reports and not story.retrainings:
        return None
    raised = [r for r in story.reports if r.alarmed]
    false, open_ = sum(r.false_alarm is True for r in raised), sum(r.false_alarm is None for r in raised)
    said = [f"{counted(len(story.reports), 'report')}, {counted(len(raised), 'alarm')}, {false} of them false."]
    if open_:
        said.append(f"Of {open_} it cannot be told.")
    if story.false_alarm_rule:
        said.append(f"The rule, fixed before the play: {story.false_alarm_rule.rstrip('.')}.")
    if any(r.worse_by for r in story.reports):
        said.append("A change of the score above zero is worse than the reference.")
    return joined(
        el("p", " ".join(said)),
        _report_table(story) if story.reports else None,
        _retraining_table(story) if story.retrainings else None,
    )


def _report_table(story: Story) -> Markup:
    head: Head = ["Month", Column("Rows", "figure"), Column("Drift", "wide"), Column("Score", "wide"), "Alarm was"]
    head.append(Column("Why, and what it led to", "wide long"))
    return table("Reports of the monitor", head, [_report_row(r) for r in story.reports])


def _report_row(report: Report) -> Row:
    drifted = el("div", ", ".join(report.columns), class_="small") if report.columns else None
    worse = el("div", f"change {_signed(report.worse_by)}", class_="small") if report.worse_by else None
    led = el("div", "Led to: ", report.led_to, class_="small") if report.led_to else None
    answers = joined(_answer(report.drift), drifted), joined(_answer(report.score), worse)
    why = joined(sentence(report.why), led)
    return Row((month(report.month), count(report.rows or None), *answers, _falseness(report), why))


def _answer(answer: str) -> Markup:
    words, look = {"ok": ("ok", "good"), "alarm": ("alarm", "warn")}.get(answer, ("not enough data", "muted"))
    return badge(words, look)


def _falseness(report: Report) -> Markup | None:
    if not report.alarmed:
        return None
    if report.false_alarm is None:
        return badge("cannot be told", "muted")
    return badge("false", "muted") if report.false_alarm else badge("real", "warn")


def _retraining_table(story: Story) -> Markup:
    head: Head = ["Month", "Started by", "Run", Column("Steps", "figure"), "Model", "Outcome", Column("Why", "wide")]
    return table("Retrainings that triggers started", head, [_retraining_row(r) for r in story.retrainings])


_OUTCOMES = {
    "taken": ("in force", "good"),
    "rolled_back": ("rolled back", "back"),
    "underway": ("under way", "muted"),
    "unchanged": ("unchanged", "muted"),
}


def _retraining_row(run: Retraining) -> Row:
    cause = el("div", f"{run.cause_what} (entry {count(run.cause)})".strip(), class_="small")
    steps = el("div", f"{run.cached:,} from before", class_="small") if run.cached else None
    took = el("div", seconds(run.seconds), class_="small") if run.seconds is not None else None
    words, look = _OUTCOMES.get(run.outcome, (run.outcome, "bad"))
    model = version(run.model) if run.model is not None else None
    ran = joined(el("code", run.run[:12]), took)
    started = (month(run.month), joined(run.trigger, cause), ran, joined(count(run.steps), steps))
    return Row((*started, model, badge(words, look), sentence(run.why)))
