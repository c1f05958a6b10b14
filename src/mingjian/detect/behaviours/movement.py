"""New ways from host to host: who logs on where nobody came from there before.

Needs: successful logons with source and target (Windows 4624 types 3 and 10, 4648; sshd; RDP), the special rights that
sessions get (4672), and sources under the same name as targets (whoever fills the table gives addresses their names).

A way is (organisation, source, target, account). It is judged when it is gone for the first time, if the organisation's
logons have been known for ``LEARNING_US``. What counts: whether an account that comes from few places comes from a new
one, how seldom this source goes anywhere new, whether the two hosts were ever connected, whether the account is new on
the target, how few others go to that target, how many new targets the source reached within the hour, whether somebody
had come to the source on a new way within the day before, and special rights. New ways of one source and account on one
day are one finding.

Misses: ways that are used every day anyway; tools that log on with a stolen session and leave no logon; everything of
the first two weeks. Mistakes: an administrator with a new computer, a new server, a migration.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.facts import LOGONS, checked
from mingjian.detect.behaviours.findings import (
    Finding,
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
    SECOND,
    WEEK,
    Moments,
    Texts,
    counts_of,
    distinct_counts,
    flags_of,
    numbered,
    numbers_of,
    one_of_each,
    order_by,
    starts_of,
    texts_of,
)

LEARNING_US: Final = 14 * DAY
"""Two weeks: two of every weekday, so that what is done weekly is known."""
KINDS: Final = ("network", "remote", "explicit")
"""How one comes to another host. Tickets lead to the directory, and every host asks it."""
RIGHTS_WITHIN_US: Final = 2 * SECOND
"""Special rights are told in the same moment as the logon."""
NEW_WAYS_PER_WEEK: Final = (5.0, 0.5)
ACCOUNT_SOURCES: Final = (1.0, 5.0)
"""An account that came from one place so far; with five it belongs to somebody who is everywhere."""
AT_ONCE: Final = (1.0, 4.0)
"""New targets of one source within an hour: a person opens one or two, a program walks through the list."""
CHAIN_US: Final = DAY
HERE: Final = frozenset({"", "-", "127.0.0.1", "::1", "localhost"})
"""Sources that are the target itself."""

SCORE_MIN: Final = 55
"""What is reported. Chosen on the generated sector: see the reference of behaviours."""


class _Ways(NamedTuple):
    """Logons from one host to another, in the order of time."""

    event: Ints
    time: Ints
    organisation: Ints
    source: Ints
    target: Ints
    account: Ints
    hosts: list[str]
    """By the codes of sources and targets."""
    accounts: Texts
    organisations: Texts


def new_ways(logons: pa.Table) -> list[Finding]:
    """Find new ways from host to host in a table of ``LOGONS``. Ordered by score, highest first.

    Raises:
        SchemaError, LimitExceeded: it is not such a table.
    """
    table = checked(logons, LOGONS)
    ways = _ways(table)
    if not len(ways.time):
        return []
    way = numbered(ways.organisation, ways.source, ways.target, ways.account)
    firsts = one_of_each(way)  # rows are in the order of time: the first of each
    begun = np.full(len(ways.organisations.values), 1 << 62, np.int64)
    np.minimum.at(begun, ways.organisation, ways.time)
    is_judged = ways.time[firsts] - begun[ways.organisation[firsts]] >= LEARNING_US
    if not is_judged.any():
        return []
    judged = firsts[is_judged]
    scores = _scores(ways, judged, begun, _with_rights(table, ways, judged))
    return in_order(_findings(ways, judged, scores))


def _ways(table: pa.Table) -> _Ways:
    kinds, accounts = texts_of(table.column("kind")), texts_of(table.column("account"))
    sources, targets = texts_of(table.column("source")), texts_of(table.column("target"))
    hosts = sorted({*sources.values, *targets.values})
    number = {host: code for code, host in enumerate(hosts)}
    source = np.array([number[host] for host in sources.values], np.int64)[sources.codes]
    target = np.array([number[host] for host in targets.values], np.int64)[targets.codes]
    is_here = np.array([host in HERE for host in hosts])
    is_person = np.array([bool(name) and not name.endswith("$") for name in accounts.values])
    is_way = np.array([kind in KINDS for kind in kinds.values])[kinds.codes] & flags_of(table.column("succeeded"))
    is_way &= ~is_here[source] & ~is_here[target] & (source != target) & is_person[accounts.codes]
    rows = np.flatnonzero(is_way)
    event, time = numbers_of(table.column("event")), numbers_of(table.column("time_us"))
    rows = rows[order_by(time[rows], event[rows])]
    organisations = texts_of(table.column("organisation"))
    return _Ways(
        event[rows],
        time[rows],
        organisations.codes[rows],
        source[rows],
        target[rows],
        accounts.codes[rows],
        hosts,
        accounts,
        organisations,
    )


def _with_rights(table: pa.Table, ways: _Ways, judged: Ints) -> Mask:
    """Whether the account got special rights on the target in the moment of the logon."""
    kinds, accounts = texts_of(table.column("kind")), texts_of(table.column("account"))
    if "privileged" not in kinds.values:
        return np.zeros(len(judged), np.bool_)
    targets, organisations = texts_of(table.column("target")), texts_of(table.column("organisation"))
    rows = np.flatnonzero(kinds.codes == kinds.values.index("privileged"))
    number = {host: code for code, host in enumerate(ways.hosts)}
    target = np.array([number[host] for host in targets.values], np.int64)[targets.codes[rows]]
    key = numbered(
        np.concatenate((organisations.codes[rows], ways.organisation[judged])),
        np.concatenate((target, ways.target[judged])),
        np.concatenate((accounts.codes[rows], ways.account[judged])),
    )
    moments = Moments(key[: len(rows)], numbers_of(table.column("time_us"))[rows])
    time = ways.time[judged]
    start, end = moments.between(key[len(rows) :], time - RIGHTS_WITHIN_US, time + RIGHTS_WITHIN_US)
    return end > start


def _scores(ways: _Ways, judged: Ints, begun: Ints, rights: Mask) -> Scores:
    time, organisation = ways.time[judged], ways.organisation[judged]
    at_target = numbered(ways.organisation, ways.target)
    at_source = numbered(ways.organisation, ways.source)
    scores = Scores(len(judged))
    on_target = _is_first(numbered(ways.organisation, ways.target, ways.account), judged)
    from_source = _is_first(numbered(ways.organisation, ways.source, ways.account), judged)
    by_account = numbered(ways.organisation, ways.account)
    places = _places_before(by_account, ways.source)[judged]
    homely = 1 - log_share_of(places, *ACCOUNT_SOURCES)
    scores.add("account-from-a-new-place", 35, (from_source & (places > 0)) * homely, places)
    scores.add("account-new-on-target", 10, on_target, on_target)
    new_pair = _is_first(numbered(ways.organisation, ways.source, ways.target), judged)
    scores.add("hosts-never-connected", 15, new_pair, new_pair)
    visitors = distinct_counts(at_target, ways.source, int(at_target.max()) + 1)[at_target[judged]]
    sources = distinct_counts(ways.organisation, ways.source, len(ways.organisations.values))[organisation]
    few = 1 - np.log(visitors) / np.log(np.maximum(sources / 2, 2.0))
    scores.add("target-seldom-visited", 5, few, visitors - 1)
    # How often the source goes a new way: those of the same hour belong to the same errand.
    hours = one_of_each(numbered(at_source[judged], time // HOUR))
    errands = np.bincount(at_source[judged][hours], minlength=int(at_source.max()) + 1)[at_source[judged]]
    weeks = np.maximum((int(ways.time.max()) - begun[organisation] - LEARNING_US) / WEEK, 1.0)
    per_week = (errands - 1) / weeks
    scores.add(
        "source-seldom-goes", 20, 1 - log_share_of(per_week, NEW_WAYS_PER_WEEK[1], NEW_WAYS_PER_WEEK[0]), per_week
    )
    news = Moments(at_source[judged], time)
    start, end = news.between(at_source[judged], time - HOUR, time + HOUR)
    scores.add("many-at-once", 5, share_of(end - start, *AT_ONCE), end - start)
    came = _came_to_source(ways, judged)
    scores.add("somebody-had-come-to-source", 5, came, came)
    scores.add("special-rights", 5, rights, rights)
    return scores


def _is_first(key: Ints, judged: Ints) -> Mask:
    """Whether a row is the first with its key."""
    return one_of_each(key)[key[judged]] == judged


def _places_before(account: Ints, source: Ints) -> Ints:
    """From how many other sources an account had come before the first row with this source. Rows are in time order."""
    pair = numbered(account, source)
    firsts = one_of_each(pair)
    order = order_by(account[firsts], firsts)
    starts = starts_of(account[firsts][order])
    rank = np.arange(len(order), dtype=np.int64) - np.repeat(starts, counts_of(starts, len(order)))
    of_pair = np.empty(len(firsts), np.int64)
    of_pair[order] = rank
    return of_pair[pair]


def _came_to_source(ways: _Ways, judged: Ints) -> Mask:
    """Whether a new way had led to the source within the day before."""
    size = len(judged)
    organisation = np.concatenate((ways.organisation[judged], ways.organisation[judged]))
    key = numbered(organisation, np.concatenate((ways.target[judged], ways.source[judged])))
    time = ways.time[judged]
    start, end = Moments(key[:size], time).between(key[size:], time - CHAIN_US, time - 1)
    return end > start


def _findings(ways: _Ways, judged: Ints, scores: Scores) -> list[Finding]:
    """One finding for each source, account and day."""
    groups: dict[tuple[int, int, int, int], list[int]] = defaultdict(list)
    for place in map(int, np.flatnonzero(scores.total >= SCORE_MIN)):
        row = int(judged[place])
        key = (int(ways.organisation[row]), int(ways.source[row]), int(ways.account[row]), int(ways.time[row]) // DAY)
        groups[key].append(place)
    found: list[Finding] = []
    for places in groups.values():
        best = min(
            places, key=lambda place: (-int(scores.total[place]), int(ways.time[judged[place]]), int(judged[place]))
        )
        rows = np.sort(judged[places])
        row = int(judged[best])
        found.append(
            Finding(
                behaviour="lateral-movement",
                organisation=ways.organisations.values[int(ways.organisation[row])],
                entity_kind="source",
                entity=ways.hosts[int(ways.source[row])],
                object=ways.hosts[int(ways.target[row])],
                values=some_values(ways.target[rows], ways.hosts),
                first_us=int(ways.time[rows[0]]),
                last_us=int(ways.time[rows[-1]]),
                count=len(rows),
                score=int(scores.total[best]),
                terms=scores.terms(best),
                succeeded=(ways.accounts.values[int(ways.account[row])],),
                events=some_events(ways.event[rows]),
            )
        )
    return found
