"""Detections held against the truth."""

import pytest

from mingjian.model.detections import Detection
from mingjian.sample.campaigns import Step
from mingjian.sample.generate import Truth
from mingjian.sample.judge import judge

LOGS = "out/logs"


def step(name: str) -> Step:
    return Step(campaign="c", name=name, technique="T1", title_en=name, title_zh=name, organisation="o")


def planted(name: str, record: int, time: str = "2026-03-02T09:00:00.000Z", file: str = "o/a b:c.log") -> Truth:
    return Truth(
        file=file, record=record, kind="planted", time=time, organisation="o", campaign="c", step=name, technique="T1"
    )  # fmt: skip


def detection(record: int, title: str = "rule", level: str = "high", **more: object) -> Detection:
    given = {"time_us": 0, "level": level, "rule_id": title, "rule_title": title, "stream": "s", "record": record}
    return Detection(**{**given, "file": f"{LOGS}/o/a b:c.log", **more})


TRUTH = [planted("one", 3), planted("one", 4, "2026-03-02T08:00:00.000Z"), planted("two", 9)]
STEPS = [step("one"), step("two")]


def test_a_step_is_found_by_a_detection_on_any_of_its_lines() -> None:
    judgement = judge([detection(4)], TRUTH, STEPS, LOGS)
    assert [(finding.step.name, finding.is_found, finding.lines) for finding in judgement.findings] == [
        ("one", True, 2),
        ("two", False, 1),
    ]
    assert judgement.findings[0].time == "2026-03-02T08:00:00.000Z"
    assert [finding.step.name for finding in judgement.missed] == ["two"]


def test_a_detection_on_no_planted_line_is_a_false_alarm() -> None:
    judgement = judge([detection(5), detection(6), detection(3)], TRUTH, STEPS, LOGS + "/")
    assert (judgement.detections, judgement.true_detections) == (3, 1)
    assert judgement.false_alarms == (("high", "rule", 2),)


def test_a_correlation_is_true_if_any_event_it_rests_on_was_planted() -> None:
    atoms = (f"base {LOGS}/o/a b:c.log:9", f"base {LOGS}/o/a b:c.log:70")
    judgement = judge([detection(70, kind="correlation", atoms=atoms)], TRUTH, STEPS, LOGS)
    assert [finding.is_found for finding in judgement.findings] == [False, True]
    assert judgement.false_alarms == ()


def test_the_gravest_rule_is_named_first() -> None:
    found = [detection(3, "b", "low"), detection(3, "c", "critical"), detection(4, "b", "low")]
    assert judge(found, TRUTH, STEPS, LOGS).findings[0].rules == (("critical", "c", 1), ("low", "b", 2))


def test_a_step_is_found_by_an_answer_that_points_to_one_of_its_lines() -> None:
    judgement = judge([], TRUTH, STEPS, LOGS, shown=[(f"{LOGS}/o/a b:c.log", 9), (f"{LOGS}/o/a b:c.log", 5)])
    assert [(finding.is_shown, finding.is_found) for finding in judgement.findings] == [(False, False), (True, True)]


def test_an_indicator_is_told_apart_from_a_rule() -> None:
    found = [detection(3, "domain x", kind="indicator"), detection(9, "rule"), detection(70, "rule")]
    judgement = judge(found, TRUTH, STEPS, LOGS)
    assert [(finding.rules, finding.indicators) for finding in judgement.findings] == [
        ((), (("high", "domain x", 1),)),
        ((("high", "rule", 1),), ()),
    ]
    assert judgement.false_by_organisation == {"o": 1}


@pytest.mark.parametrize(
    ("reasons", "lines", "unseen"),
    [
        (["outage"], 1, "unnoticed"),
        (["outage"], 0, "outage"),
        (["not forwarded", "outage"], 0, "not forwarded"),
    ],
)
def test_a_step_that_was_not_found_says_why(reasons: list[str], lines: int, unseen: str) -> None:
    gone = [
        Truth(kind="hidden", reason=reason, time="2026-03-02T09:00:00.000Z", organisation="o", campaign="c", step="one")
        for reason in reasons
    ]
    judgement = judge([], [*gone, *TRUTH[:lines]], [step("one")], LOGS)
    assert [finding.unseen for finding in judgement.findings] == [unseen]
    assert judgement.findings[0].not_there.total() == len(reasons)


def test_a_step_that_left_no_line_is_not_judged() -> None:
    assert judge([], TRUTH, [*STEPS, step("three")], LOGS).findings[-1].step.name == "two"
