"""The queue: detections, filtered and ordered; one detection with its why; the raw record behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec
from starlette.responses import Response

from mingjian.console import lists
from mingjian.console.filtering import Field as FilterField
from mingjian.console.filtering import term
from mingjian.console.lists import Action, Asked, Column, Filter, Grouped, GroupRow, ListPage, Row, Rows
from mingjian.console.pages.rules import rule_known
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number, stamp
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotFound, SchemaError, shown
from mingjian.formats.records import json_bytes
from mingjian.hunt.attack import load_attack
from mingjian.hunt.records import records_at
from mingjian.model.rules import LEVELS
from mingjian.model.sources import ObservableKind
from mingjian.model.times import parse_time_us
from mingjian.situations.deciding import judge
from mingjian.situations.guessing import guesses
from mingjian.store.browsing import GroupBy, Wanted, browse, counted, groups
from mingjian.store.decisions import DetectionVerdict, verdicts_on
from mingjian.store.detections import StoredDetection, detection_by_id
from mingjian.store.narrowing import Condition, Names, fits, names_of, with_newer
from mingjian.store.segments import US_PER_DAY
from mingjian.store.situations import Resolution, SituationState, situations_of_detections

COUNTED_MAX: Final = 5_000
"""So many are counted for the sentence above the list; of more it says “more than”."""
GROUPED_MAX: Final = 10_000
"""So many of those found last are looked at for groups, unless somebody wants all counted."""
NAMES_AGE_S: Final = 60.0
WHOLE_AGE_S: Final = 60.0
JUDGED_MAX: Final = 2_000
"""So many detections are judged at once."""
REASON_CHARACTERS_MAX: Final = 10_000
FIELDS_SHOWN_MAX: Final = 500
LINKED_CHARACTERS_MAX: Final = 300
"""In a longer value nothing is taken for an observable."""
RAW_CHARACTERS_MAX: Final = 100_000
_SURE: Final = frozenset({"ip", "url", "email", "hash", "ja4"})
"""What a value of a record is taken for at sight; names need more than that."""
_NAMED: Final[dict[str, ObservableKind]] = {
    "computer": "host", "computername": "host", "hostname": "host", "host": "host", "workstation": "host",
    "user": "account", "username": "account", "targetusername": "account", "subjectusername": "account",
    "account": "account", "image": "file", "parentimage": "file", "targetfilename": "file", "query": "domain",
    "queryname": "domain", "destinationhostname": "domain",
}  # fmt: skip
"""Fields that say what their value is."""
_ORDERS: Final = {"time": ("newest", "oldest"), "found": ("found", "found")}


FIELDS: Final[Mapping[str, FilterField]] = {
    "level": FilterField("level"),
    "title": FilterField("text"),
    "rule": FilterField("name"),
    "host": FilterField("name"),
    "account": FilterField("name"),
    "org": FilterField("name"),
    "technique": FilterField("name"),
    "tactic": FilterField("name"),
    "kind": FilterField("choice", ("rule", "correlation", "indicator", "behaviour")),
    "stream": FilterField("name"),
    "file": FilterField("text"),
    "value": FilterField("text"),
    "verdict": FilterField("choice", ("none", "in_work", "true", "false", "benign")),
    "situation": FilterField("choice", ("yes", "no")),
    "found_by": FilterField("choice", ("arrival", "hunt")),
    "time": FilterField("time"),
    "found": FilterField("time"),
}
"""What a filter of detections may be about."""
VERDICTS: Final[Mapping[str, str]] = {"true": "true_positive", "false": "false_positive", "benign": "benign"}
"""What a filter calls it → what the store does."""


def wanted_of(visit: Visit, filters: Mapping[str, str], conditions: tuple[Condition, ...] = ()) -> Wanted:
    """The conditions that filters stand for. Raises: SchemaError, NotFound."""
    level = filters.get("level", "")
    return Wanted(
        organisation=visit.organisation(),
        levels=LEVELS[next((place for place, each in enumerate(LEVELS) if each == level), 0) :],
        rule_id=filters.get("rule", ""),
        host=filters.get("host", ""),
        account=filters.get("account", ""),
        kind=filters.get("kind", ""),
        found_by=filters.get("found_by", ""),
        first_us=_moment(filters.get("since", "")),
        until_us=_moment(filters.get("until", ""), days=1),
        conditions=tuple(_stored_condition(visit, each) for each in conditions),
        names=_names(visit) if any(each.field in _BY_NAME for each in conditions) else Names(is_whole=False),
    )


_BY_NAME: Final = frozenset({"word", "title", "rule", "host", "account", "technique", "tactic"})


def _names(visit: Visit) -> Names:
    """What detections are of; of all organisations, so that everybody shares it."""
    workspace = visit.workspace
    known = visit.site.memory.recall_lately(("names of detections",), NAMES_AGE_S, lambda: names_of(workspace))
    return with_newer(workspace, known)


def _stored_condition(visit: Visit, condition: Condition) -> Condition:
    """A condition as the store knows it: organisations by number, tactics by their techniques."""
    changed = msgspec.structs.replace
    match condition.field:
        case "org":
            return changed(condition, field="organisation", values=organisations_meant(visit, condition))
        case "verdict":
            return changed(condition, values=tuple(VERDICTS.get(each, each) for each in condition.values))
        case "tactic":
            known = load_attack().techniques
            asked = {each.casefold() for each in condition.values}
            found = tuple(id for id, each in known.items() if "." not in id and asked & set(each.tactics))
            return changed(condition, field="technique", values=found)
        case _:
            return condition


def organisations_meant(visit: Visit, condition: Condition) -> tuple[str, ...]:
    """The numbers of the organisations whose name a condition means."""
    return tuple(str(each.id) for each in visit.organisations() if fits(each.name, condition))


def _moment(text: str, days: int = 0) -> int | None:
    if not text:
        return None
    is_day = len(text) == len("2026-01-31")
    found = parse_time_us(f"{text}T00:00:00" if is_day else text)
    if found is None:
        raise SchemaError(f"{shown(text)} is no day", hint="2026-01-31")
    return found + (days * US_PER_DAY if is_day else 0)


def row_of(visit: Visit, each: StoredDetection, verdict: DetectionVerdict | None = None) -> Row:
    """A detection as a row."""
    one = each.detection
    owner = next((org.public_id for org in visit.organisations() if org.id == each.organisation), "")
    return Row(
        key=each.public_id,
        href=visit.address(f"/detections/{each.public_id}"),
        evidence=visit.address("/records", file=one.file, number=one.record, of=owner) if one.record >= 0 else "",
        beneath="" if verdict is None else visit.texts(f"verdict.{verdict.resolution or verdict.state}"),
        values={
            "id": each.public_id,
            "time": one.time_us,
            "level": one.level,
            "title": one.rule_title,
            "organisation": visit.names().get(each.organisation, ""),
            "host": one.host,
            "account": one.account,
            "techniques": one.attack,
            "kind": one.kind,
            "rule": one.rule_id,
            "stream": one.stream,
            "file": one.file,
            "record": one.record,
            "matched": "; ".join(f"{name}: {value}" for name, value in one.matched.items()),
            "found": each.found_us,
            "found_by": each.found_by,
            "verdict": "" if verdict is None else verdict.resolution or verdict.state,
        },
    )


def fetch(visit: Visit, asked: Asked) -> Rows:
    """Detections, a page at a time."""
    wanted = wanted_of(visit, asked.filters, asked.conditions)
    down, up = _ORDERS[asked.sort]
    order = down if asked.descending else up
    portion = browse(
        visit.workspace, visit.scope, wanted, order=order, after=asked.after, limit=asked.limit  # type: ignore[arg-type]  # of the table above
    )  # fmt: skip
    verdicts = verdicts_on(visit.workspace, visit.scope, [each.id for each in portion.rows])
    rows = [row_of(visit, each, verdicts.get(each.id)) for each in portion.rows]
    total, is_bound = None, False
    if asked.counted and not asked.after and portion.after is None:
        total = len(rows)
    elif asked.counted and not asked.after and not portion.is_cut:
        scope = visit.scope
        key = (wanted.organisation, asked.filters.items(), asked.conditions)
        total, is_bound = visit.remember(
            "count", 5.0, lambda: counted(visit.workspace, scope, wanted, COUNTED_MAX), repr(key)
        )
    return Rows(
        rows=rows,
        after=portion.after,
        total=total,
        total_is_bound=is_bound,
        is_cut=portion.is_cut,
        looked_to_us=portion.looked_to_us,
    )


_GROUPS: Final[Mapping[str, str]] = {
    "rule": "rule", "level": "level", "host": "host", "account": "account", "organisation": "org", "kind": "kind",
    "stream": "stream", "found_by": "found_by",
}  # fmt: skip
"""Column → the field of the filter that means one of its values."""


def grouped(visit: Visit, asked: Asked) -> Grouped:
    """Detections by what they have in a column."""
    wanted = wanted_of(visit, asked.filters, asked.conditions)
    scope, by = visit.scope, cast("GroupBy", asked.group)
    if visit.asked("whole") == "1":
        key = repr((wanted.organisation, asked.filters.items(), asked.conditions))
        found = visit.remember("groups", WHOLE_AGE_S, lambda: groups(visit.workspace, scope, wanted, by), by, key)
    else:
        found = groups(visit.workspace, scope, wanted, by, bound=GROUPED_MAX)
    labels: dict[str, str] = {}
    if by == "organisation":
        labels = {str(owner): name for owner, name in visit.names().items()}
    return Grouped(
        rows=[
            GroupRow(
                label=each.title or labels.get(each.value, each.value),
                href=narrowed(visit, asked, _GROUPS[by], labels.get(each.value, each.value)),
                count=each.count,
                level=each.level,
                last_us=each.last_us,
                word=f"{by}.{each.value}" if by in ("level", "kind", "found_by") else "",
            )
            for each in found.groups
        ],
        several=found.several,
        total=found.total,
        looked_at_max=GROUPED_MAX if found.is_cut else None,
        whole=visit.here(whole="1") if found.is_cut else "",
    )


def narrowed(visit: Visit, asked: Asked, field: str, value: str) -> str:
    """The list without groups, narrowed down to one value of a field."""
    condition = term(field, value) if value else f'{field}:""'
    return visit.here(q=f"{asked.given('q')} {condition}".strip(), group=None, whole=None, after=None)


def _lead(visit: Visit, rows: Rows) -> str:
    if not rows.rows and not rows.is_cut:
        return visit.texts("detections.lead-none")
    if rows.is_cut and rows.looked_to_us is not None:
        return visit.texts("detections.lead-cut", n=number(len(rows.rows)), day=stamp(rows.looked_to_us)[:10])
    if not any(visit.asked(each.name) for each in FILTERS):
        scope, organisation = visit.scope, visit.organisation()
        counts = visit.lately(
            "levels", 5.0, lambda: visit.site.totals.by_level(scope, organisation=organisation), organisation
        )
        return visit.texts("detections.lead-all", **{level: number(count) for level, count in counts.items()})
    key = "detections.lead-bound" if rows.total_is_bound else "detections.lead"
    return visit.texts(key, n=number(rows.total or len(rows.rows)))


FILTERS: Final = (
    Filter(name="q"),
    Filter(name="level", kind="choice", choices=tuple(reversed(LEVELS))),
    Filter(name="host"),
    Filter(name="since", kind="day"),
    Filter(name="until", kind="day"),
    Filter(name="account"),
    Filter(name="rule"),
    Filter(name="kind", kind="choice", choices=("rule", "correlation", "indicator", "behaviour")),
)
PAGE: Final = ListPage(
    name="detections",
    path="/detections",
    place="queue",
    columns=(
        Column(name="time", kind="time", sorts=True),
        Column(name="level", kind="level"),
        Column(name="title", kind="link"),
        Column(name="organisation", kind="text"),
        Column(name="host", kind="entity", entity="host"),
        Column(name="account", kind="entity", entity="account"),
        Column(name="techniques", kind="techniques"),
        Column(name="verdict", kind="state", hidden=True),
        Column(name="matched", kind="code", hidden=True),
        Column(name="kind", kind="word", hidden=True),
        Column(name="rule", kind="code", hidden=True),
        Column(name="stream", kind="code", hidden=True),
        Column(name="file", kind="code", hidden=True),
        Column(name="record", kind="number", hidden=True),
        Column(name="found", kind="time", sorts=True, hidden=True),
        Column(name="found_by", kind="word", hidden=True),
        Column(name="id", kind="code", hidden=True),
    ),
    filters=FILTERS,
    sort="-time",
    fetch=fetch,
    lead=_lead,
    above="queue_tabs.html.j2",
    context=lambda visit: {"tab": "detections"},
    live="detections",
    actions=(
        Action(name="take", path="/detections/act/take", key="w"),
        Action(name="close-true", path="/detections/act/true", key="t"),
        Action(name="close-false", path="/detections/act/false", key="f"),
        Action(name="close-benign", path="/detections/act/benign", key="b"),
        Action(name="reopen", path="/detections/act/open", key="o"),
        Action(name="suppress", path="/detections/act/suppress", key="s", leaves=True),
        Action(name="export-chosen", path="/detections/export", right="read", leaves=True),
    ),
    fields=FIELDS,
    groups=tuple(_GROUPS),
    group=grouped,
    views=(
        ("all", ""),
        ("grave-week", "q=level%3E%3Dhigh+time%3E%3D7d"),
        ("unjudged", "q=level%3E%3Dmedium+verdict%3Anone"),
        ("by-rule", "group=rule"),
        ("by-host", "group=host"),
    ),
    every_max=JUDGED_MAX,
)
VERBS: Final[Mapping[str, tuple[SituationState, Resolution]]] = {
    "take": ("in_work", ""),
    "open": ("open", ""),
    "true": ("closed", "true_positive"),
    "false": ("closed", "false_positive"),
    "benign": ("closed", "benign"),
}


def act(visit: Visit) -> Response:
    """Judge detections, or go on to suppress what is like one of them."""
    verb = visit.request.path_params["verb"]
    keys = lists.chosen(PAGE, visit)
    if verb == "suppress":
        return visit.redirect("/suppressions/new", detection=keys[0])
    if verb not in VERBS:
        raise SchemaError(f"nothing that can be done: {shown(verb)}", hint=", ".join((*VERBS, "suppress")))
    state, resolution = VERBS[verb]
    judge(visit.workspace, visit.scope, keys, state, resolution, reason=visit.given("reason")[:REASON_CHARACTERS_MAX])
    return lists.back(PAGE, visit, done="saved", undo=() if verb == "open" else keys)


def undo(visit: Visit) -> Response:
    """Take back what was said of detections a moment ago: nobody has judged them."""
    judge(visit.workspace, visit.scope, lists.chosen(PAGE, visit), "open", "")
    return lists.back(PAGE, visit, done="undone")


def export(visit: Visit) -> Response:
    """The detections that are selected, as a file."""
    keys = lists.chosen(PAGE, visit)
    rows = [row_of(visit, detection_by_id(visit.workspace, visit.scope, key)) for key in keys]
    return lists.export_chosen(PAGE, visit, rows)


def show(visit: Visit) -> Response:
    """One detection: what, where, why, and the way to its evidence."""
    each = detection_by_id(visit.workspace, visit.scope, visit.request.path_params["id"])
    row = row_of(visit, each)
    return visit.page(
        "detection_part.html.j2" if visit.is_partial else "detection.html.j2",
        place="queue",
        title=each.detection.rule_title,
        lead="",
        row=row,
        each=each,
        one=each.detection,
        has_rule=rule_known(visit, each.detection.rule_id) is not None,
        situations=situations_of_detections(visit.workspace, visit.scope, [each.id]).get(each.id, ()),
    )


class Field(msgspec.Struct, frozen=True):
    """A field of a record, and what its value is if that can be told."""

    name: str
    value: str
    kind: str


def fields_of(record: Mapping[str, object]) -> list[Field]:
    """The fields of a record, nested ones with their path, as far as they are shown."""
    found: list[Field] = []
    pending: list[tuple[str, object]] = list(reversed([(str(name), value) for name, value in record.items()]))
    while pending and len(found) < FIELDS_SHOWN_MAX:
        name, value = pending.pop()
        if isinstance(value, Mapping) and value:
            inner: list[tuple[str, object]] = [(f"{name}.{key}", each) for key, each in value.items()]  # pyright: ignore[reportUnknownVariableType] - a record is of any shape
            pending += reversed(inner)
            continue
        text = value if isinstance(value, str) else json_bytes({"v": value}).decode("utf-8", "backslashreplace")[5:-1]  # type: ignore[dict-item]  # a record is of any shape
        found.append(Field(name, text, _kind_of(name, text)))
    return found


def _kind_of(name: str, text: str) -> str:
    if not text or len(text) > LINKED_CHARACTERS_MAX or text == "-":
        return ""
    named = _NAMED.get(name.rpartition(".")[2].casefold().replace("_", ""))
    possible = [kind for kind, _ in guesses(text)]
    if named is not None and named in possible:
        return named
    return possible[0] if possible and possible[0] in _SURE else ""


def record(visit: Visit) -> Response:
    """A raw record: every field, and the bytes as they came in."""
    file, number_text = visit.asked("file"), visit.asked("number")
    if not file or not number_text.isdecimal():
        raise InputError("a record is named by its file and its number")
    owner = next((each.id for each in visit.organisations() if each.public_id == visit.asked("of")), None)
    if visit.asked("of") and owner is None:
        raise NotFound("there is no such organisation")
    found = records_at(visit.workspace, visit.scope, file, int(number_text), organisation=owner)
    entries = [
        {
            "stream": each.stream,
            "organisation": visit.names().get(each.organisation, ""),
            "fields": fields_of(each.record),
            "raw": each.raw.decode("utf-8", "backslashreplace")[:RAW_CHARACTERS_MAX],
            "cut": max(0, len(each.raw) - RAW_CHARACTERS_MAX),
        }
        for each in found
    ]
    return visit.page(
        "record_part.html.j2" if visit.is_partial else "record.html.j2",
        place="queue",
        title=visit.texts("record.title", number=number(int(number_text))),
        lead=file,
        entries=entries,
        file=file,
        record_number=number_text,
        stamp=stamp,
    )


ROUTES: Final = (
    list_route(PAGE),
    Route("GET", "/detections/{id}", show),
    Route("POST", "/detections/act/{verb}", act, "write"),
    Route("POST", "/detections/undo", undo, "write"),
    Route("POST", "/detections/export", export),
    Route("GET", "/records", record),
)
