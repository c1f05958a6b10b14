"""What was acknowledged over HTTP is there once, whenever the listening process was killed."""

from pathlib import Path

import pytest

from crash.intake_kills import run

KILLS = 50


@pytest.mark.slow
def test_killed_fifty_times_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    found = run(tmp_path, KILLS)
    assert (found.lost, found.doubled) == (0, 0)
    assert found.acknowledged > KILLS
