"""How small and how quick the sightings index is.

    python -m bench.sightings [--only hard|history] [--folder DIR] [--days N] [--history-days N] [--events N]
                              [--parts built|alone|busy|duckdb …]

``hard``     60 days of a million events with 3.25 observables each, 18 % of them with a value never seen before:
             bytes for an event, observations indexed in a second, merges
``history``  an index that stands for a billion events (1,000 days, over 100 million rows): one look-up and a feed of a
             million values, cold (page cache dropped) and warm, alone and while another process commits as much as
             ingest does and merges; and the same questions put to DuckDB over a Parquet file of the same rows, sorted
             by value

Everything is made up (``bench.sightings_workload``), always the same. With ``--folder`` what was built is kept and used
again, and ``--parts`` measures a part by itself: ratios are then to the last run of ``alone``. Wall time unless it says
CPU: of what the clock shows on a machine that has other work, the CPU time is what the index needs. The index lies in a
workspace; answers come through its catalogue, as for everybody.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import sightings_workload as workload
from mingjian.store.catalogue import Batch, commit_batch, organisation_named
from mingjian.store.indexfiles import live_index_files, replace_index_files, with_index_file
from mingjian.store.scope import Scope
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.sightings.live import Upkeep, in_background, open_index, record
from mingjian.store.sightings.merging import merge
from mingjian.store.workspace import create, open_workspace

OPERATOR = Scope.of_operator()
SEED = 1
COMMITS_PER_DAY = 4
HISTORY_DAYS_PER_COMMIT = 10
HISTORY_ROWS_PER_DAY = 110_000
HISTORY_EVENTS_PER_DAY = 1_000_000
LOOKUPS = 120
COLD = 30
"""So many questions of each sort are asked cold."""
FEED = 1_000_000
FEED_SHARES = (0.001, 0.01)
"""So much of a feed was ever seen."""
PARTS = ("built", "alone", "busy", "duckdb")
PACE_EVENTS = 40_000
"""So many events a second come in while others ask."""


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
    """An index in a workspace, and what making it cost."""

    def __init__(self, path: Path) -> None:
        self.workspace = open_workspace(path) if (path / "lake").is_dir() else create(path)
        self.organisation = organisation_named(self.workspace, OPERATOR, "One", make=True)
        self.upkeep = Upkeep(self.workspace)
        self.build_s = self.merge_s = 0.0
        self.observations = 0

    def add(self, observations: pa.Table) -> None:
        started = time.process_time()
        file = record(self.workspace, OPERATOR, self.organisation.id, observations)
        self.build_s += time.process_time() - started
        self.observations += len(observations)
        assert file is not None
        commit_batch(self.workspace, OPERATOR, Batch(organisation=self.organisation.id), [with_index_file(file)])

    def merge(self) -> None:
        """All that should be merged."""
        started = time.process_time()
        while self.upkeep.step():
            pass
        self.merge_s += time.process_time() - started

    def merge_all(self) -> None:
        """All into one file, whether it should be or not."""
        names = [file.name for file in self.files]
        file = merge(DiskFolder(self.workspace.sightings), names)
        replace_index_files(self.workspace, names, [file])

    @property
    def files(self) -> list[IndexFile]:
        return live_index_files(self.workspace)

    def open(self, previous: SightingsIndex | None = None) -> SightingsIndex:
        return open_index(self.workspace, OPERATOR, previous=previous)

    def drop(self) -> None:
        """Have the kernel forget what it holds of the index."""
        drop(self.workspace.sightings)


def hard(folder: Path, days: int, events: int) -> None:
    """The hard case: bytes and rates."""
    store = Store(folder / "hard")
    for day in range(days):
        for part in range(COMMITS_PER_DAY):
            segment = day * COMMITS_PER_DAY + part + 1
            store.add(workload.events(SEED, day, part, events // COMMITS_PER_DAY, segment))
        store.merge()
        if (day + 1) % max(1, days // 6) == 0:
            report_size(f"after {day + 1} days", store.files, (day + 1) * events)
    rate = store.observations / store.build_s / 1e6
    say("built", observations=store.observations, million_observations_per_cpu_second=rate)
    both = store.build_s + store.merge_s
    say("built and merged", million_observations_per_cpu_second=store.observations / both / 1e6,
        thousand_events_per_cpu_second=days * events / both / 1e3)  # fmt: skip
    say("peak memory of this process", megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
    if len(store.files) > 1:
        store.merge_all()
    report_size("all in one file", store.files, days * events)
    parts(store)
    store.workspace.close()
    shutil.rmtree(folder / "hard")


def report_size(what: str, files: list[IndexFile], events: int) -> None:
    say(
        what,
        files=len(files),
        bytes_per_event=sum(file.size_bytes for file in files) / events,
        rows_per_event=sum(file.rows for file in files) / events,
        values_per_event=sum(file.values for file in files) / events,
    )


def parts(store: Store) -> None:
    """What the bytes of the one file are."""
    (reader,) = store.open().readers
    footer, size = reader.footer, reader.info.size_bytes
    hashes = 8 * footer.values
    blocks = footer.buckets.offset - hashes
    say("  bytes per row", texts_and_rows=blocks / footer.rows, hashes=hashes / footer.rows,
        indexes=(size - blocks - hashes) / footer.rows)  # fmt: skip


def history(folder: Path, days: int, parts: Sequence[str]) -> None:
    """The long history: look-ups and feeds, against DuckDB, and while another process ingests."""
    done = folder / "history.days"
    store = Store(folder / "history")
    started, begin = time.perf_counter(), int(done.read_text()) if done.exists() else 0
    for first in range(begin, days, HISTORY_DAYS_PER_COMMIT):
        last = min(days, first + HISTORY_DAYS_PER_COMMIT)
        some = [
            workload.history_day(SEED, day, HISTORY_ROWS_PER_DAY, HISTORY_EVENTS_PER_DAY, day + 1)
            for day in range(first, last)
        ]
        store.add(pa.concat_tables(some, promote_options="none").unify_dictionaries())
        done.write_text(str(last))
        store.merge()
    if begin < days:
        say("built", days=days - begin, minutes=(time.perf_counter() - started) / 60)
    files = store.files
    say("index", files=len(files), rows=sum(f.rows for f in files), values=sum(f.values for f in files),
        observations=sum(f.count for f in files), megabytes=sum(f.size_bytes for f in files) // 1_000_000)  # fmt: skip
    values, before = asked(days), folder / "alone.json"
    if "alone" in parts:
        print(f"-- alone (load {os.getloadavg()[0]:.1f})")
        before.write_text(json.dumps(measure(store, values)))
    alone: dict[str, float] = json.loads(before.read_text()) if before.exists() else {}
    if "busy" in parts:
        print(f"-- while another process commits {PACE_EVENTS:,} events a second and merges")
        with ingesting(folder / "history", folder / "busy") as busy_store:
            busy = measure(busy_store, values)
            say("committed meanwhile", rows=sum(f.rows for f in busy_store.files) - sum(f.rows for f in files),
                files=len(busy_store.files))  # fmt: skip
        compare("busy / alone", busy, alone)
    if "duckdb" in parts:
        parquet = folder / "history.parquet"
        if not parquet.exists():
            export(store.open(), parquet)
        print(f"-- DuckDB over Parquet, {parquet.stat().st_size // 1_000_000:,} MB (load {os.getloadavg()[0]:.1f})")
        compare("DuckDB / index", measure_duckdb(parquet, values), alone)
    store.workspace.close()


def compare(what: str, some: dict[str, float], alone: dict[str, float]) -> None:
    for name in some.keys() & alone.keys():
        say(f"{what}: {name}", ratio=some[name] / alone[name])


def asked(days: int) -> dict[str, list[tuple[str, str]]]:
    """Values that were never seen, seen once, and seen on many days."""
    random = np.random.default_rng((SEED, 99))
    never = workload.joined(workload.letters(workload.scrambled(np.arange(LOOKUPS // 2), 4), 10), ".never.example")
    others = workload.addresses(random.integers(0, 2**32, LOOKUPS // 2).astype(np.uint64))
    once: list[tuple[str, str]] = []
    for day in range(0, days, max(1, days // 4)):
        seen = workload.history_day(SEED, day, HISTORY_ROWS_PER_DAY, HISTORY_EVENTS_PER_DAY, day + 1)
        rows = np.flatnonzero(seen["count"].to_numpy() == 1)
        some = seen.take(rows[random.integers(0, len(rows), LOOKUPS // 4)])
        once += zip(some["kind"].to_pylist(), some["value"].to_pylist(), strict=True)
    many = (
        ("ip", workload.external(workload.popular(random, LOOKUPS // 3, 3_000_000))),
        ("domain", workload.domains(workload.popular(random, LOOKUPS // 3, workload.DOMAINS))),
        ("url", workload.pages(workload.popular(random, LOOKUPS // 3, workload.PAGES))),
    )
    return {
        "never seen": [*(("domain", v) for v in never.to_pylist()), *(("ip", v) for v in others.to_pylist())],
        "seen rarely": once,
        "popular": [(kind, value) for kind, column in many for value in column.to_pylist()],
    }


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
        # What another process merges may go meanwhile.
        with suppress(FileNotFoundError):
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


def measure(store: Store, values: dict[str, list[tuple[str, str]]]) -> dict[str, float]:
    """Every question, cold and warm."""
    found: dict[str, float] = {}
    opened: list[Seconds] = []
    for _ in range(COLD):
        store.drop()
        opened.append(timed(lambda: store.open().close()))
    quantiles("opening, cold", opened, found)
    for name, some in values.items():
        cold: list[Seconds] = []
        for kind, value in some[:: max(1, len(some) // COLD)]:
            index = store.open()
            store.drop()
            cold.append(timed(lambda k=kind, v=value, i=index: i.lookup(k, v)))
            index.close()
        quantiles(f"look-up, cold, {name}", cold, found)
    index = store.open()
    again: list[Seconds] = []
    for name, some in values.items():
        for kind, value in some:
            index.lookup(kind, value)
        warm: list[Seconds] = []
        days = 0
        for kind, value in some:
            started, worked = time.perf_counter(), time.process_time()
            index = store.open(index)
            again.append(Seconds(time.perf_counter() - started, time.process_time() - worked))
            warm.append(timed(lambda k=kind, v=value, i=index: i.lookup(k, v)))
            days += len(index.lookup(kind, value))
        quantiles(f"look-up, warm, {name}", warm, found)
        totals = [timed(lambda k=k, v=v, i=index: i.totals(k, v)) for k, v in some]
        quantiles(f"totals, warm, {name}", totals, found)
        say(f"  {name}", sightings_each=days / len(some))
    quantiles("opening again, warm", again, found)
    index.close()
    for share in FEED_SHARES:
        measure_feed(store, share, found)
    return found


def measure_feed(store: Store, share: float, found: dict[str, float]) -> None:
    columns = feed_columns(share)
    started = time.perf_counter()
    feed = Feed(*columns)
    prepared = time.perf_counter() - started
    index = store.open()
    store.drop()
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


def measure_duckdb(parquet: Path, values: dict[str, list[tuple[str, str]]]) -> dict[str, float]:
    """The same questions to DuckDB."""
    found: dict[str, float] = {}
    ask = f"select * from '{parquet}' where kind = ? and value = ?"  # the path is our own
    for name, all_of_them in values.items():
        some = all_of_them[:: max(1, len(all_of_them) // 10)]
        cold: list[Seconds] = []
        for kind, value in some:
            drop(parquet)
            with duckdb.connect() as connection:
                cold.append(timed(lambda k=kind, v=value, c=connection: c.sql(ask, params=[k, v]).to_arrow_table()))
        quantiles(f"look-up, cold, {name}", cold, found)
        with duckdb.connect() as connection:
            for kind, value in some:
                connection.sql(ask, params=[kind, value]).to_arrow_table()
            warm = [timed(lambda k=k, v=v, c=connection: c.sql(ask, params=[k, v]).to_arrow_table()) for k, v in some]
        quantiles(f"look-up, warm, {name}", warm, found)
    share = FEED_SHARES[0]
    kinds, column = feed_columns(share)
    join = f"""
        select feed.kind, feed.value, organisation, source, role, sum(count), min(first_us), max(last_us)
        from feed join '{parquet}' seen on feed.kind = seen.kind and feed.value = seen.value group by all
    """  # the path is our own
    drop(parquet)
    with duckdb.connect() as connection:
        connection.register("feed", pa.table({"kind": kinds, "value": column}))
        name = f"feed of {FEED:,}, {share:.1%} hits"
        cold_feed = timed(lambda: connection.sql(join).to_arrow_table())
        warm_feed = min(timed(lambda: connection.sql(join).to_arrow_table()) for _ in range(2))
    found[f"{name}, cold"], found[f"{name}, warm"] = cold_feed.wall, warm_feed.wall
    say(
        f"feed of {FEED:,}",
        cold_s=cold_feed.wall,
        cold_cpu_s=cold_feed.cpu,
        warm_s=warm_feed.wall,
        warm_cpu_s=warm_feed.cpu,
    )
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
def ingesting(original: Path, path: Path) -> Iterator[Store]:
    """A second workspace with the same index, into which another process commits and in which it merges."""
    shutil.rmtree(path, ignore_errors=True)
    # Files of the index never change: two folders can share them. The rest is small.
    shutil.copytree(
        original, path, copy_function=lambda a, b: os.link(a, b) if a.endswith(".sightings") else shutil.copy2(a, b)
    )
    process = subprocess.Popen([sys.executable, "-m", "bench.sightings", "--only", "ingest", "--folder", str(path)])
    try:
        time.sleep(10)
        yield Store(path)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(path, ignore_errors=True)


def ingest(folder: Path) -> None:
    """Commit events without end, at the pace of ingest, and merge in the background."""
    store = Store(folder)
    with in_background(store.workspace) as wake:
        begun = time.monotonic()
        for number in range(1_000_000):
            store.add(workload.events(SEED, number // COMMITS_PER_DAY, number % COMMITS_PER_DAY, PACE_EVENTS, number))
            wake()
            time.sleep(max(0.0, begun + number + 1 - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("hard", "history", "ingest"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
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
            history(folder, arguments.history_days, arguments.parts)


if __name__ == "__main__":
    main()
