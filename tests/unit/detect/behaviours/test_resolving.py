"""DNS: planted tunnels and generated names, and look-ups of every day that are neither."""

import base64
import random

import pytest

from mingjian.detect.behaviours.facts import LOOKUPS
from mingjian.detect.behaviours.grouping import DAY, HOUR, MINUTE, SECOND
from mingjian.detect.behaviours.resolving import odd_names
from planted import START_US, of, shuffled, table, terms_add_up

Row = dict[str, object]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def asked(time_us: int, query: str, *, host: str = "h3", failed: bool = False) -> Row:
    return {"time_us": time_us, "organisation": "a", "host": host, "query": query, "failed": failed}


def everyday(days: int = 10, hosts: int = 12) -> list[Row]:
    """Popular sites, a content network with numbered hosts, and a mistyped name now and then."""
    chance = random.Random(4)
    rows: list[Row] = []
    for day in range(days):
        for host in range(hosts):
            for _ in range(120):
                time_us = START_US + day * DAY + 8 * HOUR + chance.randrange(9 * HOUR)
                site = f"site{int(chance.paretovariate(0.8)) % 150}.example"
                name = chance.choice((f"www.{site}", site, f"img{chance.randrange(40)}.edge.cdn.example"))
                rows.append(asked(time_us, name, host=f"h{host}"))
                if chance.random() < 0.01:
                    rows.append(asked(time_us, f"ww.{site}x", host=f"h{host}", failed=True))
    return rows


EVERYDAY = everyday()


def found(rows: list[Row]):
    findings = odd_names(table([*EVERYDAY, *rows], LOOKUPS), {"a": ["corp.example.org"]})
    assert terms_add_up(findings)
    return findings


def tunnel(count: int, day: int = 4, domain: str = "t.example.net") -> list[Row]:
    chance = random.Random(8)
    names = [base64.b32encode(chance.randbytes(30)).decode().lower().strip("=") for _ in range(count)]
    return [asked(START_US + day * DAY + n * 3 * SECOND, f"{name}.{domain}") for n, name in enumerate(names)]


def test_look_ups_of_every_day_give_nothing() -> None:
    assert found([]) == []
    assert odd_names(LOOKUPS.empty_table()) == []


def test_a_tunnel_is_found_and_the_days_on_which_it_runs_are_one_finding() -> None:
    rows = [*tunnel(300), *tunnel(300, day=5), *tunnel(300, day=8)]
    findings = found(rows)
    assert [(each.behaviour, each.entity, each.object, each.count) for each in findings] == [
        ("dns-tunnel", "h3", "example.net", 600),
        ("dns-tunnel", "h3", "example.net", 300),
    ]


def test_names_below_ones_own_domain_and_reverse_look_ups_are_left_out() -> None:
    reverse = [asked(START_US + n * SECOND, f"{n}.2.0.192.in-addr.arpa") for n in range(200)]
    assert found([*tunnel(300, domain="x.corp.example.org"), *reverse]) == []


def generated(count: int, chance: random.Random) -> list[str]:
    return ["".join(chance.choices(LETTERS, k=14)) + chance.choice((".com", ".net", ".info")) for _ in range(count)]


def test_a_burst_of_generated_names_is_found() -> None:
    night = START_US + 6 * DAY + 3 * HOUR
    names = generated(80, random.Random(3))
    rows = [asked(night + n * 20 * SECOND, name, failed=True) for n, name in enumerate(names)]
    rows.append(asked(night + HOUR // 2, "found.example.net"))
    [finding] = of(found(rows), "generated-names")
    assert (finding.entity, finding.count, finding.first_us) == ("h3", 80, night)
    assert set(finding.values) <= set(names)


def test_names_that_exist_for_somebody_else_are_not_made_up() -> None:
    night = START_US + 6 * DAY + 3 * HOUR
    names = generated(80, random.Random(3))
    rows = [asked(night + n * MINUTE // 2, name, failed=True) for n, name in enumerate(names)]
    rows += [asked(night, name, host="h5") for name in names]
    assert of(found(rows), "generated-names") == []


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_rows_and_their_batches_do_not_matter(seed: int) -> None:
    night = START_US + 6 * DAY + 3 * HOUR
    rows = [asked(night + n // 2, name, failed=True) for n, name in enumerate(generated(90, random.Random(seed)))]
    facts = table([*EVERYDAY[:3000], *rows, *tunnel(100)], LOOKUPS)
    whole = odd_names(facts)
    assert {each.behaviour for each in whole} == {"dns-tunnel", "generated-names"}
    assert odd_names(shuffled(facts, seed, cuts=4, dictionaries=bool(seed))) == whole
