"""The records that rules matched in an encoded block, as far as somebody will look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mingjian.detect.engine import Engine
from mingjian.model.sources import View
from mingjian.model.values import MISSING, Record
from mingjian.store.blocks import SegmentBlock


def matched_records(
    engine: Engine,
    view: View,
    block: SegmentBlock,
    matches: Sequence[tuple[int, int]],
    wanted_fields: Mapping[str, Sequence[str]],
) -> dict[int, Record]:
    """The record of each row that some rule matched, read column by column.

    A record has what its rules look at and what ``wanted_fields`` (rule → fields) names, each value under its whole
    path, where ``View.value`` finds it as it would in the record itself. Only for keywords it is the whole record.
    """
    rows = sorted({row for _, row in matches})
    rules = {index for index, _ in matches}
    fields: dict[str, None] = {}
    for index in rules:
        fields.update(dict.fromkeys(engine.compiled.facts[index].fields))
        fields.update(dict.fromkeys(wanted_fields.get(engine.rules[index].id, ())))
    paths = list(dict.fromkeys(path for field in fields for path in view.paths(field)))
    searched = {row for index, row in matches if engine.compiled.facts[index].keywords}
    columns = zip(*block.columns(paths, rows), strict=True) if paths else iter([()] * len(rows))
    return {
        row: block.record(row)
        if row in searched
        else {path: value for path, value in zip(paths, values, strict=True) if value is not MISSING}
        for row, values in zip(rows, columns, strict=True)
    }
