"""Indicators: markings, networks, and how much a hit weighs."""

import pytest

from mingjian.model.indicators import MARKINGS, VERDICTS, confidence_band, level_of, marking_of, network_of, stricter
from mingjian.model.rules import LEVELS


@pytest.mark.parametrize(
    ("written", "marking"),
    [
        ("TLP:CLEAR", "TLP:CLEAR"),
        ("white", "TLP:CLEAR"),
        ("tlp:amber+strict", "TLP:AMBER+STRICT"),
        ("TLP: AMBER + STRICT", "TLP:AMBER+STRICT"),
        ("amber_strict", "TLP:AMBER+STRICT"),
        ("tlp-red", "TLP:RED"),
        ("", None),
        ("purple", None),
    ],
)
def test_a_marking_is_known_in_every_spelling(written: str, marking: str | None) -> None:
    assert marking_of(written) == marking


def test_the_stricter_of_two_markings_is_the_later_one() -> None:
    for place, marking in enumerate(MARKINGS):
        for other_place, other in enumerate(MARKINGS):
            assert stricter(marking, other) == MARKINGS[max(place, other_place)]


@pytest.mark.parametrize("text", ["", "192.0.2.0/33", "x/8", "192.0.2.0/-1", "::/129"])
def test_what_is_no_network_is_none(text: str) -> None:
    assert network_of(text) is None


def test_networks_have_one_form() -> None:
    assert str(network_of(" 2001:DB8::1/32 ")) == "2001:db8::/32"
    assert str(network_of("::ffff:10.1.2.3/104")) == "10.0.0.0/8"
    assert str(network_of("::/0")) == "::/0"


def test_less_confidence_never_weighs_more() -> None:
    assert [confidence_band(each) for each in (0, 29, 30, 69, 70, 100, None)] == [0, 0, 1, 1, 2, 2, 2]
    for verdict in VERDICTS:
        places = [LEVELS.index(level_of(verdict, confidence)) for confidence in range(101)]
        assert places == sorted(places)


def test_a_warned_hit_wakes_nobody_and_one_outside_validity_weighs_less() -> None:
    for verdict in VERDICTS:
        assert level_of(verdict, 100, is_warned=True) == "informational"
        place = LEVELS.index(level_of(verdict, 100))
        assert LEVELS.index(level_of(verdict, 100, is_outside=True)) == max(0, place - 1)
