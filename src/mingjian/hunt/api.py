"""Detection for programs: the same engine as the command, in a few lines of Python.

>>> import mingjian
>>> rules = mingjian.load_rules(["rules"])                              # doctest: +SKIP
>>> for found in mingjian.scan(["logs"], rules):                      # doctest: +SKIP
...     print(found.time_us, found.rule_title, found.host, found.matched)
>>> hits = mingjian.match_arrow(events, rules)                          # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import pyarrow as pa

from mingjian.formats.arrow import ArrowBlock
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.detections import Detection
from mingjian.model.rules import Level
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

MATCHES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("rule_id", pa.string(), nullable=False),
        pa.field("rule_title", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("attack", pa.list_(pa.string()), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
    ]
)
"""The columns of what ``match_arrow`` gives."""


def load_rules(paths: Sequence[str | PathLike[str]], *, cache_folder: Path | None = None) -> Rulebook:
    """Load Sigma rules from files and folders. What could not be loaded is in ``skipped``, with the reason.

    Raises:
        ConfigError: a path does not exist.
    """
    return load_rulebook([str(path) for path in paths], cache_folder=cache_folder)


def scan(
    paths: Sequence[str | PathLike[str]],
    rules: Rulebook,
    *,
    level: Level = "informational",
    explain: bool = False,
    jobs: int = 1,
    cache_folder: Path | None = None,
) -> Iterator[Detection]:
    """Run rules and correlations over log files, archives and folders; detections come ordered by time.

    Input that cannot be read is passed over; use the command or ``hunt.detection.Run`` to see it.
    """
    engine = engine_for(rules.rules, cache_folder)
    router = Router(load_sources(cache_folder=cache_folder))
    run = Run(rules.rules, rules.correlations, engine, router, level=level, explain=explain, jobs=jobs)
    try:
        run.execute([str(path) for path in paths])
        yield from run.detections()
    finally:
        run.close()


def match_arrow(events: pa.Table | pa.RecordBatch, rules: Rulebook) -> pa.Table:
    """Match the rules about single events against a table of events, one row each, columns by their native names.

    Gives a table with the schema ``MATCHES``: one row per (event, rule), ordered by event, then rule. Which stream
    an event is of is found out as for files, so the columns that tell (``Channel`` and ``EventID`` for Windows) must
    be there. Correlations are not looked at: they need every event, and this may be one batch of many.
    """
    engine = engine_for(rules.rules, None)
    router = Router(load_sources())
    found: list[tuple[int, int, str]] = []
    start = 0
    batches = [events] if isinstance(events, pa.RecordBatch) else events.to_batches()
    for batch in batches:
        block = ArrowBlock(batch, start)
        for portion in router.route(block):
            for index, row in engine.match(portion.view, block, portion.rows):
                if not rules.rules[index].hidden:
                    found.append((start + row, index, portion.view.stream.name))
        start += batch.num_rows
    found.sort()
    matched = [rules.rules[index] for _, index, _ in found]
    columns = {
        "row": [row for row, _, _ in found],
        "rule_id": [rule.id for rule in matched],
        "rule_title": [rule.title for rule in matched],
        "level": [rule.level for rule in matched],
        "attack": [list(rule.attack) for rule in matched],
        "stream": [stream for _, _, stream in found],
    }
    return pa.Table.from_pydict(columns, schema=MATCHES)
