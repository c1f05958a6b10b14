"""Texts in both languages: a file of ``data`` is the one place where they stand.

What is in braces is filled in; what is filled in may come from outside and is escaped where it is put out.
"""

from __future__ import annotations

from functools import cache

from mingjian.data import DATA_FOLDER
from mingjian.errors import ConfigError
from mingjian.formats.bounded import parse_yaml
from mingjian.settings import Language


class Texts:
    """The texts of one language. A key that is not there is a defect."""

    def __init__(self, language: Language, texts: dict[str, str]) -> None:
        self.language: Language = language
        self._texts = texts

    def __call__(self, key: str, /, **values: object) -> str:
        """Give a text with its values filled in."""
        assert key in self._texts, f"there is no text called {key}"
        text = self._texts[key]
        return text.format(**values) if values else text

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def counted(self, key: str, n: int, /, **values: object) -> str:
        """Give the text for so many: ``KEY.one`` for a single one."""
        return self(f"{key}.one" if n == 1 else key, n=n, **values)

    def keys(self) -> frozenset[str]:
        """The keys of all texts."""
        return frozenset(self._texts)


@cache
def read_texts(name: str, language: Language) -> Texts:
    """Read the texts of a language from a file of ``data``.

    Raises:
        ConfigError: the file is not what it should be; a test sees to it that it is.
    """
    (document,) = parse_yaml((DATA_FOLDER / name).read_bytes(), file=name)
    if not isinstance(document, dict):
        raise ConfigError("the texts are no table", where=name)
    found: dict[str, str] = {}
    for key, entry in document.items():
        text = entry.get(language) if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise ConfigError(f"the text {key} is missing in {language}", where=name)
        found[key] = text
    return Texts(language, found)
