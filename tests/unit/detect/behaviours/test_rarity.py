"""First uses: what is new for one, for all, and for nobody."""

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.behaviours.facts import SEEN, USES
from mingjian.detect.behaviours.grouping import DAY, HOUR
from mingjian.detect.behaviours.rarity import first_uses, merged_uses
from planted import START_US, shuffled, table, terms_add_up

Row = dict[str, object]
SINCE, UNTIL = START_US + 20 * DAY, START_US + 60 * DAY


def use(entity: str, value: str, first_us: int, *, kind: str = "file", organisation: str = "a", count: int = 5) -> Row:
    times = {"first_us": first_us, "last_us": START_US + 59 * DAY, "count": count}
    return {"organisation": organisation, "entity": entity, "kind": kind, "value": value, **times}


def offices(organisations: str = "ab", hosts: int = 12) -> list[Row]:
    """Hosts that all have the usual programs; half of them belong to one department, which has some of its own."""
    rows: list[Row] = []
    for name in organisations:
        for host in range(hosts):
            own = [f"department{host % 2}-{number}.exe" for number in range(6)]
            for number, value in enumerate([*(f"usual{number}.exe" for number in range(20)), *own]):
                rows.append(use(f"h{host}", value, START_US + (host + number) * HOUR, organisation=name))
    return rows


def found(rows: list[Row], seen: pa.Table | None = None):
    findings = first_uses(table(rows, USES), seen, since_us=SINCE, until_us=UNTIL)
    assert terms_add_up(findings)
    return findings


def test_nothing_new_gives_nothing() -> None:
    assert found(offices()) == []
    assert first_uses(USES.empty_table(), since_us=SINCE, until_us=UNTIL) == []


def test_a_program_that_nobody_else_has_is_found_and_all_of_a_day_are_one_finding() -> None:
    rows = [use("h3", value, START_US + 30 * DAY + n * HOUR) for n, value in enumerate(("keeper.exe", "helper.exe"))]
    [finding] = found([*offices(), *rows])
    assert (finding.entity, finding.count, finding.values) == ("h3", 2, ("helper.exe", "keeper.exe"))
    assert finding.first_us == START_US + 30 * DAY
    assert finding.score == 100


def test_what_everybody_begins_to_use_in_the_same_week_is_a_rollout() -> None:
    rows = [use(f"h{host}", "update9.exe", START_US + 30 * DAY + host * HOUR) for host in range(12)]
    assert found([*offices(), *rows]) == []


def test_what_other_organisations_have_is_less_surprising() -> None:
    rows = [use("h3", "editor.exe", START_US + 30 * DAY), use("h1", "editor.exe", START_US, organisation="b")]
    assert [each.score for each in found([*offices(), *rows])] == [90]


def test_the_index_remembers_what_the_tables_do_not_hold() -> None:
    rows = [*offices(), use("h3", "editor.exe", START_US + 30 * DAY)]
    one = {"kind": "file", "value": "editor.exe", "count": 1, "first_us": START_US - 300 * DAY, "last_us": START_US}
    seen = [{"organisation": name, **one} for name in ("a", "c", "d", "e")]
    assert [each.score for each in found(rows)] == [100]
    terms = {term.name: term for term in first_uses(table(rows, USES), None, since_us=SINCE, until_us=UNTIL)[0].terms}
    assert terms["new-to-the-organisation"].points == 15
    [finding] = found(rows, table(seen[1:2], SEEN))
    assert finding.score == 90, "one other organisation has it"
    assert found(rows, table(seen, SEEN)) == [], "the organisation had it, and three others"


def test_with_one_organisation_it_is_said_that_nobody_can_be_compared() -> None:
    [finding] = found([*offices("a"), use("h3", "keeper.exe", START_US + 30 * DAY)])
    assert (finding.caveats, finding.score) == (("one-organisation-only",), 90)


def test_what_the_peers_have_is_less_surprising_than_what_the_other_department_has() -> None:
    value = [use(f"h{host}", "special.exe", START_US) for host in (0, 2, 4)]
    by_stranger = use("h3", "special.exe", START_US + 30 * DAY)
    by_peer = use("h6", "special.exe", START_US + 30 * DAY)

    def points(row: Row) -> int:
        findings = first_uses(table([*offices(), *value, row], USES), since_us=SINCE, until_us=UNTIL)
        return sum(each.score for each in findings)

    assert points(by_stranger) >= points(by_peer)


def test_a_host_that_begins_something_new_all_the_time_is_not_judged_by_one_more() -> None:
    chance = random.Random(1)
    rows = [use("h3", f"site{n}.example", START_US + chance.randrange(60) * DAY, kind="domain") for n in range(400)]
    rows.append(use("h3", "x.example", START_US, kind="domain"))
    assert found([*offices(), *rows]) == []


def test_an_entity_that_is_new_itself_is_not_judged() -> None:
    rows = [use("h99", f"usual{number}.exe", START_US + 30 * DAY) for number in range(20)]
    assert found([*offices(), *rows, use("h99", "keeper.exe", START_US + 31 * DAY)]) == []


@given(st.lists(st.tuples(*(st.integers(0, 2),) * 3, st.integers(0, 9)), max_size=30), st.integers(0, 9))
def test_merged_uses_are_what_a_dictionary_says(rows: list[tuple[int, int, int, int]], seed: int) -> None:
    facts = table([use(f"h{e}", f"v{v}", day * DAY, kind=f"k{k}", count=1) for e, v, k, day in rows], USES)
    expected: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for number, (e, v, k, day) in enumerate(rows):
        count, first, event = expected.get((f"h{e}", f"k{k}", f"v{v}"), (0, 1 << 62, 1 << 62))
        expected[f"h{e}", f"k{k}", f"v{v}"] = (count + 1, *min((first, event), (day * DAY, number)))
    merged = merged_uses(shuffled(facts, seed, cuts=3)).to_pylist()
    got = {(row["entity"], row["kind"], row["value"]): (row["count"], row["first_us"], row["event"]) for row in merged}
    assert got == expected
    assert list(got) == sorted(got)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_and_their_batches_do_not_matter(seed: int) -> None:
    rows = [use(f"h{n % 5}", f"new{n % 7}.exe", START_US + (30 + n % 3) * DAY) for n in range(20)]
    seen = table([{"organisation": "c", "kind": "file", "value": "new1.exe", "count": 2, "first_us": 5}], SEEN)
    facts = table([*offices(), *rows], USES)
    whole = first_uses(facts, seen, since_us=SINCE, until_us=UNTIL)
    assert whole
    mixed = shuffled(facts, seed, cuts=4, dictionaries=bool(seed % 2))
    assert first_uses(mixed, seen, since_us=SINCE, until_us=UNTIL) == whole
