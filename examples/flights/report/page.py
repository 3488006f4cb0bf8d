"""The page: every section in its order, with style and script inside, and nothing fetched from anywhere.

The policy in its head forbids what it does not need: no address is opened, and only the style and the script whose
digests it names take effect. Without scripts the page loses its quicker tips, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import gating, monitoring, record, summary, timeline, traffic
from .markup import Markup, el, joined, plain
from .story import Story
from .words import counted, day, month_span, seconds

HERE = Path(__file__).parent


class Section(NamedTuple):
    """A part of the page; it is left out, and not listed, where it draws nothing."""

    anchor: str
    title: str
    draw: Callable[[Story], Markup | None]


SECTIONS = (
    Section("year", "The year", timeline.section),
    Section("scores", "How good the predictions were", monitoring.scores),
    Section("drift", "Drift by column", monitoring.drift),
    Section("alarms", "Alarms and retrainings", monitoring.alarms),
    Section("gate", "Verdicts of the gate", gating.section),
    Section("traffic", "Rollouts and rollback", traffic.section),
    Section("lineage", "Where one answer comes from", record.lineage),
    Section("refused", "What was refused", record.refusals),
    Section("kills", "What was killed", record.kills),
    Section("events", "What happened, with times", record.events),
    Section("ledger", "Ledger", record.ledger),
    Section("persons", "Who acted", record.persons),
    Section("counts", "Counts", record.counts),
    Section("costs", "What it took", record.costs),
    Section("fixed", "Question, rules and limits", record.about),
)


def render(story: Story) -> str:
    """The whole page as text, to be written as UTF-8."""
    style, script = _own("page.css"), _own("page.js")
    drawn = [(s, content) for s in SECTIONS if (content := s.draw(story)) is not None]
    links = [("short", "In short"), *((s.anchor, s.title) for s, _ in drawn)]
    nav = el(
        "nav",
        el("h2", "Contents"),
        el("ol", [el("li", el("a", t, href=f"#{a}")) for a, t in links]),
        aria_label="Contents",
    )
    body = [_section(s, content) for s, content in drawn]
    page = el(
        "html",
        el("head", _head(story, style, script)),
        el(
            "body",
            el("a", "Skip to the text", href="#text", class_="skip"),
            _header(story),
            el("div", nav, el("main", summary.section(story), body, id="text"), class_="layout"),
            _footer(story),
            el("script", script),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def write(path: Path, story: Story) -> None:
    """Write the page; replaced whole, never half-written."""
    part = path.with_name(path.name + ".part")
    part.write_text(render(story), encoding="utf-8")
    part.replace(path)


def _own(name: str) -> Markup:
    """A file of this package, as the page holds it. It is written so that it needs no escape in HTML or XML."""
    text = (HERE / name).read_text(encoding="utf-8")
    if "<" in text or "&" in text or "]]>" in text:
        raise ValueError(f"{name} holds < or &, which a page can not hold as it stands")
    return Markup(text)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(story: Story, style: Markup, script: Markup) -> Markup:
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return joined(
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content="falaj examples/flights/report"),
        el("title", plain(story.title)),
        el("style", style),
    )


def _header(story: Story) -> Markup:
    parts = [f"Project {story.project}"]
    if story.months:
        parts.append(f"data of {month_span([m.month for m in story.months])}")
    if story.played_at:
        parts.append(f"played {day(story.played_at)}")
    if story.seconds is not None:
        parts.append(f"in {seconds(story.seconds)}")
    return el(
        "header",
        el(
            "div",
            el("h1", story.title),
            el("p", story.about.question, class_="question") if story.about.question else None,
            el("p", " · ".join(parts), class_="meta"),
            class_="inner",
        ),
    )


def _footer(story: Story) -> Markup:
    entries = f" Its ledger holds {counted(story.ledger.entries, 'entry', 'entries')}." if story.ledger else ""
    return el(
        "footer", el("p", f"Made from the answers of Falaj.{entries} This page is one file and opens no address.")
    )


def _section(section: Section, content: Markup) -> Markup:
    return el("section", el("h2", section.title, id=section.anchor), content, aria_labelledby=section.anchor)
