"""One process's share of an ingest: follows orders, with a ``Gatherer`` for each organisation whose units come by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mingjian.hunt.arrival import Watch
from mingjian.hunt.gathering import Gatherer, Home
from mingjian.hunt.parts import Begin, Data, End, Flush, Message, Share, Unit
from mingjian.hunt.patience import Say
from mingjian.hunt.pool import give_memory_back
from mingjian.sources.definitions import SourceBook
from mingjian.sources.router import Router
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.upkeep import Retention, retentions
from mingjian.store.workspace import Workspace

REST_S: Final = 10.0
"""Memory that work has left is given back this often at most."""


class Plan(NamedTuple):
    """What a foreman has to know: rules and indicators, source definitions, and where to put things."""

    watch: Watch
    sources: SourceBook
    lake: Path
    sightings: Path
    keep_raw: bool
    retentions: Sequence[Retention]


def plan_of(workspace: Workspace, scope: Scope, watch: Watch, sources: SourceBook, *, keep_raw: bool) -> Plan:
    """The plan for a workspace, as things stand in it now."""
    return Plan(watch, sources, workspace.lake, workspace.sightings, keep_raw, retentions(workspace, scope))


class Foreman:
    """Follows the orders of one ingest."""

    def __init__(
        self,
        plan: Plan,
        *,
        reserve: Callable[[], int],
        deliver: Callable[[Share], None],
        say: Say,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``reserve`` numbers a new segment, ``deliver`` takes what a flush gave, ``say`` hears of trouble."""
        self._plan = plan
        self._router = Router(plan.sources)
        self._reserve = reserve
        self._deliver = deliver
        self._say = say
        self._clock_s = clock_s
        self._rest_at_s = clock_s() + REST_S
        self._gatherers: dict[OrganisationId, Gatherer] = {}

    def work(self, messages: Iterator[Message]) -> None:
        """Follow orders until there are no more.

        Raises:
            StorageError: something cannot be kept, and waiting does not help.
        """
        for message in messages:
            match message:
                case Begin(unit):
                    self._gatherer(unit).read(unit, self._chunks(messages))
                case Flush(epoch):
                    self._flush(epoch)
                case _:
                    pass

    def _gatherer(self, unit: Unit) -> Gatherer:
        gatherer = self._gatherers.get(unit.organisation)
        if gatherer is None:
            plan = self._plan
            home = Home(plan.lake, plan.sightings, plan.keep_raw, unit.organisation, unit.owner, plan.retentions)
            gatherer = Gatherer(home, plan.watch, self._router, reserve=self._reserve, say=self._say)
            self._gatherers[unit.organisation] = gatherer
        return gatherer

    def _chunks(self, messages: Iterator[Message]) -> Iterator[bytes]:
        """The data of a unit. What was read so far may have to be flushed in its middle."""
        for message in messages:
            match message:
                case Data(data):
                    yield data
                case End():
                    return
                case Flush(epoch):
                    self._flush(epoch)
                case _:
                    pass

    def _flush(self, epoch: int) -> None:
        self._deliver(Share(epoch, [gatherer.flush() for gatherer in self._gatherers.values()]))
        self._rest()

    def _rest(self) -> None:
        """Give memory back now and then: an ingest that goes on for months must not keep what its worst moment took."""
        now_s = self._clock_s()
        if now_s >= self._rest_at_s:
            give_memory_back()
            self._rest_at_s = now_s + REST_S
