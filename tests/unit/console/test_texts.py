"""The catalog of the console: both languages have the same, and pages use what is there."""

import re
import string
from pathlib import Path

import pytest

import mingjian.console
from mingjian.console.lists import ListPage
from mingjian.console.pages import admin, intelligence, queue, rules, situations, sources, suppressions
from mingjian.console.texts import load_texts

FOLDER = Path(mingjian.console.__file__).parent
PAGES = (
    *(admin.PAGE, intelligence.PAGE, queue.PAGE, rules.PAGE, situations.PAGE, suppressions.PAGE),
    *(sources.STREAMS, sources.BLIND, sources.QUARANTINE),
)
NAMES = {"ATT&CK", "API", "TOTP"}
"""What is called the same in Chinese."""
USES = re.compile(r"""(?<![\w.])(?:t|texts)\(\s*"([a-z][\w.-]*)"\s*[,)]""")


def places_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_fill_in_the_same() -> None:
    english, chinese = load_texts("en"), load_texts("zh")
    assert english.keys() == chinese.keys()
    for key in english.keys():  # noqa: SIM118 - it is no dict
        both = [places_of(texts(key)) for texts in (english, chinese)]
        assert both[0] == both[1], key


def test_no_text_is_empty_and_chinese_is_chinese() -> None:
    chinese = load_texts("zh")
    for key in chinese.keys():  # noqa: SIM118 - it is no dict
        assert chinese(key) in NAMES or re.search("[\u4e00-\u9fff]", chinese(key)), key


def test_what_templates_and_code_ask_for_is_there() -> None:
    known = load_texts("en").keys()
    files = [*FOLDER.rglob("*.j2"), *FOLDER.rglob("*.py")]
    used = {(path.name, key) for path in files for key in USES.findall(path.read_text(encoding="utf-8"))}
    assert len(used) > 100
    assert sorted(each for each in used if each[1] not in known) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_list_has_all_its_words(page: ListPage) -> None:
    known = load_texts("en").keys()
    wanted = {f"{page.name}.{each}" for each in ("title", "empty", "empty-next")}
    wanted |= {f"column.{each.name}" for each in page.columns} | {f"filter.{each.name}" for each in page.filters}
    wanted |= {f"action.{each.name}" for each in page.actions}
    assert wanted - known == set()
    for each in page.filters:
        assert all({f"{each.name}.{choice}", f"choice.{choice}"} & known for choice in each.choices), each.name
