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
    Witness,
    compile_rules,
    leaves_of,
    may_be,
    needle,
    unnegated_leaves,
)
from mingjian.detect.leaves import Leaf as ValueLeaf
from mingjian.detect.leaves import all_leaves, leaves, text_of
from mingjian.detect.matcher import Blobs, FieldMatcher
from mingjian.detect.references import compare_fields
from mingjian.model.blocks import Block
from mingjian.model.rules import AnyAtom, LogSource, Rule
from mingjian.model.sources import View
from mingjian.model.values import EMPTY, MISSING, Missing, Record, Value

if TYPE_CHECKING:
    import numpy.typing as npt

FIELD_PRICE = 0.05
"""What looking at one field more costs, as a share of events that a witness might wake rules for needlessly."""
REMEMBERED_BYTES_MAX = 32 * 1024 * 1024
"""An engine forgets distinct values once they take about so much memory, all fields together."""
PROGRAMS_MAX = 4096
"""So many different programs are kept."""
GATED_RULES_MIN = 8
"""A field is a gate if at least so many rules, and half of all, want it to equal something."""

Rows: TypeAlias = "npt.NDArray[np.intp]"
Codes: TypeAlias = "npt.NDArray[np.intp]"
Truth: TypeAlias = "npt.NDArray[np.bool_]"


class _Program(NamedTuple):
    """What one view needs: the fields to look at, and which answers wake which rules."""

    rules: Sequence[int]
    first: Sequence[str]
    """The fields to look at for every record: those of the witnesses, and of the rules that have none."""
    paths: Paths
    """Of all fields that some rule looks at."""
    woken_by: Mapping[str, Mapping[int, Sequence[int]]]
    """Field → atom → rules that it wakes."""
    always: Sequence[int]
    """Rules without a witness."""
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
        self._compared = frozenset(self.compiled.compared)
        self._matchers: dict[str, FieldMatcher] = {}
        self._programs: dict[View, _Program] = {}
        self._alike: dict[object, _Program] = {}
        self._witness_fields: dict[int, list[frozenset[str]]] = {}
        self._admitted: dict[tuple[LogSource, ...], list[int]] = {}
        self._by_logsource: dict[LogSource, list[int]] = defaultdict(list)
        for index, rule in enumerate(rules):
            self._by_logsource[rule.logsource].append(index)

    def blobs(self) -> dict[str, bytes]:
        """Every automaton, compiled: hand them to the next engine over the same rules to spare the time."""
        return {key: blob for field in self.compiled.fields for key, blob in self.matcher(field).blobs().items()}

    def applicable(self, view: View) -> list[int]:
        """Indexes of the rules whose log source the view's stream satisfies."""
        known = self._admitted.get(view.stream.logsources)
        if known is None:
            declared = (*view.stream.logsources, LogSource())
            admitted = (
                rules for wanted, rules in self._by_logsource.items() if any(own.satisfies(wanted) for own in declared)
            )
            known = self._admitted[view.stream.logsources] = sorted(chain.from_iterable(admitted))
        return known

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
        scout = _Batch.over(self, program, block, rows)
        woken, places = scout.woken()
        matches: list[tuple[int, int]] = []
        for batch, rules in ((scout, program.always), (scout.narrowed(places, woken), woken)):
            for index in rules:
                started = clock() if clock else 0.0
                matches += [(index, chosen[place]) for place in batch.matching(self.compiled.nodes[index])]
                if clock and costs is not None:
                    costs[index] = costs.get(index, 0.0) + clock() - started
        self.bound_memory()
        matches.sort()
        return matches

    def bound_memory(self) -> None:
        """Forget the values of the fields that hold most, once all together hold too much."""
        held = sum(matcher.held_bytes for matcher in self._matchers.values())
        if held > REMEMBERED_BYTES_MAX:
            for matcher in sorted(self._matchers.values(), key=lambda matcher: -matcher.held_bytes):
                held -= matcher.held_bytes
                matcher.forget()
                if held <= REMEMBERED_BYTES_MAX // 2:
                    break

    def evidence(self, index: int, reading: Reading) -> Evidence:
        """Say which atoms of a rule that matched were true for a record, and through which values."""
        matched: dict[str, str] = {}
        true: list[AnyAtom] = []
        for node in unnegated_leaves(self.compiled.nodes[index]):
            found = reading.witness(node)
            if found is not None:
                true.append(self.atom(node))
                matched.setdefault(*found)
        return Evidence(matched, tuple(true))

    def atom(self, node: Leaf | Compared) -> AnyAtom:
        """The atom that a node stands for."""
        return node.ref if isinstance(node, Compared) else self.compiled.atoms[node.field][node.atom]

    def matcher(self, field: str) -> FieldMatcher:
        """The matcher of a field that some atom asks about, ready for use."""
        matcher = self._matchers.get(field)
        if matcher is None:
            matcher = self._matchers[field] = FieldMatcher(self.compiled.atoms[self._numbers[field]], self._blobs)
        return matcher

    def asks(self, field: str) -> bool:
        """Whether some atom asks about a field. (A field may be named by comparisons of two fields only.)"""
        return field in self._numbers

    def compares(self, field: str) -> bool:
        """Whether some rule compares a field with another."""
        return field in self._compared

    def _program(self, view: View) -> _Program:
        program = self._programs.get(view)
        if program is None:
            # Everything that where a field is found, and which rules there are, can hang on.
            key = (view.stream.logsources, tuple(view.stream.fields.items()), view.layout.family, view.layout.name)
            program = self._alike.get(key)
            if program is None:
                rules = self.applicable(view)
                paths = {field: view.paths(field) for field in self._fields(rules)}
                program = self._alike[key] = self._compiled(rules, paths)
            if len(self._programs) >= PROGRAMS_MAX:
                self._programs.clear()
                self._alike.clear()
                self._admitted.clear()
            self._programs[view] = program
        return program

    def _fields(self, rules: Iterable[int]) -> dict[str, None]:
        return dict.fromkeys(chain.from_iterable(self.compiled.facts[index].fields for index in rules))

    def _compiled(self, rules: Sequence[int], paths: Paths) -> _Program:
        keywords: set[int] = set()
        woken_by: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        gates: Counter[str] = Counter()
        for index in rules:
            keywords.update(self.compiled.facts[index].keywords)
            gates.update(self.compiled.facts[index].gates)
        always = [index for index in rules if not self.compiled.facts[index].witnesses]
        first = self._fields(always)
        for index, witness in self._chosen_witnesses(rules, first).items():
            for leaf in witness.atoms:
                woken_by[self.compiled.fields[leaf.field]][leaf.atom].append(index)
        first.update(dict.fromkeys(woken_by))
        if any(self.compiled.facts[index].keywords for index in always):
            first[KEYWORDS] = None
        needles = [needle(self.compiled.atoms[self._numbers[KEYWORDS]][atom]) for atom in sorted(keywords)]
        gate, gated = max(gates.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        return _Program(
            rules=rules,
            first=tuple(first),
            paths=paths,
            woken_by=woken_by,
            always=always,
            needles=None if None in needles else [text for text in needles if text is not None],
            gate=gate if gated >= GATED_RULES_MIN and gated * 2 >= len(rules) else None,
            behind_gate={},
        )

    def _chosen_witnesses(self, rules: Iterable[int], looked_at: Iterable[str]) -> dict[int, Witness]:
        """Choose one witness for each rule that has any: rarely true, and in few fields all together."""
        used = set(looked_at)
        chosen: dict[int, Witness] = {}
        for index in sorted(rules, key=lambda index: (len(self.compiled.facts[index].witnesses), index)):
            choices = self.compiled.facts[index].witnesses
            if choices:
                fields = self._fields_of_witnesses(index)
                prices = [
                    choice.price + FIELD_PRICE * len(names - used)
                    for choice, names in zip(choices, fields, strict=True)
                ]
                best = prices.index(min(prices))
                chosen[index] = choices[best]
                used |= fields[best]
        return chosen

    def _fields_of_witnesses(self, index: int) -> list[frozenset[str]]:
        """The fields of each witness of a rule."""
        known = self._witness_fields.get(index)
        if known is None:
            known = self._witness_fields[index] = [
                frozenset(self.compiled.fields[leaf.field] for leaf in choice.atoms)
                for choice in self.compiled.facts[index].witnesses
            ]
        return known

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


class Reading:
    """One record and what the atoms of an engine say of it, each field looked at once."""

    def __init__(self, engine: Engine, view: View, record: Record) -> None:
        self._engine = engine
        self._view = view
        self._record = record
        self._held: dict[str, tuple[Value | Missing, frozenset[int]]] = {}
        self._keywords: list[tuple[ValueLeaf, frozenset[int]]] | None = None

    def holds(self, node: Node) -> bool:
        """Evaluate a node on this record, by itself."""
        match node:
            case All(nodes):
                return all(map(self.holds, nodes))
            case Any(nodes):
                return any(map(self.holds, nodes))
            case Negated(inner):
                return not self.holds(inner)
            case Leaf() | Compared():
                return self.witness(node) is not None

    def witness(self, node: Leaf | Compared) -> tuple[str, str] | None:
        """The field and the text that make an atom true; None if it is false."""
        if isinstance(node, Compared):
            value = self._view.value(self._record, node.ref.field)
            true = compare_fields(node.ref, value, self._view.value(self._record, node.ref.other))
            return (node.ref.field, next(map(text_of, leaves(value)), "")) if true else None
        field = self._engine.compiled.fields[node.field]
        if field == KEYWORDS:
            leaf = next((leaf for leaf, atoms in self._searched() if node.atom in atoms), None)
            return None if leaf is None else (_name_of(self._record, leaf), text_of(leaf))
        matcher = self._engine.matcher(field)
        held = self._held.get(field)
        if held is None:
            value = self._view.value(self._record, field)
            held = self._held[field] = (value, matcher.remembered(value))
        value, atoms = held
        if node.atom not in atoms:
            return None
        if isinstance(value, str):
            return field, value
        return field, next((text_of(leaf) for leaf in leaves(value) if node.atom in matcher.remembered(leaf)), "")

    def _searched(self) -> list[tuple[ValueLeaf, frozenset[int]]]:
        if self._keywords is None:
            matcher = self._engine.matcher(KEYWORDS)
            self._keywords = [(leaf, matcher.remembered(leaf)) for leaf in all_leaves(self._record)]
        return self._keywords


class _Batch:
    """The columns of some records on their way through the rules of one program."""

    def __init__(self, engine: Engine, program: _Program, block: Block, rows: Sequence[int] | None) -> None:
        self._engine = engine
        self._program = program
        self._block = block
        self._rows = rows
        self._names = engine.compiled.fields
        self._size = len(block.numbers) if rows is None else len(rows)
        self._values: dict[str, Sequence[Value | Missing]] = {}
        self._codes: dict[str, Codes] = {}
        self._present: dict[str, dict[int, list[int]]] = {}
        self._places: Rows = np.arange(self._size)

    @classmethod
    def over(cls, engine: Engine, program: _Program, block: Block, rows: Sequence[int] | None) -> _Batch:
        """A batch of all records, with the columns that are looked at first."""
        batch = cls(engine, program, block, rows)
        batch._add(program.first)
        return batch

    def narrowed(self, places: Rows, rules: Sequence[int]) -> _Batch:
        """A batch of the records at these places, with the columns that these rules need."""
        facts = [self._engine.compiled.facts[index] for index in rules]
        fields = dict.fromkeys(chain.from_iterable(fact.fields for fact in facts))
        if any(fact.keywords for fact in facts):
            fields[KEYWORDS] = None
        if len(places) == self._size:
            self._add([field for field in fields if field not in self._codes and field not in self._values])
            return self
        chosen: list[int] = places.tolist()
        rows = chosen if self._rows is None else [self._rows[place] for place in chosen]
        batch = _Batch(self._engine, self._program, self._block, rows)
        batch._places = places
        for field, values in self._values.items():
            batch._values[field] = [values[place] for place in chosen]
        for field, codes in self._codes.items():
            if field in fields:
                batch._take(field, codes[places])
        if chosen:
            batch._add([field for field in fields if field not in self._codes and field not in self._values])
        return batch

    def _add(self, fields: Sequence[str]) -> None:
        """Add columns. Values of fields that are only compared with others stay as they are."""
        engine = self._engine
        paths = {field: self._program.paths[field] for field in fields if field != KEYWORDS}
        values = _coalesced(paths, self._block, self._rows)
        for field in fields:
            if field == KEYWORDS:
                codes = _keyword_codes(engine.matcher(field), self._program, self._block, self._rows)
                self._take(field, np.array(codes, dtype=np.intp))
                continue
            if engine.compares(field):
                self._values[field] = values[field]
            if engine.asks(field):
                self._take(field, np.array(engine.matcher(field).column(values[field]), dtype=np.intp))

    def _take(self, field: str, codes: Codes) -> None:
        signatures = self._engine.matcher(field).signatures
        present: dict[int, list[int]] = {}
        numbers: list[int] = codes.tolist()
        for code in set(numbers):
            for atom in signatures[code]:
                present.setdefault(atom, []).append(code)
        self._codes[field] = codes
        self._present[field] = present

    def woken(self) -> tuple[list[int], Rows]:
        """The rules that may be true for some record, and the places of the records for which some of them may.

        A rule may be true for a record if it would be with the best of luck in the fields not looked at so far.
        """
        woken: set[int] = set()
        for field, rules_by_atom in self._program.woken_by.items():
            atoms = self._present[field].keys() & rules_by_atom.keys()
            woken.update(chain.from_iterable(rules_by_atom[atom] for atom in atoms))
        left: list[int] = []
        mask = np.zeros(self._size, dtype=np.bool_)
        for index in sorted(woken):
            node = self._engine.compiled.nodes[index]
            if self.is_possible(node):
                hopeful = self.truth(node, None)
                if hopeful.any():
                    left.append(index)
                    mask |= hopeful
        return left, np.flatnonzero(mask)

    def matching(self, node: Node) -> list[int]:
        """The places, in the batch that this one was narrowed from, of the records for which a node is true."""
        if not self._size or not self.is_possible(node):
            return []
        return self._places[np.flatnonzero(self.truth(node, None))].tolist()

    def is_possible(self, node: Node) -> bool:
        """Whether a node can be true for any record, going by which atoms are true for some value.

        Of a field that was not looked at, everything is possible.
        """
        match node:
            case Leaf(field, atom):
                name = self._names[field]
                return name not in self._codes or atom in self._present[name]
            case All(nodes):
                return all(map(self.is_possible, nodes))
            case Any(nodes):
                return any(map(self.is_possible, nodes))
            case Negated() | Compared():
                return True

    def truth(self, node: Node, rows: Rows | None) -> Truth:
        """For which of these rows (all if None) a node is true, or may be because of a field not looked at."""
        match node:
            case Leaf(field, atom):
                name = self._names[field]
                if name not in self._codes:
                    return np.ones(self._size if rows is None else len(rows), dtype=np.bool_)
                return self._has_code(name, self._present[name].get(atom, ()), rows)
            case All(nodes):
                return self._conjunction(nodes, rows)
            case Any(nodes):
                result = np.zeros(self._size if rows is None else len(rows), dtype=np.bool_)
                for inner in nodes:
                    if self.is_possible(inner):
                        result |= self.truth(inner, rows)
                return result
            case Negated(inner):
                if self._unknown(inner):
                    return np.ones(self._size if rows is None else len(rows), dtype=np.bool_)
                return ~self.truth(inner, rows)
            case Compared(ref):
                if ref.field not in self._values or ref.other not in self._values:
                    return np.ones(self._size if rows is None else len(rows), dtype=np.bool_)
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

    def _unknown(self, node: Node) -> bool:
        """Whether a node asks about a field that was not looked at."""
        return any(
            leaf.ref.field not in self._values or leaf.ref.other not in self._values
            if isinstance(leaf, Compared)
            else self._names[leaf.field] not in self._codes
            for leaf in leaves_of(node)
        )

    def _has_code(self, field: str, wanted: Sequence[int], rows: Rows | None) -> Truth:
        codes = self._codes[field]
        if rows is not None:
            codes = codes[rows]
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
            codes[place] = matcher.together(matcher.column(all_leaves(block.record(row))))
    return codes


def _name_of(record: Record, leaf: ValueLeaf) -> str:
    """The top-level field in which a leaf stands."""
    return next(name for name, value in record.items() if any(one == leaf for one in all_leaves({name: value})))
