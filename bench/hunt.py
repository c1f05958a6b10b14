"""How fast rules are run over history.

    python -m bench.hunt [--events N] [--data DIR] [--work DIR] [--rules N]

The events are those of windows-json, kept in a lake and grown by repetition: in each repetition the digits of every
longer number in a column with many different values are others, so that distinct values grow with the events as they
do in life. (``System32`` stays what it is: else every rule about unusual places would fire.) Then, in one process:

``one rule``    every rule of a sample by itself, as a new rule would be run; the slowest and the middle one are told
``expression``  a value that is nowhere, a keyword that is nowhere, and one that is there; without and with outlines
``all rules``   all Windows rules of SigmaHQ at once
``detect``      the same rules over the JSON that the events came from, in one process too
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from bench.detect import ROOT, unpack
from mingjian.detect.engine import Engine
from mingjian.formats import registry
from mingjian.formats.containers import open_members
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run
from mingjian.hunt.expressions import rule_of
from mingjian.hunt.hunting import Hunt
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.rules import Rule
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router
from mingjian.store import tables
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import (
    Batch,
    Organisation,
    commit_batch,
    live_segments,
    organisation_named,
    register_input,
    reserve_segments,
)
from mingjian.store.outlines import Outliner
from mingjian.store.scope import Scope
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey, StoredPart
from mingjian.store.workspace import Workspace, create
from mingjian.store.writing import parquet_bytes, write_segment

OPERATOR = Scope.of_operator()
SEGMENT_ROWS = 500_000
LONGER = re.compile("[0-9]{3,}")
MANY = 0.01
"""A column has many values if they are more than this share of its rows."""


def base(workspace: Workspace, organisation: Organisation, files: list[Path]) -> dict[SegmentKey, SegmentBuilder]:
    """The events by stream, as one segment each."""
    router = Router(load_sources())
    builders: dict[SegmentKey, SegmentBuilder] = {}
    for path in files:
        number = register_input(
            workspace, OPERATOR, organisation.id, head_digest=b"", head_bytes=0, kind="file", name=str(path)
        ).id
        with path.open("rb") as stream:
            for member in open_members(str(path), stream, modified_at_s=None):
                if isinstance(member, Quarantined):
                    continue
                for block in registry.read(Piece(file=member.name, chunks=member.chunks)):
                    if isinstance(block, Quarantined):
                        continue
                    for portion in router.route(block):
                        rows = range(len(block.numbers)) if portion.rows is None else portion.rows
                        view = portion.view
                        key = SegmentKey(
                            organisation=organisation.id,
                            stream=view.stream.name,
                            layout=view.layout.name,
                            format=block.format,
                            month=591,
                        )
                        times = [18_000 * 86_400_000_000] * len(rows)
                        builders.setdefault(key, SegmentBuilder(key)).add(Rows(block, rows, times, number))
    return builders


def changed(part: StoredPart, turn: int) -> StoredPart:
    """The same records with other numbers in the texts of which there are many."""
    digits = str.maketrans("0123456789", "".join(str((digit + turn) % 10) for digit in range(10)))
    fields = []
    for array in part.fields:
        if array.type == pa.string():
            array = array.dictionary_encode()
        if isinstance(array, pa.DictionaryArray) and len(array.dictionary) > MANY * len(array):
            texts = [
                LONGER.sub(lambda found: found[0].translate(digits), text) for text in array.dictionary.to_pylist()
            ]
            array = pa.DictionaryArray.from_arrays(array.indices, pa.array(texts, pa.string()))
        fields.append(array)
    return part._replace(fields=fields)


def grown(parts: list[StoredPart], key: SegmentKey, repeat: int) -> Iterator[SegmentBuilder]:
    """Segments with the records of one stream, so many times."""
    builder = SegmentBuilder(key)
    for turn in range(repeat):
        for part in parts:
            builder.add_stored(changed(part, turn % 10) if turn % 10 else part)
        if builder.rows >= SEGMENT_ROWS:
            yield builder
            builder = SegmentBuilder(key)
    if builder.rows:
        yield builder


def grow(workspace: Workspace, organisation: Organisation, files: list[Path], events: int) -> int:
    """Fill the lake; give the number of events."""
    builders = base(workspace, organisation, files)
    repeat = max(1, round(events / sum(builder.rows for builder in builders.values())))
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        for key, builder in builders.items():
            Path(file.name).write_bytes(parquet_bytes(builder.finished()))
            with Segment(Path(file.name)) as segment:
                parts = [block.stored() for block in segment.blocks()]
            for each in grown(parts, key, repeat):
                (number,) = reserve_segments(workspace, OPERATOR, organisation.id, 1)
                written = write_segment(workspace.lake, organisation.public_id, each, number)
                commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id, segments=[written]))
    return sum(row.rows for row in live_segments(workspace, OPERATOR))


def hunted(workspace: Workspace, rules: list[Rule], engine: Engine) -> tuple[float, float, int]:
    """Wall time, processor time and number of results."""
    hunt = Hunt(workspace, OPERATOR, rules, (), engine, SOURCES)
    wall, used = time.perf_counter(), time.process_time()
    summary = hunt.execute()
    wall, used = time.perf_counter() - wall, time.process_time() - used
    hunt.close()
    return wall, used, sum(summary.hits_by_level.values())


def expressions(workspace: Workspace, how: str) -> None:
    """Ask for values and keywords that are nowhere, and for some that are in many events."""
    for expression in EXPRESSIONS:
        rule = rule_of([expression])
        wall, used, found = hunted(workspace, [rule], Engine([rule]))
        print(f"expression, {how}: {used:.2f} s of processor, {wall:.2f} s, {found} results: {expression}")


def outlines_size(workspace: Workspace) -> int:
    """How many bytes all outlines have."""
    table = tables.outlines
    sizes = [sa.func.length(column) for column in (table.c.segments, table.c.columns, table.c.grams)]
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.sum(sizes[0] + sizes[1] + sizes[2]))).scalar_one() or 0


SOURCES = load_sources()
EXPRESSIONS = ("CommandLine|contains=no-such-thing", "no-such-keyword", "mimikatz")


def main() -> None:
    """Run the benchmark and print what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rules", type=int, default=25, help="so many rules are run by themselves")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=None)
    given = parser.parse_args()
    folders = [given.data / "sigma" / name / "windows" for name in ("rules", "rules-emerging-threats")]
    book = load_rulebook([folder if folder.is_dir() else folder.parent for folder in folders])
    rules = [rule for rule in book.rules if rule.logsource.product == "windows"]
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        files = unpack(given.data, Path(work) / "json")
        size = sum(path.stat().st_size for path in files)
        with create(Path(work) / "workspace") as workspace:
            organisation = organisation_named(workspace, OPERATOR, "Bench", make=True)
            started = time.perf_counter()
            events = grow(workspace, organisation, files, given.events)
            rows = live_segments(workspace, OPERATOR)
            print(
                f"lake: {events:,} events in {len(rows)} segments, {sum(row.bytes for row in rows) / events:.1f} bytes "
                f"per event, made in {time.perf_counter() - started:.0f} s"
            )
            sample = random.Random(1).sample(rules, min(given.rules, len(rules)))
            spent = []
            for rule in sample:
                wall, used, found = hunted(workspace, [rule], Engine([rule]))
                spent.append((used, wall, found, rule.title))
            spent.sort()
            used, wall, found, title = spent[-1]
            print(f"one rule: median {statistics.median(each[0] for each in spent):.2f} s of processor")
            print(f"one rule: slowest {used:.2f} s of processor, {wall:.2f} s, {found} results: {title}")
            expressions(workspace, "without outlines")
            used = time.process_time()
            outliner = Outliner(workspace, OPERATOR, wait_us=0)
            while outliner.step():
                pass
            print(
                f"outlines: made in {time.process_time() - used:.1f} s of processor, {outlines_size(workspace):,} bytes"
            )
            expressions(workspace, "with outlines")
            engine = engine_for(rules, Path(work) / "cache")
            wall, used, found = hunted(workspace, rules, engine)
            history = events / used
            speed = f"{history:,.0f} events/s, {found} results"
            print(f"all {len(rules)} rules: {used:.1f} s of processor, {wall:.1f} s, {speed}")
        run = Run(rules, (), engine_for(rules, Path(work) / "cache"), Router(SOURCES), jobs=1)
        used = time.process_time()
        summary = run.execute([str(path) for path in files])
        used = time.process_time() - used
        run.close()
        detect = summary.events / used
        print(f"detect: {used:.1f} s of processor, {detect:,.0f} events/s over {size / 1e6:,.0f} MB of JSON")
        print(f"history / detect: {history / detect:.1f}")


if __name__ == "__main__":
    sys.exit(main())
