"""Rules over segments: which segments can match at all, and what is found in one of them.

A segment is passed over without being opened if no stream of its name can feed any of the rules, or if its outline
(``hunt.outlining``) shows that none can be true; it is closed again without reading a column if it has none of the
columns that a rule needs. What is left is evaluated over dictionaries
(``detect.encoded``). A finding is what ``mingjian detect`` would have reported for the same event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from mingjian.detect.compiled import KEYWORDS
from mingjian.detect.correlation import Match
from mingjian.detect.encoded import EncodedEngine, EvidenceFinder
from mingjian.detect.engine import Engine, Reading
from mingjian.detect.leaves import leaves, text_of
from mingjian.detect.words import atom_in_words
from mingjian.errors import NotFound
from mingjian.hunt.matched import matched_records
from mingjian.hunt.outlining import Outlook, Prospect
from mingjian.hunt.scan import MATCHED_CHARACTERS_MAX
from mingjian.hunt.views import Views
from mingjian.model.detections import Detection
from mingjian.model.rules import LogSource, Rule
from mingjian.model.sources import View
from mingjian.model.values import Missing, Record, Value
from mingjian.sources.columnwise import envelopes
from mingjian.sources.definitions import SourceBook
from mingjian.sources.envelope import Envelope
from mingjian.sources.router import Portion
from mingjian.store.blocks import Segment, SegmentBlock
from mingjian.store.catalogue import SegmentRow, input_by_id, input_names
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import day_of
from mingjian.store.workspace import Workspace

LARGE_ROWS: Final = 4096
"""Of the first segment of a stream nothing is known before it is opened. With so many events it is worth it to look at
one of them, and then decide."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A detection in history, and where its event is."""

    detection: Detection
    rule: int
    """Index of the rule in the engine."""
    organisation: OrganisationId
    segment_id: int
    input_id: int
    day: int | None


class Fed(msgspec.Struct, frozen=True, kw_only=True):
    """A match that correlations count, and where its event is."""

    match: Match
    host: str
    account: str
    organisation: OrganisationId
    input_id: int


class Findings(msgspec.Struct, kw_only=True):
    """What was found in one segment."""

    segment: SegmentRow
    rows: int = 0
    """So many events were looked at; 0 if nothing of the segment had to be read."""
    found: list[Found] = []
    fed: list[Fed] = []


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a hunt is about to look at."""

    segments: int
    rows: int
    bytes: int
    candidates: tuple[SegmentRow, ...]
    """The segments whose stream can feed one of the rules, in the order given."""

    @property
    def candidate_rows(self) -> int:
        """How many events these segments have."""
        return sum(row.rows for row in self.candidates)

    @property
    def candidate_bytes(self) -> int:
        """How many bytes these segments have."""
        return sum(row.bytes for row in self.candidates)


class History:
    """Runs the rules of an engine over segments. Not for several threads at once."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        engine: Engine,
        sources: SourceBook,
        *,
        wanted_fields: Mapping[str, Sequence[str]] | None = None,
        explain: bool = False,
        views: Views | None = None,
    ) -> None:
        """Take an engine. ``wanted_fields``: rule → fields whose values correlations need of each of its matches.

        ``views`` are those of the same sources that others have used.
        """
        self._workspace = workspace
        self._scope = scope
        self._engine = engine
        self._encoded = EncodedEngine(engine)
        self._evidence = EvidenceFinder(engine)
        self._outlook = Outlook(workspace, scope, engine)
        self._views = views or Views(sources)
        self._wanted_fields = wanted_fields or {}
        self._explain = explain
        self._files: dict[int, str] = {}
        self._searches: dict[frozenset[int] | None, Sequence[int]] = {}
        self._feedable: dict[tuple[str, frozenset[int] | None], bool] = {}

    def estimate(self, rows: Sequence[SegmentRow], rules: frozenset[int] | None = None) -> Estimate:
        """Say what running the rules (or some of them) over segments means."""
        return Estimate(
            segments=len(rows),
            rows=sum(row.rows for row in rows),
            bytes=sum(row.bytes for row in rows),
            candidates=tuple(row for row in rows if self.can_feed(row, rules)),
        )

    def can_feed(self, row: SegmentRow, rules: frozenset[int] | None = None) -> bool:
        """Whether a segment can feed one of the rules, going by the name of its stream."""
        key = (row.key.stream, rules)
        known = self._feedable.get(key)
        if known is None:
            chosen = self._engine.rules if rules is None else [self._engine.rules[index] for index in rules]
            wanted = {rule.logsource for rule in chosen}
            known = self._feedable[key] = any(self._views.can_feed(row.key.stream, each) for each in wanted)
        return known

    def feeds(self, stream: str, wanted: LogSource) -> bool:
        """Whether a rule with a log source looks at a stream."""
        return self._views.can_feed(stream, wanted)

    def scan(self, row: SegmentRow, rules: frozenset[int] | None = None) -> Findings:
        """Run the rules (or some of them) over one segment.

        Raises:
            StorageError: the segment is damaged, or not there any more: then another one has its events.
        """
        findings = Findings(segment=row)
        if not self.can_feed(row, rules):
            return findings
        prospect = self._prospect(row, rules)
        if prospect in (Prospect.NO_TEXT, Prospect.NO_FIELD):
            findings.rows = row.rows if prospect is Prospect.NO_TEXT else 0
            return findings
        for view, block in self.blocks(row):
            self._look(findings, view, block, rules, has_keywords=prospect is not Prospect.NO_KEYWORD)
        return findings

    def _prospect(self, row: SegmentRow, rules: frozenset[int] | None) -> Prospect:
        """What can be found in a segment, as far as that is known without opening it."""
        searching = self._searching(rules)
        if searching:
            return self._outlook.prospect(row, None, searching, rules)
        view = self._views.known(row)
        if view is None and row.rows >= LARGE_ROWS:
            view = self._view_of_first(row)
        if view is None:
            return Prospect.OPEN
        applicable = self._encoded.applicable(view, rules)
        if not applicable:
            return Prospect.NO_FIELD
        return self._outlook.prospect(row, view, applicable, rules)

    def _searching(self, rules: frozenset[int] | None) -> Sequence[int]:
        """The rules, if all of them ask for keywords alone, of whatever there is: a view says nothing about these."""
        known = self._searches.get(rules)
        if known is None:
            chosen = range(len(self._engine.rules)) if rules is None else sorted(rules)
            compiled = self._engine.compiled
            is_search = all(
                self._engine.rules[index].logsource == LogSource() and set(compiled.facts[index].fields) <= {KEYWORDS}
                for index in chosen
            )
            known = self._searches[rules] = tuple(chosen) if is_search else ()
        return known

    def _view_of_first(self, row: SegmentRow) -> View | None:
        """The view of a segment whose records all have the same, found out by its first record."""
        with Segment(self._workspace.lake / row.path, checks=row.checks) as segment:
            self.portions_of(row, segment.block(0))
        return self._views.known(row)

    def blocks(self, row: SegmentRow) -> Iterator[tuple[View, SegmentBlock]]:
        """The events of a segment with the view under which they are looked at.

        Raises:
            StorageError: the segment is damaged, or not there any more.
        """
        with Segment(self._workspace.lake / row.path, checks=row.checks) as segment:
            for block in segment.blocks():
                yield from self.views_of(row, block)

    def views_of(self, row: SegmentRow, block: SegmentBlock) -> Iterable[tuple[View, SegmentBlock]]:
        """The views of a block: the one that all its records were put under, or whatever holds for them today."""
        return [
            (portion.view, block if portion.rows is None else block.take(portion.rows))
            for portion in self.portions_of(row, block)
        ]

    def known_view(self, row: SegmentRow) -> View | None:
        """The view of all records of a segment, if that is known before any is read."""
        return self._views.known(row)

    def portions_of(self, row: SegmentRow, block: SegmentBlock) -> Iterable[Portion]:
        """The same, as which records are under which view."""
        return self._views.portions_of(row, block)

    def _look(
        self, findings: Findings, view: View, block: SegmentBlock, rules: frozenset[int] | None, *, has_keywords: bool
    ) -> None:
        if not self._encoded.applicable(view, rules) or not self._encoded.can_match(view, block.is_there, rules):
            return
        findings.rows += len(block)
        matches = self._encoded.match(view, block, rules, has_keywords=has_keywords)
        if matches:
            events = self._events(view, block, matches)
            for index, place in matches:
                self._report(findings, view, self._engine.rules[index], index, events[place])

    def _events(self, view: View, block: SegmentBlock, matches: Sequence[tuple[int, int]]) -> dict[int, _Event]:
        """The events of all matches, as far as their rules look at them: read column by column."""
        records = matched_records(self._engine, view, block, matches, self._wanted_fields)
        rows = list(records)
        about = envelopes(view, _Chosen(block, rows))
        numbers, inputs = block.numbers, block.inputs
        return {
            row: _Event(
                record,
                Envelope(time_us=about.times_us[place], host=about.hosts[place], account=about.accounts[place]),
                Reading(self._engine, view, record),
                int(inputs[row]),
                numbers[row],
            )
            for place, (row, record) in enumerate(records.items())
        }

    def _report(self, findings: Findings, view: View, rule: Rule, index: int, event: _Event) -> None:
        key = findings.segment.key
        file = self.file_of(event.input_id)
        wanted = self._wanted_fields.get(rule.id)
        if wanted is not None:
            values = tuple(tuple(map(text_of, leaves(view.value(event.record, field)))) for field in wanted)
            match = Match(event.about.time_us, rule.id, file, event.number, values)
            findings.fed.append(
                Fed(
                    match=match,
                    host=event.about.host,
                    account=event.about.account,
                    organisation=key.organisation,
                    input_id=event.input_id,
                )
            )
        if rule.hidden:
            return
        evidence = self._evidence.evidence(index, view, event.record, event.reading)
        detection = Detection(
            time_us=event.about.time_us,
            level=rule.level,
            rule_id=rule.id,
            rule_title=rule.title,
            attack=rule.attack,
            host=event.about.host,
            account=event.about.account,
            stream=view.stream.name,
            file=file,
            record=event.number,
            matched={field: text[:MATCHED_CHARACTERS_MAX] for field, text in evidence.matched.items()},
            atoms=tuple(map(atom_in_words, evidence.atoms)) if self._explain else (),
        )
        findings.found.append(
            Found(
                detection=detection,
                rule=index,
                organisation=key.organisation,
                segment_id=findings.segment.id,
                input_id=event.input_id,
                day=day_of(event.about.time_us),
            )
        )

    def file_of(self, input_id: int) -> str:
        """The name under which an input was first met."""
        name = self._files.get(input_id)
        if name is None:
            try:
                name = input_by_id(self._workspace, self._scope, input_id).name
            except NotFound:
                name = ""
            self._files[input_id] = name
        return name

    def learn_files(self, segment_ids: Sequence[int]) -> None:
        """Look up the names of the inputs of some segments together, because they will be asked for."""
        self._files |= input_names(self._workspace, self._scope, segment_ids)


class _Chosen:
    """Some records of a segment as a block, for whoever asks for columns only."""

    def __init__(self, block: SegmentBlock, rows: Sequence[int]) -> None:
        self.format = block.format
        self.numbers: Sequence[int] = range(len(rows))
        self._block = block
        self._rows = rows

    def column(self, path: str) -> Sequence[Value | Missing]:
        return self.columns([path])[0]

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        chosen = self._rows if rows is None else [self._rows[row] for row in rows]
        return self._block.columns(paths, chosen)

    def record(self, row: int) -> Record:
        return self._block.record(self._rows[row])

    def raw(self, row: int) -> bytes:
        return self._block.raw(self._rows[row])

    def take(self, rows: Sequence[int]) -> SegmentBlock:
        return self._block.take([self._rows[row] for row in rows])

    def containing(self, needles: Sequence[str]) -> None:
        return None


class _Event(NamedTuple):
    record: Record
    about: Envelope
    reading: Reading
    input_id: int
    number: int
