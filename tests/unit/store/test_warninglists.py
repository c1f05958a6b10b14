"""Warning lists: what is on them, and what is only near."""

import json
from pathlib import Path

import pytest

from mingjian.errors import ConfigError
from mingjian.store import warninglists
from mingjian.store.sightings.columns import texts
from mingjian.store.warninglists import WarningLists, choice, package_folder


@pytest.fixture(scope="module")
def lists() -> WarningLists:
    return WarningLists()


def of_indicator(lists: WarningLists, kind: str, how: str, value: str) -> str:
    return str(lists.of_indicators(texts([kind]), texts([how]), texts([value]))[0])


@pytest.mark.parametrize(
    ("kind", "how", "value", "named"),
    [
        ("ip", "is", "8.8.8.8", "public-dns-v4"),
        ("host", "is", "8.8.8.8", "public-dns-v4"),
        ("ip", "is", "10.1.2.3", "rfc1918"),
        ("ip", "within", "10.2.0.0/16", "rfc1918"),
        ("ip", "within", "192.168.0.0/16", "rfc1918"),
        ("ip", "within", "192.0.0.0/9", ""),
        ("ip", "within", "8.8.8.0/24", ""),
        ("ip", "is", "2606:4700::1111", "cloudflare"),
        ("ip", "is", "fe80::1", "ipv6-linklocal"),
        ("ip", "is", "2001:4860:4860::8888", "public-dns-v6"),
        ("domain", "below", "google.com", "google"),
        ("domain", "is", "www.google.com", "google"),
        ("domain", "is", "evil.google.com", ""),
        ("domain", "below", "blogspot.com", "second-level-tlds"),
        ("domain", "below", "evil.blogspot.com", ""),
        ("url", "is", "http://google.com/", "google"),
        ("url", "is", "http://google.com/evil", ""),
        ("url", "is", "http://8.8.8.8/", "public-dns-v4"),
        ("email", "is", "eve@gmail.com", ""),
        ("hash", "is", "d41d8cd98f00b204e9800998ecf8427e", "empty-hashes"),
        ("hash", "is", "f" * 32, ""),
        ("file", "named", "google.com", ""),
        ("domain", "below", "evil.example", ""),
    ],
)
def test_what_is_listed_itself_is_warned_of(lists: WarningLists, kind: str, how: str, value: str, named: str) -> None:
    assert of_indicator(lists, kind, how, value) == named
    if how == "is":
        assert str(lists.of_observables(texts([kind]), texts([value]))[0]) == named


def test_whole_columns_are_answered_in_order(lists: WarningLists, monkeypatch: pytest.MonkeyPatch) -> None:
    values = ["8.8.8.8", "192.0.2.1", "10.0.0.1"] * 5
    wanted = ["public-dns-v4", "rfc5735", "rfc1918"] * 5
    monkeypatch.setattr(warninglists, "ROWS_AT_ONCE", 4)
    assert lists.of_observables(texts(["ip"] * 15), texts(values)).to_pylist() == wanted
    assert lists.of_observables(texts([]), texts([])).to_pylist() == []


def test_every_list_of_the_package_is_decided_on_once() -> None:
    groups = [*choice().used, *choice().left_out]
    named = [name for group in groups for name in group.lists]
    assert sorted(named) == sorted(path.parent.name for path in package_folder().glob("*/list.json"))
    assert all(set(group.why) == {"en", "zh"} for group in groups)


def test_lists_hold_whatever_they_hold(tmp_path: Path) -> None:
    entries = [
        *("8.8.8.8", "10.0.0.0/8", "2001:DB8::/32", "Bücher.Example", ".dotted.example", "AbCd" * 8, "3::"),
        *("what?", "", "x" * 300, "::ffff:9.9.9.9"),
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "list.json").write_text(json.dumps({"list": entries, "type": "string"}))
    lists = WarningLists(tmp_path, ["absent", "mine"])
    for kind, value in [
        ("ip", "8.8.8.8"),
        ("ip", "9.9.9.9"),
        ("ip", "10.255.0.1"),
        ("ip", "2001:db8::7"),
        ("domain", "xn--bcher-kva.example"),
        ("domain", "dotted.example"),
        ("hash", "abcd" * 8),
        ("certificate", "abcd" * 8),
        ("ip", "3::"),
    ]:
        assert of_indicator(lists, kind, "is", value) == "mine", value
    assert of_indicator(lists, "domain", "is", "what") == ""


def test_a_package_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warninglists, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match="not installed"):
        len(WarningLists())
