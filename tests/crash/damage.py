"""What happens when bytes of a workspace change by themselves: it is noticed, or does no harm.

    PYTHONPATH=tests python -m crash.damage [--mutations 10000] [--seed 1]

Each time one file of a workspace is damaged at random, of every kind there is: the state database, the mark of the
workspace, its settings, a segment, a file of the sightings index. Then everything is asked, as a new process would.
Each answer is the right one or an error that the store means to give; and ``mingjian doctor`` notices every change that
makes a difference. ``crash.sightings_damage`` does the same to the files of the index in more ways.

The log of SQLite (``state.db-wal``) is one more kind, with a promise of its own: what follows the damage in it counts
as never committed, as after a loss of power. The answers are those of an earlier moment, whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import cast

import msgspec

from crash.sightings_damage import damage
from crash.storework import DAY, INPUT, keep_one, merge_all, observed, tidy
from lakes import OPERATOR, an_input, kept
from mingjian import settings
from mingjian.errors import MingjianError
from mingjian.model.blocks import Quarantined
from mingjian.store import catalogue
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import Batch, commit_batch, live_segments, organisation_named
from mingjian.store.doctor import examine
from mingjian.store.indexfiles import with_index_file
from mingjian.store.lake import lake_rows
from mingjian.store.sightings import live
from mingjian.store.upkeep import Retention, clean, retentions, set_retention
from mingjian.store.workspace import create, open_workspace

KINDS: dict[str, Callable[[Path], Sequence[Path]]] = {
    "state database": lambda folder: [folder / "state.db"],
    "mark": lambda folder: [folder / "lake" / "workspace.json"],
    "settings": lambda folder: [folder / "mingjian.toml"],
    "segment": lambda folder: sorted((folder / "lake").rglob("*.parquet")),
    "sightings": lambda folder: sorted((folder / "sightings").glob("*.sightings")),
}
"""Each kind of file, and where those of it are."""
STATE_SHARE = 0.4
"""The state database is damaged more often: it is the largest, and has the most kinds of content."""


def made(folder: Path) -> None:
    """A workspace with something of everything."""
    with create(folder) as workspace:
        ours = organisation_named(workspace, OPERATOR, "ours", make=True)
        theirs = organisation_named(workspace, OPERATOR, "theirs", make=True)
        assert an_input(workspace, ours) == INPUT
        for _ in range(3):
            keep_one(workspace, ours)
        merge_all(workspace)
        keep_one(workspace, ours)
        records = [{"Image": f"c:\\{n % 7}.exe", "n": n * n, "o": {"p": [n]}, "t": f"text {n}"} for n in range(300)]
        segment = kept(workspace, theirs, records, stream="windows/sysmon/1", day=DAY + 1)
        bad = Quarantined(file="a.log", record=3, offset=70, code="parse-error", reason="no", data=b"\0\xff")
        file = live.record(workspace, OPERATOR, theirs.id, observed(segment.id, 500))
        assert file is not None
        commit_batch(
            workspace, OPERATOR, Batch(organisation=theirs.id, quarantined=[(None, bad)]), [with_index_file(file)]
        )
        set_retention(workspace, OPERATOR, Retention(stream_pattern="zeek/*", days=30))
        tidy(workspace)


def answers(folder: Path) -> list[object]:
    """Everything that the store says about a workspace. Raises: MingjianError, and nothing else."""
    chosen = settings.load(folder, {})
    with open_workspace(folder, chosen.database) as workspace:
        organisations = catalogue.organisations(workspace, OPERATOR)
        found: list[object] = [organisations, chosen.keep_raw]
        found += [lake_rows(workspace, OPERATOR), retentions(workspace, OPERATOR)]
        found.append(catalogue.quarantined(workspace, OPERATOR))
        for each in organisations:
            for known in catalogue.known_inputs(workspace, OPERATOR, each.id, [b"head"]):
                found += [known, catalogue.committed_offsets(workspace, OPERATOR, known.id)]
        for row in live_segments(workspace, OPERATOR):
            found.append(row)
            with Segment(workspace.lake / row.path, checks=row.checks) as segment:
                for block in segment.blocks():
                    rows = range(len(block))
                    found += [[block.record(n) for n in rows], block.times_us, block.inputs.tolist(), block.numbers]
        with closing(live.open_index(workspace, OPERATOR)) as index:
            found.append([row for part in index.scan() for row in part.to_pylist()])
        return found


def is_noticed(folder: Path) -> bool:
    """Whether ``mingjian doctor`` says that something is wrong."""
    try:
        with open_workspace(folder, settings.load(folder, {}).database) as workspace:
            return any(finding.is_trouble for finding in examine(workspace, OPERATOR))
    except MingjianError:
        return True


class Case(msgspec.Struct):
    """A workspace, and what it says."""

    folder: Path
    right: list[object]

    def mutate(self, seed: int, place: Path) -> str:
        """Damage a copy once, and ask it everything. Returns what came of it.

        Raises: AssertionError (a wrong answer, and nobody noticed), and whatever else should not come out of a store.
        """
        chance = Random(seed)
        shutil.copytree(self.folder, place)
        kind = "state database" if chance.random() < STATE_SHARE else chance.choice(list(KINDS))
        path = chance.choice(KINDS[kind](place))
        data = bytearray(path.read_bytes())
        before = bytes(data)
        how = damage(data, chance)
        path.write_bytes(data)
        try:
            came_of_it = self._came_of_it(place, is_changed=bytes(data) != before, kind=kind)
            if kind == "state database":
                self._comes_back(place, before)
        except BaseException as error:
            error.add_note(f"seed {seed}: {path.relative_to(place)}: {how}")
            raise
        shutil.rmtree(place)
        return f"{kind}: {came_of_it}"

    def _comes_back(self, place: Path, database: bytes) -> None:
        """Whatever the damaged database says, no event is removed: with the old one put back, all is as it was."""
        with suppress(MingjianError), open_workspace(place) as workspace:
            clean(workspace)
        for name in ("state.db-wal", "state.db-shm"):
            (place / name).unlink(missing_ok=True)
        (place / "state.db").write_bytes(database)
        assert answers(place) == self.right, "what was cleaned up on the word of a damaged database is gone"

    def _came_of_it(self, place: Path, *, is_changed: bool, kind: str) -> str:
        try:
            found = answers(place)
        except MingjianError:
            assert is_changed
            return "refused"
        is_right = found == self.right
        if not is_changed:
            assert is_right
            return "nothing changed"
        noticed = is_noticed(place)
        if kind in ("segment", "sightings"):
            assert is_right, "a wrong answer"
            assert noticed, "mingjian doctor does not notice the damage"
        assert is_right or noticed, "a wrong answer, and nobody notices"
        return "right" if is_right else "noticed by the doctor alone"


def mutations(first: int, count: int) -> Counter[str]:
    """Damage a workspace so often; count what came of it."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mingjian-damage-") as folder:
        base = Path(folder) / "base"
        made(base)
        case = Case(base, answers(base))
        assert not is_noticed(base)
        for seed in range(first, first + count):
            found[case.mutate(seed, Path(folder) / str(seed))] += 1
    return found


def log_mutations(first: int, count: int) -> Counter[str]:
    """Damage the log of the database so often: the answers are those of a moment before, or an error."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mingjian-damage-") as name:
        folder = Path(name)
        with create(folder / "live") as workspace, workspace.read():
            # The reader keeps SQLite from moving the log into the database.
            organisation = organisation_named(workspace, OPERATOR, "ours", make=True)
            an_input(workspace, organisation)
            offsets = [0, *(keep_one(workspace, organisation) for _ in range(5))]
            shutil.copytree(folder / "live", folder / "base")
        for seed in range(first, first + count):
            chance = Random(seed)
            place = folder / str(seed)
            shutil.copytree(folder / "base", place)
            log = place / "state.db-wal"
            data = bytearray(log.read_bytes())
            damage(data, chance)
            log.write_bytes(data)
            (place / "state.db-shm").unlink(missing_ok=True)
            try:
                with open_workspace(place) as again:
                    offset = catalogue.input_by_id(again, OPERATOR, INPUT).offset
                    assert offset in offsets
                    assert sum(row.rows for row in live_segments(again, OPERATOR)) == offset
                found["as it was" if offset == offsets[-1] else "an earlier moment"] += 1
            except MingjianError:
                found["refused"] += 1
            shutil.rmtree(place)
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    found = mutations(chosen.seed * 1_000_000, cast("int", chosen.mutations))
    print(f"{found.total():,} mutations, no wrong answer unnoticed, in {time.monotonic() - started:.0f} s")
    for what, count in sorted(found.items()):
        print(f"  {what}: {count:,}")
    found = log_mutations(chosen.seed * 1_000_000, max(1, chosen.mutations // 10))
    print("log of the database:", ", ".join(f"{what} {count:,}" for what, count in sorted(found.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
