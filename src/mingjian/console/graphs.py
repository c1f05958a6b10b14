"""Graphs of few nodes in layers: each link is a row of a table, and the picture is drawn from that table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from mingjian.model.rules import LEVELS, Level
from mingjian.situations.card import VerdictCard
from mingjian.situations.showing import Member, ShownJoin

NODES_MAX: Final = 60
"""So many nodes are drawn; rarity decides which."""
LINKS_MAX: Final = 120


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the graph."""

    id: str
    layer: int
    """From left to right."""
    kind: str
    """Of an observable, or ``detection``."""
    label: str
    value: str = ""
    """Of an observable."""
    href: str = ""
    level: Level | None = None
    is_bad: bool = False


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Two nodes that have to do with each other."""

    start: Node
    end: Node
    weight: float
    """From 0, what everybody has, to 1, what nobody else has."""
    why: str
    against: str = ""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn, and how much is not."""

    links: Sequence[Link]
    nodes: int
    left_out: int


def kept(links: Sequence[Link]) -> Graph:
    """The weightiest links with at most ``NODES_MAX`` nodes."""
    found: list[Link] = []
    nodes: set[str] = set()
    for link in sorted(links, key=lambda each: (-each.weight, each.start.id, each.end.id)):
        more = {link.start.id, link.end.id} - nodes
        if len(found) < LINKS_MAX and len(nodes) + len(more) <= NODES_MAX:
            found.append(link)
            nodes |= more
    return Graph(links=found, nodes=len(nodes), left_out=len(links) - len(found))


def of_situation(
    members: Sequence[Member], joins: Sequence[ShownJoin], address: Callable[[str], str], ask: Callable[[str, str], str]
) -> Graph:
    """Detections (those of one rule on one host together) and what they share, with weight and reason.

    ``address`` gives the page of a detection, ``ask`` that of an observable (kind, value).
    """
    nodes: dict[tuple[str, str], Node] = {}
    counts: dict[tuple[str, str], int] = {}
    keys: dict[str, tuple[str, str]] = {}
    for each in members:
        one = each.detection.detection
        key = (one.rule_id, one.host)
        keys[each.detection.public_id] = key
        counts[key] = counts.get(key, 0) + 1
        known = nodes.get(key)
        if known is None or LEVELS.index(one.level) > LEVELS.index(known.level or LEVELS[0]):
            label = (f"{one.host}: " if one.host else "") + one.rule_title
            href = known.href if known is not None else address(each.detection.public_id)
            nodes[key] = Node(
                id=f"d{list(nodes).index(key) if key in nodes else len(nodes)}", layer=0, kind="detection", label=label,
                href=href, level=one.level,
            )  # fmt: skip
    links: dict[tuple[str, str, str], Link] = {}
    for join in joins:
        if not join.kind:
            continue
        thing = Node(
            id=f"{join.kind}:{join.value}",
            layer=1,
            kind=join.kind,
            label=join.value,
            value=join.value,
            href=ask(join.kind, join.value),
        )
        for public_id in (join.earlier, join.later):
            node = nodes[keys[public_id]]
            _strengthen(links, Link(start=node, end=thing, weight=join.strength, why=join.reason,
                                    against="; ".join(join.against)))  # fmt: skip
    return kept([_counted(link, counts, nodes) for link in links.values()])


def _counted(link: Link, counts: Mapping[tuple[str, str], int], nodes: Mapping[tuple[str, str], Node]) -> Link:
    """The link with how many detections its node stands for."""
    key = next(key for key, node in nodes.items() if node.id == link.start.id)
    if counts[key] == 1:
        return link
    start = msgspec.structs.replace(link.start, label=f"{counts[key]} × {link.start.label}")
    return msgspec.structs.replace(link, start=start)


def _strengthen(links: dict[tuple[str, str, str], Link], link: Link) -> None:
    key = (link.start.id, link.end.id, "")
    known = links.get(key)
    if known is None or link.weight > known.weight:
        links[key] = link


def of_card(card: VerdictCard, ask: Callable[[str, str], str], seen_on: str) -> Graph:
    """What an observable touched, the rarest first, and on which other hosts that was seen."""
    nodes = [
        Node(
            id=str(place),
            layer=0 if place == 0 else 1,
            kind=each.kind,
            label=each.value,
            value=each.value,
            href=ask(each.kind, each.value) if place else "",
            is_bad=each.is_bad,
        )
        for place, each in enumerate(card.graph.nodes)
    ]
    first = {edge.end for edge in card.graph.edges if edge.start == 0}
    links: list[Link] = []
    for edge in card.graph.edges:
        end = nodes[edge.end]
        if edge.start and edge.end not in first:
            end = msgspec.structs.replace(end, layer=2)
        why = edge.role if edge.start == 0 else seen_on
        links.append(Link(start=nodes[edge.start], end=end, weight=edge.rarity, why=why))
    found = kept(links)
    return msgspec.structs.replace(found, left_out=found.left_out + card.graph.left_out)
