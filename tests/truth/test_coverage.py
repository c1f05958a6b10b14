"""A hole of each kind, planted in logs that are then taken in, is in every answer that it affects, and in no other."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ingesting import SOURCES, ingest
from lakes import OPERATOR
from mingjian.detect.engine import Engine
from mingjian.hunt.answer import Answer, sentence
from mingjian.hunt.expressions import rule_of
from mingjian.hunt.hunting import Hunt
from mingjian.hunt.indicating import look_for
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.indicators import Indicator
from mingjian.model.rules import Rule
from mingjian.model.values import Record
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.upkeep import Retention, expire, set_retention
from mingjian.store.workspace import Workspace, create

FIRST = datetime.date(2026, 3, 1)
DAYS = range(60)
SILENT_HOST = range(20, 27)
"""Days on which dc02 sent nothing."""
NO_DNS = range(35, 40)
"""Days on which nothing was told about names that were asked for; nor was it before the tenth day."""
FIRST_DNS = 10
KEPT_DAYS = 45
"""So many days of logons are kept."""
RULE = "title: t\nlogsource: {{category: {}, product: windows}}\ndetection: {{s: {{{}: {}}}, condition: s}}\n"

HOST = "dc02 (ours) silent 21–27 March 2026"
LATE_DNS = "no zeek/dns (ours) before 11 March 2026"
DNS = "no zeek/dns (ours) 5–9 April 2026"
REMOVED = "were removed by retention"
UNREAD = "1 records of 1 files could not be read (ours)"
NEVER = "no source of windows/dns_query/* was ever connected"
SILENT = "Silent Ltd (Jilin) never sent anything"


def moment(day: int, hour: int) -> str:
    return f"{FIRST + datetime.timedelta(days=day)} {hour:02}:30:00"


def windows(day: int, host: str, channel: str, event_id: int, **data: str) -> Record:
    return {
        "EventTime": moment(day, 9),
        "UtcTime": moment(day, 9) + ".000",
        "Channel": channel,
        "EventID": event_id,
        "Hostname": host,
        "SourceName": "Microsoft-Windows-Sysmon" if "Sysmon" in channel else "Microsoft-Windows-Security-Auditing",
        **data,
    }


def started(day: int, host: str) -> Record:
    return windows(day, host, "Microsoft-Windows-Sysmon/Operational", 1, Image="C:\\Windows\\notepad.exe")


def logged_on(day: int, host: str) -> Record:
    return windows(day, host, "Security", 4624, TargetUserName="bob", LogonType="3")


def asked_for(day: int) -> Record:
    at = datetime.datetime.fromisoformat(moment(day, 9)).replace(tzinfo=datetime.UTC)
    told = {"_path": "dns", "ts": at.timestamp(), "uid": f"C{day}", "id.orig_h": "10.0.0.1", "id.orig_p": 5000}
    return {**told, "id.resp_h": "10.0.0.2", "id.resp_p": 53, "proto": "udp", "query": "www.example.org"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Sixty days of logs with holes."""
    folder = tmp_path_factory.mktemp("holes")
    logs = folder / "logs"
    logs.mkdir()
    hosts = [(day, host) for day in DAYS for host in ("dc01", "dc02") if host == "dc01" or day not in SILENT_HOST]
    several = {
        "processes.json": [started(day, host) for day, host in hosts],
        "logons.json": [logged_on(day, host) for day, host in hosts],
        "dns.json": [asked_for(day) for day in DAYS if day >= FIRST_DNS and day not in NO_DNS],
    }
    for name, records in several.items():
        text = "".join(json.dumps(record) + "\n" for record in records)
        (logs / name).write_text(text + ("{broken\n" if name == "logons.json" else ""), encoding="utf-8")
    with create(folder / "workspace") as made:
        set_retention(made, OPERATOR, Retention(stream_pattern="windows/security/4624", days=KEPT_DAYS))
        ingest(made, logs)
        organisation_named(made, OPERATOR, "Silent Ltd (Jilin)", make=True)
        today = (FIRST - datetime.date(1970, 1, 1)).days + DAYS[-1] + 1
        with made.writing():
            assert expire(made, OPERATOR, today=today)
        assert {row.key.stream for row in live_segments(made, OPERATOR)} == {
            *("windows/sysmon/1", "windows/security/4624", "zeek/dns")
        }
        yield made


def hunted(workspace: Workspace, rules: Sequence[Rule]) -> Answer:
    with closing(Hunt(workspace, OPERATOR, rules, (), Engine(rules), SOURCES)) as hunt:
        hunt.execute()
        return hunt.answer()


def rule(folder: Path, category: str, field: str, value: str) -> Sequence[Rule]:
    path = folder / "rule.yml"
    path.write_text(RULE.format(category, field, value), encoding="utf-8")
    return load_rulebook([path]).rules


def holes_of(answer: Answer, start: str) -> set[str]:
    """The holes that an answer names; the Chinese one names as many."""
    english, chinese = sentence(answer, "en"), sentence(answer, "zh")
    assert english.startswith(start)
    head, _, rest = english.rstrip(".").partition(", except: ")
    assert chinese.count("；") == rest.count("; ") + 1
    assert "2026-03-01" in head
    assert "2026-04-29" in head
    return {each.strip() for each in rest.split(";")}


def named(*pieces: str, among: set[str]) -> None:
    """Exactly these holes are named."""
    left = set(among)
    for piece in pieces:
        (hit,) = [each for each in left if piece in each]
        left.remove(hit)
    assert left == set()


def test_a_rule_about_processes(workspace: Workspace, tmp_path: Path) -> None:
    answer = hunted(workspace, rule(tmp_path, "process_creation", "Image", "x"))
    named(HOST, UNREAD, SILENT, among=holes_of(answer, "Not seen"))


def test_what_was_seen_has_the_same_holes(workspace: Workspace, tmp_path: Path) -> None:
    answer = hunted(workspace, rule(tmp_path, "process_creation", "Image|endswith", "notepad.exe"))
    count = 2 * len(DAYS) - len(SILENT_HOST)
    named(HOST, UNREAD, SILENT, among=holes_of(answer, f"Seen {count} times"))


def test_a_source_that_was_never_connected(workspace: Workspace, tmp_path: Path) -> None:
    answer = hunted(workspace, rule(tmp_path, "dns_query", "QueryName", "x"))
    assert NEVER in holes_of(answer, "Not seen")
    assert not any(piece in sentence(answer, "en") for piece in (DNS, LATE_DNS, REMOVED))


def test_an_expression_about_logons(workspace: Workspace) -> None:
    answer = hunted(workspace, [rule_of(["TargetUserName=mallory"])])
    found = holes_of(answer, "Not seen")
    named(HOST, REMOVED, UNREAD, SILENT, among=found)
    gone = 2 * (DAYS[-1] + 1 - KEPT_DAYS)
    assert f"{gone} events of windows/security/4624 (ours) 1–15 March 2026 {REMOVED}" in found


def test_an_indicator_that_is_a_domain(workspace: Workspace) -> None:
    sought = Indicator(kind="domain", how="below", value="evil.example", written="evil.example")
    outcome, answer = look_for(workspace, OPERATOR, [sought], SOURCES)
    assert outcome.hits == []
    named(LATE_DNS, DNS, UNREAD, SILENT, among=holes_of(answer, "Not seen"))


def test_retention_takes_nothing_from_what_was_observed(workspace: Workspace) -> None:
    sought = Indicator(kind="account", how="is", value="bob", written="bob")
    outcome, answer = look_for(workspace, OPERATOR, [sought], SOURCES)
    assert sum(hit.count for hit in outcome.hits) == 2 * len(DAYS) - len(SILENT_HOST)
    named(HOST, UNREAD, SILENT, among=holes_of(answer, "Seen"))
