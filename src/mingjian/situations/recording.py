"""What is kept of situations that grouping found: members, joins, telling entities, and a summary."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np

from mingjian.hunt.attack import load_attack
from mingjian.model.rules import LEVELS
from mingjian.situations.danger import Dangers, Sections
from mingjian.situations.grouping import BY_HAND, MILLI, UNTIMED, Grouped, Ints
from mingjian.situations.standing import Part, Standing
from mingjian.situations.summary import (
    DIFFERENT_ACCOUNTS,
    DIFFERENT_HOSTS,
    FAIRLY_COMMON,
    LONG_APART,
    SAME_RULE,
    RuleCount,
    Summary,
    Terms,
    packed,
)
from mingjian.store.evidence import Entity, RuleFacts
from mingjian.store.situations import Before, Written

if TYPE_CHECKING:
    import numpy.typing as npt

NAMED_MAX: Final = 10
"""So many rules, hosts and accounts a summary names."""
ENTITIES_MAX: Final = 24
"""So many entities of a situation are kept …"""
ENTITIES_OF_ONE_MAX: Final = 4
"""… and of one that is a single detection."""
SEARCHED_CHARACTERS_MAX: Final = 2_000


class Found(NamedTuple):
    """Situations that grouping found, and everything that is told of them. Places are those of ``part``."""

    part: Part
    standing: Standing
    grouped: Grouped
    sections: Sections
    dangers: Dangers
    beside: tuple[Ints, Ints]
    """Place of a detection, and of the situation (in ``sections``) that it stands beside; by situation."""
    links: Ints
    """Places of links, by situation."""
    link_sections: Ints
    against: Ints
    """What speaks against each link, bits."""
    entities: tuple[Ints, Ints, Ints]
    """Situation, place of entity, number of detections; by situation."""

    @property
    def seeds(self) -> Ints:
        """The number of the first detection of each situation."""
        return self.part.columns.ids[self.sections.labels]


def telling(part: Part, grouped: Grouped, sections: Sections) -> tuple[Ints, Ints, Ints]:
    """The telling entities of each situation: situation, place of the entity, in how many detections."""
    columns = part.columns
    chosen = (grouped.labels[columns.mark_rows] >= 0) & (columns.weights[columns.mark_entities] >= 1.0)
    section = np.searchsorted(sections.labels, grouped.labels[columns.mark_rows[chosen]])
    pairs, counts = np.unique(section << 32 | columns.mark_entities[chosen], return_counts=True)
    section, entity = pairs >> 32, pairs & 0xFFFFFFFF
    order = np.lexsort((columns.entity_keys[entity], -counts, -columns.weights[entity], section))
    section, entity, counts = section[order], entity[order], counts[order]
    is_first = np.ones(len(section), np.bool_)
    is_first[1:] = section[1:] != section[:-1]
    firsts = np.flatnonzero(is_first)
    rank = np.arange(len(section)) - np.repeat(firsts, np.diff(np.append(firsts, len(section))))
    sizes = np.diff(np.append(sections.starts, len(sections.members)))
    kept = rank < np.where(sizes[section] > 1, ENTITIES_MAX, ENTITIES_OF_ONE_MAX)
    return section[kept], entity[kept], counts[kept]


def against(part: Part, standing: Standing, grouped: Grouped) -> Ints:
    """What speaks against each link, as bits."""
    columns, links = part.columns, grouped.links
    differ = [
        (column[links.earlier] != column[links.later]) & (column[links.earlier] != 0) & (column[links.later] != 0)
        for column in (part.hosts, part.accounts)
    ]
    bits = differ[0] * DIFFERENT_HOSTS + differ[1] * DIFFERENT_ACCOUNTS
    bits = bits + (part.rules[links.earlier] == part.rules[links.later]) * SAME_RULE
    carried = links.entities != BY_HAND
    if carried.any():
        entities = np.where(carried, links.entities, 0)
        codes = part.entities[entities]
        bits = bits + (carried & (links.strengths < columns.weights[entities] * MILLI / 2)) * LONG_APART
        bits = bits + (carried & standing.is_common(codes) & ~standing.has("bad")[codes]) * FAIRLY_COMMON
    return bits


# --- what has changed ------------------------------------------------------------------------------------------------


def _mixed(values: Ints) -> npt.NDArray[np.uint64]:
    """Numbers, well spread. Source: S. Vigna, splitmix64."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def fingerprints(found: Found, rules: Mapping[int, RuleFacts]) -> list[bytes]:
    """A number for each situation that changes when it does: members and their rules, joins, entities, danger."""
    sections, ids, links = found.sections, found.part.columns.ids, found.grouped.links
    sums = _mixed(found.dangers.danger * len(LEVELS) + found.dangers.level)
    of_members = np.searchsorted(sections.labels, found.grouped.labels[sections.members])
    np.add.at(sums, of_members, _mixed(ids[sections.members] * 2 + 1))
    np.add.at(sums, of_members, _mixed(_told(found.part.rules, rules)[sections.members]))
    np.add.at(sums, found.beside[1], _mixed(ids[found.beside[0]] * 2))
    places = found.links
    later = _mixed(ids[links.later[places]]).astype(np.int64)
    earlier = _mixed(ids[links.earlier[places]] + (1 << 40)).astype(np.int64)
    how = (links.strengths[places] << 5) + found.against[places]
    np.add.at(sums, found.link_sections, _mixed(later ^ earlier ^ how))
    section, entity, counts = found.entities
    np.add.at(sums, section, _mixed(found.part.columns.entity_keys[entity] ^ counts << 48))
    return [number.to_bytes(8, "little") for number in sums.tolist()]


def _told(codes: Ints, rules: Mapping[int, RuleFacts]) -> Ints:
    """For each detection a number that is another one if its rule has another title or other tags."""
    several, at = np.unique(codes, return_inverse=True)
    known = [rules.get(code) for code in several.tolist()]
    numbers = [0 if each is None else zlib.crc32(repr((each.title, each.attack)).encode()) for each in known]
    return np.array(numbers, np.int64)[at] if numbers else np.zeros(0, np.int64)


def records(
    found: Found,
    chosen: Sequence[int],
    prints: Sequence[bytes],
    before: Mapping[int, Before],
    rules: Mapping[int, RuleFacts],
    names: Mapping[int, Entity],
) -> Iterator[Written]:
    """What is kept of some of the situations. ``rules`` go by code; ``names``: see ``named_keys``."""
    sections, columns = found.sections, found.part.columns
    ends = np.append(sections.starts[1:], len(sections.members))
    every = np.arange(len(sections.labels) + 1)
    of_beside, of_links, of_entities = (
        np.searchsorted(each, every) for each in (found.beside[1], found.link_sections, found.entities[0])
    )
    for place in chosen:
        rows = sections.members[sections.starts[place] : ends[place]]
        near = found.beside[0][of_beside[place] : of_beside[place + 1]]
        links = found.links[of_links[place] : of_links[place + 1]]
        told = slice(of_entities[place], of_entities[place + 1])
        seed = int(columns.ids[sections.labels[place]])
        times = columns.times[rows]
        times = times[times != UNTIMED]
        summary = _summary(found, place, rows, len(near), links, rules, names)
        yield Written(
            seed_id=seed,
            level=LEVELS[int(found.dangers.level[place])],
            danger=int(found.dangers.danger[place]),
            fingerprint=prints[place],
            detections=len(rows) + len(near),
            hosts=summary.hosts_count,
            first_us=int(times.min()) if len(times) else None,
            last_us=int(times.max()) if len(times) else None,
            summary=packed(summary),
            search=_searched(summary),
            members=[
                *((number, 1) for number in columns.ids[rows].tolist()),
                *((number, 0) for number in columns.ids[near].tolist()),
            ],
            joins=_joins(found, links),
            entities=_pairs(columns.entity_keys[found.entities[1][told]], found.entities[2][told]),
            reopens=seed in before and _is_news(found.part, before[seed], rows),
        )


def _pairs(one: Ints, other: Ints) -> list[tuple[int, int]]:
    return list(zip(one.tolist(), other.tolist(), strict=True))


def _is_news(part: Part, old: Before, rows: Ints) -> bool:
    """Whether a closed situation has to be looked at again.

    What is called false or harmless stays closed as long as only the same rules find something on the same hosts.
    """
    if old.state != "closed" or old.closed_at_detection is None:
        return False
    is_new = part.columns.ids[rows] > old.closed_at_detection
    if old.resolution == "true_positive" or not is_new.any():
        return bool(is_new.any())
    pairs = part.rules[rows] << 32 | part.hosts[rows]
    return bool((~np.isin(pairs[is_new], pairs[~is_new])).any())


def _joins(found: Found, places: Ints) -> list[tuple[int, int, int | None, int, int]]:
    ids, links = found.part.columns.ids, found.grouped.links.taken(places)
    by_hand = links.entities == BY_HAND
    keys = found.part.columns.entity_keys
    entities = keys[np.where(by_hand, 0, links.entities)] if len(keys) else links.entities
    return [
        (later, earlier, None if is_by_hand else entity, strength, bits)
        for later, earlier, is_by_hand, entity, strength, bits in zip(
            ids[links.later].tolist(),
            ids[links.earlier].tolist(),
            by_hand.tolist(),
            entities.tolist(),
            links.strengths.tolist(),
            found.against[places].tolist(),
            strict=True,
        )
    ]


# --- in few values ---------------------------------------------------------------------------------------------------


def named_keys(found: Found, chosen: Sequence[int]) -> list[int]:
    """The keys of entities of which some situations tell the names: hosts, accounts, what holds them together."""
    part, is_chosen = found.part, np.zeros(len(found.sections.labels), np.bool_)
    is_chosen[list(chosen)] = True
    rows = found.sections.members
    rows = rows[is_chosen[np.searchsorted(found.sections.labels, found.grouped.labels[rows])]]
    links = found.grouped.links.entities[found.links[is_chosen[found.link_sections]]]
    ties = part.entities[links[links != BY_HAND]]
    codes = np.unique(np.concatenate([part.hosts[rows], part.people[rows], ties]))
    return found.standing.codes.keys[codes[codes != 0]].tolist()


def _summary(
    found: Found,
    place: int,
    rows: Ints,
    near: int,
    links: Ints,
    rules: Mapping[int, RuleFacts],
    names: Mapping[int, Entity],
) -> Summary:
    part, dangers = found.part, found.dangers
    pairs = Counter(_pairs(part.rules[rows], part.levels[rows]))
    nothing = RuleFacts(rule_id="", title="", kind="", attack=())
    counted = [(level, count, rules.get(code, nothing)) for (code, level), count in pairs.items()]
    counted.sort(key=lambda each: (-each[0], -each[1], each[2].rule_id))
    hosts = _named(found.standing, names, part.hosts[rows])
    people = _named(found.standing, names, part.people[rows])
    bits = int(dangers.tactics[place])
    tie = _tie(found, links, names)
    return Summary(
        terms=Terms(
            severity=round(float(dangers.severity[place]), 3),
            confidence=round(float(dangers.confidence[place]), 3),
            spread=round(float(dangers.spread[place]), 3),
            novelty=round(float(dangers.novelty[place]), 3),
        ),
        rules=tuple(
            RuleCount(facts.rule_id, facts.title, LEVELS[level], count) for level, count, facts in counted[:NAMED_MAX]
        ),
        rules_count=int(dangers.rules[place]),
        hosts=tuple(hosts[:NAMED_MAX]),
        hosts_count=len(hosts),
        accounts=tuple(people[:NAMED_MAX]),
        accounts_count=len(people),
        tactics=tuple(tactic.id for number, tactic in enumerate(load_attack().tactics) if bits >> number & 1),
        core=len(rows),
        beside=near,
        indicator=next((facts.rule_id.partition(":")[2] for *_, facts in counted if facts.kind == "indicator"), ""),
        tie_kind="" if tie is None else tie.kind,
        tie="" if tie is None else tie.value,
        tie_hosts=0 if tie is None else tie.hosts,
        by_hand=bool((found.grouped.links.entities[links] == BY_HAND).any()),
    )


def _named(standing: Standing, names: Mapping[int, Entity], codes: Ints) -> list[str]:
    """Names, the most frequent first."""
    some, counts = np.unique(codes[codes != 0], return_counts=True)
    keys = cast("list[int]", standing.codes.keys[some].tolist())
    found = [(-count, names[key].value) for key, count in zip(keys, counts.tolist(), strict=True) if key in names]
    return [name for _, name in sorted(found)]


def _tie(found: Found, links: Ints, names: Mapping[int, Entity]) -> Entity | None:
    """What holds most of a situation together; something more telling than its host if there is."""
    entities = found.grouped.links.entities[links]
    some, counts = np.unique(entities[entities != BY_HAND], return_counts=True)
    keys = cast("list[int]", found.part.columns.entity_keys[some].tolist())
    named = [(count, names[key]) for key, count in zip(keys, counts.tolist(), strict=True) if key in names]
    return max(named, key=lambda item: (item[1].kind != "host", item[0], item[1].key))[1] if named else None


def _searched(summary: Summary) -> str:
    parts = [*summary.hosts, *summary.accounts, *(rule.title for rule in summary.rules), summary.tie, summary.indicator]
    return "\n".join(part for part in parts if part).casefold()[:SEARCHED_CHARACTERS_MAX]
