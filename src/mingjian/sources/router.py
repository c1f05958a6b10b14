"""The router: which stream each record of a block belongs to.

A record's stream depends on the record and the name of its format only, never on its neighbours. Every distinct
combination of identity values is looked at once; the answer is kept in a bounded memory, so a homogeneous block costs
one dictionary look-up per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, TypeAlias

import msgspec

from mingjian.model.blocks import Block, picker
from mingjian.model.sources import Layout, Stream, View
from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Value
from mingjian.sources.definitions import (
    PLACEHOLDER,
    Family,
    Recognition,
    SourceBook,
    SourcePlan,
    StreamPlan,
    Test,
    stream_of,
)

MEMO_ENTRIES_MAX: Final = 65_536
"""So many distinct identities are remembered per layout and format; past it the memory is emptied."""

MEMO_CHARACTERS_MAX: Final = 1_024
"""An identity with a longer text is decided anew each time instead of being remembered."""

VIEWS_MAX: Final = 20_000
"""So many views exist at once; past it the router forgets them all and makes new ones."""

SLUG_CHARACTERS_MAX: Final = 64
"""So much of a value goes into the name of a stream."""

LIST_DEPTH_MAX: Final = 16
"""Lists in lists are tested so deep."""

UNKNOWN: Final = "unknown"
"""Family, and first part of the stream, of records that no family recognises."""

_Column: TypeAlias = "Sequence[Value | Missing]"
_PLAIN: Final = frozenset({str, int, type(None), msgspec.UnsetType, Empty})
"""Types whose values are equal only if they mean the same here (``True == 1`` would not do)."""
_VARIES: Final = object()
_UNSEEN: Final = View(Stream(name="", source="", family=""), Layout(name="", family=""))


@dataclass(frozen=True, slots=True)
class Portion:
    """The rows of one block that belong to one view; None for all of them."""

    view: View
    rows: Sequence[int] | None


def slug(value: str) -> str:
    """Turn a value into a part of a stream name: lower case, everything but letters and digits a dash.

    >>> slug("Microsoft-Windows-Sysmon/Operational"), slug("  ")
    ('microsoft-windows-sysmon-operational', 'none')
    """
    words = "".join(c if c.isalnum() else " " for c in value[: 4 * SLUG_CHARACTERS_MAX].casefold()).split()
    return "-".join(words)[:SLUG_CHARACTERS_MAX].strip("-") or "none"


def texts_of(value: Value | Missing, depth: int = LIST_DEPTH_MAX) -> tuple[str, ...]:
    """The texts by which a value is tested: folded, a list element by element, nothing for null and objects.

    >>> texts_of(True), texts_of([1, "A"]), texts_of(None)
    (('true',), ('1', 'a'), ())
    """
    if isinstance(value, str):
        return (value.casefold(),)
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, int | float):
        return (str(value).casefold(),)
    if value is EMPTY:
        return ("",)
    if isinstance(value, list) and depth:
        return tuple(text for item in value for text in texts_of(item, depth - 1))
    return ()


def _is_there(value: Value | Missing) -> bool:
    return value is not MISSING and value is not None and value is not EMPTY


_HOW: Final[dict[str, Callable[[str, str], bool]]] = {
    "equals": str.__eq__,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": str.__contains__,
}


def _holds(test: Test, value: Value | Missing) -> bool:
    if test.how == "present":
        return _is_there(value)
    if test.how == "absent":
        return not _is_there(value)
    compare = _HOW[test.how]
    return any(compare(text, wanted) for text in texts_of(value) for wanted in test.texts)


class _Columns:
    """The columns of one block, fetched in as few decodings as possible."""

    def __init__(self, block: Block, paths: Sequence[str]) -> None:
        self._block = block
        self._whole: dict[str, _Column] = dict(zip(paths, block.columns(paths), strict=True)) if paths else {}
        self._some: dict[str, _Column] = {}
        self._rows: Sequence[int] | None = None

    def narrow(self, rows: Sequence[int]) -> None:
        """From now on only these rows count."""
        self._rows = rows
        self._some = {}

    def has(self, path: str) -> bool:
        """Whether a column is at hand without decoding."""
        return path in self._whole

    def get(self, paths: Sequence[str]) -> list[_Column]:
        """The columns at these paths for the rows that count."""
        rows = self._rows
        known = self._whole if rows is None else self._some
        wanted = [path for path in paths if path not in known]
        if rows is not None:
            for path in [path for path in wanted if path in self._whole]:
                column = self._whole[path]
                known[path] = picker(rows)(column)
            wanted = [path for path in wanted if path not in known]
        if wanted:
            known.update(zip(wanted, self._block.columns(wanted, rows), strict=True))
        return [known[path] for path in paths]


class _Unit:
    """One layout of one family: routes the records that it recognises, for one format."""

    def __init__(self, family: Family, layout: Layout, recognition: Recognition, view_of: _ViewMaker) -> None:
        self._family = family
        self._layout = layout
        self._recognition = recognition
        self._view_of = view_of
        asked = dict.fromkeys([path for path, _ in (*recognition.equals, *recognition.startswith)])
        self._identity = {name: places(layout, name) for name in family.identity}
        valued = asked | dict.fromkeys(path for paths in self._identity.values() for path in paths)
        shown = dict.fromkeys((*recognition.present, *recognition.absent))
        self.paths = tuple(shown | valued)
        self._valued = tuple(path in valued for path in self.paths)
        self._required = tuple((path, _heads(path)) for path in dict.fromkeys(recognition.present) | asked)
        self.heads = tuple(dict.fromkeys(head for _, heads in self._required for head in heads))
        self._memo: dict[object, dict[object, View | None]] = {}
        self._remembered = 0

    def is_possible(self, columns: _Columns, count: int) -> bool:
        """Whether any record may be recognised: whether the keys that it takes are there at all.

        Asks for no more than top-level keys, unless the column at a path itself is already at hand.
        """
        for path, heads in self._required:
            wanted = (path,) if columns.has(path) else heads
            if not any(c[0] is not MISSING or c.count(MISSING) < count for c in columns.get(wanted)):
                return False
        return True

    def route(self, columns: Sequence[_Column], count: int) -> tuple[View | None, list[View | None] | None]:
        """The view of every row, None where the layout does not recognise it: one for all, or row by row."""
        signature: list[object] = []
        varying: list[Sequence[object]] = []
        for column, valued in zip(columns, self._valued, strict=True):
            constant, keys = _reduced(column, count, valued=valued)
            signature.append(constant)
            if constant is _VARIES:
                varying.append(keys)
        memo = self._memo.setdefault(tuple(signature), {})
        if not varying:
            return self._looked_up(memo, (), columns, 0), None
        # The keys are not kept: so zip makes one tuple and fills it anew for each row.
        keys: Iterable[object] = varying[0] if len(varying) == 1 else zip(*varying, strict=True)
        views: list[View | None] = list(map(memo.get, keys, repeat(_UNSEEN)))
        if _UNSEEN in views:
            for row, view in enumerate(views):
                if view is _UNSEEN:
                    key = varying[0][row] if len(varying) == 1 else tuple(column[row] for column in varying)
                    views[row] = self._looked_up(memo, key, columns, row)
        first = views[0]
        return (first, None) if views.count(first) == count else (None, views)

    def _looked_up(
        self, memo: dict[object, View | None], key: object, columns: Sequence[_Column], row: int
    ) -> View | None:
        if key in memo:
            return memo[key]
        values = {path: column[row] for path, column in zip(self.paths, columns, strict=True)}
        view = self._decide(values)
        valued = (values[path] for path, is_valued in zip(self.paths, self._valued, strict=True) if is_valued)
        if all(len(text) <= MEMO_CHARACTERS_MAX for value in valued for text in texts_of(value)):
            if self._remembered >= MEMO_ENTRIES_MAX:
                self.forget()
            memo[key] = view
            self._remembered += 1
        return view

    def forget(self) -> None:
        """Empty the memory. The dictionaries stay the same objects: a block may be on its way through one."""
        for memo in self._memo.values():
            memo.clear()
        self._remembered = 0

    def _decide(self, values: dict[str, Value | Missing]) -> View | None:
        if not _recognises(self._recognition, values):
            return None
        named = {
            name: next((value for value in (values[path] for path in paths) if _is_there(value)), None)
            for name, paths in self._identity.items()
        }
        for source in self._family.sources:
            if all(_holds(test, named[test.name]) for test in source.match):
                for plan in source.streams:
                    if all(_holds(test, named[test.name]) for test in plan.when):
                        return self._view_of(self._family, source, plan, _filled(plan.name, named), self._layout)
        return self._view_of(self._family, None, None, _filled(self._family.fallback, named), self._layout)


def _heads(path: str) -> tuple[str, ...]:
    """The top-level keys under which a dotted path can begin.

    >>> _heads("a.b.c")
    ('a', 'a.b', 'a.b.c')
    """
    parts = path.split(".")
    return tuple(".".join(parts[: count + 1]) for count in range(len(parts)))


def places(layout: Layout, name: str) -> tuple[str, ...]:
    """The dotted paths at which a canonical name may stand in a layout, in the order in which they count."""
    where = layout.names.get(name)
    return tuple(f"{prefix}.{name}" if prefix else name for prefix in layout.search) if where is None else where


def _recognises(asked: Recognition, values: dict[str, Value | Missing]) -> bool:
    return (
        all(_is_there(values[path]) for path in asked.present)
        and not any(_is_there(values[path]) for path in asked.absent)
        and all(not set(texts_of(values[path])).isdisjoint(texts) for path, texts in asked.equals)
        and all(any(t.startswith(texts) for t in texts_of(values[path])) for path, texts in asked.startswith)
    )


def _filled(template: str, named: dict[str, Value | Missing]) -> str:
    if "{" not in template:
        return template
    return PLACEHOLDER.sub(lambda found: slug("".join(texts_of(named[found[1]])[:1])), template)


def _reduced(column: _Column, count: int, *, valued: bool) -> tuple[object, Sequence[object]]:
    """What of a column decides: one constant for all rows, or ``_VARIES`` and a hashable key per row."""
    first = column[0]
    if (first is MISSING or first is None) and column.count(first) == count:
        return "absent", ()
    types = set(map(type, column))
    if not valued:
        if types.isdisjoint((type(None), msgspec.UnsetType, Empty)):
            return "present", ()
        keys = [_is_there(value) for value in column]
        return (_VARIES, keys) if any(keys) else ("absent", ())
    if types <= _PLAIN:
        return _VARIES, column
    return _VARIES, [value if type(value) in _PLAIN else (type(value).__name__, texts_of(value)) for value in column]


class _ViewMaker:
    """Makes exactly one view per stream and layout."""

    def __init__(self) -> None:
        self.views: dict[tuple[str, str, int, str, str], View] = {}

    def __call__(
        self, family: Family, source: SourcePlan | None, plan: StreamPlan | None, name: str, layout: Layout
    ) -> View:
        index = source.streams.index(plan) if source and plan else -1
        key = (family.name, source.id if source else "", index, name, layout.name)
        view = self.views.get(key)
        if view is None:
            nothing = StreamPlan(name, (), (), family.described)
            owner = SourcePlan("", family.name, 0, {}, "", (), (), family.described)
            view = View(stream_of(family, source or owner, plan or nothing, name), layout)
            self.views[key] = view
        return view


class Router:
    """Routes blocks to views. Not shared between threads or processes: give each its own."""

    def __init__(self, book: SourceBook) -> None:
        self._book = book
        self._view_of = _ViewMaker()
        self._units: dict[str, list[_Unit]] = {}
        self._hint: dict[str, int] = {}
        self._unknown: dict[str, View] = {}

    def first_paths(self, sample: Block) -> tuple[str, ...]:
        """The columns that routing looks at first in records like these."""
        self.route(sample)
        return self.paths(sample.format)

    def paths(self, format_name: str) -> tuple[str, ...]:
        """The columns that routing the next block of a format looks at first: decode them in the first pass."""
        units = self._of_format(format_name)
        hint = self._hint.get(format_name, 0)
        wanted: dict[str, None] = {}
        for index, unit in enumerate(units[: hint + 1]):
            wanted.update(dict.fromkeys(unit.paths if index == hint else unit.heads))
        return tuple(wanted)

    def _of_format(self, name: str) -> list[_Unit]:
        units = self._units.get(name)
        if units is None:
            units = self._units[name] = [
                _Unit(family, layout, recognition, self._view_of)
                for family in self._book.families
                for layout, recognition in family.layouts
                if not recognition.formats or name in recognition.formats
            ]
        return units

    def route(self, block: Block) -> list[Portion]:
        """Divide the rows of a block among views. Every row is in exactly one portion; rows rise within each."""
        count = len(block.numbers)
        if not count:
            return []
        if len(self._view_of.views) > VIEWS_MAX:
            self._start_afresh()
        units = self._of_format(block.format)
        hint = self._hint.get(block.format, 0)
        columns = _Columns(block, self.paths(block.format))
        groups: dict[View, list[int]] = {}
        rows: list[int] | None = None
        for index, unit in enumerate(units):
            if index == hint + 1:
                columns.get(tuple({head: None for later in units[index:] for head in later.heads}))
            left = count if rows is None else len(rows)
            if not unit.is_possible(columns, left):
                continue
            view, views = unit.route(columns.get(unit.paths), left)
            if view is None and views is None:
                continue
            self._hint[block.format] = index
            if view is not None and rows is None:
                return [Portion(view, None)]
            rows = _grouped(views or [view] * left, range(count) if rows is None else rows, groups)
            if not rows:
                break
            columns.narrow(rows)
        if rows is None:
            return [Portion(self._unknown_view(block.format), None)]
        if rows:
            groups[self._unknown_view(block.format)] = rows
        return [Portion(view, None if len(members) == count else members) for view, members in groups.items()]

    def _unknown_view(self, format_name: str) -> View:
        view = self._unknown.get(format_name)
        if view is None:
            stream = Stream(name=f"{UNKNOWN}/{slug(format_name)}", source="", family=UNKNOWN)
            view = self._unknown[format_name] = View(stream, Layout(name=format_name, family=UNKNOWN))
        return view

    def _start_afresh(self) -> None:
        self._view_of.views.clear()
        for units in self._units.values():
            for unit in units:
                unit.forget()


def _grouped(views: Sequence[View | None], rows: Sequence[int], groups: dict[View, list[int]]) -> list[int]:
    """Add rows to the group of their view; give those that have none."""
    left: list[int] = []
    sinks: dict[View | None, Callable[[int], None]] = {None: left.append}
    for view in dict.fromkeys(views):
        if view is not None:
            sinks[view] = groups.setdefault(view, []).append
    for row, view in zip(rows, views, strict=True):
        sinks[view](row)
    return left
