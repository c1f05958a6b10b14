"""Segments in: a Parquet file of ours as blocks of records, read column by column when somebody asks.

``SegmentBlock`` is what ``model.blocks.Block`` promises, over one row group. It also gives a column *encoded*: the
distinct values, and for each row which of them it has, as Parquet stores it. Hunts work on those.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mingjian.errors import ParseError, StorageError
from mingjian.formats.json import run_unescaped, sieve_for
from mingjian.formats.records import json_bytes
from mingjian.model.values import MISSING, Missing, Record, Value, find
from mingjian.store.arrow import Array, Codes, Ints, Mask, Places, coded, is_text, one_array, picked, texts_of
from mingjian.store.cells import CODE_OF_KIND, KINDS, Cell, Kind, value_of
from mingjian.store.columns import KeyPath
from mingjian.store.searching import may_hold
from mingjian.store.segments import FORMAT_VERSION, METADATA_KEY, StoredPart
from mingjian.store.shapes import Shape, parsed_shape
from mingjian.store.verified import VerifiedFile

FEW_OF: Final = 8
"""Of so many records one is few: it takes less time to pick cells than to decode the whole column."""
_NESTED_KINDS: Final = frozenset("jt")
_TEXT_OR_NOTHING: Final = {CODE_OF_KIND["s"], CODE_OF_KIND["-"]}
_OF_NUMBERS: Final = frozenset("0123456789+-.eainftrusl")
"""What numbers and truth values are written with: such a needle could be in one of them."""


class SegmentColumns(ABC):
    """What a block asks of the segment that it is of."""

    path: Path
    format: str
    paths: Sequence[KeyPath]
    """Of the native columns."""
    raw_name: str | None
    """Of the column with the bytes that the records were made of, if they were kept."""

    @abstractmethod
    def rows_of(self, row_group: int) -> int:
        """How many records a row group has."""

    @abstractmethod
    def field_place(self, place: int) -> int:
        """Where a native column stands among all columns."""

    @abstractmethod
    def own_place(self, name: str) -> int | None:
        """Where one of our own columns stands; None if the segment does without it."""

    @abstractmethod
    def read(self, row_group: int, places: Sequence[int]) -> list[Array]:
        """Columns of one row group; texts come with their dictionary.

        Raises:
            StorageError: the file is damaged.
        """

    @cached_property
    def by_name(self) -> dict[str, list[int]]:
        """Native columns by their dotted path."""
        found: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            found.setdefault(".".join(path), []).append(place)
        return found

    @cached_property
    def below(self) -> dict[str, list[int]]:
        """For each dotted path that leads to objects: the native columns of what is in them."""
        found: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            for length in range(1, len(path)):
                found.setdefault(".".join(path[:length]), []).append(place)
        return found


class Segment(SegmentColumns):
    """One segment file, open. Cheap to open: only its footer is read. Close it, or use it as a context manager."""

    def __init__(self, path: Path, content_hash: bytes | None = None, *, checks: bytes | None = None) -> None:
        """Open a file of the lake, with what the catalogue says of it.

        With ``checks``, whatever is read of it is verified; with its hash, it is read as a whole and verified first.
        With neither, damage may stay unseen: that is for files of which the catalogue knows nothing.

        Raises:
            StorageError: it is not there, or not (any more) what we wrote.
        """
        try:
            source = _opened(path, content_hash, checks)
            with pq.ParquetFile(source) as file:
                metadata, names, types = file.metadata, file.schema_arrow.names, file.schema_arrow.types
            self._file = pq.ParquetFile(
                source,
                metadata=metadata,
                read_dictionary=_written_with_dictionary(metadata, names, types),
                page_checksum_verification=True,
            )
            about = json.loads((metadata.metadata or {})[METADATA_KEY])
            if about["version"] > FORMAT_VERSION:
                raise StorageError("the segment was written by a later version of Mingjian", where=str(path))
            self._names = names
            self.stream = str(about["stream"])
            self.layout = str(about["layout"])
            self.format = str(about["format"])
            self.raw_name = cast("str | None", about.get("raw"))
            self._first = len(names) - int(about["fields"]) - (self.raw_name is not None)
            self.paths = _paths(names[self._first : self._first + int(about["fields"])], about)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, IndexError) as error:
            raise StorageError("a segment cannot be read", where=str(path)) from error
        self.path = path
        self.rows = self._file.metadata.num_rows
        self.row_groups = self._file.metadata.num_row_groups
        self._source = source
        self._kept_of = -1
        self._kept: dict[int, Array] = {}

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if not isinstance(self._source, Path):
            self._source.close()

    def blocks(self) -> Iterator[SegmentBlock]:
        """Its records, in order, in blocks of at most 65,536."""
        for number in range(self.row_groups):
            yield self.block(number)

    def block(self, row_group: int) -> SegmentBlock:
        """The records of one row group."""
        return SegmentBlock(self, row_group)

    def rows_of(self, row_group: int) -> int:
        """How many records a row group has."""
        return self._file.metadata.row_group(row_group).num_rows

    def field_place(self, place: int) -> int:
        """Where a native column stands among all columns of the file."""
        return self._first + place

    def own_place(self, name: str) -> int | None:
        """Where one of our own columns stands; None if the file does without it."""
        if name == "_raw":
            return None if self.raw_name is None else len(self._names) - 1
        return self._names.index(name) if name in self._names[: self._first] else None

    def read(self, row_group: int, places: Sequence[int]) -> list[Array]:
        """Read columns of one row group; texts come with their dictionary.

        Those of the row group that was asked about last are kept: parts of a block (``take``) read what it has read.

        Raises:
            StorageError: the file is damaged.
        """
        if row_group != self._kept_of:
            self._kept_of, self._kept = row_group, {}
        wanted = sorted({place for place in places if place not in self._kept})
        try:
            if wanted:
                table = self._file.reader.read_row_group(row_group, column_indices=wanted, use_threads=False)
                self._kept.update((place, one_array(table.column(at))) for at, place in enumerate(wanted))
        except (OSError, pa.ArrowException) as error:
            raise StorageError("a segment is damaged", where=str(self.path)) from error
        return [self._kept[place] for place in places]


def _written_with_dictionary(
    metadata: pq.FileMetaData, names: Sequence[str], types: Sequence[pa.DataType]
) -> list[str]:
    """The columns of texts that are stored as dictionaries: to make one for the others takes longer than it saves."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [
        name
        for place, (name, type_) in enumerate(zip(names, types, strict=True))
        if type_ == pa.string() and any(group.column(place).has_dictionary_page for group in groups)
    ]


def _opened(path: Path, content_hash: bytes | None, checks: bytes | None) -> Path | pa.BufferReader | BinaryIO:
    if content_hash is not None:
        return pa.BufferReader(_verified(path, content_hash))
    # It is a file as Arrow wants one; the stubs ask for more than Arrow does.
    return path if checks is None else cast("BinaryIO", VerifiedFile(path, checks))


def _verified(path: Path, content_hash: bytes) -> bytes:
    data = path.read_bytes()
    if hashlib.blake2b(data, digest_size=32).digest() != content_hash:
        raise StorageError("a segment is damaged", where=str(path))
    return data


def _paths(names: Sequence[str], about: dict[str, object]) -> list[KeyPath]:
    paths: list[KeyPath] = [(name,) for name in names]
    for place in cast("list[int]", about.get("nested", [])):
        paths[place] = tuple(names[place].split("."))
    for place, (kind, cell) in cast("dict[str, tuple[str, str]]", about.get("paths", {})).items():
        paths[int(place)] = tuple(cast("list[str]", value_of(kind, cell)))
    return paths


class SegmentBlock:
    """The records of one row group of a segment. Columns are read when they are asked for, and kept."""

    def __init__(self, segment: SegmentColumns, row_group: int, chosen: Places | None = None) -> None:
        self.segment = segment
        self.format = segment.format
        self._row_group = row_group
        self._chosen = chosen
        self._arrays: dict[int, Array] = {}
        self._own_arrays: dict[str, Array] = {}
        self._encoded: dict[str, tuple[Places, list[Value | Missing]]] = {}

    def __len__(self) -> int:
        return self.segment.rows_of(self._row_group) if self._chosen is None else len(self._chosen)

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each record in its input."""
        return self._numbers

    @cached_property
    def _numbers(self) -> list[int]:
        return cast("list[int]", self.numbered.tolist())

    @cached_property
    def numbered(self) -> Ints:
        """The same as a column."""
        return self._own("_record").to_numpy()

    @cached_property
    def inputs(self) -> Ints:
        """The input that each record came from."""
        return self._own("_input").to_numpy()

    @cached_property
    def times_us(self) -> list[int | None]:
        """The time of each record, microseconds since 1970 UTC."""
        return self._own("_time").cast(pa.int64()).to_pylist()

    @cached_property
    def timed(self) -> tuple[Ints, Mask]:
        """The same as a column, and which records have a time; where there is none, what stands there means nothing."""
        times = self._own("_time")
        return times.cast(pa.int64()).fill_null(0).to_numpy(), times.is_valid().to_numpy(zero_copy_only=False)

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every record, ``MISSING`` where there is none."""
        codes, distinct = self.encoded(path)
        if len(distinct) == 1:
            return distinct * len(codes)
        return list(map(distinct.__getitem__, codes.tolist()))

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns, for all records or for those with the given indexes; one reading for all of them."""
        self._load([place for path in paths for place in self._related(path)])
        if rows is None:
            return [self.column(path) for path in paths]
        found: list[Sequence[Value | Missing]] = []
        chosen = np.asarray(rows, dtype=np.intp)
        are_few = len(chosen) * FEW_OF <= len(self)
        for path in paths:
            place = self._place_alone(path) if are_few and path not in self._encoded else None
            if place is not None:
                found.append(self._picked_simply(place, chosen))
                continue
            codes, distinct = self.encoded(path)
            found.append(list(map(distinct.__getitem__, codes[chosen].tolist())))
        return found

    def encoded(self, path: str) -> tuple[Places, list[Value | Missing]]:
        """The distinct values at a dotted path, and for each record which of them it has.

        Every value given occurs; two of them may be equal.
        """
        known = self._encoded.get(path)
        if known is None:
            nothing: list[Value | Missing] = [MISSING]
            alone = self._place_alone(path)
            if alone is not None:
                known = self._encoded_simply(alone)
            elif self.is_there(path):
                known = self._encoded_by_records(path, self._related(path))
            else:
                known = np.zeros(len(self), dtype=np.intp), nothing
            self._encoded[path] = known
        return known

    def _place_alone(self, path: str) -> int | None:
        """The native column that alone decides what stands at a dotted path; None if there is no such column."""
        exact = self.segment.by_name.get(path, [])
        is_alone = len(exact) == 1 and self._related(path) == exact and not self._has_whole
        return exact[0] if is_alone else None

    def is_there(self, path: str) -> bool:
        """Whether any record may have something at a dotted path."""
        return bool(self._related(path)) or self._has_whole

    def prepare(self, paths: Iterable[str], own: Sequence[str] = ()) -> None:
        """Read what decides about some dotted paths, and some of our own columns, because they will be asked for.

        One reading for all of them: of a small segment, each reading costs more than what is read.
        """
        self._load([place for path in paths for place in self._related(path)], own)

    def everything(self, needles: Sequence[str] | None) -> Iterator[tuple[Places, list[Value | Missing]]]:
        """Columns that together have every value of every record, encoded: for whoever searches them all.

        With needles (ASCII texts, not empty) what holds none of them, in whatever case, may be ``MISSING`` instead.
        """
        if needles is not None and may_be_numbers(needles):
            needles = None
        places = range(len(self.segment.paths))
        self._load(places)
        runs = [run_unescaped(needle) for needle in needles or ()]
        for place in places:
            array = self._array(place)
            if needles is None:
                yield self._encoded_simply(place)
            elif is_text(array) and array.null_count < len(array):
                wanted = runs if self.has_kind("j", place) else needles
                if not all(wanted) or self.has_kind("t", place):
                    hits = np.ones(len(texts_of(array)[1]), dtype=np.bool_)
                else:
                    hits = may_hold(array, wanted)
                if hits.any():
                    yield self._encoded_where(place, hits)
        if self._has_whole:
            whole = np.array([shape is None for shape in self._shapes])[self._shape_codes]
            codes = np.where(whole, np.cumsum(whole), 0)
            yield codes, [MISSING, *map(self._whole_record, np.flatnonzero(whole).tolist())]

    def has_kind(self, kind: Kind, place: int) -> bool:
        """Whether some cell of a native column is of a kind.

        One of kind ``t`` may hold a text otherwise than as it is; one of kind ``j`` where JSON escapes some of it.
        """
        return any(KINDS[each] == kind for each in self._kinds_by_place.get(place, {}).values())

    def _encoded_where(self, place: int, hits: Mask) -> tuple[Places, list[Value | Missing]]:
        """Encode a column of texts of which only some distinct ones matter; the other cells are taken for missing."""
        codes, texts = texts_of(self._array(place))
        rows = np.flatnonzero((codes >= 0) & hits[codes])
        kinds = self._kinds_of_shapes(place)[self._shape_codes[rows]]
        pairs, which = np.unique(kinds * len(texts) + codes[rows], return_inverse=True)
        found = np.zeros(len(self), dtype=np.intp)
        found[rows] = which + 1
        cells = [(KINDS[pair // len(texts)], texts[pair % len(texts)].as_py()) for pair in pairs.tolist()]
        return found, [MISSING, *(value_of(kind, cell) for kind, cell in cells)]

    def record(self, row: int) -> Record:
        """One whole record."""
        shape = self._shapes[int(self._shape_codes[row])]
        if shape is None:
            return self._whole_record(row)
        places = [place for place, _ in shape]
        self._load(places)
        return self._record_of(row, shape)

    def records(self, rows: Sequence[int]) -> list[Record]:
        """Whole records: as ``record``, but many at once cost a fraction of what each costs alone."""
        chosen = np.asarray(rows, dtype=np.intp)
        codes = self._shape_codes[chosen].tolist()
        recipes = {code: self._recipe(code) for code in set(codes)}
        places = sorted({place for recipe in recipes.values() for place, *_ in recipe or ()})
        self._load(places)
        cells = {place: _listed(picked(self._arrays[place], chosen)) for place in places}
        found: list[Record] = []
        for at, (row, code) in enumerate(zip(rows, codes, strict=True)):
            recipe = recipes[code]
            if recipe is None:
                found.append(self._whole_record(row))
                continue
            record: Record = {}
            for place, kind, outer, last in recipe:
                cell = cells[place][at]
                inner = record
                for key in outer:
                    inner = cast("Record", inner.setdefault(key, {}))
                inner[last] = cell if kind == "s" else cast("Value", value_of(kind, cell))
            found.append(record)
        return found

    def _recipe(self, code: int) -> list[tuple[int, str, Sequence[str], str]] | None:
        """How a record of a shape is made: place and kind of each cell, and where it stands. None: it is kept whole."""
        shape = self._shapes[code]
        if shape is None:
            return None
        paths = self.segment.paths
        return [(place, kind, paths[place][:-1], paths[place][-1]) for place, kind in shape]

    def raw(self, row: int) -> bytes:
        """The bytes that the record was made of if they were kept, else its JSON."""
        if self.segment.raw_name is not None:
            data = cast("str | bytes | None", self._own("_raw")[row].as_py())
            if data is not None:
                return data.encode() if isinstance(data, str) else data
        return json_bytes(self.record(row))

    def take(self, rows: Sequence[int]) -> SegmentBlock:
        """A block of the records with these indexes only, which reads their columns when asked."""
        chosen = np.asarray(rows, dtype=np.intp)
        return SegmentBlock(self.segment, self._row_group, chosen if self._chosen is None else self._chosen[chosen])

    def stored(self) -> StoredPart:
        """All columns as they lie in the file, for whoever writes them anew."""
        places = range(len(self.segment.paths))
        self._load(places)
        codes, shapes = self._shape_column
        return StoredPart(
            numbers=self._own("_record").to_numpy(),
            inputs=self.inputs,
            times=self._own("_time"),
            shapes=[None if s is None else tuple((place, CODE_OF_KIND[kind]) for place, kind in s) for s in shapes],
            shape_codes=codes,
            paths=self.segment.paths,
            fields=[self._arrays[place] for place in places],
            rest=None if self.segment.own_place("_rest") is None else self._own("_rest"),
            raw=None if self.segment.raw_name is None else self._own("_raw"),
        )

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """Rows in which some cell may hold a needle; each distinct text is looked at once."""
        sieve = sieve_for(tuple(needles))
        if sieve is None or may_be_numbers(needles):
            return None
        marked = np.array([shape is None or any(kind == "t" for _, kind in shape) for shape in self._shapes])
        found = marked[self._shape_codes]
        places = range(len(self.segment.paths))
        self._load(places)
        for place in places:
            array = self._arrays[place]
            if array.null_count == len(array) or not is_text(array):
                continue
            codes, cells = coded(array)
            hits = np.zeros(len(cells) + 1, dtype=np.bool_)  # the last place is for no cell
            for code, cell in enumerate(cast("list[str]", cells)):
                seen: list[int] = []
                sieve.scan(cell.encode(), _collect, 0, seen)
                hits[code] = bool(seen)
            found |= hits[codes]
        return np.flatnonzero(found).tolist()

    # --- columns of the file

    def _load(self, places: Sequence[int], own: Sequence[str] = ()) -> None:
        missing = [place for place in dict.fromkeys(places) if place not in self._arrays]
        ours = {name: place for name in own if (place := self.segment.own_place(name)) is not None}
        if not missing and not ours:
            return
        wanted = [*map(self.segment.field_place, missing), *ours.values()]
        arrays = [self._taken(array) for array in self.segment.read(self._row_group, wanted)]
        self._arrays.update(zip(missing, arrays, strict=False))
        self._own_arrays.update(zip(ours, arrays[len(missing) :], strict=True))

    def _taken(self, array: Array) -> Array:
        return array if self._chosen is None else picked(array, self._chosen)

    def _own(self, name: str) -> Array:
        known = self._own_arrays.get(name)
        if known is not None:
            return known
        place = self.segment.own_place(name)
        if place is None:
            raise StorageError(f"a segment has no column {name}", where=str(self.segment.path))
        return self._taken(self.segment.read(self._row_group, [place])[0])

    def _array(self, place: int) -> Array:
        self._load([place])
        return self._arrays[place]

    # --- shapes

    @cached_property
    def _shape_column(self) -> tuple[Places, list[Shape | None]]:
        return self._read_shapes()

    def _read_shapes(self) -> tuple[Places, list[Shape | None]]:
        """The shape of each record: its place among all shapes, and those."""
        codes, texts = coded(self._own("_shape"))
        width = len(self.segment.paths)
        try:
            shapes = [parsed_shape(str(text), width) for text in texts]
        except ParseError as error:
            raise StorageError("a segment is damaged", where=str(self.segment.path)) from error
        return codes.astype(np.intp), shapes

    @property
    def _shape_codes(self) -> Places:
        return self._shape_column[0]

    @property
    def _shapes(self) -> list[Shape | None]:
        return self._shape_column[1]

    @cached_property
    def _has_whole(self) -> bool:
        return self.segment.own_place("_rest") is not None and None in self._shapes

    @cached_property
    def _kinds_by_place(self) -> dict[int, dict[int, int]]:
        """For each native column: shape → code of the kind that it has in records of that shape."""
        found: dict[int, dict[int, int]] = {}
        for code, shape in enumerate(self._shapes):
            for place, kind in shape or ():
                found.setdefault(place, {})[code] = CODE_OF_KIND[kind]
        return found

    def _kinds_of_shapes(self, place: int) -> Places:
        """The code of the kind that a native column has in records of each shape."""
        kinds = np.zeros(len(self._shapes), dtype=np.intp)
        for shape, kind in self._kinds_by_place.get(place, {}).items():
            kinds[shape] = kind
        return kinds

    def _related(self, path: str) -> list[int]:
        """The native columns that decide what stands at a dotted path."""
        related = list(self.segment.by_name.get(path, ()))
        related += self.segment.below.get(path, ())
        dot = path.find(".")
        while dot >= 0:
            for place in self.segment.by_name.get(path[:dot], ()):
                kinds = self._kinds_by_place.get(place, {}).values()
                if any(KINDS[kind] in _NESTED_KINDS for kind in kinds):
                    related.append(place)
            dot = path.find(".", dot + 1)
        return related

    # --- values

    def _encoded_simply(self, place: int) -> tuple[Places, list[Value | Missing]]:
        """Encode a column that alone decides: its cells, and their kinds where those differ."""
        cell_codes, cells = self._cells(place)
        of_shapes = self._kinds_of_shapes(place)
        if self._chosen is None and set(cast("list[int]", of_shapes.tolist())) <= _TEXT_OR_NOTHING:
            # As most columns of most segments are: what stands there is the value.
            values = cast("list[Value | Missing]", list(cells))
            if of_shapes.all():
                return cell_codes.astype(np.intp), values
            return np.where(cell_codes < 0, len(cells), cell_codes).astype(np.intp), [*values, MISSING]
        kinds = of_shapes[self._shape_codes]
        # One number for each pair of kind and cell (no cell: the last), then only those that occur.
        width = len(cells) + 1
        pairs = kinds * width + np.where(cell_codes < 0, width - 1, cell_codes)
        present = np.zeros(len(KINDS) * width, dtype=np.bool_)
        present[pairs] = True
        used = np.flatnonzero(present)
        codes = (np.cumsum(present) - 1)[pairs]
        return codes, [_decoded(KINDS[pair // width], cells, pair % width) for pair in used.tolist()]

    def _cells(self, place: int) -> tuple[Codes, Sequence[Cell]]:
        """The cells of a native column, and for each row which of them it has; −1 for none."""
        array = self._array(place)
        if not is_text(array):
            return coded(array)
        codes, texts = texts_of(array)
        return codes, cast("list[Cell]", texts.to_pylist())

    def _picked_simply(self, place: int, rows: Places) -> list[Value | Missing]:
        """The values of a few records in a column that alone decides."""
        cells = cast("list[Cell | None]", picked(self._array(place), rows).to_pylist())
        kinds = self._kinds_of_shapes(place)[self._shape_codes[rows]].tolist()
        return [value_of(KINDS[kind], cell) for kind, cell in zip(kinds, cells, strict=True)]

    def _encoded_by_records(self, path: str, related: Sequence[int]) -> tuple[Places, list[Value | Missing]]:
        """Look a path up in records made of the columns that matter, once for each combination of cells."""
        self._load(related)
        wanted = set(related)
        parts = [coded(self._arrays[place])[0].tolist() for place in related]
        combinations: dict[tuple[int, ...], int] = {}
        distinct: list[Value | Missing] = []
        codes = np.empty(len(self), dtype=np.intp)
        shape_codes = self._shape_codes.tolist()
        for row, combination in enumerate(zip(shape_codes, *parts, strict=True)):
            shape = self._shapes[int(combination[0])]
            code = combinations.get(combination) if shape is not None else None
            if code is None:
                if shape is None:
                    record = self._whole_record(row)
                else:
                    record = self._record_of(row, tuple(each for each in shape if each[0] in wanted))
                code = combinations[combination] = len(distinct)
                distinct.append(find(record, path))
            codes[row] = code
        return codes, distinct

    def _record_of(self, row: int, shape: Shape) -> Record:
        record: Record = {}
        for place, kind in shape:
            value = value_of(kind, cast("Cell | None", self._arrays[place][row].as_py()))
            assert value is not MISSING, "a shape lists only what a record has"
            *outer, last = self.segment.paths[place]
            inner = record
            for key in outer:
                inner = cast("Record", inner.setdefault(key, {}))
            inner[last] = value
        return record

    def _whole_record(self, row: int) -> Record:
        cell = cast("str", self._own("_rest")[row].as_py())
        kind = "j" if cell.startswith("{") else "t"
        return cast("Record", value_of(kind, cell))


def may_be_numbers(needles: Iterable[str]) -> bool:
    """Whether some ASCII text could be in a number or a truth value."""
    return any(set(needle.casefold()) <= _OF_NUMBERS for needle in needles)


def _listed(array: Array) -> list[Cell | None]:
    """The cells of a column. Of texts, and where none is missing, NumPy makes them ten times as fast as Arrow."""
    if is_text(array) or not array.null_count:
        return cast("list[Cell | None]", array.to_numpy(zero_copy_only=False).tolist())
    return cast("list[Cell | None]", array.to_pylist())


def _collect(pattern: int, start: int, end: int, flags: int, context: object) -> None:
    cast("list[int]", context).append(pattern)


def _decoded(kind: str, cells: Sequence[Cell], place: int) -> Value | Missing:
    return value_of(kind, None if place == len(cells) else cells[place])
