"""Hunt: write or paste a rule, expressions or indicators; see at once whether it is right and what it would cost.

Indicators are looked for at once. Rules become a job: it goes on after a restart, shows how far it is, can be
cancelled, and what it finds is kept. A rule that has proved itself is switched on for everything that arrives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from starlette.datastructures import UploadFile
from starlette.responses import Response

from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.detect.engine import Engine
from mingjian.detect.sigma.parse import parse_rules
from mingjian.detect.sigma.references import resolve
from mingjian.errors import ConfigError, InputError, LimitExceeded, NotFound
from mingjian.formats.indicators import documents
from mingjian.hunt.answer import Answer, sentence
from mingjian.hunt.expressions import rule_of
from mingjian.hunt.history import Estimate, History
from mingjian.hunt.holes import holes
from mingjian.hunt.hunting import question_about
from mingjian.hunt.indicating import Indicated, look_for
from mingjian.hunt.rulecheck import words
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.indicators import Assumed, Indicator
from mingjian.model.rules import AnyRule, Correlation, LogSource, Rule, SkippedRule
from mingjian.store import jobs as stored_jobs
from mingjian.store.browsing import Wanted, count_up_to
from mingjian.store.catalogue import live_segments
from mingjian.store.jobs import Job
from mingjian.store.packs import packs
from mingjian.store.rules import add_rules, can_be_kept, keep_rules, live_rules, retired_rule, rule_set
from mingjian.store.warninglists import WarningLists

FORMS: Final = ("rule", "expression", "indicators")
Form: TypeAlias = Literal["rule", "expression", "indicators"]
TEXT_BYTES_MAX: Final = 512 * 1024
"""So much may be pasted or uploaded at once."""
EXPRESSIONS_MAX: Final = 20
INDICATORS_MAX: Final = 20_000
HITS_SHOWN: Final = 500
HITS_COUNTED_MAX: Final = 10_000
JOBS_SHOWN: Final = 20
PASTED: Final = "pasted"
"""The file that a pasted rule is from."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a job says about who asked for what, as JSON in ``Job.request``."""

    by: str = ""
    titles: list[str] = []
    pack: str = ""
    """The pack of rules that it reads or tries."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, understood as far as it goes."""

    form: Form
    text: str
    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    skipped: tuple[SkippedRule, ...] = ()
    notes: tuple[str, ...] = ()
    indicators: tuple[Indicator, ...] = ()
    unread: tuple[Quarantined, ...] = ()
    others: int = 0
    """Entries that were understood, but are not looked for."""
    problem: str = ""
    estimate: Estimate | None = None
    unfed: tuple[str, ...] = ()
    """Log sources that no stream of the lake has."""

    @property
    def is_usable(self) -> bool:
        """Whether something can be done with it."""
        return bool(self.rules or self.correlations or self.indicators)

    @property
    def every_rule(self) -> tuple[AnyRule, ...]:
        """Rules and correlations."""
        return (*self.rules, *self.correlations)


def text_of(visit: Visit) -> str:
    """What was pasted and uploaded, one after the other. Raises: LimitExceeded, InputError."""
    parts = [visit.given("text").replace("\r\n", "\n")]
    for each in visit.form.getlist("files"):
        if isinstance(each, UploadFile) and each.filename:
            data = each.file.read(TEXT_BYTES_MAX + 1)
            try:
                parts.append(data.decode("utf-8-sig").replace("\r\n", "\n"))
            except UnicodeDecodeError:
                raise InputError("a file is not text in UTF-8", where=each.filename[:80]) from None
    text = "\n---\n".join(part.strip("\n") for part in parts if part.strip())
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise LimitExceeded("TEXT_BYTES_MAX", TEXT_BYTES_MAX, hint="mingjian rules add takes whole folders")
    return text


def form_of(visit: Visit, text: str) -> Form:
    """What it is meant to be: as was chosen, or as it looks."""
    chosen = visit.given("form")
    if chosen in FORMS:
        return chosen  # type: ignore[return-value]  # one of them
    if any(mark in text for mark in ("detection:", "correlation:", "logsource:")):
        return "rule"
    lines = [line for line in text.splitlines() if line.strip()]
    return (
        "expression" if lines and all("=" in line for line in lines) and len(lines) < EXPRESSIONS_MAX else "indicators"
    )


def check(visit: Visit, text: str, form: Form) -> Checked:
    """Understand what was written; what cannot be used is said, nothing is raised."""
    if not text.strip():
        return Checked(form=form, text=text)
    if form == "indicators":
        return _checked_indicators(text)
    if form == "expression":
        lines = [line.strip() for line in text.splitlines() if line.strip()][:EXPRESSIONS_MAX]
        try:
            found = Checked(form=form, text=text, rules=(rule_of(lines),))
        except ConfigError as error:
            return Checked(form=form, text=text, problem=str(error))
    else:
        resolved = resolve([(PASTED, parse_rules(text.encode("utf-8", "surrogatepass")))])
        found = Checked(
            form=form,
            text=text,
            rules=tuple(rule for rule in resolved.rules if can_be_kept(rule)),
            correlations=tuple(rule for rule in resolved.correlations if can_be_kept(rule)),
            skipped=tuple(resolved.skipped),
            notes=tuple(note.text for note in resolved.notes),
        )
    return _estimated(visit, found) if found.rules else found


def _estimated(visit: Visit, found: Checked) -> Checked:
    history = History(visit.workspace, visit.scope, Engine(found.rules), visit.site.sources)
    rows = live_segments(visit.workspace, visit.scope, organisation=visit.organisation())
    names = {row.key.stream for row in rows}
    wanted: set[LogSource] = {rule.logsource for rule in found.rules}
    unfed = [words(each) for each in wanted if not any(history.feeds(name, each) for name in names)]
    return msgspec.structs.replace(found, estimate=history.estimate(rows), unfed=tuple(sorted(unfed)))


def _checked_indicators(text: str) -> Checked:
    piece = Piece(file=PASTED, chunks=iter([text.encode("utf-8", "surrogatepass")]))
    wanted: list[Indicator] = []
    unread: list[Quarantined] = []
    others = 0
    try:
        for entry in documents.read(piece, Assumed()):
            if isinstance(entry, Indicator):
                wanted.append(entry)
            elif isinstance(entry, Quarantined):
                unread.append(entry)
            else:
                others += 1
            if len(wanted) > INDICATORS_MAX:
                raise LimitExceeded("INDICATORS_MAX", INDICATORS_MAX, hint="mingjian intel add takes millions")
    except InputError as error:
        return Checked(form="indicators", text=text, problem=str(error))
    return Checked(
        form="indicators", text=text, indicators=tuple(wanted), unread=tuple(unread[:HITS_SHOWN]), others=others
    )


# --- pages -----------------------------------------------------------------------------------------------------------


def request_of(job: Job) -> Request:
    """Who asked for a job, as far as it says so."""
    try:
        return msgspec.json.decode(job.request, type=Request)
    except msgspec.MsgspecError:
        return Request()


def recent_jobs(visit: Visit) -> Sequence[tuple[Job, Request]]:
    """The newest jobs that may be seen."""
    found = stored_jobs.jobs(visit.workspace, visit.scope)[:JOBS_SHOWN]
    return [(job, request_of(job)) for job in found]


def page(visit: Visit) -> Response:
    """An empty sheet, or one with what the address brings along."""
    return _sheet(visit, Checked(form="rule", text=visit.asked("text")[:TEXT_BYTES_MAX]))


def _sheet(visit: Visit, found: Checked, hits: Indicated | None = None, answer: str = "") -> Response:
    return visit.page(
        "hunt.html.j2",
        place="hunt",
        title=visit.texts("hunt.title"),
        lead=visit.texts("hunt.lead"),
        checked=found,
        jobs=recent_jobs(visit),
        hits=hits,
        hits_max=HITS_SHOWN,
        answer=answer,
        names=visit.names(),
        may_write=visit.may("write"),
    )


def look(visit: Visit) -> Response:
    """Check what was written, and say what it would cost."""
    text = text_of(visit)
    found = check(visit, text, form_of(visit, text))
    if visit.is_partial:
        return visit.page("hunt_checked.html.j2", checked=found, may_write=visit.may("write"))
    return _sheet(visit, found)


def run(visit: Visit) -> Response:
    """Look for indicators now, or queue rules as a job."""
    text = text_of(visit)
    found = check(visit, text, form_of(visit, text))
    if not found.is_usable:
        return _sheet(visit, found)
    if found.indicators:
        hits, answer = look_for(
            visit.workspace,
            visit.scope,
            found.indicators,
            visit.site.sources,
            organisation=visit.organisation(),
            lists=WarningLists(cache_folder=visit.site.cache_folder),
            with_events=False,
        )
        return _sheet(visit, found, hits, sentence(answer, visit.language))
    kept = keep_rules(visit.workspace, visit.scope, found.rules, found.correlations)
    asked = Request(by=visit.visitor.name, titles=[each.title for each in found.every_rule][:JOBS_SHOWN])
    job = stored_jobs.queue(
        visit.workspace,
        visit.scope,
        "rules",
        organisation=visit.organisation(),
        rule_set_id=kept.id,
        request=json.dumps(msgspec.to_builtins(asked)),
    )
    return visit.redirect(f"/hunt/{job.public_id}")


def switch_on(visit: Visit) -> Response:
    """Make rules count for everything that arrives, and queue them for history."""
    text = text_of(visit)
    found = check(visit, text, form_of(visit, text))
    if not found.every_rule:
        return _sheet(visit, found)
    switch(visit, found.rules, found.correlations)
    return visit.redirect("/rules", done="switched-on")


def switch(visit: Visit, rules: Sequence[Rule], correlations: Sequence[Correlation], *, replace: bool = False) -> None:
    """Make rules count (with ``replace`` no others), and queue what is new in them for history."""
    added = add_rules(visit.workspace, visit.scope, rules, correlations, replace=replace)
    if added.new:
        asked = Request(by=visit.visitor.name, titles=[each.title for each in (*rules, *correlations)][:JOBS_SHOWN])
        stored_jobs.queue(
            visit.workspace,
            visit.scope,
            "rules",
            rule_set_id=added.rule_set.id,
            request=json.dumps(msgspec.to_builtins(asked)),
        )


def switch_on_again(visit: Visit, rule_id: str) -> AnyRule:
    """Make a rule count that was switched off, as it was last. Raises: NotFound."""
    rule = retired_rule(visit.workspace, visit.scope, rule_id)
    is_single = isinstance(rule, Rule)
    switch(visit, [rule] if is_single else [], [] if is_single else [rule])
    return rule


def job_named(visit: Visit, public_id: str) -> Job:
    """One job by what addresses call it. Raises: NotFound."""
    found = next((job for job in stored_jobs.jobs(visit.workspace, visit.scope) if job.public_id == public_id), None)
    if found is None:
        raise NotFound("there is no such job")
    return found


def job_page(visit: Visit) -> Response:
    """How far a job is, what it found, and what it could not see."""
    job = job_named(visit, visit.request.path_params["id"])
    rules: Sequence[AnyRule] = ()
    answer, live = "", False
    hits: dict[str, int] = {}
    if job.rule_set_id is not None:
        scope = visit.scope
        asked = rule_set(visit.workspace, scope, job.rule_set_id)
        rules = (*asked.rules, *asked.correlations)
        live = set(asked.versions.values()) <= set(live_rules(visit.workspace, scope).versions.values())
        for rule in rules[:JOBS_SHOWN]:
            wanted = Wanted(rule_id=rule.id, organisation=job.organisation)
            hits[rule.id] = count_up_to(visit.workspace, scope, wanted, HITS_COUNTED_MAX)
        if job.state == "done":
            answer = _coverage(visit, job, asked.rules, sum(hits.values()))
    return visit.page(
        "job_part.html.j2" if visit.is_partial else "job.html.j2",
        place="hunt",
        title=visit.texts("job.title"),
        lead="",
        job=job,
        asked=request_of(job),
        pack=_pack_of(visit, job),
        rules=rules[:JOBS_SHOWN],
        hits=hits,
        answer=answer,
        is_live=live,
        may_write=visit.may("write"),
    )


def _pack_of(visit: Visit, job: Job) -> str:
    """The pack that a job reads or tries; empty if there is none, or none any more."""
    named = request_of(job).pack
    return named if named and any(each.public_id == named for each in packs(visit.workspace, visit.scope)) else ""


def _coverage(visit: Visit, job: Job, rules: Sequence[Rule], count: int) -> str:
    def look() -> str:
        history = History(visit.workspace, visit.scope, Engine(()), visit.site.sources)
        sources = {rule.logsource for rule in rules}
        question = question_about(visit.workspace, visit.scope, history, sources, job.organisation)
        window, found = holes(visit.workspace, visit.scope, question)
        return sentence(Answer(found=count, window=window, holes=tuple(found)), visit.language)

    return visit.remember("coverage", 60.0, look, job.id, visit.language, count)


def promote(visit: Visit) -> Response:
    """Switch on the rules of a job."""
    job = job_named(visit, visit.request.path_params["id"])
    if job.rule_set_id is None:
        raise NotFound("this job has no rules")
    asked = rule_set(visit.workspace, visit.scope, job.rule_set_id)
    switch(visit, asked.rules, asked.correlations)
    return visit.redirect("/rules", done="switched-on")


def cancelled(visit: Visit, public_id: str) -> Job:
    """End a job that waits or runs. What it found stays."""
    job = job_named(visit, public_id)
    if job.organisation is None:
        visit.scope.check_administer(None, "job")
    else:
        visit.scope.check_write(job.organisation, "job")
    if job.state in ("waiting", "running"):
        stored_jobs.finish(visit.workspace, visit.scope, job.id, "cancelled")
    return job_named(visit, public_id)


def cancel(visit: Visit) -> Response:
    """End the jobs that are selected."""
    for public_id in visit.given_all("key"):
        cancelled(visit, public_id)
    return visit.redirect("/hunt", done="cancelled")


ROUTES: Final = (
    Route("GET", "/hunt", page),
    Route("POST", "/hunt/check", look),
    Route("POST", "/hunt/run", run, "write"),
    Route("POST", "/hunt/switch-on", switch_on, "write"),
    Route("GET", "/hunt/{id}", job_page),
    Route("POST", "/hunt/{id}/promote", promote, "write"),
    Route("POST", "/jobs/cancel", cancel, "write"),
)
