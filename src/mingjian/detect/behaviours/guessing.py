"""Passwords guessed: many for one account, one for many accounts, from one place or from many.

Needs: logons that fail and logons that succeed (Windows 4624, 4625, 4768, 4771, 4776; sshd; VPN and cloud sign-ins).
Four questions, each asked of *episodes*, failures with no pause of more than half an hour between them:

``password-guessing``     one source, one account: how many failures, how fast, how evenly, is the source a stranger?
``password-spray``        one source, many accounts: how many, how few tries for each, do they stay shut, do they exist?
``distributed-guessing``  one account, many sources
``distributed-spray``     one organisation, hours in which more accounts than ever fail, from many sources

Whether the guessing was followed by success (same account and source, up to half an hour later) is a term, and the
accounts are named.

Misses: guesses further apart than half an hour from one source (the hourly question of the whole organisation may still
see them); guesses that are not logged (a hash cracked elsewhere); a spray smaller than ``SPRAY_ACCOUNTS_MIN``.
Mistakes: a service that was not told its new password looks like guessing, and loses points for having come in before;
a gateway through which everybody comes looks like a spray only if people fail and do not succeed. An attempt that two
hosts log is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.facts import LOGONS, checked
from mingjian.detect.behaviours.findings import (
    Behaviour,
    EntityKind,
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
    HOUR,
    MINUTE,
    SECOND,
    Moments,
    Texts,
    counts_of,
    distinct_counts,
    flags_of,
    median_deviations,
    medians,
    numbered,
    numbers_of,
    one_of_each,
    order_by,
    spread_over,
    starts_of,
    summed,
    texts_of,
)

PAUSE_US: Final = 30 * MINUTE
"""A longer pause ends an episode: lock-out windows are this long by default, and so are the pauses of careful tools."""
SUCCESS_WITHIN_US: Final = 30 * MINUTE
"""A success so long after the last failure still follows it."""

FAILURES_MIN: Final = 8
"""Of one account from one source: people give up or are locked out before (lock-out is commonly at 5 to 10)."""
FAILURES_FULL: Final = 100
"""From here on the number of failures says all it can say."""
PACE_PER_MINUTE: Final = (2.0, 20.0)
"""Nobody types more than a few passwords a minute; 20 are a program's."""
EVEN_SPREAD: Final = 0.5
"""Pauses between the tries of a person vary by more than this (median deviation by median)."""
STALE_SPAN_US: Final = 12 * HOUR
"""Who fails for so long without a pause, and came in before, has an old password in its settings."""

SPRAY_ACCOUNTS_MIN: Final = 5
"""Fewer accounts failing at one source are colleagues at one desk."""
SPRAY_ACCOUNTS_FULL: Final = 25
TRIES_EACH: Final = (6.0, 1.0)
"""A spray tries each account once or twice, to stay below the lock-out. Two hosts may log one try."""
SHUT_SHARE: Final = (0.5, 0.95)
"""So many of the accounts stay shut: people who mistype come in afterwards."""

SOURCES_MIN: Final = 5
"""One account failing from fewer places may be a person with several devices."""
SOURCES_FULL: Final = 30

HOURLY_ACCOUNTS_MIN: Final = 10
HOURLY_DEVIATIONS: Final = (4.0, 12.0)
"""An hour is unusual from so many deviations above the organisation's median hour on …"""
HOURLY_SOURCES_MIN: Final = 5
"""… and distributed if it has so many sources, …"""
PER_SOURCE: Final = (4.0, 1.5)
"""… each of which tries few accounts."""

SCORE_MIN: Final = 60
"""What is reported. Chosen on the generated sector: see the reference of behaviours."""
_EXCLUDED_KINDS: Final = ("explicit", "privileged")


class _Attempts(NamedTuple):
    """Logons in the order of time."""

    event: Ints
    time: Ints
    organisation: Ints
    source: Ints
    account: Ints
    succeeded: Mask
    organisations: Texts
    sources: Texts
    accounts: Texts


class _Episodes(NamedTuple):
    """Failures by episodes."""

    rows: Ints
    """Failures, in the order of episode and time."""
    starts: Ints
    counts: Ints
    of_row: Ints
    key: Ints
    """Of each episode."""
    first: Ints
    last: Ints


def guessed(logons: pa.Table) -> list[Finding]:
    """Find passwords being guessed in a table of ``LOGONS``. Ordered by score, highest first.

    Raises:
        SchemaError, LimitExceeded: it is not such a table.
    """
    attempts = _attempts(checked(logons, LOGONS))
    found: list[Finding] = []
    if len(attempts.time) and not attempts.succeeded.all():
        outcomes = _Outcomes(attempts)
        found += _guessing(attempts, outcomes)
        found += _spray(attempts, outcomes)
        found += _distributed_guessing(attempts, outcomes)
        found += _distributed_spray(attempts, outcomes)
    return in_order(found)


def _attempts(table: pa.Table) -> _Attempts:
    """What is an attempt: not the other credentials of a session, not a machine's own account."""
    kinds, accounts = texts_of(table.column("kind")), texts_of(table.column("account"))
    kept_kind = np.array([kind not in _EXCLUDED_KINDS for kind in kinds.values])
    kept_account = np.array([bool(name) and not name.endswith("$") for name in accounts.values])
    rows = np.flatnonzero(kept_kind[kinds.codes] & kept_account[accounts.codes])
    event, time = numbers_of(table.column("event")), numbers_of(table.column("time_us"))
    rows = rows[order_by(time[rows], event[rows])]
    organisations, sources = texts_of(table.column("organisation")), texts_of(table.column("source"))
    return _Attempts(
        event[rows],
        time[rows],
        organisations.codes[rows],
        sources.codes[rows],
        accounts.codes[rows],
        flags_of(table.column("succeeded"))[rows],
        organisations,
        sources,
        accounts,
    )


class _Outcomes:
    """For an account and a source: when did they come in."""

    def __init__(self, attempts: _Attempts) -> None:
        self._attempts = attempts
        self.triple = numbered(attempts.organisation, attempts.source, attempts.account)
        """Of every attempt: organisation, source and account as one number."""
        self._rows = np.flatnonzero(attempts.succeeded)
        self._moments = Moments(self.triple[self._rows], attempts.time[self._rows])

    def came_before(self, triple: Ints, time: Ints) -> Mask:
        """Whether there is a success before a time."""
        start, end = self._moments.between(triple, np.full(len(time), -(1 << 62)), time - 1)
        return end > start

    def came_between(self, triple: Ints, first: Ints, last: Ints) -> Mask:
        """Whether there is a success from one time to another."""
        start, end = self._moments.between(triple, first, last)
        return end > start

    def event_between(self, triple: int, first: int, last: int) -> int | None:
        """The event of the first success from one time to another."""
        start, end = self._moments.between(np.array([triple]), np.array([first]), np.array([last]))
        if end[0] == start[0]:
            return None
        return int(self._attempts.event[self._rows[self._moments.order[start[0]]]])


def _episodes(rows: Ints, key: Ints, time: Ints) -> _Episodes:
    """Cut failures (rows in the order of time) into episodes of one key."""
    rows = rows[order_by(key[rows])]
    keys, times = key[rows], time[rows]
    is_later = np.zeros(len(rows), np.int64)
    is_later[1:] = np.cumsum((keys[1:] != keys[:-1]) | (times[1:] - times[:-1] > PAUSE_US))
    starts = starts_of(is_later)
    counts = counts_of(starts, len(rows))
    return _Episodes(rows, starts, counts, spread_over(counts), keys[starts], times[starts], times[starts + counts - 1])


def _chosen(episodes: _Episodes, chosen: Mask) -> _Episodes:
    """Some of the episodes."""
    rows = episodes.rows[chosen[episodes.of_row]]
    counts = episodes.counts[chosen]
    starts = np.cumsum(counts) - counts
    return _Episodes(
        rows, starts, counts, spread_over(counts), episodes.key[chosen], episodes.first[chosen], episodes.last[chosen]
    )


def _found(
    behaviour: Behaviour,
    entity_kind: EntityKind,
    attempts: _Attempts,
    outcomes: _Outcomes,
    episodes: _Episodes,
    scores: Scores,
) -> Iterator[Finding]:
    """The findings among scored episodes."""
    accounts, sources = attempts.accounts.values, attempts.sources.values
    for place in np.flatnonzero(scores.total >= SCORE_MIN).tolist():
        start = int(episodes.starts[place])
        rows = episodes.rows[start : start + int(episodes.counts[place])]
        first, last = int(episodes.first[place]), int(episodes.last[place])
        triples, firsts = np.unique(outcomes.triple[rows], return_index=True)
        came = outcomes.came_between(
            triples, attempts.time[rows[firsts]], np.full(len(triples), last + SUCCESS_WITHIN_US)
        )
        entered = [
            event
            for triple, begun in zip(triples[came].tolist(), attempts.time[rows[firsts[came]]].tolist(), strict=True)
            if (event := outcomes.event_between(triple, begun, last + SUCCESS_WITHIN_US)) is not None
        ]
        row = rows[0]
        account, source = accounts[attempts.account[row]], sources[attempts.source[row]]
        entity = {"account": account, "source": source}.get(
            entity_kind, attempts.organisations.values[attempts.organisation[row]]
        )
        values = sources, attempts.source
        if behaviour in ("password-spray", "distributed-spray"):
            values = accounts, attempts.account
        yield Finding(
            behaviour=behaviour,
            organisation=attempts.organisations.values[attempts.organisation[row]],
            entity_kind=entity_kind,
            entity=entity,
            object=account if behaviour == "password-guessing" else "",
            values=() if behaviour == "password-guessing" else some_values(values[1][rows], values[0]),
            first_us=first,
            last_us=last,
            count=len(rows),
            score=int(scores.total[place]),
            terms=scores.terms(place),
            succeeded=some_values(attempts.account[rows[firsts[came]]], accounts),
            events=(*some_events(attempts.event[rows]), *sorted(entered)[:3]),
        )


def _guessing(attempts: _Attempts, outcomes: _Outcomes) -> Iterator[Finding]:
    """One source, one account."""
    failures = np.flatnonzero(~attempts.succeeded)
    episodes = _episodes(failures, outcomes.triple, attempts.time)
    episodes = _chosen(episodes, episodes.counts >= FAILURES_MIN)
    size = len(episodes.counts)
    span = episodes.last - episodes.first
    pace = (episodes.counts - 1) / np.maximum(span / MINUTE, SECOND / MINUTE)
    known = outcomes.came_before(episodes.key, episodes.first)
    followed = outcomes.came_between(episodes.key, episodes.first, episodes.last + SUCCESS_WITHIN_US)
    spread = _pause_spread(attempts.time[episodes.rows], episodes)
    scores = Scores(size)
    scores.add("failures", 45, log_share_of(episodes.counts, FAILURES_MIN / 2, FAILURES_FULL), episodes.counts)
    scores.add("pace", 15, log_share_of(pace, *PACE_PER_MINUTE), pace)
    scores.add("even-pauses", 10, 1 - spread / EVEN_SPREAD, spread)
    scores.add("stranger", 15, np.where(known, 0.0, 1.0), ~known)
    scores.add("success-after", 15, np.where(followed, 1.0, 0.0), followed)
    stale = known & ~followed & (span > STALE_SPAN_US)
    scores.add("stale-password", -30, np.where(stale, 1.0, 0.0), span / HOUR)
    yield from _found("password-guessing", "source", attempts, outcomes, episodes, scores)


def _pause_spread(times: Ints, episodes: _Episodes) -> Floats:
    """Median deviation of the pauses within each episode, by their median."""
    size = len(episodes.counts)
    inside = episodes.of_row[1:] == episodes.of_row[:-1]
    pauses, group = np.diff(times)[inside], episodes.of_row[1:][inside]
    middle = medians(group, pauses, size)
    return median_deviations(group, pauses, middle) / np.maximum(middle, SECOND)


def _spray(attempts: _Attempts, outcomes: _Outcomes) -> Iterator[Finding]:
    """One source, many accounts."""
    key = numbered(attempts.organisation, attempts.source)
    known_source = np.array([bool(name) for name in attempts.sources.values])[attempts.source]
    failures = np.flatnonzero(~attempts.succeeded & known_source)
    episodes = _episodes(failures, key, attempts.time)
    accounts = distinct_counts(episodes.of_row, attempts.account[episodes.rows], len(episodes.counts))
    usual = _usual_of_key(episodes.key, accounts)
    enough = accounts >= SPRAY_ACCOUNTS_MIN
    episodes, accounts, usual = _chosen(episodes, enough), accounts[enough], usual[enough]
    size = len(episodes.counts)
    pairs, tries, shut = _accounts_tried(attempts, outcomes, episodes)
    each = medians(pairs, tries, size)
    shut_share = np.bincount(pairs, weights=shut, minlength=size) / np.maximum(accounts, 1)
    opened = np.bincount(pairs, weights=~shut, minlength=size)
    scores = Scores(size)
    scores.add("accounts", 25, log_share_of(accounts, SPRAY_ACCOUNTS_MIN / 2, SPRAY_ACCOUNTS_FULL), accounts)
    scores.add("few-tries-each", 10, share_of(each, *TRIES_EACH), each)
    exist = _share_that_exists(attempts, episodes)
    scores.add("stayed-shut", 30, share_of(shut_share, *SHUT_SHARE), shut_share)
    scores.add("accounts-exist", 15, exist * (shut_share > SHUT_SHARE[0]), exist)
    scores.add("more-than-usual", 10, 1 - usual / np.maximum(accounts, 1), usual)
    # Where most come in, they are people: coming in speaks for a spray only as the exception.
    scores.add("success-after", 10, share_of(opened, 0, 1) * (shut_share > SHUT_SHARE[0]), opened)
    yield from _found("password-spray", "source", attempts, outcomes, episodes, scores)


def _accounts_tried(attempts: _Attempts, outcomes: _Outcomes, episodes: _Episodes) -> tuple[Ints, Ints, Mask]:
    """For each pair of episode and account: the episode, how many tries, and whether the account stayed shut."""
    triple = outcomes.triple[episodes.rows]
    order = order_by(episodes.of_row, triple)
    group, triple, time = episodes.of_row[order], triple[order], attempts.time[episodes.rows[order]]
    starts = starts_of(group, triple)
    pairs = group[starts]
    came = outcomes.came_between(triple[starts], time[starts], episodes.last[pairs] + SUCCESS_WITHIN_US)
    return pairs, counts_of(starts, len(group)), ~came


def _share_that_exists(attempts: _Attempts, episodes: _Episodes) -> Floats:
    """Of the accounts of each episode: the share that ever came in anywhere. Bots try names that nobody has."""
    account = numbered(attempts.organisation, attempts.account)
    exists = np.zeros(int(account.max()) + 1, np.bool_)
    exists[account[attempts.succeeded]] = True
    tried = account[episodes.rows]
    different = one_of_each(numbered(episodes.of_row, tried))
    size = len(episodes.counts)
    number = np.bincount(episodes.of_row[different], minlength=size)
    return np.bincount(episodes.of_row[different], weights=exists[tried[different]], minlength=size) / np.maximum(
        number, 1
    )


def _usual_of_key(key: Ints, value: Ints) -> Floats:
    """The median value of all episodes of the same key; 0 where there is only one."""
    order = order_by(key)
    starts = starts_of(key[order])
    counts = counts_of(starts, len(key))
    group = np.empty(len(key), np.int64)
    group[order] = spread_over(counts)
    found = medians(group, value, len(counts))[group]
    return np.where(counts[group] > 1, found, 0.0)


def _distributed_guessing(attempts: _Attempts, outcomes: _Outcomes) -> Iterator[Finding]:
    """One account, many sources."""
    key = numbered(attempts.organisation, attempts.account)
    known_source = np.array([bool(name) for name in attempts.sources.values])[attempts.source]
    failures = np.flatnonzero(~attempts.succeeded & known_source)
    episodes = _episodes(failures, key, attempts.time)
    sources = distinct_counts(episodes.of_row, attempts.source[episodes.rows], len(episodes.counts))
    usual = _usual_of_key(episodes.key, sources)
    enough = (sources >= SOURCES_MIN) & (episodes.counts >= FAILURES_MIN)
    episodes, sources, usual = _chosen(episodes, enough), sources[enough], usual[enough]
    size = len(episodes.counts)
    pairs, _, shut = _accounts_tried(attempts, outcomes, episodes)
    shut_share = np.bincount(pairs, weights=shut, minlength=size) / np.maximum(sources, 1)
    followed = np.bincount(pairs, weights=~shut, minlength=size)
    triple = outcomes.triple[episodes.rows]
    strangers = ~outcomes.came_before(triple, episodes.first[episodes.of_row])
    strange_share = summed(strangers.astype(np.int64), episodes.starts) / np.maximum(episodes.counts, 1)
    scores = Scores(size)
    scores.add("sources", 45, log_share_of(sources, SOURCES_MIN / 2, SOURCES_FULL), sources)
    scores.add("strange-sources", 20, share_of(strange_share, 0.5, 1), strange_share)
    scores.add("stayed-shut", 15, share_of(shut_share, *SHUT_SHARE), shut_share)
    scores.add("more-than-usual", 10, 1 - usual / np.maximum(sources, 1), usual)
    scores.add("success-after", 10, share_of(followed, 0, 1), followed)
    yield from _found("distributed-guessing", "account", attempts, outcomes, episodes, scores)


def _distributed_spray(attempts: _Attempts, outcomes: _Outcomes) -> Iterator[Finding]:
    """One organisation: hours in which more accounts fail than in others, from many sources."""
    failures = np.flatnonzero(~attempts.succeeded)
    hours = numbered(attempts.organisation[failures], attempts.time[failures] // HOUR)
    order = order_by(hours)
    rows, group = failures[order], hours[order]
    starts = starts_of(group)
    counts = counts_of(starts, len(rows))
    size = len(counts)
    organisation, hour = attempts.organisation[rows[starts]], attempts.time[rows[starts]] // HOUR
    accounts = distinct_counts(group, attempts.account[rows], size)
    sources = distinct_counts(group, attempts.source[rows], size)
    pairs = distinct_counts(group, outcomes.triple[rows], size)
    deviations = _hourly_deviations(attempts, organisation, accounts)
    is_odd = (accounts >= HOURLY_ACCOUNTS_MIN) & (sources >= HOURLY_SOURCES_MIN) & (deviations >= HOURLY_DEVIATIONS[0])
    # Odd hours that follow each other are one finding.
    odd = np.flatnonzero(is_odd)
    if not len(odd):
        return
    is_next = np.zeros(len(odd), np.int64)
    is_next[1:] = np.cumsum((organisation[odd[1:]] != organisation[odd[:-1]]) | (hour[odd[1:]] - hour[odd[:-1]] > 1))
    run = np.full(size, -1, np.int64)
    run[odd] = is_next
    kept = run[group] >= 0
    rows, of_row = rows[kept], run[group][kept]
    order = order_by(of_row, attempts.time[rows], attempts.event[rows])
    rows, of_row = rows[order], of_row[order]
    begins = starts_of(of_row)
    run_counts = counts_of(begins, len(rows))
    first, last = attempts.time[rows[begins]], attempts.time[rows[begins + run_counts - 1]]
    episodes = _Episodes(rows, begins, run_counts, of_row, attempts.organisation[rows[begins]], first, last)
    peak = starts_of(is_next)
    most = np.maximum.reduceat(accounts[odd], peak)
    deviation = np.maximum.reduceat(deviations[odd], peak)
    each = np.minimum.reduceat((pairs / np.maximum(sources, 1))[odd], peak)
    tried, _, shut = _accounts_tried(attempts, outcomes, episodes)
    shut_share = np.bincount(tried, weights=shut, minlength=len(begins)) / np.bincount(tried, minlength=len(begins))
    scores = Scores(len(begins))
    scores.add("accounts", 25, log_share_of(most, HOURLY_ACCOUNTS_MIN / 2, 2 * SPRAY_ACCOUNTS_FULL), most)
    scores.add("above-the-usual-hour", 20, share_of(deviation, *HOURLY_DEVIATIONS), deviation)
    scores.add("few-accounts-each", 15, share_of(each, *PER_SOURCE), each)
    scores.add("stayed-shut", 40, share_of(shut_share, *SHUT_SHARE), shut_share)
    yield from _found("distributed-spray", "organisation", attempts, outcomes, episodes, scores)


def _hourly_deviations(attempts: _Attempts, organisation: Ints, accounts: Ints) -> Floats:
    """How far each hour is above the organisation's median hour with any logon, in median deviations (at least 1)."""
    pairs = numbered(attempts.organisation, attempts.time // HOUR)
    _, firsts = np.unique(pairs, return_index=True)
    hours = np.bincount(attempts.organisation[firsts], minlength=len(attempts.organisations.values))
    known = np.bincount(organisation, minlength=len(hours))
    # Hours without a failure count as nothing: they are added as many zeros.
    quiet = np.repeat(np.arange(len(hours), dtype=np.int64), np.maximum(hours - known, 0))
    group = np.concatenate((organisation, quiet))
    value = np.concatenate((accounts, np.zeros(len(quiet), np.int64)))
    middle = np.nan_to_num(medians(group, value, len(hours)))
    deviation = median_deviations(group, value, middle)
    return (accounts - middle[organisation]) / np.maximum(1.4826 * deviation[organisation], 1.0)
