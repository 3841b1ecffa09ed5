"""Where the elements of a graph are drawn: in layers, from what was asked for to what it needs.

The usual three steps (Sugiyama, Tagawa and Toda, 1981): layers by longest path, an order in each
layer that lets few edges cross, and heights that keep edges straight. An edge over several layers
bends at a point in each layer between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from imagebuilder.report.model import Part

SWEEPS = 12
ROOM, ROOM_OF_BEND = 50.0, 18.0  # heights that a node and a bend take up, in pixels
Key = str | tuple[str, str, int]  # a node's name; or for a bend: from, to, layer
Links = tuple[Mapping[Key, Sequence[Key]], Mapping[Key, Sequence[Key]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The layers, a height (of the middle, in pixels) for every key, and the edges' ways."""

    layers: tuple[tuple[Key, ...], ...] = ()
    middle: Mapping[Key, float]
    ways: tuple[tuple[Key, ...], ...] = ()

    @property
    def height(self) -> float:
        return max(
            (self.middle[k] + room(k) / 2 for layer in self.layers for k in layer), default=0
        )


def draw(parts: Iterable[Part]) -> Drawing:
    """Places for all elements, and ways for those dependencies that do not follow from others."""
    layer_of, edges = _graph(list(parts))
    ways = tuple(_way(edge, layer_of) for edge in edges)
    layers = _layers(layer_of, ways)
    links = _links(ways)
    for sweep in range(SWEEPS):
        _sort(layers if sweep % 2 == 0 else layers[::-1], links[sweep % 2])
    middle = _heights(layers, links)
    return Drawing(layers=tuple(map(tuple, layers)), middle=middle, ways=ways)


def room(key: Key) -> float:
    """The height that a key takes up, in pixels."""
    return ROOM if isinstance(key, str) else ROOM_OF_BEND


def _graph(parts: Sequence[Part]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The layer of every element, and the edges to draw (from an element to what it needs)."""
    import networkx  # costs 100 ms, needed only here

    names = {part.name for part in parts}
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(sorted(names))
    graph.add_edges_from((p.name, d) for p in parts for d in p.depends if d in names - {p.name})
    groups = networkx.condensation(graph)  # elements may depend on each other
    layer_of = {
        name: layer
        for layer, generation in enumerate(networkx.topological_generations(groups))
        for group in generation
        for name in groups.nodes[group]["members"]
    }
    if networkx.is_directed_acyclic_graph(graph):
        graph = networkx.transitive_reduction(graph)
    return dict(sorted(layer_of.items())), sorted(graph.edges)


def _way(edge: tuple[str, str], layer_of: Mapping[str, int]) -> tuple[Key, ...]:
    start, end = edge
    bends = tuple((start, end, layer) for layer in range(layer_of[start] + 1, layer_of[end]))
    return (start, *bends, end)


def _layers(layer_of: Mapping[str, int], ways: Iterable[Sequence[Key]]) -> list[list[Key]]:
    layers: list[list[Key]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for name, layer in layer_of.items():
        layers[layer].append(name)
    for key in (key for way in ways for key in way):
        if not isinstance(key, str):
            layers[key[2]].append(key)
    return layers


def _links(ways: Iterable[Sequence[Key]]) -> Links:
    """For every key, what it is joined to in the layer before, and in the layer after."""
    before: dict[Key, list[Key]] = {}
    after: dict[Key, list[Key]] = {}
    for start, end in (pair for way in ways for pair in pairwise(way)):
        after.setdefault(start, []).append(end)
        before.setdefault(end, []).append(start)
    return before, after


def _sort(layers: Sequence[list[Key]], joined: Mapping[Key, Sequence[Key]]) -> None:
    """Order each layer by the mean place of what its keys are joined to in the one before it."""
    place: dict[Key, float] = {}
    for layer in layers:
        own = {key: index / len(layer) for index, key in enumerate(layer)}
        place |= own
        mean = {
            key: _mean([place.get(k, own[key]) for k in joined.get(key, [key])]) for key in layer
        }
        layer.sort(key=mean.__getitem__)
        place |= {key: index / len(layer) for index, key in enumerate(layer)}


def _heights(layers: Sequence[Sequence[Key]], links: Links) -> dict[Key, float]:
    """The height of every key's middle: near those it is joined to, and in no more room than
    the fullest layer takes up."""
    limit = max((sum(map(room, layer)) for layer in layers), default=0.0)
    middle: dict[Key, float] = {}
    for layer in layers:
        middle |= _stacked(layer, dict.fromkeys(layer, limit / 2), limit)
    for sweep in range(SWEEPS):
        joined = links[sweep % 2]
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            wished = {key: _mean([middle[k] for k in joined.get(key, [key])]) for key in layer}
            middle |= _stacked(layer, wished, limit)
    top = min((middle[key] - room(key) / 2 for key in middle), default=0.0)
    return {key: height - top for key, height in middle.items()}


def _stacked(layer: Sequence[Key], wished: Mapping[Key, float], limit: float) -> dict[Key, float]:
    """The wished heights, moved apart so that nothing overlaps, between 0 and `limit`."""
    down, up = _pushed(layer, wished), _pushed(layer[::-1], {k: -wished[k] for k in layer})
    placed = {key: (down[key] - up[key]) / 2 for key in layer}
    floor = 0.0
    for key in layer:
        placed[key] = max(placed[key], floor + room(key) / 2)
        floor = placed[key] + room(key) / 2
    for key in layer[::-1]:
        placed[key] = min(placed[key], limit - room(key) / 2)
        limit = placed[key] - room(key) / 2
    return placed


def _pushed(layer: Sequence[Key], wished: Mapping[Key, float]) -> dict[Key, float]:
    """The wished heights, each moved on by as much as those before it need."""
    placed: dict[Key, float] = {}
    floor = float("-inf")
    for key in layer:
        placed[key] = max(wished[key], floor + room(key) / 2)
        floor = placed[key] + room(key) / 2
    return placed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
