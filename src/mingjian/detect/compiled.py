"""A rule set compiled: numbered atoms per field, rules as trees over them, and what is known of each rule beforehand.

Compiling costs more than loading the result: it may be kept as msgpack (``CompiledRules`` is plain data).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from mingjian.detect.matcher import longest_literal
from mingjian.model.rules import And, AnyAtom, Exists, Expr, FieldRef, Not, Null, Number, Or, Regex, Rule, Text

KEYWORDS = "\0keywords"
"""Stands for a field name where an atom asks about every value of the event."""


class Leaf(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """An atom, by the numbers of its field and of its place among the atoms of that field."""

    field: int
    atom: int


class Compared(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A comparison of two fields, which is an atom of neither."""

    ref: FieldRef


class All(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """All of these."""

    nodes: tuple[Node, ...]


class Any(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """At least one of these."""

    nodes: tuple[Node, ...]


class Negated(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Not this."""

    node: Node


Node: TypeAlias = "Leaf | Compared | All | Any | Negated"


class Witness(msgspec.Struct, frozen=True, array_like=True):
    """Atoms of which at least one is true whenever a rule is."""

    price: float
    """A guess at how many events have one of them."""
    atoms: tuple[Leaf, ...]


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a rule before any event is seen. Fields and atoms are given by number."""

    fields: tuple[str, ...]
    """The names of all fields that it looks at."""
    keywords: tuple[int, ...]
    """Its atoms among the keywords."""
    gates: tuple[str, ...]
    """Fields that must equal one of some values."""
    witnesses: tuple[Witness, ...]
    """Several choices of atoms of which at least one is true whenever the rule is; empty if there are none such."""


class CompiledRules(msgspec.Struct, frozen=True, array_like=True):
    """Everything that an engine needs to know of its rules' conditions."""

    fields: tuple[str, ...]
    atoms: tuple[tuple[AnyAtom, ...], ...]
    """The atoms of each field."""
    nodes: tuple[Node, ...]
    """The condition of each rule."""
    facts: tuple[Fact, ...]
    compared: tuple[str, ...]
    """The fields that some rule compares with another."""


def compile_rules(rules: Sequence[Rule]) -> CompiledRules:
    """Compile the conditions of rules, in their order."""
    numbering = _Numbering()
    nodes = tuple(numbering.tree(rule.condition) for rule in rules)
    fields = tuple(numbering.atoms)
    atoms = tuple(tuple(asked.values()) for asked in numbering.atoms.values())
    facts = _Facts(fields, atoms)
    references = (leaf.ref for node in nodes for leaf in leaves_of(node) if isinstance(leaf, Compared))
    compared = dict.fromkeys(name for ref in references for name in (ref.field, ref.other))
    return CompiledRules(fields, atoms, nodes, tuple(map(facts.of, nodes)), tuple(compared))


class _Numbering:
    """Numbers fields and atoms in the order in which they are met."""

    def __init__(self) -> None:
        self.atoms: dict[str, dict[object, AnyAtom]] = {}
        """Field → key of an atom → the atom."""
        self._places: dict[tuple[str, object], int] = {}
        self._numbers: dict[str, int] = {}

    def tree(self, expr: Expr) -> Node:
        """Number the atoms of an expression. In a conjunction, what is quick and rarely true comes first."""
        match expr:
            case And(items):
                return All(tuple(sorted(map(self.tree, items), key=_slowness)))
            case Or(items):
                return Any(tuple(map(self.tree, items)))
            case Not(item):
                return Negated(self.tree(item))
            case FieldRef():
                return Compared(expr)
            case _:
                field = KEYWORDS if expr.field is None else expr.field
                asked = self.atoms.setdefault(field, {})
                number = self._numbers.setdefault(field, len(self._numbers))
                # For Python 42 and 42.0 are the same; as texts that an event may spell they are not.
                key = (expr, str(expr.value)) if isinstance(expr, Number) else expr
                place = self._places.setdefault((field, key), len(asked))
                asked[key] = expr
                return Leaf(number, place)


def _slowness(node: Node) -> int:
    return (Leaf, All, Any, Negated, Compared).index(type(node))


def leaves_of(node: Node) -> Iterator[Leaf | Compared]:
    """Everything that a node asks, in order."""
    match node:
        case All(nodes) | Any(nodes):
            for inner in nodes:
                yield from leaves_of(inner)
        case Negated(inner):
            yield from leaves_of(inner)
        case Leaf() | Compared():
            yield node


def unnegated_leaves(node: Node) -> Iterator[Leaf | Compared]:
    """What a node asks outside of negations: what can speak for a match."""
    match node:
        case All(nodes) | Any(nodes):
            for inner in nodes:
                yield from unnegated_leaves(inner)
        case Negated():
            pass
        case Leaf() | Compared():
            yield node


_Priced: TypeAlias = tuple[float, frozenset[Leaf]]


class _Facts:
    """Finds out what is known of a rule beforehand."""

    def __init__(self, fields: Sequence[str], atoms: Sequence[Sequence[AnyAtom]]) -> None:
        self._fields = fields
        self._atoms = atoms

    def of(self, node: Node) -> Fact:
        fields: dict[str, None] = {}
        keywords: dict[int, None] = {}
        for leaf in leaves_of(node):
            if isinstance(leaf, Compared):
                fields.update({leaf.ref.field: None, leaf.ref.other: None})
            elif self._fields[leaf.field] == KEYWORDS:
                keywords[leaf.atom] = None
            else:
                fields[self._fields[leaf.field]] = None
        gates = {self._fields[field] for field in map(self._equality, _conjuncts(node)) if field is not None}
        found = [witness for witness in map(self._witness, _conjuncts(node)) if witness is not None]
        witnesses = tuple(
            Witness(price, tuple(sorted(atoms, key=lambda leaf: (leaf.field, leaf.atom)))) for price, atoms in found
        )
        return Fact(tuple(fields), tuple(keywords), tuple(sorted(gates)), witnesses)

    def _equality(self, node: Node) -> int | None:
        """The field, if a node asks nothing but whether one field is one of some values."""
        nodes = node.nodes if isinstance(node, Any) else (node,)
        first = nodes[0]
        if not isinstance(first, Leaf):
            return None
        same = all(isinstance(leaf, Leaf) and leaf.field == first.field and self._equals(leaf) for leaf in nodes)
        return first.field if same else None

    def _equals(self, leaf: Leaf) -> bool:
        atom = self._atoms[leaf.field][leaf.atom]
        return isinstance(atom, Number) or (isinstance(atom, Text) and len(atom.parts) == 1 and atom.field is not None)

    def _witness(self, node: Node) -> _Priced | None:
        """The cheapest set of atoms of which at least one is true whenever the node is, with its price."""
        match node:
            case Leaf(field, atom):
                price = _frequency(self._atoms[field][atom])
                return None if price is None else (price, frozenset((node,)))
            case All(nodes):
                found = [witness for witness in map(self._witness, nodes) if witness is not None]
                return min(found, key=lambda witness: witness[0], default=None)
            case Any(nodes):
                each = [self._witness(inner) for inner in nodes]
                found = [witness for witness in each if witness is not None]
                if len(found) < len(each):
                    return None
                return sum(price for price, _ in found), frozenset[Leaf]().union(*(atoms for _, atoms in found))
            case Negated() | Compared():
                return None


def _conjuncts(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, All) else (node,)


def _frequency(atom: AnyAtom) -> float | None:
    """A guess at how often an atom is true, for choosing witnesses; None for what is true of most events."""
    match atom:
        case Null() | Exists():
            return None
        case Text(_, parts):
            literal = len(longest_literal(parts))
            return 1 / literal**2 if literal else None if parts else 0.5
        case Regex():
            return 0.3
        case _:
            return 0.4


def may_be(node: Node, field: int, true: frozenset[int]) -> bool:
    """Whether a node can be true where just these atoms of one field are true for some value."""
    match node:
        case Leaf(of, atom):
            return of != field or atom in true
        case All(nodes):
            return all(may_be(inner, field, true) for inner in nodes)
        case Any(nodes):
            return any(may_be(inner, field, true) for inner in nodes)
        case Negated() | Compared():
            return True


def needle(atom: AnyAtom) -> str | None:
    """A text without which a keyword cannot be found, if it is one that a sieve can look for."""
    literal = longest_literal(atom.parts) if isinstance(atom, Text) else ""
    return literal if literal and literal.isascii() else None


Paths: TypeAlias = Mapping[str, tuple[str, ...]]
"""Field → dotted paths to try, in order."""
