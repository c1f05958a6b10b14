"""The generator: a sector's logs, one organisation and one day at a time, in as many processes as wanted.

What comes out depends on the ``Order`` alone: not on the number of processes, the clock or the machine.
"""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import msgspec

from mingjian.errors import ConfigError, StateError
from mingjian.sample import campaigns
from mingjian.sample.activity import everyday
from mingjian.sample.book import Book, Counted, Placed
from mingjian.sample.campaigns import CAMPAIGNS, Planted, Step
from mingjian.sample.moments import DAY, MINUTE, at, iso_ms
from mingjian.sample.scene import Scene
from mingjian.sample.templates import Template
from mingjian.sample.world import World, build
from mingjian.sample.writers.windows import Key

SLOT_US: Final = 15 * MINUTE
"""Lines wait in memory for so long (of generated time) before they are put in order and written."""
DAYS_MAX: Final = 3_660
EVENTS_PER_DAY_MIN: Final = 8_000
"""Below so many an organisation would have too few people for the campaigns."""
SERVERS_EVENTS: Final = 7_000
"""What the servers of an organisation write on a day, about …"""
PERSON_EVENTS: Final = 1_700
"""… and what one more person adds. Both measured; they only serve to choose the number of people."""
LOGS_FOLDER: Final = "logs"
"""Below the output folder: the logs and nothing else."""
TRUTH_FILE: Final = "truth.jsonl"
SECTOR_FILE: Final = "sector.json"
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
    campaigns: tuple[str, ...] = tuple(campaign.name for campaign in CAMPAIGNS)

    @property
    def people(self) -> int:
        """How many people one organisation has."""
        return max(6, (self.events_per_day - SERVERS_EVENTS) // PERSON_EVENTS)


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


class Truth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the truth: a line that was planted, or one that cannot be read."""

    file: str
    """Below the folder of the logs, with ``/``."""
    record: int
    kind: str
    """``planted`` or ``damaged``."""
    time: str
    """When it happened; for a damaged line, when it was written."""
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
        self.tasks = [(number, day) for day in range(order.days) for number in range(order.organisations)]
        # Kept from day to day: what is the same on every day is rendered once.
        self._templates: dict[str, dict[Key, Template]] = {}
        self._marks: dict[tuple[str, int], list[int]] = defaultdict(list)
        for mark, deed in enumerate(self.planted, 1):
            organisation = next(each for each in self.world.organisations if each.id == deed.step.organisation)
            day = (deed.time_us + organisation.profile.zone_us - self.start_us) // DAY
            self._marks[organisation.id, day].append(mark)

    def make(self, output: Path, task: int) -> _Answer:
        """Make one day of one organisation."""
        number, day = self.tasks[task]
        organisation = self.world.organisations[number]
        start_us = self.start_us - organisation.profile.zone_us + day * DAY
        with Book(output, f"{self.world.seed}/{organisation.id}/{day}", finished_at_us=start_us + DAY) as book:
            templates = self._templates.setdefault(organisation.id, {})
            scene = Scene(self.world, organisation, book, start_us, templates)
            plan = everyday(scene)
            for mark in self._marks.get((organisation.id, day), ()):
                plan.add(self.planted[mark - 1].time_us, partial(_play, deed=self.planted[mark - 1], mark=mark))
            slot_us = start_us + SLOT_US
            for time_us, deed in plan.in_order():
                while time_us >= slot_us:
                    # Some lines carry a time a little before the deed that they belong to: they may still come.
                    book.write(slot_us - MINUTE)
                    slot_us += SLOT_US
                deed(scene, time_us)
            # What goes on beyond midnight stands at the end of the day on which it began.
            book.write(start_us + 100 * DAY)
        return _Answer(task, book.placed, book.counted)


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
    answers: dict[int, _Answer] = {}
    made = Made(steps=list({deed.step.id: deed.step for deed in sector.planted}.values()))
    for answer in _answers(sector, logs, min(jobs, len(sector.tasks))):
        answers[answer.task] = answer
        _count(made, logs, answer.counted)
        progress(made.bytes, made.records)
    made.records_by_source = dict(sorted(made.records_by_source.items()))
    with (output / TRUTH_FILE).open("wb") as stream:
        for task in range(len(sector.tasks)):
            for placed in answers[task].placed:
                made.planted += not placed.damaged
                stream.write(msgspec.json.encode(_truth(sector, placed)) + b"\n")
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
    """Read the truth about generated logs."""
    decode = msgspec.json.Decoder(Truth).decode
    with (output / TRUTH_FILE).open("rb") as stream:
        return [decode(line) for line in stream]


def _check(order: Order, output: Path) -> None:
    known = {campaign.name for campaign in CAMPAIGNS}
    unknown = [name for name in order.campaigns if name not in known]
    if unknown:
        raise ConfigError(f"there is no campaign {unknown[0]!r}", hint=f"there are: {', '.join(sorted(known))}")
    if not 1 <= order.days <= DAYS_MAX:
        raise ConfigError(f"{order.days} days", hint=f"1 to {DAYS_MAX} are possible")
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


def _truth(sector: _Sector, placed: Placed) -> Truth:
    if placed.damaged:
        organisation = placed.file.partition("/")[0]
        return Truth(
            file=placed.file,
            record=placed.record,
            kind="damaged",
            time=iso_ms(placed.time_us),
            organisation=organisation,
        )
    deed = sector.planted[placed.mark - 1]
    return Truth(
        file=placed.file,
        record=placed.record,
        kind="planted",
        time=iso_ms(deed.time_us),
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


def _described(order: Order, sector: _Sector, made: Made) -> object:
    """What the sector is made of, for those who judge what was found in its logs."""
    return {
        "order": order,
        "made": made,
        "organisations": [
            {
                "id": each.id,
                "title": {"en": each.title_en, "zh": each.title_zh},
                "profile": each.profile,
                "hosts": each.hosts,
                "people": each.people,
            }
            for each in sector.world.organisations
        ],
    }
