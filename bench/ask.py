"""How long an answer takes: ``python -m bench.ask [--events N] [--workspace DIR] [--keep DIR]``.

Makes a generated sector of about so many events (or takes a workspace that is there), takes it in, and asks about the
noisiest and the quietest observables: cold by the command, from its start to its end; warm in this process, in which
the workspace is open as it is in the console. ``--keep`` makes it in a folder that stays, to be asked again.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

from mingjian.model.sources import ObservableKind
from mingjian.settings import load
from mingjian.situations.asking import Question, ask
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import live_segments
from mingjian.store.scope import Scope
from mingjian.store.sightings.live import Upkeep, open_index
from mingjian.store.workspace import Workspace, open_workspace

KINDS: tuple[ObservableKind, ...] = ("ip", "domain", "host", "account", "file")
WARM_RUNS = 5
COLD_RUNS = 3
EVENTS_PER_DAY = 4_000
OPERATOR = Scope.of_operator()


def _question(workspace: Workspace, kind: ObservableKind, value: str) -> Question:
    cache = load(workspace.folder, {}).cache_folder
    sources = load_sources(cache_folder=cache)
    return Question(workspace, OPERATOR, kind, value, sources, "en", cache_folder=cache)


def make(folder: Path, events: int, organisations: int = 4) -> None:
    days = max(2, events // (EVENTS_PER_DAY * organisations))
    logs = folder / "sample"
    mingjian = [sys.executable, "-m", "mingjian"]
    order = ["--organisations", str(organisations), "--days", str(days), "--events-per-day", str(EVENTS_PER_DAY)]
    subprocess.run([*mingjian, "sample", "--output", str(logs), *order], check=True, stdout=subprocess.DEVNULL)
    workspace = folder / "workspace"
    subprocess.run([*mingjian, "init", str(workspace)], check=True, stdout=subprocess.DEVNULL)
    for owner in sorted((logs / "logs").iterdir()):
        command = [*mingjian, "ingest", str(owner), "--org", owner.name]
        ended = subprocess.run(command, cwd=workspace, stderr=subprocess.DEVNULL, check=False)
        assert ended.returncode in (0, 3), ended
        shutil.rmtree(owner)  # they take many times as much room as the segments
    with open_workspace(workspace) as opened, Upkeep(opened) as upkeep:
        while upkeep.step():
            pass


def chosen(workspace: Workspace) -> list[tuple[ObservableKind, str, int]]:
    """The noisiest and the quietest observable of some kinds."""
    found: list[tuple[ObservableKind, str, int]] = []
    with closing(open_index(workspace, OPERATOR)) as index:
        for kind in KINDS:
            counts: dict[str, int] = {}
            table = index.lookup_prefix(kind, "", values_max=1 << 20).totals
            values = (table.column(name).to_pylist() for name in ("value", "count"))
            for value, count in zip(*values, strict=True):
                counts[value] = counts.get(value, 0) + count
            for pick in (max, min):
                if counts:
                    value = pick(counts, key=lambda each: (counts[each], each))
                    found.append((kind, value, counts[value]))
    return found


@cache
def _environment() -> dict[str, str]:
    """As after an installation, which compiles the modules."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, compiled)
    return kept | {"PYTHONPYCACHEPREFIX": compiled}


def in_a_new_process(folder: Path, kind: str, value: str) -> list[float]:
    """Seconds, and seconds of processor time, that the whole command takes."""
    command = [sys.executable, "-m", "mingjian", "ask", value, "--kind", kind, "--format", "json"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True, env=_environment())
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return [took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime]


def measure(folder: Path) -> None:
    with open_workspace(folder) as workspace:
        segments = live_segments(workspace, OPERATOR)
        events = sum(row.rows for row in segments)
        print(json.dumps({"events": events, "segments": len(segments)}))
        wanted = chosen(workspace)
        in_a_new_process(folder, "ip", "192.0.2.1")  # fills the caches, as any question before did
        ask(_question(workspace, "ip", "192.0.2.1"))
        for kind, value, count in wanted:
            row = {"kind": kind, "value": value, "count": count, **timed(workspace, kind, value)}
            print(json.dumps(row), flush=True)


def timed(workspace: Workspace, kind: ObservableKind, value: str) -> dict[str, float]:
    """Seconds of one question, by the clock and of processor time: the median of some warm ones, and of cold ones."""
    question = _question(workspace, kind, value)
    cold = [in_a_new_process(workspace.folder, kind, value) for _ in range(COLD_RUNS)]
    warm: list[list[float]] = []
    for _ in range(WARM_RUNS):
        started, busy = time.perf_counter(), time.process_time()
        ask(question)
        warm.append([time.perf_counter() - started, time.process_time() - busy])
    times = {"cold": cold, "warm": warm}
    names = ("s", "processor_s")
    return {
        f"{name}_{unit}": round(sorted(each)[len(each) // 2], 3)
        for name, runs in times.items()
        for unit, each in zip(names, zip(*runs, strict=True), strict=True)
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--workspace", type=Path, help="one that is there already")
    parser.add_argument("--keep", type=Path, help="an empty folder to make one in, and leave it there")
    options = parser.parse_args(arguments)
    if options.workspace:
        measure(options.workspace)
        return
    if options.keep:
        make(options.keep, options.events)
        measure(options.keep / "workspace")
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.events)
        measure(Path(folder) / "workspace")


if __name__ == "__main__":
    main(sys.argv[1:])
