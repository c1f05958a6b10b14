"""Rules over blocks whose columns come with their dictionaries: the distinct values, and which row has which.

``Engine`` looks at values row by row and finds out by itself which are distinct. Where a block knows already, as a
segment of the lake does, rows need not be touched at all until some rule may be true: what is asked of a column is
asked of its dictionary; an atom's answer is the set of dictionary places at which it holds; the rows that have one of
them are looked up in an index made when it is first needed. A conjunction starts with whatever is rarest, and a
column is read only if the conjunction comes so far. What is found is exactly what ``Engine.match`` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, cast

import numpy as np

from mingjian.detect.compiled import (
    KEYWORDS,
    All,
    Any,
    Compared,
    Leaf,
    Negated,
    Node,
    Witness,
    needle,
    unnegated_leaves,
)
from mingjian.detect.engine import Engine, Evidence, Reading
from mingjian.detect.leaves import all_leaves
from mingjian.detect.matcher import FieldMatcher
from mingjian.detect.references import compare_fields
from mingjian.model.blocks import Encoded
from mingjian.model.rules import AnyAtom, FieldRef
from mingjian.model.sources import View
from mingjian.model.values import EMPTY, MISSING, Missing, Record, Value

if TYPE_CHECKING:
    import numpy.typing as npt

FIELD_PRICE: Final = 0.05
"""What reading one column more costs, as a share of events that a witness might wake rules for needlessly."""
PLANS_MAX: Final = 4096
"""So many plans are kept."""

Places: TypeAlias = "npt.NDArray[np.intp]"
"""Rows, or places in a dictionary."""
Mask: TypeAlias = "npt.NDArray[np.bool_]"
Values: TypeAlias = "Sequence[Value | Missing]"


class EncodedBlock(Encoded, Protocol):
    """A block that knows the distinct values of its columns, and which columns it has."""

    def __len__(self) -> int: ...

    def is_there(self, path: str) -> bool:
        """Whether any record may have something at a dotted path. Costs nothing."""
        ...

    def everything(self, needles: Sequence[str] | None) -> Iterable[tuple[Places, list[Value | Missing]]]:
        """Columns that together have every value of every record, encoded.

        With needles (ASCII texts, not empty) what holds none of them, in whatever case, may be ``MISSING`` instead.
        """
        ...


class _Plan(NamedTuple):
    """What is asked of one view: which rules, and what may wake them."""

    rules: Sequence[int]
    always: Sequence[int]
    """Rules without a witness."""
    woken_by: Mapping[str, Mapping[int, Sequence[int]]]
    """Field → atom → rules that it wakes."""
    needles: Sequence[str] | None
    """What keywords are sieved by; None if every value has to be looked at."""


class EncodedEngine:
    """Runs the rules of an engine over encoded blocks. Not safe for use by several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._plans: dict[tuple[View, frozenset[int] | None], _Plan] = {}
        self._alike: dict[tuple[int, ...], _Plan] = {}

    def applicable(self, view: View, rules: frozenset[int] | None = None) -> Sequence[int]:
        """Indexes of the rules (of those given) whose log source the view's stream satisfies."""
        return self._plan(view, rules).rules

    def can_match(self, view: View, has: Callable[[str], bool], rules: frozenset[int] | None = None) -> bool:
        """Whether any rule may be true where only some dotted paths hold anything."""
        plan = self._plan(view, rules)
        if plan.always:
            return True
        fields = {field: any(map(has, view.paths(field))) for field in plan.woken_by if field != KEYWORDS}
        return KEYWORDS in plan.woken_by or any(fields.values())

    def first_paths(self, view: View, rules: frozenset[int] | None = None) -> list[str]:
        """The dotted paths that are looked at in any case."""
        plan = self._plan(view, rules)
        return [path for field in plan.woken_by if field != KEYWORDS for path in view.paths(field)]

    def match(
        self, view: View, block: EncodedBlock, rules: frozenset[int] | None = None, *, has_keywords: bool = True
    ) -> list[tuple[int, int]]:
        """Find all matches: (index of the rule, row), ordered by rule, then row. ``rules``: only these.

        ``has_keywords``: whether a keyword of these rules may be there. If not, none is searched for.
        """
        plan = self._plan(view, rules)
        if not plan.rules or not len(block):
            return []
        look = _Look(self.engine, view, block, plan.needles, has_keywords=has_keywords)
        block.prepare(path for path in self.first_paths(view, rules) if block.is_there(path))
        woken = set(plan.always)
        for field, rules_by_atom in plan.woken_by.items():
            if not (has_keywords if field == KEYWORDS else look.is_there(field)):
                continue
            present = look.column(field).present
            for atom in present.keys() & rules_by_atom.keys():
                woken.update(rules_by_atom[atom])
        found: list[tuple[int, int]] = []
        nodes = self.engine.compiled.nodes
        for index in sorted(woken):
            if look.is_possible(nodes[index]):
                found += [(index, row) for row in look.rows(nodes[index], None).tolist()]
        self.engine.bound_memory()
        return found

    def _plan(self, view: View, rules: frozenset[int] | None) -> _Plan:
        key = (view, rules)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
                self._alike.clear()
            applicable = self.engine.applicable(view)
            chosen = tuple(applicable if rules is None else [index for index in applicable if index in rules])
            plan = self._alike.get(chosen)
            if plan is None:
                plan = self._alike[chosen] = self._planned(chosen)
            self._plans[key] = plan
        return plan

    def _planned(self, rules: Sequence[int]) -> _Plan:
        compiled = self.engine.compiled
        always: list[int] = []
        woken_by: dict[str, dict[int, list[int]]] = {}
        for index in sorted(rules, key=lambda index: (len(compiled.facts[index].witnesses), index)):
            witnesses = compiled.facts[index].witnesses
            if not witnesses:
                always.append(index)
                continue
            chosen = min(witnesses, key=lambda witness: self._price(witness, woken_by.keys()))
            for leaf in chosen.atoms:
                woken_by.setdefault(compiled.fields[leaf.field], {}).setdefault(leaf.atom, []).append(index)
        keywords = {atom for index in rules for atom in compiled.facts[index].keywords}
        asked = compiled.atoms[compiled.fields.index(KEYWORDS)] if keywords else ()
        needles = [needle(asked[atom]) for atom in sorted(keywords)]
        return _Plan(
            rules=tuple(rules),
            always=tuple(sorted(always)),
            woken_by=woken_by,
            needles=None if None in needles else [text for text in needles if text is not None],
        )

    def _price(self, witness: Witness, used: Collection[str]) -> float:
        names = {self.engine.compiled.fields[leaf.field] for leaf in witness.atoms}
        return witness.price + FIELD_PRICE * len(names.difference(used))


class _Asked(NamedTuple):
    """What a rule asks outside of negations, by what answers it."""

    nodes: Sequence[Leaf | Compared]
    by_field: Mapping[str, Mapping[int, Sequence[int]]]
    """Field → atom → places among the nodes."""
    others: Sequence[int]
    """Places of keywords and of comparisons of two fields."""


class EvidenceFinder:
    """Gives the evidence that ``Engine.evidence`` gives, and looks only at the atoms that are true."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: dict[int, _Asked] = {}

    def evidence(self, index: int, view: View, record: Record, reading: Reading) -> Evidence:
        """Say which atoms of a rule that matched were true for a record, and through which values."""
        asked = self._asked.get(index)
        if asked is None:
            asked = self._asked[index] = self._taken_apart(index)
        places = list(asked.others)
        for field, atoms in asked.by_field.items():
            true = self._engine.matcher(field).remembered(view.value(record, field))
            for atom in true & atoms.keys():
                places += atoms[atom]
        matched: dict[str, str] = {}
        found: list[AnyAtom] = []
        for place in sorted(places):
            node = asked.nodes[place]
            witness = reading.witness(node)
            if witness is not None:
                found.append(self._engine.atom(node))
                matched.setdefault(*witness)
        return Evidence(matched, tuple(found))

    def _taken_apart(self, index: int) -> _Asked:
        compiled = self._engine.compiled
        nodes = list(unnegated_leaves(compiled.nodes[index]))
        by_field: dict[str, dict[int, list[int]]] = {}
        others: list[int] = []
        for place, node in enumerate(nodes):
            field = KEYWORDS if isinstance(node, Compared) else compiled.fields[node.field]
            if isinstance(node, Compared) or field == KEYWORDS:
                others.append(place)
            else:
                by_field.setdefault(field, {}).setdefault(node.atom, []).append(place)
        return _Asked(nodes, by_field, others)


class _Column:
    """A field in one block: its dictionary, and what the atoms say of that."""

    def __init__(self, matcher: FieldMatcher | None, codes: Places, values: Values) -> None:
        self.codes = codes
        self.values: Sequence[Value | Missing] = values
        self.present: dict[int, Places] = {}
        """Atom → places in the dictionary at which it holds, rising."""
        if matcher is not None:
            self._ask(matcher)

    def _ask(self, matcher: FieldMatcher) -> None:
        numbers = np.array(matcher.column(self.values), dtype=np.intp)
        by_atom: dict[int, list[Places]] = {}
        for number in set(cast("list[int]", numbers.tolist())):
            atoms = matcher.signatures[number]
            if atoms:
                places = np.flatnonzero(numbers == number)
                for atom in atoms:
                    by_atom.setdefault(atom, []).append(places)
        self.present = {
            atom: several[0] if len(several) == 1 else np.sort(np.concatenate(several))
            for atom, several in by_atom.items()
        }

    @cached_property
    def _counts(self) -> Places:
        return np.bincount(self.codes, minlength=len(self.values))

    @cached_property
    def _by_place(self) -> tuple[Places, Places]:
        """The rows in the order of their places in the dictionary, and where those of each place begin."""
        narrow = np.min_scalar_type(max(len(self.values) - 1, 0))
        order = np.argsort(self.codes.astype(narrow), kind="stable")
        return order, np.concatenate(([0], np.cumsum(self._counts)))

    def value(self, place: int) -> Value | Missing:
        """What stands at a place in the dictionary."""
        return self.values[place]

    def count(self, atom: int) -> int:
        """In how many rows an atom holds."""
        places = self.present.get(atom)
        return 0 if places is None else int(self._counts[places].sum())

    def rows(self, atom: int, within: Places | None) -> Places:
        """The rows (of those given) in which an atom holds, rising."""
        places = self.present.get(atom)
        if places is None:
            return _NONE
        if within is not None:
            return within[self._is_one(places, self.codes[within])]
        if len(places) == len(self.values):
            return np.arange(len(self.codes))
        if self.count(atom) * 4 > len(self.codes):
            return np.flatnonzero(self._is_one(places, self.codes))
        order, starts = self._by_place
        if len(places) == 1:
            return order[starts[places[0]] : starts[places[0] + 1]]
        return np.sort(np.concatenate([order[starts[place] : starts[place + 1]] for place in places.tolist()]))

    def _is_one(self, places: Places, codes: Places) -> Mask:
        if len(places) == 1:
            return codes == places[0]
        answers = np.zeros(len(self.values), dtype=np.bool_)
        answers[places] = True
        return answers[codes]


class _Everything:
    """All fields of a block together: where keywords are looked for."""

    def __init__(self, matcher: FieldMatcher, columns: Iterable[tuple[Places, Sequence[Value | Missing]]]) -> None:
        self._columns: list[_Column] = []
        for codes, values in columns:
            column = _Column(None, codes, values)
            by_atom: dict[int, list[int]] = {}
            for place, value in enumerate(values):
                if value is not MISSING:
                    for number in set(matcher.column(all_leaves({"": value}))):
                        for atom in matcher.signatures[number]:
                            by_atom.setdefault(atom, []).append(place)
            column.present = {atom: np.array(sorted(set(places)), np.intp) for atom, places in by_atom.items()}
            if by_atom:
                self._columns.append(column)
        self.present = {atom: _NONE for column in self._columns for atom in column.present}

    def count(self, atom: int) -> int:
        """In how many rows an atom holds, at most."""
        return sum(column.count(atom) for column in self._columns)

    def rows(self, atom: int, within: Places | None) -> Places:
        """The rows (of those given) in which an atom holds, rising."""
        return _union([column.rows(atom, within) for column in self._columns])


class _Look:
    """One block on its way through the rules."""

    def __init__(
        self, engine: Engine, view: View, block: EncodedBlock, needles: Sequence[str] | None, *, has_keywords: bool
    ) -> None:
        self._needles = needles
        self._has_keywords = has_keywords
        self._engine = engine
        self._view = view
        self._block = block
        self._size = len(block)
        self._names = engine.compiled.fields
        self._columns: dict[str, _Column | _Everything] = {}

    def column(self, field: str) -> _Column | _Everything:
        """A field, read if it was not yet."""
        known = self._columns.get(field)
        if known is None:
            known = self._columns[field] = self._read(field)
        return known

    def is_there(self, field: str) -> bool:
        """Whether any row may have something in a field."""
        return any(map(self._block.is_there, self._view.paths(field)))

    def _read(self, field: str) -> _Column | _Everything:
        if field == KEYWORDS:
            searched = self._block.everything(self._needles) if self._has_keywords else ()
            return _Everything(self._engine.matcher(field), searched)
        codes, values = self._coalesced(field)
        return _Column(self._engine.matcher(field) if self._engine.asks(field) else None, codes, values)

    def _coalesced(self, field: str) -> tuple[Places, list[Value | Missing]]:
        """Of the paths of a field the first that holds something, row by row; else the first that is there at all."""
        paths = [path for path in self._view.paths(field) if self._block.is_there(path)]
        if not paths:
            return np.zeros(self._size, dtype=np.intp), [MISSING]
        values: list[Value | Missing]
        codes, values = self._block.encoded(paths[0])
        for path in paths[1:]:
            hollow = _are_hollow(values)
            if not hollow.any():
                break
            later_codes, later_values = self._block.encoded(path)
            missing = np.array([value is MISSING for value in values])
            later = hollow[codes] & (~_are_hollow(later_values)[later_codes] | missing[codes])
            # Only what occurs may stay: of a value that no row has, no atom is true.
            used, codes = np.unique(np.where(later, later_codes + len(values), codes), return_inverse=True)
            both = [*values, *later_values]
            values = [both[int(place)] for place in used]
        return codes, values

    def is_possible(self, node: Node) -> bool:
        """Whether a node can be true for any row, going by what was read so far."""
        match node:
            case Leaf(field, atom):
                column = self._columns.get(self._names[field])
                return column is None or atom in column.present
            case All(nodes):
                return all(map(self.is_possible, nodes))
            case Any(nodes):
                return any(map(self.is_possible, nodes))
            case Negated() | Compared():
                return True

    def _most(self, node: Node) -> int:
        """In how many rows a node can be true at most, going by what was read so far."""
        match node:
            case Leaf(field, atom):
                column = self._columns.get(self._names[field])
                # What would have to be read comes behind what was, and before what is true of most rows.
                return self._size if column is None else min(column.count(atom), self._size)
            case All(nodes):
                return min(map(self._most, nodes), default=self._size)
            case Any(nodes):
                return min(sum(map(self._most, nodes)), self._size)
            case Negated() | Compared():
                return self._size + 1

    def rows(self, node: Node, within: Places | None) -> Places:
        """The rows (of those given, or of all) for which a node is true, rising."""
        match node:
            case Leaf(field, atom):
                return self.column(self._names[field]).rows(atom, within)
            case All(nodes):
                return self._conjunction(nodes, within)
            case Any(nodes):
                return _union([self.rows(inner, within) for inner in nodes if self.is_possible(inner)])
            case Negated(inner):
                left = np.arange(self._size) if within is None else within
                false = self.rows(inner, within)
                return left if not len(false) else np.setdiff1d(left, false, assume_unique=True)
            case Compared(ref):
                return self._compared(ref, np.arange(self._size) if within is None else within)

    def _conjunction(self, nodes: Sequence[Node], within: Places | None) -> Places:
        """Narrow down to the rows that are left, the rarest node first."""
        left = within
        waiting = list(nodes)
        while waiting:
            if left is not None and not len(left):
                return left
            node = min(waiting, key=self._most) if len(waiting) > 1 else waiting[0]
            waiting.remove(node)
            left = self.rows(node, left)
        return np.arange(self._size) if left is None else left

    def _compared(self, ref: FieldRef, rows: Places) -> Places:
        """Compare two fields, once for each pair of values that occurs."""
        left, right = self.column(ref.field), self.column(ref.other)
        assert isinstance(left, _Column)
        assert isinstance(right, _Column)
        width = len(right.values)
        pairs, which = np.unique(left.codes[rows] * width + right.codes[rows], return_inverse=True)
        true = [compare_fields(ref, left.value(pair // width), right.value(pair % width)) for pair in pairs.tolist()]
        return rows[np.array(true, dtype=np.bool_)[which]] if len(rows) else rows


def _are_hollow(values: Values) -> Mask:
    return np.array([value is MISSING or value is None or value is EMPTY for value in values])


def _union(parts: Sequence[Places]) -> Places:
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else _NONE
    return np.unique(np.concatenate(filled))


_NONE: Final[Places] = np.zeros(0, dtype=np.intp)
