"""``mingjian doctor``: look whether the workspace is whole, and say what to do where it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.errors import StorageError
from mingjian.settings import Settings

if TYPE_CHECKING:
    from mingjian.store.doctor import Finding, OnBytes
    from mingjian.store.sightings.checking import Difference
    from mingjian.store.workspace import Workspace

app = typer.Typer(add_completion=False, help="Look whether the workspace is whole, and what to do if not.")

COLUMNS = ("part", "result", "where", "said", "next")
DIFFERENCES_SHOWN_MAX = 5
"""So many rows of the index that were different are shown."""


@app.command()
def doctor(
    context: typer.Context,
    rebuild_sightings: Annotated[
        bool, typer.Option("--rebuild-sightings", help="Make the sightings index anew from the segments, and compare.")
    ] = False,
    aside: Annotated[
        bool, typer.Option("--set-aside", help="Let everything else go on without the segments that are damaged.")
    ] = False,
    sources: Annotated[
        list[Path] | None, typer.Option(help="Source definitions of your own, as for ingest. May be repeated.")
    ] = None,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """Look whether the workspace is whole: the state database, every segment, the sightings index.

    Every byte is read; nothing is changed unless you ask for it. What is damaged is listed with what to do next.
    """
    from mingjian.store.doctor import examine, unreadable
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.ensure_object(Settings)
    findings: list[Finding] = []
    try:
        with open_here(settings) as workspace, Progress(sys.stderr) as progress:
            findings += examine(workspace, Scope.of_operator(), on_bytes=progress.show)
            if aside:
                findings = _set_aside(workspace, findings)
            if rebuild_sightings:
                findings = [each for each in findings if each.part != "sightings" or not each.is_trouble]
                is_readable = any(each.part == "sightings" for each in findings)
                findings.append(_rebuilt(workspace, settings, sources or (), is_readable, progress.show))
    except StorageError as error:
        findings.append(unreadable(error))
    terminal.write_rows(map(_row, findings), COLUMNS, terminal.choose_format(how))
    return Exit.FAILED if any(each.is_trouble for each in findings) else Exit.DONE


def _row(finding: Finding) -> dict[str, terminal.Cell]:
    return {name: getattr(finding, name) for name in COLUMNS}


def _set_aside(workspace: Workspace, findings: list[Finding]) -> list[Finding]:
    """Set the damaged segments aside, and what was found about them with them."""
    from mingjian.store.doctor import Finding
    from mingjian.store.scope import Scope
    from mingjian.store.upkeep import DAMAGED, set_aside

    damaged = {each.where.removeprefix("lake/") for each in findings if each.part == "segments" and each.is_trouble}
    rows = {f"lake/{row.path}": row for row in set_aside(workspace, Scope.of_operator(), damaged)}
    kept = [each for each in findings if each.where not in rows]
    for where, row in rows.items():
        said = f"{row.rows:,} events of {row.key.stream} are a hole from now on; the file, if any, is in {DAMAGED}/"
        kept.append(Finding(part="segments", result="set aside", where=where, said=said))
    return kept


def _rebuilt(
    workspace: Workspace, settings: Settings, sources: list[Path] | tuple[()], is_readable: bool, on_bytes: OnBytes
) -> Finding:
    """Make the index anew. Of one that cannot be read, what it knew about events that are gone is gone, too."""
    from mingjian.hunt.reobserving import observations_kept
    from mingjian.sources.definitions import load_sources
    from mingjian.sources.router import Router
    from mingjian.store.doctor import Finding
    from mingjian.store.scope import Scope
    from mingjian.store.sightings.live import rebuild

    router = Router(load_sources(sources, cache_folder=settings.cache_folder))
    differences: list[Difference] = []
    count = 0

    def differs(difference: Difference) -> None:
        nonlocal count
        count += 1
        if len(differences) < DIFFERENCES_SHOWN_MAX:
            differences.append(difference)

    try:
        commits = observations_kept(workspace, Scope.of_operator(), router, on_bytes=on_bytes)
        files = rebuild(workspace, commits, forget_gone=not is_readable, on_difference=differs)
    except StorageError as error:
        said = f"the index cannot be made anew: {error.what}"
        return Finding(part="sightings", result="damaged", where=error.where, said=said, next="mend that first")
    said = f"{sum(file.rows for file in files):,} rows in {len(files):,} files; "
    said += f"{count:,} rows were different" if is_readable else "what it knew of events that are gone is lost"
    return Finding(
        part="sightings", result="made anew", where="sightings", said="; ".join([said, *_shown(differences)])
    )


def _shown(differences: list[Difference]) -> Iterator[str]:
    for each in differences:
        found, expected = each.found or "nothing", each.expected or "nothing"
        yield f"{each.kind} {each.value} as {each.role}: {found}, should be {expected}"
