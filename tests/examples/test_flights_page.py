"""The page of a year: one file, well-formed, closed to the outside, and it tells what the story holds."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from examples.flights.report import page, words
from examples.flights.report import story as s
from tests.examples.year_builder import year

HOSTILE = "<script>alert('1')</script>\" onload=x & \x00\u202e{{7*7}}]]>"
PARTS = [
    name for name, default in msgspec.structs.asdict(s.Story()).items() if default in ((), None, s.About(), s.Counts())
]


@pytest.fixture(scope="module")
def told() -> s.Story:
    return year()


@pytest.fixture(scope="module")
def html(told: s.Story) -> str:
    return page.render(told)


@pytest.fixture(scope="module")
def tree(html: str) -> ET.Element:
    return parsed(html)


def parsed(html: str) -> ET.Element:
    """The page as any XML parser reads it: every tag closed, every attribute quoted, nothing left open."""
    assert html.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(html.partition("\n")[2])


def text_of(tree: ET.Element) -> str:
    body = tree.find("body")
    assert body is not None
    return " ".join("".join(body.itertext()).replace(words.NBSP, " ").split())


def test_the_year_is_one_closed_file(tree: ET.Element, html: str) -> None:
    for element in tree.iter():
        assert not {"src", "srcset", "action", "data", "poster"} & set(element.attrib), element.tag
        assert element.tag not in {"link", "iframe", "object", "embed", "img", "base", "form"}
        assert element.get("href", "#").startswith("#")
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]
    assert not re.search(r"https?:|//|@import|url\(", "".join(e.text or "" for e in tree.iter("style")))
    assert not re.search(r"https?:|fetch\(|XMLHttp|import\(", "".join(e.text or "" for e in tree.iter("script")))
    assert len(html) < 600_000


def test_its_policy_allows_its_own_style_and_script_alone(tree: ET.Element) -> None:
    policy = next(m.get("content", "") for m in tree.iter("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (element,) = tree.iter(tag)
        digest = base64.b64encode(hashlib.sha256((element.text or "").encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_link_leads_to_one_place(tree: ET.Element) -> None:
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert {e.get("href", "")[1:] for e in tree.iter("a")} <= set(ids)
    assert {e.get("aria-labelledby") for e in tree.iter() if e.get("aria-labelledby")} <= set(ids)


def test_headings_go_down_step_by_step(tree: ET.Element) -> None:
    levels = [int(e.tag[1]) for e in tree.iter() if re.fullmatch(r"h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_and_pictures_can_be_read_aloud(tree: ET.Element) -> None:
    assert tree.get("lang") == "en"
    for table in tree.iter("table"):
        assert (table.findtext("caption") or "").strip()
        assert all(th.get("scope") in {"col", "row"} for th in table.iter("th"))
        columns = len(next(table.iter("tr")))
        assert {len(row) for row in table.iter("tr")} == {columns}
    for region in (e for e in tree.iter("div") if "scroll" in (e.get("class") or "").split()):
        assert region.get("tabindex") == "0"
        assert region.get("aria-label")
    for svg in tree.iter("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and len(svg.get("aria-label", "")) > 10)


def test_every_figure_of_the_story_is_on_the_page(told: s.Story, tree: ET.Element) -> None:
    text = text_of(tree)
    wanted = [words.count(told.ledger.entries), "41 ms", "1,904", "0.945", "412 rows", "3.04 %", "drift.found"]
    wanted += [words.count(told.counts.requests), words.count(told.counts.joined), "3 min 41 s", "388 MiB"]
    for at in told.months:
        wanted += [words.count(at.flights), words.count(at.labelled), words.count(at.cancelled), words.share(at.late)]
        for score in at.scores:
            wanted += [words.estimate(score.auc), words.estimate(score.brier, 4), words.share(score.mean)]
    wanted += [words.number(d.psi, 2) for d in told.drift if d.psi is not None]
    for verdict in told.verdicts:
        wanted += [f.title for f in verdict.findings] + [
            words.measured(f.observed) for f in verdict.findings if not f.interval
        ]
        wanted += [words.span(*f.interval, 4, signed=True) for f in verdict.findings if f.interval]
    for rollout in told.rollouts:
        for step in rollout.steps:
            wanted += [words.count(step.canary.requests), words.count(step.stable.requests), step.why]
    wanted += [e.what for e in told.events] + [r.what for r in told.refusals] + [p.name for p in told.persons]
    wanted += [f"{r.run[:12]}" for r in told.retrainings] + [n.label for n in told.lineage.nodes]
    missing = {w for w in wanted if w.replace(words.NBSP, " ") not in text}
    assert missing == set()


def test_every_rule_shows_its_result_in_words(told: s.Story, tree: ET.Element) -> None:
    tables = [t for t in tree.iter("table") if (t.findtext("caption") or "").startswith("Rules for")]
    assert len(tables) == len(told.verdicts)
    for table, verdict in zip(tables, told.verdicts, strict=True):
        shown = ["".join(list(row)[1].itertext()) for row in table.iter("tr")][1:]
        said = {"passed": "✓passed", "failed": "✗failed", "pending": "○awaited"}
        assert shown == [said[f.state] for f in verdict.findings]


def test_false_alarms_are_counted_as_the_story_has_them(told: s.Story, tree: ET.Element) -> None:
    raised = [r for r in told.reports if r.alarmed]
    false = sum(r.false_alarm is True for r in raised)
    assert f"raised {len(raised)} alarms, {false} of them false" in text_of(tree)
    assert told.false_alarm_rule in text_of(tree)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_missing_is_left_out(told: s.Story, name: str) -> None:
    default = getattr(s.Story(), name)
    tree = parsed(page.render(msgspec.structs.replace(told, **{name: default})))
    assert len(list(tree.iter("section"))) >= 12


@pytest.mark.parametrize("name", PARTS)
def test_a_part_alone_is_a_page(told: s.Story, name: str) -> None:
    parsed(page.render(s.Story(**{name: getattr(told, name)})))


def test_an_empty_story_is_a_page() -> None:
    tree = parsed(page.render(s.Story()))
    assert "Nothing has happened yet." in text_of(tree)
    assert not list(tree.iter("table"))


def test_a_story_that_broke_off_says_so(told: s.Story) -> None:
    assert "broke off" in text_of(parsed(page.render(msgspec.structs.replace(told, finished=False))))


def hostile(value: Any) -> Any:
    """The same story with a hostile text for every text that is free: names, reasons, commands, ids."""
    if isinstance(value, msgspec.Struct):
        fixed = {"month", "outcome", "state", "sort", "of", "drift", "score", "metric", "v"}
        if isinstance(value, s.Node):
            fixed = {"id"}
        if isinstance(value, s.Edge):
            fixed = {"source", "target"}
        changed = {f: hostile(getattr(value, f)) for f in value.__struct_fields__ if f not in fixed}
        return msgspec.structs.replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(hostile(item) for item in value)
    if isinstance(value, dict):
        return {HOSTILE: HOSTILE}
    return HOSTILE if isinstance(value, str) else value


def test_hostile_names_stay_text(told: s.Story) -> None:
    html = page.render(hostile(told))
    tree = parsed(html)
    assert len(list(tree.iter("script"))) == 1
    assert "\x00" not in html
    assert "\u202e" not in html
    assert not [e for e in tree.iter() if any(name.startswith("on") for name in e.attrib)]
    assert "<script>alert('1')</script>" in text_of(tree)


def test_a_model_named_like_a_tag(told: s.Story) -> None:
    moved = s.Move(at=told.moves[0].at, month="2013-01", ref="<script>@production", before=None, after=1)
    tree = parsed(page.render(s.Story(moves=(moved,))))
    assert "held <script>@production" in text_of(tree)
    assert len(list(tree.iter("script"))) == 1


def test_equal_stories_give_equal_pages_and_files(told: s.Story, html: str, tmp_path: Path) -> None:
    assert page.render(year()) == html
    s.write(tmp_path / "year.json", told)
    assert s.read(tmp_path / "year.json") == told
    page.write(tmp_path / "report.html", s.read(tmp_path / "year.json"))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "year.json"]


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ('{"tittle": "x"}', "tittle"),
        ('{"months": [{"month": "2013-13"}]}', "months"),
        ('{"months": [{"month": "2013-01", "late": 1.5}]}', "late"),
        ('{"retrainings": [{"month": "2013-01", "trigger": "t", "cause": 1, "outcome": "maybe"}]}', "outcome"),
    ],
)
def test_what_is_no_story_is_refused_by_its_field(tmp_path: Path, document: str, names: str) -> None:
    (tmp_path / "year.json").write_text(document)
    with pytest.raises(msgspec.ValidationError, match=names):
        s.read(tmp_path / "year.json")
