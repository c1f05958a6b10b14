"""From logs to situations: what is in the events, and what suppressions hide of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from ingesting import RULES, SOURCES, ingest, lines, sysmon
from lakes import OPERATOR
from mingjian.errors import NotFound, NotPermitted, RuleError, SchemaError
from mingjian.situations import suppressing
from mingjian.situations.keeping import Keeper
from mingjian.situations.showing import situation
from mingjian.store import situationtables as s
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.detections import detections
from mingjian.store.evidence import key_of
from mingjian.store.rules import add_rules
from mingjian.store.scope import Scope
from mingjian.store.situations import situations
from mingjian.store.suppressions import live_suppressions, suppressions
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create

DAY_US = 86_400_000_000
NO_LISTS = WarningLists(Path(), [])
WHOAMI = "C:\\Windows\\whoami.exe"
HASH = "A" * 64
FILTER = """
title: Not that host
logsource: {product: windows, category: process_creation}
filter:
    rules: [whoami]
    selection: {Hostname: pc-1}
    condition: not selection
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        add_rules(made, OPERATOR, RULES)
        records = [
            {**sysmon(10, WHOAMI, host=host), "Hashes": f"SHA256={HASH}", "User": "CORP\\Ann"}
            for host in ("pc-1", "pc-1", "pc-2.corp.example")
        ]
        log = tmp_path / "log.json"
        log.write_bytes(lines([*records, sysmon(11)]))
        ingest(made, log, correlations=())
        yield made


def keep(workspace: Workspace) -> None:
    Keeper(workspace, SOURCES, None, NO_LISTS).step()


def listed(workspace: Workspace) -> list[tuple[int, int]]:
    """Detections and hosts of every situation."""
    return [(each.detections, each.hosts) for each in situations(workspace, OPERATOR).situations]


def test_events_are_looked_into_once_and_what_they_share_joins_hosts(workspace: Workspace) -> None:
    keeper = Keeper(workspace, SOURCES, None, NO_LISTS)
    assert keeper.step()
    assert not keeper.step()
    assert listed(workspace) == [(3, 2)]
    shown = situation(workspace, OPERATOR, situations(workspace, OPERATOR).situations[0].public_id)
    assert shown.summary.hosts == ("pc-1", "pc-2")
    assert shown.summary.accounts == ("ann",)
    assert {(each.kind, each.hosts) for each in shown.entities if each.kind == "hash"} == {("hash", 2)}
    with workspace.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(s.evidence)).scalar_one() == 3


def test_a_detection_whose_event_cannot_be_read_keeps_its_host_and_that_is_said(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    for row in live_segments(workspace, OPERATOR):
        (workspace.lake / row.path).write_bytes(b"damaged")
    with caplog.at_level("WARNING", logger="mingjian"):
        keep(workspace)
    assert {each.message for each in caplog.records} == {"events of detections cannot be read"}
    with workspace.read() as connection:
        rows = connection.execute(sa.select(s.evidence.c.host_key, s.evidence.c.entities)).all()
    hosts = {key_of("host", name) for name in ("pc-1", "pc-2")}
    assert {row.host_key for row in rows} == hosts
    # Host and account, eight bytes each, and nothing that stands in the event alone.
    assert {len(row.entities) for row in rows} == {16}


def test_a_correlation_is_told_with_what_is_in_the_event_that_completed_it(tmp_path: Path) -> None:
    with create(tmp_path / "workspace") as made:
        log = tmp_path / "log.json"
        log.write_bytes(lines({**sysmon(10, WHOAMI), "Hashes": f"SHA256={HASH}"} for _ in range(3)))
        ingest(made, log, rules=[msgspec.structs.replace(RULES[0], hidden=True)])
        keep(made)
        with made.read() as connection:
            sizes = connection.execute(sa.select(sa.func.length(s.evidence.c.entities))).scalars().all()
    # Eight bytes each for host, hash and program. The correlation itself names its host alone, and no stream.
    assert sizes == [24]


def test_a_filter_is_tried_before_it_hides_anything(workspace: Workspace) -> None:
    keep(workspace)
    about = suppressing.read_filter(workspace, OPERATOR, FILTER)
    tried = suppressing.try_out(workspace, OPERATOR, SOURCES, about, None)
    assert (tried.detections, tried.looked_at, tried.hosts, tried.unread) == (2, 3, 1, 0)
    assert tried.rules == (("Somebody asks who they are", 2),)
    assert listed(workspace) == [(3, 2)]
    assert len(detections(workspace, OPERATOR)) == 3


def test_a_suppression_hides_history_only_if_it_is_told_to_and_gives_it_back(workspace: Workspace) -> None:
    keep(workspace)
    about = suppressing.read_filter(workspace, OPERATOR, FILTER)
    tried = suppressing.try_out(workspace, OPERATOR, SOURCES, about, None)
    said = {"owner": "Li", "reason": "a test", "expires_us": workspace.clock_us() + DAY_US, "organisation": None}
    suppressing.suppress(workspace, OPERATOR, FILTER, **said)  # type: ignore[arg-type] # the words go by their names
    assert listed(workspace) == [(3, 2)]
    made = suppressing.suppress(workspace, OPERATOR, FILTER, tried=tried, **said)  # type: ignore[arg-type] # the words go by their names
    assert listed(workspace) == [(1, 1)]
    assert len(detections(workspace, OPERATOR)) == 1
    assert len(detections(workspace, OPERATOR, hidden=True)) == 3
    assert [each.hidden for each in suppressions(workspace, OPERATOR)] == [2, 0]
    assert suppressing.end(workspace, OPERATOR, made.public_id, take_back=True) == 2
    assert listed(workspace) == [(3, 2)]
    assert [each.state for each in suppressions(workspace, OPERATOR)] == ["ended", "active"]


def test_what_arrives_is_hidden_while_a_suppression_lasts_and_not_after(workspace: Workspace, tmp_path: Path) -> None:
    now = workspace.clock_us()
    suppressing.suppress(
        workspace, OPERATOR, FILTER, owner="Li", reason="a test", expires_us=now + DAY_US, organisation=None
    )
    keep(workspace)
    assert listed(workspace) == [(1, 1)]
    workspace.clock_us = lambda: now + 2 * DAY_US
    assert live_suppressions(workspace, OPERATOR) == []
    assert [each.state for each in suppressions(workspace, OPERATOR)] == ["expired"]
    later = tmp_path / "later.json"
    later.write_bytes(lines([sysmon(50, WHOAMI, host="pc-1")]))
    ingest(workspace, later, correlations=())
    keep(workspace)
    assert {each.detection.host for each in detections(workspace, OPERATOR)} == {"pc-1", "pc-2.corp.example"}


def test_a_draft_hides_the_detection_it_was_made_from(workspace: Workspace) -> None:
    found = detections(workspace, OPERATOR)[0]
    text = suppressing.draft(workspace, OPERATOR, found)
    about = suppressing.read_filter(workspace, OPERATOR, text)
    assert about.rules == ("whoami",)
    tried = suppressing.try_out(workspace, OPERATOR, SOURCES, about, None)
    assert found.id in tried.hidden
    assert json.dumps("C:\\\\Windows\\\\whoami.exe") in text


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "a: [",
        "title: t\nlogsource: {product: windows}\ndetection: {s: {F: 1}, condition: s}",
        "title: t\nlogsource: {product: windows}\nfilter: {selection: {F: 1}, condition: not selection}",
        FILTER + "---" + FILTER,
    ],
)
def test_what_is_no_filter_is_refused(workspace: Workspace, text: str) -> None:
    with pytest.raises(RuleError):
        suppressing.read_filter(workspace, OPERATOR, text)


def test_a_suppression_needs_reason_owner_and_an_end_and_the_right_to_it(workspace: Workspace) -> None:
    now = workspace.clock_us()
    ours = organisation_named(workspace, OPERATOR, "ours").id
    good = {"owner": "Li", "reason": "a test", "expires_us": now + DAY_US, "organisation": ours}
    for wrong in ({"owner": " "}, {"reason": ""}, {"expires_us": now}, {"expires_us": now + 400 * DAY_US}):
        with pytest.raises(SchemaError):
            suppressing.suppress(workspace, OPERATOR, FILTER, **(good | wrong))  # type: ignore[arg-type] # the words go by their names
    with pytest.raises(SchemaError):
        suppressing.read_filter(workspace, OPERATOR, "x" * 70_000)
    with pytest.raises(NotFound):
        suppressing.suppress(workspace, Scope.of_member("eve", []), FILTER, **good)  # type: ignore[arg-type] # the words go by their names
    with pytest.raises(NotPermitted):
        suppressing.suppress(workspace, Scope.of_member("ann", [ours]), FILTER, **good)  # type: ignore[arg-type] # the words go by their names
    member = Scope.of_member("wu", [ours], [ours])
    with pytest.raises(NotPermitted):
        suppressing.suppress(workspace, member, FILTER, **(good | {"organisation": None}))  # type: ignore[arg-type] # the words go by their names
    made = suppressing.suppress(workspace, member, FILTER, **good)  # type: ignore[arg-type] # the words go by their names
    with pytest.raises(NotFound):
        suppressing.end(workspace, Scope.of_member("eve", []), made.public_id)
