"""Matching: every kind of indicator against every kind of observable, validity, warnings, what is live."""

from pathlib import Path

import pyarrow as pa
import pytest

from feeds import MD5, is_hit
from mingjian.errors import NotFound, SchemaError
from mingjian.model.indicators import Indicator
from mingjian.model.observables import canonical
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.indicatormatching import MATCH_SCHEMA, IndicatorMatcher, Matchers, exact_values, key_ranges
from mingjian.store.indicators import add_set, retire_set
from mingjian.store.indicatortables import numbered, table_of
from mingjian.store.scope import Scope
from mingjian.store.sightings.keys import key_of
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()
NO_LISTS = WarningLists(Path("/nowhere"), [])
NAMES = ("evil.example", "a.evil.example", "b.a.evil.example", "notevil.example", "example.org", "evil.example.org")
ADDRESSES = (
    "10.0.0.0",
    "10.0.0.127",
    "10.0.0.128",
    "10.0.1.0",
    "10.128.0.1",
    "2001:db8::",
    "2001:db8::1",
    "2001:db8:8000::1",
)
NETWORKS = (
    *("10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.127/32"),
    *("2001:db8::/32", "2001:db8::/33", "2001:db8::/127"),
)
PATHS = ("a.exe", "A.exe", "ä.exe", "/x/a.exe", "/x/A.exe", r"c:\x\a.exe", r"c:\x\b/a.exe", "/", "a/", "\\", "/a.exe/b")
RESTS = ("/", ":81/x", "/?q=@evil.example/", "/a:b@example.org")
OBSERVED = [
    *(("domain", name) for name in NAMES),
    *(("host", name) for name in (*NAMES, *ADDRESSES, "dc01", "evil")),
    *(("ip", address) for address in ADDRESSES),
    *(("url", f"http://{host}{rest}") for host in (*NAMES, "evil", "10.0.0.127", "[2001:db8::1]") for rest in RESTS),
    *(("email", f"{local}@{name}") for name in NAMES for local in ("bob", "a@b")),
    *(("file", path) for path in PATHS),
    *((kind, value) for kind in ("hash", "ja3", "certificate") for value in (MD5, "b" * 64, f"imphash:{MD5}")),
    ("account", "evil.example"),
]


def indicator(kind: str, how: str, value: str, **more: object) -> Indicator:
    return Indicator(kind=kind, how=how, value=value, written=value, **more)  # type: ignore[arg-type]  # kinds of ours


LOOKED_FOR = [
    *(indicator(kind, "is", value) for kind, value in OBSERVED),
    *(indicator("domain", "below", name) for name in NAMES),
    *(indicator("ip", "within", network) for network in NETWORKS),
    *(indicator("file", "named", name) for name in ("a.exe", "A.exe", "Ä.exe", "b")),
]


def matcher(*indicators: Indicator, lists: WarningLists | None = None) -> IndicatorMatcher:
    return IndicatorMatcher(numbered(table_of(indicators, rows_max=1000)), lists)


def observations(*seen: tuple[str, str], **more: list[int | None]) -> pa.Table:
    kinds, values = [kind for kind, _ in seen], [value for _, value in seen]
    return pa.table({"kind": pa.array(kinds, pa.string()), "value": pa.array(values, pa.string()), **more})


def test_everything_meets_what_the_slow_and_obvious_matcher_says() -> None:
    found = matcher(*LOOKED_FOR).match(observations(*OBSERVED))
    wanted = [
        (row, number)
        for row, (kind, value) in enumerate(OBSERVED)
        for number, each in enumerate(LOOKED_FOR)
        if is_hit(each, kind, value)
    ]
    assert list(zip(found["row"].to_pylist(), found["indicator_id"].to_pylist(), strict=True)) == wanted
    assert len(wanted) > 2 * len(OBSERVED)
    hows = {LOOKED_FOR[number].how for _, number in wanted}
    assert hows == {"is", "below", "within", "named"}


def test_every_hit_is_where_history_looks_for_it() -> None:
    for each in LOOKED_FOR:
        kinds, values, _ = exact_values(numbered(table_of([each], rows_max=1)))
        exact = set(zip(kinds.to_pylist(), values.to_pylist(), strict=True))
        ranges = list(key_ranges(each.kind, each.how, each.value))
        for kind, value in OBSERVED:
            is_found = (kind, value) in exact or any(low <= key_of(kind, value) < high for low, high in ranges)
            assert is_found or not is_hit(each, kind, value), (each, kind, value)


def test_what_is_observed_is_in_canonical_form() -> None:
    for kind, value in OBSERVED:
        if kind in ("ip", "domain", "email"):
            assert canonical(kind, value) == value


def test_one_observable_in_many_rows_is_found_in_all_of_them() -> None:
    seen = observations(*[("ip", "10.0.0.1"), ("ip", "10.0.0.2")] * 3)
    encoded = pa.table([column.dictionary_encode() for column in seen.columns], seen.schema.names)
    for table in (seen, encoded, pa.concat_tables([seen.slice(0, 1), seen.slice(1)])):
        found = matcher(indicator("ip", "is", "10.0.0.2")).match(table)
        assert found["row"].to_pylist() == [1, 3, 5]
        assert found.schema == MATCH_SCHEMA


def test_nothing_meets_nothing() -> None:
    assert matcher().match(observations(("ip", "10.0.0.1"))).num_rows == 0
    assert matcher(indicator("ip", "is", "10.0.0.1")).match(observations()).num_rows == 0
    assert len(matcher(*LOOKED_FOR)) == len(LOOKED_FOR)


@pytest.mark.parametrize(
    ("time", "last", "is_outside"),
    [
        *((9, 9, True), (10, 10, False), (19, 19, False), (20, 20, True)),
        *((5, 10, False), (19, 30, False), (5, 9, True), (None, None, False)),
    ],
)
def test_a_hit_outside_validity_is_kept_and_weighs_less(time: int | None, last: int | None, is_outside: bool) -> None:
    one = matcher(indicator("ip", "is", "10.0.0.1", valid_from_us=10, valid_until_us=20, confidence=90))
    (row,) = one.match(observations(("ip", "10.0.0.1"), time_us=[time], last_us=[last])).to_pylist()
    assert (row["is_outside"], row["level"]) == (is_outside, "medium" if is_outside else "high")


def test_without_times_nothing_is_outside_its_validity() -> None:
    (row,) = (
        matcher(indicator("ip", "is", "10.0.0.1", valid_until_us=1)).match(observations(("ip", "10.0.0.1"))).to_pylist()
    )
    assert not row["is_outside"]


def test_a_match_says_what_its_indicator_says() -> None:
    said = {"verdict": "suspicious", "confidence": 20, "marking": "TLP:RED", "source": "CERT", "description": "C2"}
    (row,) = (
        matcher(indicator("domain", "below", "evil.example", **said))
        .match(observations(("domain", "a.evil.example")))
        .to_pylist()
    )
    assert row == {
        **{"row": 0, "indicator_id": 0, "set_id": 0, "kind": "domain", "how": "below", "value": "evil.example"},
        **said,
        **{"is_outside": False, "warning": "", "level": "low"},
    }


NULL = pa.array([None], pa.string())


@pytest.mark.parametrize("columns", [{"kind": ["ip"]}, {"value": ["x"]}, {"kind": NULL, "value": ["x"]}])
def test_observations_need_kinds_and_values(columns: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        matcher(indicator("ip", "is", "10.0.0.1")).match(pa.table(columns))


@pytest.fixture
def lists(tmp_path: Path) -> WarningLists:
    (tmp_path / "lists" / "resolvers").mkdir(parents=True)
    (tmp_path / "lists" / "resolvers" / "list.json").write_text('{"list": ["8.8.8.8", "good.example"]}')
    return WarningLists(tmp_path / "lists", ["resolvers"])


def test_what_is_hit_may_be_on_a_warning_list_though_the_indicator_is_not(lists: WarningLists) -> None:
    found = matcher(
        indicator("ip", "within", "8.8.8.0/24"),
        indicator("domain", "below", "example.org"),
        lists=lists,
    ).match(observations(("ip", "8.8.8.8"), ("ip", "8.8.8.9"), ("domain", "a.example.org"))).to_pylist()  # fmt: skip
    assert [(row["warning"], row["level"]) for row in found] == [
        ("resolvers", "informational"),
        ("", "high"),
        ("", "high"),
    ]


def test_the_warning_of_an_indicator_stays_with_its_hits(workspace: Workspace, lists: WarningLists) -> None:
    said = [
        indicator("ip", "is", "8.8.8.8"),
        indicator("domain", "below", "good.example"),
        indicator("ip", "is", "8.8.8.9"),
    ]
    added = add_set(workspace, OPERATOR, "feed", said, lists=lists)
    assert (added.set.indicators, added.set.warned) == (3, 2)
    seen = observations(("ip", "8.8.8.8"), ("url", "http://www.good.example/x"), ("ip", "8.8.8.9"))
    found = Matchers(workspace, lists).current(OPERATOR).match(seen).to_pylist()
    assert [(row["row"], row["warning"], row["level"]) for row in found] == [
        (0, "resolvers", "informational"),
        (1, "resolvers", "informational"),
        (2, "", "high"),
    ]


def test_a_matcher_is_made_anew_only_when_the_live_sets_changed(workspace: Workspace) -> None:
    matchers = Matchers(workspace, NO_LISTS)
    assert len(matchers.current(OPERATOR)) == 0
    first = add_set(workspace, OPERATOR, "one", [indicator("ip", "is", "10.0.0.1")])
    add_set(workspace, OPERATOR, "two", [indicator("ip", "is", "10.0.0.2")])
    both = matchers.current(OPERATOR)
    assert (len(both), matchers.current(OPERATOR) is both) == (2, True)
    add_set(workspace, OPERATOR, "one", [indicator("ip", "is", "10.0.0.1")])
    assert matchers.current(OPERATOR) is both
    changed = add_set(workspace, OPERATOR, "one", [indicator("ip", "is", "10.0.0.3")])
    third = matchers.current(OPERATOR)
    assert third.set_ids == tuple(sorted([*(set(both.set_ids) - {first.set.id}), changed.set.id]))
    assert third.match(observations(("ip", "10.0.0.1"))).num_rows == 0
    assert third.match(observations(("ip", "10.0.0.3")))["set_id"].to_pylist() == [changed.set.id]
    retire_set(workspace, OPERATOR, changed.set.id)
    assert len(matchers.current(OPERATOR)) == 1


def test_an_organisation_is_matched_with_its_own_sets_and_those_for_all(
    workspace: Workspace, organisation: Organisation
) -> None:
    other = organisation_named(workspace, OPERATOR, "Other", make=True)
    add_set(workspace, OPERATOR, "feed", [indicator("ip", "is", "10.0.0.1")])
    add_set(workspace, OPERATOR, "feed", [indicator("ip", "is", "10.0.0.2")], organisation=organisation.id)
    add_set(workspace, OPERATOR, "feed", [indicator("ip", "is", "10.0.0.3")], organisation=other.id)
    matchers = Matchers(workspace, NO_LISTS)

    def values(scope: Scope, wanted: Organisation | None) -> list[str]:
        current = matchers.current(scope, organisation=None if wanted is None else wanted.id)
        return sorted(current.indicators["value"].to_pylist())

    assert values(OPERATOR, organisation) == ["10.0.0.1", "10.0.0.2"]
    assert values(OPERATOR, None) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    member = Scope.of_member("ann", [other.id])
    assert values(member, None) == ["10.0.0.1", "10.0.0.3"]
    with pytest.raises(NotFound):
        matchers.current(member, organisation=organisation.id)
