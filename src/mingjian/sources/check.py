"""What the definitions make of somebody's logs: recognised or not, what has no value, what nobody uses.

Pure: blocks go in, a report comes out. Every event is counted; whole records are looked into only for the first
``EXAMINED_MAX`` of each stream and layout, since a stream is events of one shape.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from mingjian.model.blocks import Block
from mingjian.model.observables import canonical
from mingjian.model.rules import LogSource
from mingjian.model.sources import ObservableKind, View
from mingjian.model.times import parse_time_us
from mingjian.model.values import EMPTY, Record, Value
from mingjian.sources.definitions import PLACEHOLDER, SourceBook
from mingjian.sources.envelope import envelope, texts
from mingjian.sources.router import UNKNOWN, Router, places

EXAMINED_MAX = 500
"""So many records of a stream and layout are looked into."""

STREAMS_MAX = 2_000
"""So many streams are looked into; events of later ones are only counted."""

FIELDS_MAX = 2_000
"""So many field names of one stream are kept."""

DEPTH_MAX = 8
"""Objects are entered so deep for their field names."""

VALUES_MAX = 50
"""So many values of a field are kept for guessing what it holds."""

_GUESSED_SHARE = 0.8
_TIME_NAME = re.compile(r"(^|[._@-])(time|timestamp|ts|date|datetime|created|eventtime|when)$|time(stamp)?$", re.I)
_HOST_NAME = re.compile(
    r"(^|[._])(host|hostname|computer|sensor|computername|device|devicename|machine|node)([._]?name)?$", re.I
)
_ACCOUNT_NAME = re.compile(
    r"(^|[._])(user|username|user_?name|account|account_?name|login|actor|principal)([._]?name)?$", re.I
)
_ROLES = (
    (re.compile(r"(^|[._])(src|source|client|orig)", re.I), "source"),
    (re.compile(r"(^|[._])(dst|dest|destination|server|target|resp)", re.I), "destination"),
    (re.compile(r"(query|question|qname|dns)", re.I), "query"),
    (re.compile(r"parent", re.I), "parent"),
)
_KINDS: tuple[ObservableKind, ...] = ("ip", "url", "email", "hash", "domain")
_BY_NAME = re.compile(r"(domain|query|fqdn|qname|sni|server_name)", re.I)


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the events of one stream and layout."""

    stream: str
    source: str
    """Id of the source definition, empty for events that no source takes."""
    layout: str
    events: int
    examined: int
    logsources: tuple[LogSource, ...]
    with_time: int
    with_host: int
    with_account: int
    """Of the examined records, how many tell time, host and account."""
    never: tuple[str, ...]
    """What is declared and no examined record had: ``time``, ``host``, ``account``, fields of observables."""
    unlisted: tuple[str, ...]
    """Fields of the records that the definition does not name, most frequent first. Rules may use them all the same:
    an unlisted field is its own name."""
    stub: str = ""
    """For events that no source takes: a definition to fill in."""


class _Seen:
    """What was seen of one view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.events = 0
        self.examined = 0
        self.with_time = self.with_host = self.with_account = 0
        self.fields: Counter[str] = Counter()
        self.values: dict[str, list[str | int | float]] = {}
        self.has_value: set[str] = set()
        self.identity: dict[str, set[str]] = {}

    def look_into(self, record: Record, names: Sequence[str]) -> None:
        self.examined += 1
        found = envelope(self.view, record)
        self.with_time += found.time_us is not None
        self.with_host += bool(found.host)
        self.with_account += bool(found.account)
        for asked in self.view.stream.observables:
            if asked.field not in self.has_value and next(texts(self.view, record, asked.field), None) is not None:
                self.has_value.add(asked.field)
        for name in names:
            value = self.view.value(record, name)
            if isinstance(value, str | int) and len(self.identity.setdefault(name, set())) < VALUES_MAX:
                self.identity[name].add(str(value))
        for path, value in _leaves(record, "", 0):
            if path not in self.fields and len(self.fields) >= FIELDS_MAX:
                continue
            self.fields[path] += 1
            kept = self.values.setdefault(path, [])
            if len(kept) < VALUES_MAX and isinstance(value, str | int | float) and value != "":
                kept.append(value)


class Check:
    """Collects what a router makes of blocks."""

    def __init__(self, book: SourceBook) -> None:
        self._router = Router(book)
        self._identity = {family.name: family.identity for family in book.families}
        self._seen: dict[View, _Seen] = {}

    def first_paths(self, sample: Block) -> tuple[str, ...]:
        """The paths that routing asks for first, for whoever reads the blocks."""
        return self._router.first_paths(sample)

    def add(self, block: Block) -> None:
        """Look at one block."""
        for portion in self._router.route(block):
            seen = self._seen.get(portion.view)
            if seen is None:
                seen = self._seen[portion.view] = _Seen(portion.view)
            rows = range(len(block.numbers)) if portion.rows is None else portion.rows
            seen.events += len(rows)
            if len(self._seen) <= STREAMS_MAX:
                names = self._identity.get(portion.view.stream.family, ())
                for row in rows[: EXAMINED_MAX - seen.examined]:
                    seen.look_into(block.record(row), names)

    def report(self) -> list[StreamReport]:
        """Give one report per stream and layout, the unknown ones first, then the most frequent."""
        reports = [_report(seen) for seen in self._seen.values()]
        return sorted(reports, key=lambda r: (bool(r.source), -r.events, r.stream, r.layout))


def _declared(view: View) -> list[str]:
    stream = view.stream
    names = (*stream.time, *stream.host, *stream.account, *(asked.field for asked in stream.observables))
    return list(dict.fromkeys(names))


def _leaves(value: Value, path: str, depth: int) -> Iterator[tuple[str, Value]]:
    """The dotted names of the fields of a record, with their values; lists of objects give the names in the objects."""
    if isinstance(value, dict) and depth < DEPTH_MAX:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _leaves(value[0], path, depth + 1)
    elif value is not None and value is not EMPTY:
        yield path, value


def _report(seen: _Seen) -> StreamReport:
    stream, layout = seen.view.stream, seen.view.layout
    known = _known_paths(seen.view)
    return StreamReport(
        stream=stream.name,
        source=stream.source,
        layout=layout.name,
        events=seen.events,
        examined=seen.examined,
        logsources=stream.logsources,
        with_time=seen.with_time,
        with_host=seen.with_host,
        with_account=seen.with_account,
        never=_never(seen) if seen.examined else (),
        unlisted=tuple(name for name, _ in seen.fields.most_common() if name not in known),
        stub="" if stream.source or not seen.examined else _stub(seen),
    )


def _never(seen: _Seen) -> tuple[str, ...]:
    stream = seen.view.stream
    declared = (
        ("time", stream.time, seen.with_time),
        ("host", stream.host, seen.with_host),
        ("account", stream.account, seen.with_account),
    )
    never = [what for what, names, count in declared if names and not count]
    fields = dict.fromkeys(asked.field for asked in stream.observables)
    return (*never, *(field for field in fields if field not in seen.has_value))


def _known_paths(view: View) -> set[str]:
    stream = view.stream
    names = {
        part for name in _declared(view) for part in (PLACEHOLDER.findall(name) or [name.partition("@")[0] or name])
    }
    names.update(stream.fields, stream.ocsf_paths.values(), view.layout.names)
    names.update(name for several in stream.fields.values() for name in several)
    return {path for name in names for path in (*view.paths(name), *places(view.layout, name))}


# --- stubs ----------------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    return (
        text
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text) and text.lower() not in _YAML_WORDS
        else json.dumps(text)
    )


_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(map(_quoted, names)) + "]"


def _guessed(seen: _Seen, pattern: re.Pattern[str], *, is_time: bool = False) -> list[str]:
    """Fields whose name says so and whose values agree, those that nearly all records have first."""
    found: list[str] = []
    for name, count in seen.fields.most_common():
        values = seen.values.get(name, [])
        if count < seen.examined / 2 or not values or not pattern.search(name):
            continue
        if all((parse_time_us(v) is not None) if is_time else isinstance(v, str) for v in values):
            found.append(name)
    return found[:4]


def _guessed_observables(seen: _Seen) -> list[tuple[str, ObservableKind, str]]:
    found: list[tuple[str, ObservableKind, str]] = []
    for name, values in sorted(seen.values.items()):
        kept = [value for value in values if isinstance(value, str)]
        for kind in _KINDS:
            if kind == "domain" and not _BY_NAME.search(name):
                continue
            if kept and sum(canonical(kind, value) is not None for value in kept) >= _GUESSED_SHARE * len(kept):
                role = next((role for pattern, role in _ROLES if pattern.search(name)), "mentioned")
                found.append((name, kind, role))
                break
    return found[:30]


def _stub(seen: _Seen) -> str:
    """A definition that loads as it stands and recognises these events; what only a person can know is a comment."""
    stream, layout = seen.view.stream, seen.view.layout
    if stream.family == UNKNOWN:
        always = [name for name, count in seen.fields.items() if count == seen.examined]
        telling = sorted(always, key=lambda name: (-len(name), name))[:4]
        recognise = (
            f"{{present: {_listed(telling)}, formats: [{layout.name}]}}" if telling else f"{{formats: [{layout.name}]}}"
        )
        head = [
            "id: my-source",
            "title: {en: My source}",
            "layouts:",
            f"  - name: {layout.name}",
            f"    recognise: {recognise}",
        ]
        name = "my-source/events"
    else:
        match = {name: sorted(values)[:10] for name, values in seen.identity.items() if values}
        asked = ", ".join(f"{_quoted(name)}: [{', '.join(map(json.dumps, values))}]" for name, values in match.items())
        head = ["id: my-source", "title: {en: My source}", f"family: {stream.family}", f"match: {{{asked}}}"]
        name = f"{stream.family}/my-source"
    lines = [
        *head,
        "# Which Sigma rules shall be asked, for example [{product: linux, category: process_creation}]",
        "logsources: []",
        f"time: {_listed(_guessed(seen, _TIME_NAME, is_time=True))}",
        f"host: {_listed(_guessed(seen, _HOST_NAME))}",
        f"account: {_listed(_guessed(seen, _ACCOUNT_NAME))}",
        "# Fields that Sigma rules call otherwise, for example {Image: [process.path]}",
        "fields: {}",
    ]
    guessed = _guessed_observables(seen)
    if guessed:
        lines.append("observables:")
        lines += [f"  - {{field: {_quoted(field)}, kind: {kind}, role: {role}}}" for field, kind, role in guessed]
    unnamed = [name for name, _ in seen.fields.most_common(60)]
    lines += ["streams:", f"  - name: {name}", "# Fields seen: " + ", ".join(map(_quoted, unnamed))]
    return "\n".join(lines) + "\n"
