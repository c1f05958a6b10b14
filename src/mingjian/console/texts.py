"""The texts of the pages, in both languages: ``data/console.yml`` is the one place where they stand."""

from __future__ import annotations

from typing import Final

from mingjian.hunt.texts import Texts, read_texts
from mingjian.settings import Language

LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")


def load_texts(language: Language) -> Texts:
    """Read the texts of a language. Raises: ConfigError."""
    return read_texts("console.yml", language)
