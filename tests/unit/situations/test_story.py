"""The timeline, the chain and the graph: what is shown, in which order, and what is counted instead."""

import pytest

from mingjian.hunt.attack import load_attack
from mingjian.model.detections import Detection
from mingjian.situations import story
from mingjian.situations.card import Node, Pointer, Step
from mingjian.situations.reading import Alike
from mingjian.situations.story import Touched, Weighed
from mingjian.situations.verdict import load_weights
from mingjian.sources.envelope import Observed
from mingjian.store.behaviours import StoredBehaviour
from mingjian.store.detectiongroups import together
from mingjian.store.detections import StoredDetection
from mingjian.store.scope import OrganisationId

OURS = OrganisationId(1)
NAMES = {1: "ours"}
HOUR_US = 3_600_000_000


def stored(number: int, time_us: int | None, **said: object) -> StoredDetection:
    values: dict[str, object] = {"level": "high", "rule_id": "r", "rule_title": "R", "stream": "a/b", "host": "pc-1"}
    detection = Detection(time_us=time_us, file="f", record=number, **(values | said))  # type: ignore[arg-type]  # each test says a part of it
    return StoredDetection(
        id=number,
        public_id=str(number),
        organisation=OURS,
        input_id=1,
        day=0,
        found_by="arrival",
        found_us=0,
        detection=detection,
    )


def alike(number: int, first_us: int | None, *others: str, count: int = 1, last_us: int | None = None) -> Alike:
    return Alike(
        organisation=OURS,
        stream="a/b",
        roles=("process",),
        host="pc-1",
        account="",
        others=frozenset(Observed("file", other, "process") for other in others),
        count=count,
        first_us=first_us,
        last_us=first_us if last_us is None else last_us,
        file=f"file-{number}",
        number=number,
    )


def lines_of(
    groups: list[Alike], near_us: list[int] | None = None, weights: dict[str, int] | None = None
) -> list[Step]:
    def weight(other: Observed) -> int:
        return (weights or {}).get(other.value, 1000)

    return story.event_steps(groups, NAMES, weight, "en", near_us=near_us or [], is_all=True)


def test_detections_of_one_rule_on_one_host_share_a_line() -> None:
    found = [stored(3, 30), stored(1, 10), stored(2, None), stored(4, 20, host="pc-2")]
    steps = story.detection_steps(together(found), NAMES, lambda techniques: (), "en")
    assert [(step.host, step.count, step.evidence.record) for step in steps] == [("pc-1", 3, 1), ("pc-2", 1, 4)]
    assert (steps[0].time, steps[0].last) == (story.time_text(10), story.time_text(30))


def test_the_gravest_come_first_and_no_more_than_so_many() -> None:
    found = [stored(n, n, rule_id=f"r{n}", level="low" if n else "critical") for n in range(200)]
    steps = story.detection_steps(together(found), NAMES, lambda techniques: (), "en")
    assert (len(steps), steps[0].level) == (story.DETECTION_LINES_MAX, "critical")


def test_what_happens_near_a_detection_comes_before_what_is_rare() -> None:
    groups = [alike(n, n * HOUR_US, f"f{n}") for n in range(200)]
    steps = lines_of(groups, near_us=[100 * HOUR_US], weights={"f7": 1})
    ranks = {step.evidence.record: step.rank for step in steps if step.kind == "event"}
    assert (ranks[100], ranks[7]) == (0, 1)
    assert len(steps) <= story.EVENT_LINES_MAX + 2
    assert [step.kind for step in steps if step.evidence.record in (0, 199)] == ["first", "last"]


def test_a_group_that_goes_on_until_the_detection_is_near_it() -> None:
    groups = [alike(1, 0, "a", last_us=10 * HOUR_US, count=9), alike(2, 5 * HOUR_US, "b"), alike(3, None, "c")]
    steps = lines_of(groups, near_us=[10 * HOUR_US])
    assert {step.evidence.record: step.rank for step in steps}[1] == 0
    assert {step.evidence.record: step.time for step in steps}[3] is None
    assert lines_of([]) == []


def test_the_rest_of_what_an_event_names_is_counted() -> None:
    (step,) = lines_of([alike(1, 0, *(f"f{n}" for n in range(9)))])
    assert step.says.endswith("and 5 more")


def test_a_behaviour_is_told_with_its_terms() -> None:
    said = {"score": "80", "count": "12", "last": "1970-01-01T02:00:00Z", "entity": "pc-1", "object": "x.example"}
    one = stored(1, 0, kind="behaviour", rule_id="behaviour:outflow", matched=said, atoms=("volume +15 of 15 (3)",))
    (step,) = story.behaviour_steps([StoredBehaviour(one, "actor")], NAMES, lambda techniques: (), "zh")
    assert (step.kind, step.count, step.last, step.terms) == (
        "behaviour",
        12,
        story.time_text(2 * HOUR_US),
        ("数据量：15/15 分（3）",),
    )
    assert "x.example" in step.says
    assert "前所未有" in step.says


def step_of(tactics: tuple[str, ...], techniques: tuple[str, ...], time_us: int) -> Step:
    return Step(
        kind="detection",
        time=story.time_text(time_us),
        last=story.time_text(time_us),
        count=1,
        is_exact=True,
        says="R",
        stream="",
        roles=(),
        host="",
        account="",
        evidence=Pointer(organisation="", file="f", record=1, command=""),
        techniques=techniques,
        tactics=tactics,
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_must_have_come_before_is_inferred_and_marked(language: str) -> None:
    steps = [step_of(("lateral-movement",), ("T1021",), 50), step_of(("exfiltration",), ("T1048",), 90)]
    chain = story.chain(steps, load_attack(), load_weights().inferred, language)  # type: ignore[arg-type]  # both are languages of ours
    assert [each.tactic for each in chain if not each.is_inferred] == ["lateral-movement", "exfiltration"]
    inferred = [each.tactic for each in chain if each.is_inferred]
    assert set(inferred) == {"initial-access", "execution", "credential-access", "collection"}
    order = [each.tactic for each in chain]
    assert order.index("credential-access") < order.index("lateral-movement")
    assert order.index("collection") < order.index("exfiltration")
    assert all(each.because for each in chain)


def test_a_tactic_that_was_seen_is_not_inferred() -> None:
    steps = [step_of(("initial-access",), (), 5), step_of(("execution",), (), 6), step_of(("discovery",), (), 7)]
    assert not [each for each in story.chain(steps, load_attack(), load_weights().inferred, "en") if each.is_inferred]


def test_the_graph_has_the_bad_and_the_rare_first_and_counts_the_rest() -> None:
    start = Node(kind="host", value="pc-1", hosts=1, count=5, is_bad=False)
    others = {("file", f"f{n}"): Touched({"process"}, n) for n in range(60)}
    weighed = {
        key: Weighed(1, tuple(f"h{n}" for n in range(place + 1)), place + 1, False) for place, key in enumerate(others)
    }
    weighed["file", "f59"] = Weighed(9, ("h1",), 40, True)
    graph = story.graph(start, others, weighed, 100)  # type: ignore[arg-type]  # kinds are kinds
    direct = [graph.nodes[edge.end] for edge in graph.edges if edge.start == 0]
    assert len(direct) == story.NODES_MAX
    assert (direct[0].value, direct[0].is_bad, direct[1].value) == ("f59", True, "f0")
    assert graph.left_out == len(others) - story.NODES_MAX
    behind = {
        graph.nodes[edge.end].value for edge in graph.edges if edge.start and graph.nodes[edge.start].value == "f1"
    }
    assert behind == {"h0", "h1"}
    assert not [edge for edge in graph.edges if graph.nodes[edge.start].value == "f9" and edge.start]


def test_times_that_no_calendar_has_are_none() -> None:
    assert story.time_text(1 << 62) is None
    assert story.time_text(None) is None
