"""The card in words: every word in both languages, and no line without a meaning."""

import msgspec
import pytest

from mingjian.model.rules import LEVELS
from mingjian.settings import Language
from mingjian.situations.card import Edge, Graph, Joined, Node, Pointer, Step, Term, VerdictCard
from mingjian.situations.guessing import KINDS
from mingjian.situations.telling import STEPS_SHOWN, WORDS, lines, sentence, shown_steps


def step(number: int, kind: str, rank: int = 0, **said: object) -> Step:
    values: dict[str, object] = {
        **{"time": f"2026-03-01T10:00:{number % 60:02}.123456Z", "last": None, "count": 1, "is_exact": True},
        **{"says": f"line {number}", "stream": "a/b", "roles": (), "host": "pc-1", "account": ""},
        "evidence": Pointer(organisation="ours", file="f", record=number, command=f"mingjian record f:{number}"),
    }
    return Step(kind=kind, rank=rank, **(values | said))  # type: ignore[arg-type]  # each test says a part


def card(**said: object) -> VerdictCard:
    values: dict[str, object] = {
        **{"observable": "evil.example", "kind": "domain", "seen": True, "count": 1234567, "lists_cut": False},
        **{"first": "2026-03-01T10:00:00.000000Z", "last": None, "hosts": ("pc-1",), "accounts": (), "roles": ()},
        **{"streams": (), "organisations": ("ours",), "verdict": "foe", "score": 12, "probability": 0.941},
        "terms": (Term(name="prior", points=12, says="for a reason", why="because"),),
        **{"speaks_for": (), "speaks_against": (), "unknown": ("what nobody knows",), "timeline": ()},
        **{"timeline_left_out": 0, "chain": (), "graph": Graph(), "coverage": "Seen everywhere."},
    }
    return VerdictCard(**(values | said))  # type: ignore[arg-type]  # each test says a part


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_kind_verdict_and_step_has_its_word(language: Language) -> None:
    words = WORDS[language]
    assert set(words.kinds) == set(KINDS)
    assert set(words.verdicts) == {"friend", "unknown", "suspicious", "foe"}
    assert set(words.step_kinds) == {"detection", "behaviour", "first", "last", "event"}
    for name in words.__struct_fields__:
        assert getattr(words, name), name


def test_both_languages_say_the_same_things() -> None:
    for name in WORDS["en"].__struct_fields__:
        one, other = (getattr(WORDS[language], name) for language in ("en", "zh"))
        if isinstance(one, str):
            holes = [sorted(part.partition("}")[0] for part in text.split("{")[1:]) for text in (one, other)]
            assert holes[0] == holes[1], name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lead_says_what_and_how_sure(language: Language) -> None:
    said = sentence(card(), WORDS[language])
    assert "evil.example" in said
    assert "94" in said
    assert "+12" in said


def test_what_was_never_seen_is_said() -> None:
    assert "  " + WORDS["en"].not_seen in list(lines(card(seen=False, count=0), "en"))
    joined = Joined(observable="pc-1", organisation="ours", count=5, first=None, last=None)
    told = list(lines(card(kind="host", seen=False, count=0, joined=(joined,)), "en"))
    assert "  " + WORDS["en"].not_seen not in told
    assert any("pc-1 of ours" in line and "5 events" in line for line in told)


def test_of_many_steps_those_that_tell_most_are_printed_in_the_order_of_time() -> None:
    events = [step(n, "event", rank=100 - n) for n in range(100)]
    found = (*events, step(100, "detection", level="high"), step(101, "behaviour", terms=("volume +15 of 15 (3)",)))
    shown = shown_steps(card(timeline=found))
    assert len(shown) == STEPS_SHOWN
    assert [each.says for each in shown[:1]] == [f"line {102 - STEPS_SHOWN}"]
    assert [each.kind for each in shown[-2:]] == ["detection", "behaviour"]
    told = "\n".join(lines(card(timeline=found, timeline_left_out=5), "en"))
    assert "volume +15 of 15 (3)" in told
    assert f"{102 - STEPS_SHOWN} more" in told
    assert "5 events are counted above" in told


@pytest.mark.parametrize("level", LEVELS)
def test_a_line_has_time_level_count_and_command(level: str) -> None:
    one = step(7, "detection", level=level, count=3, last="2026-03-02T00:00:00.5Z", is_exact=False)
    told = "\n".join(lines(card(timeline=(one,)), "en"))
    assert "2026-03-01 10:00:07" in told
    assert "×3 → 2026-03-02 00:00:00 among the events read" in told
    assert "mingjian record f:7" in told


def test_names_and_what_it_touched_are_cut_and_counted() -> None:
    nodes = (Node(kind="domain", value="evil.example", hosts=1, count=1, is_bad=False),)
    nodes += tuple(Node(kind="ip", value=f"10.0.0.{n}", hosts=1, count=2, is_bad=not n) for n in range(20))
    edges = tuple(Edge(start=0, end=n, role="with", time=None, rarity=1.0) for n in range(1, 21))
    told = "\n".join(lines(card(hosts=tuple(f"h{n}" for n in range(30)), graph=Graph(nodes=nodes, edges=edges)), "en"))
    assert "hosts (30)" in told
    assert "and 18 more" in told
    assert "10.0.0.0  (with; hosts: 1, events ever: 2)  an indicator calls it malicious" in told
    assert "… and 8 more" in told
    assert msgspec.json.encode(card())
