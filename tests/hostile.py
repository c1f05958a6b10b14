"""Event logs that are written to be much larger than they look."""

import struct
from collections.abc import Callable

import evtxfile
from evtxfile import BXML, Chunk, Element, Sub, header


def _instance(definition: int, values: list[Sub]) -> bytes:
    descriptors = b"".join(struct.pack("<HBB", len(value.value), value.type, 0) for value in values)
    data = b"".join(value.value for value in values)
    return struct.pack("<BBIII", 0x0C, 1, 7, definition, len(values)) + descriptors + data


def _with_template(body: list[object], values: list[Sub], more: Callable[[int], list[bytes]] | None = None) -> bytes:
    """A record with a template whose ``EventData`` is the body; ``more`` gives the bodies of further records."""
    chunk = Chunk()
    definition = chunk.at + 24 + 4 + 10
    event = Element(
        "Event", {}, [Element("System", {}, [Element("EventID", {}, ["1"])]), Element("EventData", {}, body)]
    )
    start = chunk.at
    chunk.put(struct.pack("<IIQQ", 0x2A2A, 0, 1, evtxfile.FILETIME_2024) + b"\x0f\x01\x01\x00")
    chunk.template(event)
    descriptors = b"".join(struct.pack("<HBB", len(value.value), value.type, 0) for value in values)
    chunk.put(struct.pack("<I", len(values)) + descriptors + b"".join(value.value for value in values) + b"\0")
    chunk.end(1, start)
    for number, record in enumerate(more(definition) if more else [], 2):
        try:
            chunk.raw_record(number, record)
        except OverflowError:
            break
    return header(1) + chunk.bytes()


def text_repeated(times: int, size: int) -> bytes:
    """One long text in many places."""
    value = Sub(b"A\0" * size, evtxfile.STRING)
    return _with_template([value] + [0] * (times - 1), [value])


def array_of_texts(places: int, items: int) -> bytes:
    """A long array of texts, each item of which repeats its element, in many places."""
    value = Sub(b"a\0\0\0" * items, evtxfile.STRING | 0x80)
    first: list[object] = [Element("Data", {}, [value])]
    return _with_template(first + [Element("Data", {}, [0]) for _ in range(places - 1)], [value])


def array_of_bytes_around_a_text(items: int, size: int) -> bytes:
    """An element with a long attribute, repeated for each byte of an array."""
    array, long = Sub(b"x" * items, evtxfile.UINT8 | 0x80), Sub(b"A\0" * size, evtxfile.STRING)
    return _with_template([Element("Data", {"a": long}, [array])], [long, array])


def arrays_multiplied(arrays: int, items: int) -> bytes:
    """Several arrays in one element: every item of one with every item of the others."""
    values = [Sub(b"x" * items, evtxfile.UINT8 | 0x80) for _ in range(arrays)]
    return _with_template([Element("Data", {}, list(values))], values)


def templates_in_templates(depth: int, times: int) -> bytes:
    """Binary XML in a value that stands in many places, in a value that stands in many places …"""

    def nested(definition: int) -> list[bytes]:
        value = b""
        for _ in range(depth):
            value = b"\x0f\x01\x01\x00" + _instance(definition, [Sub(value, BXML if value else 0)]) + b"\0"
        return [b"\x0f\x01\x01\x00" + _instance(definition, [Sub(value, BXML)]) + b"\0"]

    places: list[object] = [Sub(b"", BXML)]
    return _with_template(places + [0] * (times - 1), [Sub(b"", 0)], nested)


def many_small_records_of_a_large_template(elements: int) -> bytes:
    """Records of 50 bytes that each give thousands of elements."""
    body: list[object] = [Element("A") for _ in range(elements)]
    return _with_template(body, [], lambda at: [b"\x0f\x01\x01\x00" + _instance(at, []) + b"\0"] * 3000)


def many_instances_in_one_record(elements: int) -> bytes:
    """One record with one instance of a large template after the other."""
    body: list[object] = [Element("A") for _ in range(elements)]
    return _with_template(body, [], lambda at: [b"\x0f\x01\x01\x00" + _instance(at, []) * 1000 + b"\0"])
