"""Behaviours over all that is kept, as detections: looked for, told, stored; and when it is time to look again.

All of history is read each time, organisation by organisation (of one, at most ``EVENTS_MAX`` events, the newest): a
beacon of months, a first use or an outflow is what it is only beside everything else. What is new since the last run
decides when the next one is worth it.
"""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from mingjian.detect.behaviours.facts import USES
from mingjian.detect.behaviours.findings import Finding
from mingjian.detect.behaviours.grouping import numbers_of
from mingjian.detect.behaviours.rarity import first_uses, merged_uses
from mingjian.detect.engine import Engine
from mingjian.hunt.behaviourbook import RULE_PREFIX, PartyPlace, Told, built_in_facts, title_of
from mingjian.hunt.behaviours import Gathered, Place, gathered, of_one_organisation, place_of
from mingjian.hunt.factmaps import PART_BITS, host_name, without_tables
from mingjian.hunt.history import History
from mingjian.hunt.scan import MATCHED_CHARACTERS_MAX
from mingjian.model.detections import Detection
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.sources.definitions import SourceBook
from mingjian.sources.envelope import Envelope, envelope
from mingjian.store.behaviours import FoundBehaviour, LookedAt, Party, looked_at, set_behaviours
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import Organisation, SegmentRow, organisations
from mingjian.store.detections import FoundDetection
from mingjian.store.entities import events_by_organisation, spellings_of_hosts
from mingjian.store.jobs import worker
from mingjian.store.scope import Scope
from mingjian.store.segments import day_of
from mingjian.store.workspace import Workspace

EVENTS_MAX: Final = 10_000_000
"""Of one organisation so many events that tell facts are looked at, the newest: they have to be in memory at once."""
GROWN: Final = 1.02
"""It is time to look again if there are so many times as many events as last time …"""
REST: Final = 20
"""… and so many times as long as it took has passed since."""
LASTING: Final = ("beaconing",)
"""Of these there is one finding for each entity and object, whenever it began; of others one for each episode."""


class Outcome(NamedTuple):
    """What a run found."""

    events: int
    """Looked at."""
    left_out: int
    """Older events that were not."""
    findings: Counter[str]
    """By behaviour."""
    seconds: float


class _One(NamedTuple):
    """One organisation in a run."""

    organisation: Organisation
    looked: Gathered
    findings: list[Finding]


def is_due(workspace: Workspace, scope: Scope) -> bool:
    """Whether enough has come in since behaviours were looked for last."""
    book = built_in_facts()
    now = events_by_organisation(workspace, scope, book.streams())
    before = looked_at(workspace, scope)
    waited_us = workspace.clock_us() - max((each.run_us for each in before.values()), default=0)
    if waited_us < REST * max((each.took_us for each in before.values()), default=0):
        return False
    return any(events > (before[number].events * GROWN if number in before else 0) for number, events in now.items())


def run_behaviours(
    workspace: Workspace,
    scope: Scope,
    sources: SourceBook,
    *,
    progress: Callable[[int], None] = lambda events: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """Look for behaviours in all that is kept and store what holds; None if it was told to stop, or another is at it.

    Raises:
        StorageError: a segment is damaged, or the database cannot be written. What was stored before stays.
    """
    with worker(workspace) as ours:
        return _Run(workspace, scope, sources, progress, should_stop).run() if ours else None


class _Stop(Exception):
    pass


class _Run:
    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        sources: SourceBook,
        progress: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._workspace = workspace
        self._scope = scope
        self._history = History(workspace, scope, Engine(()), sources)
        self._progress = progress
        self._should_stop = should_stop
        self._events = 0
        self._told = built_in_facts().told

    def run(self) -> Outcome | None:
        started = time.monotonic()
        counts: Counter[str] = Counter()
        with self._workspace.reading():
            try:
                parts = self._looked()
            except _Stop:
                return None
            found = [(part, self._told_all(part)) for part in parts]
        took_us = int((time.monotonic() - started) * 1e6)
        for part, several in found:
            rows = part.looked.rows.values()
            seen = LookedAt(
                events=sum(row.rows for row in rows),
                first_us=min((row.first_us for row in rows if row.first_us is not None), default=None),
                last_us=max((row.last_us for row in rows if row.last_us is not None), default=None),
                run_us=self._workspace.clock_us(),
                took_us=took_us,
                is_all=part.looked.is_all,
            )
            set_behaviours(self._workspace, self._scope, part.organisation.id, several, seen)
            counts.update(each.behaviour for each in part.findings)
        there = sum(events_by_organisation(self._workspace, self._scope, built_in_facts().streams()).values())
        return Outcome(self._events, max(0, there - self._events), counts, time.monotonic() - started)

    def _looked(self) -> list[_One]:
        parts: list[_One] = []
        uses: list[pa.Table] = []
        for organisation in organisations(self._workspace, self._scope):
            looked = gathered(
                self._workspace,
                self._scope,
                self._history,
                organisation,
                events_max=EVENTS_MAX,
                on_segment=self._one_more,
            )
            uses.append(merged_uses(looked.facts.uses))
            findings = of_one_organisation(looked.facts)
            # The other tables are not needed any more, and large.
            kept = looked._replace(facts=without_tables(looked.facts))
            parts.append(_One(organisation, kept, findings))
        together = pa.concat_tables(uses) if uses else USES.empty_table()
        if together.num_rows:
            times = numbers_of(together.column("first_us"))
            first, last = int(times.min()), int(times.max())
            by_name: dict[str, list[Finding]] = defaultdict(list)
            for each in first_uses(together, since_us=first, until_us=last + 1):
                by_name[each.organisation].append(each)
            for part in parts:
                part.findings.extend(by_name[part.organisation.name])
        return parts

    def _one_more(self, row: SegmentRow) -> None:
        self._events += row.rows
        self._progress(self._events)
        if self._should_stop():
            raise _Stop

    def _told_all(self, part: _One) -> list[FoundBehaviour]:
        evidence = dict(self._evidence(part))
        names = spellings_of_hosts(self._workspace, self._scope, part.organisation.id)
        return [
            _found(each, self._told[each.behaviour], evidence[each.events[0]], names)
            for each in part.findings
            if each.events and each.events[0] in evidence
        ]

    def _evidence(self, part: _One) -> Iterator[tuple[int, _Evidence]]:
        """Where the first event of each finding is, and what it says of itself."""
        wanted: dict[int, list[Place]] = defaultdict(list)
        for each in part.findings:
            if each.events:
                place = place_of(each.events[0])
                wanted[place.segment_id].append(place)
        for number, places in sorted(wanted.items()):
            row = part.looked.rows[number]
            numbers = {place.row: each for each, place in ((_number_of(place), place) for place in places)}
            with Segment(self._workspace.lake / row.path, checks=row.checks) as segment:
                before = 0
                for block in segment.blocks():
                    inside = [at - before for at in sorted(numbers) if before <= at < before + len(block)]
                    for at in inside:
                        one = block.take([at])
                        ((view, _),) = self._history.views_of(row, one)
                        input_id = int(one.inputs[0])
                        yield (
                            numbers[before + at],
                            _Evidence(
                                row,
                                input_id,
                                one.numbers[0],
                                one.times_us[0],
                                self._history.file_of(input_id),
                                envelope(view, one.record(0)),
                            ),
                        )
                    before += len(block)


class _Evidence(NamedTuple):
    row: SegmentRow
    input_id: int
    record: int
    time_us: int | None
    file: str
    about: Envelope


def _number_of(place: Place) -> int:
    return (place.segment_id << PART_BITS) + place.row


def _found(each: Finding, told: Told, evidence: _Evidence, names: dict[str, str]) -> FoundBehaviour:
    parties = tuple(parties_of(each, told))
    content = [each.entity, each.object]
    if each.behaviour not in LASTING:
        content.append(str(each.first_us))
    detection = Detection(
        time_us=each.first_us,
        level=told.level,
        rule_id=RULE_PREFIX + each.behaviour,
        rule_title=title_of(each.behaviour, each.entity, _object_of(each), "en"),
        kind="behaviour",
        attack=told.attack,
        host=_host_of(parties, names, evidence),
        account=_account_of(each, told),
        stream=evidence.row.key.stream,
        file=evidence.file,
        record=evidence.record,
        matched=_matched(each),
        atoms=tuple(
            f"{term.name} {term.points:+d} of {term.points_max} ({term.value:g})" for term in each.terms if term.points
        ),
    )
    found = FoundDetection(
        detection=detection,
        content="\n".join(content),
        input_id=evidence.input_id,
        day=day_of(evidence.time_us),
    )
    return FoundBehaviour(found=found, parties=parties)


def _matched(each: Finding) -> dict[str, str]:
    said = {
        "score": str(each.score),
        "entity": each.entity,
        "object": _object_of(each),
        "values": ", ".join(each.values),
        "succeeded": ", ".join(each.succeeded),
        "count": str(each.count),
        "first": _moment(each.first_us),
        "last": _moment(each.last_us),
        "caveats": ", ".join(each.caveats),
    }
    return {name: text[:MATCHED_CHARACTERS_MAX] for name, text in said.items() if text}


def _moment(time_us: int) -> str:
    found = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time_us)
    return found.isoformat(timespec="seconds") + "Z"


def _object_of(each: Finding) -> str:
    """Towards whom or what, in words."""
    if each.behaviour == "first-use":
        return f"{each.object.partition(':')[0]} {each.object.partition(':')[2]}"
    return each.object or ", ".join(each.values[:3])


def parties_of(each: Finding, told: Told) -> Iterator[Party]:
    """Whom a finding is about."""
    places: Sequence[tuple[PartyPlace | None, Sequence[str]]] = (
        (told.entity, [each.entity]),
        (told.object, [each.object]),
        (told.values, each.values),
        (told.succeeded, each.succeeded),
    )
    for place, texts in places:
        if place is None:
            continue
        for text in texts:
            kind, value = _observable(place.kind, text)
            if value:
                yield Party(kind, value, place.role)


def _observable(kind: str, text: str) -> tuple[ObservableKind, str]:
    """Kind and canonical value of what stands in a finding; an empty value if it is no observable."""
    if kind == "named":
        name, _, text = text.partition(":")
        wanted: ObservableKind = "domain" if name == "domain" else "file"
        return wanted, (canonical(wanted, text) or "") if name in ("domain", "file") else ""
    if kind == "account":
        return "account", canonical("account", text) or ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if kind == "destination":
            return "domain", canonical("domain", text) or ""
        return "host", host_name(text)
    return "ip", canonical("ip", text) or ""


def _host_of(parties: Sequence[Party], names: dict[str, str], evidence: _Evidence) -> str:
    """The host it happened on, as events spell it: the first that is the entity's, else that of the event."""
    for party in parties:
        if party.kind == "host":
            return names.get(party.value, party.value)
    return evidence.about.host


def _account_of(each: Finding, told: Told) -> str:
    for place, text in ((told.entity, each.entity), (told.object, each.object)):
        if place is not None and place.kind == "account":
            return text
    return each.succeeded[0] if len(each.succeeded) == 1 else ""
