"""One question: who is it, friend or foe, what did it do, and what could not be seen.

Figures come from the index: they are exact, and cost the same however often something was seen. Of the events
themselves a bounded part is read: those that detections are about, the first and the last of every stream, and of a
quiet observable all.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np
import pyarrow as pa

from mingjian.detect.engine import Engine
from mingjian.errors import ConfigError, LimitExceeded, StorageError
from mingjian.hunt.answer import sentence
from mingjian.hunt.attack import Attack, load_attack
from mingjian.hunt.behaviourbook import RULE_PREFIX
from mingjian.hunt.history import History
from mingjian.hunt.views import Views
from mingjian.hunt.vocabulary import kind_in, title_in
from mingjian.model.indicators import VERDICTS
from mingjian.model.observables import canonical
from mingjian.model.rules import LEVELS, Level
from mingjian.model.sources import ObservableKind
from mingjian.settings import Language
from mingjian.situations import story
from mingjian.situations.card import Graph, Joined, Node, Role, Step, Term, VerdictCard
from mingjian.situations.choosing import At, are_few, choose
from mingjian.situations.naming import OtherName, label_of, other_accounts, other_names
from mingjian.situations.outlook import About, Outlook, outlook
from mingjian.situations.reading import KeptReads, Read, united
from mingjian.situations.story import Weighed, time_text
from mingjian.situations.verdict import (
    BehaviourFact,
    Company,
    Contact,
    DetectionFact,
    Facts,
    IndicatorFact,
    Judged,
    judge,
    load_weights,
)
from mingjian.sources.definitions import SourceBook
from mingjian.sources.envelope import Observed
from mingjian.store.behaviours import StoredBehaviour, behaviours_about, looked_at
from mingjian.store.briefs import briefs_of, stream_names
from mingjian.store.catalogue import organisations
from mingjian.store.detectiongroups import (
    NO_POINTERS,
    PLACES_MAX,
    Place,
    Several,
    detection_places,
    detections_together,
    detections_together_at,
    techniques_found,
)
from mingjian.store.detections import StoredDetection
from mingjian.store.entities import Background, background, indicators_about, segments_by_id
from mingjian.store.indicatormatching import IndicatorMatcher
from mingjian.store.indicators import live_sets
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY, day_of
from mingjian.store.sightings.answers import Totals
from mingjian.store.sightings.columns import Column
from mingjian.store.sightings.companions import Companions, companions, companions_of_each
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.live import KeptIndex, open_index
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

NAMES_LISTED_MAX: Final = 10_000
"""So many hosts, and so many accounts, are listed."""
HOSTS_ASKED_MAX: Final = 40
"""For detections on its events, so many of the hosts that it was seen on are asked."""
CANDIDATES_MAX: Final = 400
"""So many other observables are weighed …"""
WEIGHED_MAX: Final = 24
"""… and of so many it is looked up on how many hosts they were seen."""
FEW_SEGMENTS: Final = 8
GROUPS_MAX: Final = 32
"""Of few segments so many groups of events are read in each block …"""
GROUPS_OF_MANY_MAX: Final = 12
"""… and of more segments so many."""
OWN: Final = ("host", "account")
GRAVE: Final[tuple[Level, ...]] = ("high", "critical")
MODEST: Final[tuple[Level, ...]] = ("low", "medium")
PLACES_MIN: Final = 100
"""Where there are fewer places with grave detections, those with modest ones are looked for as well."""


class Question(NamedTuple):
    """Who is asked about, and by whom."""

    workspace: Workspace
    scope: Scope
    kind: ObservableKind
    value: str
    sources: SourceBook
    language: Language
    organisation: OrganisationId | None = None
    cache_folder: Path | None = None
    views: Views | None = None
    """Those of the same sources that other questions have used."""
    kept_index: KeptIndex | None = None
    """That of the workspace that other questions have used."""
    kept_reads: KeptReads | None = None
    """What other questions have read of segments with the same sources."""
    outlook: Outlook | None = None
    """What could be seen of the kind, if that has just been found out."""

    @property
    def owners(self) -> list[int] | None:
        """The organisations to which the question is limited."""
        return None if self.organisation is None else [int(self.organisation)]


def ask(question: Question) -> VerdictCard:
    """Answer a question.

    Raises:
        StorageError: the workspace cannot be read.
        NotFound: the scope does not reach the organisation.
    """
    if question.organisation is not None:
        question.scope.check_read(question.organisation)
    with (
        question.workspace.reading(),
        _opened(question) as index,
    ):
        return _Asking(question, index).card()


@contextmanager
def _opened(question: Question) -> Generator[SightingsIndex]:
    if question.kept_index is not None:
        yield question.kept_index.open(question.scope)
        return
    with closing(open_index(question.workspace, question.scope)) as index:
        yield index


@cache
def _warning_lists(cache_folder: Path | None) -> WarningLists:
    """The warning lists, once for all questions of a process: reading them takes longer than an answer."""
    return WarningLists(cache_folder=cache_folder)


class _Known(msgspec.Struct, frozen=True):
    """What the index says of it."""

    totals: Totals | None
    seen_with: Companions
    also: tuple[str, ...]
    joined: tuple[OtherName, ...]

    @property
    def count(self) -> int:
        """Its events."""
        return 0 if self.totals is None else self.totals.count

    @property
    def events(self) -> int:
        """Its events, and those of its other names; an event with both counts twice."""
        return self.count + sum(each.totals.count for each in self.joined)


class _Asking:
    """The work on one question."""

    def __init__(self, question: Question, index: SightingsIndex) -> None:
        self._question = question
        self._index = index
        self._names = {int(each.id): each.name for each in organisations(question.workspace, question.scope)}
        self._attack: Attack = load_attack()
        self._lists = _warning_lists(question.cache_folder)
        self._history = History(question.workspace, question.scope, Engine(()), question.sources, views=question.views)
        self._reads = question.kept_reads or KeptReads()
        self._unknown: list[str] = []
        self._meant: set[tuple[str, str]] = set()
        """Kind and value of the indicators that mean the entity itself: they are not held against it twice."""
        self._outlook: Outlook = question.outlook or outlook(
            question.workspace,
            question.scope,
            question.kind,
            question.sources,
            question.organisation,
            cache_folder=question.cache_folder,
        )

    def _says(self, english: str, chinese: str) -> str:
        return chinese if self._question.language == "zh" else english

    def card(self) -> VerdictCard:
        """Put everything together."""
        question = self._question
        known = self._known()
        said = self._indicator_facts(known.totals)
        behaved = self._behaved(known)
        found = self._detections(known) if question.kind in OWN else self._named()
        reads, is_all, streams = self._read(known, found, behaved)
        looked_at = 0
        if question.kind not in OWN:
            # What stands in the events themselves is known for sure of those that were read.
            pointers = np.concatenate([NO_POINTERS, *(read.pointers for read in reads)])
            besides = {each.first.detection.rule_id for each in found}
            found = [*found, *detections_together_at(question.workspace, question.scope, pointers, besides)]
            looked_at = sum(read.rows for read in reads)
        groups = united(reads)
        others = story.touched(groups, self._own(known))
        weighed, counts = self._weighed(others)
        usual = background(question.workspace, question.scope, {each.first.detection.rule_id for each in found})
        judged = judge(self._facts(known, said, found, usual, weighed, behaved, looked_at), question.language)
        steps = [
            *story.detection_steps(found, self._names, self._tactics, question.language),
            *story.behaviour_steps(behaved, self._names, self._tactics, question.language),
        ]

        def weight(other: Observed) -> int:
            return counts.get((other.kind, other.value), 1 << 40)

        telling_us = {time_us for several in found for time_us in several.times_us}
        telling_us |= {time_us for each in behaved if (time_us := each.stored.detection.time_us) is not None}
        lines = story.event_steps(
            groups,
            self._names,
            weight,
            question.language,
            near_us=sorted(telling_us),
            is_all=is_all,
        )
        self._note_unknown(known.events)
        hosts = len(known.seen_with.hosts)
        start = Node(kind=question.kind, value=question.value, hosts=hosts, count=known.count, is_bad=False)
        graph = story.graph(start, others, weighed, self._outlook.hosts_all) if groups else Graph()
        return self._put_together(known, streams, judged, steps, lines, graph)

    def _put_together(
        self,
        known: _Known,
        streams: tuple[str, ...],
        judged: Judged,
        steps: Sequence[Step],
        lines: Sequence[Step],
        graph: Graph,
    ) -> VerdictCard:
        question, totals, names = self._question, known.totals, known.seen_with
        telling = [step for step in steps if step.level != "informational"]
        return VerdictCard(
            observable=question.value,
            kind=question.kind,
            seen=known.count > 0,
            count=known.count,
            first=None if totals is None else time_text(totals.first_us),
            last=None if totals is None else time_text(totals.last_us),
            hosts=tuple(names.hosts)[:NAMES_LISTED_MAX],
            accounts=tuple(names.accounts)[:NAMES_LISTED_MAX],
            lists_cut=not names.is_complete or max(len(names.hosts), len(names.accounts)) > NAMES_LISTED_MAX,
            roles=self._roles(totals),
            streams=streams,
            organisations=tuple(sorted({role.organisation for role in self._roles(totals)})),
            also=known.also,
            joined=tuple(self._told_together(each) for each in known.joined),
            verdict=judged.verdict,
            score=judged.score,
            probability=judged.probability,
            terms=judged.terms,
            speaks_for=_sides(judged.terms, 1),
            speaks_against=_sides(judged.terms, -1),
            unknown=tuple(self._unknown),
            timeline=story.in_time([*steps, *lines]),
            timeline_left_out=max(0, known.events - sum(line.count for line in lines)),
            chain=story.chain(telling, self._attack, load_weights().inferred, question.language),
            graph=graph,
            coverage=sentence(self._outlook.answer(known.events, self._about(known, streams)), question.language),
        )

    def _about(self, known: _Known, streams: Sequence[str]) -> About:
        """Whom holes may matter to: the host itself, or those on which it was seen."""
        value = self._question.value
        hosts = [value] if self._question.kind == "host" else list(known.seen_with.hosts)[:HOSTS_ASKED_MAX]
        owners = {self._names.get(each.organisation, "") for each in (known.totals.by_role if known.totals else ())}
        owners |= {self._names.get(int(each.organisation), "") for each in known.joined}
        return About(frozenset(map(label_of, hosts)), frozenset(streams), owners)

    def _told_together(self, other: OtherName) -> Joined:
        return Joined(
            observable=other.value,
            organisation=self._names.get(int(other.organisation), ""),
            count=other.totals.count,
            first=time_text(other.totals.first_us),
            last=time_text(other.totals.last_us),
        )

    # --- who

    def _known(self) -> _Known:
        question = self._question
        totals = self._index.totals(question.kind, question.value, organisations=question.owners)
        seen_with = companions(self._index, question.kind, question.value, organisations=question.owners)
        also: list[str] = []
        names: Iterable[str] = ()
        if question.kind == "host":
            names = [name for name in seen_with.hosts if label_of(name) == label_of(question.value)]
        elif question.kind == "account":
            names = [
                name
                for name in seen_with.accounts
                if (canonical("account", name) or "").rpartition("\\")[2] == question.value.rpartition("\\")[2]
            ]
        also += [name for name in names if name != question.value]
        return _Known(totals, seen_with, tuple(sorted(also)), tuple(self._joined(totals)))

    def _joined(self, totals: Totals | None) -> list[OtherName]:
        question = self._question
        if question.kind not in OWN:
            return []
        seen_in = question.owners if totals is None else [each.organisation for each in totals.by_role]
        owners = dict.fromkeys(OrganisationId(int(each)) for each in (self._names if seen_in is None else seen_in))
        if question.kind == "account":
            others = other_accounts(self._index, question.value, owners if totals is not None else ())
            if others.are_several:
                self._unknown.append(
                    self._says(
                        f"several accounts are called {question.value} with different domains: ask for each in full",
                        f"有多个账号同名 {question.value} 而所属域不同：请用完整名称逐一查询",
                    )
                )
            if others.apart:
                login = question.value.rpartition("\\")[2]
                self._unknown.append(
                    self._says(
                        f"{login} occurs {others.apart} times without its domain where nothing shows that it is this "
                        f"account: ask for {login}, too",
                        f"不带域名的 {login} 另有 {others.apart} 次出现，无法证明就是此账号：请再查询 {login}",
                    )
                )
            return others.found
        domains = {OrganisationId(owner): names for owner, names in self._outlook.domains.items()}
        found, undecided = other_names(self._index, question.value, owners, domains)
        if undecided:
            self._unknown.append(
                self._says(
                    f"several hosts are called {question.value} with different domains: ask for each by its full name",
                    f"有多台主机同名 {question.value} 而域名不同：请用完整名称逐一查询",
                )
            )
        return found

    def _own(self, known: _Known) -> frozenset[tuple[str, str]]:
        """What is no news beside the entity: itself by other names."""
        question = self._question
        found = {(question.kind, question.value)}
        if question.kind in OWN:
            found |= {(question.kind, canonical(question.kind, name) or name) for name in known.also}
            found |= {(question.kind, each.value) for each in known.joined}
        return frozenset(found)

    def _roles(self, totals: Totals | None) -> tuple[Role, ...]:
        return tuple(
            Role(
                organisation=self._names.get(each.organisation, ""),
                source=each.source,
                role=each.role,
                count=each.count,
                first=time_text(each.first_us),
                last=time_text(each.last_us),
            )
            for each in (() if totals is None else totals.by_role)
        )

    # --- what was found

    def _detections(self, known: _Known) -> list[Several]:
        """Detections about a host or an account: they name it."""
        question = self._question
        names = {question.value, *known.also, *(each.value for each in known.joined)}
        names |= {written for each in known.joined for written in each.written}
        listed = known.seen_with.hosts if question.kind == "host" else known.seen_with.accounts
        names |= {name for name in listed if canonical(question.kind, name) == question.value}
        found, left_out = detections_together(
            question.workspace,
            question.scope,
            hosts=names if question.kind == "host" else (),
            accounts=names if question.kind == "account" else (),
            organisation=question.organisation,
        )
        if left_out:
            self._unknown.append(
                self._says(
                    f"{left_out} detections of minor rules are left out, there are too many",
                    f"检测命中过多，{left_out} 条次要规则的命中未列出",
                )
            )
        # Findings of behaviours say by themselves whom they are about.
        return [each for each in found if each.first.detection.kind != "behaviour"]

    def _named(self) -> list[Several]:
        """Detections of indicators that are the entity itself."""
        question = self._question
        return detections_together(
            question.workspace,
            question.scope,
            rule_ids=[f"{question.kind}:{question.value}"],
            organisation=question.organisation,
        ).groups

    def _places(self, known: _Known, streams: Collection[int]) -> list[Place]:
        """Where rules found something on its hosts, in its streams: it may be in its events, and worth reading."""
        question, totals = self._question, known.totals
        if totals is None or totals.first_us is None or totals.last_us is None:
            return []
        hosts = list(known.seen_with.hosts)
        asked = sorted(hosts, key=lambda name: (known.seen_with.hosts[name], name))[:HOSTS_ASKED_MAX]
        if len(asked) < len(hosts):
            self._unknown.append(
                self._says(
                    f"detections were looked for on {len(asked)} of its {len(hosts)} hosts",
                    f"仅在其 {len(hosts)} 台主机中的 {len(asked)} 台上查找了检测命中",
                )
            )
        between_us = (totals.first_us, totals.last_us)
        owners = {each.organisation for each in totals.by_role}

        def places(levels: Collection[Level]) -> list[Place]:
            return detection_places(
                question.workspace,
                question.scope,
                ["", *asked],
                between_us,
                levels,
                streams,
                owners,
            )

        # Of many hosts it takes long to look: what both need is looked at once, if it is not too much.
        found = places((*GRAVE, *MODEST))
        if len(found) >= PLACES_MAX:
            found = places(GRAVE)
            return found if len(found) >= PLACES_MIN else [*found, *places(MODEST)]
        grave = [each for each in found if LEVELS[each.gravity] in GRAVE]
        return grave if len(grave) >= PLACES_MIN else found

    def _behaved(self, known: _Known) -> list[StoredBehaviour]:
        """The findings of behaviours about it."""
        question = self._question
        value = question.value
        if question.kind == "host":
            value = label_of(value)
        elif question.kind == "account":
            value = value.rpartition("\\")[2].partition("@")[0]
        found = behaviours_about(
            question.workspace, question.scope, [(question.kind, value)], organisation=question.organisation
        )
        owners = {each.organisation for each in (() if known.totals is None else known.totals.by_role)}
        owners |= {int(each.organisation) for each in known.joined}
        return [each for each in found if not owners or int(each.stored.organisation) in owners]

    def _tactics(self, techniques: Sequence[str]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for technique in techniques:
            known = self._attack.techniques.get(technique)
            if known is not None:
                found |= dict.fromkeys(known.tactics)
        return tuple(found)

    # --- reading

    def _read(
        self, known: _Known, found: Sequence[Several], behaved: Sequence[StoredBehaviour]
    ) -> tuple[list[Read], bool, tuple[str, ...]]:
        """Events out of the segments that matter most; whether these are all; the streams it was seen in."""
        question = self._question
        if known.totals is None and not known.joined:
            return [], True, ()
        asked = [(question.value, question.owners), *((each.value, [int(each.organisation)]) for each in known.joined)]
        places = self._index.lookup_each(question.kind, asked)
        of_name: dict[str, list[Column]] = {question.value: [places[0].segment_ids()]}
        for each, sightings in zip(known.joined, places[1:], strict=True):
            of_name.setdefault(each.value, []).append(sightings.segment_ids())
        segments = {name: np.unique(np.concatenate(several)) for name, several in of_name.items()}
        named = np.unique(np.concatenate(list(segments.values())))
        is_all = not any(each.is_partly_gone for each in places)
        briefs = briefs_of(question.workspace, question.scope, named, cache_folder=question.cache_folder)
        streams = stream_names(question.workspace)
        of_briefs = cast("list[int]", np.unique(briefs.streams).tolist())
        chosen = choose(briefs, () if are_few(briefs) else self._where(known, found, behaved, streams, of_briefs))
        self._history.learn_files(chosen)
        reads: list[Read] = []
        groups_max = GROUPS_MAX if len(chosen) <= FEW_SEGMENTS else GROUPS_OF_MANY_MAX
        for row in segments_by_id(question.workspace, question.scope, chosen):
            values = [name for name, ids in segments.items() if _is_in(row.id, ids)]
            try:
                reads += [
                    self._reads.read(question.workspace, self._history, row, question.kind, name, groups_max)
                    for name in values
                ]
            except StorageError:
                is_all = False
                self._unknown.append(
                    self._says(f"a segment cannot be read: {row.path}", f"有数据段无法读取：{row.path}")
                )
        own = np.unique(briefs.streams[np.isin(briefs.ids, segments[question.value])])
        is_all = is_all and len(chosen) == len(briefs.ids) and all(read.is_all for read in reads)
        return reads, is_all, tuple(sorted(streams[int(each)] for each in own))

    def _where(
        self,
        known: _Known,
        found: Sequence[Several],
        behaved: Sequence[StoredBehaviour],
        streams: Mapping[int, str],
        own_streams: Collection[int],
    ) -> Iterable[At]:
        """Where detections are, the gravest first, and of every rule the first one before the second one of any."""
        places = [_place(each.first, each.gravity) for each in found]
        places += [_place(each.stored, LEVELS.index(each.stored.detection.level)) for each in behaved]
        if self._question.kind not in OWN:
            places += self._places(known, own_streams)
        of_rules: dict[str, list[Place]] = {}
        for each in sorted(places, key=lambda each: (-each.gravity, each.time_us)):
            of_rules.setdefault(each.rule_id, []).append(each)
        numbers = {name: number for number, name in streams.items()}
        ranked = [some[0] for some in of_rules.values()] + [each for some in of_rules.values() for each in some[1:]]
        return dict.fromkeys(At(int(each.organisation), numbers.get(each.stream, 0), each.day) for each in ranked)

    def _weighed(
        self, others: Mapping[tuple[ObservableKind, str], object]
    ) -> tuple[dict[tuple[ObservableKind, str], Weighed], dict[tuple[ObservableKind, str], int]]:
        """How usual the other observables are: events of many, hosts of the rarest."""
        question = self._question
        keys = list(others)[:CANDIDATES_MAX]
        if not keys:
            return {}, {}
        feed = Feed(pa.array([kind for kind, _ in keys], pa.string()), pa.array([value for _, value in keys]))
        counts: dict[tuple[ObservableKind, str], int] = dict.fromkeys(keys, 0)
        table = self._index.match(feed, organisations=question.owners)
        read = (table.column(name).to_pylist() for name in ("row", "role", "count"))
        for row, role, count in zip(*read, strict=True):
            if role != OVERLAP:
                counts[keys[row]] += count
        bad = self._bad(keys)
        rarest = sorted(keys, key=lambda key: (key not in bad, counts[key], key))[:WEIGHED_MAX]
        seen_with = companions_of_each(self._index, rarest, organisations=question.owners)
        return {
            key: Weighed(counts[key], tuple(each.hosts), len(each.hosts), key in bad)
            for key, each in zip(rarest, seen_with, strict=True)
        }, counts

    def _bad(self, keys: Sequence[tuple[ObservableKind, str]]) -> set[tuple[ObservableKind, str]]:
        """Those that a valid indicator calls malicious and that are on no warning list."""
        table = indicators_about(self._question.workspace, self._question.scope, keys)
        return {
            keys[row["row"]]
            for row in self._matches(table, keys)
            if row["verdict"] == "malicious" and not row["is_outside"] and not row["warning"]
            if (row["kind"], row["value"]) not in self._meant
        }

    def _matches(
        self,
        table: pa.Table,
        keys: Sequence[tuple[str, str]],
        first_us: int | None = None,
        last_us: int | None = None,
    ) -> list[dict[str, Any]]:
        """What indicators say of some observables, which were seen from when to when."""
        if not table.num_rows:
            return []
        cells = [
            *(pa.array([key[place] for key in keys], pa.string()) for place in (0, 1)),
            *(pa.array([time_us] * len(keys), pa.int64()) for time_us in (first_us, last_us)),
        ]
        observed = pa.Table.from_arrays(cells, names=["kind", "value", "time_us", "last_us"])
        return IndicatorMatcher(table, self._lists).match(observed).to_pylist()

    # --- friend or foe

    def _facts(
        self,
        known: _Known,
        said: Sequence[IndicatorFact],
        found: Sequence[Several],
        usual: Mapping[str, Background],
        weighed: Mapping[tuple[ObservableKind, str], Weighed],
        behaved: Sequence[StoredBehaviour],
        looked_at: int,
    ) -> Facts:
        question = self._question
        totals = known.totals
        history = self._outlook.window
        facts = self._detection_facts(found, usual)
        roles = () if totals is None else totals.by_role
        reporting = {canonical("host", name) for name in known.seen_with.hosts}
        return Facts(
            kind=question.kind,
            seen=totals is not None or bool(known.joined),
            count=0 if totals is None else totals.count,
            looked_at=looked_at,
            is_ours=question.kind == "host"
            and bool(known.joined or reporting & {question.value, *map(str.casefold, known.also)}),
            indicators=said,
            warning_list=self._warning(),
            hosts=len(known.seen_with.hosts),
            hosts_all=self._outlook.hosts_all,
            organisations=len({each.organisation for each in roles}),
            organisations_all=1 if question.organisation is not None else len(self._names),
            first_day=None if totals is None else day_of(totals.first_us),
            history=None if history is None else (history.first_day, history.last_day),
            detections=facts,
            contacts=[*self._contacts(found, usual), *_contacts_in(weighed, question.language)],
            company=self._company(known),
            behaviours=[
                BehaviourFact(
                    behaviour=each.stored.detection.rule_id.removeprefix(RULE_PREFIX),
                    score=each.score,
                    title=title_in(each.stored.detection, question.language),
                )
                for each in behaved
                if each.role == "actor"
            ],
            tactic_names={each.id: self._says(each.en, each.zh) for each in self._attack.tactics},
        )

    def _detection_facts(self, found: Sequence[Several], usual: Mapping[str, Background]) -> list[DetectionFact]:
        by_rule: dict[str, list[Several]] = {}
        for each in found:
            if each.first.detection.kind not in ("indicator", "behaviour"):
                by_rule.setdefault(each.first.detection.rule_id, []).append(each)
        return [
            DetectionFact(
                rule_id=rule_id,
                title=title_in(several[0].first.detection, self._question.language),
                level=LEVELS[max(each.gravity for each in several)],
                tactics=self._tactics(several[0].first.detection.attack),
                count=sum(each.count for each in several),
                hosts=usual[rule_id].hosts if rule_id in usual else 1,
            )
            for rule_id, several in by_rule.items()
        ]

    def _indicator_facts(self, totals: Totals | None) -> list[IndicatorFact]:
        question = self._question
        table = indicators_about(question.workspace, question.scope, [(question.kind, question.value)])
        if not live_sets(question.workspace, question.scope):
            self._unknown.append(
                self._says(
                    "no indicators are kept: what others know of it is not known",
                    "没有任何情报指标：外界对它的认识未知",
                )
            )
        if not table.num_rows:
            return []
        first, last = (None, None) if totals is None else (totals.first_us, totals.last_us)
        rows = self._matches(table, [(question.kind, question.value)], first, last)
        self._meant = {(row["kind"], row["value"]) for row in rows}
        rows.sort(key=lambda row: (VERDICTS.index(row["verdict"]), -(row["confidence"] or 0), row["indicator_id"]))
        return [
            IndicatorFact(
                kind=row["kind"],
                how=row["how"],
                opinion=row["verdict"],
                confidence=row["confidence"],
                source=row["source"],
                is_outside=row["is_outside"],
                warning=row["warning"],
            )
            for row in rows
        ]

    def _warning(self) -> str:
        question = self._question
        try:
            kinds, values = (pa.array([text], pa.string()) for text in (question.kind, question.value))
            found = self._lists.of_observables(kinds, values)[0].as_py()
        except (ConfigError, LimitExceeded):
            self._unknown.append(self._says("the warning lists cannot be asked", "无法查询告警抑制名单"))
            return ""
        return found

    def _contacts(self, found: Sequence[Several], usual: Mapping[str, Background]) -> list[Contact]:
        """Indicators that were hit in events of the entity, each once."""
        days: dict[str, set[int]] = {}
        at_least: dict[str, int] = {}
        worst: dict[str, Several] = {}
        for each in found:
            rule_id = each.first.detection.rule_id
            if each.first.detection.kind != "indicator" or tuple(rule_id.split(":", 1)) in self._meant:
                continue
            days.setdefault(rule_id, set()).update(time_us // US_PER_DAY for time_us in each.times_us)
            at_least[rule_id] = max(at_least.get(rule_id, 1), each.days)
            if rule_id not in worst or each.gravity > worst[rule_id].gravity:
                worst[rule_id] = each
        return [
            Contact(
                what=title_in(each.first.detection, self._question.language),
                opinion="malicious" if each.first.detection.level in ("high", "critical") else "suspicious",
                hosts=usual[rule_id].hosts if rule_id in usual else 1,
                # Behind one address there may be a thousand names, and each is visited again and again.
                days=1 if rule_id.startswith("ip:") else max(at_least[rule_id], len(days[rule_id])),
            )
            for rule_id, each in worst.items()
        ]

    def _company(self, known: _Known) -> Company | None:
        """The host with most of an intrusion among the few that it was seen on."""
        question = self._question
        if question.kind in OWN or not 0 < len(known.seen_with.hosts) <= story.COMPANY_MAX:
            return None
        best: Company | None = None
        for host in sorted(known.seen_with.hosts):
            techniques = techniques_found(
                question.workspace, question.scope, host, GRAVE, organisation=question.organisation
            )
            tactics = self._tactics(sorted(techniques))
            if best is None or len(tactics) > best.tactics:
                best = Company(host=host, tactics=len(tactics))
        return best

    def _note_unknown(self, count: int) -> None:
        if count and not self._looked_at():
            self._unknown.append(
                self._says(
                    "its behaviour (regular beats, volumes, log-ons) was not looked at: mingjian behaviours does it",
                    "尚未分析其行为（规律回连、流量、登录）：运行 mingjian behaviours 即可",
                )
            )
        if self._outlook.holes:
            number = f"{len(self._outlook.holes):,}"
            self._unknown.append(
                self._says(
                    f"not everything could be seen, see coverage (silences and gaps: {number})",
                    f"并非一切可见，见覆盖说明（无日志与中断共 {number} 处）",
                )
            )

    def _looked_at(self) -> bool:
        """Whether behaviours were looked for at all."""
        return bool(looked_at(self._question.workspace, self._question.scope))


def _is_in(number: int, rising: Column) -> bool:
    place = int(rising.searchsorted(number))
    return place < len(rising) and int(rising[place]) == number


def _place(each: StoredDetection, gravity: int) -> Place:
    one = each.detection
    return Place(gravity, one.time_us or 0, one.rule_id, each.organisation, one.stream, each.day)


def _contacts_in(weighed: Mapping[tuple[ObservableKind, str], Weighed], language: Language) -> list[Contact]:
    return [
        Contact(what=f"{kind_in(kind, language)} {value}", opinion="malicious", hosts=max(1, what.hosts_count))
        for (kind, value), what in weighed.items()
        if what.is_bad
    ]


def _sides(terms: Sequence[Term], sign: int) -> tuple[str, ...]:
    ranked = sorted((term for term in terms if term.points * sign > 0), key=lambda term: -term.points * sign)
    return tuple(term.says for term in ranked)
