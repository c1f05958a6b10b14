"""Which days a host was there: as bits, kept with every commit, the same as the days themselves."""

import random

import sqlalchemy as sa

from lakes import OPERATOR
from mingjian.store import tables
from mingjian.store.catalogue import Organisation
from mingjian.store.entities import domains_of_hosts, hosts_known, spellings_of_hosts
from mingjian.store.holes import hosts_present
from mingjian.store.presence import FIRST_DAY, LAST_DAY, bits_of, days_of, note_days, packed_of, unpacked
from mingjian.store.workspace import Workspace


def stream(workspace: Workspace, name: str) -> int:
    with workspace.begin() as connection:
        found = connection.execute(sa.insert(tables.streams).values(name=name, created_us=0))
        return int(found.inserted_primary_key[0])


def note(workspace: Workspace, owner: Organisation, days: dict[tuple[int, str], list[int]]) -> None:
    with workspace.begin() as connection:
        note_days(connection, owner.id, days)


def test_days_become_bits_and_days_again() -> None:
    chance = random.Random(1)
    for _ in range(200):
        days = sorted(chance.sample(range(FIRST_DAY, LAST_DAY + 1), chance.randint(1, 40)))
        bits = bits_of([*days, days[0], FIRST_DAY - 1, LAST_DAY + 1, -5])
        assert list(days_of(bits)) == days
        assert unpacked(*packed_of(bits)) == bits
    assert list(days_of(bits_of([0]))) == []


def test_days_add_up_over_commits_and_streams(workspace: Workspace, organisation: Organisation) -> None:
    one, other = stream(workspace, "a/b"), stream(workspace, "a/c")
    note(workspace, organisation, {(one, "pc-1"): [20_000, 20_001], (other, "pc-1"): [20_005]})
    note(
        workspace,
        organisation,
        {(one, "pc-1"): [19_990], (one, "pc-2"): [20_003], (one, ""): [20_000], (one, "x"): [1]},
    )
    note(workspace, organisation, {(one, "pc-1"): [20_000]})
    every = {each.name: each for each in hosts_present(workspace, OPERATOR)}
    assert set(every) == {"pc-1", "pc-2"}
    found = every["pc-1"]
    assert (found.days, found.first_day, found.last_day) == (4, 19_990, 20_005)
    assert found.gaps == ((19_991, 19_999), (20_002, 20_004))
    (of_one,) = hosts_present(workspace, OPERATOR, streams=["a/c"])
    assert (of_one.name, of_one.days) == ("pc-1", 1)
    assert hosts_known(workspace, OPERATOR) == 2


def test_a_host_is_spelled_as_most_streams_spell_it(workspace: Workspace, organisation: Organisation) -> None:
    streams = [stream(workspace, f"s/{number}") for number in range(3)]
    note(
        workspace,
        organisation,
        {
            **{(number, "WS-1.corp.example"): [20_000] for number in streams[:2]},
            **{(streams[0], "ws-1"): [20_000], (streams[2], "10.0.0.9"): [20_000]},
        },
    )
    assert spellings_of_hosts(workspace, OPERATOR, organisation.id)["ws-1"] == "WS-1.corp.example"
    assert domains_of_hosts(workspace, OPERATOR) == {organisation.id: ("corp.example",)}
