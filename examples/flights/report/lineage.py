"""One answer's way back: a layered picture, effects above their origins.

Layers are longest ways from the answer, so every arrow points down. An edge that would close a circle is left out of
the layers and still drawn; a thing that only an edge names gets a box of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from . import svg
from .markup import Markup, el
from .story import Edge, Lineage, Node

BOX, GAP, ROW, BETWEEN = 152.0, 14.0, 15.0, 38.0
LANE = 6.0  # of an arrow that passes a layer
SHOWN_DETAILS = 4
ROOM, BOLD = BOX - 18, 13.5
WIDEST = 5
ROUNDS = 12

# The sorts of things as the page colours them; what is not here is a thing among others.
_GROUPS = {
    "prediction": "answer",
    "deployment": "traffic",
    "rollout": "traffic",
    "model": "model",
    "verdict": "model",
    "gate": "model",
    "run": "work",
    "pipeline": "work",
    "code": "work",
    "environment": "work",
    "features": "data",
    "feature_service": "data",
    "feature_view": "data",
    "dataset": "data",
    "data": "data",
    "contract": "data",
    "person": "person",
    "principal": "person",
}


class Box(NamedTuple):
    """A place in a layer: of a thing, or, without one, of an arrow that passes between the layer's things."""

    node: Node | None
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def foot(self) -> float:
        return self.y + self.height


class Drawing(NamedTuple):
    """Where everything stands.

    Attributes:
        boxes: by the id of their thing.
        ways: for each edge, the boxes that its arrow passes from its effect to its origin, both included.
    """

    boxes: dict[str, Box]
    ways: list[tuple[Edge, list[Box]]]


def picture(story: Lineage) -> Markup:
    """The whole picture; as wide as its fullest layer."""
    drawing = placed(story.nodes, story.edges)
    boxes = drawing.boxes
    drawn = [*boxes.values(), *(box for _, way in drawing.ways for box in way)]
    width = max((b.x + b.width for b in drawn), default=BOX) + 2
    height = max((b.foot for b in drawn), default=40.0) + 4
    names = {name: box.node.label for name, box in boxes.items() if box.node}
    told = "; ".join(f"{names[e.source]} {e.label or 'comes from'} {names[e.target]}" for e in story.edges)
    return svg.picture(
        width,
        height,
        [_arrow(edge, way, names) for edge, way in drawing.ways],
        [_box(box, box.node) for box in boxes.values() if box.node],
        told=f"Where answer {story.prediction} comes from. {told}.",
        class_="lineage",
        wide=False,
    )


def placed(nodes: Sequence[Node], edges: Sequence[Edge]) -> Drawing:
    """Every box without overlap, in its layer's row, in an order that few arrows cross.

    An arrow that spans several layers has a narrow place of its own in each, so that it runs between the boxes.
    """
    known = {n.id: n for n in nodes}
    for edge in edges:
        for end in (edge.source, edge.target):
            known.setdefault(end, Node(id=end, sort="thing", label=end))
    depth = _folded(layers(tuple(known), edges), edges)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, layer in depth.items():
        rows[layer].append(name)
    chains = []
    for number, edge in enumerate(edges):
        passed = [f"\0{number}:{layer}" for layer in range(depth[edge.source] + 1, depth[edge.target])]
        for layer, name in enumerate(passed, depth[edge.source] + 1):
            rows[layer].append(name)
        chains.append((edge.source, *passed, edge.target))
    _untangle(rows, chains)
    boxes = _set_out(rows, known)
    ways = [(e, [boxes[n] for n in chain]) for e, chain in zip(edges, chains, strict=True) if e.source != e.target]
    return Drawing({name: box for name, box in boxes.items() if box.node}, ways)


def _set_out(rows: Sequence[Sequence[str]], known: Mapping[str, Node]) -> dict[str, Box]:
    """Every row from left to right, around the middle of the widest one; a row is as high as its highest box."""
    heights = {name: 21 + ROW * (len(_label(node)) + len(_details(node))) for name, node in known.items()}
    widths = [sum(BOX if n in known else LANE for n in row) + GAP * (len(row) - 1) for row in rows]
    widest, y = max(widths, default=0.0), 2.0
    boxes = {}
    for row, width in zip(rows, widths, strict=True):
        x, high = 1 + (widest - width) / 2, max(heights.get(name, 0.0) for name in row)
        for name in row:
            boxes[name] = Box(known.get(name), x, y, BOX if name in known else LANE, heights.get(name, high))
            x += boxes[name].width + GAP
        y += high + BETWEEN
    return boxes


def layers(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each thing from what nothing points at, by edges that close no circle."""
    forward = _acyclic(names, edges)
    depth = dict.fromkeys(names, 0)
    for _ in names:
        changed = False
        for source, target in forward:
            if depth[target] < depth[source] + 1:
                depth[target], changed = depth[source] + 1, True
        if not changed:
            break
    return depth


def _folded(depth: dict[str, int], edges: Sequence[Edge]) -> dict[str, int]:
    """The layers, none with more than `WIDEST` boxes where what it has too many of comes from nothing further."""
    ends = {name for name in depth if all(edge.source != name for edge in edges)}
    folded, layer = dict(depth), 0
    while layer <= max(folded.values(), default=-1):
        row = [name for name, at in folded.items() if at == layer]
        kept = [name for name in row if name not in ends]
        room = max(0, WIDEST - len(kept))
        for name in [name for name in row if name in ends][max(room, 1) :]:
            folded[name] = layer + 1
        layer += 1
    return folded


def _acyclic(names: Sequence[str], edges: Sequence[Edge]) -> list[tuple[str, str]]:
    """The edges in their order, without each that would close a circle with those before it."""
    following: dict[str, set[str]] = {name: set() for name in names}
    kept = []
    for edge in edges:
        if edge.source != edge.target and edge.source not in _reached(edge.target, following):
            following[edge.source].add(edge.target)
            kept.append((edge.source, edge.target))
    return kept


def _reached(start: str, following: dict[str, set[str]]) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        new = following[waiting.pop()] - seen
        seen |= new
        waiting.extend(new)
    return seen


def _untangle(rows: list[list[str]], chains: Sequence[Sequence[str]]) -> None:
    """Order each row by the mean place of its neighbours above, then below, to and fro; keep what crosses least."""
    links = [(before, after) for chain in chains for before, after in pairwise(chain)]
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for before, after in links:
        above.setdefault(after, []).append(before)
        below.setdefault(before, []).append(after)
    best, least = [list(row) for row in rows], _crossings(rows, links)
    for turn in range(ROUNDS):
        near = below if turn % 2 else above
        for row in reversed(rows) if turn % 2 else rows:
            place = _places(rows)
            row.sort(key=lambda name: _mean([place[n] for n in near.get(name, ())], place[name]))
        if (crossed := _crossings(rows, links)) < least:
            best, least = [list(row) for row in rows], crossed
    rows[:] = best


def _places(rows: Sequence[Sequence[str]]) -> dict[str, float]:
    """How far right each thing stands in its row, 0 to 1."""
    return {name: (i + 0.5) / len(row) for row in rows for i, name in enumerate(row)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(rows: Sequence[Sequence[str]], links: Sequence[tuple[str, str]]) -> int:
    """How many pairs of arrows between two rows cross."""
    row_of = {name: i for i, row in enumerate(rows) for name in row}
    place = _places(rows)
    between: dict[int, list[tuple[float, float]]] = {}
    for before, after in links:
        between.setdefault(row_of[before], []).append((place[before], place[after]))
    pairs = [pair for arrows in between.values() for pair in combinations(arrows, 2)]
    return sum((a - c) * (b - d) < 0 for (a, b), (c, d) in pairs)


def _arrow(edge: Edge, way: Sequence[Box], names: Mapping[str, str]) -> Markup:
    """A curve from the foot of the effect, between the boxes of the layers it passes, to its origin's head."""
    first, last = way[0], way[-1]
    up = last.y <= first.y
    x, y = first.middle, first.y if up else first.foot
    drawn = [f"M{svg.rounded(x)} {svg.rounded(y)}"]
    for box in way[1:]:
        to = box.foot if up else box.y
        bend = (to - y) / 2
        curve = (x, y + bend, box.middle, to - bend, box.middle, to)
        drawn.append("C" + " ".join(svg.rounded(v) for v in curve))
        x, y = box.middle, to
        if box is not last:
            y = box.foot
            drawn.append(f"V{svg.rounded(y)}")
    told = svg.tip(f"{names[edge.source]} {edge.label or 'comes from'} {names[edge.target]}")
    head = svg.path([(x - 3.5, y - 5), (x + 3.5, y - 5), (x, y)], "arrowhead", close=True)
    return svg.group(el("path", told, d="".join(drawn), class_="arrow"), None if up else head)


def _box(box: Box, node: Node) -> Markup:
    group = _GROUPS.get(node.sort, "thing")
    told = svg.tip("\n".join((f"{node.sort}: {node.label}", *node.details)))
    frame = svg.rect(box.x, box.y, box.width, box.height, "box", rx=6)
    return svg.group(told, frame, list(_lines(box, node)), class_=f"node of-{group}")


def _lines(box: Box, node: Node) -> Iterator[Markup]:
    x, y = box.x + 13, box.y + 15
    yield svg.rect(box.x, box.y + 6, 4, box.height - 12, "stripe", rx=2)
    yield svg.text(x, y, svg.fitted(node.sort.replace("_", " "), ROOM, 10.5), "sort")
    for look, words in (*(("label", w) for w in _label(node)), *(("detail", w) for w in _details(node))):
        y += ROW
        yield svg.text(x, y, words, look)


def _label(node: Node) -> list[str]:
    """The label in one line, or in two where it is longer; what is left then is cut."""
    if svg.fitted(node.label, ROOM, BOLD) == node.label:
        return [node.label]
    first, rest = "", node.label.split(" ")
    while rest and svg.fitted(grown := f"{first} {rest[0]}".strip(), ROOM, BOLD) == grown:
        first, rest = grown, rest[1:]
    lines = [first, " ".join(rest)] if first else [node.label]
    return [svg.fitted(line, ROOM, BOLD) for line in lines]


def _details(node: Node) -> list[str]:
    shown = node.details if len(node.details) <= SHOWN_DETAILS else (*node.details[: SHOWN_DETAILS - 1], "…")
    return [svg.fitted(words, ROOM, 11) for words in shown]
