"""Situations: the queue by danger; one of them with its story, its reasons, its evidence; what a person decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import msgspec
from starlette.responses import Response

from mingjian.console.lists import Action, Asked, Column, Filter, ListPage, Row, Rows
from mingjian.console.pages.queue import row_of
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number
from mingjian.console.site import Visit
from mingjian.errors import InputError, SchemaError, shown
from mingjian.hunt.attack import load_attack
from mingjian.model.rules import LEVELS, Level
from mingjian.situations.deciding import judge, merge, split, undo
from mingjian.situations.showing import Member, line_of, situation
from mingjian.store.decisions import (
    add_comment,
    add_task,
    declare,
    finish_task,
    set_owner,
    set_state,
)
from mingjian.store.situations import Order, SituationFilter, count_situations, situations
from mingjian.store.situationtables import SITUATION_STATES

MEMBERS_SHOWN: Final = 300
JOINS_SHOWN: Final = 40
LANE_WIDTH: Final = 960
LANE_HEIGHT: Final = 24
TEXT_CHARACTERS_MAX: Final = 10_000
CLOSINGS: Final[Mapping[str, str]] = {
    "true": "true_positive",
    "false": "false_positive",
    "benign": "benign",
}
"""Verb → how a situation was closed."""


class Dot(msgspec.Struct, frozen=True):
    """A detection in the lanes."""

    x: float
    level: Level
    href: str
    says: str


class Lane(msgspec.Struct, frozen=True):
    """A tactic over time."""

    name: str
    y: int
    dots: Sequence[Dot]


def _filter_of(visit: Visit, asked: Asked) -> SituationFilter:
    state = asked.given("state")
    states = SITUATION_STATES if state == "all" else (state,) if state else ("open", "in_work")
    level = asked.given("level") or "informational"
    owner = {"": None, "nobody": "", "me": visit.visitor.name}[asked.given("owner")]
    return SituationFilter(
        organisation=visit.organisation(),
        states=states,  # type: ignore[arg-type]  # the filter has these choices only
        level=level,  # type: ignore[arg-type]  # the filter has these choices only
        owner=owner,
        text=asked.given("q") or None,
        host=asked.given("host") or None,
    )


def _fetch(visit: Visit, asked: Asked) -> Rows:
    wanted = _filter_of(visit, asked)
    order = cast("Order", asked.sort)
    found = situations(visit.workspace, visit.scope, wanted, order=order, after=asked.after or None, limit=asked.limit)
    total = count_situations(visit.workspace, visit.scope, wanted) if asked.counted and not asked.after else None
    names = visit.names()
    rows: list[Row] = []
    for each in found.situations:
        line = line_of(each, visit.language)
        rows.append(
            Row(
                key=each.public_id,
                href=visit.address(f"/situations/{each.public_id}"),
                beneath=line.why,
                values={
                    "danger": round(line.danger, 1),
                    "level": each.level,
                    "title": line.title,
                    "why": line.why,
                    "organisation": names[each.organisation],
                    "hosts": each.hosts,
                    "detections": each.detections,
                    "first": each.first_us,
                    "last": each.last_us,
                    "state": each.state,
                    "resolution": each.resolution,
                    "owner": each.owner,
                    "id": each.public_id,
                },
            )
        )
    return Rows(rows=rows, after=found.after, total=total)


def _lead(visit: Visit, rows: Rows) -> str:
    if not rows.rows:
        return visit.texts("situations.lead-none")
    worst = str(rows.rows[0].values["title"])
    return visit.texts("situations.lead", n=number(rows.total or len(rows.rows)), worst=worst)


PAGE: Final = ListPage(
    name="situations",
    path="/queue",
    place="queue",
    columns=(
        Column(name="danger", kind="number", sorts=True),
        Column(name="level", kind="level"),
        Column(name="title", kind="link"),
        Column(name="organisation"),
        Column(name="detections", kind="number", sorts=True),
        Column(name="hosts", kind="number", hidden=True),
        Column(name="last", kind="time", sorts=True),
        Column(name="state", kind="state"),
        Column(name="owner"),
        Column(name="first", kind="time", sorts=True, hidden=True),
        Column(name="resolution", kind="word", hidden=True),
        Column(name="why", kind="prose", hidden=True),
        Column(name="id", kind="code", hidden=True),
    ),
    filters=(
        Filter(name="q"),
        Filter(name="state", kind="choice", choices=(*SITUATION_STATES, "all")),
        Filter(name="level", kind="choice", choices=tuple(reversed(LEVELS))),
        Filter(name="owner", kind="choice", choices=("me", "nobody")),
        Filter(name="host"),
    ),
    actions=(
        Action(name="take", path="/situations/act/take"),
        Action(name="close-true", path="/situations/act/true"),
        Action(name="close-false", path="/situations/act/false"),
        Action(name="close-benign", path="/situations/act/benign"),
        Action(name="merge", path="/situations/act/merge"),
    ),
    sort="-danger",
    fetch=_fetch,
    lead=_lead,
    above="queue_tabs.html.j2",
    context=lambda visit: {"tab": "situations"},
    live="detections",
)


def lanes_of(visit: Visit, members: Sequence[Member]) -> list[Lane]:
    """Tactics in the order of ATT&CK, detections over time."""
    timed = [each for each in members if each.detection.detection.time_us is not None]
    if not timed:
        return []
    times = [each.detection.detection.time_us or 0 for each in timed]
    first, span = min(times), max(max(times) - min(times), 1)
    by_tactic: dict[str, list[Dot]] = {}
    for each in timed:
        one = each.detection.detection
        href = visit.address(f"/detections/{each.detection.public_id}")
        dot = Dot(
            round((LANE_WIDTH - 16) * ((one.time_us or 0) - first) / span + 8, 1), one.level, href, one.rule_title
        )
        for tactic in each.tactics or ("",):
            by_tactic.setdefault(tactic, []).append(dot)
    names = {each.id: each.zh if visit.language == "zh" else each.en for each in load_attack().tactics}
    ordered = [tactic for tactic in names if tactic in by_tactic] + ([""] if "" in by_tactic else [])
    return [
        Lane(names.get(tactic, visit.texts("situation.no-tactic")), place * LANE_HEIGHT, by_tactic[tactic])
        for place, tactic in enumerate(ordered)
    ]


def show(visit: Visit) -> Response:
    """One situation."""
    public_id = visit.request.path_params["id"]
    found = situation(visit.workspace, visit.scope, public_id, visit.language, members_max=MEMBERS_SHOWN)
    if found.stored.public_id != public_id:
        return visit.redirect(f"/situations/{found.stored.public_id}")
    titles = {each.detection.public_id: each.detection.detection.rule_title for each in found.members}
    lanes = lanes_of(visit, found.members)
    return visit.page(
        "situation_part.html.j2" if visit.is_partial else "situation.html.j2",
        place="queue",
        title=found.title,
        lead=found.why,
        found=found,
        stored=found.stored,
        members=[(each, row_of(visit, each.detection)) for each in found.members],
        joins=Counter(
            (each.reason, titles.get(each.earlier, "…"), titles.get(each.later, "…"), "; ".join(each.against))
            for each in found.joins
        ).most_common(JOINS_SHOWN),
        lanes=lanes,
        lane_width=LANE_WIDTH,
        lane_height=LANE_HEIGHT,
        may_write=visit.scope.may_write(found.stored.organisation),
        organisation=visit.names()[found.stored.organisation],
    )


# --- what a person decides -------------------------------------------------------------------------------------------


def _take(visit: Visit, ids: Sequence[str]) -> None:
    for each in ids:
        set_owner(visit.workspace, visit.scope, each, visit.visitor.name)
        set_state(visit.workspace, visit.scope, each, "in_work", "")


def _reopen(visit: Visit, ids: Sequence[str]) -> None:
    for each in ids:
        set_state(visit.workspace, visit.scope, each, "open", "")


def _merge(visit: Visit, ids: Sequence[str]) -> None:
    if len(ids) < 2:
        raise InputError("at least two situations are needed")
    merge(visit.workspace, visit.scope, ids[0], ids[1:])


_VERBS: Final[Mapping[str, Callable[[Visit, Sequence[str]], None]]] = {
    "take": _take,
    "reopen": _reopen,
    "merge": _merge,
}


def act(visit: Visit) -> Response:
    """Do something with situations: those that are selected, or the one whose page it is."""
    verb, ids = visit.request.path_params["verb"], visit.given_all("key")
    if not ids:
        raise InputError("nothing is selected", hint="x selects a row")
    if verb in CLOSINGS:
        for each in ids:
            resolution = CLOSINGS[verb]
            reason = visit.given("reason")[:TEXT_CHARACTERS_MAX]
            set_state(visit.workspace, visit.scope, each, "closed", resolution, reason=reason)  # type: ignore[arg-type]  # of the table
    elif verb in _VERBS:
        _VERBS[verb](visit, ids)
    else:
        raise SchemaError(f"nothing that can be done: {shown(verb)}", hint=", ".join((*CLOSINGS, *_VERBS)))
    return visit.redirect(f"/situations/{ids[0]}" if visit.given("from") == "page" else "/queue", done="saved")


def change(visit: Visit) -> Response:
    """Split, judge detections, comment, add or finish a task, declare an incident, undo."""
    public_id, verb = visit.request.path_params["id"], visit.request.path_params["verb"]
    workspace, scope = visit.workspace, visit.scope
    text = visit.given("text")[:TEXT_CHARACTERS_MAX]
    chosen = visit.given_all("detection")
    match verb:
        case "comment":
            add_comment(workspace, scope, "situation", public_id, text)
        case "task":
            add_task(workspace, scope, "situation", public_id, text, owner=visit.given("owner"))
        case "task-done":
            finish_task(workspace, scope, visit.given("task"))
        case "declare":
            declare(workspace, scope, public_id, text or visit.given("title"), owner=visit.visitor.name)
        case "split":
            split(workspace, scope, public_id, chosen)
        case "false" | "benign":
            judge(workspace, scope, chosen, "closed", CLOSINGS[verb], text)  # type: ignore[arg-type]  # of the table
        case "undo":
            undo(workspace, scope, visit.given("act"))
        case _:
            raise SchemaError(f"nothing that can be done: {shown(verb)}")
    return visit.redirect(f"/situations/{public_id}", done="saved")


ROUTES: Final = (
    list_route(PAGE),
    Route("GET", "/situations/{id}", show),
    Route("POST", "/situations/act/{verb}", act, "write"),
    Route("POST", "/situations/{id}/{verb}", change, "write"),
)
