"""``mingjian rules explain``: which atoms of a rule are true for an event, and why the rule does not fire."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.detect.engine import Engine
from mingjian.errors import ConfigError
from mingjian.hunt.explaining import Explanation, explain, find_event
from mingjian.hunt.rulebook import load_rulebook
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router


def explain_rule(
    context: typer.Context,
    rule: Annotated[Path, typer.Argument(help="A file with one or more Sigma rules.")],
    event: Annotated[str, typer.Option(help="FILE:RECORD, as detect names them.")],
    placeholders: Annotated[Path | None, typer.Option(help="Values for %placeholders% in rules.")] = None,
    pipeline: Annotated[list[Path] | None, typer.Option(help="A pySigma processing pipeline. May be repeated.")] = None,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
    how: Annotated[Literal["text", "json"] | None, typer.Option("--format")] = None,
) -> Exit:
    """Show which parts of a rule's condition are true for one event, and why the rule fired or did not."""
    settings = context.ensure_object(Settings)
    file, colon, number = event.rpartition(":")
    if not colon or not number.isdigit():
        raise ConfigError(f"an event is named FILE:RECORD, not {event!r}")
    book = load_rulebook([rule], placeholders=placeholders, pipelines=pipeline or [])
    for skipped in book.skipped:
        terminal.complain(skipped.reason, where=skipped.file)
    engine = Engine(book.rules)
    router = Router(load_sources(sources or (), cache_folder=settings.cache_folder))
    for view, record in find_event(file, int(number), router):
        for index, each in enumerate(book.rules):
            told = explain(each, engine, index, view, record, file, int(number))
            if how == "json" or (how is None and not sys.stdout.isatty()):
                terminal.say(msgspec.json.encode(told).decode())
            else:
                _tell(told)
    return Exit.DONE if book.rules else Exit.FAILED


def _tell(told: Explanation) -> None:
    terminal.say(f"{told.rule_title} ({told.rule_id})")
    terminal.say(f"  {told.file}:{told.record}, stream {told.stream}: {'fired' if told.fired else 'did not fire'}")
    terminal.say(f"  {told.reason}")
    for line in told.condition:
        mark = "✓" if line.true else "✗"
        value = f"   [{line.value}]" if line.value else ""
        terminal.say(f"  {mark} {'  ' * line.depth}{line.text}{value}")
