"""What tests of ingest need: rules, logs, one ingest, and what is then in the workspace."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from lakes import OPERATOR
from mingjian.detect.engine import Engine
from mingjian.hunt.arrival import Watch
from mingjian.hunt.detection import Run
from mingjian.hunt.ingest import Ingest, Summary
from mingjian.hunt.tailing import Tail
from mingjian.model.detections import Detection
from mingjian.model.rules import ANY, Correlation, LogSource, Number, Rule, Text
from mingjian.model.values import Record
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router
from mingjian.store import tables
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.detections import detections
from mingjian.store.indicatormatching import IndicatorMatcher
from mingjian.store.rules import keep_rules
from mingjian.store.sightings.live import tidy
from mingjian.store.upkeep import clean
from mingjian.store.workspace import Workspace

SOURCES = load_sources()
_DIFFERENT = ("id", "public_id", tables.SEAL)
RULES = (
    Rule(
        id="whoami",
        title="Somebody asks who they are",
        file="r.yml",
        level="high",
        attack=("T1033",),
        logsource=LogSource("windows", "process_creation"),
        condition=Text("Image", (ANY, "\\whoami.exe")),
        content_hash="a",
    ),
    Rule(
        id="failed",
        title="Failed logon",
        file="r.yml",
        level="low",
        logsource=LogSource("windows"),
        condition=Number("EventID", 4625),
        content_hash="b",
    ),
)
CORRELATIONS = (
    Correlation(
        id="several",
        title="Several times within a minute",
        file="r.yml",
        level="critical",
        type="event_count",
        rules=("whoami",),
        group_by=("Computer",),
        timespan_s=60,
        bounds=(("gte", 3),),
        generate=True,
        content_hash="c",
    ),
)


def sysmon(second: int, image: str = "C:\\Windows\\notepad.exe", *, host: str = "pc-1") -> Record:
    """A process creation as NXLog writes it."""
    return {
        "EventTime": "2026-03-01 10:00:00",
        "UtcTime": f"2026-03-01 10:{second // 60 % 60:02}:{second % 60:02}.000",
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "EventID": 1,
        "Hostname": host,
        "SourceName": "Microsoft-Windows-Sysmon",
        "Image": image,
    }


def lines(records: Iterable[Record]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def some(count: int, *, first: int = 0) -> list[Record]:
    """Process creations, each tenth of which somebody should look at."""
    return [
        sysmon(n, "C:\\Windows\\whoami.exe" if n % 10 == 3 else f"C:\\Windows\\tool{n % 7}.exe", host=f"pc-{n % 3}")
        for n in range(first, first + count)
    ]


def ingest(
    workspace: Workspace,
    *paths: Path | str,
    rules: Sequence[Rule] = RULES,
    correlations: Sequence[Correlation] = CORRELATIONS,
    organisation: str = "ours",
    jobs: int = 1,
    matcher: IndicatorMatcher | None = None,
    **options: Any,
) -> Summary:
    """Take files in."""
    owner = organisation_named(workspace, OPERATOR, organisation, make=True)
    watch = Watch(keep_rules(workspace, OPERATOR, rules, correlations), Engine(rules), everybody=matcher)
    run = Ingest(workspace, OPERATOR, owner, watch, SOURCES, jobs=jobs, **options)
    return run.run([str(path) for path in paths])


def follow(
    workspace: Workspace,
    *paths: Path | str,
    steps: Iterable[object],
    intake: bool = False,
    jobs: int = 1,
    changed: Callable[[], Watch | None] = lambda: None,
) -> Summary:
    """Follow files; before each look the next step is done, and after the last there are some more looks."""
    owner = organisation_named(workspace, OPERATOR, "ours", make=True)
    watch = Watch(keep_rules(workspace, OPERATOR, RULES, CORRELATIONS), Engine(RULES))
    now_s = [0.0]
    left = chain(steps, repeat(None, 4))
    over: list[bool] = []

    def clock_s() -> float:
        now_s[0] += 0.5
        return now_s[0]

    def tell() -> None:
        now_s[0] += 40.0
        if next(left, over) is over:
            over.append(True)

    run = Ingest(workspace, OPERATOR, owner, watch, SOURCES, jobs=jobs, clock_s=clock_s)
    tail = Tail(
        run,
        workspace,
        OPERATOR,
        paths=[str(path) for path in paths],
        intake=intake,
        changed=changed,
        should_stop=lambda: bool(over),
        tell=tell,
        clock_s=clock_s,
    )
    with workspace.writing():
        clean(workspace)
        tidy(workspace)
        return run.work(tail.messages(), sleep=lambda seconds: None)


class Event(NamedTuple):
    """A record in the lake."""

    stream: str
    file: str
    number: int
    record: str


def events(workspace: Workspace) -> list[Event]:
    """Every record in the lake, in order."""
    with workspace.read() as connection:
        names = {row.id: row.name for row in connection.execute(sa.select(tables.inputs))}
    return sorted(_events(workspace, names))


def _events(workspace: Workspace, names: dict[int, str]) -> Iterator[Event]:
    for row in live_segments(workspace, OPERATOR):
        with Segment(workspace.lake / row.path) as segment:
            for block in segment.blocks():
                inputs = block.inputs.tolist()
                for place, number in enumerate(block.numbers):
                    yield Event(row.key.stream, names[inputs[place]], number, repr(block.record(place)))


class Row(NamedTuple):
    """What has to be the same of a detection, live or not."""

    rule: str
    file: str
    record: int
    time_us: int | None
    told: str


def row_of(one: Detection) -> Row:
    told = (one.level, one.host, one.account, one.stream, sorted(one.matched.items()), one.attack)
    return Row(one.rule_id, one.file, one.record, one.time_us, repr(told))


def found(workspace: Workspace) -> Counter[Row]:
    """What the workspace has detected."""
    return Counter(row_of(each.detection) for each in detections(workspace, OPERATOR))


def detected(
    *paths: Path | str, rules: Sequence[Rule] = RULES, correlations: Sequence[Correlation] = CORRELATIONS
) -> Counter[Row]:
    """What detection finds in files."""
    run = Run(rules, correlations, Engine(rules), Router(SOURCES))
    run.execute([str(path) for path in paths])
    try:
        return Counter(row_of(each) for each in run.detections())
    finally:
        run.close()


def table(workspace: Workspace, name: str) -> list[tuple[Any, ...]]:
    """All rows of a table of the state database, without what is different every time."""
    columns = [c for c in tables.metadata.tables[name].c if c.name not in _DIFFERENT and "_us" not in c.name]
    with workspace.read() as connection:
        return sorted(tuple(row) for row in connection.execute(sa.select(*columns)).all())
