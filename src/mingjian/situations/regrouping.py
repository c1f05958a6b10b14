"""Grouping the detections of an organisation, and keeping what came of it: only what has changed is written.

Whoever groups again and again (``Regrouper``) keeps the evidence in columns, and looks only at those situations that
new detections touch (``reach``). What a person decided is among the arguments. So it does not matter in which order
detections came, or how often this ran: the result is that of one run over everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from mingjian.hunt.attack import load_attack
from mingjian.situations.counting import Growing
from mingjian.situations.danger import dangers_of, sections_of
from mingjian.situations.grouping import Ints, Mask, Pins, beside, group
from mingjian.situations.policy import policy, policy_digest
from mingjian.situations.reach import beside_them, to_group
from mingjian.situations.recording import Found, against, fingerprints, named_keys, records, telling
from mingjian.situations.standing import Part, Standing, Touched
from mingjian.store.decisions import judged_away, pins_of
from mingjian.store.evidence import (
    EvidenceState,
    RuleFacts,
    Taken,
    entities_of,
    evidence_state,
    grouped_state,
    load_evidence,
    rule_facts,
)
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.situations import Before, before, grouping, write_grouping
from mingjian.store.workspace import Workspace, new_id

MARKS_MAX: Final = 16_000_000
"""Of so many pairs of detection and entity the evidence is kept in memory, of the organisations grouped last: some
30 bytes each. What is more is read again when it is needed."""


class Regrouped(NamedTuple):
    """What came of it."""

    situations: int
    """So many were looked at."""
    changed: int
    """So many of them are new, or not what they were."""
    gone: int
    """So many became parts of others, or lost their detections."""


class _Decided(NamedTuple):
    """What people decided."""

    pins: Pins
    excluded: Ints
    """Numbers of detections that hold nothing."""

    def is_same(self, other: _Decided) -> bool:
        return _plain(self) == _plain(other)


def _plain(decided: _Decided) -> tuple[object, ...]:
    together = tuple(each.tobytes() for each in decided.pins.together)
    apart = tuple((one.tobytes(), other.tobytes()) for one, other in decided.pins.apart)
    return together, apart, decided.excluded.tobytes()


class _Memory:
    """An organisation as it was grouped last."""

    def __init__(self) -> None:
        self.standing = Standing(policy())
        self.state = EvidenceState(0, 0, 0)
        self.stamp = ""
        """What was noted when it was grouped: another one, and somebody else has grouped since."""
        self.decided = _Decided(Pins(), np.zeros(0, np.int64))
        self.labels = Growing(np.int64)
        self.rules: dict[int, RuleFacts] = {}
        self.last_of_rules: dict[int, int] = {}


def regroup(workspace: Workspace, scope: Scope, organisation: OrganisationId) -> Regrouped:
    """Group all detections of an organisation whose events were looked into, and keep what has changed.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
        StorageError: the workspace cannot be read, or not written to.
    """
    return Regrouper(workspace).regroup(scope, organisation)


def is_grouped(workspace: Workspace, organisation: OrganisationId) -> bool:
    """Whether nothing came or went since an organisation was grouped last."""
    noted = grouped_state(workspace, organisation) or ""
    return noted.rpartition(" ")[0] == _noted(evidence_state(workspace, organisation))


def _noted(state: EvidenceState) -> str:
    return f"{policy_digest()} {state.pieces} {state.last} {state.hidden}"


class Regrouper:
    """Groups organisations again and again. Not for several threads at once; may be made before a fork."""

    def __init__(self, workspace: Workspace, *, marks_max: int = MARKS_MAX) -> None:
        """``marks_max``: how much is kept in memory."""
        self._workspace = workspace
        self._marks_max = marks_max
        self._kept: dict[OrganisationId, _Memory] = {}

    def regroup(self, scope: Scope, organisation: OrganisationId) -> Regrouped:
        """Bring the situations of an organisation up to date.

        Raises:
            NotFound, NotPermitted: the scope does not reach the organisation.
            StorageError: the workspace cannot be read, or not written to.
        """
        scope.check_write(organisation)
        with grouping(self._workspace):
            # Taken out meanwhile: whatever ends this before its end leaves nothing half-changed.
            memory = self._kept.pop(organisation, None)
            noted = grouped_state(self._workspace, organisation)
            if noted is None:
                # Never grouped, or something of the evidence has changed since it was read.
                memory = None
            decided = self._decided(organisation)
            touched = None if memory is None else self._follow(organisation, memory, decided.excluded)
            if memory is None or touched is None:
                memory = _Memory()
                self._read(organisation, memory, decided.excluded)
            elif memory.stamp == noted and memory.decided.is_same(decided):
                memory.decided = decided
                return self._group(organisation, memory, touched)
            else:
                memory.standing.exclude(decided.excluded)
            memory.decided = decided
            return self._group(organisation, memory, None)

    def _decided(self, organisation: OrganisationId) -> _Decided:
        pinned = pins_of(self._workspace, organisation)
        excluded = np.array(judged_away(self._workspace, organisation), np.int64)
        return _Decided(Pins(pinned.together, pinned.apart), excluded)

    # --- what is there -----------------------------------------------------------------------------------------------

    def _read(self, organisation: OrganisationId, memory: _Memory, excluded: Ints) -> None:
        """Read all evidence."""
        state = evidence_state(self._workspace, organisation)
        taken = load_evidence(self._workspace, organisation, until=state.last)
        facts = list(entities_of(self._workspace, organisation).values())
        memory.state = EvidenceState(taken.pieces, state.last, state.hidden)
        memory.standing.add(taken.loaded, facts, excluded)
        self._know_rules(organisation, memory, taken)
        memory.labels.widen(len(memory.standing), -1)

    def _follow(self, organisation: OrganisationId, memory: _Memory, excluded: Ints) -> Touched | None:
        """Read what came since; None if something went as well, or was hidden: then everything is read anew."""
        known, state = memory.state, evidence_state(self._workspace, organisation)
        taken = load_evidence(self._workspace, organisation, after=known.last, until=state.last)
        if (known.pieces + taken.pieces, known.hidden + taken.hidden) != (state.pieces, state.hidden):
            return None
        memory.state = state
        loaded = taken.loaded
        keys = np.unique(np.concatenate([loaded.mark_keys, loaded.hosts, loaded.accounts]))
        facts = list(entities_of(self._workspace, organisation, keys[keys != 0].tolist()).values())
        touched = memory.standing.add(loaded, facts, excluded)
        others = self._know_rules(organisation, memory, taken)
        memory.labels.widen(len(memory.standing), -1)
        return touched._replace(rows=touched.rows | memory.standing.of_rules(others))

    def _know_rules(self, organisation: OrganisationId, memory: _Memory, taken: Taken) -> list[int]:
        """Note what is known of the rules of new evidence; give those (codes) of which something else was known."""
        rules, place = np.unique(taken.loaded.rules, return_inverse=True)
        last = np.zeros(len(rules), np.int64)
        np.maximum.at(last, place, taken.loaded.ids)
        codes = memory.standing.codes.of(rules).tolist()
        newer = {
            number: code
            for code, number in zip(codes, last.tolist(), strict=True)
            if number > memory.last_of_rules.get(code, 0)
        }
        memory.last_of_rules |= {code: number for number, code in newer.items()}
        others: list[int] = []
        for number, facts in rule_facts(self._workspace, organisation, list(newer)).items():
            code = newer[number]
            if code in memory.rules and memory.rules[code].attack != facts.attack:
                others.append(code)
            memory.rules[code] = facts
        return others

    # --- what comes of it --------------------------------------------------------------------------------------------

    def _group(self, organisation: OrganisationId, memory: _Memory, touched: Touched | None) -> Regrouped:
        """Group what was touched (everything if it is None), keep what has changed, and remember it."""
        standing, labels, pins = memory.standing, memory.labels, memory.decided.pins
        chosen = standing.core if touched is None else to_group(standing, touched, labels.all, pins)
        found = _found(standing, chosen, pins, memory.rules, is_all=touched is None)
        old = None if touched is None else standing.ids[np.unique(labels.all[chosen & (labels.all >= 0)])]
        wanted = None if old is None else np.union1d(old, found.seeds).tolist()
        known = before(self._workspace, organisation, wanted)
        done = self._write(organisation, memory, found, known)
        labels.all[slice(None) if touched is None else chosen] = -1
        held = found.sections.members
        labels.all[found.part.rows[held]] = found.part.rows[found.grouped.labels[held]]
        self._keep(organisation, memory)
        return done

    def _write(
        self, organisation: OrganisationId, memory: _Memory, found: Found, known: Mapping[int, Before]
    ) -> Regrouped:
        seeds = found.seeds
        prints = fingerprints(found, memory.rules)
        changed = [
            place
            for place, (seed, fingerprint) in enumerate(zip(seeds.tolist(), prints, strict=True))
            if seed not in known or known[seed].fingerprint != fingerprint or not known[seed].is_live
        ]
        keys = named_keys(found, changed)
        names = entities_of(self._workspace, organisation, keys)
        written = list(records(found, changed, prints, known, memory.rules, names))
        gone = _gone(found, known)
        memory.stamp = f"{_noted(memory.state)} {new_id()}"
        write_grouping(self._workspace, organisation, known, written, gone, memory.stamp)
        return Regrouped(len(seeds), len(written), len(gone))

    def _keep(self, organisation: OrganisationId, memory: _Memory) -> None:
        """Remember an organisation, and forget the ones that were grouped longest ago if that is too much."""
        self._kept[organisation] = memory
        while len(self._kept) > 1 and sum(each.standing.marks for each in self._kept.values()) > self._marks_max:
            del self._kept[next(iter(self._kept))]


def _found(standing: Standing, chosen: Mask, pins: Pins, rules: Mapping[int, RuleFacts], *, is_all: bool) -> Found:
    """Group some detections; what stands beside them is looked for among the others."""
    known = standing.policy
    others = ~standing.core
    if not is_all:
        others = beside_them(standing, chosen & standing.core, others)
    part = standing.part(np.flatnonzero(chosen | others))
    grouped = group(part.columns, known.join, pins)
    sections = sections_of(grouped.labels)
    dangers = dangers_of(sections, part, _tactics(part, rules), known)
    telling_ones = standing.has("telling")[part.entities]
    rows, labels = beside(
        part.columns, part.parties, grouped.labels, known.beside_s * 1_000_000, known.join, telling_ones
    )
    at = np.searchsorted(sections.labels, labels)
    order = np.lexsort((rows, at))
    of_links = np.searchsorted(sections.labels, grouped.labels[grouped.links.later])
    by_section = np.argsort(of_links, kind="stable")
    return Found(
        part=part,
        standing=standing,
        grouped=grouped,
        sections=sections,
        dangers=dangers,
        beside=(rows[order], at[order]),
        links=by_section,
        link_sections=of_links[by_section],
        against=against(part, standing, grouped),
        entities=telling(part, grouped, sections),
    )


def _tactics(part: Part, rules: Mapping[int, RuleFacts]) -> Ints:
    """The tactics of each detection's rule, as bits in the order of ATT&CK."""
    attack = load_attack()
    place = {tactic.id: number for number, tactic in enumerate(attack.tactics)}
    codes, at = np.unique(part.rules, return_inverse=True)
    bits: list[int] = []
    for code in codes.tolist():
        techniques: Iterable[str] = rules[code].attack if code in rules else ()
        known = [attack.techniques[each] for each in techniques if each in attack.techniques]
        bits.append(sum(1 << number for number in {place[t] for each in known for t in each.tactics if t in place}))
    return np.array(bits, np.int64)[at] if bits else np.zeros(0, np.int64)


def _gone(found: Found, known: Mapping[int, Before]) -> dict[int, int | None]:
    """Situations that are none any more, and of which others they are a part now."""
    there = set(found.seeds.tolist())
    ids, labels = found.part.columns.ids, found.grouped.labels
    into: dict[int, int | None] = {}
    for seed, old in known.items():
        if old.is_live and seed not in there:
            place = int(np.searchsorted(ids, seed))
            is_there = place < len(ids) and int(ids[place]) == seed and int(labels[place]) >= 0
            into[seed] = int(ids[labels[place]]) if is_there else None
    return into
