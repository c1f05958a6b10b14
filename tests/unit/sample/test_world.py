"""The sector: repeatable, and made of nobody's addresses and names."""

import ipaddress

import pytest

from mingjian.sample.generate import Order, world_of
from mingjian.sample.moments import DAY, at
from mingjian.sample.world import World

DOCUMENTATION = [ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(Order(organisations=30, events_per_day=60_000))


def test_the_same_seed_gives_the_same_world_and_another_another() -> None:
    assert world_of(Order(seed=4)) == world_of(Order(seed=4))
    assert world_of(Order(seed=4)) != world_of(Order(seed=5))


def test_every_name_ends_in_one_that_nobody_can_own(world: World) -> None:
    endings = (".example", ".example.com", ".example.net", ".example.org")
    names = [site.name for site in world.sites] + [host.fqdn for each in world.organisations for host in each.hosts]
    assert [name for name in names if not name.endswith(endings)] == []


def test_addresses_outside_are_for_documentation_and_inside_private(world: World) -> None:
    outside = [site.address for site in world.sites] + [each.public_address for each in world.organisations]
    assert all(any(ipaddress.ip_address(text) in net for net in DOCUMENTATION) for text in outside)
    assert all(ipaddress.ip_address(host.address) in ipaddress.ip_network("10.0.0.0/8")
               for each in world.organisations for host in each.hosts)  # fmt: skip


def test_no_two_hosts_share_an_address_and_no_two_organisations_a_name(world: World) -> None:
    addresses = [host.address for each in world.organisations for host in each.hosts]
    assert len(addresses) == len(set(addresses))
    assert len({each.id for each in world.organisations}) == 30


def test_no_two_people_of_an_organisation_share_a_login_or_a_mail_address(world: World) -> None:
    for each in world.organisations:
        assert len({person.login for person in each.people}) == len({person.email for person in each.people})
        assert len({person.login for person in each.people}) == len(each.people)


def test_a_chinese_organisation_has_accounts_in_chinese(world: World) -> None:
    each = next(each for each in world.organisations if each.profile.language == "zh")
    assert any(not person.login.isascii() for person in each.people)
    assert all(person.email.isascii() for person in each.people)


def test_one_host_has_a_wrong_clock_and_one_falls_silent_within_the_days(world: World) -> None:
    start_us = at(Order().start)
    for each in world.organisations:
        assert len([host for host in each.hosts if host.skew_us]) == 1
        (silent,) = [host for host in each.hosts if host.silent_from_us]
        assert start_us <= silent.silent_from_us < start_us + 3 * DAY


def test_a_host_that_is_not_there_is_a_key_error(world: World) -> None:
    with pytest.raises(KeyError):
        world.organisations[0].host("nowhere")
