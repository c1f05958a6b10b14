"""``mingjian ask``: who is it, friend or foe, what did it do, and what could not be seen."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ConfigError, shown
from mingjian.model.observables import canonical
from mingjian.settings import Language, Settings
from mingjian.situations.guessing import KINDS, guesses

if TYPE_CHECKING:
    from mingjian.model.sources import ObservableKind
    from mingjian.situations.card import VerdictCard
    from mingjian.store.sightings.index import SightingsIndex
    from mingjian.store.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command(no_args_is_help=True)
def ask(
    context: typer.Context,
    observable: Annotated[str, typer.Argument(help="An address, domain, URL, hash, account, host, file …")],
    kind: Annotated[str | None, typer.Option(help=f"What it is, if it can be several: {', '.join(KINDS)}.")] = None,
    org: Annotated[str | None, typer.Option(help="Only what this organisation saw.")] = None,
    how: Annotated[
        Literal["text", "json", "html"] | None,
        typer.Option("--format", "-f", help="text on a terminal, json elsewhere if not given."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the card to this file.")] = None,
    language: Annotated[Language | None, typer.Option(help="Language of the card.")] = None,
    fail_on_foe: Annotated[bool, typer.Option("--fail-on-foe", help="Exit with 1 if it is a foe.")] = False,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
) -> Exit:
    """Ask who it is, friend or foe, what it did, and what could not be seen."""
    from mingjian.situations.asking import Question
    from mingjian.situations.asking import ask as answer
    from mingjian.sources.definitions import load_sources
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    chosen: Language = language or settings.language
    scope = Scope.of_operator()
    with open_here(settings) as workspace:
        which, value = _meant(workspace, observable, kind)
        card = answer(
            Question(
                workspace,
                scope,
                which,
                value,
                load_sources(sources or (), cache_folder=settings.cache_folder),
                chosen,
                organisation=None if org is None else organisation_named(workspace, scope, org).id,
                cache_folder=settings.cache_folder,
            )
        )
    _write(card, how, output, chosen)
    return Exit.FOUND if fail_on_foe and card.verdict == "foe" else Exit.DONE


def _meant(workspace: Workspace, text: str, kind: str | None) -> tuple[ObservableKind, str]:
    """Kind and canonical value; if the text can be several things, the one that was seen most."""
    if kind is not None:
        if kind not in KINDS:
            raise ConfigError(f"there is no kind of observable called {shown(kind)}", hint=", ".join(KINDS))
        value = canonical(kind, text)
        if value is None:
            raise ConfigError(f"{shown(text)} is no {kind}", hint="without --kind it is told from its form")
        return kind, value
    possible = guesses(text)
    if not possible:
        raise ConfigError(f"{shown(text)} is nothing that could be an observable", hint="--kind says what it is")
    if len(possible) == 1:
        return possible[0]
    from contextlib import closing

    from mingjian.store.scope import Scope
    from mingjian.store.sightings.live import open_index

    with closing(open_index(workspace, Scope.of_operator())) as index:
        counts = [_count(index, each) for each in possible]
    best = max(range(len(possible)), key=lambda place: (counts[place], -place))
    others = [each[0] for place, each in enumerate(possible) if counts[place] and place != best]
    if others:
        terminal.note(f"taken for a {possible[best][0]}; it was also seen as {', '.join(others)} (--kind)")
    return possible[best]


def _count(index: SightingsIndex, observable: tuple[ObservableKind, str]) -> int:
    totals = index.totals(*observable)
    return 0 if totals is None else totals.count


def _write(card: VerdictCard, how: str | None, output: Path | None, language: Language) -> None:
    with ExitStack() as stack:
        stream: TextIO = stack.enter_context(output.open("w", encoding="utf-8", newline="")) if output else sys.stdout
        match how or ("text" if stream.isatty() else "json"):
            case "html":
                from mingjian.console.card import write_card

                write_card(stream, card, language)
            case "json":
                import msgspec

                from mingjian.telemetry import visible_json

                text = msgspec.json.format(msgspec.json.encode(card), indent=2).decode()
                stream.write("\n".join(map(visible_json, text.split("\n"))) + "\n")
            case _:
                from mingjian.situations.telling import lines

                for line in lines(card, language):
                    terminal.say(line, stream=stream)
