"""Passwords guessed: planted attacks and planted mistakes of people."""

import random

import pytest

from mingjian.detect.behaviours.facts import LOGONS
from mingjian.detect.behaviours.grouping import DAY, HOUR, MINUTE, SECOND
from mingjian.detect.behaviours.guessing import guessed
from mingjian.errors import SchemaError
from planted import START_US, of, shuffled, table, terms_add_up


def attempt(
    time_us: int, account: str, *, source: str = "10.0.0.9", ok: bool = False, **more: object
) -> dict[str, object]:
    row = {"time_us": time_us, "organisation": "a", "source": source, "target": "srv", "account": account}
    return {**row, "succeeded": ok, "kind": "network", **more}


def office(days: int = 10, people: int = 40) -> list[dict[str, object]]:
    """People who log on at their own hosts, one in eight with a wrong password first."""
    chance = random.Random(5)
    rows: list[dict[str, object]] = []
    for day in range(days):
        for person in range(people):
            name, source = f"person{person}", f"10.0.1.{person}"
            time_us = START_US + day * DAY + 8 * HOUR + chance.randrange(HOUR)
            for number in range(chance.choice((0, 0, 0, 0, 0, 0, 1, 3))):
                rows.append(attempt(time_us - (9 * number + 9) * SECOND, name, source=source))
            rows += [attempt(time_us + n * HOUR, name, source=source, ok=True) for n in range(8)]
    return rows


def found(rows: list[dict[str, object]]):
    findings = guessed(table(rows, LOGONS))
    assert terms_add_up(findings)
    return findings


def test_an_office_where_people_mistype_gives_nothing() -> None:
    assert found(office()) == []


def test_sixty_guesses_at_one_account_that_succeed_are_found_with_the_account() -> None:
    begun = START_US + 3 * DAY + 3 * HOUR
    rows = [attempt(begun + n * 4 * SECOND, "deploy", source="198.51.100.7") for n in range(60)]
    rows.append(attempt(begun + 5 * MINUTE, "deploy", source="198.51.100.7", ok=True))
    [finding] = found([*office(), *rows])
    assert (finding.behaviour, finding.entity, finding.object) == ("password-guessing", "198.51.100.7", "deploy")
    assert (finding.count, finding.succeeded) == (60, ("deploy",))
    assert (finding.first_us, finding.last_us) == (begun, begun + 59 * 4 * SECOND)
    assert {term.name: term.points for term in finding.terms}["success-after"] == 15


def test_one_password_for_thirty_accounts_is_a_spray() -> None:
    begun = START_US + 4 * DAY + 3 * HOUR
    rows = [attempt(begun + n * MINUTE, f"person{n}", source="10.0.0.66") for n in range(30)]
    rows.append(attempt(begun + 40 * MINUTE, "person7", source="10.0.0.66", ok=True))
    [finding] = of(found([*office(), *rows]), "password-spray")
    assert (finding.entity, finding.count, finding.succeeded) == ("10.0.0.66", 30, ("person7",))
    assert finding.events[-1] == len(office()) + 30, "the success is part of the evidence"


def test_a_gateway_where_everybody_mistypes_and_comes_in_is_no_spray() -> None:
    begun = START_US + 4 * DAY + 8 * HOUR
    rows: list[dict[str, object]] = []
    for number in range(30):
        rows.append(attempt(begun + number * MINUTE, f"person{number}", source="10.0.0.1"))
        rows.append(attempt(begun + number * MINUTE + 15 * SECOND, f"person{number}", source="10.0.0.1", ok=True))
    assert of(found([*office(), *rows]), "password-spray") == []


def test_one_account_from_forty_strange_places_is_distributed_guessing() -> None:
    begun = START_US + 5 * DAY
    rows = [attempt(begun + n * 3 * MINUTE, "director", source=f"203.0.113.{n}") for n in range(40)]
    [finding] = found([*office(), *rows])
    assert (finding.behaviour, finding.entity_kind, finding.entity) == ("distributed-guessing", "account", "director")


def test_many_accounts_from_many_places_in_one_hour_are_a_distributed_spray() -> None:
    begun = START_US + 5 * DAY + 2 * HOUR
    rows = [attempt(begun + n * MINUTE, f"person{n}", source=f"203.0.113.{n}") for n in range(40)]
    [finding] = found([*office(), *rows])
    assert (finding.behaviour, finding.entity, finding.count) == ("distributed-spray", "a", 40)


def test_a_service_with_its_old_password_loses_points_for_having_come_in_before() -> None:
    good = [attempt(START_US + n * HOUR, "svc", source="10.0.0.5", ok=True) for n in range(20)]
    bad = [attempt(START_US + DAY + n * MINUTE, "svc", source="10.0.0.5") for n in range(2000)]
    assert found([*office(), *good, *bad]) == []
    stranger = [{**row, "source": "10.0.0.6"} for row in bad]
    assert [each.entity for each in found([*office(), *good, *stranger])] == ["10.0.0.6"]


def test_failures_of_machines_and_special_rights_are_no_guesses() -> None:
    begun = START_US + DAY
    machines = [attempt(begun + n * SECOND, "host1$") for n in range(500)]
    rights = [attempt(begun + n * SECOND, "svc", kind="privileged") for n in range(500)]
    assert found([*machines, *rights]) == []


def test_organisations_are_judged_apart() -> None:
    begun = START_US + DAY
    rows = [attempt(begun + n * SECOND, "x", organisation="ab"[n % 2]) for n in range(14)]
    assert found(rows) == [], "seven failures in each"


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_and_their_batches_do_not_matter(seed: int) -> None:
    begun = START_US + 5 * DAY + 2 * HOUR
    rows = office(4, 12)
    rows += [attempt(begun + n * MINUTE, f"person{n % 30}", source=f"203.0.113.{n % 20}") for n in range(200)]
    rows += [attempt(begun + n * 2 * SECOND, "deploy", source="198.51.100.7") for n in range(60)]
    facts = table(rows, LOGONS)
    whole = guessed(facts)
    assert whole
    assert guessed(shuffled(facts, seed, cuts=4, dictionaries=bool(seed % 2))) == whole


def test_an_empty_table_and_one_of_successes_give_nothing_and_a_wrong_one_is_refused() -> None:
    assert guessed(LOGONS.empty_table()) == []
    assert found([attempt(START_US, "x", ok=True)]) == []
    with pytest.raises(SchemaError, match="account"):
        guessed(LOGONS.empty_table().drop_columns(["account"]))
