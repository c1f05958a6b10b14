"""What happens when bytes of the sightings index change by themselves: it is noticed, or does no harm.

    PYTHONPATH=tests python -m crash.sightings_damage [--mutations 10000] [--seed 1]

Each time one or two of an index's files are damaged at random: bits flipped, bytes zeroed, moved, doubled or left out,
the end cut off or something put behind it. Then everything is asked. Each answer is the right one or an error that the
index means to give; and ``check_file`` notices every change. Half of the files are written in blocks of a few rows, so
that every kind of block, page and bucket is met often.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import cast

import pyarrow as pa
import pytest

from memory_folder import Disk, MemoryFolder
from mingjian.errors import StateError, StorageError
from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import blocks, bulk, finding, layout, reading, writing
from mingjian.store.sightings.checking import check_file
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.merging import Merge

DAY_US = 86_400_000_000
SMALL: tuple[tuple[str, int], ...] = (
    ("VALUES_PER_BLOCK", 16),
    ("ROWS_PER_BLOCK", 32),
    ("TOTALLED_ROWS", 4),
    ("PAGE_ITEMS", 4),
    ("KEYS_PER_BUCKET_MAX", 32),
    ("BUCKETS_TOGETHER", 2),
    ("PAGES_KEPT_MAX", 2),
    ("BLOCKS_KEPT_MAX", 2),
    ("BLOCKS_AT_ONCE", 4),
)
KINDS: tuple[ObservableKind, ...] = ("domain", "ip", "file")


@contextmanager
def block_sizes(is_small: bool) -> Iterator[None]:
    """Blocks as they are, or small ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in SMALL if is_small else ():
            for module in (blocks, bulk, writing, finding, reading, layout):
                if hasattr(module, name):
                    patch.setattr(module, name, size)
        yield


def value_of(kind: ObservableKind, number: int) -> str:
    return {"domain": f"h{number}.evil.example", "ip": f"192.0.2.{number % 250}", "file": f"c:\\t\\{number}.exe"}[kind]


def observations(commit: int, values: int) -> pa.Table:
    chance = Random(commit)
    rows = []
    for event in range(values):
        kind = chance.choice(KINDS)
        value = value_of(kind, min(int(chance.paretovariate(0.5)), values) if event % 3 else event)
        time_us = None if event % 17 == 0 else chance.randrange(6) * DAY_US + chance.randrange(DAY_US)
        rows += [
            (kind, value, role, "zeek", commit * 4 + event % 3, time_us, event) for role in ("a", "b")[: event % 2]
        ]
        rows.append((kind, value, "c", "windows", commit * 4 + 3, time_us, event))
    names = ("kind", "value", "role", "source", "segment", "time_us", "event")
    types = (*[pa.string()] * 4, *[pa.int64()] * 3)
    return pa.table({name: pa.array(c, t) for name, c, t in zip(names, zip(*rows, strict=True), types, strict=True)})


Answer = Callable[[SightingsIndex], object]


def questions() -> list[Answer]:
    asked = [(kind, value_of(kind, number)) for kind in KINDS for number in (1, 2, 3, 40, 150, 7777)]
    feed = Feed(
        pa.array([kind for kind in KINDS for _ in range(300)]),
        pa.array([value_of(kind, n) for kind in KINDS for n in range(300)]),
    )
    return [
        *(lambda index, k=kind, v=value: list(index.lookup(k, v)) for kind, value in asked),
        *(lambda index, k=kind, v=value: index.totals(k, v) for kind, value in asked),
        lambda index: index.match(feed).to_pylist(),
        lambda index: index.lookup_domain("evil.example").totals.to_pylist(),
        lambda index: index.lookup_network(ipaddress.ip_network("192.0.2.0/25")).totals.to_pylist(),
        lambda index: index.lookup_file_name("3.exe").totals.to_pylist(),
        lambda index: [row for part in index.scan() for row in part.to_pylist()],
    ]


@dataclass(frozen=True)
class Case:
    """An index, and the right answers."""

    disk: Disk
    live: tuple[str, ...]
    questions: tuple[Answer, ...]
    right: tuple[object, ...]


@cache
def case(is_small: bool) -> Case:
    folder = MemoryFolder()
    with block_sizes(is_small):
        names = []
        for commit in range(4):
            file = write_delta(
                folder, observations(commit, 250 if is_small else 900), commit % 2, name=f"f{commit}.sightings"
            )
            assert file is not None
            names.append(file.name)
        merged = Merge(folder, names[:3], name="merged.sightings").finish()
        for name in names[:3]:
            folder.remove(name)
        live = (merged.name, names[3])
        index = SightingsIndex.open(folder, live)
        asked = tuple(questions())
        return Case(folder.disk, live, asked, tuple(ask(index) for ask in asked))


def damage(data: bytearray, chance: Random) -> str:
    """Change some bytes; say how."""
    place, size = chance.randrange(len(data)), chance.choice((1, 4, 8, 64, 512, 4096))
    how = chance.choice(("flip", "zero", "truncate", "append", "swap", "double", "leave out", "random"))
    if how == "flip":
        data[place] ^= 1 << chance.randrange(8)
    elif how == "zero":
        data[place : place + size] = bytes(len(data[place : place + size]))
    elif how == "truncate":
        del data[place:]
    elif how == "append":
        data += chance.choice((chance.randbytes(size), bytes(size), bytes(data[-size:])))
    elif how == "swap":
        other = chance.randrange(len(data))
        size = min(size, len(data) - max(place, other))
        one, two = bytes(data[place : place + size]), bytes(data[other : other + size])
        data[place : place + size], data[other : other + size] = two, one
    elif how == "double":
        data[place:place] = data[place : place + size]
    elif how == "leave out":
        del data[place : place + size]
    else:
        piece = chance.randbytes(len(data[place : place + size]))
        data[place : place + len(piece)] = piece
    return how


def mutate(seed: int) -> str:
    """Damage an index once, and ask it everything. Returns what came of it.

    Raises: AssertionError (a wrong answer, or nobody noticed), and whatever else should not come out of an index.
    """
    chance = Random(seed)
    is_small = bool(seed % 2)
    known = case(is_small)
    folder = MemoryFolder(known.disk.copy())
    changed = []
    for name in chance.sample(known.live, chance.choice((1, 1, 2))):
        data = folder.disk.files[name].data
        before = bytes(data)
        damage(data, chance)
        if bytes(data) != before:
            changed.append(name)
    with block_sizes(is_small):
        refused = ask_all(folder, known)
        for name in changed:
            assert is_noticed(folder, name), f"seed {seed}: check_file does not notice the damage to {name}"
    if not changed:
        assert not refused, f"seed {seed}: nothing was changed"
        return "nothing changed"
    return "some answers refused" if refused else "every answer right"


def ask_all(folder: MemoryFolder, known: Case) -> int:
    """Ask everything, each question of an index that was just opened. Returns how many were refused."""
    refused = 0
    for ask, right in zip(known.questions, known.right, strict=True):
        try:
            found = ask(SightingsIndex.open(folder, known.live))
        except (StorageError, StateError):
            refused += 1
        else:
            assert found == right
    return refused


def is_noticed(folder: MemoryFolder, name: str) -> bool:
    try:
        check_file(folder, name)
    except (StorageError, StateError):
        return True
    return False


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    found: Counter[str] = Counter()
    for number in range(cast("int", chosen.mutations)):
        found[mutate(chosen.seed * 1_000_000 + number)] += 1
    print(f"{found.total():,} mutations, no wrong answer:", ", ".join(f"{what} {n:,}" for what, n in found.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
