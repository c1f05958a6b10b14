"""Errands: other labels of a rule reach what it found, and the situations that it is in."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from ingesting import ingest, lines, some
from lakes import OPERATOR
from mingjian.detect.sigma.parse import parse_rules
from mingjian.hunt.arrival import Reload, watch_live
from mingjian.hunt.errands import Errands
from mingjian.model.rules import Rule
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store import audit, labels
from mingjian.store.browsing import Wanted, browse
from mingjian.store.catalogue import organisations
from mingjian.store.jobs import Job, jobs
from mingjian.store.rules import add_rules, keep_rules
from mingjian.store.situations import situations
from mingjian.store.totals import Totals
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create
from serving import RULE


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create(tmp_path / "workspace")
    logs = tmp_path / "logs.jsonl"
    logs.write_bytes(lines(some(200)))
    (rule,) = parse_rules(RULE.encode()).rules
    add_rules(made, OPERATOR, [rule])
    ingest(made, logs, rules=[rule])
    return made


def other(rule: Rule) -> Rule:
    return msgspec.structs.replace(rule, title="Another title", level="critical", attack=("T1087",))


def waiting(workspace: Workspace) -> list[Job]:
    return [each for each in jobs(workspace, OPERATOR, states=["waiting"]) if each.kind == "labels"]


def grouped(workspace: Workspace) -> Keeper:
    keeper = Keeper(workspace, load_sources(), None, WarningLists(Path(), []))
    keeper.step()
    return keeper


def test_other_labels_of_a_rule_reach_detections_totals_and_situations(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace:
        keeper, totals = grouped(workspace), Totals(workspace, clock_s=iter(range(0, 1000, 10)).__next__)
        before = totals.by_level(OPERATOR)
        assert before["high"] > 0
        assert situations(workspace, OPERATOR).situations[0].level == "high"
        (rule,) = parse_rules(RULE.encode()).rules
        add_rules(workspace, OPERATOR, [other(rule)])
        (job,) = waiting(workspace)
        said = [each.what for each in audit.acts(workspace, OPERATOR, limit=3)]
        assert {"job.queued", "rule.labelled"} <= set(said)
        assert Errands(workspace, load_sources(), None, Path()).step()
        found = browse(workspace, OPERATOR, Wanted()).rows
        assert {each.detection.level for each in found} == {"critical"}
        assert {each.detection.rule_title for each in found} == {"Another title"}
        assert {each.detection.attack for each in found} == {("T1087",)}
        assert {each.detection.matched is not None for each in found} == {True}
        assert totals.by_level(OPERATOR) == before | {"high": 0, "critical": before["high"]}
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        assert keeper.step()
        told = situations(workspace, OPERATOR).situations[0]
        assert told.level == "critical"
        assert "Another title" in told.summary
        (done,) = [each for each in jobs(workspace, OPERATOR) if each.id == job.id]
        assert (done.state, done.results) == ("done", len(found))


def test_labels_that_stay_are_no_work(workspace: Workspace) -> None:
    with workspace:
        (rule,) = parse_rules(RULE.encode()).rules
        add_rules(workspace, OPERATOR, [rule])
        add_rules(workspace, OPERATOR, [msgspec.structs.replace(rule, file="elsewhere.yml")])
        keep_rules(workspace, OPERATOR, [other(rule)])
        assert waiting(workspace) == []


def test_what_arrives_gets_the_new_labels_at_once(workspace: Workspace) -> None:
    with workspace:
        scope, load = OPERATOR, lambda: watch_live(workspace, OPERATOR, starter=Path(), cache_folder=None)
        reload = Reload(workspace, scope, load)
        assert reload() is None
        (rule,) = parse_rules(RULE.encode()).rules
        add_rules(workspace, OPERATOR, [other(rule)])
        watch = reload()
        assert watch is not None
        assert [each.level for each in watch.rule_set.rules] == ["critical"]


def test_a_job_that_was_ended_in_its_middle_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "PORTION", 3)
    with workspace:
        grouped(workspace)
        (rule,) = parse_rules(RULE.encode()).rules
        add_rules(workspace, OPERATOR, [other(rule)])
        stops = iter([False, False, True])
        errands = Errands(workspace, load_sources(), None, Path())
        assert errands.step(lambda: next(stops, True))
        levels = {each.detection.level for each in browse(workspace, OPERATOR, Wanted()).rows}
        assert levels == {"high", "critical"}
        assert Errands(workspace, load_sources(), None, Path()).step(), "what was left running is taken up again"
        levels = {each.detection.level for each in browse(workspace, OPERATOR, Wanted()).rows}
        assert levels == {"critical"}
        assert len(organisations(workspace, OPERATOR)) == 1
