"""Rules: what runs, what it finds and how often, over how much of history, and what cannot run and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

import msgspec
from starlette.responses import Response

from mingjian.console.lists import Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.pages import hunt
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number
from mingjian.console.site import Visit
from mingjian.data import STARTER_RULES
from mingjian.detect.correlation import plan_all
from mingjian.errors import NotFound
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.hunt.rulecheck import CheckedRule
from mingjian.hunt.rulecheck import check as check_book
from mingjian.model.rules import LEVELS, AnyRule, Correlation, Rule
from mingjian.store.audit import acts
from mingjian.store.browsing import Noise, Wanted, browse
from mingjian.store.coverage import segments_run
from mingjian.store.inflow import inflow
from mingjian.store.rules import RuleVersion, live_rules, retire_rules, rule_versions, rules_mark, versions_named
from mingjian.store.scope import EVERYONE, Scope

TEXTS: Final = ("title", "rule", "file", "reason")
"""Columns in which a text is looked for."""
CHANGES_SHOWN: Final = 20
ACTS_LOOKED_AT: Final = 1_000
SAME_ACT_US: Final = 5_000_000
"""A version and an act of the log that are no further apart are of one transaction."""
NOISE_S: Final = 30.0
"""Counts over all detections may be so old."""


class Live(msgspec.Struct, frozen=True):
    """The rules that run over what arrives, and what can feed them."""

    rules: Sequence[Rule]
    correlations: Sequence[Correlation]
    states: Mapping[str, CheckedRule]
    versions: Mapping[str, RuleVersion]
    """Rule → its version that counts."""
    is_starter: bool
    """Nobody has added rules: these are those that come with Mingjian."""

    @property
    def every(self) -> tuple[AnyRule, ...]:
        """Rules and correlations."""
        return (*self.rules, *self.correlations)


def live(visit: Visit) -> Live:
    """The rules that count now; looked up again only if others do."""
    mark = rules_mark(visit.workspace)
    scope = visit.scope

    def look() -> Live:
        found = live_rules(visit.workspace, scope)
        rules, correlations, is_starter = found.rules, found.correlations, not len(found)
        if is_starter:
            book = load_rulebook([STARTER_RULES], cache_folder=visit.site.cache_folder)
            rules, correlations = book.rules, book.correlations
        files = tuple(dict.fromkeys(rule.file for rule in (*rules, *correlations)))
        whole = Rulebook(rules=rules, correlations=correlations, files=files)
        states = {row.rule_id: row for row in check_book(whole, visit.site.sources.streams())}
        of_rule = {version.rule_id: version for version in rule_versions(visit.workspace, scope)}
        return Live(rules, correlations, states, of_rule, is_starter)

    return visit.site.memory.recall(("live rules", mark), 3600.0, look)


def noise_of(visit: Visit) -> Mapping[str, Noise]:
    """How often each rule found something."""
    scope, organisation = visit.scope, visit.organisation()
    return visit.remember(
        "noise", NOISE_S, lambda: visit.site.totals.by_rule(scope, organisation=organisation), organisation
    )


def _fetch(visit: Visit, asked: Asked) -> Rows:
    if asked.given("state") == "off":
        rows = _switched_off(visit)
        return _linked(visit, among(rows, asked, texts=TEXTS))
    current = live(visit)
    heard = noise_of(visit)
    scope = visit.scope
    runs, segments = visit.lately("segments run", NOISE_S, lambda: segments_run(visit.workspace, scope))
    share_of = _shares(visit)
    rows: list[Row] = []
    for rule in current.every:
        said, version = heard.get(rule.id), current.versions.get(rule.id)
        state = current.states.get(rule.id)
        covered = runs.get(version.id, 0) / segments if segments and version is not None else None
        rows.append(
            Row(
                key=rule.id,
                values={
                    "title": rule.title,
                    "level": rule.level,
                    "kind": "rule" if isinstance(rule, Rule) else "correlation",
                    "state": "unfed" if state is not None and state.state == "unfed" else "runs",
                    "detections": said.count if said else 0,
                    "hosts": said.hosts if said else 0,
                    "last": said.last_us if said else None,
                    "covered": None if covered is None else round(covered, 4),
                    "cost": None if isinstance(rule, Correlation) else _rounded(share_of(state)),
                    "added": None if version is None else version.added_us,
                    "rule": rule.id,
                    "file": rule.file,
                    "reason": state.reason if state else "",
                },
            )
        )
    return _linked(visit, among(rows, asked, texts=TEXTS))


def _linked(visit: Visit, found: Rows) -> Rows:
    """Rows with their addresses: of thousands of rules a page shows a hundred."""
    linked = [msgspec.structs.replace(row, href=visit.address(f"/rules/{row.key}")) for row in found.rows]
    return msgspec.structs.replace(found, rows=linked)


def _switched_off(visit: Visit) -> list[Row]:
    """The rules that counted once and do not now, each as it was last."""
    versions = rule_versions(visit.workspace, visit.scope, retired=True)
    counting = {each.rule_id for each in versions if each.retired_us is None}
    gone = [each for each in versions if each.rule_id not in counting]
    last = {each.rule_id: each for each in sorted(gone, key=lambda each: (each.retired_us or 0, each.id))}
    heard = noise_of(visit)
    return [_row_off(each, heard.get(each.rule_id)) for each in last.values()]


def _row_off(version: RuleVersion, said: Noise | None) -> Row:
    return Row(
        key=version.rule_id,
        values={
            "title": version.title,
            "level": version.level,
            "kind": version.kind,
            "state": "off",
            "detections": said.count if said else 0,
            "hosts": said.hosts if said else 0,
            "last": said.last_us if said else None,
            "covered": None,
            "cost": None,
            "added": version.added_us,
            "rule": version.rule_id,
            "file": version.file,
            "reason": "",
        },
    )


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _lead(visit: Visit, rows: Rows) -> str:
    current = live(visit)
    unfed = sum(row.state == "unfed" for row in current.states.values())
    noise = noise_of(visit)
    heard = sum(rule.id in noise for rule in current.every)
    key = "rules.lead-starter" if current.is_starter else "rules.lead"
    return visit.texts(key, n=number(len(current.every)), heard=number(heard), unfed=number(unfed))


PAGE: Final = ListPage(
    name="rules",
    path="/rules",
    place="rules",
    columns=(
        Column(name="title", kind="link", sorts=True),
        Column(name="level", kind="level", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="detections", kind="number", sorts=True),
        Column(name="hosts", kind="number", sorts=True),
        Column(name="last", kind="time", sorts=True),
        Column(name="cost", kind="share", sorts=True),
        Column(name="covered", kind="share", sorts=True),
        Column(name="added", kind="time", sorts=True),
        Column(name="kind", kind="word", sorts=True, hidden=True),
        Column(name="reason", hidden=True, is_reason=True),
        Column(name="rule", kind="code", hidden=True),
        Column(name="file", kind="code", sorts=True, hidden=True),
    ),
    filters=(
        Filter(name="q"),
        Filter(name="level", kind="choice", choices=tuple(reversed(LEVELS))),
        Filter(name="state", kind="choice", choices=("runs", "unfed", "off")),
        Filter(name="kind", kind="choice", choices=("rule", "correlation")),
    ),
    actions=(),
    sort="-detections",
    fetch=_fetch,
    lead=_lead,
    above="rules_tabs.html.j2",
    context=lambda visit: {"tab": "rules"},
)


def rule_named(visit: Visit, rule_id: str) -> AnyRule:
    """A rule that counts. Raises: NotFound."""
    found = next((rule for rule in live(visit).every if rule.id == rule_id), None)
    if found is None:
        raise NotFound("there is no such rule", hint="it may have been switched off")
    return found


def rule_known(visit: Visit, rule_id: str) -> AnyRule | None:
    """A rule that counts, or as it was when it did last; None if it is known no more, or never was."""
    found = next((rule for rule in live(visit).every if rule.id == rule_id), None)
    if found is not None:
        return found
    gone = [each for each in rule_versions(visit.workspace, visit.scope, retired=True) if each.rule_id == rule_id]
    if not gone:
        return None
    last = max(gone, key=lambda each: each.retired_us or 0).id
    return versions_named(visit.workspace, [last]).get(last)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """When a rule was switched on or off, or changed, and by whom."""

    at_us: int
    what: str
    actor: str
    """Empty for who may not change rules."""


def changes_of(visit: Visit, rule_id: str) -> list[Change]:
    """What became of a rule, the latest first. Who did it is told to those who may change rules themselves."""
    found: list[Change] = []
    for each in rule_versions(visit.workspace, visit.scope, retired=True):
        if each.rule_id == rule_id:
            found.append(Change(at_us=each.added_us, what="switched-on", actor=""))
            if each.retired_us is not None:
                found.append(Change(at_us=each.retired_us, what="switched-off", actor=""))
    found.sort(key=lambda each: -each.at_us)
    if visit.scope.writes is not EVERYONE:
        return found[:CHANGES_SHOWN]
    logged = acts(visit.workspace, Scope.of_operator(), what="rule", limit=ACTS_LOOKED_AT)

    def actor_of(change: Change) -> str:
        alike = (act for act in logged if change.what in act.what and abs(act.time_us - change.at_us) < SAME_ACT_US)
        return next((act.actor for act in alike), "")

    return [msgspec.structs.replace(each, actor=actor_of(each)) for each in found[:CHANGES_SHOWN]]


def _shares(visit: Visit) -> Callable[[CheckedRule | None], float | None]:
    """What gives the share of all events that are kept that a rule has to look at: what it costs."""
    counts = _events_by_stream(visit)
    whole = sum(counts.values())

    @cache
    def share(sources: tuple[str, ...]) -> float:
        # Many rules look at the same streams.
        starts = tuple({name.partition("{")[0] for name in sources})
        seen = sum(count for name, count in counts.items() if name.startswith(starts)) if starts else 0
        return seen / whole

    return lambda state: share(tuple(state.sources)) if whole and state is not None else None


def _events_by_stream(visit: Visit) -> Mapping[str, int]:
    scope, organisation = visit.scope, visit.organisation()
    found = visit.lately("inflow", NOISE_S, lambda: inflow(visit.workspace, scope, organisation), organisation)
    counts: dict[str, int] = {}
    for each in found:
        counts[each.stream] = counts.get(each.stream, 0) + each.events
    return counts


def show(visit: Visit) -> Response:
    """One rule: what it looks for, what feeds it, what it found."""
    rule_id = visit.request.path_params["id"]
    rule = rule_known(visit, rule_id) or rule_named(visit, rule_id)
    is_live = any(each.id == rule_id for each in live(visit).every)
    state = live(visit).states.get(rule.id)
    latest = browse(visit.workspace, visit.scope, Wanted(rule_id=rule.id, organisation=visit.organisation()), limit=1)
    refused = {each.correlation_id: each.reason for each in plan_all(live(visit).correlations)[1]}
    return visit.page(
        "rule_part.html.j2" if visit.is_partial else "rule.html.j2",
        place="rules",
        title=rule.title,
        lead="",
        rule=rule,
        logsource=rule.logsource if isinstance(rule, Rule) else None,
        of=() if isinstance(rule, Rule) else rule.rules,
        state=state,
        refused=refused.get(rule.id, ""),
        noise=noise_of(visit).get(rule.id),
        latest=latest.rows[0].public_id if latest.rows and isinstance(rule, Rule) else "",
        may_tune=visit.may("write"),
        changes=changes_of(visit, rule.id),
        share=_shares(visit)(state),
        is_live=is_live,
        may_switch=visit.may("write") and visit.scope.writes is EVERYONE and not (is_live and live(visit).is_starter),
    )


def switch_on(visit: Visit) -> Response:
    """Let a rule that was switched off run again, as it was; what came meanwhile is looked at, too."""
    rule_id = visit.request.path_params["id"]
    hunt.switch_on_again(visit, rule_id)
    return visit.redirect(f"/rules/{rule_id}", done="switched-on")


def switch_off(visit: Visit) -> Response:
    """Let a rule run no more. What it found stays."""
    rule_id = visit.request.path_params["id"]
    retire_rules(visit.workspace, visit.scope, [rule_id])
    return visit.redirect("/rules", done="switched-off")


ROUTES: Final = (
    list_route(PAGE),
    Route("GET", "/rules/{id}", show),
    Route("POST", "/rules/{id}/switch-on", switch_on, "write"),
    Route("POST", "/rules/{id}/switch-off", switch_off, "write"),
)
