"""Where the nodes of a wait-for graph go. Qt-free; runs on a worker, which pays for networkx.

Waiters stand to the left of whom they wait for, so that the one who holds everybody up is at
the right. The members of a cycle share one place and stand in a ring there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine.types import TransactionInfo, WaitEdge

SHOWN_NODES = 60
"""More than this is not read by anyone; the rest is counted."""
COLUMN_WIDTH = 236.0
ROW_HEIGHT = 84.0


@dataclass(frozen=True, slots=True)
class Node:
    """One transaction in the picture."""

    txn: int
    x: float
    y: float
    age_s: float
    changes: int
    undo_bytes: int
    blocks: int
    """How many transactions wait for it, directly or not."""
    waits: bool
    in_cycle: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """One wait; `is_cycle` where it is part of a deadlock."""

    waiter: int
    holder: int
    resource: str
    mode: str
    since_s: float
    in_cycle: bool


@dataclass(frozen=True, slots=True)
class GraphPicture:
    """A wait-for graph with places."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    hidden: int = 0
    """Transactions left out because there are too many."""
    suggested: int | None = None
    """Whose end frees the most for the least undo; of the past, who was rolled back."""
    is_past: bool = False

    @property
    def has_cycle(self) -> bool:
        return any(edge.in_cycle for edge in self.edges)


def picture(edges: list[WaitEdge], transactions: list[TransactionInfo]) -> GraphPicture:
    """Lay the graph out. The same graph always gets the same picture."""
    if not edges:
        return GraphPicture()
    # Imported here: it takes a quarter of a second, which the interface thread does not have.
    import networkx as nx

    graph = nx.DiGraph()
    for edge in sorted(edges, key=lambda edge: (edge.waiter, edge.holder)):
        graph.add_edge(edge.waiter, edge.holder)
    blocks = {txn: len(nx.ancestors(graph, txn)) for txn in graph}
    hidden = _cut(graph, blocks)
    rings = [ring for ring in nx.strongly_connected_components(graph) if len(ring) > 1]
    cycling = set().union(*rings) if rings else set()
    places = _places(nx, graph, blocks)
    known = {info.id: info for info in transactions}
    nodes = tuple(
        _node(txn, places[txn], known.get(txn), blocks[txn], graph.out_degree(txn) > 0, txn in cycling)
        for txn in sorted(graph)
    )
    drawn = tuple(
        Edge(e.waiter, e.holder, e.resource, e.mode, e.since_s, _same_ring(rings, e))
        for e in edges
        if e.waiter in graph and e.holder in graph
    )
    return GraphPicture(nodes, drawn, hidden, _suggestion(nodes, known))


def _cut(graph: Any, blocks: dict[int, int]) -> int:
    """Leave out those who block the least until the rest can be read; returns how many."""
    nodes = sorted(graph, key=lambda txn: (blocks[txn], txn))
    extra = nodes[: max(0, len(nodes) - SHOWN_NODES)]
    graph.remove_nodes_from(extra)
    return len(extra)


def _same_ring(rings: list[set[int]], edge: WaitEdge) -> bool:
    return any(edge.waiter in ring and edge.holder in ring for ring in rings)


def _places(nx: Any, graph: Any, blocks: dict[int, int]) -> dict[int, tuple[float, float]]:
    """Every group of transactions that have to do with each other gets a band of its own."""
    groups = sorted(nx.weakly_connected_components(graph), key=lambda group: (-len(group), min(group)))
    places: dict[int, tuple[float, float]] = {}
    top = 0.0
    for group in groups:
        band = _band(nx, graph.subgraph(group), blocks)
        highest = min(y for _, y in band.values())
        lowest = max(y for _, y in band.values())
        places.update({txn: (x, y - highest + top) for txn, (x, y) in band.items()})
        top += lowest - highest + ROW_HEIGHT * 1.25
    return places


def _band(nx: Any, graph: Any, blocks: dict[int, int]) -> dict[int, tuple[float, float]]:
    """Columns from those at the right, who wait for nobody, to the last waiters at the left."""
    condensed = nx.condensation(graph)
    column: dict[int, int] = {}
    for group in reversed(list(nx.topological_sort(condensed))):
        column[group] = 1 + max((column[after] for after in condensed.successors(group)), default=-1)
    places: dict[int, tuple[float, float]] = {}
    right = 0.0
    for level in range(max(column.values()) + 1):
        rings = [sorted(condensed.nodes[group]["members"]) for group in condensed if column[group] == level]
        rings.sort(key=lambda ring: _order(graph, places, blocks, ring))
        widest = max(_ring_radius(len(ring)) for ring in rings)
        heights = [_ring_radius(len(ring)) * 2 + ROW_HEIGHT for ring in rings]
        y = -sum(heights) / 2
        for ring, height in zip(rings, heights, strict=True):
            places.update(_ring(ring, right - widest, y + height / 2))
            y += height
        right -= 2 * widest + COLUMN_WIDTH
    return places


def _order(
    graph: Any, places: dict[int, tuple[float, float]], blocks: dict[int, int], ring: list[int]
) -> tuple[float, int, int]:
    """Beside those they wait for, so that few lines cross."""
    heights = [places[after][1] for txn in ring for after in graph.successors(txn) if after in places]
    middle = sum(heights) / len(heights) if heights else 0.0
    return (middle, -max(blocks[txn] for txn in ring), ring[0])


def _ring_radius(size: int) -> float:
    # Two in a ring need room between them for the names of what they wait for.
    return 0.0 if size == 1 else max(165.0, size * 56.0)


def _ring(members: list[int], x: float, y: float) -> dict[int, tuple[float, float]]:
    radius = _ring_radius(len(members))
    step = 2 * math.pi / len(members)
    return {
        txn: (x + radius * math.cos(step * place), y + radius * math.sin(step * place))
        for place, txn in enumerate(members)
    }


def _node(
    txn: int, place: tuple[float, float], info: TransactionInfo | None, blocks: int, waits: bool, cycle: bool
) -> Node:
    age, changes, undo = (info.age_s, info.changes, info.undo_bytes) if info else (0.0, 0, 0)
    return Node(txn, place[0], place[1], age, changes, undo, blocks, waits, cycle)


def _suggestion(nodes: tuple[Node, ...], known: dict[int, TransactionInfo]) -> int | None:
    """In a deadlock the member that is cheapest to undo; else who holds up the most."""
    cycling = [node for node in nodes if node.in_cycle]
    if cycling:
        return min(cycling, key=lambda node: (node.changes, node.age_s, -node.txn)).txn
    roots = [node for node in nodes if not node.waits and node.txn in known]
    return max(roots, key=lambda node: (node.blocks, -node.changes)).txn if roots else None
