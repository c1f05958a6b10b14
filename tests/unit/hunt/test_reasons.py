"""Reasons in both languages: every one that is said of rules and of logs is in the table, and nothing else changes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mingjian
from mingjian import errors
from mingjian.hunt.reasons import CHARACTERS_MAX, HOLE, in_words, reasons

ROOT = Path(mingjian.__file__).parent
SAY = (
    *sorted((ROOT / "detect" / "sigma").glob("*.py")),
    *(ROOT / "hunt" / name for name in ("packs.py", "rulecheck.py")),
    ROOT / "detect" / "correlation" / "plan.py",
)
"""Modules that say why a rule cannot be used: every sentence in them is such a reason."""
READ = tuple(
    ROOT / "formats" / f"{name}.py"
    for name in ("auditd", "bounded", "cef", "csvtable", "json", "jsondoc", "keyvalue", "syslog", "text", "w3c")
) + tuple(ROOT / "formats" / f"{name}.py" for name in ("weblog", "winevent", "winxml", "zeek"))
"""Modules that say why a line cannot be read: what they raise is such a reason."""
NO_REASONS = {
    "modifiers are checked before they are applied": "an assertion",
    "what it is given ({})": "a part of one",
    " and ": "between two names",
    "the field of the alias {}": "what a reason is about",
    "str | int | float | bool | list[Plain] | dict[str, Plain] | None": "a type",
}
NOT_FOR_PAGES = ("placeholders.py", "pipelines.py", "expressions.py")
"""They are about files that are given on the command line; the last one says nothing to anybody."""
PAGES = tuple(each for part in ("console", "situations", "store") for each in sorted((ROOT / part).rglob("*.py")))
"""Modules whose errors a page shows."""
NOT_SAID = {
    "{} is not taken": "one of several values of an interface for programs",
    "{}, {}": "names",
    '"like this"': "an example",
    "{} cannot be {}": "the name of a setting of an interface for programs",
    "1 to {}": "numbers",
    "{} characters": "a number",
    "there is no such {}": "said of each kind",
    "{} may see this {}, but not change it": "said of each kind",
    "{} may not administer this {}": "said of each kind",
    "cannot {}: {}": "the words of the operating system",
    "mingjian doctor --rebuild-sightings": "a command",
}
INSIDE = ("indicatormatching.py", "shapes.py", "delta.py", "feeds.py")
"""What they refuse is a mistake of the program, or damage that a page tells in other words."""
ERRORS = ("RuleError", "UnsupportedRule", "ParseError", "SchemaError", "InputError")


def template(node: ast.AST) -> str:
    """A text of the code with a hole where something is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(each.value if isinstance(each, ast.Constant) else HOLE for each in node.values)  # type: ignore[misc]  # constants of a text are texts
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sentences(file: Path) -> Iterator[str]:
    """Every text of three words or more in a module that is no docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    apart = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    apart |= {id(part) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for part in each.values}
    for node in ast.walk(tree):
        text = template(node) if id(node) not in apart else ""
        if text.count(" ") >= 2 and "\n" not in text:
            yield text


def raised(file: Path) -> Iterator[str]:
    """What errors of a module say, as far as it stands in the code."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
            text = template(node.args[0])
            if " " in text:
                yield text


@pytest.mark.parametrize("file", [each for each in SAY if each.name not in NOT_FOR_PAGES], ids=lambda file: file.name)
def test_every_reason_why_a_rule_cannot_be_used_is_there_in_chinese(file: Path) -> None:
    known = {each.english for each in reasons()}
    assert sorted({each for each in sentences(file) if each not in known and each not in NO_REASONS}) == []


@pytest.mark.parametrize("file", READ, ids=lambda file: file.name)
def test_every_reason_why_a_line_cannot_be_read_is_there_in_chinese(file: Path) -> None:
    known = {each.english for each in reasons()}
    assert sorted({each for each in raised(file) if each not in known}) == []


def shown(file: Path) -> Iterator[str]:
    """What the errors of a module say, and their hints, as far as it stands in the code."""
    names = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            hints = [each.value for each in node.keywords if each.arg == "hint"]
            yield from (text for text in map(template, (*node.args[:1], *hints)) if " " in text)


@pytest.mark.parametrize("file", [each for each in PAGES if each.name not in INSIDE], ids=lambda file: file.name)
def test_every_error_that_a_page_may_show_is_there_in_chinese(file: Path) -> None:
    known = {each.english for each in reasons()}
    assert sorted({each for each in shown(file) if each not in known and each not in NOT_SAID}) == []


def test_the_look_at_the_code_finds_reasons() -> None:
    found = {text for file in SAY for text in sentences(file)} | {text for file in READ for text in raised(file)}
    assert "no source has the log source {}" in found
    assert "{} columns where the header has {}" in found
    assert len(found) > 120
    assert len({text for file in PAGES for text in shown(file)}) > 250


def test_no_reason_is_there_twice_and_chinese_is_chinese() -> None:
    several = [each.english for each in reasons()]
    assert len(set(several)) == len(several)
    for each in reasons():
        holes = [str(place) for place in range(each.english.count(HOLE))]
        assert sorted(re.findall(r"{(\w*)}", each.chinese)) == holes, each
        assert re.search("[\u4e00-\u9fff]", each.chinese), each
        assert "事件" not in re.sub("日志事件|安全事件", "", each.chinese), each


@pytest.mark.parametrize("each", reasons(), ids=lambda each: each.english[:40])
def test_a_reason_is_said_with_what_it_is_about(each: tuple[str, str]) -> None:
    english, chinese = each
    filled = [f"'value{place}'" for place in range(english.count(HOLE))]
    said = english
    for value in filled:
        said = said.replace(HOLE, value, 1)
    assert in_words(said, "zh") == chinese.format(*filled)
    assert in_words(said, "en") == said


def test_several_reasons_and_a_hint_are_said_together() -> None:
    both = in_words("no source has the log source linux/*/x; the title is missing", "zh")
    assert both == "没有数据源提供日志源 linux/*/x；缺少标题"
    assert in_words("more than RULE_FILES_MAX allows (10,000)", "zh") == "超过 RULE_FILES_MAX 的限度（10,000）"
    placed = in_words("'Image|x': the modifier 'x' is not known", "zh")
    assert placed == "'Image|x'：未知的修饰符 'x'"
    hinted = in_words("|re needs text, not 7 (write it without quotes)", "zh")
    assert hinted == "|re 需要文本，而不是 7（请去掉引号）"


def test_what_comes_from_outside_stays_as_it_is() -> None:
    for text in ("", "Somebody's own words", "{0}", "the same rule", "x" * (CHARACTERS_MAX + 1)):
        assert in_words(text, "zh") == text
    assert in_words("the same rule is in {0} %s \\1", "zh") == "{0} %s \\1 中有相同的规则"
    assert in_words("the same rule is in " + "a is in " * 400, "zh").endswith("中有相同的规则")
