"""How long an answer takes: ``python -m bench.ask [--events N] [--workspace DIR] [--keep DIR]``.

Makes a generated sector of about so many events (or takes a workspace that is there), takes it in, and asks about the
noisiest and the quietest observables: cold in a process of its own, warm in this one. ``--keep`` makes it in a folder
that stays, to be asked again.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
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
EVENTS_PER_DAY = 4_000
OPERATOR = Scope.of_operator()
COLD = """
import os, sys, time
from pathlib import Path
started = time.perf_counter()
from bench.ask import asked
asked(Path(sys.argv[1]), *sys.argv[2:])
print(time.perf_counter() - started, time.process_time())
"""


def asked(folder: Path, kind: ObservableKind, value: str) -> None:
    settings = load(folder, {})
    cache = settings.cache_folder
    with open_workspace(folder) as workspace:
        question = Question(
            workspace,
            OPERATOR,
            kind,
            value,
            load_sources(cache_folder=cache),
            "en",
            cache_folder=cache,
        )
        ask(question)


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
    """Seconds, and seconds of processor time, from the first import to the answer."""
    command = [sys.executable, "-c", COLD, str(folder), kind, value]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    return [float(text) for text in ended.stdout.split()]


def measure(folder: Path) -> None:
    with open_workspace(folder) as workspace:
        segments = live_segments(workspace, OPERATOR)
        events = sum(row.rows for row in segments)
        print(json.dumps({"events": events, "segments": len(segments)}))
        wanted = chosen(workspace)
    in_a_new_process(folder, "ip", "192.0.2.1")  # fills the caches, as any question before did
    asked(folder, "ip", "192.0.2.1")
    for kind, value, count in wanted:
        cold = [round(figure, 3) for figure in in_a_new_process(folder, kind, value)]
        warm: list[tuple[float, float]] = []
        for _ in range(WARM_RUNS):
            started, busy = time.perf_counter(), time.process_time()
            asked(folder, kind, value)
            warm.append((time.perf_counter() - started, time.process_time() - busy))
        row: dict[str, object] = {"kind": kind, "value": value, "count": count}
        row |= {"cold_s": cold[0], "cold_processor_s": cold[1]}
        for name, times in zip(("warm_s", "warm_processor_s"), zip(*warm, strict=True), strict=True):
            row[name] = round(sorted(times)[WARM_RUNS // 2], 3)
        print(json.dumps(row), flush=True)


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
