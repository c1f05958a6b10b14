"""What the comparisons share: the rules, the engine over them, and where answers are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.rules import Reading, read
from truth.compare import rule_files
from truth.engine import Adapter

RULE_FOLDERS = ("rules", "rules-emerging-threats", "rules-threat-hunting", "rules-placeholder")


@pytest.fixture(scope="session")
def sigma_files(shared_data: Path) -> list[tuple[str, bytes]]:
    """All rules of SigmaHQ."""
    return rule_files(shared_data / "sigma" / folder for folder in RULE_FOLDERS)


@pytest.fixture(scope="session")
def sigma_reading(sigma_files: list[tuple[str, bytes]]) -> Reading:
    """The same, read by the oracle."""
    return read(sigma_files)


@pytest.fixture(scope="session")
def sigma_engine(sigma_files: list[tuple[str, bytes]]) -> Adapter:
    """The same, read and compiled by the product."""
    return Adapter(sigma_files)


@pytest.fixture(scope="session")
def answers_dir(pytestconfig: pytest.Config) -> Path | None:
    """Where answers of the oracle are kept between runs; None if the cache is off."""
    cache = getattr(pytestconfig, "cache", None)
    return None if cache is None else Path(cache.mkdir("oracle"))
