"""Texts in both languages, read from a file."""

from pathlib import Path

import pytest

from mingjian.errors import ConfigError
from mingjian.hunt import texts
from mingjian.hunt.texts import Texts, read_texts


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    monkeypatch.setattr(texts, "DATA_FOLDER", folder)
    (folder / "words.yml").write_text(text, encoding="utf-8")
    read_texts.cache_clear()
    return "words.yml"


def test_a_text_is_filled_in() -> None:
    known = Texts("en", {"hosts": "{n} hosts of {name}", "hosts.one": "the host of {name}", "plain": "{as it is}"})
    assert known("plain") == "{as it is}"
    assert known.counted("hosts", 2, name="ann") == "2 hosts of ann"
    assert known.counted("hosts", 1, name="ann") == "the host of ann"
    with pytest.raises(AssertionError, match="no text called nothing"):
        known("nothing")


def test_each_language_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = written(tmp_path, monkeypatch, "host: {en: host, zh: 主机}")
    assert read_texts(name, "en")("host") == "host"
    assert read_texts(name, "zh")("host") == "主机"


@pytest.mark.parametrize("text", ["host: {en: host}", "host: {en: host, zh: 1}", "host: host", "- host"])
def test_a_text_that_is_missing_in_a_language_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_texts(written(tmp_path, monkeypatch, text), "zh")
    assert caught.value.where == "words.yml"
