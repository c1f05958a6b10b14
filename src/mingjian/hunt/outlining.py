"""Whether rules can be true of segments, going by outlines (``store.outlines``): without opening a segment.

A rule has *witnesses*: sets of atoms of which one is true whenever the rule is. An atom about a text can only be true
where its field may be there and all grams of its literal pieces occur. If of some witness no atom can be true, the rule
cannot; if no rule can, the segments behind the outline hold nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from mingjian.detect.compiled import KEYWORDS, Leaf
from mingjian.detect.engine import Engine
from mingjian.model.rules import AnyAtom, Text
from mingjian.model.sources import View
from mingjian.store.catalogue import SegmentRow
from mingjian.store.grams import Hashes, hashes_asked, joined
from mingjian.store.outlines import Outline, outlines_of
from mingjian.store.scope import Scope
from mingjian.store.segments import SegmentKey
from mingjian.store.workspace import Workspace

QUESTIONS_MAX: Final = 4096
"""The answers to so many questions are kept: some rules, asked of a stream in one layout and format."""

Mask: TypeAlias = npt.NDArray[np.bool_]


class Prospect(Enum):
    """What can be found in a segment."""

    OPEN = "open"
    """Anything: it has to be opened."""
    NO_TEXT = "no text"
    """It has something that rules look at, but none of it can make one true."""
    NO_FIELD = "no field"
    """It has nothing that rules look at."""


class Outlook:
    """Says of segments what an engine can find in them. It sees the outlines that are there when it is first asked."""

    def __init__(self, workspace: Workspace, scope: Scope, engine: Engine) -> None:
        self._workspace = workspace
        self._scope = scope
        self._engine = engine
        self._known: dict[tuple[View, str, frozenset[int] | None], dict[int, Prospect]] = {}

    def prospect(self, row: SegmentRow, view: View, rules: Sequence[int], chosen: frozenset[int] | None) -> Prospect:
        """What can be found in a segment whose records are all under one view.

        ``rules`` are the indexes of those of the chosen rules whose log source the view satisfies.

        Raises:
            StorageError: the database cannot be read.
        """
        key = (view, row.key.format, chosen)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= QUESTIONS_MAX:
                self._known.clear()
            known = self._known[key] = self._look(row.key, view, rules)
        return known.get(row.id, Prospect.OPEN)

    def _look(self, key: SegmentKey, view: View, rules: Sequence[int]) -> dict[int, Prospect]:
        """What can be found in all segments of one stream, layout and format that are in an outline."""
        question = Question(self._engine, rules)
        found: dict[int, Prospect] = {}
        if question.can_be_no:
            for outline in outlines_of(self._workspace, self._scope, key.stream, key.layout, key.format):
                prospect = question.prospect(outline, view)
                if prospect is not Prospect.OPEN:
                    found.update(dict.fromkeys(outline.segments, prospect))
        return found


class Question:
    """Some rules, taken apart: what each witness of each needs."""

    def __init__(self, engine: Engine, rules: Sequence[int]) -> None:
        """Take some rules, by their indexes, apart."""
        compiled = engine.compiled
        places: dict[Leaf, int] = {}
        leaves: list[int] = []
        witness_starts: list[int] = []
        rule_starts: list[int] = []
        for rule in rules:
            rule_starts.append(len(witness_starts))
            for witness in compiled.facts[rule].witnesses:
                witness_starts.append(len(leaves))
                leaves += [places.setdefault(leaf, len(places)) for leaf in witness.atoms]
        asked = [_grams_of(compiled.atoms[leaf.field][leaf.atom]) for leaf in places]
        asking = [place for place, grams in enumerate(asked) if len(grams)]
        numbers = sorted({leaf.field for leaf in places})
        self.can_be_no = bool(leaves) and all(compiled.facts[rule].witnesses for rule in rules)
        """Whether there is anything of which all of the rules may be false: not, if one of them has no witness."""
        self._fields = [compiled.fields[number] for number in numbers]
        self._field_of = np.searchsorted(numbers, [leaf.field for leaf in places])
        """The field of each leaf."""
        self._asking = np.array(asking, dtype=np.intp)
        """The leaves that need grams …"""
        self._grams, self._starts = joined([asked[place] for place in asking])
        """… and those, one leaf behind the other."""
        self._leaves = np.array(leaves, dtype=np.intp)
        self._witness_starts = np.array(witness_starts, dtype=np.intp)
        """The leaves of each witness, one witness behind the other …"""
        self._rule_starts = np.array(rule_starts, dtype=np.intp)
        """… and the first witness of each rule."""
        self._masks: dict[tuple[frozenset[str], View], tuple[Mask, Mask]] = {}

    def prospect(self, outline: Outline, view: View) -> Prospect:
        """What can be found in the segments behind an outline, if all of their records are under one view."""
        if outline.is_opaque or not self.can_be_no:
            return Prospect.OPEN
        key = (outline.names, view)
        if key not in self._masks:
            self._masks[key] = self._looked_for(outline, view)
        there, shown = self._masks[key]
        if not there.any():
            return Prospect.NO_FIELD
        possible = there[self._field_of]
        if len(self._asking):
            held = np.logical_and.reduceat(outline.grams.have(self._grams), self._starts)
            possible[self._asking] &= held | ~shown[self._field_of[self._asking]]
        witnesses = np.logical_or.reduceat(possible[self._leaves], self._witness_starts)
        can_be = np.logical_and.reduceat(witnesses, self._rule_starts).any()
        return Prospect.OPEN if can_be else Prospect.NO_TEXT

    def _looked_for(self, outline: Outline, view: View) -> tuple[Mask, Mask]:
        """For each field whether it may be there, and whether its texts are shown as they are."""
        there, shown = np.ones(len(self._fields), dtype=np.bool_), np.ones(len(self._fields), dtype=np.bool_)
        for place, field in enumerate(self._fields):
            if field != KEYWORDS:
                paths = [path for path in view.paths(field) if outline.is_there(path)]
                there[place] = bool(paths)
                shown[place] = all(map(outline.shows_texts, paths))
        return there, shown


def _grams_of(atom: AnyAtom) -> Hashes:
    return hashes_asked(part for part in atom.parts if isinstance(part, str)) if isinstance(atom, Text) else _NO_GRAMS


_NO_GRAMS: Final[Hashes] = np.zeros(0, dtype=np.uint32)
