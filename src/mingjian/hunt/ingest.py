"""Ingest: whatever lies below some paths comes into the workspace, each record once, looked at on its way.

The process that ingests opens the inputs, finds out which of them are known and how far (``identifying``), cuts the
rest into units and hands these to the processes that do the work (``crew``, ``gathering``). An *epoch* is what lies
between two flushes. When all parts of an epoch are on the disk, one transaction commits them: segments, index files,
detections, quarantine, coverage, and how far each input has come. What is acknowledged is committed.

How far an input has come depends on its format:

- **lines** (JSON lines, syslog …): the offset behind a line; the number of lines before it. Everything before it is
  passed over (it is read once more, for its digest) and reading goes on there.
- **chunks** (EVTX): the offset behind a chunk. Records bring their own number.
- **whole** (JSON arrays, Zeek with header, CSV, W3C, XML; anything in UTF-16): such an input is always read from its
  beginning; how many records came out of it so far is kept, and so many are passed over.

A last line without line end is taken as it is. Nothing is lost by that, but if the line goes on later, its rest is a
record by itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from mingjian.errors import InputError, MingjianError
from mingjian.formats import containers, registry
from mingjian.formats.containers import Member
from mingjian.hunt import crew
from mingjian.hunt.arrival import Watch, correlate_arrivals
from mingjian.hunt.foreman import Foreman, Plan, plan_of
from mingjian.hunt.identifying import Verdict, candidates, verdict_on
from mingjian.hunt.parts import Begin, Counted, Data, Drain, End, Flush, Message, Part, Renew, Share, Unit
from mingjian.hunt.patience import Say, insist
from mingjian.model.blocks import Quarantined
from mingjian.sources import files
from mingjian.sources.contents import Cut, File, Tracker, digest_of, drained, how_to_cut, units
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import (
    HEAD_BYTES,
    Batch,
    Extra,
    InputProgress,
    KnownInput,
    Organisation,
    commit_batch,
    grow_head,
    is_quarantined,
    note_name,
    register_input,
    reserve_segments,
    short_heads,
)
from mingjian.store.coverage import ran_indicators, ran_rules
from mingjian.store.detections import add, add_matches
from mingjian.store.indexfiles import with_index_file
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.sightings.live import tidy
from mingjian.store.upkeep import clean
from mingjian.store.workspace import Workspace

EPOCH_BYTES: Final = 640 * 1024 * 1024
"""After so many bytes of input (or so) an epoch ends …"""
EPOCH_S: Final = 30.0
"""… or after so long."""
LINE_END: Final = ord("\n")
STANDARD_INPUT_NAME: Final = "(standard input)"

Progress = Callable[[int, int], None]
"""Called with the bytes read and the events committed so far."""


class Summary(msgspec.Struct, kw_only=True):
    """What an ingest amounts to."""

    files: int = 0
    new: int = 0
    """Contents that were new …"""
    grown: int = 0
    """… that are known and have got more …"""
    known: int = 0
    """… and that are known as they are."""
    empty: int = 0
    events: int = 0
    bytes: int = 0
    """Of new content, decompressed."""
    stored_bytes: int = 0
    """Of the segments."""
    segments: int = 0
    quarantined: int = 0
    detections: dict[str, int] = {}
    """By level, without correlations."""
    correlations: int = 0
    """Detections of correlations that hold now, of everything that is kept."""
    seconds: float = 0.0


class _Position(msgspec.Struct, frozen=True):
    """What besides offset and record number says how far an input was read."""

    counted: Counted = Counted(0, 0)
    """Of an input whose records are counted: what came out of it."""
    in_line: bool = False
    """Of one that is cut at lines: the last line has no end yet."""


class Open:
    """An input on its way in: how far it was handed out, and how far it is committed."""

    def __init__(self, owner: Organisation, known: KnownInput, format_: str, cut: Cut, tracker: Tracker) -> None:
        self.owner = owner
        position = _Position() if known.position is None else msgspec.json.decode(known.position, type=_Position)
        self.id = known.id
        self.format = format_
        self.cut: Cut = cut
        self.tracker = tracker
        self.committed = known.offset
        self.counted = position.counted
        self.in_line = position.in_line
        self.line_ends = known.records - position.in_line
        """Of one that is cut at lines: so many are behind us."""
        self.is_whole = False
        """It was handed out to its end."""

    def passed(self, data: bytes) -> None:
        """Count the lines of what was handed out."""
        if self.cut == "lines":
            # Much faster than ``bytes.count``.
            self.line_ends += int(np.count_nonzero(np.frombuffer(data, np.uint8) == LINE_END))
            self.in_line = not data.endswith(b"\n")


class _Snapshot(msgspec.Struct, frozen=True):
    """How far an input is with an epoch."""

    of: Open
    offset: int
    lines: int
    in_line: bool
    digest: bytes
    is_whole: bool


def _snapshot(one: Open) -> _Snapshot:
    tracker = one.tracker
    return _Snapshot(one, tracker.offset, one.line_ends + one.in_line, one.in_line, tracker.digest(), one.is_whole)


class _Loose(msgspec.Struct, frozen=True):
    """Something that was quarantined here, not in a process that does the work."""

    owner: Organisation
    input_id: int | None
    entry: Quarantined


class _Epoch(msgspec.Struct):
    """What was handed out between two flushes."""

    snapshots: list[_Snapshot]
    loose: list[_Loose]


class Ingest:
    """One ingest for one organisation. Use ``run`` once."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        organisation: Organisation,
        watch: Watch,
        sources: SourceBook,
        *,
        keep_raw: bool = False,
        jobs: int = 1,
        on_quarantined: Callable[[Quarantined], None] = lambda entry: None,
        say: Say = lambda text: None,
        progress: Progress = lambda bytes_read, events: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``say`` hears when the disk is full, and with an empty text that it no longer is."""
        scope.check_write(organisation.id)
        self._workspace = workspace
        self._scope = scope
        self._organisation = organisation
        self._watch = watch
        self._sources = sources
        self._keep_raw = keep_raw
        self._jobs = jobs
        self._on_quarantined = on_quarantined
        self._say = say
        self._progress = progress
        self._clock_s = clock_s
        self._epoch = 0
        self._epoch_bytes = 0
        self._epoch_began_s = clock_s()
        self._touched: dict[int, Open] = {}
        """Inputs that were handed out in part since the last flush."""
        self._short_heads: dict[OrganisationId, set[int]] = {}
        self._uncommitted: Counter[int] = Counter()
        """Inputs of which something is on its way: in how many epochs."""
        self._loose: list[_Loose] = []
        """What was quarantined here, with its input if it is of one."""
        self._epochs: dict[int, _Epoch] = {}
        self._correlated: dict[OrganisationId, int] = {}
        """Organisations that had something committed, and how many detections of correlations hold there."""
        self._read_bytes = 0
        self.summary = Summary()

    def run(self, paths: Sequence[str]) -> Summary:
        """Take in everything below some paths; ``-`` is standard input.

        Raises:
            StateError: another process writes in the workspace, or a process of ours came to a sudden end.
            StorageError: something cannot be kept, and waiting does not help. What was committed stays.
        """
        with self._workspace.writing():
            clean(self._workspace)
            tidy(self._workspace)
            return self.work(self.messages(paths))

    def work(self, messages: Iterator[Message], *, sleep: Callable[[float], None] = time.sleep) -> Summary:
        """Let messages be worked off that stand for what is to be taken in, and decide the correlations at the end.

        For one that is the one process that writes, and has cleaned up. Raises: as ``run``.
        """
        started = self._clock_s()
        self._plan = self._planned()
        # Connections of the database do not go well through a fork.
        self._workspace.close()
        self._epoch_began_s = self._clock_s()
        crew.run(
            messages,
            self._jobs,
            self._foreman,
            reserve=self._reserve,
            on_epoch=self._commit,
            say=self._say,
            sleep=sleep,
        )
        self.correlate()
        self.summary.seconds = self._clock_s() - started
        return self.summary

    def renew(self, watch: Watch) -> Iterator[Message]:
        """Go on with other rules and indicators."""
        yield from self.flush()
        yield Drain()
        self._watch = watch
        self._plan = self._planned()
        yield Renew()

    def _foreman(self, reserve: Callable[[], int], deliver: Callable[[Share], None], say: Say) -> Foreman:
        return Foreman(self._plan, reserve=reserve, deliver=deliver, say=say)

    def _planned(self) -> Plan:
        """For processes that will be forked: they ask the database nothing."""
        return plan_of(self._workspace, self._scope, self._watch, self._sources, keep_raw=self._keep_raw)

    def _reserve(self, count: int) -> range:
        return insist(lambda: reserve_segments(self._workspace, self._scope, self._organisation.id, count), self._say)

    # --- handing out

    def messages(self, paths: Sequence[str]) -> Iterator[Message]:
        """Hand out everything below some paths."""
        found, missing = files.find(paths)
        for entry in missing:
            self.set_aside(entry)
        for path in found:
            self.summary.files += 1
            yield from self.file(path)
        yield from self.flush()
        yield Drain()

    def file(self, path: str) -> Iterator[Message]:
        """Hand out everything that is in a file; one that cannot be read is quarantined."""
        try:
            if path != files.STANDARD_INPUT:
                yield from self.contents(File(Path(path)))
                return
            with tempfile.NamedTemporaryFile(dir=self._workspace.folder, prefix=".stdin-") as spool:
                yield from self._standard_input(spool)
        except OSError as error:
            self.set_aside(
                Quarantined(
                    file=path,
                    record=0,
                    offset=-1,
                    code=InputError.code,
                    reason=error.strerror or str(error),
                    data=b"",
                )
            )

    def _standard_input(self, spool: tempfile._TemporaryFileWrapper[bytes]) -> Iterator[Message]:  # pyright: ignore[reportPrivateUsage] - its only name
        """Read standard input as it comes if it is new and plain; else it has to be kept until it is known."""
        stream = sys.stdin.buffer
        head = stream.read(HEAD_BYTES)
        rest = iter(lambda: stream.read(files.READ_BYTES), b"")
        is_plain = containers.container_kind(head) is None
        if is_plain and not self.candidates(head):
            member = Member(name=STANDARD_INPUT_NAME, chunks=chain([head], rest), modified_at_s=None)
            yield from self._content(member, None)
            return
        for data in chain([head], rest):
            spool.write(data)
        spool.flush()
        yield from self.contents(File(Path(spool.name), STANDARD_INPUT_NAME))

    def contents(self, file: File) -> Iterator[Message]:
        """Take in all contents of a file; go through it a second time for those that turned out to need it."""
        verdicts: dict[int, Verdict] | None = None
        is_plain = file.is_plain()
        while verdicts is None or verdicts:
            again: dict[int, Verdict] = {}
            for number, member in enumerate(file.contents()):
                if isinstance(member, Quarantined):
                    if verdicts is None:
                        self.set_aside(member)
                    continue
                if verdicts is None or number in verdicts:
                    verdict = yield from self._content(member, verdicts[number] if verdicts else None)
                    if verdict is not None:
                        again[number] = verdict
                if not is_plain:
                    drained(member)
            verdicts = again

    def _content(self, member: Member, verdict: Verdict | None) -> Generator[Message, None, Verdict | None]:
        """Take in one content; give the verdict if it has to be gone through anew."""
        tracker = Tracker(member.chunks)
        head = tracker.peek(registry.HEAD_BYTES_MAX)
        if not head:
            self.summary.empty += 1
            return None
        is_first = verdict is None
        if verdict is None:
            several = self.candidates(head)
            if self.is_on_its_way(several):
                yield from self.flush()
                yield Drain()
                several = self.candidates(head)
            verdict = verdict_on(self._workspace, self._scope, several, tracker)
        known = verdict.known
        if known is not None and known.offset and (verdict.is_shorter or (verdict.is_here and not tracker.fill(1))):
            self.noticed(member.name, known)
            return None
        format_ = _format(head, member.name, known)
        cut = "whole" if format_ is None else how_to_cut(format_, head)
        starts_at = known.offset if known is not None and cut != "whole" else 0
        if tracker.offset != starts_at:
            if is_first:
                return verdict._replace(is_here=False)
            tracker.pass_over(starts_at)
        one = self.opened(member.name, head, known, "" if format_ is None else format_.name, cut, tracker)
        if format_ is None:
            yield from self._unknown(one, member.name, head)
        else:
            yield from self.feed(one, member, format_)
        return None

    def candidates(self, head: bytes, owner: Organisation | None = None) -> list[KnownInput]:
        """The inputs that a content may be that begins like this."""
        id = (owner or self._organisation).id
        return candidates(self._workspace, self._scope, id, head[:HEAD_BYTES], self._short_heads_of(id))

    def _short_heads_of(self, id: OrganisationId) -> set[int]:
        """The lengths of short heads; read once, for nobody else begins with inputs while this goes on."""
        if id not in self._short_heads:
            self._short_heads[id] = set(short_heads(self._workspace, self._scope, id))
        return self._short_heads[id]

    def is_on_its_way(self, several: Sequence[KnownInput]) -> bool:
        """Whether of one of some inputs something was handed out that is not committed."""
        return any(self._uncommitted[each.id] or each.id in self._touched for each in several)

    def noticed(self, name: str, known: KnownInput) -> None:
        """Note that a known input was met as it is."""
        self.summary.known += 1
        if name != known.name:
            note_name(self._workspace, self._scope, known.id, name)

    def opened(
        self,
        name: str,
        head: bytes,
        known: KnownInput | None,
        format_: str,
        cut: Cut,
        tracker: Tracker,
        *,
        owner: Organisation | None = None,
        kind: str = "file",
    ) -> Open:
        """Begin with an input; one that is new gets its number."""
        head = head[:HEAD_BYTES]
        owner = owner or self._organisation
        workspace, scope = self._workspace, self._scope
        if known is None:
            known = register_input(
                workspace,
                scope,
                owner.id,
                head_digest=digest_of(head),
                head_bytes=len(head),
                kind=kind,
                name=name,
            )
        elif name != known.name:
            note_name(workspace, scope, known.id, name)
        if known.offset:
            self.summary.grown += 1
        else:
            self.summary.new += 1
        if known.head_bytes < len(head):
            grow_head(workspace, scope, known.id, head_digest=digest_of(head), head_bytes=len(head))
        if len(head) < HEAD_BYTES:
            self._short_heads_of(owner.id).add(len(head))
        return Open(owner, known, format_, cut, tracker)

    def feed(self, one: Open, member: Member, format_: registry.Format) -> Iterator[Message]:
        """Hand an input out, unit by unit."""
        counts = one.cut == "whole"
        for pieces in units(one.tracker, format_, one.cut):
            unit = Unit(
                organisation=one.owner.id,
                owner=one.owner.public_id,
                input_id=one.id,
                file=member.name,
                format=one.format,
                first_number=one.line_ends + 1 if one.cut == "lines" else 1,
                first_offset=one.tracker.offset,
                modified_at_s=member.modified_at_s,
                counts=counts,
                skip_records=one.counted.records if counts else 0,
                known_bytes=one.committed if counts else 0,
                skip_quarantined=one.counted.quarantined if counts else 0,
            )
            yield Begin(unit)
            try:
                for data in pieces:
                    self._touched[one.id] = one
                    one.passed(data)
                    self._handed_out(len(data))
                    yield Data(data)
                    if counts and self._is_epoch_over():
                        yield from self.flush()
            except (OSError, MingjianError):
                # What was handed out is whole lines or chunks, or its records are counted.
                yield End()
                raise
            yield End()
            if self._is_epoch_over():
                yield from self.flush()
        one.is_whole = True
        self._touched[one.id] = one

    def _unknown(self, one: Open, name: str, head: bytes) -> Iterator[Message]:
        """Note an input in a format that we do not know: it is quarantined once."""
        while one.tracker.take(files.READ_BYTES):
            pass
        one.is_whole = True
        self._touched[one.id] = one
        self._loose.append(_Loose(one.owner, one.id, registry.unknown(name, head)))
        if self._is_epoch_over():
            yield from self.flush()

    def set_aside(self, entry: Quarantined) -> None:
        """Quarantine what is of no input, unless that was done when it was met before."""
        if not is_quarantined(self._workspace, self._scope, self._organisation.id, entry):
            self._loose.append(_Loose(self._organisation, None, entry))

    def waits_since_s(self) -> float | None:
        """For how long something has been handed out that is not flushed; None if there is nothing."""
        return self._clock_s() - self._epoch_began_s if self._touched or self._loose else None

    def _handed_out(self, size: int) -> None:
        self._epoch_bytes += size
        self._read_bytes += size
        self.summary.bytes += size
        self._progress(self._read_bytes, self.summary.events)

    def _is_epoch_over(self) -> bool:
        return self._epoch_bytes >= EPOCH_BYTES or self._clock_s() - self._epoch_began_s >= EPOCH_S

    def flush(self) -> Iterator[Message]:
        """End the epoch, if there is anything in it."""
        self._epoch_bytes, self._epoch_began_s = 0, self._clock_s()
        # Of an input that is read anew nothing counts before the place where it was the last time.
        snapshots = [_snapshot(one) for one in self._touched.values() if one.tracker.offset >= one.committed]
        if not self._touched and not self._loose:
            return
        self._epoch += 1
        self._epochs[self._epoch] = _Epoch(snapshots, self._loose)
        self._uncommitted.update(snapshot.of.id for snapshot in snapshots)
        self._touched, self._loose = {}, []
        yield Flush(self._epoch)

    # --- committing

    def _commit(self, number: int, parts: list[Part]) -> None:
        """Commit an epoch, organisation by organisation: everything in it is on the disk."""
        epoch = self._epochs.pop(number)
        owners = {snapshot.of.owner.id: snapshot.of.owner for snapshot in epoch.snapshots}
        owners |= {each.owner.id: each.owner for each in epoch.loose}
        for owner in owners.values():
            self._commit_of(owner, epoch, [part for part in parts if part.organisation == owner.id])
        self._progress(self._read_bytes, self.summary.events)

    def _commit_of(self, owner: Organisation, epoch: _Epoch, parts: Sequence[Part]) -> None:
        now = self._workspace.clock_us()
        snapshots = [snapshot for snapshot in epoch.snapshots if snapshot.of.owner.id == owner.id]
        quarantined = [(each.input_id, each.entry) for each in epoch.loose if each.owner.id == owner.id]
        quarantined += [entry for part in parts for entry in part.quarantined]
        segments = [segment for part in parts for segment in part.segments]
        batch = Batch(
            organisation=owner.id,
            inputs=[self._progress_of(snapshot, parts) for snapshot in snapshots],
            segments=segments,
            quarantined=quarantined,
            hosts=[each for part in parts for each in part.hosts],
        )
        results = {segment: count for part in parts for segment, count in part.results.items()}
        extras: list[Extra] = [ran_rules([each.id for each in segments], self._watch.rule_set.id, results, now)]
        extras += self._indicator_coverage(owner, parts, [each.id for each in segments], now)
        extras += [with_index_file(file) for part in parts for file in part.indexes]
        for part in parts:
            extras.append(add(owner.id, part.detections, "arrival", now))
            extras.append(add_matches(owner.id, part.matches))
        insist(lambda: commit_batch(self._workspace, self._scope, batch, extras), self._say)
        self._correlated.setdefault(owner.id, 0)
        for snapshot in snapshots:
            snapshot.of.committed = snapshot.offset
            self._uncommitted[snapshot.of.id] -= 1
        self._sum_up(parts, quarantined)

    def _indicator_coverage(
        self, owner: Organisation, parts: Sequence[Part], segments: Sequence[int], now: int
    ) -> list[Extra]:
        """Rows that say that all sets of indicators were looked for in some segments."""
        matcher = self._watch.matcher(owner.id)
        found: list[Extra] = []
        for set_id in () if matcher is None else matcher.set_ids:
            results = {segment: n for part in parts for segment, n in part.recognised.get(set_id, {}).items()}
            found.append(ran_indicators(segments, set_id, results, now))
        return found

    def _progress_of(self, snapshot: _Snapshot, parts: Sequence[Part]) -> InputProgress:
        one = snapshot.of
        records, position = snapshot.lines, _Position(in_line=snapshot.in_line)
        if one.cut == "whole":
            one.counted = next((part.counted[one.id] for part in parts if one.id in part.counted), one.counted)
            records, position = one.counted.records, _Position(counted=one.counted)
        return InputProgress(
            input_id=one.id,
            from_offset=one.committed,
            offset=snapshot.offset,
            records=records,
            digest=snapshot.digest,
            state="complete" if snapshot.is_whole else "open",
            format=one.format,
            position=None if position == _Position() else msgspec.json.encode(position).decode(),
        )

    def _sum_up(self, parts: Sequence[Part], quarantined: Sequence[tuple[int | None, Quarantined]]) -> None:
        summary = self.summary
        for part in parts:
            summary.events += part.events
            summary.segments += len(part.segments)
            summary.stored_bytes += sum(segment.bytes for segment in part.segments)
            for found in part.detections:
                level = found.detection.level
                summary.detections[level] = summary.detections.get(level, 0) + 1
        summary.quarantined += len(quarantined)
        for _, entry in quarantined:
            self._on_quarantined(entry)

    def correlate(self) -> None:
        """Decide the correlations of every organisation of which something was committed."""
        for organisation in sorted({self._organisation.id, *self._correlated}):
            self._correlated[organisation] = insist(
                lambda of=organisation: correlate_arrivals(self._workspace, of, self._watch), self._say
            )
        self.summary.correlations = sum(self._correlated.values())


def _format(head: bytes, name: str, known: KnownInput | None) -> registry.Format | None:
    """The format of a content: for one that has grown, what it was; None if it is none that we know."""
    if known is not None and known.format is not None:
        found = next((each for each in registry.FORMATS if each.name == known.format), None)
        if found is not None:
            return found
    return registry.recognise(head, name)
