"""Windows events under the names that Sigma rules use, whatever notation they came in.

An event is given as the nested object that EVTX parsers write as JSON (``System``, ``EventData``, ``UserData``;
``#attributes`` for attributes, ``#text`` for text beside them) and becomes one flat record:

- A child of ``System`` keeps its name; an attribute is ``Tag_Attribute``: ``Provider_Name``,
  ``TimeCreated_SystemTime``, ``Execution_ProcessID``, ``EventID_Qualifiers``.
- Data keeps its names without spaces (``Threat Name`` is ``ThreatName``); nested elements give their leaves; unnamed
  ``<Data>`` is the field ``Data``, a list if there are several. A name that occurs twice becomes a list (nested
  elements also where a parser has told them apart as ``Name`` and ``Name_1``).
- A name that ``System`` has too stays with ``System``, since that is what rules mean by ``Level`` or ``Channel``. The
  data's value is kept as ``EventData_<name>`` or ``UserData_<name>`` (event 104, for example, tells the cleared log
  in ``UserData_Channel``).
- The name of the element inside ``UserData`` is kept in ``UserData_Name``, a ``Name`` of ``EventData`` in
  ``EventData_Name``. XML namespaces are dropped.
- An element without content is ``EMPTY``.
- A GUID that the parser wrote bare is put in braces, as Windows renders it and as rules quote it, except under names
  that say UUID (RPC interfaces), which are written without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.model.values import EMPTY, Record, Value

FIELDS_MAX = 10_000
"""An event with more fields is refused."""

_BARE_GUID = re.compile(r"[0-9A-F]{8}-(?:[0-9A-F]{4}-){3}[0-9A-F]{12}").fullmatch
_GUID_CHARACTERS = 36


def flatten(event: Value) -> Record:
    """Turn one event into a flat record.

    >>> flatten({"System": {"Provider": {"#attributes": {"Name": "p"}}, "EventID": 1}, "EventData": {"A b": ""}})
    {'Provider_Name': 'p', 'EventID': 1, 'Ab': <Empty.EMPTY: ''>}

    Raises:
        SchemaError: it is no object, or has no ``System`` part.
        LimitExceeded: more than ``FIELDS_MAX`` fields.
    """
    system = event.get("System") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(system, dict):
        raise SchemaError("an event without its System part")
    record: Record = {}
    for name, value in system.items():
        if type(value) is dict:
            for key, inner in value.items():
                if key == "#attributes" and type(inner) is dict:
                    for joined, text in zip(_attributes(name, tuple(inner)), inner.values(), strict=True):
                        if type(text) is not str or len(text) == _GUID_CHARACTERS or not text:
                            text = _plain(joined, text)
                        if joined:
                            record[joined] = text
                else:
                    record[name if key == "#text" else _joined(name, key)] = _plain(name, inner)
        else:
            record[name] = EMPTY if value is None or value == "" else value
    for section, data in event.items():
        if section == "System" or section == "#attributes":
            continue
        if isinstance(data, dict):
            _flatten_data(record, system, section, data)
        elif data is not None and data != "":
            _put(record, system, section, section, data)
    if len(record) > FIELDS_MAX:
        raise LimitExceeded("FIELDS_MAX", FIELDS_MAX)
    return record


@lru_cache(maxsize=4096)
def _attributes(tag: str, attributes: tuple[str, ...]) -> tuple[str, ...]:
    """What the attributes of an element are called; an XML namespace has no name."""
    return tuple("" if attribute[:5] == "xmlns" else _joined(tag, attribute) for attribute in attributes)


@lru_cache(maxsize=4096)
def _joined(tag: str, attribute: str) -> str:
    return f"{tag}_{attribute}"


def _flatten_data(record: Record, system: dict[str, Value], section: str, data: dict[str, Value]) -> None:
    for key, value in data.items():
        kind = type(value)
        if kind is str:
            size = len(value)  # type: ignore[arg-type]  # it is a str
            if size == 0:
                value = EMPTY
            elif size == _GUID_CHARACTERS and value[8] == "-":  # type: ignore[index]  # it is a str
                value = _braced(key, value)  # type: ignore[arg-type]  # it is a str
        elif value is None:
            value = EMPTY
        elif kind is dict or kind is list:
            if section == "UserData" and key != "#attributes":
                record.setdefault("UserData_Name", key)
            for name, leaf in _leaves(section if key == "#attributes" else key, {key: value}):
                _put(record, system, section, name, leaf)
            continue
        if " " in key:
            key = key.replace(" ", "")
        if key in record:
            _put(record, system, section, key, value)
        else:
            record[key] = value


def _leaves(tag: str, element: Value) -> Iterator[tuple[str, Value]]:
    """Name and value of every leaf below an element, in document order, without recursion."""
    stack: list[Iterator[tuple[str, str, Value]]] = [iter([(tag, tag, element)])]
    while stack:
        for parent, name, value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter([(parent, name, item) for item in value]))
                break
            if isinstance(value, dict):
                stack.append(iter([_named(name, _unsuffixed(key, value), inner) for key, inner in value.items()]))
                break
            yield name, _plain(name, value)
        else:
            stack.pop()


def _unsuffixed(key: str, siblings: dict[str, Value]) -> str:
    """The name of an element that a parser of event logs calls ``Name_1``, ``Name_2`` … after an equal one."""
    base, _, number = key.rpartition("_")
    if base in siblings and number.isdecimal() and (number == "1" or f"{base}_{int(number) - 1}" in siblings):
        return base
    return key


def _named(tag: str, key: str, value: Value) -> tuple[str, str, Value]:
    """How a key below an element is called: text is the element itself, an attribute has its tag before it."""
    if key == "#text":
        return tag, tag, value
    if key == "#attributes":
        attributes = value if isinstance(value, dict) else {}
        return tag, tag, {_joined(tag, name): inner for name, inner in attributes.items() if name[:5] != "xmlns"}
    return tag, key, value


def _plain(name: str, value: Value) -> Value:
    if value is None or value == "":
        return EMPTY
    if isinstance(value, str) and len(value) == _GUID_CHARACTERS:
        return _braced(name, value)
    if isinstance(value, list):
        return [_plain(name, item) for item in value]
    return value


def _braced(name: str, value: str) -> str:
    return f"{{{value}}}" if _BARE_GUID(value) and "uuid" not in name.lower() else value


def _put(record: Record, system: dict[str, Value], section: str, name: str, value: Value) -> None:
    """Add a value whose name may be taken: by ``System`` (then under the section's name), or by an equal name."""
    name = name.replace(" ", "")
    if name in system or (name in record and name.partition("_")[0] in system):
        name = _joined(section, name)
    if name not in record:
        record[name] = value
        return
    taken = record[name]
    if not isinstance(taken, list):
        taken = record[name] = [taken]
    if isinstance(value, list):
        taken.extend(value)
    else:
        taken.append(value)
