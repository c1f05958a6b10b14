import hypothesis
import hypothesis.strategies as st

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
