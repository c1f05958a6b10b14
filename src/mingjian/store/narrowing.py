"""Conditions on detections, however many, and by which index they are read.

A million detections have some hundreds of rules, some thousands of hosts and accounts. A text in the title of a rule, a
technique, a part of a host's name are looked up among these (``Names``), and the rows are then read by the index of
what was found. Where no index helps, a page looks at a bounded number of rows and says how far it came.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.model.rules import LEVELS
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.workspace import Workspace

NAMES_MAX: Final = 20_000
"""So many rules, hosts and accounts each are known by name; of more, conditions are tried row by row."""
PARTS_MAX: Final = 24
"""So many values are read by their index, each by itself; more are not."""
NEWER_MAX: Final = 5_000
"""If more detections came since, names are looked up anew."""
LISTED_IDS_MAX: Final = 2_000
"""So many rules may stand in one condition by their ids."""

How: TypeAlias = Literal["is", "like", "from", "to", "within"]
"""Equal to one of the values; holding one of them, ``*`` standing for anything; at least; at most; from the first to
the second of two."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition. Several values: one of them is enough."""

    field: str
    values: tuple[str, ...]
    how: How = "is"
    negated: bool = False


class Rule(NamedTuple):
    """A rule that found something."""

    id: str
    title: str
    techniques: tuple[str, ...]


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What detections are of, each once."""

    rules: tuple[Rule, ...] = ()
    hosts: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    is_whole: bool = True
    """There are no more than these."""
    up_to: int = 0
    """The number of the detection that was found last when they were looked up."""


class Part(NamedTuple):
    """Rows that an index gives in the order of time."""

    column: str
    value: object


EVERY: Final = Part("", None)
"""All rows, by the time of the event or in the order in which they were found."""


def names_of(workspace: Workspace) -> Names:
    """Look up what detections are of, in steps from one value of an index to the next.

    Of all organisations: what is found with these names is narrowed down to what the scope may see.
    """
    table = t.detections
    with workspace.read() as connection:
        up_to = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() or 0
        hosts = _distinct(connection, table.c.host)
        accounts = _distinct(connection, table.c.account)
        ids = _distinct(connection, table.c.rule_id)
        rules = [_rule(connection, each) for each in ids]
    return Names(
        rules=tuple(each for each in rules if each is not None),
        hosts=tuple(filter(None, hosts)),
        accounts=tuple(filter(None, accounts)),
        is_whole=max(len(hosts), len(accounts), len(ids)) < NAMES_MAX,
        up_to=up_to,
    )


def with_newer(workspace: Workspace, names: Names) -> Names:
    """The names, and those of the detections that were found since they were looked up."""
    table = t.detections
    query = (
        sa.select(table.c.rule_id, table.c.rule_title, table.c.details, table.c.host, table.c.account)
        .where(table.c.id > names.up_to)
        .limit(NEWER_MAX + 1)
    )
    with workspace.read() as connection:
        rows = connection.execute(query).all()
    if not rows:
        return names
    if len(rows) > NEWER_MAX:
        return names_of(workspace)
    rules = {each.id: each for each in names.rules}
    for row in rows:
        rules[row.rule_id] = Rule(row.rule_id, row.rule_title, tuple(json.loads(row.details).get("attack", ())))
    return msgspec.structs.replace(
        names,
        rules=tuple(rules.values()),
        hosts=tuple({*names.hosts, *(row.host for row in rows if row.host)}),
        accounts=tuple({*names.accounts, *(row.account for row in rows if row.account)}),
    )


def _distinct(connection: sa.Connection, column: sa.Column[str]) -> list[str]:
    """The values of the first column of an index, without reading every row."""
    first = sa.select(sa.func.min(column).label("value")).cte("steps", recursive=True)
    following = (
        sa.select(column).where(column > first.c.value).order_by(column).limit(1).scalar_subquery().label("value")
    )
    steps = first.union_all(sa.select(following).where(first.c.value.is_not(None)))
    query = sa.select(steps.c.value).where(steps.c.value.is_not(None)).limit(NAMES_MAX)
    return [str(value) for value in connection.execute(query).scalars()]


def _rule(connection: sa.Connection, rule_id: str) -> Rule | None:
    table = t.detections
    query = (
        sa.select(table.c.rule_title, table.c.details)
        .where(table.c.rule_id == rule_id)
        .order_by(table.c.time_us.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else Rule(rule_id, row.rule_title, tuple(json.loads(row.details).get("attack", ())))


# --- which values a condition means ----------------------------------------------------------------------------------


def fits(text: str, condition: Condition) -> bool:
    """Whether a text is what a condition on it means, in any case.

    >>> fits("Whoami Was Run", Condition(field="title", values=("whoami",), how="like"))
    True
    >>> fits("pc-17", Condition(field="host", values=("PC-1*",)))
    True
    """
    folded = text.casefold()
    return any(_fits(folded, value.casefold(), condition.how) for value in condition.values)


def _fits(text: str, value: str, how: How) -> bool:
    if "*" not in value:
        return value in text if how == "like" else value == text
    pieces = value.split("*")
    if how == "like":
        pieces = ["", *pieces, ""]
    if not text.startswith(pieces[0]) or not text.endswith(pieces[-1]):
        return False
    place = len(pieces[0])
    for piece in pieces[1:-1]:
        found = text.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return place <= len(text) - len(pieces[-1])


def of_technique(techniques: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether one of some techniques is wanted, or a part of a wanted one.

    >>> of_technique(["T1059.001"], ["t1059"]), of_technique(["T1059"], ["T1059.001"])
    (True, False)
    """
    asked = [each.upper() for each in wanted]
    return any(each.upper() == one or each.upper().startswith(one + ".") for each in techniques for one in asked)


def rules_meant(names: Names, condition: Condition) -> list[str] | None:
    """The ids of the rules that a condition means (not negated); None if it is not about rules."""
    match condition.field:
        case "title":
            return [each.id for each in names.rules if fits(each.title, condition)]
        case "technique":
            return [each.id for each in names.rules if of_technique(each.techniques, condition.values)]
        case _:
            return None


def _named(names: Names, condition: Condition) -> list[str] | None:
    """The values of a column that a condition means: those that are known, and those that could have come since."""
    known = {"host": names.hosts, "account": names.accounts, "rule": tuple(each.id for each in names.rules)}
    if condition.field not in known:
        return None
    is_exact = condition.how == "is" and not any("*" in value for value in condition.values)
    if not is_exact and not names.is_whole:
        return None
    found = {each for each in known[condition.field] if fits(each, condition)}
    if is_exact:
        found |= {form(t.storable(value)) for value in condition.values for form in (str, str.lower, str.upper)}
    return sorted(found)


def parts_of(names: Names, conditions: Sequence[Condition]) -> tuple[Part, ...] | None:
    """By which indexes the rows can be read that conditions mean: those of the condition with the fewest values.

    None: by none of them. No parts at all: there is nothing that they could mean.
    """
    best: tuple[Part, ...] | None = None
    for each in conditions:
        parts = _parts_of_one(names, each)
        if parts is not None and len(parts) <= PARTS_MAX and (best is None or len(parts) < len(best)):
            best = parts
    return best


def _parts_of_one(names: Names, condition: Condition) -> tuple[Part, ...] | None:
    if condition.negated:
        return None
    if condition.field == "organisation":
        return tuple(Part("organisation_id", int(each)) for each in condition.values)
    named = _named(names, condition)
    if named is not None:
        return tuple(Part(_COLUMNS[condition.field], each) for each in named)
    rules = rules_meant(names, condition) if names.is_whole else None
    if rules is not None:
        return tuple(Part("rule_id", each) for each in rules)
    if names.is_whole and condition.field == "word":
        asked = msgspec.structs.replace(condition, how="like")
        about = [msgspec.structs.replace(asked, field=field) for field in ("title", "host", "account")]
        return tuple(part for each in about for part in _parts_of_one(names, each) or ())
    return None


# --- conditions as SQL -----------------------------------------------------------------------------------------------


def clause(names: Names, condition: Condition) -> sa.ColumnElement[bool]:
    """A condition on the table of detections. Raises: KeyError for a field that there is not."""
    found = _clause(names, condition)
    return sa.not_(found) if condition.negated else found


def _clause(names: Names, condition: Condition) -> sa.ColumnElement[bool]:
    table = t.detections
    rules = rules_meant(names, condition) if names.is_whole else None
    if rules is not None and len(rules) <= LISTED_IDS_MAX:
        return table.c.rule_id.in_(rules)
    named = _named(names, condition)
    if named is not None and len(named) <= LISTED_IDS_MAX:
        return table.c[_COLUMNS[condition.field]].in_(named)
    match condition.field:
        case "level":
            return table.c.level.in_(levels_meant(condition))
        case "technique":
            patterns = [f'%"{each.upper()}{rest}' for each in condition.values for rest in ('"%', ".%")]
            return sa.or_(*(table.c.details.like(t.storable(each)) for each in patterns))
        case "word":
            columns = (table.c.rule_title, table.c.host, table.c.account)
            asked = msgspec.structs.replace(condition, how="like")
            by_title = rules_meant(names, msgspec.structs.replace(asked, field="title")) if names.is_whole else None
            if by_title is not None and len(by_title) <= LISTED_IDS_MAX:
                return sa.or_(table.c.rule_id.in_(by_title), *(text_clause(column, asked) for column in columns[1:]))
            return sa.or_(*(text_clause(column, asked) for column in columns))
        case "stream":
            wanted = sa.select(t.streams.c.id).where(text_clause(t.streams.c.name, condition))
            return sa.and_(table.c.stream_id.is_not(None), table.c.stream_id.in_(wanted))
        case "organisation":
            return table.c.organisation_id.in_([int(each) for each in condition.values])
        case "verdict":
            return _verdict(condition.values)
        case "situation":
            members = s.situation_members
            inside = sa.exists().where(
                members.c.detection_id == table.c.id,
                members.c.situation_id == s.situations.c.id,
                s.situations.c.is_live > 0,
            )
            return inside if "yes" in condition.values else sa.not_(inside)
        case "time" | "found":
            return number_clause(table.c.time_us if condition.field == "time" else table.c.found_us, condition)
        case field:
            return text_clause(table.c[_COLUMNS[field]], condition)


_COLUMNS: Final = {
    "host": "host", "account": "account", "kind": "kind", "found_by": "found_by", "file": "file", "rule": "rule_id",
    "title": "rule_title", "value": "details",
}  # fmt: skip
FIELDS: Final = frozenset(
    {*_COLUMNS, "level", "technique", "word", "stream", "organisation", "verdict", "situation", "time", "found"}
)
"""Every field that a condition on detections may be about."""


def _verdict(values: Sequence[str]) -> sa.ColumnElement[bool]:
    """What a person said of it: ``none``, ``in_work``, or how it was closed."""
    table, verdicts = t.detections, s.detection_verdicts
    said = sa.select(verdicts.c.detection_id).where(verdicts.c.detection_id == table.c.id, verdicts.c.state != "open")
    found: list[sa.ColumnElement[bool]] = []
    for value in values:
        if value == "none":
            found.append(sa.not_(sa.exists(said)))
        elif value == "in_work":
            found.append(sa.exists(said.where(verdicts.c.state == "in_work")))
        else:
            found.append(sa.exists(said.where(verdicts.c.resolution == value)))
    return sa.or_(*found)


def levels_meant(condition: Condition) -> list[str]:
    """The levels that a condition means (not negated)."""
    if condition.how in ("is", "like"):
        return [each for each in LEVELS if each in condition.values]
    bound = LEVELS.index(condition.values[0])  # type: ignore[arg-type]  # checked by whoever made the condition
    return list(LEVELS[bound:] if condition.how == "from" else LEVELS[: bound + 1])


def text_clause(column: sa.ColumnElement[str], condition: Condition) -> sa.ColumnElement[bool]:
    """A condition on a text, in any case."""
    found: list[sa.ColumnElement[bool]] = []
    for value in condition.values:
        stored = t.storable(value)
        if condition.how == "is" and "*" not in stored:
            # By the index, whatever the case: names of hosts and accounts are written in few ways.
            found.append(column.in_(sorted({stored, stored.lower(), stored.upper()})))
            continue
        escaped = stored.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
        pattern = f"%{escaped}%" if condition.how == "like" else escaped
        found.append(column.ilike(pattern, escape="\\"))
    return sa.or_(*found)


def number_clause(column: sa.ColumnElement[Any], condition: Condition) -> sa.ColumnElement[bool]:
    """A condition on a number or a time."""
    numbers = [int(each) for each in condition.values]
    if condition.how == "from":
        return column >= numbers[0]
    if condition.how == "to":
        return column <= numbers[0]
    if condition.how == "within":
        return column.between(numbers[0], numbers[1])
    return column.in_(numbers)


# --- situations ------------------------------------------------------------------------------------------------------

_NUMBERS: Final = {
    "danger": "danger", "detections": "detections", "hosts": "hosts", "last": "last_us", "first": "first_us",
    "created": "created_us",
}  # fmt: skip
SITUATION_FIELDS: Final = frozenset(
    {*_NUMBERS, "word", "level", "owner", "organisation", "resolution", "tactic", "host", "account", "rule", "title"}
)
"""Every field that a condition on situations may be about. ``danger`` is in thousandths."""


def situation_clause(condition: Condition) -> sa.ColumnElement[bool]:
    """A condition on the table of situations."""
    found = _situation_clause(condition)
    return sa.not_(found) if condition.negated else found


def _situation_clause(condition: Condition) -> sa.ColumnElement[bool]:
    table = s.situations
    match condition.field:
        case "word":
            folded = tuple(value.casefold() for value in condition.values)
            return text_clause(table.c.search, msgspec.structs.replace(condition, values=folded, how="like"))
        case "level":
            return table.c.level.in_(levels_meant(condition))
        case "organisation":
            return table.c.organisation_id.in_([int(each) for each in condition.values])
        case "resolution":
            return table.c.resolution.in_(condition.values)
        case "owner":
            return table.c.owner.in_([t.storable(each) for each in condition.values])
        case "tactic":
            quoted = tuple(f'"{each}"' for each in condition.values)
            return text_clause(table.c.summary, Condition(field="tactic", values=quoted, how="like"))
        case "host" | "account" | "rule" | "title" as field:
            members, detections = s.situation_members, t.detections
            of_it = sa.select(members.c.situation_id).join(detections, detections.c.id == members.c.detection_id)
            return table.c.id.in_(of_it.where(text_clause(detections.c[_COLUMNS[field]], condition)))
        case field:
            return number_clause(table.c[_NUMBERS[field]], condition)
