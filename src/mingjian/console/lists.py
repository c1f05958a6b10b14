"""One list for all pages: filters, order, pages, columns to choose, export; everything is in the address.

A list page says what its columns and filters are and gives a function that fetches rows; the rest is done here. A row
holds plain values: the page, the exports and the API write the same ones, each in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Literal, TypeAlias

import msgspec
from starlette.responses import Response, StreamingResponse

from mingjian.console import exports
from mingjian.console.site import Visit
from mingjian.errors import InputError, SchemaError, shown
from mingjian.model.sources import ObservableKind
from mingjian.store.scope import Right

ROWS_SHOWN: Final = 100
ROWS_SHOWN_MAX: Final = 500
"""So many rows a page has at most, whatever the address says."""
EXPORT_ROWS_MAX: Final = 200_000
"""So many rows an export has at most; the page says so."""
FILTER_CHARACTERS_MAX: Final = 300

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
    "word",
    "days",
]
"""How the values of a column look. ``entity`` opens a card, ``link`` the row, ``word`` is a key of our texts."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column. Its heading is the text ``column.NAME``."""

    name: str
    kind: Kind = "text"
    entity: ObservableKind | None = None
    sorts: bool = False
    hidden: bool = False
    """Not shown unless somebody chooses it."""


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


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What of a list is wanted, checked."""

    filters: Mapping[str, str]
    sort: str
    descending: bool
    after: str
    limit: int
    counted: bool = True
    """Whether the total is wanted."""

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

    def sorts(self) -> tuple[str, ...]:
        """The columns by which it can be ordered."""
        return tuple(column.name for column in self.columns if column.sorts)


def read(page: ListPage, visit: Visit) -> Asked:
    """Read what is wanted from the address.

    Raises:
        SchemaError: it makes no sense.
        NotFound: the scope does not reach the organisation that is chosen, whether the list looks at it or not.
    """
    visit.organisation()
    filters: dict[str, str] = {}
    for each in page.filters:
        value = visit.asked(each.name).strip()
        if len(value) > FILTER_CHARACTERS_MAX:
            raise SchemaError(f"the filter {each.name} is longer than {FILTER_CHARACTERS_MAX} characters")
        if value and each.kind == "choice" and value not in each.choices:
            raise SchemaError(f"{each.name} cannot be {shown(value)}", hint="one of " + ", ".join(each.choices))
        if value:
            filters[each.name] = value
    sort = visit.asked("sort") or page.sort
    name = sort.removeprefix("-")
    if name not in page.sorts():
        raise SchemaError(f"the list cannot be ordered by {shown(name)}", hint="one of " + ", ".join(page.sorts()))
    limit = visit.asked("limit", str(ROWS_SHOWN))
    if not limit.isdecimal() or not 1 <= int(limit) <= ROWS_SHOWN_MAX:
        raise SchemaError(f"limit is {shown(limit)}", hint=f"a number from 1 to {ROWS_SHOWN_MAX}")
    return Asked(
        filters=filters,
        sort=name,
        descending=sort.startswith("-"),
        after=visit.asked("after")[:FILTER_CHARACTERS_MAX],
        limit=int(limit),
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
    rows = page.fetch(visit, asked)
    context: dict[str, Any] = {
        "page": page,
        "rows": rows,
        "asked": asked,
        "columns": columns_of(page, visit),
        "place": page.place,
        "title": visit.texts(f"{page.name}.title"),
        "lead": page.lead(visit, rows),
        "actions": [action for action in page.actions if visit.may(action.right)],
        "export_max": EXPORT_ROWS_MAX,
        **page.context(visit),
    }
    target = visit.request.headers.get("hx-target", "")
    if visit.is_partial and target == "list":
        return visit.page("list_part.html.j2", **context)
    if visit.is_partial and visit.asked("part") == "rows":
        return visit.page("list_rows.html.j2", **context)
    return visit.page("list.html.j2", **context)


def _export(page: ListPage, visit: Visit, asked: Asked, form: str) -> Response:
    if form not in exports.FORMS:
        raise SchemaError(f"there is no export as {shown(form)}", hint="one of " + ", ".join(exports.FORMS))
    columns = columns_of(page, visit)
    names = [column.name for column in columns]
    times = {column.name for column in columns if column.kind == "time"}
    headings = [visit.texts(f"column.{name}") for name in names]
    rows = every_row(page, visit, asked, names)
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
            str(row.values.get(name, "")) == value
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


def _order_of(value: Value) -> tuple[bool, float, str]:
    if isinstance(value, bool | int | float):
        return True, float(value), ""
    return value is not None, 0.0, str(value).casefold()
