"""Grouping the detections of an organisation, and keeping what came of it: only what has changed is written.

Everything is grouped anew every time, from columns; what a person decided is among the arguments. So it does not
matter in which order detections came, or how often this ran: the result is that of one run over everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np

from mingjian.hunt.attack import load_attack
from mingjian.model.rules import LEVELS
from mingjian.situations.danger import Dangers, Sections, dangers_of, sections_of
from mingjian.situations.grouping import BY_HAND, MILLI, UNTIMED, Grouped, Ints, Pins, beside, group
from mingjian.situations.policy import Policy, policy
from mingjian.situations.standing import Standing, standing_of
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
from mingjian.store.decisions import judged_away, pins_of
from mingjian.store.evidence import BAD, Entity, Loaded, RuleFacts, entities_of, load_evidence, rule_facts
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.situations import Before, Written, before, grouping, write_grouping
from mingjian.store.workspace import Workspace

if TYPE_CHECKING:
    import numpy.typing as npt

NAMED_MAX: Final = 10
"""So many rules, hosts and accounts a summary names."""
ENTITIES_MAX: Final = 24
"""So many entities of a situation are kept …"""
ENTITIES_OF_ONE_MAX: Final = 4
"""… and of one that is a single detection."""
SEARCHED_CHARACTERS_MAX: Final = 2_000


class Regrouped(NamedTuple):
    """What came of it."""

    situations: int
    changed: int
    """So many of them are new, or not what they were."""
    gone: int
    """So many became parts of others, or lost their detections."""


class _Work(NamedTuple):
    """Everything that writing looks at."""

    loaded: Loaded
    standing: Standing
    grouped: Grouped
    sections: Sections
    dangers: Dangers
    beside: tuple[Ints, Ints]
    """Place of a detection, and of the situation (in ``sections``) that it stands beside; by situation."""
    links: Ints
    """Places of links, by situation."""
    link_sections: Ints
    entities: tuple[Ints, Ints, Ints]
    """Situation, place of entity, number of detections; by situation."""
    rules: Mapping[int, RuleFacts]
    known: Mapping[int, Entity]
    policy: Policy


def regroup(workspace: Workspace, scope: Scope, organisation: OrganisationId) -> Regrouped:
    """Group the detections of an organisation whose events were looked into, and keep what has changed.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
        StorageError: the workspace cannot be read, or not written to.
    """
    scope.check_write(organisation)
    with grouping(workspace):
        return _regroup(workspace, organisation)


def _regroup(workspace: Workspace, organisation: OrganisationId) -> Regrouped:
    loaded = load_evidence(workspace, organisation)
    work = _work(workspace, organisation, loaded)
    known = before(workspace, organisation)
    seeds = loaded.ids[work.sections.labels]
    prints = _fingerprints(work)
    changed = [
        place
        for place, (seed, fingerprint) in enumerate(zip(seeds.tolist(), prints, strict=True))
        if seed not in known or known[seed].fingerprint != fingerprint or not known[seed].is_live
    ]
    written = list(_written(work, changed, prints, known))
    gone = _gone(work, seeds, known)
    if written or gone:
        write_grouping(workspace, organisation, known, written, gone)
    return Regrouped(len(seeds), len(written), len(gone))


def _work(workspace: Workspace, organisation: OrganisationId, loaded: Loaded) -> _Work:
    chosen = policy()
    known = entities_of(workspace, organisation)
    rules = rule_facts(workspace, organisation, loaded)
    excluded = np.array(judged_away(workspace, organisation), np.int64)
    standing = standing_of(loaded, known, chosen, excluded)
    pinned = pins_of(workspace, organisation)
    grouped = group(standing.columns, chosen.join, Pins(pinned.together, pinned.apart))
    sections = sections_of(grouped.labels)
    dangers = dangers_of(sections, loaded, standing, _tactics(loaded, rules), _people(loaded, known, chosen), chosen)
    parties = np.where(np.isin(loaded.ids, excluded), 0, standing.parties)
    telling = np.array([chosen.kind_of(each.kind, each.value) in chosen.beside_kinds for each in standing.entities])
    rows, labels = beside(
        standing.columns, parties, grouped.labels, chosen.beside_s * 1_000_000, chosen.join, telling.astype(np.bool_)
    )
    at = np.searchsorted(sections.labels, labels)
    order = np.lexsort((rows, at))
    of_links = np.searchsorted(sections.labels, grouped.labels[grouped.links.later])
    by_section = np.argsort(of_links, kind="stable")
    return _Work(
        loaded=loaded,
        standing=standing,
        grouped=grouped,
        sections=sections,
        dangers=dangers,
        beside=(rows[order], at[order]),
        links=by_section,
        link_sections=of_links[by_section],
        entities=_telling(standing, grouped, sections),
        rules=rules,
        known=known,
        policy=chosen,
    )


def _tactics(loaded: Loaded, rules: Mapping[int, RuleFacts]) -> Ints:
    """The tactics of each detection's rule, as bits in the order of ATT&CK."""
    attack = load_attack()
    place = {tactic.id: number for number, tactic in enumerate(attack.tactics)}
    keys, at = np.unique(loaded.rules, return_inverse=True)
    bits: list[int] = []
    for key in keys.tolist():
        techniques = rules[key].attack if key in rules else ()
        known = [attack.techniques[each] for each in techniques if each in attack.techniques]
        bits.append(sum({1 << place[tactic] for each in known for tactic in each.tactics if tactic in place}))
    return np.array(bits, np.int64)[at] if bits else np.zeros(0, np.int64)


def _people(loaded: Loaded, known: Mapping[int, Entity], chosen: Policy) -> Ints:
    """The account of each detection, 0 if it is one that programs run under."""
    keys = np.unique(loaded.accounts)
    nobody = [key for key in keys.tolist() if key not in known or chosen.is_service_account(known[key].value)]
    return np.where(np.isin(loaded.accounts, nobody), 0, loaded.accounts)


def _telling(standing: Standing, grouped: Grouped, sections: Sections) -> tuple[Ints, Ints, Ints]:
    """The telling entities of each situation."""
    columns = standing.columns
    chosen = (grouped.labels[columns.mark_rows] >= 0) & (columns.weights[columns.mark_entities] >= 1.0)
    section = np.searchsorted(sections.labels, grouped.labels[columns.mark_rows[chosen]])
    entity = columns.mark_entities[chosen]
    if not len(section):
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    pairs, counts = np.unique(np.stack([section, entity], axis=1), axis=0, return_counts=True)
    order = np.lexsort((columns.entity_keys[pairs[:, 1]], -counts, -columns.weights[pairs[:, 1]], pairs[:, 0]))
    section, entity, counts = pairs[order, 0], pairs[order, 1], counts[order]
    firsts = np.flatnonzero(np.append(True, section[1:] != section[:-1]))
    rank = np.arange(len(section)) - np.repeat(firsts, np.diff(np.append(firsts, len(section))))
    sizes = np.diff(np.append(sections.starts, len(sections.members)))
    limit = np.where(sizes[section] > 1, ENTITIES_MAX, ENTITIES_OF_ONE_MAX)
    kept = rank < limit
    return section[kept], entity[kept], counts[kept]


# --- what has changed ------------------------------------------------------------------------------------------------


def _mixed(values: Ints) -> npt.NDArray[np.uint64]:
    """Numbers, well spread. Source: S. Vigna, splitmix64."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _fingerprints(work: _Work) -> list[bytes]:
    """A number for each situation that changes when it does: members, joins, danger."""
    sections, loaded, links = work.sections, work.loaded, work.grouped.links
    sums = _mixed(work.dangers.danger * len(LEVELS) + work.dangers.level)
    of_members = np.searchsorted(sections.labels, work.grouped.labels[sections.members])
    np.add.at(sums, of_members, _mixed(loaded.ids[sections.members] * 2 + 1))
    np.add.at(sums, work.beside[1], _mixed(loaded.ids[work.beside[0]] * 2))
    places = work.links
    later = _mixed(loaded.ids[links.later[places]]).astype(np.int64)
    earlier = _mixed(loaded.ids[links.earlier[places]] + (1 << 40)).astype(np.int64)
    np.add.at(sums, work.link_sections, _mixed(later ^ earlier ^ links.strengths[places]))
    return [number.to_bytes(8, "little") for number in sums.tolist()]


def _gone(work: _Work, seeds: Ints, known: Mapping[int, Before]) -> dict[int, int | None]:
    """Situations that are none any more, and of which others they are a part now."""
    there = set(seeds.tolist())
    found: dict[int, int | None] = {}
    ids, labels = work.loaded.ids, work.grouped.labels
    for seed, old in known.items():
        if old.is_live and seed not in there:
            place = int(np.searchsorted(ids, seed))
            is_there = place < len(ids) and int(ids[place]) == seed and int(labels[place]) >= 0
            found[seed] = int(ids[labels[place]]) if is_there else None
    return found


def _written(
    work: _Work, changed: Sequence[int], prints: Sequence[bytes], known: Mapping[int, Before]
) -> Iterator[Written]:
    sections, loaded = work.sections, work.loaded
    ends = np.append(sections.starts[1:], len(sections.members))
    of_beside = np.searchsorted(work.beside[1], np.arange(len(sections.labels) + 1))
    of_links = np.searchsorted(work.link_sections, np.arange(len(sections.labels) + 1))
    of_entities = np.searchsorted(work.entities[0], np.arange(len(sections.labels) + 1))
    for place in changed:
        rows = sections.members[sections.starts[place] : ends[place]]
        near = work.beside[0][of_beside[place] : of_beside[place + 1]]
        links = work.links[of_links[place] : of_links[place + 1]]
        told = slice(of_entities[place], of_entities[place + 1])
        seed = int(loaded.ids[sections.labels[place]])
        times = loaded.times[rows]
        times = times[times != UNTIMED]
        summary = _summary(work, place, rows, len(near), links)
        yield Written(
            seed_id=seed,
            level=LEVELS[int(work.dangers.level[place])],
            danger=int(work.dangers.danger[place]),
            fingerprint=prints[place],
            detections=len(rows) + len(near),
            hosts=summary.hosts_count,
            first_us=int(times.min()) if len(times) else None,
            last_us=int(times.max()) if len(times) else None,
            summary=packed(summary),
            search=_searched(summary),
            members=[
                *((number, 1) for number in loaded.ids[rows].tolist()),
                *((number, 0) for number in loaded.ids[near].tolist()),
            ],
            joins=_joins(work, links),
            entities=list(
                zip(
                    work.standing.columns.entity_keys[work.entities[1][told]].tolist(),
                    work.entities[2][told].tolist(),
                    strict=True,
                )
            ),
            reopens=seed in known and _is_news(work, known[seed], rows),
        )


def _is_news(work: _Work, old: Before, rows: Ints) -> bool:
    """Whether a closed situation has to be looked at again.

    What is called false or harmless stays closed as long as only the same rules find something on the same hosts.
    """
    if old.state != "closed" or old.closed_at_detection is None:
        return False
    loaded = work.loaded
    is_new = loaded.ids[rows] > old.closed_at_detection
    if old.resolution == "true_positive" or not is_new.any():
        return bool(is_new.any())
    pairs = list(zip(loaded.rules[rows].tolist(), loaded.hosts[rows].tolist(), strict=True))
    judged = {pair for pair, new in zip(pairs, is_new.tolist(), strict=True) if not new}
    return any(pair not in judged for pair in pairs)


def _joins(work: _Work, places: Ints) -> list[tuple[int, int, int | None, int, int]]:
    loaded, columns, links = work.loaded, work.standing.columns, work.grouped.links
    chosen = links.taken(places)
    hosts, accounts = loaded.hosts, loaded.accounts
    differ = [
        (column[chosen.earlier] != column[chosen.later]) & (column[chosen.earlier] != 0) & (column[chosen.later] != 0)
        for column in (hosts, accounts)
    ]
    entities = np.where(chosen.entities == BY_HAND, 0, chosen.entities)
    weights = columns.weights[entities] * MILLI if len(columns.weights) else np.zeros(len(entities))
    carried = chosen.entities != BY_HAND
    against = differ[0] * DIFFERENT_HOSTS + differ[1] * DIFFERENT_ACCOUNTS
    against = against + (carried & (chosen.strengths < weights / 2)) * LONG_APART
    against = against + (loaded.rules[chosen.earlier] == loaded.rules[chosen.later]) * SAME_RULE
    joins: list[tuple[int, int, int | None, int, int]] = []
    for number in range(len(places)):
        entity = int(chosen.entities[number])
        bits = int(against[number])
        named = None if entity == BY_HAND else work.standing.entities[entity]
        if named is not None and named.hosts > 2 and not named.flags & BAD:
            bits |= FAIRLY_COMMON
        joins.append(
            (
                int(loaded.ids[chosen.later[number]]),
                int(loaded.ids[chosen.earlier[number]]),
                None if named is None else named.key,
                int(chosen.strengths[number]),
                bits,
            )
        )
    return joins


# --- in few values ---------------------------------------------------------------------------------------------------


def _summary(work: _Work, place: int, rows: Ints, near: int, links: Ints) -> Summary:
    loaded, dangers = work.loaded, work.dangers
    pairs = zip(
        cast("list[int]", loaded.rules[rows].tolist()), cast("list[int]", loaded.levels[rows].tolist()), strict=True
    )
    rules = Counter(pairs)
    ranked = sorted(rules.items(), key=lambda item: (-item[0][1], -item[1], item[0][0]))
    hosts = _named(work.known, loaded.hosts[rows])
    people = _named(work.known, loaded.accounts[rows], work.policy)
    bits = int(dangers.tactics[place])
    tie = _tie(work, links)
    return Summary(
        terms=Terms(
            severity=round(float(dangers.severity[place]), 3),
            confidence=round(float(dangers.confidence[place]), 3),
            spread=round(float(dangers.spread[place]), 3),
            novelty=round(float(dangers.novelty[place]), 3),
        ),
        rules=tuple(
            RuleCount(
                work.rules[key].rule_id if key in work.rules else "",
                work.rules[key].title if key in work.rules else "",
                LEVELS[level],
                count,
            )
            for (key, level), count in ranked[:NAMED_MAX]
        ),
        rules_count=int(dangers.rules[place]),
        hosts=tuple(hosts[:NAMED_MAX]),
        hosts_count=len(hosts),
        accounts=tuple(people[:NAMED_MAX]),
        accounts_count=len(people),
        tactics=tuple(tactic.id for number, tactic in enumerate(load_attack().tactics) if bits >> number & 1),
        core=len(rows),
        beside=near,
        indicator=next(
            (
                work.rules[key].rule_id.partition(":")[2]
                for (key, _), _ in ranked
                if key in work.rules and work.rules[key].kind == "indicator"
            ),
            "",
        ),
        tie_kind="" if tie is None else tie.kind,
        tie="" if tie is None else tie.value,
        tie_hosts=0 if tie is None else tie.hosts,
        by_hand=bool((work.grouped.links.entities[links] == BY_HAND).any()),
    )


def _named(known: Mapping[int, Entity], keys: Ints, chosen: Policy | None = None) -> list[str]:
    counts = Counter(known[key].value for key in keys.tolist() if key in known)
    names = (name for name in counts if chosen is None or not chosen.is_service_account(name))
    return sorted(names, key=lambda name: (-counts[name], name))


def _tie(work: _Work, links: Ints) -> Entity | None:
    """What holds most of a situation together; something more telling than its host if there is."""
    counts = Counter(cast("list[int]", work.grouped.links.entities[links].tolist()))
    named = [(count, work.standing.entities[entity]) for entity, count in counts.items() if entity != BY_HAND]
    if not named:
        return None
    return max(named, key=lambda item: (item[1].kind != "host", item[0], item[1].key))[1]


def _searched(summary: Summary) -> str:
    parts = [*summary.hosts, *summary.accounts, *(rule.title for rule in summary.rules), summary.tie, summary.indicator]
    return "\n".join(part for part in parts if part).casefold()[:SEARCHED_CHARACTERS_MAX]
