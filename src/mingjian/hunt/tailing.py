"""Ingest that goes on: growing files, and what comes in over the network, as long as nobody says that it is enough.

Both are inputs like all others, known by their content: ``sources.follow`` says what is new in files; what came in
over the network stands in journals (``sources.journal``), which are read like growing files. What has arrived is
committed within ``FLUSH_S``. Between two looks it is noticed whether rules or indicators have changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

from mingjian.errors import StateError
from mingjian.formats import containers, registry
from mingjian.formats.containers import Member
from mingjian.hunt.arrival import Watch
from mingjian.hunt.identifying import verdict_on
from mingjian.hunt.ingest import Ingest, Open
from mingjian.hunt.parts import Drain, Message, Pause
from mingjian.hunt.pool import give_memory_back
from mingjian.sources import files, journalfiles
from mingjian.sources.contents import Tracker, how_to_cut
from mingjian.sources.follow import POLL_S_MAX, POLL_S_MIN, Follower, Grown, Opened, Start
from mingjian.sources.journalfiles import JournalFile
from mingjian.store.catalogue import HEAD_BYTES, organisation_named
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

FLUSH_S: Final = 2.0
"""What has arrived is committed after so long at the latest, and some milliseconds."""
CORRELATE_S: Final = 10.0
"""Correlations are decided this often at most …"""
CORRELATE_SHARE: Final = 0.05
"""… and not more often than takes this share of the time."""
RENEW_S: Final = 5.0
"""So often it is looked whether rules or indicators have changed."""
REST_S: Final = 60.0
"""So often the process that hands out gives back the memory that it does not use."""
JOURNAL_KEPT_S: Final = 48 * 3600
"""A journal that is committed to its end is removed after so long: until then it knows requests that are resent."""
_CONTAINER_HEAD_BYTES: Final = 512


class _Unsettled(Exception):
    """Whether a file is new cannot be said before everything is committed that is on its way."""


class Tail:
    """Follows files and journals for an ingest."""

    def __init__(
        self,
        ingest: Ingest,
        workspace: Workspace,
        scope: Scope,
        *,
        paths: Sequence[str] = (),
        intake: bool = False,
        changed: Callable[[], Watch | None] = lambda: None,
        should_stop: Callable[[], bool] = lambda: False,
        tell: Callable[[], None] = lambda: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``paths`` are followed; with ``intake`` also the journals of the workspace.

        ``changed`` gives other rules and indicators if they are others now; ``tell`` is called at every look.
        """
        self._ingest = ingest
        self._workspace = workspace
        self._scope = scope
        self._intake = intake
        self._changed = changed
        self._should_stop = should_stop
        self._tell = tell
        self._clock_s = clock_s
        self._follower = Follower(paths, self._begin)
        self._begun: dict[str, Open] = {}
        self._files: dict[int, Open] = {}
        self._as_wholes: set[int] = set()
        """Files that begin like something known, and end before it does."""
        self._journals: dict[str, Open] = {}
        self._correlate_at_s = clock_s() + CORRELATE_S
        self._renew_at_s = clock_s() + RENEW_S
        self._rest_at_s = clock_s() + REST_S

    def messages(self) -> Iterator[Message]:
        """Hand out whatever is new, until it is to stop."""
        try:
            while not self._should_stop():
                self._tell()
                grown = yield from self._look()
                waits_s = self._ingest.waits_since_s()
                if waits_s is not None and waits_s >= FLUSH_S:
                    yield from self._ingest.flush()
                yield from self._now_and_then()
                yield Pause(POLL_S_MIN if grown or waits_s is not None else POLL_S_MAX / 2)
            yield from self._ingest.flush()
            yield Drain()
        finally:
            self._follower.close()

    def _look(self) -> Generator[Message, None, bool]:
        """Hand out what is new now; say whether there was anything."""
        try:
            several = self._follower.poll(self._clock_s())
        except _Unsettled:
            yield from self._ingest.flush()
            yield Drain()
            return True
        for grown in several:
            yield from self._file(grown)
        found = bool(several)
        if self._intake:
            for journal in journalfiles.journals(self._workspace.intake):
                found = (yield from self._journal(journal)) or found
        return found

    def _now_and_then(self) -> Iterator[Message]:
        now_s = self._clock_s()
        if now_s >= self._renew_at_s:
            self._renew_at_s = now_s + RENEW_S
            watch = self._changed()
            if watch is not None:
                yield from self._ingest.renew(watch)
        if now_s >= self._correlate_at_s:
            yield Drain()
            began_s = self._clock_s()
            self._ingest.correlate()
            took_s = self._clock_s() - began_s
            self._correlate_at_s = self._clock_s() + max(CORRELATE_S, took_s / CORRELATE_SHARE)
        if now_s >= self._rest_at_s:
            give_memory_back()
            self._rest_at_s = self._clock_s() + REST_S

    # --- files

    def _begin(self, opened: Opened) -> Start | None:
        """Say where to begin in a file that is new to the follower."""
        head = opened.read(0, registry.HEAD_BYTES_MAX)
        if containers.container_kind(head[:_CONTAINER_HEAD_BYTES]) is not None:
            return Start(by_lines=False)
        format_ = registry.recognise(head, opened.path)
        if format_ is None or how_to_cut(format_, head) != "lines":
            return Start(by_lines=False)
        several = self._ingest.candidates(head)
        if self._ingest.is_on_its_way(several):
            raise _Unsettled
        tracker = Tracker(_chunks(opened, opened.size_bytes))
        verdict = verdict_on(self._workspace, self._scope, several, tracker)
        known = verdict.known if verdict.known is not None and verdict.known.offset else None
        if verdict.is_shorter:
            # Should it grow, it has to be compared as a whole again.
            return Start(by_lines=False)
        if known is None:
            return None if opened.sibling and opened.at_start else Start()
        if tracker.offset != known.offset:
            tracker = Tracker(_chunks(opened, opened.size_bytes))
            tracker.pass_over(known.offset)
        name = known.format or format_.name
        self._begun[opened.path] = self._ingest.opened(opened.path, head, known, name, "lines", tracker)
        return Start(known.offset)

    def _file(self, grown: Grown) -> Iterator[Message]:
        if not grown.by_lines or grown.number in self._as_wholes:
            yield from self._ingest.file(grown.path)
            self._follower.took(grown)
            return
        one = self._files.get(grown.number) or self._begun.pop(grown.path, None)
        try:
            if one is not None:
                one.tracker.go_on(self._follower.chunks(grown))
            else:
                one = yield from self._new(grown)
            if one is not None:
                self._files[grown.number] = one
                member = Member(name=grown.path, chunks=iter(()), modified_at_s=grown.modified_at_s)
                yield from self._ingest.feed(one, member, _named(one.format))
        except (StateError, OSError):
            # It became shorter while it was read: the next look finds out why, and begins anew.
            self._files.pop(grown.number, None)
            return
        self._follower.took(grown)
        if grown.ended:
            self._files.pop(grown.number, None)
            self._as_wholes.discard(grown.number)

    def _new(self, grown: Grown) -> Generator[Message, None, Open | None]:
        """Begin with a file that was new when it was asked where to begin; None if there is nothing new in it."""
        tracker = Tracker(self._follower.chunks(grown))
        head = tracker.peek(registry.HEAD_BYTES_MAX)
        several = self._ingest.candidates(head)
        known = None
        if several:
            # One that begins alike was new in the same look.
            yield from self._ingest.flush()
            yield Drain()
            several = self._ingest.candidates(head)
            verdict = verdict_on(self._workspace, self._scope, several, tracker)
            known = verdict.known
            if verdict.is_shorter:
                self._as_wholes.add(grown.number)
                return None
            if tracker.offset != (0 if known is None else known.offset):
                tracker = Tracker(self._follower.chunks(grown))
                tracker.pass_over(0 if known is None else known.offset)
        format_ = registry.recognise(head, grown.path)
        name = (known.format if known is not None else None) or ("text" if format_ is None else format_.name)
        return self._ingest.opened(grown.path, head, known, name, "lines", tracker)

    # --- journals

    def _journal(self, journal: JournalFile) -> Generator[Message, None, bool]:
        one = self._journals.get(journal.id)
        if one is None:
            if journal.end == journal.first_offset:
                return False
            one = self._journals[journal.id] = yield from self._opened_journal(journal)
        if journal.end <= one.tracker.offset:
            self._remove_if_old(journal, one)
            return False
        one.tracker.go_on(journalfiles.chunks(journal, one.tracker.offset))
        name = f"{journal.path.parent.name}/{journal.path.name}"
        member = Member(name=name, chunks=iter(()), modified_at_s=journal.created_us / 1_000_000)
        yield from self._ingest.feed(one, member, _named(one.format))
        return True

    def _opened_journal(self, journal: JournalFile) -> Generator[Message, None, Open]:
        owner = organisation_named(self._workspace, self._scope, journal.organisation, make=True)
        name = f"{journal.path.parent.name}/{journal.path.name}"
        tracker = Tracker(_journal_chunks(journal))
        head = tracker.peek(HEAD_BYTES)
        several = self._ingest.candidates(head, owner)
        if self._ingest.is_on_its_way(several):
            yield from self._ingest.flush()
            yield Drain()
        known = verdict_on(self._workspace, self._scope, several, tracker).known
        if known is not None and not known.offset:
            known = None
        if known is None or tracker.offset != known.offset:
            tracker = Tracker(_journal_chunks(journal))
            tracker.pass_over(journal.first_offset if known is None else known.offset)
        one = self._ingest.opened(name, head, known, journal.format, "lines", tracker, owner=owner, kind="journal")
        one.line_ends = max(one.line_ends, journal.first_number - 1)
        return one

    def _remove_if_old(self, journal: JournalFile, one: Open) -> None:
        age_s = (self._workspace.clock_us() - journal.created_us) / 1_000_000
        if journal.sealed and one.committed >= journal.end and age_s > JOURNAL_KEPT_S:
            journalfiles.remove(journal)
            del self._journals[journal.id]


def _named(name: str) -> registry.Format:
    return next(each for each in registry.FORMATS if each.name == name)


def _chunks(opened: Opened, end: int) -> Iterator[bytes]:
    at = 0
    while at < end and (data := opened.read(at, min(files.READ_BYTES, end - at))):
        at += len(data)
        yield data


def _journal_chunks(journal: JournalFile) -> Iterator[bytes]:
    """A journal from its very beginning: its first line is part of what it is known by."""
    with journal.path.open("rb") as file:
        left = journal.end
        while left and (data := file.read(min(files.READ_BYTES, left))):
            left -= len(data)
            yield data
