"""CSV feeds: the header says which column is the indicator, and what is known about it.

Columns go by the names that feeds give them (``NAMES``). The header may stand behind a ``#``, as abuse.ch writes it.
A MISP export in CSV is one of these: ``type`` has MISP's words, ``to_ids`` says whether the value is for detection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from mingjian.errors import InputError, ParseError, shown
from mingjian.formats import csvtable
from mingjian.formats.indicators import misptypes
from mingjian.formats.indicators.lists import DESCRIPTION_CHARACTERS_MAX, Entry
from mingjian.formats.indicators.values import Meant, Word, meaning, word_for
from mingjian.formats.tables import split_row
from mingjian.formats.text import decode
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.indicators import (
    CONFIDENCE_MAX,
    Assumed,
    Indicator,
    Marking,
    SkippedIndicator,
    Verdict,
    marking_of,
    stricter,
)
from mingjian.model.observables import NOTHING
from mingjian.model.times import parse_time_us
from mingjian.model.values import Value

HEADER_LINES_MAX: Final = 64
"""So many lines of comment may stand before the header."""

NAMES: Final[dict[str, str]] = {
    name: field
    for field, names in {
        "value": "indicator ioc ioc_value value observable indicator_value url domain ip hash sha256 sha256_hash sha1 "
        "sha1_hash md5 md5_hash hostname email ja3_md5 dst_ip src_ip ip_address fqdn cidr attribute_value listingreason"
        " artifact",
        "kind": "type ioc_type indicator_type kind observable_type value_type datatype",
        "confidence": "confidence confidence_level score certainty",
        "valid_from": "valid_from starts start_date validfrom",
        "valid_until": "valid_until expiration expires expiry expire_date expiration_date valid_to validuntil "
        "expirationdatetime end_date",
        "marking": "tlp marking tlp_level traffic_light_protocol tlplevel",
        "source": "source provider feed producer reporter author",
        "reference": "reference references link ref urlhaus_link malware_bazaar_link report uuid external_id",
        "description": "description comment comments title threat malware malware_printable threat_type category "
        "signature note notes tags",
        "verdict": "verdict disposition reputation threatlevel severity_verdict",
        "to_ids": "to_ids",
    }.items()
    for name in names.split()
}
"""Name of a column, folded, with underscores → what it is."""

_VALUE_ORDER: Final = (
    *("indicator", "ioc", "ioc_value", "indicator_value", "value", "observable", "attribute_value", "artifact"),
    *("url", "domain", "fqdn", "hostname", "cidr", "ip", "ip_address", "dst_ip", "src_ip", "email"),
    *("sha256", "sha256_hash", "sha1", "sha1_hash", "md5", "md5_hash", "hash", "ja3_md5"),
)
"""Where several columns could be the value, the first of these is it."""
_VERDICTS: Final[dict[str, Verdict]] = {
    **dict.fromkeys(("malicious", "malicious-activity", "bad", "black", "blacklisted"), "malicious"),
    **dict.fromkeys(("suspicious", "anomalous-activity", "grey", "suspect"), "suspicious"),
    **dict.fromkeys(("unknown", "undefined", "undetermined"), "unknown"),
    **dict.fromkeys(("benign", "clean", "good", "white", "whitelisted", "harmless"), "benign"),
}
_CONFIDENCES: Final = {"high": 85, "medium": 50, "med": 50, "low": 15, "none": 0}
"""Source: STIX 2.1, appendix A, scale “None / Low / Med / High”."""


_SPACED: Final = re.compile(rb'", (?=")')


def _name(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.strip().lstrip("#").strip().strip('"').casefold())


def _lines(head: bytes) -> list[str]:
    return [decode(line).strip() for line in head.split(b"\n", HEADER_LINES_MAX)[:HEADER_LINES_MAX]]


def _cells(line: str) -> list[str]:
    bare = line.lstrip("#").strip()
    delimiter = max(csvtable.DELIMITERS, key=bare.count)
    try:
        return [_name(cell) for cell in split_row(bare, delimiter)] if delimiter in bare else []
    except InputError:
        return []


def header_line(head: bytes) -> int | None:
    r"""Which line is the header of a feed: the last one, before any that is data, that names a value and more.

    >>> header_line(b'# a comment\n# "id","ioc_value","ioc_type"\n"1","evil.example","domain"\n')
    1
    """
    found = None
    for number, line in enumerate(_lines(head)):
        if not line:
            continue
        cells = _cells(line)
        if len(set(cells) & NAMES.keys()) >= 2 and set(cells) & set(_VALUE_ORDER):
            found = number
        if not line.startswith("#"):
            break
    return found


def read(piece: Piece, assumed: Assumed, head: bytes) -> Iterator[Entry]:
    """Read a feed that has a header in ``head``, its beginning."""
    number = header_line(head)
    assert number is not None, "whoever calls has looked"
    lines = head.split(b"\n", number + 1)
    skipped = b"\n".join(lines[:number]) + b"\n" if number else b""
    behind = len(skipped) + len(lines[number])
    # Comments are passed over by the reader of tables, but not a header that stands in one.
    header = decode(lines[number]).strip().lstrip("#").strip().encode("utf-8", "surrogateescape")
    rest = _without(piece.chunks, behind)
    if b'", "' in head:
        header, rest = _SPACED.sub(b'",', header), _closed_up(rest)
    chunks = chain([b"\n" * number, header], rest)
    for item in csvtable.read(Piece(file=piece.file, chunks=chunks)):
        if isinstance(item, Quarantined):
            if not item.data.startswith(b"#"):  # a comment between rows or behind them
                yield item
        else:
            yield from _rows(piece.file, item, assumed)


def _without(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[size:]
        size = max(0, size - len(chunk))


def _closed_up(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Take out the space that abuse.ch writes between quoted cells, with which they would not be quoted."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        held = next((end for end in (b'", ', b'",', b'"') if data.endswith(end)), b"")
        # What is held back begins with a quote, which ends a cell before it.
        done = _SPACED.sub(b'",', data[: len(data) - len(held) + bool(held)])
        yield done[:-1] if held else done
    yield held


def _rows(file: str, block: Block, assumed: Assumed) -> Iterator[Entry]:
    records = [block.record(row) for row in range(len(block.numbers))]
    names = {name: _name(name) for name in (records[0] if records else {})}
    value_name = next((n for wanted in _VALUE_ORDER for n, folded in names.items() if folded == wanted), None)
    for row, record in enumerate(records):
        cells = {name: text for name, value in record.items() if (text := _cell(value))}
        if not any(not cell.startswith("#") for cell in cells.values()):
            continue
        try:
            yield from _row(file, block.numbers[row], _Row(cells, names, value_name), assumed)
        except InputError as error:
            yield Quarantined(
                file=file,
                record=block.numbers[row],
                offset=-1,
                code=error.code,
                reason=error.what,
                data=block.raw(row)[:65_536],
            )


def read_records(file: str, block: Block, assumed: Assumed) -> Iterator[Entry]:
    """Read records, each with its own names: those of columns, as in a feed. What cannot be read is quarantined."""
    for row, number in enumerate(block.numbers):
        record = block.record(row)
        names = {name: _name(name) for name in record}
        value_name = next((n for wanted in _VALUE_ORDER for n, folded in names.items() if folded == wanted), None)
        cells = {name: text for name, value in record.items() if (text := _cell(_as_text(value)))}
        try:
            yield from _row(file, number, _Row(cells, names, value_name), assumed)
        except InputError as error:
            data = block.raw(row)[:65_536]
            yield Quarantined(file=file, record=number, offset=-1, code=error.code, reason=error.what, data=data)


def _as_text(value: Value) -> Value:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cell(value: Value) -> str:
    """The text of a cell; nothing for what producers write where there is nothing."""
    text = value.strip() if isinstance(value, str) else ""
    return "" if text.casefold() in NOTHING else text


class _Row:
    """A row of a feed: cells by what they are."""

    def __init__(self, cells: Mapping[str, str], names: Mapping[str, str], value_name: str | None) -> None:
        self.value = cells.get(value_name, "") if value_name is not None else ""
        self.value_column = names[value_name] if value_name is not None else ""
        self._fields: dict[str, list[str]] = {}
        for name, folded in names.items():
            field = NAMES.get(folded)
            if field is not None and name in cells and name != value_name:
                self._fields.setdefault(field, []).append(cells[name])

    def all(self, field: str) -> Sequence[str]:
        """The cells of a field, in the order of the columns."""
        return self._fields.get(field, ())

    def one(self, field: str) -> str:
        """The first cell of a field, or nothing."""
        return next(iter(self.all(field)), "")


def _row(file: str, number: int, row: _Row, assumed: Assumed) -> Iterator[Entry]:
    if not row.value:
        raise ParseError("no value in this row")
    if row.one("to_ids").casefold() in ("0", "false", "no"):
        yield SkippedIndicator(file=file, record=number, what=shown(row.value), reason="not for detection (to_ids)")
        return
    kind = row.one("kind")
    parts = misptypes.parts(kind, row.value) if kind else None
    if isinstance(parts, str):
        yield SkippedIndicator(file=file, record=number, what=shown(row.value), reason=parts)
        return
    found = [(word, text) for word, text in parts] if parts else [(_word(row, kind, assumed), row.value)]
    for word, text in found:
        for meant in meaning(text, word):
            yield _indicator(meant, text, row, assumed)


def _word(row: _Row, kind: str, assumed: Assumed) -> Word | None:
    """What the value is: as the row says, else as the caller does, else as the column's own name does."""
    word = word_for(kind) if kind else None
    if word is None and assumed.kind:
        word = word_for(assumed.kind)
    # A column called “domain” or “ip” has been seen to hold the other.
    return word or (word_for(row.value_column) if row.value_column in ("ja3_md5", "sha256", "md5", "sha1") else None)


def _indicator(meant: Meant, written: str, row: _Row, assumed: Assumed) -> Indicator:
    return Indicator(
        kind=meant.kind,
        how=meant.how,
        value=meant.value,
        written=written,
        verdict=_VERDICTS.get(row.one("verdict").casefold(), "malicious"),
        confidence=_confidence(row.one("confidence"), assumed),
        valid_from_us=parse_time_us(row.one("valid_from")) if row.one("valid_from") else None,
        valid_until_us=parse_time_us(row.one("valid_until")) if row.one("valid_until") else None,
        marking=_marking(row.one("marking"), assumed),
        source=row.one("source") or assumed.source,
        reference=row.one("reference"),
        description="; ".join(dict.fromkeys(row.all("description")))[:DESCRIPTION_CHARACTERS_MAX],
    )


def _confidence(text: str, assumed: Assumed) -> int | None:
    """A number from 0 to 100 or a word; anything else says nothing."""
    word = _CONFIDENCES.get(text.casefold())
    if word is not None:
        return word
    digits = text.rstrip("% ").partition(".")[0]
    if digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= CONFIDENCE_MAX:
        return int(digits)
    return assumed.confidence


def _marking(text: str, assumed: Assumed) -> Marking:
    own = marking_of(text) if text else None
    return stricter(own or "", assumed.marking)
