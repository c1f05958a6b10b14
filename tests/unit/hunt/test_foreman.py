"""What a process of an ingest does beside its work."""

from pathlib import Path
from typing import cast

import pytest

from mingjian.hunt import foreman
from mingjian.hunt.arrival import Watch
from mingjian.hunt.foreman import REST_S, Foreman, Plan
from mingjian.hunt.gathering import Gatherer
from mingjian.hunt.parts import Begin, Data, End, Flush, Share, Unit
from mingjian.sources.definitions import load_sources
from mingjian.store.scope import OrganisationId


class Reader:
    """Takes a unit in and does nothing with it."""

    def read(self, unit: Unit, chunks: list[bytes]) -> None:
        """Go through the unit."""
        for _ in chunks:
            pass


def test_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    given_back: list[float] = []
    delivered: list[Share] = []

    def reader(foreman: Foreman, unit: Unit) -> Gatherer:
        return cast("Gatherer", Reader())

    monkeypatch.setattr(foreman, "give_memory_back", lambda: given_back.append(now_s))
    monkeypatch.setattr(Foreman, "_gatherer", reader)
    plan = Plan(cast("Watch", None), load_sources(), Path(), Path(), keep_raw=False, retentions=())
    one = Foreman(plan, reserve=lambda: 0, deliver=delivered.append, say=print, clock_s=lambda: now_s)
    unit = Unit(organisation=OrganisationId(1), owner="a", input_id=1, file="a", format="jsonl")
    for epoch, passes_s in enumerate([1.0, REST_S, REST_S, 1.0, REST_S]):
        now_s += passes_s
        one.work(iter([Begin(unit), Data(b"x"), End(), Flush(epoch)]))
    assert [share.epoch for share in delivered] == [0, 1, 2, 3, 4]
    assert given_back == [1 + REST_S, 1 + 2 * REST_S, 2 + 3 * REST_S]
