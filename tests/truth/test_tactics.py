"""On recorded attacks, the card of the attacked host names the tactic: in no fewer archives than it did."""

from pathlib import Path

import pytest

from truth.tactics import archives, named, rulebook

NAMED_MIN = 37
"""Of all 43 archives; what the others lack is in the reference of the card."""
NAMED_OF_SMALLEST_MIN = 8
SMALLEST = 12


@pytest.mark.slow
def test_the_card_of_the_attacked_host_names_the_tactic(shared_data: Path, pytestconfig: pytest.Config) -> None:
    is_full = pytestconfig.getoption("--full")
    paths = archives(shared_data)
    found = named(paths if is_full else paths[:SMALLEST], rulebook(shared_data))
    missed = [each for each in found if not each.is_named]
    assert len(found) - len(missed) >= (NAMED_MIN if is_full else NAMED_OF_SMALLEST_MIN), missed
