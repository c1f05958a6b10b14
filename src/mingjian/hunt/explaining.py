"""Why a rule fired on an event, or why it did not: its condition, line by line, with what each line came to."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mingjian.detect.compiled import All, Any, Compared, Leaf, Negated, Node
from mingjian.detect.engine import Engine, Reading
from mingjian.detect.leaves import leaves, text_of
from mingjian.detect.words import atom_in_words
from mingjian.errors import NotFound, shown
from mingjian.model.blocks import Quarantined
from mingjian.model.rules import AnyAtom, LogSource, Rule
from mingjian.model.sources import View
from mingjian.model.values import MISSING, Record
from mingjian.sources import files
from mingjian.sources.router import Router

VALUES_SHOWN_MAX = 3
"""So many leaves of a field are shown beside an atom."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a condition and what it came to for the event."""

    depth: int
    text: str
    true: bool
    value: str = ""
    """What the field holds, for an atom."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule makes of one event."""

    rule_id: str
    rule_title: str
    file: str
    record: int
    stream: str
    fed: bool
    """Whether the stream satisfies the rule's log source: if not, the rule is never asked about this event."""
    fired: bool
    reason: str
    condition: tuple[Line, ...]


def find_event(file: str, number: int, router: Router) -> list[tuple[View, Record]]:
    """Find the records of a file that have this number, with their views. (Record ids of EVTX files may recur.)

    Raises:
        NotFound: there is none.
    """
    found: list[tuple[View, Record]] = []
    for task in files.plan([file], 1):
        for _, block in files.read(task, files.Counts(), router.first_paths):
            if isinstance(block, Quarantined) or number not in block.numbers:
                continue
            for portion in router.route(block):
                for row in range(len(block.numbers)) if portion.rows is None else portion.rows:
                    if block.numbers[row] == number:
                        found.append((portion.view, block.record(row)))
    if not found:
        raise NotFound(f"no event with number {number}", where=file, hint="numbers are what detect shows as record")
    return found


def explain(rule: Rule, engine: Engine, index: int, view: View, record: Record, file: str, number: int) -> Explanation:
    """Say what a rule of an engine makes of one record."""
    node = engine.compiled.nodes[index]
    fed = index in engine.applicable(view)
    reading = Reading(engine, view, record)
    true = reading.holds(node)
    if not fed:
        declared = ", ".join(map(_words, view.stream.logsources)) or "none"
        reason = f"the rule wants {_words(rule.logsource)}; the stream {view.stream.name} offers: {declared}"
    else:
        reason = "the condition is true" if true else "the condition is false"
    return Explanation(
        rule_id=rule.id,
        rule_title=rule.title,
        file=file,
        record=number,
        stream=view.stream.name,
        fed=fed,
        fired=fed and true,
        reason=reason,
        condition=tuple(_lines(engine, node, view, record, reading, 0)),
    )


def _words(logsource: LogSource) -> str:
    parts = [("product", logsource.product), ("category", logsource.category), ("service", logsource.service)]
    return " ".join(f"{name} {value}" for name, value in parts if value) or "any log source"


def _lines(engine: Engine, node: Node, view: View, record: Record, reading: Reading, depth: int) -> Iterator[Line]:
    true = reading.holds(node)
    match node:
        case All(nodes):
            yield Line(depth=depth, text="all of", true=true)
            for inner in nodes:
                yield from _lines(engine, inner, view, record, reading, depth + 1)
        case Any(nodes):
            yield Line(depth=depth, text="any of", true=true)
            for inner in nodes:
                yield from _lines(engine, inner, view, record, reading, depth + 1)
        case Negated(inner):
            yield Line(depth=depth, text="not", true=true)
            yield from _lines(engine, inner, view, record, reading, depth + 1)
        case Leaf() | Compared():
            atom = engine.atom(node)
            yield Line(depth=depth, text=atom_in_words(atom), true=true, value=_held(atom, view, record))


def _held(atom: AnyAtom, view: View, record: Record) -> str:
    if atom.field is None:
        return ""
    value = view.value(record, atom.field)
    if value is MISSING:
        return "missing"
    texts = [shown(text_of(leaf)) for leaf in leaves(value)]
    return ", ".join(texts[:VALUES_SHOWN_MAX]) + (" …" if len(texts) > VALUES_SHOWN_MAX else "") if texts else "null"
