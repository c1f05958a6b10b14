"""The samples in the producers' forms: read whole, routed to their streams, and fed to rules that then fire.

A folder of ``tests/samples`` is named after the source that it is a sample of. Its ``sample.yml`` lists for each file
the streams of its records in order, the rules' log sources that it is there for, ids of rules of these log sources
that fire on it, and the envelope of its first record (``time: ~``: the producer's form does not tell it).
The contents are invented: addresses of RFC 5737, names of RFC 2606. Windows has its own tests.
"""

from __future__ import annotations

import datetime
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
import pytest
import yaml

from mingjian.formats import registry
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.rules import LogSource
from mingjian.model.sources import View
from mingjian.model.values import Record
from mingjian.sources.definitions import SourceBook, SourcePlan, load_sources
from mingjian.sources.envelope import envelope, observables
from mingjian.sources.router import Router
from oracle.events import Event
from oracle.match import matches
from oracle.rules import Rule, read

SAMPLES = Path(__file__).parents[1] / "samples"
MODIFIED_AT_S = datetime.datetime(2026, 4, 1, tzinfo=datetime.UTC).timestamp()
"""When the samples were last written, for timestamps without a year."""
RULE_FOLDERS = ("rules", "rules-emerging-threats", "rules-threat-hunting", "rules-placeholder")
FED_SHARE_MIN = 0.99

NEVER_FED = {
    LogSource("azure", None, "pim"): "no producer writes riskEventType into an alert of privileged identity management",
    LogSource("paloalto", "file_event", "globalprotect"): "PAN-OS has no log of the files that are created on it",
}
"""Log sources of SigmaHQ that no source feeds, and why."""


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a ``sample.yml``."""

    file: str
    stream: list[str]
    records: int
    logsources: list[dict[str, str]]
    feeds: list[str]
    time: datetime.datetime | None
    host: str = ""
    account: str = ""


def _samples() -> list[tuple[str, Sample]]:
    found: list[tuple[str, Sample]] = []
    for path in sorted(SAMPLES.glob("*/sample.yml")):
        if not path.parent.name.startswith("windows"):
            entries = msgspec.convert(yaml.safe_load(path.read_bytes()), list[Sample])
            found += [(path.parent.name, entry) for entry in entries]
    return found


ALL = _samples()
each_sample = pytest.mark.parametrize(("source", "sample"), ALL, ids=[f"{s}/{entry.file}" for s, entry in ALL])


@pytest.fixture(scope="module")
def book() -> SourceBook:
    return load_sources()


@pytest.fixture(scope="module")
def rules(shared_data: Path) -> dict[str, Rule]:
    files = [(str(p), p.read_bytes()) for f in RULE_FOLDERS for p in sorted((shared_data / "sigma" / f).rglob("*.yml"))]
    return {rule.id: rule for rule in read(files).rules}


@cache
def _router() -> Router:
    return Router(load_sources())


def _records(path: Path, modified_at_s: float = MODIFIED_AT_S) -> list[tuple[int, View, Record]]:
    """Number, view and record of everything in a file, in order. Fails on anything that was quarantined."""
    piece = Piece(file=path.name, chunks=iter([path.read_bytes()]), modified_at_s=modified_at_s)
    rows: list[tuple[int, View, Record]] = []
    for block in registry.read(piece):
        assert not isinstance(block, Quarantined), block.reason
        for portion in _router().route(block):
            chosen = range(len(block.numbers)) if portion.rows is None else portion.rows
            rows += [(block.numbers[row], portion.view, block.record(row)) for row in chosen]
    return sorted(rows, key=lambda row: row[0])


def _fired(rules: dict[str, Rule], view: View, record: Record) -> set[str]:
    event = Event(record, lambda record, name: view.value(record, name))
    asked = [rule for rule in rules.values() if _satisfied(view, LogSource(*rule.logsource))]
    return {rule.id for rule in asked if matches(rule, event)}


def _satisfied(view: View, wanted: LogSource) -> bool:
    return any(given.satisfies(wanted) for given in view.stream.logsources)


def _sources(book: SourceBook) -> list[SourcePlan]:
    return [source for family in book.families for source in family.sources if not source.id.startswith("windows")]


def test_every_definition_loads(book: SourceBook) -> None:
    assert book.skipped == ()


def test_every_source_has_a_sample(book: SourceBook) -> None:
    with_sample = {source for source, _ in ALL}
    assert {source.id for source in _sources(book)} == with_sample


def test_every_file_beside_a_list_is_in_it() -> None:
    for folder in {SAMPLES / source for source, _ in ALL}:
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"sample.yml"}
        assert there == {sample.file for source, sample in ALL if source == folder.name}


@each_sample
def test_a_sample_is_read_whole_and_belongs_to_the_streams_it_names(source: str, sample: Sample) -> None:
    rows = _records(SAMPLES / source / sample.file)
    assert len(rows) == sample.records
    assert list(dict.fromkeys(view.stream.name for _, view, _ in rows)) == sample.stream
    assert {view.stream.source for _, view, _ in rows} == {source}


@each_sample
def test_a_stream_of_a_sample_satisfies_each_log_source_it_is_there_for(source: str, sample: Sample) -> None:
    views = [view for _, view, _ in _records(SAMPLES / source / sample.file)]
    for wanted in sample.logsources:
        assert any(_satisfied(view, LogSource(**wanted)) for view in views), wanted


@each_sample
def test_the_envelope_of_a_sample_is_found(source: str, sample: Sample) -> None:
    _, view, record = _records(SAMPLES / source / sample.file)[0]
    found = envelope(view, record)
    if sample.time is None:
        assert found.time_us is None
    else:
        assert found.time_us is not None
        moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=found.time_us)
        assert moment == sample.time.replace(tzinfo=sample.time.tzinfo or datetime.UTC)
    assert (found.host, found.account) == (sample.host, sample.account)


@each_sample
def test_the_observables_of_a_sample_are_told_without_error(source: str, sample: Sample) -> None:
    for _, view, record in _records(SAMPLES / source / sample.file):
        found = observables(view, record)
        assert len(found) == len(set(found))


@each_sample
def test_the_named_rules_fire_on_a_sample(source: str, sample: Sample, rules: dict[str, Rule]) -> None:
    rows = _records(SAMPLES / source / sample.file)
    fired = {rule_id for _, view, record in rows for rule_id in _fired(rules, view, record)}
    assert set(sample.feeds) <= fired
    fed = [LogSource(*rules[rule_id].logsource) for rule_id in sample.feeds]
    for wanted in sample.logsources:
        assert LogSource(**wanted) in fed, f"no rule of {wanted} fires"


def test_every_log_source_of_sigmahq_is_fed(book: SourceBook, rules: dict[str, Rule]) -> None:
    given = book.logsources()
    wanted = Counter(LogSource(*rule.logsource) for rule in rules.values())
    unfed = {asked: count for asked, count in wanted.items() if not any(one.satisfies(asked) for one in given)}
    share = 1 - sum(unfed.values()) / wanted.total()
    print(f"{wanted.total() - sum(unfed.values())} of {wanted.total()} rules have a source ({share:.2%})")
    for asked, count in sorted(unfed.items(), key=str):
        print(f"not fed: {count} × {asked}: {NEVER_FED.get(asked, 'why?')}")
    assert {asked for asked in unfed if asked.product != "windows"} == NEVER_FED.keys()
    assert share >= FED_SHARE_MIN


def test_every_log_source_that_is_not_windows_has_a_sample_on_which_a_rule_of_it_fires(rules: dict[str, Rule]) -> None:
    wanted = {LogSource(*rule.logsource) for rule in rules.values()} - NEVER_FED.keys()
    shown = {LogSource(*rules[rule_id].logsource) for _, sample in ALL for rule_id in sample.feeds}
    assert {asked for asked in wanted if asked.product != "windows"} <= shown


def test_every_real_cloudtrail_record_belongs_to_cloudtrail(shared_data: Path) -> None:
    rows = [row for path in sorted((shared_data / "aws").rglob("*.json")) for row in _records(path)]
    assert len(rows) == 2900
    assert Counter(view.stream.source for _, view, _ in rows) == {"aws-cloudtrail": 2900}
    for _, view, record in rows:
        found = envelope(view, record)
        assert found.time_us is not None
        assert found.account


@pytest.mark.parametrize("folder", ["apt29", "apt29-day2"])
def test_every_real_zeek_record_belongs_to_the_stream_of_its_log(shared_data: Path, folder: str) -> None:
    for path in sorted((shared_data / "zeek" / folder).glob("*.log")):
        log = path.stem.partition("_")[2]
        for _, view, record in _records(path):
            # HOST_capture_loss.log is capture_loss; the host's name may itself hold a dash, never an underline.
            assert view.stream.name == f"zeek/{log.replace('_', '-')}"
            assert "ts" not in record or envelope(view, record).time_us is not None
            assert "id_orig_h" not in record or view.value(record, "id.orig_h") == record["id_orig_h"]


def test_real_linux_lines_belong_to_the_stream_of_their_program(shared_data: Path) -> None:
    counts = {
        name: Counter(view.stream.source for _, view, _ in _records(shared_data / "linux" / name))
        for name in ("OpenSSH_2k.log", "Linux_2k.log", "Apache_2k.log")
    }
    assert counts == {
        "OpenSSH_2k.log": {"linux-syslog": 2000},
        "Linux_2k.log": {"linux-syslog": 2000},
        "Apache_2k.log": {"apache-error": 2000},
    }
