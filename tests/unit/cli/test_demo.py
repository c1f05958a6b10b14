"""``mingjian demo``: a story in which every figure is true."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mingjian.cli import demo
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.cli.wording import demo_text
from mingjian.sample.generate import read_sector, read_truth

NOT_SEEN = {"A mail with a document arrives", "The account it worked for is used on the file server"}
"""Steps that no starter rule looks for. A rule that sees one of them shortens this list."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "here"


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "DAYS", 1)
        patch.setattr(demo, "EVENTS_PER_DAY", 8_000)
        yield


@pytest.fixture
def told(output: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["demo", "--output", str(output), "--jobs", "1"]) is Exit.DONE
    return capsys.readouterr().out


def test_it_tells_of_every_step_and_names_what_was_not_seen(output: Path, told: str) -> None:
    sector = read_sector(output)
    assert sector is not None
    titles = {step.title_en for step in sector.made.steps}
    seen = {match[1] for match in re.finditer(r"^  \+ \S+ \S+  (.*?)  \[T", told, re.M)}
    missed = {match[1] for match in re.finditer(r"^  - \S+ \S+  (.*?)  \[T", told, re.M)}
    assert seen | missed == titles
    assert missed == NOT_SEEN
    assert told.count("NOT SEEN") == len(NOT_SEEN)
    assert f"{len(titles) - len(NOT_SEEN)} of {len(titles)} steps" in told


def test_it_counts_what_could_not_be_read(output: Path, told: str) -> None:
    damaged = sum(row.kind == "damaged" for row in read_truth(output))
    assert f"could not be read: {damaged} lines; {damaged} of the {damaged}" in told


def test_its_false_alarms_add_up(told: str) -> None:
    wrong, total = map(int, re.search(r"False alarms: (\d+) of (\d+)", told).groups())
    alarms = told[told.index("False alarms") :]
    assert sum(int(count) for count in re.findall(r"^ +(\d+) × ", alarms, re.M)) == wrong < total


def test_it_writes_the_report_and_says_where(output: Path, told: str) -> None:
    report = output / demo.REPORT_FILE
    assert str(report.absolute()) in told
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "./run detect --rules PATH_TO_SIGMA PATH_TO_LOGS" in told


def test_it_speaks_chinese_and_keeps_the_logs_it_made(
    output: Path, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = (output / "sector.json").stat().st_mtime_ns
    assert run(["demo", "--output", str(output), "--jobs", "1", "--language", "zh"]) is Exit.DONE
    chinese = capsys.readouterr().out
    assert "收到一封带附件的邮件" in chinese
    assert chinese.count("未看见") == told.count("NOT SEEN")
    assert "NOT SEEN" not in chinese
    assert (output / "sector.json").stat().st_mtime_ns == made


def test_a_folder_with_other_logs_is_refused(output: Path, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--output", str(output), "--seed", "2"]) is Exit.WRONG_USE
    assert "other logs" in capsys.readouterr().err


def test_both_languages_have_places_for_the_same_values() -> None:
    from mingjian.cli.wording import _TEXTS

    places = re.compile(r"{(\w+)}")
    for key in _TEXTS:
        english, chinese = demo_text(key, "en"), demo_text(key, "zh")
        assert sorted(places.findall(english)) == sorted(places.findall(chinese)), key
        assert english != chinese
