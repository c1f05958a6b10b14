"""A planted hole of each kind is in the answer that it affects, in both languages, and in no other answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lakes import DAY_US, OPERATOR, an_input, built, kept, written
from mingjian.hunt.answer import PIECES_MAX, Answer, sentence
from mingjian.hunt.automata import engine_for
from mingjian.hunt.expressions import rule_of
from mingjian.hunt.holes import Hole, Question, Window, holes, silences, usual_step, window_of
from mingjian.hunt.hunting import Hunt
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.blocks import Quarantined
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import Batch, HostDay, Organisation, commit_batch, live_segments, organisation_named
from mingjian.store.holes import DayRows, Presence
from mingjian.store.scope import OrganisationId
from mingjian.store.upkeep import Retention, expire, set_retention
from mingjian.store.workspace import Workspace, create

FIRST, LAST = 20_149, 20_199
"""2025-03-02 and 2025-04-21"""
DNS = "zeek/dns"
PROCESS = "windows/sysmon/1"
RULE = "title: t\nlogsource: {category: process_creation, product: windows}\ndetection: {s: {Image: x}, condition: s}\n"
HOSTS = ("dc01", "dc02", "ws01")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


@pytest.fixture
def organisation(workspace: Workspace) -> Organisation:
    return organisation_named(workspace, OPERATOR, "Ours", make=True)


def plant(
    workspace: Workspace,
    organisation: Organisation,
    stream: str,
    days: Sequence[int],
    hosts: Sequence[str] = HOSTS,
) -> None:
    """An event of every host on each of these days."""
    record = {"Image": "C:\\a.exe", "Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1}
    number = an_input(workspace, organisation)
    segments = [
        written(
            workspace,
            organisation,
            built(organisation, [record] * len(hosts), stream=stream, day=day, layout="flat", input_id=number),
        )
        for day in days
    ]
    seen = [
        HostDay(stream=stream, day=day, host=host, rows=1, first_us=day * DAY_US, last_us=day * DAY_US)
        for day in days
        for host in hosts
    ]
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, segments=segments, hosts=seen))


def answer(workspace: Workspace, folder: Path, rule: str = RULE) -> Answer:
    path = folder / "rule.yml"
    path.write_text(rule, encoding="utf-8")
    book = load_rulebook([path])
    hunt = Hunt(workspace, OPERATOR, book.rules, (), engine_for(book.rules, None), load_sources())
    try:
        hunt.execute()
        return hunt.answer()
    finally:
        hunt.close()


def said(workspace: Workspace, folder: Path, rule: str = RULE) -> tuple[str, str]:
    found = answer(workspace, folder, rule)
    return sentence(found, "en"), sentence(found, "zh")


def every_day(*without: int) -> list[int]:
    return [day for day in range(FIRST, LAST + 1) if day not in without]


def test_without_holes_the_answer_is_plain(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    assert said(workspace, tmp_path) == (
        "Not seen from 2025-03-02 to 2025-04-21.",
        "2025-03-02 至 2025-04-21 未见。",
    )


def test_a_host_that_paused(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day(), ["dc01"])
    plant(workspace, organisation, PROCESS, every_day(*range(20_160, 20_167)), ["dc02"])
    english, chinese = said(workspace, tmp_path)
    assert english == "Not seen from 2025-03-02 to 2025-04-21, except: dc02 silent 13–19 March 2025."
    assert chinese == "2025-03-02 至 2025-04-21 未见；以下除外：dc02 在 2025年3月13日至19日 无日志。"


def test_a_host_that_has_stopped(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day(), ["dc01"])
    plant(workspace, organisation, PROCESS, range(FIRST, 20_190), ["dc02"])
    english, chinese = said(workspace, tmp_path)
    assert "except: dc02 silent since 12 April 2025." in english
    assert "dc02 在 2025年4月12日以来 无日志" in chinese


def test_a_host_that_never_sent_what_is_asked_about(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    plant(workspace, organisation, PROCESS, every_day(), ["dc01"])
    plant(workspace, organisation, "windows/security/4624", every_day(), ["dc01", "dc02"])
    english, chinese = said(workspace, tmp_path)
    assert "except: 1 hosts never sent what this needs (dc02)." in english
    assert "1 台主机从未送来所需日志（dc02）" in chinese


def test_a_workstation_that_is_off_at_weekends_is_not_silent(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    plant(workspace, organisation, PROCESS, every_day(), ["dc01"])
    plant(workspace, organisation, PROCESS, [day for day in every_day() if day % 7 not in (2, 3)], ["ws01"])
    assert said(workspace, tmp_path)[0] == "Not seen from 2025-03-02 to 2025-04-21."


def test_a_stream_that_came_late_paused_and_stopped(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    plant(workspace, organisation, "windows/security/4624", every_day(), ["dc01"])
    plant(workspace, organisation, PROCESS, [*range(20_160, 20_170), *range(20_175, 20_190)], ["dc01"])
    english, chinese = said(workspace, tmp_path)
    for piece in (
        "no windows/sysmon/1 before 13 March 2025",
        "no windows/sysmon/1 23–27 March 2025",
        "no windows/sysmon/1 since 12 April 2025",
    ):
        assert piece in english
    for piece in (
        "2025年3月13日之前 没有 windows/sysmon/1",
        "2025年3月23日至27日 没有 windows/sysmon/1",
        "2025年4月12日以来 没有 windows/sysmon/1",
    ):
        assert piece in chinese


def test_a_stream_that_is_not_asked_about_is_not_named(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    plant(workspace, organisation, PROCESS, every_day(), ["dc01"])
    plant(workspace, organisation, DNS, every_day(*range(20_160, 20_167)), ["dc01"])
    assert said(workspace, tmp_path)[0] == "Not seen from 2025-03-02 to 2025-04-21."


def test_a_source_that_was_never_connected(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    rule = RULE.replace("category: process_creation", "category: dns_query")
    english, chinese = said(workspace, tmp_path, rule)
    assert english == (
        "Not seen from 2025-03-02 to 2025-04-21, except: no source of windows/dns_query/* was ever connected."
    )
    assert "从未接入 windows/dns_query/* 类数据源" in chinese


def test_a_field_that_no_stream_has(workspace: Workspace, organisation: Organisation) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    rule = rule_of(["QueryName=x"])
    hunt = Hunt(workspace, OPERATOR, [rule], (), engine_for([rule], None), load_sources())
    hunt.execute()
    assert sentence(hunt.answer(), "en").endswith("except: no stream has QueryName.")
    assert "没有任何数据流含有 QueryName" in sentence(hunt.answer(), "zh")
    hunt.close()


def test_an_organisation_that_never_sent_anything(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    organisation_named(workspace, OPERATOR, "Silent Ltd", make=True)
    english, chinese = said(workspace, tmp_path)
    assert english.endswith("except: Silent Ltd never sent anything.")
    assert "Silent Ltd 从未送来任何日志" in chinese


def test_holes_of_several_organisations_name_theirs(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    other = organisation_named(workspace, OPERATOR, "Other", make=True)
    plant(workspace, organisation, PROCESS, every_day(), ["dc01"])
    plant(workspace, other, PROCESS, range(FIRST, 20_190), ["dc01"])
    assert "dc01 (Other) silent since 12 April 2025" in said(workspace, tmp_path)[0]


def test_what_could_not_be_read(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    unread = [
        (None, Quarantined(file=f"{n % 2}.json", record=n, offset=0, code="parse-error", reason="", data=b""))
        for n in range(1, 6)
    ]
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, quarantined=unread))
    english, chinese = said(workspace, tmp_path)
    assert english.endswith("except: 5 records of 2 files could not be read.")
    assert "2 个文件中有 5 条记录无法读取" in chinese


def test_what_retention_removed(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    plant(workspace, organisation, DNS, every_day())
    set_retention(workspace, OPERATOR, Retention(stream_pattern=PROCESS, days=40))
    set_retention(workspace, OPERATOR, Retention(stream_pattern=DNS, days=30))
    gone = expire(workspace, OPERATOR, today=LAST)
    assert {row.key.stream for row in gone} == {PROCESS, DNS}
    english, chinese = said(workspace, tmp_path)
    assert english == (
        "Not seen from 2025-03-02 to 2025-04-21, except: "
        "30 events of windows/sysmon/1 2–11 March 2025 were removed by retention."
    )
    assert "windows/sysmon/1 2025年3月2日至11日 的 30 条日志事件已按保留期限删除" in chinese


def test_a_segment_that_cannot_be_read(workspace: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    row = next(row for row in live_segments(workspace, OPERATOR) if row.first_day == 20_160)
    (workspace.lake / row.path).write_bytes(b"broken")
    english, chinese = said(workspace, tmp_path)
    assert english.endswith("except: 3 events in 1 damaged segments (windows/sysmon/1 13 March 2025).")
    assert "1 个数据段已损坏，含 3 条日志事件（windows/sysmon/1 2025年3月13日）" in chinese


def test_segments_that_were_not_run_yet(workspace: Workspace, organisation: Organisation) -> None:
    plant(workspace, organisation, PROCESS, every_day())
    waiting = tuple(live_segments(workspace, OPERATOR, first_day=20_160, last_day=20_161))
    window, found = holes(workspace, OPERATOR, Question(not_run=waiting))
    answer = Answer(found=0, window=window, holes=tuple(found))
    piece = "6 events in 2 segments not looked at yet (windows/sysmon/1 13–14 March 2025)"
    assert sentence(answer, "en").endswith(f"except: {piece}.")
    assert "2 个数据段中的 6 条日志事件尚未核对" in sentence(answer, "zh")


def test_an_empty_lake_says_so(workspace: Workspace, tmp_path: Path) -> None:
    english, chinese = said(workspace, tmp_path)
    assert english.startswith("Not seen: there are no events with a time")
    assert chinese.startswith("未见：没有带时间的日志事件")


def test_holes_outside_the_days_asked_about_are_not_named(workspace: Workspace, organisation: Organisation) -> None:
    plant(workspace, organisation, PROCESS, every_day(*range(20_160, 20_167)))
    window, found = holes(workspace, OPERATOR, Question(first_day=20_170, last_day=20_180))
    assert (window, found) == (Window(20_170, 20_180), [])
    window, found = holes(workspace, OPERATOR, Question(first_day=20_162))
    assert {(hole.first_day, hole.last_day) for hole in found} == {(20_162, 20_166)}


def test_the_answer_is_bounded_and_names_every_kind_before_many_of_one() -> None:
    silent = [Hole(kind="host", what=f"h{n}", first_day=20_000 + n, last_day=20_010 + n) for n in range(500)]
    removed = Hole(kind="retention", what="s", first_day=20_000, last_day=20_001, count=3)
    answer = Answer(found=2, window=Window(20_000, 21_000), holes=(*silent, removed))
    text = sentence(answer, "en")
    assert text.startswith("Seen 2 times from 2024-10-04 to 2027-07-01, except: h0 silent")
    assert "3 events of s 4–5 October 2024 were removed by retention; besides 497 further silences" in text
    assert text.endswith("497 further silences of 497 hosts (7 October 2024 – 25 February 2026).")
    assert "此外还有 497 台主机的 497 次无日志（2024年10月7日至2026年2月25日）" in sentence(answer, "zh")
    assert text.count(";") <= PIECES_MAX
    assert len(text) < 1_000


def test_what_fell_silent_together_is_one_piece() -> None:
    silent = [Hole(kind="host", what=f"h{n}", first_day=20_000, last_day=None) for n in range(7)]
    answer = Answer(found=0, window=Window(20_000, 21_000), holes=tuple(silent))
    assert "except: h0, h1, h2 and 4 more silent since 4 October 2024." in sentence(answer, "en")
    assert "h0、h1、h2 等 7 个 在 2024年10月4日以来 无日志" in sentence(answer, "zh")


def test_names_from_logs_cannot_steer_a_terminal_or_flood_the_answer() -> None:
    hole = Hole(kind="host", what="a\x1b[31m" + "b" * 10_000, first_day=20_000)
    text = sentence(Answer(found=0, window=Window(20_000, 21_000), holes=(hole,)), "en")
    assert "\x1b" not in text
    assert len(text) < 400


def presence(days: int, *gaps: tuple[int, int]) -> Presence:
    return Presence(organisation=OrganisationId(1), name="h", days=days, first_day=0, last_day=100, gaps=tuple(gaps))


def test_steps_are_usual_if_they_are_many() -> None:
    assert usual_step(presence(95, (5, 5), (30, 40))) == 1
    three = ((5, 6), (12, 13), (19, 20))
    assert [usual_step(presence(days, *three)) for days in (20, 31, 32)] == [3, 3, 1]
    assert usual_step(presence(20, *three[:2])) == 1
    assert usual_step(presence(20, (5, 6), (12, 13), (19, 20), (60, 80))) == 3
    assert silences(presence(20, (5, 6), (12, 13), (19, 20), (60, 80)), Window(0, 100)) == [(60, 80)]
    assert silences(presence(20, (5, 6), (12, 13), (19, 20), (60, 80)), Window(0, 103)) == [(60, 80)]
    assert silences(presence(20, (5, 6), (12, 13), (19, 20), (60, 80)), Window(0, 104))[-1] == (101, None)


def test_events_of_wrong_clocks_do_not_stretch_the_window() -> None:
    many = [DayRows(day, 1_000) for day in range(20_000, 20_010)]
    assert window_of([DayRows(0, 2), *many, DayRows(24_000, 3)]) == Window(20_000, 20_009)
    assert window_of([DayRows(0, 2_000), *many]) == Window(0, 20_009)
    assert window_of([]) is None


def test_kept_events_without_hosts_are_no_hole(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"a": 1}], stream=PROCESS, day=20_160)
    assert holes(workspace, OPERATOR, Question()) == (Window(20_160, 20_160), [])


def test_what_comes_rarely_is_not_silent_after_its_usual_pause() -> None:
    """Something on one day in ten has no rhythm: three times its usual pause is nothing yet, more is."""
    gaps = ((1, 9), (11, 19), (21, 29), (31, 60), (62, 70))
    rare = Presence(organisation=OrganisationId(1), name="h", days=6, first_day=0, last_day=71, gaps=gaps)
    assert usual_step(rare) == 30
    assert silences(rare, Window(0, 90)) == [(31, 60)]
    assert silences(rare, Window(0, 102)) == [(31, 60), (72, None)]
