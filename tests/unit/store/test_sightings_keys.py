"""Keys: turned round so that ranges hold what belongs together, and back without loss."""

import ipaddress

import hypothesis
import pytest
from hypothesis import strategies as st

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import columns
from mingjian.store.sightings.keys import (
    KIND_NUMBERS,
    VALUE_BYTES_MAX,
    KeyRange,
    domain_ranges,
    file_name_ranges,
    key_of,
    keys_of,
    network_ranges,
    prefix_range,
    values_of,
)

odd = st.text(alphabet="aZ09.:/\\@[]\0\n%é名\x04\x06-", max_size=14)
addresses = st.ip_addresses().map(str)
values = (
    odd
    | addresses
    | st.builds("{}://{}{}".format, odd, addresses | odd, odd)
    | st.builds("{}@{}".format, odd, odd)
    | st.text(max_size=20).filter(lambda text: text.isprintable())
)


@hypothesis.settings(max_examples=500)
@hypothesis.given(st.sampled_from(list(KIND_NUMBERS)), st.lists(values, min_size=1, max_size=8))
def test_every_value_comes_back_from_its_key_and_one_key_is_made_as_many_are(
    kind: ObservableKind, given: list[str]
) -> None:
    keys = keys_of(kind, columns.texts(given))
    kinds, back = values_of(keys)
    assert back.to_pylist() == given
    assert set(kinds.to_pylist()) == {kind}
    assert [key_of(kind, value) for value in given] == keys.to_pylist()


@hypothesis.given(st.lists(st.tuples(st.sampled_from(list(KIND_NUMBERS)), values), min_size=1, max_size=12))
def test_keys_of_all_kinds_in_one_column_come_back(pairs: list[tuple[ObservableKind, str]]) -> None:
    kinds, back = values_of(columns.binaries([key_of(kind, value) for kind, value in pairs]))
    assert list(zip(kinds.to_pylist(), back.to_pylist(), strict=True)) == pairs


def is_in(key: bytes, stretches: list[KeyRange]) -> bool:
    found = [stretch for stretch in stretches if stretch.low <= key < stretch.high]
    assert len(found) <= 1
    return bool(found)


@hypothesis.given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_network_is_the_range_of_its_addresses(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    length: int,
) -> None:
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    stretches = network_ranges(network)
    for each in (address, other, network.network_address, network.broadcast_address):
        for kind in ("ip", "host"):
            assert is_in(key_of(kind, str(each)), stretches) == (each in network)
    assert not is_in(key_of("ip", "not an address"), stretches)


def test_a_network_of_mapped_addresses_is_one_of_ipv4() -> None:
    mapped = network_ranges(ipaddress.ip_network("::ffff:192.0.2.0/120"), ["ip"])
    assert mapped == network_ranges(ipaddress.ip_network("192.0.2.0/24"), ["ip"])


label = st.text(alphabet="az09-_", min_size=1, max_size=3)
names = st.lists(label, min_size=1, max_size=4).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())


@hypothesis.given(names, names)
def test_a_domain_holds_itself_and_what_is_below(name: str, other: str) -> None:
    stretches = domain_ranges(name)
    below = other == name or other.endswith(f".{name}")
    for kind in ("domain", "host"):
        assert is_in(key_of(kind, other), stretches) == below
        assert is_in(key_of(kind, f"{other}.{name}"), stretches)
    assert is_in(key_of("url", f"https://{other}:8443/a@{name}/"), stretches) == below
    assert is_in(key_of("email", f"bob@{name}@{other}"), stretches) == below


@hypothesis.given(
    st.sampled_from("\\/").flatmap(lambda separator: st.text(alphabet="ab." + separator, min_size=1, max_size=6)),
    st.sampled_from(("a", "a.b")),
)
def test_a_file_name_is_found_in_every_folder(path: str, name: str) -> None:
    separator = "\\" if "\\" in path else "/"
    assert is_in(key_of("file", path), file_name_ranges(name)) == (path.rpartition(separator)[2] == name)


def test_a_prefix_is_a_range_where_values_are_kept_as_they_are() -> None:
    stretch = prefix_range("hash", "abc")
    assert stretch is not None
    assert is_in(key_of("hash", "abcd"), [stretch])
    assert not is_in(key_of("hash", "abd"), [stretch])
    assert prefix_range("url", "http") is None


def test_a_value_that_is_too_long_or_of_no_kind_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="VALUE_BYTES_MAX"):
        keys_of("account", columns.texts(["ok", "é" * VALUE_BYTES_MAX]))
    with pytest.raises(LimitExceeded, match="VALUE_BYTES_MAX"):
        key_of("account", "é" * VALUE_BYTES_MAX)
    with pytest.raises(SchemaError, match="colour"):
        keys_of("colour", columns.texts(["red"]))  # type: ignore[arg-type] # that is the point


def test_numbers_of_kinds_are_what_they_were() -> None:
    """They are in files. A new kind gets a new number."""
    assert list(KIND_NUMBERS.items())[:12] == [
        *(("ip", 1), ("domain", 2), ("url", 3), ("email", 4), ("hash", 5), ("account", 6)),
        *(("host", 7), ("certificate", 8), ("ja3", 9), ("ja4", 10), ("file", 11), ("package", 12)),
    ]


def test_every_kind_of_observable_has_a_number() -> None:
    assert set(KIND_NUMBERS) == set(ObservableKind.__args__)
