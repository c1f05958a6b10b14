"""Feeds on disk: files, folders, archives, MISP feeds with their manifest."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from mingjian.model.blocks import Quarantined
from mingjian.model.indicators import Assumed, Indicator
from mingjian.sources import feeds

UUID = "5f5a7a2b-1c4f-4b8a-9d0e-0123456789ab"
ASSUMED = Assumed(source="us")


def found(path: Path | str) -> list[str]:
    """Values, and in brackets reasons why something could not be read."""
    return [
        each.value if isinstance(each, Indicator) else f"[{each.reason}]"
        for each in feeds.read_feed(str(path), ASSUMED)
    ]


def event(value: str) -> str:
    return json.dumps({"Event": {"info": "x", "Attribute": [{"type": "ip-dst", "value": value, "to_ids": True}]}})


def test_a_folder_is_read_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b.example\n")
    (tmp_path / "a.json").write_text(event("192.0.2.1"))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.txt.gz").write_bytes(gzip.compress(b"c.example\n"))
    (tmp_path / ".git").write_text("hidden.example\n")
    (tmp_path / "empty").write_bytes(b"")
    assert found(tmp_path) == ["192.0.2.1", "b.example", "c.example"]
    assert found(tmp_path / "b.txt") == ["b.example"]


def test_a_misp_feed_is_what_its_manifest_names(tmp_path: Path) -> None:
    other = UUID[:-1] + "c"
    (tmp_path / "manifest.json").write_text(json.dumps({UUID: {"info": "x"}, other: {"info": "y"}}))
    (tmp_path / f"{UUID}.json").write_text(event("192.0.2.1"))
    (tmp_path / "hashes.csv").write_text(f"d41d8cd98f00b204e9800998ecf8427e,{UUID}\n")
    (tmp_path / f"{UUID[:-1]}d.json").write_text(event("192.0.2.9"))
    assert found(tmp_path) == ["[the manifest names it, but it is not there]", "192.0.2.1"]


@pytest.mark.parametrize("manifest", ["{", '{"name": "my app"}', "[]"])
def test_another_manifest_hides_nothing(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "a.txt").write_text("a.example\n")
    entries = list(feeds.read_feed(str(tmp_path), ASSUMED))
    assert any(isinstance(each, Quarantined) for each in entries) or manifest == "[]"
    if manifest.startswith('{"name'):
        assert "a.example" in found(tmp_path)


def test_what_is_not_there_is_said_and_nothing_is_raised(tmp_path: Path) -> None:
    (entry,) = feeds.read_feed(str(tmp_path / "missing.txt"), ASSUMED)
    assert isinstance(entry, Quarantined)
    assert (entry.record, entry.code) == (0, "input-error")


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.example\n")))
    assert found("-") == ["a.example"]


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_text(f"{name}.example\n")
    monkeypatch.setattr(feeds, "FILES_MAX", 2)
    assert found(tmp_path) == ["[more than FILES_MAX allows (2): the rest is not read]", "a.example", "b.example"]
