"""Events and rules for property tests: small worlds in which every modifier meets every type trap.

``cases`` draws a few events and a rule made from what they hold, so that rules match about as often as they do not.
Rules are YAML, so that they go through the whole of a reader.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from hypothesis import strategies as st

from mingjian.model.values import EMPTY, Record, Value

FIELDS = ("F", "G", "Full Name", "o.p", "o", "missing")
"""``o.p`` may be a key of its own or stand inside ``o``."""

PLACEHOLDERS: dict[str, list[str]] = {"many": ["ab*", "?42", "ß"], "one": ["abc"], "a-b": ["true", "true"]}

CASE = [
    *["ß", "ẞ", "ss", "K", "\u212a", "k", "İ", "i", "I", "ı", "ſ", "s", "S", "ς", "σ", "Σ", "µ", "μ"],
    *["å", "\u212b", "ﬁ", "fi", "ŉ", "ǅ", "ǆ", "Ǆ", "ᾀ", "ᾈ", "é", "e\u0301", "ａ", "Ａ", "𐐀", "𐐨", "ж", "Ж", "明"],
]
WORDS = [
    *[
        "abc",
        "ABC",
        "aBc",
        "ab",
        "b",
        "bcd",
        "abab",
        "ΟΔΟΣ",
        "οδος",
        "STRASSE",
        "straße",
        "Kelvin\u212a",
        "𝄞a",
        "ａｂｃ",
    ],
    *["", " ", "a b", " abc", "a\nb", "a\r\nb\n", "a\n", "\n", "a\tb", "\0", "\v", "\u00a0", "\u2028"],
    *["*", "?", "a*b", "a?b", "\\", "a\\b", "a\\", "\\\\x", "a\\*", "%one%", "100%", '"', "'", "{}", "[]", '{"p":1}'],
    *["C:\\Windows\\System32\\cmd.exe", "cmd.exe /c -enc abc", "\\\\host\\share"],
    *["-a", "/a", "–a", "—a", "―a", "--a", "a-b", "x -a /b", "x /a –b", "-", "- a"],
    *["true", "True", "FALSE", "false", "falſe", "yes", "null", "None", "~"],
    *[
        "0",
        "1",
        "42",
        "042",
        "42.0",
        "+42",
        "-42",
        "0x2a",
        "0X2A",
        "1e3",
        "1.5",
        "-5",
        "1_000",
        "٣",
        "NaN",
        "inf",
        "42 ",
    ],
    *["9007199254740993", "18446744073709551616", "1e+30", "1e-7"],
    *["10.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "FE80::1", "2001:db8::5"],
    *["10.0.0.256", "10.0.1", "10.0.0.1:80", "10.00.0.1"],
    *["2026-03-04", "2026-03-04T05:06:07Z", "2026-03-04 23:59:59.9", "2026-02-30", "2021-01-03T00:00", "2024-12-30"],
    *["2026-03-04T5:06", "on 2026-03-04", "2026-03-04T25:00"],
    *CASE,
]
BROKEN = ["\udcff", "a\udcffb", "\udcc3\udca4", "abc\udc80"]
"""Bytes that were no text. They stand in events only: YAML cannot hold them."""
NUMBERS: list[int | float] = [
    *[0, 1, -1, 2, 5, 42, 42.0, 41.5, 1.5, 0.1, -0.0, 1e30, 1e16, 1e-7, 10**30, -42],
    *[2**53, 2**53 + 1, 2.0**53, 2**63, 2**64, 1772600767, 1772600767123, 1772600767.5, 10**11],
]
NETWORKS = ["10.0.0.0/8", "10.1.2.3/16", "10.0.0.1", "0.0.0.0/0", "::/0", "fe80::/10", "2001:db8::1/32", "::1"]
DATE_PARTS = [
    ("minute", [0, 6, 59]),
    ("hour", [0, 5, 23]),
    ("day", [3, 4, 30]),
    ("week", [1, 10, 53]),
    ("month", [1, 3, 12]),
    ("year", [1970, 2021, 2026]),
]
EXPANDED = ["%many%", "%one%", "x%one%", "%a-b%", "\\%one%%one%", "%many%%one%"]
ENCODED = ["foobar", "cmd", "http://", "明见x", "IEX ("]
"""What ``base64`` and its kin look for; events hold it in every shift."""


@st.composite
def _encoded_texts(draw: st.DrawFn) -> str:
    word = draw(st.sampled_from(ENCODED)).encode(draw(st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-16"])))
    around = st.sampled_from([b"", b"x", b"xy", b"xyz"])
    encoded = base64.b64encode(draw(around) + word + draw(around)).decode()
    raw = word.decode("utf-8", "surrogateescape")
    return draw(st.sampled_from([encoded, f"run {encoded} end", encoded.swapcase(), raw, f"x{raw}x"]))


def _turned(text: str) -> str:
    """Swap the case where that keeps the number of characters."""
    return "".join(swapped if len(swapped := character.swapcase()) == 1 else character for character in text)


texts = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(WORDS).map(_turned),
    st.sampled_from(BROKEN),
    _encoded_texts(),
    st.lists(st.sampled_from(["a", "B", "b", "*", "\\", "-", "/", " ", "ß", "K", "\n", "1"]), max_size=6).map("".join),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)).map("".join),
)
"""Texts that events hold."""

_finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(texts, texts, st.sampled_from(NUMBERS), st.booleans(), st.none(), st.just(EMPTY), _finite)


@st.composite
def values(draw: st.DrawFn) -> Value:
    """Draw what a field may hold: mostly a scalar, sometimes a list or an object, nested."""
    shape = draw(st.integers(0, 11))
    if shape < 8:
        return draw(scalars)
    if shape < 10:
        return draw(st.lists(scalars, max_size=3))
    if shape == 10:
        return draw(st.lists(st.lists(scalars, max_size=2) | st.fixed_dictionaries({"p": scalars}), max_size=2))
    return draw(
        st.dictionaries(st.sampled_from(["p", "q", "p.q"]), scalars | st.lists(scalars, max_size=2), max_size=2)
    )


@st.composite
def records(draw: st.DrawFn, without_empty: bool = False) -> Record:
    """Draw an event. ``without_empty``: only what JSON can say."""
    names = draw(st.lists(st.sampled_from(FIELDS[:-1]), unique=True, max_size=4))
    record = {name: draw(values()) for name in names}
    if draw(st.booleans()):
        record["o"] = {"p": draw(values())}
    if draw(st.integers(0, 3)) == 0 and len(names) > 1:
        record[names[0]] = record[names[1]]  # something for fieldref
    return json_able(record) if without_empty else record


def json_able(value: Any) -> Any:
    """Replace what JSON in UTF-8 cannot say: the empty element, broken text, huge whole numbers."""
    if isinstance(value, dict):
        return {key: json_able(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_able(item) for item in value]
    if value is EMPTY:
        return ""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


# --- rules ---


class Case(NamedTuple):
    """Some events, rule files with one rule each, and the modifiers that these use."""

    records: list[Record]
    rules: list[bytes]
    modifiers: list[frozenset[str]]

    @property
    def files(self) -> list[tuple[str, bytes]]:
        """The rules under made-up names."""
        return [(f"{number}.yml", rule) for number, rule in enumerate(self.rules)]


def _leaves(value: Value) -> list[str | int | float | bool]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None or value is EMPTY else [value]  # type: ignore[list-item]  # no list, no object


def _sayable(text: str) -> str:
    return "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)


@st.composite
def _like(draw: st.DrawFn, text: str) -> str:
    """Draw a pattern that has something to do with the text: often matching, often just not."""
    text = _sayable(text)
    how = draw(st.integers(0, 8))
    start = draw(st.integers(0, max(len(text) - 1, 0)))
    end = draw(st.integers(start, len(text)))
    if how == 0:
        return text
    if how == 1:
        return _turned(text)
    escaped = text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
    if how == 2:
        return escaped
    if how == 3:
        return text[:start] + "?" + text[start + 1 :]
    if how == 4:
        return text[:start] + "*" + text[end:]
    if how == 5:
        return text[:start] + "\\" + text[start:]
    if how == 6:
        return text[start:end]
    if how == 7:
        return f"*{text[start:end]}*"
    return draw(st.sampled_from(["*", "", "?*", "**", text + "?", text + "x"]))


_POSITIONS = st.sampled_from([[], ["contains"], ["startswith"], ["endswith"]])
_REGEX_PIECES = [
    *[
        ".",
        ".*",
        "a+",
        "[a-c]",
        "[^a]",
        "(ab|b)",
        "b?",
        "a{1,2}",
        "^",
        "$",
        r"\d+",
        r"\w",
        r"\s",
        r"\b",
        r"\W",
        "ß",
        "k",
    ],
    *["(?:b|c)*", "a.*?c", r"\\", r"\.", r"\x41", "[0-9a-f]{2}", "|", r"\S", "(?i)", "[^\\n]"],
]


def _maybe(draw: st.DrawFn, *modifiers: str) -> list[str]:
    return [modifier for modifier in modifiers if draw(st.integers(0, 3)) == 0]


@st.composite
def _text_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    modifiers = draw(_POSITIONS) + _maybe(draw, "cased", "windash")

    def one() -> Any:
        value = draw(st.sampled_from(pool) | st.sampled_from(WORDS) | st.sampled_from(NUMBERS) | st.booleans())
        if isinstance(value, float):
            value = value if abs(value) < 1e300 else 1.5
        if isinstance(value, str) or draw(st.integers(0, 2)) == 0:
            text = value if isinstance(value, str) else json.dumps(value)
            return draw(_like(text[:12] if "windash" in modifiers else text))
        return value

    if not modifiers and draw(st.integers(0, 7)) == 0:
        return [], None
    return modifiers, draw_one_or_more(draw, one, modifiers)


def draw_one_or_more(draw: st.DrawFn, one: Any, modifiers: list[str]) -> Any:
    """Draw a value or a list of values, the list sometimes under ``all``."""
    if draw(st.integers(0, 2)):
        return one()
    if draw(st.booleans()):
        modifiers.append("all")
    return [one() for _ in range(draw(st.integers(2, 3)))]


@st.composite
def _encoded_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    wide = draw(st.sampled_from([[], [], ["wide"], ["utf16le"], ["utf16be"], ["utf16"]]))
    base = draw(st.sampled_from([[], ["base64"], ["base64offset"], ["base64offset"]]))
    position = draw(st.sampled_from([[], ["contains"], ["contains"]]))
    modifiers = wide + base + position + _maybe(draw, "cased")
    return modifiers, draw_one_or_more(draw, lambda: draw(st.sampled_from(ENCODED)), modifiers)


@st.composite
def _regex_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    modifiers = ["re", *draw(st.lists(st.sampled_from("ims"), unique=True, max_size=3))]

    def one() -> str:
        pieces = draw(st.lists(st.sampled_from(_REGEX_PIECES), min_size=1, max_size=4))
        found = [leaf for leaf in pool if isinstance(leaf, str)]
        literal = draw(st.sampled_from(found or ["abc"]))
        letters = "".join(c for c in _sayable(literal)[:6] if c.isalnum())
        pieces.insert(draw(st.integers(0, len(pieces))), letters)
        pattern = "".join(pieces)
        return "a" + pattern if pattern[:1] in ("?", "*", "+") else pattern

    return modifiers, draw_one_or_more(draw, one, modifiers)


@st.composite
def _network_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    modifiers = ["cidr"]
    return modifiers, draw_one_or_more(draw, lambda: draw(st.sampled_from(NETWORKS)), modifiers)


@st.composite
def _exists_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    return ["exists"], draw(st.booleans())


@st.composite
def _compared_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    numbers = [leaf for leaf in pool if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    bound = draw(st.sampled_from([n for n in numbers if abs(n) < 1e300] + NUMBERS))
    return [draw(st.sampled_from(["gt", "gte", "lt", "lte"]))], bound


@st.composite
def _reference_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    modifiers = ["fieldref", *draw(_POSITIONS), *_maybe(draw, "cased")]
    return modifiers, draw_one_or_more(draw, lambda: draw(st.sampled_from(FIELDS)), modifiers)


@st.composite
def _date_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    part, numbers = draw(st.sampled_from(DATE_PARTS))
    relation = draw(st.sampled_from([[], [], ["gt"], ["gte"], ["lt"], ["lte"]]))
    return [part, *relation], draw(st.sampled_from(numbers))


@st.composite
def _expanded_item(draw: st.DrawFn, pool: list[Any]) -> tuple[list[str], Any]:
    modifiers = ["expand", *draw(_POSITIONS)]
    return modifiers, draw_one_or_more(draw, lambda: draw(st.sampled_from(EXPANDED)), modifiers)


_FIELD_ITEMS = [_text_item] * 5 + [
    _encoded_item,
    _regex_item,
    _network_item,
    _exists_item,
    _compared_item,
    _compared_item,
    _reference_item,
    _date_item,
    _expanded_item,
]
_KEYWORD_ITEMS = [_text_item, _text_item, _encoded_item, _regex_item, _expanded_item]


@st.composite
def _items(draw: st.DrawFn, pool: list[Any], names: list[str]) -> dict[str, Any]:
    """Draw a map of one or two fields, or of one keyword with modifiers."""
    if draw(st.integers(0, 5)) == 0:
        modifiers, value = draw(draw(st.sampled_from(_KEYWORD_ITEMS))(pool))
        return {"|".join(["", *modifiers]) or "|contains": "abc" if value is None else value}
    items: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 2))):
        modifiers, value = draw(draw(st.sampled_from(_FIELD_ITEMS))(pool))
        modifiers += _maybe(draw, "neq")[: draw(st.integers(0, 1))]
        name = draw(st.sampled_from(names) if draw(st.integers(0, 3)) else st.sampled_from(FIELDS))
        items["|".join([name, *modifiers])] = value
    return items


@st.composite
def _identifier(draw: st.DrawFn, pool: list[Any], names: list[str]) -> Any:
    shape = draw(st.integers(0, 9))
    if shape < 7:
        return draw(_items(pool, names))
    if shape == 7:
        return draw(st.lists(_items(pool, names), min_size=1, max_size=2))
    keywords = st.one_of(*[_like(w) for w in ("abc", "ß", "42", "a*b", "true")], st.sampled_from([42, True, 1.5]))
    return draw(st.lists(keywords, min_size=1, max_size=3))


CONDITIONS = [
    *["s1", "s1", "s1", "not s1", "s1 and s2", "s1 or s2", "s1 and not s2", "not (s1 or s2)", "s1 or s2 and not t"],
    *["1 of s*", "all of s*", "1 of them", "all of them", "2 of them", "3 of them", "not 1 of s*", "2 of s* and not t"],
    *["not all of them", "not 2 of them or t", "(s1 or t) and (s2 or not s1)", ["s1 and s2", "t"], ["not s1", "s2"]],
]


class _Dumper(yaml.SafeDumper):
    """Quotes every text, so that its type never depends on the version of YAML."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if text != "" else "'")
)


def rule_file(detection: dict[str, Any], number: int) -> bytes:
    """Write a rule file around a detection. The number makes its id."""
    rule = {
        "title": "t",
        "id": str(uuid.UUID(int=number + 1, version=4)),
        "logsource": {"category": "test"},
        "detection": detection,
    }
    return yaml.dump(rule, Dumper=_Dumper, allow_unicode=True, sort_keys=False).encode()


@st.composite
def cases(draw: st.DrawFn, without_empty: bool = False) -> Case:
    """Draw some events and rules made from what they hold."""
    drawn = draw(st.lists(records(without_empty=without_empty), min_size=1, max_size=8))
    pool = [leaf for record in drawn for leaf in _leaves(record)] or ["abc"]
    names = [name for record in drawn for name in record] or ["F"]
    rules: list[bytes] = []
    modifiers: list[frozenset[str]] = []
    for number in range(draw(st.integers(1, 5))):
        detection = {name: draw(_identifier(pool, names)) for name in ("s1", "s2", "t")}
        detection["condition"] = draw(st.just("s1") | st.sampled_from(CONDITIONS))
        rules.append(rule_file(detection, number))
        modifiers.append(modifiers_of(detection))
    return Case(drawn, rules, modifiers)


def modifiers_of(detection: Any) -> frozenset[str]:
    """List the modifiers that a detection uses."""
    if isinstance(detection, list):
        return frozenset().union(*map(modifiers_of, detection))
    if not isinstance(detection, dict):
        return frozenset()
    own = {modifier for key in detection for modifier in key.split("|")[1:]}
    return frozenset(own).union(*map(modifiers_of, detection.values()))


# --- every trap against every trap ---


def trap_records() -> list[Record]:
    """List events that hold one value each, every value there is a trap for."""
    encoded = [
        base64.b64encode(before + word.encode(codec) + b"!").decode()
        for word in ENCODED
        for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-16")
        for before in (b"", b"x", b"xy")
    ]
    wide = [
        w.encode(c).decode("utf-8", "surrogateescape") for w in ENCODED for c in ("utf-16-le", "utf-16-be", "utf-16")
    ]
    held: list[Any] = [*WORDS, *map(_turned, WORDS), *BROKEN, *encoded, *map(str.swapcase, encoded), *wide]
    held += [f"x {text} y" for text in (*WORDS[:40], *encoded[:20])]
    held += [*NUMBERS, True, False, None, EMPTY, [], [None], [EMPTY], [[], [None]], {}, {"p": 1}, {"abc": "x"}]
    held += [[None, "abc"], ["x", ["abc", 42]], [True], [42, "true"], {"p": {"q": "abc"}}, [{"p": "abc"}, {"p": 42}]]
    held += [{"p": [1.5, True, None, EMPTY, 'ü\n"\\']}, ["10.0.0.1", "::1"], ["2026-03-04", 1772600767]]
    return [{}, *({"F": value} for value in held), *({"G": value} for value in held[:20])]


def trap_pairs() -> list[Record]:
    """List events with two fields to compare."""
    few: list[Any] = [
        *CASE,
        "abc",
        "ABC",
        "",
        EMPTY,
        None,
        42,
        42.0,
        "42",
        "42.0",
        True,
        "TRUE",
        1,
        "a*",
        "bc",
        "\udcff",
    ]
    few += [["x", "abc"], [], {"p": 1}, '{"p":1}']
    return [{"F": one, "G": other} for one in few for other in few]


def trap_rules() -> Iterator[bytes]:
    """Give a rule for every modifier with every value that it may have trouble with, every sixth under ``neq``."""
    plain: list[Any] = [*WORDS, *(n for n in NUMBERS if abs(n) < 1e300), True, False]
    items: list[tuple[str, Any]] = [("", None), *(("", value) for value in plain)]
    items += [(f"|{how}", value) for how in ("contains", "startswith", "endswith", "cased") for value in plain]
    items += [("|contains|cased", value) for value in WORDS]
    items += [("", "\\".join(["", *word])) for word in ("*", "?", "*x", "?x")]
    items += [(how, word) for word in WORDS if len(word) < 12 for how in ("|windash", "|windash|contains")]
    encodings = [f"{wide}{base}" for wide in _WIDE for base in ("", "|base64", "|base64offset")]
    items += [(f"{how}{end}", word) for how in encodings for end in ("", "|contains", "|cased") for word in ENCODED]
    patterns = [f"{before}{piece}{behind}" for piece in _TRAP_PATTERNS for before in ("", "^") for behind in ("", "$")]
    items += [(f"|re{flags}", pattern) for pattern in patterns for flags in ("", "|i", "|m", "|s", "|i|m|s")]
    items += [("|cidr", network) for network in NETWORKS]
    items += [("|exists", True), ("|exists", False)]
    items += [(f"|{how}", n) for how in ("gt", "gte", "lt", "lte") for n in NUMBERS if abs(n) < 1e300]
    items += [(f"|{p}{how}", n) for p, ns in DATE_PARTS for n in ns for how in ("", "|gt", "|gte", "|lt", "|lte")]
    items += [(f"|expand{how}", value) for how in ("", "|contains", "|startswith", "|endswith") for value in EXPANDED]
    for number, (modifiers, value) in enumerate(items):
        negated = "|neq" if number % 6 == 0 else ""
        yield rule_file({"s": {f"F{modifiers}{negated}": value}, "condition": "s"}, number)
    keywords = [item for item in items if item[1] is not None and item[0].split("|")[-1] not in _FIELD_ONLY]
    for number, (modifiers, value) in enumerate(keywords, len(items)):
        if number % 3 == 0:
            yield rule_file({"s": {modifiers: value} if modifiers else [value], "condition": "s"}, number)


def reference_rules() -> Iterator[bytes]:
    """Give a rule for every kind of field reference."""
    for number in range(16):
        how = ("", "|startswith", "|endswith", "|contains")[number % 4]
        modifiers = how + ("|cased" if number & 4 else "") + ("|neq" if number & 8 else "")
        yield rule_file({"s": {f"F|fieldref{modifiers}": "G"}, "condition": "s"}, 100_000 + number)


_WIDE = ("", "|wide", "|utf16le", "|utf16be", "|utf16")
_FIELD_ONLY = {"cidr", "exists", "gt", "gte", "lt", "lte", *(part for part, _ in DATE_PARTS)}
_TRAP_PATTERNS = [
    *[
        "a",
        "A",
        ".",
        ".*",
        "abc",
        "a.b",
        "k",
        "K",
        "\u212a",
        "s",
        "i",
        "ß",
        "σ",
        "42",
        r"\d+",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
    ],
    *[
        r"\bb",
        r"\Bb",
        "[a-c]",
        "[^a]",
        "[^k]",
        "[h-l]",
        "(ab)+",
        "a{2}",
        "b?",
        "x|b",
        r"\\",
        r"\x41",
        "true",
        "a\nb",
        "𐐨",
    ],
]
