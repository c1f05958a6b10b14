"""How fast, how big and how quick to start ``mingjian detect`` is.

    python -m bench.detect [--only NAME …] [--data DIR] [--repeat N] [--plots DIR]

``speed``   all Windows rules over the unpacked windows-json archives, against a bare ``orjson.loads`` loop
``evtx``    the same rules over the EVTX attack samples, repeated 20 times (nearly every event is an attack)
``start``   one small file, rule set from the cache
``cold``    10,000 rules (SigmaHQ's, and variations of them) without a cache
``rules``   time against the number of rules
``events``  time against the number of events

Every figure is the best of several runs, in seconds of wall time; memory is the peak of all processes together
(proportional set size, sampled). The data is looked for as the tests look for it.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import yaml

ROOT = Path(__file__).parent.parent
SAMPLE_S = 0.05
LIVE_FOLDERS = ("rules", "rules-emerging-threats", "rules-threat-hunting")


class Run:
    """One run of the command: wall time, peak memory of all its processes, what it said."""

    def __init__(self, seconds: float, peak_mb: float, said: str) -> None:
        self.seconds = seconds
        self.peak_mb = peak_mb
        self.said = said


def mingjian(arguments: list[str], cache: Path, *, watched: bool = False, folder: Path | None = None) -> Run:
    """Run the command with its own cache folder, in ``folder`` or there, and measure it: its time, or its memory.

    Asking for the memory of a process stops it for a moment, twenty times a second: such a run is not timed.
    """
    environment = {**os.environ, "MINGJIAN_CACHE_FOLDER": str(cache)}
    # Modules are compiled once, as where they are installed.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "mingjian", *arguments], stdout=out, stderr=err, env=environment, cwd=folder or cache
        )
        peak = 0.0
        while watched and process.poll() is None:
            peak = max(peak, _memory_mb(process.pid))
            time.sleep(SAMPLE_S)
        process.wait()
        seconds = time.perf_counter() - started
        err.seek(0)
        said = err.read().decode()
    if process.returncode not in (0, 3):
        raise SystemExit(f"mingjian {' '.join(arguments)} ended with {process.returncode}:\n{said}")
    return Run(seconds, peak, said)


def _memory_mb(pid: int) -> float:
    """The memory of a process and its children, shared pages counted once."""
    total = 0
    for each in [pid, *_children(pid)]:
        try:
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1000


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def best(work: Callable[[bool], Run], repeat: int) -> Run:
    """The quickest of several runs, with the memory of one more."""
    quickest = min((work(False) for _ in range(repeat)), key=lambda run: run.seconds)
    return Run(quickest.seconds, work(True).peak_mb, quickest.said)


def unpack(data: Path, to: Path) -> list[Path]:
    """Unpack the windows-json archives; some end early, which loses nothing of their members."""
    for archive in sorted((data / "windows-json").rglob("*")):
        for number, (name, content) in enumerate(_members(archive)):
            folder = to / f"{archive.name}-{number}"
            folder.mkdir(parents=True)
            (folder / Path(name).name).write_bytes(content)
    return sorted(path for path in to.rglob("*") if path.is_file())


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            yield from ((each.filename, opened.read(each)) for each in opened.infolist() if not each.is_dir())
    elif archive.name.endswith(".tar.gz"):
        with suppress(EOFError, zlib.error, tarfile.TarError), tarfile.open(archive) as opened:
            for each in opened:
                content = opened.extractfile(each)
                if content is not None:
                    yield each.name, content.read()


def windows_rules(data: Path, to: Path) -> int:
    """Copy all Windows rules of the three live folders."""
    count = 0
    for folder in LIVE_FOLDERS:
        for path in sorted((data / "sigma" / folder).rglob("*.yml")):
            rule = yaml.load(path.read_bytes(), yaml.CSafeLoader)
            if rule["logsource"].get("product") == "windows":
                (to / f"{folder}-{path.name}").write_bytes(path.read_bytes())
                count += 1
    return count


def varied_rules(data: Path, to: Path, wanted: int) -> int:
    """Write that many rules: SigmaHQ's own first, then copies with other ids and slightly other values."""
    sources = [path for folder in LIVE_FOLDERS for path in sorted((data / "sigma" / folder).rglob("*.yml"))]
    chance = random.Random(1)
    for number in range(wanted):
        text = sources[number % len(sources)].read_text(encoding="utf-8")
        if number >= len(sources):
            rule = yaml.load(text, yaml.CSafeLoader)
            rule["id"] = f"{chance.getrandbits(32):08x}-0000-4000-8000-{number:012x}"
            rule["detection"] = _varied(rule["detection"], f"{number:x}")
            text = yaml.dump(rule, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
        (to / f"{number:05}.yml").write_text(text, encoding="utf-8")
    return wanted


def _varied(value: object, mark: str) -> object:
    """Other literals, same shape: the mark goes into every text of some length that is no regular expression."""
    if isinstance(value, dict):
        return {key: each if "|re" in key or key == "condition" else _varied(each, mark) for key, each in value.items()}
    if isinstance(value, list):
        return [_varied(each, mark) for each in value]
    return value[:4] + mark + value[4:] if isinstance(value, str) and len(value) > 8 and "%" not in value else value


def orjson_loop(files: list[Path]) -> float:
    """What reading the lines costs at least: the same lines through orjson on one core, nothing kept."""
    contents = [path.read_bytes() for path in files]
    started = time.perf_counter()
    for content in contents:
        for line in content.splitlines():
            orjson.loads(line)
    return time.perf_counter() - started


class Bench:
    """The benchmarks, with the folders they share."""

    def __init__(self, data: Path, scratch: Path, repeat: int, plots: Path | None) -> None:
        self.plots = plots
        self.data = data
        self.scratch = scratch
        self.repeat = repeat
        self._logs: list[Path] = []
        self._rules: Path | None = None

    def logs(self) -> list[Path]:
        if not self._logs:
            self._logs = unpack(self.data, self._folder("windows-json"))
        return self._logs

    def rules(self) -> Path:
        if self._rules is None:
            self._rules = self._folder("windows-rules")
            say(f"{windows_rules(self.data, self._rules)} Windows rules")
        return self._rules

    def _folder(self, name: str) -> Path:
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        return folder

    def _detect(self, rules: Path, *paths: Path, watched: bool = False) -> Run:
        arguments = ["detect", "--rules", str(rules), "--format", "jsonl", *map(str, paths)]
        return mingjian(arguments, self._folder("cache"), watched=watched)

    def _detect_watched(self, rules: Path, path: Path, watched: bool) -> Run:
        return self._detect(rules, path, watched=watched)

    def speed(self) -> None:
        files = self.logs()
        size = sum(path.stat().st_size for path in files) / 1e6
        self._detect(self.rules(), files[0])
        # In turns: a shared machine changes its speed from one second to the next.
        loops: list[float] = []

        def in_turns(watched: bool) -> Run:
            if watched:
                return self._detect(self.rules(), self.scratch / "windows-json", watched=True)
            loops.append(orjson_loop(files))
            runs.append(self._detect(self.rules(), self.scratch / "windows-json"))
            return runs[-1]

        runs: list[Run] = []
        run = best(in_turns, self.repeat)
        loop = min(loops)
        ratios = sorted(each.seconds / loop for each, loop in zip(runs, loops, strict=True))
        say(f"speed: {len(files)} files, {size:.0f} MB; orjson loop {loop:.2f} s, detect {run.seconds:.2f} s")
        say(f"speed: RATIO of the best {run.seconds / loop:.2f}, median of pairs {statistics.median(ratios):.2f}")
        say(f"speed: (limit 3, aim 1.5), peak memory {run.peak_mb:.0f} MB")
        say(run.said.splitlines()[0])

    def evtx(self) -> None:
        folder = self._folder("evtx")
        samples = sorted((self.data / "evtx-attack-samples").rglob("*.evtx"))
        for copy in range(20):
            (folder / f"{copy:02}").mkdir(exist_ok=True)
            for number, path in enumerate(samples):
                (folder / f"{copy:02}" / f"{number:03}.evtx").write_bytes(path.read_bytes())
        self._detect(self.rules(), samples[0])
        run = best(partial(self._detect_watched, self.rules(), folder), self.repeat)
        events = 8_255 * 20
        say(f"evtx: {events} events in {run.seconds:.2f} s: {events / run.seconds:,.0f} events/s (limit 25,000)")
        say(f"evtx: peak memory {run.peak_mb:.0f} MB; {run.said.splitlines()[0]}")

    def start(self) -> None:
        small = self.scratch / "one.json"
        small.write_bytes(b'{"Channel":"Security","EventID":1}\n')
        self._detect(self.rules(), small)
        run = best(partial(self._detect_watched, self.rules(), small), max(5, self.repeat))
        bare = best(lambda watched: mingjian(["--version"], self._folder("cache"), watched=watched), 3)
        say(f"start: {run.seconds:.2f} s with all Windows rules from the cache (limit 0.6)")
        say(f"start: --version {bare.seconds:.2f} s")

    def cold(self) -> None:
        folder = self._folder("rules-10000")
        varied_rules(self.data, folder, 10_000)
        small = self.scratch / "one.json"
        small.write_bytes(b'{"Channel":"Security","EventID":1}\n')
        with tempfile.TemporaryDirectory(dir=self.scratch) as cache:
            arguments = ["detect", "--rules", str(folder), str(small)]
            first = mingjian(arguments, Path(cache), watched=True)
            second = mingjian(arguments, Path(cache), watched=True)
        say(f"cold: 10,000 rules in {first.seconds:.1f} s (limit 30), {first.peak_mb:.0f} MB")
        say(f"cold: the same from the cache in {second.seconds:.2f} s, {second.peak_mb:.0f} MB")

    def growth_rules(self) -> None:
        files = self.logs()
        base = 0.0
        points: list[tuple[float, float]] = []
        for count in (100, 1_000, 3_754, 10_000):
            folder = self._folder(f"rules-{count}")
            varied_rules(self.data, folder, count)
            self._detect(folder, files[0])
            run = best(partial(self._detect_watched, folder, self.scratch / "windows-json"), self.repeat)
            base = base or run.seconds
            ratio = run.seconds / base
            points.append((count, run.seconds))
            say(f"rules: {count:6} rules {run.seconds:6.2f} s, RATIO {ratio:5.2f} to 100 rules, {run.peak_mb:.0f} MB")

        self._plot("growth-rules.svg", "rules", points)

    def growth_events(self) -> None:
        lines = [line for path in self.logs() for line in path.read_bytes().splitlines()][::4]
        self._detect(self.rules(), self.logs()[0])
        base = 0.0
        points: list[tuple[float, float]] = []
        for times in (1, 4, 16):
            folder = self._folder(f"events-{times}")
            for copy in range(times):
                # Other values: the same number of new distinct values for every copy.
                mark = f"-{copy}".encode()
                changed = (line.replace(b".exe", mark + b".exe").replace(b"HKLM", b"HKLM" + mark) for line in lines)
                (folder / f"{copy}.json").write_bytes(b"\n".join(changed) + b"\n")
            run = best(partial(self._detect_watched, self.rules(), folder), max(1, self.repeat - 1))
            base = base or run.seconds
            events = len(lines) * times
            ratio = run.seconds / base
            points.append((events, run.seconds))
            say(f"events: ×{times:<2} {events:9} events {run.seconds:6.2f} s, RATIO {ratio:5.2f}, {run.peak_mb:.0f} MB")
        self._plot("growth-events.svg", "events", points)

    def _plot(self, name: str, unit: str, points: list[tuple[float, float]]) -> None:
        if self.plots is not None:
            self.plots.mkdir(parents=True, exist_ok=True)
            (self.plots / name).write_text(curve(unit, points), encoding="utf-8")


def curve(unit: str, points: list[tuple[float, float]]) -> str:
    """Draw seconds against a number, both axes linear and from zero, with the straight line of the first point."""
    width, height, left, bottom = 560, 300, 60, 40
    most_x, most_y = max(x for x, _ in points), max(y for _, y in points) * 1.1
    at = [
        (left + x / most_x * (width - left - 20), height - bottom - y / most_y * (height - bottom - 20))
        for x, y in points
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="end">{seconds:.2f} s</text>'
        f'<text x="{x:.1f}" y="{height - bottom + 16}" text-anchor="middle">{number:,.0f}</text>'
        for (x, y), (number, seconds) in zip(at, points, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<path d="M{left},10V{height - bottom}H{width - 10}" fill="none" stroke="#888"/>'
        f'<polyline points="{path}" fill="none" stroke="#246" stroke-width="1.5"/><g fill="#222">{marks}'
        f'<text x="{width - 10}" y="{height - 6}" text-anchor="end">{unit}</text>'
        f'<text x="8" y="16">seconds</text></g></svg>\n'
    )


def say(line: str) -> None:
    """Print a line now."""
    print(line, flush=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for copies; about 6 GB are needed for everything."""
    with tempfile.TemporaryDirectory(prefix="mingjian-bench-") as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["speed", "evtx", "start", "cold", "rules", "events"])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MINGJIAN_TEST_DATA") or ROOT.parent / "shared/data"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plots", type=Path, help="write the curves of growth to this folder, as SVG")
    given = parser.parse_args()
    say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} processors, ")
    say(f"load {os.getloadavg()[0]:.1f} before the start")
    with scratch_folder() as scratch:
        bench = Bench(Path(given.data), scratch, given.repeat, given.plots)
        works: dict[str, Callable[[], None]] = {
            "speed": bench.speed,
            "evtx": bench.evtx,
            "start": bench.start,
            "cold": bench.cold,
            "rules": bench.growth_rules,
            "events": bench.growth_events,
        }
        for name in given.only:
            works[name]()


if __name__ == "__main__":
    main()
