"""Suppressions: written as Sigma filters, tried against history, and only then in force.

A suppression says ``not selection`` about rules that it names: what the selection fits is not worth anybody's time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from mingjian.detect.engine import Engine
from mingjian.detect.sigma.parse import parse_rules
from mingjian.errors import RuleError, SchemaError
from mingjian.hunt.evidence import Hiding, events_of, host_name
from mingjian.hunt.history import History
from mingjian.hunt.scan import MATCHED_CHARACTERS_MAX
from mingjian.model.rules import Filter, LogSource, Rule
from mingjian.situations.regrouping import regroup
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import organisations
from mingjian.store.detections import StoredDetection, detections_of_rules
from mingjian.store.rules import live_rules
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.suppressions import (
    Suppression,
    add_suppression,
    end_suppression,
    mark_hidden,
    suppression_by_id,
)
from mingjian.store.workspace import Workspace

DEFINITION_CHARACTERS_MAX: Final = 65_536
"""A longer filter is refused."""
EXAMPLES_MAX: Final = 10
"""So many detections that a filter would hide are shown."""
HIDDEN_MAX: Final = 1_000_000
"""So many detections are hidden at once."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What a suppression would have hidden."""

    detections: int
    looked_at: int
    """So many detections of its rules there are."""
    unread: int
    """Of so many the event is not kept any more: whether they would be hidden is not known."""
    hosts: int
    rules: tuple[tuple[str, int], ...]
    """Title and number, the most frequent first."""
    levels: tuple[tuple[str, int], ...]
    first_us: int | None
    last_us: int | None
    examples: tuple[StoredDetection, ...]
    hidden: tuple[int, ...]
    """Numbers of the detections."""


def read_filter(workspace: Workspace, scope: Scope, definition: str) -> Filter:
    """Read a Sigma filter; names of rules of the workspace become ids.

    Raises:
        RuleError: it is none, or not one alone.
        SchemaError: it is too long.
    """
    if len(definition) > DEFINITION_CHARACTERS_MAX:
        raise SchemaError(f"a filter has at most {DEFINITION_CHARACTERS_MAX} characters (DEFINITION_CHARACTERS_MAX)")
    parsed = parse_rules(definition.encode("utf-8", "replace"))
    for skipped in parsed.skipped:
        raise RuleError(skipped.reason)
    if len(parsed.filters) != 1 or parsed.rules or parsed.correlations:
        raise RuleError("this is not a Sigma filter", hint="a suppression is one document with the section filter")
    found = parsed.filters[0]
    names = {rule.name: rule.id for rule in live_rules(workspace, scope).rules if rule.name}
    return msgspec.structs.replace(found, rules=tuple(names.get(each, each) for each in found.rules))


def draft(workspace: Workspace, scope: Scope, detection: StoredDetection) -> str:
    """Write a filter that would hide a detection and those like it, for a person to look over.

    Raises:
        SchemaError: the detection is not one of a rule about single events, or nothing is known that it matched.
    """
    one = detection.detection
    matched = {
        field: value
        for field, value in one.matched.items()
        if field and field != "_raw" and len(value) < MATCHED_CHARACTERS_MAX
    }
    if one.kind != "rule" or not matched:
        hint = "write the filter by hand"
        raise SchemaError("what made this detection match does not say how to recognise its like", hint=hint)
    rule = next((rule for rule in live_rules(workspace, scope).rules if rule.id == one.rule_id), None)
    lines = [
        f"title: {json.dumps(f'Not: {one.rule_title}', ensure_ascii=False)}",
        "logsource:",
        *_logsource_lines(rule),
        "filter:",
        "    rules:",
        f"        - {json.dumps(one.rule_id, ensure_ascii=False)}",
        "    selection:",
        *(
            f"        {json.dumps(field, ensure_ascii=False)}: {json.dumps(_plain(value), ensure_ascii=False)}"
            for field, value in sorted(matched.items())
        ),
        "    condition: not selection",
    ]
    return "\n".join(lines) + "\n"


def _logsource_lines(rule: Rule | None) -> list[str]:
    logsource = LogSource() if rule is None else rule.logsource
    parts = {name: value for name, value in msgspec.structs.asdict(logsource).items() if value}
    return [f"    {name}: {json.dumps(value)}" for name, value in parts.items()] or ["    product: null"]


def _plain(value: str) -> str:
    """A value that means itself in Sigma: its wildcards and backslashes escaped."""
    return value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


def try_out(
    workspace: Workspace,
    scope: Scope,
    sources: SourceBook,
    about: Filter,
    organisation: OrganisationId | None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Tried:
    """Say what a filter would have hidden of everything that was ever detected (and not hidden already).

    Raises:
        NotFound: the scope does not reach the organisation.
        StorageError: the workspace cannot be read.
    """
    if organisation is not None:
        scope.check_read(organisation)
    owners = [each.id for each in organisations(workspace, scope) if organisation in (None, each.id)]
    hiding = Hiding([_trial(about, organisation)])
    history = History(workspace, scope, Engine(()), sources)
    hidden: list[StoredDetection] = []
    looked_at = read = 0
    for owner in owners:
        last = 0
        while found := detections_of_rules(workspace, owner, about.rules, after_id=last):
            last = found[-1].id
            looked_at += len(found)
            names = {each.id: each for each in found}
            with workspace.reading():
                for view, block, pairs in events_of(workspace, history, found):
                    read += len(pairs)
                    hidden += [names[number] for number in hiding.hidden(view, block, pairs)]
            if should_stop() or len(hidden) >= HIDDEN_MAX:
                break
    times = [each.detection.time_us for each in hidden if each.detection.time_us is not None]
    rules = Counter(each.detection.rule_title for each in hidden)
    levels = Counter(each.detection.level for each in hidden)
    return Tried(
        detections=len(hidden),
        looked_at=looked_at,
        unread=looked_at - read,
        hosts=len({(each.organisation, host_name(each.detection.host)) for each in hidden if each.detection.host}),
        rules=tuple(sorted(rules.items(), key=lambda item: (-item[1], item[0]))),
        levels=tuple(sorted(levels.items(), key=lambda item: (-item[1], item[0]))),
        first_us=min(times, default=None),
        last_us=max(times, default=None),
        examples=tuple(hidden[:EXAMPLES_MAX]),
        hidden=tuple(each.id for each in hidden),
    )


def _trial(about: Filter, organisation: OrganisationId | None) -> Suppression:
    return Suppression(
        id=0,
        public_id="trial",
        organisation=organisation,
        title=about.title,
        owner="",
        reason="",
        definition="",
        filter=about,
        created_us=0,
        expires_us=0,
        ended_us=None,
        state="active",
    )


def suppress(
    workspace: Workspace,
    scope: Scope,
    definition: str,
    *,
    owner: str,
    reason: str,
    expires_us: int,
    organisation: OrganisationId | None,
    tried: Tried | None = None,
) -> Suppression:
    """Let a filter hide what comes from now on; with what trying it found, that as well. Situations follow at once.

    Raises:
        RuleError, SchemaError: the filter cannot be used, or owner, reason or end are missing.
        NotFound, NotPermitted: the scope does not reach the organisation, or not all of them.
    """
    about = read_filter(workspace, scope, definition)
    made = add_suppression(
        workspace,
        scope,
        about,
        definition,
        owner=owner,
        reason=reason,
        expires_us=expires_us,
        organisation=organisation,
    )
    if tried is not None and tried.hidden:
        mark_hidden(workspace, scope, made, tried.hidden)
        _regroup(workspace, scope, organisation)
    return made


def end(workspace: Workspace, scope: Scope, public_id: str, *, take_back: bool = False) -> int:
    """Let a suppression hide nothing any more; with ``take_back``, show what it hid. Give how many that are.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
    """
    organisation = suppression_by_id(workspace, scope, public_id).organisation
    shown = end_suppression(workspace, scope, public_id, take_back=take_back)
    if shown:
        _regroup(workspace, scope, organisation)
    return shown


def _regroup(workspace: Workspace, scope: Scope, organisation: OrganisationId | None) -> None:
    for each in organisations(workspace, scope):
        if organisation in (None, each.id) and scope.may_write(each.id):
            regroup(workspace, scope, each.id)
