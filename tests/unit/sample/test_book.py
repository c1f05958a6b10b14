"""Log files: order, line numbers, mistakes, and what is remembered of them."""

import json
from pathlib import Path

import pytest

from mingjian.sample import book as book_module
from mingjian.sample.book import Book


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path, "test", finished_at_us=1_772_500_000_000_000)


def test_lines_are_written_in_order_of_time_whatever_order_they_came_in(book: Book) -> None:
    with book:
        lane = book.lane("a.log", "syslog")
        lane += [(30, "c", 0), (10, "a", 0), (20, "b", 0)]
        book.write(25)
        assert lane == [(30, "c", 0)]
        lane.append((28, "late", 0))
        book.write(100)
    assert (book.folder / "a.log").read_text() == "a\nb\nlate\nc\n"


def test_a_planted_line_is_placed_by_its_physical_line(book: Book) -> None:
    with book:
        lane = book.lane("a.log", "zeek", head=("#one", "#two"), tail="#close\n")
        lane += [(1, "x", 0), (2, "y", 7), (3, "z", 0)]
        book.write(100)
    assert (book.folder / "a.log").read_text().splitlines()[book.placed[0].record - 1] == "y"
    assert [(placed.file, placed.record, placed.mark) for placed in book.placed] == [("a.log", 4, 7)]
    assert [(counted.file, counted.records) for counted in book.counted] == [("a.log", 3)]


def test_records_are_placed_by_their_place_in_the_document(book: Book) -> None:
    with book:
        lane = book.records_lane("trail", lambda until_us: f"trail/{until_us}.json")
        lane += [(5, '{"n":2}', 3), (4, '{"n":1}', 0), (50, '{"n":3}', 4)]
        book.write(10)
        book.write(100)
    assert json.loads((book.folder / "trail/10.json").read_text()) == {"Records": [{"n": 1}, {"n": 2}]}
    assert [(placed.file, placed.record, placed.mark) for placed in book.placed] == [
        ("trail/10.json", 2, 3),
        ("trail/100.json", 1, 4),
    ]


def test_a_file_to_which_nothing_is_written_is_not_made(book: Book) -> None:
    with book:
        book.lane("a.log", "syslog")
        book.write(100)
    assert list(book.folder.iterdir()) == []
    assert book.counted == []


def test_a_file_is_as_old_as_its_day(book: Book) -> None:
    with book:
        book.lane("a.log", "syslog").append((1, "a", 0))
        book.write(100)
    assert (book.folder / "a.log").stat().st_mtime == 1_772_500_000


def test_repeated_lines_are_counted_and_planted_ones_placed_twice(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "REPEATED_EVERY", 3)
    monkeypatch.setattr(book_module, "DAMAGED_EVERY", 10**12)
    with book:
        book.lane("a.log", "syslog").extend((n, f"line {n}", 1) for n in range(300))
        book.write(1000)
    lines = (book.folder / "a.log").read_text().splitlines()
    assert len(lines) == 300 + book.counted[0].repeated == len(book.placed)
    assert book.counted[0].repeated > 30
    assert len(set(lines)) == 300


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("jsonl", '{"a":1,"b":"' + "x" * 50 + '"}'),
        ("zeek", "\t".join(map(str, range(20)))),
        ("auditd", 'node=web-01 type=CWD msg=audit(1772500000.123:77): cwd="/srv/www"'),
        ("access", '192.0.2.1 - - [02/Mar/2026:09:00:00 +0000] "GET / HTTP/1.1" 200 10 "-" "Mozilla/5.0"'),
        ("syslog", "Mar  2 09:00:00 web-01 CRON[7]: (root) CMD (/usr/local/bin/check)"),
    ],
)
def test_damaged_lines_are_placed_counted_and_different(
    book: Book, monkeypatch: pytest.MonkeyPatch, kind: book_module.Kind, line: str
) -> None:
    monkeypatch.setattr(book_module, "REPEATED_EVERY", 10**12)
    monkeypatch.setattr(book_module, "DAMAGED_EVERY", 50)
    with book:
        book.lane("a.log", kind).extend((n, line, 0) for n in range(2000))
        book.write(10_000)
    lines = (book.folder / "a.log").read_text().split("\n")[:-1]
    damaged = [number for number, text in enumerate(lines, 1) if text != line]
    assert damaged == [placed.record for placed in book.placed if placed.mark == book_module.DAMAGED]
    assert len(damaged) == book.counted[0].damaged > 10
    assert damaged[0] > 200, "the format is known by the first lines"


def test_planted_lines_are_never_damaged(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "DAMAGED_EVERY", 2)
    with book:
        book.lane("a.log", "syslog").extend((n, "planted", 5) for n in range(1000))
        book.write(10_000)
    assert set((book.folder / "a.log").read_text().splitlines()) == {"planted"}
