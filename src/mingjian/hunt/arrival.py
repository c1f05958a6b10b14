"""What is run over everything that arrives: the rules and the indicators that count just now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from mingjian.detect.correlation import Match, needed_fields
from mingjian.detect.engine import Engine
from mingjian.errors import ConfigError
from mingjian.hunt.automata import engine_for
from mingjian.hunt.correlating import correlate
from mingjian.hunt.history import Fed
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.rules import Correlation
from mingjian.store.catalogue import organisations
from mingjian.store.detections import (
    FoundDetection,
    correlated_up_to,
    count_correlated,
    last_match,
    matches_in_order,
    set_correlated,
)
from mingjian.store.indicatormatching import IndicatorMatcher, Matchers
from mingjian.store.indicators import live_sets
from mingjian.store.rules import RuleSet, can_be_kept, keep_rules, live_rules, rules_mark, version_key
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import day_of
from mingjian.store.workspace import Workspace


class Watch:
    """Rules and indicators, ready to run, with the numbers under which the store knows their versions."""

    def __init__(
        self,
        rule_set: RuleSet,
        engine: Engine,
        matchers: Mapping[OrganisationId, IndicatorMatcher] | None = None,
        everybody: IndicatorMatcher | None = None,
    ) -> None:
        """``matchers``: the indicators for each organisation; ``everybody``: for one that is not named there."""
        self.rule_set = rule_set
        self.engine = engine
        self._matchers = matchers or {}
        self._everybody = everybody
        self.wanted_fields: Mapping[str, Sequence[str]] = needed_fields(rule_set.correlations)
        """Rule → fields whose values correlations need of each of its matches."""
        self.contents = {rule.id: version_key(rule) for rule in (*rule_set.rules, *rule_set.correlations)}
        """What makes a version of each rule or correlation this one."""

    def matcher(self, organisation: OrganisationId) -> IndicatorMatcher | None:
        """The indicators that are looked for in the events of an organisation; None if there are none."""
        found = self._matchers.get(organisation, self._everybody)
        return found if found is not None and len(found) else None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for arrivals, and what has to be said about them."""

    watch: Watch
    is_starter: bool
    """Nobody has added rules: these are those that come with Mingjian."""
    left_out: int
    """Rules that cannot be kept, and so not run."""


def watch_live(
    workspace: Workspace,
    scope: Scope,
    *,
    starter: Path,
    cache_folder: Path | None,
    jobs: int = 1,
) -> Loaded:
    """Take the rules of the workspace (if it has none, the starter rules) and the indicators that count.

    Raises:
        NotPermitted: the scope does not reach every organisation, to which rules belong together.
        StorageError: the workspace cannot be read.
    """
    live = live_rules(workspace, scope)
    if len(live):
        engine = engine_for(live.rules, cache_folder)
        watch = _watch(workspace, scope, live, engine)
        return Loaded(watch=watch, is_starter=False, left_out=0)
    book = load_rulebook([starter], cache_folder=cache_folder, jobs=jobs)
    loaded = watch_book(workspace, scope, book, cache_folder=cache_folder)
    return replace(loaded, is_starter=True)


def watch_book(workspace: Workspace, scope: Scope, book: Rulebook, *, cache_folder: Path | None) -> Loaded:
    """Take rules that were loaded, for this time, and the indicators that count.

    Raises:
        ConfigError: there is no rule among them.
        NotPermitted, StorageError: as above.
    """
    rules = [rule for rule in book.rules if can_be_kept(rule)]
    kept = {rule.id for rule in rules}
    correlations: list[Correlation] = []
    for each in book.correlations:
        if can_be_kept(each) and kept.issuperset(each.rules):
            kept.add(each.id)
            correlations.append(each)
    if not kept:
        raise ConfigError("no rule could be loaded", hint="mingjian rules check says why")
    rule_set = keep_rules(workspace, scope, rules, correlations)
    left_out = len(book.rules) + len(book.correlations) - len(kept)
    engine = engine_for(rule_set.rules, cache_folder)
    watch = _watch(workspace, scope, rule_set, engine)
    return Loaded(watch=watch, is_starter=False, left_out=left_out)


def mark_of(workspace: Workspace, scope: Scope) -> tuple[object, ...]:
    """What changes whenever other rules or indicators count, or there is another organisation."""
    sets = tuple(each.id for each in live_sets(workspace, scope))
    return rules_mark(workspace), sets, tuple(each.id for each in organisations(workspace, scope))


class Reload:
    """Loads rules and indicators anew when others count."""

    def __init__(self, workspace: Workspace, scope: Scope, load: Callable[[], Loaded]) -> None:
        self._workspace = workspace
        self._scope = scope
        self._load = load
        self._mark = mark_of(workspace, scope)

    def __call__(self) -> Watch | None:
        """What is to be run from now on, if it is something else than at the last time."""
        mark = mark_of(self._workspace, self._scope)
        if mark == self._mark:
            return None
        self._mark = mark
        return self._load().watch


def _watch(workspace: Workspace, scope: Scope, rule_set: RuleSet, engine: Engine) -> Watch:
    made = Matchers(workspace)
    matchers = {each.id: made.current(scope, organisation=each.id) for each in organisations(workspace, scope)}
    return Watch(rule_set, engine, matchers)


def correlate_arrivals(workspace: Workspace, organisation: OrganisationId, watch: Watch) -> int:
    """Decide the correlations anew if a match was added that they count; give how many detections of them hold now.

    All matches that are kept count, in the order of time: what is found is what one run over everything finds, however
    late something came, and whatever ended the process in between.

    Raises:
        StorageError: the database cannot keep it; nothing was changed.
    """
    rule_set = watch.rule_set
    if not rule_set.correlations:
        return 0
    rules = {rule_set.versions[rule_id]: rule_id for rule_id in watch.wanted_fields if rule_id in rule_set.versions}
    name = f"rules {rule_set.id}"
    up_to = last_match(workspace, organisation, list(rules))
    versions = [rule_set.versions[each.id] for each in rule_set.correlations]
    if up_to <= correlated_up_to(workspace, organisation, name):
        return count_correlated(workspace, organisation, versions)

    def matches() -> Iterator[Fed]:
        for one in matches_in_order(workspace, organisation, rules, watch.wanted_fields):
            match = Match(one.time_us, one.rule_id, one.file, one.record, one.values)
            yield Fed(match=match, host=one.host, account=one.account, organisation=organisation, input_id=one.input_id)

    correlated = correlate(rule_set.correlations, matches)
    found = [
        FoundDetection(
            detection=each.detection,
            content=watch.contents[each.detection.rule_id],
            version_id=rule_set.versions[each.detection.rule_id],
            input_id=each.input_id,
            day=day_of(each.detection.time_us),
        )
        for each in correlated.found
    ]
    set_correlated(workspace, organisation, name, up_to, versions, found)
    return len(found)
