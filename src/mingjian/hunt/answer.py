"""What a hunt answers, in one sentence of either language: seen or not, from when to when, and what was out of sight.

*Not seen from 2025-03-02 to 2026-11-20, except: dc02 silent 3–9 May 2026; no zeek/dns before 1 August 2026.*
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from mingjian.errors import shown
from mingjian.hunt.holes import KINDS, Hole, HoleKind, Window
from mingjian.settings import Language

PIECES_MAX: Final = 8
"""So many holes are named in a sentence; the others are told together, by kind and period."""
OF_A_KIND_MAX: Final = 3
"""So many of one kind: a hundred hosts that were off must not hide that the DNS logs are missing."""
NAMES_MAX: Final = 3
"""Of what shares a hole so many are named."""
NAME_SEPARATOR: Final = "\n"
_OF_NAMES: Final[frozenset[HoleKind]] = frozenset({"stream", "host", "never", "no-organisation"})
_MONTHS: Final = (
    "",
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_EPOCH: Final = datetime.date(1970, 1, 1)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a hunt found, and what it could not see."""

    found: int
    window: Window | None
    """None if there are no events with a time."""
    holes: tuple[Hole, ...]
    """The most relevant first."""


def sentence(answer: Answer, language: Language, *, pieces_max: int = PIECES_MAX) -> str:
    """The answer in words. Bounded: at most so many holes are named, and the others summed up.

    >>> hole = Hole(kind="host", what="dc02", first_day=20_576, last_day=20_582)
    >>> answer = Answer(found=0, window=Window(20_149, 20_777), holes=(hole,))
    >>> print(sentence(answer, "en"))
    Not seen from 2025-03-02 to 2026-11-20, except: dc02 silent 3–9 May 2026.
    >>> print(sentence(answer, "zh"))
    2025-03-02 至 2026-11-20 未见；以下除外：dc02 在 2026年5月3日至9日 无日志。
    """
    words = _WORDS[language]
    named = exceptions(answer.holes, language, pieces_max=pieces_max)
    window = answer.window
    when = ""
    if window is not None:
        when = words["when"].format(first=_iso(window.first_day), last=_iso(window.last_day))
    start = words["seen" if answer.found else "not-seen" if window else "nothing"]
    text = start.format(count=answer.found, when=when)
    return text + (words["except"] + words["and"].join(named) if named else "") + words["end"]


def exceptions(holes: Sequence[Hole], language: Language, *, pieces_max: int = PIECES_MAX) -> list[str]:
    """Holes in words, the most relevant first; the last piece sums up those that are not named one by one."""
    chosen, left = _most_relevant(holes, pieces_max)
    named = [_PIECES[language][hole.kind](hole) for hole in chosen]
    words = _WORDS[language]
    return [*named, words["more"].format(what=words["also"].join(_summed_up(left, language)))] if left else named


def _most_relevant(holes: Sequence[Hole], pieces_max: int) -> tuple[list[Hole], list[Hole]]:
    """What is named, what happened to several at the same time in one piece; and the holes that are not named."""
    together: dict[tuple[object, ...], list[Hole]] = {}
    for number, hole in enumerate(holes):
        alone = number if hole.kind not in _OF_NAMES else None
        together.setdefault((hole.kind, hole.organisation, hole.first_day, hole.last_day, alone), []).append(hole)
    kinds: Counter[HoleKind] = Counter()
    chosen: list[Hole] = []
    left: list[Hole] = []
    for several in together.values():
        kinds[several[0].kind] += 1
        if kinds[several[0].kind] <= OF_A_KIND_MAX and len(chosen) < pieces_max:
            chosen.append(msgspec.structs.replace(several[0], what=NAME_SEPARATOR.join(each.what for each in several)))
        else:
            left += several
    return chosen, left


def _summed_up(holes: Sequence[Hole], language: Language) -> list[str]:
    """Holes that are not named one by one: of each kind how many, of how many things, and in which period."""
    of_kind: dict[HoleKind, list[Hole]] = {}
    for hole in holes:
        of_kind.setdefault(hole.kind, []).append(hole)
    said: list[str] = []
    for kind, several in sorted(of_kind.items(), key=lambda item: KINDS.index(item[0])):
        firsts, lasts = [hole.first_day for hole in several], [hole.last_day for hole in several]
        dated = [day for day in (*firsts, *lasts) if day is not None]
        names = {(hole.organisation, name) for hole in several for name in hole.what.split(NAME_SEPARATOR)}
        first = None if None in firsts else min(dated, default=None)
        last = None if None in lasts else max(dated, default=None)
        days = days_in_words(first, last, language)
        text = _SUMS[language][kind].format(
            holes=f"{len(several):,}",
            names=f"{len(names):,}",
            count=f"{sum(hole.count for hole in several):,}",
            days=f" ({days})" if days and language == "en" else f"（{days}）" if days else "",
        )
        said.append(text)
    return said


def days_in_words(first: int | None, last: int | None, language: Language) -> str:
    """A range of days as people write it; without a first day “before”, without a last one “since”.

    >>> days_in_words(20_576, 20_582, "en"), days_in_words(20_574, 20_576, "en"), days_in_words(20_576, 20_576, "en")
    ('3–9 May 2026', '1–3 May 2026', '3 May 2026')
    >>> days_in_words(None, 20_665, "en"), days_in_words(20_576, None, "zh"), days_in_words(20_453, 20_576, "zh")
    ('before 1 August 2026', '2026年5月3日以来', '2025年12月31日至2026年5月3日')
    """
    if first is None and last is None:
        return ""
    if first is None:
        assert last is not None
        day = _long(last + 1, language)
        return f"before {day}" if language == "en" else f"{day}之前"
    if last is None:
        day = _long(first, language)
        return f"since {day}" if language == "en" else f"{day}以来"
    if first == last:
        return _long(first, language)
    one, two = _date(first), _date(last)
    if one is None or two is None:
        return f"{_iso(first)} – {_iso(last)}"
    if language == "zh":
        return f"{_long(first, language)}至{_short_zh(one, two)}"
    if (one.year, one.month) == (two.year, two.month):
        return f"{one.day}–{_long(last, language)}"
    if one.year == two.year:
        return f"{one.day} {_MONTHS[one.month]} – {_long(last, language)}"
    return f"{_long(first, language)} – {_long(last, language)}"


def _short_zh(one: datetime.date, two: datetime.date) -> str:
    if one.year != two.year:
        return f"{two.year}年{two.month}月{two.day}日"
    return f"{two.day}日" if one.month == two.month else f"{two.month}月{two.day}日"


def _long(day: int, language: Language) -> str:
    date = _date(day)
    if date is None:
        return str(day)
    if language == "zh":
        return f"{date.year}年{date.month}月{date.day}日"
    return f"{date.day} {_MONTHS[date.month]} {date.year}"


def _iso(day: int) -> str:
    date = _date(day)
    return str(day) if date is None else date.isoformat()


def _date(day: int) -> datetime.date | None:
    try:
        return _EPOCH + datetime.timedelta(days=day)
    except OverflowError:
        return None


def _name(hole: Hole, language: Language) -> str:
    """What a hole is about; names come from logs."""
    names = [shown(name).strip("'\"") for name in hole.what.split(NAME_SEPARATOR)]
    left = len(names) - NAMES_MAX
    more = "" if left <= 0 else f" and {left} more" if language == "en" else f" 等 {len(names)} 个"
    between = ", " if language == "en" else "、"
    return between.join(names[:NAMES_MAX]) + more + (f" ({hole.organisation})" if hole.organisation else "")


_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "seen": "Seen {count} times{when}",
        "not-seen": "Not seen{when}",
        "nothing": "Not seen: there are no events with a time",
        "when": " from {first} to {last}",
        "except": ", except: ",
        "and": "; ",
        "more": "besides {what}",
        "also": ", ",
        "end": ".",
    },
    "zh": {
        "seen": "{when}见到 {count} 次",
        "not-seen": "{when}未见",
        "nothing": "未见：没有带时间的日志事件",
        "when": "{first} 至 {last} ",
        "except": "；以下除外：",
        "and": "；",
        "more": "此外还有 {what}",
        "also": "、",
        "end": "。",
    },
}


_SUMS: Final[Mapping[Language, Mapping[HoleKind, str]]] = {
    "en": {
        "not-run": "{count} further events not looked at yet{days}",
        "damaged": "{count} further events in damaged segments{days}",
        "never": "{names} further kinds of sources that were never connected",
        "field": "{names} further fields that no stream has",
        "no-organisation": "{names} further organisations that never sent anything",
        "stream": "{holes} further gaps in {names} streams{days}",
        "host": "{holes} further silences of {names} hosts{days}",
        "host-never": "{count} further hosts that never sent what this needs",
        "retention": "{count} further events of {names} streams removed by retention{days}",
        "unread": "{count} further records that could not be read",
    },
    "zh": {
        "not-run": "{count} 条日志事件尚未核对{days}",
        "damaged": "已损坏数据段中的 {count} 条日志事件{days}",
        "never": "{names} 类从未接入的数据源",
        "field": "{names} 个任何数据流都没有的字段",
        "no-organisation": "{names} 家从未送来任何日志的单位",
        "stream": "{names} 个数据流的 {holes} 处中断{days}",
        "host": "{names} 台主机的 {holes} 次无日志{days}",
        "host-never": "{count} 台从未送来所需日志的主机",
        "retention": "{names} 个数据流中按保留期限删除的 {count} 条日志事件{days}",
        "unread": "{count} 条无法读取的记录",
    },
}


def _piece_en(template: str) -> Callable[[Hole], str]:
    return lambda hole: " ".join(_filled(template, hole, "en").split())


def _piece_zh(template: str) -> Callable[[Hole], str]:
    return lambda hole: " ".join(_filled(template, hole, "zh").split())


def _filled(template: str, hole: Hole, language: Language) -> str:
    days = days_in_words(hole.first_day, hole.last_day, language)
    return template.format(what=_name(hole, language), days=days, count=f"{hole.count:,}", files=f"{hole.files:,}")


_PIECES: Final[Mapping[Language, Mapping[HoleKind, Callable[[Hole], str]]]] = {
    "en": {
        "not-run": _piece_en("{count} events in {files} segments not looked at yet ({what} {days})"),
        "damaged": _piece_en("{count} events in {files} damaged segments ({what} {days})"),
        "never": _piece_en("no source of {what} was ever connected"),
        "field": _piece_en("no stream has {what}"),
        "no-organisation": _piece_en("{what} never sent anything"),
        "stream": _piece_en("no {what} {days}"),
        "host": _piece_en("{what} silent {days}"),
        "host-never": _piece_en("{count} hosts never sent what this needs ({what})"),
        "retention": _piece_en("{count} events of {what} {days} were removed by retention"),
        "unread": _piece_en("{count} records of {files} files could not be read{what}"),
    },
    "zh": {
        "not-run": _piece_zh("{files} 个数据段中的 {count} 条日志事件尚未核对（{what} {days}）"),
        "damaged": _piece_zh("{files} 个数据段已损坏，含 {count} 条日志事件（{what} {days}）"),
        "never": _piece_zh("从未接入 {what} 类数据源"),
        "field": _piece_zh("没有任何数据流含有 {what}"),
        "no-organisation": _piece_zh("{what} 从未送来任何日志"),
        "stream": _piece_zh("{days} 没有 {what}"),
        "host": _piece_zh("{what} 在 {days} 无日志"),
        "host-never": _piece_zh("{count} 台主机从未送来所需日志（{what}）"),
        "retention": _piece_zh("{what} {days} 的 {count} 条日志事件已按保留期限删除"),
        "unread": _piece_zh("{files} 个文件中有 {count} 条记录无法读取{what}"),
    },
}
