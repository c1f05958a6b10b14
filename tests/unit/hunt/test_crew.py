"""How units are handed to several processes."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from mingjian.hunt import crew
from mingjian.hunt.foreman import Foreman
from mingjian.hunt.parts import Begin, Data, Drain, End, Flush, Message, Part, Share, Unit
from mingjian.store.scope import OrganisationId

PIECE = 1024
UNIT_PIECES = 8
WAIT_S = 30.0


class Slow:
    """Notes each unit that it has read to its end. In the middle of the first one it waits until others are read."""

    def __init__(self, notes: Path, units: int, deliver: Callable[[Share], None]) -> None:
        self._notes = notes
        self._units = units
        self._deliver = deliver

    def work(self, messages: Iterator[Message]) -> None:
        """Follow orders."""
        name, pieces = "", 0
        for message in messages:
            match message:
                case Begin(unit):
                    name, pieces = unit.file, 0
                case Data(data):
                    pieces += len(data) // PIECE
                    if name == "0" and pieces == UNIT_PIECES - 1:
                        self._wait()
                case End():
                    (self._notes / name).write_text(str(pieces))
                case Flush(epoch):
                    self._deliver(Share(epoch, [Part(organisation=OrganisationId(1))]))
                case _:
                    pass

    def _wait(self) -> None:
        until_s = time.monotonic() + WAIT_S
        while len(list(self._notes.iterdir())) < self._units:
            if time.monotonic() > until_s:
                (self._notes / "waited in vain").touch()
                return
            time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_nobody_waits_for_work_that_another_has_no_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(crew, "SLOT_BYTES", 3 * PIECE)
    units = 20
    # Behind the unit that is not read on with there is room for one more.
    by_others = units - 2

    def messages() -> Iterator[Message]:
        for number in range(units):
            yield Begin(Unit(organisation=OrganisationId(1), owner="a", input_id=1, file=str(number), format="jsonl"))
            yield Data(bytes(UNIT_PIECES * PIECE))
            yield End()
        yield Flush(1)
        yield Drain()

    def make(reserve: Callable[[], int], deliver: Callable[[Share], None], say: Callable[[str], None]) -> Foreman:
        return cast("Foreman", Slow(tmp_path, by_others, deliver))

    epochs: list[tuple[int, int]] = []
    crew.run(
        messages(),
        2,
        make,
        reserve=lambda count: range(count),
        on_epoch=lambda epoch, parts: epochs.append((epoch, len(parts))),
        say=print,
    )
    assert epochs == [(1, 2)]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        str(number): str(UNIT_PIECES) for number in range(units)
    }
