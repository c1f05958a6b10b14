"""Names that carry data, and names that are made up by the hundred.

Needs: DNS look-ups with the host that asked and whether there is such a name (Zeek dns, Suricata dns, Sysmon 22,
resolvers' logs). If only the resolver's questions to the outside are logged, every finding names the resolver.

``dns-tunnel``       one host, one domain, one day: how many different names below the domain, how long, how random, how
                     seldom asked again, and how few others ask below it
``generated-names``  one host, one hour: how many domains that do not exist, which share of what it asked, how random
                     they look, how many more than usual, and whether anybody else asks for them

Days (hours) that follow each other are one finding. Misses: tunnels of fewer than ``NAMES_MIN`` names a day, tunnels in
other records' answers only, names made of words (they get no points for looking random), look-ups over HTTPS. Mistakes:
look-ups of file hashes by virus scanners, block lists asked by mail servers, content networks with numbered hosts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.facts import LOOKUPS, checked
from mingjian.detect.behaviours.findings import (
    Behaviour,
    Finding,
    Floats,
    Ints,
    Mask,
    Scores,
    in_order,
    log_share_of,
    share_of,
    some_events,
    some_values,
)
from mingjian.detect.behaviours.grouping import (
    DAY,
    HOUR,
    Texts,
    counts_of,
    distinct_counts,
    flags_of,
    medians,
    numbered,
    numbers_of,
    one_of_each,
    order_by,
    spread_over,
    starts_of,
    texts_of,
)
from mingjian.detect.behaviours.places import is_outside, registered_domain

NAMES_MIN: Final = 20
"""Different names below one domain on one day: ordinary sites have a handful."""
NAMES_FULL: Final = 1000
LENGTH: Final = (12.0, 45.0)
"""Characters before the domain: data is packed as tightly as 63 per label allow, people's names are short."""
RANDOMNESS: Final = (2.6, 3.8)
"""Bits for each character of a name: words have about 2.5 at such lengths, base 32 has up to 5."""
ASKED_ONCE: Final = (0.6, 0.98)
"""Share of different names among the questions: names that carry data are never asked again."""

FAILED_MIN: Final = 8
"""Different domains that do not exist in one hour: people mistype one or two."""
FAILED_FULL: Final = 100
FAILED_SHARE: Final = (0.3, 0.9)
LABEL_RANDOMNESS: Final = (2.5, 3.4)

TUNNEL_SCORE_MIN: Final = 65
GENERATED_SCORE_MIN: Final = 65
"""What is reported. Chosen on the generated sector: see the reference of behaviours."""


class _Lookups(NamedTuple):
    event: Ints
    time: Ints
    organisation: Ints
    host: Ints
    query: Ints
    domain: Ints
    failed: Mask
    organisations: Texts
    hosts: Texts
    queries: list[str]
    domains: list[str]


class _Boxes(NamedTuple):
    """Look-ups by who, what and when, in the order of time."""

    rows: Ints
    starts: Ints
    counts: Ints
    of_row: Ints
    run: Ints
    """Boxes of the same who and what that follow each other have the same number here."""


def odd_names(lookups: pa.Table, own_domains: Mapping[str, Collection[str]] | None = None) -> list[Finding]:
    """Find tunnels and generated names in a table of ``LOOKUPS``. Ordered by score, highest first.

    ``own_domains``: organisation → its domains; what is below them is left out.

    Raises:
        SchemaError, LimitExceeded: it is not such a table.
    """
    found = _lookups(checked(lookups, LOOKUPS), own_domains or {})
    if not len(found.time):
        return []
    return in_order([*_tunnels(found), *_generated(found)])


def _lookups(table: pa.Table, own_domains: Mapping[str, Collection[str]]) -> _Lookups:
    organisations, hosts, queries = (texts_of(table.column(name)) for name in ("organisation", "host", "query"))
    by_query = [registered_domain(name) for name in queries.values]
    domains = sorted(set(by_query))
    number = {name: code for code, name in enumerate(domains)}
    domain = np.array([number[name] for name in by_query], np.int64)[queries.codes]
    leads_out = np.array([is_outside(name) and not name.endswith(".arpa") for name in queries.values])[queries.codes]
    for code, organisation in enumerate(organisations.values):
        own = own_domains.get(organisation)
        if own:
            is_own = np.array([not is_outside(name, own) for name in queries.values])
            leads_out &= ~((organisations.codes == code) & is_own[queries.codes])
    event, time = numbers_of(table.column("event")), numbers_of(table.column("time_us"))
    rows = np.flatnonzero(leads_out)
    rows = rows[order_by(time[rows], event[rows])]
    return _Lookups(
        event[rows],
        time[rows],
        organisations.codes[rows],
        hosts.codes[rows],
        queries.codes[rows],
        domain[rows],
        flags_of(table.column("failed"))[rows],
        organisations,
        hosts,
        queries.values,
        domains,
    )


def _boxes(who: Ints, box: Ints, kept: Mask) -> _Boxes:
    """Look-ups by who and box (day or hour); only some of the rows."""
    rows = np.flatnonzero(kept)
    rows = rows[order_by(who[rows], box[rows])]
    starts = starts_of(who[rows], box[rows])
    counts = counts_of(starts, len(rows))
    firsts = rows[starts]
    run = np.zeros(len(starts), np.int64)
    if len(run):
        run[1:] = np.cumsum((who[firsts[1:]] != who[firsts[:-1]]) | (box[firsts[1:]] - box[firsts[:-1]] > 1))
    return _Boxes(rows, starts, counts, spread_over(counts), run)


def _tunnels(lookups: _Lookups) -> Iterator[Finding]:
    who = numbered(lookups.organisation, lookups.host, lookups.domain)
    day = lookups.time // DAY
    box = numbered(who, day)
    names = distinct_counts(box, lookups.query, int(box.max()) + 1)
    boxes = _boxes(who, day, names[box] >= NAMES_MIN)
    size = len(boxes.starts)
    if not size:
        return
    query = lookups.query[boxes.rows]
    different = one_of_each(numbered(boxes.of_row, query))
    of_box, query = boxes.of_row[different], query[different]
    names = np.bincount(of_box, minlength=size)
    distinct = np.unique(query)
    lengths, randomness = _looks(lookups, distinct)
    place = np.searchsorted(distinct, query)
    length = np.bincount(of_box, weights=lengths[place], minlength=size) / names
    random = np.bincount(of_box, weights=randomness[place], minlength=size) / names
    once = names / boxes.counts
    firsts = boxes.rows[boxes.starts]
    rare, others = _few_others(lookups, firsts)
    scores = Scores(size)
    scores.add("different-names", 30, log_share_of(names, NAMES_MIN / 2, NAMES_FULL), names)
    scores.add("long-names", 20, share_of(length, *LENGTH), length)
    scores.add("random-characters", 20, share_of(random, *RANDOMNESS), random)
    scores.add("never-asked-again", 15, share_of(once, *ASKED_ONCE), once)
    scores.add("few-others-ask", 15, rare, others)
    yield from _found("dns-tunnel", lookups, boxes, scores, TUNNEL_SCORE_MIN)


def _looks(lookups: _Lookups, queries: Ints) -> tuple[Floats, Floats]:
    """Of some names the length and the randomness of what is before the domain."""
    lengths, bits = np.zeros(len(queries)), np.zeros(len(queries))
    for place, code in enumerate(map(int, queries)):
        name = lookups.queries[code]
        before = name[: -len(registered_domain(name))].replace(".", "")
        lengths[place], bits[place] = len(before), bits_per_character(before)
    return lengths, bits


def bits_per_character(text: str) -> float:
    """Shannon entropy of the characters of a text.

    >>> bits_per_character("aabb"), bits_per_character("")
    (1.0, 0.0)
    """
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) + 0.0


def _few_others(lookups: _Lookups, firsts: Ints) -> tuple[Floats, Ints]:
    """How few hosts of the organisation ask below the same domain."""
    goal = numbered(lookups.organisation, lookups.domain)
    askers = distinct_counts(goal, lookups.host, int(goal.max()) + 1)[goal[firsts]]
    hosts = distinct_counts(lookups.organisation, lookups.host, len(lookups.organisations.values))
    half = np.maximum(hosts[lookups.organisation[firsts]] / 2, 2.0)
    return np.clip(1 - np.log(askers) / np.log(half), 0.0, 1.0), askers - 1


def _generated(lookups: _Lookups) -> Iterator[Finding]:
    who = numbered(lookups.organisation, lookups.host)
    hour = lookups.time // HOUR
    at = numbered(lookups.organisation, lookups.domain)
    exists = np.zeros(int(at.max()) + 1, np.bool_)
    exists[at[~lookups.failed]] = True
    is_made_up = lookups.failed & ~exists[at]
    if not is_made_up.any():
        return
    box = numbered(who, hour)
    rows = np.flatnonzero(is_made_up)
    failed = distinct_counts(box[rows], lookups.domain[rows], int(box.max()) + 1)
    asked = distinct_counts(box, lookups.domain, int(box.max()) + 1)
    usual = np.nan_to_num(medians(who[one_of_each(box)], failed, int(who.max()) + 1))
    boxes = _boxes(who, hour, is_made_up & (failed[box] >= FAILED_MIN))
    size = len(boxes.starts)
    if not size:
        return
    of_box = box[boxes.rows[boxes.starts]]
    domain = lookups.domain[boxes.rows]
    different = one_of_each(numbered(boxes.of_row, domain))
    of_name, domain = boxes.of_row[different], domain[different]
    distinct = np.unique(domain)
    labels = np.array([bits_per_character(lookups.domains[code].partition(".")[0]) for code in map(int, distinct)])
    number = failed[of_box]
    random = np.bincount(of_name, weights=labels[np.searchsorted(distinct, domain)], minlength=size) / number
    askers = distinct_counts(at, lookups.host, int(at.max()) + 1)
    is_alone = askers[at[boxes.rows[different]]] == 1
    alone = np.bincount(of_name, weights=is_alone, minlength=size) / number
    share = number / asked[of_box]
    often = usual[who[boxes.rows[boxes.starts]]]
    scores = Scores(size)
    scores.add("failed-domains", 35, log_share_of(number, FAILED_MIN / 2, FAILED_FULL), number)
    scores.add("share-failed", 20, share_of(share, *FAILED_SHARE), share)
    scores.add("random-characters", 25, share_of(random, *LABEL_RANDOMNESS), random)
    scores.add("more-than-usual", 10, 1 - often / number, often)
    scores.add("nobody-else-asks", 10, alone, alone)
    yield from _found("generated-names", lookups, boxes, scores, GENERATED_SCORE_MIN)


def _found(behaviour: Behaviour, lookups: _Lookups, boxes: _Boxes, scores: Scores, score_min: int) -> Iterator[Finding]:
    """One finding for each run of boxes that score."""
    runs: dict[int, list[int]] = {}
    for place in map(int, np.flatnonzero(scores.total >= score_min)):
        runs.setdefault(int(boxes.run[place]), []).append(place)
    for places in runs.values():
        best = min(places, key=lambda place: (-int(scores.total[place]), place))
        parts = [boxes.rows[boxes.starts[place] : boxes.starts[place] + boxes.counts[place]] for place in places]
        rows = np.sort(np.concatenate(parts))
        row = int(rows[0])
        is_tunnel = behaviour == "dns-tunnel"
        values = (lookups.query, lookups.queries) if is_tunnel else (lookups.domain, lookups.domains)
        yield Finding(
            behaviour=behaviour,
            organisation=lookups.organisations.text(lookups.organisation[row]),
            entity_kind="host",
            entity=lookups.hosts.text(lookups.host[row]),
            object=lookups.domains[int(lookups.domain[row])] if is_tunnel else "",
            values=some_values(values[0][rows], values[1]),
            first_us=int(lookups.time[row]),
            last_us=int(lookups.time[rows[-1]]),
            count=len(rows),
            score=int(scores.total[best]),
            terms=scores.terms(best),
            events=some_events(lookups.event[rows]),
        )
