"""How candidates went out and came back: shares of the requests, what each side did, and why a rollout ended."""

from __future__ import annotations

from . import svg
from .markup import Markup, el, joined
from .story import Rollback, Rollout, RolloutStep, Side, Story
from .tables import Column, Head, Row, badge, facts, table
from .words import count, counted, milliseconds, month, number, sentence, share, version, whole_share

_STATES = {
    "completed": ("completed", "good"),
    "failed": ("rolled back by itself", "back"),
    "aborted": ("aborted by a person", "back"),
    "running": ("under way", "muted"),
}
SIZES = ((900.0, 120.0, "wide"), (340.0, 120.0, "narrow"))


def section(story: Story) -> Markup | None:
    if not story.rollouts and not story.rollbacks:
        return None
    said = "A candidate that passed the gate answers a share of the requests first, and is compared with an equal, "
    return joined(
        el("p", said, "concurrent slice of the stable version. The ref moves only after 100 %.")
        if story.rollouts
        else None,
        [_rollout(r) for r in story.rollouts],
        [_rollback(r) for r in story.rollbacks],
    )


def _rollout(at: Rollout) -> Markup:
    words, look = _STATES[at.state]
    asked = sum(s.canary.requests + s.stable.requests for s in at.steps)
    about = facts(
        (
            ("Deployment", at.deployment),
            ("Requests", count(asked)),
            ("Requests that failed elsewhere", count(at.other_failed)),
            ("Back on the stable version after", milliseconds(at.back_ms) if at.back_ms is not None else ""),
            ("Entry", count(at.entry) if at.entry is not None else ""),
        )
    )
    against = f" against {version(at.stable)}" if at.stable is not None else ""
    return el(
        "article",
        el("h3", f"{version(at.candidate)}{against} in {month(at.month)} ", badge(words, look)),
        el("p", sentence(at.why)) if at.why else None,
        about,
        _shares(at) if asked else None,
        _steps(at) if at.steps else None,
        class_=f"rollout {at.state}",
    )


def _shares(at: Rollout) -> Markup:
    """The candidate's share over the requests of the rollout, and where it ended."""
    shares = [f"{whole_share(s.share)} for {counted(_asked(s), 'request')}" for s in at.steps]
    told = f"Share of {version(at.candidate)}: {', then '.join(shares)}; {_STATES[at.state][0]}."
    drawn = [el("div", _drawn(at, width, height, told), class_=shown) for width, height, shown in SIZES]
    return el(
        "figure",
        el("figcaption", el("p", f"Share answered by {version(at.candidate)}, over the requests of the rollout.")),
        drawn,
    )


def _drawn(at: Rollout, width: float, height: float, told: str) -> Markup:
    asked = [_asked(s) for s in at.steps]
    x = svg.Scale(0, max(1, sum(asked)), 44, width - 10)
    y, ticks = svg.Scale(0, 1, height - 24, 10), (0.0, 0.5, 1.0)
    drawn: list[object] = []
    for tick in ticks:
        drawn += [svg.line(44, y(tick), width - 10, y(tick), "grid")]
        drawn += [svg.text(38, y(tick) + 4, whole_share(tick), "axis", anchor="end")]
    begin, corners = 0, [(x(0), y(0))]
    for step, requests in zip(at.steps, asked, strict=True):
        corners += [(x(begin), y(step.share)), (x(begin + requests), y(step.share))]
        begin += requests
    corners.append((x(begin), y(0)))
    look = "bad" if at.state in {"failed", "aborted"} else "chosen"
    drawn.append(svg.path(corners, f"area {look}", close=True))
    begin = 0
    for step, requests in zip(at.steps, asked, strict=True):
        middle, wide = x(begin + requests / 2), x(begin + requests) - x(begin)
        if wide > 34:
            drawn.append(
                svg.text(
                    middle,
                    y(step.share) - 5 if step.share < 0.8 else y(step.share) + 15,
                    whole_share(step.share),
                    "axis",
                    anchor="middle",
                )
            )
        begin += requests
    if look == "bad":
        drawn.append(svg.mark("cross", x(begin), y(at.steps[-1].share), 5, "bad", at.why or told))
    drawn.append(svg.text(x(begin), height - 8, counted(begin, "request"), "axis", anchor="end"))
    return svg.picture(width, height, drawn, told=told, class_="chart")


def _asked(step: RolloutStep) -> int:
    return step.canary.requests + step.stable.requests


def _steps(at: Rollout) -> Markup:
    head: Head = ["Share", "Side", Column("Requests", "figure"), Column("Errors", "figure"), Column("p99", "figure")]
    head += [Column("Mean predicted", "figure"), Column("Shift", "figure"), "Judged", Column("Why", "wide")]
    rows: list[Row] = []
    for step in at.steps:
        shown = (
            badge(step.judgement or "judged", "good" if step.passed else "bad")
            if step.passed is not None
            else step.judgement or None
        )
        shift = number(step.shift) if step.shift is not None else None
        rows.append(
            Row(
                (
                    whole_share(step.share),
                    f"{version(at.candidate)}, canary",
                    *_side(step.canary),
                    shift,
                    shown,
                    step.why,
                )
            )
        )
        stable = version(at.stable) if at.stable is not None else "stable"
        rows.append(
            Row((whole_share(step.share), f"{stable}, stable", *_side(step.stable), None, None, None), look="second")
        )
    return table(f"Steps of the rollout of {version(at.candidate)} in {month(at.month)}", head, rows)


def _side(side: Side) -> tuple[str, str, str, str]:
    errors = f"{side.errors:,} ({share(side.errors / side.requests, 2)})" if side.requests else count(side.errors)
    return count(side.requests), errors, milliseconds(side.p99_ms), share(side.mean)


def _rollback(at: Rollback) -> Markup:
    about = facts(
        (
            ("By", at.by),
            (
                "First answer by the earlier version after",
                milliseconds(at.answered_ms) if at.answered_ms is not None else "",
            ),
            ("Requests meanwhile", count(at.requests)),
            ("Failed", count(at.failed)),
            ("Entry", count(at.entry) if at.entry is not None else ""),
        )
    )
    title = f"{at.ref} rolled back: {version(at.before)} → {version(at.after)} in {month(at.month)}"
    return el("article", el("h3", title), about, class_="rollback")
