"""``mingjian lake``: what is kept, in one row for each stream and organisation."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.settings import Settings

app = typer.Typer(add_completion=False, help="Show what is kept: streams, events, bytes, from when to when.")

COLUMNS = ("stream", "organisation", "rows", "bytes", "bytes_per_event", "first", "last", "gaps")
EPOCH_ORDINAL = datetime.date(1970, 1, 1).toordinal()
FILE_COLUMNS = ("path", "stream", "rows")


@app.command()
def lake(
    context: typer.Context,
    files: Annotated[bool, typer.Option("--files", help="List the Parquet files instead, for other programs.")] = False,
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    since: Annotated[datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day.")] = None,
    until: Annotated[datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day.")] = None,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """Show what is kept: a row for each stream and organisation; of some days only, if they are given.

    ``gaps`` lists the days between the first and the last event on which there is none.
    """
    from mingjian.cli.detect import time_text
    from mingjian.store.catalogue import live_segments, organisation_named
    from mingjian.store.lake import lake_rows
    from mingjian.store.scope import Scope
    from mingjian.store.segments import day_name
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.ensure_object(Settings)) as workspace:
        if files:
            segments = live_segments(workspace, scope)
            listed = ({"path": str(workspace.lake / s.path), "stream": s.key.stream, "rows": s.rows} for s in segments)
            terminal.write_rows(listed, FILE_COLUMNS, terminal.choose_format(how))
            return Exit.DONE
        terminal.write_rows(
            (
                {
                    "stream": row.stream,
                    "organisation": row.organisation,
                    "rows": row.rows,
                    "bytes": row.bytes,
                    "bytes_per_event": round(row.bytes / row.rows, 1),
                    "first": time_text(row.first_us),
                    "last": time_text(row.last_us),
                    "gaps": [
                        day_name(first) if first == last else f"{day_name(first)}…{day_name(last)}"
                        for first, last in row.gaps
                    ],
                }
                for row in lake_rows(
                    workspace,
                    scope,
                    organisation=None if org is None else organisation_named(workspace, scope, org).id,
                    first_day=None if since is None else since.toordinal() - EPOCH_ORDINAL,
                    last_day=None if until is None else until.toordinal() - EPOCH_ORDINAL,
                )
            ),
            COLUMNS,
            terminal.choose_format(how),
        )
    return Exit.DONE
