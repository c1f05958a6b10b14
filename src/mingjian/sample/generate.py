"""The generator: a sector's logs, one organisation and one day at a time, in as many processes as wanted.

What comes out depends on the ``Order`` alone: not on the number of processes, the clock or the machine.
"""

from __future__ import annotations

import csv
import gc
import multiprocessing
import shutil
import sys
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from itertools import accumulate
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.errors import ConfigError, StateError
from mingjian.sample import campaigns
from mingjian.sample.activity import everyday
from mingjian.sample.activity.hum import Hum
from mingjian.sample.activity.lookalikes import LOOKALIKES
from mingjian.sample.book import DAMAGED, KEPT_BACK, REPEATED, SWALLOWED, Book, Counted, Placed
from mingjian.sample.campaigns import Planted, Step
from mingjian.sample.moments import DAY, MINUTE, SECOND, at, iso_ms
from mingjian.sample.scene import Scene
from mingjian.sample.templates import Template
from mingjian.sample.world import World, build
from mingjian.sample.writers.windows import Key

SLOTS_US: Final = tuple(minutes * MINUTE for minutes in (1, 5, 15, 30, 60, 120, 240, 480, 1440))
"""Lines wait in memory for so long (of generated time) before they are put in order and written: the shorter, the more
there are."""
SLOT_EVENTS: Final = 2_500
"""About so many lines of one organisation wait at a time, unless a minute has more."""
DOCUMENT_US: Final = 15 * MINUTE
"""Documents of records are delivered after so long, where a day has its own files; otherwise once a day."""
HUM_SLOT_US: Final = 240 * MINUTE
"""The longest time for which the hum is drawn at once: it is louder by day."""
HUM_MAX: Final = 0.95
DAYS_MAX: Final = 3_660
EVENTS_PER_DAY_MIN: Final = 500
"""Even if nearly nothing happens, people come and go, backups and scans are made."""
DAYS_PER_FILE_MAX: Final = 31
"""Times without a year must be within a year of the file's end, and a damaged file should not cost a season."""
PEOPLE_MIN: Final = 6
"""The campaigns need so many."""
SERVERS_EVENTS: Final = 7_000
"""What the servers of an organisation write on a day, about …"""
PERSON_EVENTS: Final = 1_700
"""… and what one more person adds. Both measured; they only serve to choose the number of people …"""
STILL_EVENTS: Final = 260
"""… and what is left of a small organisation's day if all happens as rarely as it can."""
LOGS_FOLDER: Final = "logs"
"""Below the output folder: the logs and nothing else."""
TRUTH_FILE: Final = "truth.jsonl"
SECTOR_FILE: Final = "sector.json"
ARRIVING_FILE: Final = "arriving.csv"
"""Indicators that become known only when the days are over; not there if no campaign has any."""
UNFINISHED_FILE: Final = "unfinished"
"""Stands in the folder while it is being filled. Who finds it may begin anew: the folder is ours and not whole."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted."""

    seed: int = 1
    organisations: int = 3
    days: int = 3
    start: date = date(2026, 3, 2)
    events_per_day: int = 24_000
    """Of one organisation on a working day, about."""
    hum: float = 0.5
    """This share of the events is what machines write about themselves: images loaded, handles, keys, broadcasts."""
    days_per_file: int = 1
    """So many days of one organisation share their log files."""
    forwarded: bool = False
    """Only what members hand on to a hub is written (``forwarding``)."""
    campaigns: tuple[str, ...] = msgspec.field(default_factory=lambda: tuple(c.name for c in campaigns.standard()))

    @property
    def people(self) -> int:
        """How many people one organisation has."""
        return max(PEOPLE_MIN, int(self.events_per_day * (1 - self.hum) - SERVERS_EVENTS) // PERSON_EVENTS)

    @property
    def pace(self) -> float:
        """How much of an ordinary day happens, where an organisation is too small to have fewer events otherwise."""
        usual = SERVERS_EVENTS + PEOPLE_MIN * PERSON_EVENTS
        wanted = self.events_per_day * (1 - self.hum)
        return 1.0 if wanted >= usual else max(0.01, (wanted - STILL_EVENTS) / (usual - STILL_EVENTS))


def story(seed: int) -> Order:
    """The sector of the story that takes a year: four organisations, fourteen months, one campaign through three.

    Some 250,000 events, because little happens there, and only what members hand on to their hub is written. What
    becomes known afterwards lies beside it (``ARRIVING_FILE``): nothing else finds the first foothold, on the
    thirty-first day.
    """
    return Order(
        seed=seed, organisations=4, days=425, start=date(2025, 1, 6), events_per_day=600, hum=0.0, days_per_file=30,
        forwarded=True, campaigns=("longhaul",),
    )  # fmt: skip


class Made(msgspec.Struct, kw_only=True):
    """What has been made."""

    files: int = 0
    records: int = 0
    bytes: int = 0
    repeated: int = 0
    damaged: int = 0
    planted: int = 0
    """Lines that belong to a campaign."""
    records_by_source: dict[str, int] = {}
    """By the folder below the organisation's: ``winlogbeat``, ``zeek`` …"""
    steps: list[Step] = []


TruthKind: TypeAlias = Literal["planted", "hidden", "damaged", "repeated", "silent", "missing", "skewed"]


class Truth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the truth: a line that was planted, one that is not what it should be, or a hole where lines should be.

    ``planted`` a line of a campaign; ``hidden`` one that is not there, for a ``reason``; ``damaged`` a line that
    cannot be read; ``repeated`` one that stands there twice; ``silent`` a host whose own logs are missing for a time;
    ``missing`` a source of which nothing was kept for a time; ``skewed`` a host with a wrong clock.
    """

    file: str = ""
    """Below the folder of the logs, with ``/``; of a hole, empty."""
    record: int = 0
    kind: TruthKind
    time: str
    """When it happened; for a damaged or repeated line, when it was written; when a hole begins."""
    until: str = ""
    """When a hole ends."""
    source: str = ""
    """Of ``missing``: the folder below the organisation's."""
    seconds: int = 0
    """Of ``skewed``: so much the clock is ahead."""
    reason: Literal["", "outage", "not forwarded"] = ""
    """Of ``hidden``: why it is not there."""
    organisation: str = ""
    campaign: str = ""
    step: str = ""
    technique: str = ""
    host: str = ""
    account: str = ""
    entities: dict[str, str] = {}


def world_of(order: Order) -> World:
    """The sector that an order is about. Raises: ConfigError."""
    return build(order.seed, order.organisations, order.people, start_us=at(order.start), days=order.days)


class _Answer(msgspec.Struct, array_like=True):
    task: int
    placed: list[Placed]
    counted: list[Counted]


class _Sector:
    """The world with what is planted in it: what every task is done with."""

    def __init__(self, order: Order) -> None:
        self.start_us = at(order.start)
        self.world = world_of(order)
        self.planted: list[Planted] = campaigns.write_all(self.world, order.campaigns, self.start_us, order.days)
        self.pace = order.pace
        self.hum_events = order.events_per_day * order.hum
        self.slot_us = next(
            (slot for slot in reversed(SLOTS_US) if order.events_per_day * slot <= SLOT_EVENTS * DAY), SLOTS_US[0]
        )
        self.days = order.days
        self.days_per_file = order.days_per_file
        self.is_forwarded = order.forwarded
        firsts = range(0, order.days, order.days_per_file)
        self.tasks = [(number, day) for day in firsts for number in range(order.organisations)]
        # Kept from day to day: what is the same on every day is rendered once.
        self._templates: dict[str, dict[Key, Template]] = {}
        # The mark of the first happening of every deed: from it, the others are counted.
        self._marks = list(accumulate((len(deed.times_us) for deed in self.planted), initial=1))
        self._deeds: dict[str, list[int]] = defaultdict(list)
        for place, deed in enumerate(self.planted):
            self._deeds[deed.step.organisation].append(place)

    def planted_of(self, mark: int) -> tuple[Planted, int]:
        """The planted deed that has a mark, and when it happened."""
        place = bisect_right(self._marks, mark) - 1
        deed = self.planted[place]
        return deed, deed.times_us[mark - self._marks[place]]

    def make(self, output: Path, task: int) -> _Answer:
        """Make the days of one organisation that share their files."""
        number, first = self.tasks[task]
        organisation = self.world.organisations[number]
        days = range(first, min(first + self.days_per_file, self.days))
        start_us = self.start_us - organisation.profile.zone_us
        from_us, until_us = start_us + days.start * DAY, start_us + days.stop * DAY
        name = f"{self.world.seed}/{organisation.id}/{first}"
        with Book(
            output, name, finished_at_us=until_us, outages=organisation.outages, is_forwarded=self.is_forwarded
        ) as book:
            templates = self._templates.setdefault(organisation.id, {})
            for day in days:
                scene = Scene(
                    self.world, organisation, book, start_us + day * DAY, templates, pace=self.pace,
                    files_from_us=from_us, files_until_us=until_us,
                )  # fmt: skip
                self._live(scene)
            # What goes on beyond midnight stands at the end of the day on which it began.
            book.write(until_us + 100 * DAY)
        return _Answer(task, book.placed, book.counted)

    def _live(self, scene: Scene) -> None:
        """Let a day pass."""
        plan = everyday(scene)
        for place in self._deeds[scene.organisation.id]:
            deed, mark = self.planted[place], self._marks[place]
            first = bisect_left(deed.times_us, scene.start_us)
            for number in range(first, bisect_left(deed.times_us, scene.end_us, lo=first)):
                plan.add(deed.times_us[number], partial(_play, deed=deed, mark=mark + number))
        slot_us, document_us = self.slot_us, DOCUMENT_US if self.days_per_file == 1 else DAY
        hum = Hum(scene, self.hum_events) if self.hum_events else None
        due = deque(plan.in_order())
        for from_us in range(scene.start_us, scene.end_us, slot_us):
            until_us = from_us + slot_us
            if hum is not None:
                for moment_us in range(from_us, until_us, min(slot_us, HUM_SLOT_US)):
                    hum.write(moment_us, min(moment_us + HUM_SLOT_US, until_us))
            while due and due[0][0] < until_us:
                time_us, deed = due.popleft()
                deed(scene, time_us)
            # Some lines carry a time a little before the deed that they belong to: they may still come.
            delivered = (until_us - scene.start_us) // document_us > (from_us - scene.start_us) // document_us
            scene.book.write(until_us - MINUTE, lines_only=not delivered)


def _play(scene: Scene, time_us: int, *, deed: Planted, mark: int) -> None:
    with scene.under(scene.chance_of("planted", deed.step.id, time_us)):
        deed.play(scene, time_us, mark)


def generate(
    order: Order, output: Path, *, jobs: int = 1, progress: Callable[[int, int], None] = lambda size, records: None
) -> Made:
    """Write the logs of a sector below a folder that is empty or not there, with ``truth.jsonl`` and ``sector.json``.

    ``progress`` is called with the bytes and the records written so far.

    Raises:
        ConfigError: an order that cannot be met, or a folder that is not empty.
        StateError: a process ended before its work was done.
        OSError: the folder cannot be written to.
    """
    _check(order, output)
    sector = _Sector(order)
    logs = output / LOGS_FOLDER
    output.mkdir(parents=True, exist_ok=True)
    (output / UNFINISHED_FILE).touch()
    if logs.is_dir():
        shutil.rmtree(logs)
    logs.mkdir()
    made = Made(steps=list({deed.step.id: deed.step for deed in sector.planted}.values()))
    with (output / TRUTH_FILE).open("wb") as stream:
        for hole in _holes(sector.world, sector.start_us, order.days):
            stream.write(msgspec.json.encode(hole) + b"\n")
        # The truth is in order, whoever is ready first.
        early: dict[int, list[Placed]] = {}
        due = 0
        for answer in _answers(sector, logs, min(jobs, len(sector.tasks))):
            _count(made, logs, answer.counted)
            progress(made.bytes, made.records)
            early[answer.task] = answer.placed
            while (ready := early.pop(due, None)) is not None:
                due += 1
                for placed in ready:
                    made.planted += placed.mark > 0 and placed.record > 0
                    stream.write(msgspec.json.encode(_truth(sector, placed)) + b"\n")
    made.records_by_source = dict(sorted(made.records_by_source.items()))
    arriving = list(_arriving(order.campaigns))
    if arriving:
        with (output / ARRIVING_FILE).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("indicator", "type", "verdict", "confidence", "tlp", "description"))
            writer.writerows(arriving)
    (output / SECTOR_FILE).write_bytes(
        msgspec.json.format(msgspec.json.encode(_described(order, sector, made))) + b"\n"
    )
    (output / UNFINISHED_FILE).unlink()
    return made


class Sector(msgspec.Struct, frozen=True, kw_only=True):
    """What ``sector.json`` tells, as far as this program reads it again."""

    order: Order
    made: Made


def read_sector(output: Path) -> Sector | None:
    """Read what a folder was filled with; None if it is not a finished folder of this generator."""
    try:
        return msgspec.json.decode((output / SECTOR_FILE).read_bytes(), type=Sector)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def read_truth(output: Path) -> list[Truth]:
    """Read the truth about generated logs: holes first, then lines, in order of file."""
    decode = msgspec.json.Decoder(Truth).decode
    with (output / TRUTH_FILE).open("rb") as stream:
        return [decode(line) for line in stream]


def _check(order: Order, output: Path) -> None:
    known = {campaign.name for campaign in campaigns.scripted()}
    unknown = [name for name in order.campaigns if name not in known]
    if unknown:
        raise ConfigError(f"there is no campaign {unknown[0]!r}", hint=f"there are: {', '.join(sorted(known))}")
    if not 1 <= order.days <= DAYS_MAX:
        raise ConfigError(f"{order.days} days", hint=f"1 to {DAYS_MAX} are possible")
    if not 1 <= order.days_per_file <= DAYS_PER_FILE_MAX:
        raise ConfigError(f"{order.days_per_file} days in a file", hint=f"1 to {DAYS_PER_FILE_MAX} are possible")
    if not 0 <= order.hum <= HUM_MAX:
        raise ConfigError(f"a hum of {order.hum}", hint=f"0 to {HUM_MAX} is possible")
    if order.events_per_day < EVENTS_PER_DAY_MIN:
        raise ConfigError(f"{order.events_per_day} events a day", hint=f"at least {EVENTS_PER_DAY_MIN} are needed")
    if output.is_dir() and any(output.iterdir()) and not (output / UNFINISHED_FILE).is_file():
        raise ConfigError("the folder is not empty", where=str(output), hint="name another one, or empty it")


def _answers(sector: _Sector, output: Path, jobs: int) -> Iterator[_Answer]:
    if jobs < 2 or sys.platform != "linux":
        for task in range(len(sector.tasks)):
            yield sector.make(output, task)
        return
    context = multiprocessing.get_context("fork")
    gc.freeze()
    decode = msgspec.msgpack.Decoder(_Answer).decode
    workers: dict[Connection, BaseProcess] = {}
    try:
        for first in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            shares = range(first, len(sector.tasks), jobs)
            process = context.Process(
                target=_work, args=(theirs, [*workers, ours], sector, output, shares), daemon=True
            )
            process.start()
            theirs.close()
            workers[ours] = process
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                try:
                    yield decode(connection.recv_bytes())
                except EOFError:
                    process = workers.pop(connection)
                    process.join()
                    if process.exitcode:
                        raise StateError("a process ended before its work was done", hint="try --jobs 1") from None
    finally:
        for process in workers.values():
            process.terminate()


def _work(
    connection: Connection, inherited: Sequence[Connection], sector: _Sector, output: Path, tasks: Sequence[int]
) -> None:
    for other in inherited:
        other.close()
    for task in tasks:
        connection.send_bytes(msgspec.msgpack.encode(sector.make(output, task)))
    connection.close()


def _holes(world: World, start_us: int, days: int) -> Iterator[Truth]:
    """What cannot be seen in the logs, and the clocks that are wrong."""
    end_us = start_us + days * DAY
    for each in world.organisations:
        for host in each.hosts:
            if host.silent_from_us:
                until_us = min(host.silent_until_us, end_us - each.profile.zone_us)
                yield Truth(
                    kind="silent", time=iso_ms(host.silent_from_us), until=iso_ms(until_us), organisation=each.id,
                    host=host.name,
                )  # fmt: skip
            if host.skew_us:
                yield Truth(
                    kind="skewed", time=iso_ms(start_us - each.profile.zone_us), organisation=each.id, host=host.name,
                    seconds=host.skew_us // SECOND,
                )  # fmt: skip
        for outage in each.outages:
            until_us = min(outage.until_us, end_us - each.profile.zone_us)
            yield Truth(
                kind="missing", time=iso_ms(outage.from_us), until=iso_ms(until_us), organisation=each.id,
                source=outage.source,
            )  # fmt: skip


_REASONS: Final[dict[int, Literal["outage", "not forwarded"]]] = {SWALLOWED: "outage", KEPT_BACK: "not forwarded"}
_MARKS: Final[dict[int, TruthKind]] = {DAMAGED: "damaged", REPEATED: "repeated"}


def _truth(sector: _Sector, placed: Placed) -> Truth:
    if placed.mark < 0:
        return Truth(
            file=placed.file,
            record=placed.record,
            kind=_MARKS[placed.mark],
            time=iso_ms(placed.time_us),
            organisation=placed.file.partition("/")[0],
        )
    deed, time_us = sector.planted_of(placed.mark)
    return Truth(
        file=placed.file,
        record=max(0, placed.record),
        kind="planted" if placed.record > 0 else "hidden",
        reason=_REASONS.get(placed.record, ""),
        time=iso_ms(time_us),
        organisation=deed.step.organisation,
        campaign=deed.step.campaign,
        step=deed.step.name,
        technique=deed.step.technique,
        host=deed.host,
        account=deed.account,
        entities=dict(deed.entities),
    )


def _count(made: Made, logs: Path, counted: Sequence[Counted]) -> None:
    for file in counted:
        made.files += 1
        made.records += file.records
        made.repeated += file.repeated
        made.damaged += file.damaged
        made.bytes += (logs / file.file).stat().st_size
        source = file.file.split("/")[1]
        source = "cloudtrail" if source == "AWSLogs" else source
        made.records_by_source[source] = made.records_by_source.get(source, 0) + file.records


def _arriving(chosen: Sequence[str]) -> Iterator[tuple[str, str, str, int, str, str]]:
    """What becomes known later of the chosen campaigns: a row for a name and one for an address."""
    for told in campaigns.scripted():
        for site, sentence in told.arriving.items() if told.name in chosen else ():
            row = told.sites[site]
            yield row.name, "domain", "malicious", 90, "amber", sentence
            yield row.address, "ip", "malicious", 70, "amber", sentence


def _described(order: Order, sector: _Sector, made: Made) -> object:
    """What the sector is made of, for those who judge what was found in its logs."""
    return {
        "order": order,
        "made": made,
        "lookalikes": LOOKALIKES,
        "organisations": [
            {
                "id": each.id,
                "title": {"en": each.title_en, "zh": each.title_zh},
                "profile": each.profile,
                "hosts": each.hosts,
                "people": each.people,
                "outages": each.outages,
            }
            for each in sector.world.organisations
        ],
    }
