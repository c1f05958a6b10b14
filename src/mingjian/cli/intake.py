"""``mingjian intake``: who may send over HTTP, and what came in over the network so far."""

from __future__ import annotations

from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="What comes in over the network: tokens of senders, and journals."
)

TOKEN_COLUMNS = ("name", "intake", "organisation")
JOURNAL_COLUMNS = ("journal", "listener", "organisation", "format", "begun", "bytes", "sealed", "torn_bytes", "damaged")

Name = Annotated[str, typer.Argument(help="What you call this sender: a to z, 0 to 9 and -.")]
How = Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")]


@app.callback()
def _intake() -> None:
    """Have several commands."""


@app.command("add")
def add(
    context: typer.Context,
    name: Name,
    intake: Annotated[str, typer.Option("--intake", help="It may send to POST /intake/NAME, with this NAME.")],
    organisation: Annotated[str, typer.Option("--org", help="The organisation whose events it sends.")],
) -> Exit:
    """Let a sender deliver over HTTP: prints its token, which is not kept and cannot be shown again."""
    from mingjian.sources.tokens import add_token
    from mingjian.store.audit import act
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        scope = Scope.of_operator()
        found = organisation_named(workspace, scope, organisation, make=True)
        with workspace.begin() as connection:
            after = {"intake": intake, "organisation": found.name}
            act(workspace, connection, scope, "intake.token-made", about=name, organisation=found.id, after=after)
            secret = add_token(workspace.intake, name=name, intake=intake, organisation=found.name)
    terminal.say(secret.reveal())
    terminal.note(f"{name} may send to POST /intake/{intake} with the header: Authorization: Bearer …")
    return Exit.DONE


@app.command("remove")
def remove(context: typer.Context, name: Name) -> Exit:
    """Take the right to deliver away from a sender; listeners that run notice within a second or two."""
    from mingjian.sources.tokens import remove_token
    from mingjian.store.audit import act
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace, workspace.begin() as connection:
        act(workspace, connection, Scope.of_operator(), "intake.token-removed", about=name)
        remove_token(workspace.intake, name)
    return Exit.DONE


@app.command("tokens")
def tokens(context: typer.Context, how: How = None) -> Exit:
    """List who may send over HTTP. The tokens themselves are known to nobody but the senders."""
    from mingjian.sources.tokens import read_tokens
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        found = read_tokens(workspace.intake)
    rows = ({"name": each.name, "intake": each.intake, "organisation": each.organisation} for each in found)
    terminal.write_rows(rows, TOKEN_COLUMNS, terminal.choose_format(how))
    return Exit.DONE


@app.command("journals")
def journals(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Compare every journal with its checksums.")] = False,
    how: How = None,
) -> Exit:
    """List the journals: what came in, in the order in which it did.

    With ``--check``, ``damaged`` lists the ranges of bytes that are not what was received; it ends with 1 if there are.
    """
    from mingjian.cli.detect import time_text
    from mingjian.sources.journalfiles import damage
    from mingjian.sources.journalfiles import journals as list_journals
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        found = list_journals(workspace.intake)
    damaged = {each.id: [f"{start}-{end}" for start, end in damage(each)] if check else [] for each in found}
    terminal.write_rows(
        (
            {
                "journal": each.path.name,
                "listener": each.listener,
                "organisation": each.organisation,
                "format": each.format,
                "begun": time_text(each.created_us),
                "bytes": each.end - each.first_offset,
                "sealed": each.sealed,
                "torn_bytes": each.torn_bytes,
                "damaged": damaged[each.id],
            }
            for each in found
        ),
        JOURNAL_COLUMNS,
        terminal.choose_format(how),
    )
    return Exit.FOUND if any(damaged.values()) else Exit.DONE
