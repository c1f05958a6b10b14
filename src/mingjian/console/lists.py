"""One list for all pages: filters, order, pages, columns to choose, export; everything is in the address.

A list page says what its columns and filters are and gives a function that fetches rows; the rest is done here. A row
holds plain values: the page, the exports and the API write the same ones, each in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.responses import RedirectResponse, Response, StreamingResponse

from mingjian.console import exports
from mingjian.console.filtering import Fields, read_filter
from mingjian.console.site import Visit
from mingjian.errors import InputError, SchemaError, shown
from mingjian.model.rules import LEVELS, Level
from mingjian.model.sources import ObservableKind
from mingjian.store.narrowing import Condition
from mingjian.store.scope import Right
from mingjian.store.views import SavedView, views_of

ROWS_SHOWN: Final = 100
ROWS_SHOWN_MAX: Final = 500
"""So many rows a page has at most, whatever the address says."""
EXPORT_ROWS_MAX: Final = 200_000
"""So many rows an export has at most; the page says so."""
FILTER_CHARACTERS_MAX: Final = 1_000
PLACE_CHARACTERS_MAX: Final = 300
UNDONE_MAX: Final = 25
"""What was done with so many rows at once can be undone by one click: their keys stand in the address."""

Value: TypeAlias = "str | int | float | bool | Sequence[str] | None"
Kind: TypeAlias = Literal[
    "text",
    "prose",
    "code",
    "level",
    "time",
    "number",
    "bytes",
    "entity",
    "techniques",
    "state",
    "share",
    "link",
    "download",
    "word",
    "days",
]
"""How the values of a column look. ``entity`` opens a card, ``link`` the row, ``download`` gives it as a file, ``word``
is a key of our texts."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column. Its heading is the text ``column.NAME``."""

    name: str
    kind: Kind = "text"
    entity: ObservableKind | None = None
    sorts: bool = False
    hidden: bool = False
    """Not shown unless somebody chooses it."""
    is_reason: bool = False
    """What we say of input or of a rule: on pages it is said in the reader's language."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Something to narrow the list down by. Its label is the text ``filter.NAME``."""

    name: str
    kind: Literal["text", "choice", "day"] = "text"
    choices: tuple[str, ...] = ()
    """Texts ``choice.CHOICE``."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do with the rows that are selected. Its label is the text ``action.NAME``."""

    name: str
    path: str
    right: Right = "write"
    key: str = ""
    """On the keyboard: it is done with what is selected, else with the row at which the reader is."""
    leaves: bool = False
    """It leads to another page, or to a file."""
    text: str = ""
    """The name of a text that has to be given with it."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row."""

    key: str
    values: Mapping[str, Value]
    href: str = ""
    """Where it opens, in the drawer first."""
    evidence: str = ""
    """Where its raw record is."""
    beneath: str = ""
    """A sentence under the link of the row."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A page of rows."""

    rows: Sequence[Row]
    after: str | None = None
    """Where the next page begins."""
    total: int | None = None
    """How many there are with these filters; None if nobody counted."""
    total_is_bound: bool = False
    """There are more than ``total``."""
    is_cut: bool = False
    """Looking ended before the page was full: there may be more behind ``after``."""
    looked_to_us: int | None = None
    """If it was cut, up to which time."""


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that have the same in a column."""

    label: str
    href: str
    """The list of them alone."""
    count: int
    level: Level
    last_us: int | None
    word: str = ""
    """Its key among our texts, if it is a word of ours."""


class Grouped(msgspec.Struct, frozen=True, kw_only=True):
    """A list by what rows have in common, the most frequent first."""

    rows: Sequence[GroupRow]
    several: int
    total: int
    looked_at_max: int | None = None
    """Only so many rows were looked at, and there are more."""
    whole: str = ""
    """Where all of them are counted."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What of a list is wanted, checked."""

    filters: Mapping[str, str]
    sort: str
    descending: bool
    after: str
    limit: int
    counted: bool = True
    """Whether the total is wanted."""
    conditions: tuple[Condition, ...] = ()
    """What the filter ``q`` says, if the list has the language of filters."""
    group: str = ""
    """The column by which rows are put together."""

    def given(self, name: str) -> str:
        """The value of a filter; empty if it is not set."""
        return self.filters.get(name, "")


class ListPage(msgspec.Struct, frozen=True, kw_only=True):
    """A list page. Texts: ``NAME.title``, ``NAME.empty`` and ``NAME.empty-next`` for nothing at all."""

    name: str
    path: str
    place: str
    """The entry of the rail that it belongs to."""
    columns: tuple[Column, ...]
    filters: tuple[Filter, ...] = ()
    actions: tuple[Action, ...] = ()
    """They are sent as a POST with the field ``key`` for each row that is selected."""
    sort: str
    """The column it is ordered by at first; with ``-`` before it, downwards."""
    fetch: Callable[[Visit, Asked], Rows]
    lead: Callable[[Visit, Rows], str]
    """The sentence of truth about the page."""
    above: str = ""
    """A template that stands above the list."""
    context: Callable[[Visit], Mapping[str, object]] = lambda visit: {}
    live: str = ""
    """The topic of live updates that says that there may be something new."""
    fields: Fields = {}
    """What the filter ``q`` may be about; without any it is a text. Each has the text ``field.NAME``."""
    groups: tuple[str, ...] = ()
    """The columns by which rows can be put together."""
    group: Callable[[Visit, Asked], Grouped] | None = None
    views: tuple[tuple[str, str], ...] | None = None
    """Views that everybody has: the text ``view.NAME``, and the address after the question mark. None: no views."""
    every_max: int = 0
    """So many rows at most are acted upon at once as “all that match”; 0: only those that are selected."""

    def sorts(self) -> tuple[str, ...]:
        """The columns by which it can be ordered."""
        return tuple(column.name for column in self.columns if column.sorts)


def read(page: ListPage, visit: Visit, given: Mapping[str, str] | None = None) -> Asked:
    """Read what is wanted from the address, or from the parameters of another one.

    Raises:
        SchemaError: it makes no sense.
        NotFound: the scope does not reach the organisation that is chosen, whether the list looks at it or not.
    """
    visit.organisation()
    given = visit.request.query_params if given is None else given
    filters: dict[str, str] = {}
    for each in page.filters:
        value = given.get(each.name, "").strip()
        if len(value) > FILTER_CHARACTERS_MAX:
            raise SchemaError(f"the filter {each.name} is longer than {FILTER_CHARACTERS_MAX} characters")
        if value and each.kind == "choice" and value not in each.choices:
            raise SchemaError(f"{each.name} cannot be {shown(value)}", hint="one of " + ", ".join(each.choices))
        if value:
            filters[each.name] = value
    sort = given.get("sort", "") or page.sort
    name = sort.removeprefix("-")
    if name not in page.sorts():
        raise SchemaError(f"the list cannot be ordered by {shown(name)}", hint="one of " + ", ".join(page.sorts()))
    limit = given.get("limit", str(ROWS_SHOWN))
    if not limit.isdecimal() or not 1 <= int(limit) <= ROWS_SHOWN_MAX:
        raise SchemaError(f"limit is {shown(limit)}", hint=f"a number from 1 to {ROWS_SHOWN_MAX}")
    group = given.get("group", "")
    if group and group not in page.groups:
        raise SchemaError(f"the list cannot be grouped by {shown(group)}", hint=", ".join(page.groups))
    return Asked(
        filters=filters,
        sort=name,
        descending=sort.startswith("-"),
        after=given.get("after", "")[:PLACE_CHARACTERS_MAX],
        limit=int(limit),
        conditions=read_filter(filters.get("q", ""), page.fields, visit.now_us) if page.fields else (),
        group=group,
    )


def columns_of(page: ListPage, visit: Visit) -> list[Column]:
    """The columns that are shown: those of the address, else those that are not hidden."""
    chosen = visit.request.query_params.getlist("col")
    found = [column for column in page.columns if column.name in chosen]
    return found or [column for column in page.columns if not column.hidden]


def answer(page: ListPage, visit: Visit) -> Response:
    """Answer a request for a list: the page, the list alone, or a file."""
    asked = read(page, visit)
    form = visit.asked("as")
    if form:
        return _export(page, visit, asked, form)
    grouped = page.group(visit, asked) if asked.group and page.group is not None else None
    rows = page.fetch(visit, asked) if grouped is None else Rows(rows=())
    context: dict[str, Any] = {
        "page": page,
        "rows": rows,
        "grouped": grouped,
        "asked": asked,
        "columns": columns_of(page, visit),
        "place": page.place,
        "title": visit.texts(f"{page.name}.title"),
        "lead": page.lead(visit, rows) if grouped is None else "",
        "actions": [action for action in page.actions if visit.may(action.right)],
        "export_max": EXPORT_ROWS_MAX,
        "undo": [key for key in visit.asked("undo").split(".") if key],
        **page.context(visit),
    }
    target = visit.request.headers.get("hx-target", "")
    if visit.is_partial and target == "list":
        return visit.page("list_part.html.j2", **context)
    if visit.is_partial and visit.asked("part") == "rows":
        return visit.page("list_rows.html.j2", **context)
    return visit.page("list.html.j2", views=views(page, visit), **context)


# --- views, and what is done with rows ------------------------------------------------------------------------------


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A view, as the page offers it."""

    name: str
    href: str
    is_current: bool
    saved: SavedView | None = None
    """None: everybody has it."""


def views(page: ListPage, visit: Visit) -> list[View]:
    """The views of a list: those that everybody has, and those that were saved."""
    if page.views is None:
        return []
    here = sorted(each for each in visit.request.query_params.multi_items() if each[0] in _kept_in_views(page))

    def view(name: str, query: str, saved: SavedView | None = None) -> View:
        parameters = parse_qsl(query)
        href = visit.address(page.path) if not query else f"{page.path}?{query}"
        if query and visit.chosen() and not any(key == "org" for key, _ in parameters):
            href += "&" + urlencode({"org": visit.chosen()})
        return View(name=name, href=href, is_current=sorted(parameters) == here, saved=saved)

    found = [view(visit.texts(f"view.{name}"), query) for name, query in page.views]
    return found + [view(each.name, each.query, each) for each in views_of(visit.workspace, visit.scope, page.name)]


def _kept_in_views(page: ListPage) -> set[str]:
    return {"sort", "col", "group", "limit", *(each.name for each in page.filters)}


def query_of_view(page: ListPage, address: str) -> str:
    """What of an address a saved view keeps: filters, order, columns, groups."""
    kept = _kept_in_views(page)
    return urlencode([each for each in parse_qsl(address.partition("?")[2]) if each[0] in kept])


def chosen(page: ListPage, visit: Visit) -> list[str]:
    """The keys of the rows that something is to be done with: those selected, or all that match.

    Raises:
        InputError: none, or too many.
    """
    if visit.given("every") != "1":
        keys = visit.given_all("key")
        if not keys:
            raise InputError("nothing is selected", hint="x selects a row")
        return keys[: max(page.every_max, ROWS_SHOWN_MAX)]
    asked = read(page, visit, dict(parse_qsl(visit.given("back").partition("?")[2])))
    keys: list[str] = []
    after: str | None = ""
    while after is not None and len(keys) <= page.every_max:
        wanted = msgspec.structs.replace(asked, after=after, limit=ROWS_SHOWN_MAX, counted=False)
        rows = page.fetch(visit, wanted)
        keys += [row.key for row in rows.rows]
        after = rows.after
    if len(keys) > page.every_max:
        raise InputError(f"more than {page.every_max} rows match", hint="narrow the list down, then act on all of it")
    return keys


def back(page: ListPage, visit: Visit, *, done: str, undo: Sequence[str] = ()) -> Response:
    """Send back to the list as it was, with word of what was done, and which rows can be had back."""
    address = visit.given("back")
    path, _, query = address.partition("?")
    if path != page.path:
        return visit.redirect(page.path, done=done)
    kept = [each for each in parse_qsl(query) if each[0] not in ("done", "undo", "after", "part")]
    kept.append(("done", done))
    if 0 < len(undo) <= UNDONE_MAX:
        kept.append(("undo", ".".join(undo)))
    return RedirectResponse(f"{page.path}?{urlencode(kept)}", 303)


def export_chosen(page: ListPage, visit: Visit, rows: Sequence[Row]) -> Response:
    """Rows as a file, with every column. The form of it is given by the field ``as``."""
    form = visit.given("as", "csv")
    return _as_file(
        page, visit, page.columns, form, iter([row.values.get(c.name) for c in page.columns] for row in rows)
    )


def _export(page: ListPage, visit: Visit, asked: Asked, form: str) -> Response:
    columns = columns_of(page, visit)
    return _as_file(page, visit, columns, form, every_row(page, visit, asked, [column.name for column in columns]))


def _as_file(
    page: ListPage, visit: Visit, columns: Sequence[Column], form: str, rows: Iterator[list[Value]]
) -> Response:
    if form not in exports.FORMS:
        raise SchemaError(f"there is no export as {shown(form)}", hint="one of " + ", ".join(exports.FORMS))
    names = [column.name for column in columns]
    times = {column.name for column in columns if column.kind == "time"}
    headings = [visit.texts(f"column.{name}") for name in names]
    # What cannot be answered is to fail before the answer begins.
    first = list(islice(rows, 1))
    table = exports.Table(names=names, headings=headings, times=times, rows=chain(first, rows))
    body, media_type = exports.FORMS[form](table)
    headers = {"content-disposition": f'attachment; filename="mingjian-{page.name}.{form}"'}
    if isinstance(body, bytes):
        return Response(body, media_type=media_type, headers=headers)
    return StreamingResponse(body, media_type=media_type, headers=headers)


def every_row(page: ListPage, visit: Visit, asked: Asked, names: Sequence[str]) -> Iterator[list[Value]]:
    """The values of all rows from the first on, up to EXPORT_ROWS_MAX."""
    after, left = "", EXPORT_ROWS_MAX
    while left > 0:
        wanted = msgspec.structs.replace(asked, after=after, limit=min(left, ROWS_SHOWN_MAX), counted=False)
        rows = page.fetch(visit, wanted)
        for row in rows.rows:
            yield [row.values.get(name) for name in names]
        left -= len(rows.rows)
        if rows.after is None:
            return
        after = rows.after


def among(rows: Sequence[Row], asked: Asked, *, texts: Sequence[str] = ()) -> Rows:
    """Filter, order and cut rows that are all in memory. The filter ``q`` looks into the columns ``texts``."""
    wanted = asked.given("q").casefold()
    found = [
        row
        for row in rows
        if (not wanted or any(wanted in str(row.values.get(name, "")).casefold() for name in texts))
        and all(
            _is_wanted(name, row.values[name], value)
            for name, value in asked.filters.items()
            if name != "q" and name in row.values
        )
    ]
    found.sort(key=lambda row: _order_of(row.values.get(asked.sort)), reverse=asked.descending)
    if asked.after and not asked.after.isdecimal():
        raise InputError(f"{shown(asked.after)} is no place in this list")
    start = int(asked.after or 0)
    some = found[start : start + asked.limit]
    end = start + len(some)
    return Rows(rows=some, after=str(end) if end < len(found) else None, total=len(found))


def _is_wanted(name: str, value: Value, wanted: str) -> bool:
    """Whether a row is meant by one filter; a level is one from which on."""
    if name == "level" and value in LEVELS and wanted in LEVELS:
        return LEVELS.index(value) >= LEVELS.index(wanted)
    return str(value) == wanted


def _order_of(value: Value) -> tuple[bool, float, str]:
    if isinstance(value, bool | int | float):
        return True, float(value), ""
    return value is not None, 0.0, str(value).casefold()
