"""What jobs that are no hunts promise, as a work to be killed: second tries, backups, packs of rules, other labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import msgspec

from ingesting import SOURCES, events, ingest, lines, some
from lakes import OPERATOR
from mingjian.detect.sigma.parse import parse_rules
from mingjian.errors import ParseError
from mingjian.formats import json as json_format
from mingjian.hunt import packs as reading
from mingjian.hunt import retrying
from mingjian.hunt.errands import BACKUPS, Errands
from mingjian.hunt.packs import Sent, packed_files, report_in, trial_in
from mingjian.model.rules import Rule
from mingjian.store import labels, packs
from mingjian.store.backup import manifest_of
from mingjian.store.detections import detections
from mingjian.store.jobs import jobs, queue
from mingjian.store.quarantine import ask_retry, retries
from mingjian.store.rules import add_rules
from mingjian.store.upkeep import clean
from mingjian.store.workspace import Workspace, create, open_workspace
from serving import RULE

RECORDS = 90
NOT_YET = 3
"""Every third record cannot be read when it comes in."""
PACKED = 12
ERRANDS = 5
SMALL = ((labels, "PORTION", 4), (reading, "AT_ONCE", 1), (retrying, "AT_ONCE", 4))
"""Bounds that make many transactions of little work."""


def rule() -> Rule:
    return parse_rules(RULE.encode()).rules[0]


def taken_in(workspace: Workspace, folder: Path) -> None:
    """Take a file in with a reader that cannot read some of it."""
    records = some(RECORDS)
    for number in range(0, RECORDS, NOT_YET):
        records[number] |= {"CurrentDirectory": "not-yet"}
    file = folder / "a.jsonl"
    file.write_bytes(lines(records))
    decode, parse = json_format._decode_object, json_format.parse_record

    def decode_or_not(line: bytes) -> object:
        if b"not-yet" in line:
            raise ValueError
        return decode(line)

    def parse_or_not(line: bytes) -> object:
        if b"not-yet" in line:
            raise ParseError("not yet")
        return parse(line)

    with (
        mock.patch.object(json_format, "_decode_object", decode_or_not),
        mock.patch.object(json_format, "parse_record", parse_or_not),
    ):
        ingest(workspace, file, rules=[rule()])


def asked(workspace: Workspace) -> None:
    """Put everything on the list."""
    add_rules(workspace, OPERATOR, [msgspec.structs.replace(rule(), level="critical", title="Other")])
    ask_retry(workspace, OPERATOR, [], organisation=None, title="again", by="ann")
    files = [Sent(f"{n}.yml", RULE.replace("000000000001", f"{n + 10:012}").encode()) for n in range(PACKED)]
    request = '{"by": "ann", "titles": ["ours"], "pack": "{pack}"}'
    packs.keep_pack(workspace, OPERATOR, "ours", packed_files(files), by="ann", request=request)
    (pack,) = packs.packs(workspace, OPERATOR)
    queue(workspace, OPERATOR, "trial", request=json.dumps({"pack": pack.public_id}))
    queue(workspace, OPERATOR, "backup", request='{"by": "ann"}')


class ErrandWork:
    """Jobs of each kind, one after the other."""

    def prepare(self, folder: Path) -> None:
        """A workspace in which everything waits."""
        with create(folder / "workspace") as workspace:
            add_rules(workspace, OPERATOR, [rule()])
            taken_in(workspace, folder)
            asked(workspace)

    def work(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        """Do what is open, and say of each job that it is done."""
        for module, name, value in SMALL:
            mock.patch.object(module, name, value).start()
        with open_workspace(folder / "workspace") as workspace:
            clean(workspace)
            errands = Errands(workspace, SOURCES, None, Path())
            known = {each.public_id for each in jobs(workspace, OPERATOR, states=["done"])}
            while errands.step():
                done = {each.public_id for each in jobs(workspace, OPERATOR, states=["done"])}
                for each in sorted(done - known):
                    acknowledge(each)
                known = done

    def check(self, folder: Path, acknowledged: Sequence[str]) -> None:
        """Assert that nothing took effect twice, and what is done took effect."""
        with open_workspace(folder / "workspace") as workspace:
            found = {each.public_id: each for each in jobs(workspace, OPERATOR)}
            assert len(found) == ERRANDS
            assert {each.state for each in found.values()} <= {"waiting", "running", "done"}
            assert {found[each].state for each in acknowledged} <= {"done"}
            done = {each.kind for each in found.values() if each.state == "done"}
            check_events(workspace, is_whole="quarantine" in done)
            check_labels(workspace, is_whole="labels" in done)
            check_pack(workspace, is_read="pack" in done, is_tried="trial" in done)
            backups = list((workspace.folder / BACKUPS).glob("*.backup"))
            assert len(backups) <= 1
            assert all(manifest_of(each) for each in backups), "a backup that has its name is whole"
            assert backups or "backup" not in done


def check_events(workspace: Workspace, *, is_whole: bool) -> None:
    numbers = Counter(event.number for event in events(workspace))
    assert set(numbers.values()) <= {1}
    at_first = {number for number in range(1, RECORDS + 1) if (number - 1) % NOT_YET}
    assert at_first <= set(numbers) <= set(range(1, RECORDS + 1))
    if is_whole:
        assert len(numbers) == RECORDS
    read = Counter(each.entry_id for each in retries(workspace, OPERATOR) if each.outcome == "read")
    assert set(read.values()) <= {1}
    hits = Counter((each.detection.rule_id, each.detection.record) for each in detections(workspace, OPERATOR))
    assert set(hits.values()) <= {1}


def check_labels(workspace: Workspace, *, is_whole: bool) -> None:
    told = {(each.detection.level, each.detection.rule_title) for each in detections(workspace, OPERATOR)}
    assert told <= {("high", rule().title), ("critical", "Other")}
    if is_whole:
        assert told == {("critical", "Other")}


def check_pack(workspace: Workspace, *, is_read: bool, is_tried: bool) -> None:
    (pack,) = packs.packs(workspace, OPERATOR)
    report, trial = packs.report_of(workspace, OPERATOR, pack), packs.trial_of(workspace, OPERATOR, pack)
    assert (report is None) == (packs.content_of(workspace, OPERATOR, pack) is not None)
    if is_read:
        assert report is not None
        assert report_in(report).rules == PACKED
    if is_tried:
        assert trial is not None
        assert len(trial_in(trial).found) == PACKED


ERRAND: ErrandWork = ErrandWork()
