"""How fast detections become situations, and how right.

    python -m bench.grouping speed [--detections N] [--organisations N] [--batch N] [--database URL]
    python -m bench.grouping sector WORKSPACE SECTOR
    python -m bench.grouping archives WORKSPACE

``speed``     made-up detections: grouping all of them from scratch, grouping after a new batch, pages of the list
``sector``    a workspace into which the logs of a generated sector were taken (``mingjian sample``, then ``mingjian
              ingest --org NAME`` for each folder): pairs of detections, of which at least one is planted
``archives``  a workspace into which archives of one attack each were taken, each as an organisation of its own
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from mingjian.cli.main import GARBAGE_THRESHOLD
from mingjian.model.rules import LEVELS
from mingjian.sample.generate import LOGS_FOLDER, read_truth
from mingjian.settings import DATABASE_FILE
from mingjian.situations.keeping import Keeper
from mingjian.situations.regrouping import Regrouped, Regrouper
from mingjian.situations.showing import line_of, situation
from mingjian.situations.summary import unpacked
from mingjian.sources.definitions import load_sources
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, organisation_named, organisations
from mingjian.store.evidence import Entity, Evidence, add_evidence, key_of, packed
from mingjian.store.scope import Scope
from mingjian.store.situations import SituationFilter, situations
from mingjian.store.workspace import Workspace, create, new_id, open_workspace

OPERATOR = Scope.of_operator()
DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US
DAYS = 90
HOSTS = 200
RULES = 300
PAGES = 40
STRIDE = 20_000


def made(count: int, seed: int, day: int | None = None) -> dict[str, np.ndarray]:
    """Detections in columns: few rules and hosts have most of them, things are shared by chance."""
    chance = np.random.default_rng(seed)
    rule = np.minimum(chance.zipf(1.3, count) - 1, RULES - 1)
    host = np.minimum((chance.pareto(0.8, count) * 8).astype(np.int64), HOSTS - 1)
    start = START_US + (0 if day is None else day * DAY_US)
    span = DAYS * DAY_US if day is None else DAY_US // 24
    return {
        "rule": rule,
        "level": np.array([1, 2, 1, 0, 3, 2, 2, 3, 4, 1])[rule % 10],
        "host": host,
        "account": host * 2 + chance.integers(0, 2, count),
        "time": start + np.sort(chance.integers(0, span, count)),
        "hash": np.minimum(chance.zipf(1.2, count), 50_000),
        "file": np.minimum(chance.zipf(1.2, count), 50_000),
        "ip": chance.integers(0, 20_000, count),
        "domain": np.minimum(chance.zipf(1.15, count), 20_000),
    }


def put(workspace: Workspace, owner: Organisation, columns: dict[str, np.ndarray], first: int) -> None:
    """Keep them, and what is in their events."""
    count = len(columns["rule"])
    for start in range(0, count, STRIDE):
        places = range(start, min(start + STRIDE, count))
        rows = list(rows_of(owner, columns, places, first))
        with workspace.begin() as connection:
            connection.execute(sa.insert(t.detections), rows)
            wanted = sa.select(t.detections.c.id, t.detections.c.record).where(
                t.detections.c.organisation_id == owner.id, t.detections.c.record >= first + start
            )
            ids = {record: number for number, record in connection.execute(wanted)}
        named: dict[int, tuple[str, str]] = {}
        found = [evidence_of(columns, place, ids[first + place], named) for place in places]
        add_evidence(
            workspace,
            owner.id,
            found,
            [Entity(key=key, kind=kind, value=value) for key, (kind, value) in named.items()],
        )


def rows_of(
    owner: Organisation, columns: dict[str, np.ndarray], places: Sequence[int], first: int
) -> Iterator[dict[str, object]]:
    for place in places:
        rule = int(columns["rule"][place])
        yield {
            "organisation_id": owner.id,
            "public_id": new_id(),
            "identity": (first + place).to_bytes(16, "little"),
            "kind": "rule",
            "rule_id": f"rule-{rule}",
            "rule_title": f"Something odd, number {rule}",
            "level": LEVELS[int(columns["level"][place])],
            "time_us": int(columns["time"][place]),
            "host": f"pc-{columns['host'][place]}",
            "account": f"user-{columns['account'][place]}",
            "record": first + place,
            "file": "made.json",
            "details": '{"attack": ["T1059"]}',
            "found_by": "arrival",
            "found_us": START_US,
        }


def evidence_of(columns: dict[str, np.ndarray], place: int, number: int, named: dict[int, tuple[str, str]]) -> Evidence:
    """What is in the event of one."""
    values = {
        "host": f"pc-{columns['host'][place]}",
        "account": f"user-{columns['account'][place]}",
        "hash": f"{columns['hash'][place]:064x}",
        "file": f"c:\\programs\\{columns['file'][place]}.exe",
        "ip": f"203.{columns['ip'][place] % 250}.{columns['ip'][place] // 250}.7",
        "domain": f"d{columns['domain'][place]}.example",
    }
    keys = {key_of(kind, value): (kind, value) for kind, value in values.items()}
    named |= keys
    return Evidence(
        detection_id=number,
        time_us=int(columns["time"][place]),
        level=int(columns["level"][place]),
        rule_key=key_of("rule", f"rule-{columns['rule'][place]}"),
        host_key=key_of("host", values["host"]),
        account_key=key_of("account", values["account"]),
        flags=0,
        entities=packed(keys),
    )


def speed(options: argparse.Namespace) -> None:
    """Group everything, then a new batch, then look at the list."""
    with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "w", options.database) as workspace:
        each = options.detections // options.organisations
        owners = [organisation_named(workspace, OPERATOR, f"org {n}", make=True) for n in range(options.organisations)]
        for number, owner in enumerate(owners):
            put(workspace, owner, made(each, number), 0)
        print(f"{options.detections:,} detections of {len(owners)} organisations, {workspace.dialect}")
        regrouper = Regrouper(workspace)
        taken = [timed(lambda owner=owner: regrouper.regroup(OPERATOR, owner.id)) for owner in owners]
        print(f"from scratch: {told(taken, sum)} (limit 60 s), {sum(one.situations for one, *_ in taken):,} situations")
        again: list[tuple[Regrouped, float, float]] = []
        for number in range(options.batches):
            owner = owners[number % len(owners)]
            put(workspace, owner, made(options.batch, 1000 + number, DAYS + number), each + number * options.batch)
            again.append(timed(lambda owner=owner: regrouper.regroup(OPERATOR, owner.id)))
            one, seconds, processor = again[-1]
            print(
                f"  batch of {options.batch:,}: {seconds:.2f} s ({processor:.2f} s of processor time), "
                f"{one.situations:,} looked at, {one.changed} changed, {one.gone} gone"
            )
        print(f"new batch: median {told(again, np.median)}, longest {told(again, max)} (limit 1 s)")
        pages(workspace, owners)
        print(f"largest resident set: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def timed(work: Callable[[], Regrouped]) -> tuple[Regrouped, float, float]:
    """What came of something, seconds by the clock, seconds of processor time."""
    started, processor = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - started, time.process_time() - processor


def told(taken: Sequence[tuple[Regrouped, float, float]], summed: Callable[[list[float]], float]) -> str:
    """Both times in words."""
    clock, processor = (summed([each[column] for each in taken]) for column in (1, 2))
    return f"{clock:.2f} s ({processor:.2f} s of processor time)"


def pages(workspace: Workspace, owners: Sequence[Organisation]) -> None:
    """Page through the list in several ways, and look at the largest situations."""
    asked = {
        "by danger": (OPERATOR, SituationFilter(), "danger"),
        "by time": (OPERATOR, SituationFilter(), "last"),
        "of one organisation": (OPERATOR, SituationFilter(organisation=owners[0].id), "danger"),
        "for a member of three": (Scope.of_member("m", [each.id for each in owners[:3]]), SituationFilter(), "danger"),
        "with a text": (OPERATOR, SituationFilter(text="pc-117"), "danger"),
        "critical, closed too": (OPERATOR, SituationFilter(level="critical", states=()), "danger"),
    }
    for name, (scope, wanted, order) in asked.items():
        taken: list[float] = []
        after = None
        for _ in range(PAGES):
            started = time.perf_counter()
            page = situations(workspace, scope, wanted, order=order, after=after)
            for one in page.situations:
                line_of(one, "en")
            taken.append(time.perf_counter() - started)
            after = page.after
            if after is None:
                break
        print(f"list {name}: 95 % of pages within {np.percentile(taken, 95) * 1000:.0f} ms ({len(taken)} pages)")
    largest = situations(workspace, OPERATOR, SituationFilter(), order="detections", limit=3).situations
    for one in largest:
        started = time.perf_counter()
        situation(workspace, OPERATOR, one.public_id)
        print(f"situation of {one.detections:,} detections: {(time.perf_counter() - started) * 1000:.0f} ms")


def members(workspace: Workspace) -> dict[int, list[int]]:
    """Situation → its detections, those beside it too."""
    Keeper(workspace, load_sources(), None).step()
    found: dict[int, list[int]] = defaultdict(list)
    table = s.situation_members
    with workspace.read() as connection:
        live = set(connection.execute(sa.select(s.situations.c.id).where(s.situations.c.is_live > 0)).scalars())
        for number, detection in connection.execute(sa.select(table.c.situation_id, table.c.detection_id)):
            if number in live:
                found[number].append(detection)
    return found


def pairs(count: int) -> int:
    return count * (count - 1) // 2


def sector(workspace: Workspace, folder: Path) -> None:
    """Pairs of which at least one is planted: how many in one situation belong to one campaign, and the reverse."""
    planted = {(row.file, row.record): row.campaign for row in read_truth(folder) if row.kind == "planted"}
    of = members(workspace)
    table = t.detections
    columns = (table.c.id, table.c.organisation_id, table.c.file, table.c.record, table.c.rule_id, table.c.host)
    with workspace.read() as connection:
        rows = connection.execute(sa.select(*columns, table.c.time_us)).all()
    label: dict[int, str | None] = {}
    alike: dict[int, tuple[object, ...]] = {}
    for row in rows:
        file = row.file.rpartition(f"/{LOGS_FOLDER}/")[2]
        label[row.id] = planted.get((file, row.record))
        day = None if row.time_us is None else row.time_us // DAY_US
        alike[row.id] = (row.organisation_id, label[row.id], row.rule_id, row.host, day)
    for name, kept in (("every detection", label.keys()), ("alike ones of a day once", first_of(alike))):
        scored(name, of, {number: (alike[number][0], label[number]) for number in kept})
    inside: dict[tuple[object, object], Counter[int]] = defaultdict(Counter)
    for number, detections in of.items():
        for detection in detections:
            if label[detection]:
                inside[alike[detection][:2]][number] += 1
    for campaign, counts in sorted(inside.items(), key=str):
        print(
            f"  {campaign}: {len(counts)} situations, with {[count for _, count in counts.most_common(6)]} detections"
        )


def first_of(alike: dict[int, tuple[object, ...]]) -> list[int]:
    first: dict[tuple[object, ...], int] = {}
    for number, what in alike.items():
        first.setdefault(what, number)
    return list(first.values())


def scored(name: str, of: dict[int, list[int]], label: dict[int, tuple[object, str | None]]) -> None:
    """Print precision and recall over pairs of detections, one of which at least is planted."""
    right = wrong = 0
    for detections in of.values():
        counts = Counter(label[each][1] for each in detections if each in label)
        campaigns = [count for what, count in counts.items() if what]
        right += sum(map(pairs, campaigns))
        wrong += pairs(sum(counts.values())) - sum(map(pairs, counts.values()))
    all_of_them = Counter(what for what in label.values() if what[1])
    wanted = sum(map(pairs, all_of_them.values()))
    print(f"{name}: precision {right / max(1, right + wrong):.3f}, recall {right / max(1, wanted):.3f}")


def archives(workspace: Workspace) -> None:
    """How many situations each archive of one attack became."""
    of = members(workspace)
    with workspace.read() as connection:
        owner = {row.id: row for row in connection.execute(sa.select(s.situations))}
        level = dict(
            connection.execute(
                sa.select(t.detections.c.organisation_id, sa.func.count()).group_by(t.detections.c.organisation_id)
            ).all()
        )
        grave = {
            row.id for row in connection.execute(sa.select(t.detections).where(t.detections.c.level.in_(LEVELS[2:])))
        }
        of_grave = Counter(connection.execute(
            sa.select(t.detections.c.organisation_id).where(t.detections.c.level.in_(LEVELS[2:]))
        ).scalars())  # fmt: skip
    sizes: Counter[int] = Counter()
    together = wanted = 0
    for each in organisations(workspace, OPERATOR):
        own = [number for number in of if owner[number].organisation_id == each.id]
        sizes[len(own)] += bool(level.get(each.id))
        together += sum(pairs(sum(detection in grave for detection in of[number])) for number in own)
        wanted += pairs(of_grave[each.id])
        hosts = [unpacked(owner[number].summary).hosts_count for number in own]
        print(f"  {each.name}: {level.get(each.id, 0)} detections, {len(own)} situations, hosts {hosts}")
    print("archives by number of situations:", dict(sorted(sizes.items())))
    print(f"pairs of detections from medium on that are together: {together / max(1, wanted):.3f}")


def main() -> None:
    """Do what is asked."""
    import gc

    gc.set_threshold(GARBAGE_THRESHOLD)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    fast = commands.add_parser("speed")
    fast.add_argument("--detections", type=int, default=1_000_000)
    fast.add_argument("--organisations", type=int, default=20)
    fast.add_argument("--batch", type=int, default=1_000)
    fast.add_argument("--batches", type=int, default=10)
    fast.add_argument("--database", default=DATABASE_FILE)
    right = commands.add_parser("sector")
    right.add_argument("workspace", type=Path)
    right.add_argument("sector", type=Path)
    commands.add_parser("archives").add_argument("workspace", type=Path)
    options = parser.parse_args()
    if options.what == "speed":
        speed(options)
        return
    with open_workspace(options.workspace.resolve()) as workspace:
        if options.what == "sector":
            sector(workspace, options.sector)
        else:
            archives(workspace)


if __name__ == "__main__":
    main()
