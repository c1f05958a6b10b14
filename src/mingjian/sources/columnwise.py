"""The envelope and the observables of a whole block at once: what ``sources.envelope`` says of each of its records.

Every distinct text is looked at once and remembered: a host, an account, a command line comes again and again. Only
times are mostly new. A property test compares with the record-by-record functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mingjian.model.blocks import Block, Encoded
from mingjian.model.observables import canonicals
from mingjian.model.sources import ObservableKind, Observation, View
from mingjian.model.times import TIME_US_MAX, parse_time_us
from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Value
from mingjian.sources.envelope import (
    NOTHING,
    OBSERVABLES_MAX,
    TEMPLATE_PART,
    TEXT_CHARACTERS_MAX,
    is_zoned,
    leaves_of,
    observables,
    time_name,
)

if TYPE_CHECKING:
    import numpy.typing as npt

TIMES_MIN: Final = 64
"""Fewer times are read one by one: all together takes some steps in Arrow, whatever their number."""
REMEMBERED_MAX: Final = 500_000
"""So many texts are remembered; past it the memory is emptied."""
REMEMBERED_CHARACTERS_MAX: Final = 2_048
"""Longer texts are looked at each time."""

Column: TypeAlias = "Sequence[Value | Missing]"
Numbers: TypeAlias = "npt.NDArray[np.int64]"
Places: TypeAlias = "npt.NDArray[np.intp]"
_T = TypeVar("_T")

_ISO_CHARACTERS: Final = len("2026-01-31T12:00:00.000000")
_ISO: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9})?"
_ISO_BARE: Final = rf"{_ISO}$"
_ISO_UTC: Final = rf"{_ISO}Z$"
_ABSENT: Final = frozenset({type(None), Missing, Empty})
_TEXTS: Final = _ABSENT | {str}


class _Coded(NamedTuple):
    """A column: its values, and for each record which of them it has. Without codes, a value for each record."""

    values: Column
    codes: Places | None = None

    def by_record(self) -> Column:
        """A value for each record."""
        return self.values if self.codes is None else self.spread(self.values)

    def spread(self, answers: Sequence[_T]) -> Sequence[_T]:
        """What was found for each value, for each record."""
        return answers if self.codes is None else list(map(answers.__getitem__, self.codes.tolist()))


class Envelopes(NamedTuple):
    """Time, host and account of each record of a block."""

    times_us: list[int | None]
    """Microseconds since 1970 UTC."""
    hosts: list[str]
    accounts: list[str]


class Observed(NamedTuple):
    """The observables in the records of a block: parallel columns, ordered by record."""

    rows: Numbers
    observables: Numbers
    """Numbers of the ``Observer``."""
    roles: Numbers


def envelopes(view: View, block: Block) -> Envelopes:
    """Read time, host and account of every record as the definitions of the view say."""
    stream = view.stream
    names = [*(time_name(name)[0] for name in stream.time), *stream.host, *stream.account]
    columns = _Fields(view, block, names)
    return Envelopes(
        _times(columns, stream.time), _first_texts(columns, stream.host), _first_texts(columns, stream.account)
    )


class Observer:
    """Numbers the observables that it meets, from 0. For one run of looks.

    What it holds goes the moment it goes: nothing in it points back. It can be hundreds of megabytes, and the next
    search for cycles may be far.
    """

    def __init__(self) -> None:
        self._numbering = _Numbering()
        self.kinds = self._numbering.kinds
        """Of each observable, by its number."""
        self.values = self._numbering.values
        self.roles: list[str] = []
        self._role_numbers: dict[str, int] = {}
        self._memories: dict[tuple[ObservableKind, str | None], _Memory] = {}

    def observed(self, view: View, block: Block) -> Observed:
        """Find the observables in every record, each (kind, value, role) once per record."""
        asked = view.stream.observables
        if not asked or not block.numbers:
            nothing = np.zeros(0, np.int64)
            return Observed(nothing, nothing, nothing)
        columns = _Fields(view, block, [each.field for each in asked])
        parts = [self._of_field(columns, each) for each in asked]
        rows = np.concatenate([part.rows for part in parts])
        numbers = np.concatenate([part.observables for part in parts])
        roles = np.concatenate([part.roles for part in parts])
        # Each once: sorted by record, observable, role.
        together = (rows * max(len(self.values), 1) + numbers) * max(len(self.roles), 1) + roles
        _, places = np.unique(together, return_index=True)
        found = Observed(rows[places], numbers[places], roles[places])
        if len(places) > OBSERVABLES_MAX:
            counts = np.bincount(found.rows, minlength=len(block.numbers))
            if int(counts.max()) > OBSERVABLES_MAX:
                return self._bounded(view, block, found, np.flatnonzero(counts > OBSERVABLES_MAX))
        return found

    def _bounded(self, view: View, block: Block, found: Observed, crowded: Numbers) -> Observed:
        """The same, but of records that have too many only those that come first."""
        kept = ~np.isin(found.rows, crowded)
        first = [
            (row, self._numbering.number(kind, value), self._role(role))
            for row in crowded.tolist()
            for kind, value, role in observables(view, block.record(row))
        ]
        added = np.array(first, np.int64).reshape(-1, 3)
        rows = np.concatenate((found.rows[kept], added[:, 0]))
        order = np.argsort(rows, kind="stable")
        return Observed(
            rows[order],
            np.concatenate((found.observables[kept], added[:, 1]))[order],
            np.concatenate((found.roles[kept], added[:, 2]))[order],
        )

    def _of_field(self, columns: _Fields, asked: Observation) -> Observed:
        memory = self._memories.get((asked.kind, asked.split))
        if memory is None or len(memory) > REMEMBERED_MAX:
            answers = _Answers(self._numbering, asked.kind, asked.split) if memory is None else memory.answers
            memory = self._memories[asked.kind, asked.split] = _Memory(answers)
        column = columns.texts(asked.field)
        found = np.array(memory.of_column(column.values), np.int64)
        found = found if column.codes is None else found[column.codes]
        rows = np.flatnonzero(found)
        numbers, rows = memory.answers.spread(found[rows], rows)
        return Observed(rows, numbers, np.full(len(rows), self._role(asked.role), np.int64))

    def _role(self, role: str) -> int:
        number = self._role_numbers.get(role)
        if number is None:
            number = self._role_numbers[role] = len(self.roles)
            self.roles.append(role)
        return number


class _Numbering:
    """Observables and their numbers."""

    def __init__(self) -> None:
        self.kinds: list[ObservableKind] = []
        self.values: list[str] = []
        self._numbers: dict[tuple[ObservableKind, str], int] = {}

    def number(self, kind: ObservableKind, value: str) -> int:
        """The number of an observable, given to it if it has none."""
        number = self._numbers.get((kind, value))
        if number is None:
            number = self._numbers[kind, value] = len(self.values)
            self.kinds.append(kind)
            self.values.append(value)
        return number


class _Answers:
    """What texts hold, for one kind of observable and one way to split.

    An answer is a number of this object; 0 is “nothing”.
    """

    def __init__(self, numbering: _Numbering, kind: ObservableKind, split: str | None) -> None:
        self._numbering = numbering
        self._kind: ObservableKind = kind
        self._split = split
        self._tuples: dict[tuple[int, ...], int] = {(): 0}
        self._flat: list[int] = []
        self._starts: list[int] = [0, 0]

    def of_text(self, text: str) -> int:
        """The answer for one text."""
        if text.strip() in NOTHING:
            return 0
        values = canonicals(self._kind, text, self._split)
        return self._answer(tuple(self._numbering.number(self._kind, value) for value in values))

    def of_several(self, answers: Sequence[int]) -> int:
        """The answer for several texts together, from those for each."""
        if len(answers) < 2:
            return answers[0] if answers else 0
        return self._answer(tuple(dict.fromkeys(number for answer in answers for number in self._parts(answer))))

    def _parts(self, answer: int) -> list[int]:
        return self._flat[self._starts[answer] : self._starts[answer + 1]]

    def _answer(self, numbers: tuple[int, ...]) -> int:
        answer = self._tuples.get(numbers)
        if answer is None:
            answer = self._tuples[numbers] = len(self._tuples)
            self._flat += numbers
            self._starts.append(len(self._flat))
        return answer

    def spread(self, answers: Numbers, rows: Numbers) -> tuple[Numbers, Numbers]:
        """The observables of answers, and the row of each."""
        starts = np.array(self._starts, np.int64)
        flat = np.array(self._flat, np.int64)
        first, counts = starts[answers], starts[answers + 1] - starts[answers]
        if not len(answers) or int(counts.max()) == 1:
            return flat[first] if len(first) else first, rows
        ends = np.cumsum(counts)
        places = np.arange(int(ends[-1])) + np.repeat(first - ends + counts, counts)
        return flat[places], np.repeat(rows, counts)


class _Memory(dict[object, int]):
    """Texts and their answers: each text is looked at once."""

    def __init__(self, answers: _Answers) -> None:
        super().__init__({None: 0, MISSING: 0, EMPTY: 0})
        self.answers = answers
        self._of_text = answers.of_text

    def of_column(self, column: Column) -> list[int]:
        """The answer for every value."""
        types: set[type] = set(map(type, column))
        if types <= _TEXTS:
            return list(map(self.__getitem__, column))
        return [self._of_value(value) for value in column]

    def _of_value(self, value: Value | Missing) -> int:
        return 0 if value is MISSING else self.answers.of_several([self[text] for text in leaves_of(value)])

    def __missing__(self, text: str) -> int:
        answer = self._of_text(text)
        if len(text) <= REMEMBERED_CHARACTERS_MAX:
            self[text] = answer
        return answer


class _Fields:
    """The columns of the names that a view's definitions use, fetched at once."""

    def __init__(self, view: View, block: Block, names: Sequence[str]) -> None:
        self._view = view
        self.size = len(block.numbers)
        parts = dict.fromkeys(part for name in names for part in _parts(name))
        paths = list(dict.fromkeys(path for part in parts for path in view.paths(part)))
        self._columns = _columns(block, paths) if paths else {}
        self._values: dict[str, _Coded] = {}

    def values(self, name: str) -> _Coded:
        """The value of a name in every record, as ``View.value`` gives it."""
        known = self._values.get(name)
        if known is None:
            columns = [self._columns[path] for path in self._view.paths(name)]
            known = self._values[name] = _first_held(columns) if columns else _Coded([MISSING] * self.size)
        return known

    def texts(self, name: str) -> _Coded:
        """The value of a name in every record, or the text of several names joined."""
        return _Coded(self.joined(name)) if "{" in name else self.values(name)

    def joined(self, name: str) -> list[Value | Missing]:
        """Several names joined, as ``envelope.texts`` does; ``MISSING`` where the last one is not there."""
        pieces = TEMPLATE_PART.findall(name)
        columns = [self._part(part) if part else repeat("") for part, _ in pieces]
        if not any(part for part, _ in pieces):
            return [MISSING] * self.size
        known: dict[tuple[str, ...], str | Missing] = {}
        found: list[Value | Missing] = []
        for _, texts in zip(range(self.size), zip(*columns, strict=False), strict=False):
            text = known.get(texts)
            if text is None:
                text = known[texts] = _joined(pieces, texts)
            found.append(text)
        return found

    def _part(self, name: str) -> Sequence[str]:
        column = self.values(name)
        return column.spread(_texts_or_none(column.values))


def _columns(block: Block, paths: Sequence[str]) -> dict[str, _Coded]:
    if not isinstance(block, Encoded):
        return {path: _Coded(column) for path, column in zip(paths, block.columns(paths), strict=True)}
    block.prepare(paths)
    found = {path: block.encoded(path) for path in paths}
    return {path: _Coded(values, codes) for path, (codes, values) in found.items()}


def _joined(pieces: Sequence[tuple[str, str]], texts: Sequence[str]) -> str | Missing:
    joint, joined, last_is_there = "", "", False
    for (_, between), text in zip(pieces, texts, strict=True):
        if between:
            joint = between
            continue
        last_is_there = bool(text)
        joined = f"{joined}{joint if joined else ''}{text}" if text else joined
    return joined if last_is_there else MISSING


def _parts(name: str) -> list[str]:
    return [part for part, _ in TEMPLATE_PART.findall(name) if part] if "{" in name else [name]


def _first_held(columns: Sequence[_Coded]) -> _Coded:
    first = columns[0]
    if len(columns) == 1 or not any(map(_is_hollow, first.values)):
        return first
    values = first.by_record()
    for later in columns[1:]:
        holes = [place for place, value in enumerate(values) if _is_hollow(value)]
        if not holes:
            break
        filled, others = list(values), later.by_record()
        for place in holes:
            if filled[place] is MISSING or not _is_hollow(others[place]):
                filled[place] = others[place]
        values = filled
    return _Coded(values)


def _is_hollow(value: Value | Missing) -> bool:
    return value is MISSING or value is None or value is EMPTY


def _first_text(value: Value | Missing) -> str:
    """The first text of a value that says something; empty if none does."""
    return next((text for text in leaves_of(value) if text.strip() not in NOTHING), "")


class _FirstTexts(dict[object, str]):
    def __missing__(self, text: str) -> str:
        found = self[text] = "" if text.strip() in NOTHING else text
        return found


def _texts_or_none(column: Column) -> list[str]:
    """The first text of every value."""
    if set(map(type, column)) <= _TEXTS:
        return list(map(_FirstTexts({None: "", MISSING: "", EMPTY: ""}).__getitem__, column))
    return [_first_text(value) for value in column]


def _first_texts(columns: _Fields, names: Sequence[str]) -> list[str]:
    """For every record the first text of the first name that has one."""
    found: Sequence[str] | None = None
    for name in names:
        column = columns.texts(name)
        texts = column.spread(_texts_or_none(column.values))
        found = texts if found is None else [one or other for one, other in zip(found, texts, strict=True)]
        if "" not in found:
            break
    if found is None:
        return [""] * columns.size
    cut = {text: text[:TEXT_CHARACTERS_MAX] for text in set(found)}
    return list(map(cut.__getitem__, found))


def _times(columns: _Fields, names: Sequence[str]) -> list[int | None]:
    found: Sequence[int | None] = []
    for name in names:
        plain, only_zoned, zone_offset_s = time_name(name)
        column = columns.values(plain)
        times = column.spread(_read_times(column.values, only_zoned, zone_offset_s))
        found = [one if one is not None else other for one, other in zip(found, times, strict=True)] if found else times
        if None not in found:
            break
    return list(found) or [None] * columns.size


def _read_times(values: Column, only_zoned: bool, zone_offset_s: int) -> list[int | None]:
    return _iso_times(values, only_zoned, zone_offset_s) or [
        _time_us(value, only_zoned, zone_offset_s) for value in values
    ]


def _iso_times(values: Column, only_zoned: bool, zone_offset_s: int) -> list[int | None]:
    """The usual case at once: nothing but ISO 8601, all in UTC or all without a zone. Empty if it is another."""
    if len(values) < TIMES_MIN or set(map(type, values)) != {str}:
        return []
    texts = cast("Sequence[str]", values)
    ends_in_z = texts[0].endswith("Z")
    if only_zoned and not ends_in_z:
        return []
    try:
        column = pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return []
    form = _ISO_UTC if ends_in_z else _ISO_BARE
    if not _call("all", _call("match_substring_regex", column, pattern=form)).as_py():
        return []
    try:
        # Cut to microseconds first: nanoseconds would end in the year 2262.
        column = _call("utf8_slice_codeunits", column, start=0, stop=_ISO_CHARACTERS)
        column = _call("utf8_rtrim", column, characters="Z") if ends_in_z else column
        moments = column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return []
    if not ends_in_z:
        moments = moments - zone_offset_s * 1_000_000
    if int(moments.min()) < 0 or int(moments.max()) > TIME_US_MAX:
        return []
    return moments.tolist()


def _call(function: str, *arguments: object, **options: object) -> Any:
    return getattr(pc, function)(*arguments, **options)


def _time_us(value: Value | Missing, only_zoned: bool, zone_offset_s: int) -> int | None:
    if isinstance(value, list):
        value = value[0] if value else MISSING
    if only_zoned and isinstance(value, str) and not is_zoned(value):
        return None
    return parse_time_us(value, zone_offset_s=zone_offset_s)
