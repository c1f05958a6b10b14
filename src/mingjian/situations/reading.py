"""Events of one observable, out of segments that the index names: bounded, column by column, alike ones together.

Events are alike if they are of one stream and have the same host, account and observables: a beacon of a year is one
group. Of each group one event is read as a whole.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np

from mingjian.detect.behaviours.grouping import numbered
from mingjian.hunt.history import History
from mingjian.model.observables import VALUE_CHARACTERS_MAX, canonicals
from mingjian.model.sources import ObservableKind, Observation, View
from mingjian.model.values import MISSING, Missing, Record, Value
from mingjian.sources.envelope import TEMPLATE_PART, Observed, envelope, leaves_of, observables
from mingjian.store.blocks import Segment, SegmentBlock
from mingjian.store.catalogue import SegmentRow
from mingjian.store.detectiongroups import NO_POINTERS, Pointers
from mingjian.store.scope import OrganisationId
from mingjian.store.sightings.columns import Column, Mask
from mingjian.store.tables import storable
from mingjian.store.workspace import Workspace

OWN_COLUMNS: Final = ("_time", "_input", "_record", "_shape")
"""Of a block all of these are needed: read together, for each reading of a small segment costs as much."""


KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""About so much of what was read of segments is kept in memory; what was asked for longest ago goes first."""
KEPT_S: Final = 60.0
"""When nobody has asked for so long, nothing of it is kept."""
ALIKE_BYTES: Final = 1_000
OBSERVED_BYTES: Final = 300
"""Some of what a group takes up in memory, and each observable in it."""


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one segment that are alike."""

    organisation: OrganisationId
    stream: str
    roles: tuple[str, ...]
    """What the observable does in them."""
    host: str
    account: str
    others: frozenset[Observed]
    """The other observables."""
    count: int
    first_us: int | None
    last_us: int | None
    file: str
    number: int
    """Where the first of them is."""


class Read(NamedTuple):
    """What was read of one segment."""

    groups: list[Alike]
    rows: int
    """Events in which the observable is."""
    pointers: Pointers
    """Input and number of each of them."""
    is_all: bool
    """Whether all groups were read: if not, one that is in other segments too may have more events."""

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes up."""
        return self.pointers.nbytes + sum(ALIKE_BYTES + OBSERVED_BYTES * len(each.others) for each in self.groups)


class KeptReads:
    """What was read of segments, from one question to the next. For the threads of a process and the same sources.

    A segment never changes, so that what was read of it for an observable stays true; whether it may be read, and
    whether it is still there, the catalogue says each time.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._mutex = threading.Lock()
        self._kept: OrderedDict[tuple[str, ObservableKind, str, int], Read] = OrderedDict()
        self._asked_at_s = 0.0
        self.size = 0
        """About how many bytes of memory it takes up."""

    def read(
        self, workspace: Workspace, history: History, row: SegmentRow, kind: ObservableKind, value: str, groups_max: int
    ) -> Read:
        """As ``read_segment``.

        Raises:
            StorageError: the segment is damaged, or not there any more.
        """
        key = (row.path, kind, value, groups_max)
        with self._mutex:
            self._asked_at_s = self._clock_s()
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
        read = read_segment(workspace, history, row, kind, value, groups_max)
        with self._mutex:
            if key not in self._kept and read.size <= KEPT_BYTES_MAX:
                self._kept[key] = read
                self.size += read.size
            while self.size > KEPT_BYTES_MAX:
                self.size -= self._kept.popitem(last=False)[1].size
        return read

    def tidy(self) -> None:
        """Let go of all of it when nobody has asked for a while."""
        with self._mutex:
            if self._clock_s() - self._asked_at_s > KEPT_S:
                self._kept.clear()
                self.size = 0


def needle_of(kind: ObservableKind, value: str) -> str | None:
    r"""A text that is in every spelling of an observable, in whatever case; None if there is none that is sure.

    >>> needle_of("account", "corp\\alice"), needle_of("file", "c:\\temp\\a.exe"), needle_of("ip", "2001:db8::1")
    ('alice', 'a.exe', None)
    """
    text: str | None = value
    if kind == "ip" or kind == "host":
        text = None if ":" in value else value
    elif kind in ("account", "file"):
        text = value.rpartition("\\" if "\\" in value else "/" if kind == "file" else "\\")[2]
    elif kind == "url":
        text = value.partition("://")[2].partition("/")[0].partition(":")[0].strip("[]")
    elif kind == "certificate":
        text = None
    elif kind == "hash":
        text = value.removeprefix("imphash:")
    if not text or not text.isascii() or "xn--" in text:
        return None
    return text.casefold()


def read_segment(
    workspace: Workspace,
    history: History,
    row: SegmentRow,
    kind: ObservableKind,
    value: str,
    groups_max: int,
) -> Read:
    """Read the events of one segment in which an observable stands: of each block no more than so many groups.

    Raises:
        StorageError: the segment is damaged, or not there any more.
    """
    groups: list[Alike] = []
    pointers: list[Pointers] = [NO_POINTERS]
    rows = 0
    with Segment(workspace.lake / row.path, checks=row.checks) as segment:
        likely = history.known_view(row)
        paths = () if likely is None else _paths(likely)
        for block in segment.blocks():
            block.prepare(paths, OWN_COLUMNS)
            for view, part in history.views_of(row, block):
                places = rows_with(view, part, kind, value)
                if not len(places):
                    continue
                rows += len(places)
                pointers.append(np.column_stack((part.inputs[places], part.numbered[places])))
                groups += _groups(_Where(row, history), view, part, places, Observed(kind, value, ""), groups_max)
    return Read(groups, rows, np.concatenate(pointers), sum(each.count for each in groups) == rows)


def rows_with(view: View, block: SegmentBlock, kind: ObservableKind, value: str) -> Column:
    """The places of the records of a block in which an observable stands."""
    asked = [each for each in view.stream.observables if each.kind == kind]
    if not asked:
        return np.zeros(0, np.int64)
    block.prepare(_paths(view))
    needle = needle_of(kind, value)
    sure = np.zeros(len(block), np.bool_)
    unsure = np.zeros(len(block), np.bool_)
    for each in asked:
        is_joined = "{" in each.field
        names = _names(each.field)[-1:] if is_joined else _names(each.field)
        paths = [path for name in names for path in view.paths(name) if block.is_there(path)]
        for path in paths:
            mask = _having(block, path, _test(each, value, needle, is_joined=is_joined))
            if is_joined or len(paths) > 1:
                unsure |= mask
            else:
                sure |= mask
    doubtful = np.flatnonzero(unsure & ~sure)
    if len(doubtful):
        sure[doubtful] = _looked_into(view, block, doubtful, asked, Observed(kind, value, ""))
    return np.flatnonzero(sure)


def _looked_into(
    view: View, block: SegmentBlock, places: Column, asked: Sequence[Observation], wanted: Observed
) -> Mask:
    """Whether an observable is among those of records that are looked into: one of all that are alike in its fields."""
    fields = dict.fromkeys(name for each in asked for name in _names(each.field))
    paths = [
        path for path in dict.fromkeys(path for name in fields for path in view.paths(name)) if block.is_there(path)
    ]
    number = numbered(np.zeros(len(places), np.int64), *(block.encoded(path)[0][places] for path in paths))
    _, first = np.unique(number, return_index=True)
    columns = block.columns(paths, cast("list[int]", places[first].tolist()))
    found = np.zeros(len(first), np.bool_)
    for at in range(len(first)):
        about: Record = {}
        for path, column in zip(paths, columns, strict=True):
            if (cell := column[at]) is not MISSING:
                about[path] = cell
        found[at] = any(each[:2] == wanted[:2] for each in observables(view, about))
    return found[number]


def _names(field: str) -> list[str]:
    return [part for part, _ in TEMPLATE_PART.findall(field) if part] if "{" in field else [field]


def _test(each: Observation, value: str, needle: str | None, *, is_joined: bool) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        if needle is not None and needle not in text.casefold():
            return False
        return is_joined or value in canonicals(each.kind, text, each.split)

    return holds


def _having(block: SegmentBlock, path: str, holds: Callable[[str], bool]) -> Mask:
    codes, distinct = block.encoded(path)
    hits = np.fromiter((_holds(each, holds) for each in distinct), np.bool_, len(distinct))
    return hits[codes] if hits.any() else np.zeros(len(codes), np.bool_)


def _holds(value: Value | Missing, holds: Callable[[str], bool]) -> bool:
    if type(value) is str:
        return len(value) <= VALUE_CHARACTERS_MAX * 4 and holds(value)
    return value is not MISSING and any(holds(text) for text in leaves_of(value))


class _Where(NamedTuple):
    """Where a block is from."""

    row: SegmentRow
    history: History

    def first(self, block: SegmentBlock, places: Sequence[int]) -> int:
        """Of events of the same time the one that stands first: the same however the store was filled."""
        if len(places) == 1:
            return places[0]
        return min(places, key=lambda place: (self.history.file_of(int(block.inputs[place])), block.numbers[place]))


def _groups(
    where: _Where, view: View, block: SegmentBlock, places: Column, wanted: Observed, groups_max: int
) -> Iterator[Alike]:
    """The events at some places of a block, all of which have the observable, alike ones together."""
    stream = view.stream
    paths = [path for path in _paths(view) if block.is_there(path)]
    number = numbered(np.zeros(len(places), np.int64), *(block.encoded(path)[0][places] for path in paths))
    counts = np.bincount(number)
    times, is_timed = (each[places] for each in block.timed)
    chosen: list[tuple[int, int, int | None, int | None]] = []
    for group in _chosen(np.argsort(counts, kind="stable"), groups_max):
        members = number == group
        dated = times[members & is_timed]
        first_us, last_us = (int(dated.min()), int(dated.max())) if len(dated) else (None, None)
        firsts = members & is_timed & (times == first_us) if len(dated) else members
        first = where.first(block, cast("list[int]", places[firsts].tolist()))
        chosen.append((first, int(counts[group]), first_us, last_us))
    # Under its whole path a value is found as it would be in the record itself.
    columns = block.columns(paths, [place for place, *_ in chosen])
    for at, (place, count, first_us, last_us) in enumerate(chosen):
        record: Record = {}
        for path, column in zip(paths, columns, strict=True):
            if (value := column[at]) is not MISSING:
                record[path] = value
        about = envelope(view, record)
        seen = observables(view, record)
        yield Alike(
            organisation=where.row.key.organisation,
            stream=stream.name,
            roles=tuple(sorted({each.role for each in seen if each[:2] == wanted[:2]})),
            host=storable(about.host),
            account=storable(about.account),
            others=frozenset(each for each in seen if each[:2] != wanted[:2]),
            count=count,
            first_us=first_us,
            last_us=last_us,
            file=where.history.file_of(int(block.inputs[place])),
            number=block.numbers[place],
        )


def _paths(view: View) -> list[str]:
    """Where the observables, the host and the account of the events of a view stand."""
    stream = view.stream
    fields = [*(each.field for each in stream.observables), *stream.host, *stream.account]
    return list(dict.fromkeys(path for field in fields for name in _names(field) for path in view.paths(name)))


def _chosen(rising: Column, groups_max: int) -> list[int]:
    """Groups that are read: the smallest and the largest."""
    ranked = cast("list[int]", rising.tolist())
    half = groups_max // 2
    return ranked if len(ranked) <= groups_max else [*ranked[:half], *ranked[-half:]]


def united(reads: Iterable[Read]) -> list[Alike]:
    """Groups of several segments, alike ones together, in the order of their first event (untimed ones last)."""
    known: dict[tuple[object, ...], Alike] = {}
    for read in reads:
        for each in read.groups:
            key = (each.organisation, each.stream, each.roles, each.host, each.account, each.others)
            before = known.get(key)
            known[key] = each if before is None else _both(before, each)
    return sorted(known.values(), key=_place)


def _place(each: Alike) -> tuple[bool, int, str, int, str, tuple[str, ...], str, str]:
    when = each.first_us is None, each.first_us or 0
    return *when, each.file, each.number, each.stream, each.roles, each.host, each.account


def _both(one: Alike, other: Alike) -> Alike:
    first = min(one, other, key=_place)
    lasts = [each.last_us for each in (one, other) if each.last_us is not None]
    return msgspec.structs.replace(first, count=one.count + other.count, last_us=max(lasts, default=None))
