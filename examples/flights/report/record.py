"""The record: who acted, what was refused, what was killed, what happened when, and what it took."""

from __future__ import annotations

from . import lineage as graph
from . import svg
from .markup import Markup, el, joined
from .story import Event, Kill, Lineage, Move, Refusal, Story
from .tables import Column, Head, Row, badge, facts, more, table
from .words import count, counted, day, elapsed, month, number, seconds, sentence, share, version

_OUTCOMES = {
    "done": ("done", "good"),
    "refused": ("refused", "bad"),
    "alarm": ("alarm", "warn"),
    "rolled_back": ("rolled back", "back"),
    "failed": ("failed", "bad"),
}


def lineage(story: Story) -> Markup | None:
    at = story.lineage
    if at is None:
        return None
    answered = f"{share(at.output)} likely to be late" if at.output is not None else ""
    about = facts(
        (("Asked", at.asked), ("Answered", answered), ("What came", at.came), ("Id", el("code", at.prediction)))
    )
    drawn = graph.picture(at)
    region = el("div", drawn, class_="scroll drawn", role="region", aria_label="Lineage picture", tabindex="0")
    told = el("pre", "\n".join(at.told), tabindex="0") if at.told else None
    return joined(
        about,
        el("figure", el("figcaption", el("p", "Arrows point from each thing to what it comes from.")), region)
        if at.nodes or at.edges
        else None,
        more("As the command told it", told) if told else None,
        more("The picture as a table", _edges(at)) if at.edges else None,
    )


def _edges(at: Lineage) -> Markup:
    labels = {n.id: f"{n.label} ({n.sort.replace('_', ' ')})" for n in at.nodes}
    rows = [(labels.get(e.source, e.source), e.label or "comes from", labels.get(e.target, e.target)) for e in at.edges]
    return table("What comes from what", ["Thing", "How", "Origin"], rows)


def moves(story: Story) -> Markup | None:
    """Every ref that moved."""
    if not story.moves:
        return None
    head: Head = [Column("Time", "figure"), "Month", "Ref", "Move", "How", "By", "Approved by", Column("Why", "wide")]
    rows = [_move(story, m) for m in story.moves]
    return more("Every move of a ref as a table", table("Moves of refs", [*head, Column("Entry", "figure")], rows))


def _move(story: Story, at: Move) -> Row:
    how = at.sort.replace("_", " ")
    moved = f"{version(at.before)} → {version(at.after)}"
    cells = (_time(story, at.at), month(at.month), at.ref, moved, how, at.by, at.approved_by, at.why, _entry(at.entry))
    return Row(cells)


def refusals(story: Story) -> Markup | None:
    if not story.refusals:
        return None
    head: Head = [
        "Time",
        "Month",
        "Who",
        Column("What was asked", "wide"),
        Column("Why it was refused", "wide"),
        "Entry",
    ]
    said = f"{counted(len(story.refusals), 'request')} refused, with reason and figures. Refs stand where they stood."
    return joined(
        el("p", said), table("Requests that were refused", head, [_refusal(story, r) for r in story.refusals])
    )


def _refusal(story: Story, at: Refusal) -> Row:
    details = el("ul", [el("li", d) for d in at.details], class_="small") if at.details else None
    code = el("div", el("code", at.code)) if at.code else None
    why = joined(sentence(at.why), details, code)
    return Row((_time(story, at.at), month(at.month), at.who, el("code", at.what), why, _entry(at.entry)))


def kills(story: Story) -> Markup | None:
    if not story.kills:
        return None
    head: Head = ["Time", "Month", "Process", "Signal", Column("What was found after its start", "wide")]
    rows = [_kill(story, k) for k in story.kills]
    lost = story.counts.lost
    said = f"{counted(len(story.kills), 'process', 'processes')} killed, without a warning."
    return joined(
        el("p", said, f" Acknowledged predictions or entries lost: {count(lost)}." if lost is not None else ""),
        table("Processes that were killed", head, rows),
    )


def _kill(story: Story, at: Kill) -> Row:
    return Row((_time(story, at.at), month(at.month), at.process, el("code", at.signal), at.found))


def events(story: Story) -> Markup | None:
    if not story.events:
        return None
    choices = (("all", "All"), ("major", "The main ones"), ("refused", "Refused, alarms, rolled back"))
    chooser = el(
        "fieldset",
        el("legend", "Show"),
        [_choice(value, words, checked=value == "all") for value, words in choices],
        class_="choose",
    )
    head: Head = [
        "Time",
        "Month",
        "Who",
        Column("What", "wide"),
        "Outcome",
        Column("Took", "figure"),
        Column("Entry", "figure"),
    ]
    begin = f" Times are minutes and seconds since {day(story.played_at)}." if story.played_at else ""
    return el(
        "div",
        el("p", f"{counted(len(story.events), 'event')} in their order.{begin}"),
        chooser,
        table("What happened", head, [_event(story, e) for e in story.events]),
        class_="events",
    )


def _choice(value: str, words: str, *, checked: bool) -> Markup:
    return el("label", el("input", type="radio", name="events", value=value, checked=checked), f" {words}")


def _event(story: Story, at: Event) -> Row:
    look = " ".join(w for w in ("major" if at.major else "", "telling" if at.outcome != "done" else "") if w)
    command = el("div", el("code", at.command), class_="small") if at.command else None
    cells = (_time(story, at.at), month(at.month), at.who, joined(at.what, command), badge(*_OUTCOMES[at.outcome]))
    return Row((*cells, seconds(at.seconds) if at.seconds is not None else None, _entry(at.entry)), look=look)


def _entry(number: int | None) -> str | None:
    return None if number is None else count(number)


def _time(story: Story, at: str) -> Markup:
    return el("time", elapsed(at, story.played_at), datetime=at or None, title=at or None)


def persons(story: Story) -> Markup | None:
    if not story.persons:
        return None
    rows = [(p.name, p.role, p.may, count(p.did)) for p in story.persons]
    head: Head = ["Name", Column("Does", "wide"), Column("May", "wide"), Column("Entries", "figure")]
    return table("Persons and services", head, rows)


def ledger(story: Story) -> Markup | None:
    at = story.ledger
    if at is None:
        return None
    checked = (
        ("Consistent", at.consistent),
        ("Every state has its entry", at.every_state),
        ("Verified without Falaj's code", at.stranger),
    )
    answers = [(name, badge("yes", "good") if yes else badge("no", "bad")) for name, yes in checked if yes is not None]
    return joined(
        facts(
            (
                ("Entries", count(at.entries)),
                ("Signed checkpoints", count(at.checkpoints)),
                *answers,
                ("Root", el("code", at.root) if at.root else ""),
            )
        ),
        el("pre", at.told, tabindex="0") if at.told else None,
    )


def costs(story: Story) -> Markup | None:
    """Time by stage, memory by process, and the machine."""
    machine = story.machine
    about = facts(
        (
            ("Processors", count(machine.processors) if machine.processors else ""),
            ("Memory", f"{number(machine.memory_gib, 1)} GiB" if machine.memory_gib else ""),
            ("System", machine.system),
            *machine.versions.items(),
        )
    )
    stages = [(month(s.name), s.seconds, seconds(s.seconds)) for s in story.stages]
    memory = [
        (p.name, p.peak_mib, f"{p.peak_mib:,.0f} MiB") for p in sorted(story.processes, key=lambda p: -p.peak_mib)
    ]
    if not (stages or memory or machine.processors or machine.system or machine.versions):
        return None
    return joined(
        _bars("Time by stage", "Stage", "Time", stages) if stages else None,
        _bars("Most memory held, by process", "Process", "Memory", memory) if memory else None,
        el("h3", "Machine") if machine.processors or machine.system or machine.versions else None,
        about,
    )


def _bars(caption: str, name: str, value: str, things: list[tuple[str, float, str]]) -> Markup:
    most = max(size for _, size, _ in things) or 1.0
    rows = []
    for called, size, words in things:
        length = svg.rect(0, 3, max(1.0, 200 * size / most), 10, "bar", rx=2)
        rows.append((called, words, svg.picture(200, 16, length, wide=False)))
    return table(caption, [Column(name), Column(value, "figure"), Column("Compared", "drawn")], rows)


def counts(story: Story) -> Markup | None:
    """Figures of the whole play, in the order of a prediction's life."""
    at = story.counts
    named = (
        ("Requests", at.requests),
        ("Failed requests", at.requests_failed),
        ("Malformed requests that got their 4xx", at.refused_requests),
        ("Predictions in the log", at.predictions),
        ("Joined with an outcome", at.joined),
        ("Without outcome (cancelled)", at.without),
        ("Outcome not yet known", at.waiting),
        ("Steps computed", at.steps),
        ("Steps taken from before", at.cached),
        ("Acknowledged and lost", at.lost),
    )
    shown = [(name, count(value)) for name, value in named if value is not None]
    return facts(shown) if shown else None


def about(story: Story) -> Markup | None:
    """What was asked, what was fixed before, and what a reader must know of the figures."""
    at = story.about
    parts = (
        ("What counts as known", at.known),
        ("Fixed before this play", at.fixed),
        ("Limits", at.limits),
    )
    if not (at.label or at.source or any(sentences for _, sentences in parts)):
        return None
    return joined(
        el("p", at.question) if at.question else None,
        el("p", "Late is ", el("code", at.label), ".") if at.label else None,
        [(el("h3", title), el("ul", [el("li", s) for s in sentences])) for title, sentences in parts if sentences],
        el("p", at.source, class_="small") if at.source else None,
    )
