"""Hunts over history, and the rules that run over what arrives: check, run, follow, cancel, switch on and off."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from starlette.responses import Response

from mingjian.console.api.frame import (
    Asked,
    IdempotencyKey,
    Org,
    PublicId,
    Reading,
    Writing,
    at,
    name_of,
    once,
    tagged,
)
from mingjian.console.pages import hunt
from mingjian.console.pages import rules as rule_pages
from mingjian.console.site import Visit
from mingjian.errors import InputError
from mingjian.hunt.answer import sentence
from mingjian.hunt.indicating import look_for
from mingjian.hunt.rulecheck import words
from mingjian.model.rules import AnyRule, Rule
from mingjian.store import jobs as stored_jobs
from mingjian.store.jobs import Job
from mingjian.store.rules import keep_rules, retire_rules

HITS_LISTED_MAX = 1_000
"""So many hits of indicators are in one answer, the gravest first."""
PROBLEMS_LISTED_MAX = 100
"""So many pieces that cannot be used are named; all are counted."""


class HuntOrder(Asked):
    """A hunt: a Sigma rule, or expressions, one in each line."""

    text: str = Field(max_length=hunt.TEXT_BYTES_MAX)
    form: Literal["rule", "expression"] = "rule"


class RuleText(Asked):
    """Rules as YAML, one document each."""

    text: str = Field(max_length=hunt.TEXT_BYTES_MAX)


class IndicatorText(Asked):
    """Indicators: one in each line, or STIX, MISP, CSV."""

    text: str = Field(max_length=hunt.TEXT_BYTES_MAX)


class HuntState(BaseModel):
    """A job over history."""

    id: str
    kind: str
    state: str
    by: str
    titles: list[str]
    organisation: str
    """Empty: all of them."""
    segments_total: int
    segments_done: int
    results: int
    error: str
    created: str | None
    started: str | None
    finished: str | None


class Skip(BaseModel):
    """A rule that cannot be used."""

    rule: str
    reason: str


class Estimate(BaseModel):
    """What running rules over history means."""

    segments: int
    events: int
    bytes: int


class CheckedRules(BaseModel):
    """What was understood of a text."""

    rules: list[str]
    """Titles of those that can be used."""
    skipped: list[Skip]
    skipped_in_all: int
    notes: list[str]
    problem: str
    """Empty if there is none."""
    unfed: list[str]
    """Log sources that no stream of the lake has."""
    estimate: Estimate | None


class RuleState(BaseModel):
    """A rule that runs over what arrives."""

    id: str
    title: str
    description: str
    level: str
    kind: Literal["rule", "correlation"]
    state: str
    """``runs``, or why not."""
    reason: str
    file: str
    log_source: str
    """Empty for a correlation."""
    techniques: list[str]
    detections: int
    hosts: int
    last: str | None


class SwitchedOn(BaseModel):
    """What was switched on."""

    rules: list[str]
    skipped: list[str]


class SwitchedOff(BaseModel):
    """What was switched off, correlations over it included."""

    rules: list[str]


class IndicatorHit(BaseModel):
    """An observable that is a hit of an indicator, over all of history."""

    indicator: str
    how: str
    kind: str
    value: str
    organisation: str
    level: str
    warning: str
    count: int
    first: str | None
    last: str | None


class IndicatorAnswer(BaseModel):
    """What came of looking for indicators."""

    indicators: int
    unread: int
    hits: list[IndicatorHit]
    left_out: int
    sentence: str
    """Seen or not, from when to when, and what could not be seen."""


def add_to(router: APIRouter) -> None:
    """Add the operations."""
    _add_hunts(router)
    _add_rules(router)


def state_of(visit: Visit, job: Job) -> HuntState:
    """A job for programs."""
    request = hunt.request_of(job)
    return HuntState(
        id=job.public_id,
        kind=job.kind,
        state=job.state,
        by=request.by,
        titles=request.titles,
        organisation=name_of(visit, job.organisation),
        segments_total=job.segments_total,
        segments_done=job.segments_done,
        results=job.results,
        error=job.error,
        created=at(job.created_us),
        started=at(job.started_us),
        finished=at(job.finished_us),
    )


def _usable(visit: Visit, text: str, form: hunt.Form) -> hunt.Checked:
    found = hunt.check(visit, text, form)
    if not found.every_rule:
        reasons = [each.reason for each in found.skipped]
        raise InputError(found.problem or "; ".join(reasons)[:400] or "there is no rule in it")
    return found


def _add_hunts(router: APIRouter) -> None:
    @router.post("/hunts", response_model=HuntState, status_code=202, operation_id="start-hunt")
    def start(
        visit: Writing, order: Annotated[HuntOrder, Body()], org: Org = "", idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Run rules over all of history, as a job."""

        def act() -> tuple[int, object]:
            organisation = visit.organisation()
            found = _usable(visit, order.text, order.form)
            kept = keep_rules(visit.workspace, visit.scope, found.rules, found.correlations)
            asked = hunt.Request(by=visit.visitor.name, titles=[each.title for each in found.every_rule][:20])
            job = stored_jobs.queue(
                visit.workspace,
                visit.scope,
                "rules",
                organisation=organisation,
                rule_set_id=kept.id,
                request=msgspec.json.encode(asked).decode(),
            )
            return 202, state_of(visit, job)

        return once(visit, idempotency_key, order, act)

    @router.get("/hunts/{id}", response_model=HuntState, operation_id="get-hunt")
    def state(visit: Reading, id: PublicId) -> Response:
        """How far a hunt is."""
        return tagged(visit, state_of(visit, hunt.job_named(visit, id)))

    @router.delete("/hunts/{id}", response_model=HuntState, operation_id="cancel-hunt")
    def cancel(visit: Writing, id: PublicId) -> Response:
        """Cancel a hunt. What it found stays."""
        return tagged(visit, state_of(visit, hunt.cancelled(visit, id)))

    @router.post("/indicators/look-for", response_model=IndicatorAnswer, operation_id="look-for-indicators")
    def look(visit: Reading, order: Annotated[IndicatorText, Body()], org: Org = "") -> Response:
        """Look for indicators in all of history, at once, and keep nothing of it."""
        organisation = visit.organisation()
        found = hunt.check(visit, order.text, "indicators")
        if not found.indicators:
            raise InputError(found.problem or "there is no indicator in it")
        hits, answer = look_for(
            visit.workspace, visit.scope, found.indicators, visit.site.sources, organisation=organisation
        )
        items = [
            IndicatorHit(
                indicator=hit.value,
                how=hit.how,
                kind=hit.observed[0],
                value=hit.observed[1],
                organisation=name_of(visit, hit.organisation),
                level=hit.level,
                warning=hit.warning,
                count=hit.count,
                first=at(hit.first_us),
                last=at(hit.last_us),
            )
            for hit in hits.hits[:HITS_LISTED_MAX]
        ]
        told = IndicatorAnswer(
            indicators=len(found.indicators),
            unread=len(found.unread),
            hits=items,
            left_out=len(hits.hits) - len(items),
            sentence=sentence(answer, visit.language),
        )
        return tagged(visit, told)


def _rule_state(visit: Visit, rule: AnyRule) -> RuleState:
    state, noise = rule_pages.live(visit).states.get(rule.id), rule_pages.noise_of(visit).get(rule.id)
    return RuleState(
        id=rule.id,
        title=rule.title,
        description=rule.description,
        level=rule.level,
        kind="rule" if isinstance(rule, Rule) else "correlation",
        state="unfed" if state is not None and state.state == "unfed" else "runs",
        reason=state.reason if state else "",
        file=rule.file,
        log_source=words(rule.logsource) if isinstance(rule, Rule) else "",
        techniques=list(rule.attack),
        detections=noise.count if noise else 0,
        hosts=noise.hosts if noise else 0,
        last=at(noise.last_us) if noise else None,
    )


def _add_rules(router: APIRouter) -> None:
    @router.get("/rules/{id}", response_model=RuleState, operation_id="get-rule")
    def state(visit: Reading, id: PublicId, org: Org = "") -> Response:
        """One rule that runs: what it looks for, what feeds it, what it found."""
        visit.organisation()
        return tagged(visit, _rule_state(visit, rule_pages.rule_named(visit, id)))

    @router.post("/rules/check", response_model=CheckedRules, operation_id="check-rules")
    def check(visit: Reading, order: Annotated[HuntOrder, Body()], org: Org = "") -> Response:
        """Say what of a text can be used, why the rest cannot, and what running it over history would cost."""
        visit.organisation()
        found = hunt.check(visit, order.text, order.form)
        estimate = found.estimate
        return tagged(
            visit,
            CheckedRules(
                rules=[each.title for each in found.every_rule],
                skipped=[
                    Skip(rule=each.title or each.rule_id, reason=each.reason)
                    for each in found.skipped[:PROBLEMS_LISTED_MAX]
                ],
                skipped_in_all=len(found.skipped),
                notes=list(found.notes[:PROBLEMS_LISTED_MAX]),
                problem=found.problem,
                unfed=list(found.unfed),
                estimate=None
                if estimate is None
                else Estimate(
                    segments=len(estimate.candidates), events=estimate.candidate_rows, bytes=estimate.candidate_bytes
                ),
            ),
        )

    @router.post("/rules", response_model=SwitchedOn, operation_id="switch-on-rules")
    def switch_on(
        visit: Writing, text: Annotated[RuleText, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Add rules and switch them on: they run over what arrives, and are queued for history."""

        def act() -> tuple[int, object]:
            found = _usable(visit, text.text, "rule")
            hunt.switch(visit, found.rules, found.correlations)
            ids = [each.id for each in found.every_rule]
            return 200, {"rules": ids, "skipped": [each.reason for each in found.skipped]}

        return once(visit, idempotency_key, text, act)

    @router.post("/rules/{id}/switch-on", response_model=SwitchedOn, operation_id="switch-on-rule")
    def switch_on_again(visit: Writing, id: PublicId, idempotency_key: IdempotencyKey = None) -> Response:
        """Switch on a rule that was switched off, as it was."""

        def act() -> tuple[int, object]:
            return 200, {"rules": [hunt.switch_on_again(visit, id).id], "skipped": []}

        return once(visit, idempotency_key, None, act)

    @router.delete("/rules/{id}", response_model=SwitchedOff, operation_id="switch-off-rule")
    def switch_off(visit: Writing, id: PublicId) -> Response:
        """Switch a rule off. What it found stays."""
        gone = retire_rules(visit.workspace, visit.scope, [id])
        return tagged(visit, {"rules": gone})
