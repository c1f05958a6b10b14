"""Regular expressions: what RE2 refuses, and the meaning of ``$`` against Python's ``re``."""

import itertools
import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.sigma.regexes import REGEX_CHARACTERS_MAX, checked_regex
from mingjian.errors import LimitExceeded, UnsupportedRule

SHORT_TEXTS = ["".join(letters) for size in range(5) for letters in itertools.product("ab\n", repeat=size)]

ODD_TEXTS = [
    "\v",
    "a\v",
    "\x1f",
    "\x85",
    "\u00a0",
    "\u212a",
    "\u017f",
    "k",
    "K",
    "s",
    "_",
    "é",
    "-",
    " ",
    "\t",
    "b\u212a\n",
    "!",
]

PIECES = ["a", "b", "$", "$", "(", ")", "|", "(?:", "*", "?", "+", "[^a]", "[$]", "\\$", ".", "\\s", "\\n", "^", "a$"]
PIECES += ["[ab]", "(?m)", "(?s)", "(?m:", "\\b", "{0,1}", "{2}", "\\w", "\\W", "\\S", "[\\s-]", "[^\\S]"]
PIECES += ["[\\w.]", "[^\\w]", "[\\Sa]", "[\\w\\s]", "(?i)", "(?i:", "(?-i:", "[^\\s]", "[k\\s]"]


def agrees(pattern: str, flags: str) -> bool:
    """Compare on every short text; False if the pattern is refused or means nothing to Python."""
    number = sum({"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[flag] for flag in flags)
    try:
        python = re.compile(pattern, number | re.ASCII)
    except (re.error, OverflowError):
        return False
    try:
        rewritten = checked_regex(pattern, flags)
    except UnsupportedRule:
        return False
    ours = re2.compile((f"(?{flags})" if flags else "") + rewritten)
    for text in (*SHORT_TEXTS, *ODD_TEXTS):
        assert (ours.search(text) is not None) == (python.search(text) is not None), (pattern, flags, text, rewritten)
    return True


@pytest.mark.parametrize(
    "pattern",
    [
        "a$",
        "^a$",
        "^$",
        "$",
        "a$|b",
        "(a$)",
        "(a|b$)?",
        "(?:a$|b$)$",
        "a[$]",
        "a\\$",
        "[^$]$",
        "a$b",
        "a$b*",
        "(a$)*b",
        "a$.*",
        "a$\\s*",
        "(?m)a$b?",
        "(?m:a$)|b$",
        "(a(b$|a)|b)$",
        "$$",
        "[]$]a$",
        "[^]$]a$",
        "a$(b|a)",
        "a$(?:b)?",
    ],
)
@pytest.mark.parametrize("flags", ["", "m", "s", "ms", "i"])
def test_a_dollar_means_what_it_means_in_pcre(pattern: str, flags: str) -> None:
    assert agrees(pattern, flags)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("".join), st.sampled_from(["", "m", "s", "ms"]))
def test_random_patterns_mean_what_python_says(pattern: str, flags: str) -> None:
    agrees(pattern, flags)


@pytest.mark.parametrize(
    "pattern",
    [
        *["\\s", "\\S", "^\\s$", "[\\s]", "[^\\s]", "[\\s-]", "[\\S]", "[^\\S]", "[^\\Sa]", "^[\\sa]+$", "a\\\\s|\\s"],
        *["\\w", "\\W", "^\\w$", "[\\w.-]", "[^\\w]", "(?i)\\w", "(?i:\\w)", "(?i:k)\\w", "(?i)(?-i:\\w)", "^\\w\\s$"],
    ],
)
@pytest.mark.parametrize("flags", ["", "i", "ims"])
def test_character_types_are_ascii(pattern: str, flags: str) -> None:
    assert agrees(pattern, flags)


@pytest.mark.parametrize("pattern", ["a$\\n", "a$\\s", "a$[^b]", "(a$)\\nb?", "a$\\z", "a$\\b", "a$(\\n|b)"])
def test_what_could_take_the_line_feed_behind_a_dollar_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedRule, match="after \\$"):
        checked_regex(pattern)


@pytest.mark.parametrize("pattern", ["(?=a)", "(?<!a)b", "(a)\\1", "a++", "(?>a)", "[", "(a", "a{1001}", "\\Z"])
def test_what_re2_cannot_do_is_refused_with_its_message(pattern: str) -> None:
    with pytest.raises(UnsupportedRule, match=r"RE2 refuses the regular expression '.+': .+"):
        checked_regex(pattern)


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnsupportedRule):
        checked_regex("(?=a)")
    assert capfd.readouterr().err == ""


def test_a_hyphen_behind_a_character_type_stays_a_hyphen() -> None:
    ours = re2.compile(checked_regex("^[\\s-x]$"))
    assert [text for text in ("-", "x", " ", "\v", "+", "a") if ours.search(text)] == ["-", "x", " ", "\v"]


def test_quoted_text_keeps_its_dollar() -> None:
    assert checked_regex("\\Qa$\\E$") == "\\Qa$\\E(?:\\n?\\z)"


def test_a_pattern_without_a_dollar_stays_as_it_is() -> None:
    assert checked_regex("^[a-z\\w]{16}\\.exe\\w") == "^[a-z\\w]{16}\\.exe\\w"


def test_a_pattern_that_is_too_long_names_its_bound() -> None:
    with pytest.raises(LimitExceeded, match="REGEX_CHARACTERS_MAX"):
        checked_regex("a" * (REGEX_CHARACTERS_MAX + 1))


def test_a_pattern_that_would_grow_without_end_is_refused() -> None:
    with pytest.raises(UnsupportedRule):
        checked_regex("((((a{100}){100}){100}){100})")
