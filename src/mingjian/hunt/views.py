"""Under which view the records of a segment are looked at, and which log sources its stream can feed.

To find that out anew for each question takes longer than many an answer: ``Views`` may be shared by all threads of a
process, for as long as the definitions of sources are the same. It keeps nothing of any record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from mingjian.detect.matcher import Glob
from mingjian.model.rules import ANY, LogSource
from mingjian.model.sources import View
from mingjian.sources.definitions import PLACEHOLDER, SourceBook
from mingjian.sources.router import Portion, Router
from mingjian.store.blocks import SegmentBlock
from mingjian.store.catalogue import SegmentRow

PATTERNS_KEPT_MAX: Final = 4096
"""So many names with placeholders are kept ready."""
STREAMS_KEPT_MAX: Final = 20_000
"""Of so many streams it is known what they are; of more, it is found out anew."""


class Views:
    """Finds the view of records. For the threads of a process."""

    def __init__(self, sources: SourceBook) -> None:
        """``sources`` are the definitions that hold."""
        self._router = Router(sources)
        self._lock = threading.Lock()
        self._feeding = _Feeding(sources)
        self._known: dict[tuple[str, str, str], View] = {}

    def can_feed(self, stream: str, wanted: LogSource) -> bool:
        """Whether a rule with a log source may look at a stream. Of a stream without a definition, all may."""
        return self._feeding.can_feed(stream, wanted)

    def known(self, row: SegmentRow) -> View | None:
        """The view of all records of a segment, if that is known already."""
        return self._known.get((row.key.stream, row.key.layout, row.key.format))

    def portions_of(self, row: SegmentRow, block: SegmentBlock) -> Iterable[Portion]:
        """The view that all records of a block were put under, or which records are under which view today."""
        if self._feeding.is_settled(row.key.stream):
            key = (row.key.stream, row.key.layout, row.key.format)
            whole = self._known.get(key)
            if whole is None:
                (portion,) = self._routed(block.take([0]))
                if (portion.view.stream.name, portion.view.layout.name) == key[:2]:
                    if len(self._known) >= STREAMS_KEPT_MAX:
                        self._known = {}
                    whole = self._known[key] = portion.view
            if whole is not None:
                return [Portion(whole, None)]
        return self._routed(block)

    def _routed(self, block: SegmentBlock) -> list[Portion]:
        with self._lock:
            return self._router.route(block)


class _Feeding:
    """Which streams can feed which log sources, going by their names."""

    def __init__(self, sources: SourceBook) -> None:
        self._names: dict[str, list[tuple[LogSource, ...]]] = {}
        self._templates: list[tuple[str, tuple[LogSource, ...]]] = []
        for plan in (plan for family in sources.families for source in family.sources for plan in source.streams):
            if PLACEHOLDER.search(plan.name):
                self._templates.append((plan.name, plan.logsources))
            else:
                self._names.setdefault(plan.name, []).append(plan.logsources)
        self._declared: dict[str, tuple[LogSource, ...] | None] = {}

    def can_feed(self, stream: str, wanted: LogSource) -> bool:
        """Whether a rule with a log source may look at a stream. Of a stream without a definition, all may."""
        declared = self._of(stream)
        return declared is None or wanted == LogSource() or any(own.satisfies(wanted) for own in declared)

    def is_settled(self, stream: str) -> bool:
        """Whether a definition names the stream. If none does, one that came since may know what it is."""
        return self._of(stream) is not None

    def _of(self, stream: str) -> tuple[LogSource, ...] | None:
        declared = self._declared
        if stream not in declared:
            fitting = [*self._names.get(stream, ())]
            fitting += [logsources for name, logsources in self._templates if _pattern(name).fits(stream)]
            every = dict.fromkeys(each for logsources in fitting for each in logsources)
            if len(declared) >= STREAMS_KEPT_MAX:
                declared = self._declared = {}
            declared[stream] = tuple(every) if fitting else None
        return declared[stream]


class StreamPattern:
    """The names of streams that a definition names, with or without placeholders.

    >>> StreamPattern("windows/sysmon/{EventID}").fits("windows/sysmon/22"), StreamPattern("a/{B}").fits("a/b/c")
    (True, False)
    """

    def __init__(self, template: str) -> None:
        self._parts = [Glob(_with_wildcards(part)) for part in template.split("/")]

    def fits(self, name: str) -> bool:
        """Whether a name is one of them. What fills a placeholder has no slash in it."""
        parts = name.split("/")
        return len(parts) == len(self._parts) and all(
            glob.matches(part) for glob, part in zip(self._parts, parts, strict=True)
        )


@lru_cache(maxsize=PATTERNS_KEPT_MAX)
def _pattern(template: str) -> StreamPattern:
    """Made once for all questions of a process: to make them takes longer than to use them."""
    return StreamPattern(template)


def _with_wildcards(part: str) -> list[str | int]:
    literals = PLACEHOLDER.split(part)[::2]
    pieces: list[str | int] = []
    for number, literal in enumerate(literals):
        pieces += [ANY] if number else []
        pieces += [literal] if literal else []
    return pieces
