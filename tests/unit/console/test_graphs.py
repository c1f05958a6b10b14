"""Graphs of few nodes: the weightiest links, each detection and each thing once."""

from mingjian.console.graphs import LINKS_MAX, NODES_MAX, Link, Node, kept


def link(start: int, end: int, weight: float) -> Link:
    return Link(
        start=Node(id=f"d{start}", layer=0, kind="detection", label=""),
        end=Node(id=f"t{end}", layer=1, kind="hash", label=""),
        weight=weight,
        why="",
    )


def test_the_weightiest_links_are_kept() -> None:
    graph = kept([link(place, place, place / 1000) for place in range(200)])
    assert graph.nodes <= NODES_MAX
    assert graph.links[0].weight == 0.199
    assert graph.left_out == 200 - len(graph.links)


def test_links_between_few_nodes_are_bounded_too() -> None:
    graph = kept([link(start, end, 1.0) for start in range(20) for end in range(20)])
    assert (len(graph.links), graph.left_out) == (LINKS_MAX, 400 - LINKS_MAX)
