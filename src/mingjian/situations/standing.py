"""How usual everything is in an organisation: things, rules, a rule on a host. What is usual joins nothing.

Pure, in columns: it follows from the evidence alone, and from how many hosts each thing was ever seen on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from mingjian.model.rules import LEVELS
from mingjian.situations.grouping import UNTIMED, Columns, Floats, Ints, Mask
from mingjian.situations.policy import Policy, is_nobody
from mingjian.store.evidence import BAD, BEHAVIOUR, WARNED, Entity, Loaded

US_PER_DAY: Final = 86_400 * 1_000_000


class Standing(NamedTuple):
    """Evidence with what it weighs."""

    columns: Columns
    points: Floats
    """Of each detection."""
    rarity: Floats
    """Of the rule of each detection: 1 for one that fires on a single host."""
    entities: tuple[Entity, ...]
    """By their places in the columns."""
    hosts_all: int
    parties: Ints
    """Whom each detection is about: a host or an internal address, 0 for nobody."""


def standing_of(loaded: Loaded, known: Mapping[int, Entity], policy: Policy, excluded: Ints) -> Standing:
    """Weigh everything. ``excluded``: numbers of detections that a person called false or harmless."""
    keys, entities = np.unique(loaded.mark_keys, return_inverse=True)
    parties = _parties(loaded, keys, entities, known)
    hosts_all = len(np.unique(loaded.hosts[loaded.hosts != 0]))
    named = tuple(known.get(key) or Entity(key=key, kind="", value="") for key in keys.tolist())
    weights, half_lives = _weights(named, _distinct(entities, parties, loaded.mark_rows, len(keys)), hosts_all, policy)
    rarity = _rule_rarity(loaded, parties, hosts_all, policy)
    points = np.array([policy.levels[level] for level in LEVELS])[loaded.levels] * rarity
    special = (loaded.flags & (BAD | BEHAVIOUR)) != 0
    points = np.where(~special & _routine(loaded, parties, policy), points * policy.routine_factor, points)
    core = (points >= policy.core) & ~np.isin(loaded.ids, excluded)
    columns = Columns(loaded.ids, loaded.times, core, loaded.mark_rows, entities, keys, weights, half_lives)
    return Standing(columns, points, rarity, named, hosts_all, parties)


def _parties(loaded: Loaded, keys: Ints, entities: Ints, known: Mapping[int, Entity]) -> Ints:
    """Whom each detection is about: its host, else the first of its internal addresses (0 for nobody)."""
    parties = loaded.hosts.copy()
    is_address = np.array([key in known and known[key].kind == "ip" for key in keys.tolist()], np.bool_)
    rows = loaded.mark_rows[is_address[entities]] if len(keys) else loaded.mark_rows
    marks = loaded.mark_keys[is_address[entities]] if len(keys) else loaded.mark_keys
    first_rows, first = np.unique(rows, return_index=True)
    hostless = parties[first_rows] == 0
    parties[first_rows[hostless]] = marks[first[hostless]]
    return parties


def _distinct(groups: Ints, parties: Ints, rows: Ints, size: int) -> Ints:
    """With how many parties each group is seen."""
    pairs = np.unique(np.stack([groups, parties[rows]], axis=1), axis=0) if len(groups) else np.zeros((0, 2), np.int64)
    pairs = pairs[pairs[:, 1] != 0]
    return np.bincount(pairs[:, 0], minlength=size)


def _weights(named: tuple[Entity, ...], parties: Ints, hosts_all: int, policy: Policy) -> tuple[Floats, Floats]:
    weights = np.zeros(len(named))
    half_lives = np.ones(len(named))
    rarities: dict[int, float] = {}
    for place, (each, seen) in enumerate(zip(named, parties.tolist(), strict=True)):
        kind = policy.kinds.get(policy.kind_of(each.kind, each.value))
        if kind is None:
            continue
        is_bad = bool(each.flags & BAD)
        half_lives[place] = kind.half_life_s * 1e6 * (policy.bad_half_life if is_bad else 1)
        if is_bad:
            weights[place] = kind.weight * policy.bad_weight
        elif not each.flags & WARNED and not _is_nobodys(each, policy):
            # A host is one host; how many it serves shows in the accounts and addresses around it.
            hosts = 1 if each.kind == "host" else max(each.hosts, seen)
            if hosts not in rarities:
                rarities[hosts] = policy.rarity(hosts, hosts_all)
            weights[place] = kind.weight * rarities[hosts]
    return weights, half_lives


def _is_nobodys(each: Entity, policy: Policy) -> bool:
    """Whether two detections that share it have nothing in common by that."""
    if each.kind == "account":
        return policy.is_service_account(each.value)
    if each.kind == "ip":
        return is_nobody(each.value)
    return each.kind == "host" and each.value in ("localhost", "")


def _rule_rarity(loaded: Loaded, parties: Ints, hosts_all: int, policy: Policy) -> Floats:
    rules, place = np.unique(loaded.rules, return_inverse=True)
    hosts = np.maximum(1, _distinct(place, parties, np.arange(len(place)), len(rules)))
    special = np.zeros(len(rules), np.bool_)
    special[place[(loaded.flags & BAD) != 0]] = True
    few = policy.rule_hosts_few
    of_count = {
        count: max(policy.rarity(count, hosts_all), policy.rule_rarity_min if count < few else 0.0)
        for count in np.unique(hosts).tolist()
    }
    rarity = np.array([of_count[count] for count in hosts.tolist()])
    return np.where(special, 1.0, rarity)[place]


def _routine(loaded: Loaded, parties: Ints, policy: Policy) -> Mask:
    """Whether a detection is of a rule that had fired about the same party day after day before."""
    if not len(loaded.ids):
        return np.zeros(0, np.bool_)
    pair = np.unique(np.stack([loaded.rules, parties], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    day = np.where(loaded.times == UNTIMED, 0, loaded.times // US_PER_DAY)
    low = int(day.min()) - policy.routine_window_days - 1
    span = int(day.max()) - low + 1
    moments = pair * span + (day - low)
    days = np.unique(moments)
    before = np.searchsorted(days, moments) - np.searchsorted(days, moments - policy.routine_window_days)
    return before >= policy.routine_days
