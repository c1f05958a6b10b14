"""Every bomb is refused within a second and 100 MB, and the bound that stopped it is named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from security.bombs import BOMBS

SECONDS_MAX = 1.0
"""Of processor time: what else the machine does is not the bomb's fault."""
MEGABYTES_MAX = 100.0


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    program = Path(__file__).with_name("bombs.py")
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in run.stdout.splitlines()]
    return {outcome["name"]: outcome for outcome in found}


def test_there_are_at_least_forty() -> None:
    assert len(BOMBS) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_quickly_in_little_memory_by_the_name_of_the_bound(
    name: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    outcome = outcomes[name]
    assert "died" not in outcome
    assert outcome["seconds"] <= SECONDS_MAX
    assert outcome["megabytes"] <= MEGABYTES_MAX
    assert any(BOMBS[name][2] in reason for reason in outcome["reasons"]), outcome["reasons"]
