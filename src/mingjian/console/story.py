"""The story of the demonstration as a page: what was kept, what became known, what the past answered, and the truth.

One HTML file that opens from disk, with links to the cards beside it. ``page`` keeps text from outside text.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple, TextIO, TypeAlias, cast

import msgspec
from markupsafe import Markup

from mingjian.console import wording
from mingjian.console.page import environment, outside, part, policy, write
from mingjian.console.wording import WORDS as REPORT_WORDS
from mingjian.model.detections import Detection
from mingjian.model.rules import Level
from mingjian.sample.generate import Made, Order
from mingjian.sample.judge import Finding, Judgement
from mingjian.sample.walk import Trace, Why
from mingjian.settings import Language
from mingjian.situations.card import VerdictCard
from mingjian.situations.telling import WORDS as CARD_WORDS
from mingjian.situations.telling import sentence

CARD_FILE: Final = "card-{number}.html"
"""The page of a card, beside the story; numbers from 1 in the order in which was asked."""
_CELL_PX: Final = 44
_ROW_PX: Final = 44
_LABEL_PX: Final = 190
_US_PER_DAY: Final = 86_400_000_000

Owned: TypeAlias = tuple[str, Detection]
"""Name of the organisation, and a detection of its events."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page tells."""

    made: Made
    order: Order
    organisations: tuple[tuple[str, str], ...]
    """Name and title."""
    noticed: tuple[Owned, ...]
    """What rules found as the logs came in."""
    traces: tuple[Trace, ...]
    coverage: str
    answers: tuple[tuple[Why, VerdictCard], ...]
    judgement: Judgement


_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "title": "How somebody got in",
        "lead": "Somebody got into {organisation} on {date}. It became known {months} months later, by one message.",
        "lead-nothing": "Nothing of what arrived was ever seen.",
        "blind": "What this answer could not see",
        "kept": "{events} log events of {organisations} organisations, {start} to {end}, were kept. Rules noticed "
        "{noticed} things on the way. Then the name of a server arrived, and all of the past was asked.",
        "months": "When",
        "months-note": "A column is a month. Filled: log events with the name that arrived. Outlined: detections on "
        "arrival.",
        "organisation": "Organisation",
        "count": "Log events",
        "first": "First",
        "last": "Last",
        "never": "never",
        "hosts": "Computers",
        "who": "Who it is",
        "who-note": "Each answer led to the next question.",
        "card": "the whole card",
        "began": "where it began",
        "arrived": "what arrived",
        "program": "a rare program that asked for it",
        "host": "a computer that was touched",
        "truth": "The truth: {found} of {steps} steps were found",
        "truth-note": "The intruder was put there by the generator, which wrote down every step. Only now was that "
        "opened.",
        "time": "Time (UTC)",
        "step": "Step",
        "where": "Where",
        "how": "Found by",
        "by-rule": "noticed on arrival ({level}: {rule})",
        "by-indicator": "found by the message, {count} log events",
        "by-card": "found by asking further",
        "unnoticed": "NOT FOUND: it is kept (lines: {lines}), but no rule, no message and no answer leads to it",
        "not forwarded": "NOT FOUND: it is in logs that the organisation does not hand on (lines: {missing})",
        "outage": "NOT FOUND: the source stood still (lines missing: {missing})",
        "mistakes": "False alarms: {wrong} of {total} detections",
        "alarms": "False alarms",
        "rule": "Rule",
        "hits-of": "{organisation}, {month}: {hits} log events with the name, {noticed} detections on arrival",
        "made": "The sector is invented by a generator (seed {seed}); nothing here is anybody's.",
    },
    "zh": {
        "title": "入侵是怎样查明的",
        "lead": "{date}，有人进入 {organisation}；{months} 个月后，凭一条消息才得知。",
        "lead-nothing": "收到的线索从未出现过。",
        "blind": "这个回答看不到的",
        "kept": "{organisations} 家单位 {start} 至 {end} 的 {events} 条日志事件全部留存，规则途中注意到 {noticed} 处。"
        "随后收到一台服务器的域名，于是向全部历史发问。",
        "months": "时间",
        "months-note": "每列一个月。实心：含有该域名的日志事件；空心：日志送达时的检出。",
        "organisation": "单位",
        "count": "日志事件数",
        "first": "最早",
        "last": "最晚",
        "never": "未见",
        "hosts": "计算机",
        "who": "它是谁",
        "who-note": "每个回答都引出下一个问题。",
        "card": "完整卡片",
        "began": "最早出现处",
        "arrived": "收到的线索",
        "program": "与它通信的罕见程序",
        "host": "牵涉到的计算机",
        "truth": "真相：{steps} 步中找到 {found} 步",
        "truth-note": "入侵者由生成器安排，每一步都有记录，到此刻才打开对照。",
        "time": "时间（UTC）",
        "step": "步骤",
        "where": "位置",
        "how": "如何找到",
        "by-rule": "送达时即被注意到（{level}：{rule}）",
        "by-indicator": "凭收到的消息找到，{count} 条日志事件",
        "by-card": "追问时找到",
        "unnoticed": "未找到：日志在库（{lines} 行），但没有规则、消息或回答指向它",
        "not forwarded": "未找到：所在日志该单位不上送（{missing} 行）",
        "outage": "未找到：当时数据源中断（缺 {missing} 行）",
        "mistakes": "误报：{total} 次检出中有 {wrong} 次",
        "alarms": "误报次数",
        "rule": "规则",
        "hits-of": "{organisation}，{month}：{hits} 条日志事件含该域名，{noticed} 次检出",
        "made": "行业数据由生成器虚构（种子 {seed}），与任何人无关。",
    },
}


class Cell(NamedTuple):
    """A month of an organisation in the picture."""

    x: int
    y: int
    hits: float
    """Radius of the filled circle; 0 for none."""
    noticed: float
    """Radius of the outlined one."""
    says: str


class Row(NamedTuple):
    """A step in the table."""

    time: str
    title: str
    technique: str
    where: str
    how: str
    is_found: bool


def how_found(finding: Finding, language: Language) -> str:
    """By what a step was found, or why it was not."""
    words = _WORDS[language]
    if finding.unseen:
        return words[finding.unseen].format(lines=finding.lines, missing=finding.not_there.total())
    if finding.rules:
        level, rule, _ = finding.rules[0]
        return words["by-rule"].format(level=REPORT_WORDS[language].levels[cast("Level", level)], rule=rule)
    if finding.indicators:
        return words["by-indicator"].format(count=sum(count for *_, count in finding.indicators))
    return words["by-card"]


def months_between(first_us: int, arrived: datetime.date) -> int:
    """So many months lie between an event and the day on which it became known.

    >>> months_between(1_738_800_000_000_000, datetime.date(2026, 3, 7))
    13
    """
    days = arrived.toordinal() - _day(first_us).toordinal()
    return round(days / 30.44)


def write_story(stream: TextIO, told: Told, language: Language) -> None:
    """Write the page."""
    words = _WORDS[language]
    style = Markup("{}{}{}").format(part("report.css"), part("card.css"), part("story.css"))
    judgement = told.judgement
    end = told.order.start + datetime.timedelta(days=told.order.days - 1)
    columns = list(_months(told.order.start, end))
    seen = {trace.organisation: trace for trace in told.traces}
    findings = sorted(judgement.findings, key=lambda finding: finding.time)
    context = {
        "words": words,
        "card_words": CARD_WORDS[language],
        "policy": policy(style, ""),
        "style": style,
        "lead": _lead(told, words, end),
        "kept": words["kept"].format(
            events=wording.number(told.made.records), organisations=len(told.organisations), start=told.order.start,
            end=end, noticed=wording.number(len(told.noticed)),
        ),
        "told": told,
        "traces": [(title, name, seen.get(name)) for name, title in told.organisations],
        "months": [(_LABEL_PX + place * _CELL_PX + _CELL_PX // 2, month) for place, month in enumerate(columns)],
        "cells": list(_cells(told, columns, words)),
        "width": _LABEL_PX + len(columns) * _CELL_PX,
        "height": (len(told.organisations) + 1) * _ROW_PX,
        "row_px": _ROW_PX,
        "answers": [
            (words[why], card, sentence(card, CARD_WORDS[language]), CARD_FILE.format(number=number))
            for number, (why, card) in enumerate(told.answers, 1)
        ],
        "truth": words["truth"].format(found=len(findings) - len(judgement.missed), steps=len(findings)),
        "steps": [_row(finding, language) for finding in findings],
        "mistakes": words["mistakes"].format(
            wrong=judgement.detections - judgement.true_detections, total=judgement.detections
        ),
        "levels": REPORT_WORDS[language].levels,
        "made": words["made"].format(seed=told.order.seed),
        "number": wording.number,
        "day": _day,
        "outside": outside,
    }  # fmt: skip
    write(stream, environment().get_template("story.html.j2").generate(context))


def _lead(told: Told, words: Mapping[str, str], end: datetime.date) -> str:
    if not told.traces:
        return words["lead-nothing"]
    first = told.traces[0]
    titles = dict(told.organisations)
    return words["lead"].format(
        organisation=titles.get(first.organisation, first.organisation),
        date=_day(first.first_us),
        months=months_between(first.first_us, end + datetime.timedelta(days=1)),
    )


def _row(finding: Finding, language: Language) -> Row:
    step = finding.step
    return Row(
        time=finding.time[:16].replace("T", " "),
        title=step.title_zh if language == "zh" else step.title_en,
        technique=step.technique,
        where=" ".join(filter(None, (step.organisation.partition(".")[0], finding.host, finding.account))),
        how=how_found(finding, language),
        is_found=finding.is_found,
    )


def _day(time_us: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=time_us // _US_PER_DAY)


def _months(start: datetime.date, end: datetime.date) -> list[str]:
    found = range(start.year * 12 + start.month - 1, end.year * 12 + end.month)
    return [f"{each // 12:04}-{each % 12 + 1:02}" for each in found]


def _cells(told: Told, columns: list[str], words: Mapping[str, str]) -> list[Cell]:
    hits = Counter({(trace.organisation, month): n for trace in told.traces for month, n in trace.months.items()})
    noticed = _by_month(told.noticed)
    cells: list[Cell] = []
    for row, (name, title) in enumerate(told.organisations, 1):
        for place, month in enumerate(columns):
            of_hits, of_noticed = hits[name, month], noticed[name, month]
            if of_hits or of_noticed:
                says = words["hits-of"].format(organisation=title, month=month, hits=of_hits, noticed=of_noticed)
                x, y = _LABEL_PX + place * _CELL_PX + _CELL_PX // 2, row * _ROW_PX + _ROW_PX // 2
                cells.append(Cell(x, y, _radius(of_hits), _radius(of_noticed), says))
    return cells


def _by_month(owned: tuple[Owned, ...]) -> Counter[tuple[str, str]]:
    times = ((name, each.time_us) for name, each in owned)
    return Counter((name, _day(time).isoformat()[:7]) for name, time in times if time is not None)


def _radius(count: int) -> float:
    """As a circle shows a count: by its area, and the smallest can be seen."""
    return round(min(20.0, 3 + count**0.5 * 1.6), 1) if count else 0.0
