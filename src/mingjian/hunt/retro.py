"""Rules and indicators over all of history: what is new is run over whatever it was not run over yet, newest first.

The results of a few segments are committed together with the coverage that says so, in one transaction: killed at any
moment, a hunt goes on where it was and finds nothing twice. It takes no lock that ingest needs, and reads with one
process; whoever starts it decides how nicely.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from mingjian.detect.correlation import Match, needed_fields
from mingjian.detect.engine import Engine
from mingjian.errors import StorageError
from mingjian.hunt.automata import engine_for
from mingjian.hunt.correlating import correlate
from mingjian.hunt.history import Fed, Findings, History
from mingjian.hunt.indicating import Lookout
from mingjian.model.rules import Correlation, Rule
from mingjian.sources.definitions import SourceBook
from mingjian.store import jobs
from mingjian.store.catalogue import Extra, SegmentRow, live_segments, organisations
from mingjian.store.coverage import ran_indicators, ran_rules, still_live, uncovered_by_rules
from mingjian.store.detections import (
    CountedMatch,
    FoundDetection,
    add,
    add_matches,
    counted_fields,
    last_match,
    matches_in_order,
    set_correlated,
)
from mingjian.store.indicatormatching import IndicatorMatcher
from mingjian.store.indicators import indicators_of
from mingjian.store.indicatortables import ROW_SCHEMA
from mingjian.store.jobs import Job
from mingjian.store.rules import RuleSet, live_rules, rule_set, set_of, version_key
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import day_of
from mingjian.store.sightings.live import open_index
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

GROUP_SEGMENTS: Final = 64
"""So many segments are committed together at most …"""
GROUP_S: Final = 5.0
"""… or as many as are done in so much time …"""
GROUP_RESULTS: Final = 10_000
"""… or as have so many results."""

Progress = Callable[[int, int], None]
"""Called with the bytes and the events of the segments that are done."""


class Stopped(Exception):
    """Somebody asked for an end. What is committed stays; the job waits."""


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job."""

    job: Job
    segments: int
    """Looked at, or passed over because nothing in them can match."""
    rows: int
    results: int
    """Detections that were not known before, or found again in a part that was run anew."""
    damaged: tuple[SegmentRow, ...]
    """Segments that could not be read. They stay uncovered."""
    seconds: float


class Retro:
    """Runs what is waiting. Not for several threads at once."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        sources: SourceBook,
        cache_folder: Path | None,
        *,
        progress: Progress = lambda bytes_done, events: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._workspace = workspace
        self._scope = scope
        self._sources = sources
        self._cache_folder = cache_folder
        self._progress = progress
        self._should_stop = should_stop

    def run_pending(self) -> list[JobOutcome] | None:
        """Run every job that waits, also those that come meanwhile; None if another process is at it.

        Raises:
            Stopped: somebody asked for an end.
            StorageError: the workspace cannot be read or written. The job waits.
        """
        done: list[JobOutcome] = []
        with jobs.worker(self._workspace) as ours:
            if not ours:
                return None
            while (job := jobs.next_job(self._workspace, self._scope)) is not None:
                done.append(self.run(job) if job.kind == "rules" else self.run_indicators(job))
        return done

    def run_indicators(self, job: Job) -> JobOutcome:
        """Run one job of indicators: one look into the index, then the events behind what it found."""
        assert job.indicator_set_id is not None
        started = time.monotonic()
        asked = job.indicator_set_id
        # What is live now is in the index that is opened after it.
        rows = live_segments(self._workspace, self._scope, organisation=job.organisation)
        tables = indicators_of(self._workspace, self._scope, asked)
        matcher = IndicatorMatcher(pa.concat_tables([ROW_SCHEMA.empty_table(), *tables]), WarningLists(), [asked])
        history = History(self._workspace, self._scope, Engine(()), self._sources)
        with closing(open_index(self._workspace, self._scope)) as index:
            lookout = Lookout(self._workspace, self._scope, index, matcher, history, organisation=job.organisation)
            outcome = lookout.look()
        damaged = {row.id for row in outcome.damaged}
        covered = [row.id for row in rows if row.id not in damaged]
        found: dict[OrganisationId, list[FoundDetection]] = defaultdict(list)
        results: Counter[int] = Counter()
        for organisation, segment, each in outcome.found:
            found[organisation].append(each)
            results[segment] += 1
        now = self._workspace.clock_us()
        extras = [add(organisation, several, "hunt", now) for organisation, several in found.items()]
        extras.append(ran_indicators(covered, asked, results, now))
        extras.append(jobs.progressed(job.id, total=len(rows), done=len(covered), results=len(outcome.found)))
        with self._workspace.begin() as connection:
            for extra in extras:
                extra(connection)
        error = "" if not damaged else f"{len(damaged)} segments cannot be read"
        jobs.finish(self._workspace, self._scope, job.id, "failed" if error else "done", error)
        return JobOutcome(
            job=jobs.job_by_id(self._workspace, self._scope, job.id),
            segments=len(covered),
            rows=sum(row.rows for row in rows),
            results=len(outcome.found),
            damaged=tuple(outcome.damaged),
            seconds=time.monotonic() - started,
        )

    def run(self, job: Job) -> JobOutcome:
        """Run one job of rules to its end."""
        assert job.rule_set_id is not None
        started = time.monotonic()
        live = live_rules(self._workspace, self._scope)
        # As a rule they are the same thousands of rules: one copy is enough.
        is_live = job.rule_set_id == live.id
        asked = live if is_live else rule_set(self._workspace, self._scope, job.rule_set_id)
        run = _JobRun(self._workspace, self._scope, job, live, asked, self._sources, self._cache_folder)
        while rows := run.missing():
            for row, versions in rows:
                if self._should_stop():
                    run.commit()
                    raise Stopped
                run.scan(row, versions)
                self._progress(run.bytes, run.rows)
            run.commit()
        run.correlate()
        error = "" if not run.damaged else f"{len(run.damaged)} segments cannot be read"
        jobs.finish(self._workspace, self._scope, job.id, "failed" if error else "done", error)
        return JobOutcome(
            job=jobs.job_by_id(self._workspace, self._scope, job.id),
            segments=run.segments,
            rows=run.rows,
            results=run.results,
            damaged=tuple(run.damaged.values()),
            seconds=time.monotonic() - started,
        )


class _JobRun:
    """One job on its way through the segments."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        job: Job,
        live: RuleSet,
        asked: RuleSet,
        sources: SourceBook,
        cache_folder: Path | None,
    ) -> None:
        self._workspace = workspace
        self._scope = scope
        self._job = job
        self._asked = asked
        self._versions = {**live.versions, **asked.versions}
        self._by_version: dict[int, Rule | Correlation] = {
            self._versions[each.id]: each
            for known in (live, asked)
            for each in (*known.rules, *known.correlations)
            if known.versions[each.id] == self._versions[each.id]
        }
        self._by_id = {each.id: each for each in self._by_version.values()}
        correlations = [each for each in self._by_id.values() if isinstance(each, Correlation)]
        self._wanted_fields = needed_fields(correlations)
        self._rules = [self._by_id[each] for each in self._needed(asked.versions)]
        self._places = {rule.id: place for place, rule in enumerate(self._rules)}
        self._sources = sources
        self._cache_folder = cache_folder
        self._waiting: list[tuple[Findings, frozenset[int]]] = []
        self._results_waiting = 0
        self._waiting_since = time.monotonic()
        self._set_ids: dict[frozenset[int], int] = {}
        self._chosen: dict[frozenset[int], frozenset[int]] = {}
        self.damaged: dict[int, SegmentRow] = {}
        self.segments = self.rows = self.bytes = self.results = 0
        self._total = 0

    @cached_property
    def _history(self) -> History:
        """Made when there is something to look at: thousands of rules take time and memory."""
        engine = engine_for([rule for rule in self._rules if isinstance(rule, Rule)], self._cache_folder)
        return History(self._workspace, self._scope, engine, self._sources, wanted_fields=self._wanted_fields)

    def _needed(self, rule_ids: Collection[str]) -> list[str]:
        """The rules about single events that have to be run for some rules and correlations, in a stable order."""
        needed: dict[str, None] = {}
        pending = list(rule_ids)
        while pending:
            each = self._by_id.get(pending.pop())
            if isinstance(each, Correlation):
                pending += each.rules
            elif each is not None:
                needed[each.id] = None
        return sorted(needed, key=lambda rule_id: self._versions[rule_id])

    def missing(self) -> list[tuple[SegmentRow, frozenset[int]]]:
        """What is still to be done: segments, newest day first, each with the versions that are missing."""
        groups = uncovered_by_rules(
            self._workspace, self._scope, self._asked.versions.values(), organisation=self._job.organisation
        )
        rows = [(row, group.version_ids) for group in groups for row in group.segments if row.id not in self.damaged]
        rows.sort(key=lambda item: (item[0].last_us is None, -(item[0].last_us or 0), -item[0].id))
        self._total = self.segments + len(rows)
        return rows

    def scan(self, row: SegmentRow, versions: frozenset[int]) -> None:
        """Look at one segment; commit if it is time to."""
        chosen = self._chosen.get(versions)
        if chosen is None:
            ids = self._needed([self._by_version[version].id for version in versions])
            chosen = self._chosen[versions] = frozenset(self._places[each] for each in ids)
        try:
            with self._workspace.reading():
                findings = self._history.scan(row, chosen)
        except StorageError:
            if still_live(self._workspace, [row.id]):
                self.damaged[row.id] = row
            return
        self._waiting.append((findings, versions))
        self.segments += 1
        self.rows += row.rows
        self.bytes += row.bytes
        self._results_waiting += len(findings.found) + len(findings.fed)
        is_time = time.monotonic() - self._waiting_since > GROUP_S
        if len(self._waiting) >= GROUP_SEGMENTS or self._results_waiting >= GROUP_RESULTS or is_time:
            self.commit()

    def commit(self) -> None:
        """Commit what was found since the last time, and the coverage that says so."""
        now = self._workspace.clock_us()
        found: dict[OrganisationId, list[FoundDetection]] = defaultdict(list)
        fed: dict[OrganisationId, list[CountedMatch]] = defaultdict(list)
        by_versions: dict[frozenset[int], dict[int, int]] = defaultdict(dict)
        for findings, versions in self._waiting:
            count = 0
            for each in findings.found:
                rule = self._rules[each.rule]
                version = self._versions[rule.id]
                count += version in versions
                found[each.organisation].append(
                    FoundDetection(
                        detection=each.detection,
                        content=version_key(rule),
                        version_id=version,
                        input_id=each.input_id,
                        day=each.day,
                    )
                )
            for each in findings.fed:
                fed[each.organisation].append(self._counted(each))
            by_versions[versions][findings.segment.id] = count
            self.results += count
        extras: list[Extra] = []
        extras += [add(organisation, several, "hunt", now) for organisation, several in found.items()]
        extras += [add_matches(organisation, several, update=True) for organisation, several in fed.items()]
        for versions, results in by_versions.items():
            extras.append(ran_rules(results, self._set_of(versions), results, now))
        extras.append(jobs.progressed(self._job.id, total=self._total, done=self.segments, results=self.results))
        with self._workspace.begin() as connection:
            for extra in extras:
                extra(connection)
        self._waiting = []
        self._results_waiting = 0
        self._waiting_since = time.monotonic()

    def _counted(self, fed: Fed) -> CountedMatch:
        match = fed.match
        fields = dict(zip(self._wanted_fields[match.rule_id], match.values, strict=True))
        return CountedMatch(
            version_id=self._versions[match.rule_id],
            time_us=match.time_us,
            input_id=fed.input_id,
            record=match.record,
            host=fed.host,
            account=fed.account,
            fields=counted_fields(fields),
        )

    def _set_of(self, versions: frozenset[int]) -> int:
        number = self._set_ids.get(versions)
        if number is None:
            number = self._set_ids[versions] = set_of(self._workspace, self._scope, versions)
        return number

    def correlate(self) -> None:
        """Decide the correlations of the job over every match that is kept."""
        asked = self._asked.correlations
        if not asked:
            return
        for organisation in organisations(self._workspace, self._scope):
            if self._job.organisation in (None, organisation.id):
                self._correlate(organisation.id, self._with_inner(asked))

    def _with_inner(self, correlations: Sequence[Correlation]) -> list[Correlation]:
        """Correlations and those that they refer to, these first."""
        found: dict[str, Correlation] = {}
        for each in correlations:
            inner = [self._by_id[rule] for rule in each.rules if rule in self._by_id]
            for one in self._with_inner([rule for rule in inner if isinstance(rule, Correlation)]):
                found[one.id] = one
            found[each.id] = each
        return list(found.values())

    def _correlate(self, organisation: OrganisationId, correlations: Sequence[Correlation]) -> None:
        rules = {self._versions[each]: each for each in self._needed([each.id for each in correlations])}
        up_to = last_match(self._workspace, organisation, list(rules))
        wanted = needed_fields(correlations)

        def matches() -> Iterator[Fed]:
            for each in matches_in_order(self._workspace, organisation, rules, wanted):
                yield Fed(
                    match=Match(each.time_us, each.rule_id, each.file, each.record, each.values),
                    host=each.host,
                    account=each.account,
                    organisation=organisation,
                    input_id=each.input_id,
                )

        outcome = correlate(correlations, matches)
        asked = self._asked.versions
        found = [
            FoundDetection(
                detection=each.detection,
                content=version_key(self._by_id[each.detection.rule_id]),
                version_id=asked[each.detection.rule_id],
                input_id=each.input_id,
                day=day_of(each.detection.time_us),
            )
            for each in outcome.found
            if each.detection.rule_id in asked
        ]
        self.results += len(found)
        versions = [asked[each.id] for each in self._asked.correlations]
        name = f"hunt/{self._job.rule_set_id}"
        set_correlated(self._workspace, organisation, name, up_to, versions, found, "hunt")
