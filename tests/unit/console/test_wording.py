"""Both languages say the same things with the same blanks to fill in."""

import re
from collections.abc import Iterator

import msgspec
import pytest

from mingjian.console import wording
from mingjian.console.texts import load_texts
from mingjian.console.timeline import STEPS
from mingjian.hunt.vocabulary import level_in
from mingjian.model.rules import LEVELS
from mingjian.settings import Language


def texts(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from texts(each, f"{name}.{key}")
    elif isinstance(value, tuple):
        for place, each in enumerate(value):
            yield from texts(each, f"{name}.{place}")


def all_texts(language: Language) -> dict[str, str]:
    words = wording.WORDS[language]
    return {name: text for field in words.__struct_fields__ for name, text in texts(getattr(words, field), field)}


def blanks(text: str) -> set[str]:
    return set(re.findall(r"\{(\w*)\}", text))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_text_is_empty(language: Language) -> None:
    assert [name for name, text in all_texts(language).items() if not text.strip()] == []


def test_both_languages_have_the_same_blanks() -> None:
    english, chinese = all_texts("en"), all_texts("zh")
    for name, text in english.items():
        if name.startswith("counted."):
            # A language may write one as a word.
            assert blanks(text) | {"n"} == blanks(chinese[name]) | {"n"}, name
        elif not name.startswith("steps."):
            assert blanks(text) == blanks(chinese[name]), name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_level_and_every_step_has_a_name(language: Language) -> None:
    words = wording.WORDS[language]
    assert set(words.levels) == set(LEVELS)
    named = {name: words.steps.get(name, name) for name in STEPS}
    assert [name for name, text in named.items() if not text[0].isdigit()] == []
    assert set(words.steps) <= set(STEPS)


def test_in_chinese_an_event_is_never_named_without_its_kind() -> None:
    assert re.findall(r"(?<!日志)(?<!安全)事件", " ".join(all_texts("zh").values())) == []


def test_words_are_frozen() -> None:
    with pytest.raises(AttributeError):
        wording.EN.title = "x"  # type: ignore[misc]  # that it cannot be assigned is what is tested
    assert msgspec.structs.asdict(wording.EN).keys() == msgspec.structs.asdict(wording.ZH).keys()


def test_a_level_is_called_the_same_everywhere() -> None:
    assert wording.ZH.levels == {level: level_in(level, "zh") for level in LEVELS}
    for language in ("en", "zh"):
        texts = load_texts(language)  # type: ignore[arg-type] # of the two
        assert {level: texts(f"level.{level}") for level in LEVELS} == wording.WORDS[language].levels  # type: ignore[index] # of the two
        assert {level: texts(f"choice.{level}") for level in LEVELS} == wording.WORDS[language].levels  # type: ignore[index] # of the two
