"""The language of filters: what somebody types above a list, and what an address holds. Pure.

``level>=high host:pc-1 -rule:abc title:"two words" time>=7d whoami``: all terms have to hold. A term is a field, a sign
and one or more values divided by commas, of which one is enough; ``-`` before it turns it round; ``*`` stands for
anything; what has no field is looked for in what the list shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from mingjian.errors import SchemaError, shown
from mingjian.model.rules import LEVELS
from mingjian.model.times import parse_time_us
from mingjian.store.narrowing import Condition, How
from mingjian.store.segments import US_PER_DAY

TERMS_MAX: Final = 20
"""So many terms a filter has at most."""
VALUES_MAX: Final = 50
"""So many values a term has at most."""
FIELD_CHARACTERS_MIN: Final = 2
"""One letter before a colon is a drive, not a field."""

Kind: TypeAlias = Literal["text", "name", "choice", "level", "number", "time"]
"""``text``: some of it is enough. ``name``: the whole of it, if there is no ``*``."""
_SIGNS: Final = (">=", "<=", ":", "=", ">", "<")
_UNITS: Final = {"m": 60_000_000, "h": 3_600_000_000, "d": US_PER_DAY, "w": 7 * US_PER_DAY}


class Field(NamedTuple):
    """What a filter may be about."""

    kind: Kind
    choices: tuple[str, ...] = ()


Fields: TypeAlias = "Mapping[str, Field]"


def read_filter(text: str, fields: Fields, now_us: int) -> tuple[Condition, ...]:
    """Read a filter. Words without a field become conditions on the field ``word``.

    Raises:
        SchemaError: a field that there is not, a value that it cannot have, a quotation mark without another.
    """
    found: list[Condition] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        condition, place = _term(text, place, fields, now_us)
        found.append(condition)
        if len(found) > TERMS_MAX:
            raise SchemaError(f"the filter has more than {TERMS_MAX} terms (TERMS_MAX)")
    return tuple(found)


def _term(text: str, place: int, fields: Fields, now_us: int) -> tuple[Condition, int]:
    negated = text[place] == "-" and place + 1 < len(text) and not text[place + 1].isspace()
    start = place + negated
    end = start
    while end < len(text) and (text[end].isalpha() or text[end] == "_"):
        end += 1
    name = text[start:end].casefold()
    sign = next((each for each in _SIGNS if text.startswith(each, end)), "")
    if not sign or len(name) < FIELD_CHARACTERS_MIN:
        value, after = _value(text, start, stops="")
        return Condition(field="word", values=(value,), how="like", negated=negated), after
    field = fields.get(name)
    if field is None:
        hint = "one of " + ", ".join(fields) + '; in quotation marks it is text: "' + text[start:end] + sign + '…"'
        raise SchemaError(f"there is no field {shown(name)} to filter by", hint=hint)
    values: list[str] = []
    place = end + len(sign) - 1
    while place < len(text) and (not values or text[place] == ","):
        value, place = _value(text, place + 1, stops=",")
        values.append(value)
    values = [value for value in values if value]
    if not values or len(values) > VALUES_MAX:
        raise SchemaError(f"{name} needs a value after {sign}", hint=f"at most {VALUES_MAX} of them, divided by commas")
    return _condition(name, field, sign, values, negated, now_us), place


def _value(text: str, place: int, *, stops: str) -> tuple[str, int]:
    if text.startswith('"', place):
        end = text.find('"', place + 1)
        if end < 0:
            raise SchemaError("a quotation mark has no other one", hint='"like this"')
        return text[place + 1 : end], end + 1
    end = place
    while end < len(text) and not text[end].isspace() and text[end] not in stops:
        end += 1
    return text[place:end], end


def _condition(name: str, field: Field, sign: str, values: list[str], negated: bool, now_us: int) -> Condition:
    how: How = "from" if sign.startswith(">") else "to" if sign.startswith("<") else "is"
    if field.kind in ("text", "name", "choice"):
        if how != "is":
            raise SchemaError(f"{name} has no order: {name}{sign} means nothing", hint=f"{name}:{values[0]}")
        _check(name, values, field.choices)
        how = "like" if field.kind == "text" else "is"
    elif field.kind == "level":
        _check(name, values, LEVELS)
        values = [_next_level(name, sign, values[0])] if how != "is" and sign in (">", "<") else values
    elif field.kind == "number":
        values = [str(_number(name, value) + (sign == ">") - (sign == "<")) for value in values]
    else:
        values, how = _times(name, sign, values, now_us)
    return Condition(field=name, values=tuple(values), how=how, negated=negated)


def _check(name: str, values: list[str], choices: tuple[str, ...]) -> None:
    for value in values:
        if choices and value not in choices:
            raise SchemaError(f"{name} cannot be {shown(value)}", hint="one of " + ", ".join(choices))


def _next_level(name: str, sign: str, value: str) -> str:
    place = LEVELS.index(value) + (1 if sign == ">" else -1)  # type: ignore[arg-type]  # checked before
    if not 0 <= place < len(LEVELS):
        raise SchemaError(f"there is nothing that is {name}{sign}{value}")
    return LEVELS[place]


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or len(value) > len("1000000000"):
        raise SchemaError(f"{name} is a number, not {shown(value)}")
    return int(value)


def _times(name: str, sign: str, values: list[str], now_us: int) -> tuple[list[str], How]:
    """A moment, a day, or so long ago. A day alone means all of it."""
    text = values[0]
    if len(values) > 1:
        raise SchemaError(f"{name} can be one time only", hint=f"{name}>={text}")
    if text[:-1].isdecimal() and text[-1:] in _UNITS and len(text) <= len("100000m"):
        # To the minute: who asks again soon asks the same.
        since_us = (now_us - int(text[:-1]) * _UNITS[text[-1]]) // _UNITS["m"] * _UNITS["m"]
        return [str(since_us)], "to" if sign.startswith("<") else "from"
    is_day = len(text) == len("2026-01-31")
    moment = parse_time_us(f"{text}T00:00:00" if is_day else text)
    if moment is None:
        raise SchemaError(f"{shown(text)} is no time", hint=f"{name}>=2026-01-31, {name}>=7d for the last seven days")
    last = moment + (US_PER_DAY - 1 if is_day else 0)
    if sign == ">":
        return [str(last + 1)], "from"
    if sign == "<":
        return [str(moment - 1)], "to"
    if sign == "<=":
        return [str(last)], "to"
    return ([str(moment)], "from") if sign == ">=" else ([str(moment), str(last)], "within")


def term(name: str, value: str) -> str:
    """Write a term that means one value of a field.

    >>> term("host", "pc-1"), term("title", "two words"), term("account", 'a"b')
    ('host:pc-1', 'title:"two words"', 'account:a*b')
    """
    clean = value.replace('"', "*")
    is_plain = clean and not any(each.isspace() or each in ',"' for each in clean)
    return f"{name}:{clean}" if is_plain else f'{name}:"{clean}"'
