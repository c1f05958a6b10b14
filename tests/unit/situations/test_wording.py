"""Situations in sentences, in both languages."""

import inspect
import re

import pytest

from mingjian.hunt.texts import read_texts
from mingjian.situations import wording
from mingjian.situations.summary import RuleCount, Summary, Terms, packed, unpacked

SUMMARY = Summary(
    terms=Terms(severity=8.05, confidence=0.82, spread=1.5, novelty=1.0),
    rules=(RuleCount("a", "Lsass is dumped", "high", 2), RuleCount("b", "Odd", "low", 1)),
    rules_count=2,
    hosts=("pc-1", "pc-2"),
    hosts_count=2,
    accounts=("ann",),
    accounts_count=1,
    tactics=("execution", "credential-access"),
    core=3,
    beside=1,
    tie_kind="hash",
    tie="f" * 80,
    tie_hosts=2,
)


def changed(**said: object) -> Summary:
    values = {name: getattr(SUMMARY, name) for name in SUMMARY.__struct_fields__}
    return Summary(**(values | said))  # type: ignore[arg-type] # each test says a part


def test_what_is_kept_comes_back() -> None:
    assert unpacked(packed(SUMMARY)) == SUMMARY


def test_titles_say_what_and_on_whom() -> None:
    assert wording.title(SUMMARY, "en") == "Execution to credential access on pc-1 and 1 more"
    assert wording.title(SUMMARY, "zh").startswith("pc-1 等 2 台主机：从执行到")
    one = changed(tactics=(), hosts=("pc-1",), hosts_count=1)
    assert wording.title(one, "en") == "Lsass is dumped on pc-1"
    assert wording.title(changed(tactics=(), hosts=(), hosts_count=0), "en") == "Lsass is dumped by ann"
    nobody = changed(tactics=(), hosts=(), hosts_count=0, accounts=(), accounts_count=0, tie_kind="", tie="")
    assert wording.title(nobody, "en") == "Lsass is dumped on the network"
    assert len(wording.title(changed(tactics=(), hosts=("x" * 500,)), "en")) <= wording.TITLE_CHARACTERS_MAX


def test_why_says_how_much_how_long_and_what_holds_it_together() -> None:
    hour = 3_600_000_000
    told = wording.why(SUMMARY, "en", 0, 5 * hour)
    assert told.startswith("3 detections of 2 rules within 5 hours, the worst high: “Lsass is dumped”")
    assert "the same file content ffff" in told
    assert "(seen on 2 hosts)" in told
    assert "5 小时" in wording.why(SUMMARY, "zh", 0, 5 * hour)
    by_hand = changed(by_hand=True, indicator="evil.example")
    assert "an indicator calls evil.example bad" in wording.why(by_hand, "en")
    assert "人工合并" in wording.why(by_hand, "zh")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_terms_are_those_that_are_kept(language: wording.Language) -> None:
    told = wording.terms(SUMMARY, language)
    assert [term.name for term in told] == ["severity", "confidence", "spread", "novelty"]
    assert [term.value for term in told] == [8.05, 0.82, 1.5, 1.0]
    assert all(term.says and term.label for term in told)


def test_every_bit_against_a_join_has_words_in_both_languages() -> None:
    for language in ("en", "zh"):
        told = wording.against(31, language)  # type: ignore[arg-type] # of the two
        assert len(told) == len(set(told)) == 5
    assert wording.against(0, "en") == []
    assert wording.reason("", "", "en") == "a person put them together"
    assert wording.reason("ip", "10.0.0.1", "en") == "the same internal address 10.0.0.1"


def test_both_languages_have_all_texts_and_none_is_left_over() -> None:
    keys = read_texts("situations.yml", "en").keys()
    assert keys == read_texts("situations.yml", "zh").keys()
    used = set(re.findall(r'"([a-z]+(?:\.[a-z-]+)*)"', inspect.getsource(wording)))
    made = re.compile(r"term\.[a-z]+")
    assert [key for key in sorted(keys) if key.removesuffix(".one") not in used and not made.fullmatch(key)] == []
