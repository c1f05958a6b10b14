"""How well and how fast behaviours are found.

    python -m bench.behaviours [--only NAME …] [--seeds N …] [--days N] [--events-per-day N] [--rows N] [--show]
                               [--folder DIR] [--workspace DIR]

``right``  the generated sector: for each behaviour the planted steps that it should see and saw, findings that touch a
           planted line, findings that touch none, and how many of these there are for each host and day
``speed``  made-up tables of facts of so many rows altogether: seconds of wall and processor time for each behaviour
``kept``   all that a workspace keeps (``--workspace``): seconds from the first segment to the last finding stored

``--folder`` takes a folder that ``mingjian sample`` has filled instead of filling one; ``--show`` prints each finding.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.beaconing import beacons
from mingjian.detect.behaviours.facts import CONNECTIONS, LOGONS, LOOKUPS, USES
from mingjian.detect.behaviours.findings import Finding
from mingjian.detect.behaviours.grouping import DAY
from mingjian.detect.behaviours.guessing import guessed
from mingjian.detect.behaviours.movement import new_ways
from mingjian.detect.behaviours.outflow import outflows
from mingjian.detect.behaviours.rarity import first_uses
from mingjian.detect.behaviours.resolving import odd_names
from mingjian.hunt.behaviourbook import built_in_facts
from mingjian.hunt.behaviourruns import run_behaviours
from mingjian.hunt.behaviours import behaviours_in
from mingjian.hunt.factmaps import NO_TIME, PART_BITS, Facts, Gathering
from mingjian.model.blocks import Quarantined, no_first_paths
from mingjian.sample.campaigns import standard
from mingjian.sample.generate import LOGS_FOLDER, Order, Truth, generate, read_sector, read_truth, world_of
from mingjian.sources import files
from mingjian.sources.columnwise import envelopes
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router
from mingjian.store.catalogue import live_segments
from mingjian.store.scope import Scope
from mingjian.store.workspace import open_workspace

EXPECTED = {
    "password-guessing": "spray/guessing",
    "password-spray": "spray/spray signals/slow-spray signals/vpn-spray",
    "distributed-guessing": "",
    "distributed-spray": "",
    "beaconing": "intrusion/beacon webshell/callback longhaul/beacon signals/hourly-beacon signals/weekly-beacon",
    "first-use": "intrusion/persistence intrusion/lateral longhaul/foothold",
    "lateral-movement": "intrusion/lateral spray/account longhaul/lateral signals/new-edges",
    "dns-tunnel": "signals/tunnel",
    "generated-names": "signals/made-names",
    "outflow": "intrusion/exfiltration insider/upload longhaul/exfiltration signals/slow-leak",
}
"""The planted steps (campaign/step) that a behaviour is there to find."""
CAMPAIGNS = (*(each.name for each in standard()), "signals")


def gathered(folder: Path) -> tuple[Facts, list[str]]:
    """The facts in the logs of a sector, and the files by the numbers that stand in the events."""
    gathering = Gathering(built_in_facts())
    router = Router(load_sources())
    names: list[str] = []
    logs = folder / LOGS_FOLDER
    for organisation in sorted(logs.iterdir()):
        for task in files.plan(files.find([str(organisation)])[0], 1):
            numbers: dict[str, int] = {}
            for file, found in files.read(task, files.Counts(), no_first_paths):
                if isinstance(found, Quarantined):
                    continue
                if file not in numbers:
                    numbers[file] = len(names)
                    names.append(Path(file).relative_to(logs).as_posix())
                for portion in router.route(found):
                    if not gathering.wants(portion.view.stream.name):
                        continue
                    block = found if portion.rows is None else found.take(portion.rows)
                    times = [NO_TIME if each is None else each for each in envelopes(portion.view, block).times_us]
                    events = (numbers[file] << PART_BITS) + np.array(block.numbers, np.int64)
                    gathering.add(organisation.name, portion.view, block, np.array(times, np.int64), events)
    return gathering.facts(), names


class Judged:
    """Findings against the truth."""

    def __init__(self, findings: Iterable[Finding], names: list[str], truth: list[Truth]) -> None:
        planted: dict[tuple[str, int], Truth] = {}
        self.steps: set[tuple[str, str, str]] = set()
        for each in truth:
            if each.kind == "planted":
                planted[each.file, each.record] = each
                self.steps.add((each.organisation, each.campaign, each.step))
        self.true: dict[str, list[Finding]] = defaultdict(list)
        self.false: dict[str, list[Finding]] = defaultdict(list)
        self.seen: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
        mask = (1 << PART_BITS) - 1
        for finding in findings:
            lines = [planted.get((names[event >> PART_BITS], event & mask)) for event in finding.events]
            touched = {(each.organisation, each.campaign, each.step) for each in lines if each is not None}
            (self.true if touched else self.false)[finding.behaviour].append(finding)
            self.seen[finding.behaviour] |= touched


def right(seeds: list[int], days: int, events_per_day: int, folder: Path | None, show: bool) -> None:
    """Print how right each behaviour is, all seeds together."""
    rows: dict[str, list[int]] = {name: [0, 0, 0, 0] for name in EXPECTED}
    host_days = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as made:
            place = folder or Path(made) / "sector"
            if folder is None:
                generate(
                    Order(seed=seed, days=days, events_per_day=events_per_day, campaigns=CAMPAIGNS),
                    place,
                    jobs=os.cpu_count() or 1,
                )
            sector = read_sector(place)
            assert sector is not None, "not a folder of mingjian sample"
            facts, names = gathered(place)
            tables = {name: getattr(facts, name).num_rows for name in ("connections", "logons", "lookups", "uses")}
            print(f"seed {sector.order.seed}: {sector.made.records} events, facts {tables}", flush=True)
            findings = behaviours_in(facts)
            judged = Judged(findings, names, read_truth(place))
        world = world_of(sector.order)
        host_days += sum(len(each.hosts) for each in world.organisations) * sector.order.days
        for name, steps in EXPECTED.items():
            wanted = {each for each in judged.steps if "/".join(each[1:]) in steps.split()}
            counts = (len(wanted), len(wanted & judged.seen[name]), len(judged.true[name]), len(judged.false[name]))
            rows[name] = [before + count for before, count in zip(rows[name], counts, strict=True)]
        if show:
            for finding in findings:
                print(
                    "FALSE" if finding in judged.false[finding.behaviour] else "true ", described(finding), flush=True
                )
    print(f"{host_days} host days")
    print(
        f"{'behaviour':22} {'planted':>7} {'seen':>5} {'true':>5} {'false':>6} {'precision':>9} {'false/host/day':>14}"
    )
    for name, (wanted, seen, true, false) in rows.items():
        precision = f"{true / (true + false):9.2f}" if true + false else f"{'-':>9}"
        print(f"{name:22} {wanted:7} {seen:5} {true:5} {false:6} {precision} {false / host_days:14.5f}")


def described(finding: Finding) -> str:
    """A finding in one line."""
    terms = ", ".join(f"{term.name} {term.points:+d} ({term.value:g})" for term in finding.terms)
    who = f"{finding.organisation} {finding.entity} -> {finding.object or finding.values[:4]}"
    return f"{finding.score:3} {finding.behaviour:20} {who} n={finding.count} [{terms}] {' '.join(finding.caveats)}"


def speed(rows: int) -> None:
    """Print how long each behaviour takes: half of the rows are connections, the others logons, look-ups, uses."""
    chance = np.random.default_rng(1)
    tables = {
        "connections": _made(chance, rows // 2, CONNECTIONS),
        "logons": _made(chance, rows * 2 // 10, LOGONS),
        "lookups": _made(chance, rows * 2 // 10, LOOKUPS),
        "uses": _made(chance, rows // 10, USES),
    }
    work: dict[str, Callable[[], list[Finding]]] = {
        "guessing": lambda: guessed(tables["logons"]),
        "beaconing": lambda: beacons(tables["connections"]),
        "rarity": lambda: first_uses(tables["uses"], since_us=0, until_us=1 << 60),
        "movement": lambda: new_ways(tables["logons"]),
        "resolving": lambda: odd_names(tables["lookups"]),
        "outflow": lambda: outflows(tables["connections"]),
    }
    print(f"{sum(table.num_rows for table in tables.values())} facts")
    whole = [0.0, 0.0]
    for name, find in work.items():
        started, busy = time.perf_counter(), time.process_time()
        findings = find()
        took = time.perf_counter() - started, time.process_time() - busy
        whole = [before + each for before, each in zip(whole, took, strict=True)]
        print(f"{name:10} {took[0]:7.2f} s wall {took[1]:7.2f} s processor {len(findings):6} findings", flush=True)
    print(f"{'all':10} {whole[0]:7.2f} s wall {whole[1]:7.2f} s processor")


def _made(chance: np.random.Generator, rows: int, schema: pa.Schema) -> pa.Table:
    host = chance.integers(0, 3000, rows)
    value = (chance.pareto(0.6, rows) * 2).astype(np.int64) % 60_000
    texts: dict[str, tuple[np.ndarray, list[str]]] = {
        "organisation": (host // 300, [f"org{n}" for n in range(10)]),
        "source": (host, [f"10.0.{n // 250}.{n % 250}" for n in range(3000)]),
        "destination": (value, [f"site{n}.example" for n in range(60_000)]),
        "target": (value % 900, [f"server{n}" for n in range(900)]),
        "account": (host + value % 3, [f"person{n}" for n in range(3003)]),
        "kind": (np.zeros(rows, np.int64), ["network"]),
        "host": (host, [f"ws{n}" for n in range(3000)]),
        "entity": (host, [f"ws{n}" for n in range(3000)]),
        "query": (value, [f"www{n % 7}.site{n // 7}.example" for n in range(60_000)]),
        "value": (value, [f"program{n}.exe" for n in range(60_000)]),
    }
    start = 20_000 * DAY
    numbers: dict[str, np.ndarray] = {
        "event": np.arange(rows),
        "time_us": start + chance.integers(0, 400 * DAY, rows),
        "first_us": start + (chance.random(rows) ** 8 * 400 * DAY).astype(np.int64),
        "last_us": np.full(rows, start + 400 * DAY),
        "port": np.full(rows, 443),
        "count": np.ones(rows, np.int64),
        "bytes_out": chance.lognormal(9, 3, rows).astype(np.int64),
        "bytes_in": chance.lognormal(9, 3, rows).astype(np.int64),
        "duration_us": chance.integers(0, 1 << 24, rows),
        "succeeded": chance.random(rows) < 0.97,
        "failed": chance.random(rows) < 0.02,
    }
    columns: list[pa.Array] = []
    for name in schema.names:
        if name in texts:
            codes, values = texts[name]
            columns.append(pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values)))
        else:
            columns.append(pa.array(numbers[name]))
    return pa.Table.from_arrays(columns, names=schema.names)


def kept(folder: Path) -> None:
    """Print how long it takes to look over everything that a workspace keeps, and to store what was found."""
    with open_workspace(folder) as workspace:
        busy = time.process_time()
        outcome = run_behaviours(workspace, Scope.of_operator(), load_sources())
        busy = time.process_time() - busy
        assert outcome is not None, "somebody else is at it"
        segments = live_segments(workspace, Scope.of_operator())
    events = sum(row.rows for row in segments)
    print(
        f"{events} events in {len(segments)} segments, {outcome.events} of them tell facts, {outcome.left_out} left "
        f"out: {outcome.seconds:.1f} s wall, {busy:.1f} s processor, {sum(outcome.findings.values())} findings"
    )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("right", "speed", "kept"), default=("right", "speed"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--days", type=int, default=35)
    parser.add_argument("--events-per-day", type=int, default=24_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    if "right" in options.only:
        right(
            options.seeds[:1] if options.folder else options.seeds,
            options.days,
            options.events_per_day,
            options.folder,
            options.show,
        )
    if "speed" in options.only:
        speed(options.rows)
    if "kept" in options.only:
        if options.workspace is None:
            parser.error("--only kept needs --workspace")
        kept(options.workspace)


if __name__ == "__main__":
    main()
