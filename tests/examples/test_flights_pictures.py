"""The pictures of the year: scales that hold their values, graphs without overlap, sentences that do not flatter."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.flights.report import charts, lineage, summary, svg, timeline, words
from examples.flights.report import story as s
from tests.examples.year_builder import year

VALUES = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(VALUES, max_size=30), st.booleans())
def test_a_scale_holds_its_values_between_its_round_ticks(values: list[float], zero: bool) -> None:
    scale, ticks = svg.scale(values, 300.0, 10.0, zero=zero)
    assert 2 <= len(ticks) <= 8
    assert list(ticks) == sorted(set(ticks))
    for value in values:
        assert 10.0 - 0.01 <= scale(value) <= 300.0 + 0.01
    assert not zero or scale.low <= 0
    texts = [f"{t:.{svg.decimals(ticks)}f}" for t in ticks]
    assert len(set(texts)) == len(texts)


@given(st.lists(st.floats(0, 100), max_size=5))
def test_labels_keep_apart_and_within_their_borders(places: list[float]) -> None:
    moved = svg.apart(places, 10, 0, 100)
    assert all(-0.001 <= m <= 100.001 for m in moved)
    assert all(b - a >= 9.999 for a, b in pairwise(sorted(moved)))


@given(st.text(st.characters(codec="latin-1"), max_size=60), st.floats(0, 300))
def test_cut_words_fit_and_whole_words_stay(words_: str, room: float) -> None:
    shown = svg.fitted(words_, room, 11)
    assert shown in {words_, "…"} or (shown.endswith("…") and svg.length(shown, 11) <= room)
    assert (shown == words_) == (svg.length(words_, 11) <= room) or words_ == "…"


NAMES = tuple("abcdefgh")
GRAPHS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20)


@given(GRAPHS)
def test_lineage_draws_every_thing_once_without_overlap(pairs: list[tuple[str, str]]) -> None:
    edges = tuple(s.Edge(source=a, target=b) for a, b in pairs)
    nodes = tuple(s.Node(id=n, sort="thing", label=n) for n in NAMES[:4])
    drawing = lineage.placed(nodes, edges)
    assert set(drawing.boxes) == {n.id for n in nodes} | {end for pair in pairs for end in pair}
    for one, other in combinations(drawing.boxes.values(), 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert beside or one.foot <= other.y or other.foot <= one.y
    assert "<svg" in lineage.picture(s.Lineage(prediction="p", nodes=nodes, edges=edges))


@given(GRAPHS.map(lambda pairs: [(a, b) for a, b in pairs if a < b]))
def test_without_circles_every_arrow_points_down(pairs: list[tuple[str, str]]) -> None:
    edges = tuple(s.Edge(source=a, target=b) for a, b in pairs)
    for edge, way in lineage.placed((), edges).ways:
        assert edge.source != edge.target
        assert all(above.foot < below.y for above, below in pairwise(way))


def test_an_arrow_that_passes_a_layer_runs_between_its_boxes() -> None:
    edges = tuple(s.Edge(source=a, target=b) for a, b in ("ab", "bc", "ac"))
    drawing = lineage.placed((), edges)
    (way,) = [way for edge, way in drawing.ways if (edge.source, edge.target) == ("a", "c")]
    lane, box = way[1], drawing.boxes["b"]
    assert lane.node is None
    assert lane.x >= box.x + box.width or lane.x + lane.width <= box.x


def test_what_happened_later_stands_further_right() -> None:
    told = year()
    place = timeline._Places([m.month for m in told.months], list(told.moves), timeline.WIDE)
    at = [place(m.month, m.at) for m in sorted(told.moves, key=lambda m: m.at)]
    assert at == sorted(at)
    assert timeline.WIDE.left < at[0] < at[-1] < timeline.WIDE.width


def test_a_curve_is_broken_where_a_month_was_not_measured() -> None:
    def at(month: str, value: float | None) -> s.Month:
        known = None if value is None else s.Estimate(value=value, low=value - 0.01, high=value + 0.01)
        return s.Month(
            month=month,
            scores=(
                s.Score(of="chosen", auc=known),
                s.Score(of="frozen", auc=s.Estimate(value=0.7, low=0.6, high=0.8)),
            ),
        )

    months = [at(f"2013-0{m}", v) for m, v in ((1, 0.7), (2, 0.71), (3, None), (4, 0.72), (5, 0.73))]
    drawn = charts.score_chart(months, "auc", charts.WIDE)
    assert drawn.count('class="curve chosen"') == 2
    assert drawn.count('class="curve frozen"') == 1


def scored(chosen: float, frozen: float, paired: float) -> s.Story:
    def of(name: s.Sort, value: float, difference: float | None) -> s.Score:
        known = s.Estimate(value=value, low=value - 0.001, high=value + 0.001)
        apart = (
            None
            if difference is None
            else s.Estimate(value=difference, low=difference - 0.001, high=difference + 0.001)
        )
        return s.Score(of=name, rows=1000, brier=known, brier_to_frozen=apart)

    scores = (of("chosen", chosen, paired), of("frozen", frozen, None))
    return s.Story(months=(s.Month(month="2013-04", asked=1000, labelled=1000, scores=scores),))


@pytest.mark.parametrize(
    ("chosen", "frozen", "paired", "said", "month"),
    [
        (0.10, 0.12, -0.02, "better than the first model", "better than the first model in 1 of"),
        (0.12, 0.10, 0.02, "worse than the first model", "and worse in 1"),
        (0.10, 0.10, 0.0, "as good as the first model", "in 1 the difference may be chance"),
    ],
)
def test_the_summary_says_which_was_better(chosen: float, frozen: float, paired: float, said: str, month: str) -> None:
    text = summary.section(scored(chosen, frozen, paired)).replace(words.NBSP, " ")
    assert said in text
    assert month in text


def test_scores_over_the_year_weigh_by_rows_and_need_every_month() -> None:
    def at(month: str, rows: int, value: float | None) -> s.Month:
        known = None if value is None else s.Estimate(value=value, low=value, high=value)
        return s.Month(month=month, scores=(s.Score(of="chosen", rows=rows, brier=known),))

    months = [at("2013-04", 100, 0.1), at("2013-05", 300, 0.2)]
    assert math.isclose(summary.mean_brier(months, "chosen") or 0, 0.175)
    assert summary.mean_brier([*months, at("2013-06", 100, None)], "chosen") is None
    assert summary.mean_brier(months, "frozen") is None


@pytest.mark.parametrize("broken", ["consistent", "every_state", "stranger"])
def test_a_ledger_that_does_not_hold_is_said_loudly(broken: str) -> None:
    held = {"consistent": True, "every_state": True, "stranger": True, broken: False}
    assert "NOT so" in summary.section(s.Story(ledger=s.Ledger(entries=5, **held)))


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (words.seconds(0.0412), "41 ms"),
        (words.seconds(0.99999), "1.0 s"),
        (words.seconds(59.96), "1 min 0 s"),
        (words.seconds(221.4), "3 min 41 s"),
        (words.seconds(None), words.NONE),
        (words.milliseconds(3.14), "3.1 ms"),
        (words.milliseconds(41.3), "41 ms"),
        (words.number(0.00312, 4, signed=True), "+0.0031"),
        (words.number(-0.00312, 4, signed=True), "\N{MINUS SIGN}0.0031"),
        (words.number(-0.00001, 3, signed=True), "0.000"),
        (words.measured(12.44), "12.4"),
        (words.measured(41233.2), "41,233"),
        (words.bound(0.002), "0.002"),
        (words.bound(5.0), "5"),
        (words.share(0.1423), "14.2 %"),
        (words.whole_share(0.05), "5 %"),
        (words.whole_share(0.125), "12.5 %"),
        (words.counted(1, "entry", "entries"), "1 entry"),
        (words.counted(0, "entry", "entries"), "no entries"),
        (words.month("2013-04"), "April 2013"),
        (words.month("later"), "later"),
        (words.month_span(["2013-12", "2013-01"]), "January to December 2013"),
        (words.month_span(["2013-12", "2014-03"]), "December 2013 to March 2014"),
        (words.month_span(["2013-04"]), "April 2013"),
        (words.elapsed("2026-11-26T21:56:15.400000Z", "2026-11-26T21:54:08.000000Z"), "2:07.4"),
        (words.elapsed("2026-11-26T21:56:07.990000Z", "2026-11-26T21:54:08.000000Z"), "2:00.0"),
        (words.elapsed("2026-11-26T21:56:15Z", ""), "21:56:15"),
        (words.elapsed("yesterday", "2026-11-26T21:54:08Z"), "yesterday"),
        (words.sentence("refused: it leaks"), "Refused: it leaks."),
        (words.sentence(""), ""),
        (words.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_figures_in_words(made: str, shown: str) -> None:
    assert made.replace(words.NBSP, " ") == shown
