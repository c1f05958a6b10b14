"""Detection from Python, as the documentation shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import mingjian
from mingjian.errors import ConfigError

RULE = """
title: Somebody asks who they are
id: 5f0c1e2a-8f6d-4a35-9d0a-2f5f3b7a9c11
level: high
tags: [attack.t1033]
logsource: {product: windows, category: process_creation}
detection:
    selection:
        Image|endswith: '\\whoami.exe'
    condition: selection
"""
EVENTS = [
    {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Image": "C:\\Windows\\System32\\whoami.exe"},
    {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Image": "C:\\x.exe"},
    {"Channel": "Security", "EventID": 4624, "Image": "C:\\whoami.exe"},
]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with one good rule and one broken one."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "whoami.yml").write_text(RULE)
    (folder / "broken.yml").write_text("title: [")
    return folder


def test_files_in_detections_out(rules: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text("\n".join(map(json.dumps, EVENTS)))
    book = mingjian.load_rules([rules])
    assert [Path(each.file).name for each in book.skipped] == ["broken.yml"]
    (found,) = mingjian.scan([log], book)
    assert (found.rule_title, found.record, found.attack) == ("Somebody asks who they are", 1, ("T1033",))


def test_arrow_in_arrow_out(rules: Path) -> None:
    book = mingjian.load_rules([rules])
    table = pa.concat_tables([pa.Table.from_pylist(EVENTS[1:]), pa.Table.from_pylist(EVENTS[:2])])
    matches = mingjian.match_arrow(table, book)
    assert matches.to_pylist() == [
        {
            "row": 2,
            "rule_id": "5f0c1e2a-8f6d-4a35-9d0a-2f5f3b7a9c11",
            "rule_title": "Somebody asks who they are",
            "level": "high",
            "attack": ["T1033"],
            "stream": "windows/sysmon/1",
        }
    ]
    assert mingjian.match_arrow(table.slice(0, 2), book).num_rows == 0


def test_rules_that_are_not_there_are_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        mingjian.load_rules([tmp_path / "absent"])


def test_the_package_says_what_it_offers() -> None:
    assert set(mingjian.__all__) == {"__version__", "load_rules", "match_arrow", "scan"}
    with pytest.raises(AttributeError):
        _ = mingjian.nothing  # type: ignore[attr-defined]  # that is the point
