"""The slow evaluator says what the specification and matching.md say: tables made by hand.

A row is the body of a selection in YAML, an event, and whether the one matches the other.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.model.values import EMPTY, MISSING
from oracle import regex
from oracle.events import Event, coalesced, fold, fold_character
from oracle.match import explain, matches, runs_match
from oracle.rules import MANY, MODIFIERS, ONE, Reading, Wild, covers, read, runs_of

MODIFIER_ROWS_MIN = 4
"""So many rows at least use each modifier of the specification."""
LONE = "\udcff"
"""A byte that was no text, as readers keep it."""


class Row(NamedTuple):
    """Whether a selection matches an event."""

    selection: str
    event: dict[str, Any]
    expected: bool


PLACEHOLDERS: dict[str, list[Any]] = {"servers": ["srv*", "dc?"], "one": ["alpha"], "number": [7], "a-b": ["x"]}


def reading_of(detection: str) -> Reading:
    head = "title: t\nid: i\nname: n\nlogsource: {product: p}\ndetection:\n"
    text = head + textwrap.indent(detection, "  ")
    return read([("file.yml", text.encode())], PLACEHOLDERS)


def evaluate(detection: str, event: dict[str, Any]) -> bool:
    reading = reading_of(detection)
    assert not reading.refused, reading.refused
    return matches(reading.rules[0], Event(event))


def detection_of(selection: str) -> str:
    return f"selection:\n{textwrap.indent(selection, '  ')}\ncondition: selection"


EQUALITY = [
    Row("F: abc", {"F": "abc"}, True),
    Row("F: abc", {"F": "ABC"}, True),
    Row("F: ABC", {"F": "abc"}, True),
    Row("F: abc", {"F": "abcd"}, False),
    Row("F: abc", {"F": " abc"}, False),
    Row("F: abc", {"F": "abc\n"}, False),
    Row("F: abc", {"f": "abc"}, False),
    Row("F: abc", {}, False),
    Row("F: abc", {"F": None}, False),
    Row("F: abc", {"F": EMPTY}, False),
    Row("F: [abc, def]", {"F": "DEF"}, True),
    Row("F: [abc, def]", {"F": "ghi"}, False),
    Row("F: abc", {"F": ["x", "abc"]}, True),
    Row("F: abc", {"F": ["x", ["y", ["abc"]]]}, True),
    Row("F: abc", {"F": ["x", "y"]}, False),
    Row("F: abc\nG: def", {"F": "abc", "G": "def"}, True),
    Row("F: abc\nG: def", {"F": "abc"}, False),
    Row('F: \'{"a":1,"b":[true,null,"ü"]}\'', {"F": {"a": 1, "b": [True, None, "ü"]}}, True),
    Row('F: \'{"a":""}\'', {"F": {"a": EMPTY}}, True),
    Row("F: '{\"a\":1e+30}'", {"F": {"a": 1e30}}, True),
    Row("F: '{}'", {"F": {}}, True),
    Row("F: null", {"F": {}}, False),
    Row("F: 1", {"F": {"a": 1}}, False),
    Row("a.b: 1", {"a": {"b": 1}}, True),
    Row("a.b: 1", {"a.b": 1}, True),
    Row("a.b: 1", {"a.b": 2, "a": {"b": 1}}, False),
    Row("a.b: 1", {"a": [{"b": 2}, {"b": 1}]}, True),
    Row("a.b: 1", {"a": [{"b": 2}, {"c": 1}, 1]}, False),
    Row("a.b: null", {"a": [{"c": 1}]}, True),
]

WILDCARDS = [
    Row("F: a*c", {"F": "abbbc"}, True),
    Row("F: a*c", {"F": "ac"}, True),
    Row("F: a*c", {"F": "a\nb\r\nc"}, True),
    Row("F: a*c", {"F": "acd"}, False),
    Row("F: a?c", {"F": "abc"}, True),
    Row("F: a?c", {"F": "a\nc"}, True),
    Row("F: a?c", {"F": "ac"}, False),
    Row("F: a?c", {"F": "abbc"}, False),
    Row("F: a?c", {"F": "a𝄞c"}, True),
    Row("F: a??c", {"F": "a𝄞c"}, False),
    Row("F: a?c", {"F": f"a{LONE}c"}, True),
    Row("F: '*'", {"F": "x"}, True),
    Row("F: '*'", {"F": ""}, True),
    Row("F: '*'", {"F": 0}, True),
    Row("F: '*'", {"F": False}, True),
    Row("F: '*'", {"F": {}}, True),
    Row("F: '*'", {"F": EMPTY}, True),
    Row("F: '*'", {"F": None}, False),
    Row("F: '*'", {}, False),
    Row("F: '*'", {"F": []}, False),
    Row("F: '*'", {"F": [None]}, False),
    Row("F: '**'", {"F": ""}, True),
    Row("F: '?'", {"F": ""}, False),
    Row("F: '?*'", {"F": "a"}, True),
    Row("F: '?*'", {"F": ""}, False),
    Row("F: '*?'", {"F": ""}, False),
    Row("F: '*ab*ab*'", {"F": "xabab"}, True),
    Row("F: '*ab*ab*'", {"F": "xabb"}, False),
    Row("F: '*aba'", {"F": "ababa"}, True),
    Row("F: 'aba*aba'", {"F": "ababa"}, False),
    Row("F: '*a?c*'", {"F": "aaabc"}, True),
    Row("F: 4*", {"F": 42}, True),
    Row("F: t*", {"F": True}, True),
    Row("F: 1.?", {"F": 1.5}, True),
    Row("F: 42*", {"F": 42.0}, True),
]

ESCAPES = [
    Row(r"F: a\*c", {"F": "a*c"}, True),
    Row(r"F: a\*c", {"F": "abc"}, False),
    Row(r"F: a\?c", {"F": "a?c"}, True),
    Row(r"F: a\?c", {"F": "abc"}, False),
    Row(r"F: a\c", {"F": "a\\c"}, True),
    Row(r"F: a\\c", {"F": "a\\c"}, True),
    Row(r"F: a\\c", {"F": "a\\\\c"}, False),
    Row(r"F: a\\*", {"F": "a\\xyz"}, True),
    Row(r"F: a\\*", {"F": "a*"}, False),
    Row(r"F: a\\\*", {"F": "a\\*"}, True),
    Row(r"F: a\\\*", {"F": "a\\x"}, False),
    Row(r"F: a\\\c", {"F": "a\\\\c"}, True),
    Row(r"F: a\\\\c", {"F": "a\\\\c"}, True),
    Row(r"F: a\\\\c", {"F": "a\\\\\\c"}, False),
    Row("F: 'a\\'", {"F": "a\\"}, True),
    Row("F: 'a\\\\'", {"F": "a\\"}, True),
    Row("F|startswith: 'C:\\'", {"F": "c:\\x"}, True),
    Row("F|contains: '\\*'", {"F": "x*y"}, True),
    Row("F|contains: '\\*'", {"F": "xy"}, False),
    Row("F|endswith: '\\cmd.exe'", {"F": "C:\\CMD.EXE"}, True),
    Row("F: '100%'", {"F": "100%"}, True),
    Row(r"F: a\%b", {"F": r"a\%b"}, True),
    Row("F: '%one%'", {"F": "%one%"}, True),
]

EMPTY_NULL_MISSING = [
    Row("F: ''", {"F": ""}, True),
    Row("F: ''", {"F": EMPTY}, True),
    Row("F: ''", {"F": " "}, False),
    Row("F: ''", {"F": None}, False),
    Row("F: ''", {}, False),
    Row("F: ''", {"F": []}, False),
    Row("F: ''", {"F": ["", "a"]}, True),
    Row("F: ''", {"F": 0}, False),
    Row("F: ''", {"F": False}, False),
    Row("F: null", {"F": ""}, False),
    Row("F: null", {"F": EMPTY}, True),
    Row("F: null", {"F": None}, True),
    Row("F: null", {}, True),
    Row("F: null", {"F": []}, True),
    Row("F: null", {"F": [[], [None]]}, True),
    Row("F: null", {"F": [None, "a"]}, False),
    Row("F: null", {"F": [EMPTY]}, False),
    Row("F: null", {"F": 0}, False),
    Row("F: null", {"F": False}, False),
    Row("F: null", {"F": "null"}, False),
    Row("F:", {}, True),
    Row("F: [null, a]", {"F": "a"}, True),
    Row("F: [null, a]", {}, True),
    Row("F: [null, a]", {"F": "b"}, False),
    Row("F: 'null'", {"F": None}, False),
    Row("F: 'null'", {"F": "NULL"}, True),
    Row("F|contains: ''", {"F": ""}, True),
    Row("F|contains: ''", {"F": "a"}, True),
    Row("F|contains: ''", {}, False),
    Row("F|startswith: ''", {"F": EMPTY}, True),
    Row("F|exists: true", {"F": "a"}, True),
    Row("F|exists: true", {"F": None}, True),
    Row("F|exists: true", {"F": EMPTY}, True),
    Row("F|exists: true", {"F": []}, True),
    Row("F|exists: true", {"F": ""}, True),
    Row("F|exists: true", {"f": "a"}, False),
    Row("F|exists: true", {}, False),
    Row("F|exists: false", {}, True),
    Row("F|exists: false", {"F": None}, False),
    Row("F|exists: false", {"F": 0}, False),
    Row("a.b|exists: true", {"a": {"b": None}}, True),
    Row("a.b|exists: true", {"a": {"c": 1}}, False),
]

NUMBERS = [
    Row("F: 42", {"F": 42}, True),
    Row("F: 42", {"F": 42.0}, True),
    Row("F: 42.0", {"F": 42}, True),
    Row("F: 42", {"F": 42.5}, False),
    Row("F: 42", {"F": "42"}, True),
    Row("F: 42", {"F": "042"}, False),
    Row("F: 42", {"F": "42.0"}, False),
    Row("F: 42.0", {"F": "42.0"}, True),
    Row("F: 42.0", {"F": "42"}, False),
    Row("F: 42", {"F": "0x2a"}, False),
    Row("F: 42", {"F": " 42"}, False),
    Row("F: 42", {"F": "+42"}, False),
    Row("F: -5", {"F": "-5"}, True),
    Row("F: -5", {"F": -5}, True),
    Row("F: 1.5", {"F": "1.5"}, True),
    Row("F: 1.5", {"F": "1.50"}, False),
    Row("F: 42", {"F": [41, "42"]}, True),
    Row("F: 1", {"F": True}, False),
    Row("F: 0", {"F": False}, False),
    Row("F: 0", {"F": -0.0}, True),
    Row("F: 9007199254740993", {"F": 9007199254740992.0}, False),
    Row("F: 9007199254740993", {"F": 9007199254740993}, True),
    Row("F: 18446744073709551617", {"F": 18446744073709551617}, True),
    Row("F: '42'", {"F": 42}, True),
    Row("F: '42'", {"F": 42.0}, False),
    Row("F: '42.0'", {"F": 42.0}, True),
    Row("F: '042'", {"F": 42}, False),
    Row("F: '1e+30'", {"F": 1e30}, True),
    Row("F: '1e-7'", {"F": 1e-7}, True),
    Row("F: '0.000015'", {"F": 0.000015}, True),
    Row("F: '1.5e-5'", {"F": 0.000015}, False),
    Row("F: '1e+16'", {"F": 1e16}, True),
    Row("F: '1000000000000000.0'", {"F": 1e15}, True),
    Row("F: '-0.0'", {"F": -0.0}, True),
    Row("F|contains: 42", {"F": 1421}, True),
    Row("F|contains: 42", {"F": "x42y"}, True),
    Row("F|startswith: 4", {"F": 42}, True),
    Row("F|endswith: 2", {"F": 42}, True),
    Row("F|endswith: 2", {"F": 42.0}, False),
    Row("F: 0x10", {"F": 16}, True),
]

TRUTH = [
    Row("F: true", {"F": True}, True),
    Row("F: true", {"F": False}, False),
    Row("F: true", {"F": "true"}, True),
    Row("F: true", {"F": "TRUE"}, True),
    Row("F: true", {"F": "True"}, True),
    Row("F: true", {"F": "1"}, False),
    Row("F: true", {"F": 1}, False),
    Row("F: true", {"F": "yes"}, False),
    Row("F: false", {"F": False}, True),
    Row("F: false", {"F": "False"}, True),
    Row("F: false", {"F": 0}, False),
    Row("F: false", {"F": ""}, False),
    Row("F: false", {}, False),
    Row("F: false", {"F": None}, False),
    Row("F: 'true'", {"F": True}, True),
    Row("F: 'True'", {"F": True}, True),
    Row("F: 'true'", {"F": False}, False),
    Row("F: '1'", {"F": True}, False),
    Row("F: [true, 5]", {"F": 5}, True),
    Row("F: true", {"F": [False, True]}, True),
    Row("F|contains: true", {"F": "xTRUEy"}, True),
    Row("F|contains: 'ru'", {"F": True}, True),
]

CASE = [
    Row("F: ß", {"F": "ẞ"}, True),
    Row("F: ẞ", {"F": "ß"}, True),
    Row("F: ß", {"F": "ss"}, False),
    Row("F: ss", {"F": "ß"}, False),
    Row("F: 'stra?e'", {"F": "STRAẞE"}, True),
    Row("F: k", {"F": "\u212a"}, True),
    Row("F: \u212a", {"F": "K"}, True),
    Row("F: å", {"F": "\u212b"}, True),
    Row("F: i", {"F": "İ"}, False),
    Row("F: İ", {"F": "İ"}, True),
    Row("F: İ", {"F": "i̇"}, False),
    Row("F: ı", {"F": "I"}, False),
    Row("F: ı", {"F": "i"}, False),
    Row("F: s", {"F": "ſ"}, True),
    Row("F: σ", {"F": "ς"}, True),
    Row("F: ΟΔΟΣ", {"F": "οδος"}, True),
    Row("F: ΟΔΟΣ", {"F": "οδοσ"}, True),
    Row("F: µ", {"F": "μ"}, True),
    Row("F: ａｂｃ", {"F": "ＡＢＣ"}, True),
    Row("F: abc", {"F": "ａｂｃ"}, False),
    Row("F: 𐐨", {"F": "𐐀"}, True),
    Row("F: ѐ", {"F": "Ѐ"}, True),
    Row("F: ǆ", {"F": "ǅ"}, True),
    Row("F: ᾀ", {"F": "ᾈ"}, True),
    Row("F: ŉ", {"F": "ʼn"}, False),
    Row("F: ﬁ", {"F": "fi"}, False),
    Row("F: é", {"F": "e\u0301"}, False),
    Row("F: 明见", {"F": "明见"}, True),
    Row("F|contains: ÄÖ", {"F": "xxäöxx"}, True),
    Row("F|cased: abc", {"F": "abc"}, True),
    Row("F|cased: abc", {"F": "aBc"}, False),
    Row("F|cased: 'a*c'", {"F": "aXc"}, True),
    Row("F|cased: 'a*c'", {"F": "AXc"}, False),
    Row("F|contains|cased: Ab", {"F": "xAbx"}, True),
    Row("F|contains|cased: Ab", {"F": "xabx"}, False),
    Row("F|cased|startswith: Ab", {"F": "abx"}, False),
    Row("F|endswith|cased: ß", {"F": "ẞ"}, False),
    Row("F|cased: [abc, DEF]", {"F": "DEF"}, True),
    Row("F|cased: 'true'", {"F": True}, True),
]

POSITIONS = [
    Row("F|startswith: ab", {"F": "ABc"}, True),
    Row("F|startswith: ab", {"F": "xab"}, False),
    Row("F|startswith: [x, ab]", {"F": "abc"}, True),
    Row("F|startswith: 'a*d'", {"F": "abcdef"}, True),
    Row("F|endswith: bc", {"F": "aBC"}, True),
    Row("F|endswith: bc", {"F": "abc\n"}, False),
    Row("F|endswith: '?.exe'", {"F": ".exe"}, False),
    Row("F|contains: b", {"F": "abc"}, True),
    Row("F|contains: d", {"F": "abc"}, False),
    Row("F|contains: 'a*c'", {"F": "xxaYYcxx"}, True),
    Row("F|contains: ['\\x', b]", {"F": "abc"}, True),
    Row("F|contains: b", {"F": ["x", "abc"]}, True),
    Row("F|contains: a", {"F": {"k": "a"}}, True),
    Row("F|contains|all: [a, b]", {"F": "ba"}, True),
    Row("F|contains|all: [a, b]", {"F": "a"}, False),
    Row("F|contains|all: [a, b]", {"F": ["a", "b"]}, True),
    Row("F|all: [a*, '*b']", {"F": "axb"}, True),
    Row("F|all: [a*, '*b']", {"F": "ax"}, False),
    Row("F|all: [1, 2]", {"F": [2, 1]}, True),
    Row("F|all|startswith: [a, ab]", {"F": "abc"}, True),
    Row("F|endswith|all: [c, xc]", {"F": "abc"}, False),
    Row("F|all: [null, a]", {"F": "a"}, False),
]

COMPARISONS = [
    Row("F|gt: 5", {"F": 6}, True),
    Row("F|gt: 5", {"F": 5}, False),
    Row("F|gt: 5", {"F": 5.1}, True),
    Row("F|gt: 5", {"F": "6"}, True),
    Row("F|gt: 5", {"F": "06"}, True),
    Row("F|gt: 5", {"F": "abc"}, False),
    Row("F|gt: 5", {"F": ""}, False),
    Row("F|gt: 5", {}, False),
    Row("F|gt: -1", {"F": True}, False),
    Row("F|gt: -1", {"F": "true"}, False),
    Row("F|gt: 5", {"F": "0x1F"}, True),
    Row("F|gt: 31", {"F": "0x1f"}, False),
    Row("F|gt: 5", {"F": " 6"}, False),
    Row("F|gt: 5", {"F": "6 "}, False),
    Row("F|gt: 5", {"F": "6\n"}, False),
    Row("F|gt: 5", {"F": [1, 9]}, True),
    Row("F|gt: 9007199254740992", {"F": "9007199254740993"}, True),
    Row("F|gte: 5", {"F": 5}, True),
    Row("F|gte: 5", {"F": 4.999}, False),
    Row("F|gte: 5", {"F": "5.0"}, True),
    Row("F|gte: 5", {"F": "0.5e1"}, True),
    Row("F|gte: 5.5", {"F": "+5.5"}, True),
    Row("F|lt: 5", {"F": 4}, True),
    Row("F|lt: 5", {"F": 5}, False),
    Row("F|lt: 5", {"F": "-6"}, True),
    Row("F|lt: 5", {"F": "-1e3"}, True),
    Row("F|lt: 0.1", {"F": "0.1"}, False),
    Row("F|lte: 0.1", {"F": "0.1"}, True),
    Row("F|gt: 0.1", {"F": ".2"}, True),
    Row("F|lt: 5", {"F": None}, False),
    Row("F|lte: 5", {"F": 5}, True),
    Row("F|lte: 5", {"F": "6"}, False),
    Row("F|lte: 5", {"F": "1_0"}, False),
    Row("F|lte: 5", {"F": "٣"}, False),
    Row("F|lte: 5", {"F": "nan"}, False),
    Row("F|lte: 5", {"F": "-inf"}, False),
    Row("F|gt: 5\nG|lt: 5", {"F": 6, "G": 4}, True),
]

NEGATIONS = [
    Row("F|neq: a", {"F": "b"}, True),
    Row("F|neq: a", {"F": "A"}, False),
    Row("F|neq: a", {}, True),
    Row("F|neq: a", {"F": None}, True),
    Row("F|neq: a", {"F": ["a", "b"]}, False),
    Row("F|neq: [a, b]", {"F": "b"}, False),
    Row("F|neq: [a, b]", {"F": "c"}, True),
    Row("F|neq: 42", {"F": "42"}, False),
    Row("F|neq: 42", {"F": 43}, True),
    Row("F|neq: null", {}, False),
    Row("F|neq: null", {"F": "a"}, True),
    Row("F|contains|neq: a", {"F": "xax"}, False),
    Row("F|contains|all|neq: [a, b]", {"F": "a"}, True),
    Row("F|contains|all|neq: [a, b]", {"F": "ab"}, False),
    Row("F|gt|neq: 5", {"F": 6}, False),
    Row("F|gt|neq: 5", {}, True),
    Row("F|exists|neq: true", {}, True),
    Row("F|re|neq: a+", {"F": "b"}, True),
    Row("F|cidr|neq: 10.0.0.0/8", {"F": "11.0.0.1"}, True),
]

REGEXES = [
    Row("F|re: b+", {"F": "abbc"}, True),
    Row("F|re: ^b+", {"F": "abbc"}, False),
    Row("F|re: B", {"F": "abc"}, False),
    Row("F|re: a.c", {"F": "a\nc"}, False),
    Row("F|re: a[^x]c", {"F": "a\nc"}, True),
    Row("F|re: ^c$", {"F": "ab\nc\nd"}, False),
    Row("F|re: c$", {"F": "abc"}, True),
    Row("F|re: c$", {"F": "abc\n"}, True),
    Row("F|re: c$", {"F": "abc\n\n"}, False),
    Row("F|re: c$", {"F": "abc\r\n"}, False),
    Row("F|re: a{2,3}b", {"F": "aab"}, True),
    Row("F|re: ^a{2}$", {"F": "aaa"}, False),
    Row("F|re: (ab|cd)+e", {"F": "abcde"}, True),
    Row("F|re: '[a-c]x'", {"F": "bx"}, True),
    Row("F|re: '[^a-c]x'", {"F": "bx"}, False),
    Row(r"F|re: \d", {"F": "٣"}, False),
    Row(r"F|re: \w", {"F": "ä"}, False),
    Row(r"F|re: \s", {"F": "\u00a0"}, False),
    Row(r"F|re: ^\s$", {"F": "\v"}, True),
    Row(r"F|re: \bx", {"F": "äx"}, True),
    Row(r"F|re: \bx", {"F": "ax"}, False),
    Row(r"F|re: a\.b", {"F": "axb"}, False),
    Row(r"F|re: 'a\\b'", {"F": "a\\b"}, True),
    Row("F|re: ^$", {"F": ""}, True),
    Row("F|re: ^$", {"F": EMPTY}, True),
    Row("F|re: ^$", {}, False),
    Row("F|re: '.*'", {"F": None}, False),
    Row("F|re: ^.$", {"F": "𝄞"}, True),
    Row("F|re: ^.$", {"F": LONE}, True),
    Row("F|re: 42", {"F": 1421}, True),
    Row("F|re: ^true$", {"F": True}, True),
    Row("F|re: [a, b]", {"F": "b"}, True),
    Row("F|re|all: [a, b]", {"F": "b"}, False),
    Row("F|re: a", {"F": ["b", "a"]}, True),
    Row("F|re|i: ABC", {"F": "xabcx"}, True),
    Row("F|re|i: k", {"F": "\u212a"}, True),
    Row("F|re|i: '[h-l]'", {"F": "\u212a"}, True),
    Row("F|re|i: '[^k]'", {"F": "K"}, False),
    Row("F|re|i: ß", {"F": "ẞ"}, True),
    Row("F|re|i: i", {"F": "İ"}, False),
    Row("F|re|i: i", {"F": "ı"}, False),
    Row(r"F|re|i: ^\w$", {"F": "ſ"}, False),
    Row(r"F|re|i: ^\W$", {"F": "s"}, False),
    Row("F|re: (?i)ABC", {"F": "abc"}, True),
    Row("F|re: a(?i:B)c", {"F": "abc"}, True),
    Row("F|re: a(?i:B)c", {"F": "abC"}, False),
    Row("F|re|m: ^b$", {"F": "a\nb\nc"}, True),
    Row("F|re|m: ^b$", {"F": "a\nbb\nc"}, False),
    Row("F|re|m: c$", {"F": "abc\r\n"}, False),
    Row("F|re|m: '^$'", {"F": "a\n\nb"}, True),
    Row("F|re|m: '^$'", {"F": "a\n"}, False),
    Row("F|re|m: a.b", {"F": "a\nb"}, False),
    Row("F|re|s: a.b", {"F": "a\nb"}, True),
    Row("F|re|s: ^b", {"F": "a\nb"}, False),
    Row("F|re|s: a.*d$", {"F": "a\nb\nd\n"}, True),
    Row("F|re|s: ^.$", {"F": "\n"}, True),
    Row("F|re|i|m|s: ^B.C$", {"F": "a\nb\nc\nd"}, True),
    Row("F|re|i|s: A.B", {"F": "a\nb"}, True),
    Row("F|re: 'a{,2}'", {"F": "a{,2}"}, True),
    Row("F|re: 'a{,2}'", {"F": "aa"}, False),
]

NETWORKS = [
    Row("F|cidr: 10.0.0.0/8", {"F": "10.255.0.1"}, True),
    Row("F|cidr: 10.0.0.0/8", {"F": "11.0.0.1"}, False),
    Row("F|cidr: 10.1.2.3/8", {"F": "10.9.9.9"}, True),
    Row("F|cidr: 10.1.2.3", {"F": "10.1.2.3"}, True),
    Row("F|cidr: 10.1.2.3", {"F": "10.1.2.4"}, False),
    Row("F|cidr: 0.0.0.0/0", {"F": "1.2.3.4"}, True),
    Row("F|cidr: 0.0.0.0/0", {"F": "::1"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": "::ffff:10.1.2.3"}, True),
    Row("F|cidr: 10.0.0.0/8", {"F": "::FFFF:0A01:0203"}, True),
    Row("F|cidr: '::/0'", {"F": "::ffff:10.1.2.3"}, True),
    Row("F|cidr: '::/0'", {"F": "10.1.2.3"}, False),
    Row("F|cidr: 'fe80::/10'", {"F": "fe80::1%eth0"}, True),
    Row("F|cidr: 'fe80::/10'", {"F": "FE80::1"}, True),
    Row("F|cidr: 'fe80::/10'", {"F": "fe00::1"}, False),
    Row("F|cidr: '2001:db8::1/32'", {"F": "2001:0db8:0:0::5"}, True),
    Row("F|cidr: 10.0.0.0/8", {"F": "10.1"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": "10.1.2.3.4"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": "10.1.2.3:80"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": " 10.1.2.3"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": "10.01.2.3"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": "host"}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": 167837955}, False),
    Row("F|cidr: 10.0.0.0/8", {"F": ["::1", "10.0.0.1"]}, True),
    Row("F|cidr: 10.0.0.0/8", {}, False),
    Row("F|cidr: [10.0.0.0/8, 192.168.0.0/16]", {"F": "192.168.9.9"}, True),
    Row("F|cidr|all: [10.0.0.0/8, 10.1.0.0/16]", {"F": "10.2.0.1"}, False),
]

ENCODINGS = [
    Row("F|base64: foobar", {"F": "Zm9vYmFy"}, True),
    Row("F|base64: foobar", {"F": "zm9vymfy"}, True),
    Row("F|base64: foobar", {"F": "xZm9vYmFyx"}, False),
    Row("F|base64: fooba", {"F": "Zm9vYmE="}, True),
    Row("F|base64|cased: foobar", {"F": "zm9vymfy"}, False),
    Row("F|base64|contains: foobar", {"F": "xxZm9vYmFyxx"}, True),
    Row("F|base64: ü", {"F": "w7w="}, True),
    Row(r"F|base64: 'a\*'", {"F": "YSo="}, True),
    Row("F|base64offset|contains: foobar", {"F": "Zm9vYmFy"}, True),
    Row("F|base64offset|contains: foobar", {"F": "eGZvb2Jhcg=="}, True),  # xfoobar
    Row("F|base64offset|contains: foobar", {"F": "eHhmb29iYXI="}, True),  # xxfoobar
    Row("F|base64offset|contains: foobar", {"F": "eHh4Zm9vYmFyeHh4"}, True),  # xxxfoobarxxx
    Row("F|base64offset|contains: foobar", {"F": "Zm9vYmF6"}, False),  # foobaz
    Row("F|base64offset: foobar", {"F": "Zm9vYmFy"}, True),
    Row("F|base64offset: foobar", {"F": "Zvb2Jhc"}, True),
    Row("F|base64offset: foobar", {"F": "mb29iYX"}, True),
    Row("F|base64offset: foobar", {"F": "xZm9vYmFy"}, False),
    Row("F|base64offset|contains: foo", {"F": "eGZvbw=="}, True),  # xfoo
    Row("F|base64offset|contains|all: [foo, bar]", {"F": "Zm9v eGJhcg=="}, True),
    Row("F|base64offset|contains|all: [foo, bar]", {"F": "Zm9v"}, False),
    Row("F|wide|base64offset|contains: cmd", {"F": "YwBtAGQA"}, True),
    Row("F|wide|base64offset|contains: cmd", {"F": "Y21k"}, False),
    Row("F|utf16le|base64offset|contains: cmd", {"F": "YwBtAGQA"}, True),
    Row("F|utf16le|base64: cmd", {"F": "YwBtAGQA"}, True),
    Row("F|utf16be|base64: cmd", {"F": "AGMAbQBk"}, True),
    Row("F|utf16be|base64offset|contains: cmd", {"F": "AGMAbQBk"}, True),
    Row("F|utf16|base64: cmd", {"F": "//5jAG0AZAA="}, True),
    Row("F|utf16|base64offset|contains: cmd", {"F": "//5jAG0AZAA="}, True),
    Row("F|utf16|base64: cmd", {"F": "YwBtAGQA"}, False),
    Row("F|wide|base64: 明", {"F": "DmY="}, True),
    Row("F|wide: cmd", {"F": "c\0m\0d\0"}, True),
    Row("F|wide: cmd", {"F": "C\0M\0D\0"}, True),
    Row("F|wide|cased: cmd", {"F": "C\0M\0D\0"}, False),
    Row("F|utf16le: cmd", {"F": "\0c\0m\0d"}, False),
    Row("F|utf16le|contains: cmd", {"F": "xc\0m\0d\0x"}, True),
    Row("F|utf16be: cmd", {"F": "\0c\0m\0d"}, True),
    Row("F|utf16be: cmd", {"F": "c\0m\0d\0"}, False),
    Row("F|utf16: cmd", {"F": "\udcff\udcfec\0m\0d\0"}, True),
    Row("F|utf16: cmd", {"F": "c\0m\0d\0"}, False),
    Row("F|utf16le: c*d", {"F": "c\0xyzd\0"}, True),
]

DASHES = [
    Row("F|windash: -a", {"F": "-a"}, True),
    Row("F|windash: -a", {"F": "/a"}, True),
    Row("F|windash: -a", {"F": "–a"}, True),
    Row("F|windash: -a", {"F": "—A"}, True),
    Row("F|windash: -a", {"F": "―a"}, True),
    Row("F|windash: /a", {"F": "-a"}, True),
    Row("F|windash: —a", {"F": "-a"}, True),
    Row("F|windash: -a", {"F": "_a"}, False),
    Row("F|windash|contains: ' -a '", {"F": "x /a y"}, True),
    Row("F|contains|windash: ' -a '", {"F": "x /a y"}, True),
    Row("F|windash|contains: ' -a -b'", {"F": "x /a –b y"}, True),
    Row("F|windash: a-b", {"F": "a/b"}, False),
    Row("F|windash: a-b", {"F": "a-b"}, True),
    Row("F|windash: --ab", {"F": "-/ab"}, True),
    Row("F|windash: --ab", {"F": "//ab"}, False),
    Row("F|windash: 'a -'", {"F": "a /"}, False),
    Row("F|windash|contains|all: ['-a', '-b']", {"F": "/a /b"}, True),
    Row("F|windash|contains|all: ['-a', '-b']", {"F": "/a /c"}, False),
    Row("F|windash: '*-a'", {"F": "x/a"}, True),
    Row("F|windash|cased: -a", {"F": "/A"}, False),
]

FIELD_REFERENCES = [
    Row("F|fieldref: G", {"F": "abc", "G": "ABC"}, True),
    Row("F|fieldref: G", {"F": "abc", "G": "abd"}, False),
    Row("F|fieldref: G", {"F": "abc"}, False),
    Row("F|fieldref: G", {}, False),
    Row("F|fieldref: G", {"F": None, "G": None}, False),
    Row("F|fieldref: G", {"F": "", "G": EMPTY}, True),
    Row("F|fieldref: G", {"F": 42, "G": 42.0}, True),
    Row("F|fieldref: G", {"F": 42, "G": "42"}, True),
    Row("F|fieldref: G", {"F": 42.0, "G": "42"}, False),
    Row("F|fieldref: G", {"F": True, "G": 1}, False),
    Row("F|fieldref: G", {"F": True, "G": "TRUE"}, True),
    Row("F|fieldref: G", {"F": ["a", "b"], "G": ["c", "b"]}, True),
    Row("F|fieldref: G", {"F": "a*", "G": "abc"}, False),
    Row("F|fieldref: G", {"F": "abc", "G": "a*"}, False),
    Row("F|fieldref: a.b", {"F": "x", "a": {"b": "x"}}, True),
    Row("F|fieldref: [G, H]", {"F": "x", "H": "x"}, True),
    Row("F|fieldref|all: [G, H]", {"F": "x", "H": "x"}, False),
    Row("F|fieldref|cased: G", {"F": "abc", "G": "ABC"}, False),
    Row("F|fieldref|cased: G", {"F": "abc", "G": "abc"}, True),
    Row("F|fieldref|startswith: G", {"F": "abc", "G": "AB"}, True),
    Row("F|fieldref|startswith: G", {"F": "ab", "G": "abc"}, False),
    Row("F|fieldref|endswith: G", {"F": "abc", "G": "BC"}, True),
    Row("F|fieldref|contains: G", {"F": "abc", "G": "b"}, True),
    Row("F|contains|fieldref: G", {"F": "abc", "G": "b"}, True),
    Row("F|fieldref|contains: G", {"F": "abc", "G": "x"}, False),
    Row("F|fieldref|contains: G", {"F": "abc", "G": ""}, True),
    Row("F|fieldref|contains: G", {"F": "abc"}, False),
    Row("F|fieldref|startswith|cased: G", {"F": "abc", "G": "AB"}, False),
    Row("F|fieldref|startswith: G", {"F": 42.0, "G": 42}, True),
    Row("F|fieldref|neq: G", {"F": "a", "G": "b"}, True),
    Row("F|fieldref|neq: G", {"F": "a", "G": "A"}, False),
    Row("F|fieldref|neq: G", {"F": "a"}, True),
]

EXPANSIONS = [
    Row("F|expand: '%servers%'", {"F": "SRV01"}, True),
    Row("F|expand: '%servers%'", {"F": "dc1"}, True),
    Row("F|expand: '%servers%'", {"F": "dc12"}, False),
    Row("F|expand: '%servers%'", {"F": "%servers%"}, False),
    Row("F|expand: 'x-%one%-y'", {"F": "x-alpha-y"}, True),
    Row(r"F|expand: '\%plain%one%'", {"F": "%plainalpha"}, True),
    Row("F|expand|contains: '%one%'", {"F": "an alphabet"}, True),
    Row("F|contains|expand: '%one%'", {"F": "an alphabet"}, True),
    Row("F|expand: '%one%%number%'", {"F": "alpha7"}, True),
    Row("F|expand: '%number%'", {"F": 7}, True),
    Row("F|expand: '%a-b%'", {"F": "x"}, True),
    Row("F|expand|all: ['*%one%', '%servers%']", {"F": "srvalpha"}, True),
    Row("F|expand|all: ['*%one%', '%servers%']", {"F": "alpha"}, False),
    Row("F|expand: '50% of 60%'", {"F": "50% of 60%"}, True),
    Row("F|re|expand: '^%one%$'", {"F": "alpha"}, True),
]

DATES = [
    Row("F|year: 2026", {"F": "2026-03-04"}, True),
    Row("F|year: 2026", {"F": "2025-12-31T23:59:59-05:00"}, False),
    Row("F|month: 3", {"F": "2026-03-04 05:06"}, True),
    Row("F|month: 3", {"F": "2026-3-4"}, False),
    Row("F|month|gt: 3", {"F": "2026-03-31T23:59:59"}, False),
    Row("F|month: [3, 4]", {"F": "2026-04-04"}, True),
    Row("F|day: 4", {"F": "2026-03-04T05:06:07.123456789Z"}, True),
    Row("F|day: 4", {"F": "on 2026-03-04"}, False),
    Row("F|day: 30", {"F": "2026-02-30"}, False),
    Row("F|day|gt: 3", {"F": "2026-03-04"}, True),
    Row("F|week: 53", {"F": "2021-01-03"}, True),
    Row("F|week: 1", {"F": "2024-12-30"}, True),
    Row("F|week|lte: 1", {"F": "2026-01-05"}, False),
    Row("F|week: 10", {"F": 1772600767}, True),
    Row("F|hour: 5", {"F": "2026-03-04T05:06:07+08:00"}, True),
    Row("F|hour: 5", {"F": "2026-03-04 05:06:07"}, True),
    Row("F|hour|gte: 22", {"F": "2026-03-04T23:00"}, True),
    Row("F|hour|lt: 6", {"F": "2026-03-04T06:00"}, False),
    Row("F|hour: 0", {"F": "2026-03-04"}, False),
    Row("F|hour: 5", {"F": 1772600767}, True),
    Row("F|hour: 5", {"F": 1772600767123}, True),
    Row("F|hour: 5", {"F": 1772600767.9}, True),
    Row("F|hour: 5", {"F": "1772600767"}, False),
    Row("F|minute: 6", {"F": "2026-03-04T05:06Z"}, True),
    Row("F|minute: 6", {"F": 1772600767}, True),
    Row("F|minute|gte: 6", {"F": "2026-03-04T05:05:59"}, False),
    Row("F|minute|lte: 5", {"F": "2026-03-04T05:05:59"}, True),
    Row("F|year: 1970", {"F": 0}, True),
    Row("F|year: 1969", {"F": -1}, True),
    Row("F|year: 1970", {"F": True}, False),
    Row("F|year: 1970", {"F": None}, False),
    Row("F|year|gt: 1", {"F": 1e300}, False),
    Row("F|year|neq: 2026", {}, True),
    Row("F|year|gte: 2026", {"F": ["2020-01-01", "2026-01-01"]}, True),
]

KEYWORDS = [
    Row("- evil", {"F": "an EVIL thing"}, True),
    Row("- evil", {"evil": "good"}, False),
    Row("- evil", {"F": {"G": ["x", {"H": "evil"}]}}, True),
    Row("- evil", {"F": {"evil": "x"}}, False),
    Row("- evil\n- bad", {"F": "bad"}, True),
    Row("- ev*l", {"F": "xx ev..l yy"}, True),
    Row("- ev?l", {"F": "evl"}, False),
    Row("- 46", {"F": 4688}, True),
    Row("- 4688", {"F": "id 4688."}, True),
    Row("- true", {"F": True}, True),
    Row("- ''", {"F": ""}, True),
    Row("- ''", {"F": None}, False),
    Row("- '\"G\":'", {"F": {"G": 1}}, False),
    Row("'|all':\n- a\n- b", {"F": "a", "G": "b"}, True),
    Row("'|all':\n- a\n- b", {"F": "a"}, False),
    Row("'|startswith': ev", {"F": "evil"}, True),
    Row("'|startswith': vi", {"F": "evil"}, False),
    Row("'|endswith': [x, il]", {"F": "evil"}, True),
    Row("'|contains': vi", {"F": "evil"}, True),
    Row("'|re': ^e.*l$", {"F": ["x", "evil"]}, True),
    Row("'|re|i': ^E.*L$", {"F": "evil"}, True),
    Row("'|re': ^e.*l$", {"F": "devil"}, False),
    Row("'|cased': Evil", {"F": "an evil"}, False),
    Row("'|cased': Evil", {"F": "an Evil"}, True),
    Row("'|neq': evil", {"F": "evil"}, False),
    Row("'|neq': evil", {"F": "good"}, True),
    Row("'|windash': -e", {"F": "x /e y"}, True),
    Row("'|base64offset': foobar", {"F": "xxZm9vYmFyxx"}, True),
    Row("'|expand': '%one%'", {"F": "an alphabet"}, True),
    Row("- F: a\n- evil", {"F": "x", "G": "evil"}, True),
    Row("- F: a\n- evil", {"F": "a"}, True),
    Row("- F: a\n  G: b\n- H: c", {"F": "a", "G": "x"}, False),
    Row("- F: a\n  G: b\n- H: c", {"H": "c"}, True),
    Row("- evil", {"F": f"{LONE}evil{LONE}"}, True),
    Row("- ev", {"_raw": "x=ev y=il", "x": "ev"}, True),
    Row("- ev y", {"_raw": "x=ev y=il", "x": "ev"}, True),
]

SELECTIONS = [
    *EQUALITY, *WILDCARDS, *ESCAPES, *EMPTY_NULL_MISSING, *NUMBERS, *TRUTH, *CASE, *POSITIONS, *COMPARISONS,
    *NEGATIONS, *REGEXES, *NETWORKS, *ENCODINGS, *DASHES, *FIELD_REFERENCES, *EXPANSIONS, *DATES, *KEYWORDS,
]  # fmt: skip


@pytest.mark.parametrize("row", SELECTIONS, ids=[f"{r.selection!r} {r.event!a} {r.expected}" for r in SELECTIONS])
def test_a_selection_matches_as_the_specification_says(row: Row) -> None:
    assert evaluate(detection_of(row.selection), row.event) == row.expected


def test_no_row_stands_twice_and_there_are_enough() -> None:
    keys = [repr(row) for row in SELECTIONS]
    assert len(set(keys)) == len(keys) >= 150


@pytest.mark.parametrize("modifier", sorted(MODIFIERS))
def test_each_modifier_of_the_specification_stands_in_enough_rows(modifier: str) -> None:
    rows = [row for row in SELECTIONS if re.search(rf"^[^:\n]*\|{modifier}\b", row.selection, re.MULTILINE)]
    assert len(rows) >= MODIFIER_ROWS_MIN
    assert {row.expected for row in rows} == {True, False}


def test_the_modifiers_are_those_of_the_specification() -> None:
    appendix = """all startswith endswith contains exists cased neq windash re i m s base64 base64offset utf16le utf16be
        utf16 wide lt lte gt gte minute hour day week month year cidr expand fieldref"""
    assert sorted(MODIFIERS) == sorted(appendix.split())


# --- conditions: search identifiers are named after the field that must hold 1 ---

CONDITIONS = [
    ("a", "a", True),
    ("a", "b", False),
    ("a and b", "ab", True),
    ("a and b", "a", False),
    ("a or b", "b", True),
    ("a or b", "c", False),
    ("not a", "b", True),
    ("not a", "a", False),
    ("not not a", "a", True),
    ("a or b and c", "a", True),
    ("a or b and c", "b", False),
    ("(a or b) and c", "a", False),
    ("(a or b) and c", "bc", True),
    ("not a and b", "b", True),
    ("not a and b", "ab", False),
    ("not (a and b)", "a", True),
    ("not a or b", "ab", True),
    ("a and not b or c", "abc", True),
    ("a AND NOT b", "a", True),
    ("A OR b", "b", None),
    ("((a))", "a", True),
    ("1 of them", "c", True),
    ("1 of them", "_", False),
    ("any of them", "c", True),
    ("all of them", "abcxx", False),
    ("all of them", "abcsel_1sel_2", True),
    ("2 of them", "ab", True),
    ("2 of them", "a_", False),
    ("5 of them", "abcsel_1sel_2", True),
    ("6 of them", "abc", None),
    ("0 of them", "abc", None),
    ("1 of sel_*", "sel_2", True),
    ("1 of sel_*", "a", False),
    ("all of sel_*", "sel_1", False),
    ("all of sel_*", "sel_1sel_2", True),
    ("2 of sel*", "sel_1", False),
    ("2 of sel*", "sel_1sel_2", True),
    ("1 of *_2", "sel_2", True),
    ("1 of *", "_", True),
    ("1 of _*", "_", True),
    ("1 of s*1", "sel_1", True),
    ("all of sel_1", "sel_1", True),
    ("1 of nothing*", "a", None),
    ("3 of sel*", "a", None),
    ("not 1 of sel_*", "a", True),
    ("a and not 1 of sel_*", "asel_1", False),
    ("a and not all of sel_*", "asel_1", True),
    ("not 2 of sel_* and a", "asel_1", True),
    ("1 of sel_* and a or b", "b", True),
    ("[a, b]", "b", True),
    ("[a and b, c]", "a", False),
    ("[a and b, c]", "c", True),
    ("d", "a", None),
    ("a and", "a", None),
    ("a b", "a", None),
    ("(a", "a", None),
    ("a)", "a", None),
    ("", "a", None),
    ("a | count() > 5", "a", None),
    ("a near b", "a", None),
]


@pytest.mark.parametrize(("condition", "true", "expected"), CONDITIONS)
def test_a_condition_is_read_as_the_specification_says(condition: str, true: str, expected: bool | None) -> None:
    names = ["a", "b", "c", "sel_1", "sel_2", "_"]
    condition = condition if condition.startswith("[") else repr(condition)
    reading = reading_of("\n".join(f"{name}: {{{name}: 1}}" for name in names) + f"\ncondition: {condition}")
    left = true
    event: dict[str, Any] = {}
    for name in sorted(names, key=len, reverse=True):
        if name in left:
            event[name] = 1
            left = left.replace(name, " ")
    if expected is None:
        assert reading.refused
        assert not reading.rules
    else:
        assert matches(reading.rules[0], Event(event)) == expected


REFUSED = [
    "F|unknown: a",
    "F|: a",
    "F|contains|contains: a",
    "F|contains: null",
    "F|exists: 'true'",
    "F|exists: 1",
    "F|gt: a",
    "F|gt: '5'",
    "F|gt: true",
    "F|gt|lt: 5",
    "F|gt|contains: 5",
    "F|hour: a",
    "F|hour: 1.5",
    "F|hour|day: 1",
    "F|i: a",
    "F|re|contains: a",
    "F|re: '(?=a)'",
    "F|re: '(?<!a)b'",
    "F|re: '(a)\\1'",
    "F|re: 'a++'",
    "F|re: '('",
    "F|re: '[a'",
    "F|re: '*a'",
    "F|re: 'a{1001}'",
    "F|cidr: a",
    "F|cidr: 10.0.0.0/33",
    "F|cidr: 10.0.0.0/255.0.0.0",
    "F|base64: a*",
    "F|contains|base64: a",
    "F|expand: '%nobody%'",
    "F|fieldref|contains|startswith: G",
    "F: []",
    "F: {G: a}",
    "F: [[a]]",
    "F: .nan",
    "F: a\nF: b",
    "'|exists': true",
    "'|gt': 5",
    "'|fieldref': G",
    "'|cidr': 10.0.0.0/8",
    "- null",
    "[]",
    "{}",
]


@pytest.mark.parametrize("selection", REFUSED)
def test_what_has_no_meaning_is_refused_with_a_reason(selection: str) -> None:
    reading = reading_of(detection_of(selection))
    assert not reading.rules
    assert reading.refused[0][0] == "file.yml"
    assert reading.refused[0][1]


def test_one_bad_document_does_not_stop_the_others() -> None:
    good = b"title: g\nlogsource: {product: p}\ndetection: {s: {F: 1}, condition: s}\n"
    reading = read([("one.yml", good + b"---\ntitle: bad\n---\n" + good), ("two.yml", b"a: [")])
    assert len(reading.rules) == 2
    assert [file for file, _ in reading.refused] == ["one.yml", "two.yml"]


# --- filters ---

FILTERED = """
title: r
id: 1
name: named
logsource: {{product: windows, category: process_creation}}
detection: {{s: {{F: a}}, condition: s}}
---
title: f
logsource: {logsource}
filter: {{rules: [{rule}], selection: {{G|startswith: adm_}}, condition: {condition}}}
"""


@pytest.mark.parametrize(
    ("rule", "logsource", "condition", "with_adm", "without"),
    [
        ("'1'", "{product: windows}", "not selection", False, True),
        ("'1'", "{product: windows}", "selection", True, False),
        ("named", "{category: process_creation}", "not selection", False, True),
        ("'2'", "{product: windows}", "not selection", True, True),
        ("'1'", "{product: linux}", "not selection", True, True),
        ("'1'", "{product: windows, service: sysmon}", "not selection", True, True),
        ("'1'", "{}", "not selection", False, True),
    ],
)
def test_a_filter_is_anded_to_the_rules_that_it_names(
    rule: str, logsource: str, condition: str, with_adm: bool, without: bool
) -> None:
    text = FILTERED.format(rule=rule, logsource=logsource, condition=condition)
    reading = read([("f.yml", text.encode())])
    assert not reading.refused
    assert matches(reading.rules[0], Event({"F": "a", "G": "adm_x"})) == with_adm
    assert matches(reading.rules[0], Event({"F": "a", "G": "x"})) == without


def test_a_stream_is_searched_if_it_has_every_part_that_the_rule_names() -> None:
    stream = ("windows", "process_creation", "sysmon")
    assert covers((None, None, None), stream)
    assert covers(("windows", None, "sysmon"), stream)
    assert not covers(("windows", None, "security"), stream)
    assert not covers(("windows", "process_creation", None), ("windows", None, "sysmon"))


# --- field lookup ---


def test_the_first_place_with_a_value_counts_and_null_only_if_there_is_none() -> None:
    paths = ("a", "b.c", "d")
    assert coalesced({"a": None, "b": {"c": 0}, "d": 1}, paths) == 0
    assert coalesced({"a": "", "d": 1}, paths) == ""
    assert coalesced({"b": {"c": None}}, paths) is None
    assert coalesced({"e": 1}, paths) is MISSING
    assert coalesced({"a": EMPTY, "d": 1}, paths) is EMPTY


def test_an_explanation_names_what_was_true() -> None:
    rule = reading_of("a: {F: x}\nb: {G: 1}\ncondition: a and not b").rules[0]
    assert list(explain(rule.tree, Event({"F": "x"}))) == [
        "+ AllOf",
        "  + AllOf",
        "    + F: 'x'",
        "  + Not",
        "    - AllOf",
        "      - G: 1",
    ]


# --- the parts against simpler ones ---


def test_folding_keeps_the_length_and_is_done_once() -> None:
    for code in range(0x110000):
        folded = fold_character(chr(code))
        assert len(folded) == 1
        assert fold_character(folded) == folded
    assert fold("AßẞİK") == "aßßİk"


def glob_by_definition(parts: tuple[str | Wild, ...], text: str) -> bool:
    if not parts:
        return not text
    if parts[0] is MANY:
        return any(glob_by_definition(parts[1:], text[at:]) for at in range(len(text) + 1))
    if parts[0] is ONE:
        return bool(text) and glob_by_definition(parts[1:], text[1:])
    return text.startswith(str(parts[0])) and glob_by_definition(parts[1:], text[len(str(parts[0])) :])


@given(st.lists(st.sampled_from([MANY, ONE, "a", "ab", "b"]), max_size=6), st.text("ab", max_size=8))
def test_wildcards_match_as_by_definition(parts: list[str | Wild], text: str) -> None:
    spaced = [key for key, group in itertools.groupby(parts) for _ in ([0] if key is MANY else group)]
    assert runs_match(runs_of(tuple(spaced)), text) == glob_by_definition(tuple(spaced), text)


PIECES = st.sampled_from(
    [*"abk.^$|()", "a*", "b+", "(?:ab)?", "[a-k]", "[^a]", "\\b", "\\w", "\\W", "\\s", "(a|b)*", "a{1,2}", "\n", "(?i)"]
)


@given(
    st.lists(PIECES, max_size=6).map("".join), st.sets(st.sampled_from("ims")), st.text("abkK\u212a \n_", max_size=8)
)
def test_sets_of_positions_agree_with_the_standard_library(pattern: str, flags: set[str], text: str) -> None:
    try:
        node = regex.parse(pattern, "".join(flags))
    except regex.RegexRefused:
        return
    quick = regex.compiled(node)
    if quick is not None:
        assert bool(quick.search(text)) == regex.search(node, text)


def test_no_pattern_takes_exponential_time() -> None:
    node = regex.parse("^(a+)+$")
    assert regex.compiled(node) is None
    assert not regex.search(node, "a" * 200 + "!")
