"""What is in the events of detections: read once, right after they were found, and kept (``store.evidence``).

Every detection passes here before it can become part of a situation, whoever found it: what suppressions hide is marked
here, on arrival and in hunts alike. A detection whose event is not kept any more, or cannot be read, has its host and
account, no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from mingjian.detect.engine import Engine
from mingjian.errors import StorageError
from mingjian.hunt.history import History
from mingjian.model.observables import canonical
from mingjian.model.rules import LEVELS, Not, Rule
from mingjian.model.sources import ObservableKind, View
from mingjian.sources.definitions import SourceBook
from mingjian.sources.envelope import observables
from mingjian.store import tables as t
from mingjian.store.blocks import Segment, SegmentBlock
from mingjian.store.catalogue import SegmentRow, segment_rows
from mingjian.store.detections import StoredDetection
from mingjian.store.evidence import (
    BAD,
    BEHAVIOUR,
    ENTITIES_MAX,
    RULE,
    WARNED,
    Entity,
    Evidence,
    add_evidence,
    entities_of,
    key_of,
    packed,
    without_evidence,
)
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.sightings.companions import companions_of_each
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.live import open_index
from mingjian.store.suppressions import Suppression, live_suppressions
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from mingjian.telemetry import logger, with_fields

DETECTIONS_AT_ONCE: Final = 5_000
"""The events of so many detections are looked into together."""
ASKED_AT_ONCE: Final = 200
"""Of so many observables it is asked together on which hosts they were."""
HOSTS_NAMED_MAX: Final = 100_000
"""So many hosts of all of them are read."""
HOSTS_OF_ONE_MAX: Final = 2_000
"""Of one observable, so many hosts are counted."""
ORDER: Final = ("hash", "domain", "url", "certificate", "ip", "email", "account", "host", "file")
"""Which kinds are kept first if an event has too many entities."""

_log = logger("hunt.evidence")


class Event(NamedTuple):
    """The event of a detection."""

    detection: StoredDetection
    view: View
    block: SegmentBlock
    place: int


def host_name(text: str) -> str:
    """The name by which a host is compared: without its domain, folded; an address as it is.

    >>> host_name("PC-1.corp.example"), host_name("192.0.2.1")
    ('pc-1', '192.0.2.1')
    """
    name = canonical("host", text) or text.casefold()
    return name if canonical("ip", name) else name.partition(".")[0]


def account_name(text: str) -> str:
    r"""The name by which an account is compared: without its domain, folded.

    >>> account_name("CORP\\Alice"), account_name("alice@corp.example")
    ('alice', 'alice')
    """
    name = canonical("account", text) or text.casefold()
    if name.startswith("arn:") or name.startswith("S-1-"):
        return name
    return name.rpartition("\\")[2].partition("@")[0] or name


def events_of(
    workspace: Workspace, history: History, found: Sequence[StoredDetection]
) -> Iterator[tuple[View, SegmentBlock, list[tuple[int, StoredDetection]]]]:
    """The events of some detections of one organisation: (view, block, [(place in the block, detection)]).

    What cannot be read is passed over, and said in the log.
    """
    wanted: dict[int, dict[int, list[StoredDetection]]] = defaultdict(lambda: defaultdict(list))
    for each in found:
        if each.input_id is not None:
            wanted[each.input_id][each.detection.record].append(each)
    seen: set[tuple[int, int]] = set()
    for row in _segments_of(workspace, wanted):
        try:
            with Segment(workspace.lake / row.path, checks=row.checks) as segment:
                for block in segment.blocks():
                    yield from _in_block(history, row, block, wanted, seen)
        except StorageError as error:
            _log.warning("events of detections cannot be read", extra=with_fields(segment=row.path, error=str(error)))


def _segments_of(
    workspace: Workspace, wanted: Mapping[int, Mapping[int, Sequence[StoredDetection]]]
) -> list[SegmentRow]:
    """The segments that may hold some records, by input and number; of the same streams where these are known."""
    table = t.segment_inputs
    found: dict[int, SegmentRow] = {}
    for input_id, records in wanted.items():
        streams = {each.detection.stream for several in records.values() for each in several}
        holding = sa.select(table.c.segment_id).where(
            table.c.input_id == input_id, table.c.first_record <= max(records), table.c.last_record >= min(records)
        )
        condition = sa.and_(t.segments.c.state == "live", t.segments.c.id.in_(holding))
        # A correlation is of no stream: the event that completed it may be of any.
        if "" not in streams:
            condition &= t.streams.c.name.in_(sorted(map(t.storable, streams)))
        found |= {row.id: row for row in segment_rows(workspace, condition)}
    return [found[number] for number in sorted(found)]


def _in_block(
    history: History,
    row: SegmentRow,
    block: SegmentBlock,
    wanted: Mapping[int, Mapping[int, Sequence[StoredDetection]]],
    seen: set[tuple[int, int]],
) -> Iterator[tuple[View, SegmentBlock, list[tuple[int, StoredDetection]]]]:
    inputs, numbers = block.inputs, np.array(block.numbers, np.int64)
    places: list[int] = []
    for input_id in np.unique(inputs).tolist():
        if input_id in wanted:
            hits = (inputs == input_id) & np.isin(numbers, list(wanted[input_id]))
            places += np.flatnonzero(hits).tolist()
    if not places:
        return
    for view, part in history.views_of(row, block.take(sorted(places))):
        pairs: list[tuple[int, StoredDetection]] = []
        for place, (input_id, number) in enumerate(zip(part.inputs.tolist(), part.numbers, strict=True)):
            if (input_id, number) not in seen:
                seen.add((input_id, number))
                pairs += [(place, each) for each in wanted[input_id][number]]
        if pairs:
            yield view, part, pairs


class Hiding:
    """Suppressions, ready to be looked for in events."""

    def __init__(self, suppressions: Sequence[Suppression]) -> None:
        self._suppressions = suppressions
        self._engine = Engine([_as_rule(each) for each in suppressions]) if suppressions else None

    def hidden(
        self, view: View, block: SegmentBlock, pairs: Iterable[tuple[int, StoredDetection]]
    ) -> dict[int, Suppression]:
        """Which detections in a block are hidden: number of the detection → the first suppression that hides it."""
        if self._engine is None:
            return {}
        by_place: dict[int, list[Suppression]] = defaultdict(list)
        for index, place in self._engine.match(view, block):
            by_place[place].append(self._suppressions[index])
        found: dict[int, Suppression] = {}
        for place, each in pairs:
            for suppression in by_place.get(place, ()):
                if suppression.is_for(each.detection.rule_id, each.organisation):
                    found.setdefault(each.id, suppression)
        return found


def _as_rule(suppression: Suppression) -> Rule:
    """A filter is ANDed to its rules: what it hides is what it is not true of."""
    about = suppression.filter
    return Rule(
        id=suppression.public_id,
        title=suppression.title,
        file="",
        logsource=about.logsource,
        condition=Not(about.condition),
        content_hash=about.content_hash,
    )


class EvidenceReader:
    """Looks into the events of detections that nobody has looked into."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        sources: SourceBook,
        lists: WarningLists,
        *,
        is_observer: Callable[[str], bool],
    ) -> None:
        """``is_observer``: whether the host of a stream's events is only the device that saw them."""
        self._workspace = workspace
        self._scope = scope
        self._history = History(workspace, scope, Engine(()), sources)
        self._lists = lists
        self._is_observer = is_observer

    def gather(
        self, organisation: OrganisationId, should_stop: Callable[[], bool] = lambda: False, *, after_id: int = 0
    ) -> int:
        """Do it for all detections of an organisation (from a number on), some at a time; give how many there were.

        Raises:
            StorageError: the workspace cannot be read, or not written to.
        """
        self._scope.check_write(organisation)
        done = 0
        hiding = Hiding(live_suppressions(self._workspace, self._scope, organisation))
        while not should_stop():
            found = without_evidence(self._workspace, organisation, DETECTIONS_AT_ONCE, after_id=after_id)
            if not found:
                break
            with self._workspace.reading():
                self._take(organisation, found, hiding)
            done += len(found)
            after_id = found[-1].id
        return done

    def _take(self, organisation: OrganisationId, found: Sequence[StoredDetection], hiding: Hiding) -> None:
        seen: dict[int, list[tuple[str, str]]] = {each.id: [] for each in found}
        hidden: dict[int, Suppression] = {}
        for view, block, pairs in events_of(self._workspace, self._history, found):
            hidden |= hiding.hidden(view, block, pairs)
            for place, each in pairs:
                if not seen[each.id]:
                    seen[each.id] = [(kind, value) for kind, value, _ in observables(view, block.record(place))]
        entities: dict[int, tuple[str, str]] = {}
        evidence: list[Evidence] = []
        bad: set[int] = set()
        for each in found:
            made, named = self._evidence(each, seen[each.id], hidden.get(each.id))
            evidence.append(made)
            entities |= named
            if each.detection.kind == "indicator":
                bad |= {key for key, (_, value) in named.items() if value in each.detection.matched.values()}
                kind, _, value = each.detection.rule_id.partition(":")
                bad.add(key_of(kind, value))
        add_evidence(self._workspace, organisation, evidence, self._known(organisation, entities, bad))

    def _evidence(
        self, each: StoredDetection, seen: Sequence[tuple[str, str]], hidden: Suppression | None
    ) -> tuple[Evidence, dict[int, tuple[str, str]]]:
        one = each.detection
        host = "" if not one.host or self._is_observer(one.stream) else host_name(one.host)
        account = account_name(one.account) if one.account else ""
        named: dict[tuple[str, str], None] = {}
        if host:
            named["host", host] = None
        if account:
            named["account", account] = None
        for kind, value in sorted(seen, key=_rank):
            if kind == "host":
                value = host_name(value)
            elif kind == "account":
                value = account_name(value)
            named.setdefault((kind, value))
            if len(named) >= ENTITIES_MAX:
                break
        keys = {key_of(kind, value): (kind, value) for kind, value in named}
        rule_key = key_of(RULE, one.rule_id)
        made = Evidence(
            detection_id=each.id,
            time_us=one.time_us,
            level=LEVELS.index(one.level),
            rule_key=rule_key,
            host_key=key_of("host", host) if host else 0,
            account_key=key_of("account", account) if account else 0,
            flags={"indicator": BAD, "behaviour": BEHAVIOUR}.get(one.kind, 0),
            entities=packed(keys),
            suppressed_by=None if hidden is None else hidden.id,
        )
        return made, keys | {rule_key: (RULE, one.rule_id)}

    def _known(
        self, organisation: OrganisationId, named: Mapping[int, tuple[str, str]], bad: set[int]
    ) -> Iterator[Entity]:
        """What is known of some entities: on how many hosts they were seen, who warns of them."""
        before = entities_of(self._workspace, organisation, list(named))
        asked = {key: each for key, each in named.items() if each[0] not in (RULE, "host")}
        warned = self._warned(asked)
        with closing(open_index(self._workspace, self._scope)) as index:
            hosts = _hosts(index, organisation, asked)
        for key, (kind, value) in named.items():
            flags = (BAD if key in bad else 0) | (WARNED if key in warned else 0)
            flags |= before[key].flags & BAD if key in before else 0
            yield Entity(key=key, kind=kind, value=value, hosts=max(1, hosts.get(key, 1)), flags=flags)

    def _warned(self, asked: Mapping[int, tuple[str, str]]) -> set[int]:
        """Public things on a warning list. Lists of address ranges say nothing here: the inside has its own kind."""
        public = [(key, kind, value) for key, (kind, value) in asked.items() if kind in ("domain", "hash")]
        public += [
            (key, kind, value) for key, (kind, value) in asked.items() if kind == "ip" and not _is_special(value)
        ]
        if not public:
            return set()
        kinds, values = (pa.array([each[place] for each in public], pa.string()) for place in (1, 2))
        found = self._lists.of_observables(kinds, values).to_pylist()
        return {key for (key, _, _), name in zip(public, found, strict=True) if name}


def _is_special(address: str) -> bool:
    """Whether an address is of a range with a purpose (private, documentation …), on which lists warn of all."""
    import ipaddress

    return not ipaddress.ip_address(address).is_global


def _rank(each: tuple[str, str]) -> int:
    return ORDER.index(each[0]) if each[0] in ORDER else len(ORDER)


def _hosts(index: SightingsIndex, organisation: OrganisationId, asked: Mapping[int, tuple[str, str]]) -> dict[int, int]:
    """On how many hosts some observables were ever seen, as far as their events name a host."""
    found: dict[int, int] = {}
    keys = list(asked)
    for start in range(0, len(keys), ASKED_AT_ONCE):
        some = keys[start : start + ASKED_AT_ONCE]
        pairs: list[tuple[ObservableKind, str]] = [asked[key] for key in some]  # type: ignore[misc] # kinds are those of observables
        seen = companions_of_each(index, pairs, organisations=[int(organisation)], names_max=HOSTS_NAMED_MAX)
        if seen and not seen[0].is_complete:
            seen = [
                companions_of_each(index, [pair], organisations=[int(organisation)], names_max=HOSTS_OF_ONE_MAX)[0]
                for pair in pairs
            ]
        for key, each in zip(some, seen, strict=True):
            names = len({host_name(name) for name in each.hosts})
            found[key] = names if each.is_complete else HOSTS_OF_ONE_MAX
    return found
