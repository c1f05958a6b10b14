"""The cards of the entities of every campaign tell its planted steps."""

from pathlib import Path

import pytest

from truth.stories import small, taken_in, told


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 8])
def test_every_planted_step_is_told(seed: int, tmp_path: Path) -> None:
    with taken_in(small(seed), tmp_path) as workspace:
        found = told(workspace, tmp_path / "sector").by
    untold = {(campaign, step) for (campaign, _, step), way in found.items() if way == "untold"}
    assert len(found) >= 37
    assert not untold
    assert sum(way in ("detection", "behaviour") for way in found.values()) >= 32
