"""Friend or foe: a sum of named terms, each with its points and its reason. Pure.

The points are decibans (ten times the logarithm of the odds), whole numbers, so that a sum is exactly the score. They
are data (``data/verdict.yml``), each with the reason for its weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.formats.bounded import parse_yaml
from mingjian.hunt.vocabulary import behaviour_in, level_in
from mingjian.model.indicators import Verdict as Opinion
from mingjian.model.indicators import confidence_band
from mingjian.model.rules import LEVELS, Level
from mingjian.model.sources import ObservableKind
from mingjian.settings import Language
from mingjian.situations.card import Term, Verdict

USUAL_HOSTS_MIN: Final = 5
"""A rule is usual if it found something on so many hosts …"""
USUAL_SHARE: Final = 0.2
"""… and on so large a part of all hosts; so is an indicator that so many hosts have touched."""
COMMON_SHARE: Final = 0.5
FAIRLY_COMMON_SHARE: Final = 0.1
RARE_HOSTS_MAX: Final = 2
RARE_OF_MIN: Final = 20
"""With fewer hosts than that, being on two of them is nothing special."""
ORGANISATIONS_MIN: Final = 4
"""With fewer organisations than that, being in half of them says nothing."""
ONE_OF_MIN: Final = 3
LONG_DAYS: Final = 180
LONG_HOSTS_MIN: Final = 10
NEW_DAYS: Final = 7
NEW_HISTORY_DAYS: Final = 30
COMPANY_HOSTS_MAX: Final = 3
COMPANY_TACTICS_MIN: Final = 3
UNSPECIFIC_COUNT: Final = 1_000
UNSPECIFIC_SHARE: Final = 0.01
"""Of what stands in so many events, and on more than a few hosts, and has detections in fewer than this share of the
events, detections say less."""
MANY_TACTICS: Final = 4
KEPT_UP_DAYS: Final = 7
"""Who is in touch with something bad on so many days did not just click on it once."""

_OWN: Final = ("host", "account")
_NEVER_USUAL: Final = ("high", "critical")
"""Whatever is that grave counts on many hosts too: an intrusion may be everywhere."""
_OPINIONS: Final = {"malicious": "恶意", "suspicious": "可疑", "benign": "无害", "unknown": "未明"}


class IndicatorFact(msgspec.Struct, frozen=True, kw_only=True):
    """An indicator that means the entity."""

    kind: ObservableKind
    how: str
    opinion: Opinion
    confidence: int | None
    source: str
    is_outside: bool
    warning: str


class DetectionFact(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule found about the entity."""

    rule_id: str
    title: str
    level: Level
    tactics: tuple[str, ...]
    count: int
    hosts: int
    """On so many hosts the rule found something at all."""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Something bad in an event of the entity."""

    what: str
    opinion: Opinion
    hosts: int
    days: int = 1
    """On so many different days it was in events of the entity."""


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """A host that the entity was seen on, and on which there is an intrusion."""

    host: str
    tactics: int


class BehaviourFact(msgspec.Struct, frozen=True, kw_only=True):
    """A behaviour of the entity, and how much it looks like it, 0 to 100."""

    behaviour: str
    score: int
    title: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a verdict looks at."""

    kind: ObservableKind
    seen: bool = True
    count: int = 0
    looked_at: int = 0
    """Of so many of its events it is known whether there are detections; 0 for all."""
    is_ours: bool = False
    """A host that sends its own logs."""
    indicators: Sequence[IndicatorFact] = ()
    warning_list: str = ""
    hosts: int = 0
    hosts_all: int = 0
    organisations: int = 0
    organisations_all: int = 0
    first_day: int | None = None
    history: tuple[int, int] | None = None
    """First and last day of all that is kept."""
    detections: Sequence[DetectionFact] = ()
    contacts: Sequence[Contact] = ()
    company: Company | None = None
    behaviours: Sequence[BehaviourFact] = ()
    tactic_names: Mapping[str, str] = {}


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    en: str
    zh: str

    def __call__(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


class _Weight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    points: dict[str, int]
    says: _Text
    why: _Text
    times: int = 1
    """So many of the same kind count."""


class Inference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tactic that must have come before others."""

    tactic: str
    before: tuple[str, ...]
    en: str
    zh: str


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in ``data/verdict.yml``."""

    reference: str
    verified: bool
    foe: int
    suspicious: int
    friend: int
    terms: dict[str, _Weight]
    inferred: tuple[Inference, ...]


class Judged(NamedTuple):
    """A verdict, and why."""

    verdict: Verdict
    score: int
    probability: float
    terms: tuple[Term, ...]


@cache
def load_weights() -> Weights:
    """Read the weights. They are ours: a mistake in them is a defect."""
    path = DATA_FOLDER / "verdict.yml"
    return msgspec.convert(parse_yaml(path.read_bytes(), file=path.name)[0], Weights)


def probability(score: int) -> float:
    """What a score means as a probability, to three digits.

    >>> probability(0), probability(10), probability(-20)
    (0.5, 0.909, 0.01)
    """
    return round(1 / (1 + 10 ** (-score / 10)), 3)


def judge(facts: Facts, language: Language = "en") -> Judged:
    """Weigh what is known of an entity."""
    bench = _Bench(facts, language)
    bench.weigh()
    score = sum(term.points for term in bench.terms)
    weights = load_weights()
    verdict: Verdict = "unknown"
    if score >= weights.foe:
        verdict = "foe"
    elif score >= weights.suspicious:
        verdict = "suspicious"
    elif score <= weights.friend and facts.seen:
        verdict = "friend"
    return Judged(verdict, score, probability(score), tuple(bench.terms))


class _Bench:
    """Where terms are put."""

    def __init__(self, facts: Facts, language: Language) -> None:
        self._facts = facts
        self._language: Language = language
        self.terms: list[Term] = []

    def _add(
        self, name: str, *, key: str = "", times: int = 1, said: Mapping[str, object] = {}, **values: object
    ) -> None:
        weight = load_weights().terms[name]
        points = weight.points.get(key or self._facts.kind, weight.points.get("observable", 0))
        self.terms.append(
            Term(
                name=name,
                points=points * min(times, weight.times),
                says=weight.says(self._language).format(**said, **values),
                why=weight.why(self._language),
            )
        )

    def weigh(self) -> None:
        self._add("prior", key="observable")
        if self._facts.is_ours and self._facts.kind == "host":
            self._add("ours")
        self._intelligence()
        if self._facts.warning_list:
            self._add("warning-list", list=self._facts.warning_list)
        if self._facts.kind not in _OWN and self._facts.seen:
            self._rarity()
        if self._facts.seen:
            self._age()
        self._detections()
        self._relations()

    # --- intelligence

    def _intelligence(self) -> None:
        facts = self._facts.indicators
        counted = [fact for fact in facts if fact.opinion in ("malicious", "suspicious")]
        valid = [fact for fact in counted if not fact.is_outside and not fact.warning]
        if valid:
            best = max(valid, key=self._points_of)
            self._add(self._tier(best), key=best.kind, said=self._named(best))
            others = {fact.source for fact in valid} - {best.source}
            if others:
                self._add("intelligence-further", key="observable", times=len(others), count=len(others))
        else:
            warned = [fact for fact in counted if fact.warning]
            outside = [fact for fact in counted if fact.is_outside and not fact.warning]
            if outside:
                self._add("intelligence-outside", key="observable", said=self._named(outside[0]))
            if warned:
                self._add("intelligence-warned", key="observable", list=warned[0].warning)
        benign = [fact for fact in facts if fact.opinion == "benign" and not fact.is_outside]
        if benign:
            self._add("intelligence-benign", key="observable", said=self._named(benign[0]))

    def _points_of(self, fact: IndicatorFact) -> tuple[int, int]:
        weight = load_weights().terms[self._tier(fact)]
        return weight.points.get(fact.kind, weight.points.get("observable", 0)), confidence_band(fact.confidence)

    @staticmethod
    def _tier(fact: IndicatorFact) -> str:
        """The name of the term of a valid indicator: by confidence, a step less if it means more than the entity."""
        place = confidence_band(fact.confidence) - (fact.opinion == "suspicious") - (fact.how == "within")
        return ("intelligence-low", "intelligence-medium", "intelligence")[max(0, place)]

    def _named(self, fact: IndicatorFact) -> dict[str, object]:
        unsaid = "无可信度" if self._language == "zh" else "no confidence given"
        sure = unsaid if fact.confidence is None else str(fact.confidence)
        opinion = _OPINIONS.get(fact.opinion, fact.opinion) if self._language == "zh" else fact.opinion
        return {"source": fact.source or "—", "verdict": opinion, "confidence": sure}

    # --- how usual it is

    def _rarity(self) -> None:
        hosts, hosts_all = self._facts.hosts, self._facts.hosts_all
        if hosts_all:
            share = hosts / hosts_all
            if share >= COMMON_SHARE and hosts > RARE_HOSTS_MAX:
                self._add("common", key="observable", hosts=hosts, all=hosts_all)
            elif share >= FAIRLY_COMMON_SHARE and hosts > RARE_HOSTS_MAX:
                self._add("fairly-common", key="observable", hosts=hosts, all=hosts_all)
            elif 0 < hosts <= RARE_HOSTS_MAX and hosts_all >= RARE_OF_MIN:
                self._add("rare", key="observable", hosts=hosts, all=hosts_all)
        among, all_ = self._facts.organisations, self._facts.organisations_all
        if all_ >= ORGANISATIONS_MIN and among * 2 >= all_:
            self._add("many-organisations", key="observable", organisations=among, all=all_)
        elif all_ >= ONE_OF_MIN and among == 1:
            self._add("one-organisation", key="observable", all=all_)

    def _age(self) -> None:
        first, history = self._facts.first_day, self._facts.history
        if first is None or history is None or self._facts.kind in _OWN:
            return
        days, length = history[1] - first, history[1] - history[0] + 1
        if days >= LONG_DAYS and self._facts.hosts >= LONG_HOSTS_MIN:
            self._add("long-known", key="observable", days=days)
        elif 0 <= days < NEW_DAYS and length >= NEW_HISTORY_DAYS:
            self._add("new", key="observable", days=days, history=length)

    # --- what was found

    def _is_usual(self, hosts: int) -> bool:
        return hosts >= USUAL_HOSTS_MIN and hosts >= USUAL_SHARE * max(self._facts.hosts_all, 1)

    def _detections(self) -> None:
        every = [fact for fact in self._facts.detections if fact.level != "informational"]
        telling = [fact for fact in every if fact.level in _NEVER_USUAL or not self._is_usual(fact.hosts)]
        if telling:
            worst = max(telling, key=lambda fact: (LEVELS.index(fact.level), -fact.hosts, fact.count, fact.rule_id))
            found = sum(fact.count for fact in telling)
            is_own = self._facts.kind in _OWN
            count = self._facts.looked_at or self._facts.count
            is_unspecific = not is_own and count >= UNSPECIFIC_COUNT and found < count * UNSPECIFIC_SHARE
            is_unspecific &= self._facts.hosts > COMPANY_HOSTS_MAX
            place = max(1, LEVELS.index(worst.level) - 2 * is_unspecific)
            title, level = worst.title, level_in(worst.level, self._language)
            said = f"{found}+" if self._facts.looked_at and self._facts.looked_at < self._facts.count else str(found)
            self._add(f"detections-{LEVELS[place]}", count=said, title=title, level=level)
            if not is_unspecific:
                self._breadth(telling)
        if len(telling) < len(every):
            self._add("usual-rules", key="observable", count=len(every) - len(telling))

    def _breadth(self, telling: Sequence[DetectionFact]) -> None:
        weighty = [fact for fact in telling if LEVELS.index(fact.level) >= LEVELS.index("medium")]
        if len(weighty) > 1:
            self._add("further-rules", key="observable", times=len(weighty) - 1, count=len(weighty) - 1)
        tactics = sorted({tactic for fact in telling for tactic in fact.tactics}, key=self._place_of)
        between = "、" if self._language == "zh" else ", "
        names = between.join(self._facts.tactic_names.get(tactic, tactic) for tactic in tactics)
        if len(tactics) >= MANY_TACTICS:
            self._add("tactics-many", key="observable", count=len(tactics), tactics=names)
        elif len(tactics) > 1:
            name = "tactics-three" if len(tactics) == MANY_TACTICS - 1 else "tactics-two"
            self._add(name, key="observable", tactics=names)

    def _place_of(self, tactic: str) -> tuple[int, str]:
        known = list(self._facts.tactic_names)
        return (known.index(tactic) if tactic in known else len(known)), tactic

    def _relations(self) -> None:
        bad = [
            contact
            for contact in self._facts.contacts
            if contact.opinion == "malicious" and not self._is_usual(contact.hosts)
        ]
        if bad:
            rarest = min(bad, key=lambda contact: (contact.hosts, contact.what))
            self._add("known-bad", what=rarest.what, hosts=rarest.hosts)
            most = max(bad, key=lambda contact: (contact.days, contact.what))
            if most.days >= KEPT_UP_DAYS and self._facts.kind in _OWN:
                self._add("known-bad-kept-up", what=most.what, days=most.days)
        company = self._facts.company
        if company is not None and company.tactics >= COMPANY_TACTICS_MIN and self._facts.hosts <= COMPANY_HOSTS_MAX:
            hosts = self._facts.hosts
            self._add("company", key="observable", hosts=hosts, host=company.host, tactics=company.tactics)
        best: dict[str, BehaviourFact] = {}
        for fact in sorted(self._facts.behaviours, key=lambda fact: fact.score):
            best[fact.behaviour] = fact
        known = load_weights().terms["behaviour"].points
        for fact in sorted(best.values(), key=lambda fact: fact.behaviour):
            points = known.get(fact.behaviour, 0) * min(100, max(0, fact.score)) // 100
            if points:
                name = behaviour_in(fact.behaviour, self._language)
                said = {"title": fact.title or name, "behaviour": name}
                self._add("behaviour", key=fact.behaviour, said=said, score=fact.score)
                self.terms[-1] = msgspec.structs.replace(self.terms[-1], points=points)
