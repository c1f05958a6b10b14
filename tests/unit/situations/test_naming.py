"""A host with its domain and without: told together only where the data shows that they are one."""

from pathlib import Path

import pytest

from ingesting import SOURCES, ingest, lines, sysmon
from lakes import OPERATOR
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.store.catalogue import organisation_named
from mingjian.store.workspace import Workspace, create


def take_in(workspace: Workspace, folder: Path, owner: str, hosts: dict[str, int]) -> None:
    path = folder / f"{owner}.jsonl"
    records = [sysmon(n, f"C:\\x\\{host}.exe", host=host) for host, count in hosts.items() for n in range(count)]
    path.write_bytes(lines(records))
    ingest(workspace, path, organisation=owner)


def card(workspace: Workspace, host: str, owner: str | None = None) -> VerdictCard:
    number = None if owner is None else organisation_named(workspace, OPERATOR, owner).id
    return ask(Question(workspace, OPERATOR, "host", host, SOURCES, "en", organisation=number))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create(tmp_path / "w")
    take_in(made, tmp_path, "one", {"pc-1": 3, "PC-1.one.example": 5, "pc-2.one.example": 2, "pc-3": 1})
    take_in(made, tmp_path, "two", {"pc-1": 7, "pc-1.a.example": 1, "pc-1.b.example": 1})
    return made


def test_both_names_are_one_host_where_there_is_one_way(workspace: Workspace) -> None:
    for asked, other, count, more in (("pc-1", "pc-1.one.example", 3, 5), ("pc-1.one.example", "pc-1", 5, 3)):
        found = card(workspace, asked, "one")
        (joined,) = found.joined
        assert (found.count, joined.observable, joined.organisation, joined.count) == (count, other, "one", more)
        assert sum(step.count for step in found.timeline) == count + more
        assert found.timeline_left_out == 0


def test_names_that_could_be_two_hosts_are_not_joined(workspace: Workspace) -> None:
    short = card(workspace, "pc-1", "two")
    assert (short.joined, short.count) == ((), 7)
    assert "pc-1" in " ".join(short.unknown)
    assert card(workspace, "pc-1.a.example", "two").joined == ()


def test_without_an_organisation_each_is_decided_by_itself(workspace: Workspace) -> None:
    found = card(workspace, "pc-1")
    assert [(each.organisation, each.observable) for each in found.joined] == [("one", "pc-1.one.example")]
    assert found.count == 10


def test_a_name_that_was_never_seen_is_told_by_its_other_one(workspace: Workspace) -> None:
    found = card(workspace, "pc-2", "one")
    assert (found.seen, found.count, [each.observable for each in found.joined]) == (False, 0, ["pc-2.one.example"])
    assert found.timeline
    assert card(workspace, "pc-3", "one").joined == ()
    assert card(workspace, "203.0.113.7").joined == ()


def account_card(workspace: Workspace, account: str, owner: str) -> VerdictCard:
    number = organisation_named(workspace, OPERATOR, owner).id
    return ask(Question(workspace, OPERATOR, "account", account, SOURCES, "en", organisation=number))


def logged(workspace: Workspace, folder: Path, owner: str, accounts: dict[tuple[str, str], int]) -> None:
    records = [
        sysmon(n, "C:\\x\\a.exe", host=host) | {"User": account}
        for (host, account), count in accounts.items()
        for n in range(count)
    ]
    path = folder / f"{owner}-accounts.jsonl"
    path.write_bytes(lines(records))
    ingest(workspace, path, organisation=owner)


def test_an_account_with_and_without_its_domain_is_one_where_there_is_one_way(tmp_path: Path) -> None:
    with create(tmp_path / "w") as workspace:
        logged(
            workspace, tmp_path, "one", {("pc-1", "alice"): 2, ("pc-1", "CORP\\Alice"): 3, ("pc-9", "LAB\\alice"): 1}
        )
        for asked, other, count, more in (("alice", "corp\\alice", 2, 3), ("corp\\alice", "alice", 3, 2)):
            found = account_card(workspace, asked, "one")
            assert [(each.observable, each.count) for each in found.joined] == [(other, more)]
            assert found.count == count
            assert sum(step.count for step in found.timeline) == count + more
        assert account_card(workspace, "lab\\alice", "one").joined == ()


def test_the_only_account_of_its_name_is_the_one_without_a_domain_wherever_that_was_seen(tmp_path: Path) -> None:
    with create(tmp_path / "w") as workspace:
        logged(workspace, tmp_path, "one", {("pc-1", "CORP\\Erin"): 3, ("fw-1", "erin"): 2})
        logged(workspace, tmp_path, "two", {("pc-1", "LAB\\erin"): 1})
        for asked, other, count, more in (("erin", "corp\\erin", 2, 3), ("corp\\erin", "erin", 3, 2)):
            found = account_card(workspace, asked, "one")
            assert [(each.observable, each.count) for each in found.joined] == [(other, more)]
            assert sum(step.count for step in found.timeline) == count + more


def test_accounts_that_could_be_two_are_not_joined(tmp_path: Path) -> None:
    with create(tmp_path / "w") as workspace:
        logged(workspace, tmp_path, "two", {("pc-1", "bob"): 2, ("pc-1", "A\\bob"): 3, ("pc-1", "B\\bob"): 1})
        found = account_card(workspace, "bob", "two")
        assert found.joined == ()
        assert "several accounts are called bob" in " ".join(found.unknown)
        full = account_card(workspace, "a\\bob", "two")
        assert full.joined == ()
        assert "bob occurs 2 times without its domain" in " ".join(full.unknown)
        assert account_card(workspace, "nobody", "two").joined == ()


def test_a_name_without_its_domain_that_nothing_ties_to_the_account_is_named(tmp_path: Path) -> None:
    accounts = {("pc-1", "CORP\\carol"): 2, ("pc-9", "LAB\\carol"): 3, ("fw-1", "carol"): 4}
    accounts |= {("pc-1", "LAB\\dora"): 1, ("pc-1", "dora"): 5}
    with create(tmp_path / "w") as workspace:
        logged(workspace, tmp_path, "one", accounts)
        found = account_card(workspace, "corp\\carol", "one")
        assert (found.count, found.joined) == (2, ())
        (unknown,) = (text for text in found.unknown if "carol" in text)
        assert unknown.startswith("carol occurs 4 times without its domain")
        assert not any("domain" in text for text in account_card(workspace, "carol", "one").unknown)
        # Whose it is was shown: of the account itself, or of another one.
        assert not any("dora occurs" in text for text in account_card(workspace, "lab\\dora", "one").unknown)
        logged(workspace, tmp_path, "one", {("pc-8", "OLD\\dora"): 1})
        assert not any("dora occurs" in text for text in account_card(workspace, "old\\dora", "one").unknown)
