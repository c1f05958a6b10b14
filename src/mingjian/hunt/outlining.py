"""Whether rules can be true of segments, going by outlines (``store.outlines``): without opening a segment.

A rule has *witnesses*: sets of atoms of which one is true whenever the rule is. An atom about a text can only be true
where its field may be there and all grams of its literal pieces occur. If of some witness no atom can be true, the rule
cannot; if no rule can, the segments behind the outline hold nothing. Keywords are looked for in everything that a
segment has, and most of that is of no other use to rules: if none can be there, only fields that rules name are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from mingjian.detect.compiled import KEYWORDS, CompiledRules, Leaf
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
    NO_KEYWORD = "no keyword"
    """Anything but keywords: it has to be opened, but not searched."""
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
        self._known: dict[tuple[View | None, str, str, str, frozenset[int] | None], dict[int, Prospect]] = {}
        self._grams: dict[Leaf, Hashes] = {}
        """Of every leaf that was asked about."""

    def prospect(
        self, row: SegmentRow, view: View | None, rules: Sequence[int], chosen: frozenset[int] | None
    ) -> Prospect:
        """What can be found in a segment whose records are all under one view.

        ``rules`` are the indexes of those of the chosen rules whose log source the view satisfies. Without a view, for
        rules that ask for nothing but keywords, and whatever log source there is.

        Raises:
            StorageError: the database cannot be read.
        """
        key = (view, row.key.stream, row.key.layout, row.key.format, chosen)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= QUESTIONS_MAX:
                self._known.clear()
            known = self._known[key] = self._look(row.key, view, rules)
        return known.get(row.id, Prospect.OPEN)

    def _look(self, key: SegmentKey, view: View | None, rules: Sequence[int]) -> dict[int, Prospect]:
        """What can be found in all segments of one stream, layout and format that are in an outline."""
        question = Question(self._engine, rules, self._grams)
        found: dict[int, Prospect] = {}
        if question.can_be_no or question.has_keywords:
            for outline in outlines_of(self._workspace, self._scope, key.stream, key.layout, key.format):
                prospect = question.prospect(outline, view)
                if prospect is not Prospect.OPEN:
                    found.update(dict.fromkeys(outline.segments, prospect))
        return found


class Question:
    """Some rules, taken apart: what each witness of each needs."""

    def __init__(self, engine: Engine, rules: Sequence[int], known: dict[Leaf, Hashes] | None = None) -> None:
        """Take some rules, by their indexes, apart. ``known``: the grams of leaves of the engine; it is added to."""
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
        grams_of = _Grams(compiled, {} if known is None else known)
        asked = list(map(grams_of.of, places))
        asking = [place for place, grams in enumerate(asked) if len(grams)]
        numbers = sorted({leaf.field for leaf in places})
        self.can_be_no = bool(leaves) and all(compiled.facts[rule].witnesses for rule in rules)
        """Whether there is anything of which all of the rules may be false: not, if one of them has no witness."""
        keywords = sorted({atom for rule in rules for atom in compiled.facts[rule].keywords})
        needed = [grams_of.of(Leaf(compiled.fields.index(KEYWORDS), atom)) for atom in keywords]
        self.has_keywords = bool(keywords) and all(map(len, needed))
        """Whether there are keywords, and each of them needs grams."""
        self._keyword_grams, self._keyword_starts = joined(needed if self.has_keywords else [])
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
        self._masks: dict[tuple[frozenset[str], View | None], tuple[Mask, Mask]] = {}

    def prospect(self, outline: Outline, view: View | None) -> Prospect:
        """What can be found in the segments behind an outline, if all of their records are under one view."""
        if outline.is_opaque:
            return Prospect.OPEN
        found = self._of_witnesses(outline, view) if self.can_be_no else Prospect.OPEN
        return Prospect.NO_KEYWORD if found is Prospect.OPEN and self._lacks_keywords(outline) else found

    def _lacks_keywords(self, outline: Outline) -> bool:
        if not self.has_keywords:
            return False
        return not np.logical_and.reduceat(outline.grams.have(self._keyword_grams), self._keyword_starts).any()

    def _of_witnesses(self, outline: Outline, view: View | None) -> Prospect:
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

    def _looked_for(self, outline: Outline, view: View | None) -> tuple[Mask, Mask]:
        """For each field whether it may be there, and whether its texts are shown as they are."""
        there, shown = np.ones(len(self._fields), dtype=np.bool_), np.ones(len(self._fields), dtype=np.bool_)
        for place, field in enumerate(self._fields):
            if field != KEYWORDS:
                assert view is not None, "without a view only keywords are asked for"
                paths = [path for path in view.paths(field) if outline.is_there(path)]
                there[place] = bool(paths)
                shown[place] = all(map(outline.shows_texts, paths))
        return there, shown


class _Grams:
    """The grams that leaves need. Many streams are asked about the same ones."""

    def __init__(self, compiled: CompiledRules, known: dict[Leaf, Hashes]) -> None:
        self._compiled = compiled
        self._known = known

    def of(self, leaf: Leaf) -> Hashes:
        """The grams without which a leaf is false; none if that cannot be said."""
        grams = self._known.get(leaf)
        if grams is None:
            grams = self._known[leaf] = _grams_of(self._compiled.atoms[leaf.field][leaf.atom])
        return grams


def _grams_of(atom: AnyAtom) -> Hashes:
    return hashes_asked(part for part in atom.parts if isinstance(part, str)) if isinstance(atom, Text) else _NO_GRAMS


_NO_GRAMS: Final[Hashes] = np.zeros(0, dtype=np.uint32)
