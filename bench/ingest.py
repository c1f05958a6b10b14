"""How fast ``mingjian ingest`` is with everything on, and how much memory it takes.

    python -m bench.ingest [--data DIR] [--work DIR] [--copies N] [--repeat N] [--jobs N]

The events are those of windows-json; every copy after the first one has other values (``.exe`` and ``HKLM`` carry a
mark), so that distinct values grow with the events. Each run takes them into a new workspace that holds all Windows
rules of SigmaHQ: parse, store, sightings, rules; the clock runs from the start of the command to its end, when
everything is committed. Beside it, in turns, a bare ``orjson.loads`` loop over the same lines: on one core, and on as
many at once as the ingest has processes. Where a machine shares its cores with others, the second takes longer than the
first, and so does the ingest.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.detect import ROOT, mingjian, orjson_loop, unpack, windows_rules


def copied(data: Path, folder: Path, copies: int) -> list[Path]:
    """Unpack the archives, and write copies of what is in them with other values."""
    files = unpack(data, folder / "0")
    made = list(files)
    for copy in range(1, copies):
        mark = f"-{copy}".encode()
        for number, path in enumerate(files):
            target = folder / str(copy) / f"{number:03}.json"
            target.parent.mkdir(exist_ok=True)
            marked = path.read_bytes().replace(b".exe", mark + b".exe").replace(b"HKLM", b"HKLM" + mark)
            # It begins with another line: what begins alike might be the same file, and is waited for.
            lines = marked.splitlines(keepends=True)
            place = copy % len(lines)
            target.write_bytes(b"".join(lines[place:] + lines[:place]))
            made.append(target)
    return made


def loops_at_once(files: list[Path], jobs: int) -> float:
    """What the same loop takes when so many processes run it at the same time, each over all lines: their mean."""
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        return statistics.mean(pool.map(orjson_loop, [files] * jobs, chunksize=1))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, help="keep the logs here")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with contextlib.ExitStack() as folders:
        work = options.work or Path(folders.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(exist_ok=True)
        # Workspaces go together in the end: a file system (ext4 without a journal) is slow to make files for minutes
        # after many were deleted, and that is not what is measured.
        workspaces = folders.enter_context(tempfile.TemporaryDirectory(dir=work.absolute()))
        logs, rules = work / "logs", work / "rules"
        if logs.is_dir():
            files = sorted(path for path in logs.rglob("*") if path.is_file())
        else:
            logs.mkdir()
            files = copied(options.data, logs, options.copies)
        if not rules.is_dir():
            rules.mkdir()
            windows_rules(options.data, rules)
        size_mb = sum(path.stat().st_size for path in files) / 1e6
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {' '.join(sys.version.split())}, "
              f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        print(f"{len(files)} files, {size_mb:.0f} MB", flush=True)
        ratios: list[tuple[float, float]] = []
        for turn in range(options.repeat + 1):
            is_watched = turn == options.repeat
            place = Path(tempfile.mkdtemp(dir=workspaces))
            cache = work.absolute() / "cache"
            cache.mkdir(exist_ok=True)
            mingjian(["init"], cache, folder=place)
            mingjian(["rules", "add", str(rules.absolute())], cache, folder=place)
            loop, at_once = (0.0, 0.0) if is_watched else (orjson_loop(files), loops_at_once(files, options.jobs))
            arguments = ["ingest", "--jobs", str(options.jobs), str(logs.absolute())]
            run = mingjian(arguments, cache, watched=is_watched, folder=place)
            said = re.search(r"^(\d+) events", run.said, re.MULTILINE)
            assert said is not None, run.said
            events = int(said[1])
            if is_watched:
                print(f"peak memory of all processes {run.peak_mb:.0f} MB (limit 1,000)")
                print(run.said)
            else:
                ratios.append((run.seconds / loop, run.seconds / at_once))
                print(
                    f"ingest {run.seconds:.2f} s, {events / run.seconds:,.0f} events/s (limit 40,000); orjson loop "
                    f"{loop:.2f} s, RATIO {ratios[-1][0]:.2f}; {options.jobs} at once {at_once:.2f} s, "
                    f"RATIO {ratios[-1][1]:.2f}",
                    flush=True,
                )
        print("RATIO of pairs, medians {:.2f} and {:.2f}".format(*map(statistics.median, zip(*ratios, strict=True))))


if __name__ == "__main__":
    main()
