"""What ingest acknowledged is there once, and what was found in it is what an undisturbed run finds."""

from pathlib import Path

import pytest

from crash.killing import kill_again_and_again

KILLS = 50


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    assert kill_again_and_again("crash.ingestwork:INGEST", tmp_path, kills=KILLS, seed=11, span_s=1.0) > KILLS
