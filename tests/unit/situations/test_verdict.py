"""What a verdict weighs: the lines between terms, and that nothing counts twice."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from mingjian.model.rules import LEVELS
from mingjian.situations.guessing import KINDS
from mingjian.situations.verdict import (
    BehaviourFact,
    Company,
    Contact,
    DetectionFact,
    Facts,
    IndicatorFact,
    judge,
    load_weights,
    probability,
)

small = st.integers(0, 500)
texts = st.text(max_size=8)
opinions = st.sampled_from(["malicious", "suspicious", "unknown", "benign"])
facts = st.builds(
    Facts,
    kind=st.sampled_from(KINDS),
    seen=st.booleans(),
    count=st.integers(0, 10**7),
    is_ours=st.booleans(),
    indicators=st.lists(
        st.builds(
            IndicatorFact,
            kind=st.sampled_from(KINDS),
            how=st.sampled_from(["is", "below", "within", "named"]),
            opinion=opinions,
            confidence=st.none() | st.integers(0, 100),
            source=texts,
            is_outside=st.booleans(),
            warning=st.sampled_from(["", "list"]),
        ),
        max_size=4,
    ),
    warning_list=st.sampled_from(["", "list"]),
    hosts=small,
    hosts_all=small,
    organisations=st.integers(0, 9),
    organisations_all=st.integers(0, 9),
    first_day=st.none() | small,
    history=st.none() | st.just((0, 500)),
    detections=st.lists(
        st.builds(
            DetectionFact,
            rule_id=texts,
            title=st.text(max_size=8) | st.just("{0} {count}"),
            level=st.sampled_from(LEVELS),
            tactics=st.lists(st.sampled_from(["execution", "impact", "discovery", "collection"]), max_size=3).map(
                tuple
            ),
            count=small,
            hosts=small,
        ),
        max_size=5,
    ),
    contacts=st.lists(st.builds(Contact, what=texts, opinion=opinions, hosts=small), max_size=3),
    company=st.none() | st.builds(Company, host=texts, tactics=st.integers(0, 9)),
    behaviours=st.lists(
        st.builds(BehaviourFact, behaviour=st.sampled_from(["beaconing", "other"]), score=small), max_size=3
    ),
)


@hypothesis.given(facts)
def test_the_terms_add_up_to_the_score_in_both_languages(given: Facts) -> None:
    english, chinese = judge(given, "en"), judge(given, "zh")
    assert sum(term.points for term in english.terms) == english.score == chinese.score
    assert [term.name for term in english.terms] == [term.name for term in chinese.terms]
    assert english.probability == probability(english.score)
    assert english.verdict == chinese.verdict


@hypothesis.given(facts)
def test_a_verdict_follows_from_the_score(given: Facts) -> None:
    judged, weights = judge(given), load_weights()
    assert (judged.verdict == "foe") == (judged.score >= weights.foe)
    assert judged.verdict != "friend" or judged.score <= weights.friend


def test_every_weight_has_its_reason_in_both_languages() -> None:
    for name, weight in load_weights().terms.items():
        assert weight.why.en and weight.why.zh and weight.says.en and weight.says.zh, name
        assert weight.points, name


def test_an_indicator_outside_its_validity_weighs_less() -> None:
    def score(is_outside: bool) -> int:
        one = IndicatorFact(
            kind="domain", how="is", opinion="malicious", confidence=90, source="s", is_outside=is_outside, warning=""
        )
        return judge(Facts(kind="domain", indicators=[one])).score

    assert score(True) < score(False)


def said(**of: Any) -> IndicatorFact:
    """An indicator of high confidence that means a domain, but for what is said."""
    plain = {"kind": "domain", "how": "is", "opinion": "malicious", "confidence": 90, "source": "one"}
    return IndicatorFact(**(plain | {"is_outside": False, "warning": ""} | of))


def found(number: int = 1, **of: Any) -> DetectionFact:
    plain = {"rule_id": str(number), "title": f"rule {number}", "level": "medium", "tactics": (), "count": 1}
    return DetectionFact(**(plain | {"hosts": 1} | of))


def of_tactics(*names: str) -> list[DetectionFact]:
    return [found(number, tactics=(name,)) for number, name in enumerate(names)]


def terms(**of: Any) -> dict[str, int]:
    """What is weighed of an entity, a domain if nothing else is said."""
    judged = judge(Facts(**({"kind": "domain"} | of)))
    assert len({term.name for term in judged.terms}) == len(judged.terms)
    return {term.name: term.points for term in judged.terms}


def told(*indicators: IndicatorFact) -> dict[str, Any]:
    return {"indicators": indicators}


def met(opinion: Any, hosts: int, days: int = 1) -> dict[str, Any]:
    return {"contacts": [Contact(what="w", opinion=opinion, hosts=hosts, days=days)]}


def beside(tactics: int) -> dict[str, Any]:
    return {"hosts": 3, "company": Company(host="h", tactics=tactics)}


def behaving(score: int) -> dict[str, Any]:
    return {"behaviours": [BehaviourFact(behaviour="beaconing", score=score)]}


USUAL: dict[str, Any] = {"detections": [found(hosts=5)]}
LONG: dict[str, Any] = {"history": (0, 200)}
MUCH: dict[str, Any] = {"count": 1_000, "hosts": 4, "detections": [found()]}
LINES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # The term, facts that have it, and facts beside them that do not.
    ("ours", {"kind": "host", "is_ours": True}, {"kind": "account", "is_ours": True}),
    ("intelligence", told(said(confidence=70)), told(said(confidence=69))),
    ("intelligence", told(said(confidence=None)), told(said(opinion="suspicious"))),
    ("intelligence", told(said(how="below")), told(said(how="within"))),
    ("intelligence-medium", told(said(how="within")), told(said(how="below"))),
    ("intelligence-medium", told(said(confidence=30)), told(said(confidence=29))),
    ("intelligence-low", told(said(confidence=0)), told(said(confidence=30))),
    ("intelligence-low", told(said(opinion="suspicious", confidence=0)), told()),
    ("intelligence-outside", told(said(is_outside=True)), told(said(), said(is_outside=True))),
    ("intelligence-outside", told(said(is_outside=True)), told(said(is_outside=True, warning="w"))),
    ("intelligence-warned", told(said(warning="w")), told(said(), said(warning="w"))),
    ("intelligence-further", told(said(), said(source="two")), told(said(), said(confidence=1))),
    ("intelligence-further", told(said(), said(source="two")), told(said(), said(source="two", warning="w"))),
    ("intelligence-benign", told(said(opinion="benign")), told(said(opinion="unknown"))),
    ("intelligence-benign", told(said(opinion="benign")), told(said(opinion="benign", is_outside=True))),
    ("common", {"hosts": 5, "hosts_all": 10}, {"hosts": 4, "hosts_all": 10}),
    ("common", {"hosts": 3, "hosts_all": 6}, {"hosts": 2, "hosts_all": 2}),
    ("common", {"hosts": 5, "hosts_all": 10}, {"kind": "host", "hosts": 5, "hosts_all": 10}),
    ("common", {"hosts": 5, "hosts_all": 10}, {"seen": False, "hosts": 5, "hosts_all": 10}),
    ("fairly-common", {"hosts": 3, "hosts_all": 30}, {"hosts": 3, "hosts_all": 31}),
    ("rare", {"hosts": 2, "hosts_all": 20}, {"hosts": 3, "hosts_all": 20}),
    ("rare", {"hosts": 1, "hosts_all": 20}, {"hosts": 1, "hosts_all": 19}),
    ("rare", {"hosts": 1, "hosts_all": 20}, {"hosts": 0, "hosts_all": 20}),
    ("many-organisations", {"organisations": 2, "organisations_all": 4}, {"organisations": 2, "organisations_all": 5}),
    ("many-organisations", {"organisations": 2, "organisations_all": 4}, {"organisations": 3, "organisations_all": 3}),
    ("one-organisation", {"organisations": 1, "organisations_all": 3}, {"organisations": 1, "organisations_all": 2}),
    ("one-organisation", {"organisations": 1, "organisations_all": 3}, {"organisations": 0, "organisations_all": 3}),
    ("long-known", {"first_day": 20, **LONG, "hosts": 10}, {"first_day": 20, **LONG, "hosts": 9}),
    ("long-known", {"first_day": 20, **LONG, "hosts": 10}, {"first_day": 21, **LONG, "hosts": 10}),
    ("new", {"first_day": 23, "history": (0, 29)}, {"first_day": 22, "history": (0, 29)}),
    ("new", {"first_day": 23, "history": (0, 29)}, {"first_day": 23, "history": (1, 29)}),
    ("new", {"first_day": 29, "history": (0, 29)}, {"first_day": 30, "history": (0, 29)}),
    ("new", {"first_day": 29, "history": (0, 29)}, {"kind": "account", "first_day": 29, "history": (0, 29)}),
    ("detections-low", {"detections": [found(level="low")]}, {"detections": [found(level="informational")]}),
    ("usual-rules", {"hosts_all": 25, **USUAL}, {"hosts_all": 26, **USUAL}),
    ("usual-rules", {"hosts_all": 4, "detections": [found(hosts=5)]}, {"hosts_all": 4, "detections": [found(hosts=4)]}),
    ("usual-rules", {"detections": [found(hosts=5)]}, {"detections": [found(hosts=5, level="high")]}),
    ("detections-high", {"detections": [found(hosts=5, level="high")]}, {"detections": [found(hosts=5)]}),
    ("further-rules", {"detections": [found(1), found(2)]}, {"detections": [found(1), found(2, level="low")]}),
    ("tactics-two", {"detections": of_tactics("a", "b")}, {"detections": of_tactics("a", "a")}),
    ("tactics-three", {"detections": of_tactics("a", "b", "c")}, {"detections": of_tactics("a", "b", "c", "d")}),
    ("tactics-many", {"detections": of_tactics("a", "b", "c", "d")}, {"detections": of_tactics("a", "b", "c")}),
    # Of what stands in so many events, and not on a few hosts, few detections say less.
    ("detections-low", MUCH, MUCH | {"count": 999}),
    ("detections-low", MUCH, MUCH | {"hosts": 3}),
    ("detections-low", MUCH, MUCH | {"detections": [found(count=10)]}),
    ("detections-low", MUCH, MUCH | {"kind": "host"}),
    ("known-bad", met("malicious", 4), met("malicious", 5)),
    ("known-bad", met("malicious", 4), met("suspicious", 1)),
    (
        "known-bad-kept-up",
        met("malicious", 1, 7) | {"kind": "host"},
        met("malicious", 1, 6) | {"kind": "host"},
    ),
    (
        "known-bad-kept-up",
        met("malicious", 1, 7) | {"kind": "account"},
        met("malicious", 1, 7),
    ),
    ("company", beside(3), beside(2)),
    ("company", beside(3), beside(3) | {"hosts": 4}),
    ("behaviour", behaving(13), behaving(12)),
]


@pytest.mark.parametrize(
    ("name", "with_it", "without"), LINES, ids=[f"{place} {each[0]}" for place, each in enumerate(LINES)]
)
def test_a_term_counts_up_to_its_line_and_no_further(
    name: str, with_it: dict[str, Any], without: dict[str, Any]
) -> None:
    assert name in terms(**with_it)
    assert name not in terms(**without)


def test_every_term_has_a_line() -> None:
    named = {name for name, _, _ in LINES} | {"prior", "warning-list", "detections-critical", "detections-medium"}
    assert named == load_weights().terms.keys()


def test_more_of_the_same_counts_only_so_often() -> None:
    points = [
        terms(detections=[found(number) for number in range(count)]).get("further-rules", 0) for count in range(7)
    ]
    assert points == [0, 0, 3, 6, 9, 9, 9]
    sources = [[said(source=str(number)) for number in range(count)] for count in range(1, 6)]
    assert [terms(indicators=each).get("intelligence-further", 0) for each in sources] == [0, 5, 10, 10, 10]
    scores = [
        [BehaviourFact(behaviour="beaconing", score=score) for score in several] for several in ((50, 100), (300,))
    ]
    assert [terms(behaviours=each)["behaviour"] for each in scores] == [8, 8]


def test_the_worst_detection_is_named_and_of_equals_the_rarest() -> None:
    def named(*several: DetectionFact) -> str:
        judged = judge(Facts(kind="host", detections=several))
        return next(term.says for term in judged.terms if term.name.startswith("detections-"))

    assert "rule 2" in named(found(1, level="low", hosts=1), found(2, level="high", hosts=9))
    assert "rule 2" in named(found(1, hosts=3), found(2, hosts=2))
    assert "rule 2" in named(found(1, count=2), found(2, count=3))


def test_the_best_indicator_decides_and_the_rarest_contact_is_named() -> None:
    assert terms(indicators=[said(confidence=0), said(source="two", confidence=90)])["intelligence"] == 28
    bad = [Contact(what=what, opinion="malicious", hosts=hosts, days=9) for what, hosts in (("often", 3), ("once", 1))]
    judged = judge(Facts(kind="host", contacts=bad))
    assert "once" in next(term.says for term in judged.terms if term.name == "known-bad")


def test_who_was_never_seen_is_no_friend() -> None:
    known = [said(opinion="benign", source=str(number)) for number in range(2)]
    facts = Facts(kind="domain", indicators=known, warning_list="list")
    assert judge(facts).score <= load_weights().friend
    assert judge(facts).verdict == "friend"
    assert judge(Facts(kind="domain", seen=False, indicators=known, warning_list="list")).verdict == "unknown"
