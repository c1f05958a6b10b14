"""Comparing one field of an event with another: the modifier ``|fieldref``."""

from __future__ import annotations

from mingjian.detect.leaves import Leaf, fold, leaves, text_of
from mingjian.model.rules import FieldRef
from mingjian.model.values import Missing, Value


def compare_fields(atom: FieldRef, value: Value | Missing, other: Value | Missing) -> bool:
    """Whether some leaf of one field equals (starts with …) some leaf of another."""
    rights = list(leaves(other))
    return any(_compare(atom, left, right) for left in leaves(value) for right in rights)


def _compare(atom: FieldRef, left: Leaf, right: Leaf) -> bool:
    if atom.how == "equals" and _is_number(left) and _is_number(right):
        return left == right
    one, two = text_of(left), text_of(right)
    if not atom.cased:
        one, two = fold(one), fold(two)
    match atom.how:
        case "equals":
            return one == two
        case "startswith":
            return one.startswith(two)
        case "endswith":
            return one.endswith(two)
        case "contains":
            return two in one


def _is_number(leaf: Leaf) -> bool:
    return isinstance(leaf, (int, float)) and not isinstance(leaf, bool)
