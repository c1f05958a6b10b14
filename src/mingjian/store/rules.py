"""The rules of a workspace: every version that was ever run, which of them count now, and sets of versions.

A *version* is a rule with what decides about its matches; a changed title is no new version. A *set* is what was run
at once: coverage names sets, so that three thousand rules over a segment are one row. Rules belong to the workspace,
not to an organisation: everybody may see them, and only who reaches every organisation may change them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted
from mingjian.model.rules import AnyRule, Correlation, Rule
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.catalogue import insert_unless_there
from mingjian.store.jobs import queued
from mingjian.store.marks import LABELS_OF_RULES, mark, renew_mark
from mingjian.store.scope import EVERYONE, Scope
from mingjian.store.workspace import Workspace

IDS_LOGGED_MAX: Final = 200
"""So many ids of rules an entry of the audit log names; it counts them all."""
PORTION: Final = 500
"""So many values are named in one statement."""
_HIDDEN: Final = "~hidden"


class RuleSet(msgspec.Struct, frozen=True, kw_only=True):
    """Some rule versions, with what they say."""

    id: int
    rules: tuple[Rule, ...]
    correlations: tuple[Correlation, ...]
    """Each after those that it refers to."""
    versions: Mapping[str, int]
    """Id of a rule or correlation → number of its version."""

    def __len__(self) -> int:
        return len(self.versions)


class RuleVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as a list shows it."""

    id: int
    rule_id: str
    kind: str
    """``rule`` or ``correlation``."""
    title: str
    level: str
    file: str
    content_hash: str
    added_us: int
    retired_us: int | None
    """Since when it does not count any more; None if it does."""


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What came of adding rules."""

    rule_set: RuleSet
    new: tuple[int, ...]
    """Versions that did not count before, and do now: what a hunt over history is due for."""
    changed: int
    """So many of them take the place of another version of the same rule."""
    unchanged: int
    retired: tuple[str, ...]
    """Ids of rules that counted before and do not any more, and have no new version."""


def version_key(rule: AnyRule) -> str:
    """Name the version of a rule: its content, and whether its own matches are reported."""
    return rule.content_hash + (_HIDDEN if rule.hidden else "")


def can_be_kept(rule: AnyRule) -> bool:
    """Whether a rule can be stored: not one with text that is no text, or numbers beyond 64 bits."""
    try:
        msgspec.msgpack.encode(rule)
    except (UnicodeEncodeError, OverflowError):
        return False
    return True


def keep_rules(
    workspace: Workspace, scope: Scope, rules: Sequence[Rule], correlations: Sequence[Correlation] = ()
) -> RuleSet:
    """Note rules (that ``can_be_kept``) as a set that can be run; that alone does not make them count for arrivals.

    A version that counts keeps its title, level and tags, whatever they are here.

    Raises:
        NotPermitted: the scope does not reach every organisation.
    """
    _check(scope)
    with workspace.begin() as connection:
        versions, _ = _versions(connection, [*rules, *correlations], workspace.clock_us(), renews_live=False)
        set_id = set_of_versions(connection, versions.values(), workspace.clock_us())
    return RuleSet(id=set_id, rules=tuple(rules), correlations=tuple(correlations), versions=versions)


def add_rules(
    workspace: Workspace,
    scope: Scope,
    rules: Sequence[Rule],
    correlations: Sequence[Correlation] = (),
    *,
    replace: bool = False,
) -> Added:
    """Make rules count: they are run over whatever arrives, in place of earlier versions of the same rules.

    With ``replace`` all others stop to count. What was found under versions that only get another title, level or tags
    is told anew, as a job that is queued in the same transaction.

    Raises:
        NotPermitted: the scope does not reach every organisation.
    """
    _check(scope)
    now = workspace.clock_us()
    table = t.rule_versions
    with workspace.begin() as connection:
        query = sa.select(table.c.id, table.c.rule_id).where(table.c.retired_us.is_(None))
        before = {row.id: row.rule_id for row in connection.execute(query)}
        versions, labelled = _versions(connection, [*rules, *correlations], now)
        wanted = set(versions.values())
        gone = [
            number for number, rule_id in before.items() if number not in wanted and (replace or rule_id in versions)
        ]
        new = sorted(wanted - before.keys())
        for ids in _portions(gone):
            connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(retired_us=now))
        for ids in _portions(new):
            connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(retired_us=None, added_us=now))
        set_id = set_of_versions(connection, versions.values(), now)
        rule_of = {number: rule_id for rule_id, number in versions.items()}
        retired = sorted(before[number] for number in gone if before[number] not in versions)
        _log(workspace, connection, scope, "rule.switched-on", sorted(rule_of[number] for number in new))
        _log(workspace, connection, scope, "rule.switched-off", retired)
        if labelled:
            renew_mark(connection, LABELS_OF_RULES)
            _log(workspace, connection, scope, "rule.labelled", sorted(rule_of[number] for number in labelled))
            _queue_labels(workspace, connection, scope, labelled)
    known = set(before.values())
    return Added(
        rule_set=RuleSet(id=set_id, rules=tuple(rules), correlations=tuple(correlations), versions=versions),
        new=tuple(new),
        changed=sum(rule_of[number] in known for number in new),
        unchanged=len(wanted) - len(new),
        retired=tuple(retired),
    )


def _queue_labels(workspace: Workspace, connection: sa.Connection, scope: Scope, versions: Sequence[int]) -> None:
    asked = {"by": scope.actor, "versions": list(versions)}
    queued(workspace, connection, scope, "labels", request=json.dumps(asked))


def retire_rules(workspace: Workspace, scope: Scope, rule_ids: Iterable[str] | None) -> list[str]:
    """Let rules stop to count, all of them for None; give the ids of those that did.

    Correlations that refer to one of them stop as well. What they found and what they were run over stays.

    Raises:
        NotPermitted: the scope does not reach every organisation.
        NotFound: one of the ids is of no rule that counts.
    """
    _check(scope)
    live = live_rules(workspace, scope)
    gone = set(live.versions) if rule_ids is None else {t.storable(each) for each in rule_ids}
    unknown = sorted(gone - live.versions.keys())
    if unknown:
        raise NotFound(f"no rule of this workspace has the id {unknown[0]}", hint="mingjian rules list names them")
    for correlation in live.correlations:
        if not gone.isdisjoint(correlation.rules):
            gone.add(correlation.id)
    table = t.rule_versions
    with workspace.begin() as connection:
        for ids in _portions([live.versions[each] for each in sorted(gone)]):
            connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(retired_us=workspace.clock_us()))
        _log(workspace, connection, scope, "rule.switched-off", sorted(gone))
    return sorted(gone)


def _log(workspace: Workspace, connection: sa.Connection, scope: Scope, what: str, rule_ids: Sequence[str]) -> None:
    if rule_ids:
        about = rule_ids[0] if len(rule_ids) == 1 else f"{len(rule_ids)} rules"
        after = {"rules": len(rule_ids), "ids": [t.storable(each) for each in rule_ids[:IDS_LOGGED_MAX]]}
        act(workspace, connection, scope, what, about=about, after=after)


def live_rules(workspace: Workspace, scope: Scope) -> RuleSet:
    """The rules that count now, as one set. It may be empty."""
    table = t.rule_versions
    query = sa.select(table.c.id, table.c.definition).where(table.c.retired_us.is_(None)).order_by(table.c.id)
    with workspace.read() as connection:
        rows = [(row.id, row.definition) for row in connection.execute(query)]
        known = connection.execute(
            sa.select(t.rule_sets.c.id).where(t.rule_sets.c.content_hash == _set_hash(number for number, _ in rows))
        ).scalar_one_or_none()
    if known is None:
        with workspace.begin() as connection:
            known = set_of_versions(connection, [number for number, _ in rows], workspace.clock_us())
    return _decoded(known, rows)


def live_versions(workspace: Workspace) -> tuple[int, ...]:
    """The numbers of the versions that count now."""
    with workspace.read() as connection:
        return _live_versions(connection)


def rules_mark(workspace: Workspace) -> tuple[object, ...]:
    """What is something else whenever other rules count, or one of them has another title, level or tags."""
    with workspace.read() as connection:
        return *_live_versions(connection), mark(connection, LABELS_OF_RULES)


def _live_versions(connection: sa.Connection) -> tuple[int, ...]:
    table = t.rule_versions
    query = sa.select(table.c.id).where(table.c.retired_us.is_(None)).order_by(table.c.id)
    return tuple(connection.execute(query).scalars())


def versions_named(workspace: Workspace, numbers: Sequence[int]) -> dict[int, AnyRule]:
    """What some versions say now; what is not there is left out."""
    table = t.rule_versions
    found: dict[int, AnyRule] = {}
    decode = msgspec.msgpack.Decoder(AnyRule).decode
    with workspace.read() as connection:
        for ids in _portions(numbers):
            query = sa.select(table.c.id, table.c.definition).where(table.c.id.in_(ids))
            found |= {number: decode(definition) for number, definition in connection.execute(query)}
    return found


def rule_set(workspace: Workspace, scope: Scope, set_id: int) -> RuleSet:
    """One set. Raises: NotFound."""
    members, table = t.rule_set_members, t.rule_versions
    query = (
        sa.select(table.c.id, table.c.definition)
        .join(members, members.c.rule_version_id == table.c.id)
        .where(members.c.rule_set_id == set_id)
        .order_by(table.c.id)
    )
    with workspace.read() as connection:
        there = sa.select(t.rule_sets.c.id).where(t.rule_sets.c.id == set_id)
        if connection.execute(there).scalar_one_or_none() is None:
            raise NotFound("there is no such rule set")
        rows = [(row.id, row.definition) for row in connection.execute(query)]
    return _decoded(set_id, rows)


def retired_rule(workspace: Workspace, scope: Scope, rule_id: str) -> AnyRule:
    """The newest version of a rule of which none counts any more. Raises: NotFound."""
    table, other = t.rule_versions, t.rule_versions.alias()
    counts = sa.exists().where(other.c.rule_id == t.storable(rule_id), other.c.retired_us.is_(None))
    query = (
        sa.select(table.c.definition)
        .where(table.c.rule_id == t.storable(rule_id), ~counts)
        .order_by(table.c.retired_us.desc(), table.c.id.desc())
        .limit(1)
    )
    with workspace.read() as connection:
        definition = connection.execute(query).scalar_one_or_none()
    if definition is None:
        raise NotFound("no rule with this id is switched off")
    return msgspec.msgpack.decode(definition, type=AnyRule)


def set_of(workspace: Workspace, scope: Scope, version_ids: Iterable[int]) -> int:
    """The number of the set of some versions. Raises: NotPermitted."""
    _check(scope)
    with workspace.begin() as connection:
        return set_of_versions(connection, version_ids, workspace.clock_us())


def rule_versions(workspace: Workspace, scope: Scope, *, retired: bool = False) -> list[RuleVersion]:
    """List versions by title: those that count, or with ``retired`` all that there ever were."""
    table = t.rule_versions
    query = sa.select(*(column for column in table.c if column.name != "definition")).order_by(
        table.c.title, table.c.id
    )
    if not retired:
        query = query.where(table.c.retired_us.is_(None))
    with workspace.read() as connection:
        return [
            RuleVersion(
                id=row.id,
                rule_id=row.rule_id,
                kind=row.kind,
                title=row.title,
                level=row.level,
                file=row.file,
                content_hash=row.content_hash,
                added_us=row.added_us,
                retired_us=row.retired_us,
            )
            for row in connection.execute(query)
        ]


def set_of_versions(connection: sa.Connection, version_ids: Iterable[int], now: int) -> int:
    """The number of the set of some versions, within a transaction; it gets one if it has none."""
    members = sorted(set(version_ids))
    table = t.rule_sets
    content_hash = _set_hash(members)
    of_hash = sa.select(table.c.id).where(table.c.content_hash == content_hash)
    known = connection.execute(of_hash).scalar_one_or_none()
    if known is not None:
        return known
    values = {"content_hash": content_hash, "rules": len(members), "created_us": now}
    connection.execute(insert_unless_there(connection, table), [values])
    made = connection.execute(of_hash).scalar_one()
    if members:
        rows = [{"rule_set_id": made, "rule_version_id": member} for member in members]
        connection.execute(insert_unless_there(connection, t.rule_set_members), rows)
    return made


def _set_hash(version_ids: Iterable[int]) -> str:
    numbers = ",".join(map(str, sorted(set(version_ids))))
    return hashlib.blake2b(numbers.encode(), digest_size=16).hexdigest()


def _versions(
    connection: sa.Connection, rules: Sequence[AnyRule], now: int, *, renews_live: bool = True
) -> tuple[dict[str, int], list[int]]:
    """The numbers of the versions of rules, and those that have another title, level or tags now.

    Those that are new get a number, and count for nothing yet.
    """
    table = t.rule_versions
    definitions = {(t.storable(rule.id), version_key(rule)): msgspec.msgpack.encode(rule) for rule in rules}
    rows = [
        {
            "rule_id": rule.id,
            "content_hash": version_key(rule),
            "kind": "correlation" if isinstance(rule, Correlation) else "rule",
            "title": rule.title,
            "level": rule.level,
            "file": rule.file,
            "definition": definitions[t.storable(rule.id), version_key(rule)],
            "added_us": now,
            "retired_us": now,
        }
        for rule in rules
    ]
    if rows:
        connection.execute(insert_unless_there(connection, table), rows)
    found: dict[tuple[str, str], int] = {}
    stale: list[tuple[int, bytes, tuple[str, str]]] = []
    for ids in _portions([rule_id for rule_id, _ in definitions]):
        for row in connection.execute(sa.select(table).where(table.c.rule_id.in_(ids))):
            key = (row.rule_id, row.content_hash)
            if key in definitions:
                found[key] = row.id
                if row.definition != definitions[key] and (renews_live or row.retired_us is not None):
                    stale.append((row.id, row.definition, key))
    by_key = {(t.storable(rule.id), version_key(rule)): rule for rule in rules}
    labelled: list[int] = []
    for number, definition, key in stale:
        rule = by_key[key]
        known = msgspec.msgpack.decode(definition, type=AnyRule)
        if (known.title, known.level, known.attack) != (rule.title, rule.level, rule.attack):
            labelled.append(number)
        values = {"title": rule.title, "level": rule.level, "file": rule.file, "definition": definitions[key]}
        connection.execute(sa.update(table).where(table.c.id == number).values(values))
    return {rule.id: found[t.storable(rule.id), version_key(rule)] for rule in rules}, sorted(labelled)


def _decoded(set_id: int, rows: Sequence[tuple[int, bytes]]) -> RuleSet:
    decode = msgspec.msgpack.Decoder(AnyRule).decode
    rules: list[Rule] = []
    waiting: list[Correlation] = []
    versions: dict[str, int] = {}
    for number, definition in rows:
        rule = decode(definition)
        versions[rule.id] = number
        if isinstance(rule, Rule):
            rules.append(rule)
        else:
            waiting.append(rule)
    return RuleSet(id=set_id, rules=tuple(rules), correlations=tuple(_in_order(waiting)), versions=versions)


def _in_order(correlations: Sequence[Correlation]) -> list[Correlation]:
    """Each after those that it refers to. (The loader has refused circles.)"""
    waiting = {each.id: each for each in correlations}
    ordered: list[Correlation] = []
    while waiting:
        ready = [each for each in waiting.values() if waiting.keys().isdisjoint(each.rules)]
        assert ready, "the loader lets no correlation refer to itself"
        ordered += ready
        for each in ready:
            del waiting[each.id]
    return ordered


def _portions(values: Sequence[int] | Sequence[str]) -> list[list[int | str]]:
    return [list(values[start : start + PORTION]) for start in range(0, len(values), PORTION)]


def _check(scope: Scope) -> None:
    if scope.writes is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not change the rules of the workspace")
