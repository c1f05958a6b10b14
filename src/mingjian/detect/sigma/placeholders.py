"""Values for placeholders: a map from names to a value or a list of values, in YAML or JSON.

::

    Administrators: ["adm_*", "root"]
    DomainControllers: dc01

Source: Sigma rules specification, section Placeholders.
"""

from __future__ import annotations

from typing import Final

from mingjian.errors import LimitExceeded, ParseError, SchemaError, shown
from mingjian.formats.bounded import Plain, parse_json, parse_yaml

PLACEHOLDER_CHARACTERS_MAX: Final = 4_096
"""The longest value of a placeholder."""

PLACEHOLDER_VALUES_MAX: Final = 10_000
"""So many values one placeholder may have."""


def placeholders_of(data: bytes, *, file: str) -> dict[str, tuple[str, ...]]:
    """Read a file with values for placeholders. Names may be written with or without percent signs.

    Raises: ParseError, SchemaError, LimitExceeded.

    >>> placeholders_of(b"Servers: [srv1, 'srv2*']", file="f")
    {'Servers': ('srv1', 'srv2*')}
    """
    shape = _shape(data, file)
    if not isinstance(shape, dict):
        raise SchemaError("placeholders are a map from names to values", where=file)
    made: dict[str, tuple[str, ...]] = {}
    for name, value in shape.items():
        several = value if isinstance(value, list) else [value]
        if not name.strip("%") or not several:
            raise SchemaError(f"the placeholder {shown(name)} has no name or no value", where=file)
        if len(several) > PLACEHOLDER_VALUES_MAX:
            raise LimitExceeded("PLACEHOLDER_VALUES_MAX", PLACEHOLDER_VALUES_MAX, where=file)
        made[name.strip("%")] = tuple(_value(name, item) for item in several)
    return made


def _shape(data: bytes, file: str) -> Plain:
    if data.lstrip().startswith(b"{"):
        try:  # JSON is nearly YAML, but not quite: its surrogate pairs are not
            return parse_json(data, where=file)
        except ParseError:
            pass
    documents = parse_yaml(data, file=file)
    return documents[0] if len(documents) == 1 else None


def _value(name: str, value: Plain) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise SchemaError(f"the placeholder {shown(name)} has the value {shown(value)}, which is not text")
    text = str(value)
    if len(text) > PLACEHOLDER_CHARACTERS_MAX:
        raise LimitExceeded("PLACEHOLDER_CHARACTERS_MAX", PLACEHOLDER_CHARACTERS_MAX)
    return text
