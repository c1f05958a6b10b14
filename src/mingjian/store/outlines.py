"""Outlines of segments: what can be said of some of them without opening any.

An outline is about up to 64 segments of one organisation, stream, layout and format, whatever their days: which columns
they have, and which grams their texts are made of (``store.grams``). A hunt that finds there that no text it needs can
be in them does not open them. What an outline is about may be more than what is left of it, never less: a segment that
no outline names has to be opened.

Outlines are made in the background (``Outliner``), can be made again at any time, and lie in the state database, where
each has a seal: one that was damaged says nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import sqlalchemy as sa

from mingjian.errors import StorageError
from mingjian.formats.records import json_bytes
from mingjian.model.values import Value
from mingjian.store import tables as t
from mingjian.store.arrow import Array, Ints, is_text, texts_of
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import segment_rows, within
from mingjian.store.grams import FILLED_MAX, SEPARATOR, Grams
from mingjian.store.scope import Scope
from mingjian.store.seals import verify
from mingjian.store.workspace import Workspace

SEGMENTS_MAX: Final = 64
"""So many segments have one outline; those that were merged count as one."""
ROWS_MAX: Final = 262_144
"""So many events have one outline, unless a single segment has more."""
SEGMENTS_MIN: Final = 8
"""So many segments wait for an outline …"""
WAIT_US: Final = 3_600_000_000
"""… or for so long: those that come now are merged before long."""
LOOK_US: Final = 60_000_000
"""So often it is looked whether there is something to do: that reads the list of all segments."""
JOINED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Texts are put together until they have so many bytes."""
ASKED_AT_ONCE: Final = 500
"""So many ids stand in one query."""

_NESTED: Final = re.compile(rb"^[\[{].*$", re.MULTILINE)
"""Cells that may be JSON: on a line of their own, for JSON has no line breaks."""
_NESTED_STARTS: Final = (SEPARATOR + b"[", SEPARATOR + b"{")
"""Without one of them there are no such cells. (To look for that takes less time than the expression.)"""


class _Columns(msgspec.Struct, frozen=True):
    """Which columns some segments have."""

    names: frozenset[str]
    is_opaque: bool
    """Whether some records may hold anything anywhere: they were kept whole, or in a way that texts cannot be seen."""


class Outline(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What is in some segments, roughly."""

    segments: frozenset[int]
    names: frozenset[str]
    """The dotted paths of their native columns."""
    is_opaque: bool
    """Whether any text may be in them, at any path, whatever else stands here."""
    grams: Grams

    @cached_property
    def _outer(self) -> frozenset[str]:
        """The paths that lead to objects which are spread over columns."""
        cut = (name.split(".")[:-1] for name in self.names)
        return frozenset(".".join(parts[: length + 1]) for parts in cut for length in range(len(parts)))

    def is_there(self, path: str) -> bool:
        """Whether any record may have something at a dotted path."""
        if self.is_opaque or path in self.names or path in self._outer:
            return True
        dot = path.find(".")
        while dot >= 0:
            if path[:dot] in self.names:
                return True
            dot = path.find(".", dot + 1)
        return False

    def shows_texts(self, path: str) -> bool:
        """Whether the texts at a dotted path lie as they are: that of an object is made of several columns."""
        return not self.is_opaque and path not in self._outer


def outlines_of(workspace: Workspace, scope: Scope, stream: str, layout: str, format_: str) -> Iterator[Outline]:
    """Every outline of segments of one stream, in one layout and format.

    One that was damaged is left out: its segments have to be opened, and ``mingjian doctor`` says so.
    """
    table = t.outlines
    query = (
        sa.select(table)
        .join(t.streams, t.streams.c.id == table.c.stream_id)
        .where(t.streams.c.name == t.storable(stream), table.c.layout == layout, table.c.format == format_)
        .where(within(scope, table.c.organisation_id))
    )
    with workspace.read() as connection:
        for row in connection.execute(query):
            outline = _outline(row)
            if outline is not None:
                yield outline


def _outline(row: sa.Row[Any]) -> Outline | None:
    """The outline of a row; None if it was damaged."""
    try:
        verify(t.outlines, row)
        columns = msgspec.json.decode(row.columns, type=_Columns)
    except (StorageError, msgspec.DecodeError):
        return None
    return Outline(
        segments=frozenset(_ids(row.segments).tolist()),
        names=columns.names,
        is_opaque=columns.is_opaque,
        grams=Grams.from_bytes(row.grams),
    )


def _ids(data: bytes) -> Ints:
    return np.frombuffer(data, dtype="<i8").astype(np.int64)


class Draft:
    """An outline that is being made, or added to."""

    def __init__(self, known: Outline | None = None) -> None:
        self._segments: set[int] = set(known.segments) if known else set()
        self._names: set[str] = set(known.names) if known else set()
        self._is_opaque = known.is_opaque if known else False
        self._grams = known.grams if known else Grams()
        self._is_new = known is None

    def add(self, segment_id: int, segment: Segment) -> None:
        """Take a segment in. Raises: StorageError (it is damaged; whatever of it was taken in does no harm)."""
        places = [segment.field_place(place) for place in range(len(segment.paths))]
        for number in range(segment.row_groups):
            for texts in _texts(segment.read(number, places)):
                self._grams.add(texts)
                self._add_nested(texts)
        self._names.update(".".join(path) for path in segment.paths)
        self._is_opaque |= segment.own_place("_rest") is not None
        self._segments.add(segment_id)

    def _add_nested(self, texts: bytes) -> None:
        found: list[bytes] = []
        if not any(start in texts for start in _NESTED_STARTS) and texts[:1] not in (b"[", b"{"):
            return
        for cell in _NESTED.findall(texts):
            try:
                value = cast("Value", orjson.loads(cell))
            except orjson.JSONDecodeError:
                continue
            self._is_opaque |= _may_be_tagged(value)
            found += [json_bytes(value), *_texts_in(value)]
        if found:
            self._grams.add(SEPARATOR.join(found))

    def outline(self) -> Outline:
        """What it has become."""
        if self._is_new:
            self._grams.shrink()
        return Outline(
            segments=frozenset(self._segments),
            names=frozenset(self._names),
            is_opaque=self._is_opaque,
            grams=self._grams,
        )


def _columns_of(outline: Outline) -> dict[str, object]:
    """What the row of an outline holds."""
    return {
        "segments": _packed(outline.segments),
        "columns": msgspec.json.encode(_Columns(outline.names, outline.is_opaque), order="sorted"),
        "grams": outline.grams.to_bytes(),
    }


def _packed(segments: Iterable[int]) -> bytes:
    return np.array(sorted(segments), dtype="<i8").tobytes()


def _texts(arrays: Sequence[Array]) -> Iterator[bytes]:
    """All texts of some columns, each distinct one of each column once, put together."""
    waiting: list[Array] = []
    size = 0
    for array in arrays:
        if is_text(array):
            texts = texts_of(array)[1].drop_null()
            if size and size + texts.nbytes > JOINED_BYTES_MAX:
                yield _together(waiting)
                waiting, size = [], 0
            waiting.append(texts)
            size += texts.nbytes
    if waiting:
        yield _together(waiting)


def _together(texts: list[Array]) -> bytes:
    every = pa.concat_arrays(texts)
    _, offsets_buffer, data = every.buffers()
    if offsets_buffer is None or data is None or not len(every):
        return b""
    offsets = np.frombuffer(memoryview(offsets_buffer), dtype=np.int32)[every.offset : every.offset + len(every) + 1]
    octets = np.frombuffer(memoryview(data), dtype=np.uint8)[offsets[0] : offsets[-1]]
    return np.insert(octets, offsets[1:-1] - offsets[0], SEPARATOR[0]).tobytes()


def _may_be_tagged(value: Value) -> bool:
    """Whether a list may be the tokens of a value that JSON cannot hold (``store.cells``)."""
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        return False
    return value[0] in ("[", "{") or (len(value) == 1 and value[0].startswith("x"))


def _texts_in(value: Value) -> Iterator[bytes]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one.encode("utf-8", "surrogatepass")
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()


class _Waiting(msgspec.Struct, frozen=True):
    """Segments that are to have one outline, and the one that they may be added to."""

    segments: tuple[int, ...]
    rows: int
    outline: int | None


_Key: TypeAlias = tuple[int, int, str, str]


def _key(row: sa.Row[Any]) -> _Key:
    """What all segments of an outline have in common."""
    return row.organisation_id, row.stream_id, row.layout, row.format


class Outliner:
    """Makes outlines, a little at a time. For one process at a time: the one that writes (``Workspace.writing``)."""

    def __init__(self, workspace: Workspace, scope: Scope, *, wait_us: int = WAIT_US) -> None:
        """Few segments of a kind wait for so long, lest there be others."""
        self._workspace = workspace
        self._scope = scope
        self._wait_us = wait_us
        self._waiting: list[_Waiting] = []
        self._looked_at_us = -LOOK_US
        self._seen = (-1, -1)
        self._damaged: set[int] = set()

    def step(self) -> bool:
        """Make one outline, or add to one; say whether there was anything to do.

        Raises:
            StorageError: the database cannot be read or written.
        """
        if not self._waiting:
            self._waiting = self._look()
        if not self._waiting:
            return False
        self._make(self._waiting.pop())
        return True

    def _look(self) -> list[_Waiting]:
        """What there is to do: most of it last."""
        table = t.segments
        now = self._workspace.clock_us()
        if 0 <= now - self._looked_at_us < LOOK_US:
            return []
        self._looked_at_us = now
        with self._workspace.read() as connection:
            newest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() or 0
            seen = (newest, now // WAIT_US)
            if seen == self._seen:
                return []
            self._seen = seen
            live = connection.execute(
                sa.select(
                    *(table.c[name] for name in ("id", "organisation_id", "stream_id", "layout", "format")),
                    table.c.rows,
                    table.c.committed_us,
                )
                .where(table.c.state == "live", within(self._scope, table.c.organisation_id))
                .order_by(sa.func.coalesce(table.c.first_us, -(1 << 62)), table.c.id)
            ).all()
            # Not what they say of texts, which is large. What is added to one is checked when that is done.
            names = ("id", "organisation_id", "stream_id", "layout", "format", "segments", "rows")
            chosen = sa.select(*(t.outlines.c[name] for name in names)).order_by(t.outlines.c.id)
            known = connection.execute(chosen).all()
        outlined = {number: row.id for row in known for number in _ids(row.segments).tolist()}
        self._follow_merges({row.id for row in live} - outlined.keys(), outlined)
        self._forget({row.id for row in known} - {outlined[row.id] for row in live if row.id in outlined})
        by_key: dict[_Key, list[sa.Row[Any]]] = defaultdict(list)
        for row in live:
            if row.id not in outlined and row.id not in self._damaged:
                by_key[_key(row)].append(row)
        last = {_key(row): row for row in known}
        found: list[_Waiting] = []
        for key, rows in by_key.items():
            if len(rows) >= SEGMENTS_MIN or min(row.committed_us for row in rows) <= now - self._wait_us:
                found += _portions(rows, last.get(key))
        return sorted(found, key=lambda each: each.rows)

    def _follow_merges(self, new: set[int], outlined: dict[int, int]) -> None:
        """Let what was merged from segments of one outline belong to that."""
        table = t.segments
        parts: dict[int, set[int]] = defaultdict(set)
        ids = sorted(new)
        for start in range(0, len(ids), ASKED_AT_ONCE):
            chosen = table.c.replaced_by.in_(ids[start : start + ASKED_AT_ONCE])
            with self._workspace.read() as connection:
                for row in connection.execute(sa.select(table.c.id, table.c.replaced_by).where(chosen)):
                    parts[row.replaced_by].add(row.id)
        moved: dict[int, list[int]] = defaultdict(list)
        for number, several in parts.items():
            outline = outlined.get(next(iter(several)))
            if outline is not None:
                moved[outline].append(number)
        with self._workspace.begin() as connection:
            for outline, numbers in moved.items():
                query = sa.select(t.outlines).where(t.outlines.c.id == outline)
                kept = _outline(connection.execute(query).one())
                if kept is None:
                    continue
                has = kept.segments
                followed = [number for number in numbers if parts[number] <= has]
                outlined.update(dict.fromkeys(followed, outline))
                segments = _packed(has.union(followed))
                connection.execute(sa.update(t.outlines).where(t.outlines.c.id == outline).values(segments=segments))

    def _forget(self, outlines: set[int]) -> None:
        """Remove outlines of which no segment is left."""
        ids = sorted(outlines)
        with self._workspace.begin() as connection:
            for start in range(0, len(ids), ASKED_AT_ONCE):
                chosen = ids[start : start + ASKED_AT_ONCE]
                connection.execute(sa.delete(t.outlines).where(t.outlines.c.id.in_(chosen)))

    def _make(self, waiting: _Waiting) -> None:
        table = t.outlines
        rows = segment_rows(
            self._workspace, sa.and_(t.segments.c.id.in_(waiting.segments), t.segments.c.state == "live")
        )
        if not rows:
            return
        number, known = waiting.outline, self._kept(waiting.outline)
        if known is None or known.grams.share_set() > FILLED_MAX:
            number = known = None
        draft = Draft(known)
        for row in rows:
            try:
                with (
                    self._workspace.reading(),
                    Segment(self._workspace.lake / row.path, checks=row.checks) as segment,
                ):
                    draft.add(row.id, segment)
            except StorageError:
                self._damaged.add(row.id)  # a hunt says so
        count = sum(row.rows for row in rows)
        values = _columns_of(draft.outline())
        with self._workspace.begin() as connection:
            if number is not None:
                change = {**values, "rows": table.c.rows + count}
                connection.execute(sa.update(table).where(table.c.id == number).values(change))
                return
            stream = sa.select(t.segments.c.stream_id).where(t.segments.c.id == rows[0].id)
            connection.execute(
                sa.insert(table).values(
                    organisation_id=rows[0].key.organisation,
                    stream_id=connection.execute(stream).scalar_one(),
                    layout=rows[0].key.layout,
                    format=rows[0].key.format,
                    rows=count,
                    **values,
                )
            )

    def _kept(self, number: int | None) -> Outline | None:
        table = t.outlines
        with self._workspace.read() as connection:
            query = sa.select(table).where(table.c.id == number)
            row = connection.execute(query).one_or_none()
        return None if row is None else _outline(row)


def _portions(rows: Sequence[sa.Row[Any]], last: sa.Row[Any] | None) -> Iterator[_Waiting]:
    """Divide segments of one key among outlines; the first of them may still have room."""
    portion: list[int] = []
    count = 0
    room, room_rows = SEGMENTS_MAX, ROWS_MAX
    outline: int | None = None
    if last is not None and len(last.segments) // 8 < SEGMENTS_MAX and last.rows < ROWS_MAX:
        room, room_rows, outline = SEGMENTS_MAX - len(last.segments) // 8, ROWS_MAX - last.rows, last.id
    for row in rows:
        if portion and (len(portion) >= room or count + row.rows > room_rows):
            yield _Waiting(tuple(portion), count, outline)
            portion, count, room, room_rows, outline = [], 0, SEGMENTS_MAX, ROWS_MAX, None
        portion.append(row.id)
        count += row.rows
    if portion:
        yield _Waiting(tuple(portion), count, outline)
