"""How usual everything is in an organisation: things, rules, a rule on a host. What is usual joins nothing.

Pure, in columns: it follows from the evidence alone, and from how many hosts each thing was ever seen on. What is
counted is kept as counts, so that new evidence changes only what it has to do with; it says which detections those are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mingjian.model.rules import LEVELS
from mingjian.situations.counting import Codes, Growing, merged, spans
from mingjian.situations.grouping import UNTIMED, Columns, Floats, Ints, Mask
from mingjian.situations.policy import Policy, is_nobody
from mingjian.store.evidence import BAD, BEHAVIOUR, WARNED, Entity, Loaded

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    Whole = npt.NDArray[np.signedinteger[Any]]

US_PER_DAY: Final = 86_400 * 1_000_000
COMMON_HOSTS: Final = 2
"""What was seen on more hosts is fairly common."""
DAYS_MAX: Final = 1 << 20
"""A day further from 1970 than so many is taken for one so far away."""


class Touched(NamedTuple):
    """What new evidence changes, as masks over all detections."""

    rows: Mask
    """Everything about them may have changed, or about what they are joined with."""
    near: Mask
    """Of these, the ones that may be joined to others than before."""


class Part(NamedTuple):
    """Some detections of an organisation, in the order of their numbers."""

    rows: Ints
    """Their places among all of the organisation."""
    columns: Columns
    levels: Ints
    flags: Ints
    rules: Ints
    """Codes, as all the following; 0 for none."""
    hosts: Ints
    accounts: Ints
    people: Ints
    """The account, unless programs run under it."""
    parties: Ints
    """Whom each is about: a host or an internal address; nobody if a person called it false or harmless."""
    rarity: Floats
    """Of the rule of each detection: 1 for one that fires on a single host."""
    entities: Ints
    """The code of each entity of ``columns``."""


class Standing:
    """The evidence of an organisation with what it weighs: can be added to."""

    def __init__(self, policy: Policy) -> None:
        """Nothing is known yet."""
        self.policy = policy
        self.codes = Codes()
        """The numbers of entities, rules, hosts and accounts; 0 stands for none."""
        self._ids = Growing(np.int64)
        self._times = Growing(np.int64)
        self._levels = Growing(np.int8)
        self._flags = Growing(np.int8)
        self._rules = Growing(np.int32)
        self._hosts = Growing(np.int32)
        self._accounts = Growing(np.int32)
        self._parties = Growing(np.int32)
        self._pairs = Growing(np.int32)
        self._excluded = Growing(np.bool_)
        self._core = Growing(np.bool_)
        self._starts = Growing(np.int64)
        self._counts = Growing(np.int32)
        self._mark_rows = Growing(np.int32)
        self._mark_entities = Growing(np.int32)
        # By code.
        self._base = Growing(np.float64)
        self._half_lives = Growing(np.float64)
        self._seen_on = Growing(np.int64)
        self._seen_with = Growing(np.int64)
        self._weights = Growing(np.float64)
        self._rule_rarity = Growing(np.float64)
        self._rule_parties = Growing(np.int64)
        self._is = {name: Growing(np.bool_) for name in ("host", "ip", "bad", "person", "telling", "special", "seen")}
        # What is counted: sorted, each once.
        self._entity_parties = np.zeros(0, np.int64)
        self._rule_pairs = Codes()
        self._moments = np.zeros(0, np.int64)
        self._hosts_count = 0
        self._widen()

    # --- what is known -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many detections there are."""
        return len(self._ids.all)

    @property
    def marks(self) -> int:
        """How many pairs of detection and entity are kept."""
        return len(self._mark_rows.all)

    @property
    def ids(self) -> Ints:
        """The numbers of the detections, in the order in which they came."""
        return self._ids.all

    @property
    def times(self) -> Ints:
        """When each happened, or ``UNTIMED``."""
        return self._times.all

    @property
    def core(self) -> Mask:
        """Which of them can hold a situation."""
        return self._core.all

    @property
    def parties(self) -> Whole:
        """Whom each is about; 0 for nobody."""
        return self._parties.all

    @property
    def mark_rows(self) -> Whole:
        """With ``mark_entities``: which detection has which entity."""
        return self._mark_rows.all

    @property
    def mark_entities(self) -> Whole:
        """Codes of entities."""
        return self._mark_entities.all

    @property
    def weights(self) -> Floats:
        """By code."""
        return self._weights.all

    @property
    def half_lives(self) -> Floats:
        """By code, microseconds."""
        return self._half_lives.all

    @property
    def seen_on(self) -> Ints:
        """On so many hosts each entity was ever seen, by code."""
        return self._seen_on.all

    def is_common(self, codes: Whole) -> Mask:
        """Whether entities were seen on several hosts: what they join is less sure."""
        return self.seen_on[codes] > COMMON_HOSTS

    def of_rules(self, rules: Sequence[int]) -> Mask:
        """The detections of some rules."""
        return self._table(np.array(rules, np.int64))[self._rules.all]

    def has(self, what: str) -> Mask:
        """By code: whether it is a ``host``, is ``bad``, or is ``telling`` for what stands beside a situation."""
        return self._is[what].all

    # --- what is new -------------------------------------------------------------------------------------------------

    def add(self, loaded: Loaded, facts: Sequence[Entity], excluded: Ints) -> Touched:
        """Take evidence in; ``facts``: what is known now of all that is in it. Say what that changes.

        ``excluded``: numbers of detections that a person called false or harmless.
        """
        before = len(self)
        keys = np.array([each.key for each in facts], np.int64)
        was_common = self.is_common(self.codes.of(keys))
        self._tell(keys, facts)
        marks = self._append(loaded, excluded)
        scale = self._scale()
        self._count(before, marks)
        if self._scale() != scale:
            return self._everything()
        told = self.codes.of(keys)
        codes = np.unique(np.concatenate([marks, told]))
        old = self.weights[codes].copy()
        self._weigh(codes)
        join = self.policy.join
        is_other = (old != self.weights[codes]) & (np.maximum(old, self.weights[codes]) >= join)
        near = np.zeros(len(self), np.bool_)
        near[before:] = True
        near[self.mark_rows[self._table(codes[is_other])[self.mark_entities]]] = True
        touched = self._ranked(before, near)
        others = self._table(told[was_common != self.is_common(told)])
        touched.rows[self.mark_rows[others[self.mark_entities]]] = True
        return touched

    def _everything(self) -> Touched:
        self._weigh(np.arange(len(self.codes)))
        self._rate(np.arange(len(self.codes)))
        self._core.all[:] = self._is_core(np.arange(len(self)))
        every = np.ones(len(self), np.bool_)
        return Touched(every, every)

    def _ranked(self, before: int, near: Mask) -> Touched:
        """Decide anew which detections can hold a situation, of rules that new ones (from ``before`` on) are of."""
        rules = np.unique(self._rules.all[before:])
        old = self._rule_rarity.all[rules].copy()
        self._rate(rules)
        is_other = self._table(rules[old != self._rule_rarity.all[rules]])[self._rules.all]
        pairs = np.zeros(len(self._rule_pairs), np.bool_)
        pairs[self._pairs.all[before:]] = True
        again = np.flatnonzero(is_other | pairs[self._pairs.all])
        core = self._is_core(again)
        changed = again[core != self.core[again]]
        was = self.core.copy()
        self._core.all[again] = core
        near[changed] = True
        return Touched(near | is_other & (was | self.core), near)

    def exclude(self, excluded: Ints) -> Touched:
        """Say what a person called false or harmless now; everything is decided anew."""
        self._excluded.all[:] = np.isin(self.ids, excluded)
        return self._everything()

    def _scale(self) -> int:
        """What rarity depends on, beside the thing itself."""
        return max(0, self._hosts_count - 1).bit_length()

    def _table(self, codes: Whole) -> Mask:
        found = np.zeros(len(self.codes), np.bool_)
        found[codes] = True
        return found

    def _numbers(self, keys: Ints) -> Whole:
        """The codes of keys, with a place in every column for those that are new."""
        codes = self.codes.of(keys)
        unknown = (codes == 0) & (keys != 0)
        if unknown.any():
            codes[unknown] = self.codes.add(keys[unknown])
            self._widen()
        return codes

    def _widen(self) -> None:
        size = len(self.codes)
        self._half_lives.widen(size, 1.0)
        for column in (
            self._base, self._seen_on, self._seen_with, self._weights, self._rule_rarity, self._rule_parties,
            *self._is.values(),
        ):  # fmt: skip
            column.widen(size)

    def _tell(self, keys: Ints, facts: Sequence[Entity]) -> None:
        """Note what is known of entities."""
        policy = self.policy
        codes = self._numbers(keys)
        base = np.zeros(len(facts))
        half_lives = np.ones(len(facts))
        flags = np.zeros((4, len(facts)), np.bool_)
        for place, each in enumerate(facts):
            name = policy.kind_of(each.kind, each.value)
            is_bad = bool(each.flags & BAD)
            is_service = each.kind == "account" and policy.is_service_account(each.value)
            flags[:, place] = each.kind == "ip", is_bad, each.kind != "" and not is_service, name in policy.beside_kinds
            kind = policy.kinds.get(name)
            if kind is not None:
                half_lives[place] = kind.half_life_s * 1e6 * (policy.bad_half_life if is_bad else 1)
                if is_bad:
                    base[place] = kind.weight * policy.bad_weight
                elif not each.flags & WARNED and not is_service and not _is_nobodys(each):
                    base[place] = kind.weight
        self._base.all[codes], self._half_lives.all[codes] = base, half_lives
        self._seen_on.all[codes] = np.array([each.hosts for each in facts], np.int64)
        for name, values in zip(("ip", "bad", "person", "telling"), flags, strict=True):
            self._is[name].all[codes] = values
        self._is["host"].all[codes] = np.array([each.kind == "host" for each in facts], np.bool_)

    def _append(self, loaded: Loaded, excluded: Ints) -> Whole:
        """Keep rows and marks; give the entities of the new ones."""
        before, size = len(self), len(loaded.ids)
        marks = self._numbers(loaded.mark_keys)
        rules, hosts, accounts = (self._numbers(keys) for keys in (loaded.rules, loaded.hosts, loaded.accounts))
        counts = np.bincount(loaded.mark_rows, minlength=size)
        self._starts.add(self.marks + np.cumsum(counts) - counts)
        self._counts.add(counts)
        self._mark_rows.add(loaded.mark_rows + before)
        self._mark_entities.add(marks)
        parties = hosts.copy()
        is_address = self.has("ip")[marks]
        first = np.zeros(size, np.int32)
        first[loaded.mark_rows[is_address][::-1]] = marks[is_address][::-1]
        parties = np.where(parties == 0, first, parties)
        for column, values in (
            (self._ids, loaded.ids), (self._times, loaded.times), (self._levels, loaded.levels),
            (self._flags, loaded.flags), (self._rules, rules), (self._hosts, hosts), (self._accounts, accounts),
            (self._parties, parties), (self._excluded, np.isin(loaded.ids, excluded)),
            (self._core, np.zeros(size, np.bool_)),
        ):  # fmt: skip
            column.add(values)
        return marks

    def _count(self, before: int, marks: Whole) -> None:
        """Count new evidence: parties of entities and rules, days of rules about parties, hosts."""
        parties = self.parties.astype(np.int64)
        rows = self.mark_rows[len(self.mark_rows) - len(marks) :]
        pairs = (marks.astype(np.int64) << 32 | parties[rows])[parties[rows] != 0]
        self._entity_parties, fresh = merged(self._entity_parties, pairs)
        self._seen_with.all[:] += np.bincount(fresh >> 32, minlength=len(self.codes))
        known = len(self._rule_pairs)
        pairs = self._rule_pairs.add(self._rules.all[before:].astype(np.int64) << 32 | parties[before:])
        self._pairs.add(pairs)
        fresh = self._rule_pairs.keys[known:]
        self._rule_parties.all[:] += np.bincount(fresh[fresh & 0xFFFFFFFF != 0] >> 32, minlength=len(self.codes))
        self._moments, _ = merged(self._moments, self._moment(np.arange(before, len(self))))
        hosts = self._is["seen"].all
        hosts[self._hosts.all[before:]] = True
        self._hosts_count = int(hosts[1:].sum())
        special = self._rules.all[before:][(self._flags.all[before:] & BAD) != 0]
        self._is["special"].all[special] = True

    def _moment(self, rows: Ints) -> Ints:
        times = self.times[rows]
        day = np.clip(np.where(times == UNTIMED, 0, times // US_PER_DAY), -DAYS_MAX, DAYS_MAX)
        return (self._pairs.all[rows].astype(np.int64) << 23) + day + 2 * DAYS_MAX

    # --- what it weighs ----------------------------------------------------------------------------------------------

    def _rarities(self, counts: Ints) -> Floats:
        distinct, at = np.unique(counts, return_inverse=True)
        return np.array([self.policy.rarity(count, self._hosts_count) for count in distinct.tolist()])[at]

    def _weigh(self, codes: Whole) -> None:
        """Weigh entities anew."""
        # A host is one host; how many it serves shows in the accounts and addresses around it.
        sure = self.has("host")[codes] | self.has("bad")[codes] | (self._base.all[codes] == 0)
        hosts = np.where(sure, 1, np.maximum(self.seen_on[codes], self._seen_with.all[codes]))
        self._weights.all[codes] = self._base.all[codes] * (self._rarities(hosts) if len(codes) else 0.0)

    def _rate(self, rules: Whole) -> None:
        """Say anew how rare rules are."""
        if not len(rules):
            return
        hosts = np.maximum(1, self._rule_parties.all[rules])
        rarity = self._rarities(hosts)
        rarity = np.where(hosts < self.policy.rule_hosts_few, np.maximum(rarity, self.policy.rule_rarity_min), rarity)
        self._rule_rarity.all[rules] = np.where(self.has("special")[rules], 1.0, rarity)

    def _is_core(self, rows: Ints) -> Mask:
        """Whether detections can hold a situation."""
        policy = self.policy
        points = np.array([policy.levels[level] for level in LEVELS])[self._levels.all[rows]]
        points = points * self._rule_rarity.all[self._rules.all[rows]]
        # A rule that had fired about the same party day after day before is routine there.
        moments = self._moment(rows)
        before = np.searchsorted(self._moments, moments) - np.searchsorted(
            self._moments, moments - policy.routine_window_days
        )
        special = (self._flags.all[rows] & (BAD | BEHAVIOUR)) != 0
        routine = ~special & (before >= policy.routine_days)
        holds = (points >= policy.core) & ~routine
        goes_on = self._levels.all[rows] >= LEVELS.index(policy.goes_on_from)
        routine &= ~(goes_on & self._going_on(rows, holds))
        points = np.where(routine, points * policy.routine_factor, points)
        return (points >= policy.core) & ~self._excluded.all[rows]

    def _going_on(self, rows: Ints, holds: Mask) -> Mask:
        """Whether detections (all of some rules about some parties) follow one of those that hold without a pause."""
        times, pairs = self.times[rows], self._pairs.all[rows]
        order = np.lexsort((self.ids[rows], times, pairs))
        pause_us = self.policy.routine_pause_s * 1_000_000
        begins = np.ones(len(rows), np.bool_)
        if len(rows):
            timed = times[order][:-1] != UNTIMED
            apart_us = np.where(timed, times[order][1:] - np.where(timed, times[order][:-1], 0), pause_us + 1)
            begins[1:] = (pairs[order][1:] != pairs[order][:-1]) | (apart_us > pause_us)
        # How many of them held before in the same stretch.
        held = np.cumsum(holds[order], dtype=np.int64)
        firsts = np.flatnonzero(begins)
        ahead: Ints = held[firsts] - holds[order][firsts]
        before = np.repeat(ahead, np.diff(np.append(firsts, len(rows))))
        found = np.zeros(len(rows), np.bool_)
        found[order] = held > before
        return found

    # --- some of it --------------------------------------------------------------------------------------------------

    def part(self, rows: Ints) -> Part:
        """Some detections (by their places), in the order of their numbers."""
        rows = rows[np.argsort(self.ids[rows], kind="stable")]
        at, owners = spans(self._starts.all[rows], self._counts.all[rows])
        marks = self.mark_entities[at]
        there = self._table(marks)
        entities = np.flatnonzero(there)
        accounts = self._accounts.all[rows].astype(np.int64)
        rules = self._rules.all[rows].astype(np.int64)
        columns = Columns(
            ids=self.ids[rows],
            times=self.times[rows],
            core=self.core[rows],
            mark_rows=owners,
            mark_entities=(np.cumsum(there) - 1)[marks],
            entity_keys=self.codes.keys[entities],
            weights=self.weights[entities],
            half_lives=self.half_lives[entities],
        )
        return Part(
            rows=rows,
            columns=columns,
            levels=self._levels.all[rows].astype(np.int64),
            flags=self._flags.all[rows].astype(np.int64),
            rules=rules,
            hosts=self._hosts.all[rows].astype(np.int64),
            accounts=accounts,
            people=np.where(self.has("person")[accounts], accounts, 0),
            parties=np.where(self._excluded.all[rows], 0, self.parties[rows]).astype(np.int64),
            rarity=self._rule_rarity.all[rules],
            entities=entities,
        )


def _is_nobodys(each: Entity) -> bool:
    """Whether two detections that share it have nothing in common by that."""
    if each.kind == "ip":
        return is_nobody(each.value)
    return each.kind == "host" and each.value in ("localhost", "")
