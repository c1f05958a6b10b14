"""``mingjian rules explain``: which atoms of a rule are true for an event, and why the rule does not fire."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.data import STARTER_RULES
from mingjian.detect.engine import Engine
from mingjian.errors import ConfigError, NotFound, shown
from mingjian.hunt.explaining import Explanation, explain, find_event
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.rules import Rule
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router


def explain_rule(
    context: typer.Context,
    rule: Annotated[str, typer.Argument(help="A file with one or more Sigma rules, or the id or title of a rule.")],
    event: Annotated[str, typer.Option(help="FILE:RECORD, as detect names them.")],
    rules: Annotated[list[Path] | None, typer.Option(help="Where to look for an id or title. May be repeated.")] = None,
    placeholders: Annotated[Path | None, typer.Option(help="Values for %placeholders% in rules.")] = None,
    pipeline: Annotated[list[Path] | None, typer.Option(help="A pySigma processing pipeline. May be repeated.")] = None,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
    how: Annotated[Literal["text", "json"] | None, typer.Option("--format")] = None,
) -> Exit:
    """Show which parts of a rule's condition are true for one event, and why the rule fired or did not."""
    settings = context.ensure_object(Settings)
    file, colon, number = event.rpartition(":")
    if not colon or not number.isdigit():
        raise ConfigError(f"an event is named FILE:RECORD, not {event!r}", hint="as mingjian detect names it")
    chosen = _chosen(rule, rules or [], settings.cache_folder, placeholders or settings.placeholders, pipeline or [])
    engine = Engine(chosen)
    router = Router(load_sources(sources or (), cache_folder=settings.cache_folder))
    for view, record in find_event(file, int(number), router):
        for index, each in enumerate(chosen):
            told = explain(each, engine, index, view, record, file, int(number))
            if how == "json" or (how is None and not sys.stdout.isatty()):
                terminal.say(msgspec.json.encode(told).decode())
            else:
                _tell(told)
    return Exit.DONE if chosen else Exit.FAILED


def _chosen(
    wanted: str, folders: list[Path], cache_folder: Path, placeholders: Path | None, pipelines: list[Path]
) -> list[Rule]:
    """The rules of a file, or those in some folders with an id or a title."""
    if Path(wanted).is_file():
        book = load_rulebook([Path(wanted)], placeholders=placeholders, pipelines=pipelines)
        for skipped in book.skipped:
            terminal.complain(skipped.reason, where=skipped.file)
        return list(book.rules)
    where = folders or [STARTER_RULES]
    book = load_rulebook(where, placeholders=placeholders, pipelines=pipelines, cache_folder=cache_folder)
    found = [rule for rule in book.rules if wanted in (rule.id, rule.title)]
    if not found:
        why = next((skipped.reason for skipped in book.skipped if skipped.rule_id == wanted), None)
        what = f"the rule {shown(wanted)} cannot be used: {why}" if why else f"nothing is called {shown(wanted)}"
        raise NotFound(what, hint="name the file of the rule, or with --rules the folder that it is in")
    return found


def _tell(told: Explanation) -> None:
    terminal.say(f"{told.rule_title} ({told.rule_id})")
    terminal.say(f"  {told.file}:{told.record}, stream {told.stream}: {'fired' if told.fired else 'did not fire'}")
    terminal.say(f"  {told.reason}")
    for line in told.condition:
        mark = "✓" if line.true else "✗"
        value = f"   [{line.value}]" if line.value else ""
        terminal.say(f"  {mark} {'  ' * line.depth}{line.text}{value}")
