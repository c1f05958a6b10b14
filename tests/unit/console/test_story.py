"""The page of the story: complete in both languages, and text from outside stays text."""

from __future__ import annotations

import datetime
import io
from collections import Counter

import pytest

from htmlpage import Element, parsed
from mingjian.console.story import CARD_FILE, Told, how_found, write_story
from mingjian.model.detections import Detection
from mingjian.sample.campaigns import Step
from mingjian.sample.generate import Made, Order
from mingjian.sample.judge import Finding, Judgement
from mingjian.sample.walk import Trace
from mingjian.settings import Language
from mingjian.situations.card import Graph, Term, VerdictCard

EVIL = '<script>alert("x")</script>\u202e'
DAY_US = 86_400_000_000
FIRST_US = 20_124 * DAY_US  # 2025-02-05


def card(observable: str = "evil.example") -> VerdictCard:
    return VerdictCard(
        observable=observable, kind="domain", seen=True, count=3, first=None, last=None, hosts=(), accounts=(),
        lists_cut=False, roles=(), streams=(), organisations=(), verdict="foe", score=12, probability=0.94,
        terms=(Term(name="prior", points=12, says=f"because {EVIL}", why="why"),), speaks_for=(), speaks_against=(),
        unknown=(), timeline=(), timeline_left_out=0, chain=(), graph=Graph(), coverage="everywhere",
    )  # fmt: skip


def finding(name: str, **more: object) -> Finding:
    step = Step(campaign="c", name=name, technique="T1", title_en=f"en {name}", title_zh=f"zh {name}", organisation="a")
    given = {"step": step, "time": "2025-02-05T08:58:00.000Z", "host": "h", "account": "x", "lines": 2}
    return Finding(**(given | more))


FINDINGS = (
    finding("ruled", rules=(("high", EVIL, 3),)),
    finding("messaged", indicators=(("high", "domain", 4),)),
    finding("asked", is_shown=True),
    finding("unnoticed"),
    finding("kept-back", lines=0, not_there=Counter({"not forwarded": 6})),
    finding("lost", lines=0, not_there=Counter({"outage": 5})),
)


def told(**more: object) -> Told:
    noticed = Detection(
        time_us=FIRST_US, level="medium", rule_id="r", rule_title=EVIL, stream="s", file="a/f", record=1
    )  # fmt: skip
    trace = Trace(
        organisation="a", count=12, first_us=FIRST_US, last_us=FIRST_US + DAY_US, hosts=("", f"pc{EVIL}"),
        months={"2025-02": 10, "2025-03": 2},
    )  # fmt: skip
    given: dict[str, object] = {
        "made": Made(records=1234),
        "order": Order(seed=3, days=425, start=datetime.date(2025, 1, 6)),
        "organisations": (("a", "Org A"), ("b", "Org B")),
        "noticed": (("b", noticed),),
        "traces": (trace,),
        "coverage": f"except {EVIL}",
        "answers": (("began", card()), ("arrived", card(EVIL))),
        "judgement": Judgement(
            findings=FINDINGS, detections=9, true_detections=4, false_alarms=(("medium", EVIL, 5),),
            false_by_organisation={"b": 5},
        ),
    }  # fmt: skip
    return Told(**(given | more))


def page(language: Language = "en", **more: object) -> tuple[str, Element]:
    stream = io.StringIO()
    write_story(stream, told(**more), language)
    return stream.getvalue(), parsed(stream.getvalue())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_from_outside_runs_or_hides(language: Language) -> None:
    text, made = page(language)
    assert "<script" not in text
    assert "\u202e" not in text
    assert not made.all("script")
    policies = [each.attributes["content"] for each in made.all("meta") if "http-equiv" in each.attributes]
    assert policies[0].startswith("default-src 'none'")


@pytest.mark.parametrize(("language", "lead"), [("en", "13 months later"), ("zh", "13 个月后")])
def test_the_first_sentence_says_where_when_and_how_late(language: Language, lead: str) -> None:
    _, made = page(language)
    assert lead in made.one("h1").text
    assert "2025-02-05" in made.one("h1").text
    assert "Org A" in made.one("h1").text


def test_every_card_is_linked_in_the_order_in_which_was_asked() -> None:
    _, made = page()
    assert [each.attributes["href"] for each in made.by_id("who").all("a")] == [
        CARD_FILE.format(number=number) for number in (1, 2)
    ]  # fmt: skip


def test_a_month_has_a_circle_for_what_was_seen_in_it() -> None:
    _, made = page()
    titles = [each.text for each in made.by_id("months").all("title")]
    assert len(titles) == 3
    assert any("Org A, 2025-02: 10 log events" in title for title in titles)
    assert any("Org B, 2025-02: 0 log events with the name, 1 detections" in title for title in titles)
    assert len(made.by_id("months").all("circle")) == 3


def test_an_organisation_that_saw_nothing_is_listed_too() -> None:
    _, made = page()
    rows = [row.text for row in made.by_id("months").one("tbody").all("tr")]
    assert len(rows) == 2
    assert "never" in rows[1]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_step_says_what_found_it_or_why_nothing_did(language: Language) -> None:
    ways = [how_found(each, language) for each in FINDINGS]
    assert len(set(ways)) == len(FINDINGS)
    marks = ("NOT FOUND", "未找到")
    assert [way.startswith(marks) for way in ways] == [False, False, False, True, True, True]
    for way, number in zip(ways[3:], "265", strict=True):
        assert number in way
    _, made = page(language)
    rows = made.by_id("truth").one("tbody").all("tr")
    assert [row.classes for row in rows] == [{"found"}] * 3 + [{"missed"}] * 3


def test_without_a_hit_the_page_says_so() -> None:
    _, made = page(traces=())
    assert made.one("h1").text == "Nothing of what arrived was ever seen."
