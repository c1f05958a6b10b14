r"""Rules written on the command line: ``'Image|endswith=\cmd.exe'`` becomes a Sigma rule like any other."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mingjian.detect.sigma.parse import parse_rules
from mingjian.detect.sigma.references import resolve
from mingjian.errors import ConfigError, shown
from mingjian.model.rules import Rule

FILE = "command line"


_OF_JSON = {"exists", "lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year"}
"""Modifiers whose values are no texts."""


def rule_of(expressions: Sequence[str]) -> Rule:
    r"""Make a rule of expressions that all have to be true.

    ``field|modifier=value`` is what Sigma understands by ``field|modifier: value``, also with ``*`` and ``?``. What has
    no ``=`` is a keyword. The log source is open: every stream is looked at.

    Raises:
        ConfigError: what stands there is no such thing.

    >>> rule = rule_of(["Image|endswith=\\cmd.exe", "User=bob"])
    >>> rule.title, len(rule.condition.items)
    ('Image|endswith=\\cmd.exe and User=bob', 2)
    """
    detection: dict[str, object] = {}
    for number, expression in enumerate(expressions, 1):
        key, equals, value = expression.partition("=")
        if not expression.strip() or (equals and not key.strip()):
            raise ConfigError(f"not an expression: {shown(expression)}", hint="field|modifier=value, or a keyword")
        detection[f"e{number}"] = {key.strip(): _plain(key, value)} if equals else [expression]
    names = list(detection)
    document = {
        "title": " and ".join(expressions),
        "logsource": {"product": None},
        "detection": {**detection, "condition": " and ".join(names)},
        "level": "informational",
    }
    parsed = parse_rules(json.dumps(document).encode())
    resolved = resolve([(FILE, parsed)])
    if not resolved.rules:
        reason = resolved.skipped[0].reason if resolved.skipped else "it cannot be understood"
        raise ConfigError(f"{shown(' and '.join(expressions))}: {reason}", hint="field|modifier=value, or a keyword")
    return resolved.rules[0]


def _plain(key: str, text: str) -> object:
    """The value as YAML would have given it to a rule."""
    if _OF_JSON.isdisjoint(key.split("|")[1:]):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
