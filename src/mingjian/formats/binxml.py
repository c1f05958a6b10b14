"""How much the binary XML of an event log would become, found out before it is decoded.

A record names a template and gives values for the places in it; a value can be binary XML again. So a few bytes can
stand for very much: a place that stands in a template a thousand times, an array of which each item repeats its
element, templates inside templates inside templates. A chunk of 64 KiB of which a decoder would make gigabytes is easy
to write. ``too_large`` walks over the headers only, quickly where the records have the usual shape (one template, one
more inside it, no arrays), token by token where not.

Source: [MS-EVEN6] section 2.2.12 and 2.2.13; J. Metz, “Windows XML Event Log (EVTX)”, section 4.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

EXPANSION_BYTES_MAX = 2 * 1024 * 1024
"""What the records of one chunk (64 KiB) may become, in bytes of binary XML. Real chunks stay below a third of it."""
FRAGMENT_DEPTH_MAX = 8
"""Binary XML inside values inside binary XML … Windows needs two."""

_EFFORTS_MAX = 3
"""To find out about all records of a chunk may cost so much of the same coin."""
_REFERENCES_USUAL_MAX = 256
"""A usual template has fewer places."""
_VALUES_MAX = 4096
_FRAGMENT_TOKENS = 0x0001010F
_INSTANCE_TOKENS = 0x010C
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")
_RECORD_HEADER_BYTES = 24
_DEFINITION_HEADER_BYTES = 24
_BINARY_XML = 0x21
_ARRAY = 0x80
_VALUE_BYTES = 32
"""A value counts as so much besides its bytes."""
_TEMPLATE_INSTANCE = 0x0C
_SIZES: tuple[struct.Struct, ...] = tuple(struct.Struct("<" + count * "H2x") for count in range(128))
"""Sizes of the first values out of their descriptors."""
_read_instance = struct.Struct("<IHII").unpack_from
_read_count = _U32.unpack_from
_FIXED_SIZES = {
    3: 1,
    4: 1,
    5: 2,
    6: 2,
    7: 4,
    8: 4,
    9: 8,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    15: 16,
    17: 8,
    18: 16,
    20: 4,
    21: 8,
}
_ONE_BYTE_TOKENS = frozenset({2, 3, 4})


class _TooMuch(Exception):
    """The budget is spent."""


class _Reference(NamedTuple):
    """A place in a template."""

    value: int
    """Index of the value that stands there."""
    elements: tuple[int, ...]
    """The elements around it, from the outermost, by where they start."""


class _Definition(NamedTuple):
    """A template."""

    size: int
    references: list[_Reference]
    spans: dict[int, int]
    """Element, by where it starts → its length."""


def too_large(chunk: bytes, records: Sequence[tuple[int, int, int]]) -> list[int]:
    """Which of the records (offset, size, id) of a chunk must not be decoded, by their indexes.

    In the order of the records, those that still fit into ``EXPANSION_BYTES_MAX`` may be.
    """
    refused: list[int] = []
    left = EXPANSION_BYTES_MAX
    effort = _EFFORTS_MAX * EXPANSION_BYTES_MAX
    definitions: dict[int, int] = {}
    exact: _Expansion | None = None
    for index, (offset, size, _) in enumerate(records):
        cost = _usual_cost(chunk, offset + _RECORD_HEADER_BYTES, definitions)
        if cost < 0:
            exact = exact or _Expansion(chunk)
            exact.left = before = min(left, effort)
            try:
                exact.fragment(offset + _RECORD_HEADER_BYTES, offset + size - 4, 0)
                cost = before - exact.left
            except _TooMuch:
                cost = left + 1
            except (struct.error, IndexError, ValueError):
                cost = before - exact.left  # what cannot be understood stops the decoder here too
            effort -= before - max(exact.left, 0)
        if size + cost > left:
            refused.append(index)
        else:
            left -= size + cost
    return refused


def _usual_cost(chunk: bytes, at: int, definitions: dict[int, int]) -> int:
    """Bytes that the templates of a record of the usual shape add; −1 if it has another."""
    total = 0
    is_outer = True
    try:
        while True:
            fragment, token, _, definition = _read_instance(chunk, at)
            if token != _INSTANCE_TOKENS or fragment != _FRAGMENT_TOKENS:
                return -1
            size = definitions.get(definition)
            if size is None:
                size = definitions[definition] = _usual_definition(chunk, definition)
            if size < 0:
                return -1
            total += size
            at += 14 if definition != at + 14 else 14 + _DEFINITION_HEADER_BYTES + size
            count: int = _read_count(chunk, at)[0]
            values = at + 4 + 4 * count
            types = chunk[at + 6 : values : 4]
            if not types.isascii() or len(types) != count:  # an array, or a descriptor outside the chunk
                return -1
            if count >= len(_SIZES):
                return -1
            sizes: tuple[int, ...] = _SIZES[count].unpack_from(chunk, at + 4)
            if chunk[values + sum(sizes)] != 0:  # something follows
                return -1
            index = types.find(_BINARY_XML)
            if index < 0:
                return total
            if not is_outer or types.count(_BINARY_XML) > 1:
                return -1
            is_outer = False
            at = values + sum(sizes[:index])
    except (struct.error, IndexError):
        return -1


def _usual_definition(chunk: bytes, offset: int) -> int:
    """Size of a template's body if it is sure to have few places, of which three at most take binary XML; else −1."""
    (size,) = _U32.unpack_from(chunk, offset + 20)
    start = offset + _DEFINITION_HEADER_BYTES
    if start + size > len(chunk):
        return -1
    body = chunk[start : start + size]
    places = body.count(0x0D) + body.count(0x0E)
    return size if places <= _REFERENCES_USUAL_MAX and body.count(_BINARY_XML) <= 3 else -1


class _Expansion:
    """Follows every reference and counts what it gives."""

    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk
        self.left = 0
        self._definitions: dict[int, _Definition] = {}

    def _spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _TooMuch

    def fragment(self, at: int, end: int, depth: int) -> None:
        """Count a fragment of binary XML."""
        if depth > FRAGMENT_DEPTH_MAX:
            raise _TooMuch
        self._spend(max(end - at, 0))
        nothing = _Definition(0, [], {})
        while at < end and (token := self._chunk[at]) != 0:
            at = self._instance(at, depth) if token & 0x1F == _TEMPLATE_INSTANCE else self._token(at, nothing, [])

    def _instance(self, at: int, depth: int) -> int:
        """Count an instance of a template and give the place after its values."""
        (offset,) = _U32.unpack_from(self._chunk, at + 6)
        definition = self._definition(offset)
        at += 10
        if offset == at:
            at += _DEFINITION_HEADER_BYTES + definition.size
        (count,) = _U32.unpack_from(self._chunk, at)
        if count > _VALUES_MAX:
            raise _TooMuch
        values: list[tuple[int, int, int]] = []
        place = at + 4 + 4 * count
        for index in range(count):
            value_size, value_type = struct.unpack_from("<HB", self._chunk, at + 4 + 4 * index)
            values.append((place, value_size, value_type))
            place += value_size
        self._spend(definition.size)
        weights = [
            self._weight(values[reference.value], depth) if reference.value < count else (0, 1)
            for reference in definition.references
        ]
        if any(items > 1 for _, items in weights):
            self._spend_repeated(definition, weights)
        return place

    def _weight(self, value: tuple[int, int, int], depth: int) -> tuple[int, int]:
        """Spend what a value gives once; then how much one item of it gives, and how many items it has."""
        at, size, kind = value
        if kind == _BINARY_XML:
            before = self.left
            self.fragment(at, at + size, depth + 1)
            return before - self.left, 1
        self._spend(size + _VALUE_BYTES)
        if not kind & _ARRAY:
            return size + _VALUE_BYTES, 1
        if kind & 0x7F == 1:  # an array of texts: each ends with a zero
            items = self._chunk.count(b"\0\0", at, at + size) + 1
        else:
            items = size // _FIXED_SIZES.get(kind & 0x7F, 1)
        return size // max(items, 1) + _VALUE_BYTES, items

    def _spend_repeated(self, definition: _Definition, weights: list[tuple[int, int]]) -> None:
        """An array repeats the element around it with all that it holds; several arrays around something multiply."""
        times: dict[int, int] = {}
        chains: dict[int, tuple[int, ...]] = {}
        for reference, (_, items) in zip(definition.references, weights, strict=True):
            if items > 1 and reference.elements:
                start = reference.elements[-1]
                times[start] = times.get(start, 1) * items
                chains[start] = reference.elements
        for start, chain in chains.items():
            inside = sum(
                weight
                for reference, (weight, _) in zip(definition.references, weights, strict=True)
                if start in reference.elements
            )
            repeated = math.prod(times.get(element, 1) for element in chain)
            self._spend(repeated * (definition.spans.get(start, definition.size) + inside))

    def _definition(self, offset: int) -> _Definition:
        """Size and places of a template."""
        known = self._definitions.get(offset)
        if known is not None:
            return known
        (size,) = _U32.unpack_from(self._chunk, offset + 20)
        at = offset + _DEFINITION_HEADER_BYTES
        end = min(at + size, len(self._chunk))
        definition = _Definition(size, [], {})
        elements: list[int] = []
        while at < end and (token := self._chunk[at]) != 0 and token & 0x1F != _TEMPLATE_INSTANCE:
            at = self._token(at, definition, elements, in_template=True)
        self._definitions[offset] = definition
        return definition

    def _token(self, at: int, definition: _Definition, elements: list[int], *, in_template: bool = False) -> int:
        """Pass over one token and note what it means.

        Raises:
            ValueError: there is no such token.
        """
        chunk = self._chunk
        token = chunk[at] & 0x1F
        if token == 1:
            elements.append(at)
            after = self._after_name(at + (7 if in_template else 5))
            return after + 4 if chunk[at] & 0x40 else after
        if token in _ONE_BYTE_TOKENS:
            if token != 2 and elements:
                start = elements.pop()
                definition.spans[start] = at - start
            return at + 1
        if token == 5:
            return self._after_literal(at)
        if token == 6 or token == 9:
            return self._after_name(at + 1)
        if token == 0x0D or token == 0x0E:
            definition.references.append(_Reference(_U16.unpack_from(chunk, at + 1)[0], tuple(elements)))
            return at + 4
        if token == 0x0F:
            return at + 4
        if token == 7 or token == 0x0B:
            return at + 3 + 2 * _U16.unpack_from(chunk, at + 1)[0]
        if token == 8:
            return at + 3
        if token == 0x0A:
            return self._after_name(at + 1)
        raise ValueError(f"no such token: {token}")

    def _after_name(self, at: int) -> int:
        """The place after a reference to a name, and after the name if it stands here."""
        (offset,) = _U32.unpack_from(self._chunk, at)
        at += 4
        if offset == at:
            at += 10 + 2 * _U16.unpack_from(self._chunk, at + 6)[0]
        return at

    def _after_literal(self, at: int) -> int:
        kind = self._chunk[at + 1]
        if kind == 1:
            return at + 4 + 2 * _U16.unpack_from(self._chunk, at + 2)[0]
        if kind not in _FIXED_SIZES:
            raise ValueError(f"a literal of type {kind}")
        return at + 2 + _FIXED_SIZES[kind]
