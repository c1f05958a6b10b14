"""Jobs that were killed at any moment end, and none of them takes effect twice."""

from pathlib import Path

import pytest

from crash.killing import kill_again_and_again

KILLS = 50


@pytest.mark.slow
def test_killed_at_any_moment_every_job_ends_and_none_takes_effect_twice(tmp_path: Path) -> None:
    assert kill_again_and_again("crash.errandwork:ERRAND", tmp_path, kills=KILLS, seed=5) > 0
