"""What grouping goes by: how rare is rare, who is nobody."""

import pytest

from mingjian.model.rules import LEVELS
from mingjian.situations.policy import is_internal, is_nobody, policy


def test_rarity_falls_with_hosts_and_rises_with_the_size_of_the_organisation() -> None:
    known = policy()
    for all_of_them in (2, 10, 100, 5000):
        told = [known.rarity(hosts, all_of_them) for hosts in range(1, all_of_them + 1)]
        assert told == sorted(told, reverse=True)
        assert told[0] == 1
    assert known.rarity(4, 1000) > known.rarity(4, 20)


def test_a_hash_on_two_hosts_of_a_hundred_joins_over_weeks_and_what_three_in_ten_have_joins_nothing() -> None:
    known = policy()
    kind = known.kinds["hash"]
    assert kind.weight * known.rarity(2, 100) * 0.5 ** (14 * 86_400 / kind.half_life_s) >= known.join
    assert known.rarity(50, 100) == 0


@pytest.mark.parametrize(
    "name", ["system", "nt authority\\system", "pc-1$", "corp\\pc-1$", "svc-backup", "S-1-5-18", "root", "DWM-3"]
)
def test_programs_accounts_are_nobodys(name: str) -> None:
    assert policy().is_service_account(name)


@pytest.mark.parametrize("name", ["alice", "corp\\alice", "administrator", "systemadmin"])
def test_peoples_accounts_are_somebodys(name: str) -> None:
    assert not policy().is_service_account(name)


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.0.1", "100.64.0.1", "fd12::1"])
def test_addresses_of_the_inside(address: str) -> None:
    assert is_internal(address)
    assert policy().kind_of("ip", address) == "internal-ip"


@pytest.mark.parametrize("address", ["192.0.2.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1", "no address"])
def test_addresses_of_the_outside(address: str) -> None:
    assert not is_internal(address)
    assert policy().kind_of("ip", address) == "ip"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::1", "fe80::1"])
def test_addresses_of_nobody(address: str) -> None:
    assert is_nobody(address)


def test_the_host_of_a_sensors_log_is_no_entity() -> None:
    known = policy()
    assert known.is_observer("suricata/alert")
    assert not known.is_observer("windows/sysmon/1")


def test_the_policy_has_every_level_and_both_languages() -> None:
    known = policy()
    assert tuple(known.levels) == tuple(known.danger.severity) == LEVELS
    assert all(set(kind.why) == {"en", "zh"} for kind in known.kinds.values())
