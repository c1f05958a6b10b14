"""The one place where these tests touch the engine: from rule files to (rule id, row)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mingjian.detect.engine import Engine
from mingjian.detect.sigma.parse import parse_rules
from mingjian.detect.sigma.references import resolve
from mingjian.model.blocks import Block
from mingjian.model.sources import View


class Adapter:
    """The engine over some rule files."""

    def __init__(
        self, files: Iterable[tuple[str, bytes]], placeholders: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        given = {name: tuple(values) for name, values in (placeholders or {}).items()}
        resolved = resolve((file, parse_rules(content, placeholders=given)) for file, content in files)
        self.ids = [rule.id for rule in resolved.rules]
        self.skipped = {skipped.file: skipped.reason for skipped in resolved.skipped}
        self._engine = Engine(resolved.rules)

    def match(self, view: View, block: Block, rows: Sequence[int] | None) -> set[tuple[str, int]]:
        """All matches in the rows of a block (None: in all of it), each once."""
        found = [(self.ids[index], row) for index, row in self._engine.match(view, block, rows)]
        assert len(set(found)) == len(found), "a match was given twice"
        return set(found)
