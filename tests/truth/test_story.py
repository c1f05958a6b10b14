"""The story that takes long, in small: what is planted is where the truth says, and what is missing is missing."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mingjian.data import DATA_FOLDER
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.blocks import Quarantined
from mingjian.sample.campaigns import scripted
from mingjian.sample.generate import (
    ARRIVING_FILE,
    LOGS_FOLDER,
    Order,
    Truth,
    generate,
    read_sector,
    read_truth,
    story,
    world_of,
)
from mingjian.sample.judge import Judgement, judge
from mingjian.sample.moments import iso_ms
from mingjian.sources import files
from mingjian.sources.definitions import load_sources
from mingjian.sources.envelope import envelope
from mingjian.sources.router import Router

pytestmark = pytest.mark.slow

ORDER = Order(
    seed=11, days=62, organisations=3, events_per_day=500, hum=0.1, days_per_file=21, campaigns=("longhaul", "signals")
)  # fmt: skip
FOUND = {"lateral", "keeper", "exfiltration"}
"""The steps of the long story that a starter rule sees. Its first steps must not be among them."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    generate(ORDER, folder, jobs=2)
    return folder


@pytest.fixture(scope="module")
def truth(output: Path) -> list[Truth]:
    return read_truth(output)


@pytest.fixture(scope="module")
def run(output: Path) -> Iterator[tuple[Judgement, list[Quarantined]]]:
    unread: list[Quarantined] = []
    book = load_rulebook([DATA_FOLDER / "rules"], cache_folder=None, jobs=1)
    made = Run(
        book.rules, book.correlations, engine_for(book.rules, None), Router(load_sources()), jobs=1,
        on_quarantined=unread.append,
    )  # fmt: skip
    logs = str(output / LOGS_FOLDER)
    try:
        made.execute([logs])
        sector = read_sector(output)
        assert sector is not None
        yield judge(made.detections(), read_truth(output), sector.made.steps, logs), unread
    finally:
        made.close()


def lines_of(output: Path, file: str) -> list[bytes]:
    return (output / LOGS_FOLDER / file).read_bytes().split(b"\n")


def test_the_same_order_gives_the_same_files_in_one_process(output: Path, tmp_path: Path) -> None:
    generate(ORDER, tmp_path / "one", jobs=1)
    names = sorted(path.relative_to(output) for path in output.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert [name for name in names if (output / name).read_bytes() != (tmp_path / "one" / name).read_bytes()] == []


def test_days_share_files_as_ordered(output: Path) -> None:
    organisation = world_of(ORDER).organisations[0]
    folder = output / LOGS_FOLDER / organisation.id / "winlogbeat"
    assert [path.name for path in sorted(folder.iterdir())] == [
        "2026-03-02.jsonl", "2026-03-23.jsonl", "2026-04-13.jsonl"
    ]  # fmt: skip


def test_no_rule_sees_how_the_long_story_begins(run: tuple[Judgement, list[Quarantined]]) -> None:
    findings = {each.step.name: each for each in run[0].findings if each.step.campaign == "longhaul"}
    assert set(findings) == {step.name for told in scripted() if told.name == "longhaul" for step in told.steps}
    assert {name for name, finding in findings.items() if finding.is_found} == FOUND


def test_what_cannot_be_read_is_what_was_damaged(
    run: tuple[Judgement, list[Quarantined]], truth: list[Truth], output: Path
) -> None:
    logs = str(output / LOGS_FOLDER)
    damaged = {(f"{logs}/{row.file}", row.record) for row in truth if row.kind == "damaged"}
    assert {(each.file, each.record) for each in run[1]} == damaged


def test_planted_lines_hold_what_the_truth_says_of_them(output: Path, truth: list[Truth]) -> None:
    beacons = [row for row in truth if row.step in ("beacon", "agent", "second-beacon") and row.kind == "planted"]
    assert len({row.organisation for row in beacons}) == 3
    for row in beacons:
        line = lines_of(output, row.file)[row.record - 1]
        asks_for_the_name = any(text in line for text in (b"\t53\tudp", b'_p":53,', b'_port":53,'))
        assert asks_for_the_name or row.entities["ip"].encode() in line or row.entities["domain"].encode() in line


def test_what_becomes_known_later_is_written_beside_the_logs(output: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((output / ARRIVING_FILE).read_text(encoding="utf-8").splitlines()))
    control = next(told for told in scripted() if told.name == "longhaul").sites["control"]
    assert [(row["type"], row["indicator"]) for row in rows] == [("domain", control.name), ("ip", control.address)]
    generate(Order(days=1, organisations=1, events_per_day=600), tmp_path / "plain")
    assert not (tmp_path / "plain" / ARRIVING_FILE).exists()


def test_the_indicator_finds_the_first_foothold_in_the_raw_logs(output: Path, truth: list[Truth]) -> None:
    """What the rules do not see, the name does: its first occurrence anywhere is a line of the foothold."""
    control = next(told for told in scripted() if told.name == "longhaul").sites["control"]
    foothold = {(row.file, row.record) for row in truth if row.step == "foothold"}
    named = {
        (path.relative_to(output / LOGS_FOLDER).as_posix(), number)
        for path in (output / LOGS_FOLDER).rglob("*2026-03-02*")
        if path.is_file()
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1)
        if control.name.encode() in line
    }
    assert named & foothold
    listed = {(row.file, row.record) for row in truth if row.kind == "planted" and row.campaign == "longhaul"}
    assert named <= listed


def test_nothing_of_a_source_is_kept_while_it_is_missing(output: Path, truth: list[Truth]) -> None:
    missing = [row for row in truth if row.kind == "missing"]
    assert {row.source for row in missing} >= {"vsftpd", "squid"}
    late = next(row for row in missing if row.source == "squid")
    folder = output / LOGS_FOLDER / late.organisation / "squid"
    first = min(float(line.split()[0]) for path in folder.iterdir() for line in path.read_text().splitlines() if line)
    assert iso_ms(int(first * 1_000_000)) >= late.until


def test_what_an_outage_swallowed_is_named_and_nowhere_else(truth: list[Truth]) -> None:
    missing = [row for row in truth if row.kind == "missing"]
    hidden = [row for row in truth if row.kind == "hidden"]
    assert hidden
    for row in hidden:
        assert row.record == 0
        source = row.file.split("/")[1]
        assert any(each.organisation == row.organisation and each.source == source for each in missing)


def test_a_repeated_line_stands_there_twice(output: Path, truth: list[Truth]) -> None:
    repeated = [row for row in truth if row.kind == "repeated"]
    assert repeated
    for row in repeated:
        lines = lines_of(output, row.file)
        assert lines[row.record - 1] == lines[row.record - 2]


def test_hosts_that_fall_silent_and_wrong_clocks_are_named(truth: list[Truth]) -> None:
    kinds = Counter((row.kind, row.host) for row in truth if row.kind in ("silent", "skewed"))
    assert sum(count for (kind, _), count in kinds.items() if kind == "skewed") == 3
    assert kinds["silent", "db-01"] == 3
    assert all(row.seconds > 0 for row in truth if row.kind == "skewed")
    assert all(row.time < row.until for row in truth if row.kind in ("silent", "missing"))


def test_times_without_a_year_find_theirs(output: Path) -> None:
    """Syslog of the first organisation has no year, and its files reach over weeks."""
    organisation = world_of(ORDER).organisations[0]
    found, _ = files.find([str(output / LOGS_FOLDER / organisation.id / "syslog")])
    router = Router(load_sources())
    times: set[int | None] = set()
    for task in files.plan(found, 1):
        for _, item in files.read(task, files.Counts(), lambda name: ()):
            if not isinstance(item, Quarantined):
                for portion in router.route(item):
                    rows = range(len(item.numbers)) if portion.rows is None else portion.rows
                    times |= {envelope(portion.view, item.record(row)).time_us for row in rows}
    times.discard(None)
    assert iso_ms(min(times))[:7] == "2026-03"
    assert iso_ms(max(times))[:7] == "2026-05"


def test_the_story_of_the_demonstration_is_of_that_kind() -> None:
    order = story(3)
    assert order.seed == 3
    assert order.days * order.organisations * order.events_per_day < 1_100_000
    assert order.days > 400
    assert order.campaigns == ("longhaul",)
