"""Campaigns that are data: every file can be read, told, and is true to itself."""

import re
from datetime import date
from pathlib import Path

import pytest

from mingjian.errors import SchemaError
from mingjian.sample.campaigns import scripted, standard, write_all
from mingjian.sample.campaigns.scripted import CAMPAIGN_FOLDER, read
from mingjian.sample.generate import Order, world_of
from mingjian.sample.moments import DAY, HOUR, at, local_date

NAMES = [told.name for told in scripted()]


def test_there_is_a_file_for_each_and_no_name_is_taken_twice() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in CAMPAIGN_FOLDER.glob("*.yml"))
    assert len(NAMES) == len(set(NAMES))


def test_those_told_everywhere_come_first_and_are_what_an_order_asks_for_if_nothing_is_chosen() -> None:
    assert tuple(NAMES[:5]) == tuple(told.name for told in standard()) == Order().campaigns
    assert Order().campaigns == ("intrusion", "webshell", "insider", "spray", "cloudkey")


def test_what_is_told_everywhere_is_told_in_every_organisation_that_suits_and_in_no_other() -> None:
    order = Order(days=3, organisations=6)
    world = world_of(order)
    planted = write_all(world, order.campaigns, at(order.start), order.days)
    told = {name: {deed.step.organisation for deed in planted if deed.step.campaign == name} for name in NAMES[:5]}
    of = {each.id: each.profile for each in world.organisations}
    assert told["intrusion"] == {name for name, profile in of.items() if profile.sensor == "zeek-tsv"}
    assert told["webshell"] == told["insider"] == {name for name, profile in of.items() if profile.language == "zh"}
    assert told["spray"] == told["cloudkey"] == {name for name, profile in of.items() if profile.has_cloud}
    assert {len(places) for places in told.values()} == {2}


@pytest.mark.parametrize("told", scripted(), ids=NAMES)
def test_every_step_has_a_technique_a_part_and_a_title_in_both_languages(told) -> None:
    assert told.title.en.isascii()
    assert not told.title.zh.isascii()
    assert len({step.name for step in told.steps}) == len(told.steps)
    for step in told.steps:
        assert re.fullmatch(r"T1\d{3}(\.\d{3})?", step.technique), step.name
        assert step.part in told.parts
        assert step.title.en.replace("…", "").isascii()
        assert not step.title.zh.isascii()
        assert step.acts


@pytest.mark.parametrize("told", scripted(), ids=NAMES)
def test_every_part_of_a_campaign_is_in_another_organisation(told) -> None:
    order = Order(days=425, organisations=4)
    scripts = told.write(world_of(order), at(order.start), order.days)
    assert len({script.organisation.id for script in scripts}) == len(told.parts) == len(scripts)
    assert {deed.step.name for script in scripts for deed in script.planted} == {step.name for step in told.steps}


def test_with_too_few_organisations_or_days_parts_fall_out() -> None:
    order = Order(days=425, organisations=1)
    planted = write_all(world_of(order), ["longhaul"], at(order.start), order.days)
    assert {deed.step.organisation for deed in planted} == {world_of(order).organisations[0].id}
    assert write_all(world_of(order), ["longhaul"], at(order.start), 30) == []


def test_the_long_story_goes_from_one_organisation_to_the_next_over_more_than_a_year() -> None:
    order = Order(days=425, organisations=4)
    planted = write_all(world_of(order), ["longhaul"], at(order.start), order.days)
    first: dict[str, int] = {}
    for deed in planted:
        first[deed.step.organisation] = min(deed.times_us[0], first.get(deed.step.organisation, deed.times_us[0]))
    assert len(first) == 3
    begins = sorted(first.values())
    ends = at(order.start) + order.days * DAY
    assert 390 * DAY < ends - begins[0] < 400 * DAY
    assert begins[0] + 100 * DAY < begins[1] < begins[2]


def test_who_has_to_be_at_work_is_at_work() -> None:
    for start in ("2025-01-06", "2025-01-09", "2025-01-11"):
        order = Order(days=425, organisations=3, start=date.fromisoformat(start))
        for deed in write_all(world_of(order), ["longhaul"], at(order.start), order.days):
            if deed.step.name in ("bait", "foothold", "letter", "second-foothold"):
                zone_us = next(
                    e for e in world_of(order).organisations if e.id == deed.step.organisation
                ).profile.zone_us
                assert local_date(deed.times_us[0], zone_us).weekday() < 5
                assert 8 * HOUR <= (deed.times_us[0] + zone_us) % DAY < 18 * HOUR


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_campaign_in_the_manual_can_be_told(language: str, tmp_path: Path) -> None:
    manual = Path(__file__).parents[4] / "docs" / language / "reference" / "sample.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", manual.read_text(encoding="utf-8"), re.S)
    path = tmp_path / "example.yml"
    path.write_text(block, encoding="utf-8")
    order = Order(days=5, organisations=3)
    (script,) = read(path).write(world_of(order), at(order.start), order.days)
    assert [deed.step.name for deed in script.planted] == ["beacon"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("do: guess", "do: conquer", "Invalid value 'conquer'"),
        ("accounts: 40", "accounts: many", "Expected `int`"),
        ("days_min: 3", "days_min: 3\nsecret: 1", "unknown field"),
    ],
)
def test_a_file_with_a_defect_is_refused_with_its_name(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "bad.yml"
    text = (CAMPAIGN_FOLDER / "signals.yml").read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SchemaError, match=complaint) as caught:
        read(path)
    assert "bad.yml" in str(caught.value)
