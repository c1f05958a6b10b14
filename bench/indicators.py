"""How quick a million indicators are: read, added, added again, made a matcher of, matched.

    python -m bench.indicators [--indicators N] [--observables N]

Everything is made up, always the same: a list of addresses, domains, hashes, URLs and networks. CPU time is what counts
on a machine that has other work.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pyarrow as pa

from mingjian.formats.indicators import documents
from mingjian.model.blocks import Piece
from mingjian.model.indicators import Assumed, Indicator
from mingjian.store.indicatormatching import IndicatorMatcher, Matchers
from mingjian.store.indicators import Added, add_set
from mingjian.store.scope import Scope
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create

OPERATOR = Scope.of_operator()
CHUNK_BYTES = 1 << 20


def a_line(random: Random, number: int) -> str:
    """Of ten: four addresses, three domains, two hashes, and a URL or (one in twenty) a network."""
    kind = number % 10
    if kind < 4:
        return ".".join(str(random.randrange(1, 224)) for _ in range(4))
    if kind < 7:
        return f"h{random.randrange(10**7)}.evil{random.randrange(10**5)}.example"
    if kind < 9:
        return f"{random.getrandbits(256):064x}"
    if random.random() < 0.05:
        return (
            f"{random.randrange(1, 224)}.{random.randrange(256)}.{random.randrange(256)}.0/{random.randrange(16, 31)}"
        )
    return f"http://h{random.randrange(10**7)}.example/a/{number}.php"


def observed(count: int) -> pa.Table:
    """Distinct observables: addresses, names, hashes, URLs and files."""
    random = Random(7)
    rows: list[tuple[str, str]] = []
    for number in range(count):
        kind = ("ip", "domain", "hash", "url", "file")[number % 5]
        rows.append(
            (
                kind,
                {
                    "ip": ".".join(str(random.randrange(1, 224)) for _ in range(4)),
                    "domain": f"a.h{random.randrange(10**7)}.evil{random.randrange(10**5)}.example",
                    "hash": f"{random.getrandbits(256):064x}",
                    "url": f"http://www.h{random.randrange(10**7)}.example/x/{number}",
                    "file": f"c:\\windows\\system32\\f{number}.exe",
                }[kind],
            )
        )
    return pa.table({"kind": [kind for kind, _ in rows], "value": [value for _, value in rows]})


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print what a step takes."""
    clock, used = time.perf_counter(), time.process_time()
    yield
    clock, used = time.perf_counter() - clock, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what:<50} {used:6.2f} s CPU {clock:7.2f} s on the clock {memory:6} MiB at most", flush=True)


def entries(data: bytes) -> Iterator[Indicator]:
    """The indicators of a list."""
    chunks = (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))
    for entry in documents.read(Piece(file="feed", chunks=chunks), Assumed()):
        assert isinstance(entry, Indicator), entry
        yield entry


def run(workspace: Workspace, data: bytes, changed: bytes, observables: int) -> None:
    """All steps in one workspace."""

    def add(given: bytes) -> Added:
        return add_set(workspace, OPERATOR, "feed", entries(given), lists=lists)

    lists = WarningLists()
    with measured("warning lists read"):
        print(f"{len(lists):,} entries on warning lists")
    with measured("read and added"):
        added = add(data)
    print(f"{added.set.indicators:,} indicators, {added.set.warned:,} of them warned")
    with measured("added again, the same"):
        assert add(data).how == "unchanged"
    with measured("added again, one in a hundred changed"):
        added = add(changed)
    print(f"{added.set.added:,} new, {added.set.gone:,} gone")
    with measured("matcher made from the database"):
        matcher: IndicatorMatcher = Matchers(workspace, lists).current(OPERATOR)
    table = observed(observables)
    for _ in range(3):
        with measured(f"{observables:,} distinct observables matched"):
            found = matcher.match(table)
    print(f"{found.num_rows:,} hits")
    print(f"{(workspace.folder / 'state.db').stat().st_size / 2**20:,.0f} MiB state database")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--indicators", type=int, default=1_000_000)
    parser.add_argument("--observables", type=int, default=100_000)
    options = parser.parse_args()
    random = Random(1)
    lines = [a_line(random, number) for number in range(options.indicators)]
    kept = lines[: len(lines) * 99 // 100]
    new = [f"new{number}.example" for number in range(len(lines) - len(kept))]
    data, changed = ("\n".join(each).encode() for each in (lines, kept + new))
    del lines, kept, new
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {options.indicators:,} lines, {len(data):,} bytes"
    )
    with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "workspace") as workspace:
        run(workspace, data, changed, options.observables)


if __name__ == "__main__":
    main()
