"""One answer's way back: a layered picture, effects on the left and origins on the right.

Layers are longest ways from the answer, so every arrow points right. An edge that would close a circle is left out of
the layers and still drawn; a thing that only an edge names gets a box of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import svg
from .markup import Markup, el
from .story import Edge, Lineage, Node

BOX, GAP, ROW, TOP = 176.0, 40.0, 16.0, 14.0
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
    node: Node
    x: float
    y: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def picture(story: Lineage) -> Markup:
    """The whole picture; as wide as its layers and as high as its fullest one."""
    boxes = placed(story.nodes, story.edges)
    width = max((b.x + BOX for b in boxes.values()), default=BOX) + 2
    height = max((b.y + b.height for b in boxes.values()), default=40.0) + TOP
    told = "; ".join(
        f"{_label(boxes, e.source)} {e.label or 'comes from'} {_label(boxes, e.target)}" for e in story.edges
    )
    return svg.picture(
        width,
        height,
        [_arrow(boxes[e.source], boxes[e.target], e) for e in story.edges if e.source != e.target],
        [_box(box) for box in boxes.values()],
        told=f"Where answer {story.prediction} comes from. {told}.",
        class_="lineage",
    )


def placed(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, Box]:
    """Every box by its id, without overlap: in its layer's column, in an order that few arrows cross."""
    known = {n.id: n for n in nodes}
    for edge in edges:
        for end in (edge.source, edge.target):
            known.setdefault(end, Node(id=end, sort="thing", label=end))
    depth = layers(tuple(known), edges)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, layer in depth.items():
        columns[layer].append(name)
    _untangle(columns, edges)
    heights = {name: 30 + ROW * (1 + min(SHOWN_DETAILS, len(node.details))) for name, node in known.items()}
    totals = [sum(heights[n] + TOP for n in column) - TOP for column in columns]
    tallest = max(totals, default=0.0)
    boxes = {}
    for layer, column in enumerate(columns):
        y = TOP + (tallest - totals[layer]) / 2
        for name in column:
            boxes[name] = Box(known[name], 1 + layer * (BOX + GAP), y, heights[name])
            y += heights[name] + TOP
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


def _untangle(columns: list[list[str]], edges: Sequence[Edge]) -> None:
    """Order each column by the mean place of its neighbours, to and fro."""
    neighbours: dict[str, list[str]] = {}
    for edge in edges:
        neighbours.setdefault(edge.source, []).append(edge.target)
        neighbours.setdefault(edge.target, []).append(edge.source)
    for turn in range(ROUNDS):
        for column in columns if turn % 2 else reversed(columns):
            place = {name: (i + 0.5) / len(c) for c in columns for i, name in enumerate(c)}

            def pull(name: str, place: dict[str, float] = place) -> float:
                near = [place[n] for n in neighbours.get(name, ())]
                return sum(near) / len(near) if near else place[name]

            column.sort(key=pull)


def _label(boxes: dict[str, Box], name: str) -> str:
    return boxes[name].node.label


def _arrow(source: Box, target: Box, edge: Edge) -> Markup:
    """A curve from the right side of the effect to the left side of its origin."""
    x1, y1, x2, y2 = source.x + BOX, source.middle, target.x, target.middle
    if x2 <= source.x:
        x1, x2 = source.x, target.x + BOX
    bend = max(GAP * 0.5, abs(x2 - x1) * 0.35) * (1 if x2 >= x1 else -1)
    curve = " ".join(svg.rounded(v) for v in (x1 + bend, y1, x2 - bend, y2, x2, y2))
    told = f"{source.node.label} {edge.label or 'comes from'} {target.node.label}"
    drawn = f"M{svg.rounded(x1)} {svg.rounded(y1)}C{curve}"
    return svg.group(
        el("path", svg.tip(told), d=drawn, class_="arrow"),
        svg.circle(x2, y2, 2.6, "arrowhead"),
    )


def _box(box: Box) -> Markup:
    node, group = box.node, _GROUPS.get(box.node.sort, "thing")
    lines = list(_lines(box))
    told = svg.tip("\n".join((f"{node.sort}: {node.label}", *node.details)))
    return svg.group(told, svg.rect(box.x, box.y, BOX, box.height, "box", rx=7), lines, class_=f"node {group}")


def _lines(box: Box) -> Iterator[Markup]:
    x, room, node = box.x + 12, BOX - 20, box.node
    yield svg.rect(box.x, box.y + 7, 4, box.height - 14, "stripe", rx=2)
    yield svg.text(x, box.y + 17, svg.fitted(node.sort.replace("_", " "), room, 10.5), "sort")
    yield svg.text(x, box.y + 34, svg.fitted(node.label, room, 13), "label")
    shown = node.details if len(node.details) <= SHOWN_DETAILS else (*node.details[: SHOWN_DETAILS - 1], "…")
    for i, detail in enumerate(shown):
        yield svg.text(x, box.y + 34 + ROW * (i + 1), svg.fitted(detail, room, 11), "detail")
