"""Campaigns: they suit where they take place, and fit into the days there are."""

from itertools import pairwise

import pytest

from mingjian.sample.campaigns import standard, write_all
from mingjian.sample.generate import Order, world_of
from mingjian.sample.moments import DAY, HOUR, at

NAMES = [campaign.name for campaign in standard()]


@pytest.mark.parametrize("days", [1, 3, 60])
def test_every_deed_is_within_the_days_and_steps_come_in_order(days: int) -> None:
    order = Order(days=days)
    world, start_us = world_of(order), at(order.start)
    planted = write_all(world, NAMES, start_us, days)
    assert {deed.step.campaign for deed in planted} == set(NAMES)
    for deed in planted:
        organisation = next(each for each in world.organisations if each.id == deed.step.organisation)
        zone_us = organisation.profile.zone_us
        assert start_us <= deed.times_us[0] + zone_us
        assert deed.times_us[-1] + zone_us < start_us + days * DAY
        assert list(deed.times_us) == sorted(deed.times_us)


def test_the_steps_of_a_campaign_begin_in_the_order_of_its_story() -> None:
    order = Order(days=30)
    planted = write_all(world_of(order), ["intrusion"], at(order.start), 30)
    names = list(dict.fromkeys(deed.step.name for deed in planted))
    assert names == [
        *("phishing", "execution", "download", "persistence", "task", "beacon", "discovery", "credentials", "lateral"),
        *("staging", "exfiltration", "tracks"),
    ]


def test_a_beacon_goes_on_for_as_long_as_there_are_days() -> None:
    order = Order(days=400)
    planted = write_all(world_of(order), ["intrusion"], at(order.start), 400)
    (beacons,) = [deed.times_us for deed in planted if deed.step.name == "beacon"]
    assert beacons[-1] - beacons[0] > 399 * DAY
    assert len(beacons) > 20_000
    assert max(later - earlier for earlier, later in pairwise(beacons)) < HOUR


def test_every_step_names_a_technique_and_speaks_both_languages() -> None:
    order = Order()
    for deed in write_all(world_of(order), NAMES, at(order.start), 3):
        assert deed.step.technique.startswith("T1")
        assert deed.step.title_en.isascii() or "…" in deed.step.title_en
        assert not deed.step.title_zh.isascii()


def test_what_is_not_chosen_is_not_planted() -> None:
    order = Order()
    assert {deed.step.campaign for deed in write_all(world_of(order), ["spray"], at(order.start), 3)} == {"spray"}
    assert write_all(world_of(order), [], at(order.start), 3) == []
