"""All rules of SigmaHQ: our expressions against pySigma's own reading of the same files.

Two small interpreters that share nothing: one walks pySigma's condition tree and its modified values, the other our
expressions. They are asked about events made from what the rule itself looks for, so that about half of the answers
are yes.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.rule import SigmaRule
from sigma.types import (
    Placeholder,
    SigmaBool,
    SigmaCIDRExpression,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

from mingjian.detect.sigma.parse import parse_rules
from mingjian.model.rules import (
    ANY,
    And,
    Bool,
    Cidr,
    Expr,
    FieldRef,
    Not,
    Null,
    Number,
    Or,
    Regex,
    Text,
)

EVENTS_PER_RULE = 12
Event = dict[str, list[str]]
"""Field → its values as text; no list: the field is missing."""


# --- pySigma's reading ---


def pysigma_holds(node: Any, event: Event) -> bool:
    if isinstance(node, ConditionAND):
        return all(pysigma_holds(item, event) for item in node.args)
    if isinstance(node, ConditionOR):
        return any(pysigma_holds(item, event) for item in node.args)
    if isinstance(node, ConditionNOT):
        return not pysigma_holds(node.args[0], event)
    if isinstance(node, ConditionValueExpression):
        return any(pysigma_value(node.value, text, event, anywhere=True) for texts in event.values() for text in texts)
    assert isinstance(node, ConditionFieldEqualsValueExpression)
    if isinstance(node.value, SigmaNull):
        return not event.get(node.field)
    return any(pysigma_value(node.value, text, event) for text in event.get(node.field, []))


def pysigma_value(value: Any, text: str, event: Event, *, anywhere: bool = False) -> bool:
    if isinstance(value, SigmaExpansion):
        return any(pysigma_value(one, text, event, anywhere=anywhere) for one in value.values)
    if isinstance(value, SigmaString):
        pattern = "".join(
            re.escape(part) if isinstance(part, str) else {"WILDCARD_MULTI": ".*", "WILDCARD_SINGLE": "."}[part.name]
            for part in value.s
        )
        if anywhere:
            pattern = f".*{pattern}.*"
        return re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL) is not None
    if isinstance(value, SigmaNumber):
        return (str(value.number) in text) if anywhere else text == str(value.number)
    if isinstance(value, SigmaBool):
        return text.lower() == str(value.boolean).lower()
    if isinstance(value, SigmaRegularExpression):
        flags = sum(value.sigma_to_python_flags[flag] for flag in value.flags)
        return re.search(str(value.regexp), text, flags | re.ASCII) is not None
    if isinstance(value, SigmaCIDRExpression):
        try:
            return ipaddress.ip_address(text) in value.network
        except ValueError:
            return False
    assert isinstance(value, SigmaFieldReference)
    others = event.get(value.field, [])
    mine = text.lower()
    if value.starts_with and value.ends_with:
        return any(other.lower() in mine for other in others)
    if value.starts_with:
        return any(mine.startswith(other.lower()) for other in others)
    if value.ends_with:
        return any(mine.endswith(other.lower()) for other in others)
    return any(mine == other.lower() for other in others)


# --- our reading ---


def glob(parts: tuple[str | int, ...], text: str) -> bool:
    """Match by trying everything, remembering what has been tried."""
    reached = {0}
    for part in parts:
        if isinstance(part, str):
            reached = {place + len(part) for place in reached if text.startswith(part, place)}
        elif part == ANY:
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {place + 1 for place in reached if place < len(text)}
    return len(text) in reached


def ours_holds(expr: Expr, event: Event) -> bool:
    if isinstance(expr, And):
        return all(ours_holds(item, event) for item in expr.items)
    if isinstance(expr, Or):
        return any(ours_holds(item, event) for item in expr.items)
    if isinstance(expr, Not):
        return not ours_holds(expr.item, event)
    if isinstance(expr, Null):
        return not event.get(expr.field)
    texts = [t for ts in event.values() for t in ts] if expr.field is None else event.get(expr.field, [])
    return any(ASK[type(expr)](expr, text, event) for text in texts)


def _text(atom: Text, text: str, event: Event) -> bool:
    parts = atom.parts if atom.cased else tuple(p.lower() if isinstance(p, str) else p for p in atom.parts)
    return glob(parts, text if atom.cased else text.lower())


def _cidr(atom: Cidr, text: str, event: Event) -> bool:
    try:
        return ipaddress.ip_address(text) in ipaddress.ip_network(atom.network)
    except ValueError:
        return False


def _reference(atom: FieldRef, text: str, event: Event) -> bool:
    how: dict[str, Callable[[str, str], bool]] = {
        "equals": str.__eq__,
        "startswith": str.startswith,
        "endswith": str.endswith,
        "contains": str.__contains__,
    }
    return any(how[atom.how](text.lower(), other.lower()) for other in event.get(atom.other, []))


def _regex(atom: Regex, text: str, event: Event) -> bool:
    flags = sum({"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[flag] for flag in atom.flags)
    pattern = atom.pattern.replace(r"\z", r"\Z").replace(r"\x{10FFFF}", r"\U0010FFFF")
    return re.search(pattern, text, flags | re.ASCII) is not None


ASK: dict[type, Callable[[Any, str, Event], bool]] = {
    Text: _text,
    Number: lambda atom, text, event: text == repr(atom.value),
    Bool: lambda atom, text, event: text.lower() == str(atom.value).lower(),
    Regex: _regex,
    Cidr: _cidr,
    FieldRef: _reference,
}


# --- events ---


def leaves(node: Any) -> Iterator[tuple[str | None, Any]]:
    if isinstance(node, ConditionFieldEqualsValueExpression):
        yield node.field, node.value
    elif isinstance(node, ConditionValueExpression):
        yield None, node.value
    else:
        for item in node.args:
            yield from leaves(item)


def made_from(value: Any, chance: random.Random) -> str | None:
    """A text that the value is often true of."""
    if isinstance(value, SigmaExpansion):
        return made_from(chance.choice(value.values), chance)
    if isinstance(value, SigmaString):
        text = "".join(
            part
            if isinstance(part, str)
            else chance.choice(["", "x", "\n"])
            if part is SpecialChars.WILDCARD_MULTI
            else "q"
            for part in value.s
        )
        return chance.choice([text, text, text.upper(), text.lower(), text + "x"])
    if isinstance(value, SigmaNumber | SigmaBool):
        return str(value)
    if isinstance(value, SigmaCIDRExpression):
        return str(value.network[0])
    if isinstance(value, SigmaRegularExpression):
        return re.sub(r"[\\^$()?*+|\[\]{}]|\.\*", "", str(value.regexp))
    if isinstance(value, SigmaFieldReference):
        return "same"
    return None


def events_for(conditions: list[Any], chance: random.Random) -> Iterator[Event]:
    wanted: dict[str, list[Any]] = {}
    for condition in conditions:
        for field, value in leaves(condition):
            wanted.setdefault(field or "_raw", []).append(value)
            if isinstance(value, SigmaFieldReference):
                wanted.setdefault(value.field, []).append(value)
    for number in range(EVENTS_PER_RULE):
        event: Event = {}
        # From everything that the rule names (so that selections hold) to next to nothing (so that filters do not).
        share = (1.0, 0.8, 0.5, 0.2)[number % 4]
        for field, values in wanted.items():
            if chance.random() > 0.9:
                continue
            chosen = [value for value in values if chance.random() < share] or [chance.choice(values)]
            texts = [text for text in (made_from(value, chance) for value in chosen) if text is not None]
            if texts:
                event[field] = texts
        yield event


def has_placeholder(node: Any) -> bool:
    def inside(value: Any) -> bool:
        if isinstance(value, SigmaExpansion):
            return any(map(inside, value.values))
        parts = value.regexp.s if isinstance(value, SigmaRegularExpression) else getattr(value, "s", [])
        return any(isinstance(part, Placeholder) for part in parts)

    return any(inside(value) for _, value in leaves(node))


@pytest.mark.slow
def test_our_reading_of_every_rule_is_that_of_pysigma(shared_data: Path) -> None:
    files = sorted(path for folder in (shared_data / "sigma").glob("rules*") for path in folder.rglob("*.yml"))
    assert len(files) == 3_777
    chance = random.Random(20260101)  # repeatable, not secret
    answers = {True: 0, False: 0}
    both = unfilled = 0
    for path in files:
        data = path.read_bytes()
        theirs = SigmaRule.from_yaml(data.decode())
        conditions = [parsed.parsed for parsed in theirs.detection.parsed_condition]
        parsed = parse_rules(data)
        if any(map(has_placeholder, conditions)):
            unfilled += 1
            assert len(parsed.skipped) == 1, path
            continue
        (rule,) = parsed.rules
        assert rule.id == str(theirs.id)
        assert rule.title == theirs.title
        assert rule.level == str(theirs.level)
        seen: set[bool] = set()
        for event in events_for(conditions, chance):
            expected = any(pysigma_holds(condition, event) for condition in conditions)
            assert ours_holds(rule.condition, event) == expected, (path, event)
            seen.add(expected)
            answers[expected] += 1
        both += len(seen) == 2
    assert unfilled == 25
    assert min(answers.values()) > 0.2 * sum(answers.values()), answers
    assert both > 0.6 * len(files), both
