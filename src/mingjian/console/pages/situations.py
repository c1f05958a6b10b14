"""Situations: the queue by danger; one of them with its story, its reasons, its evidence; what a person decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import msgspec
from starlette.responses import Response

from mingjian.console import graphs, lists
from mingjian.console.blindness import blind_spots
from mingjian.console.filtering import Field as FilterField
from mingjian.console.filtering import term
from mingjian.console.lanes import Happened, Picture, Track, Wanting, lay_out, said
from mingjian.console.lists import Action, Asked, Column, Filter, Grouped, GroupRow, ListPage, Row, Rows
from mingjian.console.pages.queue import VERDICTS, narrowed, organisations_meant, row_of
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number, stamp
from mingjian.console.site import Visit
from mingjian.errors import InputError, SchemaError, shown
from mingjian.hunt.answer import days_in_words
from mingjian.hunt.attack import load_attack
from mingjian.model.rules import LEVELS
from mingjian.model.times import parse_time_us
from mingjian.situations.deciding import judge, merge, split, undo
from mingjian.situations.naming import label_of
from mingjian.situations.showing import Member, Situation, line_of, situation
from mingjian.situations.verdict import load_weights
from mingjian.store.casecounts import GroupBy, groups_of_situations
from mingjian.store.decisions import (
    SituationAct,
    add_comment,
    add_task,
    change_incident,
    declare,
    finish_task,
    set_owner,
    set_state,
)
from mingjian.store.narrowing import Condition
from mingjian.store.segments import US_PER_DAY
from mingjian.store.situations import (
    Order,
    SituationFilter,
    StoredSituation,
    count_situations,
    members_of,
    situation_by_id,
    situations,
)
from mingjian.store.situationtables import SITUATION_STATES

MEMBERS_SHOWN: Final = 1_000
LINES_SHOWN: Final = 200
JOINS_SHOWN: Final = 40
BLIND_SHOWN: Final = 8
"""So many silent hosts and streams have a lane."""
TEXT_CHARACTERS_MAX: Final = 10_000
OWNER_CHARACTERS_MAX: Final = 200
CLOSINGS: Final[Mapping[str, str]] = {
    "true": "true_positive",
    "false": "false_positive",
    "benign": "benign",
}
"""Verb → how a situation was closed."""


FIELDS: Final[Mapping[str, FilterField]] = {
    "level": FilterField("level"),
    "state": FilterField("choice", SITUATION_STATES),
    "verdict": FilterField("choice", tuple(VERDICTS)),
    "owner": FilterField("name"),
    "org": FilterField("name"),
    "host": FilterField("name"),
    "account": FilterField("name"),
    "rule": FilterField("name"),
    "title": FilterField("text"),
    "tactic": FilterField("name"),
    "danger": FilterField("number"),
    "detections": FilterField("number"),
    "hosts": FilterField("number"),
    "first": FilterField("time"),
    "last": FilterField("time"),
    "created": FilterField("time"),
}
"""What a filter of situations may be about."""
JUDGED_MAX: Final = 200
"""So many situations are judged at once."""


def _filter_of(visit: Visit, asked: Asked) -> SituationFilter:
    state = asked.given("state")
    states = SITUATION_STATES if state in ("all", "emptied") else (state,) if state else ("open", "in_work")
    named = next((each for each in asked.conditions if each.field == "state" and not each.negated), None)
    if named is not None and not state:
        states = named.values
    level = asked.given("level") or "informational"
    owner = {"": None, "nobody": "", "me": visit.visitor.name}[asked.given("owner")]
    return SituationFilter(
        organisation=visit.organisation(),
        states=states,  # type: ignore[arg-type]  # the filter has these choices only
        level=level,  # type: ignore[arg-type]  # the filter has these choices only
        owner=owner,
        host=asked.given("host") or None,
        conditions=tuple(_stored_condition(visit, each) for each in asked.conditions if each is not named),
        emptied=state == "emptied",
    )


def _stored_condition(visit: Visit, condition: Condition) -> Condition:
    """A condition as the store knows it."""
    changed = msgspec.structs.replace
    match condition.field:
        case "org":
            return changed(condition, field="organisation", values=organisations_meant(visit, condition))
        case "verdict":
            return changed(condition, field="resolution", values=tuple(VERDICTS[each] for each in condition.values))
        case "owner":
            special = {"me": visit.visitor.name, "nobody": ""}
            return changed(condition, values=tuple(special.get(each, each) for each in condition.values))
        case "danger":
            return changed(condition, values=tuple(str(int(each) * 1000) for each in condition.values))
        case _:
            return condition


def _row(visit: Visit, each: StoredSituation) -> Row:
    line = line_of(each, visit.language)
    return Row(
        key=each.public_id,
        href=visit.address(f"/situations/{each.public_id}"),
        beneath=line.why,
        values={
            "danger": round(line.danger, 1),
            "level": each.level,
            "title": line.title,
            "why": line.why,
            "organisation": visit.names().get(each.organisation, ""),
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


def _fetch(visit: Visit, asked: Asked) -> Rows:
    wanted = _filter_of(visit, asked)
    order = cast("Order", asked.sort)
    found = situations(visit.workspace, visit.scope, wanted, order=order, after=asked.after or None, limit=asked.limit)
    total = None
    if asked.counted and not asked.after:
        scope = visit.scope
        total = visit.remember(
            "count of situations", 2.0, lambda: count_situations(visit.workspace, scope, wanted), wanted
        )
    return Rows(rows=[_row(visit, each) for each in found.situations], after=found.after, total=total)


_GROUPS: Final[Mapping[str, str]] = {
    "state": "state", "level": "level", "owner": "owner", "organisation": "org", "resolution": "verdict",
}  # fmt: skip
"""Column → the field of the filter that means one of its values."""


def _grouped(visit: Visit, asked: Asked) -> Grouped:
    by = cast("GroupBy", asked.group)
    found = groups_of_situations(visit.workspace, visit.scope, _filter_of(visit, asked), by)
    named = {str(owner): name for owner, name in visit.names().items()} if by == "organisation" else {}
    if by == "resolution":
        named = {resolution: verdict for verdict, resolution in VERDICTS.items()}
    rows: list[GroupRow] = []
    for each in found.groups:
        value = named.get(each.value, each.value)
        is_nobody = by == "owner" and not value
        rows.append(
            GroupRow(
                label=visit.texts("owner.nobody") if is_nobody else value,
                href=narrowed(visit, asked, _GROUPS[by], "nobody" if is_nobody else value),
                count=each.count,
                level=each.level,
                last_us=each.last_us,
                word=f"{by}.{each.value}" if by in ("state", "level", "resolution") and each.value else "",
            )
        )
    return Grouped(rows=rows, several=found.several, total=found.total)


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
        Filter(name="state", kind="choice", choices=(*SITUATION_STATES, "all", "emptied")),
        Filter(name="level", kind="choice", choices=tuple(reversed(LEVELS))),
        Filter(name="owner", kind="choice", choices=("me", "nobody")),
        Filter(name="host"),
    ),
    actions=(
        Action(name="take", path="/situations/act/take", key="w"),
        Action(name="close-true", path="/situations/act/true", key="t"),
        Action(name="close-false", path="/situations/act/false", key="f"),
        Action(name="close-benign", path="/situations/act/benign", key="b"),
        Action(name="reopen", path="/situations/act/reopen", key="o"),
        Action(name="assign", path="/situations/act/assign", text="owner"),
        Action(name="merge", path="/situations/act/merge"),
        Action(name="suppress", path="/situations/act/suppress", key="s", leaves=True),
        Action(name="export-chosen", path="/situations/export", right="read", leaves=True),
    ),
    sort="-danger",
    fetch=_fetch,
    lead=_lead,
    above="queue_tabs.html.j2",
    context=lambda visit: {"tab": "situations"},
    live="detections",
    fields=FIELDS,
    groups=tuple(_GROUPS),
    group=_grouped,
    views=(
        ("open", ""),
        ("mine", "owner=me"),
        ("nobodys", "owner=nobody"),
        ("new-day", "q=created%3E%3D24h"),
        ("closed", "state=closed&sort=-last"),
        ("emptied", "state=emptied&sort=-last"),
    ),
    every_max=JUDGED_MAX,
)


def lanes_of(visit: Visit, found: Situation) -> Picture | None:
    """Tactics over time in the order of ATT&CK: those seen, those inferred; and where nothing could be seen."""
    by_tactic: dict[str, list[Happened]] = {}
    for each in found.members:
        one = each.detection.detection
        if one.time_us is None:
            continue
        happened = Happened(
            first_us=one.time_us,
            last_us=one.time_us,
            says=f"{stamp(one.time_us)} {one.rule_title}",
            href=visit.address(f"/detections/{each.detection.public_id}"),
            level=one.level,
        )
        for tactic in each.tactics or ("",):
            by_tactic.setdefault(tactic, []).append(happened)
    tracks: list[Track] = []
    for tactic in load_attack().tactics:
        name = tactic.zh if visit.language == "zh" else tactic.en
        if tactic.id in by_tactic:
            tracks.append(Track(name=name, happened=by_tactic[tactic.id]))
        elif (inferred := _inferred(visit, tactic.id, by_tactic)) is not None:
            until_us, because = inferred
            tracks.append(Track(name=name, until_us=until_us, note=because))
    if "" in by_tactic:
        tracks.append(Track(name=visit.texts("situation.no-tactic"), happened=by_tactic[""]))
    return lay_out(tracks + blind_tracks(visit, found))


def _inferred(visit: Visit, tactic: str, seen: Mapping[str, Sequence[Happened]]) -> tuple[int, str] | None:
    """By when a tactic that was not seen must have happened, and why; None if nothing says so."""
    for each in load_weights().inferred:
        times = [one.first_us for follower in each.before for one in seen.get(follower, ())]
        if each.tactic == tactic and times:
            return min(times), each.zh if visit.language == "zh" else each.en
    return None


def blind_tracks(visit: Visit, found: Situation) -> list[Track]:
    """The hosts and streams of a situation that were silent while it went on."""
    hosts = {label_of(each.detection.detection.host) for each in found.members if each.detection.detection.host}
    streams = {each.detection.detection.stream for each in found.members}
    first, last = found.stored.first_us, found.stored.last_us
    if first is None or last is None:
        return []
    days = (first // US_PER_DAY, last // US_PER_DAY)
    silent: dict[str, list[Wanting]] = {}
    for hole in blind_spots(visit, found.stored.organisation)[1]:
        is_its = (hole.kind == "host" and label_of(hole.what) in hosts) or (
            hole.kind == "stream" and hole.what in streams
        )
        if is_its and (hole.first_day or 0) <= days[1] and (hole.last_day is None or hole.last_day >= days[0]):
            says = days_in_words(hole.first_day, hole.last_day, visit.language)
            silent.setdefault(hole.what, []).append(
                Wanting(first_day=hole.first_day, last_day=hole.last_day, says=says)
            )
    return [
        Track(name=what, wanting=wanting, note=said(wanting)) for what, wanting in sorted(silent.items())[:BLIND_SHOWN]
    ]


class StoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the story: a detection, or several of one rule about the same host and account."""

    row: Row
    keys: Sequence[str]
    """Public ids of its detections."""
    is_core: bool
    last_us: int | None
    verdict: str
    all_href: str
    """The list of them, if they are several."""


def story_of(visit: Visit, members: Sequence[Member]) -> list[StoryLine]:
    """Detections in the order of time, those of one rule about the same host and account as one line."""
    groups: dict[tuple[object, ...], list[Member]] = {}
    for each in members:
        one = each.detection.detection
        verdict = "" if each.verdict is None else each.verdict.resolution
        groups.setdefault((one.rule_id, one.host, one.account, each.is_core, verdict), []).append(each)
    lines: list[StoryLine] = []
    for (rule_id, host, account, is_core, verdict), several in groups.items():
        named = (("rule", rule_id), ("host", host), ("account", account))
        query = " ".join(term(name, str(value)) for name, value in named if value)
        times = [each.detection.detection.time_us for each in several if each.detection.detection.time_us is not None]
        lines.append(
            StoryLine(
                row=row_of(visit, several[0].detection),
                keys=[each.detection.public_id for each in several],
                is_core=bool(is_core),
                last_us=max(times, default=None),
                verdict=str(verdict),
                all_href=visit.address("/detections", q=query) if len(several) > 1 else "",
            )
        )
    return lines


def show(visit: Visit) -> Response:
    """One situation."""
    public_id = visit.request.path_params["id"]
    found = situation(visit.workspace, visit.scope, public_id, visit.language, members_max=MEMBERS_SHOWN)
    if found.stored.public_id != public_id:
        return visit.moved(f"/situations/{found.stored.public_id}")
    titles = {each.detection.public_id: each.detection.detection.rule_title for each in found.members}
    graph = graphs.of_situation(
        found.members,
        found.joins,
        lambda id: visit.address(f"/detections/{id}"),
        lambda kind, value: visit.address("/ask", q=value, kind=kind),
    )
    return visit.page(
        "situation_part.html.j2" if visit.is_partial else "situation.html.j2",
        place="queue",
        title=found.title,
        lead=visit.texts("situation.emptied") if found.stored.is_emptied else found.why,
        charts=True,
        found=found,
        stored=found.stored,
        lines=story_of(visit, found.members)[:LINES_SHOWN],
        joins=Counter(
            (each.reason, titles.get(each.earlier, "…"), titles.get(each.later, "…"), "; ".join(each.against))
            for each in found.joins
        ).most_common(JOINS_SHOWN),
        picture=lanes_of(visit, found),
        graph=graph,
        may_write=visit.scope.may_write(found.stored.organisation),
        may_change=visit.scope.may_write(found.stored.organisation) and not found.stored.is_emptied,
        organisation=visit.names()[found.stored.organisation],
        details=_details,
    )


def _details(visit: Visit, entry: SituationAct) -> str:
    """What an entry of the history says more."""
    told = entry.details
    if entry.kind == "state":
        words = [visit.texts(f"state.{told.get('state', 'open')}")]
        if told.get("resolution"):
            words.append(visit.texts(f"resolution.{told['resolution']}"))
        return " · ".join([*words, *([str(told["reason"])] if told.get("reason") else [])])
    if entry.kind == "owner":
        return str(told.get("owner") or visit.texts("owner.nobody"))
    if entry.kind == "split":
        return visit.texts("situation.split-of", n=str(told.get("detections", "")))
    return ""


# --- what a person decides -------------------------------------------------------------------------------------------


def _take(visit: Visit, ids: Sequence[str]) -> None:
    for each in ids:
        set_owner(visit.workspace, visit.scope, each, visit.visitor.name)
        set_state(visit.workspace, visit.scope, each, "in_work", "")


def _reopen(visit: Visit, ids: Sequence[str]) -> None:
    for each in ids:
        set_state(visit.workspace, visit.scope, each, "open", "")


def _assign(visit: Visit, ids: Sequence[str]) -> None:
    for each in ids:
        set_owner(visit.workspace, visit.scope, each, visit.given("owner")[:OWNER_CHARACTERS_MAX])


def _merge(visit: Visit, ids: Sequence[str]) -> None:
    if len(ids) < 2:
        raise InputError("at least two situations are needed")
    merge(visit.workspace, visit.scope, ids[0], ids[1:])


_VERBS: Final[Mapping[str, Callable[[Visit, Sequence[str]], None]]] = {
    "take": _take,
    "reopen": _reopen,
    "assign": _assign,
    "merge": _merge,
}


def act(visit: Visit) -> Response:
    """Do something with situations: those that are selected, or the one whose page it is."""
    verb, ids = visit.request.path_params["verb"], lists.chosen(PAGE, visit)
    if verb in CLOSINGS:
        for each in ids:
            resolution = CLOSINGS[verb]
            reason = visit.given("reason")[:TEXT_CHARACTERS_MAX]
            set_state(visit.workspace, visit.scope, each, "closed", resolution, reason=reason)  # type: ignore[arg-type]  # of the table
    elif verb == "suppress":
        return _suppress(visit, ids[0])
    elif verb in _VERBS:
        _VERBS[verb](visit, ids)
    else:
        raise SchemaError(f"nothing that can be done: {shown(verb)}", hint=", ".join((*CLOSINGS, *_VERBS)))
    if visit.given("from") == "page":
        return visit.redirect(f"/situations/{ids[0]}", done="saved")
    return lists.back(PAGE, visit, done="saved", undo=ids if verb in (*CLOSINGS, "take") else ())


def _suppress(visit: Visit, public_id: str) -> Response:
    """Go on to suppress what the rule that fired most often in a situation finds."""
    stored = situation_by_id(visit.workspace, visit.scope, public_id)
    found = [each for each, _ in members_of(visit.workspace, stored, limit=MEMBERS_SHOWN)]
    if not found:
        raise InputError("there is no detection in it any more")
    counts = Counter(each.detection.rule_id for each in found)
    often = max(found, key=lambda each: (each.detection.kind == "rule", counts[each.detection.rule_id]))
    return visit.redirect("/suppressions/new", detection=often.public_id)


def undo_verdict(visit: Visit) -> Response:
    """Open situations again that were taken or closed a moment ago."""
    _reopen(visit, lists.chosen(PAGE, visit))
    return lists.back(PAGE, visit, done="undone")


def export(visit: Visit) -> Response:
    """The situations that are selected, as a file."""
    keys = lists.chosen(PAGE, visit)
    rows = [_row(visit, situation_by_id(visit.workspace, visit.scope, key)) for key in keys]
    return lists.export_chosen(PAGE, visit, rows)


def change(visit: Visit) -> Response:
    """Split, merge, judge detections, comment, add or finish a task, declare or change an incident, undo."""
    public_id, verb = visit.request.path_params["id"], visit.request.path_params["verb"]
    workspace, scope = visit.workspace, visit.scope
    text = visit.given("text")[:TEXT_CHARACTERS_MAX]
    chosen = [key for several in visit.given_all("detection") for key in several.split(",")]
    match verb:
        case "comment":
            add_comment(workspace, scope, "situation", public_id, text)
        case "task":
            due_us = parse_time_us(f"{visit.given('due')}T23:59:59") if visit.given("due") else None
            add_task(workspace, scope, "situation", public_id, text, owner=visit.given("owner"), due_us=due_us)
        case "task-done":
            finish_task(workspace, scope, visit.given("task"), done=visit.given("done", "1") == "1")
        case "merge":
            merge(workspace, scope, public_id, visit.given_all("with"))
        case "incident":
            _change_incident(visit)
        case "declare":
            declare(workspace, scope, public_id, text or visit.given("title"), owner=visit.visitor.name)
        case "split":
            split(workspace, scope, public_id, chosen)
        case "false" | "benign":
            judge(workspace, scope, chosen, "closed", CLOSINGS[verb], reason=text)  # type: ignore[arg-type]  # of the table
        case "reopen":
            judge(workspace, scope, chosen, "open", reason=text)
        case "undo":
            undo(workspace, scope, visit.given("act"))
        case _:
            raise SchemaError(f"nothing that can be done: {shown(verb)}")
    return visit.redirect(f"/situations/{public_id}", done="saved")


def _change_incident(visit: Visit) -> None:
    state = visit.given("state")
    if state not in SITUATION_STATES:
        raise SchemaError(f"an incident cannot be {shown(state)}", hint=", ".join(SITUATION_STATES))
    change_incident(
        visit.workspace,
        visit.scope,
        visit.given("incident"),
        state=state,  # type: ignore[arg-type]  # looked up above
        owner=visit.given("owner") or None,
    )


ROUTES: Final = (
    list_route(PAGE),
    Route("GET", "/situations/{id}", show),
    Route("POST", "/situations/act/{verb}", act, "write"),
    Route("POST", "/queue/undo", undo_verdict, "write"),
    Route("POST", "/situations/export", export),
    Route("POST", "/situations/{id}/{verb}", change, "write"),
)
