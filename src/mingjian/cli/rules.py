"""``mingjian rules``: what became of rule files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal, workspacerules
from mingjian.cli.exits import Exit
from mingjian.cli.explain import explain_rule
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.hunt.rulecheck import STATES, CheckedRule, check, file_states
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sigma rules: see which can be used, and why not.")

CHECK_COLUMNS = ("rule_id", "title", "kind", "file", "document", "state", "reason", "sources")
TABLE_COLUMNS = ("rule_id", "file", "state", "reason", "sources")
TABLE_SOURCES_MAX = 3
"""A table has room for so many stream names; the other forms give them all."""


@app.callback()
def _rules() -> None:
    """Have several commands."""


@app.command("check")
def check_rules(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Rule files, or folders of .yml and .yaml.")],
    placeholders: Annotated[
        Path | None, typer.Option("--placeholders", help="YAML or JSON: names of placeholders and their values.")
    ] = None,
    pipelines: Annotated[
        list[Path] | None, typer.Option("--pipeline", help="A pySigma processing pipeline; may be given again.")
    ] = None,
    own: Annotated[
        list[Path] | None,
        typer.Option("--sources", help="Your own source definitions: a file or a folder; may be given again."),
    ] = None,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes that parse at the same time.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with 1 if anything was skipped.")] = False,
) -> Exit:
    """Show for every rule whether it is loaded, skipped (and why), or has no source that could ever feed it."""
    settings = context.ensure_object(Settings)
    book = load_rulebook(
        paths,
        cache_folder=settings.cache_folder,
        placeholders=placeholders or settings.placeholders,
        pipelines=pipelines or (),
        jobs=jobs or settings.jobs,
    )
    sources = load_sources(own or (), cache_folder=settings.cache_folder)
    for skipped in sources.skipped:
        where = f"{skipped.file}: {skipped.key}" if skipped.key else skipped.file
        terminal.complain(skipped.reason, where=where, hint="this definition is skipped, the others are used")
    rows = check(book, sources.streams())
    chosen = terminal.choose_format(how)
    columns = TABLE_COLUMNS if chosen == "table" else CHECK_COLUMNS
    terminal.write_rows((_row(row, chosen) for row in rows), columns, chosen)
    _summarise(book, rows)
    return Exit.FOUND if strict and book.skipped else Exit.DONE


def _row(row: CheckedRule, how: terminal.ListFormat) -> terminal.Row:
    sources: Sequence[str] = row.sources
    if how == "table" and len(sources) > TABLE_SOURCES_MAX:
        sources = [*sources[:TABLE_SOURCES_MAX], f"and {len(sources) - TABLE_SOURCES_MAX} more"]
    return {
        "rule_id": row.rule_id,
        "title": row.title,
        "kind": row.kind,
        "file": row.file,
        "document": row.document,
        "state": row.state,
        "reason": row.reason,
        "sources": sources,
    }


def _summarise(book: Rulebook, rows: Sequence[CheckedRule]) -> None:
    files = file_states(book, rows)
    terminal.note(f"{len(book.files)} files: " + ", ".join(f"{files[state]} {state}" for state in STATES))
    if len(rows) != len(book.files):
        found = Counter(row.state for row in rows)
        terminal.note(f"{len(rows)} documents: " + ", ".join(f"{found[state]} {state}" for state in STATES))
    kinds = {"rules": book.rules, "correlations": book.correlations, "filters": book.filters}
    terminal.note("in use: " + ", ".join(f"{len(items)} {name}" for name, items in kinds.items()))


app.command("explain")(explain_rule)
app.command("add", no_args_is_help=True)(workspacerules.add)
app.command("remove", no_args_is_help=True)(workspacerules.remove)
app.command("list")(workspacerules.list_rules)
