"""``mingjian demo``: a story in which every figure is true."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mingjian.cli import demo
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.cli.wording import demo_text
from mingjian.sample.generate import ARRIVING_FILE, read_sector, read_truth

DAYS = "62"
NOT_FOUND = {
    "A mail with a link arrives, about a viewer for a tender",
    "From there to the application server, with a password that fits",
    "A mail from the real mailbox of the first organisation arrives",
    "The database is read out",
}
"""Steps that nothing leads to. What finds one of them shortens this list."""
SECONDS = re.compile(r"\d+(\.\d+)? s\b")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "here"


@pytest.fixture(scope="module")
def tell(output: Path) -> Callable[..., str]:
    """Runs the demonstration, and gives what it said."""
    capture = pytest.MonkeyPatch()

    def told(*more: str, folder: Path = output) -> str:
        lines: list[str] = []
        capture.setattr(demo.terminal, "say", lambda text, **_: lines.append(text))
        try:
            assert run(["demo", "--output", str(folder), "--days", DAYS, "--jobs", "1", *more]) is Exit.DONE
        finally:
            capture.undo()
        return "\n".join(lines) + "\n"

    return told


@pytest.fixture(scope="module")
def told(tell: Callable[..., str]) -> str:
    return tell()


def chapter(told: str, number: int) -> str:
    return told[told.index(f"\n{number}. ") : told.index(f"\n{number + 1}. ")]


def test_it_finds_every_step_or_says_why_not(output: Path, told: str) -> None:
    sector = read_sector(output)
    assert sector is not None
    titles = {step.title_en for step in sector.made.steps}
    found = {match[1] for match in re.finditer(r"^  \+ \S+ \S+  (.*?)  \[T", told, re.M)}
    missed = {match[1] for match in re.finditer(r"^  - \S+ \S+  (.*?)  \[T", told, re.M)}
    assert found | missed == titles
    assert missed == NOT_FOUND
    assert told.count("NOT FOUND") == len(NOT_FOUND)
    assert f"{len(titles) - len(NOT_FOUND)} of the intruder's {len(titles)} steps" in told


def test_the_past_is_asked_from_the_first_event_on(output: Path, told: str) -> None:
    """The first line that names the server, by the truth, is the first that the hunt tells of."""
    planted = [row for row in read_truth(output) if row.kind == "planted" and row.step == "foothold"]
    first = min(row.time for row in planted)[:10]
    assert f"First on {first}, " in chapter(told, 5)
    assert f"in {planted[0].organisation}." in chapter(told, 5)
    assert chapter(told, 5).count("not seen") == 1


def test_the_card_is_that_of_the_host_where_it_began(output: Path, told: str) -> None:
    host = next(row.host for row in read_truth(output) if row.step == "foothold" and row.host)
    heading, meaning, first = chapter(told, 6).splitlines()[1:4]
    assert heading.startswith("6. ")
    assert "of our own" in meaning
    assert f"The host {host}." in first


def test_what_arrives_is_what_lies_beside_the_logs(output: Path, told: str) -> None:
    rows = (output / ARRIVING_FILE).read_text(encoding="utf-8").splitlines()[1:]
    assert rows
    for row in rows:
        assert f": {row.split(',')[0]}\n" in chapter(told, 4)


def test_its_false_alarms_add_up(told: str) -> None:
    wrong, total = map(int, re.search(r"False alarms: (\d+) of (\d+)", told).groups())
    of_each = re.findall(r"^    \S+: (\d+) in \d+ days$", told, re.M)
    assert sum(map(int, of_each)) == wrong < total
    assert len(of_each) == 4


def test_it_counts_what_could_not_be_read(output: Path, told: str) -> None:
    damaged = sum(row.kind == "damaged" for row in read_truth(output))
    assert f"  {damaged} lines could not be read" in told
    assert f"; {damaged} lines had been damaged on purpose" in told


def test_it_writes_the_story_with_every_card(output: Path, told: str) -> None:
    page = (output / demo.STORY_FILE).read_text(encoding="utf-8")
    assert (output / demo.STORY_FILE).as_uri() in told
    cards = re.findall(r'href="(card-\d+\.html)"', page)
    assert len(cards) > 3
    for card in cards:
        assert (output / card).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_second_run_finds_what_is_there_and_tells_the_same_in_chinese(
    output: Path, told: str, tell: Callable[..., str]
) -> None:
    made = (output / "sector.json").stat().st_mtime_ns
    chinese = tell("--language", "zh")
    assert (output / "sector.json").stat().st_mtime_ns == made
    assert chinese.count("不重复入库") == 4
    assert chinese.count("未找到：") == told.count("NOT FOUND: ")
    assert "NOT FOUND" not in chinese
    steps = re.compile(r"^  [+-] (\S+ \S+)", re.M)
    assert steps.findall(chinese) == steps.findall(told)
    days = re.compile(r"\d{4}-\d\d-\d\d")
    assert days.findall(chapter(chinese, 5))[:7] == days.findall(chapter(told, 5))[:7]


@pytest.mark.slow
def test_the_same_seed_tells_the_same_story(told: str, output: Path, tmp_path: Path, tell: Callable[..., str]) -> None:
    again = tell(folder=tmp_path / "again").replace(str(tmp_path / "again"), str(output))
    assert SECONDS.sub("", again) == SECONDS.sub("", told)


def test_a_folder_with_other_logs_is_refused(output: Path, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--output", str(output), "--seed", "2"]) is Exit.WRONG_USE
    assert "other logs" in capsys.readouterr().err


def test_both_languages_have_places_for_the_same_values() -> None:
    from mingjian.cli.wording import _TEXTS

    places = re.compile(r"{(\w+)}")
    for key in _TEXTS:
        english, chinese = demo_text(key, "en"), demo_text(key, "zh")
        assert sorted(places.findall(english)) == sorted(places.findall(chinese)), key
        assert english != chinese or not places.sub("", english).strip()
