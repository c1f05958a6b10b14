"""What ingest promises, as a work to be killed: logs in three kinds of input, some growing while it goes on."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from unittest import mock

import msgspec
import sqlalchemy as sa

from ingesting import CORRELATIONS, RULES, SOURCES, detected, events, found, lines, some
from lakes import OPERATOR
from mingjian.detect.engine import Engine
from mingjian.errors import StateError
from mingjian.hunt import gathering, ingest
from mingjian.hunt.arrival import Watch
from mingjian.model.values import Record
from mingjian.sources import contents
from mingjian.store import tables
from mingjian.store.catalogue import organisation_named
from mingjian.store.rules import keep_rules
from mingjian.store.sightings.live import open_index, tidy
from mingjian.store.upkeep import clean, missing_segments
from mingjian.store.workspace import MARK, Workspace, create, open_workspace

LOGS = "logs"
STEP = 700
STEPS = 4
LOCKED_S_MAX = 10
"""The processes of one that was killed end with it, but not in the same microsecond."""
ZEEK = (
    b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
    b"#fields\tts\tuid\tid.orig_h\tquery\n#types\ttime\tstring\taddr\tstring\n"
)
SMALL = (
    (contents, "UNIT_BYTES", 20_000),
    (ingest, "EPOCH_BYTES", 60_000),
    (gathering, "LOOK_ROWS_MAX", 50),
)
"""Bounds that make many epochs of little input."""


def zeek(count: int) -> bytes:
    rows = (b"%d.5\tC%d\t10.0.0.%d\thost%d.example\n" % (1_600_000_000 + n, n, n % 5, n % 50) for n in range(count))
    return ZEEK + b"".join(rows)


def grown(folder: Path) -> None:
    """Let the logs be longer by a step than what is there, until there are enough."""
    marks = sorted((folder / LOGS).glob("grown-*"))
    if len(marks) == STEPS:
        return
    count = STEP * (len(marks) + 1)
    files = {"plain.json": lines(some(count)), "packed.gz": gzip.compress(lines(some(count, first=9)), 1)}
    files |= {"dns.log": zeek(count), "copy.json": lines(some(count))}
    for name, data in files.items():
        temporary = folder / f"{name}.new"
        temporary.write_bytes(data)
        temporary.replace(folder / LOGS / name)
    (folder / LOGS / f"grown-{count}").write_bytes(b"")


def taken_in(workspace: Workspace, folder: Path, acknowledge: Callable[[str], None]) -> None:
    """Take everything in; say how many events were committed, each time."""
    owner = organisation_named(workspace, OPERATOR, "ours", make=True)
    watch = Watch(keep_rules(workspace, OPERATOR, RULES, CORRELATIONS), Engine(RULES))
    told = [0]

    def progress(_: int, count: int) -> None:
        if count > told[0]:
            acknowledge(str(count - told[0]))
            told[0] = count

    run = ingest.Ingest(workspace, OPERATOR, owner, watch, SOURCES, jobs=2, progress=progress)
    run.run([str(folder / LOGS)])


class IngestWork:
    """The whole way, from files to what was found in them."""

    def prepare(self, folder: Path) -> None:
        create(folder / "workspace").close()
        (folder / LOGS).mkdir()

    def work(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        with open_workspace(folder / "workspace") as workspace:
            give_up_at = time.monotonic() + LOCKED_S_MAX
            for owner, name, value in SMALL:
                mock.patch.object(owner, name, value).start()
            while True:
                grown(folder)
                try:
                    taken_in(workspace, folder, acknowledge)
                except StateError:
                    assert time.monotonic() < give_up_at
                    time.sleep(0.01)
                    continue
                if len(list((folder / LOGS).glob("grown-*"))) == STEPS:
                    return

    def check(self, folder: Path, acknowledged: Sequence[str]) -> None:
        with open_workspace(folder / "workspace") as workspace:
            give_up_at = time.monotonic() + LOCKED_S_MAX
            while True:
                try:
                    clean(workspace)
                    tidy(workspace)
                    break
                except StateError:
                    assert time.monotonic() < give_up_at
                    time.sleep(0.01)
            check(workspace, folder, sum(map(int, acknowledged)))


def check(workspace: Workspace, folder: Path, acknowledged: int) -> None:
    """What was committed is there once, in every place in which it is kept, and nothing else."""
    assert missing_segments(workspace, OPERATOR) == []
    kept = events(workspace)
    assert len(kept) >= acknowledged
    numbers: dict[str, list[int]] = {}
    for each in kept:
        numbers.setdefault(each.file, []).append(each.number)
    firsts = {"dns.log": len(ZEEK.splitlines()) + 1}
    for file, several in numbers.items():
        first = firsts.get(Path(file).name, 1)
        assert several == list(range(first, first + len(several)))
    with workspace.read() as connection:
        hosts = sa.select(sa.func.coalesce(sa.func.sum(tables.host_days.c.rows), 0))
        counted = connection.execute(hosts).scalar_one()
    assert counted == sum(each.stream.startswith("windows") for each in kept)
    expected: Counter[tuple[str, int]] = Counter()
    for each in kept:
        if "whoami.exe" in each.record:
            expected[each.file, each.number] += 1
    rows = Counter((row.file, row.record) for row in found(workspace).elements() if row.rule == "whoami")
    assert rows == expected
    _check_sightings(workspace, [eval(each.record) for each in kept if each.stream.startswith("windows")])  # noqa: S307 # what we wrote ourselves
    live = {path.relative_to(workspace.lake) for path in workspace.lake.rglob("*") if path.is_file()}
    assert len(live) == 1 + sum(1 for _ in workspace.lake.rglob("*.parquet")), MARK
    if _is_finished(workspace, folder, len(kept)):
        assert found(workspace) == detected(*numbers)


def _is_finished(workspace: Workspace, folder: Path, kept: int) -> bool:
    """Whether everything came in, and correlations, which come last, were decided."""
    with workspace.read() as connection:
        known = connection.execute(sa.select(tables.correlation_state.c.state)).scalar_one_or_none()
        last = connection.execute(sa.select(sa.func.max(tables.correlation_matches.c.id))).scalar_one()
    return kept == 3 * STEP * STEPS and known is not None and msgspec.msgpack.decode(known) == last


def _check_sightings(workspace: Workspace, records: Sequence[Record]) -> None:
    hosts = Counter(str(record["Hostname"]) for record in records)
    with closing(open_index(workspace, OPERATOR)) as index:
        for host, count in hosts.items():
            assert sum(each.count for each in index.lookup("host", host)) == count


INGEST = IngestWork()
"""The work that is killed."""
