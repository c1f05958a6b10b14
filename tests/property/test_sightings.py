"""The sightings index against a plain dictionary: random commits, merges, interruptions, power failures."""

import contextlib
import functools
import ipaddress
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from memory_folder import Disk, MemoryFolder, PowerFailure
from mingjian.errors import MingjianError, StorageError
from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import blocks, bulk, finding, merging, reading, writing
from mingjian.store.sightings.checking import check_file, differences, rebuilt
from mingjian.store.sightings.delta import OVERLAP, write_delta
from mingjian.store.sightings.index import Feed, SightingsIndex
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.sightings.merging import Merge, merge, remove_strays, unfinished

DAY_US = 86_400_000_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, pages and portions so small that some hundred rows have many of each."""
    blocks_of(monkeypatch, values=3, rows=5)
    for module in (blocks, writing, finding):
        monkeypatch.setattr(module, "TOTALLED_ROWS", 4)
    monkeypatch.setattr(finding, "HITS_AT_ONCE", 4)
    monkeypatch.setattr(bulk, "BLOCKS_AT_ONCE", 2)
    monkeypatch.setattr(bulk, "SPARE_BYTES", 8)  # blocks with more entries are long ones
    monkeypatch.setattr(bulk, "PLACES_AT_ONCE", 2)
    monkeypatch.setattr("mingjian.store.sightings.layout.PAGE_ITEMS", 4)
    monkeypatch.setattr("mingjian.store.sightings.layout.KEYS_PER_BUCKET_MAX", 4)
    monkeypatch.setattr("mingjian.store.sightings.layout.BUCKETS_TOGETHER", 2)
    monkeypatch.setattr(writing, "HASHES_IN_MEMORY_MAX", 8)
    monkeypatch.setattr(reading, "PORTION_ROWS", 7)
    monkeypatch.setattr(reading, "PAGES_KEPT_MAX", 2)
    monkeypatch.setattr(reading, "BLOCKS_KEPT_MAX", 2)


def blocks_of(monkeypatch: pytest.MonkeyPatch, *, values: int, rows: int) -> None:
    for module in (blocks, writing, reading, finding):
        monkeypatch.setattr(module, "VALUES_PER_BLOCK", values)
    for module in (blocks, writing, reading):
        monkeypatch.setattr(module, "ROWS_PER_BLOCK", rows)


VALUES: tuple[tuple[ObservableKind, str], ...] = (
    *(("ip", value) for value in ("192.0.2.1", "192.0.2.255", "198.51.100.7", "2001:db8::1", "::", "no address")),
    *(("domain", value) for value in ("evil.example", "www.evil.example", "notevil.example", "a.b.evil.example", "x")),
    *(("url", value) for value in ("http://evil.example/", "https://www.evil.example:8443/x?y", "what is this")),
    *(("email", value) for value in ("mallory@evil.example", "bob@mail.evil.example", "alice@example.org")),
    *(("host", value) for value in ("dc01", "dc01.evil.example", "192.0.2.1", "\x04abcd")),
    *(("file", value) for value in ("c:\\temp\\a.exe", "/opt/a.exe", "a.exe", "b.a.exe")),
    *(("hash", value) for value in ("ab" * 16, "cd" * 32, "")),
    *(
        ("account", value)
        for value in (
            "corp\\alice",
            "lab\\alice",
            "x\\y\\alice",
            "\\alice",
            "alice\\",
            "alice",
            "alicf",
            "a" * 200 + "b",
            "a" * 200 + "c",
            "a" * 200,
            "a\0",
            "a",
        )
    ),
)


@dataclass(frozen=True)
class Observation:
    kind: ObservableKind
    value: str
    role: str
    source: str
    segment: int
    time_us: int | None
    event: int


@dataclass
class Model:
    """What is committed, in the plainest form."""

    rows: list[tuple[int, Observation, int]] = field(default_factory=list)
    """Organisation, observation, number of the commit."""

    def sightings(self, replaced: dict[int, int | None]) -> dict[tuple[object, ...], tuple[object, ...]]:
        found: dict[tuple[object, ...], list[Observation]] = defaultdict(list)
        for organisation, o, _ in self.rows:
            day = None if o.time_us is None else o.time_us // DAY_US
            found[o.kind, o.value, organisation, o.source, o.role, day].append(o)
        return {
            key: (
                len(group),
                min((o.time_us for o in group if o.time_us is not None), default=None),
                max((o.time_us for o in group if o.time_us is not None), default=None),
                tuple(sorted({now for o in group if (now := merging.followed(replaced, o.segment)) is not None})),
            )
            for key, group in found.items()
        }

    def totals(self, kind: str, value: str) -> tuple[int, int | None, int | None] | None:
        group = [(commit, o) for _, o, commit in self.rows if (o.kind, o.value) == (kind, value)]
        times = [o.time_us for _, o in group if o.time_us is not None]
        events = {(commit, o.event) for commit, o in group}
        return (len(events), min(times, default=None), max(times, default=None)) if group else None


def table(observations: Sequence[Observation]) -> pa.Table:
    columns = {name: [getattr(o, name) for o in observations] for name in Observation.__dataclass_fields__}
    types = {"segment": pa.int64(), "time_us": pa.int64(), "event": pa.int64()}
    return pa.table({name: pa.array(column, types.get(name, pa.string())) for name, column in columns.items()})


@st.composite
def commits(draw: st.DrawFn) -> list[Observation]:
    """Events of one commit: each has a source, a segment and a time, and some observables in some roles."""
    found: dict[Observation, None] = {}
    for event in range(draw(st.integers(1, 25))):
        source = draw(st.sampled_from(("windows", "zeek", "")))
        segment = draw(st.integers(1, 6))
        day = draw(st.integers(-2, 6))
        unit = draw(st.sampled_from((1, 1000, 1_000_000)))
        time_us = draw(st.none() | st.integers(0, DAY_US // unit - 1).map(lambda n, u=unit, d=day: d * DAY_US + n * u))
        for kind, value in draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4)):
            role = draw(st.sampled_from(("source", "destination", "用户")))
            found[Observation(kind, value, role, source, segment, time_us, event)] = None
    return list(found)


@dataclass(frozen=True)
class Step:
    """A commit, then perhaps the merge of some files, interrupted after some steps or not."""

    organisation: int
    observations: list[Observation]
    merged: int
    """How many files are merged; fewer than two: none."""
    steps: int | None
    """After how many steps the merge is interrupted; None: not at all."""


steps = st.lists(
    st.builds(
        Step,
        organisation=st.integers(1, 3),
        observations=commits(),
        merged=st.integers(0, 4),
        steps=st.none() | st.integers(0, 12),
    ),
    min_size=1,
    max_size=6,
)
replacements = st.dictionaries(st.integers(1, 6), st.none() | st.integers(3, 9), max_size=4)


class Catalogue:
    """What the state database does for the index: it says which files count, all at once."""

    def __init__(self, folder: MemoryFolder) -> None:
        self.folder = folder
        self.live: list[str] = []
        self.model = Model()

    def run(self, todo: Iterable[Step], replaced: dict[int, int | None], names: Iterable[str]) -> None:
        names = iter(names)
        for number, step in enumerate(todo):
            file = write_delta(self.folder, table(step.observations), step.organisation, name=next(names))
            assert file is not None
            self.live.append(file.name)
            self.model.rows += [(step.organisation, o, number) for o in step.observations]
            if step.merged >= 2 and len(self.live) >= step.merged:
                self.merge(self.live[: step.merged], replaced, step.steps, next(names))

    def merge(self, inputs: list[str], replaced: dict[int, int | None], steps: int | None, name: str) -> None:
        work = Merge(self.folder, inputs, replaced=lambda _: replaced, name=name)
        for _ in range(10_000 if steps is None else steps):
            if not work.step():
                break
        else:
            work.close()
            return
        self.commit(work)

    def commit(self, work: Merge) -> None:
        file = work.finish()
        self.live = [name for name in self.live if name not in work.inputs] + [file.name]
        for name in work.inputs:
            self.folder.remove(name)

    def recover(self, replaced: dict[int, int | None]) -> None:
        """What is done at every start."""
        remove_strays(self.folder, self.live)
        work = unfinished(self.folder, self.live, replaced=lambda _: replaced)
        if work is not None:
            self.commit(work)
        remove_strays(self.folder, self.live)


NAMES = [f"file{number:03}.sightings" for number in range(100)]


def check(catalogue: Catalogue, replaced: dict[int, int | None], *, values: int = len(VALUES)) -> None:
    """Every way to ask gives what the model says."""
    opened = SightingsIndex.open(catalogue.folder, catalogue.live, replaced=lambda _: replaced)
    expected = catalogue.model.sightings(replaced)
    scanned = {}
    for part in opened.scan():
        for row in part.to_pylist():
            if row["role"] != OVERLAP:
                key = tuple(row[name] for name in ("kind", "value", "organisation", "source", "role", "day"))
                assert key not in scanned
                scanned[key] = (row["count"], row["first_us"], row["last_us"], tuple(row["segments"]))
    assert scanned == expected
    for kind, value in VALUES[:values]:
        found = list(opened.lookup(kind, value))
        rows = {
            (kind, value, s.organisation, s.source, s.role, s.day): (s.count, s.first_us, s.last_us, s.segments)
            for s in found
        }
        assert rows == {key: row for key, row in expected.items() if key[:2] == (kind, value)}
        assert found == sorted(found, key=lambda s: (s.organisation, s.source, s.role, (s.day is not None, s.day or 0)))
        totals = opened.totals(kind, value)
        assert (totals and (totals.count, totals.first_us, totals.last_us)) == catalogue.model.totals(kind, value)
    feed = Feed(pa.array([kind for kind, _ in VALUES]), pa.array([value for _, value in VALUES]))
    # Many at once, and one after the other.
    for bulk_min in (1, len(VALUES) + 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finding, "BULK_MIN", bulk_min)
            matched = opened.match(feed)
        assert by_group(matched.to_pylist()) == expected_totals(expected)
        assert {VALUES[row][1] for row in matched["row"].to_pylist()} == {key[1] for key in expected}
    opened.close()


def by_group(rows: list[dict[str, object]]) -> dict[tuple[object, ...], tuple[object, ...]]:
    names = ("kind", "value", "organisation", "source", "role")
    found = {tuple(row[n] for n in names): (row["count"], row["first_us"], row["last_us"]) for row in rows}
    assert len(found) == len(rows)
    return found


def expected_totals(rows: dict[tuple[object, ...], tuple[object, ...]]) -> dict[tuple[object, ...], tuple[object, ...]]:
    groups: dict[tuple[object, ...], list[tuple[object, ...]]] = defaultdict(list)
    for key, row in rows.items():
        groups[key[:5]].append(row)
    return {
        key: (
            sum(cast("int", row[0]) for row in group),
            min((cast("int", row[1]) for row in group if row[1] is not None), default=None),
            max((cast("int", row[2]) for row in group if row[2] is not None), default=None),
        )
        for key, group in groups.items()
    }


@hypothesis.settings(max_examples=60, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(todo=steps, replaced=replacements)
def test_whatever_is_committed_and_merged_every_question_has_the_answer_of_a_plain_dictionary(
    todo: list[Step], replaced: dict[int, int | None]
) -> None:
    catalogue = Catalogue(MemoryFolder())
    catalogue.run(todo, replaced, NAMES)
    check(catalogue, replaced)
    catalogue.recover(replaced)
    check(catalogue, replaced)
    for name in catalogue.live:
        check_file(catalogue.folder, name)


@hypothesis.settings(max_examples=40, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(todo=steps, seed=st.integers(0, 2**32))
def test_after_a_power_failure_at_any_moment_all_that_was_committed_is_there(todo: list[Step], seed: int) -> None:
    chance = random.Random(seed)
    whole = Catalogue(MemoryFolder())
    whole.run(todo, {}, NAMES)
    catalogue = Catalogue(MemoryFolder(fails_at=chance.randrange(whole.folder.operations), is_power=True))
    with pytest.raises(PowerFailure):
        catalogue.run(todo, {}, NAMES)
    catalogue.folder = MemoryFolder(catalogue.folder.disk.after_power_failure(chance))
    check(catalogue, {})
    catalogue.recover({})
    check(catalogue, {})
    assert sorted(catalogue.folder.names()) == sorted(catalogue.live)


def fixed_steps() -> list[Step]:
    """A scenario with everything in it, always the same."""
    chance = random.Random(7)
    todo = []
    for number in range(3):
        found = dict.fromkeys(
            Observation(
                *chance.choice(VALUES),
                role=chance.choice(("source", "destination")),
                source=chance.choice(("windows", "zeek")),
                segment=number + 1,
                time_us=chance.choice((None, chance.randrange(5 * DAY_US))),
                event=event // 3,
            )
            for event in range(12)
        )
        todo.append(Step(number % 2, list(found), (0, 2, 2)[number], (None, None, 2)[number]))
    return todo


@pytest.mark.slow
def test_a_failure_of_any_single_file_operation_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(monkeypatch, values=8, rows=16)
    whole = Catalogue(MemoryFolder())
    whole.run(fixed_steps(), {}, NAMES)
    whole.recover({})
    assert whole.folder.operations > 80
    for number in range(whole.folder.operations):
        catalogue = Catalogue(MemoryFolder(fails_at=number))
        with contextlib.suppress(StorageError):
            catalogue.run(fixed_steps(), {}, NAMES)
            catalogue.recover({})
        done = len({commit for _, _, commit in catalogue.model.rows})
        catalogue.folder = MemoryFolder(catalogue.folder.disk)
        catalogue.recover({})
        check(catalogue, {}, values=3)
        # And life goes on.
        commit = catalogue.model.rows[-1][2] + 1 if catalogue.model.rows else 0
        rest = fixed_steps()[done:]
        before = list(catalogue.model.rows)
        catalogue.run(rest, {}, [f"again{name}" for name in NAMES])
        catalogue.model.rows = before + [
            (step.organisation, o, commit + place) for place, step in enumerate(rest) for o in step.observations
        ]
        check(catalogue, {}, values=3)


@pytest.mark.slow
def test_a_power_failure_before_any_single_file_operation_loses_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks_of(monkeypatch, values=8, rows=16)
    whole = Catalogue(MemoryFolder())
    whole.run(fixed_steps(), {}, NAMES)
    whole.recover({})
    for number in range(whole.folder.operations):
        catalogue = Catalogue(MemoryFolder(fails_at=number, is_power=True))
        try:
            catalogue.run(fixed_steps(), {}, NAMES)
            catalogue.recover({})
        except PowerFailure:
            catalogue.folder = MemoryFolder(catalogue.folder.disk.after_power_failure(random.Random(number)))
        catalogue.recover({})
        check(catalogue, {}, values=3)


@functools.cache
def damage_case() -> tuple[Disk, tuple[str, ...]]:
    catalogue = Catalogue(MemoryFolder())
    catalogue.run([Step(s.organisation, s.observations, 0, None) for s in fixed_steps()], {}, NAMES)
    merged = merge(catalogue.folder, catalogue.live[:2])
    live = (merged.name, catalogue.live[2])
    return catalogue.folder.disk, live


@hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(seed=st.integers(0, 2**32), how=st.sampled_from(("flip", "truncate", "zero", "swap", "append")))
def test_a_damaged_file_is_noticed_or_harmless_never_a_wrong_answer(seed: int, how: str) -> None:
    chance = random.Random(seed)
    disk, live = damage_case()
    catalogue = Catalogue(MemoryFolder(disk.copy()))
    catalogue.live = list(live)
    catalogue.model.rows = [
        (step.organisation, o, number) for number, step in enumerate(fixed_steps()) for o in step.observations
    ]
    data = catalogue.folder.disk.files[chance.choice(live)].data
    before = bytes(data)
    place = chance.randrange(len(data))
    size = chance.randint(1, 64)
    if how == "flip":
        data[place] ^= 1 << chance.randrange(8)
    elif how == "truncate":
        del data[place:]
    elif how == "zero":
        data[place : place + size] = bytes(len(data[place : place + size]))
    elif how == "swap":
        other = chance.randrange(len(data))
        one, two = bytes(data[place : place + 1]), bytes(data[other : other + 1])
        data[place : place + 1], data[other : other + 1] = two, one
    else:
        data += chance.randbytes(size)
    noticed = False
    for name in live:
        try:
            check_file(catalogue.folder, name)
        except MingjianError:
            noticed = True
    # Each question is answered rightly or refused.
    questions = (lambda: check(catalogue, {}), *(functools.partial(ask_one, catalogue, *value) for value in VALUES))
    for question in questions:
        with contextlib.suppress(MingjianError):
            question()
    assert noticed or bytes(data) == before


def ask_one(catalogue: Catalogue, kind: ObservableKind, value: str) -> None:
    opened = SightingsIndex.open(catalogue.folder, catalogue.live)
    expected = catalogue.model.sightings({})
    found = {
        (kind, value, s.organisation, s.source, s.role, s.day): (s.count, s.first_us, s.last_us, s.segments)
        for s in opened.lookup(kind, value)
    }
    assert found == {key: row for key, row in expected.items() if key[:2] == (kind, value)}
    totals = opened.totals(kind, value)
    assert (totals and (totals.count, totals.first_us, totals.last_us)) == catalogue.model.totals(kind, value)


@hypothesis.settings(max_examples=40, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(todo=steps)
def test_ranges_hold_what_belongs_into_them_and_nothing_else(todo: list[Step]) -> None:
    catalogue = Catalogue(MemoryFolder())
    catalogue.run(todo, {}, NAMES)
    opened = SightingsIndex.open(catalogue.folder, catalogue.live)
    everything = expected_totals(catalogue.model.sightings({}))

    def within(found: list[dict[str, object]], wanted: dict[str, set[str]]) -> None:
        rows = {key: row for key, row in everything.items() if key[1] in wanted.get(str(key[0]), set())}
        assert by_group(found) == rows

    below = {
        "domain": {"evil.example", "www.evil.example", "a.b.evil.example"},
        "url": {"http://evil.example/", "https://www.evil.example:8443/x?y"},
        "email": {"mallory@evil.example", "bob@mail.evil.example"},
        "host": {"dc01.evil.example"},
    }
    within(opened.lookup_domain("evil.example").totals.to_pylist(), below)
    network = opened.lookup_network(ipaddress.ip_network("192.0.2.0/24"))
    within(network.totals.to_pylist(), {"ip": {"192.0.2.1", "192.0.2.255"}, "host": {"192.0.2.1"}})
    within(opened.lookup_network(ipaddress.ip_network("::/0")).totals.to_pylist(), {"ip": {"2001:db8::1", "::"}})
    files = opened.lookup_file_name("a.exe").totals.to_pylist()
    within(files, {"file": {"c:\\temp\\a.exe", "/opt/a.exe", "a.exe"}})
    alike = {"alice", "corp\\alice", "lab\\alice", "x\\y\\alice", "\\alice"}
    within(opened.lookup_account_name("alice").totals.to_pylist(), {"account": alike})
    within(opened.lookup_prefix("account", "a").totals.to_pylist(), {"account": {v for k, v in VALUES if v[:1] == "a"}})
    within(opened.lookup_prefix("url", "http").totals.to_pylist(), {"url": below["url"]})
    few = opened.lookup_prefix("account", "", values_max=2)
    accounts = {key[1] for key in everything if key[0] == "account"}
    assert len(set(few.totals["value"].to_pylist())) == min(2, len(accounts))
    assert few.is_complete == (len(accounts) <= 2)
    only = opened.lookup_domain("evil.example", organisations=[2])
    assert set(only.totals["organisation"].to_pylist()) <= {2}


def opened_from(folder: MemoryFolder, files: Iterable[IndexFile]) -> SightingsIndex:
    return SightingsIndex.open(folder, [file.name for file in files])


@hypothesis.settings(max_examples=30, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(todo=steps, seed=st.integers(0, 2**32))
def test_an_index_equals_the_one_made_anew_and_every_planted_difference_is_found(todo: list[Step], seed: int) -> None:
    catalogue = Catalogue(MemoryFolder())
    catalogue.run(todo, {}, NAMES)
    opened = SightingsIndex.open(catalogue.folder, catalogue.live)
    again = MemoryFolder()
    anew = rebuilt(again, ((step.organisation, table(step.observations)) for step in todo))
    assert list(differences(opened, opened_from(again, anew))) == []

    chance = random.Random(seed)
    step = chance.randrange(len(todo))
    left = list(todo[step].observations)
    gone = left.pop(chance.randrange(len(left)))
    other = MemoryFolder()
    lacking = rebuilt(
        other,
        ((s.organisation, table(left if n == step else s.observations)) for n, s in enumerate(todo)),
    )
    found = list(differences(opened, opened_from(other, lacking)))
    day = None if gone.time_us is None else gone.time_us // DAY_US
    own = [d for d in found if d.role != OVERLAP]
    assert [(d.kind, d.value, d.organisation, d.source, d.role, d.day) for d in own] == [
        (gone.kind, gone.value, todo[step].organisation, gone.source, gone.role, day)
    ]
    assert own[0].what in ("surplus", "other")
    back = [d.what for d in differences(opened_from(other, lacking), opened) if d.role != OVERLAP]
    assert back == [{"surplus": "missing", "other": "other"}[own[0].what]]
