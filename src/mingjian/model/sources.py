"""Where records come from: producers' layouts, streams, and the names under which Sigma knows their fields."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, TypeAlias

import msgspec

from mingjian.model.rules import LogSource
from mingjian.model.values import EMPTY, MISSING, Missing, Record, Value, find

ObservableKind: TypeAlias = Literal[
    "ip", "domain", "url", "email", "hash", "account", "host", "certificate", "ja3", "ja4", "file", "package"
]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A field in which an observable stands."""

    field: str
    kind: ObservableKind
    role: str
    """What the observable does in the event: ``source``, ``destination``, ``process``, ``user``, ``query`` …"""
    split: str | None = None
    """How several observables share one field, if they do: ``hashes`` for Sysmon's ``MD5=…,SHA256=…``."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How one producer wraps the records of a family: where canonical names stand in what it writes."""

    name: str
    family: str
    names: dict[str, tuple[str, ...]] = {}
    """Canonical name → dotted paths; the first one that is there (and not null, if a later one is) counts."""
    search: tuple[str, ...] = ("",)
    """Prefixes under which every other name is looked for, in order; ``""`` is the record itself."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one shape, ``windows/sysmon/1`` for example."""

    name: str
    source: str
    """Id of the source definition that it comes from."""
    family: str
    logsources: tuple[LogSource, ...] = ()
    fields: dict[str, tuple[str, ...]] = {}
    """Sigma field → names in this stream, the first one present counts. A field that is not here is itself."""
    time: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    observables: tuple[Observation, ...] = ()
    ocsf_class: int | None = None
    ocsf_paths: dict[str, str] = {}
    """OCSF attribute path → name in this stream."""


class View:
    """A stream as one producer writes it: the unit for which rules are compiled. Compared by identity.

    The router makes exactly one per (stream, layout).
    """

    def __init__(self, stream: Stream, layout: Layout) -> None:
        self.stream = stream
        self.layout = layout

    def paths(self, field: str) -> tuple[str, ...]:
        """The dotted paths to try, in order, for a Sigma field. The first that holds a value counts.

        A path that is there but null counts only if no later one holds a value.
        """
        known = self._known.get(field)
        if known is None:
            found: dict[str, None] = {}
            for name in self.stream.fields.get(field, (field,)):
                where = self.layout.names.get(name)
                if where is None:
                    where = tuple(f"{prefix}.{name}" if prefix else name for prefix in self.layout.search)
                found.update(dict.fromkeys(where))
            known = self._known[field] = tuple(found)
        return known

    def value(self, record: Record, field: str) -> Value | Missing:
        """The value of a Sigma field in one record: of its places, the first that holds one.

        Null, and an element without content, are given only if no later place holds more.
        """
        held: Value | Missing = MISSING
        for path in self.paths(field):
            value = find(record, path)
            if value is not None and value is not EMPTY and value is not MISSING:
                return value
            if held is MISSING:
                held = value
        return held

    @cached_property
    def _known(self) -> dict[str, tuple[str, ...]]:
        return {}
