"""Windows events as different producers wrap them, and all SigmaHQ Windows rules against the definitions."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mingjian.formats.bounded import parse_yaml
from mingjian.formats.records import RecordBlock
from mingjian.model.blocks import Quarantined
from mingjian.model.rules import LogSource
from mingjian.model.sources import View
from mingjian.model.values import Record, Value
from mingjian.sources import files
from mingjian.sources.definitions import load_sources
from mingjian.sources.envelope import envelope, observables
from mingjian.sources.router import Router

SAMPLES = Path(__file__).parents[1] / "samples" / "windows"
AT_US = 1_772_702_100_250_000
SECOND_US = 1_000_000


@cache
def router() -> Router:
    return Router(load_sources())


def events(*paths: Path) -> Iterator[tuple[View, Record]]:
    """The view and the record of every event in some files, or below some folders."""
    found, missing = files.find([str(path) for path in paths])
    assert not missing
    for task in files.plan(found, 1):
        for _, block in files.read(task, files.Counts(), router().paths):
            if isinstance(block, Quarantined):
                continue
            for portion in router().route(block):
                for row in range(len(block.numbers)) if portion.rows is None else portion.rows:
                    yield portion.view, block.record(row)


def of_stream(sample: str, stream: str) -> list[tuple[View, Record]]:
    return [(view, record) for view, record in events(SAMPLES / f"{sample}.jsonl") if view.stream.name == stream]


WITH_DATA = (
    "evtx-json", "flat", "nested", "nxlog", "parse-evtx", "splunk", "splunk-export", "wazuh", "winlog", "winlog-dotted",
    "winlog-hit", "winlogbeat-6",
)  # fmt: skip
CLASSIC = ("evtx-json", "flat", "flat-fluent-bit", "get-winevent", "log-analytics", "nxlog", "winlog", "winlogbeat-6")


@pytest.mark.parametrize("sample", WITH_DATA)
def test_a_sysmon_process_start_means_the_same_in_every_layout(sample: str) -> None:
    ((view, record),) = of_stream(sample, "windows/sysmon/1")
    assert LogSource("windows", "process_creation") in view.stream.logsources
    assert LogSource("windows", None, "sysmon") in view.stream.logsources
    assert {name: view.value(record, name) for name in ("Image", "CommandLine", "Provider_Name", "Channel")} == {
        "Image": "C:\\Users\\alice\\Downloads\\invoice.exe",
        "CommandLine": "invoice.exe --quiet",
        "Provider_Name": "Microsoft-Windows-Sysmon",
        "Channel": "Microsoft-Windows-Sysmon/Operational",
    }
    assert str(view.value(record, "EventID")) == "1"
    found = envelope(view, record)
    assert (found.time_us, found.host, found.account) == (AT_US, "pc-7.example.org", "EXAMPLE\\alice")
    assert observables(view, record) == [
        ("host", "pc-7.example.org", "reporter"),
        ("account", "example\\alice", "user"),
        ("file", "c:\\users\\alice\\downloads\\invoice.exe", "process"),
        ("file", "c:\\windows\\explorer.exe", "parent"),
        ("hash", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "process"),
    ]


@pytest.mark.parametrize("sample", WITH_DATA)
def test_4688_is_a_process_creation_with_renamed_fields_in_every_layout(sample: str) -> None:
    view, record = of_stream(sample, "windows/security/4688")[0]
    assert LogSource("windows", "process_creation") in view.stream.logsources
    assert LogSource("windows", None, "security") in view.stream.logsources
    names = ("Image", "NewProcessName", "ParentImage", "CommandLine", "User", "IntegrityLevel", "ProcessId")
    assert [view.value(record, name) for name in names] == [
        "C:\\Users\\alice\\Downloads\\invoice.exe",
        "C:\\Users\\alice\\Downloads\\invoice.exe",
        "C:\\Windows\\explorer.exe",
        "invoice.exe --quiet",
        "alice",
        "S-1-16-12288",
        "0x3e8",
    ]
    found = envelope(view, record)
    assert found.time_us is not None
    assert abs(found.time_us - AT_US) < SECOND_US
    assert (found.host, found.account) == ("pc-7.example.org", "EXAMPLE\\alice")


@pytest.mark.parametrize("sample", CLASSIC)
def test_unnamed_data_is_reached_in_every_layout(sample: str) -> None:
    ((view, record),) = of_stream(sample, "windows/powershell-classic/400")
    assert LogSource("windows", "ps_classic_start") in view.stream.logsources
    data = view.value(record, "Data")
    assert any(
        "HostApplication=powershell.exe -Version 2" in text for text in (data if isinstance(data, list) else [data])
    )


def test_channels_are_compared_without_regard_to_case() -> None:
    assert len(of_stream("flat", "windows/security/4688")) == 2


def test_what_happened_to_a_registry_key_needs_the_event_type_of_sysmon() -> None:
    streams = {view.stream.name: set(view.stream.logsources) for view, _ in events(SAMPLES / "nxlog.jsonl")}
    category = {name: {ls.category for ls in logsources} - {None} for name, logsources in streams.items()}
    assert category["windows/sysmon/12-create"] == {"registry_event", "registry_add"}
    assert category["windows/sysmon/12"] == {"registry_event"}


def test_a_cleared_log_is_told_under_the_name_channel() -> None:
    ((view, record),) = of_stream("evtx-json", "windows/system/104")
    assert view.value(record, "Channel") == "Security"


def flat(channel: str, event_id: int, **data: Value) -> tuple[View, Record]:
    record: Record = {"Channel": channel, "EventID": event_id, **data}
    (portion,) = router().route(RecordBlock("jsonl", [1], [record]))
    return portion.view, record


@pytest.mark.parametrize("event_id", [1006, 1116])
def test_defender_threats_are_antivirus_events_under_both_spellings(event_id: int) -> None:
    channel = "Microsoft-Windows-Windows Defender/Operational"
    for name in ("Threat Name", "ThreatName"):
        view, record = flat(
            channel, event_id, **{name: "Trojan:Win32/X", "SourceName": "Microsoft-Windows-Windows Defender"}
        )
        assert any(ls.satisfies(LogSource(None, "antivirus")) for ls in view.stream.logsources)
        assert view.value(record, "Signature") == view.value(record, "ThreatName") == "Trojan:Win32/X"
    view, record = flat(channel, 1116, **{"Source Name": "AMSI", "SourceName": "Microsoft-Windows-Windows Defender"})
    assert view.value(record, "SourceName") == "AMSI"
    assert not any(ls.category for ls in flat(channel, 5007)[0].stream.logsources)


def test_an_unknown_channel_is_still_a_windows_event() -> None:
    view, _ = flat("Some-Vendor/Operational", 7)
    assert view.stream.name == "windows/some-vendor-operational/7"
    assert view.stream.logsources == (LogSource("windows"),)


def test_every_windows_stream_satisfies_a_rule_that_names_only_the_product() -> None:
    for stream in load_sources().streams():
        if stream.source.startswith("windows-"):
            assert any(ls.satisfies(LogSource("windows")) for ls in stream.logsources), stream.name


# --- real rules, real events ----------------------------------------------------------------------------------------


def rule_logsource(path: Path) -> tuple[str, LogSource]:
    (rule,) = parse_yaml(path.read_bytes(), file=str(path))
    asked = rule["logsource"]
    logsource = LogSource(*(asked.get(part) for part in ("product", "category", "service")))
    return rule["id"], logsource


@pytest.fixture(scope="module")
def windows_rules(shared_data: Path) -> dict[str, LogSource]:
    folders = ("rules", "rules-emerging-threats", "rules-threat-hunting")
    paths = [path for folder in folders for path in (shared_data / "sigma" / folder).rglob("*.yml")]
    return {id_: ls for id_, ls in map(rule_logsource, paths) if ls.product == "windows"}


def test_every_windows_rule_of_sigmahq_has_a_stream_that_can_feed_it(windows_rules: dict[str, LogSource]) -> None:
    declared = load_sources().logsources()
    hungry = Counter(ls for ls in windows_rules.values() if not any(known.satisfies(ls) for known in declared))
    assert len(windows_rules) == 2858
    assert hungry == Counter()


def test_every_regression_case_reaches_a_stream_of_its_rule(
    shared_data: Path, windows_rules: dict[str, LogSource]
) -> None:
    cases = sorted((shared_data / "sigma-regression").rglob("info.yml"))
    for info in cases:
        (described,) = parse_yaml(info.read_bytes(), file=str(info))
        rule_id = described["rule_metadata"][0]["id"]
        logsources = {ls for view, _ in events(*info.parent.glob("*.evtx")) for ls in view.stream.logsources}
        assert any(ls.satisfies(windows_rules[rule_id]) for ls in logsources), info
    assert len(cases) == 74


def test_every_event_of_the_attack_samples_is_known_and_tells_time_and_host(shared_data: Path) -> None:
    count = 0
    for view, record in events(*(shared_data / "evtx-attack-samples").rglob("*.evtx")):
        count += 1
        found = envelope(view, record)
        assert view.stream.source
        assert found.host
        assert found.time_us is not None
    assert count == 8255


def test_real_events_under_simulated_attack_are_all_known(shared_data: Path) -> None:
    layouts: Counter[str] = Counter()
    for view, record in events(shared_data / "windows-json" / "privilege_escalation"):
        layouts[view.layout.name] += 1
        assert view.stream.source
        if view.stream.source == "windows-sysmon":
            told = view.value(record, "UtcTime")
            assert isinstance(told, str)
            assert envelope(view, record).time_us is not None
    assert layouts["nxlog"]
    assert layouts["winlogbeat-6"]
