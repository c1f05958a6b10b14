"""Behaviours over a workspace: found, told, stored once, and on the cards of whom they are about."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingesting import SOURCES, ingest, lines
from lakes import OPERATOR
from mingjian.detect.behaviours.findings import Finding, Term
from mingjian.hunt import behaviourruns, gathering
from mingjian.hunt.behaviourbook import built_in_facts, title_of, told_again
from mingjian.hunt.behaviourruns import is_due, parties_of, run_behaviours
from mingjian.hunt.vocabulary import term_in
from mingjian.model.sources import ObservableKind
from mingjian.model.values import Record
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.store.behaviours import stored_behaviours
from mingjian.store.jobs import worker
from mingjian.store.workspace import Workspace, create

START_S = 20_513 * 86_400


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


def flow(second: int) -> Record:
    return {
        **{"_path": "conn", "ts": START_S + second, "uid": f"C{second}", "id.orig_h": "10.0.0.9", "id.orig_p": 40_000},
        **{"id.resp_h": "203.0.113.9", "id.resp_p": 443, "proto": "tcp", "conn_state": "SF", "orig_bytes": 640},
    }


def take_in(workspace: Workspace, folder: Path, hours: range) -> None:
    path = folder / f"conn-{hours.start}.jsonl"
    path.write_bytes(lines([flow(hour * 3600) for hour in hours]))
    ingest(workspace, path, rules=(), correlations=())


def card(workspace: Workspace, kind: ObservableKind, value: str) -> VerdictCard:
    return ask(Question(workspace, OPERATOR, kind, value, SOURCES, "en"))


def test_a_beacon_is_stored_once_and_stands_on_both_cards(workspace: Workspace, tmp_path: Path) -> None:
    take_in(workspace, tmp_path, range(14 * 24))
    assert "behaviour" in " ".join(card(workspace, "ip", "10.0.0.9").unknown)
    for _ in range(2):
        done = run_behaviours(workspace, OPERATOR, SOURCES)
        assert done is not None
        assert (done.events, done.left_out, dict(done.findings)) == (336, 0, {"beaconing": 1})
    (stored,) = stored_behaviours(workspace, OPERATOR)
    one = stored.detection
    assert (one.kind, one.rule_id, one.stream, one.record) == ("behaviour", "behaviour:beaconing", "zeek/conn", 1)
    assert one.matched["count"] == "336"
    points = [int(term.split()[1]) for term in one.atoms]
    assert sum(points) == int(one.matched["score"])
    for kind, value in (("ip", "10.0.0.9"), ("ip", "203.0.113.9")):
        found = card(workspace, kind, value)  # type: ignore[arg-type]  # both are kinds
        (step,) = [step for step in found.timeline if step.kind == "behaviour"]
        assert (step.count, step.techniques, step.tactics) == (336, ("T1071",), ("command-and-control",))
        assert step.terms == tuple(term_in(atom, "en") for atom in one.atoms)
        assert "behaviour" in {term.name for term in found.terms}
        assert sum(term.points for term in found.terms) == found.score
        assert "command-and-control" in {each.tactic for each in found.chain}
        assert not [line for line in found.unknown if "behaviour" in line]


def test_it_is_due_when_something_has_come_in_and_some_time_has_passed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_due(workspace, OPERATOR)
    take_in(workspace, tmp_path, range(48))
    assert is_due(workspace, OPERATOR)
    assert run_behaviours(workspace, OPERATOR, SOURCES) is not None
    monkeypatch.setattr(behaviourruns, "REST", 0)
    assert not is_due(workspace, OPERATOR)
    take_in(workspace, tmp_path, range(100, 148))
    assert is_due(workspace, OPERATOR)
    monkeypatch.setattr(behaviourruns, "REST", 1 << 40)
    assert not is_due(workspace, OPERATOR)


def test_too_much_history_is_looked_at_from_its_newest_end(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "DAY_ROWS_MIN", 1)
    take_in(workspace, tmp_path, range(14 * 24))
    monkeypatch.setattr(behaviourruns, "EVENTS_MAX", 100)
    done = run_behaviours(workspace, OPERATOR, SOURCES)
    assert done is not None
    assert (done.events, done.left_out) == (96, 240)
    (stored,) = stored_behaviours(workspace, OPERATOR)
    assert stored.detection.time_us == (START_S + 10 * 86_400) * 1_000_000


def test_who_is_told_to_stop_changes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    take_in(workspace, tmp_path, range(14 * 24))
    assert run_behaviours(workspace, OPERATOR, SOURCES, should_stop=lambda: True) is None
    with worker(workspace) as ours:
        assert ours
        assert run_behaviours(workspace, OPERATOR, SOURCES) is None
    assert stored_behaviours(workspace, OPERATOR) == []


def finding(behaviour: str, **said: object) -> Finding:
    values = {"entity_kind": "source", "entity": "ws-1", "first_us": 1, "last_us": 2, "count": 3, "score": 70}
    told = {"behaviour": behaviour, "organisation": "ours", "terms": (Term("t", 70, 70, 1.0),), **values, **said}
    return Finding(**told)  # type: ignore[arg-type]  # each test says a part


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (finding("outflow", object="files.example"), {("host", "ws-1", "actor"), ("domain", "files.example", "actor")}),
        (finding("beaconing", entity="10.0.0.9", object="203.0.113.9"),
         {("ip", "10.0.0.9", "actor"), ("ip", "203.0.113.9", "actor")}),
        (finding("password-guessing", entity="198.51.100.4", object="root"),
         {("ip", "198.51.100.4", "actor"), ("account", "root", "object")}),
        (finding("password-spray", values=("ann", "bob")),
         {("host", "ws-1", "actor"), ("account", "ann", "object"), ("account", "bob", "object")}),
        (finding("first-use", object="file:c:\\x\\a.exe"),
         {("host", "ws-1", "actor"), ("file", "c:\\x\\a.exe", "actor")}),
        (finding("first-use", object="service:bits"), {("host", "ws-1", "actor")}),
        (finding("lateral-movement", object="fs-01", succeeded=("ann",)),
         {("host", "ws-1", "actor"), ("host", "fs-01", "object"), ("account", "ann", "actor")}),
        (finding("distributed-spray", entity="ours", values=("ann",)), {("account", "ann", "object")}),
    ],
)  # fmt: skip
def test_a_finding_is_about(made: Finding, expected: set[tuple[str, str, str]]) -> None:
    told = built_in_facts().told[made.behaviour]
    assert {(party.kind, party.value, party.role) for party in parties_of(made, told)} == expected


def test_every_behaviour_is_told_in_both_languages(workspace: Workspace, tmp_path: Path) -> None:
    take_in(workspace, tmp_path, range(14 * 24))
    run_behaviours(workspace, OPERATOR, SOURCES)
    (stored,) = stored_behaviours(workspace, OPERATOR)
    assert "203.0.113.9" in told_again(stored.detection, "zh") != told_again(stored.detection, "en")
    for name in built_in_facts().told:
        for language in ("en", "zh"):
            assert "{" not in title_of(name, "a", "b", language)
    assert json.dumps(list(built_in_facts().told))
