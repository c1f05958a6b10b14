"""What ``ask`` answers is what a plain scan says: every count, first, last, host and account."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

from ingesting import ingest
from lakes import OPERATOR
from mingjian.model.blocks import Quarantined
from mingjian.model.sources import ObservableKind
from mingjian.settings import user_cache_folder
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.situations.story import time_text
from mingjian.sources.definitions import load_sources
from mingjian.sources.envelope import envelope, observables
from mingjian.sources.router import Router
from mingjian.store import coverage
from mingjian.store.merging import merge, plan_merges
from mingjian.store.sightings.live import Upkeep
from mingjian.store.workspace import Workspace, create
from truth.compare import blocks_of, files_under

SOURCES = load_sources()
SAMPLES = Path(__file__).parent.parent / "samples"
ASKED_OF_EACH = 3
"""So many observables of each kind: the noisiest, the quietest, and some between."""
FILE_BYTES_MAX = 300_000
FIGURES = ("seen", "count", "first", "last", "hosts", "accounts", "lists_cut", "roles", "streams", "organisations")
JUDGED = ("verdict", "score", "terms", "speaks_for", "speaks_against", "unknown", "coverage")
TOLD = ("timeline", "timeline_left_out", "chain", "graph")
"""Of what has more events than are read, which of them are read may differ."""


def rows(paths: Iterable[Path]) -> Iterator[dict[str, object]]:
    """Every observable of every event of some files, record by record."""
    router = Router(SOURCES)
    event = 0
    for path in paths:
        for _, block in blocks_of(path):
            if isinstance(block, Quarantined):
                continue
            for portion in router.route(block):
                for row in range(len(block.numbers)) if portion.rows is None else portion.rows:
                    event += 1
                    record = block.record(row)
                    about = envelope(portion.view, record)
                    for kind, value, role in observables(portion.view, record):
                        yield {
                            "kind": kind, "value": value, "role": role, "event": event, "time": about.time_us,
                            "host": about.host, "account": about.account, "stream": portion.view.stream.name,
                        }  # fmt: skip


SCAN = """
SELECT kind, value, count(DISTINCT event), min(time), max(time),
       list(DISTINCT host) FILTER (host <> ''), list(DISTINCT account) FILTER (account <> ''), list(DISTINCT stream)
FROM events GROUP BY kind, value ORDER BY kind, count(DISTINCT event), value
"""


def scanned(paths: Iterable[Path]) -> list[tuple[Any, ...]]:
    """The figures of all observables, and of them those that are asked about."""
    events = pa.Table.from_pylist(list(rows(paths)))
    with duckdb.connect() as connection:
        connection.register("events", events)
        found = connection.execute(SCAN).fetchall()
    by_kind: dict[str, list[tuple[Any, ...]]] = {}
    for each in found:
        by_kind.setdefault(each[0], []).append(each)
    return [
        several[place * (len(several) - 1) // (ASKED_OF_EACH - 1)]
        for several in by_kind.values()
        for place in range(ASKED_OF_EACH)
    ]


def answered(workspace: Workspace, kind: ObservableKind, value: str) -> VerdictCard:
    cache = user_cache_folder(os.environ)
    question = Question(workspace, OPERATOR, kind, value, SOURCES, "en", cache_folder=cache)
    return ask(question)


def agree(workspace: Workspace, expected: list[tuple[Any, ...]]) -> list[VerdictCard]:
    cards = []
    for kind, value, count, first, last, hosts, accounts, streams in expected:
        card = answered(workspace, kind, value)
        cards.append(card)
        assert (card.kind, card.observable, card.seen, card.lists_cut) == (kind, value, True, False)
        assert card.count == count, card.observable
        assert (card.first, card.last) == (time_text(first), time_text(last)), card.observable
        assert sorted(card.hosts) == sorted(hosts or []), card.observable
        assert sorted(card.accounts) == sorted(accounts or []), card.observable
        assert sorted(card.streams) == sorted(streams), card.observable
        assert sum(term.points for term in card.terms) == card.score
        msgspec.json.encode(card)
    return cards


def told(cards: list[VerdictCard], names: tuple[str, ...]) -> list[tuple[object, ...]]:
    return [tuple(getattr(card, name) for name in names) for card in cards]


def same(before: list[VerdictCard], after: list[VerdictCard]) -> None:
    assert told(after, FIGURES + JUDGED) == told(before, FIGURES + JUDGED)
    both = list(zip(before, after, strict=True))
    whole = [place for place, pair in enumerate(both) if all(step.is_exact for each in pair for step in each.timeline)]
    assert len(whole) * 3 > len(before)
    for place in whole:
        for name in TOLD:
            what = (before[place].kind, before[place].observable, name)
            assert (what, getattr(after[place], name)) == (what, getattr(before[place], name))


def compare(folder: Path, paths: list[Path]) -> None:
    expected = scanned(paths)
    assert len(expected) > 15
    with create(folder / "split") as workspace:
        for path in reversed(paths):
            ingest(workspace, path)
        split = agree(workspace, expected)
    with create(folder / "workspace") as workspace:
        ingest(workspace, *paths)
        before = agree(workspace, expected)
        same(before, split)
        ingest(workspace, *paths)
        same(before, agree(workspace, expected))
        today = datetime.date(2200, 1, 1).toordinal()
        while plans := plan_merges(workspace, OPERATOR, today=today):
            for plan in plans:
                merge(workspace, OPERATOR, plan, [coverage.inherit])
        with Upkeep(workspace) as upkeep:
            while upkeep.step():
                pass
        same(before, agree(workspace, expected))


@pytest.mark.slow
def test_on_many_producers(tmp_path: Path) -> None:
    compare(tmp_path, [path for path in files_under([SAMPLES]) if path.suffix != ".yml"])


@pytest.mark.slow
def test_on_windows_hosts(shared_data: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    paths = [path for path in files_under([shared_data / "windows-json"]) if path.name != "LICENSE"]
    compare(tmp_path, paths if pytestconfig.getoption("--full") else paths[-12:])


@pytest.mark.slow
def test_on_network_logs(shared_data: Path, tmp_path: Path) -> None:
    paths = [path for path in files_under([shared_data / "zeek"]) if path.stat().st_size < FILE_BYTES_MAX]
    compare(tmp_path, paths[:24])
