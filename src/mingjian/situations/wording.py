"""Situations in sentences, in English and Chinese: title, why, terms, joins, what speaks against them."""

from __future__ import annotations

from typing import Final, NamedTuple

from mingjian.hunt.attack import load_attack
from mingjian.model.rules import Level
from mingjian.settings import Language
from mingjian.situations.policy import policy
from mingjian.situations.summary import (
    DIFFERENT_ACCOUNTS,
    DIFFERENT_HOSTS,
    FAIRLY_COMMON,
    LONG_APART,
    SAME_RULE,
    Summary,
)

TITLE_CHARACTERS_MAX: Final = 200
LEVEL_NAMES: Final[dict[Level, str]] = {
    "informational": "提示",
    "low": "低危",
    "medium": "中危",
    "high": "高危",
    "critical": "严重",
}
STATE_NAMES: Final = {"open": ("open", "待处理"), "in_work": ("in work", "处理中"), "closed": ("closed", "已关闭")}
RESOLUTION_NAMES: Final = {
    "": ("", ""),
    "true_positive": ("true", "属实"),
    "false_positive": ("false alarm", "误报"),
    "benign": ("harmless", "无害"),
}
_AGAINST: Final = {
    DIFFERENT_HOSTS: ("they happened on different hosts", "发生在不同主机上"),
    DIFFERENT_ACCOUNTS: ("different accounts did it", "由不同账号所为"),
    LONG_APART: ("much time lies between them", "两者相隔较久"),
    FAIRLY_COMMON: ("several hosts have to do with it", "有多台主机与之有关"),
    SAME_RULE: ("the same rule found both", "由同一条规则检出"),
}


class TermLine(NamedTuple):
    """A term of danger, as it is shown."""

    name: str
    label: str
    value: float
    says: str


def level_name(level: Level, language: Language) -> str:
    """A level in words."""
    return LEVEL_NAMES[level] if language == "zh" else level


def title(summary: Summary, language: Language) -> str:
    """A sentence that says what it is and whom it is about."""
    where = _whom(summary, language)
    tactics = _tactics(summary, language)
    if len(tactics) > 1:
        english = f"{tactics[0]} to {tactics[-1].lower()}"
        what = f"从{tactics[0]}到{tactics[-1]}" if language == "zh" else english
    else:
        what = summary.rules[0].title if summary.rules else ("？" if language == "zh" else "Detections")
    text = f"{where}：{what}" if language == "zh" else f"{what} {where}"
    return text if len(text) <= TITLE_CHARACTERS_MAX else text[: TITLE_CHARACTERS_MAX - 1] + "…"


def _tactics(summary: Summary, language: Language) -> list[str]:
    named = {tactic.id: tactic.zh if language == "zh" else tactic.en for tactic in load_attack().tactics}
    return [named[tactic] for tactic in summary.tactics if tactic in named]


def _whom(summary: Summary, language: Language) -> str:
    is_zh = language == "zh"
    for names, count, zh in (
        (summary.hosts, summary.hosts_count, "台主机"),
        (summary.accounts, summary.accounts_count, "个账号"),
    ):
        if names and is_zh:
            return names[0] if count == 1 else f"{names[0]} 等 {count} {zh}"
        if names:
            more = "" if count == 1 else f" and {count - 1} more"
            return f"{'on' if zh == '台主机' else 'by'} {names[0]}{more}"
    if summary.tie:
        return summary.tie if is_zh else f"around {summary.tie}"
    return "网络流量" if is_zh else "on the network"


def why(summary: Summary, language: Language, first_us: int | None = None, last_us: int | None = None) -> str:
    """One sentence: what was found, how it holds together, over what time."""
    worst = summary.rules[0] if summary.rules else None
    lasted = _lasted(first_us, last_us, language)
    if language == "zh":
        text = f"{summary.rules_count} 条规则检出 {summary.core} 次" + (f"，历时{lasted}" if lasted else "")
        if worst is not None:
            text += f"，最严重的是{level_name(worst.level, language)}“{worst.title}”"
        if summary.indicator:
            text += f"；情报称 {summary.indicator} 有害"
        if summary.tie:
            text += f"；由{_tie(summary, language)}联系在一起"
        if summary.by_hand:
            text += "；其中一部分由人工合并"
        return text + "。"
    text = f"{_many(summary.core, 'detection')} of {_many(summary.rules_count, 'rule')}"
    text += f" within {lasted}" if lasted else ""
    if worst is not None:
        text += f", the worst {worst.level}: “{worst.title}”"
    if summary.indicator:
        text += f"; an indicator calls {summary.indicator} bad"
    if summary.tie:
        text += f"; held together by {_tie(summary, language)}"
    if summary.by_hand:
        text += "; a person put some of it together"
    return text + "."


def _tie(summary: Summary, language: Language) -> str:
    known = policy()
    kind = known.kinds.get(known.kind_of(summary.tie_kind, summary.tie))
    name = kind.why[language] if kind is not None else summary.tie_kind
    value = summary.tie if len(summary.tie) <= 64 else summary.tie[:63] + "…"
    if summary.tie_kind == "host" or summary.tie_hosts < 2:
        return f"{name} {value}"
    if language == "zh":
        return f"{name} {value}（见于 {summary.tie_hosts} 台主机）"
    return f"{name} {value} (seen on {summary.tie_hosts} hosts)"


def _lasted(first_us: int | None, last_us: int | None, language: Language) -> str:
    if first_us is None or last_us is None or last_us <= first_us:
        return ""
    minutes = max(1, (last_us - first_us) // 60_000_000)
    for size, one, zh in ((1440, "day", "天"), (60, "hour", "小时"), (1, "minute", "分钟")):
        if minutes >= 2 * size or size == 1:
            count = round(minutes / size)
            return f" {count} {zh}" if language == "zh" else _many(count, one)
    return ""


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def terms(summary: Summary, language: Language) -> list[TermLine]:
    """The terms of danger, each with a sentence; their product is the danger."""
    is_zh = language == "zh"
    worst = summary.rules[0].level if summary.rules else "informational"
    tactics, rules = len(summary.tactics), summary.rules_count
    if is_zh:
        says = (
            f"最高级别为{level_name(worst, language)}" + (f"，涉及 {tactics} 种 ATT&CK 战术" if tactics > 1 else ""),
            f"{rules} 条规则所见" + ("，并有情报佐证" if summary.indicator else ""),
            f"{summary.hosts_count} 台主机、{summary.accounts_count} 个账号",
            "其中最罕见的规则在本单位的罕见程度",
        )
        labels = ("严重性", "可信度", "波及面", "新颖性")
    else:
        says = (
            f"the gravest level is {worst}" + (f", in {tactics} tactics of ATT&CK" if tactics > 1 else ""),
            f"{_many(rules, 'rule')} saw it" + (", and an indicator names it" if summary.indicator else ""),
            f"{_many(summary.hosts_count, 'host')}, {_many(summary.accounts_count, 'account')}",
            "how rarely the rarest of its rules fires in this organisation",
        )
        labels = ("severity", "confidence", "spread", "novelty")
    values = (summary.terms.severity, summary.terms.confidence, summary.terms.spread, summary.terms.novelty)
    names = ("severity", "confidence", "spread", "novelty")
    return [TermLine(*each) for each in zip(names, labels, values, says, strict=True)]


def against(bits: int, language: Language) -> list[str]:
    """What speaks against a join."""
    return [words[language == "zh"] for bit, words in _AGAINST.items() if bits & bit]


def reason(kind: str, value: str, language: Language) -> str:
    """What two detections share, in words; nothing given: a person put them together."""
    if not kind:
        return "人工合并" if language == "zh" else "a person put them together"
    known = policy()
    found = known.kinds.get(known.kind_of(kind, value))
    return f"{found.why[language] if found is not None else kind} {value}"
