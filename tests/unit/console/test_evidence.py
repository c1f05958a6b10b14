"""Which detections are listed, and how much of each."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mingjian.console import evidence
from mingjian.console.tally import add_up
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS
from mingjian.telemetry import visible


def detection(rule: int, number: int = 0, **given: Any) -> Detection:
    base: dict[str, Any] = {"time_us": number, "level": "low", "rule_title": "R", "stream": "s", "file": "f"}
    return Detection(**base | {"rule_id": str(rule), "record": number} | given)


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 100))
def test_quotas_use_the_rows_there_are_and_treat_rules_alike(totals: list[int], rows_max: int) -> None:
    found = [detection(rule, n) for rule, total in enumerate(totals) for n in range(total)]
    quota = evidence.quotas(add_up(found).rules, rows_max)
    assert sum(quota.values()) <= rows_max
    if len(totals) <= rows_max:
        each = max(quota.values(), default=0)
        assert quota == {str(rule): min(each, total) for rule, total in enumerate(totals)}
        more = {str(rule): min(each + 1, total) for rule, total in enumerate(totals)}
        assert more == quota or sum(more.values()) > rows_max
    assert len(evidence.choose(found, quota)) == sum(quota.values())


def test_with_more_rules_than_rows_the_worst_rules_have_one_row_each() -> None:
    found = [detection(n, level=LEVELS[n % 5]) for n in range(50)]
    quota = evidence.quotas(add_up(found).rules, 10)
    assert quota == {str(n): 1 for n in range(50) if n % 5 == 4}


def test_the_earliest_of_each_rule_are_listed_the_worst_level_first() -> None:
    found = [detection(n % 2, n, level="low" if n % 2 else "high") for n in range(20)]
    chosen = evidence.choose(found, {"0": 3, "1": 2})
    assert [(each.detection.level, each.detection.record) for each in chosen] == [
        *(("high", 0), ("high", 2), ("high", 4)),
        *(("low", 1), ("low", 3)),
    ]


def test_what_waits_in_memory_is_bounded() -> None:
    huge = detection(0, matched={f"field{n}": "x" * 100_000 for n in range(1_000)})
    (chosen,) = evidence.choose([huge], {"0": 1})
    assert sum(map(len, chosen.detection.matched.values())) == evidence.ROW_CHARACTERS_MAX
    assert len(chosen.detection.matched) == evidence.FIELDS_MAX
    assert chosen.fields_cut == 1_000 - evidence.FIELDS_MAX
    assert sum(chosen.cut.values()) == evidence.FIELDS_MAX * 100_000 - evidence.ROW_CHARACTERS_MAX


@given(st.text(st.characters(), max_size=60))
def test_pieces_say_what_visible_says_and_lose_nothing(text: str) -> None:
    pieces = list(evidence.pieces_of(text))
    assert "".join(piece.text for piece in pieces) == visible(text)
    assert [piece.text for piece in pieces if piece.mark] == [visible(c) for c in text if visible(c) != c]
    assert sum(piece.line_end for piece in pieces) == text.count("\n")
