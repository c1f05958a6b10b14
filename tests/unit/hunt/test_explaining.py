"""Why a rule fired, or did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mingjian.detect.engine import Engine
from mingjian.errors import NotFound
from mingjian.hunt.explaining import explain, find_event
from mingjian.model.rules import ANY, And, LogSource, Not, Null, Rule, Text
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

RULE = Rule(
    id="r",
    title="t",
    file="f",
    logsource=LogSource("windows", "process_creation"),
    condition=And((Text("Image", (ANY, "\\whoami.exe")), Not(Text("User", ("SYSTEM",))), Null("Absent"))),
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three events, one of them of another stream."""
    path = tmp_path / "log.json"
    sysmon = {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1}
    events = [
        {**sysmon, "Image": "C:\\whoami.exe", "User": "alice"},
        {**sysmon, "Image": "C:\\whoami.exe", "User": "system"},
        {"Channel": "Security", "EventID": 4624, "Image": "C:\\whoami.exe"},
    ]
    path.write_text("\n".join(map(json.dumps, events)))
    return path


def told(log: Path, number: int) -> tuple[bool, bool, str, list[tuple[int, str, bool, str]]]:
    """What is said of one event."""
    engine = Engine([RULE])
    ((view, record),) = find_event(str(log), number, Router(load_sources()))
    said = explain(RULE, engine, 0, view, record, str(log), number)
    return (
        said.fed,
        said.fired,
        said.reason,
        [(each.depth, each.text, each.true, each.value) for each in said.condition],
    )


def test_every_part_of_the_condition_is_shown_with_what_it_came_to(log: Path) -> None:
    fed, fired, reason, lines = told(log, 1)
    assert fed
    assert fired
    assert reason == "the condition is true"
    assert lines == [
        (0, "all of", True, ""),
        (1, "Image = '*\\\\whoami.exe'", True, "'C:\\\\whoami.exe'"),
        (1, "Absent is null", True, "missing"),
        (1, "not", True, ""),
        (2, "User = 'SYSTEM'", False, "'alice'"),
    ]


def test_a_false_part_is_named(log: Path) -> None:
    fed, fired, reason, lines = told(log, 2)
    assert (fed, fired, reason) == (True, False, "the condition is false")
    assert (2, "User = 'SYSTEM'", True, "'system'") in lines


def test_a_rule_that_is_not_asked_about_the_event_says_so(log: Path) -> None:
    fed, fired, reason, _ = told(log, 3)
    assert (fed, fired) == (False, False)
    assert "process_creation" in reason
    assert "security" in reason


def test_an_event_that_is_not_there_is_not_found(log: Path) -> None:
    with pytest.raises(NotFound):
        find_event(str(log), 99, Router(load_sources()))
