"""Atoms in words, for people who ask why a rule fired."""

from __future__ import annotations

from mingjian.model.rules import (
    ANY,
    And,
    AnyAtom,
    Bool,
    Cidr,
    Compare,
    Exists,
    Expr,
    FieldRef,
    Not,
    Null,
    Number,
    Or,
    Regex,
    Text,
    TimePart,
)

_SIGNS = {"lt": "<", "lte": "≤", "gt": ">", "gte": "≥", "eq": "="}


def atom_in_words(atom: AnyAtom) -> str:
    r"""One line that says what an atom asks, close to how the rule writes it.

    >>> atom_in_words(Text("Image", (ANY, "\\cmd.exe")))
    "Image = '*\\\\cmd.exe'"
    >>> atom_in_words(Compare("Bytes", "gte", 10))
    'Bytes ≥ 10'
    """
    match atom:
        case Text(field, parts, cased):
            pattern = "".join(part if isinstance(part, str) else "*" if part == ANY else "?" for part in parts)
            return f"{field or 'any value'} = {pattern!r}{' (case counts)' if cased else ''}"
        case Number(field, value) | Bool(field, value):
            return f"{field} = {str(value).lower()}"
        case Null(field):
            return f"{field} is null"
        case Exists(field):
            return f"{field} exists"
        case Compare(field, op, value):
            return f"{field} {_SIGNS[op]} {value:g}"
        case Regex(field, pattern, flags):
            return f"{field or 'any value'} ~ /{pattern}/{flags}"
        case Cidr(field, network):
            return f"{field} in {network}"
        case FieldRef(field, other, how, cased):
            relation = "=" if how == "equals" else how
            return f"{field} {relation} the field {other}{' (case counts)' if cased else ''}"
        case TimePart(field, part, op, value):
            return f"{part} of {field} {_SIGNS[op]} {value}"


def expression_in_words(expr: Expr) -> str:
    """A whole condition in one line, with parentheses.

    >>> expression_in_words(And((Null("a"), Not(Exists("b")))))
    '(a is null and not b exists)'
    """
    match expr:
        case And(items):
            return "(" + " and ".join(map(expression_in_words, items)) + ")"
        case Or(items):
            return "(" + " or ".join(map(expression_in_words, items)) + ")"
        case Not(item):
            return f"not {expression_in_words(item)}"
        case _:
            return atom_in_words(expr)
