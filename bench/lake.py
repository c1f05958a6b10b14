"""How many bytes an event takes in the lake, and what of them is ``Message`` and the raw record.

    python -m bench.lake [--data DIR] [--work DIR]

The events are those of windows-json. They are put into segments as ingest does it (by stream, layout and month, or day
where it has many), and as larger days would make them (by stream and layout alone); each at the compression of ingest
and at that of merging. The cost of a column is what its chunks take in the files.

Beside it, from the same JSON lines: Parquet as DuckDB writes it with the same compression, all events in one file, and
partitioned by channel and event id, which is what streams are.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.detect import ROOT, unpack
from mingjian.formats import registry
from mingjian.formats.containers import open_members
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.sources.columnwise import envelopes
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Portion, Router
from mingjian.store.arrow import Ints, Mask
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import FinishedSegment, Rows, SegmentBuilder, SegmentKey, cut
from mingjian.store.writing import COMPRESSION_LEVEL, MERGED_COMPRESSION_LEVEL, parquet_bytes

COUNTED = ("Message", "_raw")


def portions(paths: Sequence[Path]) -> Iterator[tuple[int, Portion, Block]]:
    """Every record of some files, with its view: as (number of the file, portion, block)."""
    router = Router(load_sources())
    for number, path in enumerate(paths):
        with path.open("rb") as stream:
            for member in open_members(path.name, stream, modified_at_s=path.stat().st_mtime):
                if isinstance(member, Quarantined):
                    continue
                for block in registry.read(Piece(file=member.name, chunks=member.chunks, modified_at_s=0)):
                    if not isinstance(block, Quarantined):
                        for portion in router.route(block):
                            yield number, portion, block


def built(paths: Sequence[Path], *, is_cut: bool) -> list[FinishedSegment]:
    """The segments of some files, in memory: as they are written, or one for each stream."""
    builders: dict[SegmentKey, SegmentBuilder] = {}
    for number, portion, block in portions(paths):
        part = block if portion.rows is None else block.take(portion.rows)
        key = SegmentKey(
            organisation=OrganisationId(1),
            stream=portion.view.stream.name,
            layout=portion.view.layout.name,
            format=part.format,
            month=None,
        )
        rows = Rows(part, range(len(part.numbers)), envelopes(portion.view, part).times_us, number)
        builders.setdefault(key, SegmentBuilder(key, keep_raw=True)).add(rows)
    finished = [builder.finished() for builder in builders.values()]
    if not is_cut:
        return finished
    return [segment.of_rows(rows, month) for segment in finished for month, rows in cut(*times_of(segment))]


def times_of(segment: FinishedSegment) -> tuple[Ints, Mask]:
    """The time of each record, and which have none."""
    untimed = segment.times.is_null().to_numpy(zero_copy_only=False)
    return segment.times.cast(pa.int64()).fill_null(0).to_numpy(), untimed


def sizes(segments: Sequence[FinishedSegment], level: int) -> Counter[str]:
    """Bytes of all files together (under ``""``), and of the columns that are counted by themselves."""
    found: Counter[str] = Counter()
    for segment in segments:
        data = parquet_bytes(segment, level=level)
        found[""] += data.size
        found += columns_of(pq.read_metadata(pa.BufferReader(data)))
    return found


def columns_of(metadata: pq.FileMetaData) -> Counter[str]:
    found: Counter[str] = Counter()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema in COUNTED:
                found[column.path_in_schema] += column.total_compressed_size
    return found


def show(what: str, count: int, found: Counter[str], took_s: float) -> None:
    message, raw = (found[name] / count for name in COUNTED)
    total = found[""] / count - raw
    print(
        f"{what:<44} every field but Message {total - message:6.1f}   Message {message:+6.1f}   "
        f"every field {total:6.1f}   raw record {raw:+6.1f}   ({took_s:.0f} s)"
    )


def by_duckdb(files: Sequence[Path], work: Path, *, partitioned: bool) -> Counter[str]:
    """What DuckDB makes of the same lines."""
    target = work / ("duckdb" if partitioned else "duckdb.parquet")
    options = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3"
    options += ", PARTITION_BY (channel_, event_id_)" if partitioned else ""
    key = "Channel AS channel_, EventID AS event_id_, " if partitioned else ""
    with duckdb.connect(config={"temp_directory": str(work), "memory_limit": "4GB"}) as connection:
        connection.execute(
            f"COPY (SELECT {key}* FROM read_ndjson_auto(?, union_by_name = true, sample_size = -1, "
            f"ignore_errors = true, records = true, map_inference_threshold = -1, field_appearance_threshold = 0)) "
            f"TO '{target}' ({options})",
            [[str(path) for path in files]],
        )
    found: Counter[str] = Counter()
    for path in [target] if target.is_file() else target.rglob("*.parquet"):
        metadata = pq.read_metadata(path)
        found[""] += path.stat().st_size
        found["rows"] += metadata.num_rows
        found += columns_of(metadata)
    return found


def timed(function: Callable[[], Counter[str]]) -> tuple[Counter[str], float]:
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("MINGJIAN_TEST_DATA") or ROOT.parent / "shared/data"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--work", type=Path, help="where the JSON lines are unpacked; a temporary folder if not given")
    chosen = parser.parse_args(arguments)
    print(f"{datetime.now(UTC):%Y-%m-%d} bytes per event, zstd; DuckDB {duckdb.__version__}, Arrow {pa.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        files = unpack(chosen.data, work / "lines")
        count = 0
        for name, is_cut in (("as written", True), ("by stream", False)):
            segments = built(files, is_cut=is_cut)
            count = sum(len(segment.numbers) for segment in segments)
            if is_cut:
                size = sum(path.stat().st_size for path in files)
                print(f"{count:,} events, {size / count:,.0f} bytes each as JSON")
            for level in (COMPRESSION_LEVEL, MERGED_COMPRESSION_LEVEL):
                what = f"{name}: {len(segments)} segments, level {level}"
                show(what, count, *timed(lambda level=level, segments=segments: sizes(segments, level)))
            del segments
        for name, partitioned in (("DuckDB, one file", False), ("DuckDB, by channel and event id", True)):
            found, took_s = timed(lambda partitioned=partitioned: by_duckdb(files, work, partitioned=partitioned))
            show(f"{name}: {found['rows']:,} rows", found["rows"], found, took_s)


if __name__ == "__main__":
    main(sys.argv[1:])
