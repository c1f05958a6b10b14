"""From events to tables of facts: which streams tell what is data (``data/behaviours.yml``), this applies it.

``FactBook`` is what the data says; ``Gathering`` takes blocks of events and gives the tables at the end. Every distinct
value is looked at once. An event that does not tell what a fact must have (when, who, whither) gives none, and is
counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingjian.detect.behaviours.facts import CONNECTIONS, LOGONS, LOOKUPS, USES
from mingjian.detect.behaviours.grouping import counts_of, largest, numbered, order_by, smallest, starts_of
from mingjian.detect.behaviours.places import is_outside
from mingjian.hunt.behaviourbook import (
    Called,
    Connections,
    FactBook,
    Failed,
    Hosts,
    Kind,
    Logons,
    Lookups,
    Map,
    Names,
    Outcome,
    Uses,
)
from mingjian.model.blocks import Block, Encoded
from mingjian.model.observables import canonical
from mingjian.model.sources import View
from mingjian.model.values import EMPTY, MISSING, Missing, Value
from mingjian.sources.envelope import NOTHING

Ints: TypeAlias = "npt.NDArray[np.int64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"
Column: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"

HOST: Final = "@host"
"""In the data: whatever the source definition calls the host."""
PART_BITS: Final = 28
"""An event's number is its part (a segment, a file) and its row there: so many bits are for the row."""
NO_TIME: Final = -(1 << 62)


class Facts(NamedTuple):
    """The tables, and what they know besides."""

    connections: pa.Table
    logons: pa.Table
    lookups: pa.Table
    uses: pa.Table
    own_domains: dict[str, tuple[str, ...]]
    """Organisation → domains that its hosts are in."""
    without: Counter[str]
    """Kind of fact → events that should have told one and did not say when, who or whither."""


def without_tables(facts: Facts) -> Facts:
    """The same without its rows: they are large, and needed once."""
    return facts._replace(
        connections=CONNECTIONS.empty_table(),
        logons=LOGONS.empty_table(),
        lookups=LOOKUPS.empty_table(),
        uses=USES.empty_table(),
    )


class _Texts(NamedTuple):
    """A column as codes; −1 for nothing."""

    codes: Ints
    values: list[str]


class Columns:
    """The columns of one block under one view, by the names that definitions use."""

    def __init__(self, view: View, block: Block) -> None:
        self._view = view
        self._block = block
        # The numbers of a stored block would have to be read.
        self.size = len(block) if isinstance(block, Sized) else len(block.numbers)
        self._texts: dict[str, _Texts] = {}

    def texts(self, names: Sequence[str]) -> _Texts:
        """The first text that one of some names holds."""
        expanded = [each for name in names for each in (self._view.stream.host if name == HOST else (name,))]
        paths = list(dict.fromkeys(path for name in expanded for path in self._view.paths(name)))
        found = np.full(self.size, -1, np.int64)
        numbers: dict[str, int] = {}
        for path in paths:
            column = self._column(path)
            if not column.values:
                continue
            known = np.array([*(numbers.setdefault(text, len(numbers)) for text in column.values), -1], np.int64)
            found = np.where(found < 0, known[column.codes], found)
            if (found >= 0).all():
                break
        return _Texts(found, list(numbers))

    def _column(self, path: str) -> _Texts:
        known = self._texts.get(path)
        if known is None:
            if isinstance(self._block, Encoded):
                codes, distinct = self._block.encoded(path)
                known = _as_texts(codes, [_text(value) for value in distinct])
            else:
                texts = [_text(value) for value in self._block.column(path)]
                number = {text: code for code, text in enumerate(dict.fromkeys(texts))}
                codes = np.fromiter(map(number.__getitem__, texts), np.int64, len(texts))
                known = _as_texts(codes, list(number))
            self._texts[path] = known
        return known


def _text(value: Value | Missing) -> str:
    """The first text of a value that says something; empty if none does."""
    if isinstance(value, str):
        return "" if value.strip() in NOTHING else value.strip()
    if value is None or value is MISSING or value is EMPTY or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return next((text for each in value if (text := _text(each))), "")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_texts(codes: npt.NDArray[Any], texts: Sequence[str]) -> _Texts:
    """Codes of texts, with −1 for the empty one and no text twice."""
    values = [text for text in dict.fromkeys(texts) if text]
    number = {text: code for code, text in enumerate(values)}
    places = np.array([number.get(text, -1) for text in texts] or [-1], np.int64)
    return _Texts(places[codes] if len(codes) else np.zeros(0, np.int64), values)


def host_name(text: str) -> str:
    r"""A host by the first label of its name, or by its address.

    >>> host_name("FS-01.corp.example"), host_name("::ffff:10.0.0.9"), host_name("a b")
    ('fs-01', '10.0.0.9', '')
    """
    found = canonical("host", text) or ""
    return found if ":" in found or found.replace(".", "").isdigit() else found.partition(".")[0]


def _place(text: str) -> str:
    return canonical("host", text) or ""


def _account(text: str) -> str:
    found = canonical("account", text) or ""
    return found.rpartition("\\")[2].partition("@")[0]


def _file(text: str) -> str:
    return canonical("file", text) or ""


def _name(text: str) -> str:
    found = _place(text)
    return "" if found.replace(".", "").isdigit() or ":" in found else found


_FORMS: Final[dict[str, Callable[[str], str]]] = {"domain": _name, "file": _file}
"""The form of a used value, by its kind; others are folded."""


def _mapped(texts: _Texts, change: Callable[[str], str]) -> _Texts:
    """A column with another form of every text."""
    changed = [change(text) for text in texts.values]
    known = _as_texts(np.arange(len(changed), dtype=np.int64), changed)
    return _Texts(np.append(known.codes, -1)[texts.codes], known.values)


def _whole_numbers(texts: _Texts, factor: float = 1.0) -> tuple[Ints, Mask]:
    """A column as whole numbers, and which of them are missing."""
    numbers = [_number(text, factor) for text in texts.values]
    values = np.array([*(0 if number is None else number for number in numbers), 0], np.int64)
    missing = np.array([*(number is None for number in numbers), True], np.bool_)
    return values[texts.codes], missing[texts.codes]


def _number(text: str, factor: float) -> int | None:
    try:
        number = float(text) * factor
    except ValueError:
        return None
    return int(number) if 0 <= number < 1 << 62 else None


def _names_in(each: Map) -> Iterator[str]:
    """Every field that a map looks at."""
    yield from each.when
    for name in each.__struct_fields__:
        value = getattr(each, name)
        if isinstance(value, (Outcome, Kind, Failed)):
            yield from value.field
        elif name not in ("streams", "unless", "when") and isinstance(value, tuple):
            yield from cast("Names", value)


class _Part(NamedTuple):
    organisation: str
    stream: str
    unless: Names
    columns: dict[str, Column]


class Gathering:
    """Takes events, gives tables of facts."""

    def __init__(self, book: FactBook) -> None:
        """Take the book. Parts of the tables are kept until ``facts`` is asked for."""
        self._maps: dict[str, list[tuple[str, Map]]] = defaultdict(list)
        for kind in ("connections", "logons", "lookups", "uses", "names", "hosts"):
            for each in cast("tuple[Map, ...]", getattr(book, kind)):
                for stream in each.streams:
                    self._maps[stream].append((kind, each))
        self._parts: dict[str, list[_Part]] = defaultdict(list)
        self._names: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._hosts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._domains: dict[str, Counter[str]] = defaultdict(Counter)
        self._streams: dict[str, set[str]] = defaultdict(set)
        self._fields: dict[str, list[str]] = {}
        self._without: Counter[str] = Counter()

    def wants(self, stream: str) -> bool:
        """Whether events of a stream tell anything."""
        return stream in self._maps

    def fields_of(self, view: View) -> list[str]:
        """Where everything stands that events of a view may tell."""
        known = self._fields.get(view.stream.name)
        if known is None:
            names = [name for _, each in self._maps.get(view.stream.name, ()) for name in _names_in(each)]
            expanded = [each for name in names for each in (view.stream.host if name == HOST else (name,))]
            known = self._fields[view.stream.name] = list(dict.fromkeys(expanded))
        return list(dict.fromkeys(path for name in known for path in view.paths(name)))

    def add(self, organisation: str, view: View, block: Block, times_us: Ints, events: Ints) -> None:
        """Take the events of a block. ``times_us``: ``NO_TIME`` where there is none; ``events``: their numbers."""
        stream = view.stream.name
        maps = self._maps.get(stream)
        if maps is None:
            return
        self._streams[organisation].add(stream)
        columns = Columns(view, block)
        for kind, each in maps:
            rows = np.flatnonzero(_holds(columns, each.when))
            if len(rows):
                getattr(self, f"_add_{kind}")(_Taking(organisation, stream, columns, rows, times_us, events), each)

    def _add_connections(self, taking: _Taking, each: Connections) -> None:
        texts = {"source": taking.texts(each.source, _place), "destination": taking.texts(each.destination, _place)}
        numbers = {
            "port": taking.numbers(each.port),
            "bytes_out": taking.numbers(each.bytes_out),
            "bytes_in": taking.numbers(each.bytes_in),
            "duration_us": taking.numbers(each.duration_s, 1e6),
        }
        self._keep("connections", taking, each, texts, ("source", "destination"), numbers)

    def _add_logons(self, taking: _Taking, each: Logons) -> None:
        texts = {
            "source": taking.texts(each.source, host_name),
            "target": taking.texts(each.target, host_name),
            "account": taking.texts(each.account, _account),
            "kind": _Texts(np.zeros(len(taking.rows), np.int64), [each.kind.fixed]),
        }
        if each.kind.field:
            texts["kind"] = taking.texts(each.kind.field, lambda text: each.kind.values.get(text, "other"), "other")
        succeeded = np.full(len(taking.rows), each.outcome.fixed == "success")
        if each.outcome.field:
            succeeded = _is_among(taking.texts(each.outcome.field, str.casefold), each.outcome.success)
        self._keep("logons", taking, each, texts, ("target", "account"), {"succeeded": _flags(succeeded)})

    def _add_lookups(self, taking: _Taking, each: Lookups) -> None:
        texts = {"host": taking.texts(each.host, host_name), "query": taking.texts(each.query, _place)}
        failed = _is_among(taking.texts(each.failed.field, str.casefold), each.failed.values)
        self._keep("lookups", taking, each, texts, ("host", "query"), {"failed": _flags(failed)})

    def _add_uses(self, taking: _Taking, each: Uses) -> None:
        value = taking.texts(each.value, _FORMS.get(each.kind, str.casefold))
        entity = taking.texts(each.entity, host_name)
        times, events = taking.times_us[taking.rows], taking.events[taking.rows]
        rows = np.flatnonzero((value.codes >= 0) & (entity.codes >= 0) & (times != NO_TIME))
        self._without["uses"] += len(taking.rows) - len(rows)
        if not len(rows):
            return
        # Each pair once for every block: the tables of uses stay small.
        pair = numbered(entity.codes[rows], value.codes[rows])
        order = order_by(pair, times[rows], events[rows])
        rows = rows[order]
        starts = starts_of(pair[order])
        firsts = rows[starts]
        texts = {
            "entity": _Texts(entity.codes[firsts], entity.values),
            "value": _Texts(value.codes[firsts], value.values),
        }
        columns = {
            **{name: _dictionary(each_text) for name, each_text in texts.items()},
            "event": pa.array(events[firsts]),
            "count": pa.array(counts_of(starts, len(rows))),
            "first_us": pa.array(smallest(times[rows], starts)),
            "last_us": pa.array(largest(times[rows], starts)),
            "kind": _constant(each.kind, len(firsts)),
        }
        self._parts["uses"].append(_Part(taking.organisation, taking.stream, each.unless, columns))

    def _add_names(self, taking: _Taking, each: Called) -> None:
        known = self._names[taking.organisation]
        for address, name in _pairs(taking.texts(each.address, _place), taking.texts(each.name, _name)):
            known[address].add(name)

    def _add_hosts(self, taking: _Taking, each: Hosts) -> None:
        address, host = taking.texts(each.address, _place), taking.texts(each.host, _name)
        for (where, name), count in _pairs(address, host).items():
            self._hosts[taking.organisation, where][name.partition(".")[0]] += count
            self._domains[taking.organisation][name.partition(".")[2]] += count

    def _keep(
        self,
        kind: str,
        taking: _Taking,
        each: Map,
        texts: dict[str, _Texts],
        needed: Names,
        others: Mapping[str, Column],
    ) -> None:
        times = taking.times_us[taking.rows]
        kept = times != NO_TIME
        for name in needed:
            kept &= texts[name].codes >= 0
        rows = np.flatnonzero(kept)
        self._without[kind] += len(kept) - len(rows)
        if not len(rows):
            return
        columns: dict[str, Column] = {
            "event": pa.array(taking.events[taking.rows][rows]),
            "time_us": pa.array(times[rows]),
            **{name: _dictionary(_Texts(text.codes[rows], text.values)) for name, text in texts.items()},
            **{name: column.take(cast("pa.Int64Array", pa.array(rows))) for name, column in others.items()},
        }
        self._parts[kind].append(_Part(taking.organisation, taking.stream, each.unless, columns))

    def facts(self) -> Facts:
        """The tables of all that was added."""
        tables: dict[str, pa.Table] = {}
        for kind, schema in (("connections", CONNECTIONS), ("logons", LOGONS), ("lookups", LOOKUPS), ("uses", USES)):
            parts = [part for part in self._parts[kind] if not self._streams[part.organisation] & set(part.unless)]
            tables[kind] = _joined(parts, schema, self._renamed)
        own = {
            organisation: tuple(sorted(name for name in counted if "." in name))
            for organisation, counted in self._domains.items()
        }
        return Facts(**tables, own_domains=own, without=self._without)

    def _renamed(self, organisation: str, column: str, text: str) -> str:
        """What an address is called in a column."""
        if column in ("source", "host", "entity", "target"):
            hosts = self._hosts.get((organisation, text))
            if hosts and not is_outside(text):
                return min(hosts, key=lambda name: (-hosts[name], name))
        elif column == "destination":
            names = self._names[organisation].get(text, ())
            if len(names) == 1:
                return next(iter(names))
        return text


class _Taking:
    """Some rows of a block, being taken."""

    def __init__(
        self, organisation: str, stream: str, columns: Columns, rows: Ints, times_us: Ints, events: Ints
    ) -> None:
        self.organisation = organisation
        self.stream = stream
        self.rows = rows
        self.times_us = times_us
        self.events = events
        self._columns = columns

    def texts(self, names: Names, change: Callable[[str], str], otherwise: str = "") -> _Texts:
        """A column of texts, each in another form."""
        found = self._columns.texts(names) if names else _Texts(np.full(self._columns.size, -1, np.int64), [])
        changed = _mapped(_Texts(found.codes[self.rows], found.values), change)
        if not otherwise:
            return changed
        values = [*changed.values, otherwise]
        return _as_texts(np.where(changed.codes < 0, len(values) - 1, changed.codes), values)

    def numbers(self, names: Names, factor: float = 1.0) -> pa.Array[Any]:
        """A column of whole numbers."""
        if not names:
            return pa.nulls(len(self.rows), pa.int64())
        found = self._columns.texts(names)
        values, missing = _whole_numbers(_Texts(found.codes[self.rows], found.values), factor)
        return pa.array(values, mask=missing)


def _holds(columns: Columns, when: dict[str, Names]) -> Mask:
    found = np.ones(columns.size, np.bool_)
    for name, wanted in when.items():
        found &= _is_among(_mapped(columns.texts([name]), str.casefold), wanted)
    return found


def _is_among(texts: _Texts, wanted: Sequence[str]) -> Mask:
    folded = {each.casefold() for each in wanted}
    return np.array([*(text in folded for text in texts.values), False], np.bool_)[texts.codes]


def _pairs(one: _Texts, other: _Texts) -> Counter[tuple[str, str]]:
    """How often two columns have which two texts."""
    rows = np.flatnonzero((one.codes >= 0) & (other.codes >= 0))
    together, counts = np.unique(one.codes[rows] * max(len(other.values), 1) + other.codes[rows], return_counts=True)
    first, second = np.divmod(together, max(len(other.values), 1))
    found: Counter[tuple[str, str]] = Counter()
    for a, b, count in zip(map(int, first), map(int, second), map(int, counts), strict=True):
        found[one.values[a], other.values[b]] = count
    return found


def _dictionary(texts: _Texts) -> pa.Array[Any]:
    indices = pa.array(texts.codes.astype(np.int32), mask=texts.codes < 0)
    return cast("Any", pa.DictionaryArray).from_arrays(indices, pa.array(texts.values, pa.string()))


def _flags(mask: Mask) -> Column:
    return cast("Column", pa.array(mask))


def _constant(text: str, size: int) -> pa.Array[Any]:
    return _dictionary(_Texts(np.zeros(size, np.int64), [text]))


def _joined(parts: Sequence[_Part], schema: pa.Schema, renamed: Callable[[str, str, str], str]) -> pa.Table:
    """The parts of one kind as one table, with addresses under their names."""
    columns = [_joined_column(parts, field, renamed) for field in cast("Iterable[pa.Field[Any]]", schema)]
    return pa.Table.from_arrays(columns, names=schema.names)


def _joined_column(
    parts: Sequence[_Part], field: pa.Field[Any], renamed: Callable[[str, str, str], str]
) -> pa.ChunkedArray[Any]:
    chunked = cast("Callable[..., pa.ChunkedArray[Any]]", pa.chunked_array)
    if field.name == "organisation":
        chunks = [_constant(part.organisation, len(part.columns["event"])) for part in parts]
        return chunked(chunks, pa.dictionary(pa.int32(), pa.string()))
    if field.type != pa.string():
        return chunked([part.columns[field.name] for part in parts], field.type)
    texts: list[Column] = []
    for part in parts:
        column = cast("pa.DictionaryArray[Any, Any]", part.columns[field.name])
        values = cast("list[str]", column.dictionary.to_pylist())
        names = pa.array([renamed(part.organisation, field.name, value) for value in values], pa.string())
        texts.append(cast("Any", pa.DictionaryArray).from_arrays(column.indices, names))
    return chunked(texts, pa.dictionary(pa.int32(), pa.string()))
