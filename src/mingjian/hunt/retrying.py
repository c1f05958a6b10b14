"""Reading again what is in quarantine, after a reader, a limit or a definition was mended.

What was kept goes through the same readers, rules and indicators as everything that arrives, with the input and the
number that it had. A record that comes through leaves the quarantine in the transaction that commits its event, so it
comes through once, whatever is killed when. A content of which only the beginning was kept cannot come through by
itself: its input is released, so that its file is read when it is taken in again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from mingjian.formats import registry
from mingjian.hunt.arrival import Watch, correlate_arrivals
from mingjian.hunt.foreman import Foreman, plan_of
from mingjian.hunt.parts import Begin, Data, End, Flush, Message, Part, Share, Unit
from mingjian.model.blocks import QUARANTINED_BYTES_MAX
from mingjian.sources.contents import how_to_cut
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import (
    Batch,
    Extra,
    KnownInput,
    Organisation,
    QuarantinedRow,
    commit_batch,
    input_by_id,
    organisations,
    reserve_segments,
)
from mingjian.store.coverage import ran_indicators, ran_rules
from mingjian.store.detections import add, add_matches
from mingjian.store.indexfiles import with_index_file
from mingjian.store.quarantine import Tried, became, entries_after, last_entry, note_tries, release
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

AT_ONCE: Final = 200
"""So many entries are read and committed together."""

Progress = Callable[[int, int], None]
"""Told how many entries were tried, and how many of them came through."""


class Retried(msgspec.Struct, kw_only=True):
    """What came of reading the quarantine again."""

    tried: int = 0
    read: int = 0
    """Entries that came through …"""
    events: int = 0
    """… with so many events."""
    unread: int = 0
    """Cannot be read yet."""
    file_needed: int = 0
    """Of these only the beginning was kept: their files have to be taken in again."""


class _Again(NamedTuple):
    """An entry that can be read from what was kept."""

    row: QuarantinedRow
    known: KnownInput
    unit: Unit
    is_whole: bool
    """It is all of its input."""


class Retry:
    """Reads entries again. For one who writes, or does so in the name of the one who does."""

    def __init__(
        self, workspace: Workspace, scope: Scope, sources: SourceBook, watch: Watch, *, keep_raw: bool = False
    ) -> None:
        self._workspace = workspace
        self._scope = scope
        self._sources = sources
        self._watch = watch
        self._keep_raw = keep_raw
        self._owners: dict[OrganisationId, Organisation] = {each.id: each for each in organisations(workspace, scope)}
        self.done = Retried()

    def run(
        self,
        actor: str,
        *,
        ids: Sequence[int] = (),
        organisation: OrganisationId | None = None,
        progress: Progress = lambda tried, read: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Retried:
        """Read entries again, those that are named or all; what is added meanwhile waits for the next time.

        Raises:
            NotFound, NotPermitted: the scope does not reach the organisation.
            StorageError: it cannot be kept; what was committed stays.
        """
        after, until = 0, last_entry(self._workspace)
        while not should_stop():
            rows = entries_after(
                self._workspace, self._scope, after, until=until, ids=ids, organisation=organisation, limit=AT_ONCE
            )
            if not rows:
                break
            after = rows[-1].id
            for owner in dict.fromkeys(row.organisation for row in rows):
                self._try([row for row in rows if row.organisation == owner], actor)
            progress(self.done.tried, self.done.read)
        for owner in self._owners:
            correlate_arrivals(self._workspace, owner, self._watch)
        return self.done

    def _try(self, rows: Sequence[QuarantinedRow], actor: str) -> None:
        """Read entries of one organisation, and commit what came of it."""
        tried: list[Tried] = []
        extras: list[Extra] = []
        lines: list[_Again] = []
        for row in rows:
            if row.input_id is None:
                tried.append(Tried(row=row, outcome="file-needed"))
                continue
            known = input_by_id(self._workspace, self._scope, row.input_id)
            again = self._readable(row, known)
            if again is None:
                tried.append(self._of_the_file(row, known, extras))
            elif again.is_whole:
                self._commit(rows[0].organisation, [again], [], [], actor)
            else:
                lines.append(again)
        self._commit(rows[0].organisation, lines, tried, extras, actor)

    def _readable(self, row: QuarantinedRow, known: KnownInput) -> _Again | None:
        """How an entry can be read from what was kept of it; None if it cannot."""
        data = row.item.data
        owner = self._owners[row.organisation]
        if not data:
            return None
        if not row.item.record:
            if known.format or len(data) != known.offset:
                return None
            found = registry.recognise(data, row.item.file)
            if found is None:
                return None
            unit = Unit(
                organisation=owner.id, owner=owner.public_id, input_id=known.id, file=row.item.file, format=found.name
            )
            return _Again(row, known, unit, True)
        format_ = next((each for each in registry.FORMATS if each.name == known.format), None)
        if format_ is None or len(data) >= QUARANTINED_BYTES_MAX or how_to_cut(format_, data) != "lines":
            return None
        unit = Unit(
            organisation=owner.id,
            owner=owner.public_id,
            input_id=known.id,
            file=row.item.file,
            format=format_.name,
            first_number=row.item.record,
            first_offset=max(0, row.item.offset),
        )
        return _Again(row, known, unit, False)

    def _of_the_file(self, row: QuarantinedRow, known: KnownInput, extras: list[Extra]) -> Tried:
        """An entry that only its file can mend: it has done so, or it may do so from now on."""
        if not row.item.record and known.format and known.records:
            return Tried(row=row, outcome="read", events=0)
        if not row.item.record and not known.format and known.offset:
            extras.append(release(known.id))
        return Tried(row=row, outcome="file-needed")

    def _commit(
        self,
        owner: OrganisationId,
        several: Sequence[_Again],
        tried: Sequence[Tried],
        extras: Sequence[Extra],
        actor: str,
    ) -> None:
        """Read, and commit events and outcomes together."""
        part = self._read(owner, several)
        now = self._workspace.clock_us()
        outcomes = [*tried, *_outcomes(several, part)]
        is_whole = bool(several) and several[0].is_whole
        batch = Batch(
            organisation=owner,
            segments=part.segments,
            # Of a line that cannot be read yet the entry is there already.
            quarantined=part.quarantined if is_whole and outcomes[-1].outcome == "read" else [],
            hosts=part.hosts,
        )
        segments = [each.id for each in part.segments]
        more = [
            *extras,
            ran_rules(segments, self._watch.rule_set.id, part.results, now),
            *self._indicator_coverage(owner, part, segments, now),
            *(with_index_file(file) for file in part.indexes),
            add(owner, part.detections, "arrival", now),
            add_matches(owner, part.matches),
            note_tries(outcomes, actor, now),
        ]
        if is_whole and outcomes[-1].outcome == "read":
            one = several[0]
            lines = one.row.item.data.count(b"\n") + (not one.row.item.data.endswith(b"\n"))
            more.append(became(one.known.id, one.unit.format, lines))
        commit_batch(self._workspace, self._scope, batch, more)
        count = Counter(each.outcome for each in outcomes)
        self.done.tried += len(outcomes)
        self.done.read += count["read"]
        self.done.events += part.events
        self.done.unread += count["unread"]
        self.done.file_needed += count["file-needed"]

    def _read(self, owner: OrganisationId, several: Sequence[_Again]) -> Part:
        """Let the readers, the rules and the indicators do their work; everything is on the disk afterwards."""
        if not several:
            return Part(organisation=owner)
        shares: list[Share] = []
        plan = plan_of(self._workspace, self._scope, self._watch, self._sources, keep_raw=self._keep_raw)

        def reserve() -> int:
            return reserve_segments(self._workspace, self._scope, owner, 1)[0]

        Foreman(plan, reserve=reserve, deliver=shares.append, say=lambda text: None).work(_messages(several))
        (part,) = [part for share in shares for part in share.parts]
        return part

    def _indicator_coverage(self, owner: OrganisationId, part: Part, segments: Sequence[int], now: int) -> list[Extra]:
        matcher = self._watch.matcher(owner)
        return [
            ran_indicators(segments, set_id, part.recognised.get(set_id, {}), now)
            for set_id in (() if matcher is None else matcher.set_ids)
        ]


def _messages(several: Sequence[_Again]) -> Iterator[Message]:
    for each in several:
        yield Begin(each.unit)
        data = each.row.item.data
        yield Data(data if each.is_whole else data + b"\n")
        yield End()
    yield Flush(1)


def _outcomes(several: Sequence[_Again], part: Part) -> list[Tried]:
    """What came of each entry, told by what was quarantined again."""
    again = {(input_id, found.record): found for input_id, found in part.quarantined}
    outcomes: list[Tried] = []
    for each in several:
        if each.is_whole:
            outcome = Tried(row=each.row, outcome="read" if part.events else "unread", events=part.events)
        elif (found := again.get((each.known.id, each.row.item.record))) is not None:
            outcome = Tried(row=each.row, outcome="unread", reason=found.reason)
        else:
            outcome = Tried(row=each.row, outcome="read", events=1)
        outcomes.append(outcome)
    return outcomes
