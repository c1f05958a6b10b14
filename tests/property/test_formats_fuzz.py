"""Twenty thousand hostile inputs for everything that reads bytes; ``fuzz/run.py`` gives more of the same."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
INPUTS = 20_000
SECONDS_MAX = 600
sys.path[:0] = [str(ROOT)]

from fuzz.targets import targets  # noqa: E402  # the folder fuzz is no part of the package

TARGETS = sorted(targets())


def test_every_format_and_every_loader_is_a_target() -> None:
    from mingjian.formats.registry import FORMATS

    others = {"containers", "yaml", "json-text", "xml", "rules", "stix-pattern", "stix", "misp", "indicator-lists"}
    assert {each.name for each in FORMATS} | others <= set(TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_the_bytes_only_records_and_quarantine_entries_come_out(name: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "fuzz" / "run.py"), "--only", name, "--inputs", str(INPUTS)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
