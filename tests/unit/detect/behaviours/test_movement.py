"""New ways from host to host: planted walks through a network, and people who do what they always do."""

import random

import pytest

from mingjian.detect.behaviours.facts import LOGONS
from mingjian.detect.behaviours.grouping import DAY, HOUR, MINUTE, SECOND
from mingjian.detect.behaviours.movement import new_ways
from planted import START_US, shuffled, table, terms_add_up

Row = dict[str, object]


def logon(time_us: int, source: str, target: str, account: str, *, kind: str = "network", ok: bool = True) -> Row:
    row = {"time_us": time_us, "organisation": "a", "source": source, "target": target, "account": account}
    return {**row, "succeeded": ok, "kind": kind}


def office(days: int = 40, people: int = 15) -> list[Row]:
    """Everybody opens files every day and prints now and then; an administrator goes to the servers."""
    chance = random.Random(2)
    rows: list[Row] = []
    for day in range(days):
        morning = START_US + day * DAY + 8 * HOUR
        for person in range(people):
            name, host = f"person{person}", f"ws{person}"
            rows.append(logon(morning + chance.randrange(HOUR), host, "fs", name))
            if chance.random() < 0.1:
                rows.append(logon(morning + 3 * HOUR, host, "print", name))
        rows += [logon(morning + chance.randrange(8 * HOUR), "ws0", chance.choice("abcd"), "admin") for _ in range(3)]
    return rows


def found(rows: list[Row]):
    findings = new_ways(table(rows, LOGONS))
    assert terms_add_up(findings)
    return findings


def test_people_who_open_files_and_print_go_no_new_ways_that_matter() -> None:
    assert found(office()) == []
    assert new_ways(LOGONS.empty_table()) == []


def test_a_walk_from_a_workstation_through_the_network_is_found_with_its_targets() -> None:
    night = START_US + 30 * DAY + 2 * HOUR
    rows = [logon(night + n * 3 * MINUTE, "ws7", f"ws{n}", "admin") for n in (3, 4, 5, 9)]
    rows.append(logon(night + SECOND * 181, "", "ws3", "admin", kind="privileged"))
    [finding] = found([*office(), *rows])
    assert (finding.entity, finding.succeeded, finding.values) == ("ws7", ("admin",), ("ws3", "ws4", "ws5", "ws9"))
    assert finding.events == tuple(range(len(office()), len(office()) + 4))


def test_a_chain_counts_for_more_than_its_parts() -> None:
    night = START_US + 30 * DAY + 2 * HOUR
    first, second = logon(night, "ws7", "ws3", "admin"), logon(night + HOUR, "ws3", "db", "admin")

    def points(rows: list[Row]) -> int:
        [finding] = [each for each in found([*office(), *rows]) if each.entity == "ws3"]
        return {term.name: term.points for term in finding.terms}["somebody-had-come-to-source"]

    assert (points([second]), points([first, second])) == (0, 5)


def test_rights_are_matched_by_host_account_and_moment() -> None:
    night = START_US + 30 * DAY
    way = logon(night, "ws7", "db", "admin")

    def points(*rights: Row) -> int:
        [finding] = found([*office(), way, *rights])
        return finding.score

    without = points()
    assert points(logon(night + SECOND, "", "db", "admin", kind="privileged")) == without + 5
    assert points(logon(night + MINUTE, "", "db", "admin", kind="privileged")) == without
    assert points(logon(night + SECOND, "", "db", "other", kind="privileged")) == without


def test_the_first_two_weeks_are_only_learned_from() -> None:
    rows = [logon(START_US + 5 * DAY + n * MINUTE, "ws7", f"ws{n}", "admin") for n in (3, 4, 5)]
    assert found([*office(), *rows]) == []


def test_failures_machines_loopback_and_tickets_are_no_ways() -> None:
    night = START_US + 30 * DAY
    rows = [
        *(logon(night + n, "ws7", f"x{n}", "admin", ok=False) for n in range(5)),
        *(logon(night + n, "ws7", f"x{n}", "ws7$") for n in range(5)),
        *(logon(night + n, "127.0.0.1", f"x{n}", "admin") for n in range(5)),
        *(logon(night + n, "ws7", f"x{n}", "admin", kind="ticket") for n in range(5)),
    ]
    assert found([*office(), *rows]) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_and_their_batches_do_not_matter(seed: int) -> None:
    night = START_US + 30 * DAY
    rows = [logon(night + n // 2 * HOUR, f"ws{n % 3}", f"ws{5 + n}", "admin") for n in range(8)]
    facts = table([*office(), *rows], LOGONS)
    whole = new_ways(facts)
    assert whole
    assert new_ways(shuffled(facts, seed, cuts=4, dictionaries=bool(seed % 2))) == whole
