"""Packs of rules: send archives or files, see what of them can be used and what would change, try it over history.

Nothing of a pack counts until somebody switches it on. Reading it and trying it are jobs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec
from starlette.datastructures import UploadFile
from starlette.responses import Response

from mingjian.console import lists
from mingjian.console.lists import Action, Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.pages.hunt import Request, switch
from mingjian.console.pages.rules import live
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotPermitted, SchemaError, StateError, shown
from mingjian.hunt.packs import (
    PackRules,
    Report,
    Sent,
    Trial,
    chosen,
    packed_files,
    report_in,
    rules_in,
    trial_in,
)
from mingjian.hunt.rulebook import Rulebook
from mingjian.hunt.rulecheck import check
from mingjian.model.rules import LEVELS, AnyRule, Level, Rule
from mingjian.store import packs as stored_packs
from mingjian.store.jobs import Job, queue
from mingjian.store.packs import Pack
from mingjian.store.rules import version_key
from mingjian.store.scope import EVERYONE

NAME_CHARACTERS_MAX: Final = 200
COMPARED_S: Final = 10.0
"""What of a pack is new may be told so old."""
CHANGES: Final = ("new", "changed", "labels", "same")
"""What switching on a rule of a pack would change: its title, level or tags at most for ``labels``."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A pack beside the rules that run."""

    rules: PackRules
    report: Report
    trial: Trial | None
    rows: Sequence[Row]
    counts: Mapping[str, int]
    """So many rules by what switching them on would change."""
    detections: int
    """So many were found in a trial."""


def may_send(visit: Visit) -> bool:
    """Whether whoever asks may change the rules of the workspace."""
    return visit.scope.writes is EVERYONE


def compared(visit: Visit, pack: Pack) -> Compared | None:
    """What is in a pack; None as long as it was not read."""

    def look() -> Compared | None:
        rules = stored_packs.rules_of(visit.workspace, visit.scope, pack)
        report = stored_packs.report_of(visit.workspace, visit.scope, pack)
        trial = stored_packs.trial_of(visit.workspace, visit.scope, pack)
        if rules is None or report is None:
            return None
        return _beside_live(visit, rules_in(rules), report_in(report), None if trial is None else trial_in(trial))

    return visit.remember("pack", COMPARED_S, look, pack.public_id, pack.state, pack.is_tried)


def _beside_live(visit: Visit, rules: PackRules, report: Report, trial: Trial | None) -> Compared:
    current = live(visit)
    running = {} if current.is_starter else {rule.id: rule for rule in current.every}
    files = tuple(dict.fromkeys(rule.file for rule in rules.every))
    book = Rulebook(rules=rules.rules, correlations=rules.correlations, files=files)
    states = {row.rule_id: row for row in check(book, visit.site.sources.streams())}
    counts: dict[str, int] = dict.fromkeys(CHANGES, 0)
    rows: list[Row] = []
    for rule in rules.every:
        change = _change(rule, running.get(rule.id))
        counts[change] += 1
        said, state = (trial.found.get(rule.id) if trial else None), states.get(rule.id)
        rows.append(
            Row(
                key=rule.id,
                href=f"/rules/{quote(rule.id)}" if change != "new" else "",
                values={
                    "title": rule.title,
                    "level": rule.level,
                    "change": change,
                    "detections": None if trial is None else said.count if said else 0,
                    "hosts": None if trial is None else said.hosts if said else 0,
                    "last": said.last_us if said else None,
                    "state": state.state if state and state.state == "unfed" else "fed",
                    "reason": state.reason if state else "",
                    "kind": "rule" if isinstance(rule, Rule) else "correlation",
                    "rule": rule.id,
                    "file": rule.file,
                },
            )
        )
    found = sum(each.count for each in trial.found.values()) if trial else 0
    return Compared(rules=rules, report=report, trial=trial, rows=rows, counts=counts, detections=found)


def _change(rule: AnyRule, running: AnyRule | None) -> str:
    if running is None:
        return "new"
    if version_key(rule) != version_key(running):
        return "changed"
    there = msgspec.structs.replace(running, file=rule.file, document=rule.document)
    return "same" if there == rule else "labels"


# --- lists -----------------------------------------------------------------------------------------------------------


def _fetch(visit: Visit, asked: Asked) -> Rows:
    rows = [
        Row(
            key=each.public_id,
            href=visit.address(f"/rule-packs/{each.public_id}"),
            values={
                "title": each.name,
                "state": each.state,
                "progress": each.done / each.total if each.total else None,
                "rules": each.rules,
                "by": each.by,
                "created": each.created_us,
                "switched-on": each.switched_on_us,
                "error": each.error,
            },
        )
        for each in stored_packs.packs(visit.workspace, visit.scope)
    ]
    return among(rows, asked, texts=("title", "by"))


PAGE: Final = ListPage(
    name="packs",
    path="/rule-packs",
    place="rules",
    columns=(
        Column(name="title", kind="link", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="progress", kind="share"),
        Column(name="rules", kind="number", sorts=True),
        Column(name="by", sorts=True),
        Column(name="created", kind="time", sorts=True),
        Column(name="switched-on", kind="time", sorts=True),
        Column(name="error", is_reason=True),
    ),
    filters=(Filter(name="q"),),
    actions=(Action(name="remove", path="/rule-packs/remove"),),
    sort="-created",
    fetch=_fetch,
    lead=lambda visit, rows: visit.texts("packs.lead", n=number(rows.total or 0)),
    above="packs_above.html.j2",
    context=lambda visit: {"tab": "packs", "may_send": may_send(visit)},
    live="jobs",
)


def _pack_of(visit: Visit) -> Pack:
    return stored_packs.pack_named(visit.workspace, visit.scope, visit.request.path_params["id"])


def _rules(visit: Visit, asked: Asked) -> Rows:
    found = compared(visit, _pack_of(visit))
    return among(found.rows if found else (), asked, texts=("title", "rule", "file", "reason"))


def _skips(visit: Visit, asked: Asked) -> Rows:
    found = compared(visit, _pack_of(visit))
    if found is None:
        return Rows(rows=())
    skips, notes = found.report.skips, found.report.notes
    told = [("skipped", each.file, each.document, each.title or each.rule_id, each.reason) for each in skips]
    told += [("noted", each.file, each.document, each.rule_id, each.text) for each in notes]
    rows = [
        Row(
            key=str(place),
            values={"outcome": kind, "reason": reason, "title": title, "file": file, "document": document or None},
        )
        for place, (kind, file, document, title, reason) in enumerate(told)
    ]
    return among(rows, asked, texts=("reason", "title", "file"))


def _about(visit: Visit) -> Mapping[str, object]:
    """What stands above both lists of a pack."""
    pack = _pack_of(visit)
    found = compared(visit, pack)
    return {
        "tab": "packs",
        "title": pack.name,
        "lead": _sentence(visit, pack, found),
        "pack": pack,
        "found": found,
        "may_send": may_send(visit),
        "levels": LEVELS,
    }


def _sentence(visit: Visit, pack: Pack, found: Compared | None) -> str:
    if found is None:
        return visit.texts(f"pack.lead-{'failed' if pack.state in ('failed', 'cancelled', 'done') else 'reading'}")
    counts = {f"{name}": number(count) for name, count in found.counts.items()}
    return visit.texts("pack.lead", n=number(found.report.rules), skipped=number(found.report.skipped), **counts)


RULES: Final = ListPage(
    name="pack-rules",
    path="/rule-packs/{id}",
    place="rules",
    columns=(
        Column(name="title", kind="link", sorts=True),
        Column(name="level", kind="level", sorts=True),
        Column(name="change", kind="word", sorts=True),
        Column(name="detections", kind="number", sorts=True),
        Column(name="hosts", kind="number", sorts=True),
        Column(name="last", kind="time", sorts=True),
        Column(name="state", kind="word", sorts=True),
        Column(name="reason", is_reason=True),
        Column(name="kind", kind="word", sorts=True, hidden=True),
        Column(name="rule", kind="code", hidden=True),
        Column(name="file", kind="code", sorts=True, hidden=True),
    ),
    filters=(
        Filter(name="q"),
        Filter(name="level", kind="choice", choices=tuple(reversed(LEVELS))),
        Filter(name="change", kind="choice", choices=CHANGES),
        Filter(name="state", kind="choice", choices=("fed", "unfed")),
    ),
    sort="-detections",
    fetch=_rules,
    lead=lambda visit, rows: "",
    above="pack_above.html.j2",
    context=_about,
    live="jobs",
)
SKIPS: Final = ListPage(
    name="pack-skips",
    path="/rule-packs/{id}/skipped",
    place="rules",
    columns=(
        Column(name="outcome", kind="word", sorts=True),
        Column(name="title", sorts=True),
        Column(name="reason", kind="prose", sorts=True, is_reason=True),
        Column(name="file", kind="code", sorts=True),
        Column(name="document", kind="number"),
    ),
    filters=(Filter(name="q"), Filter(name="outcome", kind="choice", choices=("skipped", "noted"))),
    sort="-outcome",
    fetch=_skips,
    lead=lambda visit, rows: "",
    above="pack_above.html.j2",
    context=_about,
    live="jobs",
)


def _listed(page: ListPage) -> Route:
    """The route of a list about one pack: its path says which."""

    def view(visit: Visit) -> Response:
        pack = _pack_of(visit)
        here = page.path.replace("{id}", pack.public_id)
        return lists.answer(msgspec.structs.replace(page, path=here), visit)

    return Route("GET", page.path, view)


# --- acts ------------------------------------------------------------------------------------------------------------


def keep(visit: Visit, name: str, files: Sequence[Sent]) -> tuple[Pack, Job]:
    """Keep what was sent, and queue the job that reads it.

    Raises:
        NotPermitted: whoever asks may not change the rules of the workspace.
        InputError, LimitExceeded: nothing was sent, or too much, or there are too many packs already.
    """
    if not may_send(visit):
        raise NotPermitted(f"{visit.visitor.name} may not change the rules of the workspace")
    content = packed_files(files)
    title = (name.strip() or ", ".join(each.name for each in files))[:NAME_CHARACTERS_MAX]
    request = json.dumps({"by": visit.visitor.name, "titles": [title], "pack": "{pack}"})
    job = stored_packs.keep_pack(visit.workspace, visit.scope, title, content, by=visit.visitor.name, request=request)
    asked = msgspec.json.decode(job.request, type=Request)
    return stored_packs.pack_named(visit.workspace, visit.scope, asked.pack), job


def send(visit: Visit) -> Response:
    """Take files as a pack."""
    files = [
        Sent(each.filename, each.file.read())
        for each in visit.form.getlist("files")
        if isinstance(each, UploadFile) and each.filename
    ]
    pack, _ = keep(visit, visit.given("name"), files)
    return visit.redirect(f"/rule-packs/{pack.public_id}", done="pack-sent")


def ask_trial(visit: Visit, pack: Pack) -> Job:
    """Queue a trial over all of history. Raises: NotPermitted, StateError."""
    if not may_send(visit):
        raise NotPermitted(f"{visit.visitor.name} may not run rules over the whole workspace")
    if compared(visit, pack) is None:
        raise StateError("the pack has not been read", hint="wait until it was")
    request = {"by": visit.visitor.name, "titles": [pack.name], "pack": pack.public_id}
    return queue(visit.workspace, visit.scope, "trial", request=json.dumps(request))


def attempt(visit: Visit) -> Response:
    """Try the rules of a pack over all of history."""
    job = ask_trial(visit, _pack_of(visit))
    return visit.redirect(f"/hunt/{job.public_id}", done="trial-asked")


def switch_on_pack(visit: Visit, pack: Pack, level: Level, *, replace: bool) -> PackRules:
    """Make the rules of a pack count, from a level on; with ``replace``, all others stop to.

    Raises:
        NotPermitted: whoever asks may not change the rules of the workspace.
        StateError: it was not read.
        InputError: there is none.
    """
    if not may_send(visit):
        raise NotPermitted(f"{visit.visitor.name} may not change the rules of the workspace")
    found = compared(visit, pack)
    if found is None:
        raise StateError("the pack has not been read", hint="wait until it was")
    wanted = chosen(found.rules, level)
    if not wanted.every:
        raise InputError("there is no such rule in the pack", hint="choose a lower level")
    switch(visit, wanted.rules, wanted.correlations, replace=replace)
    with visit.workspace.begin() as connection:
        stored_packs.is_switched_on(pack, visit.now_us)(connection)
    return wanted


def switch_on(visit: Visit) -> Response:
    """Switch on the rules of a pack."""
    level = visit.given("level") or LEVELS[0]
    if level not in LEVELS:
        raise SchemaError(f"there is no level {shown(level)}", hint=", ".join(LEVELS))
    switch_on_pack(visit, _pack_of(visit), level, replace=visit.given("replace") == "1")
    return visit.redirect("/rules", done="switched-on")


def remove(visit: Visit) -> Response:
    """Forget packs. What of them was switched on goes on running."""
    for key in lists.chosen(PAGE, visit):
        stored_packs.remove_pack(visit.workspace, visit.scope, key)
    return lists.back(PAGE, visit, done="pack-removed")


ROUTES: Final = (
    list_route(PAGE),
    Route("POST", "/rule-packs", send, "write"),
    Route("POST", "/rule-packs/remove", remove, "write"),
    _listed(RULES),
    _listed(SKIPS),
    Route("POST", "/rule-packs/{id}/try", attempt, "write"),
    Route("POST", "/rule-packs/{id}/switch-on", switch_on, "write"),
)
