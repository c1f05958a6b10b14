"""The generator: repeatable, exact about what it planted, and readable by our own readers."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from mingjian.errors import ConfigError
from mingjian.model.blocks import Quarantined
from mingjian.sample import book
from mingjian.sample.generate import LOGS_FOLDER, Made, Order, Truth, generate, read_sector, read_truth, world_of
from mingjian.sources import files
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

ORDER = Order(seed=5, days=1, events_per_day=8_000)
NUMBERED = re.compile(r'"record_id":\d+|"RecordNumber":\d+|audit\([0-9.]+:\d+\)')
"""Numbers that count everything on a host, planted or not."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sector")
    generate(ORDER, folder)
    return folder


@pytest.fixture(scope="module")
def made(output: Path) -> Made:
    sector = read_sector(output)
    assert sector is not None
    return sector.made


@pytest.fixture(scope="module")
def truth(output: Path) -> list[Truth]:
    return read_truth(output)


class Read:
    """Everything that our readers get out of the logs."""

    def __init__(self, logs: Path) -> None:
        self.raw: dict[tuple[str, int], bytes] = {}
        self.quarantined: dict[tuple[str, int], Quarantined] = {}
        self.streams: Counter[str] = Counter()
        router = Router(load_sources())
        found, missing = files.find([str(logs)])
        assert not missing
        for task in files.plan(found, 1):
            for file, item in files.read(task, files.Counts(), lambda name: ()):
                name = Path(file).relative_to(logs).as_posix()
                if isinstance(item, Quarantined):
                    self.quarantined[name, item.record] = item
                    continue
                for row, number in enumerate(item.numbers):
                    self.raw[name, number] = item.raw(row)
                for portion in router.route(item):
                    self.streams[portion.view.stream.name] += len(
                        item.numbers if portion.rows is None else portion.rows
                    )


@pytest.fixture(scope="module")
def read(output: Path) -> Read:
    return Read(output / LOGS_FOLDER)


def contents(output: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(output).as_posix(): (
            path.read_bytes(),
            int(path.stat().st_mtime) if "logs" in path.parts else 0,
        )
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def test_the_same_order_gives_the_same_bytes_in_any_number_of_processes(output: Path, tmp_path: Path) -> None:
    generate(ORDER, tmp_path / "again", jobs=3)
    first, again = contents(output), contents(tmp_path / "again")
    assert list(first) == list(again)
    assert [name for name in first if first[name] != again[name]] == []


def test_another_seed_gives_another_sector(output: Path, tmp_path: Path) -> None:
    generate(Order(seed=6, days=1, events_per_day=8_000, organisations=1), tmp_path)
    first = world_of(ORDER).organisations[0]
    assert not (tmp_path / LOGS_FOLDER / first.id / "winlogbeat" / "2026-03-02.jsonl").exists()


def test_a_day_does_not_depend_on_how_many_days_there_are(output: Path, tmp_path: Path) -> None:
    order = Order(seed=5, days=2, events_per_day=8_000, campaigns=())
    generate(order, tmp_path / "two")
    generate(Order(seed=5, days=1, events_per_day=8_000, campaigns=()), tmp_path / "one")
    silent = {host.name for each in world_of(order).organisations for host in each.hosts if host.silent_from_us}
    one, two = contents(tmp_path / "one" / LOGS_FOLDER), contents(tmp_path / "two" / LOGS_FOLDER)
    kept = [name for name in one if "winlogbeat" not in name and "nxlog" not in name]
    assert silent
    assert kept
    assert [name for name in kept if one[name][0] != two[name][0]] == []


def test_every_planted_record_is_found_at_its_place(truth: list[Truth], read: Read, made: Made) -> None:
    planted = [row for row in truth if row.kind == "planted"]
    assert len(planted) == made.planted > 500
    assert [row for row in planted if (row.file, row.record) not in read.raw] == []
    assert {row.technique for row in planted} == {step.technique for step in made.steps}


def test_without_campaigns_exactly_the_planted_records_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strongest statement about the truth: nothing planted is unlisted, and nothing listed is everyday life."""
    monkeypatch.setattr(book, "REPEATED_EVERY", 10**12)
    monkeypatch.setattr(book, "DAMAGED_EVERY", 10**12)
    generate(ORDER, tmp_path / "with")
    generate(Order(seed=5, days=1, events_per_day=8_000, campaigns=()), tmp_path / "without")
    listed: dict[str, set[int]] = defaultdict(set)
    for row in read_truth(tmp_path / "with"):
        listed[row.file].add(row.record)
    expected, got = Counter(everyday(tmp_path / "without", {})), Counter(everyday(tmp_path / "with", listed))
    assert got - expected == Counter()
    assert expected - got == Counter()


def everyday(output: Path, planted: dict[str, set[int]]) -> Iterator[tuple[str, str]]:
    """Every record that is not planted, with the folder it lies in, and without what counts all records."""
    logs = output / LOGS_FOLDER
    for path in logs.rglob("*"):
        if not path.is_file():
            continue
        name = path.relative_to(logs).as_posix()
        if "AWSLogs" in name:
            records = [json.dumps(record) for record in json.loads(path.read_bytes())["Records"]]
        else:
            records = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        for number, record in enumerate(records, 1):
            if number not in planted.get(name, ()):
                yield path.parent.as_posix().removeprefix(output.as_posix()), NUMBERED.sub("", record)


def test_what_was_damaged_is_what_cannot_be_read(truth: list[Truth], read: Read, made: Made) -> None:
    damaged = {(row.file, row.record) for row in truth if row.kind == "damaged"}
    assert len(damaged) == made.damaged > 0
    assert set(read.quarantined) == damaged


def test_counts_are_those_of_the_readers(read: Read, made: Made) -> None:
    assert made.records == len(read.raw) + len(read.quarantined)
    assert sum(made.records_by_source.values()) == made.records
    assert made.repeated > 0


def test_every_record_is_of_a_stream_that_a_definition_names(read: Read) -> None:
    strange = {name for name in read.streams if name.startswith("unknown/") or name.endswith("/other")}
    assert strange == set()
    assert {
        *("windows/sysmon/1", "windows/sysmon/3", "windows/sysmon/5", "windows/sysmon/10", "windows/sysmon/11"),
        *("windows/sysmon/13", "windows/sysmon/22", "windows/security/4624", "windows/security/4634"),
        *("windows/security/4688", "windows/security/4768", "windows/security/4769", "windows/security/5140"),
        *("windows/system/7036", "windows/system/7045", "windows/powershell/4104", "linux/sshd", "linux/cron"),
        *("linux/ftp", "linux/auditd/execve", "zeek/conn", "zeek/dns", "zeek/http", "zeek/ssl", "zeek/smb-files"),
        *("suricata/flow", "suricata/dns", "suricata/tls", "proxy/squid", "webserver/access", "aws/cloudtrail"),
        *("windows/sysmon/7", "windows/sysmon/12-create", "windows/sysmon/18", "windows/security/4656"),
        *("windows/security/4658", "windows/security/4703", "windows/security/5156", "windows/powershell/4103"),
        *("fortigate/traffic",),
    } <= set(read.streams)


def test_a_silent_host_is_missing_from_its_own_log_only(output: Path) -> None:
    """The last but one workstation falls silent for some hours; the network goes on seeing it."""
    organisation = world_of(ORDER).organisations[0]
    host = next(host for host in organisation.hosts if host.silent_from_us)
    folder = output / LOGS_FOLDER / organisation.id
    own = [json.loads(line) for line in good(folder / "winlogbeat" / "2026-03-02.jsonl") if host.fqdn in line]
    from_text = iso(host.silent_from_us)
    until_text = iso(host.silent_until_us)
    times = [event["@timestamp"] for event in own if event["winlog"]["computer_name"] == host.fqdn]
    assert times
    assert [time for time in times if from_text <= time < until_text] == []
    assert any(host.address in line for line in (folder / "zeek" / "2026-03-02" / "conn.log").read_text().splitlines())


def iso(time_us: int) -> str:
    from mingjian.sample.moments import iso_ms

    return iso_ms(time_us)


def good(path: Path) -> Iterator[str]:
    """The lines of a file that are whole JSON objects."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):
            yield line


def test_a_host_with_a_wrong_clock_is_ahead_of_its_collector(output: Path) -> None:
    organisation = world_of(ORDER).organisations[0]
    host = next(host for host in organisation.hosts if host.skew_us)
    path = output / LOGS_FOLDER / organisation.id / "winlogbeat" / "2026-03-02.jsonl"
    events = [json.loads(line) for line in good(path)]
    own = [event for event in events if event["winlog"]["computer_name"] == host.fqdn]
    others = [event for event in events if event["winlog"]["computer_name"] != host.fqdn]
    assert own
    assert all(event["@timestamp"] > event["event"]["created"] for event in own)
    assert all(event["@timestamp"] <= event["event"]["created"] for event in others)


def test_the_chinese_file_server_writes_gb18030(output: Path) -> None:
    organisation = next(each for each in world_of(ORDER).organisations if each.profile.language == "zh")
    data = (output / LOGS_FOLDER / organisation.id / "vsftpd" / "2026-03-02.log").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        data.decode("utf-8")
    assert "交换目录" in data.decode("gb18030")


def test_people_come_by_day_and_machines_work_by_night(output: Path) -> None:
    organisation = world_of(ORDER).organisations[2]
    path = output / LOGS_FOLDER / organisation.id / "zeek" / "2026-03-02" / "ssl.log"
    hours = Counter(
        int(record["ts"][11:13])
        for line in good(path)
        if (record := json.loads(line))["id.orig_h"].startswith("10.") and "vendor" not in record["server_name"]
    )
    assert sum(hours[hour] for hour in range(9, 17)) > 10 * sum(hours[hour] for hour in range(5))


@pytest.mark.parametrize("hum", [0.0, 0.5, 0.9])
def test_so_many_events_come_as_were_asked_for(hum: float, tmp_path: Path) -> None:
    wanted = 30_000
    made = generate(Order(seed=4, days=1, organisations=3, events_per_day=wanted, hum=hum), tmp_path)
    assert 0.75 < (made.records - made.planted) / (3 * wanted) < 1.3


def test_the_hum_is_the_only_thing_that_a_share_of_it_adds(tmp_path: Path) -> None:
    """What machines write about themselves names no address or name of a campaign, and no person."""
    generate(Order(seed=4, days=1, organisations=1, events_per_day=20_000, hum=0.9, campaigns=()), tmp_path)
    organisation = world_of(Order(seed=4, organisations=1, events_per_day=20_000, hum=0.9)).organisations[0]
    lines = (tmp_path / LOGS_FOLDER / organisation.id / "winlogbeat" / "2026-03-02.jsonl").read_bytes().splitlines()
    noise = [line for line in lines if b'"event_id":"7"' in line or b'"event_id":"10"' in line]
    assert len(noise) > 2_000
    assert not [line for line in noise for person in organisation.people if person.login.encode() in line]


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="not empty"):
        generate(ORDER, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_a_folder_that_was_not_finished_is_filled_anew(output: Path, tmp_path: Path) -> None:
    (tmp_path / "unfinished").touch()
    (tmp_path / "logs" / "old").mkdir(parents=True)
    generate(Order(seed=5, days=1, organisations=1, events_per_day=8_000), tmp_path)
    assert not (tmp_path / "unfinished").exists()
    assert not (tmp_path / "logs" / "old").exists()
    assert read_sector(tmp_path) is not None


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (Order(days=0), "0 days"),
        (Order(organisations=0), "0 organisations"),
        (Order(organisations=201), "201 organisations"),
        (Order(events_per_day=10), "10 events"),
        (Order(events_per_day=10**9), "people"),
        (Order(hum=1.0), "hum"),
        (Order(hum=-0.1), "hum"),
        (Order(days_per_file=0), "0 days in a file"),
        (Order(days_per_file=32), "32 days in a file"),
        (Order(campaigns=("burglary",)), "burglary"),
    ],
)
def test_an_order_that_cannot_be_met_is_refused(order: Order, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=complaint):
        generate(order, tmp_path / "none")


def test_what_is_no_finished_folder_has_no_sector(tmp_path: Path) -> None:
    assert read_sector(tmp_path) is None
    (tmp_path / "sector.json").write_text("[]")
    assert read_sector(tmp_path) is None
