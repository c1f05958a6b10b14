"""``mingjian sql``: one SELECT over the lake."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.model.sources import Stream, View
from mingjian.settings import Settings
from mingjian.sources.definitions import SourceBook, load_sources
from mingjian.store.query import MEMORY_MB_MAX, TIMEOUT_S, OcsfMapping, answering
from mingjian.store.scope import Scope
from mingjian.store.workspace import open_here

app = typer.Typer(add_completion=False, help="Ask the lake in SQL. Nothing can be changed by it.")


@app.command()
def sql(
    context: typer.Context,
    statement: Annotated[
        str, typer.Argument(help='One SELECT. Streams are views: "windows/sysmon/1", windows_sysmon_1.')
    ],
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the rows are written.")] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds after which it is given up.")
    ] = TIMEOUT_S,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Do not look first whether the segments are whole: faster.")
    ] = False,
    memory_mb: Annotated[int, typer.Option("--memory", min=64, help="MiB of memory that it may use.")] = MEMORY_MB_MAX,
) -> Exit:
    """Run one SELECT over what is kept.

    Every stream is a view under its name (in double quotes) and under a friendly one. ocsf_1007 and so on are OCSF
    classes, read through the source definitions.
    """
    settings = context.ensure_object(Settings)
    mappings = _ocsf_mappings(load_sources(cache_folder=settings.cache_folder)) if "ocsf_" in statement.lower() else {}
    with (
        open_here(settings) as workspace,
        answering(
            workspace,
            Scope.of_operator(),
            statement,
            ocsf=mappings,
            threads=settings.jobs,
            memory_mb=memory_mb,
            timeout_s=timeout_s,
            verify=not unverified,
        ) as answer,
    ):
        rows = ({name: _cell(value) for name, value in row.items()} for row in answer)
        terminal.write_rows(rows, answer.columns, terminal.choose_format(how))
    return Exit.DONE


def _ocsf_mappings(book: SourceBook) -> dict[tuple[str, str], OcsfMapping]:
    """What the definitions say about OCSF, for every stream that they name in every layout of its family."""
    layouts = {family.name: [layout for layout, _ in family.layouts] for family in book.families}
    mappings: dict[tuple[str, str], OcsfMapping] = {}
    for stream in book.streams():
        if stream.ocsf_class is None:
            continue
        for layout in layouts.get(stream.family, ()):
            mappings.setdefault((stream.name, layout.name), _mapping(stream, View(stream, layout)))
    return mappings


def _mapping(stream: Stream, view: View) -> OcsfMapping:
    assert stream.ocsf_class is not None
    attributes = {attribute: view.paths(field) for attribute, field in stream.ocsf_paths.items()}
    return OcsfMapping(class_uid=stream.ocsf_class, attributes=attributes)


def _cell(value: object) -> terminal.Cell:
    """A value of DuckDB's as the cell of a list."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime.datetime():
            utc = value.astimezone(datetime.UTC) if value.tzinfo else value
            return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + ("Z" if value.tzinfo else "")
        case Decimal() if value == value.to_integral_value():
            return int(value)
        case datetime.date() | datetime.time() | datetime.timedelta() | Decimal():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)
