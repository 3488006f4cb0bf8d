"""One answer's way back: a layered picture, effects on the left and origins on the right.

Layers are longest ways from the answer, so every arrow points right. An edge that would close a circle is left out of
the layers and still drawn; a thing that only an edge names gets a box of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from . import svg
from .markup import Markup, el
from .story import Edge, Lineage, Node

BOX, GAP, ROW, TOP = 150.0, 28.0, 15.0, 13.0
LANE = 4.0  # of an arrow that passes a layer
SHOWN_DETAILS = 4
ROUNDS = 6

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
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


class Drawing(NamedTuple):
    """Where everything stands.

    Attributes:
        boxes: by the id of their thing.
        ways: for each edge, the boxes that its arrow passes from its effect to its origin, both included.
    """

    boxes: dict[str, Box]
    ways: list[tuple[Edge, list[Box]]]


def picture(story: Lineage) -> Markup:
    """The whole picture; as wide as its layers and as high as its fullest one."""
    drawing = placed(story.nodes, story.edges)
    boxes = drawing.boxes
    width = max((b.x + BOX for b in boxes.values()), default=BOX) + 2
    height = max((b.y + b.height for b in boxes.values()), default=40.0) + TOP
    names = {name: box.node.label for name, box in boxes.items() if box.node}
    told = "; ".join(f"{names[e.source]} {e.label or 'comes from'} {names[e.target]}" for e in story.edges)
    return svg.picture(
        width,
        height,
        [_arrow(edge, way, names) for edge, way in drawing.ways],
        [_box(box, box.node) for box in boxes.values() if box.node],
        told=f"Where answer {story.prediction} comes from. {told}.",
        class_="lineage",
    )


def placed(nodes: Sequence[Node], edges: Sequence[Edge]) -> Drawing:
    """Every box without overlap, in its layer's column, in an order that few arrows cross.

    An arrow that spans several layers has a narrow place of its own in each, so that it runs between the boxes.
    """
    known = {n.id: n for n in nodes}
    for edge in edges:
        for end in (edge.source, edge.target):
            known.setdefault(end, Node(id=end, sort="thing", label=end))
    depth = layers(tuple(known), edges)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, layer in depth.items():
        columns[layer].append(name)
    chains = []
    for number, edge in enumerate(edges):
        passed = [f"\0{number}:{layer}" for layer in range(depth[edge.source] + 1, depth[edge.target])]
        for layer, name in enumerate(passed, depth[edge.source] + 1):
            columns[layer].append(name)
        chains.append((edge.source, *passed, edge.target))
    _untangle(columns, chains)
    boxes = _stacked(columns, known)
    ways = [(e, [boxes[n] for n in chain]) for e, chain in zip(edges, chains, strict=True) if e.source != e.target]
    return Drawing({name: box for name, box in boxes.items() if box.node}, ways)


def _stacked(columns: Sequence[Sequence[str]], known: Mapping[str, Node]) -> dict[str, Box]:
    """Every column from top to bottom, each around the middle of the highest one."""
    heights = {name: 30 + ROW * (1 + min(SHOWN_DETAILS, len(node.details))) for name, node in known.items()}
    totals = [sum(heights.get(n, LANE) + TOP for n in column) - TOP for column in columns]
    tallest = max(totals, default=0.0)
    boxes = {}
    for layer, column in enumerate(columns):
        y = 2 + (tallest - totals[layer]) / 2
        for name in column:
            boxes[name] = Box(known.get(name), 1 + layer * (BOX + GAP), y, heights.get(name, LANE))
            y += boxes[name].height + TOP
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


def _untangle(columns: list[list[str]], chains: Sequence[Sequence[str]]) -> None:
    """Order each column by the mean place of its neighbours, to and fro."""
    neighbours: dict[str, list[str]] = {}
    for chain in chains:
        for before, after in pairwise(chain):
            neighbours.setdefault(before, []).append(after)
            neighbours.setdefault(after, []).append(before)
    for turn in range(ROUNDS):
        for column in columns if turn % 2 else reversed(columns):
            place = {name: (i + 0.5) / len(c) for c in columns for i, name in enumerate(c)}

            def pull(name: str, place: dict[str, float] = place) -> float:
                near = [place[n] for n in neighbours.get(name, ())]
                return sum(near) / len(near) if near else place[name]

            column.sort(key=pull)


def _arrow(edge: Edge, way: Sequence[Box], names: Mapping[str, str]) -> Markup:
    """A curve from the right side of the effect, between the boxes of the layers it passes, to its origin's left."""
    first, last = way[0], way[-1]
    back = last.x <= first.x
    x, y = (first.x, first.middle) if back else (first.x + BOX, first.middle)
    drawn = [f"M{svg.rounded(x)} {svg.rounded(y)}"]
    for box in way[1:]:
        to = box.x + BOX if back else box.x
        bend = (to - x) / 2
        curve = (x + bend, y, to - bend, box.middle, to, box.middle)
        drawn.append("C" + " ".join(svg.rounded(v) for v in curve))
        x, y = to, box.middle
        if box is not last:
            x += BOX
            drawn.append(f"H{svg.rounded(x)}")
    told = svg.tip(f"{names[edge.source]} {edge.label or 'comes from'} {names[edge.target]}")
    return svg.group(el("path", told, d="".join(drawn), class_="arrow"), svg.circle(x, y, 2.6, "arrowhead"))


def _box(box: Box, node: Node) -> Markup:
    group = _GROUPS.get(node.sort, "thing")
    told = svg.tip("\n".join((f"{node.sort}: {node.label}", *node.details)))
    frame = svg.rect(box.x, box.y, BOX, box.height, "box", rx=6)
    return svg.group(told, frame, list(_lines(box, node)), class_=f"node of-{group}")


def _lines(box: Box, node: Node) -> Iterator[Markup]:
    x, room = box.x + 12, BOX - 18
    yield svg.rect(box.x, box.y + 7, 4, box.height - 14, "stripe", rx=2)
    yield svg.text(x, box.y + 16, svg.fitted(node.sort.replace("_", " "), room, 10.5), "sort")
    yield svg.text(x, box.y + 32, svg.fitted(node.label, room, 12.5), "label")
    shown = node.details if len(node.details) <= SHOWN_DETAILS else (*node.details[: SHOWN_DETAILS - 1], "…")
    for i, detail in enumerate(shown):
        yield svg.text(x, box.y + 32 + ROW * (i + 1), svg.fitted(detail, room, 11), "detail")
