"""Writes small EVTX files, so that tests need none from elsewhere.

Elements, attributes, typed values and templates, as Windows writes them; checked by reading them back with the decoder,
which somebody else wrote. Source: [MS-EVEN6] section 2.2.12; J. Metz, “Windows XML Event Log (EVTX)”.
"""

import struct
import uuid
import zlib
from dataclasses import dataclass, field

CHUNK = 65_536
HEADER = 4096
STRING, INT32, UINT8, UINT16, UINT32, UINT64, BOOL, BINARY, GUID, FILETIME, HEX64, BXML = (
    1, 7, 4, 6, 8, 10, 13, 14, 15, 17, 21, 33,
)  # fmt: skip
FILETIME_2024 = 133_484_112_000_000_000


@dataclass
class Sub:
    """A place in a template that each record fills."""

    value: bytes
    type: int


@dataclass
class Element:
    name: str
    attributes: dict = field(default_factory=dict)
    children: list = field(default_factory=list)
    """Elements, texts and places."""


def text(value: str) -> Sub:
    return Sub(value.encode("utf-16-le"), STRING)


def number(value: int, type_: int = UINT32) -> Sub:
    sizes = {UINT8: "<B", UINT16: "<H", UINT32: "<I", INT32: "<i", UINT64: "<Q", HEX64: "<Q", FILETIME: "<Q"}
    return Sub(struct.pack(sizes[type_], value), type_)


def truth(value: bool) -> Sub:
    return Sub(struct.pack("<I", value), BOOL)


def guid(value: str) -> Sub:
    return Sub(uuid.UUID(value).bytes_le, GUID)


class Chunk:
    """One chunk; records are added until it is full."""

    def __init__(self) -> None:
        self.data = bytearray(CHUNK)
        self.at = 512
        self.names: dict[str, int] = {}
        self.first_id = self.last_id = None
        self.last_at = 512
        self.in_template = False

    def put(self, data: bytes) -> None:
        if self.at + len(data) > CHUNK:
            raise OverflowError("the chunk is full")
        self.data[self.at : self.at + len(data)] = data
        self.at += len(data)

    def name(self, name: str) -> None:
        """A reference to a name; the name itself the first time."""
        known = self.names.get(name)
        if known is not None:
            self.put(struct.pack("<I", known))
            return
        self.names[name] = self.at + 4
        hashed = 0
        for character in name:
            hashed = (hashed * 65_599 + ord(character)) & 0xFFFF
        self.put(struct.pack("<I", self.at + 4))
        self.put(struct.pack("<IHH", 0, hashed, len(name)) + name.encode("utf-16-le") + b"\0\0")

    def element(self, element: Element, places: list[Sub]) -> None:
        self.put(b"\x41" if element.attributes else b"\x01")
        if self.in_template:
            self.put(b"\xff\xff")
        size_at = self.at
        self.put(bytes(4))
        self.name(element.name)
        if element.attributes:
            list_at = self.at
            self.put(bytes(4))
            for index, (name, value) in enumerate(element.attributes.items()):
                self.put(b"\x46" if index + 1 < len(element.attributes) else b"\x06")
                self.name(name)
                self.value(value, places)
            struct.pack_into("<I", self.data, list_at, self.at - list_at - 4)
        if element.children:
            self.put(b"\x02")
            for child in element.children:
                if isinstance(child, Element):
                    self.element(child, places)
                else:
                    self.value(child, places)
            self.put(b"\x04")
        else:
            self.put(b"\x03")
        struct.pack_into("<I", self.data, size_at, self.at - size_at - 4)

    def value(self, value: "str | Sub | int", places: list[Sub]) -> None:
        if isinstance(value, int):  # a place that was there before
            self.put(struct.pack("<BHB", 0x0E, value, places[value].type))
        elif isinstance(value, Sub):
            self.put(struct.pack("<BHB", 0x0E, len(places), value.type))
            places.append(value)
        else:
            self.put(struct.pack("<BBH", 5, STRING, len(value)) + value.encode("utf-16-le"))

    def template(self, element: Element) -> list[Sub]:
        """An instance of a template that is defined on the spot."""
        places: list[Sub] = []
        self.put(struct.pack("<BBII", 0x0C, 1, self.at, self.at + 10))
        size_at = self.at + 20
        self.put(struct.pack("<I16sI", 0, struct.pack("<QQ", self.at, 1), 0))
        start = self.at
        self.in_template = True
        self.put(b"\x0f\x01\x01\x00")
        self.element(element, places)
        self.put(b"\x00")
        self.in_template = False
        struct.pack_into("<I", self.data, size_at, self.at - start)
        return places

    def raw_record(self, number: int, body: bytes) -> None:
        """A record of any binary XML."""
        start = self.at
        self.put(struct.pack("<IIQQ", 0x2A2A, 0, number, FILETIME_2024 + number) + body)
        self.end(number, start)

    def end(self, number: int, start: int) -> None:
        self.put(bytes(-(self.at - start + 4) % 8))
        self.put(struct.pack("<I", self.at - start + 4))
        struct.pack_into("<I", self.data, start + 4, self.at - start)
        self.first_id = number if self.first_id is None else self.first_id
        self.last_id, self.last_at = number, start

    def places(self, places: list[Sub]) -> None:
        self.put(struct.pack("<I", len(places)))
        for place in places:
            self.put(struct.pack("<HBB", len(place.value), place.type if place.value else 0, 0))
        for place in places:
            self.put(place.value)

    def record(self, number: int, root: Element, template: bool = True) -> None:
        start, names = self.at, dict(self.names)
        try:
            self.put(struct.pack("<IIQQ", 0x2A2A, 0, number, FILETIME_2024 + number))
            self.put(b"\x0f\x01\x01\x00")
            if template:
                self.places(self.template(root))
            else:
                self.element(root, [])
            self.put(b"\x00")
            self.end(number, start)
        except OverflowError:
            self.data[start:] = bytes(CHUNK - start)
            self.at, self.names = start, names
            raise

    def bytes(self) -> bytes:
        first, last = self.first_id or 0, self.last_id or 0
        head = struct.pack("<8sQQQQIIII", b"ElfChnk\0", first, last, first, last, 128, self.last_at, self.at,
                           zlib.crc32(self.data[512 : self.at]))  # fmt: skip
        self.data[: len(head)] = head
        struct.pack_into("<I", self.data, 124, zlib.crc32(self.data[:120] + self.data[128:512]))
        return bytes(self.data)


def header(chunk_count: int, next_id: int = 1) -> bytes:
    head = struct.pack("<8sQQQIHHHH76xI", b"ElfFile\0", 0, chunk_count - 1, next_id, 128, 1, 3, HEADER, chunk_count, 0)
    return (head + struct.pack("<I", zlib.crc32(head[:120]))).ljust(HEADER, b"\0")


def evtx(events: list[Element], first_id: int = 1, per_chunk: int = 10**6) -> bytes:
    """A whole file."""
    chunks = [Chunk()]
    in_chunk = 0
    for number_, event in enumerate(events, first_id):
        try:
            if in_chunk == per_chunk:
                raise OverflowError
            chunks[-1].record(number_, event)
        except OverflowError:
            chunks.append(Chunk())
            in_chunk = 0
            chunks[-1].record(number_, event)
        in_chunk += 1
    return header(len(chunks), first_id + len(events)) + b"".join(chunk.bytes() for chunk in chunks)


def event(
    number_: int, data: list, *, channel: str = "Test/Operational", event_id: int = 1, user_data: bool = False
) -> Element:
    """An event like those of Sysmon; ``data`` is a list of (name or None, value) or of elements."""
    system = Element("System", {}, [
        Element("Provider", {"Name": text("Test-Provider"), "Guid": guid("5770385f-c22a-43e0-bf4c-06f5698ffbd9")}),
        Element("EventID", {}, [number(event_id, UINT16)]),
        Element("Version", {}, [number(5, UINT8)]),
        Element("Level", {}, [number(4, UINT8)]),
        Element("Task", {}, [number(event_id, UINT16)]),
        Element("Opcode", {}, [number(0, UINT8)]),
        Element("Keywords", {}, [number(0x8000000000000000, HEX64)]),
        Element("TimeCreated", {"SystemTime": number(FILETIME_2024, FILETIME)}),
        Element("EventRecordID", {}, [number(number_, UINT64)]),
        Element("Correlation"),
        Element("Execution", {"ProcessID": number(1234), "ThreadID": number(0)}),
        Element("Channel", {}, [text(channel)]),
        Element("Computer", {}, [text("host.example")]),
    ])  # fmt: skip
    children = [
        item if isinstance(item, Element) else Element("Data", {"Name": item[0]} if item[0] else {}, [item[1]])
        for item in data
    ]
    return Element("Event", {"xmlns": "http://schemas.microsoft.com/win/2004/08/events/event"},
                   [system, Element("UserData" if user_data else "EventData", {}, children)])  # fmt: skip


def sample(count: int = 3, per_chunk: int = 10**6) -> bytes:
    """A valid file of a few process creations."""
    return evtx(
        [
            event(100 + index, [
                ("RuleName", text("")), ("Image", text(rf"C:\Windows\{index}.exe")), ("ProcessId", number(index)),
                ("Initiated", truth(True)), ("Threat Name", text("日志")), ("Blob", Sub(b"\x01\xff", BINARY)),
                ("ProcessGuid", guid("00247c92-858e-5f7b-0000-00106b29202b")),
            ])
            for index in range(count)
        ],
        per_chunk=per_chunk,
    )  # fmt: skip
