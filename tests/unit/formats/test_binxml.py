"""Whether the records of a chunk stay in proportion to it."""

from pathlib import Path

import pytest

import evtxfile
import hostile
from evtxfile import CHUNK, HEADER
from mingjian.formats import binxml, evtx
from mingjian.formats.binxml import EXPANSION_BYTES_MAX, too_large
from mingjian.model.blocks import Piece, Quarantined

HONEST = {
    "sample": evtxfile.sample(100),
    "a text in two hundred places": hostile.text_repeated(200, 1000),
    "a small array": hostile.array_of_texts(1, 200),
    "two arrays in one element": hostile.arrays_multiplied(2, 20),
    "small records of a small template": hostile.many_small_records_of_a_large_template(20),
}
BOMBS = {
    "a long text in many places": hostile.text_repeated(6000, 15_000),
    "a long array in many places": hostile.array_of_texts(500, 5000),
    "an array around a long text": hostile.array_of_bytes_around_a_text(20_000, 15_000),
    "arrays multiplied": hostile.arrays_multiplied(6, 100),
    "templates in templates, wide": hostile.templates_in_templates(6, 30),
    "templates in templates, deep": hostile.templates_in_templates(40, 2),
    "templates in templates, very deep": hostile.templates_in_templates(1000, 1),
    "small records of a large template": hostile.many_small_records_of_a_large_template(2500),
    "many instances in one record": hostile.many_instances_in_one_record(1000),
}


def read(data: bytes) -> tuple[int, list[Quarantined]]:
    items = list(evtx.read(Piece(file="f", chunks=iter([data]))))
    problems = [item for item in items if isinstance(item, Quarantined)]
    return sum(len(item.numbers) for item in items if not isinstance(item, Quarantined)), problems


@pytest.mark.parametrize("name", HONEST)
def test_what_stays_in_proportion_is_decoded(name: str) -> None:
    count, problems = read(HONEST[name])
    assert count >= 1
    assert problems == []


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_become_too_much_is_refused_by_the_name_of_the_bound(name: str) -> None:
    count, problems = read(BOMBS[name])
    assert problems
    assert count <= 120  # what still fitted
    assert {problem.code for problem in problems} == {"limit-exceeded"}
    assert {problem.reason for problem in problems} == {
        f"more than EXPANSION_BYTES_MAX allows ({EXPANSION_BYTES_MAX:,})"
    }


def test_the_quick_way_and_the_exact_way_agree_on_what_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = evtxfile.sample(100)[HEADER : HEADER + CHUNK]
    records = [(at, size, number) for at, size, number in _records(chunk)]
    assert len(records) > 40
    assert too_large(chunk, records) == []
    monkeypatch.setattr(binxml, "_usual_cost", lambda *_: -1)
    assert too_large(chunk, records) == []
    monkeypatch.setattr(binxml, "EXPANSION_BYTES_MAX", 50_000)
    assert too_large(chunk, records)[-1] == len(records) - 1


def _records(chunk: bytes) -> list[tuple[int, int, int]]:
    found = []
    at = 512
    while chunk[at : at + 4] == b"**\0\0":
        size = int.from_bytes(chunk[at + 4 : at + 8], "little")
        found.append((at, size, 0))
        at += size
    return found


def test_bytes_that_make_no_sense_are_left_to_the_decoder() -> None:
    assert too_large(b"\xff" * CHUNK, [(512, 100, 1)]) == []
    assert too_large(bytes(CHUNK), [(CHUNK - 28, 28, 1)]) == []


def test_a_bomb_among_honest_records_costs_only_itself() -> None:
    data = bytearray(hostile.many_small_records_of_a_large_template(2500))
    count, problems = read(bytes(data))
    assert count > 20
    assert len(problems) > 500
    assert [problem.offset for problem in problems] == sorted(problem.offset for problem in problems)


def test_no_real_chunk_is_refused(shared_data: Path) -> None:
    for path in sorted((shared_data / "evtx-attack-samples").rglob("*.evtx")):
        data = path.read_bytes()
        for start in range(HEADER, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            free = int.from_bytes(chunk[48:52], "little")
            assert too_large(chunk, [record for record in _records(chunk) if record[0] < free]) == [], path
