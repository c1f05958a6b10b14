"""Tables of facts with known answers, for tests of behaviours."""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from mingjian.detect.behaviours.findings import Finding
from mingjian.detect.behaviours.grouping import DAY

START_US = 20_000 * DAY
"""A Thursday."""


def table(rows: Iterable[dict[str, object]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; what a row does not name is null. Events are numbered in the order of rows."""
    numbered = [{"event": number, **row} for number, row in enumerate(rows)]
    names = schema.names
    return pa.table({name: pa.array([row.get(name) for row in numbered], schema.field(name).type) for name in names})


def shuffled(facts: pa.Table, seed: int, cuts: int, *, dictionaries: bool = False) -> pa.Table:
    """The same rows in another order, in several batches, each with dictionaries of its own if wanted."""
    chance = random.Random(seed)
    places = list(range(facts.num_rows))
    chance.shuffle(places)
    bounds = sorted([0, len(places), *(chance.randint(0, len(places)) for _ in range(cuts))])
    mixed = facts.take(pa.array(places, pa.int64()))
    parts = [mixed.slice(low, high - low) for low, high in itertools.pairwise(bounds)]
    if dictionaries:
        parts = [_with_dictionaries(part) for part in parts]
    return pa.concat_tables(parts)


def _with_dictionaries(facts: pa.Table) -> pa.Table:
    columns = {
        name: column.combine_chunks().dictionary_encode() if pa.types.is_string(column.type) else column
        for name, column in zip(facts.column_names, facts.columns, strict=True)
    }
    return pa.table(columns)


def of(findings: Sequence[Finding], behaviour: str) -> list[Finding]:
    return [each for each in findings if each.behaviour == behaviour]


def terms_add_up(findings: Iterable[Finding]) -> bool:
    return all(sum(term.points for term in each.terms) == each.score for each in findings)


Detector = Callable[[pa.Table], list[Finding]]
