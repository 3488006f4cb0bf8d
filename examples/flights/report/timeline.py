"""The year on one picture: months from left to right, and below each other what came in, what was judged, what served.

Within a month things stand in the order in which they happened, at equal distances: a month of the play takes seconds
or minutes, and their number says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import record, svg
from .markup import Markup, el, joined
from .story import Month, Move, Story
from .words import month, short_month, version, whole_share


class Frame(NamedTuple):
    """Where it draws: with the lanes' names at the left, or above each lane on narrow pages."""

    width: float
    left: float
    lane: float
    narrow: bool


WIDE = Frame(960, 124, 46, narrow=False)
NARROW = Frame(360, 4, 52, narrow=True)
HEAD = 26.0
FOOT = 6.0


class Mark(NamedTuple):
    """One thing on a lane.

    Attributes:
        at: moment, by which things of a month are ordered.
        shape, look: form and class; `label` is written beside it where there is room.
    """

    month: str
    at: str
    shape: str
    look: str
    told: str
    label: str = ""


class Lane(NamedTuple):
    name: str
    marks: tuple[Mark, ...]


def lanes(story: Story, ref: str) -> list[Lane]:
    """The lanes of marks, in their order from above; empty ones are left out."""
    found = [
        Lane("Data", tuple(_data(story))),
        Lane("Alarms", tuple(_alarms(story))),
        Lane("Gate", tuple(_gate(story, ref))),
        Lane("Canary", tuple(_canary(story))),
    ]
    return [lane for lane in found if lane.marks]


def served_ref(story: Story) -> str:
    """The ref that the year is about: the one that verdicts were given for, or that moved most among models' refs."""
    refs = [v.ref for v in story.verdicts] or [m.ref for m in story.moves if not m.ref.endswith("@main")]
    return max(dict.fromkeys(refs), key=refs.count, default="")


def picture(story: Story, frame: Frame) -> Markup:
    """The timeline; every mark tells its story to a pointer that rests on it."""
    ref = served_ref(story)
    months = sorted({*(m.month for m in story.months), *(m.month for m in story.moves), *_months_of(lanes(story, ref))})
    rows = lanes(story, ref)
    moves = [m for m in story.moves if m.ref == ref]
    place = _Places(months, [*(mark for lane in rows for mark in lane.marks), *moves], frame)
    height = HEAD + frame.lane * (len(rows) + bool(moves)) + FOOT
    drawn: list[object] = [_months(months, story.months, frame, height)]
    for i, lane in enumerate(rows):
        drawn.append(_lane(lane, HEAD + i * frame.lane, frame, place))
    if moves:
        drawn.append(_served(moves, HEAD + len(rows) * frame.lane, frame, place))
    return svg.picture(frame.width, height, drawn, told=_told(story, ref, rows, moves), class_="timeline")


class _Places:
    """Where on the axis each thing of the year stands."""

    def __init__(self, months: Sequence[str], things: Sequence[Mark | Move], frame: Frame) -> None:
        self.months, self.frame = months, frame
        self.step = (frame.width - frame.left - 4) / max(1, len(months))
        self.order: dict[str, list[str]] = {name: [] for name in months}
        for thing in sorted(things, key=lambda t: t.at):
            if thing.at not in self.order[thing.month]:
                self.order[thing.month].append(thing.at)

    def left(self, name: str) -> float:
        return self.frame.left + self.months.index(name) * self.step

    def __call__(self, name: str, at: str) -> float:
        among = self.order[name]
        return self.left(name) + (among.index(at) + 0.5) / len(among) * self.step


def _months_of(rows: Sequence[Lane]) -> Iterator[str]:
    for lane in rows:
        yield from (mark.month for mark in lane.marks)


def _months(months: Sequence[str], played: Sequence[Month], frame: Frame, height: float) -> Iterator[Markup]:
    step = (frame.width - frame.left - 4) / max(1, len(months))
    training = {m.month for m in played if m.training}
    for i, name in enumerate(months):
        x = frame.left + i * step
        look = "month training" if name in training else "month odd" if i % 2 else "month"
        yield svg.rect(x, 0, step, height, look, svg.tip(month(name)))
        letters = 1 if frame.narrow and len(months) > 9 else 3
        yield svg.text(x + step / 2, 17, short_month(name, letters), "axis", anchor="middle")


def _lane(lane: Lane, top: float, frame: Frame, place: _Places) -> Iterator[Markup]:
    yield from _name(lane.name, top, frame)
    y = top + frame.lane * (0.68 if frame.narrow else 0.5)
    yield svg.line(frame.left, y, frame.width - 4, y, "grid")
    before, above = -100.0, False
    for mark in sorted(lane.marks, key=lambda m: (m.month, m.at)):
        x = place(mark.month, mark.at)
        yield svg.mark(mark.shape, x, y, 4 if frame.narrow else 5.5, mark.look, mark.told)
        if mark.label and not frame.narrow:
            above = not (above and x - before < 30)
            yield svg.text(x, y - 10 if above else y + 19, mark.label, "axis", anchor="middle")
        before = x


def _name(words: str, top: float, frame: Frame) -> Iterator[Markup]:
    yield svg.line(0, top, frame.width, top, "between")
    if frame.narrow:
        yield svg.text(frame.left + 2, top + 14, words, "lane")
    else:
        yield svg.text(0, top + frame.lane * 0.5 + 4, svg.fitted(words, frame.left - 6, 12), "lane")


def _served(moves: Sequence[Move], top: float, frame: Frame, place: _Places) -> Iterator[Markup]:
    """Which version held the ref when: a bar from each move to the next, its tone by the version."""
    yield from _name("In force", top, frame)
    numbers = sorted({m.after for m in moves})
    moves = sorted(moves, key=lambda m: m.at)
    y, high = top + (22 if frame.narrow else 9), 26 if frame.narrow else frame.lane - 18
    for move, following in zip(moves, [*moves[1:], None], strict=True):
        x = place(move.month, move.at)
        end = place(following.month, following.at) if following else frame.width - 4
        told = f"{move.ref} {version(move.before)} → {version(move.after)} in {month(move.month)}"
        look = f"held tone{numbers.index(move.after) % 4}"
        yield svg.rect(x, y, max(2.0, end - x - 1.5), high, look, svg.tip(f"{told}. {move.why}".strip(" .")), rx=4)
        if end - x > 22:
            words = f"{version(move.after)} ↩" if move.sort == "rolled_back" and end - x > 40 else version(move.after)
            yield svg.text((x + end) / 2, y + high / 2 + 4.5, words, "held", anchor="middle")


def _data(story: Story) -> Iterator[Mark]:
    for made in story.versions:
        if made.kind == "dataset" and not made.name.endswith(("_predictions", "_labelled", "_waiting")):
            rows = f", {made.rows:,} rows" if made.rows is not None else ""
            yield Mark(
                made.month, made.at, "dot", "data", f"{made.name} {version(made.number)}{rows}. {made.note}".strip(". ")
            )
    for refusal in story.refusals:
        if refusal.what.removeprefix("falaj ").startswith("data "):
            yield Mark(refusal.month, refusal.at, "cross", "bad", f"refused: {refusal.what}. {refusal.why}")


def _alarms(story: Story) -> Iterator[Mark]:
    for report in story.reports:
        if report.alarmed:
            what = " and ".join(w for w in ("drift", "score") if getattr(report, w) == "alarm")
            false = report.false_alarm
            told = f"{month(report.month)}: {what}{', a false alarm' if false else ''}. {report.why}".strip(" .")
            yield Mark(report.month, report.at, "hollow_up" if false else "up", "warn", told, "false" if false else "")


def _gate(story: Story, ref: str) -> Iterator[Mark]:
    for verdict in story.verdicts:
        if verdict.ref == ref:
            said = "passed" if verdict.passed else "refused"
            told = f"{version(verdict.version)} {said} by gate {verdict.gate}. {verdict.about}".strip(" .")
            shape, look = ("tick", "good") if verdict.passed else ("cross", "bad")
            yield Mark(verdict.month, verdict.at, shape, look, told, version(verdict.version))


def _canary(story: Story) -> Iterator[Mark]:
    for rollout in story.rollouts:
        shares = ", ".join(whole_share(s.share) for s in rollout.steps)
        told = (
            f"{version(rollout.candidate)} against {version(rollout.stable)}: {shares}; {rollout.state}. {rollout.why}"
        )
        shape, look = {"completed": ("tick", "good"), "running": ("ring", "data")}.get(rollout.state, ("back", "bad"))
        yield Mark(rollout.month, rollout.at, shape, look, told.strip(" ."), version(rollout.candidate))


def _told(story: Story, ref: str, rows: Sequence[Lane], moves: Sequence[Move]) -> str:
    parts = [f"{lane.name}: " + "; ".join(f"{month(m.month)}, {m.told}" for m in lane.marks) for lane in rows]
    if moves:
        held = [f"{month(m.month)} {version(m.after)}" + (" by rollback" * (m.sort == "rolled_back")) for m in moves]
        parts.append(f"In force as {ref}: {', '.join(held)}")
    return f"{story.title}. {'. '.join(parts)}." if parts else story.title


KEY = (
    ("dot", "data", "a version of data"),
    ("cross", "bad", "refused"),
    ("tick", "good", "passed, or rolled out to 100 %"),
    ("up", "warn", "alarm"),
    ("hollow_up", "warn", "false alarm"),
    ("back", "bad", "rolled back"),
)


def legend() -> Markup:
    def entry(shape: str, look: str, words: str) -> Markup:
        return el("li", svg.picture(16, 16, svg.mark(shape, 8, 8, 5, look), wide=False), el("span", words))

    return el("ul", [entry(*key) for key in KEY], class_="legend")


def both(story: Story) -> Markup:
    """The picture for wide pages and the one for narrow ones."""
    drawn = [(WIDE, "wide"), (NARROW, "narrow")]
    return joined(el("div", picture(story, frame), class_=shown) for frame, shown in drawn)


def section(story: Story) -> Markup | None:
    """The picture with its key, and every move as a table."""
    if not (story.moves or story.verdicts or story.rollouts or story.versions):
        return None
    ref = served_ref(story)
    held = f" The lowest lane shows which version held {ref}." if ref else ""
    note = f"Within a month things stand in their order, not at their times.{held}"
    return joined(
        el("p", note),
        legend(),
        el("figure", both(story)),
        record.moves(story),
    )
