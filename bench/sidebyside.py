"""The same questions to the index and the lake of Mingjian, to DuckDB, and to Tenzir, over the same rows.

    python -m bench.sidebyside [--sightings FOLDER] [--workspace FOLDER] [--tenzir PROGRAM] [--values N] [--repeat N]

``--sightings``  a folder that ``python -m bench.sightings --only history --folder FOLDER`` has built: one value among
                 a hundred million rows, to the index and to a Parquet file of the same rows
``--workspace``  a workspace with logs of Windows hosts: one rule, as a hunt, and over the same segments as SQL, as a
                 pipeline of Tenzir, and with its operator for Sigma rules
``--tenzir``     the program of Tenzir (``pip install tenzir`` brings it); without, it is left out

Tenzir is asked as it can be: each question is a process of its own, whose start is told by itself and is part of its
time. DuckDB and Mingjian are asked within one process. Every answer is compared. Of a rule SQL and the pipeline find
what has its fields under the names of the rule, in one stream; a hunt looks at every stream of process creations, and
finds also what another shipper wrote under other names. Times are medians of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb

from bench.sightings import Store, asked, drop, say
from mingjian.detect.engine import Engine
from mingjian.hunt.hunting import Hunt
from mingjian.hunt.rulebook import load_rulebook
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import live_segments
from mingjian.store.scope import Scope
from mingjian.store.workspace import open_workspace

OPERATOR = Scope.of_operator()
STREAM = "windows/sysmon/1"
RULE = """\
title: Somebody looks around
id: 3b1f7f0e-9f0c-4b53-8d7c-2f6b5a0f6c11
logsource: {product: windows, category: process_creation}
detection:
    start: {EventID: 1}
    tool: {Image|endswith: ['\\whoami.exe', '\\net.exe', '\\net1.exe', '\\ipconfig.exe', '\\systeminfo.exe']}
    hidden: {CommandLine|contains: ' -enc'}
    condition: start and (tool or hidden)
"""
NAMES = ("whoami", "net", "net1", "ipconfig", "systeminfo")
HISTORY_DAYS = 1_000


def timed(work: Callable[[], int], repeat: int) -> tuple[float, int]:
    """The median of some runs, and what the last one found."""
    spent: list[float] = []
    found = 0
    for _ in range(repeat):
        started = time.perf_counter()
        found = work()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent), found


class Tenzir:
    """The program, as a person would start it."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._folder = tempfile.TemporaryDirectory()
        self.said = self.ask("version")[0]["version"]

    def ask(self, pipeline: str) -> list[dict[str, object]]:
        """Run a pipeline; give the rows that come out of it."""
        pipeline = f"{pipeline}\nto_stdout {{ write_ndjson }}"
        ended = subprocess.run(
            [self._program, "--bare-mode", f"--state-directory={self._folder.name}", pipeline],
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise SystemExit(f"tenzir ended with {ended.returncode}:\n{pipeline}\n{ended.stderr}")
        return [json.loads(line) for line in ended.stdout.splitlines()]

    def count(self, pipeline: str) -> int:
        """How many rows come out of a pipeline."""
        (row,) = self.ask(f"{pipeline}\nsummarize rows=count()")
        return int(str(row["rows"]))


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def values(folder: Path, count: int, repeat: int, tenzir: Tenzir | None) -> None:
    """One value among all rows of a long history."""
    parquet = folder / "history.parquet"
    store = Store(folder / "history")
    with closing(store.open()) as index, duckdb.connect() as connection:
        for sort, several in asked(HISTORY_DAYS).items():
            some = several[:: max(1, len(several) // count)][:count]
            by_index: list[float] = []
            cold: list[float] = []
            by_duckdb: list[float] = []
            by_tenzir: list[float] = []
            for kind, value in some:
                store.drop()
                cold.append(timed(lambda k=kind, v=value: len(index.lookup(k, v)), 1)[0])
                took, rows = timed(lambda k=kind, v=value: len(index.lookup(k, v)), 5 * repeat)
                by_index.append(took)
                query = f"select * from '{parquet}' where kind = ? and value = ?"  # the path is our own
                took, found = timed(
                    lambda k=kind, v=value, q=query: connection.sql(q, params=[k, v]).to_arrow_table().num_rows, repeat
                )
                assert found == rows, (kind, value, found, rows)
                by_duckdb.append(took)
                if tenzir is not None and len(by_tenzir) < repeat:
                    pipeline = (
                        f"from_file {quoted(str(parquet))} {{ read_parquet }}\n"
                        f"where kind == {quoted(kind)} and value == {quoted(value)}"
                    )
                    took, found = timed(lambda p=pipeline: tenzir.count(p), 1)
                    assert found == rows, (kind, value, found, rows)
                    by_tenzir.append(took)
            shown = {"index_cold_ms": 1e3 * statistics.median(cold), "index_ms": 1e3 * statistics.median(by_index)}
            shown |= {"DuckDB_ms": 1e3 * statistics.median(by_duckdb)}
            if by_tenzir:
                shown["Tenzir_ms"] = 1e3 * statistics.median(by_tenzir)
            say(f"one value, {sort}", **shown)
    drop(parquet)


def rules(folder: Path, repeat: int, tenzir: Tenzir | None) -> None:
    """One rule over the events that are kept."""
    with open_workspace(folder) as workspace, tempfile.TemporaryDirectory() as temporary:
        rule = Path(temporary) / "rule.yml"
        rule.write_text(RULE, encoding="utf-8")
        book = load_rulebook([rule])
        rows = live_segments(workspace, OPERATOR)
        segments = [row for row in rows if row.key.stream == STREAM]
        files = [str(workspace.lake / row.path) for row in segments]
        say("events", all=sum(row.rows for row in rows), of_the_stream=sum(row.rows for row in segments),
            segments=len(segments))  # fmt: skip
        sources = load_sources()

        def hunted() -> int:
            with closing(Hunt(workspace, OPERATOR, book.rules, (), Engine(book.rules), sources)) as hunt:
                return sum(hunt.execute().hits_by_level.values())

        took, found = timed(hunted, repeat)
        say("one rule: hunt", seconds=took, found=found)
        tools = " or ".join(f"Image ilike '%\\{name}.exe'" for name in NAMES)
        query = f"select * from read_parquet(?, union_by_name = true) where {tools} or CommandLine ilike '% -enc%'"
        with duckdb.connect() as connection:
            took, by_sql = timed(lambda: connection.sql(query, params=[files]).to_arrow_table().num_rows, repeat)
        say("one rule: DuckDB", seconds=took, found=by_sql)
        assert by_sql <= found
        if tenzir is None:
            return
        tools = " or ".join(f"Image.to_lower().ends_with({quoted(chr(92) + name + '.exe')})" for name in NAMES)
        where = f'where {tools} or CommandLine.to_lower().contains(" -enc")'
        with tempfile.TemporaryDirectory() as links:
            for number, file in enumerate(files):
                Path(links, f"{number}.parquet").symlink_to(file)
            source = f"from_file {quoted(links + '/*.parquet')} {{ read_parquet }}"
            took, by_pipeline = timed(lambda: tenzir.count(f"{source}\n{where}"), repeat)
            say("one rule: Tenzir, as a pipeline", seconds=took, found=by_pipeline)
            took, by_sigma = timed(lambda: tenzir.count(f"{source}\nsigma {quoted(str(rule))}"), repeat)
            say("one rule: Tenzir, as a Sigma rule", seconds=took, found=by_sigma)
        assert by_pipeline == by_sql


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sightings", type=Path)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--tenzir", type=Path)
    parser.add_argument("--values", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args(arguments)
    tenzir = None if chosen.tenzir is None else Tenzir(chosen.tenzir)
    say("machine", processors=os.cpu_count() or 0, load=os.getloadavg()[0], python=platform.python_version(),
        DuckDB=version("duckdb"), Tenzir="left out" if tenzir is None else str(tenzir.said),
        at=datetime.now(UTC).isoformat(timespec="minutes"))  # fmt: skip
    if tenzir is not None:
        say("Tenzir: start and end of its program", seconds=timed(lambda: len(tenzir.ask("version")), chosen.repeat)[0])
    if chosen.sightings is not None:
        values(chosen.sightings, chosen.values, chosen.repeat, tenzir)
    if chosen.workspace is not None:
        rules(chosen.workspace, chosen.repeat, tenzir)


if __name__ == "__main__":
    main()
