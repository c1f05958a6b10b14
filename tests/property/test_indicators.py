"""Indicators: matching agrees with a slow and obvious matcher; how a file is cut changes nothing."""

import ipaddress
import sys
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from feeds import is_hit, read, unread
from mingjian.model.indicators import Indicator, level_of
from mingjian.model.rules import LEVELS
from mingjian.store.indicatormatching import IndicatorMatcher, exact_values, key_ranges
from mingjian.store.indicatortables import merged, numbered, table_of
from mingjian.store.sightings.keys import key_of

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from fuzz.targets import targets  # noqa: E402  # the folder fuzz is no part of the package

SAMPLES = [sample for name in ("stix", "misp", "indicator-lists") for sample in targets()[name].samples]


@given(st.sampled_from(SAMPLES), st.data())
def test_how_a_file_is_cut_changes_nothing(sample: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(sample)), max_size=6))
    assert read(sample, cuts=cuts) == read(sample)


def test_the_samples_are_read_as_what_they_are() -> None:
    bad = [(4, "parse-error", "'x' is no hash")]
    assert [(len(read(sample)), unread(read(sample))) for sample in SAMPLES] == [
        (1, []),
        (5, bad),
        (7, []),
        (1, []),
        (1, []),
    ]


# --- observables and indicators that meet often --------------------------------------------------------------------

labels = st.sampled_from(["a", "evil"])
names = st.builds(
    lambda parts, top: ".".join([*parts, top]),
    st.lists(labels, min_size=1, max_size=3),
    st.sampled_from(["example", "org"]),
)
v4 = st.builds(lambda a, b: f"10.{a}.0.{b}", st.sampled_from([0, 128]), st.sampled_from([0, 127, 128, 255]))
v6 = st.builds(
    lambda a, b: str(ipaddress.ip_address(f"2001:db8:{a:x}::{b:x}")), st.sampled_from([0, 1, 0x8000]), st.integers(0, 3)
)
addresses = st.one_of(v4, v6)
hosts = st.one_of(names, addresses, st.sampled_from(["dc01", "evil"]))
files = st.one_of(
    st.sampled_from(
        ["a.exe", "A.exe", "ä.exe", "/x/a.exe", "/x/A.exe", r"c:\x\a.exe", r"c:\x\b/a.exe", "/", "a/", "\\"]
    ),
    st.builds(
        lambda folder, name: f"{folder}{name}", st.sampled_from(["/a/", "c:\\"]), st.sampled_from(["a.exe", "b"])
    ),
)


def url(host: str, port: str, rest: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}{port}/{rest}"


urls = st.builds(url, hosts, st.sampled_from(["", ":81"]), st.sampled_from(["", "x", "?q=@a.example/", "a:b@evil.org"]))
emails = st.builds(lambda local, domain: f"{local}@{domain}", st.sampled_from(["bob", "a@b", "x"]), names)
hashes = st.sampled_from(["a" * 32, "b" * 64, "imphash:" + "a" * 32])
observables = st.one_of(
    st.tuples(st.just("ip"), addresses),
    st.tuples(st.just("domain"), names),
    st.tuples(st.just("host"), hosts),
    st.tuples(st.just("url"), urls),
    st.tuples(st.just("email"), emails),
    st.tuples(st.just("hash"), hashes),
    st.tuples(st.just("ja3"), hashes),
    st.tuples(st.just("file"), files),
    st.tuples(st.just("account"), st.sampled_from(["eve", "evil.example"])),
)


def network(address: str, prefix: int) -> str:
    parsed = ipaddress.ip_address(address)
    return str(ipaddress.ip_network(f"{address}/{prefix % (parsed.max_prefixlen + 1)}", strict=False))


meant = st.one_of(
    observables.map(lambda each: (each[0], "is", each[1])),
    names.map(lambda name: ("domain", "below", name)),
    st.builds(lambda address, prefix: ("ip", "within", network(address, prefix)), addresses, st.integers(8, 128)),
    st.sampled_from(["a.exe", "A.exe", "b", "Ä.exe"]).map(lambda name: ("file", "named", name)),
)


times = st.one_of(st.none(), st.integers(0, 9))


@given(
    st.lists(st.tuples(meant, times, times, st.sampled_from([None, 10, 90])), max_size=40),
    st.lists(st.tuples(observables, times), max_size=40),
)
def test_matching_agrees_with_the_slow_and_obvious_matcher(said: list, seen: list) -> None:
    indicators = [
        Indicator(
            kind=kind, how=how, value=value, written=value, confidence=sure, valid_from_us=start, valid_until_us=end
        )
        for (kind, how, value), start, end, sure in said
    ]
    table = numbered(table_of(indicators, rows_max=100))
    observations = pa.table(
        {
            "kind": pa.array([kind for (kind, _), _ in seen], pa.string()),
            "value": pa.array([value for (_, value), _ in seen], pa.string()).dictionary_encode(),
            "time_us": pa.array([time for _, time in seen], pa.int64()),
        }
    )
    found = IndicatorMatcher(table).match(observations).to_pylist()
    wanted = []
    for row, ((kind, value), time) in enumerate(seen):
        for number, each in enumerate(indicators):
            if is_hit(each, kind, value):
                start, end = each.valid_from_us, each.valid_until_us
                before = time is not None and start is not None and time < start
                behind = time is not None and end is not None and time >= end
                level = level_of(each.verdict, each.confidence, is_outside=before or behind)
                wanted.append((row, number, each.value, before or behind, level))
    assert [(f["row"], f["indicator_id"], f["value"], f["is_outside"], f["level"]) for f in found] == wanted
    assert all(f["level"] in LEVELS and f["warning"] == "" for f in found)


@given(meant, observables)
def test_every_hit_is_where_history_looks_for_it(said: tuple, seen: tuple) -> None:
    kind, how, value = said
    each = Indicator(kind=kind, how=how, value=value, written=value)
    kinds, values, rows = exact_values(numbered(table_of([each], rows_max=1)))
    assert set(rows.tolist()) <= {0}
    exact = set(zip(kinds.to_pylist(), values.to_pylist(), strict=True))
    key = key_of(*seen)
    is_in_range = any(low <= key < high for low, high in key_ranges(kind, how, value))
    assert (seen in exact or is_in_range) or not is_hit(each, *seen)
    assert all(is_hit(each, *pair) for pair in exact)


# --- what is said twice --------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.builds(
            Indicator,
            kind=st.just("domain"),
            how=st.sampled_from(["is", "below"]),
            value=st.sampled_from(["a.example", "b.example"]),
            written=st.sampled_from(["x", "y"]),
            verdict=st.sampled_from(["malicious", "benign", "suspicious"]),
            confidence=st.one_of(st.none(), st.integers(0, 100)),
            valid_from_us=times,
            valid_until_us=times,
            marking=st.sampled_from(["", "TLP:GREEN", "TLP:RED"]),
        ),
        max_size=8,
    )
)
def test_what_is_said_several_times_is_kept_once_with_the_gravest_of_all(said: list[Indicator]) -> None:
    rows = merged(table_of(said, rows_max=8)).to_pylist()
    assert [(row["value"], row["how"]) for row in rows] == sorted({(each.value, each.how) for each in said})
    for row in rows:
        same = [each for each in said if (each.value, each.how) == (row["value"], row["how"])]
        froms, untils = [each.valid_from_us for each in same], [each.valid_until_us for each in same]
        assert row["valid_from_us"] == (None if None in froms else min(froms))
        assert row["valid_until_us"] == (None if None in untils else max(untils))
        assert row["confidence"] == max(
            (each.confidence for each in same), key=lambda sure: -1 if sure is None else sure
        )
        for order, name in (
            (["malicious", "suspicious", "benign"], "verdict"),
            (["TLP:RED", "TLP:GREEN", ""], "marking"),
        ):
            assert row[name] == min((getattr(each, name) for each in same), key=order.index)
