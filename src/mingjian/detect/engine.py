"""Runs a whole rule set over blocks of records, looking at every distinct value once.

A rule set is compiled once: the atoms of all rules on one field go into one ``FieldMatcher``, and each rule becomes a
tree over numbered atoms. For each view (a stream as one producer writes it) a *program* holds the rules that its log
sources admit, and for each rule a *witness*: atoms of which at least one must be true if the rule is. A block then
costs one look at its distinct values; a rule none of whose witnesses is among their answers costs nothing; what is
left is boolean algebra over arrays of signature numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from mingjian.detect.compiled import (
    KEYWORDS,
    All,
    Any,
    Compared,
    CompiledRules,
    Leaf,
    Negated,
    Node,
    Paths,
    compile_rules,
    may_be,
    needle,
    unnegated_leaves,
)
from mingjian.detect.leaves import Leaf as Value_
from mingjian.detect.leaves import all_leaves, leaves, text_of
from mingjian.detect.matcher import Blobs, FieldMatcher
from mingjian.detect.references import compare_fields
from mingjian.model.blocks import Block
from mingjian.model.rules import AnyAtom, LogSource, Rule
from mingjian.model.sources import View
from mingjian.model.values import EMPTY, MISSING, Missing, Record, Value

if TYPE_CHECKING:
    import numpy.typing as npt

PROGRAMS_MAX = 4096
"""So many different programs are kept."""
GATED_RULES_MIN = 8
"""A field is a gate if at least so many rules, and half of all, want it to equal something."""

Rows: TypeAlias = "npt.NDArray[np.intp]"
Truth: TypeAlias = "npt.NDArray[np.bool_]"


class _Program(NamedTuple):
    """What one view needs: the fields to look at, and which answers wake which rules."""

    rules: Sequence[int]
    fields: Sequence[str]
    paths: Paths
    woken_by: Mapping[str, Mapping[int, Sequence[int]]]
    always: Sequence[int]
    needles: Sequence[str] | None
    """What to sieve the records by before keywords are looked for; None if every record has to be searched."""
    gate: str | None
    """A field that most of the rules want to equal something: it is looked at first, and alone."""
    behind_gate: dict[frozenset[int], _Program]
    """By the atoms of the gate field that are true: what is left to do."""


class Evidence(NamedTuple):
    """Why a rule matched an event."""

    matched: dict[str, str]
    """Field → text of the value that made an atom true."""
    atoms: tuple[AnyAtom, ...]
    """The true atoms that are not under a negation, in the order of the rule."""


class Engine:
    """A compiled rule set. Not safe for use by several threads at once."""

    def __init__(
        self, rules: Sequence[Rule], compiled: CompiledRules | None = None, blobs: Blobs | None = None
    ) -> None:
        """Take rules; ``compiled`` and ``blobs`` are what another engine over the same rules gave, to spare time."""
        self.rules = rules
        self.compiled = compile_rules(rules) if compiled is None else compiled
        self._blobs: Blobs = blobs or {}
        self._numbers = {field: number for number, field in enumerate(self.compiled.fields)}
        self._matchers: dict[str, FieldMatcher] = {}
        self._programs: dict[View, _Program] = {}
        self._alike: dict[object, _Program] = {}
        self._by_logsource: dict[LogSource, list[int]] = defaultdict(list)
        for index, rule in enumerate(rules):
            self._by_logsource[rule.logsource].append(index)

    def blobs(self) -> dict[str, bytes]:
        """Every automaton, compiled: hand them to the next engine over the same rules to spare the time."""
        return {key: blob for field in self.compiled.fields for key, blob in self.matcher(field).blobs().items()}

    def applicable(self, view: View) -> list[int]:
        """Indexes of the rules whose log source the view's stream satisfies."""
        declared = (*view.stream.logsources, LogSource())
        admitted = (
            rules for wanted, rules in self._by_logsource.items() if any(own.satisfies(wanted) for own in declared)
        )
        return sorted(chain.from_iterable(admitted))

    def match(
        self,
        view: View,
        block: Block,
        rows: Sequence[int] | None = None,
        *,
        clock: Callable[[], float] | None = None,
        costs: dict[int, float] | None = None,
    ) -> list[tuple[int, int]]:
        """Find all matches in the records of a block (or in those with the given indexes), all of one view.

        Gives (index of the rule, index of the record in the block), ordered by rule, then record. With a clock, the
        seconds that each woken rule took are added to ``costs``.
        """
        chosen = range(len(block.numbers)) if rows is None else rows
        if not chosen:
            return []
        program = self._behind_gate(self._program(view), block, rows)
        if not program.rules:
            return []
        batch = _Batch(self, program, block, rows)
        matches: list[tuple[int, int]] = []
        for index in batch.woken():
            started = clock() if clock else 0.0
            node = self.compiled.nodes[index]
            if batch.is_possible(node):
                found = np.flatnonzero(batch.truth(node, None))
                matches += [(index, chosen[place]) for place in found.tolist()]
            if clock and costs is not None:
                costs[index] = costs.get(index, 0.0) + clock() - started
        batch.close()
        return matches

    def evidence(self, index: int, view: View, record: Record) -> Evidence:
        """Say which atoms of a rule that matched were true for this record, and through which values."""
        matched: dict[str, str] = {}
        true: list[AnyAtom] = []
        for node in unnegated_leaves(self.compiled.nodes[index]):
            found = self._witnessed(node, view, record)
            if found is not None:
                true.append(self.atom(node))
                matched.setdefault(*found)
        return Evidence(matched, tuple(true))

    def atom(self, node: Leaf | Compared) -> AnyAtom:
        """The atom that a node stands for."""
        return node.ref if isinstance(node, Compared) else self.compiled.atoms[node.field][node.atom]

    def holds(self, node: Node, view: View, record: Record) -> bool:
        """Evaluate one node on one record, by itself."""
        match node:
            case All(nodes):
                return all(self.holds(inner, view, record) for inner in nodes)
            case Any(nodes):
                return any(self.holds(inner, view, record) for inner in nodes)
            case Negated(inner):
                return not self.holds(inner, view, record)
            case Leaf() | Compared():
                return self._witnessed(node, view, record) is not None

    def _witnessed(self, node: Leaf | Compared, view: View, record: Record) -> tuple[str, str] | None:
        """The field and the text that make an atom true for a record; None if it is false."""
        if isinstance(node, Compared):
            value = view.value(record, node.ref.field)
            true = compare_fields(node.ref, value, view.value(record, node.ref.other))
            return (node.ref.field, next((text_of(leaf) for leaf in leaves(value)), "")) if true else None
        field = self.compiled.fields[node.field]
        matcher = self.matcher(field)
        if field == KEYWORDS:
            for leaf in all_leaves(record):
                if node.atom in matcher.atoms_of(leaf):
                    return (_name_of(record, leaf), text_of(leaf))
            return None
        value = view.value(record, field)
        if node.atom not in matcher.atoms_of(value):
            return None
        true_leaves = (leaf for leaf in leaves(value) if node.atom in matcher.atoms_of(leaf))
        return (field, next(map(text_of, true_leaves), ""))

    def matcher(self, field: str) -> FieldMatcher:
        """The matcher of a field that some atom asks about, ready for use."""
        matcher = self._matchers.get(field)
        if matcher is None:
            matcher = self._matchers[field] = FieldMatcher(self.compiled.atoms[self._numbers[field]])
            matcher.open(self._blobs)
        return matcher

    def asks(self, field: str) -> bool:
        """Whether some atom asks about a field. (A field may be named by comparisons of two fields only.)"""
        return field in self._numbers

    def _program(self, view: View) -> _Program:
        program = self._programs.get(view)
        if program is None:
            rules = self.applicable(view)
            paths = {field: view.paths(field) for field in self._fields(rules)}
            key = (tuple(rules), tuple(paths.items()))
            program = self._alike.get(key)
            if program is None:
                program = self._alike[key] = self._compiled(rules, paths)
            if len(self._programs) >= PROGRAMS_MAX:
                self._programs.clear()
                self._alike.clear()
            self._programs[view] = program
        return program

    def _fields(self, rules: Iterable[int]) -> dict[str, None]:
        return dict.fromkeys(chain.from_iterable(self.compiled.facts[index].fields for index in rules))

    def _compiled(self, rules: Sequence[int], paths: Paths) -> _Program:
        keywords: set[int] = set()
        always: list[int] = []
        woken_by: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        gates: Counter[str] = Counter()
        for index in rules:
            fact = self.compiled.facts[index]
            keywords.update(fact.keywords)
            gates.update(fact.gates)
            if fact.witness is None:
                always.append(index)
            for leaf in fact.witness or ():
                woken_by[self.compiled.fields[leaf.field]][leaf.atom].append(index)
        needles = [needle(self.compiled.atoms[self._numbers[KEYWORDS]][atom]) for atom in sorted(keywords)]
        gate, gated = max(gates.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        return _Program(
            rules=rules,
            fields=(*paths, KEYWORDS) if keywords else tuple(paths),
            paths=paths,
            woken_by=woken_by,
            always=always,
            needles=None if None in needles else [text for text in needles if text is not None],
            gate=gate if gated >= GATED_RULES_MIN and gated * 2 >= len(rules) else None,
            behind_gate={},
        )

    def _behind_gate(self, program: _Program, block: Block, rows: Sequence[int] | None) -> _Program:
        """The program without the rules that the values of the gate field already exclude."""
        if program.gate is None:
            return program
        matcher = self.matcher(program.gate)
        values = _coalesced({program.gate: program.paths[program.gate]}, block, rows)[program.gate]
        signatures = [matcher.signatures[code] for code in set(matcher.column(values))]
        true = frozenset[int]().union(*signatures)
        behind = program.behind_gate.get(true)
        if behind is None:
            number = self._numbers[program.gate]
            left = [index for index in program.rules if may_be(self.compiled.nodes[index], number, true)]
            paths = {field: program.paths[field] for field in self._fields(left)}
            behind = self._compiled(left, paths)._replace(gate=None)
            if len(program.behind_gate) >= PROGRAMS_MAX:
                program.behind_gate.clear()
            program.behind_gate[true] = behind
        return behind


class _Batch:
    """The columns of one block on their way through the rules of one program."""

    def __init__(self, engine: Engine, program: _Program, block: Block, rows: Sequence[int] | None) -> None:
        self._engine = engine
        self._program = program
        self._names = engine.compiled.fields
        self._values = _coalesced(program.paths, block, rows)
        self._codes: dict[str, list[int]] = {}
        self._arrays: dict[str, npt.NDArray[np.intp]] = {}
        self._present: dict[str, dict[int, list[int]]] = {}
        self._size = len(block.numbers) if rows is None else len(rows)
        for field in filter(engine.asks, program.fields):
            matcher = engine.matcher(field)
            if field == KEYWORDS:
                codes = _keyword_codes(matcher, program, block, rows)
            else:
                codes = matcher.column(self._values[field])
            self._codes[field] = codes
            present: dict[int, list[int]] = {}
            for code in set(codes):
                for atom in matcher.signatures[code]:
                    present.setdefault(atom, []).append(code)
            self._present[field] = present

    def close(self) -> None:
        """Let the matchers forget; the batch must not be used afterwards."""
        for field in self._codes:
            self._engine.matcher(field).forget_if_full()

    def woken(self) -> list[int]:
        """Indexes of the rules that may be true for some record."""
        woken = set(self._program.always)
        for field, rules_by_atom in self._program.woken_by.items():
            for atom in self._present[field].keys() & rules_by_atom.keys():
                woken.update(rules_by_atom[atom])
        return sorted(woken)

    def is_possible(self, node: Node) -> bool:
        """Whether a node can be true for any record, going by which atoms are true for some value."""
        match node:
            case Leaf(field, atom):
                return atom in self._present[self._names[field]]
            case All(nodes):
                return all(map(self.is_possible, nodes))
            case Any(nodes):
                return any(map(self.is_possible, nodes))
            case Negated() | Compared():
                return True

    def truth(self, node: Node, rows: Rows | None) -> Truth:
        """For which of these rows (all if None) a node is true."""
        match node:
            case Leaf(field, atom):
                return self._leaf_truth(self._names[field], atom, rows)
            case All(nodes):
                return self._conjunction(nodes, rows)
            case Any(nodes):
                result = np.zeros(self._size if rows is None else len(rows), dtype=np.bool_)
                for inner in nodes:
                    if self.is_possible(inner):
                        result |= self.truth(inner, rows)
                return result
            case Negated(inner):
                return ~self.truth(inner, rows)
            case Compared(ref):
                places = range(self._size) if rows is None else rows.tolist()
                left, right = self._values[ref.field], self._values[ref.other]
                return np.array([compare_fields(ref, left[i], right[i]) for i in places], dtype=np.bool_)

    def _conjunction(self, nodes: tuple[Node, ...], rows: Rows | None) -> Truth:
        """Narrow down to the rows that are left, node by node: the later ones are asked about few rows."""
        left: Rows = np.arange(self._size) if rows is None else rows
        places: Rows = np.arange(len(left))
        for node in nodes:
            kept = self.truth(node, left)
            left, places = left[kept], places[kept]
            if not len(left):
                break
        result = np.zeros(self._size if rows is None else len(rows), dtype=np.bool_)
        result[places] = True
        return result

    def _leaf_truth(self, field: str, atom: int, rows: Rows | None) -> Truth:
        codes = self._arrays.get(field)
        if codes is None:
            codes = self._arrays[field] = np.array(self._codes[field], dtype=np.intp)
        if rows is not None:
            codes = codes[rows]
        wanted = self._present[field].get(atom, ())
        if len(wanted) == 1:
            return codes == wanted[0]
        answers = np.zeros(len(self._engine.matcher(field).signatures), dtype=np.bool_)
        answers[list(wanted)] = True
        return answers[codes]


def _coalesced(paths: Paths, block: Block, rows: Sequence[int] | None) -> dict[str, Sequence[Value | Missing]]:
    """The values of each field: of its paths, the first that holds something."""
    wanted = list(dict.fromkeys(chain.from_iterable(paths.values())))
    columns = dict(zip(wanted, block.columns(wanted, rows), strict=True)) if wanted else {}
    return {field: _first_held([columns[path] for path in places]) for field, places in paths.items()}


def _first_held(columns: Sequence[Sequence[Value | Missing]]) -> Sequence[Value | Missing]:
    values = columns[0]
    for later in columns[1:]:
        holes = [place for place, value in enumerate(values) if value is MISSING or value is None or value is EMPTY]
        if not holes:
            break
        filled = list(values)
        for place in holes:
            value = later[place]
            if filled[place] is MISSING or not (value is MISSING or value is None or value is EMPTY):
                filled[place] = value
        values = filled
    return values


def _keyword_codes(matcher: FieldMatcher, program: _Program, block: Block, rows: Sequence[int] | None) -> list[int]:
    chosen = range(len(block.numbers)) if rows is None else rows
    sieved = None if program.needles is None else block.containing(program.needles)
    worth = None if sieved is None else set(sieved)
    codes = [0] * len(chosen)
    for place, row in enumerate(chosen):
        if worth is None or row in worth:
            codes[place] = matcher.together(matcher.column(list(all_leaves(block.record(row)))))
    return codes


def _name_of(record: Record, leaf: Value_) -> str:
    """The top-level field in which a leaf stands."""
    return next(name for name, value in record.items() if any(one == leaf for one in all_leaves({name: value})))
