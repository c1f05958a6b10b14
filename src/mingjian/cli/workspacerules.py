"""``mingjian rules add``, ``remove`` and ``list``: the rules that a workspace runs over whatever arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.hunt.rulebook import load_rulebook
from mingjian.settings import Settings

LIST_COLUMNS = ("rule_id", "title", "kind", "level", "added", "segments_run", "file")


def add(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Rule files, or folders of .yml and .yaml.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Rules of the workspace that are not among these stop to count.")
    ] = False,
    placeholders: Annotated[Path | None, typer.Option(help="YAML or JSON: names of placeholders and values.")] = None,
    pipelines: Annotated[
        list[Path] | None, typer.Option("--pipeline", help="A pySigma processing pipeline; may be given again.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes that parse at the same time.")] = None,
) -> Exit:
    """Add rules to the workspace: they run over what arrives, and are due to run over all of history."""
    from mingjian.store.jobs import queue
    from mingjian.store.rules import add_rules, can_be_kept, set_of
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.ensure_object(Settings)
    book = load_rulebook(
        paths,
        cache_folder=settings.cache_folder,
        placeholders=placeholders or settings.placeholders,
        pipelines=pipelines or (),
        jobs=jobs or settings.jobs,
    )
    scope = Scope.of_operator()
    with open_here(settings) as workspace:
        unkept = [each for each in (*book.rules, *book.correlations) if not can_be_kept(each)]
        for each in unkept:
            terminal.complain("the rule has text that cannot be stored", where=each.file, hint="the others are added")
        rules = [each for each in book.rules if can_be_kept(each)]
        correlations = [each for each in book.correlations if can_be_kept(each)]
        added = add_rules(workspace, scope, rules, correlations, replace=replace)
        terminal.say(
            f"{len(added.new)} rules are new ({added.changed} of them changed), {added.unchanged} were there already, "
            f"{len(added.retired)} do not count any more, {len(book.skipped) + len(unkept)} were skipped"
        )
        if book.skipped:
            terminal.note("mingjian rules check says why rules were skipped")
        if added.new:
            queue(workspace, scope, "rules", rule_set_id=set_of(workspace, scope, added.new))
            terminal.note("mingjian hunt --pending runs what is new over all of history")
    return Exit.DONE


def remove(
    context: typer.Context,
    rule_ids: Annotated[list[str] | None, typer.Argument(metavar="RULE_ID…", help="Ids of rules.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All rules of the workspace.")] = False,
) -> Exit:
    """Let rules of the workspace stop to count. What they found stays."""
    from mingjian.store.rules import retire_rules
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    if everything == bool(rule_ids):
        terminal.complain("either ids of rules or --all is needed")
        return Exit.WRONG_USE
    with open_here(context.ensure_object(Settings)) as workspace:
        gone = retire_rules(workspace, Scope.of_operator(), None if everything else rule_ids)
    terminal.say(f"{len(gone)} rules do not count any more")
    return Exit.DONE


def list_rules(
    context: typer.Context,
    retired: Annotated[bool, typer.Option("--retired", help="Also versions that do not count any more.")] = False,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """List the rules of the workspace, each with how much of history it was run over."""
    from mingjian.cli.detect import time_text
    from mingjian.store.coverage import segments_run
    from mingjian.store.rules import rule_versions
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.ensure_object(Settings)) as workspace:
        runs, live = segments_run(workspace, scope)
        rows = (
            {
                "rule_id": each.rule_id,
                "title": each.title,
                "kind": each.kind,
                "level": each.level,
                "added": time_text(each.added_us),
                "retired": time_text(each.retired_us),
                "segments_run": f"{runs.get(each.id, 0)} of {live}",
                "file": each.file,
            }
            for each in rule_versions(workspace, scope, retired=retired)
        )
        columns = (*LIST_COLUMNS, "retired") if retired else LIST_COLUMNS
        terminal.write_rows(rows, columns, terminal.choose_format(how))
    return Exit.DONE
