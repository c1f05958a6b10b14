"""How fast ``mingjian sample`` writes, and how much what it writes resembles real logs.

    python -m bench.sample [--hum SHARE …] [--events N] [--repeat N] [--folder DIR]
    python -m bench.sample --compare [--data DIR]

Speed is per core: one process, seconds of its own processor time (wall time is shown beside it; on a machine that does
other things too it says little). ``floor`` is a loop that only joins and writes prepared lines of the same mean
length, as many as there are events: nothing that makes lines can be faster.

``--compare`` counts fields, bytes, distinct values and events per host and hour, of the real data and of ours.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mingjian.sample.generate import LOGS_FOLDER, Order, generate

ROOT = Path(__file__).parent.parent
COMPARED_MAX = 20_000
"""So many events of each side are looked at: distinct values per event depend on how many events there are."""
ORGANISATIONS = 3


class Event(NamedTuple):
    """An event as the comparison sees it."""

    kind: str
    host: str
    hour: str
    size: int
    fields: Mapping[str, str]


def speed(shares: list[float], events: int, repeat: int, folder: Path) -> None:
    """Print how many events a second one core writes."""
    print(f"{'hum':>5} {'events':>9} {'MB':>6} {'bytes/event':>11} {'CPU s':>6} {'wall s':>6} {'events/s/core':>13} "
          f"{'MB/s':>5} {'floor':>9}")  # fmt: skip
    for share in shares:
        best = None
        for number in range(repeat):
            output = folder / f"{share}-{number}"
            order = Order(seed=7, days=1, events_per_day=events // ORGANISATIONS, hum=share)
            wall, cpu = time.perf_counter(), time.process_time()
            made = generate(order, output, jobs=1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if best is None or cpu < best[1]:
                best = (made, cpu, wall)
            remove(output)
        made, cpu, wall = best
        floor = min(_floor(made.records, made.bytes // made.records, folder) for _ in range(repeat))
        mean, a_second = made.bytes / made.records, made.records / cpu
        print(
            f"{share:5.2f} {made.records:9,} {made.bytes / 1e6:6.0f} {mean:11.0f} {cpu:6.2f} {wall:6.2f} "
            f"{a_second:13,.0f} {made.bytes / 1e6 / cpu:5.0f} {made.records / floor:9,.0f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of all this: {peak:.0f} MB")


def _floor(records: int, size: int, folder: Path) -> float:
    """The time to join and write as many lines of that size, nothing else."""
    line = "x" * (size - 1)
    path = folder / "floor"
    started = time.process_time()
    with path.open("wb") as stream:
        for _ in range(records // 1000):
            stream.write(("\n".join([line] * 1000) + "\n").encode())
    seconds = time.process_time() - started
    path.unlink()
    return seconds


def remove(folder: Path) -> None:
    """Remove what was made."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


# --- the comparison ---------------------------------------------------------------------------------------------------


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a JSON value with their dotted names."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def objects(lines: Iterable[bytes]) -> Iterator[tuple[dict[str, object], int]]:
    """JSON objects, one a line, with their length; what cannot be read is passed over."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value, len(line)


def windows(lines: Iterable[bytes]) -> Iterator[Event]:
    """Events of NXLog."""
    for record, size in objects(lines):
        if "EventTime" in record and "Hostname" in record:
            kind = f"{record.get('Channel')} {record.get('EventID')}".replace("Microsoft-Windows-", "").lower()
            yield Event(kind, str(record["Hostname"]), str(record["EventTime"])[:13], size, dict(flat(record)))


def zeek(lines: Iterable[bytes], host: str) -> Iterator[Event]:
    """Zeek's JSON, from two packages that write times in their own ways."""
    for record, size in objects(lines):
        when = record.get("ts")
        seconds = isinstance(when, float | int)
        hour = datetime.fromtimestamp(when, UTC).isoformat()[:13] if seconds else str(when)[:13]
        kind = str(record.get("_path") or record.get("@stream"))
        yield Event(kind, host, hour, size, dict(flat(record)))


def cloudtrail(paths: Iterable[Path]) -> Iterator[Event]:
    """CloudTrail documents."""
    for path in paths:
        document = path.read_bytes()
        records = json.loads(document)["Records"]
        for record in records:
            size = len(json.dumps(record, separators=(",", ":")))
            hour = str(record["eventTime"])[:13]
            yield Event("cloudtrail", str(record.get("recipientAccountId")), hour, size, dict(flat(record)))


def syslog(lines: Iterable[bytes]) -> Iterator[Event]:
    """Lines of syslog with a time of RFC 3164."""
    for raw in lines:
        words = raw.decode("utf-8", "replace").rstrip("\n").split(None, 4)
        if len(words) == 5 and not raw.startswith(b"\0"):
            tag, _, message = words[4].partition(": ") if ":" in words[4] else (words[4], "", "")
            program, _, pid = tag.partition("[")
            fields = {
                "time": words[2],
                "host": words[3],
                "program": program,
                "pid": pid.strip("]:"),
                "message": message,
            }
            yield Event("syslog", words[3], f"{words[0]} {words[1]} {words[2][:2]}", len(raw), fields)


def real(data: Path) -> dict[str, Iterator[Event]]:
    """The real data, by kind of source."""

    def archives() -> Iterator[Event]:
        for path in sorted((data / "windows-json").rglob("*.zip")):
            with zipfile.ZipFile(path) as opened:
                for name in opened.namelist():
                    yield from windows(opened.open(name))

    def recordings(log: str) -> Iterator[Event]:
        for path in sorted((data / "zeek").glob(f"apt29*/*_{log}.log")):
            yield from zeek(path.read_bytes().splitlines(), path.name.partition("_")[0])
        if log == "dns":
            with gzip.open(data / "zeek" / "zed-sample" / "dns.json.gz") as stream:
                yield from zeek(stream, "zed")

    return {
        "windows (nxlog)": archives(),
        "zeek conn": recordings("conn"),
        "zeek dns": recordings("dns"),
        "zeek http": recordings("http"),
        "zeek ssl": recordings("ssl"),
        "cloudtrail": cloudtrail(sorted((data / "aws").rglob("*CloudTrail*.json"))),
        "syslog": syslog((data / "linux" / "Linux_2k.log").read_bytes().splitlines(keepends=True)),
    }


def ours(logs: Path) -> dict[str, Iterator[Event]]:
    """Our logs, by kind of source."""

    def lines(pattern: str) -> Iterator[bytes]:
        for path in sorted(logs.glob(pattern)):
            with path.open("rb") as stream:
                yield from stream

    def sensor(log: str) -> Iterator[Event]:
        return (each for each in zeek(lines(f"*/zeek/*/{log}.log"), "sensor") if each.kind == log)

    return {
        "windows (nxlog)": windows(lines("*/nxlog/*.jsonl")),
        "zeek conn": sensor("conn"),
        "zeek dns": sensor("dns"),
        "zeek http": sensor("http"),
        "zeek ssl": sensor("ssl"),
        "cloudtrail": cloudtrail(sorted(logs.glob("*/AWSLogs/**/*.json"))),
        "syslog": (each for each in syslog(lines("*/syslog/*.log")) if each.hour[:3].isalpha()),
    }


class Figures(NamedTuple):
    """What the comparison counts."""

    events: int
    fields: float
    size: float
    distinct: float
    hourly: float
    kinds: Counter[str]


def figures(events: Iterable[Event], at_most: int) -> Figures:
    """Count. Distinct values: pairs of field and value, for each event of the first so many."""
    fields: list[int] = []
    sizes: list[int] = []
    seen: set[tuple[str, str]] = set()
    hours: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for number, event in enumerate(events):
        hours[event.host, event.hour] += 1
        kinds[event.kind] += 1
        if number < at_most:
            fields.append(len(event.fields))
            sizes.append(event.size)
            seen.update(event.fields.items())
    count = len(fields)
    if not count:
        return Figures(0, 0, 0, 0, 0, kinds)
    hourly = statistics.median(hours.values())
    return Figures(
        sum(kinds.values()), statistics.mean(fields), statistics.mean(sizes), len(seen) / count, hourly, kinds
    )


def compare(data: Path, folder: Path, share: float) -> None:
    """Print the table of the comparison, as Markdown."""
    generate(Order(seed=7, days=2, events_per_day=60_000, hum=share), folder / "ours", jobs=1)
    counts = {name: sum(1 for _ in events) for name, events in real(data).items()}
    print("| source | events compared | fields per event | bytes per event | distinct values per event | "
          "events per host and hour |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|")
    real_kinds: Counter[str] = Counter()
    our_kinds: Counter[str] = Counter()
    for (name, theirs), own in zip(real(data).items(), ours(folder / "ours" / LOGS_FOLDER).values(), strict=True):
        own_events = list(own)
        at_most = min(counts[name], len(own_events), COMPARED_MAX)
        one, two = figures(theirs, at_most), figures(own_events, at_most)
        if name.startswith("windows"):
            real_kinds, our_kinds = one.kinds, two.kinds
        print(f"| {name} | {at_most:,} | {one.fields:.1f} / {two.fields:.1f} | {one.size:,.0f} / {two.size:,.0f} | "
              f"{one.distinct:.2f} / {two.distinct:.2f} | {one.hourly:,.0f} / {two.hourly:,.0f} |")  # fmt: skip
    print("\n| kind of Windows event | real | ours |\n|---|---:|---:|")
    for kind, count in real_kinds.most_common(14):
        share_of = our_kinds[kind] / max(1, our_kinds.total())
        print(f"| {kind} | {count / real_kinds.total():.1%} | {share_of:.1%} |")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--hum", type=float, action="append")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    chosen = parser.parse_args()
    data = Path(os.environ.get("MINGJIAN_TEST_DATA") or chosen.data)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, {os.cpu_count()} processors, load "
          f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}")  # fmt: skip
    if chosen.compare and not data.is_dir():
        sys.exit("no real data here: set MINGJIAN_TEST_DATA to its folder")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.compare:
            compare(data, Path(folder), (chosen.hum or [0.5])[0])
        else:
            speed(chosen.hum or [0.0, 0.5, 0.9], chosen.events, chosen.repeat, Path(folder))


if __name__ == "__main__":
    main()
