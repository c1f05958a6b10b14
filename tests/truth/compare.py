"""Which rules match which records, by exhaustion: every rule of a stream's log source on every one of its events.

Reading, routing and field names are the product's own (``mingjian.formats``, ``mingjian.sources``); whether a rule
matches is the oracle's. Answers are cached by the content of everything they depend on, so that they are paid for
once. As a program::

    PYTHONPATH=tests python -m truth.compare --rules RULES [--rules RULES …] [--full] [--jobs N] PATH…

prints what fired and how fast; with ``--engine`` it compares the engine with it and prints every difference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mingjian.formats import registry
from mingjian.formats.containers import open_members
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.sources import View
from mingjian.model.values import Missing, Record, Value
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router
from oracle.events import Event, coalesced
from oracle.match import explain, matches
from oracle.rules import Reading, Rule, covers, read
from truth.engine import Adapter

REPOSITORY = Path(__file__).resolve().parents[2]
DEPENDS_ON = ("src/mingjian/formats", "src/mingjian/sources", "src/mingjian/model", "src/mingjian/data", "tests/oracle")
"""Folders whose content decides about the answers."""
FIRST_OF_STREAM = 4
"""A sample holds at least so many events of each stream of each file."""


class Hit(NamedTuple):
    """A rule matched a record. Block and row say which one where numbers repeat."""

    rule: str
    file: str
    record: int
    block: int
    row: int


@dataclass
class Answer:
    """What the oracle says about one file, or about all members of one archive."""

    hits: list[Hit] = field(default_factory=list)
    events: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    streams: dict[str, int] = field(default_factory=dict)


class Portion(NamedTuple):
    """Events of one block and one stream; ``rows`` all of them, ``chosen`` those of the sample."""

    file: str
    block_index: int
    block: Block
    view: View
    rows: Sequence[int]
    chosen: Sequence[int]


# --- files ---


def rule_files(folders: Iterable[Path]) -> list[tuple[str, bytes]]:
    """Read all rule files under some folders, in order."""
    return [(str(path), path.read_bytes()) for folder in folders for path in sorted(folder.rglob("*.yml"))]


def files_under(paths: Iterable[Path]) -> list[Path]:
    """List the files under some paths, the largest first."""
    files = [p for path in paths for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()]
    return sorted(files, key=lambda file: (-file.stat().st_size, file))


def blocks_of(path: Path) -> Iterator[tuple[str, Block | Quarantined]]:
    """Read the records of a file and of what it contains, with the name of the file that they are from."""
    with path.open("rb") as stream:
        for member in open_members(path.name, stream, modified_at_s=path.stat().st_mtime):
            if isinstance(member, Quarantined):
                yield member.file, member
                continue
            for block in registry.read(
                Piece(file=member.name, chunks=member.chunks, modified_at_s=member.modified_at_s)
            ):
                yield member.name, block


@cache
def router() -> Router:
    """Give the router of this process."""
    return Router(load_sources())


def portions_of(path: Path, one_in: int, answer: Answer | None = None) -> Iterator[Portion]:
    """Give the events of a file by stream. The same call chooses the same sample, whatever came before it."""
    seen: Counter[tuple[str, str]] = Counter()
    for index, (file, block) in enumerate(blocks_of(path)):
        if isinstance(block, Quarantined):
            if answer is not None:
                answer.quarantined += 1
            continue
        for portion in router().route(block):
            name = portion.view.stream.name
            rows = range(len(block.numbers)) if portion.rows is None else portion.rows
            chosen: list[int] = []
            for row in rows:
                seen[file, name] += 1
                if seen[file, name] <= FIRST_OF_STREAM or _falls(file, block.numbers[row], one_in):
                    chosen.append(row)
            yield Portion(file, index, block, portion.view, rows, chosen)


def _falls(file: str, number: int, one_in: int) -> bool:
    return one_in == 1 or zlib.crc32(f"{file} {number}".encode()) % one_in == 0


# --- the oracle over files ---


def rules_for(rules: Sequence[Rule], view: View) -> list[Rule]:
    """Choose the rules that are asked about the events of a stream."""
    declared = [(source.product, source.category, source.service) for source in view.stream.logsources]
    return [
        rule
        for rule in rules
        if rule.logsource == (None, None, None) or any(covers(rule.logsource, triple) for triple in declared)
    ]


def event_of(record: Record, view: View) -> Event:
    """Give an event whose fields are looked up as the stream defines."""

    def lookup(record: Record, name: str) -> Value | Missing:
        return coalesced(record, view.paths(name))

    return Event(record, lookup)


def judge(path: Path, rules: Sequence[Rule], one_in: int = 1, wanted: dict[View, list[Rule]] | None = None) -> Answer:
    """Ask every rule about every (chosen) event of a file. ``wanted`` keeps the rules of each view."""
    wanted = {} if wanted is None else wanted
    answer = Answer()
    started = time.process_time()
    streams: Counter[str] = Counter()
    for portion in portions_of(path, one_in, answer):
        if portion.view not in wanted:
            wanted[portion.view] = rules_for(rules, portion.view)
        streams[portion.view.stream.name] += len(portion.chosen)
        for row in portion.chosen:
            event = event_of(portion.block.record(row), portion.view)
            answer.events += 1
            for rule in wanted[portion.view]:
                if matches(rule, event):
                    number = portion.block.numbers[row]
                    answer.hits.append(Hit(rule.id, portion.file, number, portion.block_index, row))
    answer.streams = dict(streams)
    answer.seconds = time.process_time() - started
    return answer


_RULES: list[Rule] = []
_WANTED: dict[View, list[Rule]] = {}


def _start_worker(files: list[tuple[str, bytes]]) -> None:
    _RULES[:] = read(files).rules


def _work(path: Path, one_in: int) -> Answer:
    return judge(path, _RULES, one_in, _WANTED)


def judge_all(
    paths: Sequence[Path], files: list[tuple[str, bytes]], *, one_in: int = 1, jobs: int = 2, cache_dir: Path | None
) -> dict[Path, Answer]:
    """Judge files in several processes, taking from the cache what it knows."""
    digest = _digest_of_all(files, one_in)
    answers: dict[Path, Answer] = {}
    keys: dict[Path, Path] = {}
    for path in paths:
        if cache_dir is not None:
            name = hashlib.blake2b(digest + path.name.encode() + path.read_bytes(), digest_size=16).hexdigest()
            keys[path] = cache_dir / f"{name}.json"
            if keys[path].exists():
                answers[path] = _loaded(keys[path])
    left = [path for path in paths if path not in answers]
    if left:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _start_worker, (files,)) as pool:
            for path, answer in zip(left, pool.map(_work, left, [one_in] * len(left)), strict=True):
                answers[path] = answer
                if path in keys:
                    _keep(keys[path], answer)
    return {path: answers[path] for path in paths}


def _digest_of_all(files: list[tuple[str, bytes]], one_in: int) -> bytes:
    digest = hashlib.blake2b(f"{one_in} {FIRST_OF_STREAM}".encode())
    sources = [Path(__file__)]
    for folder in DEPENDS_ON:
        sources += sorted(p for p in (REPOSITORY / folder).rglob("*") if p.suffix in (".py", ".yml"))
    for content in [*(path.read_bytes() for path in sources), *(content for _, content in files)]:
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()


def _keep(path: Path, answer: Answer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(answer.__dict__), encoding="utf-8")
    partial.replace(path)


def _loaded(path: Path) -> Answer:
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Answer(**{**kept, "hits": [Hit(*hit) for hit in kept["hits"]]})


# --- the two of them ---


class Difference(NamedTuple):
    """A record about which engine and oracle do not agree, with the oracle's reasons."""

    file: str
    record: int
    rule: str
    only: str
    why: str

    def __str__(self) -> str:
        return f"{self.file} record {self.record}: rule {self.rule} matches by the {self.only} only\n{self.why}"


def differences(path: Path, answer: Answer, reading: Reading, engine: Adapter, one_in: int = 1) -> list[Difference]:
    """Compare the engine with an answer of the oracle, record by record.

    The engine sees whole blocks first and then only the chosen rows: both must agree with the oracle.
    """
    found: list[Difference] = []
    by_place: dict[tuple[int, int], set[str]] = {}
    for hit in answer.hits:
        by_place.setdefault((hit.block, hit.row), set()).add(hit.rule)
    rules = {rule.id: rule for rule in reading.rules}
    for portion in portions_of(path, one_in):
        chosen = set(portion.chosen)
        expected = {(r, row) for row in chosen for r in by_place.get((portion.block_index, row), ())}
        whole = {(r, row) for r, row in engine.match(portion.view, portion.block, portion.rows) if row in chosen}
        part = engine.match(portion.view, portion.block, portion.chosen)
        for name, got in (("engine (whole block)", whole), ("engine (some rows)", part)):
            for rule_id, row in sorted(expected ^ got):
                event = event_of(portion.block.record(row), portion.view)
                rule = rules.get(rule_id)
                why = "\n".join(explain(rule.tree, event)) if rule else "the oracle did not load it"
                only = "oracle" if (rule_id, row) in expected else name
                found.append(Difference(portion.file, portion.block.numbers[row], rule_id, only, why))
    return found


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", action="append", type=Path, required=True)
    parser.add_argument("--one-in", type=int, default=10, help="judge one event in so many (default 10)")
    parser.add_argument("--full", action="store_true", help="judge every event")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--engine", action="store_true", help="compare the engine with the oracle")
    parser.add_argument("--hits", action="store_true", help="print every hit")
    parser.add_argument("paths", nargs="+", type=Path)
    arguments = parser.parse_args()
    one_in = 1 if arguments.full else arguments.one_in
    files = rule_files(arguments.rules)
    reading = read(files)
    paths = files_under(arguments.paths)
    started = time.perf_counter()
    answers = judge_all(paths, files, one_in=one_in, jobs=arguments.jobs, cache_dir=arguments.cache)
    seconds = time.perf_counter() - started
    events = sum(answer.events for answer in answers.values())
    fired = Counter(hit.rule for answer in answers.values() for hit in answer.hits)
    spent = sum(answer.seconds for answer in answers.values())
    print(f"{len(reading.rules)} rules, {len(reading.refused)} refused; {len(paths)} files, {events} events judged")
    print(
        f"{sum(fired.values())} hits by {len(fired)} rules; {seconds:.1f} s, {events / max(spent, 1e-9):.0f} events/s"
    )
    print(f"{sum(answer.quarantined for answer in answers.values())} pieces quarantined")
    streams = Counter[str]()
    for answer in answers.values():
        streams.update(answer.streams)
    for name, count in sorted(streams.items()):
        print(f"  {count:8} {name}")
    if arguments.hits:
        for answer in answers.values():
            for hit in sorted(answer.hits):
                print(hit.rule, hit.file, hit.record, sep="\t")
    if not arguments.engine:
        return 0
    engine = Adapter(files)
    count = 0
    for path in paths:
        for difference in differences(path, answers[path], reading, engine, one_in):
            print(difference)
            count += 1
    print(f"{count} differences")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
