"""Situations in sentences, in English and Chinese: title, why, terms, joins, what speaks against them."""

from __future__ import annotations

from typing import Final, NamedTuple

from mingjian.hunt.attack import load_attack
from mingjian.hunt.texts import Texts, read_texts
from mingjian.hunt.vocabulary import level_in
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
TIE_CHARACTERS_MAX: Final = 64
_AGAINST: Final = {
    DIFFERENT_HOSTS: "against.different-hosts",
    DIFFERENT_ACCOUNTS: "against.different-accounts",
    LONG_APART: "against.long-apart",
    FAIRLY_COMMON: "against.fairly-common",
    SAME_RULE: "against.same-rule",
}
_UNITS: Final = ((1440, "count.days"), (60, "count.hours"), (1, "count.minutes"))
"""In minutes, the longest first."""


class TermLine(NamedTuple):
    """A term of danger, as it is shown."""

    name: str
    label: str
    value: float
    says: str


def title(summary: Summary, language: Language) -> str:
    """A sentence that says what it is and whom it is about."""
    t = _texts(language)
    tactics = _tactics(summary, language)
    if len(tactics) > 1:
        what = t("title.tactics", first=tactics[0], last=tactics[-1].lower())
    else:
        what = summary.rules[0].title if summary.rules else t("title.nothing")
    return _cut(t("title", what=what, whom=_whom(summary, t)), TITLE_CHARACTERS_MAX)


def _texts(language: Language) -> Texts:
    return read_texts("situations.yml", language)


def _cut(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def _tactics(summary: Summary, language: Language) -> list[str]:
    named = {tactic.id: tactic.zh if language == "zh" else tactic.en for tactic in load_attack().tactics}
    return [named[tactic] for tactic in summary.tactics if tactic in named]


def _whom(summary: Summary, t: Texts) -> str:
    for names, count, key in (
        (summary.hosts, summary.hosts_count, "whom.hosts"),
        (summary.accounts, summary.accounts_count, "whom.accounts"),
    ):
        if names:
            return t.counted(key, count, name=names[0], more=count - 1)
    return t("whom.tie", tie=summary.tie) if summary.tie else t("whom.nobody")


def why(summary: Summary, language: Language, first_us: int | None = None, last_us: int | None = None) -> str:
    """One sentence: what was found, how it holds together, over what time."""
    t = _texts(language)
    found = {"detections": t.counted("count.detections", summary.core), "rules": _rules(summary, t)}
    parts = [t("why.found", **found)]
    if first_us is not None and last_us is not None and last_us > first_us:
        parts.append(t("why.lasted", lasted=_lasted(last_us - first_us, t)))
    if summary.rules:
        worst = summary.rules[0]
        parts.append(t("why.worst", level=level_in(worst.level, language), title=worst.title))
    if summary.indicator:
        parts.append(t("why.indicator", indicator=summary.indicator))
    if summary.tie:
        parts.append(t("why.tie", tie=_tie(summary, t)))
    if summary.by_hand:
        parts.append(t("why.by-hand"))
    return "".join(parts) + t("why.end")


def _rules(summary: Summary, t: Texts) -> str:
    return t.counted("count.rules", summary.rules_count)


def _tie(summary: Summary, t: Texts) -> str:
    name = reason(summary.tie_kind, _cut(summary.tie, TIE_CHARACTERS_MAX), t.language)
    if summary.tie_kind == "host" or summary.tie_hosts < 2:
        return name
    return t("tie.seen", tie=name, n=summary.tie_hosts)


def _lasted(duration_us: int, t: Texts) -> str:
    minutes = max(1, duration_us // 60_000_000)
    size, key = next(each for each in _UNITS if minutes >= 2 * each[0] or each[0] == 1)
    return t.counted(key, round(minutes / size))


def terms(summary: Summary, language: Language) -> list[TermLine]:
    """The terms of danger, each with a sentence; their product is the danger."""
    t = _texts(language)
    worst = summary.rules[0].level if summary.rules else "informational"
    tactics = len(summary.tactics)
    hosts = t.counted("count.hosts", summary.hosts_count)
    accounts = t.counted("count.accounts", summary.accounts_count)
    says = {
        "severity": t("term.severity.says", level=level_in(worst, language))
        + (t("term.severity.tactics", n=tactics) if tactics > 1 else ""),
        "confidence": t("term.confidence.says", rules=_rules(summary, t))
        + (t("term.confidence.indicator") if summary.indicator else ""),
        "spread": t("term.spread.says", hosts=hosts, accounts=accounts),
        "novelty": t("term.novelty.says"),
    }
    return [TermLine(name, t(f"term.{name}"), getattr(summary.terms, name), said) for name, said in says.items()]


def against(bits: int, language: Language) -> list[str]:
    """What speaks against a join."""
    t = _texts(language)
    return [t(key) for bit, key in _AGAINST.items() if bits & bit]


def reason(kind: str, value: str, language: Language) -> str:
    """What two detections share, in words; nothing given: a person put them together."""
    if not kind:
        return _texts(language)("join.by-hand")
    known = policy()
    found = known.kinds.get(known.kind_of(kind, value))
    return f"{found.why[language] if found is not None else kind} {value}"
