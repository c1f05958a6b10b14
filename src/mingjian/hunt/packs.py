"""Packs of rules: read what somebody sent, say what of it can be used, and try it over history before it counts.

A trial finds what a hunt would find, and keeps only how much: nothing comes into the queue.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from mingjian.detect.correlation import needed_fields
from mingjian.detect.sigma.references import Parsed, resolve
from mingjian.errors import InputError, LimitExceeded, StateError, StorageError
from mingjian.formats.bounded import YAML_BYTES_MAX
from mingjian.formats.containers import Member, open_members
from mingjian.hunt.automata import engine_for
from mingjian.hunt.correlating import correlate, fed_order
from mingjian.hunt.history import Fed, History
from mingjian.hunt.ordering import Sorter
from mingjian.hunt.reading import Options, read_rules
from mingjian.hunt.rulebook import RULE_SUFFIXES, Rulebook, from_level
from mingjian.model.detections import Detection
from mingjian.model.rules import AnyRule, Correlation, Level, Rule, RuleNote, SkippedRule
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import live_segments
from mingjian.store.rules import can_be_kept
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

FILES_SENT_MAX: Final = 100
"""So many files, archives among them, are one pack."""
RULE_FILES_MAX: Final = 10_000
"""So many rule files may be in a pack …"""
RULE_BYTES_MAX: Final = 64 * 1024 * 1024
"""… so large together, …"""
UNPACKED_BYTES_MAX: Final = 512 * 1024 * 1024
"""… and so much may come out of its archives, with what is no rule."""
AT_ONCE: Final = 100
"""So many files are parsed between two looks whether to stop."""
NAMED_MAX: Final = 2_000
"""So many files and rules that cannot be used are named with the reason; all are counted."""
OTHERS_NAMED_MAX: Final = 50
"""So many files that are no rules are named."""
HOSTS_MAX: Final = 1_000
"""So many hosts of a rule are told apart in a trial."""

_Kept = TypeVar("_Kept", bound=msgspec.Struct)


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A file that somebody sent."""

    name: str
    data: bytes


class PackRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a pack."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()

    @property
    def every(self) -> tuple[AnyRule, ...]:
        """Rules and correlations."""
        return (*self.rules, *self.correlations)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading a pack."""

    files: int
    """Rule files."""
    others: int
    """Files that are none …"""
    other_names: tuple[str, ...]
    """… and how the first of them are called."""
    rules: int
    filters: int
    skipped: int
    skips: tuple[SkippedRule, ...]
    """The first of those that cannot be used. Where one rule stands twice, the second is among them."""
    notes: tuple[RuleNote, ...]


class Tried(msgspec.Struct, kw_only=True):
    """What a rule finds in history."""

    count: int = 0
    hosts: int = 0
    first_us: int | None = None
    last_us: int | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules of a pack find in history. Rules that find nothing are not in it."""

    at_us: int
    segments: int
    rows: int
    """So many events were there."""
    damaged: int
    """So many segments could not be read."""
    found: dict[str, Tried]
    hosts: int
    """Hosts on which any of them finds something."""


def packed_files(files: Sequence[Sent]) -> bytes:
    """What was sent, as one piece. Raises: LimitExceeded, InputError."""
    if not files:
        raise InputError("no file was sent", hint="rule files, or archives of them")
    if len(files) > FILES_SENT_MAX:
        raise LimitExceeded("FILES_SENT_MAX", FILES_SENT_MAX, hint="put them into one archive")
    return msgspec.msgpack.encode(files)


def stored(value: PackRules | Report | Trial) -> bytes:
    """A value as the store keeps it."""
    return msgspec.msgpack.encode(value)


def rules_in(data: bytes) -> PackRules:
    """The rules that were stored. Raises: StorageError."""
    return _decoded(data, msgspec.msgpack.Decoder(PackRules))


def report_in(data: bytes) -> Report:
    """The report that was stored. Raises: StorageError."""
    return _decoded(data, msgspec.msgpack.Decoder(Report))


def trial_in(data: bytes) -> Trial:
    """The trial that was stored. Raises: StorageError."""
    return _decoded(data, msgspec.msgpack.Decoder(Trial))


def chosen(pack: PackRules, level: Level) -> PackRules:
    """The rules from a level on, and hidden those that feed one of them."""
    book = from_level(Rulebook(rules=pack.rules, correlations=pack.correlations), level)
    return PackRules(rules=book.rules, correlations=book.correlations)


# --- reading ---------------------------------------------------------------------------------------------------------


class _Opened(msgspec.Struct):
    """What came out of what was sent."""

    names: list[str] = []
    contents: list[bytes] = []
    others: int = 0
    other_names: list[str] = []
    skips: list[SkippedRule] = []
    unpacked: int = 0
    """Bytes that came out of archives."""
    kept: int = 0
    """Bytes of rule files."""


def read_pack(content: bytes, on_progress: Callable[[int, int], None]) -> tuple[PackRules, Report]:
    """Read what was sent. ``on_progress`` is told files done and all files, and may raise to end it.

    Raises:
        LimitExceeded: more than the bounds of this module allow.
        StorageError: it is not what was kept.
    """
    try:
        files = msgspec.msgpack.decode(content, type=list[Sent])
    except msgspec.MsgspecError:
        raise StorageError("the pack is damaged") from None
    opened = _Opened()
    for file in files:
        _open(file, opened)
    parsed: list[Parsed] = []
    on_progress(0, len(opened.names))
    for start in range(0, len(opened.names), AT_ONCE):
        parsed += read_rules(opened.contents[start : start + AT_ONCE], Options())
        on_progress(len(parsed), len(opened.names))
    found = resolve(zip(opened.names, parsed, strict=True))
    unkept = [each for each in (*found.rules, *found.correlations) if not can_be_kept(each)]
    skips = [*opened.skips, *found.skipped, *map(_unkept, unkept)]
    pack = PackRules(
        rules=tuple(filter(can_be_kept, found.rules)), correlations=tuple(filter(can_be_kept, found.correlations))
    )
    report = Report(
        files=len(opened.names),
        others=opened.others,
        other_names=tuple(opened.other_names),
        rules=len(pack.every),
        filters=len(found.filters),
        skipped=len(skips),
        skips=tuple(map(_storable, skips[:NAMED_MAX])),
        notes=tuple(found.notes[:NAMED_MAX]),
    )
    return pack, report


def _open(file: Sent, opened: _Opened) -> None:
    """Take the rule files out of a file, which may be an archive."""
    for member in open_members(file.name, io.BytesIO(file.data)):
        if not isinstance(member, Member):
            opened.skips.append(SkippedRule(file=member.file, code=member.code, reason=member.reason))
            continue
        is_rule = _is_rule(member.name)
        data = bytearray()
        for chunk in member.chunks:
            opened.unpacked += len(chunk)
            if opened.unpacked > UNPACKED_BYTES_MAX:
                raise LimitExceeded("UNPACKED_BYTES_MAX", UNPACKED_BYTES_MAX, where=file.name[:80])
            # One byte too many, so that the parser sees that it is too large, and says so.
            if is_rule and len(data) <= YAML_BYTES_MAX:
                data += chunk[: YAML_BYTES_MAX + 1 - len(data)]
        if not is_rule:
            opened.others += 1
            opened.other_names += [member.name] if len(opened.other_names) < OTHERS_NAMED_MAX else []
            continue
        opened.kept += len(data)
        if len(opened.names) == RULE_FILES_MAX:
            raise LimitExceeded("RULE_FILES_MAX", RULE_FILES_MAX, where=file.name[:80])
        if opened.kept > RULE_BYTES_MAX:
            raise LimitExceeded("RULE_BYTES_MAX", RULE_BYTES_MAX, where=file.name[:80])
        opened.names.append(member.name)
        opened.contents.append(bytes(data))


def _is_rule(name: str) -> bool:
    """Whether a file is one of rules, going by its name, as in folders: hidden ones are none."""
    last = name.replace("\\", "/").rpartition("/")[2].rpartition("!")[2]
    last = last.lower().removesuffix(".gz").removesuffix(".zst")
    return last.endswith(RULE_SUFFIXES) and not last.startswith(".")


def _unkept(rule: AnyRule) -> SkippedRule:
    reason = "it has text that cannot be stored"
    return SkippedRule(file=rule.file, document=rule.document, rule_id="", title="", code="rule-error", reason=reason)


def _storable(skip: SkippedRule) -> SkippedRule:
    """With text that can be stored, whatever it is about."""
    clean = {
        name: getattr(skip, name).encode("utf-8", "backslashreplace").decode()
        for name in ("file", "rule_id", "title", "reason")
    }
    return msgspec.structs.replace(skip, **clean)


def _decoded(data: bytes, decoder: msgspec.msgpack.Decoder[_Kept]) -> _Kept:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError:
        raise StorageError("what was kept of a pack of rules is damaged", hint="send it again") from None


# --- trying ----------------------------------------------------------------------------------------------------------


def try_pack(
    workspace: Workspace,
    scope: Scope,
    sources: SourceBook,
    pack: PackRules,
    cache_folder: Path | None,
    on_progress: Callable[[int, int, int], None],
) -> Trial:
    """Run rules over all of history, and say what each finds. Nothing of it is kept.

    ``on_progress`` is told segments done, all of them, and what was found so far; it may raise to end it.

    Raises:
        StateError: there is no rule.
        StorageError: the workspace cannot be read.
    """
    if not pack.every:
        raise StateError("there is no rule in the pack that can be used")
    history = History(
        workspace, scope, engine_for(pack.rules, cache_folder), sources, wanted_fields=needed_fields(pack.correlations)
    )
    tally = _Tally()
    rows = live_segments(workspace, scope, newest_first=True)
    estimate = history.estimate(rows)
    damaged = 0
    with ExitStack() as stack:
        feeding = Sorter(Fed, fed_order)
        stack.callback(feeding.close)
        stack.enter_context(workspace.reading())
        for done, row in enumerate(estimate.candidates):
            on_progress(done, len(estimate.candidates), tally.count)
            try:
                findings = history.scan(row)
            except StorageError:
                damaged += 1
                continue
            tally.add(each.detection for each in findings.found)
            for fed in findings.fed:
                feeding.add(fed)
        tally.add(each.detection for each in correlate(pack.correlations, lambda: feeding).found)
    on_progress(len(estimate.candidates), len(estimate.candidates), tally.count)
    return Trial(
        at_us=workspace.clock_us(),
        segments=estimate.segments,
        rows=estimate.rows,
        damaged=damaged,
        found=tally.found(),
        hosts=len(tally.hosts),
    )


class _Tally:
    """Counts detections by rule."""

    def __init__(self) -> None:
        self.count = 0
        self.hosts: set[str] = set()
        self._found: dict[str, Tried] = {}
        self._hosts_of: dict[str, set[str]] = {}

    def add(self, detections: Iterator[Detection]) -> None:
        for each in detections:
            self.count += 1
            said = self._found.setdefault(each.rule_id, Tried())
            said.count += 1
            if each.host and len(hosts := self._hosts_of.setdefault(each.rule_id, set())) < HOSTS_MAX:
                hosts.add(each.host)
                self.hosts.add(each.host)
            if each.time_us is not None:
                said.first_us = each.time_us if said.first_us is None else min(said.first_us, each.time_us)
                said.last_us = each.time_us if said.last_us is None else max(said.last_us, each.time_us)

    def found(self) -> dict[str, Tried]:
        for rule_id, said in self._found.items():
            said.hosts = len(self._hosts_of.get(rule_id, ()))
        return self._found
