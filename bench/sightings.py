"""How small and how quick the sightings index is.

    python -m bench.sightings [--only hard|history] [--folder DIR] [--days N] [--history-days N] [--events N]

``hard``     60 days of a million events with 3.25 observables each, 18 % of them with a value never seen before:
             bytes for an event, observations indexed in a second, merges
``history``  an index that stands for a billion events (1,000 days, over 100 million rows): one look-up and a feed of a
             million values, cold (page cache dropped) and warm, alone and while another process ingests; and the same
             questions put to DuckDB over Parquet files of the same rows, sorted by value

Everything is made up (``bench.sightings_workload``), always the same. With ``--folder`` what was built is kept and used
again. Seconds of wall time unless it says CPU; quantiles where it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import sightings_workload as workload
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.index import Feed, SightingsIndex
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.sightings.merging import merge, plan
from mingjian.store.sightings.reading import IndexReader

SEED = 1
COMMITS_PER_DAY = 4
HISTORY_DAYS_PER_COMMIT = 10
HISTORY_ROWS_PER_DAY = 110_000
HISTORY_EVENTS_PER_DAY = 1_000_000
LOOKUPS = 200
FEED = 1_000_000


def say(what: str, **figures: float | str) -> None:
    shown = "   ".join(
        f"{name.replace('_', ' ')} {value:,.4g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value:,}"
        if isinstance(value, int)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in figures.items()
    )
    print(f"{what:<42}{shown}", flush=True)


class Store:
    """Stands for the catalogue: which files count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = DiskFolder(path)
        self.files: list[IndexFile] = []
        self.build_s = self.merge_s = 0.0
        self.observations = self.merged_rows = 0
        listed = path / "live.json"
        self.live: list[str] = json.loads(listed.read_text()) if listed.exists() else []

    def add(self, observations: pa.Table) -> None:
        started = time.process_time()
        file = write_delta(self.folder, observations, 1)
        self.build_s += time.process_time() - started
        self.observations += len(observations)
        assert file is not None
        self.files.append(file)
        while inputs := plan(self.files):
            self.merge(inputs)

    def merge(self, inputs: tuple[IndexFile, ...]) -> IndexFile:
        started = time.process_time()
        merged = merge(self.folder, [file.name for file in inputs])
        self.merge_s += time.process_time() - started
        self.merged_rows += sum(file.rows for file in inputs)
        for file in inputs:
            self.folder.remove(file.name)
        self.files = [file for file in self.files if file not in inputs] + [merged]
        return merged

    def keep(self) -> None:
        self.live = [file.name for file in self.files]
        (self.path / "live.json").write_text(json.dumps(self.live))


def hard(folder: Path, days: int, events: int) -> None:
    """The hard case: bytes and rates."""
    store = Store(folder / "hard")
    for day in range(days):
        for part in range(COMMITS_PER_DAY):
            segment = day * COMMITS_PER_DAY + part + 1
            store.add(workload.events(SEED, day, part, events // COMMITS_PER_DAY, segment))
        if (day + 1) % max(1, days // 6) == 0:
            report_size(f"after {day + 1} days", store.files, (day + 1) * events)
    rate = store.observations / store.build_s / 1e6
    say("built", observations=store.observations, million_observations_per_cpu_second=rate)
    say(
        "merged on the way", rows=store.merged_rows, million_rows_per_cpu_second=store.merged_rows / store.merge_s / 1e6
    )
    both = store.build_s + store.merge_s
    say("built and merged", million_observations_per_cpu_second=store.observations / both / 1e6,
        thousand_events_per_cpu_second=days * events / both / 1e3)  # fmt: skip
    largest = max(store.files, key=lambda file: file.size_bytes)
    parts(store.folder, largest)
    if len(store.files) > 1:
        store.merge(tuple(store.files))
    report_size("all in one file", store.files, days * events)
    parts(store.folder, store.files[0])
    say("peak memory of this process", megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
    shutil.rmtree(store.path)


def report_size(what: str, files: list[IndexFile], events: int) -> None:
    say(
        what,
        files=len(files),
        bytes_per_event=sum(file.size_bytes for file in files) / events,
        rows_per_event=sum(file.rows for file in files) / events,
        values_per_event=sum(file.values for file in files) / events,
    )


def parts(folder: DiskFolder, file: IndexFile) -> None:
    footer = IndexReader(folder, file.name).footer
    hashes = 8 * footer.values
    blocks = footer.buckets.offset - hashes
    say("  of the largest file, bytes per row", texts_and_rows=blocks / footer.rows, hashes=hashes / footer.rows,
        indexes=(file.size_bytes - blocks - hashes) / footer.rows)  # fmt: skip


def history(folder: Path, days: int) -> None:
    """The long history: look-ups and feeds, against DuckDB, and while another process ingests."""
    store = Store(folder / "history")
    if not store.live:
        started = time.perf_counter()
        for first in range(0, days, HISTORY_DAYS_PER_COMMIT):
            some = [
                workload.history_day(SEED, day, HISTORY_ROWS_PER_DAY, HISTORY_EVENTS_PER_DAY, day + 1)
                for day in range(first, min(days, first + HISTORY_DAYS_PER_COMMIT))
            ]
            store.add(pa.concat_tables(some, promote_options="none").unify_dictionaries())
        store.keep()
        say("built", minutes=(time.perf_counter() - started) / 60)
    index = SightingsIndex.open(store.folder, store.live)
    files = list(index.files)
    say("index", files=len(files), rows=sum(f.rows for f in files), values=sum(f.values for f in files),
        observations=sum(f.count for f in files), megabytes=sum(f.size_bytes for f in files) // 1_000_000)  # fmt: skip
    parquet = folder / "history.parquet"
    if not parquet.exists():
        export(index, parquet)
    say("the same rows as Parquet", megabytes=parquet.stat().st_size // 1_000_000)
    index.close()
    values = asked(days)
    print("-- alone")
    alone = measure(store, values)
    print("-- while another process ingests and merges")
    with ingesting(folder / "other"):
        busy = measure(store, values)
    for name, figure in busy.items():
        say(f"busy / alone: {name}", ratio=figure / alone[name])
    print("-- DuckDB over Parquet")
    plain = measure_duckdb(parquet, values)
    for name, figure in plain.items():
        say(f"DuckDB / index: {name}", ratio=figure / alone[name])


def asked(days: int) -> list[tuple[str, str]]:
    """Values of every kind: popular, rare, seen once, and never seen."""
    random = np.random.default_rng((SEED, 99))
    some = LOOKUPS // 5
    fresh = random.integers(0, days, some) * 10_000_000 + random.integers(0, HISTORY_ROWS_PER_DAY // 8, some)
    columns = (
        ("ip", workload.external(workload.popular(random, some, 3_000_000))),
        ("domain", workload.domains(workload.popular(random, some, workload.DOMAINS))),
        ("url", workload.pages(workload.popular(random, some, workload.PAGES))),
        ("domain", workload.joined(workload.letters(workload.scrambled(fresh, 4), 10), ".never.example")),
        ("ip", workload.addresses(random.integers(0, 2**32, some).astype(np.uint64))),
    )
    return [(kind, value) for kind, column in columns for value in column.to_pylist()]


def feed_columns(share: float) -> tuple[pa.Array, pa.Array]:
    """A million values of which so many are known domains or addresses."""
    random = np.random.default_rng((SEED, int(share * 1e6)))
    known = int(FEED * share)
    domains = workload.domains(np.unique(workload.popular(random, known, workload.DOMAINS))[: known // 2])
    ips = workload.external(np.unique(workload.popular(random, known, 3_000_000))[: known // 2])
    unknown = FEED - len(domains) - len(ips)
    others = workload.joined(workload.letters(workload.scrambled(np.arange(unknown), 77), 12), ".feed.example")
    kinds = np.repeat(np.array(["domain", "ip", "domain"]), [len(domains), len(ips), unknown])
    order = random.permutation(FEED)
    return pa.array(kinds[order]), pa.concat_arrays([domains, ips, others]).take(pa.array(order))


def drop(path: Path) -> None:
    """Have the kernel forget what it holds of these files."""
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Seconds(NamedTuple):
    """How long something took on the clock, and how long processors worked for it."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Seconds:
    started, worked = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - started, time.process_time() - worked)


def quantiles(name: str, seconds: list[Seconds], found: dict[str, float]) -> None:
    walls, cpus = sorted(s.wall for s in seconds), sorted(s.cpu for s in seconds)
    found[name] = statistics.median(walls)
    high = int(len(walls) * 0.95)
    say(
        name,
        median_ms=found[name] * 1e3,
        p95_ms=walls[high] * 1e3,
        worst_ms=walls[-1] * 1e3,
        cpu_median_ms=statistics.median(cpus) * 1e3,
        cpu_p95_ms=cpus[high] * 1e3,
    )


def measure(store: Store, values: list[tuple[str, str]]) -> dict[str, float]:
    """Every question, cold and warm."""
    found: dict[str, float] = {}
    opened: list[Seconds] = []
    cold: list[Seconds] = []
    for kind, value in values[:: max(1, len(values) // 60)]:
        drop(store.path)
        opened.append(timed(lambda: SightingsIndex.open(store.folder, store.live).close()))
        index = SightingsIndex.open(store.folder, store.live)
        drop(store.path)
        cold.append(timed(lambda k=kind, v=value, i=index: i.lookup(k, v)))
        index.close()
    quantiles("opening, cold", opened, found)
    quantiles("look-up, cold", cold, found)
    index = SightingsIndex.open(store.folder, store.live)
    for kind, value in values:
        index.lookup(kind, value)
    quantiles("look-up, warm", [timed(lambda k=k, v=v: index.lookup(k, v)) for k, v in values], found)
    quantiles("totals, warm", [timed(lambda k=k, v=v: index.totals(k, v)) for k, v in values], found)
    index.close()
    for share in (0.001, 0.01, 0.1):
        measure_feed(store, share, found)
    return found


def measure_feed(store: Store, share: float, found: dict[str, float]) -> None:
    columns = feed_columns(share)
    started = time.perf_counter()
    feed = Feed(*columns)
    prepared = time.perf_counter() - started
    index = SightingsIndex.open(store.folder, store.live)
    drop(store.path)
    cold = timed(lambda: index.match(feed))
    warm = min(timed(lambda: index.match(feed)) for _ in range(3))
    rows = len(set(index.match(feed)["row"].to_pylist()))
    found[f"feed of {FEED:,}, {share:.1%} hits, cold"] = cold.wall
    found[f"feed of {FEED:,}, {share:.1%} hits, warm"] = warm.wall
    say(
        f"feed of {FEED:,}",
        hits=rows,
        prepared_once_s=prepared,
        cold_s=cold.wall,
        cold_cpu_s=cold.cpu,
        warm_s=warm.wall,
        warm_cpu_s=warm.cpu,
    )
    index.close()


def measure_duckdb(parquet: Path, values: list[tuple[str, str]]) -> dict[str, float]:
    """The same questions to DuckDB."""
    found: dict[str, float] = {}
    ask = f"select * from '{parquet}' where kind = ? and value = ?"  # the path is our own
    cold: list[Seconds] = []
    some = values[:: max(1, len(values) // 10)]
    for kind, value in some:
        drop(parquet)
        with duckdb.connect() as connection:
            cold.append(timed(lambda k=kind, v=value, c=connection: c.execute(ask, [k, v]).fetchall()))
    quantiles("look-up, cold", cold, found)
    with duckdb.connect() as connection:
        for kind, value in some:
            connection.execute(ask, [kind, value]).fetchall()
        warm = [timed(lambda k=k, v=v: connection.execute(ask, [k, v]).fetchall()) for k, v in some]
    quantiles("look-up, warm", warm, found)
    kinds, column = feed_columns(0.01)
    join = f"""
        select feed.kind, feed.value, organisation, source, role, sum(count), min(first_us), max(last_us)
        from feed join '{parquet}' seen on feed.kind = seen.kind and feed.value = seen.value group by all
    """  # the path is our own
    drop(parquet)
    with duckdb.connect() as connection:
        connection.register("feed", pa.table({"kind": kinds, "value": column}))
        name = f"feed of {FEED:,}, {0.01:.1%} hits"
        found[f"{name}, cold"] = timed(lambda: connection.execute(join).fetchall()).wall
        found[f"{name}, warm"] = min(timed(lambda: connection.execute(join).fetchall()).wall for _ in range(2))
    say(f"feed of {FEED:,}", cold_s=found[f"{name}, cold"], warm_s=found[f"{name}, warm"])
    return found


def export(index: SightingsIndex, path: Path) -> None:
    """All rows as one Parquet file, in the order of keys."""
    part = path.with_suffix(".part")
    writer: pq.ParquetWriter | None = None
    for table in index.scan():
        flat = table.drop_columns(["segments"])
        writer = writer or pq.ParquetWriter(part, flat.schema, compression="zstd")
        writer.write_table(flat)
    assert writer is not None
    writer.close()
    part.rename(path)


@contextmanager
def ingesting(path: Path) -> Iterator[None]:
    """Another process that indexes and merges as fast as it can, on the same disk."""
    process = subprocess.Popen([sys.executable, "-m", "bench.sightings", "--only", "ingest", "--folder", str(path)])
    try:
        time.sleep(5)
        yield
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(path, ignore_errors=True)


def ingest(folder: Path) -> None:
    """Index without end."""
    store = Store(folder)
    for day in range(1_000_000):
        for part in range(COMMITS_PER_DAY):
            store.add(workload.events(SEED, day, part, 100_000, day * COMMITS_PER_DAY + part + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("hard", "history", "ingest"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--history-days", type=int, default=1_000)
    arguments = parser.parse_args()
    if arguments.only == "ingest":
        ingest(arguments.folder)
        return
    load = os.getloadavg()[0]
    say("machine", processors=os.cpu_count() or 0, load=load, python=platform.python_version(),
        at=datetime.now(UTC).isoformat(timespec="minutes"))  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.only in (None, "hard"):
            hard(folder, arguments.days, arguments.events)
        if arguments.only in (None, "history"):
            history(folder, arguments.history_days)


if __name__ == "__main__":
    main()
