"""ATT&CK names and tactics, against what the authors of thousands of rules wrote beside each other."""

import re
from pathlib import Path

import pytest

from mingjian.hunt import attack

TAG = re.compile(r"^\s*-\s+attack\.([a-z0-9.-]+)\s*$", re.MULTILINE | re.IGNORECASE)
TECHNIQUE = re.compile(r"T\d{4}(\.\d{3})?")


@pytest.fixture(scope="module")
def matrix() -> attack.Attack:
    return attack.load_attack()


def test_the_tactics_stand_in_the_order_of_the_matrix(matrix: attack.Attack) -> None:
    assert [tactic.id for tactic in matrix.tactics] == [
        *("reconnaissance", "resource-development", "initial-access", "execution", "persistence"),
        *("privilege-escalation", "stealth", "defense-impairment", "credential-access", "discovery"),
        *("lateral-movement", "collection", "command-and-control", "exfiltration", "impact"),
    ]
    assert all(tactic.en and tactic.zh for tactic in matrix.tactics)


def test_every_technique_has_a_name_and_known_tactics(matrix: attack.Attack) -> None:
    known = {tactic.id for tactic in matrix.tactics}
    assert len(matrix.techniques) > 700
    for id, technique in matrix.techniques.items():
        assert TECHNIQUE.fullmatch(id)
        assert technique.name
        assert id not in technique.name
        assert technique.tactics
        assert known.issuperset(technique.tactics)
        assert attack.parent_of(id) in matrix.techniques


def test_some_names_and_tactics_by_hand(matrix: attack.Attack) -> None:
    assert matrix.techniques["T1003.001"] == attack.Technique("LSASS Memory", ("credential-access",))
    assert matrix.techniques["T1685.005"].tactics == ("defense-impairment",)
    assert set(matrix.techniques["T1078"].tactics) == {
        *("initial-access", "persistence", "privilege-escalation", "stealth")
    }
    assert set(matrix.techniques["T1574.001"].tactics) == {"execution", "stealth"}


def test_the_tactics_agree_with_the_tags_of_real_rules(matrix: attack.Attack, shared_data: Path) -> None:
    """A rule is tagged with all tactics of its techniques, so ours are among them. Two rules are known exceptions."""
    known = {tactic.id for tactic in matrix.tactics}
    pairs = 0
    strange: list[str] = []
    for file in sorted((shared_data / "sigma").rglob("*.yml")):
        tags = [tag.lower() for tag in TAG.findall(file.read_text(encoding="utf-8", errors="replace"))]
        tactics = known.intersection(tags)
        for id in (tag.upper() for tag in tags if TECHNIQUE.fullmatch(tag.upper())):
            pairs += 1
            found = matrix.techniques.get(id)
            if found is None or not tactics.issuperset(found.tactics):
                strange.append(f"{id} {file.name}")
    assert pairs > 4_000
    assert len(strange) <= 2, strange


def test_without_the_galaxy_package_there_are_still_tactics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "GALAXY_PACKAGE", "no_such_package_at_all")
    bare = attack.load_attack.__wrapped__()
    assert len(bare.tactics) == 15
    assert "T1685" in bare.techniques
    assert "T1003" not in bare.techniques
