"""Grouping is what the slow and obvious way finds, in whatever order detections come."""

import itertools
import random
import tempfile
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from lakes import OPERATOR
from mingjian.situations.deciding import judge, merge, split
from mingjian.situations.grouping import BY_HAND, UNTIMED, Columns, Pins, beside, group
from mingjian.situations.regrouping import Regrouper, regroup
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.workspace import Workspace, create
from situated import Seen, ids_of, public_ids, put

JOIN = 1.0
WEIGHTS = (0.0, 1.0, 1.5, 4.0, 8.0)


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    size = draw(st.integers(0, 14))
    entities = draw(st.integers(1, 5))
    times = [draw(st.one_of(st.just(UNTIMED), st.integers(0, 12))) for _ in range(size)]
    marks = (
        sorted(draw(st.sets(st.tuples(st.integers(0, max(0, size - 1)), st.integers(0, entities - 1))))) if size else []
    )
    return Columns(
        ids=np.cumsum([draw(st.integers(1, 3)) for _ in range(size)], dtype=np.int64),
        times=np.array(times, np.int64),
        core=np.array([draw(st.booleans()) or draw(st.booleans()) for _ in range(size)], np.bool_),
        mark_rows=np.array([row for row, _ in marks], np.int64),
        mark_entities=np.array([entity for _, entity in marks], np.int64),
        entity_keys=np.arange(entities, dtype=np.int64) * 7 - 3,
        weights=np.array([draw(st.sampled_from(WEIGHTS)) for _ in range(entities)]),
        half_lives=np.array([draw(st.sampled_from((1.0, 2.0, 5.0))) for _ in range(entities)]),
    )


def has(made: Columns) -> list[set[int]]:
    """The entities of each detection."""
    found: list[set[int]] = [set() for _ in made.ids]
    for row, entity in zip(made.mark_rows.tolist(), made.mark_entities.tolist(), strict=True):
        found[row].add(entity)
    return found


def strength(made: Columns, entity: int, one: int, other: int) -> int:
    apart = abs(int(made.times[one]) - int(made.times[other]))
    return int(made.weights[entity] * 2.0 ** (-apart / made.half_lives[entity]) * 1000)


def every_join(made: Columns) -> list[tuple[int, int, int]]:
    """Every pair that something joins, with its strength: all pairs, not only neighbours in time."""
    inside = has(made)
    found: list[tuple[int, int, int]] = []
    for one, other in itertools.combinations(range(len(made.ids)), 2):
        if made.core[one] and made.core[other] and UNTIMED not in (made.times[one], made.times[other]):
            for entity in inside[one] & inside[other]:
                strong = strength(made, entity, one, other)
                if strong >= JOIN * 1000:
                    found.append((strong, one, other))
    return found


def slowly(made: Columns, joins: list[tuple[int, int]]) -> list[int]:
    """Labels: the first detection that one is joined with."""
    label = list(range(len(made.ids)))
    for _ in label:
        for one, other in joins:
            label[one] = label[other] = min(label[one], label[other])
    return [own if made.core[row] else -1 for row, own in enumerate(label)]


@given(columns())
def test_situations_are_what_comparing_every_pair_finds(made: Columns) -> None:
    found = group(made, JOIN)
    assert found.labels.tolist() == slowly(made, [(one, other) for _, one, other in every_join(made)])


@given(columns())
def test_the_joins_that_are_kept_are_the_strongest_that_hold_a_situation_together(made: Columns) -> None:
    found = group(made, JOIN)
    parent = list(range(len(made.ids)))
    best = 0
    for strong, one, other in sorted(every_join(made), reverse=True):
        roots = [one, other]
        for place, root in enumerate(roots):
            while parent[root] != root:
                root = parent[root]
            roots[place] = root
        if roots[0] != roots[1]:
            parent[roots[0]] = roots[1]
            best += strong
    assert int(found.links.strengths.sum()) == best
    kept_joins = list(zip(found.links.earlier.tolist(), found.links.later.tolist(), strict=True))
    assert slowly(made, kept_joins) == found.labels.tolist()


@given(columns(), st.data())
def test_what_is_joined_to_nothing_else_can_be_grouped_alone(made: Columns, data: st.DataObject) -> None:
    labels = group(made, JOIN).labels
    chosen = data.draw(st.sampled_from(sorted(set(labels.tolist())))) if len(labels) else -1
    rows = np.flatnonzero(labels == chosen)
    inside = np.isin(made.mark_rows, rows)
    part = made._replace(
        ids=made.ids[rows],
        times=made.times[rows],
        core=made.core[rows],
        mark_rows=np.searchsorted(rows, made.mark_rows[inside]),
        mark_entities=made.mark_entities[inside],
    )
    again = group(part, JOIN).labels
    assert again.tolist() == ([0] * len(rows) if chosen >= 0 else [-1] * len(rows))


@given(columns(), st.data())
def test_what_a_person_wants_apart_is_never_together(made: Columns, data: st.DataObject) -> None:
    numbers = made.ids.tolist()
    apart: list[tuple[np.ndarray, np.ndarray]] = []
    together: list[np.ndarray] = []
    for _ in range(data.draw(st.integers(0, 3))):
        sides = [data.draw(st.integers(0, 2)) for _ in numbers]
        one, other = ([n for n, side in zip(numbers, sides, strict=True) if side == wanted] for wanted in (0, 1))
        apart.append((np.array(one, np.int64), np.array(other, np.int64)))
    if numbers and data.draw(st.booleans()):
        together.append(np.array(data.draw(st.lists(st.sampled_from(numbers), unique=True)), np.int64))
    found = group(made, JOIN, Pins(together, apart))
    own = dict(zip(numbers, found.labels.tolist(), strict=True))
    for one, other in apart:
        sides_of = [{own[n] for n in side.tolist()} - {-1} for side in (one, other)]
        assert not sides_of[0] & sides_of[1]
    if together and not apart:
        assert len({own[n] for n in together[0].tolist()} - {-1}) <= 1
    joins = list(zip(found.links.earlier.tolist(), found.links.later.tolist(), strict=True))
    assert slowly(made, joins) == found.labels.tolist()
    allowed = {(one, other) for _, one, other in every_join(made)}
    by_hand = found.links.entities == BY_HAND
    pairs = [tuple(sorted(pair)) for pair in joins]
    assert all(pair in allowed for pair, own_hand in zip(pairs, by_hand.tolist(), strict=True) if not own_hand)


@given(columns(), st.lists(st.integers(0, 3), min_size=14, max_size=14), st.integers(0, 4))
def test_what_stands_beside_is_what_looking_at_every_pair_finds(made: Columns, hosts: list[int], within: int) -> None:
    labels = group(made, JOIN).labels
    party = np.array(hosts[: len(made.ids)], np.int64)
    none = np.zeros(len(made.weights), np.bool_)
    rows, owners = beside(made, party, labels, within, JOIN, none)
    expected = {
        (row, int(labels[core]))
        for row in range(len(made.ids))
        for core in range(len(made.ids))
        if labels[row] < 0 <= labels[core]
        and party[row] == party[core] != 0
        and UNTIMED not in (made.times[row], made.times[core])
        and abs(int(made.times[row]) - int(made.times[core])) <= within
    }
    assert set(zip(rows.tolist(), owners.tolist(), strict=True)) == expected


@given(columns(), st.sets(st.integers(0, 4)))
def test_what_shares_something_telling_stands_beside_those_before_and_after_it(
    made: Columns, telling: set[int]
) -> None:
    labels = group(made, JOIN).labels
    inside = has(made)
    nobody = np.zeros(len(made.ids), np.int64)
    asked = np.array([entity in telling for entity in range(len(made.weights))])
    rows, owners = beside(made, nobody, labels, 0, JOIN, asked)
    timed = [row for row in np.lexsort((np.arange(len(made.ids)), made.times)).tolist() if made.times[row] != UNTIMED]
    expected: set[tuple[int, int]] = set()
    for entity in np.flatnonzero(asked & (made.weights >= JOIN)).tolist():
        sharing = [row for row in timed if entity in inside[row]]
        for place, row in enumerate(sharing):
            neighbours = (reversed(sharing[:place]), sharing[place + 1 :])
            cores = [next((core for core in side if labels[core] >= 0), None) for side in neighbours]
            for core in cores:
                if labels[row] < 0 and core is not None:
                    apart = abs(int(made.times[row]) - int(made.times[core]))
                    if made.weights[entity] * 2.0 ** (-apart / made.half_lives[entity]) >= JOIN:
                        expected.add((row, int(labels[core])))
    assert set(zip(rows.tolist(), owners.tolist(), strict=True)) == expected


def written(workspace: Workspace, owner: Organisation) -> dict[frozenset[int], tuple[object, ...]]:
    """Everything that is kept of each situation, but numbers and names that chance gives: by its core records."""
    table, parts = s.situations, (s.situation_joins, s.situation_entities)
    with workspace.read() as connection:
        record = dict(connection.execute(sa.select(t.detections.c.id, t.detections.c.record)).all())
        rows = connection.execute(
            sa.select(table).where(table.c.is_live > 0, table.c.organisation_id == owner.id)
        ).all()
        members = connection.execute(sa.select(s.situation_members)).all()
        others = [connection.execute(sa.select(part)).all() for part in parts]
    found: dict[frozenset[int], tuple[object, ...]] = {}
    for row in rows:
        own = [(each.is_core, record[each.detection_id]) for each in members if each.situation_id == row.id]
        joins = [
            (record[each.earlier_id], record[each.later_id], each.entity_key, each.strength, each.against)
            for each in others[0]
            if each.situation_id == row.id
        ]
        telling = [(each.entity_key, each.detections) for each in others[1] if each.situation_id == row.id]
        about = (row.level, row.danger, row.detections, row.hosts, row.first_us, row.last_us, row.state, row.summary)
        core = frozenset(number for is_core, number in own if is_core)
        found[core] = (record[row.seed_id], about, sorted(own), sorted(joins, key=repr), sorted(telling))
    return found


@st.composite
def batches(draw: st.DrawFn) -> list[list[Seen]]:
    """Batches of detections; of few rules, hosts and things, so that much of what is usual changes with each."""
    days = draw(st.sampled_from((1, 30)))
    hosts = draw(st.integers(2, 14))
    kinds = ("hash", "domain", "ip", "file", "account")
    made: list[list[Seen]] = []
    for _ in range(draw(st.integers(1, 4))):
        batch: list[Seen] = []
        for _ in range(draw(st.integers(0, 12))):
            rule = draw(st.integers(0, 5))
            untimed = st.none() if days == 1 else st.integers(0, 90)
            batch.append(
                Seen(
                    minute=draw(st.one_of(st.integers(0, days * 1440), untimed)),
                    rule=f"rule {rule}",
                    level=draw(st.sampled_from(("low", "medium", "medium", "high", "critical"))),
                    host=draw(st.sampled_from(("", *(f"pc-{number}" for number in range(hosts))))),
                    account=draw(st.sampled_from(("", "ann", "bob", "system"))),
                    things={draw(st.sampled_from(kinds)): f"10.0.0.{draw(st.integers(0, 6))}"},
                    hosts=draw(st.integers(1, 4)),
                    # What a rule is never changes here: a situation names the tactics that its rules had when it was
                    # written last.
                    is_indicator=rule == 5,
                    attack=((), ("T1059",), ("T1059", "T1003"))[rule % 3],
                )
            )
        made.append(batch)
    return made


def decide(workspace: Workspace, owner: Organisation, chance: random.Random) -> None:
    """Split or merge situations, or judge a detection, as chance has it."""
    live = list(ids_of(workspace, owner).items())
    names = public_ids(workspace, owner)
    if not live:
        return
    core, first = chance.choice(live)
    what = chance.randrange(4)
    if what == 0 and len(core) > 1:
        split(workspace, OPERATOR, first, [names[each] for each in chance.sample(sorted(core), len(core) - 1)])
    elif what == 1 and len(live) > 1:
        merge(workspace, OPERATOR, first, [chance.choice(live)[1] for _ in range(2)] + [live[-1][1], live[0][1]])
    elif what == 2:
        judge(workspace, OPERATOR, [names[chance.choice(sorted(core))]], "closed", "benign")


@settings(max_examples=60, deadline=None)
@given(made=batches(), seed=st.integers(0, 1 << 16), decides=st.booleans())
def test_batch_after_batch_is_the_same_as_everything_at_once(made: list[list[Seen]], seed: int, decides: bool) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "w") as workspace:
        owner = organisation_named(workspace, OPERATOR, "ours", make=True)
        regrouper = Regrouper(workspace)
        first = 0
        for batch in made:
            put(workspace, owner, batch, first=first)
            first += len(batch)
            regrouper.regroup(OPERATOR, owner.id)
            if decides:
                decide(workspace, owner, chance)
                regrouper.regroup(OPERATOR, owner.id)
        step_by_step = written(workspace, owner)
        regroup(workspace, OPERATOR, owner.id)
        assert written(workspace, owner) == step_by_step
        if not decides:
            other = organisation_named(workspace, OPERATOR, "theirs", make=True)
            put(workspace, other, [each for batch in made for each in batch], first=0)
            regroup(workspace, OPERATOR, other.id)
            assert written(workspace, other) == step_by_step
