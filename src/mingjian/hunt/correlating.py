"""Correlations over all that history has: the matches of the rules they refer to, in the order of time, once.

Each organisation is by itself: nothing that two of them did comes together in one window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from mingjian.detect.correlation import CorrelationMatch, Correlator, Match
from mingjian.hunt.history import Fed
from mingjian.model.detections import Detection
from mingjian.model.rules import Correlation
from mingjian.store.scope import OrganisationId

_SEPARATOR = "\0"


class CorrelationFound(NamedTuple):
    """A detection of a correlation, and the event that completed it."""

    detection: Detection
    organisation: OrganisationId
    input_id: int


class Correlated(msgspec.Struct, kw_only=True):
    """What came of correlating."""

    found: list[CorrelationFound] = []
    skipped: dict[str, str] = {}
    """Correlation that cannot be run → why."""
    losses: dict[str, int] = {}
    """What a correlation had to leave out, by name."""
    untimed: int = 0


def fed_order(fed: Fed) -> tuple[object, ...]:
    """The order in which matches are correlated: organisation, then time, file and record as ``detect`` has them."""
    match = fed.match
    return (fed.organisation, match.time_us is None, match.time_us or 0, match.file, match.record, match.rule_id)


def correlate(
    correlations: Sequence[Correlation], matches: Callable[[], Iterable[Fed]], *, explain: bool = False
) -> Correlated:
    """Correlate matches that come in the order of ``fed_order``, as often as they are asked for."""
    outcome = Correlated()
    if not correlations:
        return outcome
    by_id = {each.id: each for each in correlations}
    waiting: list[tuple[OrganisationId, CorrelationMatch]] = []
    for organisation, several in _by_organisation(matches()):
        correlator = Correlator(correlations, lateness_s=0.0)
        found = [*correlator.feed(_apart(fed) for fed in several), *correlator.flush()]
        waiting += [(organisation, each) for each in found]
        report = correlator.report()
        outcome.skipped |= {each.correlation_id: each.reason for each in correlator.skipped}
        outcome.untimed += sum(report.undated.values())
        for correlation, losses in report.losses.items():
            for name, count in msgspec.structs.asdict(losses).items():
                if count:
                    what = f"{correlation}: {name}"
                    outcome.losses[what] = outcome.losses.get(what, 0) + count
    who = _who(waiting, matches)
    for organisation, match in waiting:
        completed = match.completed_by
        file, _, number = completed.file.rpartition(_SEPARATOR)
        host, account = who[organisation, completed.file, completed.record]
        atoms = _contributors(match) if explain else ()
        told = match.detection(by_id[match.correlation_id], file=file, host=host, account=account, atoms=atoms)
        outcome.found.append(CorrelationFound(told, organisation, int(number)))
    return outcome


def _by_organisation(matches: Iterable[Fed]) -> Iterator[tuple[OrganisationId, Iterator[Fed]]]:
    yield from groupby(matches, key=lambda fed: fed.organisation)


def _apart(fed: Fed) -> Match:
    """The match, with a file name that tells inputs of the same name apart."""
    return msgspec.structs.replace(fed.match, file=f"{fed.match.file}{_SEPARATOR}{fed.input_id:020d}")


def _who(
    waiting: Sequence[tuple[OrganisationId, CorrelationMatch]], matches: Callable[[], Iterable[Fed]]
) -> dict[tuple[OrganisationId, str, int], tuple[str, str]]:
    """Host and account of the events that completed something."""
    who = {(organisation, each.completed_by.file, each.completed_by.record): ("", "") for organisation, each in waiting}
    if who:
        for fed in matches():
            match = _apart(fed)
            if (fed.organisation, match.file, match.record) in who:
                who[fed.organisation, match.file, match.record] = (fed.host, fed.account)
    return who


def _contributors(match: CorrelationMatch) -> tuple[str, ...]:
    return tuple(f"{each.rule_id} at {each.file.rpartition(_SEPARATOR)[0]}:{each.record}" for each in match.events)
