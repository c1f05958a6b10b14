"""Values and cells: how one value of a record becomes a cell of a column, and comes back exactly.

A cell is what other programs see in a column: a text, a whole number, a float or a truth value. Beside it stands its
*kind*, which says what it was. Text cells hold any kind; the other columns only kinds that they hold exactly. A value
that JSON cannot hold exactly (lone surrogates, NaN, an empty element inside a list, a whole number beyond 64 bits in a
list) becomes a *tagged* cell: a JSON list of tokens, each of which says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import orjson

from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Value

Kind: TypeAlias = str
"""One letter out of ``KINDS``."""

KINDS: Final = "-neosifbjt"
"""Missing, null, EMPTY, empty object; text, whole number, float, truth value; JSON, tagged. Places are codes."""
Cell: TypeAlias = "str | int | float | bool"
"""What stands in a column, or nothing."""

ABSENT_VALUES: Final[dict[Kind, Value | Missing]] = {"-": MISSING, "n": None, "e": EMPTY}
"""Without the empty object: each record must get one of its own."""
CODE_OF_KIND: Final = {kind: code for code, kind in enumerate(KINDS)}
KIND_OF_TYPE: Final[dict[type, Kind]] = {
    Missing: "-",
    type(None): "n",
    Empty: "e",
    str: "s",
    int: "i",
    float: "f",
    bool: "b",
}
"""The kind of a value by its type, where the type decides."""


class _Token(str):
    """A bracket that is written as it is, where a text of the value would be tagged."""

    __slots__ = ()


def text_cell(value: Value | Missing) -> tuple[Kind, str | None]:
    """The kind of any value, and its cell in a column of texts.

    >>> text_cell("a"), text_cell(7), text_cell([1, "a"]), text_cell(None)
    (('s', 'a'), ('i', '7'), ('j', '[1,"a"]'), ('n', None))
    """
    match value:
        case str():
            return ("s", value) if is_encodable(value) else ("t", _tagged_text(value))
        case bool():
            return "b", "true" if value else "false"
        case int():
            return "i", str(value)
        case float():
            return "f", repr(value)
        case dict() if not value:
            return "o", None
        case list() | dict():
            return _nested_cell(value)
        case _:
            return KIND_OF_TYPE[type(value)], None


def value_of(kind: Kind, cell: Cell | None) -> Value | Missing:
    """The value that a cell stands for, whatever the type of its column.

    >>> value_of("i", "7"), value_of("i", 7.0), value_of("j", '{"a":[]}'), value_of("e", None)
    (7, 7, {'a': []}, <Empty.EMPTY: ''>)
    """
    if kind == "o":
        return {}
    return ABSENT_VALUES[kind] if cell is None else DECODE[kind](cell)


def is_encodable(text: str) -> bool:
    """Whether a text is Unicode: without lone surrogates, which no file format of others holds."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _nested_cell(value: list[Value] | dict[str, Value]) -> tuple[Kind, str]:
    try:
        data = orjson.dumps(value)
        # It writes NaN as null and EMPTY as "": what does not come back the same was not JSON.
        if (b"null" not in data and b'""' not in data) or orjson.loads(data) == value:
            return "j", data.decode()
    except (TypeError, ValueError):
        pass
    return "t", _tagged_text(value)


def _tagged_text(value: Value) -> str:
    """Write any value as a flat list of tokens: whatever its depth, neither writing nor reading recurses."""
    tokens: list[str] = []
    waiting: list[Value | _Token] = [value]
    while waiting:
        item = waiting.pop()
        match item:
            case _Token():
                tokens.append(item)
            case list():
                tokens.append("[")
                waiting.append(_Token("]"))
                waiting += reversed(item)
            case dict():
                tokens.append("{")
                waiting.append(_Token("}"))
                for key, inner in reversed(item.items()):
                    waiting += (inner, key)
            case _:
                tokens.append(_token(item))
    return json.dumps(tokens, separators=(",", ":"))


def _token(value: str | float | Empty | None) -> str:
    match value:
        case str():
            text = is_encodable(value)
            return f"s{value}" if text else f"x{value.encode('utf-8', 'surrogatepass').hex()}"
        case bool():
            return f"b{int(value)}"
        case int():
            return f"i{value:x}"
        case float():
            return f"f{value.hex()}"
        case Empty():
            return "e"
        case None:
            return "n"


def _of_tagged_text(cell: str) -> Value:
    outermost: list[Value] = []
    stack: list[tuple[str, list[Value]]] = [("", outermost)]
    for token in cast("list[str]", json.loads(cell)):
        if token in ("[", "{"):
            stack.append((token, []))
            continue
        if token in ("]", "}"):
            opened, items = stack.pop()
            keys = cast("list[str]", items[::2])
            stack[-1][1].append(items if opened == "[" else dict(zip(keys, items[1::2], strict=True)))
            continue
        stack[-1][1].append(_OF_TOKEN[token[0]](token[1:]))
    return outermost[0]


_OF_TOKEN: Final[dict[str, Callable[[str], Value]]] = {
    "e": lambda _: EMPTY,
    "n": lambda _: None,
    "b": lambda text: text == "1",
    "s": lambda text: text,
    "x": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "i": lambda text: int(text, 16),
    "f": float.fromhex,
}


def _whole(cell: Cell) -> int:
    # In a column that had floats before texts came, a whole number is written as a float.
    return int(cell.removesuffix(".0")) if isinstance(cell, str) else int(cell)


def _truth(cell: Cell) -> bool:
    return cell is True or cell == "true"


def _of_json(cell: Cell) -> Value:
    return cast("Value", orjson.loads(cast("str", cell)))


DECODE: Final[dict[Kind, Callable[[Cell], Value]]] = {
    "s": lambda cell: cell,
    "i": _whole,
    "f": float,
    "b": _truth,
    "j": _of_json,
    "t": lambda cell: _of_tagged_text(cast("str", cell)),
}
"""How a cell of each kind that has one becomes a value."""
