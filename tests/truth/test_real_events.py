"""On real events and all rules of SigmaHQ, the engine finds exactly what the slow evaluator finds.

By default the Windows hosts' JSON is a sample: one event in ``ONE_IN``, and the first of each stream of each file.
``--full`` judges every event (261,372 events; ten minutes on two free cores).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mingjian.model.blocks import Quarantined
from oracle.rules import Reading
from truth.compare import Answer, blocks_of, differences, files_under, judge_all, portions_of, rule_files
from truth.engine import Adapter

ONE_IN = 40
SHOWN_MAX = 20
HERE = Path(__file__).parent


def agree(
    paths: list[Path], files: list[tuple[str, bytes]], reading: Reading, engine: Adapter, kept: Path | None, one_in: int
) -> list[Answer]:
    """Compare the two over some files; give the oracle's answers."""
    answers = judge_all(paths, files, one_in=one_in, cache_dir=kept)
    found = [each for path in paths for each in differences(path, answers[path], reading, engine, one_in)]
    assert not found, f"{len(found)} differences\n" + "\n".join(map(str, found[:SHOWN_MAX]))
    return list(answers.values())


def test_both_readers_use_the_same_rules(sigma_reading: Reading, sigma_engine: Adapter) -> None:
    assert {rule.id for rule in sigma_reading.rules} == set(sigma_engine.ids)
    assert {file for file, _ in sigma_reading.refused} == set(sigma_engine.skipped)


def test_on_event_logs_of_attacks(
    shared_data: Path,
    sigma_files: list[tuple[str, bytes]],
    sigma_reading: Reading,
    sigma_engine: Adapter,
    answers_dir: Path | None,
) -> None:
    paths = [path for path in files_under([shared_data / "evtx-attack-samples"]) if path.suffix == ".evtx"]
    answers = agree(paths, sigma_files, sigma_reading, sigma_engine, answers_dir, 1)
    assert sum(answer.events for answer in answers) == 8_255
    assert sum(len(answer.hits) for answer in answers) > 1_500


def test_on_windows_hosts(
    shared_data: Path,
    sigma_files: list[tuple[str, bytes]],
    sigma_reading: Reading,
    sigma_engine: Adapter,
    answers_dir: Path | None,
    pytestconfig: pytest.Config,
) -> None:
    one_in = 1 if pytestconfig.getoption("--full") else ONE_IN
    paths = [path for path in files_under([shared_data / "windows-json"]) if path.name != "LICENSE"]
    answers = agree(paths, sigma_files, sigma_reading, sigma_engine, answers_dir, one_in)
    assert sum(answer.events for answer in answers) > (250_000 if one_in == 1 else 8_000)
    assert sum(len(answer.hits) for answer in answers) > 200


def test_on_the_samples_of_every_source(
    sigma_files: list[tuple[str, bytes]], sigma_reading: Reading, sigma_engine: Adapter, answers_dir: Path | None
) -> None:
    paths = [path for path in files_under([HERE.parent / "samples"]) if path.suffix not in (".yml", ".py", ".md")]
    agree(paths, sigma_files, sigma_reading, sigma_engine, answers_dir, 1)


def test_on_other_producers(
    shared_data: Path,
    sigma_files: list[tuple[str, bytes]],
    sigma_reading: Reading,
    sigma_engine: Adapter,
    answers_dir: Path | None,
) -> None:
    paths = files_under(shared_data / folder for folder in ("zeek", "aws", "linux"))
    paths = [path for path in paths if not path.name.startswith(("LICENSE", "README"))]
    answers = agree(paths, sigma_files, sigma_reading, sigma_engine, answers_dir, ONE_IN)
    assert sum(answer.events for answer in answers) > 1_000


def test_a_sample_covers_every_stream(shared_data: Path) -> None:
    path = shared_data / "windows-json" / "privilege_escalation" / "cmd_service_mod_fax.zip"
    streams = {portion.view.stream.name: 0 for portion in portions_of(path, 10**9)}
    for portion in portions_of(path, 10**9):
        streams[portion.view.stream.name] += len(portion.chosen)
    assert len(streams) > 5
    assert min(streams.values()) >= 1
    assert sum(streams.values()) < sum(
        len(block.numbers) for _, block in blocks_of(path) if not isinstance(block, Quarantined)
    )


def test_rule_files_come_in_order(shared_data: Path) -> None:
    names = [name for name, _ in rule_files([shared_data / "sigma" / "rules-placeholder"])]
    assert names == sorted(names)
