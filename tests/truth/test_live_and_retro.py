"""What is found on arrival is what is found over history, and what detection finds in the files: the same rows.

Whenever the rules or the indicators came, whatever was killed meanwhile, however late the older logs came in, and also
after everything was merged. Logs, rules and values are real; of the indicators a slow and obvious search says what has
to be found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

from ingesting import SOURCES, Row, row_of
from lakes import OPERATOR
from mingjian.detect.engine import Engine
from mingjian.errors import StateError
from mingjian.hunt.arrival import Watch, watch_live
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run
from mingjian.hunt.hunting import Hunt
from mingjian.hunt.indicating import look_for
from mingjian.hunt.ingest import Ingest, Summary
from mingjian.hunt.retro import Retro, Stopped
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.indicators import Indicator
from mingjian.sources.router import Router
from mingjian.store import coverage, jobs
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.detections import detections
from mingjian.store.indicators import add_set
from mingjian.store.merging import merge, plan_merges
from mingjian.store.rules import add_rules, keep_rules, live_rules
from mingjian.store.sightings.live import Upkeep
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create, open_workspace
from truth.compare import files_under
from truth.test_history import CORRELATIONS, RULE_FOLDERS
from truth.test_indicators_over_history import events, is_hit

LISTS = WarningLists()
KEY = ("kind", "how", "value")
EVENTS_OF_AN_INDICATOR_MAX = 300
"""Over history only so many events of one indicator are given as there are in none of these."""
LOCKED_S_MAX = 30.0
"""The processes of one that was killed end with it, but not in the same microsecond."""
KILLED = """
import os, sys
from pathlib import Path
from mingjian.hunt import ingest
from mingjian.hunt.arrival import watch_live
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.scope import Scope
from mingjian.store.workspace import open_workspace
ingest.EPOCH_BYTES = 300_000
folder, cache, events, *paths = sys.argv[1:]
def progress(_, committed):
    if committed > int(events):
        os.kill(os.getpid(), 9)
with open_workspace(Path(folder)) as workspace:
    scope = Scope.of_operator()
    owner = organisation_named(workspace, scope, "Ours", make=True)
    watch = watch_live(workspace, scope, starter=Path(), cache_folder=Path(cache)).watch
    ingest.Ingest(workspace, scope, owner, watch, load_sources(), jobs=2, progress=progress).run(paths)
"""
Found = Counter[tuple[str, str, int]]
"""Indicator, file and record."""


class Logs(NamedTuple):
    """Files that come first, and files that come late: most of what is in them happened before."""

    first: list[str]
    late: list[str]


class Right(NamedTuple):
    """What has to be found."""

    rows: Counter[Row]
    indicated: Found


@pytest.fixture(scope="module")
def logs(shared_data: Path) -> Logs:
    archives = files_under([shared_data / "windows-json" / name for name in ("execution", "discovery")])
    attacks = [path for path in files_under([shared_data / "evtx-attack-samples"]) if path.suffix == ".evtx"]
    trails = files_under([shared_data / "aws"])
    zeek = sorted((shared_data / "zeek" / "apt29").glob("*_[ds][ns][sl].log"))
    return Logs(first=[*map(str, [*archives[-6:], *trails[-24:-4]])], late=[*map(str, [*sorted(attacks)[::12], *zeek])])


@pytest.fixture(scope="module")
def book(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Rulebook:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "correlations.yml").write_text(CORRELATIONS, encoding="utf-8")
    return load_rulebook([*(shared_data / "sigma" / name for name in RULE_FOLDERS), folder])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def observed(logs: Logs) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """Every observable, and the events that hold it."""
    found: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for file, number, several in events([Path(path) for path in (*logs.first, *logs.late)]):
        for each in several:
            found.setdefault((each.kind, each.value), set()).add((file, number))
    return {key: sorted(places) for key, places in found.items()}


@pytest.fixture(scope="module")
def feed(observed: dict[tuple[str, str], list[tuple[str, int]]]) -> list[Indicator]:
    """Some of what is in the logs, networks and domains around it, and much that is not there."""
    rare = sorted(key for key, places in observed.items() if len(places) <= EVENTS_OF_AN_INDICATOR_MAX // 3)
    chosen = [Indicator(kind=kind, how="is", value=value, written=value) for kind, value in rare[::9]]
    # What is below a name that is on a warning list is not on it, and may be a hit both ways.
    children = [value for kind, value in rare[::5] if kind == "domain" and value.count(".") > 1]
    chosen += [Indicator(kind="domain", how="is", value=value, written=value) for value in children]
    parents = {value.split(".", 1)[1] for value in children}
    chosen += [Indicator(kind="domain", how="below", value=value, written=value) for value in sorted(parents)]
    chosen += [
        Indicator(kind="domain", how="below", value=f"no{n}.example", written=f"no{n}.example") for n in range(5_000)
    ]
    hits = hits_of(chosen, observed)
    return [each for each in chosen if hits.get(name_of(each), Counter()).total() <= EVENTS_OF_AN_INDICATOR_MAX]


@pytest.fixture(scope="module")
def right(
    logs: Logs,
    book: Rulebook,
    cache: Path,
    feed: Sequence[Indicator],
    observed: dict[tuple[str, str], list[tuple[str, int]]],
) -> Right:
    """What detection finds in the files, and what the slow search finds of the indicators."""
    run = Run(book.rules, book.correlations, engine_for(book.rules, cache), Router(SOURCES))
    with closing(run):
        run.execute([*logs.first, *logs.late])
        rows = Counter(map(row_of, run.detections()))
    indicated = sum(hits_of(feed, observed).values(), Counter())
    assert len({row.rule for row in rows}) > 30
    assert any(row.rule == each.id for each in book.correlations for row in rows)
    assert len({indicator for indicator, _, _ in indicated}) > 100
    return Right(rows, indicated)


def name_of(indicator: Indicator) -> str:
    return f"{indicator.kind}:{indicator.value}"


def hits_of(
    indicators: Sequence[Indicator], observed: dict[tuple[str, str], list[tuple[str, int]]]
) -> dict[str, Found]:
    """The slow and obvious search: every indicator against every observable, but for those that are nowhere."""
    sought = [each for each in indicators if not each.value.endswith(".example")]
    listed = LISTS.of_indicators(*(pa.array([getattr(each, name) for each in sought]) for name in KEY)).to_pylist()
    listed_too = LISTS.of_observables(*map(pa.array, zip(*observed, strict=True))).to_pylist()
    harmless = dict(zip(observed, listed_too, strict=True))
    found: dict[str, set[tuple[str, str, int]]] = {}
    for indicator, is_listed in zip(sought, listed, strict=True):
        name = name_of(indicator)
        for (kind, value), places in observed.items():
            if is_hit(indicator, kind, value) and not is_listed and not harmless[kind, value]:
                found.setdefault(name, set()).update((name, *place) for place in places)
    return {name: Counter(places) for name, places in found.items()}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


def take_in(workspace: Workspace, paths: Sequence[str], cache: Path) -> Summary:
    """Ingest with the rules and indicators of the workspace, once whoever was killed is gone."""
    owner = organisation_named(workspace, OPERATOR, "Ours", make=True)
    watch = Watch(keep_rules(workspace, OPERATOR, (), ()), Engine(()))
    if len(live_rules(workspace, OPERATOR)):
        watch = watch_live(workspace, OPERATOR, starter=Path(), cache_folder=cache).watch
    give_up_at = time.monotonic() + LOCKED_S_MAX
    while True:
        try:
            return Ingest(workspace, OPERATOR, owner, watch, SOURCES, jobs=2).run(paths)
        except StateError:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)  # somebody else still holds the lock, and dies


def kill(workspace: Workspace, paths: Sequence[str], cache: Path, *, events: int) -> int:
    """Ingest in another process, which is killed after more than so many events; give how many are kept."""
    command = [sys.executable, "-c", KILLED, str(workspace.folder), str(cache), str(events), *paths]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
    return sum(row.rows for row in live_segments(workspace, OPERATOR))


def add_book(workspace: Workspace, book: Rulebook) -> int:
    add_rules(workspace, OPERATOR, book.rules, book.correlations)
    return live_rules(workspace, OPERATOR).id


def stored(workspace: Workspace) -> Right:
    """All that is kept of what was detected."""
    several = [each.detection for each in detections(workspace, OPERATOR)]
    return Right(
        Counter(row_of(each) for each in several if each.kind != "indicator"),
        Counter((each.rule_id, Path(each.file).name, each.record) for each in several if each.kind == "indicator"),
    )


def hunted(workspace: Workspace, book: Rulebook, feed: Sequence[Indicator], cache: Path) -> Right:
    """What hunts find that keep nothing."""
    hunt = Hunt(workspace, OPERATOR, book.rules, book.correlations, engine_for(book.rules, cache), SOURCES)
    with closing(hunt):
        hunt.execute()
        rows = Counter(map(row_of, hunt.detections()))
    outcome, _ = look_for(workspace, OPERATOR, feed, SOURCES, lists=LISTS)
    assert (outcome.damaged, outcome.left_out) == ([], 0)
    return Right(rows, Counter((each.rule_id, Path(each.file).name, each.record) for each in outcome.detections()))


def agree(found: Right, right: Right) -> None:
    """Compare, and show the first few that are too many or missing."""
    for one, other in zip(found, right, strict=True):
        assert ([*(one - other)][:5], [*(other - one)][:5]) == ([], [])


def merge_everything(workspace: Workspace) -> int:
    """Segments and index files; give how many segments there were."""
    before = len(live_segments(workspace, OPERATOR))
    for plan in plan_merges(workspace, OPERATOR, today=10**6):
        merge(workspace, OPERATOR, plan, [coverage.inherit])
    with Upkeep(workspace) as upkeep:
        while upkeep.step():
            pass
    return before


def test_what_is_found_on_arrival(
    workspace: Workspace, logs: Logs, book: Rulebook, feed: Sequence[Indicator], right: Right, cache: Path
) -> None:
    rule_set = add_book(workspace, book)
    indicators = add_set(workspace, OPERATOR, "feed", feed, lists=LISTS).set.id
    assert kill(workspace, logs.first, cache, events=0) > 0
    between = kill(workspace, logs.first, cache, events=400)
    assert take_in(workspace, logs.first, cache).events > 0
    assert between > 400
    assert take_in(workspace, logs.late, cache).events > 1_000
    agree(stored(workspace), right)
    assert merge_everything(workspace) > len(live_segments(workspace, OPERATOR))
    agree(hunted(workspace, book, feed, cache), right)
    # Nothing is left for a hunt, and one that is told to look does not add to what is there.
    assert coverage.uncovered_by_indicators(workspace, OPERATOR, indicators) == []
    jobs.queue(workspace, OPERATOR, "rules", rule_set_id=rule_set)
    jobs.queue(workspace, OPERATOR, "indicators", indicator_set_id=indicators)
    done = Retro(workspace, OPERATOR, SOURCES, cache).run_pending()
    assert done is not None
    assert [each.job.state for each in done] == ["done", "done"]
    agree(stored(workspace), right)


def test_what_is_found_afterwards(
    workspace: Workspace, logs: Logs, book: Rulebook, feed: Sequence[Indicator], right: Right, cache: Path
) -> None:
    take_in(workspace, logs.first, cache)
    assert stored(workspace) == Right(Counter(), Counter())
    rule_set = add_book(workspace, book)
    indicators = add_set(workspace, OPERATOR, "feed", feed, lists=LISTS).set.id
    jobs.queue(workspace, OPERATOR, "rules", rule_set_id=rule_set)
    jobs.queue(workspace, OPERATOR, "indicators", indicator_set_id=indicators)
    left = iter(range(7))
    with pytest.raises(Stopped):
        Retro(workspace, OPERATOR, SOURCES, cache, should_stop=lambda: next(left, None) is None).run_pending()
    merge_everything(workspace)
    with open_workspace(workspace.folder) as again:
        assert Retro(again, OPERATOR, SOURCES, cache).run_pending()
    # What comes late is looked at when it comes; correlations count both.
    take_in(workspace, logs.late, cache)
    agree(stored(workspace), right)
